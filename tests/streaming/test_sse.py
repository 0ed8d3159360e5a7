"""Events over real HTTP: a uvicorn server in a thread, an HTTP client here."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from run_doubles import Speaker, forever, graph_of
from starlette.middleware.base import BaseHTTPMiddleware

from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.executor import Executor
from mesh_nb.core.node import BaseNode
from mesh_nb.streaming import SSEAdapter


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free port until the block is left."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # a client that comes before uvicorn does waits instead of being refused
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def app_of(*nodes: BaseNode, run: bool = False, middleware: bool = False) -> FastAPI:
    app = FastAPI()
    executor = Executor(graph_of(*nodes))
    context = ExecutionContext(graph_id="g", session_id="s")

    @app.post("/execute/stream")
    async def stream_execute(request: dict[str, Any]) -> Any:
        adapter = SSEAdapter()
        if run:
            return adapter.to_streaming_response(graph_of(*nodes).run(request["input"]))
        return adapter.to_streaming_response(executor.execute(request["input"], context))

    if middleware:

        async def passes(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=passes)
    return app


def frames(body: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    assert body.endswith("\n\n")
    for block in body.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        found.append((name[7:], json.loads(data[6:])))
    return found


def post(app: Any) -> tuple[httpx2.Response, list[tuple[str, dict[str, Any]]]]:
    with serving(app) as url, httpx2.Client() as client:
        answer = client.post(f"{url}/execute/stream", json={"input": "hi"})
        return answer, frames(answer.text)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))


@pytest.mark.parametrize("run", [False, True])
def test_a_run_over_http(run: bool) -> None:
    answer, found = post(app_of(Speaker(), run=run))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert all(name == data["type"] for name, data in found)
    assert found[0][0] == "execution_start"
    assert found[0][1]["node_id"] == "START"
    assert "".join(d["content"] for n, d in found if n == "token") == "Hello world"
    assert found[-1][0] == "execution_complete"
    assert found[-1][1]["output"] == {"content": "Hello world"}


def test_frames_are_the_documented_bytes() -> None:
    event = ExecutionEvent(EventType.TOKEN, "llm", "a\nb\u2028", run_id="r", seq=3)
    frame = SSEAdapter().format_event(event)
    head, data, *rest = frame.split("\n")
    assert head == "event: token"
    assert json.loads(data.removeprefix("data: ")) == event.to_dict()
    assert rest == ["", ""]
    assert SSEAdapter("message").format_event(event).startswith("event: message\n")
    odd: Any = "x\nevent: fake\r"
    assert SSEAdapter().format_event(ExecutionEvent(odd)).split("\n")[0] == "event: x event: fake "


@pytest.mark.parametrize("run", [False, True])
def test_a_failure_ends_the_body_cleanly(run: bool) -> None:
    answer, found = post(app_of(Speaker(fails=ValueError("no")), run=run))
    assert answer.status_code == 200
    names = [name for name, _ in found]
    assert names.count("node_error") == 1
    assert names[-1] == "execution_error"
    assert names.count("execution_error") == 1
    assert "no" in next(d for n, d in found if n == "node_error")["error"]
    assert "".join(d["content"] for n, d in found if n == "token") == "Hello world"


def test_a_stream_that_breaks_without_an_ending_is_given_one(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> Any:
        yield ExecutionEvent(EventType.TOKEN, content="x", seq=4, run_id="r")
        raise RuntimeError("lost")

    app = FastAPI()

    @app.post("/execute/stream")
    async def stream() -> Any:
        return SSEAdapter().to_streaming_response(broken())

    _, found = post(app)
    assert [n for n, _ in found] == ["token", "execution_error"]
    assert found[1][1]["error"] == "RuntimeError: lost"
    assert found[1][1]["seq"] == 5
    assert "lost" in caplog.text


def test_outputs_that_are_no_json_do_not_end_it() -> None:
    class Odd(BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            loop = [1]
            loop.append(loop)  # type: ignore[arg-type]
            return {
                "set": {1},
                "bytes": b"x",
                "object": object(),
                "loop": loop,
                5: "\ud800",
                "nan": float("nan"),
            }

    _, found = post(app_of(Odd("odd")))
    assert found[-1][0] == "execution_complete"
    assert found[-1][1]["output"]["set"] == [1]


def test_frames_leave_as_they_are_made() -> None:
    released = threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(released.wait)

    with (
        serving(app_of(Speaker(wait=wait))) as url,
        httpx2.Client() as client,
        client.stream("POST", f"{url}/execute/stream", json={"input": "hi"}) as answer,
    ):
        text = ""
        for part in answer.iter_text():
            text += part
            if text.count("event: token") == 3 and not released.is_set():
                assert "node_complete" not in text
                released.set()
    assert released.is_set()
    assert frames(text)[-1][0] == "execution_complete"


class Closing(Speaker):
    """Sets `left` in the thread of the server when its generator is left."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.left = threading.Event()

    async def run(self, input: Any, context: Any) -> Any:
        try:
            async for event in super().run(input, context):
                yield event
        finally:
            self.left.set()


@pytest.mark.parametrize("run", [False, True])
@pytest.mark.parametrize("middleware", [False, True])
def test_a_client_that_leaves_a_silent_run_ends_it(run: bool, middleware: bool) -> None:
    node = Closing(wait=forever)
    with serving(app_of(node, run=run, middleware=middleware)) as url, httpx2.Client() as client:
        with client.stream("POST", f"{url}/execute/stream", json={"input": "hi"}) as answer:
            text = ""
            for part in answer.iter_text():
                text += part
                if text.count("event: token") == 3:
                    break
        assert node.left.wait(30)
    assert node.closed


def test_a_client_that_leaves_a_busy_run_ends_it() -> None:
    async def pause() -> None:
        await asyncio.sleep(0)

    class Endless(Closing):
        async def run(self, input: Any, context: Any) -> Any:
            try:
                while True:
                    yield ExecutionEvent(EventType.TOKEN, content="x" * 1000)
                    await pause()
            finally:
                self.left.set()

    node = Endless()
    with serving(app_of(node)) as url, httpx2.Client() as client:
        with client.stream("POST", f"{url}/execute/stream", json={"input": "hi"}) as answer:
            next(answer.iter_raw())
        assert node.left.wait(30)


async def test_leaving_the_generator_cancels_a_run() -> None:
    node = Speaker(wait=forever)
    run = graph_of(node).run("hi")
    generator = SSEAdapter().event_generator(run)
    async for frame in generator:
        if b"token" in frame:
            break
    await generator.aclose()  # type: ignore[attr-defined]
    assert run.status == "cancelled"
    assert node.closed
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_two_requests_with_one_context_both_work() -> None:
    with serving(app_of(Speaker())) as url, httpx2.Client() as client:
        answers = [client.post(f"{url}/execute/stream", json={"input": "hi"}) for _ in range(2)]
    assert [frames(a.text)[-1][0] for a in answers] == ["execution_complete"] * 2


def test_without_starlette_the_error_names_the_extra() -> None:
    code = """
import sys
sys.modules["starlette"] = sys.modules["starlette.responses"] = sys.modules["starlette.types"] = None
from mesh_nb.streaming import SSEAdapter
from mesh_nb.core.errors import ConfigurationError
try:
    SSEAdapter().to_streaming_response(None)
except ConfigurationError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "mesh_nb[server]" in told


def test_the_adapter_needs_no_starlette_until_it_answers() -> None:
    code = "import sys, mesh_nb.streaming as s; s.SSEAdapter(); assert 'starlette' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
