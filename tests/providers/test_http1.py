"""HTTP/1.1 as servers speak it, and as some mis-speak it; nothing is mocked."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from http_clients import echo, hang_up, new_client
from http_servers import Exchange, RawServer, Server

from mesh_nb.providers import _sockets


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


async def read_into(got: bytearray, client: httpx2.AsyncClient, url: str) -> None:
    async with client.stream("GET", url) as response:
        async for part in response.aiter_raw():
            got += part


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


async def test_a_key_with_a_line_break_is_refused_and_not_shown() -> None:
    with Server(echo) as server:
        async with new_client() as client:
            with pytest.raises(httpx2.LocalProtocolError, match="Authorization") as caught:
                await client.get(server.url, headers={"Authorization": "Bearer sk-secret\r\nx: y"})
            assert "sk-secret" not in str(caught.value)
        assert not server.requests
