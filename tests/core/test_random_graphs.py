"""Random graphs against a reference model: what runs, with what input, after what, and what comes out.

A graph is drawn as a program (rows, diamonds, choices, loops, graphs inside graphs). The model interprets the
program; the engine runs the graph that is built from it, to its end, to a failure, or until it is left or
cancelled. Nothing of the model knows about scheduling.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import Counter, defaultdict
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mesh_nb
from mesh_nb import Executor, NodeExecutionError, StateGraph

Value = dict[str, Any]
Done = tuple[str, int]
"""A node, and which of its visits."""


def digest(value: Any) -> int:
    """A number for an input; joins are read without regard to the order of their parents."""
    text = repr(sorted(value.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


def produced(node_id: str, value: Value) -> Value:
    """What every node makes of its input."""
    return {"content": f"{node_id}:{digest(value)}"}


@dataclasses.dataclass
class Model:
    """What must happen: for each node its inputs in order, and for each visit those that come before it."""

    inputs: dict[str, list[Value]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    after: dict[Done, set[Done]] = dataclasses.field(default_factory=dict[Done, set[Done]])

    def following(self, done: Done) -> set[Done]:
        """Every visit that has this one before it, directly or not."""
        found, size = {done}, 0
        while len(found) > size:
            size = len(found)
            found |= {visit for visit, before in self.after.items() if before & found}
        return found - {done}

    def visit(self, node_id: str, value: Value, before: set[Done]) -> tuple[Value, set[Done]]:
        done = node_id, len(self.inputs[node_id])
        self.inputs[node_id].append(value)
        self.after[done] = set(before)
        return produced(node_id, value), {done}


class Leaf:
    """One node. A block has an entry and an exit, both nodes."""

    def __init__(self, name: str) -> None:
        self.entry = self.exit = name

    def build(self, graph: StateGraph, make: Any) -> None:
        graph.add_node(self.entry, make(self.entry))

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        return model.visit(path + self.entry, value, before)


class Row:
    def __init__(self, name: str, blocks: list[Any]) -> None:
        self.blocks = blocks
        self.entry, self.exit = blocks[0].entry, blocks[-1].exit

    def build(self, graph: StateGraph, make: Any) -> None:
        for block in self.blocks:
            block.build(graph, make)
        for one, next_one in zip(self.blocks, self.blocks[1:], strict=False):
            graph.add_edge(one.exit, next_one.entry)

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        for block in self.blocks:
            value, before = block.interpret(model, value, before, path)
        return value, before


class Fork:
    """A node whose successors run side by side, all of them or those that it chooses, and one that joins."""

    def __init__(self, name: str, blocks: list[Any], chooses: bool) -> None:
        self.entry, self.exit = f"{name}_fork", f"{name}_join"
        self.blocks, self.chooses = blocks, chooses

    def chosen(self, output: Value) -> list[int]:
        mask = digest(output) % (2 ** len(self.blocks)) if self.chooses else -1
        return [k for k in range(len(self.blocks)) if mask >> k & 1] or [0]

    def build(self, graph: StateGraph, make: Any) -> None:
        graph.add_node(self.entry, make(self.entry)).add_node(self.exit, make(self.exit))
        for block in self.blocks:
            block.build(graph, make)
            graph.add_edge(block.exit, self.exit)
        if self.chooses:
            graph.add_conditional_edges(
                self.entry, self.chosen, {k: b.entry for k, b in enumerate(self.blocks)}
            )
        else:
            graph.add_parallel_edges(self.entry, [b.entry for b in self.blocks])

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        output, before = model.visit(path + self.entry, value, before)
        joined: Value = {}
        ends: set[Done] = set()
        for k in self.chosen(output):
            joined[self.blocks[k].exit], end = self.blocks[k].interpret(model, output, before, path)
            ends |= end
        return model.visit(path + self.exit, joined, ends)


class Loop:
    """A block that runs again, at most `times` times more and while its output says so."""

    def __init__(self, name: str, block: Any, times: int) -> None:
        self.entry, self.exit, self.block, self.times = block.entry, f"{name}_again", block, times

    @staticmethod
    def again(output: Value) -> bool:
        return digest(output) % 4 != 0

    def build(self, graph: StateGraph, make: Any) -> None:
        self.block.build(graph, make)
        options: Any = {"loop_back_to": self.entry, "max_loop_count": self.times}
        graph.add_node(self.exit, node_type="loop", loop_condition=self.again, **options)
        graph.add_edge(self.block.exit, self.exit)

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        for taken in range(self.times + 1):
            value, before = self.block.interpret(model, value, before, path)
            _, before = model.visit(path + self.exit, value, before)
            if taken == self.times or not self.again(value):
                break
        return value, before


class Inner:
    """A graph inside a node."""

    def __init__(self, name: str, block: Any) -> None:
        self.entry = self.exit = name
        self.block = block

    def build(self, graph: StateGraph, make: Any) -> None:
        inner = StateGraph()
        self.block.build(inner, lambda name: make(f"{self.entry}.{name}"))
        graph.add_node(self.entry, inner.set_entry_point(self.block.entry))

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        _, begun = model.visit(path + self.entry, value, before)
        # The node is complete when what is inside it is; that runs after all that the node runs after.
        value, ends = self.block.interpret(model, value, before, f"{path}{self.entry}.")
        return value, begun | ends


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


def named(drawn: Any, count: Any = None) -> Any:
    count = count if count is not None else iter(range(10_000))
    name = f"n{next(count)}"
    kind, *rest = drawn
    if kind == "leaf":
        return Leaf(name)
    if kind == "row":
        return Row(name, [named(d, count) for d in rest[0]])
    if kind == "fork":
        return Fork(name, [named(d, count) for d in rest[0]], rest[1])
    if kind == "loop":
        return Loop(name, named(rest[0], count), rest[1])
    return Inner(name, named(rest[0], count))


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
