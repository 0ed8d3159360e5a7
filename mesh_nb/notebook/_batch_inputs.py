"""What a batch is over: a list, a mapping, a Series or a DataFrame, read by duck typing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from ..core.errors import InputError, UnknownNameError, shown
from ._prompt import fill

NAMED = 5
"""Labels of missing inputs that a message names."""

_PLACE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """What a batch is over.

    labels, items : of the inputs, and the inputs of the runs. index : of pandas that the labels are of, else
    None. columns : of the table that they came from, none for other inputs.
    """

    labels: list[Any]
    items: list[Any]
    index: Any
    columns: list[str]


def read(inputs: Any, prompt: str | None, is_graph: bool) -> Inputs:
    """Return what a batch is over.

    Parameters: prompt, filled with each row, None for none; is_graph, whether the runs take rows as they are.
    Raises InputError for what is not many inputs, for none at all, for one that is missing and for rows that
    a model cannot take; UnknownNameError for a column that a prompt names and the rows do not have.
    """
    if prompt is not None and not isinstance(cast("Any", prompt), str):
        raise InputError(f"prompt= is text, not {shown(prompt)}.")
    labels, items, columns = _many(inputs)
    index: Any = getattr(inputs, "index", None) if hasattr(inputs, "iloc") else None
    if not items:
        raise InputError("batch() got no inputs: there is nothing to run.")
    if prompt is not None:
        known = columns or ["input"]
        _check_names(prompt, known)
        rows = [{name: item.get(name) for name in known} if columns else {"input": item} for item in items]
        return Inputs(labels, [_filled(prompt, row) for row in rows], index, columns or [])
    if columns is not None and not is_graph:
        if len(columns) > 1:
            raise InputError(
                f"A model takes one text for each row, and the rows have {len(columns)} columns: say what is"
                f' asked, as in prompt="... {{{{{columns[0]}}}}}", or pass one column.'
            )
        items = [item.get(columns[0]) for item in items]
    if columns is None or not is_graph:
        missing = [label for label, item in zip(labels, items, strict=True) if is_missing(item)]
        if missing:
            names = ", ".join(map(shown, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
            raise InputError(
                f"{len(missing):,} of {len(items):,} inputs are missing, at {names}: drop or fill them."
            )
    return Inputs(labels, items, index, columns or [])


def is_missing(value: Any) -> bool:
    """Say whether a value is None, NaN, NaT or pandas' NA."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _many(inputs: Any) -> tuple[list[Any], list[Any], list[str] | None]:
    """Return labels, inputs and, of rows of a table, the names of its columns."""
    frame: Any = inputs
    if hasattr(frame, "columns") and hasattr(frame, "shape"):
        return _rows(frame)
    if isinstance(inputs, Mapping):
        known = cast("Mapping[Any, Any]", inputs)
        items = [_plain(item) for item in known.values()]
        return list(known), items, _keys(items)
    if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise InputError(
            f"batch() runs a graph for each of many inputs, a list, a Series or a DataFrame, not for"
            f" {shown(inputs)}."
        )
    items = [_plain(item) for item in cast("Iterable[Any]", inputs)]
    labels = list(frame.index) if hasattr(frame, "iloc") else list(range(len(items)))
    return labels, items, _keys(items)


def _keys(items: list[Any]) -> list[str] | None:
    """Return the keys of records, None for other inputs."""
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return [str(key) for key in dict.fromkeys(key for item in items for key in item)]


def _rows(frame: Any) -> tuple[list[Any], list[Any], list[str]]:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"Two columns are called {shown(twice)}: rename one, each row is a dict.")
    pandas = hasattr(frame, "itertuples")
    found = frame.itertuples(index=False, name=None) if pandas else frame.iter_rows()
    items = [
        {name: None if is_missing(value) else _plain(value) for name, value in zip(names, row, strict=True)}
        for row in found
    ]
    return (list(frame.index) if pandas else list(range(len(items)))), items, names


def _plain(value: Any) -> Any:
    """Return a scalar of numpy as Python has it."""
    scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if scalar else value


def _check_names(prompt: str, known: list[str]) -> None:
    named = [name for name in _PLACE.findall(prompt) if name in known or name.split(".")[0].isidentifier()]
    for name in named:
        if name not in known and name.split(".")[0] not in known:
            raise UnknownNameError("column in prompt=", name.split(".")[0], known)
    if not named:
        raise InputError(
            f'prompt= names no column, so every row would be asked the same: write "{{{{{known[0]}}}}}" where'
            " its value belongs."
        )


def _filled(prompt: str, row: Mapping[str, Any]) -> str:
    """Return the prompt with the row's values; braces around what is no column stay as they are."""

    def text(match: re.Match[str]) -> str:
        name, _, path = match[1].partition(".") if match[1] not in row else (match[1], "", "")
        if name not in row:
            return match[0]
        value = "" if is_missing(row[name]) else row[name]
        return fill(f"{{{{value.{path}}}}}" if path else "{{value}}", {"value": value})

    return _PLACE.sub(text, prompt)
