"""The model calls of a run, which several frames are made from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from ..core.errors import InputError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.prices import Price, billed, price_now

# Names of an Enum are slow to look up, and this is done for each event.
_RUN, _BEGIN, _END = EventType.EXECUTION_START, EventType.MODEL_CALL_START, EventType.RESPONSE_METADATA
_CUSTOM = EventType.CUSTOM_DATA
TYPES = (_RUN, _BEGIN, _END, _CUSTOM)
RETRY = "data-retry"
_AGAIN = (("reused", "reused"), ("replayed", "replay"), ("cached", "cache"))
"""Marks of a call that was not made, and the words for it: reused from the run that this one was forked from,
replayed from a tape, taken from a cache."""
_MARKS = frozenset(name for name, _ in _AGAIN)
PRICES = ("current", "logged")
DAY = 86_400


def priced(price: str) -> Callable[[dict[str, Any], float | None], Price | None]:
    """Return the function that prices a call. Raises InputError for another word than current or logged."""
    if price not in PRICES:
        raise InputError(f'price={shown(price)}: write price="current" or price="logged".')
    return price_now if price == "current" else lambda known, _: billed(known)


class Calls:
    """Pairs the beginning and the end of each model call of one run.

    Parameters: price, as for `priced`; done, called with the seq and the record of each call that has ended,
    and by `close` of each that was cut off. A record has the metadata of both events and, beside them,
    node_id, session_id, graph_id, started_at (seconds), attempt, visit, retries, paid_usd and paid_source
    (None when that is not known), price_date, answered_by, original_cost_usd, and spent: its usage, empty
    where it was not asked anew.
    """

    def __init__(self, price: str, done: Callable[[int, dict[str, Any]], None]) -> None:
        self._price, self._done = priced(price), done
        self._open: dict[Any, tuple[ExecutionEvent, int]] = {}
        self._run: dict[str, Any] = {}

    def take(self, event: ExecutionEvent) -> None:
        """Take in an event of one of TYPES; others are passed over."""
        kind, metadata = event.type, event.metadata
        if kind == _END:
            key = _key(event)
            if metadata.get("call_id") is None:  # it is that of the oldest call of its node
                key = next((known for known in self._open if known[:2] == key[:2]), key)
            begun, retries = self._open.pop(key, (None, 0))
            self._finish(event, begun, retries)
        elif kind == _BEGIN:
            key = _key(event)
            if key in self._open:  # an id that came again: the first call was cut off
                self._finish(None, *self._open[key])
            self._open[key] = (event, 0)
        elif kind == _RUN:
            self._run = {key: metadata.get(key) or None for key in ("session_id", "graph_id")}
        elif kind == _CUSTOM and metadata.get("data_type") == RETRY:
            here = (event.node_id, metadata.get("visit", 0))
            for key, (begun, retries) in self._open.items():
                if key[:2] == here:
                    self._open[key] = (begun, retries + 1)

    def close(self) -> None:
        """Hand on the calls that never ended."""
        for begun, retries in self._open.values():
            self._finish(None, begun, retries)
        self._open.clear()

    def _finish(self, event: ExecutionEvent | None, begun: ExecutionEvent | None, retries: int) -> None:
        found = cast("ExecutionEvent", begun or event)
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
        known["node_id"] = found.node_id
        known["attempt"], known["visit"] = known.get("attempt", 0), known.get("visit", 0)
        known["retries"], known["started_at"] = retries, started
        known["answered_by"], known["spent"] = "model", known.get("usage")
        known["paid_usd"] = known["paid_source"] = known["price_date"] = None
        if event is not None:
            price = self._price(known, started)
            if price is not None:
                known["paid_usd"], known["paid_source"] = price.usd, price.source
                known["price_date"] = day(started) if price.source == "genai-prices" else None
        if not _MARKS.isdisjoint(known):
            _not_asked(known)
        known.update(self._run)
        self._done(found.seq, known)


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


def _key(event: ExecutionEvent) -> Any:
    metadata = event.metadata
    return (event.node_id, metadata.get("visit", 0), str(metadata.get("call_id")))
