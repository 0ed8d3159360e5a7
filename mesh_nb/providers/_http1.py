"""One HTTP/1.1 exchange: how a request is written and a response is parsed. Follows RFC 9112."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httptools
import httpx2

from ._sockets import HIGH_WATER, Watch, Wire, describe

MAX_HEAD = 1 << 18
"""Bytes of status line and headers that are accepted, interim responses included."""

Failure = tuple[type[httpx2.TransportError], str]


class Connection(Wire):
    """One HTTP/1.1 connection, for one exchange at a time; the callbacks of its parser are its methods."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self.exchanges = 0
        self.expires = 0.0
        self.begin("")

    def begin(self, method: str) -> None:
        """Forget the last exchange and expect the answer to a request with this method."""
        self.method = method
        self.parser: Any = httptools.HttpResponseParser(self) if method else None
        self.failure: Failure | None = None
        self.parts: list[bytes] = []
        self.size = self.head_bytes = self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.sent = self.head = self.done = self.keep = False
        self.closed_unanswered = False
        self.limit = None

    def received(self, data: bytes) -> None:
        """Parse what came; bytes that belong to no request, such as a late 408, end the connection."""
        if self.parser is None or self.done:
            self.keep = False
            self.abort()
            return
        if not self.head:
            self.head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(httpx2.RemoteProtocolError, "The server switched to another protocol, unasked.")
        except httptools.HttpParserError as error:
            self.fail(httpx2.RemoteProtocolError, f"The server's answer is not HTTP/1.1: {describe(error)}")
        if not self.head and self.head_bytes > MAX_HEAD:
            self.fail(httpx2.RemoteProtocolError, f"The server sent more than {MAX_HEAD} bytes of headers.")
        if self.size > HIGH_WATER:
            self.pause()

    def on_message_begin(self) -> None:
        """A response begins: the first, the one after an interim response, or one that nobody asked for."""
        if self.done:
            self.keep = False
        else:
            self.reason, self.headers = b"", []

    def on_status(self, status: bytes) -> None:
        """Collect the reason phrase."""
        if not self.done:
            self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; trailers are dropped."""
        if not self.head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete, unless this is an interim response."""
        if not self.done:
            self.status = self.parser.get_status_code()
            self.head = self.status >= 200
            self.done = self.head and self.method == "HEAD"

    def on_body(self, data: bytes) -> None:
        """Collect body bytes, de-chunked."""
        if not self.done:
            self.parts.append(data)
            self.size += len(data)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self.head and not self.done:
            self.done = True
            self.keep = self.sent and self.parser.should_keep_alive()

    def ended(self, error: Exception | None) -> None:
        """The peer closed: the end of a body without a length, or a failure."""
        self.keep = False
        if self.parser is None or self.done or self.failure is not None:
            return
        framed = any(n.lower() in (b"content-length", b"transfer-encoding") for n, _ in self.headers)
        if self.head and not framed and error is None:
            self.done = True
        elif error is None and not self.head_bytes:
            self.failure = httpx2.RemoteProtocolError, "Server disconnected without sending a response."
        elif error is None:
            self.failure = (
                httpx2.RemoteProtocolError,
                "The server closed the connection before the answer was complete.",
            )
        else:
            self.failure = httpx2.ReadError, f"The connection broke: {describe(error)}"
        self.closed_unanswered = not self.head_bytes

    def timed_out(self) -> None:
        """The server was silent for longer than the read timeout."""
        self.fail(httpx2.ReadTimeout, f"Nothing arrived for {self.limit:g} s.")

    def fail(self, kind: type[httpx2.TransportError], message: str) -> None:
        """End the exchange with an error, unless its answer is complete, and close the socket."""
        self.keep = False
        if self.failure is None and not self.done:
            self.failure = kind, message
        self.abort()

    def check(self) -> None:
        """Raise what ended the exchange, if something did."""
        if self.failure is not None:
            kind, message = self.failure
            raise kind(message)

    def take(self) -> bytes:
        """Return the body bytes that have arrived, and read on if reading was paused."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts, self.size = [], 0
        self.resume()
        return data


def head_of(request: httpx2.Request) -> bytes:
    """Return the request line and headers. Raises httpx2.LocalProtocolError for a line break in one."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%s: %s" % pair for pair in request.headers.raw]
    for line in lines:
        if _ILLEGAL.search(line):
            # Without the value: it may be an API key, pasted with its line break.
            name = line.split(b":", 1)[0].decode("latin-1")
            raise httpx2.LocalProtocolError(
                f"Header {name!r} has a line break or a control character in its value."
            )
    return b"\r\n".join(lines) + b"\r\n\r\n"


_ILLEGAL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


async def send(c: Connection, head: bytes, request: httpx2.Request, limit: float | None) -> bool:
    """Write a request; stop early when the server answers first. Returns whether it could be sent again."""
    assert c.transport is not None
    try:
        body = request.content
    except httpx2.RequestNotRead:
        c.transport.write(head)
        await _send_stream(c, request, limit)
        return False
    c.transport.write(head + body)
    c.sent = True
    await _drain(c, limit)
    return True


async def _send_stream(c: Connection, request: httpx2.Request, limit: float | None) -> None:
    assert c.transport is not None
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    chunked = request.headers.get("transfer-encoding", "").lower() == "chunked"
    async for part in request.stream:
        if c.head or c.failure is not None:
            return
        if part:
            c.transport.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            await _drain(c, limit)
    if chunked:
        c.transport.write(b"0\r\n\r\n")
    c.sent = True
    await _drain(c, limit)


async def _drain(c: Connection, limit: float | None) -> None:
    if not c.writing_paused:
        return
    try:
        async with asyncio.timeout(limit):
            while c.writing_paused and not c.head and c.failure is None:
                await c.wait()
    except TimeoutError:
        raise httpx2.WriteTimeout("The server did not take the request within the write timeout.") from None
