"""A DataFrame as a Markdown table, by duck typing: pandas, polars, or a list of records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CELL = 500
"""Characters of one cell."""

MISSING = {"None", "nan", "NaT", "<NA>"}


def markdown_table(value: Any, rows: int) -> str | None:
    """Return a table as Markdown with at most `rows` rows and a note on what was left out.

    An index has columns too, but for one of nameless row numbers. Returns None when the value is neither a
    frame, a series nor a list of records.
    """
    if hasattr(value, "to_frame") and not hasattr(value, "columns"):
        value = value.to_frame(index=False) if hasattr(value, "to_series") else value.to_frame()
    if hasattr(value, "columns") and hasattr(value, "shape"):
        total = int(value.shape[0])
        index = _index(value)
        names = [*index, *(_name(name) for name in value.columns)]
        return _render(names, _frame_rows(value.head(rows), len(index)), total)
    if isinstance(value, list) and value and all(isinstance(r, Mapping) for r in value):
        records: list[Mapping[Any, Any]] = value
        keys = list(dict.fromkeys(key for record in records for key in record))
        shown = ([record.get(key, "") for key in keys] for record in records[:rows])
        return _render([str(key) for key in keys], shown, len(records))
    return None


def _index(frame: Any) -> list[str]:
    """Return the names of the index's columns, none for row numbers, as they are after a filter too."""
    index = getattr(frame, "index", None)
    if index is None or not hasattr(index, "names"):
        return []
    names = list(index.names)
    if names == [None] and getattr(getattr(index, "dtype", None), "kind", "") in "iu":
        return []
    return ["" if name is None else _name(name) for name in names]


def _name(name: Any) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _frame_rows(frame: Any, levels: int) -> Iterable[Iterable[Any]]:
    if not hasattr(frame, "itertuples"):
        return frame.iter_rows()
    if levels < 2:
        return frame.itertuples(index=levels == 1, name=None)
    return ((*row[0], *row[1:]) for row in frame.itertuples(index=True, name=None))


def _render(names: list[str], rows: Iterable[Iterable[Any]], total: int) -> str:
    lines = [_line(names), _line(["---"] * len(names))]
    lines += [_line([_cell(value) for value in row]) for row in rows]
    shown = len(lines) - 2
    if shown < total:
        lines += ["", f"(The first {shown:,} of {total:,} rows.)"]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    if text in MISSING:
        return ""
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
