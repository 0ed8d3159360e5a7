"""What a flow's conditions mean, and the one place where its code is executed, once the caller allows it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

from .errors import NO_PYTHON, InputError, UnknownNameError, shown, told


def _less(value: Any, other: Any) -> bool:
    return float(value) < float(other)


OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "equal": lambda value, other: value == other or str(value) == str(other),
    "contains": lambda value, other: str(other) in (value if isinstance(value, (list, str)) else str(value)),
    "isempty": lambda value, other: value in (None, "", [], {}),
    "greaterthan": lambda value, other: _less(other, value),
    "lessthan": _less,
}
_SAME = {"equals": "equal", "empty": "isempty", "larger": "greaterthan", "smaller": "lessthan"}


def chooser(node_id: str, record: Mapping[str, Any]) -> Callable[[Any], bool]:
    """Return the test of a condition with field, operation and value. Raises UnknownNameError."""
    given = str(record.get("operation") or "equal")
    name = given.lower().replace("_", "").replace(" ", "")
    negated = name.startswith(("not", "isnot"))
    name = name.removeprefix("isnot").removeprefix("not") if negated else name
    name = _SAME.get(name, name)
    if name not in OPERATIONS:
        known = ["equal", "notEqual", "contains", "notContains", "isEmpty", "greaterThan", "lessThan"]
        raise UnknownNameError(f"operation of node {node_id!r}", given, known)
    test, field, other = OPERATIONS[name], str(record.get("field") or ""), record.get("value")

    def holds(input: Any) -> bool:
        return test(_field(input, field), other) is not negated

    return holds


def _field(value: Any, path: str) -> Any:
    for key in filter(None, path.removeprefix("$.").split(".")):
        if isinstance(value, Mapping):
            value = cast("Mapping[str, Any]", value).get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(key)]
        else:
            return None
    return value


def expression(text: str) -> Callable[[Any], bool]:
    """Return a test of `input` and `output`, which are the same, from an expression of Python, executed.

    Raises InputError when it is none.
    """
    try:
        code = compile(text, "<expression of a flow>", "eval")
    except NO_PYTHON as error:
        raise InputError(f"The expression {shown(text)} of the flow is not Python: {told(error)}.") from None

    def holds(input: Any) -> bool:
        return bool(eval(code, {"input": input, "output": input}))

    return holds


def function(name: str, text: str, description: Any) -> Callable[..., Any]:
    """Return the function of this name, else the only one, that Python code defines; the code is executed.

    Raises InputError when it fails or defines none.
    """
    names: dict[str, Any] = {"__name__": f"flow_{name}"}
    try:
        exec(compile(text, f"<tool {name} of a flow>", "exec"), names)
    except Exception as error:
        raise InputError(f"The code of tool {name!r} in the flow fails: {told(error)}.") from error
    made = [f for f in names.values() if inspect.isfunction(f) and f.__module__ == names["__name__"]]
    found = names.get(name) if inspect.isfunction(names.get(name)) else made[0] if len(made) == 1 else None
    if found is None:
        raise InputError(f"The code of tool {name!r} in the flow defines no function of that name.")
    if description and not found.__doc__:
        found.__doc__ = str(description)
    return cast("Callable[..., Any]", found)
