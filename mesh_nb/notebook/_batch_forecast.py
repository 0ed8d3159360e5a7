"""What more rows of a batch are likely to cost and take."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

from ..core.errors import InputError, shown


@dataclasses.dataclass(frozen=True, slots=True)
class Forecast:
    """What more rows are likely to cost and take, by those that a batch has.

    rows : how many were asked about. sample : how many completed rows it is reckoned from. usd, low, high :
    US dollars, what failed rows cost among them, and between which bounds the mean of the sample leaves it,
    two standard errors to each side; None where a price is not known. seconds : at the concurrency of the
    batch.
    """

    rows: int
    sample: int
    usd: float | None
    low: float | None
    high: float | None
    seconds: float

    def __repr__(self) -> str:
        if self.usd is None or self.low is None or self.high is None:
            money = "unpriced"
        elif self.sample > 1:
            money = f"about {dollars(self.usd)} ({dollars(self.low)} to {dollars(self.high)})"
        else:
            money = f"about {dollars(self.usd)}"
        rows = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        return f"{rows}: {money}, {span(self.seconds)}; reckoned from {self.sample:,}."


def reckon(done: Sequence[Any], rows: int, concurrency: int) -> Forecast:
    """Return the forecast for so many rows by those that are done. Raises InputError as `Batch.forecast`."""
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"rows={shown(rows)} is not a whole number above 0.")
    sample = [row for row in done if row.status == "completed" and not row.cached]
    if not sample:
        raise InputError(
            "No row of this batch was completed and asked anew: batch() with cache=False asks for all."
        )
    mean = statistics.fmean(row.duration_ms or 0.0 for row in sample) / 1000
    seconds = mean * math.ceil(rows / concurrency)
    if any(row.cost_usd is None or row.unpriced_calls for row in sample):
        return Forecast(rows, len(sample), None, None, None, seconds)
    costs = [row.cost_usd or 0.0 for row in sample]
    # Who wants so many answers pays for those that fail on the way, too.
    lost = math.fsum(row.cost_usd or 0.0 for row in done if row.status not in ("completed", "cancelled"))
    usd, off = (math.fsum(costs) + lost) / len(costs), 0.0
    if len(costs) > 1:
        off = 2 * statistics.stdev(costs) / math.sqrt(len(costs))
    return Forecast(rows, len(sample), rows * usd, rows * max(usd - off, 0.0), rows * (usd + off), seconds)


def span(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 1 else "under a second"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def dollars(usd: float) -> str:
    """Return dollars to the cent, below one dollar with two digits that count."""
    if not usd:
        return "$0"
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.{1 - math.floor(math.log10(usd))}f}"
