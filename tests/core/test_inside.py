"""Graphs inside nodes go on where they were when a run is resumed: nothing that completed is done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import until
from tool_chat import ToolChat

import mesh_nb as mesh
from mesh_nb.core._inside import Numbering


class Calls(Counter[str]):
    """Functions that count how often they were called; one fails at one of its calls."""

    def __init__(self, fails: str = "", at: int = 1) -> None:
        super().__init__()
        self.fails, self.at = fails, at

    def node(self, name: str) -> Callable[..., Any]:
        def function(input: Any) -> dict[str, Any]:
            self[name] += 1
            if name == self.fails and self[name] == self.at:
                raise ValueError("broken")
            return {"content": f"{name}({input.get('content', '')})"}

        return function

    def graph(self, *names: str) -> mesh.StateGraph:
        graph = mesh.StateGraph()
        for name in names:
            graph.add_node(name, self.node(name))
        return graph.chain("START", *names)


def balanced(events: list[mesh.ExecutionEvent]) -> None:
    assert [e.seq for e in events] == list(range(len(events)))
    counts = Counter(str(e.type) for e in events)
    for start, end in (("message_start", "message_complete"), ("tool_call_start", "tool_call_complete")):
        assert counts[start] == counts[end]
    assert counts["step_start"] == counts["step_complete"]
    done = [(e.node_id, e.metadata.get("visit", 0)) for e in events if e.type == "node_complete"]
    assert len(done) == len(set(done)), "a visit completed twice"


async def broken_then_resumed(graph: mesh.StateGraph, input: Any = "q", **options: Any) -> mesh.Run:
    run = graph.run(input, backend=mesh.MemoryBackend(), display=False, **options)
    with pytest.raises(mesh.NodeExecutionError):
        await run
    resumed = await graph.resume(run.id, backend=run._store, display=False)
    balanced(resumed.events)
    return resumed


async def test_a_subgraph_goes_on_with_the_node_that_failed() -> None:
    calls = Calls("b")
    graph = calls.graph("first").add_node("sub", calls.graph("a", "b", "c")).chain("first", "sub")
    run = await broken_then_resumed(graph)
    assert run.text == "c(b(a(first())))"
    assert calls == {"first": 1, "a": 1, "b": 2, "c": 1}


async def test_graphs_inside_graphs_do() -> None:
    calls = Calls("b")
    middle = calls.graph("m").add_node("inner", calls.graph("a", "b")).chain("m", "inner")
    graph = calls.graph("first").add_node("outer", middle).chain("first", "outer")
    run = await broken_then_resumed(graph)
    assert run.text == "b(a(m(first())))"
    assert calls == {"first": 1, "m": 1, "a": 1, "b": 2}


async def test_branches_and_choices_inside_do() -> None:
    calls = Calls("d")
    inner = calls.graph("a")
    for name in ("b", "c", "d", "other"):
        inner.add_node(name, calls.node(name))
    inner.add_conditional_edges("a", lambda output: ["b", "c"], ["b", "c", "other"])
    inner.add_node("join", lambda input: {"content": "+".join(sorted(input))}).chain(["b", "c"], "join")
    inner.add_edge("join", "d")
    run = await broken_then_resumed(mesh.StateGraph().add_node("sub", inner).set_entry_point("sub"))
    assert run.text == "d(b+c)"
    assert calls == {"a": 1, "b": 1, "c": 1, "d": 2}


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("adopted", [False, True])
async def test_the_items_of_a_foreach_that_are_done_are_not_done_again(
    concurrency: int, adopted: bool
) -> None:
    done: list[int] = []

    def body(item: int) -> int:
        if item == 2 and 2 not in done:
            done.append(2)
            raise ValueError("broken")
        done.append(item)
        return item * 10

    graph = mesh.StateGraph().set_entry_point("each")
    options: dict[str, Any] = {"node_type": "foreach", "concurrency": concurrency}
    if adopted:
        graph.add_node("each", **options).add_node("body", body).add_edge("each", "body")
    else:
        graph.add_node("each", body, **options)
    run = await broken_then_resumed(graph, {"items": [0, 1, 2, 3]}, fail_fast=False)
    assert [r["output"] for r in run.output["results"]] == [0, 10, 20, 30]
    assert done.count(2) == 2
    assert [done.count(n) for n in (0, 1)] == [1, 1]


async def test_each_round_of_a_loop_has_its_own() -> None:
    calls = Calls("b", at=3)
    graph = calls.graph("first").add_node("sub", calls.graph("a", "b")).chain("first", "sub")
    graph.add_edge("sub", "first", is_loop_edge=True, max_iterations=3)
    run = await broken_then_resumed(graph)
    assert run.status == "completed"
    assert calls == {"first": 4, "a": 4, "b": 5}


async def test_loops_inside_do() -> None:
    calls = Calls("b", at=2)
    inner = calls.graph("a", "b").add_edge("b", "a", is_loop_edge=True, max_iterations=2)
    run = await broken_then_resumed(mesh.StateGraph().add_node("sub", inner).set_entry_point("sub"))
    assert run.text == "b(a(b(a(b(a())))))"
    assert calls == {"a": 3, "b": 4}


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("isolated", [True, False])
async def test_the_state_is_what_completed_nodes_made_of_it(isolated: bool, depth: int) -> None:
    tries: Counter[str] = Counter()

    def note(state: dict[str, Any]) -> mesh.NodeResult:
        return mesh.NodeResult("noted", {"notes": [*state.get("notes", []), "a"]})

    def fails(state: dict[str, Any]) -> dict[str, Any]:
        tries["inside"] += 1
        if tries["inside"] < 3:
            raise ValueError("broken")
        return {"content": ",".join(state["notes"])}

    def end(input: Any, state: dict[str, Any]) -> dict[str, Any]:
        tries["outside"] += 1
        if tries["outside"] < 2:
            raise ValueError("broken")
        return {"content": f"{input['content']} {sorted(state)}"}

    graph = mesh.StateGraph().add_node("note", note).add_node("fails", fails).chain("START", "note", "fails")
    for _ in range(depth):
        around = mesh.StateGraph().add_node("sub", graph, node_type="subgraph", isolated=isolated)
        graph = around.set_entry_point("sub")
    graph.add_node("end", end).chain("sub", "end")
    run = graph.run("q", backend=mesh.MemoryBackend(), display=False)
    for _ in range(3):
        with pytest.raises(mesh.NodeExecutionError):
            await run
        run = graph.resume(run.id, backend=run._store, display=False)
    assert (await run).text == f"a {[] if isolated else ['notes']}"
    assert sum(e.type == "node_complete" and e.node_id.endswith("note") for e in run.events) == 1


@pytest.mark.parametrize("depth", [1, 2])
async def test_an_answer_to_a_question_inside_resumes_the_run(depth: int) -> None:
    calls = Calls()
    graph = calls.graph("a").add_node("ask", node_type="approval").chain("a", "ask")
    for level in range(depth):
        graph = mesh.StateGraph().add_node(f"sub{level}", graph).set_entry_point(f"sub{level}")
    run = await graph.run("q", backend=mesh.MemoryBackend(), display=False, on_no_answer="stop")
    assert run.status == "interrupted"
    (question,) = run.pending
    assert question.node_id == ("sub0.ask" if depth == 1 else "sub1.sub0.ask")
    again = await graph.resume(run.id, backend=run._store, display=False, on_no_answer="stop")
    assert again.pending == [question]
    resumed = await again.approve()
    assert (resumed.status, resumed.text, resumed.pending) == ("completed", "a()", [])
    assert calls == {"a": 1}
    balanced(resumed.events)


async def test_a_question_that_waits_again_says_which_node_asks() -> None:
    inner = mesh.StateGraph().add_node("ask", node_type="approval").set_entry_point("ask")
    graph = mesh.StateGraph().add_node("sub", inner).set_entry_point("sub")
    run = await graph.run("q", backend=mesh.MemoryBackend(), display=False, on_no_answer="stop")
    resumed = graph.resume(run.id, backend=run._store, display=False, on_no_answer="wait")
    # It was recorded before, so no event tells that it waits again.
    await until(lambda: bool(resumed._desk and resumed._desk.pending))
    assert resumed._desk is not None
    assert [q.node_id for q in resumed._desk.pending] == ["sub.ask"]
    resumed.approve()
    assert (await resumed).status == "completed"


async def test_model_and_tool_calls_inside_are_not_paid_for_again() -> None:
    failed: list[str] = []

    def look(city: str) -> str:
        """Look at a city."""
        return f"{city} is fine"

    with ToolChat() as server:
        options: dict[str, Any] = {"model": "m", "base_url": server.base_url, "api_key": "k", "tools": [look]}
        server.fails = lambda body: (
            500 if body["messages"][-1]["role"] == "tool" and not failed and not failed.append("x") else 0
        )
        inner = mesh.StateGraph().add_node("first", node_type="llm", **{**options, "tools": None})
        inner.add_node("llm", node_type="llm", max_retries=0, **options).chain("START", "first", "llm")
        graph = mesh.StateGraph().add_node("sub", inner).set_entry_point("sub")
        run = await broken_then_resumed(graph, "Rome")
        assert run.text.startswith("you said")
        # first, the call that asked for the tool, the one that failed, and that one again
        assert server.calls == 4
    assert sum(e.type == "tool_call_complete" for e in run.events) == 1


async def test_of_a_retried_subgraph_the_last_attempt_counts() -> None:
    calls = Calls()

    def fails(input: Any) -> dict[str, str]:
        calls["fails"] += 1
        if calls["fails"] < 4:
            raise ValueError("broken")
        return {"content": "done"}

    inner = calls.graph("a").add_node("fails", fails).chain("a", "fails")
    retry = {"retry": {"max_retries": 1, "delay": 0}}
    graph = mesh.StateGraph().add_node("sub", inner, config=retry).set_entry_point("sub")
    run = graph.run("q", backend=mesh.MemoryBackend(), display=False)
    with pytest.raises(mesh.NodeExecutionError):
        await run
    assert calls == {"a": 2, "fails": 2}
    resumed = await graph.resume(run.id, backend=run._store, display=False)
    assert resumed.text == "done"
    assert calls == {"a": 2, "fails": 4}


@given(st.integers(0, 50), st.integers(1, 50), st.none() | st.integers(0, 50), st.integers(0, 50))
def test_numbers_of_visits_lead_back(index: int, more: int, outer: int | None, visit: int) -> None:
    numbering = Numbering(index, index + more, outer)
    assert numbering.into(numbering.out(visit)) == visit
    other = Numbering((index + 1) % (index + more), index + more, outer)
    if index + more > 1:
        assert other.into(numbering.out(visit)) is None
    if outer is not None:
        assert Numbering(index, index + more, outer + 1).into(numbering.out(visit)) is None
