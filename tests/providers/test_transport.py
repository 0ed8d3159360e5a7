"""Connections: opened, kept, closed, waited for; against servers that never answer or hang up."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from http_clients import QUICK, echo, forever, new_client, silent
from http_servers import GIVE_UP, Exchange, RawServer, Server

from mesh_nb.providers import _transport


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
