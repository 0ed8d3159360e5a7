"""Options that a function lacks, answered as `add_node` answers them: with the nearest that it has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from .errors import UnknownNameError

P = ParamSpec("P")
R = TypeVar("R")

_OWNERS = {
    **dict.fromkeys(("Runnable", "Again", "Rows", "Pausing", "GraphJson", "Views", "StateGraph"), "graph"),
    "Answering": "run",
}
"""What users call the objects whose classes have other names."""


def named_options(fn: Callable[P, R]) -> Callable[P, R]:
    """Let a function or method raise UnknownNameError, with the nearest name, for an option that it does not
    have, in the place of a TypeError that names none. Its signature and its documentation stay.

    Not for one that hands other options on: whoever gets those knows which there are.
    """
    parameters = inspect.signature(fn).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters), fn
    known = frozenset(
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in ("self", "cls")
    )

    @functools.wraps(fn)
    def call(*args: Any, **options: Any) -> Any:
        if not options.keys() <= known:
            wrong = next(name for name in options if name not in known)
            raise UnknownNameError(f"option of {_label(fn)}", wrong, known)
        return cast("Any", fn)(*args, **options)

    return cast("Callable[P, R]", call)


def _label(fn: Any) -> str:
    owner, _, name = fn.__qualname__.rpartition(".")
    if name == "from_function":
        return "tool()"
    if name == "__init__":
        return f"{owner}()"
    owner = _OWNERS.get(owner, owner)
    return f"{owner}.{name}()" if owner else f"{name}()"
