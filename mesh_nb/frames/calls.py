"""One row for each model call: which model, how many tokens, what it cost, how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from ..core.events import EventType, ExecutionEvent
from ..core.prices import price_now
from ._columns import CATEGORY, INTEGER, NUMBER, TEXT, TIME, Column, build
from ._load import parts

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position of the call among the calls of its run, from 0."),
    Column("node_id", "node_id", CATEGORY, "", "The node that made the call."),
    Column("session_id", "session_id", TEXT, "", "The session of the run."),
    Column("provider", "provider", CATEGORY, "", "The provider that was called."),
    Column("model", "model_id", CATEGORY, "", "The model that answered, as the provider names it."),
    Column("requested_model", "requested_model", CATEGORY, "", "The model that was asked for."),
    Column("prompt_tokens", "usage.prompt_tokens", INTEGER, "tokens", "Input, cached tokens included."),
    Column("completion_tokens", "usage.completion_tokens", INTEGER, "tokens", "Output, reasoning included."),
    Column("total_tokens", "usage.total_tokens", INTEGER, "tokens", "Input and output."),
    Column("cached_tokens", "usage.cached_tokens", INTEGER, "tokens", "Input read from the cache."),
    Column("cache_write_tokens", "usage.cache_write_tokens", INTEGER, "tokens", "Input put into the cache."),
    Column("reasoning_tokens", "usage.reasoning_tokens", INTEGER, "tokens", "Output spent on reasoning."),
    Column("cost_usd", "price.usd", NUMBER, "USD", "What the call cost; NA when that is not known, never 0."),
    Column("cost_source", "price.source", CATEGORY, "", "Who says so: wire, custom or genai-prices."),
    Column("time_to_first_token_ms", "time_to_first_token_ms", NUMBER, "ms", "Request to first delta."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "Request to the end of the answer."),
    Column("tokens_per_second", "tokens_per_second", NUMBER, "1/s", "Output tokens after the first delta."),
    Column("finish_reason", "finish_reason", CATEGORY, "", "Why the answer ended; NA when it did not."),
    Column("started_at", "started_at", TIME, "UTC", "When the request was made."),
    Column("usage_status", "usage_status", CATEGORY, "", "Tokens are reported, estimated or unknown."),
    Column("attempt", "attempt", INTEGER, "", "0 for the first attempt of the node, then 1, 2, ..."),
    Column("visit", "visit", INTEGER, "", "0 for the first visit of the node in a loop, then 1, 2, ..."),
    Column("call_id", "call_id", TEXT, "", "The call in the log."),
)


def calls_df(source: Any = None) -> pd.DataFrame:
    """Return a DataFrame with one row for each model call.

    Parameters
    ----------
    source : nothing for all runs of this project; a Run, a run id, the path of a project or of one log, or a
        list of these.

    Columns: see `mesh_nb.frames.calls.COLUMNS` (name, dtype, unit, doc), also in `df.attrs["columns"]`. They
    are there for an empty log too. A call that was cut off has a row with usage_status "unknown".
    Costs: the provider's own figure where there is one, else genai-prices at the time of the call, else NA.
    Raises RunNotFoundError for an unknown run id, InputError for what is not a run or a path.
    """
    records: list[dict[str, Any]] = []
    for run_id, events in parts(
        source, EventType.EXECUTION_START, EventType.MODEL_CALL_START, EventType.RESPONSE_METADATA
    ):
        records += _calls(run_id, events)
    return build(records, COLUMNS)


def _calls(run_id: str, events: Iterable[ExecutionEvent]) -> Iterator[dict[str, Any]]:
    session: Any = None
    open_calls: dict[Any, ExecutionEvent] = {}
    rows: list[tuple[int, dict[str, Any]]] = []
    for event in events:
        if event.type == EventType.EXECUTION_START:
            session = event.metadata.get("session_id") or None
        elif event.type == EventType.MODEL_CALL_START:
            open_calls[_key(event)] = event
        else:
            begun = open_calls.pop(_key(event), None)
            rows.append((begun.seq if begun else event.seq, _record(event, begun)))
    for begun in open_calls.values():
        rows.append((begun.seq, _record(None, begun)))
    rows.sort(key=lambda row: row[0])
    for order, (_, record) in enumerate(rows):
        yield {"run_id": run_id, "session_id": session, "order": order, **record}


def _key(event: ExecutionEvent) -> Any:
    metadata = event.metadata
    return (event.node_id, metadata.get("visit", 0), str(metadata.get("call_id")))


def _record(event: ExecutionEvent | None, begun: ExecutionEvent | None) -> dict[str, Any]:
    """Return the record of a call from its end, and its beginning where the log has both."""
    known = {
        **(begun.metadata if begun else {}),
        **(event.metadata if event else {"usage_status": "unknown"}),
    }
    duration = known.get("duration_ms")
    started = None
    if begun is not None:
        started = begun.timestamp
    elif event is not None:
        started = event.timestamp - (duration / 1000 if isinstance(duration, (int, float)) else 0.0)
    found = event or begun
    known.setdefault("usage_status", "reported" if known.get("usage") else "unknown")
    known["node_id"] = found.node_id if found else None
    known["attempt"], known["visit"] = known.get("attempt", 0), known.get("visit", 0)
    known["started_at"] = started
    price = price_now(known, started) if event is not None else None
    known["price"] = {"usd": price.usd, "source": price.source} if price else {}
    known["tokens_per_second"] = _speed(known)
    return known


def _speed(known: dict[str, Any]) -> float | None:
    usage = known.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    total, first = known.get("duration_ms"), known.get("time_to_first_token_ms")
    if not isinstance(tokens, (int, float)) or not isinstance(total, (int, float)):
        return None
    seconds = (total - (first if isinstance(first, (int, float)) else 0)) / 1000
    return tokens / seconds if seconds > 0 and tokens else None


plugin = calls_df
