"""What an agent's failure means, in our error tree."""

from __future__ import annotations

import re
from typing import Any

from ..core.errors import AuthenticationError, IncompleteStreamError, MeshError, ProviderError, RateLimitError
from ..providers._failures import without_keys

_KEY = re.compile(r"\b(sk|key|gsk|xai|pk)-[\w*.-]{4,}", re.IGNORECASE)
_TRANSPORTS = frozenset({"openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2"})
# Vel's way to say that a provider failed, and not the agent: "[openai] Request failed: ...".
_NAMED = re.compile(r"\[[\w-]+\] +(.+)", re.DOTALL)
_STATUS = re.compile(r"\bHTTP (\d{3})\b|\bError code: (\d{3})\b")


def from_status(text: str, status: int, *, provider: str, model: str) -> ProviderError:
    """Return the error for an HTTP status that a provider answered an agent with."""
    kind: type[ProviderError] = ProviderError
    hint = ""
    if status in (401, 403):
        kind, hint = AuthenticationError, "Check the API key that the agent was made with."
    elif status == 429:
        kind, hint = RateLimitError, "Wait a little, or ask for fewer calls at once."
    elif status == 404:
        hint = "Check the model name and the base URL that the agent was made with."
    retryable = status in (408, 409, 429) or status >= 500
    message = _hidden(text)
    return kind(message, provider=provider, model=model, status=status, hint=hint, retryable=retryable)


def from_text(text: str, *, agent: object, provider: str, model: str) -> MeshError:
    """Return the error for what an agent reported in words."""
    found = _STATUS.search(text)
    if found:
        return from_status(text, int(found[1] or found[2]), provider=provider, model=model)
    named = _NAMED.match(text)
    if named:
        return lost(named[1], provider=provider, model=model)
    return MeshError(f"The agent {type(agent).__name__} reported an error: {_hidden(text).strip()}")


def from_exception(error: Exception, *, provider: str, model: str) -> Exception:
    """Return our error for a failed model call inside an agent, and any other exception as it is."""
    if isinstance(error, MeshError):
        return error
    status: Any = getattr(error, "status_code", None)
    said = _said(getattr(error, "body", None)) or str(error)
    if isinstance(status, int):
        return from_status(said, status, provider=provider, model=model)
    if _TRANSPORTS & _packages(error):
        return lost(said or type(error).__name__, provider=provider, model=model)
    return error


def _hidden(text: str) -> str:
    return _KEY.sub("***", without_keys(text))


def _said(body: Any) -> str:
    """Return the message in the body of an HTTP failure: OpenAI's as its SDK hands it on, or Anthropic's."""
    if not isinstance(body, dict):
        return ""
    inner: Any = body.get("error")
    message: Any = body.get("message") or (inner.get("message") if isinstance(inner, dict) else None)
    return message if isinstance(message, str) else ""


def lost(text: str, *, provider: str, model: str) -> ProviderError:
    """Return the error for a model call that no HTTP status ended: no connection, a dropped one."""
    return ProviderError(_hidden(text), provider=provider, model=model, retryable=True)


def incomplete(*, provider: str, model: str) -> IncompleteStreamError:
    """Return the error for an answer that stopped without its protocol's end."""
    message = "The answer ended before it was complete"
    hint = "What had arrived is kept; run it again."
    return IncompleteStreamError(message, provider=provider, model=model, hint=hint, retryable=True)


def vendor(error: BaseException) -> str:
    """Return the provider whose SDK raised; "agent" when none did."""
    return next((name for name in ("openai", "anthropic") if name in _packages(error)), "agent")


def _packages(error: BaseException) -> set[str]:
    """Return the packages of an exception's class and of those that it is derived from."""
    return {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
