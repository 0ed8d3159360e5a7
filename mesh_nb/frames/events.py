"""One row for each event: the log as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..core.events import ExecutionEvent
from ._columns import CATEGORY, INTEGER, JSON, TEXT, TIME, Column, Table, as_json_text
from ._load import batches

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "seq", INTEGER, "", "Position of the event in its run, from 0: its seq."),
    Column("type", "type", CATEGORY, "", "The type of the event; names of newer versions are kept."),
    Column("node_id", "node_id", CATEGORY, "", 'The node, "START" for the run itself.'),
    Column("timestamp", "timestamp", TIME, "UTC", "When it happened."),
    Column("content", "content", TEXT, "", "Text of a delta; the payload of custom_data, as JSON text."),
    Column("output", "output", JSON, "", "The result of a node, a tool call or the run, as JSON text."),
    Column("error", "error", TEXT, "", "What went wrong."),
    Column("model", "metadata.model_id", CATEGORY, "", "The model that answered."),
    Column("tool_name", "metadata.tool_name", CATEGORY, "", "The tool that was called."),
    Column("attempt", "metadata.attempt", INTEGER, "", "The attempt of the node; NA for the first one."),
    Column("visit", "metadata.visit", INTEGER, "", "The visit of the node; NA for the first one."),
    Column("metadata", "metadata", JSON, "", "All that is known about it, as JSON text."),
)


def events_df(source: Any = None, *, since: Any = None) -> pd.DataFrame:
    """Return a DataFrame with one row for each event, as the log has them.

    Parameters: source and since as for `calls_df`. Columns: see `mesh_nb.frames.events.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    table = Table(COLUMNS)
    for log, found in batches(source, since=since):
        if not found:
            table.problems += log.problems
        elif isinstance(found[0], ExecutionEvent):
            table.block(_of_events(log.run_id, found))
        else:
            table.block(_of_records(log.run_id, found))
    return table.frame()


def _of_records(run_id: str, found: Sequence[dict[str, Any]]) -> list[list[Any]]:
    metadata: list[dict[str, Any]] = [record.get("metadata") or {} for record in found]
    return [
        [record.get("run_id") or run_id for record in found],
        [record.get("seq") for record in found],
        [record["type"] for record in found],
        [record.get("node_id") for record in found],
        [record.get("timestamp") for record in found],
        [_text(record.get("content")) for record in found],
        [as_json_text(record.get("output")) for record in found],
        [record.get("error") for record in found],
        *_of_metadata(metadata),
    ]


def _of_events(run_id: str, found: Sequence[ExecutionEvent]) -> list[list[Any]]:
    return [
        [event.run_id or run_id for event in found],
        [event.seq for event in found],
        [event.type for event in found],
        [event.node_id for event in found],
        [event.timestamp for event in found],
        [_text(event.content) for event in found],
        [as_json_text(event.output) for event in found],
        [event.error for event in found],
        *_of_metadata([event.metadata for event in found]),
    ]


def _of_metadata(metadata: list[dict[str, Any]]) -> list[list[Any]]:
    columns: list[list[Any]] = [
        [known.get(name) for known in metadata] for name in ("model_id", "tool_name", "attempt", "visit")
    ]
    return [*columns, _texts(metadata)]


def _texts(metadata: list[dict[str, Any]]) -> list[str | None]:
    """Return metadata as JSON text; the deltas of a block share theirs, one after the other."""
    texts: list[str | None] = []
    last: Any = None
    text: str | None = None
    for known in metadata:
        if known is not last and known != last:
            text = as_json_text(known) if known else None
        last = known
        texts.append(text)
    return texts


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else as_json_text(value)


plugin = events_df
