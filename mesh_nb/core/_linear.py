"""Prices of genai-prices as plain sums, where they are: a report over thousands of calls asks for thousands.

A price is a sum of counts times rates; with tiers, other rates hold above so many input tokens. The rates are
found by asking genai-prices itself, once for each tier of its price lists; whatever is not so simple is None
here, and is asked there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_PARTS = {
    "input_tokens": (),
    "output_tokens": (),
    "cache_read_tokens": ("input_tokens",),
    "cache_write_tokens": ("input_tokens",),
    "cache_write_1h_tokens": ("input_tokens", "cache_write_tokens"),
    "output_reasoning_tokens": ("output_tokens",),
    "web_searches": (),
}
"""Counts that are understood here, with what each is a part of."""
_MANY = 1_000_000
_MODELS = 10_000
_DOLLAR = 10**18
"""Whole numbers are summed, so that a sum has the very digits of the one in decimals."""

_Tiers = tuple[Sequence[int], Sequence[Mapping[str, int]]]
"""Input tokens above which the next rates hold, and the rates in parts of a dollar: one more, none for what
is no such sum."""

_current: Any = None
_snapshot: Any = None
_models: dict[tuple[str, str], Any] = {}
_tiers: dict[int, tuple[Any, _Tiers]] = {}


def quick(vendor: str, model: str, counts: Mapping[str, int], at: float | None) -> float | None:
    """Return what a call cost in US dollars, None where genai-prices has to be asked.

    Parameters: counts, as `genai_prices.Usage` names them; at, seconds since 1970, None for now.
    Raises LookupError for a model that genai-prices does not know.
    """
    whole, written = counts["input_tokens"], counts.get("cache_write_tokens", 0)
    if (
        counts.get("cache_read_tokens", 0) + written > whole
        or counts.get("cache_write_1h_tokens", 0) > written
        or counts.get("output_reasoning_tokens", 0) > counts["output_tokens"]
    ):
        return None
    try:
        prices = _price_list(vendor, model, at)
    except (ImportError, AttributeError):  # an arrangement of another version
        return None
    found = _tiers.get(id(prices))
    if found is None:
        # The list is kept, so that no other gets its id.
        found = _tiers[id(prices)] = (prices, _found(prices))
    starts, rates = found[1]
    if not rates:
        return None
    known, parts = rates[bisect_left(starts, whole)], 0
    for name, count in counts.items():
        rate = known.get(name)
        if rate is None:
            return None
        parts += rate * count
    return parts / _DOLLAR


def _price_list(vendor: str, model: str, at: float | None) -> Any:
    """Return the prices that a model has at a time. Raises LookupError."""
    global _snapshot, _current
    if _current is None:
        from genai_prices.data_snapshot import get_snapshot as _current
    snapshot = _current()
    if snapshot is not _snapshot or len(_models) > _MODELS:
        _snapshot = snapshot
        _models.clear()
    name = (vendor, model)
    if name not in _models:
        try:
            _models[name] = snapshot.find_provider_model(model, None, vendor, None)[1]
        except LookupError:  # looking for what is not there takes longest
            _models[name] = None
    found = _models[name]
    if found is None:
        raise LookupError(model)
    if not isinstance(found.prices, list):
        return found.prices
    return found.get_prices(datetime.fromtimestamp(at, UTC) if at else datetime.now(UTC))


def _found(prices: Any) -> _Tiers:
    """Return the tiers of a price list, asking what some counts cost with it."""
    from decimal import Decimal

    from genai_prices import Usage
    from genai_prices.types import TieredPrices

    def usd(counts: Mapping[str, int]) -> Decimal:
        return prices.calc_price(Usage(**{"input_tokens": 0, "output_tokens": 0, **counts}))["total_price"]

    def rates(many: int) -> dict[str, int]:
        known: dict[str, int] = {}
        for name, wholes in _PARTS.items():
            size = many if "input_tokens" in (name, *wholes) else _MANY
            base = {"input_tokens": 0 if name == "input_tokens" else many, **dict.fromkeys(wholes, size)}
            try:
                parts = (usd({**base, name: size}) - usd(base)) * _DOLLAR / size
            except (ValueError, TypeError, LookupError):  # this list does not say what it costs
                continue
            if parts == int(parts):
                known[name] = int(parts)
        return known

    try:
        values = [value for value in vars(prices).values() if value is not None]
        tiered = [value for value in values if isinstance(value, TieredPrices)]
        if len(tiered) + sum(isinstance(value, Decimal) for value in values) < len(values) or usd({}):
            return (), ()  # something besides counts
        starts = sorted({tier.start for value in tiered for tier in value.tiers})
        return starts, [rates(many) for many in (starts[0] if starts else _MANY, *(s + 1 for s in starts))]
    except (ValueError, TypeError, LookupError, AttributeError):
        return (), ()
