"""Token counts as agent libraries spell them, as the one Usage of our events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..core.events import Usage

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "prompt_tokens": ("prompt_tokens", "input_tokens", "inputTokens", "promptTokens", "promptTokenCount"),
    "completion_tokens": (
        "completion_tokens",
        "output_tokens",
        "outputTokens",
        "completionTokens",
        "candidatesTokenCount",
    ),
    "total_tokens": ("total_tokens", "totalTokens", "totalTokenCount"),
    "cached_tokens": ("cached_tokens", "cachedInputTokens", "cachedTokens", "cachedContentTokenCount"),
    "cache_write_tokens": ("cache_write_tokens", "cacheWriteTokens", "cacheWriteInputTokens"),
    "reasoning_tokens": ("reasoning_tokens", "reasoningTokens", "thoughtsTokenCount"),
}
# Anthropic counts these beside its input tokens; our prompt_tokens includes them.
_BESIDE_INPUT = {
    "cached_tokens": ("cache_read_input_tokens", "cacheReadTokens", "cacheReadInputTokens"),
    "cache_write_tokens": ("cache_creation_input_tokens", "cacheCreationTokens", "cacheCreationInputTokens"),
}
_DETAILS = (
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
    "inputTokensDetails",
    "outputTokensDetails",
)


def _count(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
    return None


def normalise(usage: Any) -> Usage:
    """Return token counts under our names; a counter that is not there stays absent.

    Parameters: usage, a mapping in the spelling of OpenAI (chat or Responses), Anthropic, Gemini or the AI
    SDK, or anything else, which gives an empty result.
    """
    if not isinstance(usage, Mapping):
        return {}
    flat: dict[str, Any] = dict(usage)
    for key in _DETAILS:
        if isinstance(flat.get(key), Mapping):
            flat = {**flat[key], **flat}
    out: dict[str, int] = {}
    for name, spellings in _SPELLINGS.items():
        value = _count(flat, spellings)
        if value is not None:
            out[name] = value
    beside = 0
    for name, spellings in _BESIDE_INPUT.items():
        value = _count(flat, spellings)
        if value is not None and name not in out:
            out[name] = value
            beside += value
    if beside and "prompt_tokens" in out:
        out["prompt_tokens"] += beside
        if "total_tokens" in out:
            out["total_tokens"] = max(
                out["total_tokens"], out["prompt_tokens"] + out.get("completion_tokens", 0)
            )
    if "candidatesTokenCount" in flat and {"completion_tokens", "reasoning_tokens"} <= out.keys():
        out["completion_tokens"] += out["reasoning_tokens"]
    if "total_tokens" not in out and {"prompt_tokens", "completion_tokens"} <= out.keys():
        out["total_tokens"] = out["prompt_tokens"] + out["completion_tokens"]
    return cast("Usage", out)


def add(a: Usage, b: Usage) -> Usage:
    """Return the sum of two usages; a counter that neither has stays absent."""
    left, right = cast("dict[str, int]", a), cast("dict[str, int]", b)
    return cast("Usage", {k: left.get(k, 0) + right.get(k, 0) for k in {**left, **right}})
