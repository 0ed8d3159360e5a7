"""What nodes share: state and its reducers, sessions and their history, joins."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import operator
import pickle
import sys
import threading
import time
from typing import Any, cast

import pytest
from support import Replay

import mesh_nb
from mesh_nb import (
    ExecutionContext,
    Executor,
    GraphValidationError,
    MemoryBackend,
    NodeExecutionError,
    NodeResult,
    StateGraph,
)
from mesh_nb.core._history import trimmed
from mesh_nb.core.events import EventType, ExecutionEvent


async def events_of(graph: StateGraph, context: Any = None, input: Any = "q") -> list[Any]:
    return [e async for e in Executor(graph).execute(input, context)]


def updates(events: list[Any]) -> list[Any]:
    return [(e.node_id, e.output) for e in events if e.type == "state_update"]


class Noting(mesh_nb.BaseNode):
    """Changes the state in one of the ways a node of one's own may."""

    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        return NodeResult({"content": self.id}, {"notes": [self.id]})


class Yielding(Noting):
    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        yield "text"
        yield ExecutionEvent(EventType.STATE_UPDATE, output={"notes": [self.id]})


def returning(input: Any) -> NodeResult:
    return NodeResult("text", {"notes": ["returning"]})


def assigning(state: dict[str, Any]) -> dict[str, Any]:
    state["notes"] = ["assigning"]
    return {}


async def test_reducers_put_the_updates_of_nodes_together_whatever_their_form() -> None:
    graph = StateGraph().add_reducer("notes", operator.add)
    graph.add_node("start", Noting).add_node("a", Noting).add_node("b", Yielding)
    graph.add_node("c", returning).add_node("d", assigning).add_node("end", Noting)
    graph.chain("START", "start", ["a", "b", "c", "d"], "end")
    context = ExecutionContext(state={"notes": ["before"]})
    events = await events_of(graph, context)
    notes = context.state["notes"]
    assert notes[:2] == ["before", "start"]
    assert sorted(notes[2:-1]) == ["a", "assigning", "b", "returning"]
    assert notes[-1] == "end"
    outputs = {e.node_id: e.output for e in events if e.type == "node_complete"}
    assert outputs["a"] == {"content": "a"}
    assert outputs["c"] == {"output": "text"}
    # The log alone rebuilds the state: an update is recorded as the value that it led to.
    state: dict[str, Any] = {"notes": ["before"]}
    for event in events:
        if event.type == "state_update":
            state.update(event.output)
    assert state == context.state


async def test_without_a_reducer_an_update_replaces_the_value() -> None:
    graph = StateGraph().add_node("a", Noting).add_node("b", Noting).chain("START", "a", "b")
    context = ExecutionContext()
    assert updates(await events_of(graph, context)) == [("a", {"notes": ["a"]}), ("b", {"notes": ["b"]})]
    assert context.state == {"notes": ["b"]}


async def test_a_name_that_a_function_removes_is_gone() -> None:
    def remove(state: dict[str, Any]) -> dict[str, Any]:
        del state["old"]
        return {"left": sorted(state)}

    context = ExecutionContext(state={"old": 1, "kept": 2})
    events = await events_of(StateGraph().add_node("a", remove).set_entry_point("a"), context)
    assert events[-1].output["left"] == ["kept"]
    assert context.state == {"kept": 2}


async def test_reducers_inside_nodes_that_share_the_state_are_those_of_the_graph() -> None:
    def note(item: str) -> NodeResult:
        return NodeResult({}, {"notes": [item]})

    graph = StateGraph().add_reducer("notes", operator.add)
    graph.add_node("each", note, node_type="foreach", concurrency=3).set_entry_point("each")
    context = ExecutionContext()
    events = await events_of(graph, context, {"items": ["x", "y", "z"]})
    assert sorted(context.state["notes"]) == ["x", "y", "z"]
    assert {n for n, _ in updates(events)} == {"each.note"}


def test_reducers_that_cannot_be() -> None:
    for key, reducer in (("notes", 3), (3, operator.add)):
        with pytest.raises(GraphValidationError, match="takes a name of the state and a plain"):
            StateGraph().add_reducer(key, reducer)  # type: ignore[arg-type]


async def test_55_join_input_keeps_all_parents_apart() -> None:
    seen: list[Any] = []
    graph = StateGraph().add_node("a", lambda: {"content": "A"}).add_node("b", lambda: {"content": "B"})
    graph.add_node("join", lambda input: seen.append(input)).chain("START", ["a", "b"], "join")
    await events_of(graph)
    assert seen == [{"a": {"content": "A"}, "b": {"content": "B"}}]
    merged = StateGraph().add_node("a", lambda: {"x": 1}).add_node("b", lambda: {"x": 2})
    merged.add_node("join", lambda x: {"content": str(x)}).chain("START", ["a", "b"])
    merged.add_fan_in_edge(["a", "b"], "join", lambda outputs: {"x": sum(o["x"] for o in outputs.values())})
    assert (await events_of(merged))[-1].output["content"] == "3"


async def test_41_and_52_runs_in_one_context_do_not_mix_and_count_anew() -> None:
    graph = StateGraph().add_node(
        "ask", lambda input, chat_history: {"content": f"{input} {len(chat_history)}"}
    )
    graph.add_node("again", node_type="loop", loop_back_to="ask", max_loop_count=2).chain(
        "START", "ask", "again"
    )
    executor, context = Executor(graph), ExecutionContext()

    async def run(question: str) -> list[Any]:
        return [e async for e in executor.execute(question, context)]

    one, two = await asyncio.gather(run("x"), run("y"))
    assert [e.node_id for e in one if e.type == "node_complete"] == ["ask", "again"] * 3
    assert len(two) == len(one)
    later = await run("z")
    assert len(later) == len(one)
    assert [m["content"] for m in context.chat_history if m["role"] == "user"] == ["x", "y", "z"]


async def test_a_session_remembers_and_sends_what_fits(replay: Replay) -> None:
    graph = StateGraph().set_entry_point("llm")
    options = {"model": "synthetic-2", "base_url": replay.base_url, "api_key": "x"}
    graph.add_node("llm", node_type="llm", history_tokens=40, **options)
    context = ExecutionContext(session_id="s")
    for question in ("first " * 40, "second", "third"):
        await events_of(graph, context, question)
    sent = [m["content"] for m in replay.requests[-1]["body"]["messages"] if m["role"] == "user"]
    assert sent == ["second", "third"]
    assert len(context.chat_history) == 6


def test_history_is_trimmed_to_whole_turns() -> None:
    history = [
        {"role": "user", "content": "a" * 40},
        {"role": "assistant", "content": "b" * 40},
        {"role": "user", "content": "c" * 4},
        {"role": "assistant", "content": "d" * 4},
    ]
    assert trimmed(history, None) == history
    assert trimmed(history, 22) == history
    assert trimmed(history, 20) == history[2:]
    assert trimmed(history, 2) == history[2:]
    assert trimmed(history, 1) == []
    assert trimmed([], 5) == []


async def test_each_round_of_a_loop_has_its_own_view_of_one_context() -> None:
    kept: list[ExecutionContext] = []

    class Keeping(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: ExecutionContext) -> Any:
            context.state["rounds"] = context.state.get("rounds", 0) + 1
            kept.append(context)
            return input

    graph = StateGraph("looping").add_node("n", Keeping).set_entry_point("n")
    graph.add_edge("n", "n", is_loop_edge=True, max_iterations=2)
    given = ExecutionContext(session_id="s", variables={"v": 1}, state={"before": True})
    await events_of(graph, given)
    assert [(c.visit, c.iteration) for c in kept] == [(n, {"index": n}) for n in range(3)]
    assert all(c.state is kept[0].state and c.outputs is kept[0].outputs for c in kept)
    first = kept[0]
    assert (first.graph_id, first.session_id, first.trace_id) == ("looping", "s", given.trace_id)
    assert (first.variables, first.state) == ({"v": 1}, {"before": True, "rounds": 3})
    assert (first.repeats, first.question, first.get_node_output("n")) == (True, "q", {"input": "q"})
    changed = dataclasses.replace(first, state={})
    assert (changed.state, changed.iteration, changed.variables) == ({}, {"index": 0}, {"v": 1})
    assert repr(first).startswith("ExecutionContext(graph_id='looping', session_id='s'")
    with pytest.raises(AttributeError, match="'ExecutionContext' object has no attribute 'stat'"):
        _ = cast("Any", first).stat


async def test_what_contains_itself_or_is_very_deep_is_an_input_like_any_other() -> None:
    deep: Any = "end"
    for _ in range(5000):
        deep = {"a": [deep]}
    itself: dict[str, Any] = {"name": "x"}
    itself["self"] = itself
    graph = StateGraph().add_node("a", lambda input: {"content": type(input).__name__}).set_entry_point("a")
    for value in (deep, itself):
        run = await graph.run(value, backend=MemoryBackend(), display=False)
        assert run.text == "dict"
        assert "…" in str(run.events[0].metadata["input"])


async def test_functions_that_turn_out_to_be_async_are_told() -> None:
    async def later(*_: Any) -> int:
        return 1

    graph = StateGraph().add_node("a", lambda: NodeResult(1, {"k": 1}))
    graph.add_node("b", lambda: NodeResult(1, {"k": 2}))
    graph.chain("START", "a", "b").add_reducer("k", lambda old, new: later(old, new))
    with pytest.raises(NodeExecutionError, match="The reducer of 'k' is async"):
        await graph.run("q", backend=MemoryBackend(), display=False)
    joined = StateGraph().add_node("a", lambda: 1).add_node("b", lambda: 2).add_node("c", lambda input: input)
    joined.chain("START", ["a", "b"]).add_fan_in_edge(["a", "b"], "c", lambda parts: later(parts))
    with pytest.raises(NodeExecutionError, match="its aggregator is async"):
        await joined.run("q", backend=MemoryBackend(), display=False)


async def test_a_key_that_no_mapping_can_have_is_an_unknown_branch() -> None:
    graph = StateGraph().add_node("a", lambda: 1).add_node("b", lambda: 2).set_entry_point("a")
    graph.add_conditional_edges("a", lambda output: [["b"]], ["b"])
    with pytest.raises(NodeExecutionError, match=r"Unknown branch .* of node 'a'. Known: b"):
        await graph.run("q", backend=MemoryBackend(), display=False)


async def test_a_state_that_is_no_dict_is_told() -> None:
    wrong: Any = [1]
    graph = StateGraph().add_node("a", lambda: NodeResult(1, wrong)).set_entry_point("a")
    with pytest.raises(NodeExecutionError, match=r"state= of a NodeResult is a dict .*, not \[1\]"):
        await graph.run("q", backend=MemoryBackend(), display=False)

    class Wrong(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            yield ExecutionEvent(EventType.RESPONSE_METADATA, metadata={"usage": "x", "cost_usd": "free"})
            yield ExecutionEvent(EventType.STATE_UPDATE, output=wrong)

    graph = StateGraph().add_node("a", Wrong).set_entry_point("a")
    with pytest.raises(NodeExecutionError, match=r"An update of the state is a dict .*, not \[1\]"):
        await graph.run("q", backend=MemoryBackend(), display=False)


def test_what_a_context_was_not_given_is_empty_and_its_own() -> None:
    context, given = ExecutionContext(trace_id="t"), dict[str, Any]()
    assert context == ExecutionContext("", "", [], {}, {}, "t", {}, None, {})
    for name, empty in {"chat_history": [], "variables": {}, "state": {}, "iteration": {}}.items():
        fresh = ExecutionContext()
        assert getattr(fresh, name) == empty
        assert getattr(fresh, name) is getattr(fresh, name)
        assert getattr(fresh, name) is not getattr(context, name)
    assert ExecutionContext(state=given).state is given
    context.state["a"] = 1
    for other in (copy.deepcopy(context), pickle.loads(pickle.dumps(context)), dataclasses.replace(context)):
        assert other == context
    assert copy.copy(ExecutionContext(trace_id="t")) == ExecutionContext(trace_id="t")
    with pytest.raises(AttributeError, match="'ExecutionContext' object has no attribute 'stat'"):
        _ = context.stat  # type: ignore[attr-defined]


def test_threads_that_read_a_state_at_once_share_it() -> None:
    def slowly(frame: Any, event: str, argument: Any) -> Any:
        time.sleep(0.001)  # The others take their turn.
        return slowly if frame.f_code.co_name == "read" else None

    def write(name: str) -> None:
        together.wait()
        sys.settrace(slowly)
        context.state[name] = name

    for _ in range(5):
        context, together = ExecutionContext(), threading.Barrier(4)
        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(context.state) == list("abcd")
