"""What users' code may do to a run: odd exceptions, values that no JSON can hold, code that exits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.core.events import EventType, ExecutionEvent, dumps, encode, loads
from mesh_nb.core.tools import Tool


class Mute(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Outside(BaseException):
    pass


ODD = [SystemExit(3), KeyboardInterrupt(), StopIteration(1), StopAsyncIteration(), Outside("o"), Mute()]


def raising(error: BaseException) -> list[Callable[..., Any]]:
    def sync(input: Any) -> None:
        raise error

    async def on_loop(input: Any) -> None:
        raise error

    return [sync, on_loop]


def single(node: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("n", node).set_entry_point("n")


@pytest.mark.parametrize("error", ODD, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", [0, 1], ids=["thread", "loop"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])
def test_whatever_a_function_raises_fails_its_node_and_no_other_run(
    error: BaseException, where: int, beside: bool
) -> None:
    graph = single(raising(error)[where])
    if beside:
        graph.add_node("other", lambda input: 1).add_edge("START", "other")
    with pytest.raises(mesh.NodeExecutionError) as caught:
        graph.run_sync("x", backend=mesh.MemoryBackend())
    run = caught.value.run
    assert run.status == "failed"
    assert [e.type for e in run.events].count(EventType.NODE_ERROR) == 1
    assert [e.seq for e in run.events] == list(range(len(run.events)))
    assert "\n" not in str(caught.value)
    assert single(lambda input: 1).run_sync("x", backend=mesh.MemoryBackend()).status == "completed"


def test_a_generator_that_exits_fails_its_node_with_what_it_said() -> None:
    def speaks() -> Any:
        yield "so far"
        raise SystemExit(1)

    with pytest.raises(mesh.NodeExecutionError, match="SystemExit") as caught:
        single(speaks).run_sync("x", backend=mesh.MemoryBackend())
    assert caught.value.run.text == "so far"


def test_a_node_of_ones_own_that_exits_ends_its_run_only() -> None:
    class Exits(mesh.BaseNode):
        async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
            yield ExecutionEvent(EventType.TOKEN, content="so far")
            raise SystemExit(3)

    with pytest.raises(mesh.MeshError, match="SystemExit"):
        single(Exits).run_sync("x", backend=mesh.MemoryBackend())
    assert single(lambda input: 1).run_sync("x", backend=mesh.MemoryBackend()).status == "completed"


async def test_a_tool_of_a_model_that_exits_is_an_error_that_the_model_reads() -> None:
    def leave() -> None:
        raise SystemExit("bye")

    with pytest.raises(mesh.MeshError, match="leave raised SystemExit: bye"):
        await Tool.from_function(leave).call({})


async def test_an_own_node_may_yield_text_events_and_its_output() -> None:
    class Speaks(mesh.BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            yield "Hello "
            yield ExecutionEvent(EventType.CUSTOM_DATA, content=1, metadata={"data_type": "data-x"})
            yield "world"

    run = await single(Speaks).run("x", backend=mesh.MemoryBackend())
    assert run.text == "Hello world"
    assert [str(e.type) for e in run.events if e.node_id == "n"] == [
        "node_start",
        "message_start",
        "token",
        "custom_data",
        "token",
        "message_complete",
        "node_complete",
    ]


async def test_an_own_node_that_yields_is_closed_when_its_reader_leaves() -> None:
    closed = asyncio.Event()

    class Speaks(mesh.BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            try:
                yield "first"
                await asyncio.Event().wait()
            finally:
                closed.set()

    run = single(Speaks).run("x", backend=mesh.MemoryBackend())
    async for event in run:
        if event.type == EventType.TOKEN:
            run.cancel()
    assert closed.is_set()
    assert run.status == "cancelled"
    starts = [e for e in run.events if e.type == EventType.MESSAGE_START]
    ends = [e for e in run.events if e.type == EventType.MESSAGE_COMPLETE]
    assert len(starts) == len(ends) == 1


def _twice() -> list[Any]:
    """A list that holds itself twice: unfolded to a depth of n it has 2**n parts."""
    own: list[Any] = []
    own += [own, own]
    return own


class _Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_json_that_is_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        loads(b"[" * 100_000)


def test_one_damaged_log_hides_no_other_run(tmp_path: Path) -> None:
    backend = mesh.FileBackend(tmp_path)
    run = single(lambda input: 1).run_sync("x", backend=backend)
    logs = tmp_path / ".mesh" / "runs"
    (logs / "deep.jsonl").write_bytes(b"[" * 100_000)
    (logs / "empty.jsonl").touch()
    (logs / "folder.jsonl").mkdir()
    (logs / "link.jsonl").symlink_to(tmp_path / "nowhere")
    assert [found.id for found in mesh.runs(backend=backend)] == ["empty", "deep", run.id]
    assert len(mesh.calls_df(tmp_path)) == 0
    assert mesh.Run.load("deep", backend).status == "interrupted"


@pytest.mark.parametrize(
    "value",
    [_twice(), {"x": _twice()}, 10**5000, _Unprintable(), Mute(), {"a": {1: _Unprintable()}}],
    ids=["cycle", "cycle in a dict", "integer", "repr", "exception", "nested"],
)
def test_every_value_becomes_json(value: Any) -> None:
    json.loads(dumps(value))
    json.loads(encode(ExecutionEvent(EventType.NODE_COMPLETE, output=value)))


@pytest.mark.parametrize("backend", ["memory", "file", "sqlite"])
async def test_an_input_that_holds_itself_or_is_nested_deeply_runs(backend: str, tmp_path: Path) -> None:
    around: dict[str, Any] = {"a": 1}
    around["around"] = around
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    stores = {"memory": mesh.MemoryBackend, "file": lambda: mesh.FileBackend(tmp_path)}
    stores["sqlite"] = lambda: mesh.SQLiteBackend(tmp_path / "runs.sqlite")
    for given in (around, deep):
        store = stores[backend]()
        run = await single(lambda input: {"content": "ok"}).run(given, backend=store)
        assert (run.text, run.problems) == ("ok", [])
        assert mesh.Run.load(run.id, store).text == "ok"
