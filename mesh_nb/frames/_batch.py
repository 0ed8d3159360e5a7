"""One row for each input of a batch: the answer and its fields, what it cost, how it ended."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import pyarrow as pa

from ..core._scrub import hidden
from ._columns import CATEGORY, INTEGER, NUMBER, TEXT, Column, build

COLUMNS = (
    Column("text", "text", TEXT, "", "The answer, or as much of it as came."),
    Column("status", "status", CATEGORY, "", "How the run ended: completed, failed, ...; or not started."),
    Column("error", "error", TEXT, "", "What went wrong, NA when nothing did."),
    Column("prompt_tokens", "usage.prompt_tokens", INTEGER, "tokens", "Input, cached tokens included."),
    Column("completion_tokens", "usage.completion_tokens", INTEGER, "tokens", "Output, reasoning included."),
    Column("cost_usd", "cost_usd", NUMBER, "USD", "What the run cost; NA when a call has no known price."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "From the start of the run to its end."),
    Column("run_id", "run_id", TEXT, "", "The run; NA for one that has not begun."),
)
_NESTED = (list, tuple, set, frozenset, dict, bytes, bytearray)


def batch_df(batch: Any, inputs: bool = False) -> pd.DataFrame:
    """Return a DataFrame with one row for each input of a Batch, under the labels of the inputs.

    Parameters: inputs, whether the columns of the inputs come first.

    After the text come the fields of the rows; a column that the table of the inputs has as well, or that is
    there twice, is called "output_" and its name. The other columns: see COLUMNS (name, dtype, unit, doc),
    also in `df.attrs["columns"]`.
    """
    records: list[dict[str, Any]] = [
        {
            "text": hidden(row.text) if row.id is not None else None,
            "status": row.status,
            "error": None if row.error is None else hidden(row.error),
            "usage": row.usage,
            "cost_usd": None if row.unpriced_calls else row.cost_usd,
            "duration_ms": row.duration_ms,
            "run_id": row.id,
        }
        for row in batch.rows
    ]
    frame = build(records, COLUMNS)
    found: list[dict[str, Any]] = [row.fields for row in batch.rows]
    taken: set[str] = set(
        batch.inputs.columns or ([batch.inputs.name] if inputs or batch.inputs.name != "input" else [])
    )

    def free(name: str) -> str:
        while name in taken:
            name = f"output_{name}"
        taken.add(name)
        return name

    ours = {column.name: free(column.name) for column in COLUMNS}
    frame = frame.rename(columns=ours)
    frame.attrs["columns"] = {ours[name]: what for name, what in frame.attrs["columns"].items()}
    for at, name in enumerate(dict.fromkeys(name for fields in found for name in fields), 1):
        frame.insert(at, free(name), _series([fields.get(name) for fields in found]))
    index = batch.inputs.index
    frame.index = _labels(batch.inputs.labels) if index is None else index
    if inputs:
        return _beside(batch.inputs, frame)
    if not frame.index.is_unique:
        warnings.warn(
            "Labels repeat, so a join by them would multiply rows: to_pandas(inputs=True) has the inputs and"
            " the answers side by side.",
            stacklevel=3,
        )
    return frame


def _labels(labels: list[Any]) -> pd.Index:
    """Return labels as they are: tuples are no levels."""
    return pd.Index(labels, tupleize_cols=False)


def _beside(inputs: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the inputs, and after them those of the answers."""
    table: Any = inputs.table
    if isinstance(table, list):
        columns = {name: [item.get(name) for item in table] for name in inputs.columns} or {
            inputs.name: table
        }
        given: Any = pd.DataFrame({name: _series(values) for name, values in columns.items()})
    else:
        given = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    given = given.set_axis(frame.index, axis=0)
    found = pd.concat([given, frame], axis=1)
    found.attrs = dict(frame.attrs)
    return found


def _series(values: list[Any]) -> Any:
    """Return values of one kind under an Arrow dtype, others as the objects that they are."""
    shown = [hidden(value) if isinstance(value, str) else value for value in values]
    if not any(isinstance(value, _NESTED) for value in values):
        try:
            found = pa.array([_whole(value) for value in shown], from_pandas=True)
        except (pa.ArrowException, OverflowError):
            pass
        else:
            kind = pa.string() if pa.types.is_null(found.type) else found.type
            return pd.Series(found.cast(kind), dtype=pd.ArrowDtype(kind))
    return pd.Series(shown, dtype=object)


def _whole(value: Any) -> Any:
    """Return text that UTF-8 can say."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
