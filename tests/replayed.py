"""Runs whose providers have no network: real nodes and translators read a list; what a log must be."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from typing import Any, ClassVar

import httpx2

import mesh_nb as mesh
from mesh_nb.core import plugins
from mesh_nb.core.errors import NodeExecutionError
from mesh_nb.core.events import ExecutionEvent, encode
from mesh_nb.providers import (
    _anthropic_translate,
    _chat_translate,
    _gemini_translate,
    _responses_translate,
    _stream,
)
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers._failures import Target

TRANSLATORS: dict[str, Any] = {
    "chat": _chat_translate.Translator,
    "responses": _responses_translate.Translator,
    "messages": _anthropic_translate.Translator,
    "gemini": _gemini_translate.Translator,
}

Step = bytes | Exception | int


class Replayed:
    """A provider of a given API whose connection is `script`: bytes, turns of the loop to wait, or a failure.

    What is around the connection is the product's own: sending, reading, translating, closing. `scripts` has
    one for each model name.
    """

    vendor = api = "replayed"
    prefixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, scripts: dict[str, tuple[str, list[Step]]]) -> None:
        self.scripts, self.open = scripts, 0

    def preload(self) -> None: ...
    def check(self, call: ModelCall) -> None: ...

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        api, script = self.scripts[call.model]
        target = Target("replayed", call.model, "http://replayed", "NO_KEY", 90.0)

        def translate(call_id: str) -> Any:
            return TRANSLATORS[api](call_id=call_id, model=call.model)

        async def send() -> Any:
            return self._reply(script)

        return _stream.stream(call, _stream.Exchange(target, {}, send, translate))

    @contextlib.asynccontextmanager
    async def _reply(self, script: list[Step]) -> AsyncGenerator[Any, None]:
        self.open += 1
        try:
            yield _Reply(script)
        finally:
            self.open -= 1


class _Reply:
    def __init__(self, script: list[Step]) -> None:
        self._script = script

    async def iter_bytes(self) -> AsyncGenerator[bytes, None]:
        for step in self._script:
            if isinstance(step, bytes):
                yield step
            elif isinstance(step, int):
                for _ in range(step):
                    await asyncio.sleep(0)
            else:
                raise step


@contextlib.contextmanager
def replaying(scripts: dict[str, tuple[str, list[Step]]]) -> Generator[Replayed]:
    """Register a `Replayed` as provider "replayed" for as long as the context is open."""
    provider = plugins.register("provider", "replayed")(Replayed(scripts))
    try:
        yield provider
    finally:
        plugins._registered.pop(("provider", "replayed"), None)


def graph_of(*models: str, **options: Any) -> Any:
    """Return a compiled graph of one llm node for each model, side by side when there are several."""
    graph = mesh.StateGraph("replayed")
    for model in models:
        graph.add_node(
            model,
            None,
            node_type="llm",
            model=model,
            provider="replayed",
            max_retries=0,
            max_steps=1,
            **options,
        )
    if len(models) == 1:
        return graph.set_entry_point(models[0]).compile()
    graph.add_node("fork", lambda input: input)
    graph.set_entry_point("fork").add_parallel_edges("fork", list(models))
    return graph.compile()


def dropped() -> Exception:
    """Return what our transport raises when a connection breaks."""
    return httpx2.ReadError("The connection broke.")


@dataclasses.dataclass
class Seen:
    """A run: what the consumer got, what the log has, how it ended."""

    got: list[ExecutionEvent]
    log: list[ExecutionEvent]
    error: BaseException | None
    left: bool = False


async def run_of(graph: Any, leave: Callable[[list[ExecutionEvent]], bool] | None = None) -> Seen:
    """Run a graph to its end, or until `leave` says to close it."""
    backend = mesh.MemoryBackend()
    execution = mesh.Executor(graph, backend).start("hi", run_id="r")
    got: list[ExecutionEvent] = []
    error: BaseException | None = None
    left = False
    try:
        async with contextlib.aclosing(execution.events()) as events:
            async for event in events:
                got.append(event)
                if leave is not None and leave(got):
                    left = True
                    break
    except NodeExecutionError as raised:
        error = raised
    return Seen(got, backend.load("r").events, error, left)


# ---- what must hold
_PAIRS = {
    "model_call_start": ("response_metadata", "call_id"),
    "message_start": ("message_complete", None),
    "reasoning_start": ("reasoning_end", "block_id"),
    "tool_call_start": ("tool_call_complete", "tool_call_id"),
    "step_start": ("step_complete", "step_index"),
}
_ENDS = {end: (start, field) for start, (end, field) in _PAIRS.items()}


def words(events: Iterable[ExecutionEvent], kind: str = "token") -> str:
    """Return the words of all deltas of a kind."""
    return "".join(e.content for e in events if e.type == kind)


def check_log(seen: Seen) -> None:
    """Assert the grammar of a whole run: order, balance, one response_metadata a call, and a readable log."""
    log = seen.log
    assert [e.seq for e in log] == list(range(len(log)))
    assert log[: len(seen.got)] == seen.got
    assert log[0].type == "execution_start"
    assert log[-1].type in ("execution_complete", "execution_error")
    count = Counter(str(e.type) for e in log)
    assert count["execution_complete"] + count["execution_error"] == 1
    assert bool(count["node_error"]) == (seen.error is not None) or seen.left
    for node in {e.node_id for e in log} - {"START"}:
        mine = [e for e in log if e.node_id == node]
        check_node(mine)
        kinds = [str(e.type) for e in mine]
        assert kinds.count("node_start") == 1
        assert kinds.count("node_error") + kinds.count("node_complete") <= 1
    for event in log:
        encode(event)


def check_node(events: list[ExecutionEvent]) -> None:
    """Assert the grammar of one node."""
    opened: dict[str, list[Any]] = {start: [] for start in _PAIRS}
    calls: list[str] = []
    for e in events:
        kind = str(e.type)
        if kind in _PAIRS:
            field = _PAIRS[kind][1]
            opened[kind].append(e.metadata[field] if field else None)
            if kind == "model_call_start":
                assert len(opened[kind]) == 1
                calls.append(e.metadata["call_id"])
        elif kind in _ENDS:
            start, field = _ENDS[kind]
            opened[start].remove(e.metadata[field] if field else None)
        if kind == "response_metadata":
            assert not opened["message_start"]
            assert not opened["reasoning_start"]
            assert e.metadata["model_id"] is not None
            assert isinstance(e.metadata["usage"], dict)
        elif kind == "token":
            assert opened["message_start"]
            assert not opened["reasoning_start"]
        elif kind == "reasoning_token":
            assert opened["reasoning_start"] == [e.metadata["block_id"]]
        elif kind == "tool_call_delta":
            assert e.metadata["tool_call_id"] in opened["tool_call_start"]
        if kind in ("token", "reasoning_token", "tool_call_delta"):
            assert opened["model_call_start"]
            assert e.content
    assert not any(opened.values()), opened
    assert len(set(calls)) == len(calls)
