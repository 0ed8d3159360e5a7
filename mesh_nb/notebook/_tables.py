"""The beginning of a table in a file, for the live view and for static output. Pure."""

from __future__ import annotations

import base64
import binascii
import csv
import functools
import io
import itertools
from collections.abc import Iterable
from typing import Any

from ..core.events import dumps, loads
from ._words import CELL, shorten

ROWS, COLUMNS = 50, 50
LIMIT = 8_000_000
"""Characters of base64 above which a file is not read for a preview."""

_TEXT = {"text/csv": ",", "application/csv": ",", "text/tab-separated-values": "\t"}
_PARQUET = {"application/vnd.apache.parquet", "application/x-parquet", "application/parquet"}
_ENDINGS = {".csv": "text/csv", ".tsv": "text/tab-separated-values", ".parquet": "application/parquet"}
_ANY = {"application/octet-stream", "text/plain", ""}


@functools.lru_cache(maxsize=64)
def preview(name: str, mime_type: str, content: str) -> dict[str, Any] | None:
    """Return the first rows of a CSV, TSV or Parquet file and how many it has; None for any other.

    Parameters: name and mime_type, as the file was announced; content, base64. Returns {"rows": records,
    "total": rows in the file}; what cannot be read is None as well.
    """
    kind = mime_type.partition(";")[0].strip().lower()
    if kind in _ANY:
        kind = next((m for end, m in _ENDINGS.items() if name.lower().endswith(end)), kind)
    if len(content) > LIMIT or (kind not in _TEXT and kind not in _PARQUET):
        return None
    try:
        data = base64.b64decode(content, validate=True)
        found = _separated(data, _TEXT[kind]) if kind in _TEXT else _parquet(data)
    except (binascii.Error, ValueError, csv.Error, OSError, ImportError):
        return None
    return found if found and found["rows"] else None


def _separated(data: bytes, separator: str) -> dict[str, Any] | None:
    text = data.decode("utf-8-sig", "replace")
    first = text.partition("\n")[0]
    if separator == "," and first.count(";") > first.count(","):
        separator = ";"
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = next(lines, [])
    if len(names) < 2 or "\x00" in text:
        return None
    written = (line for line in lines if line)
    head = list(itertools.islice(written, ROWS))
    return {"rows": _records(names, head), "total": len(head) + sum(1 for _ in written)}


def _parquet(data: bytes) -> dict[str, Any] | None:
    import pyarrow.parquet

    table: Any = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    batch = next(table.iter_batches(batch_size=ROWS), None)
    if batch is None:
        return None
    rows: list[dict[str, Any]] = loads(dumps(batch.to_pylist()))
    names = list(batch.schema.names)
    return {"rows": _records(names, [list(r.values()) for r in rows]), "total": table.metadata.num_rows}


def _records(names: list[str], lines: Iterable[list[Any]]) -> list[dict[str, Any]]:
    """Return lines as records; two columns of one name keep both, and a name that is empty gets a number."""
    known: list[str] = []
    for at, name in enumerate(names[:COLUMNS], 1):
        title = shorten(name, CELL) or f"column {at}"
        known.append(f"{title} ({at})" if title in known else title)
    return [{n: _plain(v) for n, v in zip(known, line, strict=False)} for line in lines]


def _plain(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        value = dumps(value).decode()
    return shorten(value, CELL) if isinstance(value, str) else value
