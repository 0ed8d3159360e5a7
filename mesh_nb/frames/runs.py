"""One row for each run: what was asked, how it ended, what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..core._named import named_options
from ..core.context import as_text
from ..core.events import ENDINGS, EventType, ExecutionEvent
from . import _calls, _sums
from ._columns import CATEGORY, INTEGER, NUMBER, TEXT, TIME, Column, Table
from ._lines import Log
from ._load import fill

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position among the runs of the frame, oldest first, from 0."),
    Column("status", "status", CATEGORY, "", "running, completed, failed, cancelled, interrupted, ..."),
    Column("graph_id", "start.graph_id", CATEGORY, "", "The graph."),
    Column("session_id", "start.session_id", TEXT, "", "The session."),
    Column("notebook", "header.notebook", CATEGORY, "", "The notebook whose cell started the run."),
    Column("cell", "header.cell", CATEGORY, "", "The cell that started the run."),
    Column("execution", "header.execution", CATEGORY, "", "The execution of that cell, such as In [3]."),
    Column("started_at", "started_at", TIME, "UTC", "When the run began."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "From its beginning to its end; NA without an end."),
    Column("models", "models", TEXT, "", "The models that answered, separated by commas."),
    *_sums.COLUMNS,
    Column("input", "input", TEXT, "", "The beginning of what was asked."),
    Column("text", "text", TEXT, "", "The beginning of the answer."),
    Column("error", "error", TEXT, "", "What went wrong."),
)
TYPES = (*_calls.TYPES, *sorted(ENDINGS))
_START = EventType.EXECUTION_START
PREVIEW = 200
"""Characters of input and text."""


@named_options
def runs_df(source: Any = None, *, since: Any = None, price: str = "current") -> pd.DataFrame:
    """Return a DataFrame with one row for each run, oldest first.

    Parameters: as for `calls_df`. Columns: see `mesh_nb.frames.runs.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    _calls.priced(price)
    table, order = Table(COLUMNS), iter(range(1 << 62))
    fill(table, source, TYPES, lambda run_id: _Fold(run_id, price, next(order)), since=since)
    return table.frame()


class _Fold:
    def __init__(self, run_id: str, price: str, order: int) -> None:
        self._run_id = run_id
        self._known: dict[str, Any] = {"run_id": run_id, "order": order}
        self._sums = _sums.Sums()
        self._models: dict[str, None] = {}
        self._calls = _calls.Calls(price)

    def _called(self, record: dict[str, Any]) -> None:
        self._sums.add(record)
        model = record.get("model_id") or record.get("requested_model")
        if model:
            self._models[str(model)] = None

    def take(self, event: ExecutionEvent) -> None:
        kind = event.type
        if kind in ENDINGS:
            self._end(event)
            return
        record = self._calls.take(event)
        if record is not None:
            self._called(record)
        elif kind == _START:
            known, metadata = self._known, event.metadata
            known.setdefault("started_at", event.timestamp)
            known["start"] = {key: metadata.get(key) or None for key in ("graph_id", "session_id")}
            known["input"] = _beginning(metadata.get("input"))

    def _end(self, event: ExecutionEvent) -> None:
        known, metadata = self._known, event.metadata
        complete = event.type == EventType.EXECUTION_COMPLETE
        known["status"] = metadata.get("status") or ("completed" if complete else "failed")
        known["duration_ms"] = metadata.get("duration_ms")
        known["text"], known["error"] = _beginning(event.output), event.error

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        for record in self._calls.close():
            self._called(record)
        known = {**self._known, **self._sums.record(), "header": log.header(self._run_id)}
        known["status"] = known.get("status") or log.status()
        known["models"] = ", ".join(self._models) or None
        yield known


def _beginning(value: Any) -> str | None:
    text = as_text(value)
    return (text if len(text) <= PREVIEW else text[: PREVIEW - 1] + "…") or None


plugin = runs_df
