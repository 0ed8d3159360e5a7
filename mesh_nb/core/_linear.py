"""Prices of genai-prices as plain sums, where they are: a report over thousands of calls asks for thousands.

A price without tiers is a sum of tokens times rates. The rates are found by asking genai-prices itself, once
for each of its price lists; whatever is not so simple is None here, and is asked there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_PARTS = {
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_tokens": "input_tokens",
    "output_reasoning_tokens": "output_tokens",
}
"""Counts that are understood here, with what each is a part of."""
_MANY = 1_000_000
_NONE: dict[str, float] = {}

_known: dict[int, tuple[Any, dict[str, float]]] = {}


def quick(vendor: str, model: str, counts: dict[str, int], moment: datetime | None) -> float | None:
    """Return what a call cost in US dollars, None where genai-prices has to be asked.

    Raises LookupError for a model that genai-prices does not know.
    """
    if counts.keys() - _PARTS.keys():
        return None
    cached, thought = counts.get("cache_read_tokens", 0), counts.get("output_reasoning_tokens", 0)
    if cached > counts["input_tokens"] or thought > counts["output_tokens"]:
        return None
    try:
        from genai_prices.data_snapshot import get_snapshot

        _, info = get_snapshot().find_provider_model(model, None, vendor, None)
        prices: Any = info.get_prices(moment or datetime.now(UTC))
    except (ImportError, AttributeError):  # an arrangement of another version
        return None
    found = _known.get(id(prices))
    if found is None:
        # The list is kept, so that no other gets its id.
        found = _known[id(prices)] = (prices, _rates(prices))
    rates = found[1]
    return sum(rates[name] * count for name, count in counts.items()) if rates else None


def _rates(prices: Any) -> dict[str, float]:
    """Return US dollars a token by count, empty for a price list that is no plain sum."""
    from decimal import Decimal

    from genai_prices import Usage

    def usd(**counts: int) -> Decimal:
        whole = {"input_tokens": 0, "output_tokens": 0, **counts}
        return prices.calc_price(Usage(**whole))["total_price"]

    try:
        if any(value is not None and not isinstance(value, Decimal) for value in vars(prices).values()):
            return _NONE
        if usd():
            return _NONE  # something besides tokens
        rates = {}
        for name, whole in _PARTS.items():
            more = usd(**{name: _MANY}) if whole is None else usd(**{whole: _MANY, name: _MANY})
            rates[name] = float((more - (usd(**{whole: _MANY}) if whole else 0)) / _MANY)
    except (ValueError, TypeError, LookupError, AttributeError, KeyError):
        return _NONE
    return rates
