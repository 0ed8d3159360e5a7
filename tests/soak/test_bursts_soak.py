"""100 hostile bursts of 50 streams, for `make soak`: not one may stall or be sent twice."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2
import pytest
from http_bursts import HARD, answer, bursts, hard_bursts
from http_servers import Proxy, Server, certificate

from mesh_nb.providers import _clients
from mesh_nb.providers._proxied import ProxiedTransport
from mesh_nb.providers._transport import HTTPTransport

# The dropped SDK clients warn, as they should.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

WAYS = ["http", "https", "own client dropped", "proxy", "proxy of the environment", "httpx2 without a proxy"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_hundred_hostile_bursts(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, cert = certificate(tmp_path)
    _clients.preload("httpx2")
    verify = ssl.create_default_context(cafile=cert)
    with (
        Server(answer, None if way == "http" else context) as server,
        Server(answer) as other,
        Proxy() as proxy,
    ):
        if way == "proxy of the environment":
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("SSL_CERT_FILE", str(cert))

        def make() -> httpx2.AsyncClient:
            if way == "proxy of the environment":
                return _clients.client("httpx2")
            through = httpx2.Proxy(proxy.url) if way == "proxy" else None
            own = way in ("http", "https", "own client dropped")
            transport = HTTPTransport(verify) if own else ProxiedTransport(through, verify=verify)
            return httpx2.AsyncClient(transport=transport, timeout=60.0)

        found = await bursts(100, make, server, other, drop=way == "own client dropped")
        assert len(proxy.targets) == (5000 if "proxy" in way and "without" not in way else 0)
    print(way, found)
    assert found.pop("repaired") > 0, "the bursts were not hostile"
    assert found == {"stalled": 0, "short": 0, "sent again": 0}


@pytest.mark.parametrize("name", list(HARD))
async def test_a_hundred_hostile_bursts_to_a_server_that_fails(name: str) -> None:
    with Server(answer) as other:
        found = await hard_bursts(100, name, other)
    print(name, found)
    assert found == {"otherwise": 0, "stalled": 0, "sent again": 0}
    await _clients.aclose_all()
