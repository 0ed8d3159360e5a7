"""One row for each model call, about its money: what it cost, who says so, what the cache saved."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..core._named import named_options
from ..core.prices import saved_usd, why_unpriced
from . import _calls
from ._columns import CATEGORY, INTEGER, NUMBER, TEXT, TIME, Column, Table
from ._load import fill

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position of the call among the calls of its run, from 0."),
    Column("notebook", "header.notebook", CATEGORY, "", "The notebook whose cell started the run."),
    Column("cell", "header.cell", CATEGORY, "", "The cell that started the run."),
    Column("execution", "header.execution", CATEGORY, "", "The execution of that cell, such as In [3]."),
    Column("session_id", "session_id", CATEGORY, "", "The session of the run."),
    Column("graph_id", "graph_id", CATEGORY, "", "The graph of the run."),
    Column("node_id", "node_id", CATEGORY, "", "The node that made the call."),
    Column("provider", "provider", CATEGORY, "", "The provider that was called."),
    Column("model", "model", CATEGORY, "", "The model that answered; where none did, the one asked for."),
    Column("day", "day", CATEGORY, "UTC", "The day of the call."),
    Column("started_at", "started_at", TIME, "UTC", "When the request was made."),
    Column("prompt_tokens", "spent.prompt_tokens", INTEGER, "tokens", "Input, cached tokens included."),
    Column("completion_tokens", "spent.completion_tokens", INTEGER, "tokens", "Output, reasoning included."),
    Column("total_tokens", "spent.total_tokens", INTEGER, "tokens", "Input and output."),
    Column("cached_tokens", "spent.cached_tokens", INTEGER, "tokens", "Input read from the cache."),
    Column("cost_usd", "paid_usd", NUMBER, "USD", "What the call cost; NA when that is not known, never 0."),
    Column("saved_usd", "saved_usd", NUMBER, "USD", "What the provider's cache saved; NA: not known."),
    Column("cost_source", "paid_source", CATEGORY, "", "wire, custom, genai-prices, or answered_by."),
    Column("price_date", "price_date", TEXT, "UTC", "The day whose prices of genai-prices were used."),
    Column("answered_by", "answered_by", CATEGORY, "", "model; or, not asked anew: replay, reused, cache."),
    Column("unpriced", "unpriced", CATEGORY, "", "What is missing where there is no cost."),
)


@named_options
def costs_df(source: Any = None, *, since: Any = None, price: str = "current") -> pd.DataFrame:
    """Return a DataFrame with one row for each model call and the columns that reports group by.

    Parameters: as for `calls_df`. Columns: see `mesh_nb.frames.costs.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    _calls.priced(price)
    table = Table(COLUMNS)
    fill(table, source, _calls.TYPES, lambda run_id: _calls.Each(run_id, price, _of_call), since=since)
    return table.frame()


def _of_call(record: dict[str, Any]) -> None:
    at, usage = record["started_at"], record["spent"]
    cached = isinstance(usage, dict) and (usage.get("cached_tokens") or usage.get("cache_write_tokens"))
    record["saved_usd"] = saved_usd(record, at) if cached else None
    record["unpriced"] = None if record["paid_usd"] is not None else why_unpriced(record)
    record["model"] = record.get("model_id") or record.get("requested_model")
    record["day"] = _calls.day(at)


plugin = costs_df
