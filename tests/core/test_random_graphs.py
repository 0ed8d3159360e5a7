"""Random graphs against a reference model: what runs, with what input, after what, and what comes out.

A graph is drawn as a program (rows, diamonds, choices, loops, graphs inside graphs). The model interprets the
program; the engine runs the graph that is built from it, to its end, to a failure, or until it is left or
cancelled. Nothing of the model knows about scheduling.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import Done, Inner, Model, Value, digest, named, produced

import mesh_nb
from mesh_nb import Executor, NodeExecutionError, StateGraph


def blocks() -> st.SearchStrategy[Any]:
    """Programs; names are given afterwards, so that each node of a graph has its own."""
    few = st.integers(1, 3)
    return st.recursive(
        st.just(("leaf",)),
        lambda child: st.one_of(
            st.tuples(st.just("row"), st.lists(child, min_size=2, max_size=3)),
            st.tuples(st.just("fork"), st.lists(child, min_size=2, max_size=3), st.booleans()),
            st.tuples(st.just("loop"), child, few),
            st.tuples(st.just("inner"), child),
        ),
        max_leaves=10,
    )


class Failure(Exception):
    pass


class Run:
    """A run of the engine: the inputs that nodes got, in order, and its events."""

    def __init__(self, program: Any, fails: Done | None = None) -> None:
        self.program, self.fails = program, fails
        self.inputs: dict[str, list[Value]] = defaultdict(list)
        self.events: list[Any] = []
        self.active = 0

    def make(self, name: str) -> type[mesh_nb.BaseNode]:
        outer = self

        class Node(mesh_nb.BaseNode):
            async def execute(self, input: Any, context: Any) -> Any:
                number = len(outer.inputs[name])
                outer.inputs[name].append(input)
                outer.active += 1
                try:
                    for _ in range(digest(input) % 4):
                        await asyncio.sleep(0)
                    if (name, number) == outer.fails:
                        raise Failure(name)
                    return produced(name, input)
                finally:
                    outer.active -= 1

        class Streaming(Node):
            async def execute(self, input: Any, context: Any) -> Any:
                yield "text"
                yield await Node.execute(self, input, context)

        return Streaming if sum(name.encode()) % 3 == 0 else Node

    def graph(self) -> StateGraph:
        graph = StateGraph().set_entry_point(self.program.entry)
        # A node in a graph inside is named by the path to it, as the engine names it.
        self.program.build(graph, self.make)
        return graph

    async def execute(self, stop: int | None = None, **options: Any) -> None:
        events = Executor(self.graph()).execute({"content": "question"}, **options)
        async with aclosing(events):
            async for event in events:
                self.events.append(event)
                if len(self.events) == stop:
                    return

    async def resumed(self) -> Any:
        """Run to the failure, and resume the run until it is complete; return its output."""
        graph, backend = self.graph(), mesh_nb.MemoryBackend()
        run = graph.run({"content": "question"}, backend=backend, display=False)
        with pytest.raises(NodeExecutionError):
            await run
        run = await graph.resume(run.id, backend=backend, display=False)
        self.events = run.events
        return run.output

    async def cancelled(self, steps: int) -> None:
        """Run, and cancel the run after so many steps of the event loop."""
        run = self.graph().run({"content": "question"}, backend=mesh_nb.MemoryBackend(), display=False)
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([asyncio.ensure_future(run._feed.closed())])
        self.events = run.events
        assert run.status in ("cancelled", "completed")

    def check(self, model: Model, *, whole: bool) -> None:
        """Compare what has happened with what must."""
        assert self.active == 0
        assert [e.seq for e in self.events] == list(range(len(self.events)))
        for name, inputs in self.inputs.items():
            wanted = model.inputs[name]
            assert inputs == wanted if whole else inputs == wanted[: len(inputs)], name
        started: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        for event in self.events:
            if event.type == "node_start":
                visit = event.node_id, started[event.node_id]
                started[event.node_id] += 1
                for name, number in model.after[visit]:
                    assert ended[name] > number, f"{visit} before the end of {name} {number}"
            elif event.type == "node_complete":
                ended[event.node_id] += 1
        if whole:
            assert started == ended == Counter({n: len(v) for n, v in model.inputs.items() if v})


def modelled(program: Any) -> tuple[Model, Value]:
    model = Model()
    output, _ = program.interpret(model, {"content": "question"}, set(), "")
    return model, output


MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@MANY
@given(blocks(), st.sampled_from([None, 1, 2]))
def test_runs_agree_with_the_model(drawn: Any, limit: int | None) -> None:
    program = named(drawn)
    model, output = modelled(program)
    run = Run(program)
    asyncio.run(run.execute(max_concurrency=limit))
    run.check(model, whole=True)
    assert run.events[-1].output == output


@MANY
@given(blocks(), st.data())
def test_runs_that_fail_agree_up_to_the_failure(drawn: Any, data: Any) -> None:
    program = named(drawn)
    model, _ = modelled(program)
    visits = sorted(v for v in model.after if not v[0].endswith("_again") and not is_graph(program, v[0]))
    run = Run(program, data.draw(st.sampled_from(visits)))
    with pytest.raises(NodeExecutionError) as caught:
        asyncio.run(run.execute())
    assert run.fails is not None
    assert caught.value.node_id == run.fails[0]
    assert isinstance(caught.value.cause, Failure)
    run.check(model, whole=False)
    assert [e.node_id for e in run.events if e.type == "node_error"] == [run.fails[0]]
    counted = Counter(e.node_id for e in run.events if e.type == "node_start")
    assert all(counted[name] <= number for name, number in model.following(run.fails))


@MANY
@given(blocks(), st.sampled_from([None, 1, 2]), st.data())
def test_runs_without_fail_fast_do_everything_that_does_not_follow_the_failure(
    drawn: Any, limit: int | None, data: Any
) -> None:
    program = named(drawn)
    model, _ = modelled(program)
    visits = sorted(v for v in model.after if not v[0].endswith("_again") and not is_graph(program, v[0]))
    fails = data.draw(st.sampled_from(visits))
    run = Run(program, fails)
    with pytest.raises(NodeExecutionError) as caught:
        asyncio.run(run.execute(fail_fast=False, max_concurrency=limit))
    assert caught.value.node_id == fails[0]
    run.check(model, whole=False)
    assert [e.node_id for e in run.events if e.type == "node_error"] == [fails[0]]
    done = Counter(e.node_id for e in run.events if e.type == "node_complete")
    lost = model.following(fails) | {fails}
    wanted = Counter(name for name, number in model.after if (name, number) not in lost)
    around = {name for name in done | wanted if is_graph(program, name)}
    assert {n: c for n, c in done.items() if n not in around} == {
        n: c for n, c in wanted.items() if n not in around
    }


@MANY
@given(blocks(), st.integers(1, 60))
def test_runs_that_are_left_agree_up_to_there_and_leave_nothing_running(drawn: Any, stop: int) -> None:
    program = named(drawn)
    model, _ = modelled(program)
    run = Run(program)
    asyncio.run(run.execute(stop))
    run.check(model, whole=False)


@MANY
@given(blocks(), st.data())
def test_runs_that_failed_are_resumed_and_do_only_what_had_not_completed(drawn: Any, data: Any) -> None:
    program = named(drawn)
    model, output = modelled(program)
    visits = sorted(v for v in model.after if not v[0].endswith("_again") and not is_graph(program, v[0]))
    run = Run(program, data.draw(st.sampled_from(visits)))
    assert asyncio.run(run.resumed()) == output
    assert [e.seq for e in run.events] == list(range(len(run.events)))
    done = [(e.node_id, e.metadata.get("visit", 0)) for e in run.events if e.type == "node_complete"]
    assert len(done) == len(set(done)), "a visit completed twice"
    assert Counter(n for n, _ in done) == Counter({n: len(v) for n, v in model.inputs.items() if v})
    # What had completed is not in the inputs again; what had not, is: at most the visits that were active.
    active = Counter(e.node_id for e in run.events if e.type == "node_start") - Counter(n for n, _ in done)
    for name, inputs in run.inputs.items():
        assert len(inputs) <= len(model.inputs[name]) + active[name]
        assert [i for n, i in enumerate(inputs) if i not in inputs[:n]] == [
            i for n, i in enumerate(model.inputs[name]) if i not in model.inputs[name][:n]
        ]


@MANY
@given(blocks(), st.integers(0, 60))
def test_runs_that_are_cancelled_agree_up_to_there_and_leave_nothing_running(drawn: Any, steps: int) -> None:
    program = named(drawn)
    model, output = modelled(program)
    run = Run(program)
    asyncio.run(run.cancelled(steps))
    whole = run.events[-1].type == "execution_complete"
    run.check(model, whole=whole)
    assert run.events[-1].output == (output if whole else None)


def is_graph(block: Any, path: str) -> bool:
    """Say whether a node, by its path, holds a graph."""
    if isinstance(block, Inner):
        return path == block.entry or (
            path.startswith(f"{block.entry}.") and is_graph(block.block, path.removeprefix(f"{block.entry}."))
        )
    inside = getattr(block, "blocks", None) or ([block.block] if hasattr(block, "block") else [])
    return any(is_graph(b, path) for b in inside)
