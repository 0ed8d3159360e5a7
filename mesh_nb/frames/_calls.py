"""The model calls of a run, which several frames are made from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from ..core.errors import InputError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.prices import Price, billed, price_now
from ._lines import Log

# Names of an Enum are slow to look up, and this is done for each event.
_RUN, _BEGIN, _END = EventType.EXECUTION_START, EventType.MODEL_CALL_START, EventType.RESPONSE_METADATA
_CUSTOM = EventType.CUSTOM_DATA
TYPES = (_RUN, _BEGIN, _END, _CUSTOM)
RETRY = "data-retry"
_AGAIN = (("reused", "reused"), ("replayed", "replay"), ("cached", "cache"))
"""Marks of a call that was not made, and the words for it: reused from the run that this one was forked from,
replayed from a tape, taken from a cache."""
PRICES = ("current", "logged")
DAY = 86_400


def priced(price: str) -> Callable[[dict[str, Any], float | None], Price | None]:
    """Return the function that prices a call. Raises InputError for another word than current or logged."""
    if price not in PRICES:
        raise InputError(f'price={shown(price)}: write price="current" or price="logged".')
    return price_now if price == "current" else lambda known, _: billed(known)


class Calls:
    """Pairs the beginning and the end of each model call of one run.

    Parameters: price, as for `priced`. The record of a call has the metadata of both events and, beside them,
    seq, node_id, session_id, graph_id, started_at (seconds), attempt, visit, retries, paid_usd and
    paid_source (None when that is not known), price_date, answered_by, original_cost_usd, and spent: its
    usage, empty where it was not asked anew.
    """

    # It calls nobody back: thousands of runs that refer to themselves are work for the garbage collector.
    def __init__(self, price: str) -> None:
        self._price = priced(price)
        self._open: dict[Any, tuple[ExecutionEvent, int]] = {}
        self._run: dict[str, Any] = {}

    def take(self, event: ExecutionEvent) -> dict[str, Any] | None:
        """Take in an event of one of TYPES, and return the record of a call that is over."""
        kind, metadata = event.type, event.metadata
        if kind == _END:
            name = metadata.get("call_id")
            key = (event.node_id, metadata.get("visit", 0), str(name))
            if name is None:  # it is that of the oldest call of its node
                key = next((known for known in self._open if known[:2] == key[:2]), key)
            begun, retries = self._open.pop(key, (None, 0))
            return self._record(event, begun, retries)
        if kind == _BEGIN:
            key = (event.node_id, metadata.get("visit", 0), str(metadata.get("call_id")))
            cut = self._open.pop(key, None)  # of an id that came again, the first call was cut off
            self._open[key] = (event, 0)
            return self._record(None, *cut) if cut else None
        if kind == _RUN:
            self._run = {key: metadata.get(key) or None for key in ("session_id", "graph_id")}
        elif kind == _CUSTOM and metadata.get("data_type") == RETRY:
            here = (event.node_id, metadata.get("visit", 0))
            for key, (begun, retries) in self._open.items():
                if key[:2] == here:
                    self._open[key] = (begun, retries + 1)
        return None

    def close(self) -> list[dict[str, Any]]:
        """Return the records of the calls that never ended."""
        left = [self._record(None, begun, retries) for begun, retries in self._open.values()]
        self._open.clear()
        return left

    def _record(
        self, event: ExecutionEvent | None, begun: ExecutionEvent | None, retries: int
    ) -> dict[str, Any]:
        found: Any = begun or event
        known: dict[str, Any] = {
            **(begun.metadata if begun else {}),
            **(event.metadata if event else {"usage_status": "unknown"}),
        }
        known.pop("request", None)  # it may be large
        duration = known.get("duration_ms")
        started = found.timestamp
        if begun is None and isinstance(duration, (int, float)):
            started -= duration / 1000
        known.setdefault("usage_status", "reported" if known.get("usage") else "unknown")
        known["seq"], known["node_id"] = found.seq, found.node_id
        known["attempt"], known["visit"] = known.get("attempt", 0), known.get("visit", 0)
        known["retries"], known["started_at"] = retries, started
        known["answered_by"], known["spent"] = "model", known.get("usage")
        known["paid_usd"] = known["paid_source"] = known["price_date"] = None
        if event is not None:
            price = self._price(known, started)
            if price is not None:
                known["paid_usd"], known["paid_source"] = price.usd, price.source
                known["price_date"] = day(started) if price.source == "genai-prices" else None
        if "reused" in known or "replayed" in known or "cached" in known:
            _not_asked(known)
        known.update(self._run)
        return known


class Each:
    """The fold of a frame that has a row for each call.

    Parameters: price, as for `priced`; more, adds to a record what else the frame has.
    """

    def __init__(self, run_id: str, price: str, more: Callable[[dict[str, Any]], None]) -> None:
        self._run_id, self._more = run_id, more
        self._calls = Calls(price)
        self._records: list[dict[str, Any]] = []

    def take(self, event: ExecutionEvent) -> None:
        """Take in an event."""
        record = self._calls.take(event)
        if record is not None:
            self._records.append(record)

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        """Return the records in the order in which the calls were made."""
        records = sorted([*self._records, *self._calls.close()], key=itemgetter("seq"))
        header = log.header(self._run_id)
        for order, record in enumerate(records):
            self._more(record)
            record["run_id"], record["order"], record["header"] = self._run_id, order, header
        return records


def _not_asked(known: dict[str, Any]) -> None:
    """Say who answered a call that has a mark: what was not asked anew cost nothing and used no tokens."""
    by = next((word for name, word in _AGAIN if known.get(name)), None)
    if by == "reused" and known["paid_usd"] is not None:
        known["original_cost_usd"] = known["paid_usd"]
    if by is not None:
        known.update(answered_by=by, spent={}, paid_usd=0.0, paid_source=by, price_date=None)


def day(at: float) -> str | None:
    """Return the day of a time in UTC, None for a time that cannot be."""
    return _day(int(at // DAY)) if 0 < at < 1e11 else None


@functools.lru_cache
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY, UTC).date().isoformat()
