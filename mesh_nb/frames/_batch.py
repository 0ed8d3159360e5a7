"""One row for each input of a batch: the answer and its fields, what it cost, how it ended."""

from __future__ import annotations

from typing import Any

import pandas as pd

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
_SCALARS = (str, int, float, bool, type(None))


def batch_df(batch: Any) -> pd.DataFrame:
    """Return a DataFrame with one row for each input of a Batch, under the labels of the inputs.

    After the text come the fields of the rows; a column that the table of the inputs has as well, or that is
    there twice, is called "output_" and its name. The other columns: see COLUMNS (name, dtype, unit, doc),
    also in `df.attrs["columns"]`.
    """
    records: list[dict[str, Any]] = [
        {
            "text": row.text if row.id is not None else None,
            "status": row.status,
            "error": row.error,
            "usage": row.usage,
            "cost_usd": None if row.unpriced_calls else row.cost_usd,
            "duration_ms": row.duration_ms,
            "run_id": row.id,
        }
        for row in batch.rows
    ]
    frame = build(records, COLUMNS)
    found: list[dict[str, Any]] = [row.fields for row in batch.rows]
    taken: set[str] = set(batch.inputs.columns)

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
    frame.index = pd.Index(batch.inputs.labels) if index is None else index
    return frame


def _series(values: list[Any]) -> Any:
    """Return values of one kind under an Arrow dtype, others as the objects that they are."""
    found: Any = pd.Series(values, dtype=object)
    if all(isinstance(value, _SCALARS) for value in values):
        return found.convert_dtypes(dtype_backend="pyarrow")
    return found
