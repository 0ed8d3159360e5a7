"""What `add_node` was given, as a node: options are read from the node class's `__init__`."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable
from typing import Any, cast

from . import plugins
from .compiled import Runnable
from .edges import Retry
from .errors import GraphValidationError, InvalidNodeTypeError, UnknownNameError, nearest, shown
from .interrupts import check_timeout
from .modes import take_event_mode
from .node import BaseNode, Node
from .tools import Tool

ENGINE_OPTIONS = ("config", "event_mode", "node_timeout")
"""Options that every node has."""


def make_node(
    node_id: str, thing: Any, node_type: str | None, options: dict[str, Any]
) -> tuple[Node, Retry, float | None, str]:
    """Return the node, how often it is run again when it fails, how many seconds it may take, and its event
    mode.

    Raises InvalidNodeTypeError and UnknownNameError with the nearest known name, GraphValidationError when
    the thing cannot be a node.
    """
    options, retry = _settings(node_id, options)
    mode = take_event_mode(node_id, options)
    timeout = check_timeout(options.pop("node_timeout", None), f"Node {node_id!r}: node_timeout=")
    node = _node(node_id, thing, node_type, options)
    if isinstance(node, BaseNode):
        _check_calls(node_id, node)
    return node, retry, timeout, mode


def _check_calls(node_id: str, node: BaseNode) -> None:
    """Raise GraphValidationError for a node of one's own that has no id, or whose method does not take what
    it is called with."""
    kind = type(node)
    if not hasattr(node, "id"):
        raise GraphValidationError(
            f"Node {node_id!r}: {kind.__name__} has no id: its __init__ must call super().__init__(id)."
        )
    if problem := _misfit(kind.execute, kind.run):
        raise GraphValidationError(f"Node {node_id!r}: {kind.__name__}.{problem}.")


@functools.lru_cache(maxsize=256)
def _misfit(*methods: Any) -> str:
    """Return what is wrong with methods that are called with (input, context), "" when nothing is."""
    for method in methods:
        if method in (BaseNode.execute, BaseNode.run) or not inspect.isfunction(method):
            continue
        signature = inspect.signature(method)
        try:
            signature.bind(None, None, None)
        except TypeError as error:
            return f"{method.__name__}{signature} is called with (input, context), and {error}"
    return ""


def _node(node_id: str, thing: Any, node_type: str | None, options: dict[str, Any]) -> Node:
    if node_type is not None:
        return _of_type(node_id, thing, node_type, options)
    if isinstance(thing, type) and issubclass(cast("type[Any]", thing), BaseNode):
        return _construct(node_id, f"node {thing.__name__}", thing, None, options)
    if not isinstance(thing, type) and hasattr(thing, "id") and callable(getattr(thing, "run", None)):
        if options:
            raise GraphValidationError(
                f"Node {node_id!r} is an instance, which takes no options here: pass"
                f" {', '.join(map(repr, options))} where it is made."
            )
        return cast("Node", thing)
    if isinstance(thing, Runnable):
        return _of_type(node_id, thing, "subgraph", options)
    if callable(thing) or isinstance(thing, Tool):
        return _of_type(node_id, thing, "tool", options)
    if isinstance(thing, BaseNode):
        return thing
    if thing is None:
        raise GraphValidationError(
            f"Node {node_id!r} is empty: pass a function or a node, or node_type= one of"
            f" {', '.join(plugins.names('node'))}."
        )
    hint = "for an agent pass node_type='agent'."
    if isinstance(thing, str):
        close = nearest(thing, plugins.names("node"))
        hint = f"did you mean node_type={close!r}?" if close else "give its type by node_type=."
    elif isinstance(thing, dict):
        hint = "give its type by node_type=, and options by their names."
    raise GraphValidationError(
        f"Node {node_id!r}: {type(cast('Any', thing)).__name__} is neither a function nor a node; {hint}"
    )


def _of_type(node_id: str, thing: Any, node_type: str, options: dict[str, Any]) -> Node:
    try:
        made: Any = plugins.find("node", node_type)
    except UnknownNameError as error:
        text = str(error).replace("Unknown node ", "Unknown node type ", 1)
        raise InvalidNodeTypeError(f"Node {shown(node_id)}: {text}") from None
    if not isinstance(made, type):
        if not callable(made):
            raise GraphValidationError(
                f"Node type {node_type!r} is {made!r}, neither a class nor a function."
            )
        thing, made = made, plugins.find("node", "tool")
    return _construct(node_id, f"node type {node_type!r}", made, thing, options)


def _construct(node_id: str, label: str, made: type[Any], thing: Any, options: dict[str, Any]) -> Node:
    takes_thing, known = signature(made)
    if known is not None:
        known -= {*ENGINE_OPTIONS}
        for name in options:
            if name not in known:
                raise UnknownNameError(f"option of {label}", name, known, _hint(name, known), ENGINE_OPTIONS)
    if thing is not None and not takes_thing:
        raise GraphValidationError(
            f"Node {node_id!r}: {label} takes options only, not {type(thing).__name__}."
        )
    return made(node_id, **options) if thing is None else made(node_id, thing, **options)


def _hint(name: str, known: Iterable[str]) -> str:
    if nearest(name, ("retry", *known, *ENGINE_OPTIONS)) == "retry":
        return "Retries are set by config={'retry': {'max_retries': 2}}."
    return f"Every node takes {', '.join(ENGINE_OPTIONS)} too."


@functools.lru_cache(maxsize=256)
def signature(made: type[Any]) -> tuple[bool, frozenset[str] | None]:
    """Return whether a node class takes a second positional argument, and its options, None for any."""
    parameters = list(inspect.signature(made).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_thing = len(positional) > 1
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return takes_thing, None
    named = (p.name for p in parameters[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return takes_thing, frozenset(named)


def _settings(node_id: str, options: dict[str, Any]) -> tuple[dict[str, Any], Retry]:
    """Take `config={...}` apart: "retry" belongs to the engine, everything else is an option of the node."""
    config = options.get("config")
    if config is None:
        return {k: v for k, v in options.items() if k != "config"}, Retry()
    if not isinstance(config, dict):
        raise GraphValidationError(f"Node {node_id!r}: config= is a dict, not {type(config).__name__}.")
    rest = cast("dict[str, Any]", dict(config))
    given = rest.pop("retry", None)
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise GraphValidationError(
            f"Node {node_id!r}: retry is a dict such as {{'max_retries': 2}}, not {shown(given)}."
        )
    for name in given:
        if name not in Retry.__dataclass_fields__:
            raise UnknownNameError(f"retry option of node {node_id!r}", name, Retry.__dataclass_fields__)
    retry = Retry(**given)
    times: list[Any] = [retry.max_retries, retry.delay, retry.backoff]
    numbers = isinstance(cast("Any", retry.max_retries), int) and all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < math.inf for n in times
    )
    numbers = numbers and isinstance(cast("Any", retry.jitter), bool)
    if not numbers or retry.max_retries < 0 or retry.delay < 0 or retry.backoff < 1:
        raise GraphValidationError(
            f"Node {node_id!r}: retry takes max_retries >= 0, delay >= 0 (seconds), backoff >= 1"
            " and jitter, True or False."
        )
    return {**rest, **{k: v for k, v in options.items() if k != "config"}}, retry
