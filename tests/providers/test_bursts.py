"""Streams do not stall when other code on the loop drops SDK clients. `tests/soak` has the long version."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
from http_bursts import HARD, answer, bursts, hard_bursts
from http_servers import Proxy, Server, certificate

from mesh_nb.providers import _clients, _sockets
from mesh_nb.providers._proxied import ProxiedTransport
from mesh_nb.providers._transport import HTTPTransport

# The dropped SDK clients warn, as they should.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]


@pytest.fixture(autouse=True)
def fast_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sockets, "TICK", 0.05)


async def survive(count: int, transport: Any, context: ssl.SSLContext | None = None, **options: Any) -> None:
    """Run bursts on clients with a transport, None being the shared client that providers use."""

    def make() -> httpx2.AsyncClient:
        if transport is None:
            return _clients.client("httpx2")
        return httpx2.AsyncClient(transport=transport(), timeout=60.0)

    with Server(answer, context) as server, Server(answer) as other:
        found = await bursts(count, make, server, other, **options)
    assert found.pop("repaired") > 0, "the bursts were not hostile"
    assert found == {"stalled": 0, "short": 0, "sent again": 0}


async def test_hostile_bursts() -> None:
    await survive(8, HTTPTransport)


async def test_hostile_bursts_over_tls(tmp_path: Path) -> None:
    context, cert = certificate(tmp_path)
    verify = ssl.create_default_context(cafile=cert)
    await survive(4, lambda: HTTPTransport(verify), context)


async def test_our_own_client_dropped_and_not_closed() -> None:
    await survive(4, HTTPTransport, drop=True)


async def test_hostile_bursts_through_a_proxy(tmp_path: Path) -> None:
    context, cert = certificate(tmp_path)
    verify = ssl.create_default_context(cafile=cert)
    with Proxy() as proxy:
        await survive(4, lambda: ProxiedTransport(httpx2.Proxy(proxy.url), verify=verify), context)
        assert len(proxy.targets) == 200


async def test_hostile_bursts_through_the_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, cert = certificate(tmp_path)
    _clients.preload("httpx2")
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        await survive(4, None, context)
        assert len(proxy.targets) == 200


@pytest.mark.parametrize("name", list(HARD))
async def test_hostile_bursts_of_calls_to_a_server_that_fails(name: str) -> None:
    with Server(answer) as other:
        found = await hard_bursts(2, name, other)
    assert found == {"otherwise": 0, "stalled": 0, "sent again": 0}
    await _clients.aclose_all()
