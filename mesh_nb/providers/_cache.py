"""`prompt_cache="auto"`: what tells a provider which part of a request will come again."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from ..core.events import dumps

_MARK = {"cache_control": {"type": "ephemeral"}}
_UNMARKED = ("thinking", "redacted_thinking")


def with_cache_marks(body: dict[str, Any]) -> None:
    """Mark, in a Messages body, the end of what never changes and the end of the conversation so far.

    The first covers the tools and the system prompt, the second is what the next round begins with. Fewer
    than 1,024 tokens (4,096 for some models) are not cached, marked or not.
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    if isinstance(body.get("system"), str):
        body["system"] = [{"type": "text", "text": body["system"], **_MARK}]
    elif body.get("tools"):
        body["tools"] = [*body["tools"][:-1], {**body["tools"][-1], **_MARK}]
    messages = cast("list[dict[str, Any]]", body.get("messages") or [])
    content = messages[-1]["content"] if messages else None
    if isinstance(content, list) and content:
        last = cast("dict[str, Any]", content[-1])
        if last.get("type") not in _UNMARKED:
            messages[-1]["content"] = [*content[:-1], {**last, **_MARK}]


def with_cache_key(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body for one of OpenAI's APIs, with a key that all requests of this beginning share.

    OpenAI caches by itself; the key sends requests that begin alike to where the beginning was kept.
    https://platform.openai.com/docs/guides/prompt-caching
    """
    if "prompt_cache_key" in body:
        return body
    first: Any = [m for m in body.get("messages") or [] if m.get("role") in ("system", "developer")][:1]
    beginning = dumps([body.get("model"), body.get("tools"), body.get("instructions"), first])
    return {**body, "prompt_cache_key": f"mesh-{hashlib.sha256(beginning).hexdigest()[:24]}"}
