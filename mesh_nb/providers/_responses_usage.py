"""Token counts and finish reasons of the Responses API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.events import Usage
from ._chat_usage import count

_INCOMPLETE = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
}


def normalise(raw: Any, items: Iterable[dict[str, Any]] = ()) -> Usage:
    """Return the counters that a response's usage reports; a counter that is not there is absent.

    Parameters: raw; items, the response's finished ones: web searches are billed beside the tokens, each
    action "search" as one, and no counter tells them. https://developers.openai.com/api/docs/pricing
    """
    usage: dict[str, Any] = raw if isinstance(raw, dict) else {}
    if not usage:
        return {}
    given, answered = _details(usage, "input_tokens_details"), _details(usage, "output_tokens_details")
    values = {
        "prompt_tokens": count(usage.get("input_tokens")),
        "completion_tokens": count(usage.get("output_tokens")),
        "total_tokens": count(usage.get("total_tokens")),
        "cached_tokens": count(given.get("cached_tokens")),
        "cache_write_tokens": count(given.get("cache_write_tokens")),
        "reasoning_tokens": count(answered.get("reasoning_tokens")),
        "web_searches": len({i.get("id") or n for n, i in enumerate(items) if _searched(i)}) or None,
    }
    prompt, completion = values["prompt_tokens"], values["completion_tokens"]
    if values["total_tokens"] is None and prompt is not None and completion is not None:
        values["total_tokens"] = prompt + completion
    known: Any = {name: value for name, value in values.items() if value is not None}
    return known


def _searched(item: dict[str, Any]) -> bool:
    action = item.get("action")
    return (
        item.get("type") == "web_search_call"
        and item.get("status") in (None, "completed")
        and isinstance(action, dict)
        and action.get("type") == "search"
    )


def finish_reason(status: str | None, incomplete: str | None, *, calls: bool, refused: bool) -> str | None:
    """Return the common finish reason of a response.

    Parameters: status, as the response says it, None when it never ended; incomplete, the reason in
    incomplete_details; calls, whether a tool was called that the client runs; refused, whether it refused.
    A reason that is not known stays as the server said it.
    """
    if status == "completed":
        return "tool_calls" if calls else "refusal" if refused else "stop"
    if status == "incomplete":
        return _INCOMPLETE.get(incomplete or "", incomplete or "length")
    return "error" if status == "failed" else status


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}
