"""Model calls added up: for the rows of runs and of nodes."""

from __future__ import annotations

from typing import Any

from ._columns import INTEGER, NUMBER, Column

COLUMNS = (
    Column("calls", "calls", INTEGER, "", "Model calls."),
    Column("prompt_tokens", "usage.prompt_tokens", INTEGER, "tokens", "Input, cached tokens included."),
    Column("completion_tokens", "usage.completion_tokens", INTEGER, "tokens", "Output, reasoning included."),
    Column("total_tokens", "usage.total_tokens", INTEGER, "tokens", "Input and output."),
    Column("cached_tokens", "usage.cached_tokens", INTEGER, "tokens", "Input read from the cache."),
    Column("cache_write_tokens", "usage.cache_write_tokens", INTEGER, "tokens", "Input put into the cache."),
    Column("reasoning_tokens", "usage.reasoning_tokens", INTEGER, "tokens", "Output spent on reasoning."),
    Column("cost_usd", "cost_usd", NUMBER, "USD", "The calls whose cost is known; NA when that is none."),
    Column("unpriced_calls", "unpriced_calls", INTEGER, "", "Calls that are missing from cost_usd."),
)


class Sums:
    """The sums of some calls; a counter that no call reports is absent, and so is a cost nobody knows."""

    def __init__(self) -> None:
        self.calls = self.unpriced = 0
        self.usage: dict[str, int] = {}
        self.cost: float | None = None

    def add(self, record: dict[str, Any]) -> None:
        """Add the record of a call, as `Calls` makes it."""
        self.calls += 1
        usage, sums = record["spent"], self.usage
        for name, count in usage.items() if usage.__class__ is dict else ():
            if count.__class__ is int:
                sums[name] = sums.get(name, 0) + count
        usd = record["paid_usd"]
        if usd is None:
            self.unpriced += 1
        else:
            self.cost = (self.cost or 0.0) + usd

    def record(self) -> dict[str, Any]:
        """Return the sums as COLUMNS name them."""
        return {
            "calls": self.calls,
            "usage": self.usage,
            "cost_usd": self.cost,
            "unpriced_calls": self.unpriced,
        }
