"""The shared SDK clients, with the real SDKs against a real server."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from typing import Any

import pytest
from http_servers import Exchange, Server

from mesh_nb.core.errors import ConfigurationError
from mesh_nb.providers import _clients, _sockets

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 9}


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "MESH_HTTP"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    _clients.preload("openai")


async def answer(x: Exchange) -> None:
    if "429" in x.path:
        await x.answer(b'{"error":{"message":"slow down"}}', status=b"429 Slow")
    elif "silent" in x.path:
        await x.client_gone()
    else:
        await x.start(b"content-type: text/event-stream\r\n")
        await x.chunk(b"data: one\n\n")
        if "forever" in x.path:
            await x.client_gone()
        else:
            await x.send(b"0\r\n\r\n")


async def read(client: Any, seconds: float = 30.0) -> bytes:
    timeout = _clients.timeout(read=seconds)
    streaming = (
        client.chat.completions.with_streaming_response.create(**CHAT, timeout=timeout)
        if hasattr(client, "chat")
        else client.messages.with_streaming_response.create(**MESSAGES, timeout=timeout)
    )
    async with streaming as response:
        return b"".join([part async for part in response.iter_bytes()])


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_a_client_streams_and_keeps_its_connection(sdk: Any) -> None:
    await _clients.ensure_imported(sdk)
    with Server(answer) as server:
        client = _clients.client(sdk, base_url=server.url, api_key="sk-test")
        for _ in range(3):
            assert await read(client) == b"data: one\n\n"
        assert server.connections == 1
        assert "sk-test" in server.requests[0].headers["authorization"]
        assert client.max_retries == 0
        await _clients.aclose_all()
        await server.until(lambda: "closed" in server.notes)


async def test_one_client_for_each_endpoint_key_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(**options: Any) -> Any:
        return _clients.client("openai", **{"base_url": "http://localhost:1", "api_key": "a", **options})

    assert make() is make()
    assert len({id(c) for c in (make(), make(api_key="b"), make(base_url="http://localhost:2"))}) == 3
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    before = make(api_key=None, base_url=None)
    assert before is make(api_key=None, base_url=None)
    monkeypatch.setenv("OPENAI_API_KEY", "k2")
    after = make(api_key=None, base_url=None)
    assert (after is before, after.api_key) == (False, "k2")
    await _clients.aclose_all()
    assert after.is_closed()
    assert make() is not after


async def test_no_client_has_the_sdks_default_http_client() -> None:
    client = _clients.client("openai", base_url="http://localhost:1", api_key="a")
    assert not hasattr(client._client, "__del__")
    assert "a" not in repr(_clients._homes).split()
    await _clients.aclose_all()


async def test_errors_keep_the_sdks_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sockets, "TICK", 0.02)
    openai = _clients.module("openai")
    with Server(answer) as server:
        with pytest.raises(openai.RateLimitError):
            await read(_clients.client("openai", base_url=server.url + "/429", api_key="k"))
        with pytest.raises(openai.APITimeoutError):
            await read(_clients.client("openai", base_url=server.url + "/silent", api_key="k"), 0.05)
        assert len(server.requests) == 2
        url = server.url
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(_clients.client("openai", base_url=url, api_key="k"))
    assert not isinstance(caught.value, openai.APITimeoutError)
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(_clients.client("openai", base_url=url, api_key="sk-secret\n"))
    assert "secret" not in str(caught.value.__cause__)
    await _clients.aclose_all()


def test_clients_are_closed_with_their_loop() -> None:
    async def use(url: str) -> Any:
        client = _clients.client("openai", base_url=url, api_key="k")
        await read(client)
        return client

    open_before = set(_clients._homes)
    with Server(answer) as server:
        first = asyncio.run(use(server.url))
        assert first.is_closed()
        assert asyncio.run(use(server.url)) is not first
        asyncio.run(server.until(lambda: server.notes.count("closed") == 2))
    assert set(_clients._homes) <= open_before


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_loop_that_was_closed_without_notice_is_forgotten() -> None:
    async def use(url: str) -> None:
        await read(_clients.client("openai", base_url=url, api_key="k"))

    with Server(answer) as server:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use(server.url))
        loop.close()
        asyncio.run(use(server.url))
    assert loop not in _clients._homes
    del loop
    gc.collect()  # the warning is this test's, not that of whoever comes next


async def test_another_loop_closes_its_own_clients() -> None:
    started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    here, stop = asyncio.get_running_loop(), asyncio.Event()

    async def other() -> None:
        client = _clients.client("openai", base_url="http://localhost:1", api_key="k")
        here.call_soon_threadsafe(started.set_result, (asyncio.get_running_loop(), client))
        await stop.wait()

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, other()))
    loop, client = await started
    assert client is not _clients.client("openai", base_url="http://localhost:1", api_key="k")
    await _clients.aclose_all(loop)
    assert client.is_closed()
    loop.call_soon_threadsafe(stop.set)
    await thread
    await _clients.aclose_all()


async def test_a_client_let_go_finishes_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clients, "MAX_CLIENTS", 2)
    with Server(answer) as server:
        client = _clients.client("openai", base_url=server.url + "/forever", api_key="k")
        async with client.chat.completions.with_streaming_response.create(**CHAT) as response:
            parts = response.iter_bytes()
            assert await anext(parts) == b"data: one\n\n"
            for key in "abc":
                _clients.client("openai", base_url=server.url, api_key=key)
            assert _clients.client("openai", base_url=server.url + "/forever", api_key="k") is not client
            assert "gone" not in server.notes
            await parts.aclose()
        await server.until(lambda: "gone" in server.notes)
        await client.close()
        await _clients.aclose_all()


async def test_a_setting_chooses_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(answer) as server:
        monkeypatch.setenv("MESH_HTTP", "httpx2")
        client = _clients.client("openai", base_url=server.url, api_key="k")
        assert await read(client) == b"data: one\n\n"
        assert "ProxiedTransport" in repr(client._client._transport)
    with pytest.raises(ConfigurationError, match="proxy is not the URL"):
        _clients.client("openai", base_url=server.url, api_key="k", proxy="ftp://h")
    await _clients.aclose_all()


FRESH = """
import asyncio, json, sys, threading
from mesh_nb.providers import _clients
heavy = {"openai", "anthropic", "httpx2", "httptools"} & set(sys.modules)

async def main():
    try:
        _clients.client("openai", base_url="http://localhost:1", api_key="k")
        strict = False
    except RuntimeError:
        strict = True
    threads = [threading.Thread(target=_clients.preload, args=("openai",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    importing = asyncio.create_task(_clients.ensure_imported("openai"))
    turns = 0
    while not importing.done():
        turns += 1
        await asyncio.sleep(0)
    for thread in threads:
        thread.join()
    before = set(sys.modules)
    client = _clients.client("openai", base_url="http://localhost:1", api_key="k")
    client.chat.completions.with_streaming_response, client.responses.with_streaming_response
    late = [name for name in set(sys.modules) - before if name.startswith(("openai", "httpx2", "httpcore2"))]
    print(json.dumps({"heavy": sorted(heavy), "strict": strict, "turns": turns, "late": late}))

asyncio.run(main())
"""


def test_imports_wait_for_need_and_leave_the_loop_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, timeout=120
    )
    seen = json.loads(done.stdout)
    assert seen.pop("turns") > 10
    assert seen == {"heavy": [], "strict": True, "late": []}
