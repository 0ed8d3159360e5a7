"""TLS as the environment wants it: client certificates, and HTTP/2, with real handshakes and real runs."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from http_servers import Exchange, Proxy, RawServer, Server, certificate
from provider_streams import WRITTEN, framed
from replayed import check_log, run_of, words

import mesh_nb as mesh
from mesh_nb.core.errors import ConfigurationError, NodeExecutionError
from mesh_nb.providers import _clients

APIS = {"chat": ("openai", "/v1"), "messages": ("anthropic", ""), "gemini": ("gemini", "")}
ANSWER = {api: b"".join(framed(chunk) for chunk in WRITTEN[api].mixed(())) for api in APIS}
SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "MESH_HTTP", "MESH_CLIENT_CERT")


@pytest.fixture(autouse=True)
async def own_settings(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    for name in (*SETTINGS, "MESH_CLIENT_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    await _clients.aclose_all()


async def ask(api: str, url: str, **options: Any) -> Any:
    vendor, path = APIS[api]
    chosen = {"api": api} if vendor == "openai" else {}
    options = {"base_url": url + path, "api_key": "k", "max_retries": 0, **chosen, **options}
    graph = mesh.StateGraph().add_node("llm", node_type="llm", model="m", provider=vendor, **options)
    seen = await run_of(graph.set_entry_point("llm").compile())
    check_log(seen)
    return seen


async def answer(x: Exchange) -> None:
    api = "chat" if "chat" in x.path else "messages" if "messages" in x.path else "gemini"
    await x.answer(ANSWER[api], b"content-type: text/event-stream\r\n")


# ---- client certificates
@pytest.fixture
def mutual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The context of a server that talks to nobody without a certificate, which is trusted."""
    context, cert = certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cert)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return context


@pytest.mark.parametrize("api", list(APIS))
@pytest.mark.parametrize("way", ["directly", "through a proxy", "httpx2's transport", "one file"])
async def test_a_client_certificate(
    mutual: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str, way: str
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    if way == "one file":
        both = tmp_path / "both.pem"
        both.write_bytes(cert.read_bytes() + key.read_bytes())
        monkeypatch.setenv("MESH_CLIENT_CERT", str(both))
    else:
        monkeypatch.setenv("MESH_CLIENT_CERT", str(cert))
        monkeypatch.setenv("MESH_CLIENT_KEY", str(key))
    with Server(answer, mutual) as server, Proxy() as proxy:
        if way == "through a proxy":
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        elif way == "httpx2's transport":
            monkeypatch.setenv("MESH_HTTP", "httpx2")
        seen = await ask(api, server.url)
    assert seen.error is None
    assert words(seen.log) == WRITTEN[api].text
    assert len(proxy.targets) == (way == "through a proxy")


async def test_without_the_certificate_that_a_server_wants(mutual: ssl.SSLContext) -> None:
    with Server(answer, mutual) as server:
        seen = await ask("chat", server.url)
    assert isinstance(seen.error, NodeExecutionError)
    assert "openai/m" in str(seen.error)


@pytest.mark.parametrize("http", ["own", "httpx2"])
@pytest.mark.parametrize("name", ["MESH_CLIENT_CERT", "MESH_CLIENT_KEY", "SSL_CERT_FILE"])
async def test_a_certificate_that_cannot_be_read_is_named(
    mutual: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, http: str
) -> None:
    monkeypatch.setenv("MESH_HTTP", http)
    monkeypatch.setenv("MESH_CLIENT_CERT", str(tmp_path / "cert.pem"))
    monkeypatch.setenv(name, str(tmp_path / "nothing.pem"))
    with Server(answer, mutual) as server:
        seen = await ask("chat", server.url)
    assert f"{name}='" in str(seen.error)
    assert "nothing.pem' cannot be read: [Errno 2]" in str(seen.error)


# ---- HTTP/2
async def test_another_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HTTP", "http3")
    seen = await ask("chat", "http://127.0.0.1:9")
    assert "MESH_HTTP='http3' is unknown; it is 'own', 'httpx2' or 'http2'" in str(seen.error)


async def test_http2_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HTTP", "http2")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "h2" else found(name))
    seen = await ask("chat", "http://127.0.0.1:9")
    assert isinstance(seen.error, NodeExecutionError)
    assert isinstance(seen.error.cause, ConfigurationError)
    assert "pip install 'mesh_nb[http2]'" in str(seen.error)


def spoken(agreed: list[str | None]) -> Any:
    """Return what serves a connection in HTTP/2: it notes the protocol that TLS agreed on, and answers."""
    h2, events = importlib.import_module("h2.connection"), importlib.import_module("h2.events")
    setup = importlib.import_module("h2.config").H2Configuration(client_side=False)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agreed.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        connection = h2.H2Connection(setup)
        path = b""
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, events.RequestReceived):
                    path = dict(event.headers)[b":path"]
                if isinstance(event, events.StreamEnded):
                    api = "chat" if b"chat" in path else "messages" if b"messages" in path else "gemini"
                    head = [(":status", "200"), ("content-type", "text/event-stream")]
                    connection.send_headers(event.stream_id, head)
                    connection.send_data(event.stream_id, ANSWER[api], end_stream=True)
            writer.write(connection.data_to_send())
            await writer.drain()

    return serve


@pytest.mark.parametrize("api", list(APIS))
@pytest.mark.parametrize("proxied", [False, True])
async def test_http2(
    mutual: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, api: str, proxied: bool
) -> None:
    pytest.importorskip("h2")
    mutual.verify_mode = ssl.CERT_NONE
    mutual.set_alpn_protocols(["h2", "http/1.1"])
    agreed: list[str | None] = []
    monkeypatch.setenv("MESH_HTTP", "http2")
    with RawServer(spoken(agreed), mutual) as server, Proxy() as proxy:
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for _ in range(2):
            seen = await ask(api, server.url)
            assert seen.error is None
            assert words(seen.log) == WRITTEN[api].text
        assert agreed == ["h2"], "both requests went over one connection"
        assert len(proxy.targets) == proxied
        # What HTTP/2 says in its TLS context stays out of that of our own transport.
        monkeypatch.setenv("MESH_HTTP", "own")
        await ask(api, server.url)
        assert agreed[1:] in ([None], ["http/1.1"])
