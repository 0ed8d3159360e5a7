"""How long a node and a run may take, and what is kept when the time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.core.errors import InputError, UnknownNameError

SHORT = 0.05
"""Seconds that a test waits for a timeout; what it ends would go on for ever."""


async def forever() -> None:
    await asyncio.Event().wait()


def chain(**nodes: Any) -> mesh.StateGraph:
    graph = mesh.StateGraph()
    for node_id, (thing, options) in nodes.items():
        graph.add_node(node_id, thing, **options)
    return graph.chain("START", *nodes)


def kinds(events: list[mesh.ExecutionEvent]) -> list[str]:
    return [str(event.type) for event in events]


async def read(
    events: AsyncIterator[mesh.ExecutionEvent], seen: list[mesh.ExecutionEvent], slow: float = 0
) -> None:
    async for event in events:
        seen.append(event)
        await asyncio.sleep(slow if event.type == "node_complete" else 0)


class Endless(mesh.BaseNode):
    """Speaks, then waits for ever; `closed` counts how often it was left."""

    closed = 0

    async def execute(self, input: Any, context: mesh.ExecutionContext) -> Any:
        try:
            yield "so far"
            await forever()
        finally:
            self.closed += 1


async def ended(graph: mesh.StateGraph, error: type[Exception], **options: Any) -> mesh.Run:
    """Run a graph that must end by this error, and return the run."""
    run = graph.run("q", backend=mesh.MemoryBackend(), display=False, **options)
    with pytest.raises(error) as caught:
        await run
    assert caught.value.run is run  # type: ignore[attr-defined]
    return run


async def test_a_node_that_takes_too_long_fails_and_what_it_said_is_kept() -> None:
    node = Endless("slow")
    graph = mesh.StateGraph().add_node("slow", node, node_timeout=SHORT).set_entry_point("slow")
    run = await ended(graph, mesh.NodeExecutionError)
    assert run.exception is not None
    assert isinstance(run.exception.cause, mesh.NodeTimeoutError)  # type: ignore[attr-defined]
    assert isinstance(run.exception.cause, TimeoutError)  # type: ignore[attr-defined]
    assert (run.status, run.text, node.closed) == ("failed", "so far", 1)
    assert run.error == "Node 'slow' failed: it took longer than its node_timeout of 0.05 s."
    assert kinds(run.events)[-3:] == ["message_complete", "node_error", "execution_error"]


async def test_each_attempt_has_the_whole_time() -> None:
    retry = {"retry": {"max_retries": 2, "delay": 0}}
    run = await ended(
        chain(slow=(forever, {"node_timeout": SHORT, "config": retry})), mesh.NodeExecutionError
    )
    assert kinds(run.events).count("node_retry") == 2
    assert kinds(run.events).count("node_error") == 1


async def test_a_node_that_never_waits_is_stopped_at_its_next_event() -> None:
    class Busy(mesh.BaseNode):
        async def execute(self, input: Any, context: mesh.ExecutionContext) -> Any:
            while True:
                time.sleep(SHORT / 10)  # noqa: ASYNC251  such a node is what this is about
                yield "word "

    graph = mesh.StateGraph().add_node("busy", Busy, node_timeout=SHORT).set_entry_point("busy")
    run = await ended(graph, mesh.NodeExecutionError)
    assert "node_timeout" in str(run.error)


async def test_a_nodes_own_timeout_error_is_its_own() -> None:
    async def fails() -> None:
        raise TimeoutError("mine")

    run = await ended(chain(a=(fails, {"node_timeout": 60})), mesh.NodeExecutionError)
    assert run.error == "Node 'a' failed: TimeoutError: mine"


async def test_the_time_that_a_person_takes_does_not_count_for_a_node() -> None:
    class Asks(mesh.BaseNode):
        async def run(self, input: Any, context: mesh.ExecutionContext) -> AsyncIterator[mesh.ExecutionEvent]:
            question = context.ask("approval", "Go on?")
            yield question.event
            answer = await question.answer()
            yield question.resolution
            answer.require()
            yield mesh.ExecutionEvent(mesh.EventType.NODE_COMPLETE, output={"content": "asked"})

    graph = mesh.StateGraph().add_node("asks", Asks, node_timeout=SHORT).set_entry_point("asks")
    run = graph.run("q", backend=mesh.MemoryBackend(), display=False, on_no_answer="wait")
    async for event in run:
        if event.type == "interrupt":
            await asyncio.sleep(2 * SHORT)
            run.approve()
    assert (await run).text == "asked"


async def test_nodes_inside_nodes_have_their_own_time() -> None:
    inner = chain(slow=(forever, {"node_timeout": SHORT}))
    run = await ended(chain(outer=(inner, {})), mesh.NodeExecutionError)
    assert run.error == "Node 'outer.slow' failed: it took longer than its node_timeout of 0.05 s."
    run = await ended(
        chain(outer=(chain(slow=(forever, {})), {"node_timeout": SHORT})), mesh.NodeExecutionError
    )
    assert str(run.error).startswith("Node 'outer' failed: it took longer")


@pytest.mark.parametrize("branches", [1, 3])
async def test_a_run_that_takes_too_long_ends_as_timeout_and_keeps_everything(branches: int) -> None:
    graph = mesh.StateGraph().add_node("first", lambda: {"content": "first"}).set_entry_point("first")
    nodes = [Endless(f"slow{n}") for n in range(branches)]
    for node in nodes:
        graph.add_node(node.id, node).add_edge("first", node.id)
    run = await ended(graph, mesh.RunTimeoutError, timeout=SHORT * 4)
    assert (run.status, run.error) == ("timeout", "The run took longer than its timeout of 0.2 s.")
    assert [node.closed for node in nodes] == [1] * branches
    assert [e.seq for e in run.events] == list(range(len(run.events)))
    assert kinds(run.events).count("message_start") == kinds(run.events).count("message_complete") == branches
    assert run.events[4].output == {"content": "first"}
    assert run.events[-1].metadata["status"] == "timeout"
    assert mesh.Run.load(run.id, run._store).status == "timeout"


async def test_a_run_whose_time_was_over_is_resumed_where_it_ended() -> None:
    calls: list[str] = []
    gate = asyncio.Event()

    async def waits() -> str:
        calls.append("b")
        await gate.wait()
        return "done"

    graph = chain(a=(lambda: calls.append("a"), {}), b=(waits, {}))
    run = await ended(graph, mesh.RunTimeoutError, timeout=SHORT * 4)
    gate.set()
    resumed = await graph.resume(run.id, backend=run._store, display=False)
    assert (resumed.status, resumed.text, calls) == ("completed", "done", ["a", "b", "b"])


async def test_an_executors_iterator_yields_the_ending_and_raises() -> None:
    executor = mesh.Executor(chain(a=(forever, {})))
    seen: list[mesh.ExecutionEvent] = []
    with pytest.raises(mesh.RunTimeoutError, match=r"longer than its timeout of 0\.05 s"):
        await read(executor.execute("q", timeout=SHORT), seen)
    assert kinds(seen)[-1] == "execution_error"
    assert executor.backend.load(seen[0].run_id).events == seen


async def test_a_reader_that_is_slow_uses_the_time_of_the_run_too() -> None:
    executor = mesh.Executor(chain(a=(lambda: 1, {}), b=(lambda: 2, {})))
    seen: list[mesh.ExecutionEvent] = []
    with pytest.raises(mesh.RunTimeoutError):
        await read(executor.execute("q", timeout=SHORT), seen, slow=2 * SHORT)
    assert kinds(seen).count("node_complete") == 1
    assert kinds(seen)[-1] == "execution_error"


def test_run_sync_takes_it_too() -> None:
    with pytest.raises(mesh.RunTimeoutError) as caught:
        chain(a=(forever, {})).run_sync("q", timeout=SHORT, backend=mesh.MemoryBackend(), display=False)
    assert caught.value.run.status == "timeout"


async def test_a_run_that_is_done_in_time_is_as_without() -> None:
    run = await chain(a=(lambda: "x", {"node_timeout": 60})).run(
        "q", timeout=60, backend=mesh.MemoryBackend(), display=False
    )
    assert (run.status, run.text) == ("completed", "x")


async def test_cancel_before_the_time_is_over_is_a_cancel() -> None:
    run = chain(a=(forever, {"node_timeout": 60})).run("q", timeout=60, backend=mesh.MemoryBackend())
    async for event in run:
        if event.type == "node_start":
            run.cancel()
    assert run.status == "cancelled"


@pytest.mark.parametrize("given", [0, -1, True, "5", float("nan")])
def test_what_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"Node 'a': node_timeout= is a number of seconds above 0"):
        mesh.StateGraph().add_node("a", forever, node_timeout=given)
    with pytest.raises(InputError, match="timeout= is a number of seconds above 0"):
        chain(a=(forever, {})).run("q", timeout=given, backend=mesh.MemoryBackend())


def test_the_options_of_every_node_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'node_timeout'"):
        mesh.StateGraph().add_node("a", forever, timeout=5)


def test_a_graph_as_json_keeps_them() -> None:
    graph = mesh.StateGraph().add_node("a", node_type="llm", model="demo", node_timeout=2.5)
    again = mesh.StateGraph.from_json(graph.set_entry_point("a").to_json())
    assert again.compile().timeouts == {1: 2.5}


def test_a_time_without_an_end_is_none() -> None:
    for given in (float("inf"), 10**400):
        with pytest.raises(InputError, match=r"above 0 and at most 1e\+09"):
            chain(a=(forever, {})).run("q", timeout=given, backend=mesh.MemoryBackend())
