"""HTTP under the SDKs: an httpx2 transport on asyncio's own transports, parsed by httptools.

It survives other code that drops SDK clients on the same event loop (`_sockets.py` says how), costs a third
of httpx2's own transport per chunk, and closes a socket in the moment its request is cancelled. HTTP/1.1
only; proxies are `_proxied.py`.
"""

from __future__ import annotations

import asyncio
import collections
import re
import ssl
from collections.abc import AsyncIterator

import httpx2

from ._http1 import Connection, head_of, send
from ._sockets import Watch, connect, describe, start_tls, system_tls

CROSSING_WINDOW = 1.0
"""Seconds within which the close of a kept-alive connection is taken to have crossed our request."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})

Key = tuple[str, str, int, str]


class _StaleConnectionError(Exception):
    """A kept-alive connection turned out to be closed before the server can have seen the request."""


class Body(httpx2.AsyncByteStream):
    """The body of a response as it arrives; closing it before its end closes the connection."""

    def __init__(self, owner: HTTPTransport, connection: Connection, key: Key) -> None:
        self._owner, self._connection, self._key = owner, connection, key
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        c = self._connection
        try:
            while True:
                if not self._open:
                    raise httpx2.ReadError("The response was closed while it was being read.")
                if c.parts:
                    yield c.take()
                elif c.done:
                    return
                elif c.failure is not None:
                    c.check()
                else:
                    await c.wait()
        finally:
            # Here and not only in aclose: whoever is cancelled may be slow to close.
            self._release()

    async def aclose(self) -> None:
        """Close the body. Idempotent."""
        self._release()

    def _release(self) -> None:
        if self._open:
            self._open = False
            self._owner.release(self._connection, self._key)
            self._connection.wake()


class HTTPTransport(httpx2.AsyncBaseTransport):
    """An HTTP/1.1 transport for `httpx2.AsyncClient(transport=...)`, for one event loop.

    Parameters
    ----------
    verify : an ssl.SSLContext to check servers with; None is the system's trust store, or what SSL_CERT_FILE
        or SSL_CERT_DIR name.
    keepalive_expiry : seconds that an idle connection is kept; less where the server asks for less.
    max_keepalive : idle connections kept for each server.
    max_connections : exchanges at a time; more wait for the pool timeout of their request.

    Timeouts come with each request (`httpx2.Timeout`), in seconds; the read timeout is checked every 0.25 s.
    Raises httpx2's transport errors, so that an SDK maps them as it maps those of its default client, and
    RuntimeError when used after `aclose` or on a second event loop.
    """

    def __init__(
        self,
        verify: ssl.SSLContext | None = None,
        *,
        keepalive_expiry: float = 30.0,
        max_keepalive: int = 100,
        max_connections: int = 1000,
    ) -> None:
        self._verify = verify
        self._expiry, self._max_keepalive = keepalive_expiry, max_keepalive
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: dict[Key, collections.deque[Connection]] = {}
        self._active: set[Connection] = set()
        self._watch: Watch | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<HTTPTransport: {len(self._active)} open, {sum(map(len, self._idle.values()))} idle>"

    @property
    def repaired(self) -> int:
        """How often a connection that had lost its reader was repaired."""
        return 0 if self._watch is None else self._watch.repaired

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return its response as soon as the headers have come."""
        key, head, watch = _key(request), head_of(request), self._bind()
        timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
        try:
            async with asyncio.timeout(timeout.get("pool")):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx2.PoolTimeout("All connections were busy for longer than the pool timeout.") from None
        try:
            connection = self._reuse(key) or await self._open(key, watch, timeout.get("connect"))
            try:
                await self._exchange(connection, head, request, timeout)
            except _StaleConnectionError:
                connection = await self._open(key, watch, timeout.get("connect"))
                await self._exchange(connection, head, request, timeout)
        except BaseException:
            self._slots.release()
            raise
        return httpx2.Response(
            connection.status,
            headers=connection.headers,
            stream=Body(self, connection, key),
            extensions={
                "http_version": b"HTTP/" + connection.parser.get_http_version().encode("ascii"),
                "reason_phrase": connection.reason,
            },
        )

    def _bind(self) -> Watch:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeError("This HTTPTransport is closed; make a new one.")
        if self._watch is None:
            self._watch = Watch(loop)
        elif self._watch.loop is not loop:
            raise RuntimeError("This HTTPTransport belongs to another event loop; make one for each loop.")
        return self._watch

    def _reuse(self, key: Key) -> Connection | None:
        idle = self._idle.get(key)
        while idle:
            c = idle.pop()
            # A loop that other code blocked has not seen yet that the server closed: ask the socket.
            if not c.lost and c.expires > c.loop.time() and not c.readable():
                return c
            c.abort()
        return None

    async def _open(self, key: Key, watch: Watch, limit: float | None) -> Connection:
        scheme, host, port, name = key
        c = Connection(watch)
        try:
            context = (self._verify or await system_tls()) if scheme == "https" else None
            async with asyncio.timeout(limit):
                await connect(c, host, port)
                if context is not None:
                    await start_tls(c, context, name)
        except TimeoutError:
            c.abort()
            raise httpx2.ConnectTimeout(
                f"No connection to {host}:{port} within the connect timeout."
            ) from None
        except (OSError, UnicodeError) as error:
            c.abort()
            raise httpx2.ConnectError(f"No connection to {host}:{port}: {describe(error)}") from error
        except BaseException:
            c.abort()
            raise
        return c

    async def _exchange(
        self, c: Connection, head: bytes, request: httpx2.Request, timeout: dict[str, float | None]
    ) -> None:
        """Send the request and wait for the head of its answer; a failure closes the connection."""
        reused = c.exchanges > 0
        c.exchanges += 1
        c.begin(request.method)
        self._active.add(c)
        c.watch.add(c)
        try:
            replayable = await send(c, head, request, timeout.get("write"))
            sent_at, c.limit = c.loop.time(), timeout.get("read")
            while not c.head and c.failure is None:
                await c.wait()
            # A server that saw the request, and thought about it, must not be asked, and paid, again.
            crossed = request.method in IDEMPOTENT or c.loop.time() - sent_at < CROSSING_WINDOW
            if c.closed_unanswered and reused and replayable and crossed:
                raise _StaleConnectionError
            if not c.head:
                c.check()
        except BaseException:
            self._active.discard(c)
            c.abort()
            raise

    def release(self, c: Connection, key: Key) -> None:
        """Take a connection back from its exchange: keep it if the next one can use it, else close it."""
        self._active.discard(c)
        self._slots.release()
        c.watch.discard(c)
        idle = self._idle.setdefault(key, collections.deque())
        if not (c.done and c.keep) or c.lost or self._closed or len(idle) >= self._max_keepalive:
            c.abort()
            return
        c.resume()
        c.expires = c.loop.time() + _lifetime(c.headers, self._expiry)
        idle.append(c)
        if self._sweeper is None:
            self._sweeper = c.loop.call_later(self._expiry, self._sweep, c.loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        for key, idle in list(self._idle.items()):
            fresh = collections.deque(c for c in idle if not c.lost and c.expires > loop.time())
            for c in idle:
                if c not in fresh:
                    c.abort()
            if fresh:
                self._idle[key] = fresh
            else:
                del self._idle[key]
        if self._idle:
            self._sweeper = loop.call_later(self._expiry, self._sweep, loop)

    async def aclose(self) -> None:
        """Close every connection; a response that is being read ends with httpx2.ReadError. Idempotent."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for idle in self._idle.values():
            for c in idle:
                c.abort()
        self._idle.clear()
        for c in list(self._active):
            c.fail(httpx2.ReadError, "The client was closed.")
            c.wake()
        # An aborted transport closes its socket in the next turn of the loop; TLS takes one turn more.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _key(request: httpx2.Request) -> Key:
    url = request.url
    if url.scheme not in ("http", "https"):
        raise httpx2.UnsupportedProtocol(f"The URL has scheme {url.scheme!r}; use http:// or https://.")
    if not url.raw_host:
        raise httpx2.UnsupportedProtocol("The URL has no host.")
    host = url.raw_host.decode("ascii")
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, host, port, str(request.extensions.get("sni_hostname") or host)


_KEEP_ALIVE = re.compile(rb"timeout\s*=\s*(\d+)", re.IGNORECASE)


def _lifetime(headers: list[tuple[bytes, bytes]], longest: float) -> float:
    """Return for how many seconds an idle connection is good: the server's Keep-Alive less one."""
    for name, value in headers:
        if name.lower() == b"keep-alive" and (match := _KEEP_ALIVE.search(value)):
            return min(longest, float(match[1]) - 1.0)
    return longest
