"""What a batch is over: a list, a mapping, a Series or a DataFrame, read by duck typing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ..core.errors import InputError, UnknownNameError, nearest, shown
from ._prompt import fill

NAMED = 5
"""Labels of missing inputs that a message names."""

_PLACE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """What a batch is over.

    labels, items : of the inputs, and the inputs of the runs. index : of pandas that the labels are of, else
    None. columns : of the table that they came from, none for other inputs. name : of a Series, else "input".
    table : the table, or the list of the inputs as they were given. named, rows : the columns that the prompt
    names, and the values that it was filled with, of each row. files : the attachments of each run, None
    where there are none.
    """

    labels: list[Any]
    items: list[Any]
    index: Any
    columns: list[str]
    name: str = "input"
    table: Any = None
    named: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    files: list[Any] | None = None


def read(inputs: Any, prompt: str | None, is_graph: bool, files: str | None = None) -> Inputs:
    """Return what a batch is over.

    Parameters: prompt, filled with each row, None for none; is_graph, whether the runs take rows as they are;
    files, the column of what is attached, which is no part of the rows then.
    Raises InputError for what is not many inputs, for none at all, for one that is missing and for rows that
    a model cannot take; UnknownNameError for a column that is named and that the rows do not have.
    """
    if prompt is not None and not isinstance(cast("Any", prompt), str):
        raise InputError(f"prompt= is text, not {shown(prompt)}.")
    labels, items, columns = _many(inputs)
    if not items:
        raise InputError("batch() got no inputs: there is nothing to run.")
    index: Any = getattr(inputs, "index", None) if hasattr(inputs, "iloc") else None
    frame = hasattr(inputs, "columns") and hasattr(inputs, "shape")
    called = getattr(inputs, "name", None) if columns is None and hasattr(inputs, "shape") else None
    name = called if isinstance(called, str) and called else "input"
    # What is added to a DataFrame in place later is no part of what was asked.
    table = (inputs.copy(deep=False) if index is not None else inputs) if frame else items
    all_columns, attached = columns or [], None
    if files is not None:
        attached, items, columns = _apart(files, items, columns)
    if prompt is None:
        items = _plain_items(labels, items, columns, is_graph)
        return Inputs(labels, items, index, all_columns, name, table, files=attached)
    if columns is None:
        _check_present(labels, items)
    rows = items if columns is not None else [{"input": item, name: item} for item in items]
    places = _places(prompt, columns or list(rows[0]), bool(attached))
    named = list(dict.fromkeys(column for column, _ in places.values()))
    items = [_filled(prompt, places, row) for row in rows]
    return Inputs(labels, items, index, all_columns, name, table, named, rows, attached)


def _apart(files: Any, items: list[Any], columns: list[str] | None) -> tuple[list[Any], list[Any], list[str]]:
    """Return what is attached to each row, and the rows and columns without it."""
    if not isinstance(files, str) or columns is None:
        raise InputError(
            f"files= of batch() is the name of a table's column that holds a file of each row, or a list of"
            f" them, not {shown(files)}{'' if columns is not None else ', and these inputs have no columns'}."
        )
    if files not in columns:
        raise UnknownNameError("column in files=", files, columns)
    found = [item.get(files) for item in items]
    attached = [
        None if is_missing(one) else list(one) if isinstance(one, (list, tuple)) else [one] for one in found
    ]
    rest = [{name: value for name, value in item.items() if name != files} for item in items]
    return attached, rest, [name for name in columns if name != files]


def _plain_items(labels: list[Any], items: list[Any], columns: list[str] | None, is_graph: bool) -> list[Any]:
    """Return the inputs of runs without a prompt."""
    if columns is not None and is_graph:
        return items
    if columns is not None:
        if len(columns) != 1:
            name = columns[0] if columns else "column"
            raise InputError(
                f"A model takes one text for each row, and the rows have {len(columns)} columns: say what is"
                f' asked, as in prompt="... {{{{{name}}}}}", or pass one column.'
            )
        items = [item.get(columns[0]) for item in items]
    _check_present(labels, items)
    return items if is_graph else [_text(item, "input") for item in items]


def _check_present(labels: list[Any], items: list[Any]) -> None:
    """Raise InputError for inputs that are missing."""
    missing = [label for label, item in zip(labels, items, strict=True) if is_missing(item)]
    if missing:
        names = ", ".join(map(shown, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
        are = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"{len(missing):,} of {len(items):,} inputs {are} missing, at {names}: drop or fill"
            f" {'it' if len(missing) == 1 else 'them'}."
        )


def _text(value: Any, name: str, path: str = "") -> str:
    """Return the text of a value, or of what lies in it. Raises as `fill`, for a value without a text too."""
    if isinstance(value, (str, int, float)) and not path:
        return str(value)
    given = name if name.isidentifier() else "value"
    try:
        return fill(f"{{{{{given}.{path}}}}}" if path else f"{{{{{given}}}}}", {given: value})
    except InputError:
        raise InputError(
            f"{shown(name)} of a row is of type {type(value).__name__}, which has no text: files= names the"
            " column of a table that holds files or pictures."
        ) from None


def is_missing(value: Any) -> bool:
    """Say whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or isinstance(value, (str, int)):
        return value is None
    try:
        return value != value and not hasattr(value, "__len__")
    except Exception:  # noqa: BLE001  what a foreign value's comparison raises, such as a signalling NaN's
        return type(value).__name__ in ("NAType", "Decimal")


def _many(inputs: Any) -> tuple[list[Any], list[Any], list[str] | None]:
    """Return labels, inputs and, of rows of a table, the names of its columns."""
    frame: Any = inputs
    if hasattr(frame, "collect_schema") and not hasattr(frame, "shape"):
        raise InputError("batch() asks for rows that are there: call .collect() on the LazyFrame first.")
    if hasattr(frame, "columns") and hasattr(frame, "shape"):
        return _rows(frame)
    if isinstance(inputs, Mapping):
        known = cast("Mapping[Any, Any]", inputs)
        items, columns = _records([_plain(item) for item in known.values()])
        return list(known), items, columns
    single = isinstance(inputs, (str, bytes)) or getattr(frame, "ndim", 1) == 0
    if single or not isinstance(inputs, Iterable):
        raise InputError(
            f"batch() runs a graph for each of many inputs, a list, a Series or a DataFrame, not for"
            f" {shown(inputs)}."
        )
    items, columns = _records([_plain(item) for item in cast("Iterable[Any]", inputs)])
    labels = list(frame.index) if hasattr(frame, "iloc") else list(range(len(items)))
    return labels, items, columns


def _records(items: list[Any]) -> tuple[list[Any], list[str] | None]:
    """Return records under names that are text, and these names; other inputs as they are, and None."""
    if not items or not all(isinstance(item, Mapping) for item in items):
        return items, None
    found = [{str(key): _plain(value) for key, value in item.items()} for item in items]
    return found, list(dict.fromkeys(key for item in found for key in item))


def _rows(frame: Any) -> tuple[list[Any], list[Any], list[str]]:
    arrow = hasattr(frame, "column_names")
    names = [str(name) for name in (frame.column_names if arrow else frame.columns)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"Two columns are called {shown(twice)}: rename one, each row is a dict.")
    pandas = hasattr(frame, "itertuples")
    found: Iterable[Sequence[Any]]
    if arrow:
        found = zip(*(column.to_pylist() for column in frame.columns), strict=True)
    else:
        found = frame.itertuples(index=False, name=None) if pandas else frame.iter_rows()
    items = [
        {name: None if is_missing(value) else _plain(value) for name, value in zip(names, row, strict=True)}
        for row in found
    ]
    return (list(frame.index) if pandas else list(range(len(items)))), items, names


def _plain(value: Any) -> Any:
    """Return a scalar of numpy or of Arrow as Python has it."""
    if hasattr(value, "as_py"):
        return value.as_py()
    scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if scalar else value


def _places(prompt: str, known: list[str], attached: bool) -> dict[str, tuple[str, str]]:
    """Return what in a prompt is a column, or lies in one: by its words there, its column and the rest."""
    columns = {name.strip(): name for name in known} | {name: name for name in known}
    found: dict[str, tuple[str, str]] = {}
    for words in _PLACE.findall(prompt):
        root, _, path = words.partition(".")
        if words in columns:
            found[words] = columns[words], ""
        elif root in columns:
            found[words] = columns[root], path
        elif root.isidentifier() or nearest(words, known) is not None:
            raise UnknownNameError("column in prompt=", root if root.isidentifier() else words, known)
    if not found and not attached:
        raise InputError(
            f'prompt= names no column, so every row would be asked the same: write "{{{{{known[0]}}}}}" where'
            " its value belongs."
        )
    return found


def _filled(prompt: str, places: Mapping[str, tuple[str, str]], row: Mapping[str, Any]) -> str:
    """Return the prompt with the row's values; braces around what is no column stay as they are."""

    def text(match: re.Match[str]) -> str:
        if match[1] not in places:
            return match[0]
        column, path = places[match[1]]
        value = row.get(column)
        return _text("" if is_missing(value) else value, column, path)

    return _PLACE.sub(text, prompt)
