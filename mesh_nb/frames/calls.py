"""One row for each model call: which model, how many tokens, what it cost, how long it took."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..core._named import named_options
from ._calls import TYPES, Each, priced
from ._columns import CATEGORY, INTEGER, NUMBER, TEXT, TIME, Column, Table
from ._load import fill

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position of the call among the calls of its run, from 0."),
    Column("node_id", "node_id", CATEGORY, "", "The node that made the call."),
    Column("notebook", "header.notebook", CATEGORY, "", "The notebook whose cell started the run."),
    Column("cell", "header.cell", CATEGORY, "", "The cell that started the run."),
    Column("session_id", "session_id", TEXT, "", "The session of the run."),
    Column("graph_id", "graph_id", CATEGORY, "", "The graph of the run."),
    Column("provider", "provider", CATEGORY, "", "The provider that was called."),
    Column("model", "model_id", CATEGORY, "", "The model that answered, as the provider names it."),
    Column("requested_model", "requested_model", CATEGORY, "", "The model that was asked for."),
    Column("prompt_tokens", "usage.prompt_tokens", INTEGER, "tokens", "Input, cached tokens included."),
    Column("completion_tokens", "usage.completion_tokens", INTEGER, "tokens", "Output, reasoning included."),
    Column("total_tokens", "usage.total_tokens", INTEGER, "tokens", "Input and output."),
    Column("cached_tokens", "usage.cached_tokens", INTEGER, "tokens", "Input read from the cache."),
    Column("cache_write_tokens", "usage.cache_write_tokens", INTEGER, "tokens", "Input put into the cache."),
    Column(
        "cache_write_1h_tokens", "usage.cache_write_1h_tokens", INTEGER, "tokens", "Those kept for an hour."
    ),
    Column("reasoning_tokens", "usage.reasoning_tokens", INTEGER, "tokens", "Output spent on reasoning."),
    Column(
        "tool_use_tokens",
        "usage.tool_use_tokens",
        INTEGER,
        "tokens",
        "Input of Gemini's tools, beside prompt_tokens.",
    ),
    Column("web_searches", "usage.web_searches", INTEGER, "", "Searches that are billed beside tokens."),
    Column("cost_usd", "paid_usd", NUMBER, "USD", "What the call cost; NA when that is not known, never 0."),
    Column("cost_source", "paid_source", CATEGORY, "", "wire, custom, genai-prices, or answered_by."),
    Column("price_date", "price_date", TEXT, "UTC", "The day whose prices of genai-prices were used."),
    Column("time_to_first_token_ms", "time_to_first_token_ms", NUMBER, "ms", "Request to first delta."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "Request to the end of the answer."),
    Column("tokens_per_second", "tokens_per_second", NUMBER, "1/s", "Output tokens after the first delta."),
    Column("finish_reason", "finish_reason", CATEGORY, "", "Why the answer ended; NA when it did not."),
    Column("started_at", "started_at", TIME, "UTC", "When the request was made."),
    Column("usage_status", "usage_status", CATEGORY, "", "Tokens are reported, estimated or unknown."),
    Column(
        "retries", "retries", INTEGER, "", "How often the request was sent again before its answer began."
    ),
    Column("attempt", "attempt", INTEGER, "", "0 for the first attempt of the node, then 1, 2, ..."),
    Column("visit", "visit", INTEGER, "", "0 for the first visit of the node in a loop, then 1, 2, ..."),
    Column("answered_by", "answered_by", CATEGORY, "", "model; or, not asked anew: replay, reused, cache."),
    Column("original_cost_usd", "original_cost_usd", NUMBER, "USD", "What such a call had cost at first."),
    Column("call_id", "call_id", TEXT, "", "The call in the log."),
)


@named_options
def calls_df(source: Any = None, *, since: Any = None, price: str = "current") -> pd.DataFrame:
    """Return a DataFrame with one row for each model call.

    Parameters
    ----------
    source : nothing for all runs of this project; a Run, a run id, the path of a project or of one log, or a
        list of these. A run that is there more than once counts once.
    since : only runs that began then or later: an age ("7d", "12h", "30m"), a date or a datetime.
    price : "current" prices tokens now, at the price of the day of the call; "logged" believes the log.

    Columns: see `mesh_nb.frames.calls.COLUMNS` (name, dtype, unit, doc), also in `df.attrs["columns"]`. They
    are there for an empty log too. A call that was cut off has a row with usage_status "unknown". What could
    not be read is told in `df.attrs["problems"]`.
    Costs: the provider's own figure where there is one, else that of `mesh_nb.prices.set`, else genai-prices
    at the time of the call, else NA.
    Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a path or a time.
    """
    priced(price)
    table = Table(COLUMNS)
    fill(table, source, TYPES, lambda run_id: Each(run_id, price, _of_call), since=since)
    return table.frame()


def _of_call(record: dict[str, Any]) -> None:
    record["tokens_per_second"] = _speed(record)


def _speed(record: dict[str, Any]) -> float | None:
    usage = record.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    total, first = record.get("duration_ms"), record.get("time_to_first_token_ms")
    if not isinstance(tokens, (int, float)) or not isinstance(total, (int, float)):
        return None
    seconds = (total - (first if isinstance(first, (int, float)) else 0)) / 1000
    return tokens / seconds if seconds > 0 and tokens else None


plugin = calls_df
