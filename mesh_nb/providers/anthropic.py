"""The Messages API: Anthropic's own, and every server that speaks its format, through `base_url`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator
from typing import Any

from ..core import prices
from ..core.errors import ConfigurationError, InputError
from ..core.events import ExecutionEvent
from . import _clients, _hosts
from ._anthropic_request import messages_body
from ._anthropic_thinking import MAX_TOKENS
from ._anthropic_translate import Translator
from ._call import ModelCall
from ._failures import Target
from ._stream import Exchange, stream

_HOME = "https://api.anthropic.com"
_VARIABLE = "ANTHROPIC_API_KEY"
_PLACEHOLDER = "not-needed"
# https://platform.claude.com/docs/en/build-with-claude/structured-outputs
_WITHOUT_SCHEMA = re.compile(
    r"claude-(?:instant|[234]-|2)|(?:opus|sonnet|haiku)-4(?:[-@](?:[01](?!\d)|20\d{6})|$)"
)


class Anthropic:
    """The Messages API as a provider, in API version 2026-10-21.

    The official SDK sends the request; its bytes are read here. `client=` takes an AsyncAnthropic of one's
    own (Vertex, Foundry, another transport), which is used as it is. A turn that the API pauses ends with the
    finish "pause"; sending the answer back continues it, which the llm node does.
    """

    vendor = "anthropic"
    api = "messages"
    prefixes = ("claude-",)

    def preload(self) -> None:
        """Import the SDK and the price data, which takes seconds. Safe to call from any thread, and again."""
        _clients.preload("anthropic")
        usage = dict.fromkeys(prices.COUNTERS, 1)
        prices.price_now({"provider": "anthropic", "model_id": "claude-haiku-4-5", "usage": usage})

    def check(self, call: ModelCall) -> None:
        """Raise ConfigurationError for a missing key, InputError for what cannot be sent."""
        if call.client is not None:
            _check_client(call.client)
        else:
            base_url = _base_url(call)
            if not _hosts.host(base_url):
                raise InputError(
                    f"base_url {base_url!r} is not an address; write it like http://localhost:8000."
                )
            if _is_home(base_url) and not _key(call):
                raise ConfigurationError(
                    f"{_VARIABLE} is not set, so {call.model!r} cannot be asked. Set it (or pass"
                    ' api_key=), or try the offline demo: -m demo (model="demo").'
                )
        messages_body(call)

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether the model has JSON outputs: every one since Claude 4.5."""
        return not _WITHOUT_SCHEMA.search(call.model)

    def request(self, call: ModelCall) -> dict[str, Any]:
        """Return the body that `stream` sends. Raises InputError when there is no message to send."""
        body = messages_body(call)
        if not body.get("messages"):
            raise InputError("Claude needs a message to answer: the input is empty. Pass a question.")
        return body

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its events. Raises ProviderError after everything that had arrived."""
        base_url, body = _base_url(call), self.request(call)
        key = None if call.client is not None else _key(call) or _PLACEHOLDER
        own = (getattr(call.client, name, None) for name in ("api_key", "auth_token"))
        secrets = tuple(s for s in (key, *own) if isinstance(s, str))
        target = Target(
            "anthropic", call.model, base_url, _VARIABLE, call.idle_timeout, call.timeout, secrets
        )
        # Clients for other clouds build the address from these and take them out of what they send.
        rest = {k: v for k, v in body.items() if k not in ("model", "stream")}

        async def prepare() -> None:
            await _clients.ensure_imported("anthropic")

        async def send() -> contextlib.AbstractAsyncContextManager[Any]:
            if call.client is not None:
                client = call.client.with_options(max_retries=0)
            else:
                client = _clients.client("anthropic", base_url=base_url, api_key=key)
            # extra_body carries the request as it is: the typed parameters would be walked and transformed.
            return client.messages.with_streaming_response.create(
                model=body.get("model", call.model),
                max_tokens=body.get("max_tokens", MAX_TOKENS),
                messages=[],
                stream=True,
                extra_body=rest,
                timeout=_clients.timeout(read=call.idle_timeout),
            )

        def translate(call_id: str) -> Translator:
            return Translator(call_id=call_id, model=call.model, native=call.native)

        return stream(call, Exchange(target, body, send, translate, prepare))


def _base_url(call: ModelCall) -> str:
    """Return where the call goes; the SDK adds /v1 itself, so one at the end is taken off."""
    if call.client is not None:
        return str(getattr(call.client, "base_url", ""))
    url = call.base_url or os.environ.get("ANTHROPIC_BASE_URL") or _HOME
    return url.rstrip("/").removesuffix("/v1")


def _is_home(base_url: str) -> bool:
    return _hosts.host(base_url) == "anthropic.com" or _hosts.host(base_url).endswith(".anthropic.com")


def _key(call: ModelCall) -> str | None:
    return call.api_key or os.environ.get(_VARIABLE) or os.environ.get("ANTHROPIC_AUTH_TOKEN") or None


def _check_client(client: Any) -> None:
    name = type(client).__name__
    if not hasattr(client, "messages") or not hasattr(client, "with_options"):
        raise InputError(f"client= is a {name}, which has no messages: pass an anthropic.AsyncAnthropic.")
    if not hasattr(client, "__aenter__"):
        raise InputError(
            f"client= is a {name}, which blocks the event loop: pass anthropic.Async{name} instead."
        )
    if name == "AsyncAnthropicBedrock":
        raise InputError(
            f"client= is an {name}, whose streams come in a binary framing of AWS: pass an"
            " anthropic.AsyncAnthropicBedrockMantle instead."
        )


plugin = Anthropic()
