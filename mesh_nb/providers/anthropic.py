"""The Messages API: Anthropic's own, and every server that speaks its format, through `base_url`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
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
from ._call import ModelCall, secrets, with_headers
from ._failures import Target
from ._fetch import TIMEOUT, Fetched, Stored, fetch
from ._limits import limited
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
    own (Bedrock, Vertex, Foundry, another transport), which is used as it is. A turn that the API pauses ends
    with the finish "pause"; sending the answer back continues it, which the llm node does.
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
        self._check_access(call)
        messages_body(call)

    def _check_access(self, call: ModelCall) -> None:
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

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether the model has JSON outputs: every one since Claude 4.5."""
        return not _WITHOUT_SCHEMA.search(call.model)

    def request(self, call: ModelCall) -> dict[str, Any]:
        """Return the body that `stream` sends. Raises InputError when there is no message to send."""
        body = messages_body(call)
        if not body.get("messages"):
            raise InputError("Claude needs a message to answer: the input is empty. Pass a question.")
        return body

    async def fetch_file(
        self,
        at: Stored,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        call: ModelCall | None = None,
    ) -> Fetched:
        """Return a file that code execution made.

        Parameters: at, where it is; api_key, base_url, None takes the environment; call, the settings of the
        node that made it, which go before. Raises ProviderError, ConfigurationError without a key, InputError
        for a client of a cloud that keeps no files.
        https://platform.claude.com/docs/en/api/files/download
        """
        asked = call or ModelCall(at.file_id, [], api_key=api_key, base_url=base_url)
        self._check_access(asked)
        await _clients.ensure_imported("anthropic")
        target, key = _target(asked)
        client: Any = asked.client or _clients.client("anthropic", base_url=target.endpoint, api_key=key)
        files: Any = getattr(client, "files", None) or getattr(client.beta, "files", None)
        if files is None:
            raise InputError(f"client= is an {type(client).__name__}, which has no Files API to ask.")
        wait = _clients.timeout(read=TIMEOUT)

        async def get() -> Fetched:
            about = await files.retrieve_metadata(at.file_id, timeout=wait)
            response = await files.download(at.file_id, timeout=wait)
            return Fetched(await response.read(), about.filename, about.mime_type)

        return await fetch(dataclasses.replace(target, model=at.file_id), at, get)

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its events. Raises ProviderError after everything that had arrived."""
        body = self.request(call)
        target, key = _target(call)
        # Clients for other clouds build the address from these and take them out of what they send.
        rest = {k: v for k, v in body.items() if k not in ("model", "stream")}

        async def prepare() -> None:
            await _clients.ensure_imported("anthropic")

        async def send() -> contextlib.AbstractAsyncContextManager[Any]:
            if call.client is not None:
                client = call.client.with_options(max_retries=0)
            else:
                client = _clients.client("anthropic", base_url=target.endpoint, api_key=key)
            client, headers = with_headers(client, call)
            # extra_body carries the request as it is: the typed parameters would be walked and transformed.
            request = functools.partial(
                client.messages.with_streaming_response.create,
                model=body.get("model", call.model),
                max_tokens=body.get("max_tokens", MAX_TOKENS),
                messages=[],
                stream=True,
                extra_body=rest,
                extra_headers=headers,
                timeout=_clients.timeout(read=call.idle_timeout),
            )
            return limited(target, request)

        def translate(call_id: str) -> Translator:
            return Translator(call_id=call_id, model=call.model, native=call.native)

        return stream(call, Exchange(target, body, send, translate, prepare))


def _target(call: ModelCall) -> tuple[Target, str | None]:
    """Return whom a call goes to, and with which key; a client of the user's own has its key itself."""
    key = None if call.client is not None else _key(call) or _PLACEHOLDER
    address, silence, hidden = _base_url(call), call.idle_timeout, secrets(call, key)
    return Target("anthropic", call.model, address, _VARIABLE, silence, call.timeout, hidden), key


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


plugin = Anthropic()
