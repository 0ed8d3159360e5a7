"""What a model call cost: the provider's own figure, else genai-prices, else unknown; never a guess, never 0.

Prices come from the data bundled with genai-prices (https://github.com/pydantic/genai-prices). No network.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

COUNTERS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """What one call cost.

    Parameters: usd, in US dollars; source, "wire" (the provider said so), "custom" (a rate of the user's own)
    or "genai-prices".
    """

    usd: float
    source: str


def billed(metadata: Mapping[str, Any]) -> Price | None:
    """Return the cost that a response_metadata event already carries, or None."""
    usd = metadata.get("cost_usd")
    if isinstance(usd, bool) or not isinstance(usd, (int, float)) or not usd >= 0 or usd == float("inf"):
        return None
    return Price(float(usd), str(metadata.get("cost_source") or "wire"))


def price_now(metadata: Mapping[str, Any], at: float | None = None) -> Price | None:
    """Price one call from the metadata of its response_metadata event.

    Parameters: metadata, with usage, provider, model_id and requested_model; at, when the call was made, in
    seconds since the epoch (prices change), None for now.
    Returns the provider's own figure where there is one, else that of genai-prices, else None: an unknown
    model, provider or token count has no price. The first call in a process imports genai-prices, about half
    a second; `price` does the same without blocking the loop.
    """
    known = billed(metadata)
    if known is not None and known.source != "genai-prices":
        return known
    return _calculate(metadata, at) or known


async def price(metadata: Mapping[str, Any], at: float | None = None) -> Price | None:
    """Do what `price_now` does, importing the price data in a thread when it is first needed."""
    known = billed(metadata)
    if known is not None and known.source != "genai-prices":
        return known
    if "genai_prices.data" in sys.modules:
        return price_now(metadata, at)
    return await asyncio.to_thread(price_now, metadata, at)


def _calculate(metadata: Mapping[str, Any], at: float | None) -> Price | None:
    usage, vendor = metadata.get("usage"), metadata.get("provider")
    if not isinstance(usage, Mapping) or not isinstance(vendor, str) or not vendor:
        return None
    counts = {ours: cast("Mapping[str, Any]", usage).get(name) for name, ours in COUNTERS.items()}
    if counts["input_tokens"] is None or counts["output_tokens"] is None:
        return None
    moment = datetime.fromtimestamp(at, UTC) if at else None
    for model in dict.fromkeys([metadata.get("model_id"), metadata.get("requested_model")]):
        if isinstance(model, str) and model:
            usd = _look_up(vendor, model, {k: v for k, v in counts.items() if v is not None}, moment)
            if usd is not None:
                return Price(usd, "genai-prices")
    return None


def _look_up(vendor: str, model: str, counts: dict[str, Any], moment: datetime | None) -> float | None:
    from genai_prices import Usage, calc_price

    try:
        found = calc_price(Usage(**counts), model, provider_id=vendor, genai_request_timestamp=moment)
    except (LookupError, ValueError, TypeError):
        # An unknown model, or counters that cannot be (more cached than sent).
        return None
    return float(found.total_price)
