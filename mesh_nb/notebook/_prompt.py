"""The text of a `%%mesh` cell: `{{name}}` from the notebook's variables, everything else literal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import templates
from ..core.context import as_text
from ..core.errors import InputError, VariableResolutionError, nearest
from ._table import markdown_table

ROWS = 50
"""Rows of a table that a prompt carries; a note says how many were left out."""


def fill(prompt: str, namespace: Mapping[str, Any]) -> str:
    """Replace each `{{name}}`, `{{name.attribute}}`, `{{name.key}}` and `{{name.0}}` by the variable's text.

    Parameters: prompt; namespace, the notebook's variables. A DataFrame, or a list of records, becomes a
    Markdown table of at most ROWS rows. A substituted value is never resolved again. Names that could not be
    variables (`{{$x}}`, `{{a-b}}`) stay as they are. Raises VariableResolutionError for a name that does
    not exist.
    """
    return templates.substitute(prompt, lambda expression: _lookup(expression, namespace))


def _lookup(expression: str, namespace: Mapping[str, Any]) -> str:
    root, *path = expression.split(".")
    if not root.isidentifier():
        return f"{{{{{expression}}}}}"
    if root not in namespace:
        names = [n for n in namespace if not n.startswith("_")]
        close = nearest(root, names)
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
    if callable(value) and not hasattr(value, "columns"):
        raise InputError(f"{{{{{expression}}}}} in the prompt is a function; call it and use its result.")
    table = markdown_table(value, ROWS)
    return as_text(value) if table is None else table
