"""One row for each visit of a node: how it ended, how long it took, what its calls cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..core._named import named_options
from ..core.events import EventType, ExecutionEvent
from . import _calls, _sums
from ._columns import CATEGORY, INTEGER, NUMBER, TEXT, TIME, Column, Table
from ._lines import Log
from ._load import fill

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position among the visits of the run, by their start, from 0."),
    Column("node_id", "node_id", CATEGORY, "", "The node."),
    Column("visit", "visit", INTEGER, "", "0 for the first visit of the node in a loop, then 1, 2, ..."),
    Column("attempts", "attempts", INTEGER, "", "How often the node was begun in this visit."),
    Column("status", "status", CATEGORY, "", "completed, failed; reused: of an earlier run; NA: no end."),
    Column("started_at", "started_at", TIME, "UTC", "When the visit began."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "From its beginning to its end; NA without an end."),
    Column("tool_calls", "tool_calls", INTEGER, "", "Tool calls that ended."),
    *_sums.COLUMNS,
    Column("error", "error", TEXT, "", "What went wrong, the last time."),
)
TYPES = (
    *_calls.TYPES,
    EventType.NODE_START,
    EventType.NODE_COMPLETE,
    EventType.NODE_ERROR,
    EventType.NODE_RETRY,
    EventType.TOOL_CALL_COMPLETE,
)


@named_options
def nodes_df(source: Any = None, *, since: Any = None, price: str = "current") -> pd.DataFrame:
    """Return a DataFrame with one row for each visit of a node.

    Parameters: as for `calls_df`. Columns: see `mesh_nb.frames.nodes.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    _calls.priced(price)
    table = Table(COLUMNS)
    fill(table, source, TYPES, lambda run_id: _Fold(run_id, price), since=since)
    return table.frame()


class _Fold:
    def __init__(self, run_id: str, price: str) -> None:
        self._run_id = run_id
        self._visits: dict[tuple[str, Any], dict[str, Any]] = {}
        self._sums: dict[tuple[str, Any], _sums.Sums] = {}
        self._calls = _calls.Calls(price)

    def _visit(self, key: tuple[str, Any], at: float) -> dict[str, Any]:
        self._sums.setdefault(key, _sums.Sums())
        start = {"node_id": key[0], "visit": key[1], "started_at": at, "attempts": 1, "tool_calls": 0}
        return self._visits.setdefault(key, start)

    def _called(self, record: dict[str, Any]) -> None:
        key = (record["node_id"], _number(record["visit"]))
        self._visit(key, record["started_at"])
        self._sums[key].add(record)

    def take(self, event: ExecutionEvent) -> None:
        if event.type == EventType.EXECUTION_START:
            self._calls.take(event)
            return
        metadata = event.metadata
        known = self._visit((event.node_id, _number(metadata.get("visit"))), event.timestamp)
        known["attempts"] = max(known["attempts"], _number(metadata.get("attempt")) + 1)
        if event.type == EventType.NODE_COMPLETE:
            self._end(known, event, "reused" if metadata.get("reused") else "completed")
        elif event.type in (EventType.NODE_ERROR, EventType.NODE_RETRY):
            self._end(known, event, "failed")
        elif event.type == EventType.TOOL_CALL_COMPLETE:
            known["tool_calls"] += 1
        else:
            record = self._calls.take(event)
            if record is not None:
                self._called(record)

    def _end(self, known: dict[str, Any], event: ExecutionEvent, status: str) -> None:
        known["status"] = status
        known["duration_ms"] = (event.timestamp - known["started_at"]) * 1000
        known["error"] = event.error or known.get("error")

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        for record in self._calls.close():
            self._called(record)
        for order, (key, known) in enumerate(self._visits.items()):
            yield {**known, **self._sums[key].record(), "run_id": self._run_id, "order": order}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


plugin = nodes_df
