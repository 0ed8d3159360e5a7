"""Gemini over HTTP: where it is, how a request is sent, and what a refusal says.

The errors: https://ai.google.dev/gemini-api/docs/troubleshooting and google.rpc.Status.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

from ..core.errors import AuthenticationError
from ..core.events import dumps
from ._failures import Target
from ._wire import parse

if TYPE_CHECKING:
    import httpx2

GOOGLE = "https://generativelanguage.googleapis.com"
KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

_VERSION = re.compile(r"/v\d+[a-z0-9]*(?:/|$)")
_ERROR_LIMIT = 65_536


class APIStatusError(Exception):
    """An answer that is not a success; `_failures` knows it by its name, which is that of the SDKs' own.

    Parameters: response; body, its error object, or its text when it has none.
    """

    def __init__(self, response: httpx2.Response, body: Any) -> None:
        self.status_code, self.response, self.body = response.status_code, response, body
        self.request_id = response.headers.get("x-request-id")
        super().__init__(f"HTTP {response.status_code}")


class Reply:
    """A response that is being read, in the form in which the SDKs offer theirs."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response, self.headers = response, response.headers

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Return the body as it arrives, decompressed."""
        return self._response.aiter_bytes()


def base_url(given: str | None) -> str:
    """Return where Gemini is: the given address, else GOOGLE_GEMINI_BASE_URL, else Google."""
    return (given or os.environ.get("GOOGLE_GEMINI_BASE_URL") or GOOGLE).rstrip("/")


def find_key(given: str | None) -> str | None:
    """Return the key: the given one, else GEMINI_API_KEY, else GOOGLE_API_KEY."""
    found = (given, *(os.environ.get(name) for name in KEY_VARIABLES))
    return next((key.strip() for key in found if key and key.strip()), None)


def endpoint(base: str, model: str) -> str:
    """Return the URL of a streamed call; an address that names no version gets v1beta.

    Parameters: base, such as https://aiplatform.googleapis.com/v1/publishers/google; model, "gemini-2.5-pro",
    or with its collection, "tunedModels/mine".
    """
    root = base if _VERSION.search(urlsplit(base).path) else f"{base}/v1beta"
    collection, slash, name = model.partition("/")
    if not slash or collection not in ("models", "tunedModels"):
        collection, name = "models", model
    return f"{root}/{collection}/{quote(name, safe='')}:streamGenerateContent?alt=sse"


def headers(key: str | None, more: dict[str, str], token: str | None = None) -> dict[str, str]:
    """Return the headers of a request, with a key or an access token; the user's own go before ours."""
    ours = {"content-type": "application/json"} | ({"x-goog-api-key": key} if key else {})
    if token:
        ours["authorization"] = f"Bearer {token}"
    given = {name.lower(): value for name, value in more.items()}
    return ours | given


@contextlib.asynccontextmanager
async def post(
    client: httpx2.AsyncClient,
    url: str,
    body: dict[str, Any],
    headers: dict[str, str],
    timeout: httpx2.Timeout,
    target: Target,
) -> AsyncGenerator[Reply, None]:
    """Send a request and yield its reply; leaving the context closes the connection.

    Raises APIStatusError for an answer that is no success, AuthenticationError for a key that is no key, and
    httpx2's own errors. A redirect is not followed: the key would go with it.
    """
    async with client.stream(
        "POST", url, content=dumps(body), headers=headers, timeout=timeout, follow_redirects=False
    ) as response:
        if not response.is_success:
            token = headers.get("authorization", "").removeprefix("Bearer ")
            raise await _refusal(response, target, token.encode())
        yield Reply(response)


async def _refusal(response: httpx2.Response, target: Target, token: bytes) -> Exception:
    text = await _beginning(response)
    text = text.replace(token, b"***") if token else text
    try:
        value = parse(text)
    except ValueError:
        return APIStatusError(response, text.decode("utf-8", "replace"))
    if isinstance(value, list) and value:
        value = cast("list[Any]", value)[0]
    error = value.get("error", value) if isinstance(value, dict) else {}
    error = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": str(error)}
    details = error.get("details")
    details = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    if any(d.get("reason") == "API_KEY_INVALID" for d in details):
        # Google answers 400, where everybody else answers 401.
        return AuthenticationError(
            target.scrub(str(error.get("message") or "The API key is not valid")),
            provider=target.provider,
            model=target.model,
            status=response.status_code,
            hint=f"Check {target.key_variable}, or the api_key= that was passed.",
            details=target.hide(error),
        )
    waits = [d["retryDelay"] for d in details if isinstance(d.get("retryDelay"), str)]
    if waits and "retry-after" not in response.headers:
        response.headers["retry-after"] = waits[0].removesuffix("s")
    return APIStatusError(response, error)


async def _beginning(response: httpx2.Response) -> bytes:
    text = b""
    async with contextlib.aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            text += piece
            if len(text) >= _ERROR_LIMIT:
                break
    return text[:_ERROR_LIMIT]
