"""One connection on asyncio's own transports, and the tick that repairs connections whose reader was lost.

Why: an SDK client that other code drops without closing makes foreign sockets of the same event loop go deaf
(python/cpython#130141: a finalized transport unregisters a descriptor number that a new connection owns by
then). The victim still says "reading", its socket fills, and no event ever comes. `pause_reading()` and
`resume_reading()` register it again; no byte is lost. One tick for all open reads does that, and enforces the
read timeouts as well, so that a chunk costs no timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
import sys
import threading
from collections.abc import AsyncGenerator
from typing import TypeVar, cast

TICK = 0.25
"""Seconds between two looks at the open reads."""

HIGH_WATER = 1 << 16
"""Bytes that may wait unread before the connection stops reading."""

HAPPY_EYEBALLS_DELAY = 0.25


def keepalive_options() -> list[tuple[int, int, int]]:
    """Return the socket options that keep a silent connection alive, where the system has them."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
        number = getattr(socket, name, None)
        if number is not None:
            options.append((socket.IPPROTO_TCP, number, value))
    return options


class Wire(asyncio.Protocol):
    """The bytes of one connection, for one waiting task at a time.

    `raw` is the TCP transport, `transport` the one to write to (TLS above `raw`, or `raw` itself). `limit` is
    the read timeout in seconds of the current wait. Subclasses take bytes in `received` and learn about the
    end in `ended`; both are called by the loop and must not raise.
    """

    def __init__(self, watch: Watch) -> None:
        self.loop = watch.loop
        self.watch = watch
        self.raw: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self.limit: float | None = None
        self.deliveries = 0
        self.seen = -1
        self.silent = 0.0
        self.lost = False
        self.reading_paused = False
        self.writing_paused = False
        self._waiter: asyncio.Future[None] | None = None

    def received(self, data: bytes) -> None:
        """Take bytes from the peer."""
        raise NotImplementedError

    def ended(self, error: Exception | None) -> None:
        """Learn that nothing more will come; error is None when the peer closed its side."""
        raise NotImplementedError

    def timed_out(self) -> None:
        """Learn that the current wait took longer than `limit`."""
        raise NotImplementedError

    # Called by the loop.
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.deliveries += 1
        self.received(data)
        self.wake()

    def eof_received(self) -> None:
        self.ended(None)
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.watch.discard(self)
        self.ended(exc)
        self.wake()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self.wake()

    # Called by the task that owns the connection.
    def wake(self) -> None:
        """Let the waiting task look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def waiting(self) -> bool:
        """Whether a task waits for this connection."""
        return self._waiter is not None

    async def wait(self) -> None:
        """Wait until something happened: bytes, room to write, the end, a timeout."""
        waiter = self._waiter = self.loop.create_future()
        self.seen = -1
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def pause(self) -> None:
        """Stop reading: the consumer is slower than the peer."""
        if not self.reading_paused and self.transport is not None:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.reading_paused and self.transport is not None:
            self.reading_paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close the socket at once, without waiting for the peer. Idempotent."""
        self.watch.discard(self)
        if self.transport is not None:
            self.transport.abort()

    def readable(self) -> bool:
        """Whether the kernel holds bytes or an end of file that this connection has not seen."""
        return self.raw is None or bool(_readable([self.raw]))


W = TypeVar("W", bound=Wire)


class Watch:
    """The tick of one event loop: runs only while it watches connections; counts the readers it repaired."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.repaired = 0
        self._wires: set[Wire] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, wire: Wire) -> None:
        """Watch a connection until `discard`."""
        wire.seen, wire.silent = -1, 0.0
        self._wires.add(wire)
        if self._timer is None:
            self._timer = self.loop.call_later(TICK, self._tick)

    def discard(self, wire: Wire) -> None:
        """Stop watching. The tick that finds nothing to watch is the last."""
        self._wires.discard(wire)

    def __len__(self) -> int:
        return len(self._wires)

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK, self._tick) if self._wires else None
        quiet: list[Wire] = []
        for wire in self._wires:
            if wire.deliveries != wire.seen:
                # Also the first tick of a wait, so a timeout is never early.
                wire.seen, wire.silent = wire.deliveries, 0.0
            else:
                quiet.append(wire)
        if not quiet:
            return
        deaf = _readable([w.raw for w in quiet if w.raw is not None and not w.reading_paused])
        for wire in quiet:
            if wire.raw in deaf:
                assert wire.raw is not None
                self.repaired += 1
                wire.raw.pause_reading()
                wire.raw.resume_reading()
            # Whole ticks, not the clock: a loop that other code blocked must not look like a silent server.
            wire.silent += TICK
            if wire.limit is not None and wire.waiting and wire.silent >= wire.limit:
                if wire.raw in deaf and wire.silent < wire.limit + 2 * TICK:
                    continue
                wire.timed_out()
                wire.wake()


def _readable(transports: list[asyncio.Transport]) -> set[asyncio.Transport]:
    """Return the transports that should be reading and whose sockets hold something unread."""
    by_number: dict[int, asyncio.Transport] = {}
    for transport in transports:
        sock = transport.get_extra_info("socket")
        number = sock.fileno() if sock is not None and transport.is_reading() else -1
        if number >= 0:
            by_number[number] = transport
    if not by_number:
        return set()
    if hasattr(select, "poll"):
        poll = select.poll()
        for number in by_number:
            poll.register(number, select.POLLIN)
        ready = [number for number, _ in poll.poll(0)]
    else:
        ready = select.select(list(by_number), [], [], 0)[0]
    return {by_number[number] for number in ready}


@contextlib.asynccontextmanager
async def _watched(wire: Wire) -> AsyncGenerator[None]:
    """Repair a lost reader during a TLS handshake too; a failed handshake leaves no socket behind."""
    wire.watch.add(wire)
    try:
        yield
    except BaseException:
        wire.abort()
        if wire.raw is not None:
            wire.raw.abort()
        raise
    finally:
        wire.watch.discard(wire)


async def connect(wire: W, host: str, port: int, local_address: str | None = None) -> W:
    """Open a TCP connection. Raises OSError, TimeoutError when the system gives up."""
    local = (local_address, 0) if local_address else None
    transport, _ = await wire.loop.create_connection(
        lambda: wire, host, port, local_addr=local, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY
    )
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None:
        return wire
    for level, option, value in keepalive_options():
        with contextlib.suppress(OSError):  # a system that knows the option by name may still refuse it
            sock.setsockopt(level, option, value)
    return wire


async def start_tls(wire: Wire, context: ssl.SSLContext, server_hostname: str) -> None:
    """Put TLS above what the connection has now. Raises OSError (ssl.SSLError is one)."""
    below = wire.transport
    if below is None or wire.lost:
        raise ConnectionResetError("the peer closed the connection before the TLS handshake")
    async with _watched(wire):
        upgraded = await wire.loop.start_tls(below, wire, context, server_hostname=server_hostname)
        if upgraded is None:
            raise ConnectionResetError("the peer closed the connection during the TLS handshake")
        wire.transport = upgraded


_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "MESH_CLIENT_CERT", "MESH_CLIENT_KEY")
_contexts: dict[tuple[bool | str | None, ...], ssl.SSLContext] = {}
_contexts_lock = threading.Lock()


async def system_tls(*, http2: bool = False) -> ssl.SSLContext:
    """Return the context that trusts what the system trusts, or what SSL_CERT_FILE or SSL_CERT_DIR name.

    It shows servers the certificate of MESH_CLIENT_CERT, a file in PEM, whose key is there too or in
    MESH_CLIENT_KEY. Built once, in a thread: reading the certificates takes tens of milliseconds. Raises
    OSError, which names the variable, when its file cannot be read.

    Parameters: http2, whether the context is for a pool that speaks HTTP/2, which says so in the context.
    """
    found = _contexts.get((http2, *_trust()))
    return found if found is not None else await asyncio.to_thread(_build_context, http2)


def _trust() -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) or None for name in _TRUST)


def _build_context(http2: bool) -> ssl.SSLContext:
    import httpx2

    with _contexts_lock:
        key = (http2, *_trust())
        if key not in _contexts:
            cert_file, cert_dir, own, own_key = _trust()
            try:
                context = httpx2.create_ssl_context()
            except OSError as error:
                name = "SSL_CERT_FILE" if cert_file else "SSL_CERT_DIR"
                raise OSError(
                    f"the certificates of {name}={cert_file or cert_dir!r} cannot be read: {error}"
                ) from None
            if own:
                try:
                    # An empty password, or OpenSSL would ask for one at the terminal.
                    context.load_cert_chain(own, own_key, password="")
                except OSError as error:
                    named = f"MESH_CLIENT_CERT={own!r}" + (
                        f", MESH_CLIENT_KEY={own_key!r}" if own_key else ""
                    )
                    raise OSError(f"the client certificate of {named} cannot be read: {error}") from None
            context.set_alpn_protocols(["http/1.1"])
            _contexts[key] = context
        return _contexts[key]


def describe(error: BaseException) -> str:
    """Return the words of an OSError, or its class where it has none."""
    return str(error) or type(error).__name__


__all__: list[str] = [
    "HIGH_WATER",
    "TICK",
    "Watch",
    "Wire",
    "connect",
    "describe",
    "keepalive_options",
    "start_tls",
    "system_tls",
]
