"""Requests through a proxy, chosen by the environment or by a setting."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx2
import pytest
from http_servers import Exchange, Proxy, Server

from mesh_nb.core.errors import ConfigurationError
from mesh_nb.providers import _sockets
from mesh_nb.providers._proxied import ProxiedTransport, environment_mounts, proxy_from
from mesh_nb.providers._transport import HTTPTransport

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def verify(tls: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=tls[1])


def new_client(verify: ssl.SSLContext) -> httpx2.AsyncClient:
    mounts = environment_mounts(verify)
    return httpx2.AsyncClient(transport=HTTPTransport(verify), mounts=mounts, timeout=30.0)


async def echo(x: Exchange) -> None:
    await x.answer(x.path.encode() + b" " + x.body)


async def forever(x: Exchange) -> None:
    await x.start()
    await x.chunk(b"first")
    await x.client_gone()


async def test_the_environment_names_the_proxy(
    tls: Any, verify: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(echo) as plain, Server(echo, tls[0]) as secure, Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:secret@"))
        async with new_client(verify) as client:
            answer = await client.post(plain.url + "/a", content=b"body")
            assert answer.text.endswith("/a body")
            assert (await client.post(secure.url + "/b", content=b"body")).text == "/b body"
            assert "secret" not in repr(list(client._mounts.values()))
        assert proxy.targets == [f"POST {plain.url}/a", f"CONNECT 127.0.0.1:{secure.port}"]
        assert [bool(c) for c in proxy.credentials] == [False, True]


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "example.com, 127.0.0.1", "*", "%%,127.0.0.1"])
async def test_no_proxy_goes_directly(
    entry: str, verify: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", entry)
    with Server(echo) as server:
        async with new_client(verify) as client:
            assert (await client.get(server.url)).status_code == 200


async def test_names_of_no_proxy(verify: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,example.com,.corp.net,host:8443,::1,[fe80::1],10.0.0.0/8,b@d")
    mounts = environment_mounts(verify)
    direct = [pattern for pattern, transport in mounts.items() if transport is None]
    assert direct == [
        "all://localhost",
        "all://*example.com",
        "all://*.corp.net",
        "all://*host:8443",
        "all://[::1]",
        "all://[fe80::1]",
        "all://10.0.0.0/8",
    ]
    async with new_client(verify) as client:
        own = client._transport
        for url in (
            "https://api.example.com/",
            "https://example.com/",
            "https://10.1.2.3/",
            "https://[::1]/",
        ):
            assert client._transport_for_url(httpx2.URL(url)) is own
        assert client._transport_for_url(httpx2.URL("https://notexample.com/")) is not own
        assert client._transport_for_url(httpx2.URL("http://other.org/")) is own


async def test_a_proxy_reached_over_tls(tls: Any, verify: ssl.SSLContext) -> None:
    with Server(echo, tls[0]) as server, Proxy(tls[0]) as proxy:
        transport = ProxiedTransport(proxy_from(proxy.url, "proxy"), verify=verify)
        async with httpx2.AsyncClient(transport=transport, timeout=30.0) as client:
            for _ in range(3):
                assert (await client.post(server.url, content=bytes(200_000))).status_code == 200
        assert len(proxy.targets) == server.connections == 1


async def test_a_proxy_that_is_down(verify: ssl.SSLContext) -> None:
    with Proxy() as proxy:
        url = proxy.url
    transport = ProxiedTransport(proxy_from(url, "proxy"), verify=verify)
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx2.ConnectError, match="No connection to 127"):
            await client.get("https://example.com/")


async def test_read_timeout_and_cancel(tls: Any, verify: ssl.SSLContext, monkeypatch: Any) -> None:
    monkeypatch.setattr(_sockets, "TICK", 0.02)
    with Server(forever, tls[0]) as server, Proxy() as proxy:
        transport = ProxiedTransport(proxy_from(proxy.url, "proxy"), verify=verify)
        async with httpx2.AsyncClient(transport=transport, timeout=30.0) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(server.url, timeout=httpx2.Timeout(30.0, read=0.05))
            await server.until(lambda: server.notes.count("gone") == 1)
            task = asyncio.create_task(client.get(server.url))
            await server.until(lambda: server.notes.count("request") == 2)
            task.cancel()
            await server.until(lambda: server.notes.count("gone") == 2)
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_lost_reader_is_repaired(tls: Any, verify: ssl.SSLContext, monkeypatch: Any) -> None:
    monkeypatch.setattr(_sockets, "TICK", 0.02)
    release = asyncio.Event()

    async def handler(x: Exchange) -> None:
        await release.wait()
        await x.answer(b"late")

    with Server(handler, tls[0]) as server, Proxy() as proxy:
        transport: Any = ProxiedTransport(proxy_from(proxy.url, "proxy"), verify=verify)
        async with httpx2.AsyncClient(transport=transport, timeout=30.0) as client:
            answer = asyncio.create_task(client.get(server.url))
            await server.until(lambda: bool(server.requests))
            loop: Any = asyncio.get_running_loop()
            for wire in transport._backend._watch._wires:
                loop._remove_reader(wire.raw.get_extra_info("socket").fileno())
            server.loop.call_soon_threadsafe(release.set)
            assert (await answer).text == "late"
            assert transport.repaired == 1


async def test_an_httpx2_without_the_private_name_still_works(tls: Any, verify: ssl.SSLContext) -> None:
    class Renamed(ProxiedTransport):
        def _build(self, context: ssl.SSLContext) -> httpx2.AsyncHTTPTransport:
            original = httpx2.AsyncHTTPTransport.__init__

            def renamed(inner: Any, **options: Any) -> None:
                original(inner, **options)
                inner.__dict__["_pool_of_tomorrow"] = inner.__dict__.pop("_pool")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(httpx2.AsyncHTTPTransport, "__init__", renamed)
                inner = super()._build(context)
            inner._pool = inner.__dict__["_pool_of_tomorrow"]
            return inner

    with Server(echo, tls[0]) as server:
        async with httpx2.AsyncClient(transport=Renamed(verify=verify), timeout=30.0) as client:
            assert (await client.post(server.url, content=b"x")).text == "/ x"


@pytest.mark.parametrize(
    "value",
    [
        "ftp://user:hunter2@host",
        "http://user:hunter2@host:port",
        "http://user:hunter2@",
        "socks5://u:hunter2@h",
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_and_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        environment_mounts()
    assert "hunter2" not in str(caught.value)
