"""A node that fails: what becomes of the branches beside it, and what the log keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.core.errors import InputError


def kinds(events: list[mesh.ExecutionEvent]) -> list[str]:
    return [str(event.type) for event in events]


def nodes_of(events: list[mesh.ExecutionEvent], kind: str) -> list[str]:
    return [event.node_id for event in events if event.type == kind]


class Sleeper(mesh.BaseNode):
    """Says something, then sleeps for a minute; `left` is how it was left."""

    left = ""

    async def execute(self, input: Any, context: mesh.ExecutionContext) -> Any:
        try:
            yield "so far"
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.left = "cancelled"
            raise


def branches(sleeper: mesh.BaseNode, fails: Callable[..., Any]) -> mesh.StateGraph:
    """Three branches side by side: one that is done, one that sleeps, one that fails when these are on."""
    graph = mesh.StateGraph().add_node("root", lambda: {"content": "root"})
    graph.add_node("quick", lambda: {"content": "quick"}).add_node("after_quick", lambda: "after")
    graph.add_node("sleeper", sleeper).add_node("bad", fails).add_node("join", lambda input: input)
    graph.chain("START", "root", ["quick", "sleeper", "bad"], "join")
    return graph.chain("quick", "after_quick")


async def read(events: AsyncIterator[mesh.ExecutionEvent], seen: list[mesh.ExecutionEvent]) -> None:
    async for event in events:
        seen.append(event)


async def failed(run: mesh.Run) -> mesh.Run:
    with pytest.raises(mesh.NodeExecutionError, match="Node 'bad' failed: ValueError: broken") as caught:
        await run
    assert caught.value.run is run
    return run


async def test_a_failing_branch_ends_one_that_sleeps_a_minute_at_once() -> None:
    sleeper, others_are_on = Sleeper("sleeper"), asyncio.Event()

    async def bad() -> None:
        await others_are_on.wait()
        raise ValueError("broken")

    began = asyncio.get_running_loop().time()
    run = branches(sleeper, bad).run("q", backend=mesh.MemoryBackend(), display=False)
    async for _ in run:
        if run.text and "after_quick" in nodes_of(run.events, "node_complete"):
            others_are_on.set()
    await failed(run)
    # Half of the minute that it would have slept: no measure of speed.
    assert asyncio.get_running_loop().time() - began < 30
    assert (sleeper.left, run.status, run.text) == ("cancelled", "failed", "so far")
    log = run._store.load(run.id).events
    assert nodes_of(log, "node_error") == ["bad"]
    assert kinds(log).count("execution_error") == 1
    done = {e.node_id: e.output for e in log if e.type == "node_complete"}
    assert done == {
        "root": {"content": "root"},
        "quick": {"content": "quick"},
        "after_quick": {"output": "after"},
    }
    assert "join" not in nodes_of(log, "node_start")


async def test_without_fail_fast_the_others_and_what_follows_them_come_to_their_end() -> None:
    gate = asyncio.Event()

    class Waits(mesh.BaseNode):
        async def execute(self, input: Any, context: mesh.ExecutionContext) -> Any:
            await gate.wait()
            return {"content": "waited"}

    async def bad() -> None:
        raise ValueError("broken")

    graph = branches(Waits("sleeper"), bad).add_node("after_wait", lambda input: input)
    run = graph.chain("sleeper", "after_wait").run(
        "q", fail_fast=False, backend=mesh.MemoryBackend(), display=False
    )
    async for event in run:
        if event.type == "node_error":
            gate.set()
    await failed(run)
    log = run._store.load(run.id).events
    assert nodes_of(log, "node_error") == ["bad"]
    assert kinds(log).count("execution_error") == 1
    assert set(nodes_of(log, "node_complete")) == {"root", "quick", "after_quick", "sleeper", "after_wait"}
    assert "join" not in nodes_of(log, "node_start")


async def test_a_run_without_fail_fast_is_resumed_at_what_failed_only() -> None:
    calls: list[str] = []

    def bad() -> str:
        calls.append("bad")
        if len(calls) == 2:
            raise ValueError("broken")
        return "good"

    graph = mesh.StateGraph().add_node("a", lambda: calls.append("a")).add_node("bad", bad)
    graph.add_node("join", lambda input: sorted(input)).chain("START", "a", ["bad", ("b")], "join")
    graph.add_node("b", lambda: "b")
    run = await failed(graph.run("q", fail_fast=False, backend=mesh.MemoryBackend(), display=False))
    resumed = await graph.resume(run.id, backend=run._store, display=False)
    assert resumed.output["output"] == ["b", "bad"]
    assert calls == ["a", "bad", "bad"]


async def test_every_branch_that_fails_says_so_once_and_the_first_is_raised() -> None:
    met = asyncio.Barrier(2)

    async def bad() -> None:
        await met.wait()
        raise ValueError("broken")

    async def worse() -> None:
        await met.wait()
        await asyncio.sleep(0.02)
        raise KeyError("worse")

    graph = mesh.StateGraph().add_node("bad", bad).add_node("worse", worse)
    graph.set_entry_point("bad").set_entry_point("worse")
    run = await failed(graph.run("q", fail_fast=False, backend=mesh.MemoryBackend(), display=False))
    assert nodes_of(run.events, "node_error") == ["bad", "worse"]
    assert kinds(run.events)[-1] == "execution_error"


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_node_that_failed_takes_no_room_from_the_others(limit: int) -> None:
    graph = mesh.StateGraph()
    graph.add_node("bad", lambda: (_ for _ in ()).throw(ValueError("broken"))).set_entry_point("bad")
    for node_id in "abc":
        graph.add_node(node_id, lambda: 1).set_entry_point(node_id)
    run = graph.run("q", fail_fast=False, max_concurrency=limit, backend=mesh.MemoryBackend(), display=False)
    await failed(run)
    assert sorted(nodes_of(run.events, "node_complete")) == ["a", "b", "c"]


@pytest.mark.parametrize("fail_fast", [True, False])
async def test_the_policy_holds_inside_a_node_too(fail_fast: bool) -> None:
    begun = asyncio.Event()

    async def bad() -> None:
        await begun.wait()
        raise ValueError("broken")

    async def beside() -> str:
        begun.set()
        await asyncio.sleep(60 if fail_fast else 0.02)
        return "beside"

    inner = mesh.StateGraph().add_node("bad", bad).add_node("beside", beside)
    inner.set_entry_point("bad").set_entry_point("beside")
    graph = mesh.StateGraph().add_node("sub", inner).set_entry_point("sub")
    run = graph.run("q", fail_fast=fail_fast, backend=mesh.MemoryBackend(), display=False)
    with pytest.raises(mesh.NodeExecutionError, match=r"Node 'sub\.bad' failed"):
        await run
    assert nodes_of(run.events, "node_error") == ["sub.bad"]
    assert nodes_of(run.events, "node_complete") == ([] if fail_fast else ["sub.beside"])


async def test_an_executor_takes_the_policy_too() -> None:
    def bad() -> None:
        raise ValueError("broken")

    graph = mesh.StateGraph().add_node("bad", bad).add_node("a", lambda: 1)
    executor = mesh.Executor(graph.set_entry_point("bad").set_entry_point("a"))
    seen: list[mesh.ExecutionEvent] = []
    with pytest.raises(mesh.NodeExecutionError):
        await read(executor.execute("q", fail_fast=False), seen)
    assert nodes_of(seen, "node_complete") == ["a"]
    assert [e.seq for e in seen] == list(range(len(seen)))


@pytest.mark.parametrize("given", [0, None, "no"])
def test_what_is_no_policy_is_refused(given: Any) -> None:
    graph = mesh.StateGraph().add_node("a", lambda: 1).set_entry_point("a")
    with pytest.raises(InputError, match="fail_fast= is True or False"):
        graph.run("q", fail_fast=given, backend=mesh.MemoryBackend())


@pytest.mark.parametrize("limit", [None, 1, 2])
async def test_a_limit_holds_inside_nodes_too(limit: int | None) -> None:
    active: list[int] = []
    most: list[int] = []

    async def leaf() -> None:
        active.append(1)
        most.append(len(active))
        for _ in range(5):
            await asyncio.sleep(0)
        active.pop()

    inner = mesh.StateGraph()
    for node_id in "abc":
        inner.add_node(node_id, leaf).set_entry_point(node_id)
    graph = mesh.StateGraph().add_node("sub", inner).add_node("items", lambda: {"items": [1, 2, 3]})
    graph.add_node("each", leaf, node_type="foreach", concurrency=3).chain("START", "sub", "items", "each")
    run = await graph.run("q", max_concurrency=limit, backend=mesh.MemoryBackend(), display=False)
    assert run.status == "completed"
    assert max(most[:3]) == max(most[3:]) == (limit or 3)


async def test_a_node_whose_own_task_was_cancelled_fails_and_cancels_no_run() -> None:
    async def broken() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    class Broken(mesh.BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            await broken()

    for node in (broken, Broken):
        alone = mesh.StateGraph().add_node("a", node).set_entry_point("a")
        beside = mesh.StateGraph().add_node("a", node).add_node("b", lambda: 1).chain("START", ["a", "b"])
        for graph in (alone, beside):
            run = graph.run("q", backend=mesh.MemoryBackend(), display=False)
            with pytest.raises(mesh.NodeExecutionError, match="Node 'a' failed: CancelledError"):
                await run
            assert run.status == "failed"
            assert [e.node_id for e in run.events if e.type == "node_error"] == ["a"]
