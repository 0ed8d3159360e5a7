"""The text of a `%%mesh` cell: `{{name}}` from the notebook's variables, everything else literal."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping, Set
from typing import Any

from ..core import templates
from ..core.errors import NO_PYTHON, InputError, VariableResolutionError, nearest
from ..core.events import dumps
from ..core.run import Run
from ._table import markdown_table

ROWS = 50
"""Rows of a table that a prompt carries; a note says how many were left out."""

_EXPRESSION = re.compile(r"\{\{([^{}]+)\}\}")
_FORMATTED = re.compile(r"(\w+)[\w.]*(?:![rsa]|:[^\s:]+)+")
_COMPUTED = (ast.Call, ast.Subscript, ast.BinOp)
_IPYTHONS = ("In", "Out", "exit", "get_ipython", "open", "quit")
_AS_JSON = (Mapping, list, tuple, Set)
_ADDRESS = re.compile(r"<.* at 0x[0-9a-f]+>|<PIL\.")


def fill(prompt: str, namespace: Mapping[str, Any]) -> str:
    """Replace each `{{name}}`, `{{name.attribute}}`, `{{name.key}}` and `{{name.0}}` by the variable's text.

    Parameters: prompt; namespace, the notebook's variables. A DataFrame, or a list of records, becomes a
    Markdown table of at most ROWS rows, on lines of its own; a Run its answer; a list or dict JSON; anything
    else what `str` makes of it. A substituted value is never resolved again. Braces around what could not be
    a variable (`{{$x}}`, `{{a-b}}`) stay as they are.

    Raises VariableResolutionError for a name that does not exist, and for an expression of the notebook's
    variables, such as `{{df.head()}}`; InputError for a value without a text.
    """
    for match in _EXPRESSION.finditer(prompt):
        _refuse_code(match[1], namespace)
    return templates.substitute(prompt, lambda expression: _lookup(expression, namespace), place=_place)


def _refuse_code(code: str, namespace: Mapping[str, Any]) -> None:
    """Refuse code of the notebook's own variables: it looks like a variable and would go out as it is."""
    if _names_in_code(code.strip()) & set(variables(namespace)):
        raise VariableResolutionError(
            f"{{{{{code.strip()}}}}} in the prompt is code, and only names and attributes are replaced."
            " Give it a name in a cell above, or use --raw to send the braces as they are."
        )


def _names_in_code(code: str) -> set[str]:
    """Return the names in a call, an index, a sum or a formatted value; none for other texts."""
    formatted = _FORMATTED.fullmatch(code)
    if formatted is not None:
        return {formatted[1]}
    try:
        nodes = list(ast.walk(ast.parse(code, mode="eval")))
    except NO_PYTHON:
        return set()
    computed = any(
        isinstance(n, _COMPUTED) and not isinstance(getattr(n, "op", None), ast.Sub) for n in nodes
    )
    return {n.id for n in nodes if isinstance(n, ast.Name)} if computed else set()


def variables(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of a notebook that its user gave."""
    return [name for name in namespace if not name.startswith("_") and name not in _IPYTHONS]


def _place(text: str, before: str, after: str) -> str:
    """Give a table lines of its own: beside other words it is no table."""
    if not isinstance(text, _Table):
        return text
    above = "" if not before or before.endswith("\n") else "\n\n"
    below = "" if not after or after.startswith("\n\n") else "\n" if after.startswith("\n") else "\n\n"
    return f"{above}{text}{below}"


class _Table(str):
    """Text that is a table."""


def _lookup(expression: str, namespace: Mapping[str, Any]) -> str:
    root, *path = expression.split(".")
    if not root.isidentifier():
        return f"{{{{{expression}}}}}"
    if root not in namespace:
        close = nearest(root, variables(namespace))
        guess = f" Did you mean {close!r}?" if close else ""
        raise VariableResolutionError(
            f"{{{{{expression}}}}} in the prompt: the notebook has no variable {root!r}.{guess}"
            " Define it in a cell above, or use --raw to send the braces as they are."
        )
    value = namespace[root]
    for step in path:
        value = _step(value, step, expression)
    return _text(value, expression)


def _step(value: Any, step: str, expression: str) -> Any:
    if isinstance(value, Mapping) and step in value:
        return value[step]
    if isinstance(value, (list, tuple)) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    frame: Any = value
    columns = getattr(frame, "columns", None)
    if columns is not None and step in list(columns):
        return frame[[step]]
    if not step.startswith("_") and hasattr(value, step):
        return getattr(value, step)
    known = [str(k) for k in value] if isinstance(value, Mapping) else [str(c) for c in columns or ()]
    close = nearest(step, known)
    guess = f" Did you mean {close!r}?" if close else ""
    kind = type(value).__name__
    raise VariableResolutionError(f"{{{{{expression}}}}} in the prompt: {kind} has no {step!r}.{guess}")


def _text(value: Any, expression: str) -> str:
    where = f"{{{{{expression}}}}} in the prompt"
    if isinstance(value, str):
        return value
    if callable(value) and not hasattr(value, "columns"):
        raise InputError(f"{where} is a function; call it and use its result.")
    if isinstance(value, Run):
        return value.text
    table = markdown_table(value, ROWS)
    if table is not None:
        return _Table(table)
    if isinstance(value, _AS_JSON) or dataclasses.is_dataclass(value) or hasattr(value, "model_dump"):
        return dumps(value).decode()
    text = str(value)
    if isinstance(value, (bytes, bytearray)) or hasattr(value, "savefig") or _ADDRESS.search(text):
        kind = type(value).__name__
        raise InputError(f"{where} is of type {kind}, which has no text; a file or picture goes by --attach.")
    return text
