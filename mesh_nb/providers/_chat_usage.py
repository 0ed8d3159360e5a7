"""Token counts, costs and finish reasons of chat completions, as OpenAI and others spell them."""

from __future__ import annotations

import math
from typing import Any

from ..core.events import Usage

FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
    "refusal": "refusal",
    "error": "error",
    "insufficient_system_resource": "error",
    "network_error": "error",
}


def finish_reason(raw: str | None) -> str | None:
    """Return the common name of a finish reason; one that is not known stays as the server said it."""
    return None if raw is None else FINISH.get(raw.lower(), raw)


def count(value: Any) -> int | None:
    """Return a token count, or None for anything that is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        return None
    return int(value)


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def normalise(raw: Any) -> Usage:
    """Return the counters that a usage object reports.

    prompt_tokens includes cached tokens on every known server. xAI leaves reasoning out of completion_tokens
    and counts it in the total; that total gives it away.
    """
    usage: dict[str, Any] = raw if isinstance(raw, dict) else {}
    prompt, completion = (
        _details(usage, "prompt_tokens_details"),
        _details(usage, "completion_tokens_details"),
    )
    cached = prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    values = {
        "prompt_tokens": count(usage.get("prompt_tokens")),
        "completion_tokens": count(usage.get("completion_tokens")),
        "total_tokens": count(usage.get("total_tokens")),
        "cached_tokens": count(cached),
        "cache_write_tokens": count(prompt.get("cache_write_tokens")),
        "reasoning_tokens": count(completion.get("reasoning_tokens", usage.get("reasoning_tokens"))),
    }
    given, answered, total = values["prompt_tokens"], values["completion_tokens"], values["total_tokens"]
    thought = values["reasoning_tokens"]
    if given is not None and answered is not None:
        if thought and total == given + answered + thought:
            values["completion_tokens"] = answered + thought
        if total is None:
            values["total_tokens"] = given + answered
    known: Any = {name: value for name, value in values.items() if value is not None}
    return known


def wire_cost(raw: Any) -> float | None:
    """Return the cost in USD that a usage object states, or None.

    OpenRouter sends a number, Perplexity an object; with a key of one's own at OpenRouter (`is_byok`), what
    the upstream charges comes on top.
    """
    usage: dict[str, Any] = raw if isinstance(raw, dict) else {}
    cost = usage.get("cost")
    total = _amount(cost.get("total_cost") if isinstance(cost, dict) else cost)
    if total is not None and usage.get("is_byok") is True:
        total += _amount(_details(usage, "cost_details").get("upstream_inference_cost")) or 0.0
    return total


def _amount(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None
