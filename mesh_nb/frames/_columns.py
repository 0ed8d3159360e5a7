"""A frame is a table of columns: what each is called, where it comes from, and in what unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

TEXT, INTEGER, NUMBER, TIME, CATEGORY = "text", "integer", "number", "time", "category"

_ARROW = {
    TEXT: pa.string(),
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    TIME: pa.timestamp("us", tz="UTC"),
    CATEGORY: pa.string(),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Parameters: name; path, the key in a row's record, parts separated by dots; dtype, one of text, integer,
    number, time (UTC), category; unit, "" for none; doc, one sentence.
    """

    name: str
    path: str
    dtype: str
    unit: str
    doc: str

    def of(self, record: Mapping[str, Any]) -> Any:
        """Return the value of this column in a record, None when it is absent or not of the dtype."""
        value: Any = record
        for part in self.path.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return _fit(value, self.dtype)


def _fit(value: Any, dtype: str) -> Any:
    """A log may hold anything; a value of another kind is missing rather than an error."""
    if value is None or isinstance(value, bool):
        return None
    if dtype in (TEXT, CATEGORY):
        return value if isinstance(value, str) else str(value)
    if not isinstance(value, (int, float)) or value != value:
        return None
    if dtype == INTEGER:
        return value if isinstance(value, int) and abs(value) < 2**63 else None
    if dtype == TIME:
        return int(value * 1e6) if abs(value) < 1e11 else None
    return float(value)


def build(records: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    """Return a DataFrame with every column, whatever the records hold: Arrow dtypes, missing values as NA."""
    data: dict[str, Any] = {}
    for column in columns:
        kind = _ARROW[column.dtype]
        array = pa.array([column.of(record) for record in records], type=kind)
        series = pd.Series(pd.arrays.ArrowExtensionArray(array), name=column.name)
        data[column.name] = series.astype("category") if column.dtype == CATEGORY else series
    frame = pd.DataFrame(data, copy=False)
    frame.attrs["columns"] = {c.name: {"unit": c.unit, "doc": c.doc} for c in columns}
    return frame
