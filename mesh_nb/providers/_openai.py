"""What OpenAI's two APIs share: where a call goes, with which key, and how it is sent."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..core import prices
from ..core.errors import ConfigurationError, InputError
from ..core.events import ExecutionEvent
from . import _clients, _hosts
from ._cache import with_cache_key
from ._call import ModelCall, secrets, with_headers
from ._failures import Target
from ._fetch import TIMEOUT, Fetched, Stored, fetch
from ._kinds import check_files
from ._limits import limited
from ._stream import Exchange, Translator, stream

VENDOR = "openai"
PREFIXES = ("gpt-", "o1", "o3", "o4", "chatgpt-", "codex-", "computer-use-", "ft:gpt-")

_PLACEHOLDER = "not-needed"


def preload() -> None:
    """Import the SDK and the price data, which takes seconds. Safe to call from any thread, and again."""
    _clients.preload("openai")
    usage = dict.fromkeys(prices.COUNTERS, 1)
    prices.price_now({"provider": "openai", "model_id": "gpt-4o", "usage": usage})


def base_url(call: ModelCall) -> str:
    """Return the address that a call goes to."""
    if call.client is not None:
        return str(getattr(call.client, "base_url", ""))
    return _hosts.openai_base_url(call.base_url)


def check(call: ModelCall, api: str) -> None:
    """Raise ConfigurationError for a missing key, InputError for a client, address or file that will not do.

    Parameters: call; api, the attribute of an SDK client that has the API.
    """
    address = base_url(call)
    if call.client is not None:
        _check_client(call.client, api)
    else:
        if not _hosts.host(address):
            shown = _hosts.without_secrets(address)
            raise InputError(f"base_url {shown!r} is not an address; write it like http://localhost:8000/v1.")
        key = _hosts.find_key(address, call.api_key)
        if not key and _hosts.is_openai(address):
            raise ConfigurationError(
                f"{_hosts.vendor(address)[1]} is not set, so {call.model!r} cannot be asked. Set it (or pass"
                ' api_key=), or try the offline demo: -m demo (model="demo").'
            )
    check_files(call, address)


def takes_schema(call: ModelCall) -> bool:
    """Whether the server is known to hold an answer to a schema: OpenAI's do since August 2024."""
    return _hosts.takes_schema(base_url(call), call.model)


def send(
    call: ModelCall,
    body: dict[str, Any],
    create: Callable[[Any], Any],
    translate: Callable[[str], Translator],
    **needed: Any,
) -> AsyncIterator[ExecutionEvent]:
    """Make a call and yield its events. Raises ProviderError after everything that had arrived.

    Parameters: call; body, the request; create, which takes an SDK client and returns the streaming method;
    translate, as in Exchange; needed, what the method demands although the body says it.
    """
    target, key = _target(call)
    check_files(call, target.endpoint)
    if call.prompt_cache and _hosts.is_openai(target.endpoint):
        body = with_cache_key(body)

    async def prepare() -> None:
        await _clients.ensure_imported("openai")

    async def open_stream() -> contextlib.AbstractAsyncContextManager[Any]:
        if call.client is not None:
            client = call.client.with_options(max_retries=0)
        else:
            client = _clients.client("openai", base_url=target.endpoint, api_key=key)
        client, headers = with_headers(client, call)
        # extra_body carries the request as it is: the typed parameters would be walked and transformed.
        request = functools.partial(
            create(client),
            model=call.model,
            stream=True,
            extra_body=body,
            extra_headers=headers,
            timeout=_clients.timeout(read=call.idle_timeout),
            **needed,
        )
        return limited(target, request)

    return stream(call, Exchange(target, body, open_stream, translate, prepare))


async def fetch_file(call: ModelCall, at: Stored) -> Fetched:
    """Return a file of the code interpreter's, or of the Files API. Raises ProviderError.

    https://platform.openai.com/docs/api-reference/container-files/retrieveContainerFileContent
    """
    await _clients.ensure_imported("openai")
    target, key = _target(call)
    client: Any = call.client or _clients.client("openai", base_url=target.endpoint, api_key=key)
    wait = _clients.timeout(read=TIMEOUT)

    async def get() -> Fetched:
        if at.container_id:
            content = client.containers.files.content
            found = await content.retrieve(at.file_id, container_id=at.container_id, timeout=wait)
            return Fetched(found.content)
        about = await client.files.retrieve(at.file_id, timeout=wait)
        return Fetched((await client.files.content(at.file_id, timeout=wait)).content, about.filename)

    return await fetch(dataclasses.replace(target, model=at.file_id), at, get)


def _target(call: ModelCall) -> tuple[Target, str | None]:
    """Return whom a call goes to, and with which key; a client of the user's own has its key itself."""
    address = base_url(call)
    provider, variable = _hosts.vendor(address)
    key = None if call.client is not None else _hosts.find_key(address, call.api_key) or _PLACEHOLDER
    hidden, silence = secrets(call, key), call.idle_timeout
    return Target(provider, call.model, address, variable, silence, call.timeout, hidden), key


def _check_client(client: Any, api: str) -> None:
    name = type(client).__name__
    if not hasattr(client, api) or not hasattr(client, "with_options"):
        has = "no chat completions" if api == "chat" else f"no {api} API"
        raise InputError(f"client= is a {name}, which has {has}: pass an openai.AsyncOpenAI.")
    if not hasattr(client, "__aenter__"):
        raise InputError(
            f"client= is a {name}, which blocks the event loop: pass openai.Async{name} instead."
        )
