"""What went wrong with a model call, in one sentence and with the next step.

Exceptions are told apart by the names of their classes: openai, anthropic, httpx2 and a user's own client of
another major version share these names, and no SDK needs to be imported for it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, cast
from urllib.parse import urlsplit

from ..core.errors import (
    AuthenticationError,
    IncompleteStreamError,
    MeshError,
    ProviderError,
    RateLimitError,
    StreamTimeoutError,
)
from ._text import clean

_RETRYABLE = frozenset({408, 409, 429})
_KEY_LIKE = re.compile(r"\b(?:(?:sk|pk|gsk|xai|pplx|hf)[-_]|AIza)[A-Za-z0-9_*.\-]{6,}")
_KEY_NAME = re.compile(
    r"_(?:API_KEY|AUTH_TOKEN|ACCESS_KEY|ACCESS_TOKEN)$|^HF_TOKEN$|^AWS_.*(?:SECRET|TOKEN)", re.I
)
_MESSAGE_LIMIT = 600
_MAX_DEPTH = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Whom a call goes to, for messages.

    Parameters: provider and model by name; endpoint, the base URL; key_variable, the environment variable
    that holds the key; idle_timeout and timeout of the call, in seconds; secrets, what no message may show;
    request_id, the vendor's, once its answer has begun.
    """

    provider: str
    model: str
    endpoint: str
    key_variable: str
    idle_timeout: float
    timeout: float | None = None
    secrets: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    request_id: str | None = None

    @property
    def shown_endpoint(self) -> str:
        """The base URL without the user name, password and query that it may hold."""
        parts = urlsplit(self.endpoint)
        host = parts.hostname or self.endpoint
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def hide(self, value: Any, depth: int = 0) -> Any:
        """Return text, or a JSON value, without keys; what is nested deeper than 50 levels is left out."""
        if isinstance(value, str):
            for secret in self.secrets:
                if len(secret) > 3:
                    value = value.replace(secret, "***")
            return without_keys(value)
        if not isinstance(value, (dict, list)):
            return value
        if depth == _MAX_DEPTH:
            return None
        if isinstance(value, list):
            return [self.hide(v, depth + 1) for v in cast("list[Any]", value)]
        pairs = cast("dict[str, Any]", value).items()
        return {self.hide(k): self.hide(v, depth + 1) for k, v in pairs}

    def scrub(self, text: str) -> str:
        """Return the text without keys, cut to a readable length."""
        text = clean(self.hide(text)).strip()
        return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def without_keys(text: str) -> str:
    """Return text without what looks like a key, and without the keys of the environment."""
    for name, value in os.environ.items():
        if len(value) > 7 and _KEY_NAME.search(name):
            text = text.replace(value, "***")
    return _KEY_LIKE.sub("***", text)


def explain(error: Exception, target: Target, *, reading: bool = False, late: bool = False) -> Exception:
    """Return the error to raise for what sending or reading raised.

    Parameters: error; target; reading, whether the answer had begun; late, whether the call's own deadline
    has passed. An exception that is no failure of the call (ours, or a bug) comes back as it is.
    """
    names = {c.__name__ for c in type(error).__mro__}
    if isinstance(error, MeshError):
        return error
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and "APIStatusError" in names:
        return _from_status(error, status, target)
    if late:
        message = f"The call took longer than its timeout of {target.timeout:g} s"
        return StreamTimeoutError(message, **_answered(target), hint="Raise timeout=, or ask for less.")
    if "ConnectTimeout" in _causes(error):
        return _unreachable("did not accept a connection in time", target)
    if names & {"APITimeoutError", "TimeoutException", "TimeoutError"}:
        message = f"Nothing arrived for {target.idle_timeout:g} s"
        hint = "Raise idle_timeout= if the model thinks in silence for that long."
        return StreamTimeoutError(message, **_answered(target), hint=hint, retryable=True)
    if reading or "RemoteProtocolError" in _causes(error):
        message = f"The connection broke before the answer was complete ({target.scrub(_last(error))})"
        hint = "What had arrived is kept; run it again."
        return IncompleteStreamError(message, **_answered(target), hint=hint, retryable=True)
    if names & {"APIConnectionError", "TransportError", "OSError"}:
        return _unreachable(f"could not be reached ({target.scrub(_last(error))})", target)
    if names & {"APIError", "OpenAIError", "AnthropicError", "HTTPError"}:
        return ProviderError(target.scrub(str(error)), **_who(target))
    return error


def from_stream(error: dict[str, Any], target: Target) -> ProviderError:
    """Return the error for an error object that the stream carried, after HTTP 200."""
    code = error.get("status_code", error.get("code"))
    status = int(code) if isinstance(code, (int, str)) and re.fullmatch(r"[45]\d\d", str(code)) else None
    kind = f"{error.get('type') or ''} {code or ''}".lower()
    message = target.scrub(_message(error) or "The provider reported an error without a message")
    slow = status == 429 or "rate_limit" in kind
    failed = ("overloaded", "server_error", "api_error", "timeout_error")
    busy = slow or any(name in kind for name in failed) or (status or 0) >= 500
    made = RateLimitError if slow else ProviderError
    hint = "What had arrived is kept; try again in a while." if busy else ""
    request_id = error.get("request_id")
    return made(
        message,
        **_who(target),
        status=status,
        request_id=target.scrub(request_id) if isinstance(request_id, str) else target.request_id,
        hint=hint,
        retryable=busy,
        details=target.hide(error),
    )


def malformed(beginning: str, target: Target) -> ProviderError:
    """Return the error for an event that is not JSON."""
    message = f"The stream holds an event that is not JSON: {target.scrub(beginning)}"
    hint = f"What had arrived is kept. Is {target.shown_endpoint} an API of the kind that was chosen?"
    return ProviderError(message, **_answered(target), hint=hint)


def incomplete(loose: bytes, target: Target) -> IncompleteStreamError:
    """Return the error for a body that ended without its terminal marker; loose is text that was no event."""
    said = target.scrub(loose.decode("utf-8", "replace")[:_MESSAGE_LIMIT])
    message = "The answer ended before it was complete" + (f"; the server said: {said}" if said else "")
    hint = "What had arrived is kept; run it again."
    return IncompleteStreamError(message, **_answered(target), hint=hint, retryable=not said)


def _who(target: Target) -> dict[str, Any]:
    return {"provider": target.provider, "model": target.model}


def _answered(target: Target) -> dict[str, Any]:
    return {**_who(target), "request_id": target.request_id}


def _unreachable(what: str, target: Target) -> ProviderError:
    message = f"{target.shown_endpoint} {what}"
    hint = "Is the server running, and is base_url right?"
    return ProviderError(message, **_who(target), hint=hint, retryable=True)


def _from_status(error: Any, status: int, target: Target) -> ProviderError:
    body: Any = getattr(error, "body", None)
    headers: Any = getattr(getattr(error, "response", None), "headers", {})
    details = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    message = target.scrub(_message(details) or (body if isinstance(body, str) else "") or f"HTTP {status}")
    code = str(details.get("code") or details.get("type") or "")
    retryable = status in _RETRYABLE or status >= 500
    if headers.get("x-should-retry") in ("true", "false"):
        retryable = headers["x-should-retry"] == "true"
    hint = _hint(status, code, message, target)
    if "insufficient_quota" in code:
        retryable, hint = False, "The account has no credit left: see the provider's billing page."
    made = {401: AuthenticationError, 403: AuthenticationError, 429: RateLimitError}.get(
        status, ProviderError
    )
    return made(
        message,
        **_who(target),
        status=status,
        request_id=request_id_of(headers, target),
        hint=hint,
        retry_after=_retry_after(headers),
        retryable=retryable,
        details=target.hide(details) or None,
    )


def request_id_of(headers: Any, target: Target) -> str | None:
    """Return the id that the vendor gave a request, from the headers of its answer."""
    names = ("x-request-id", "request-id", "x-amzn-requestid")
    found = next((headers[name] for name in names if headers.get(name)), None)
    return target.scrub(found) if isinstance(found, str) else None


def _hint(status: int, code: str, message: str, target: Target) -> str:
    if status in (401, 403):
        return f"Check {target.key_variable}, or the api_key= that was passed."
    if status == 404:
        return f"Check the model name {target.model!r} and the address {target.shown_endpoint}."
    if status == 413 or "context_length" in code or "maximum context" in message or "too long" in message:
        return "Send less: shorten the input or the history."
    if status == 429:
        return "Wait a while, or raise max_retries=."
    return "The provider's side failed; try again in a while." if status >= 500 else ""


def _message(error: dict[str, Any]) -> str:
    """Find the sentence in an error object; OpenRouter hides the upstream's own in metadata.raw."""
    for name in ("message", "detail", "error", "error_message"):
        value = error.get(name)
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get("message")
        if value and isinstance(value, str):
            metadata = error.get("metadata")
            raw = metadata.get("raw") if isinstance(metadata, dict) else None
            return f"{value}: {raw}" if isinstance(raw, str) and raw else value
    return ""


def _retry_after(headers: Any) -> float | None:
    """Read retry-after-ms, or retry-after in seconds or as a date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time())
        except (ValueError, TypeError):
            continue
    return None


def _causes(error: BaseException | None) -> set[str]:
    found: set[str] = set()
    while error is not None:
        found |= {c.__name__ for c in type(error).__mro__}
        error = error.__cause__
    return found


def _last(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
