"""Options that a function lacks, answered as `add_node` answers them: with the nearest that it has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from .errors import InputError, UnknownNameError

P = ParamSpec("P")
R = TypeVar("R")

_OWNERS = {
    **dict.fromkeys(("Runnable", "Again", "Rows", "Pausing", "GraphJson", "Views", "StateGraph"), "graph"),
    **dict.fromkeys(("Answering", "Run"), "run"),
    "Limits": "limits",
}
"""What users call the objects whose classes have other names."""

_HINTS = {
    "checkpointer": "Every run is logged and can be resumed; backend= of graph.run() says where.",
    "interrupt_before": "graph.set_interrupt_before(node) asks before a node.",
    "interrupt_after": "graph.set_interrupt_after(node) asks after a node.",
}
"""What to write in the place of options that graphs of other libraries take."""


def named_options(fn: Callable[P, R]) -> Callable[P, R]:
    """Let a function or method raise UnknownNameError, with the nearest name, for an option that it does not
    have, in the place of a TypeError that names none. Its signature and its documentation stay.

    Of one that hands other options on only the places are looked at: whoever gets those knows which there
    are.
    """
    parameters = inspect.signature(fn).parameters.values()
    called: Any = fn
    handed_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = frozenset(
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in ("self", "cls")
    )

    @functools.wraps(fn)
    def call(*args: Any, **options: Any) -> Any:
        if options and not handed_on and not options.keys() <= known:
            wrong = next(name for name in options if name not in known)
            raise UnknownNameError(f"option of {_label(fn)}", wrong, known, _HINTS.get(wrong, ""))
        try:
            return called(*args, **options)
        except TypeError as error:
            # Without a frame below this one it was not called at all.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            wrong = _wrongly(fn, str(error))
        raise InputError(wrong)

    return cast("Callable[P, R]", call)


def _wrongly(fn: Any, problem: str) -> str:
    """Return what is wrong with a call, from what Python says of it."""
    parameters = [p for p in inspect.signature(fn).parameters.values() if p.name not in ("self", "cls")]
    placed = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    takes = f"takes ({', '.join(p.name for p in placed)})" if placed else "takes nothing by position"
    others = "; the rest are options, given by name" if len(parameters) > len(placed) else ""
    missing = problem.partition(" missing ")[2].partition(": ")[2]
    if missing:
        return f"{_label(fn)} needs {missing}: it {takes}{others}."
    return f"{_label(fn)} {takes}{others}, and was given more."


def _label(fn: Any) -> str:
    owner, _, name = fn.__qualname__.rpartition(".")
    if name == "from_function":
        return "tool()"
    if name == "__init__":
        return f"{owner}()"
    if name == "set" and not owner:  # prices.set and spending.set are called so.
        owner = fn.__module__.rpartition(".")[2]
    owner = _OWNERS.get(owner, owner)
    return f"{owner}.{name}()" if owner else f"{name}()"
