"""Lost readers are repaired, wherever they are lost; trust comes from the system."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any

import httpx2
import pytest
from http_clients import deafen, echo, new_client
from http_servers import Exchange, Server

from mesh_nb.providers import _sockets


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
