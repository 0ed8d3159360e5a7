"""The transport against servers that behave, misbehave and never answer; nothing is mocked."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from http_servers import GIVE_UP, Exchange, RawServer, Server, certificate

from mesh_nb.providers import _sockets, _transport
from mesh_nb.providers._transport import HTTPTransport

QUICK = httpx2.Timeout(30.0, read=0.05)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest, tls: Any) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's context and the client's."""
    if request.param == "http":
        return None, None
    return tls[0], ssl.create_default_context(cafile=tls[1])


@pytest.fixture
def fast_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sockets, "TICK", 0.02)


def new_client(verify: ssl.SSLContext | None = None, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=HTTPTransport(verify, **options), timeout=30.0)


def deafen(client: httpx2.AsyncClient) -> int:
    """Take every reader of the client's connections away, as a foreign finalized transport does."""
    transport: Any = client._transport
    loop: Any = asyncio.get_running_loop()
    wires = [*transport._watch._wires, *(c for idle in transport._idle.values() for c in idle)]
    for wire in wires:
        loop._remove_reader(wire.raw.get_extra_info("socket").fileno())
    return len(wires)


async def echo(x: Exchange) -> None:
    await x.answer(x.method.encode() + b" " + x.path.encode() + b" " + x.body)


async def forever(x: Exchange) -> None:
    await x.start()
    await x.chunk(b"first")
    await x.client_gone()


async def silent(x: Exchange) -> None:
    await x.client_gone()


async def read_into(got: bytearray, client: httpx2.AsyncClient, url: str) -> None:
    async with client.stream("GET", url) as response:
        async for part in response.aiter_raw():
            got += part


async def hang_up(x: Exchange) -> None:
    x.keep = False


# ---------------------------------------------------------------- what HTTP/1.1 asks for


async def test_connections_are_kept_alive(scheme: Any) -> None:
    with Server(echo, scheme[0]) as server:
        async with new_client(scheme[1]) as client:
            for i in range(5):
                response = await client.post(server.url + f"/{i}", content=b"body")
                assert response.text == f"POST /{i} body"
        assert server.connections == 1
        await server.until(lambda: "closed" in server.notes)


BODIES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nt: v\r\n\r\n",
    "until-close": b"HTTP/1.1 200 OK\r\n\r\n0123456789",
    "http-1.0": b"HTTP/1.0 200 OK\r\n\r\n0123456789",
    "close": b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\n0123456789",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    b"HTTP/1.1 200 Fine\r\ncontent-length: 10\r\n\r\n0123456789",
}


@pytest.mark.parametrize("drip", [False, True])
@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_of_every_framing(kind: str, drip: bool) -> None:
    async def handler(x: Exchange) -> None:
        data = BODIES[kind]
        for i in range(0, len(data), 1 if drip else len(data)):
            await x.send(data[i : i + 1] if drip else data)
            await asyncio.sleep(0)
        x.keep = kind in ("length", "chunked", "interim")

    with Server(handler) as server:
        async with new_client() as client:
            for _ in range(2):
                response = await client.get(server.url)
                assert response.content == b"0123456789"
                assert "link" not in response.headers
                assert response.http_version == ("HTTP/1.0" if kind == "http-1.0" else "HTTP/1.1")
                assert response.reason_phrase == ("Fine" if kind == "interim" else "OK")
        assert len(server.requests) == 2
        assert server.connections == (1 if kind in ("length", "chunked", "interim") else 2)


async def test_answers_without_a_body() -> None:
    async def handler(x: Exchange) -> None:
        if x.method == "HEAD":
            await x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        else:
            await x.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    with Server(handler) as server:
        async with new_client() as client:
            head = await client.head(server.url)
            assert head.headers["content-length"] == "1000"
            assert head.content == b""
            assert (await client.get(server.url)).status_code == 204


async def test_compressed_bodies_are_decoded_by_iter_bytes() -> None:
    packed = gzip.compress(b"data: token\n\n" * 1000)

    async def handler(x: Exchange) -> None:
        await x.start(b"content-encoding: gzip\r\n")
        for i in range(0, len(packed), 7):
            await x.chunk(packed[i : i + 7])
        await x.send(b"0\r\n\r\n")

    with Server(handler) as server:
        async with new_client() as client, client.stream("GET", server.url) as response:
            data = b"".join([part async for part in response.aiter_bytes()])
    assert data == b"data: token\n\n" * 1000


async def test_request_bodies_as_bytes_and_as_streams(scheme: Any) -> None:
    body = bytes(range(256)) * 20_000

    async def parts() -> AsyncIterator[bytes]:
        for i in range(0, len(body), 100_000):
            yield body[i : i + 100_000]

    async def handler(x: Exchange) -> None:
        await x.answer(b"same" if x.body == body else b"different")

    with Server(handler, scheme[0]) as server:
        async with new_client(scheme[1]) as client:
            assert (await client.post(server.url, content=body)).text == "same"
            assert (await client.post(server.url, content=parts())).text == "same"
            length = {"content-length": str(len(body))}
            assert (await client.post(server.url, content=parts(), headers=length)).text == "same"
        assert [x.headers.get("transfer-encoding") for x in server.requests] == [None, "chunked", None]
        assert server.connections == 1


async def test_a_large_body_waits_for_a_slow_reader(scheme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size, paused = 24 << 20, []
    pause = _sockets.Wire.pause

    def spy(wire: _sockets.Wire) -> None:
        paused.append(wire)
        pause(wire)

    monkeypatch.setattr(_sockets.Wire, "pause", spy)

    async def handler(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await x.send(bytes(1 << 16))
        x.server.note("all sent")

    with Server(handler, scheme[0]) as server:
        async with new_client(scheme[1]) as client, client.stream("GET", server.url) as response:
            received, most = 0, 0
            async for part in response.aiter_raw():
                received, most = received + len(part), max(most, len(part))
                if received == len(part):
                    while not paused:  # noqa: ASYNC110  the reader must not read meanwhile
                        await asyncio.sleep(0)
                    assert "all sent" not in server.notes
            assert received == size
            assert most < 4 << 20


async def test_an_answer_before_the_request_is_complete() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await reader.read()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)
            await asyncio.sleep(0)

    with RawServer(refuse) as server:
        async with new_client() as client:
            response = await client.post(server.url, content=endless())
            assert (response.status_code, response.text) == (413, "big")


# ---------------------------------------------------------------- failures


async def test_refused() -> None:
    with Server(echo) as server:
        url = server.url
    async with new_client() as client:
        with pytest.raises(httpx2.ConnectError, match="No connection to 127"):
            await client.get(url)


@pytest.mark.parametrize("path", ["http://" + "a" * 64 + ".example/", "ftp://localhost/", "http:///x"])
async def test_urls_that_cannot_be_reached(path: str) -> None:
    async with new_client() as client:
        with pytest.raises((httpx2.TransportError, httpx2.InvalidURL)):
            await client.get(path)


async def reset_in_body(x: Exchange) -> None:
    await x.start()
    await x.chunk(b"part")
    x.reset()


async def cut_in_body(x: Exchange) -> None:
    await x.start()
    await x.chunk(b"part")
    x.keep = False


async def garbage(x: Exchange) -> None:
    await x.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def bad_chunk(x: Exchange) -> None:
    await x.start()
    await x.send(b"4\r\npart\r\nnot a size\r\n")


async def endless_headers(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await x.send(b"x: " + b"y" * 10_000 + b"\r\n")


async def endless_interim(x: Exchange) -> None:
    while True:
        await x.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)


async def upgrade(x: Exchange) -> None:
    await x.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\0\1\2")


@pytest.mark.parametrize(
    ("handler", "kinds"),
    [
        (reset_in_body, (httpx2.ReadError, httpx2.RemoteProtocolError)),
        (cut_in_body, httpx2.RemoteProtocolError),
        (garbage, httpx2.RemoteProtocolError),
        (bad_chunk, httpx2.RemoteProtocolError),
        (endless_headers, httpx2.RemoteProtocolError),
        (endless_interim, httpx2.RemoteProtocolError),
        (upgrade, httpx2.RemoteProtocolError),
        (hang_up, httpx2.RemoteProtocolError),
    ],
)
async def test_servers_that_break_off_or_lie(handler: Any, kinds: Any) -> None:
    with Server(handler) as server:
        async with new_client() as client:
            got = bytearray()
            with pytest.raises(kinds):
                await read_into(got, client, server.url)
            assert got == (b"part" if "body" in handler.__name__ or handler is bad_chunk else b"")
        assert len(server.requests) == 1


@pytest.mark.usefixtures("fast_tick")
async def test_read_timeout_before_and_in_the_answer(scheme: Any) -> None:
    for handler in (silent, forever):
        with Server(handler, scheme[0]) as server:
            async with new_client(scheme[1]) as client:
                with pytest.raises(httpx2.ReadTimeout, match=r"0\.05 s"):
                    await client.get(server.url, timeout=QUICK)
                await server.until(lambda: "gone" in server.notes)


@pytest.mark.usefixtures("fast_tick")
async def test_a_slow_reader_is_no_read_timeout() -> None:
    async def handler(x: Exchange) -> None:
        await x.start()
        await x.chunk(b"a")
        await x.chunk(b"b" * (4 << 20))
        await x.send(b"0\r\n\r\n")

    with Server(handler) as server:
        async with new_client() as client, client.stream("GET", server.url, timeout=QUICK) as response:
            parts = response.aiter_raw()
            got = await anext(parts)
            await asyncio.sleep(0.3)
            got += b"".join([part async for part in parts])
    assert got == b"a" + b"b" * (4 << 20)


@pytest.mark.usefixtures("fast_tick")
async def test_a_loop_blocked_by_other_code_is_no_read_timeout() -> None:
    async def handler(x: Exchange) -> None:
        await x.start()
        await x.chunk(b"a")
        await asyncio.sleep(0.2)
        await x.chunk(b"b")
        await x.send(b"0\r\n\r\n")

    with Server(handler) as server:
        async with new_client() as client, client.stream("GET", server.url, timeout=QUICK) as response:
            parts = response.aiter_raw()
            got = await anext(parts)
            time.sleep(0.3)  # noqa: ASYNC251
            got += b"".join([part async for part in parts])
    assert got == b"ab"


async def test_connect_timeout_in_a_tls_handshake(tls: Any) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    gone = threading.Event()
    with RawServer(deaf) as server:
        async with new_client(ssl.create_default_context(cafile=tls[1])) as client:
            url = server.url.replace("http", "https")
            with pytest.raises(httpx2.ConnectTimeout):
                await client.get(url, timeout=httpx2.Timeout(30.0, connect=0.1))
            assert await asyncio.to_thread(gone.wait, GIVE_UP)


async def test_write_timeout() -> None:
    async def unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    with RawServer(unread) as server:
        async with new_client() as client:
            short = httpx2.Timeout(30.0, write=0.1)
            with pytest.raises(httpx2.WriteTimeout):
                await client.post(server.url, content=bytes(64 << 20), timeout=short)


async def test_pool_timeout_and_a_freed_place() -> None:
    with Server(forever) as server:
        async with new_client(max_connections=1) as client:
            async with client.stream("GET", server.url):
                with pytest.raises(httpx2.PoolTimeout):
                    await client.get(server.url, timeout=httpx2.Timeout(30.0, pool=0.05))
            async with client.stream("GET", server.url) as response:
                assert response.status_code == 200


async def test_many_requests_share_few_places() -> None:
    with Server(echo) as server:
        async with new_client(max_connections=3) as client:
            answers = await asyncio.gather(*(client.get(f"{server.url}/{i}") for i in range(40)))
        assert [a.text for a in answers] == [f"GET /{i} " for i in range(40)]
        assert server.connections <= 3


# ---------------------------------------------------------------- ending early


@pytest.mark.parametrize("handler", [forever, silent])
async def test_cancelling_closes_the_connection(scheme: Any, handler: Any) -> None:
    async def read(client: httpx2.AsyncClient, url: str) -> None:
        async with client.stream("GET", url) as response:
            async for _ in response.aiter_raw():
                first.set()

    first = asyncio.Event()
    with Server(handler, scheme[0]) as server:
        async with new_client(scheme[1]) as client:
            task = asyncio.create_task(read(client, server.url))
            await server.until(lambda: bool(server.requests))
            if handler is forever:
                await first.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.until(lambda: "gone" in server.notes)
            assert "0 open, 0 idle" in repr(client._transport)


async def test_leaving_a_response_early_closes_the_connection() -> None:
    with Server(forever) as server:
        async with new_client() as client:
            async with client.stream("GET", server.url) as response:
                async for _ in response.aiter_raw():
                    break
            await server.until(lambda: "gone" in server.notes)


async def test_closing_the_client_ends_open_responses() -> None:
    async def read() -> None:
        async with client.stream("GET", server.url) as response:
            async for _ in response.aiter_raw():
                first.set()

    first = asyncio.Event()
    with Server(forever) as server:
        client = new_client()
        task = asyncio.create_task(read())
        await first.wait()
        await client.aclose()
        with pytest.raises(httpx2.ReadError, match="closed"):
            await task
        await server.until(lambda: "gone" in server.notes)


async def test_idle_connections_expire() -> None:
    with Server(echo) as server:
        async with new_client(keepalive_expiry=0.05) as client:
            await client.get(server.url)
            await server.until(lambda: "closed" in server.notes)
            await client.get(server.url)
        assert server.connections == 2


async def test_the_server_says_how_long_a_connection_is_good() -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(head=b"Keep-Alive: timeout=1, max=5\r\n")

    with Server(handler) as server:
        async with new_client() as client:
            await client.get(server.url)
            await client.get(server.url)
        assert server.connections == 2


def test_one_transport_serves_one_loop() -> None:
    with Server(echo) as server:
        client = new_client()

        async def once() -> None:
            await client.get(server.url)

        async def close() -> None:
            await client.aclose()

        with asyncio.Runner() as first:
            first.run(once())
            with asyncio.Runner() as second, pytest.raises(RuntimeError, match="another event loop"):
                second.run(once())
            first.run(close())
            with pytest.raises(RuntimeError, match="closed"):
                first.run(once())


# ---------------------------------------------------------------- connections that the server closed


async def test_a_close_that_the_loop_has_not_seen_yet_costs_nothing(scheme: Any) -> None:
    async def handler(x: Exchange) -> None:
        await x.answer()
        x.keep = False
        x.writer.close()
        x.server.note("hung up")

    with Server(handler, scheme[0]) as server:
        async with new_client(scheme[1]) as client:
            for i in range(3):
                assert (await client.post(server.url, content=b"x")).text == "ok"
                while server.notes.count("hung up") <= i:
                    time.sleep(0.001)  # noqa: ASYNC251
                time.sleep(0.02)  # noqa: ASYNC251
        assert len(server.requests) == server.connections == 3


async def second_time_hang_up(x: Exchange) -> None:
    if x.number % 2:
        x.keep = False
    else:
        await x.answer(b"%d" % x.number)


async def test_a_close_that_crosses_the_request_is_retried_once() -> None:
    with Server(second_time_hang_up) as server:
        async with new_client() as client:
            assert (await client.post(server.url, content=b"x")).text == "0"
            assert (await client.post(server.url, content=b"x")).text == "2"
        assert [x.connection for x in server.requests] == [1, 1, 2]


async def test_a_server_that_keeps_hanging_up_is_asked_twice_and_no_more() -> None:
    async def handler(x: Exchange) -> None:
        if x.number:
            x.keep = False
        else:
            await x.answer()

    with Server(handler) as server:
        async with new_client() as client:
            await client.get(server.url)
            with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
                await client.get(server.url)
        assert len(server.requests) == 3


async def test_a_request_the_server_had_time_to_see_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_transport, "CROSSING_WINDOW", 0.0)
    with Server(second_time_hang_up) as server:
        async with new_client() as client:
            await client.post(server.url, content=b"x")
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(server.url, content=b"x")
            assert (await client.get(server.url)).text == "2"
            assert (await client.get(server.url)).text == "4"  # idempotent: sent again
        assert [x.method for x in server.requests] == ["POST", "POST", "GET", "GET", "GET"]


async def test_a_stream_is_not_sent_again() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"x"

    with Server(second_time_hang_up) as server:
        async with new_client() as client:
            await client.post(server.url, content=parts())
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(server.url, content=parts())
        assert len(server.requests) == 2


async def test_an_answer_that_began_is_not_asked_for_again() -> None:
    async def handler(x: Exchange) -> None:
        if x.number:
            await x.send(b"HTTP/1.1 200")
            x.keep = False
        else:
            await x.answer()

    with Server(handler) as server:
        async with new_client() as client:
            await client.get(server.url)
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(server.url)
        assert len(server.requests) == 2


async def test_bytes_nobody_asked_for_end_a_connection() -> None:
    async def handler(x: Exchange) -> None:
        await x.answer(b"ok")
        await x.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        x.server.note("sent")

    with Server(handler) as server:
        async with new_client() as client:
            for _ in range(2):
                assert (await client.get(server.url)).text == "ok"
                await server.until(lambda: len(server.notes) % 2 == 0)
        assert server.connections == 2


# ---------------------------------------------------------------- lost readers


@pytest.mark.usefixtures("fast_tick")
async def test_a_reader_taken_away_is_repaired(scheme: Any) -> None:
    release = asyncio.Event()

    async def handler(x: Exchange) -> None:
        await release.wait()
        release.clear()
        await x.start()
        await x.chunk(b"head ")
        await release.wait()
        await x.chunk(b"body")
        await x.send(b"0\r\n\r\n")

    def go() -> None:
        server.loop.call_soon_threadsafe(release.set)

    with Server(handler, scheme[0]) as server:
        async with new_client(scheme[1]) as client:
            request = client.build_request("GET", server.url)
            answer = asyncio.create_task(client.send(request, stream=True))
            await server.until(lambda: bool(server.requests))
            assert deafen(client) == 1
            go()
            response = await answer
            parts = response.aiter_raw()
            assert await anext(parts) == b"head "
            assert deafen(client) == 1
            go()
            assert [p async for p in parts] == [b"body"]
            assert client._transport.repaired == 2  # type: ignore[attr-defined]
        assert len(server.requests) == server.connections == 1


@pytest.mark.usefixtures("fast_tick")
async def test_a_reader_taken_away_in_the_handshake_is_repaired(tls: Any) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def serve(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(30)
        with tls[0].wrap_socket(plain, server_side=True) as secure:
            assert secure.recv(1 << 16).startswith(b"GET / ")
            secure.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = asyncio.create_task(asyncio.to_thread(serve, listener))
        async with new_client(ssl.create_default_context(cafile=tls[1])) as client:
            answer = asyncio.create_task(client.get(f"https://127.0.0.1:{listener.getsockname()[1]}"))
            await begun.wait()
            transport: Any = client._transport
            while not (transport._watch and any(w.raw.is_reading() for w in transport._watch._wires)):  # noqa: ASYNC110
                await asyncio.sleep(0)
            deafen(client)
            go_on.set()
            assert (await answer).text == "ok"
            assert transport.repaired >= 1
        await server


@pytest.mark.usefixtures("fast_tick")
async def test_an_idle_connection_that_went_deaf_still_works() -> None:
    with Server(echo) as server:
        async with new_client() as client:
            await client.get(server.url)
            assert deafen(client) == 1
            assert (await client.get(server.url)).text == "GET / "
        assert server.connections == 1


async def test_without_poll_select_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.poll")
    monkeypatch.setattr(_sockets, "TICK", 0.02)
    with Server(echo) as server:
        async with new_client() as client:
            await client.get(server.url)
            deafen(client)
            assert (await client.get(server.url)).text == "GET / "


async def test_no_tick_runs_while_nothing_is_open() -> None:
    with Server(echo) as server:
        async with new_client() as client:
            await client.get(server.url)
            watch: Any = client._transport._watch  # type: ignore[attr-defined]
            assert len(watch) == 0
            watch._tick()
            assert watch._timer is None


# ---------------------------------------------------------------- trust and secrets


async def test_an_unknown_certificate_is_refused(tls: Any) -> None:
    with Server(echo, tls[0]) as server:
        async with new_client() as client:
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(server.url)
        assert not server.requests


async def test_ssl_cert_file_is_honoured(tls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(echo, tls[0]) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
        async with new_client() as client:
            assert (await client.get(server.url)).status_code == 200
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
        async with new_client() as client:
            with pytest.raises(httpx2.ConnectError, match=r"SSL_CERT_FILE='/nowhere/ca\.pem'"):
                await client.get(server.url)


async def test_a_key_with_a_line_break_is_refused_and_not_shown() -> None:
    with Server(echo) as server:
        async with new_client() as client:
            with pytest.raises(httpx2.LocalProtocolError, match="Authorization") as caught:
                await client.get(server.url, headers={"Authorization": "Bearer sk-secret\r\nx: y"})
            assert "sk-secret" not in str(caught.value)
        assert not server.requests


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
