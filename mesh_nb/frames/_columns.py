"""A frame is a table of columns: what each is called, where it comes from, and in what unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..core.events import dumps

TEXT, INTEGER, NUMBER, TIME, CATEGORY, JSON = "text", "integer", "number", "time", "category", "json"

_ARROW: dict[str, pa.DataType] = {
    TEXT: pa.string(),
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    TIME: pa.timestamp("us", tz="UTC"),
    CATEGORY: pa.dictionary(pa.int32(), pa.string()),
    JSON: pa.string(),
}
_compute = cast("Any", pc)  # its functions are made when it is imported
_WORDS = frozenset({TEXT, CATEGORY})
BATCH = 2000
"""Rows that wait as Python values before they become Arrow arrays: more would keep the collector busy."""

_SURE: dict[str, set[type]] = {
    TEXT: {str},
    CATEGORY: {str},
    INTEGER: {int},
    NUMBER: {int, float},
    TIME: {int, float},
}
"""Kinds of values that Arrow takes as they are, or refuses."""
MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Parameters: name; path, the key in a row's record, parts separated by dots; dtype, one of text, integer,
    number, time (UTC), category, json (any value, as JSON text); unit, "" for none; doc, one sentence.
    """

    name: str
    path: str
    dtype: str
    unit: str
    doc: str


def fit(value: Any, dtype: str) -> Any:
    """Return a value as the dtype has it, None when it is of another kind: a log may hold anything."""
    if value is None:
        return None
    if dtype == JSON:
        return as_json_text(value)
    if isinstance(value, bool):
        return None
    if dtype in _WORDS:
        return _clean(value if isinstance(value, str) else str(value))
    if not isinstance(value, (int, float)) or value != value:
        return None
    if dtype == INTEGER:
        return value if isinstance(value, int) and abs(value) < 2**63 else None
    if dtype == TIME:
        return int(value * 1e6) if abs(value) < 1e11 else None
    return float(value) if abs(value) < 1e308 else None


def as_json_text(value: Any) -> str | None:
    """Return any value as JSON text, None for None."""
    return None if value is None else dumps(value).decode()


def _clean(text: str) -> str:
    """Return text that UTF-8 can say: JSON can hold half a surrogate pair."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Table:
    """Rows as they come, kept as Arrow columns.

    Parameters: columns. `problems` collects what could not be read, one sentence each, for
    `df.attrs["problems"]`.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.problems: list[str] = []
        self._plan = [column.path.partition(".")[::2] for column in columns]
        self._waiting: list[Mapping[str, Any]] = []
        self._chunks: list[list[pa.Array]] = [[] for _ in columns]

    def add(self, record: Mapping[str, Any]) -> None:
        """Take a record as a row, to be looked into later: it is not changed from now on.

        A value that is absent or not of its column's dtype is a missing one.
        """
        self._waiting.append(record)
        if len(self._waiting) >= BATCH:
            self._flush()

    def block(self, values: Sequence[Sequence[Any]]) -> None:
        """Take many rows, column by column, JSON as text; a value of a wrong kind becomes a missing one."""
        self._flush()
        for chunks, column, found in zip(self._chunks, self.columns, values, strict=True):
            chunks.append(_array(found, column.dtype))

    def _flush(self) -> None:
        if self._waiting:
            records, self._waiting = self._waiting, []
            found: dict[str, list[Any]] = {}
            for chunks, column, (name, inner) in zip(self._chunks, self.columns, self._plan, strict=True):
                values = found.get(name)
                if values is None:
                    values = found[name] = [record.get(name) for record in records]
                if inner:
                    values = [value.get(inner) if value.__class__ is dict else None for value in values]
                if column.dtype == JSON:
                    values = [None if value is None else as_json_text(value) for value in values]
                chunks.append(_checked(values, column.dtype))

    def arrow(self) -> pa.Table:
        """Return an Arrow table."""
        self._flush()
        arrays = [
            pa.chunked_array(chunks, type=_ARROW[column.dtype])
            for chunks, column in zip(self._chunks, self.columns, strict=True)
        ]
        return pa.table(arrays, names=[c.name for c in self.columns])

    def frame(self) -> pd.DataFrame:
        """Return a DataFrame with every column, whatever the rows hold: Arrow dtypes, missing values NA."""
        table, data = self.arrow(), {}
        self._chunks = [[] for _ in self.columns]
        for column in self.columns:
            found = table.column(column.name)
            data[column.name] = _categorical(found) if column.dtype == CATEGORY else _series(found)
        frame = pd.DataFrame(data, copy=False)
        frame.attrs["columns"] = {c.name: {"unit": c.unit, "doc": c.doc} for c in self.columns}
        if len(self.problems) > MAX_PROBLEMS:
            self.problems[MAX_PROBLEMS:] = [f"And {len(self.problems) - MAX_PROBLEMS} more of the kind."]
        frame.attrs["problems"] = self.problems
        return frame


def build(records: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> pd.DataFrame:
    """Return a DataFrame of records: each gives a row."""
    table = Table(columns)
    for record in records:
        table.add(record)
    return table.frame()


def _checked(values: Sequence[Any], dtype: str) -> pa.Array:
    """Return values of which each may be of any kind."""
    kinds = {*map(type, values)} - {type(None)}
    if dtype == JSON or kinds <= _SURE[dtype]:
        found = _array(values, dtype)
        # NaN and infinity come from outside: they are no numbers to add up.
        if dtype != NUMBER or _compute.all(_compute.less(_compute.abs(found), 1e308)).as_py() is not False:
            return found
    return _typed([fit(value, dtype) for value in values], dtype)


def _typed(values: Sequence[Any], dtype: str) -> pa.Array:
    if dtype == CATEGORY:
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, _ARROW[dtype])


def _array(values: Sequence[Any], dtype: str) -> pa.Array:
    try:
        if dtype != TIME:
            return _typed(values, dtype)
        seconds = pa.array(values, pa.float64())
        missing = seconds.is_null().to_numpy(zero_copy_only=False)
        numbers = seconds.fill_null(0.0).to_numpy()
        with np.errstate(invalid="ignore"):
            missing = missing | ~(np.abs(numbers) < 1e11) | (numbers == 0)  # 0: no clock told it
            micros = (np.where(missing, 0.0, numbers) * 1e6).astype(np.int64)
        return pa.array(micros, pa.int64(), mask=missing).cast(_ARROW[TIME])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        # Something that the log should not hold: it costs its block a slower way.
        kind = TEXT if dtype == JSON else dtype  # these are texts already
        return _typed([fit(value, kind) for value in values], dtype)


def _series(found: pa.ChunkedArray) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(found), copy=False)


def _categorical(found: pa.ChunkedArray) -> pd.Series:
    """Make a categorical whose categories are sorted, so that reports do not depend on the order of runs."""
    whole = found.unify_dictionaries().combine_chunks() if found.num_chunks else pa.array([], found.type)
    encoded = cast("Any", whole)
    names: list[str] = encoded.dictionary.to_pylist() if len(encoded) else []
    ranked = sorted(range(len(names)), key=names.__getitem__)
    place = np.full(len(names) + 1, -1, dtype=np.int32)
    place[ranked] = np.arange(len(names), dtype=np.int32)
    codes = place[encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)]
    categories = pd.Index(pd.arrays.ArrowExtensionArray(pa.array([names[i] for i in ranked], pa.string())))
    return pd.Series(pd.Categorical.from_codes(codes, categories))
