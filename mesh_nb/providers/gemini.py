"""Gemini: Google's own API, spoken over HTTP directly."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import AsyncIterator
from typing import Any

from ..core import prices
from ..core.errors import ConfigurationError, InputError
from ..core.events import ExecutionEvent
from . import _clients, _gemini_http, _hosts, _vertex
from ._call import ModelCall, secrets
from ._failures import Target
from ._gemini_request import gemini_body
from ._gemini_translate import Translator
from ._limits import limited
from ._stream import Exchange, stream

# "Function calling with a response mime type: 'application/json' is unsupported", the API says.
_EITHER = re.compile(r"gemini-(?:robotics-er-)?[12]\.")


class Gemini:
    """The Gemini API as a provider.

    No SDK is involved: google-genai has no public way to the bytes and breaks on comment lines. `client=`
    takes an httpx2.AsyncClient of one's own, which is used as it is; `base_url=` may name the API's version.

    Vertex AI is asked when GOOGLE_GENAI_USE_VERTEXAI is true (with GOOGLE_CLOUD_PROJECT and
    GOOGLE_CLOUD_LOCATION), when `base_url=` is a project there, or when `client=` are credentials of
    google-auth; without an api_key the application default credentials go along (the extra "vertex").
    """

    vendor = "gemini"
    api = "gemini"
    prefixes = ("gemini-",)

    def preload(self) -> None:
        """Import the HTTP client and the price data. Safe to call from any thread, and again."""
        _clients.preload("httpx2")
        counts = dict.fromkeys(prices.COUNTERS, 1)
        prices.price_now({"provider": "gemini", "model_id": "gemini-2.5-flash", "usage": counts})

    def check(self, call: ModelCall) -> None:
        """Raise ConfigurationError for a missing or broken key, InputError for what cannot be sent."""
        base_url, vertex = _where(call)
        if not _hosts.host(base_url):
            raise InputError(f"base_url {base_url!r} is not an address; write it like {_gemini_http.GOOGLE}.")
        key = _key(call, vertex=vertex)
        if vertex:
            _vertex.check(call)
        elif call.client is not None:
            _check_client(call.client)
        elif key is None and _hosts.host(base_url).endswith("googleapis.com"):
            raise ConfigurationError(
                f"GEMINI_API_KEY is not set, so {call.model!r} cannot be asked. Set it (or pass api_key=), or"
                ' try the offline demo: -m demo (model="demo").'
            )
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigurationError(
                "The Gemini API key holds characters that no key has: copy it again from"
                " https://aistudio.google.com/apikey."
            )
        gemini_body(call)

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether the model answers by a schema; up to Gemini 2.5 it cannot when it has tools."""
        return not ((call.tools or call.builtin_tools) and _EITHER.search(call.model))

    def request(self, call: ModelCall) -> dict[str, Any]:
        """Return the body that `stream` sends; the model's name is in the URL."""
        return gemini_body(call)

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its events. Raises ProviderError after everything that had arrived."""
        base_url, vertex = _where(call)
        key, body = _key(call, vertex=vertex), self.request(call)
        variable, hidden = _gemini_http.KEY_VARIABLES[0], secrets(call, key)
        target = Target("gemini", call.model, base_url, variable, call.idle_timeout, call.timeout, hidden)
        url = _gemini_http.endpoint(base_url, call.model)

        async def prepare() -> None:
            await _clients.ensure_imported("httpx2")
            if vertex and key is None:
                await _vertex.token(call)

        async def send() -> contextlib.AbstractAsyncContextManager[Any]:
            own = None if vertex else call.client
            client = _clients.client("httpx2") if own is None else own
            token = await _vertex.token(call) if vertex and key is None else None
            timeout = _clients.timeout(read=call.idle_timeout)
            headers = _gemini_http.headers(key, call.headers, token)
            post = functools.partial(_gemini_http.post, client, url, body, headers, timeout, target)
            return limited(target, post)

        def translate(call_id: str) -> Translator:
            return Translator(call_id=call_id, model=call.model, native=call.native)

        return stream(call, Exchange(target, {"model": call.model, **body}, send, translate, prepare))


def _where(call: ModelCall) -> tuple[str, bool]:
    """Return where a call goes, and whether that is Vertex AI."""
    given = call.base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL")
    if _vertex.wanted(call, given):
        return _vertex.address(given), True
    own = "" if call.client is None else str(getattr(call.client, "base_url", ""))
    return _gemini_http.base_url(call.base_url or own), False


def _key(call: ModelCall, *, vertex: bool) -> str | None:
    """Return the key to send; credentials and a client of the user's own go before the environment's keys."""
    if vertex:
        return call.api_key
    return _gemini_http.find_key(call.api_key) if call.client is None else call.api_key


def _check_client(client: Any) -> None:
    name = type(client).__name__
    if not hasattr(client, "stream") or not hasattr(client, "build_request"):
        raise InputError(f"client= is a {name}, which sends no HTTP requests: pass an httpx2.AsyncClient.")
    if not hasattr(client, "__aenter__"):
        raise InputError(f"client= is a {name}, which blocks the event loop: pass an httpx2.AsyncClient.")


plugin = Gemini()
