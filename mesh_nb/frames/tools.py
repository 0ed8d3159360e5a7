"""One row for each tool call: which tool, with what arguments, what came back, how long it took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..core._named import named_options
from ..core.events import EventType, ExecutionEvent
from ._columns import CATEGORY, INTEGER, JSON, NUMBER, TEXT, TIME, Column, Table
from ._lines import Log
from ._load import fill

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position of the call among the tool calls of its run, from 0."),
    Column("node_id", "node_id", CATEGORY, "", "The node that made the call."),
    Column("tool_name", "tool_name", CATEGORY, "", "The tool."),
    Column("tool_call_id", "tool_call_id", TEXT, "", "The call, as the model names it."),
    Column("executed_by", "executed_by", CATEGORY, "", "Who ran it: client (this process) or provider."),
    Column("arguments", "arguments", JSON, "", "The arguments, as JSON text."),
    Column("output", "output", JSON, "", "What came back, as JSON text."),
    Column("status", "status", CATEGORY, "", "ok, error, denied, cancelled, not_executed; NA: no end."),
    Column("error", "error", TEXT, "", "What went wrong."),
    Column("started_at", "started_at", TIME, "UTC", "When the call was known."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "How long the tool ran."),
    Column("attempt", "attempt", INTEGER, "", "0 for the first attempt of the node, then 1, 2, ..."),
    Column("visit", "visit", INTEGER, "", "0 for the first visit of the node in a loop, then 1, 2, ..."),
)
TYPES = (EventType.TOOL_CALL_START, EventType.TOOL_CALL_COMPLETE)


@named_options
def tools_df(source: Any = None, *, since: Any = None) -> pd.DataFrame:
    """Return a DataFrame with one row for each tool call.

    Parameters: source and since as for `calls_df`. Columns: see `mesh_nb.frames.tools.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    table = Table(COLUMNS)
    fill(table, source, TYPES, _Fold, since=since)
    return table.frame()


class _Fold:
    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._calls: dict[Any, dict[str, Any]] = {}
        self._ended = 0

    def take(self, event: ExecutionEvent) -> None:
        metadata = event.metadata
        key: Any = (event.node_id, metadata.get("visit", 0), str(metadata.get("tool_call_id")))
        known = self._calls.setdefault(key, {"started_at": event.timestamp})
        known.update(metadata, node_id=event.node_id, started_at=known["started_at"])
        if event.type != EventType.TOOL_CALL_COMPLETE:
            return
        known["output"], known["error"] = event.output, event.error
        known.setdefault("status", "ok" if event.error is None else "error")
        if "arguments" not in metadata and "arguments_raw" in metadata:
            known["arguments"] = metadata["arguments_raw"]
        # A model may use an id again in a later call.
        self._calls[(*key, self._ended)] = self._calls.pop(key)
        self._ended += 1

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        for order, known in enumerate(sorted(self._calls.values(), key=lambda known: known["started_at"])):
            known["attempt"], known["visit"] = known.get("attempt", 0), known.get("visit", 0)
            yield {**known, "run_id": self._run_id, "order": order}


plugin = tools_df
