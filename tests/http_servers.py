"""HTTP servers for tests of the transport: raw sockets, each in a thread and an event loop of its own.

    with Server(handler) as server: ...       # server.url, .connections, .requests, .notes
    async def handler(x: Exchange): await x.send(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")

`await server.until(lambda: ...)` waits until a condition on what the server saw holds; it is looked at
whenever the server sees something, not by the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import importlib.util
import ipaddress
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

GIVE_UP = 30.0
"""Seconds after which a condition that does not come true is a failure."""


@dataclasses.dataclass
class Exchange:
    """One request, and the raw means to answer it."""

    server: Server
    number: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep: bool = True

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", head: bytes = b"", status: bytes = b"200 OK") -> None:
        await self.send(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(body), head, body))

    async def start(self, head: bytes = b"") -> None:
        await self.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n%s\r\n" % head)

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def client_gone(self) -> None:
        """Wait until the client closes, and note it as "gone"."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read(1)
        self.keep = False
        self.server.note("gone")

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.keep = False
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Exchange], Awaitable[Any]]


class _Threaded:
    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._ready = threading.Event()
        self.port = 0
        self.connections = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Any:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(GIVE_UP)
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(GIVE_UP)
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            self.connections += 1
            try:
                await self.serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
                pass
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(
            accept, "127.0.0.1", 0, ssl=self._tls, family=socket.AF_INET, backlog=512
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for _ in range(5):
            await asyncio.sleep(0)  # a connection accepted this moment gets its task, and is closed by it
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(GIVE_UP):
            while getattr(server, "_active_count", 0):  # noqa: ASYNC110  3.11's wait_closed does not wait
                await asyncio.sleep(0.001)
            await server.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Server(_Threaded):
    """A server whose every answer is written by `handler`, byte by byte."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.handler = handler
        self.requests: list[Exchange] = []
        self.notes: list[str] = []
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None], asyncio.AbstractEventLoop]] = []
        self._lock = threading.Lock()

    def note(self, what: str) -> None:
        self.notes.append(what)
        self._look()

    def _look(self) -> None:
        with self._lock:
            for entry in [e for e in self._waiting if e[0]()]:
                self._waiting.remove(entry)
                _, future, loop = entry
                loop.call_soon_threadsafe(lambda f=future: f.done() or f.set_result(None))

    async def until(self, condition: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((condition, future, loop))
        self._look()
        async with asyncio.timeout(GIVE_UP):
            await future

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self.connections
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                self.note("closed")
                return
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await self._body(reader, headers)
            x = Exchange(self, len(self.requests), connection, method, path, headers, body, reader, writer)
            self.requests.append(x)
            self.note("request")
            await self.handler(x)
            if not x.keep:
                return

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        parts: list[bytes] = []
        while size := int(await reader.readline(), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
        return b"".join(parts)


class RawServer(_Threaded):
    """A server that leaves each connection to `serve(reader, writer)`."""

    def __init__(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        self._serve = serve

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(reader, writer)


class Proxy(_Threaded):
    """A forward proxy: CONNECT, and requests with an absolute URL (one for each connection)."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.targets: list[str] = []
        self.credentials: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.targets.append(f"{method} {target}")
        lines = head.decode("latin-1").split("\r\n")
        self.credentials.append(
            next((ln for ln in lines if ln.lower().startswith("proxy-authorization")), None)
        )
        address = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = address.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far_writer.write(head)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a self-signed certificate for localhost; return the server's context and the certificate file."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    if importlib.util.find_spec("cryptography") is None:
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-addext"]
        names = ["subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
        subprocess.run([*command, *names], check=True, capture_output=True)
    else:
        _certify(cert, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context, cert


def _certify(cert_path: Path, key_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    cert_path.write_bytes(cert.public_bytes(pem))
    plain = serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
