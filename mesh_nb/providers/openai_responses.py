"""The Responses API: OpenAI's own models, with reasoning, citations and the tools that OpenAI runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ..core import prices
from ..core.errors import ConfigurationError, InputError
from ..core.events import ExecutionEvent
from . import _clients, _hosts
from ._call import ModelCall
from ._failures import Target
from ._responses_request import responses_body
from ._responses_translate import Translator
from ._stream import Exchange, stream

_PLACEHOLDER = "not-needed"


class OpenAIResponses:
    """The Responses API as a provider.

    The official SDK sends the request; its bytes are read here. `client=` takes an AsyncOpenAI of one's own
    (Azure, another transport), which is used as it is. Nothing is stored at the provider unless
    `extra={"store": True}` says so.
    """

    vendor = "openai"
    api = "responses"
    prefixes = ("gpt-", "o1", "o3", "o4", "chatgpt-", "codex-", "computer-use-", "ft:gpt-")

    def preload(self) -> None:
        """Import the SDK and the price data, which takes seconds. Safe to call from any thread, and again."""
        _clients.preload("openai")
        prices.price_now(
            {"provider": "openai", "model_id": "gpt-4o", "usage": dict.fromkeys(prices.COUNTERS, 1)}
        )

    def check(self, call: ModelCall) -> None:
        """Raise ConfigurationError for a missing key, InputError for what cannot be sent."""
        if call.client is not None:
            _check_client(call.client)
        else:
            base_url = _hosts.openai_base_url(call.base_url)
            if not _hosts.host(base_url):
                raise InputError(
                    f"base_url {base_url!r} is not an address; write it like http://localhost:8000/v1."
                )
            if _hosts.is_openai(base_url) and not _hosts.find_key(base_url, call.api_key):
                raise ConfigurationError(
                    f"OPENAI_API_KEY is not set, so {call.model!r} cannot be asked. Set it (or pass"
                    ' api_key=), or try the offline demo: -m demo (model="demo").'
                )
        responses_body(call)

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether the model has structured outputs: every one since gpt-4o of August 2024."""
        return _hosts.takes_schema(_base_url(call), call.model)

    def request(self, call: ModelCall) -> dict[str, Any]:
        """Return the body that `stream` sends."""
        return responses_body(call)

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its events. Raises ProviderError after everything that had arrived."""
        base_url, body = _base_url(call), self.request(call)
        provider, variable = _hosts.vendor(base_url)
        key = None if call.client is not None else _hosts.find_key(base_url, call.api_key) or _PLACEHOLDER
        secrets = tuple(s for s in (key, getattr(call.client, "api_key", None)) if isinstance(s, str))
        target = Target(provider, call.model, base_url, variable, call.idle_timeout, call.timeout, secrets)

        async def prepare() -> None:
            await _clients.ensure_imported("openai")

        async def send() -> contextlib.AbstractAsyncContextManager[Any]:
            if call.client is not None:
                client = call.client.with_options(max_retries=0)
            else:
                client = _clients.client("openai", base_url=base_url, api_key=key)
            # extra_body carries the request as it is: the typed parameters would be walked and transformed.
            return client.responses.with_streaming_response.create(
                model=call.model,
                input="",
                stream=True,
                extra_body=body,
                timeout=_clients.timeout(read=call.idle_timeout),
            )

        def translate(call_id: str) -> Translator:
            return Translator(
                call_id=call_id, model=call.model, think_tags=call.think_tags, native=call.native
            )

        return stream(call, Exchange(target, body, send, translate, prepare))


def _base_url(call: ModelCall) -> str:
    if call.client is not None:
        return str(getattr(call.client, "base_url", ""))
    return _hosts.openai_base_url(call.base_url)


def _check_client(client: Any) -> None:
    name = type(client).__name__
    if not hasattr(client, "responses") or not hasattr(client, "with_options"):
        raise InputError(f"client= is a {name}, which has no responses API: pass an openai.AsyncOpenAI.")
    if not hasattr(client, "__aenter__"):
        raise InputError(
            f"client= is a {name}, which blocks the event loop: pass openai.Async{name} instead."
        )


plugin = OpenAIResponses()
