"""One row for each event: the log as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..core._named import named_options
from ..core.events import ExecutionEvent
from ._columns import BATCH, CATEGORY, INTEGER, JSON, TEXT, TIME, Column, Table, as_json_text
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


@named_options
def events_df(source: Any = None, *, since: Any = None) -> pd.DataFrame:
    """Return a DataFrame with one row for each event, as the log has them.

    Parameters: source and since as for `calls_df`. Columns: see `mesh_nb.frames.events.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    table = Table(COLUMNS)
    waiting: list[list[Any]] = [[] for _ in COLUMNS]
    for log, found in batches(source, since=since):
        if found:
            make = _of_events if isinstance(found[0], ExecutionEvent) else _of_records
            for column, values in zip(waiting, make(log.run_id, found), strict=True):
                column += values
        else:
            table.problems += log.problems
        if len(waiting[0]) >= BATCH:
            table.block(waiting)
            waiting = [[] for _ in COLUMNS]
    table.block(waiting)
    return table.frame()


def _of_records(run_id: str, found: Sequence[dict[str, Any]]) -> list[list[Any]]:
    metadata: list[dict[str, Any]] = [record.get("metadata") or {} for record in found]
    return [
        [record.get("run_id") or run_id for record in found],
        [record.get("seq") for record in found],
        [record["type"] for record in found],
        [record.get("node_id") for record in found],
        [record.get("timestamp") for record in found],
        [v if (v := record.get("content")).__class__ is str else _text(v) for record in found],
        [None if (v := record.get("output")) is None else as_json_text(v) for record in found],
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
    """Return the columns that come from metadata, its JSON text last.

    The deltas of a block have the same, one after the other: it is looked at once.
    """
    models: list[Any] = []
    tools: list[Any] = []
    attempts: list[Any] = []
    visits: list[Any] = []
    texts: list[str | None] = []
    last: Any = None
    model = tool = attempt = visit = text = None
    for known in metadata:
        if known is not last and known != last:
            last, get = known, known.get
            model, tool, attempt, visit = get("model_id"), get("tool_name"), get("attempt"), get("visit")
            text = as_json_text(known) if known else None
        models.append(model)
        tools.append(tool)
        attempts.append(attempt)
        visits.append(visit)
        texts.append(text)
    return [models, tools, attempts, visits, texts]


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else as_json_text(value)


plugin = events_df
