"""Token counts and finish reasons of Gemini.

The format: https://ai.google.dev/api/generate-content#UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from ..core.events import Usage
from ._chat_usage import count

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}


def finish_reason(raw: str | None, *, called: bool, blocked: bool) -> str | None:
    """Return the common name of a finish reason; one that is not known stays as the server said it.

    Parameters: raw; called, whether the answer calls a function, which Gemini ends with STOP too; blocked,
    whether the prompt was refused, which has no finish reason at all.
    """
    if raw is None:
        return "content_filter" if blocked else None
    return "tool_calls" if called and raw == "STOP" else FINISH.get(raw, raw)


def normalise(raw: Any) -> Usage:
    """Return the counters that a usageMetadata object reports.

    candidatesTokenCount leaves thoughts out, promptTokenCount includes cached tokens. What tools put before
    the model (toolUsePromptTokenCount) is in the total and, because it is billed, in tool_use_tokens.
    """
    usage: dict[str, Any] = raw if isinstance(raw, dict) else {}
    thought, answered = count(usage.get("thoughtsTokenCount")), count(usage.get("candidatesTokenCount"))
    given, total = count(usage.get("promptTokenCount")), count(usage.get("totalTokenCount"))
    completion = None if thought is None and answered is None else (thought or 0) + (answered or 0)
    if total is None and given is not None and completion is not None:
        total = given + completion + (count(usage.get("toolUsePromptTokenCount")) or 0)
    values = {
        "prompt_tokens": given,
        "completion_tokens": completion,
        "total_tokens": total,
        "cached_tokens": count(usage.get("cachedContentTokenCount")),
        "reasoning_tokens": thought,
        "tool_use_tokens": count(usage.get("toolUsePromptTokenCount")) or None,
    }
    known: Any = {name: value for name, value in values.items() if value is not None}
    return known
