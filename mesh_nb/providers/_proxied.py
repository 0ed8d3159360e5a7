"""HTTP through a proxy, and HTTP/2: httpx2's own transport, on connections that repair themselves.

httpx2 keeps its pool, CONNECT, SOCKS, TLS and errors; only its network backend is ours, so that a lost reader
(`_sockets.py`) is repaired here too. The backend goes in by one private name; where a later httpx2 has it no
more, its own backend stays, and a lost reader ends by the read timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import re
import ssl
from collections.abc import Iterable
from typing import Any
from urllib.request import getproxies

import httpcore2
import httpx2

from ..core.errors import ConfigurationError
from ._sockets import HIGH_WATER, Watch, Wire, connect, describe, keepalive_options, start_tls, system_tls

KEEPALIVE = httpx2.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30.0)


class _ByteWire(Wire):
    """A connection whose bytes wait in a buffer until httpcore2 reads them."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self.buffer = bytearray()
        self.error: Exception | None = None
        self.finished = self.expired = False

    def received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > HIGH_WATER:
            self.pause()

    def ended(self, error: Exception | None) -> None:
        self.finished = True
        self.error = self.error or error

    def timed_out(self) -> None:
        self.expired = True

    def take(self, max_bytes: int) -> bytes:
        data = bytes(self.buffer[:max_bytes])
        del self.buffer[:max_bytes]
        if len(self.buffer) < HIGH_WATER // 2:
            self.resume()
        return data


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, wire: _ByteWire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        w = self._wire
        if not w.buffer and not w.finished:
            w.limit, w.expired = timeout, False
            w.watch.add(w)
            try:
                while not (w.buffer or w.finished or w.expired):
                    await w.wait()
            finally:
                w.watch.discard(w)
        if w.buffer:
            return w.take(max_bytes)
        if w.error is not None:
            raise httpcore2.ReadError(f"The connection broke: {describe(w.error)}")
        if w.expired and not w.finished:
            raise httpcore2.ReadTimeout(f"Nothing arrived for {timeout:g} s.")
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        w = self._wire
        if w.lost or w.transport is None or w.transport.is_closing():
            raise httpcore2.WriteError("The connection is closed.")
        if buffer:
            w.transport.write(buffer)
        w.limit = None
        try:
            async with asyncio.timeout(timeout):
                while w.writing_paused and not w.lost:
                    await w.wait()
        except TimeoutError:
            raise httpcore2.WriteTimeout(
                "The peer did not take the request within the write timeout."
            ) from None
        if w.writing_paused:
            raise httpcore2.WriteError("The connection broke while the request was sent.")

    async def aclose(self) -> None:
        self._wire.abort()
        await asyncio.sleep(0)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                await start_tls(self._wire, ssl_context, server_hostname or "")
        except TimeoutError:
            raise httpcore2.ConnectTimeout("No TLS handshake within the connect timeout.") from None
        except OSError as error:
            raise httpcore2.ConnectError(describe(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._wire.finished or bool(self._wire.buffer) or self._wire.readable()
        names = {"client_addr": "sockname", "server_addr": "peername"}
        transport = self._wire.transport
        return None if transport is None else transport.get_extra_info(names.get(info, info))


class RepairingBackend(httpcore2.AsyncNetworkBackend):
    """A network backend for httpcore2's pools on asyncio's own transports, for one event loop."""

    def __init__(self) -> None:
        self._watch: Watch | None = None

    @property
    def repaired(self) -> int:
        """How often a connection that had lost its reader was repaired."""
        return 0 if self._watch is None else self._watch.repaired

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Open a connection. Raises httpcore2.ConnectError and httpcore2.ConnectTimeout."""
        if self._watch is None:
            self._watch = Watch(asyncio.get_running_loop())
        wire = _ByteWire(self._watch)
        try:
            async with asyncio.timeout(timeout):
                await connect(wire, host, port, local_address)
        except TimeoutError:
            wire.abort()
            raise httpcore2.ConnectTimeout(
                f"No connection to {host}:{port} within the connect timeout."
            ) from None
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"No connection to {host}:{port}: {describe(error)}") from error
        return _Stream(wire)

    async def sleep(self, seconds: float) -> None:
        """Wait, in seconds."""
        await asyncio.sleep(seconds)


class ProxiedTransport(httpx2.AsyncBaseTransport):
    """httpx2's own transport on connections that repair themselves, for one event loop.

    Parameters
    ----------
    proxy : where to send everything, as `httpx2.Proxy`; None sends directly.
    verify : an ssl.SSLContext to check servers, and a proxy reached over TLS, with; None is that of
        `system_tls`.
    http2 : speak HTTP/2 with servers that offer it, over TLS; needs the package h2.
    """

    def __init__(
        self,
        proxy: httpx2.Proxy | None = None,
        *,
        verify: ssl.SSLContext | None = None,
        http2: bool = False,
    ) -> None:
        self._proxy, self._verify, self._http2 = proxy, verify, http2
        self._inner: httpx2.AsyncHTTPTransport | None = None
        self._backend = RepairingBackend()
        self._closed = False

    def __repr__(self) -> str:
        return f"<ProxiedTransport: {'direct' if self._proxy is None else 'via ' + self._proxy.url.host}>"

    @property
    def repaired(self) -> int:
        """How often a connection that had lost its reader was repaired."""
        return self._backend.repaired

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request through the proxy; return its response as soon as the headers have come."""
        if self._inner is None:
            try:
                context = self._verify or await system_tls(http2=self._http2)
            except OSError as error:
                raise httpx2.ConnectError(describe(error)) from error
            if self._closed:
                raise RuntimeError("This ProxiedTransport is closed; make a new one.")
            self._inner = self._inner or self._build(context)
        return await self._inner.handle_async_request(request)

    def _build(self, context: ssl.SSLContext) -> httpx2.AsyncHTTPTransport:
        proxy = self._proxy
        if proxy is not None and proxy.url.scheme == "https" and proxy.ssl_context is None:
            proxy = httpx2.Proxy(proxy.url, ssl_context=context, auth=proxy.auth, headers=proxy.headers)
        inner = httpx2.AsyncHTTPTransport(
            verify=context,
            http2=self._http2,
            proxy=proxy,
            limits=KEEPALIVE,
            socket_options=keepalive_options(),
        )
        pool: Any = getattr(inner, "_pool", None)
        if hasattr(pool, "_network_backend"):
            pool._network_backend = self._backend
        return inner

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        self._closed = True
        if self._inner is not None:
            await self._inner.aclose()


def proxy_from(url: str, setting: str) -> httpx2.Proxy:
    """Return the proxy that a setting asks for.

    Raises ConfigurationError, which names the setting and not its value: that may hold a password.
    """
    try:
        proxy = httpx2.Proxy(url if "://" in url else f"http://{url}")
        if not proxy.url.host:
            raise ValueError("no host")
    except (ValueError, httpx2.InvalidURL):
        raise ConfigurationError(
            f"{setting} is not the URL of a proxy; write http://host:port, https://host:port or socks5://host:port."
        ) from None
    if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{setting} is a SOCKS proxy, which needs the package socksio: pip install socksio."
        )
    return proxy


def environment_mounts(
    verify: ssl.SSLContext | None = None, *, http2: bool = False
) -> dict[str, httpx2.AsyncBaseTransport | None]:
    """Return the `mounts=` of an httpx2 client for HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Parameters: as of ProxiedTransport.
    None as a value means directly. The rules of NO_PROXY are curl's (CURLOPT_NOPROXY), as in httpx2. Raises
    ConfigurationError for a value that is not the URL of a proxy.
    """
    found = getproxies()
    bypass = [entry.strip() for entry in found.get("no", "").split(",")]
    if "*" in bypass:
        return {}
    mounts: dict[str, httpx2.AsyncBaseTransport | None] = {
        f"{scheme}://": ProxiedTransport(
            proxy_from(found[scheme], f"{scheme.upper()}_PROXY"), verify=verify, http2=http2
        )
        for scheme in ("http", "https", "all")
        if found.get(scheme)
    }
    if mounts:
        mounts.update(dict.fromkeys(filter(None, map(_pattern, bypass))))
    return mounts


def _pattern(entry: str) -> str | None:
    """Return httpx2's URL pattern for an entry of NO_PROXY; what cannot be read is ignored, as curl does."""
    address, slash, _ = entry.strip("[]").partition("/")
    with contextlib.suppress(ValueError):
        if slash:
            ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        number = ipaddress.ip_address(address.rstrip("]"))
        host = f"[{number}]" if number.version == 6 else str(number)
        return f"all://{host}{entry[entry.index('/') :] if slash else ''}"
    if not re.fullmatch(r"(\*?\.)?[\w-]+(\.[\w-]+)*(:\d+)?", entry):
        return None
    exact = entry.lower().partition(":")[0] == "localhost" or entry.startswith("*.")
    return f"all://{'' if exact else '*'}{entry}"
