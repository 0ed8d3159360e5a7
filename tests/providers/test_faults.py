"""What a run makes of every fault of a provider: one table for every API, over HTTP through the real SDKs.

A run fails with one error that says who, what and what next; what had arrived is kept; a request is sent
again only before its first event; nothing hangs; and the key is nowhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from pathlib import Path
from typing import Any

import pytest
from http_servers import Exchange, Server
from IPython.core.ultratb import VerboseTB
from provider_streams import WRITTEN, framed
from replayed import check_log, run_of, words
from stream_breaks import ERROR
from support import Replay, until

import mesh_nb as mesh
from mesh_nb.core.errors import (
    AuthenticationError,
    IncompleteStreamError,
    NodeExecutionError,
    ProviderError,
    RateLimitError,
    StreamTimeoutError,
)
from mesh_nb.core.events import encode
from mesh_nb.providers import _clients

KEY = "not-a-known-form-of-key-0123456789"
HEADERS = {"X-Gateway-Token": f"team {KEY}", "X-Team": "red"}
VENDORS = {"chat": "openai", "responses": "openai", "messages": "anthropic", "gemini": "gemini"}
APIS = pytest.mark.parametrize("api", list(VENDORS))


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def graph_of(api: str, url: str, model: str, **options: Any) -> Any:
    """Return a graph of one llm node that speaks an API to a server."""
    chosen = {"api": api} if VENDORS[api] == "openai" else {}
    base_url = f"{url}/v1" if VENDORS[api] == "openai" else url
    options = {"max_retries": 1, "api_key": KEY, **chosen, **options}
    graph = mesh.StateGraph()
    graph.add_node(
        "llm", None, node_type="llm", model=model, provider=VENDORS[api], base_url=base_url, **options
    )
    return graph.set_entry_point("llm").compile()


def failure(seen: Any, model: str = "synthetic") -> ProviderError:
    """Return the error of a run, which must say whom it was about and what to do."""
    check_log(seen)
    assert isinstance(seen.error, NodeExecutionError)
    error = seen.error.cause
    assert isinstance(error, ProviderError)
    told = str(seen.error)
    assert error.provider in VENDORS.values()
    assert error.model.startswith(model)
    assert f"{error.provider}/{error.model}" in told
    if error.status is not None:
        assert f"HTTP {error.status}" in told
    if error.request_id is not None:
        assert error.request_id in told
    assert error.hint
    assert error.hint in told
    [said] = [e for e in seen.log if e.type == "node_error"]
    assert str(error) in said.error
    return error


def waits(seen: Any) -> list[dict[str, Any]]:
    """What the reader was told about requests that were sent again."""
    return [
        e.content for e in seen.log if e.type == "custom_data" and e.metadata["data_type"] == "data-retry"
    ]


BREAKS = {
    "drop": ("drop_event=12", IncompleteStreamError, "connection broke"),
    "clean cut": ("cut_event=12", IncompleteStreamError, "ended before it was complete"),
    "stall": ("stall=60,stall_at=12", StreamTimeoutError, "Nothing arrived for 0.3 s"),
    "malformed chunk": ("malformed=12", ProviderError, "not JSON"),
    "API error": ("error=12", ProviderError, ""),
}


@APIS
@pytest.mark.parametrize("fault", list(BREAKS))
async def test_a_break_in_the_middle(replay: Replay, api: str, fault: str) -> None:
    options, kind, says = BREAKS[fault]
    limit = {"idle_timeout": 0.3} if fault == "stall" else {}
    seen = await run_of(graph_of(api, replay.url, f"synthetic-30@{options}", max_retries=3, **limit))
    error = failure(seen)
    assert type(error) is kind
    assert says in str(error)
    said = words(seen.log)
    assert said
    assert "".join(f"tok{i} " for i in range(30)).startswith(said)
    assert error.request_id in ("req_replay_1", "req_replay")
    assert (replay.stats["requests"], waits(seen)) == (1, []), (
        "an answer that had begun is not asked for again"
    )
    await until(lambda: replay.stats["active"] == 0)


@APIS
async def test_a_break_before_the_first_event_is_asked_again(replay: Replay, api: str) -> None:
    seen = await run_of(graph_of(api, replay.url, "synthetic-3@drop_event=0"))
    assert isinstance(failure(seen), IncompleteStreamError)
    assert (replay.stats["requests"], len(waits(seen))) == (2, 1)


@APIS
@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (403, AuthenticationError)])
async def test_a_key_that_is_refused(replay: Replay, api: str, status: int, kind: type) -> None:
    error = failure(await run_of(graph_of(api, replay.url, f"synthetic-3@fail=-1,status={status}")))
    assert type(error) is kind
    assert (error.status, error.request_id) == (status, "req_replay_1")
    assert "_API_KEY" in error.hint
    assert replay.stats["requests"] == 1


@APIS
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_passes_is_waited_for(replay: Replay, api: str, status: int) -> None:
    model = f"synthetic-3@fail=2,status={status},retry_after=0.05"
    seen = await run_of(graph_of(api, replay.url, model, max_retries=2))
    check_log(seen)
    assert seen.error is None
    assert words(seen.log) == "tok0 tok1 tok2 "
    told = [(w["attempt"], w["delay_s"], w["reason"]) for w in waits(seen)]
    assert told == [(1, 0.05, f"HTTP {status}"), (2, 0.05, f"HTTP {status}")]
    assert replay.stats["requests"] == 3


@APIS
@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitError), (500, ProviderError)])
async def test_what_does_not_pass_is_told(replay: Replay, api: str, status: int, kind: type) -> None:
    seen = await run_of(
        graph_of(api, replay.url, f"synthetic-3@fail=-1,status={status},retry_after=0.02", max_retries=2)
    )
    error = failure(seen)
    assert type(error) is kind
    assert (error.status, error.retry_after, error.request_id) == (status, 0.02, "req_replay_3")
    assert error.retryable
    assert (replay.stats["requests"], len(waits(seen))) == (3, 2)


@APIS
async def test_a_wait_of_an_hour_is_said_and_not_waited_for(replay: Replay, api: str) -> None:
    seen = await run_of(graph_of(api, replay.url, "synthetic-3@fail=-1,status=429,retry_after=3600"))
    error = failure(seen)
    assert error.retry_after == 3600
    assert (replay.stats["requests"], waits(seen)) == (1, [])


@APIS
async def test_nobody_listens(api: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        seen = await run_of(graph_of(api, url, "m"))
    error = failure(seen, "m")
    assert url in str(error)
    assert len(waits(seen)) == 1


@APIS
async def test_a_slow_first_byte_is_waited_for_as_long_as_allowed(replay: Replay, api: str) -> None:
    seen = await run_of(graph_of(api, replay.url, "synthetic-3@first=0.6"))
    check_log(seen)
    assert (seen.error, replay.stats["requests"]) == (None, 1)
    seen = await run_of(graph_of(api, replay.url, "synthetic-3@first=60", idle_timeout=0.3))
    assert isinstance(failure(seen), StreamTimeoutError)
    assert (replay.stats["requests"], len(waits(seen))) == (3, 1)
    await until(lambda: replay.stats["client_disconnects"] == 2)


@APIS
async def test_the_time_of_the_whole_call_is_up(replay: Replay, api: str) -> None:
    seen = await run_of(graph_of(api, replay.url, "synthetic-9999@delay=0.01", timeout=0.5))
    assert isinstance(failure(seen), StreamTimeoutError)
    assert replay.stats["requests"] == 1
    await until(lambda: replay.stats["client_disconnects"] == 1)


@APIS
async def test_a_server_that_drips_is_left_when_the_time_is_up(api: str) -> None:
    async def drip(x: Exchange) -> None:
        await x.start(b"content-type: text/event-stream\r\n")
        while True:
            await x.chunk(b":")
            await asyncio.sleep(0.02)

    with Server(drip) as server:
        seen = await run_of(graph_of(api, server.url, "m", timeout=0.5, max_retries=0))
        assert isinstance(failure(seen, "m"), StreamTimeoutError)


# ---- a server that knows the key and says it wherever it can
async def _refuse(x: Exchange, api: str, status: bytes) -> None:
    said = {
        "error": {
            "message": f"Bad key {KEY}!",
            "type": KEY,
            "code": KEY,
            "details": [{"reason": KEY, KEY: KEY}],
        }
    }
    head = b"content-type: application/json\r\nx-request-id: id-%b\r\nretry-after: 0\r\n" % KEY.encode()
    await x.answer(json.dumps(said).encode(), head, status)


async def _begin(x: Exchange, api: str) -> None:
    await x.start(b"content-type: text/event-stream\r\nx-request-id: id-%b\r\n" % KEY.encode())
    for chunk in WRITTEN[api].mixed(())[:3]:
        await x.chunk(framed(chunk))


async def _end(x: Exchange, body: bytes) -> None:
    await x.chunk(body)
    await x.send(b"0\r\n\r\n")


async def _error(x: Exchange, api: str) -> None:
    await _begin(x, api)
    told = json.loads(json.dumps(ERROR[api]).replace("boom", f"Bad key {KEY}!"))
    await _end(x, framed(told))


async def _malformed(x: Exchange, api: str) -> None:
    await _begin(x, api)
    await _end(x, b'data: {"key": "%b\n\n' % KEY.encode())


async def _loose(x: Exchange, api: str) -> None:
    await _begin(x, api)
    await _end(x, b"<html>Bad key %b</html>\n\n" % KEY.encode())


async def _reset(x: Exchange, api: str) -> None:
    await _begin(x, api)
    x.reset()


async def _page(x: Exchange, api: str) -> None:
    await x.answer(
        b"<html>Bad key %b</html>" % KEY.encode(), b"content-type: text/html\r\n", b"502 " + KEY.encode()
    )


TELLING: dict[str, Any] = {
    "401": lambda x, api: _refuse(x, api, b"401 " + KEY.encode()),
    "400": lambda x, api: _refuse(x, api, b"400 Bad Request"),
    "429": lambda x, api: _refuse(x, api, b"429 Too Many Requests"),
    "500": lambda x, api: _refuse(x, api, b"500 Oops"),
    "a page": _page,
    "API error": _error,
    "malformed chunk": _malformed,
    "text instead of events": _loose,
    "reset": _reset,
}


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


def _behind(error: BaseException) -> list[BaseException]:
    """What an error was raised from, and while handling what."""
    found: list[BaseException] = []
    for other in (error.__cause__, error.__context__):
        if other is not None:
            found += [other, *_behind(other)]
    return found


def _tracebacks(error: BaseException) -> list[str]:
    """An error's traceback as Python prints it, with the variables of its frames, and in %xmode Verbose."""
    shown = VerboseTB(theme_name="nocolor").text(type(error), error, error.__traceback__)
    told = ["".join(traceback.format_exception(error)), shown]
    for link in (error, *_behind(error)):
        whole = traceback.TracebackException.from_exception(link, capture_locals=True)
        told.append("".join(whole.format()))
    return [line for text in told for line in text.splitlines()]


@APIS
@pytest.mark.parametrize("fault", list(TELLING))
async def test_the_key_is_nowhere(
    api: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    async def answer(x: Exchange) -> None:
        sent = " ".join(x.headers.values())
        assert KEY in sent
        await TELLING[fault](x, api)

    with Server(answer) as server:
        graph = graph_of(api, server.url, "m", extra={"user": "u"}, extra_headers=HEADERS)
        backend = mesh.FileBackend(tmp_path)
        execution = mesh.Executor(graph, backend).start("hi", run_id="r")
        raised: BaseException | None = None
        told: list[str] = [repr(graph), repr(execution)]
        try:
            async for event in execution.events():
                told += [repr(event), encode(event).decode()]
        except NodeExecutionError as error:
            raised = error
    assert isinstance(raised, NodeExecutionError)
    cause = raised.cause
    assert isinstance(cause, ProviderError)
    for error in (raised, cause, *_behind(cause)):
        told += [repr(error), str(error), repr(vars(error)), *_tracebacks(error)]
    # The libraries below log what a server says as it says it.
    told += [record.getMessage() for record in caplog.records if record.name.startswith("mesh_nb")]
    told += [*capfd.readouterr(), repr(vars(_clients)["_homes"])]
    files = contents(tmp_path)
    assert files
    assert [line for line in told if KEY in line] == []
    assert not any(KEY.encode() in data for data in files)
    assert cause.provider == VENDORS[api]
    if fault in ("401", "400", "429", "500", "a page"):
        assert str(cause.status) in (fault, "502")


@APIS
async def test_the_key_is_in_no_log_of_the_libraries_below(
    api: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("", "openai", "anthropic", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, name)

    async def answer(x: Exchange) -> None:
        assert x.headers["x-gateway-token"] == f"team {KEY}"
        assert x.headers["x-team"] == "red"
        if x.number == 0:
            await x.answer(b"{}", status=b"500 Oops")
            return
        await x.start(b"content-type: text/event-stream\r\n")
        for chunk in WRITTEN[api].mixed(()):
            await x.chunk(framed(chunk))
        await x.send(b"0\r\n\r\n")

    with Server(answer) as server:
        graph = graph_of(api, server.url, "m", extra_headers=HEADERS, max_retries=1)
        assert (await run_of(graph)).error is None
    assert caplog.records
    assert [line for line in caplog.messages if KEY in line] == []
