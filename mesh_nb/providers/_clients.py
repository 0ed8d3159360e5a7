"""The SDKs' clients, shared: one for each SDK, endpoint, key and event loop. The only home of SDK imports.

    await _clients.ensure_imported("openai")            # seconds at first, in a thread; free afterwards
    client = _clients.client("openai", base_url=None, api_key=None)
    client.chat.completions.with_streaming_response.create(..., timeout=_clients.timeout(read=90))

Our clients never use an SDK's default HTTP client: dropped without closing, it makes other connections of the
same loop go deaf. Ours have `HTTPTransport` under them, which neither does that nor suffers from it; behind a
proxy, and for HTTP/2 (MESH_HTTP=http2), `ProxiedTransport`. They are closed when their loop shuts down. Do
not close them.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import importlib
import importlib.util
import os
import secrets
import sys
import threading
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Literal, overload

from ..core.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

SDK = Literal["openai", "anthropic", "httpx2"]
"""httpx2 is a plain client on our transport, for an API that is spoken without an SDK."""

MAX_CLIENTS = 64
"""Clients kept for each loop; the one not used for longest is let go, its open streams go on."""

_CLASSES: dict[str, str] = {"openai": "AsyncOpenAI", "anthropic": "AsyncAnthropic"}
_locks: dict[str, threading.Lock] = {name: threading.Lock() for name in (*_CLASSES, "httpx2")}
_ready: set[str] = set()

GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_google: dict[str, Any] = {}
_google_lock = threading.Lock()


def preload(sdk: SDK) -> None:
    """Import an SDK with what it imports lazily itself; takes seconds. Any thread may call it, and again."""
    with _locks[sdk]:
        if sdk in _ready:
            return
        import httpx2

        from ._transport import HTTPTransport

        importlib.import_module("._proxied", __package__)
        if sdk in _CLASSES:
            module = importlib.import_module(sdk)
            http = httpx2.AsyncClient(transport=HTTPTransport())
            warm = _new(module, sdk, "http://127.0.0.1", "unused", http)
            resources = [warm.chat.completions, warm.responses] if sdk == "openai" else [warm.messages]
            for resource in resources:
                _ = resource.with_streaming_response
        _ready.add(sdk)


async def ensure_imported(sdk: SDK) -> None:
    """Import an SDK in a thread, so that the loop goes on; returns at once when that is done."""
    if sdk not in _ready:
        await asyncio.to_thread(preload, sdk)


def google_auth() -> Any:
    """Return google.auth. Raises ConfigurationError when it is not installed."""
    try:
        return importlib.import_module("google.auth")
    except ImportError:
        raise ConfigurationError(
            "Google's credentials need the package google-auth: pip install 'mesh_nb[vertex]'."
        ) from None


def google_token(credentials: Any = None) -> str:
    """Return an access token, refreshed when it has run out; blocks, so call it in a thread.

    Parameters: credentials, of google-auth; None takes the application default credentials. Raises
    ConfigurationError when google-auth is not installed, and its own errors.
    """
    auth = google_auth()
    transport = importlib.import_module("google.auth.transport.requests")
    with _google_lock:
        if credentials is None:
            # Another file named means other credentials.
            named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
            if named not in _google:
                _google[named] = auth.default(scopes=[GOOGLE_SCOPE])[0]
            credentials = _google[named]
        elif getattr(credentials, "requires_scopes", False):
            credentials = credentials.with_scopes([GOOGLE_SCOPE])
        if not credentials.valid:
            credentials.refresh(transport.Request())
        return str(credentials.token)


def module(sdk: SDK) -> Any:
    """Return the SDK's module, for its exception classes. Raises RuntimeError before `ensure_imported`."""
    if sdk not in _ready:
        raise RuntimeError(f"The {sdk} SDK is not imported: await ensure_imported({sdk!r}) first.")
    return sys.modules[sdk]


def timeout(*, read: float | None, connect: float | None = 10.0) -> httpx2.Timeout:
    """Return timeouts for one request, in seconds: silence between bytes, and opening a connection."""
    import httpx2

    return httpx2.Timeout(connect=connect, read=read, write=60.0, pool=60.0)


class _Home:
    """The clients of one event loop."""

    def __init__(self) -> None:
        self.clients: collections.OrderedDict[bytes, Any] = collections.OrderedDict()
        self.guard: AsyncGenerator[None, None] | None = None


_homes: dict[asyncio.AbstractEventLoop, _Home] = {}
_homes_lock = threading.Lock()
_pepper = secrets.token_bytes(16)


@overload
def client(
    sdk: Literal["openai"], *, base_url: str | None = ..., api_key: str | None = ..., proxy: str | None = ...
) -> AsyncOpenAI: ...
@overload
def client(
    sdk: Literal["anthropic"],
    *,
    base_url: str | None = ...,
    api_key: str | None = ...,
    proxy: str | None = ...,
) -> AsyncAnthropic: ...
@overload
def client(sdk: Literal["httpx2"], *, proxy: str | None = ...) -> httpx2.AsyncClient: ...
def client(
    sdk: SDK, *, base_url: str | None = None, api_key: str | None = None, proxy: str | None = None
) -> Any:
    """Return the running loop's shared client: the same for the same arguments and environment.

    Parameters
    ----------
    sdk : "openai", "anthropic" or "httpx2"; await `ensure_imported` first.
    base_url, api_key : None takes the SDK's environment variables (OPENAI_BASE_URL, OPENAI_API_KEY, ...); a
        plain client has neither.
    proxy : the URL of a proxy for every request; None takes HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    The client has max_retries=0: retries are the caller's. Set timeouts for each request. Raises RuntimeError
    outside a running loop or before `ensure_imported`; ConfigurationError for a proxy that cannot be used;
    the SDK's own error when no key is set.
    """
    loop = asyncio.get_running_loop()
    sdk_module = module(sdk)
    home = _home(loop)
    key = _fingerprint(sdk, base_url, api_key, proxy)
    found = home.clients.get(key)
    if found is None or _is_closed(found):
        found = _new(sdk_module, sdk, base_url, api_key, _http_client(proxy))
        home.clients[key] = found
        while len(home.clients) > MAX_CLIENTS:
            home.clients.popitem(last=False)
    home.clients.move_to_end(key)
    return found


def _new(
    sdk_module: Any, sdk: str, base_url: str | None, api_key: str | None, http: httpx2.AsyncClient
) -> Any:
    if sdk not in _CLASSES:
        return http
    make = getattr(sdk_module, _CLASSES[sdk])
    return make(base_url=base_url, api_key=api_key, max_retries=0, http_client=http)


def _is_closed(shared: Any) -> bool:
    closed = shared.is_closed  # a method of an SDK's client, a property of httpx2's
    return bool(closed() if callable(closed) else closed)


def _http_client(proxy: str | None) -> httpx2.AsyncClient:
    import httpx2

    from ._proxied import ProxiedTransport, environment_mounts, proxy_from
    from ._transport import HTTPTransport

    # MESH_HTTP=httpx2 is the way back to httpx2's own transport, should ours fail somewhere.
    chosen = os.environ.get("MESH_HTTP") or "own"
    if chosen not in ("own", "httpx2", "http2"):
        raise ConfigurationError(f"MESH_HTTP={chosen!r} is unknown; it is 'own', 'httpx2' or 'http2'.")
    http2 = chosen == "http2"
    if http2 and importlib.util.find_spec("h2") is None:
        raise ConfigurationError("MESH_HTTP=http2 needs the package h2: pip install 'mesh_nb[http2]'.")
    if proxy:
        mounts = {"all://": ProxiedTransport(proxy_from(proxy, "proxy"), http2=http2)}
    else:
        mounts = environment_mounts(http2=http2)
    return httpx2.AsyncClient(
        transport=HTTPTransport() if chosen == "own" else ProxiedTransport(http2=http2),
        mounts=mounts,
        follow_redirects=True,
        timeout=httpx2.Timeout(600.0, connect=10.0),
    )


def _fingerprint(*named: str | None) -> bytes:
    """Return what tells clients apart, as a digest: no key is kept where a debugger would show it."""
    wanted = ("OPENAI_", "ANTHROPIC_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    wanted += ("SSL_CERT_", "MESH_CLIENT_", "MESH_HTTP")
    settings = sorted(item for item in os.environ.items() if item[0].upper().startswith(wanted))
    text = repr((named, settings)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=_pepper, digest_size=16).digest()


def _home(loop: asyncio.AbstractEventLoop) -> _Home:
    with _homes_lock:
        for gone in [known for known in _homes if known.is_closed()]:
            del _homes[gone]
        home = _homes.get(loop)
        if home is None:
            home = _homes[loop] = _Home()
    if home.guard is None:
        # asyncio.run and Runner close the loop's async generators before they close the loop: the one public
        # moment at which connections can still be closed in order.
        home.guard = _guard(loop)
        with contextlib.suppress(StopIteration):
            home.guard.asend(None).send(None)
    return home


async def _guard(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await _close(loop)


async def _close(loop: asyncio.AbstractEventLoop) -> None:
    with _homes_lock:
        home = _homes.pop(loop, None)
    for shared in list(home.clients.values()) if home is not None else ():
        await (shared.aclose() if hasattr(shared, "aclose") else shared.close())


async def aclose_all(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Close the clients of a loop, by default the running one; the next `client` call makes new ones.

    Parameters: loop, the running loop, or another: one that runs elsewhere is asked to close its clients
    itself, one that is closed is forgotten.
    """
    here = asyncio.get_running_loop()
    if loop is None or loop is here:
        await _close(here)
    elif loop.is_running():
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_close(loop), loop))
    else:
        with _homes_lock:
            _homes.pop(loop, None)
