"""What a node is, as a hash: its class, its options, and the code of its functions."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

from .journal import key_of
from .tools import Tool

DEPTH = 12
LENGTH = 16
"""Hex digits that a log keeps of a node's hash."""


_NOT_OPTIONS = frozenset(
    {"_resolved", "_index", "ModelCall.api_key", "ModelCall.client", "OutputType.validate"}
)
"""Attributes that are found out from others, and those that say as whom a provider is asked."""


def around() -> tuple[str | None, ...]:
    """Return what else decides what a node is: settings of the environment."""
    return tuple(map(os.environ.get, ("MESH_MODEL", "OPENAI_BASE_URL")))


def definition(node: Any, inner: Mapping[str, Any], aggregator: Any = None) -> str:
    """Return the hash of what a node is; nodes that are the same have the same.

    Functions count by their code, what they close over, and what they name in their own module, functions and
    plain values alike; not by what they call elsewhere. Objects of other libraries, agents among them, equal
    nothing, not even themselves.

    Parameters: node; inner, the compiled graphs that it runs itself, by name; aggregator, what its inputs go
    through.
    """
    cls = type(node)
    options = {k: v for k, v in vars(node).items() if not (inner and k == "graphs")}
    seen: set[int] = set()
    parts: dict[str, Any] = {
        "class": [cls.__module__, cls.__qualname__],
        "code": [] if _is_ours(cls) else _methods(cls, seen),
        "inner": {name: [g.definitions, g.outline, _choices(g, seen)] for name, g in inner.items()},
        "options": _options(cls, options, seen, 0),
        "model": _model(node),
        "aggregator": _described(aggregator, seen, 0),
    }
    return key_of(parts)[:LENGTH]


def _options(cls: type[Any], given: Mapping[str, Any], seen: set[int], depth: int) -> dict[str, Any]:
    told = {k: v for k, v in given.items() if _NOT_OPTIONS.isdisjoint((k, f"{cls.__name__}.{k}"))}
    return {k: _described(v, seen, depth) for k, v in told.items()}


def _model(node: Any) -> Any:
    """Return what the environment decides about a node that asks a model."""
    return [getattr(node, "model", None) or around()[0], around()[1]] if hasattr(node, "_resolved") else None


def _is_ours(cls: type[Any]) -> bool:
    return cls.__module__.startswith("mesh_nb.")


def _choices(graph: Any, seen: set[int]) -> list[Any]:
    """Return the functions by which an inner graph chooses its way."""
    found: list[Any] = [b.choose for b in graph.branches]
    found += [edge.loop_condition for edge in graph.edges]
    found += [graph.reducers[name] for name in sorted(graph.reducers)]
    return [_described(function, seen, 0) for function in found]


def _methods(cls: type[Any], seen: set[int]) -> list[Any]:
    """Return the code of a class and of those that it derives from, up to the library's own."""
    own = [c for c in cls.__mro__ if not c.__module__.startswith(("mesh_nb.", "builtins"))]
    return [[k, _described(v, seen, 1)] for c in own for k, v in vars(c).items() if not k.startswith("__")]


def _described(value: Any, seen: set[int], depth: int) -> Any:
    """Return JSON that is equal for equal values; what cannot be compared becomes something unique."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if depth < DEPTH:
        deeper = functools.partial(_described, seen=seen, depth=depth + 1)
        if isinstance(value, (set, frozenset)):
            return ["set", *sorted(map(repr, cast("set[Any]", value)))]
        if isinstance(value, (list, tuple)):
            return [deeper(v) for v in cast("list[Any]", value)]
        if isinstance(value, Mapping):
            return [[str(k), deeper(v)] for k, v in cast("Mapping[Any, Any]", value).items()]
        if isinstance(value, Tool):
            return ["tool", value.name, value.description, deeper(value.schema), deeper(value.fn)]
        if isinstance(value, type):
            return _class(cast("type[Any]", value))
        if isinstance(value, inspect.Parameter):
            return str(value)
        if isinstance(value, functools.partial):
            made = cast("functools.partial[Any]", value)
            return ["partial", deeper(made.func), deeper(made.args), deeper(made.keywords)]
        fields = getattr(value, "__dataclass_fields__", None)
        if fields is not None:
            given = {name: getattr(value, name) for name in fields}
            return [type(value).__qualname__, _options(type(value), given, seen, depth + 1)]
        if _is_ours(type(value)) and hasattr(value, "__dict__"):
            inside = _options(type(value), vars(value), seen, depth + 1)
            return [type(value).__qualname__, inside, _model(value)]
        function = cast("Callable[..., Any]", getattr(value, "__func__", value))
        if hasattr(function, "__code__"):
            return _function(function, getattr(value, "__self__", None), seen, depth)
        if inspect.isbuiltin(value):
            return ["builtin", value.__module__, value.__qualname__]
    return ["object", type(value).__qualname__, os.urandom(16).hex()]


def _class(cls: type[Any]) -> Any:
    schema = getattr(cls, "model_json_schema", None)
    if schema is not None:
        return ["model", cls.__qualname__, schema()]
    return ["class", cls.__module__, cls.__qualname__]


def _function(function: Any, bound: Any, seen: set[int], depth: int) -> list[Any]:
    code = function.__code__
    if id(code) in seen:
        return ["function", code.co_name]
    seen.add(id(code))
    deeper = functools.partial(_described, seen=seen, depth=depth + 1)
    cells = [deeper(_cell(c)) for c in function.__closure__ or ()]
    named = {name: function.__globals__.get(name) for name in _names(code)}
    used = [
        [name, deeper(value)]
        for name, value in named.items()
        if isinstance(value, (bool, int, float, str, bytes))
        or (inspect.isfunction(value) and value.__module__ == function.__module__)
    ]
    return ["function", _code(code), cells, used, deeper(function.__defaults__), deeper(bound)]


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # It is not bound yet.
        return None


def _names(code: Any) -> list[str]:
    inside = [name for c in code.co_consts if hasattr(c, "co_code") for name in _names(c)]
    return list(dict.fromkeys([*code.co_names, *inside]))


def _code(code: Any) -> list[Any]:
    constants = [_code(c) if hasattr(c, "co_code") else _constant(c) for c in code.co_consts]
    return [code.co_name, code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)
