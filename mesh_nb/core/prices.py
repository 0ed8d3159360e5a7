"""What a model call cost: the provider's own figure, else a price of the user's own, else genai-prices, else
unknown; never a guess, never 0.

Prices come from the data bundled with genai-prices (https://github.com/pydantic/genai-prices). No network.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fnmatch
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ._linear import quick
from ._named import named_options
from .errors import InputError, shown

__all__ = ["Price", "Rate", "rates", "set", "unset"]


def __dir__() -> list[str]:
    return __all__


COUNTERS = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "web_searches": "web_searches",
}
_MOST = 2**63
_RICH = 1e12
"""US dollars that no call costs, whoever says so."""
_FAR = 1e11
"""Seconds since 1970 that no clock tells."""
_COUNTED = {**COUNTERS, "tool_use_tokens": "input_tool_tokens"}
_OURS = ("genai-prices", "custom")
"""Sources of costs that were calculated here, and can be again."""
_MILLION = 1_000_000


class Price(NamedTuple):
    """What one call cost.

    Parameters: usd, in US dollars; source, "wire" (the provider said so), "custom" (a rate of the user's own)
    or "genai-prices".
    """

    usd: float
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """A price of the user's own, in US dollars for a million tokens; cached, cache_write and reasoning are
    None where they cost what other input and output tokens cost."""

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None


_rates: dict[str, Rate] = {}


@named_options
def set(
    model: str,
    input: float,
    output: float | None = None,
    *,
    cached: float | None = None,
    cache_write: float | None = None,
    reasoning: float | None = None,
) -> None:
    """Say what a model costs, for this process: it goes before genai-prices, after a provider's own figure.

    Parameters
    ----------
    model : "provider/model", or a model's name alone; `*` stands for anything: "ollama/*". The pattern that
        was set last goes first.
    input : US dollars for a million input tokens; 0 for a model of your own that costs nothing.
    output : the same for output tokens; None for the price of input.
    cached, cache_write, reasoning : the same for input read from the cache, input put into it, and reasoning;
        None for the price of input or output.

    Raises InputError for a name that is not text and for a price below 0.
    """
    if not isinstance(model, str) or not model.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f'{shown(model)} names no model: write prices.set("ollama/*", 0).')
    given = {"input": input, "output": output, "cached": cached, "cache_write": cache_write}
    for name, value in {**given, "reasoning": reasoning}.items():
        if value is None and name != "input":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise InputError(f"{name}={shown(value)} is no price: say US dollars for a million tokens.")
    key = model.strip().lower()
    _rates.pop(key, None)
    _rates[key] = Rate(input, input if output is None else output, cached, cache_write, reasoning)


def unset(model: str | None = None) -> None:
    """Forget what `set` said about a model or pattern, None for all. Raises InputError for one not set."""
    if model is None:
        _rates.clear()
    elif _rates.pop(model.strip().lower(), None) is None:
        raise InputError(f"No price was set for {shown(model)}; prices.rates() lists them.")


def rates() -> dict[str, Rate]:
    """Return the prices that `set` gave, by model or pattern."""
    return dict(_rates)


def dollars(usd: float) -> str:
    """Return US dollars as they are read: to the cent where they are many, never 0 where they are few."""
    if usd == 0:
        return "$0"
    if abs(usd) < 0.0001:
        return "<$0.0001"
    return f"${usd:,.2f}" if abs(usd) >= 100 else f"${usd:,.4f}"


def billed(metadata: Mapping[str, Any]) -> Price | None:
    """Return the cost that a response_metadata event already carries, or None."""
    usd = metadata.get("cost_usd")
    if isinstance(usd, bool) or not isinstance(usd, (int, float)) or not 0 <= usd < _RICH:
        return None
    return Price(float(usd), str(metadata.get("cost_source") or "wire"))


def price_now(metadata: Mapping[str, Any], at: float | None = None) -> Price | None:
    """Price one call from the metadata of its response_metadata event.

    Parameters: metadata, with usage, provider, model_id and requested_model; at, when the call was made, in
    seconds since the epoch (prices change), None for now.
    Returns the provider's own figure where there is one, else that of `set`, else that of genai-prices, else
    None: an unknown model, provider or token count has no price. The first call in a process imports
    genai-prices, about half a second; `price` does the same without blocking the loop.
    """
    source = metadata.get("cost_source")
    if source == "custom" or not source or source not in _OURS:
        known = billed(metadata)
        if known is not None:
            return (_custom(metadata) or known) if source == "custom" else known
    own = _custom(metadata) if _rates else None
    return own or _calculate(metadata, at) or billed(metadata)


async def price(metadata: Mapping[str, Any], at: float | None = None) -> Price | None:
    """Do what `price_now` does, importing the price data in a thread when it is first needed."""
    known = billed(metadata)
    if known is not None and known.source not in _OURS:
        return known
    if "genai_prices.data" in sys.modules:
        return price_now(metadata, at)
    return await asyncio.to_thread(price_now, metadata, at)


def saved_usd(metadata: Mapping[str, Any], at: float | None = None) -> float | None:
    """Return how much more the tokens of a call would have cost without the provider's cache, in US dollars:
    negative when writing to the cache cost more than reading from it saved. None when that is not known."""
    counts = _counts(metadata)
    if counts is None or not counts.keys() & {"cache_read_tokens", "cache_write_tokens"}:
        return None
    plain = {
        key: value
        for key, value in counts.items()
        if key not in ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
    }
    rate = _rate(metadata)
    if rate is not None:
        return _at_rate(rate, plain) - _at_rate(rate, counts)
    real, full = _first(metadata, counts, at), _first(metadata, plain, at)
    return None if real is None or full is None else full - real


def why_unpriced(metadata: Mapping[str, Any]) -> str:
    """Return what is missing for the price of a call that has none, in a few words."""
    if _counts(metadata) is None:
        ended = metadata.get("finish_reason", "") is not None and "model_id" in metadata
        return "no token counts" if ended or metadata.get("usage") else "it failed or was cut off"
    if not metadata.get("provider"):
        return "no provider"
    return "no price known"


def _counts(metadata: Mapping[str, Any]) -> dict[str, int] | None:
    usage: Any = metadata.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts: dict[str, int] = {}
    for name, count in usage.items():
        ours = _COUNTED.get(name)
        if ours is None or count is None:
            continue
        if count.__class__ is not int or not 0 <= count < _MOST:
            return None
        counts[ours] = count
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    if "input_tool_tokens" in counts:
        counts["input_tokens"] += counts["input_tool_tokens"]  # not part of prompt_tokens, and billed
    return counts


def _rate(metadata: Mapping[str, Any]) -> Rate | None:
    if not _rates:
        return None
    vendor = metadata.get("provider")
    known = (metadata.get("model_id"), metadata.get("requested_model"))
    names = [name.lower() for name in known if isinstance(name, str)]
    names += [f"{vendor.lower()}/{name}" for name in names] if isinstance(vendor, str) else []
    for pattern, rate in reversed(_rates.items()):
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return rate
    return None


def _custom(metadata: Mapping[str, Any]) -> Price | None:
    rate = _rate(metadata)
    if rate is None:
        return None
    if rate == Rate(0, 0):
        return Price(0.0, "custom")  # free, however many tokens there were
    counts = _counts(metadata)
    return None if counts is None else Price(_at_rate(rate, counts), "custom")


def _at_rate(rate: Rate, counts: Mapping[str, int]) -> float:
    """Price counts: cached and cache-write tokens are part of the input, reasoning is part of the output."""
    cached, written = counts.get("cache_read_tokens", 0), counts.get("cache_write_tokens", 0)
    thought = counts.get("output_reasoning_tokens", 0)
    parts = (
        (max(counts["input_tokens"] - cached - written, 0), rate.input),
        (cached, rate.input if rate.cached is None else rate.cached),
        (written, rate.input if rate.cache_write is None else rate.cache_write),
        (max(counts["output_tokens"] - thought, 0), rate.output),
        (thought, rate.output if rate.reasoning is None else rate.reasoning),
    )
    return sum(tokens * usd for tokens, usd in parts) / _MILLION


def _calculate(metadata: Mapping[str, Any], at: float | None) -> Price | None:
    counts = _counts(metadata)
    usd = None if counts is None else _first(metadata, counts, at)
    return None if usd is None else Price(usd, "genai-prices")


def _first(metadata: Mapping[str, Any], counts: dict[str, int], at: float | None) -> float | None:
    """Price counts by the first of the call's model names that genai-prices knows."""
    vendor = metadata.get("provider")
    if not isinstance(vendor, str) or not vendor:
        return None
    if at and not abs(at) < _FAR:
        return None
    last = None
    for model in (metadata.get("model_id"), metadata.get("requested_model")):
        if isinstance(model, str) and model and model != last:
            usd = _look_up(vendor, model, counts, at)
            if usd is not None:
                return usd
            last = model
    return None


def _look_up(vendor: str, model: str, counts: dict[str, int], at: float | None) -> float | None:
    try:
        usd = quick(vendor, model, counts, at)
        if usd is not None:
            return usd
        from genai_prices import Usage, calc_price

        moment = datetime.fromtimestamp(at, UTC) if at else None
        found = calc_price(Usage(**counts), model, provider_id=vendor, genai_request_timestamp=moment)
    except (LookupError, ValueError, TypeError):
        # An unknown model, or counters that cannot be (more cached than sent).
        return None
    return float(found.total_price)
