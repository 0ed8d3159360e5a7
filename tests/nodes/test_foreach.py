"""The foreach node: bodies of every form, order, concurrency, failures, and the templates inside."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from answer_server import AnswerServer

import mesh_nb
from mesh_nb import (
    ExecutionContext,
    Executor,
    GraphValidationError,
    MemoryBackend,
    NodeExecutionError,
    StateGraph,
)
from mesh_nb.core import templates


def each(body: Any = None, **options: Any) -> StateGraph:
    return StateGraph().add_node("each", body, node_type="foreach", **options).set_entry_point("each")


async def events_of(graph: StateGraph, input: Any, **options: Any) -> list[Any]:
    return [e async for e in Executor(graph).execute(input, **options)]


async def kept(graph: StateGraph, input: Any, seen: list[Any]) -> None:
    async for event in Executor(graph).execute(input):
        seen.append(event)


async def results(graph: StateGraph, input: Any) -> Any:
    return (await events_of(graph, input))[-1].output["results"]


def shout(item: str, index: int) -> str:
    return f"{index}:{item.upper()}"


async def test_50_the_body_runs_once_for_each_item_right_after_start() -> None:
    events = await events_of(each(shout), {"items": ["a", "b"]})
    assert events[-1].output["results"] == [{"output": "0:A"}, {"output": "1:B"}]
    assert events[-1].output["count"] == 2
    assert events[-1].output["content"] == "0:A\n\n1:B"
    starts = [(e.node_id, e.metadata.get("visit", 0)) for e in events if e.type == "node_start"]
    assert starts == [("each", 0), ("each.shout", 0), ("each.shout", 1)]
    assert [e.seq for e in events] == list(range(len(events)))


class Teller(mesh_nb.BaseNode):
    templates = (
        "{{$iteration.name}} {{$iteration_index}}/{{$iteration_total}} {{$iteration_first}}"
        " {{$iteration_last}} {{$question}} {{before.x}}",
    )

    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        return {"content": templates.resolve(self.templates[0], context)}


@pytest.mark.parametrize("named", [False, True])
async def test_a_node_of_the_graph_is_the_body_and_templates_see_the_iteration(named: bool) -> None:
    graph = StateGraph().add_node("before", lambda: {"x": 7, "people": [{"name": "Ann"}, {"name": "Bob"}]})
    graph.add_node("each", "teller" if named else None, node_type="foreach", array_path="$.people")
    graph.add_node("teller", Teller).add_node("after", lambda content: {"content": f"<{content}>"})
    graph.chain("START", "before", "each", "teller", "after")
    events = await events_of(graph, "who?")
    assert events[-1].output["content"] == ("<Ann 0/2 true false who? 7\n\nBob 1/2 false true who? 7>")
    assert [e.node_id for e in events if e.type == "node_complete"] == [
        *("before", "teller", "teller", "each", "after")
    ]


async def test_a_graph_is_the_body_and_keeps_its_loops_apart() -> None:
    inner = StateGraph().add_node("step", lambda input: {"n": input["n"] * 2})
    inner.add_node("again", node_type="loop", loop_back_to="step", max_loop_count=1)
    inner.chain("START", "step", "again")
    events = await events_of(each(inner, concurrency=2), {"items": [{"n": 1}, {"n": 10}, {"n": 100}]})
    assert events[-1].output["results"] == [{"n": 4}, {"n": 40}, {"n": 400}]
    visits = [
        e.metadata.get("visit", 0) for e in events if e.type == "node_start" and e.node_id == "each.step"
    ]
    assert sorted(visits) == [0, 1, 2, 3, 4, 5]


async def test_so_many_at_a_time_and_the_order_is_kept() -> None:
    running, most, gate = 0, 0, asyncio.Event()

    async def wait(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            gate.set()
        await gate.wait()
        for _ in range(10 - item):
            await asyncio.sleep(0)
        running -= 1
        return item

    found = await results(each(wait, concurrency=3), {"items": list(range(10))})
    assert found == [{"output": n} for n in range(10)]
    assert most == 3


def fails_at_one(item: int) -> int:
    if item == 1:
        raise ValueError("one is bad")
    return item


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_failures_fail_the_run_or_are_collected(concurrency: int) -> None:
    seen: list[Any] = []
    with pytest.raises(NodeExecutionError, match=r"Node 'each.fails_at_one' failed: ValueError: one is bad"):
        await kept(each(fails_at_one, concurrency=concurrency), {"i": [0, 1, 2]}, seen)
    assert [(e.node_id, e.metadata["visit"]) for e in seen if e.type == "node_error"] == [
        ("each.fails_at_one", 1)
    ]
    graph = each(fails_at_one, concurrency=concurrency, on_error="collect")
    output = (await events_of(graph, {"i": [0, 1, 2]}))[-1].output
    assert output["results"] == [
        {"output": 0},
        {"error": "ValueError: one is bad", "index": 1},
        {"output": 2},
    ]
    assert output["failed"] == [1]


async def test_a_failing_item_cancels_the_others() -> None:
    closed = asyncio.Event()
    began = asyncio.Event()

    async def body(item: int) -> None:
        if item:
            await began.wait()
            raise ValueError("no")
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    with pytest.raises(NodeExecutionError, match="no"):
        await events_of(each(body, concurrency=2), {"items": [0, 1]})
    assert closed.is_set()


async def test_nothing_to_do_is_an_empty_list() -> None:
    assert await results(each(shout), {"items": []}) == []


@pytest.mark.parametrize(
    ("options", "input", "says"),
    [
        ({}, {"a": [], "b": []}, "The input has 2 lists; say which"),
        ({}, "text", "The input has 0 lists"),
        ({"array_path": "$.itms"}, {"items": []}, "Did you mean 'items'"),
        ({"array_path": "items"}, {"items": 3}, "the input has int there"),
        ({"max_iterations": 2}, {"items": [1, 2, 3]}, "There are 3 items, and max_iterations=2"),
    ],
)
async def test_inputs_without_the_list(options: Any, input: Any, says: str) -> None:
    with pytest.raises(NodeExecutionError, match=says):
        await events_of(each(shout, **options), input)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"max_iterations": True}, "max_iterations is True"),
        ({"on_error": "ignore"}, "'raise' or 'collect'"),
        ({"array_path": "$..x"}, "cannot be read at '..x'"),
        ({"array_path": 3}, "3 is not a path"),
    ],
)
def test_options_that_cannot_be(options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        each(shout, **options)


def test_bodies_that_cannot_be() -> None:
    with pytest.raises(GraphValidationError, match="has no body"):
        each().compile()
    with pytest.raises(
        GraphValidationError, match=r"runs 'wrk', which is no other node. Did you mean 'work'"
    ):
        each("wrk").add_node("work", shout).compile()
    graph = each("work").add_node("work", shout).add_edge("START", "work")
    with pytest.raises(GraphValidationError, match="'work' is run by 'each'; let the edge lead there"):
        graph.compile()
    with pytest.raises(GraphValidationError, match="Inside node 'each': The graph has no nodes"):
        each(StateGraph()).compile()
    with pytest.raises(GraphValidationError, match="its body"):
        each(3)


async def test_a_body_may_itself_run_others() -> None:
    def nested(results: list[Any]) -> dict[str, Any]:
        return {"nested": [[r["output"] for r in one["results"]] for one in results]}

    graph = StateGraph().add_node("outer", node_type="foreach").add_node("inner", node_type="foreach")
    graph.add_node("body", lambda item: item * 10).add_node("after", nested)
    events = [e async for e in Executor(graph.chain("START", "outer", "inner", "body", "after")).execute(
        {"items": [[1, 2], [3]]}
    )]  # fmt: skip
    assert events[-1].output["nested"] == [[10, 20], [30]]
    done = [(e.node_id, e.metadata.get("visit", 0)) for e in events if e.type == "node_complete"]
    assert len(done) == len(set(done)) == 7

    sub = StateGraph().add_node("a", lambda input: {"content": f"a{input['input']}"}).set_entry_point("a")
    graph = StateGraph().add_node("each", node_type="foreach").add_node("sub", sub)
    events = [e async for e in Executor(graph.chain("START", "each", "sub")).execute({"items": [1, 2]})]
    assert [e.node_id for e in events if e.type == "node_complete"] == ["sub.a", "sub"] * 2 + ["each"]
    assert events[-1].output["content"] == "a1\n\na2"


def test_nodes_that_would_run_each_other_are_refused() -> None:
    graph = StateGraph().add_node("x", "y", node_type="foreach").add_node("y", "x", node_type="foreach")
    with pytest.raises(GraphValidationError, match="'x' is run by 'y' is run by 'x'"):
        graph.set_entry_point("x").compile()


async def test_a_spent_budget_ends_the_run_whatever_becomes_of_failures() -> None:
    with AnswerServer("ok") as server:
        graph = StateGraph().add_node("each", node_type="foreach", on_error="collect").set_entry_point("each")
        graph.add_node("llm", node_type="llm", **server.options("chat")).add_edge("each", "llm")
        run = graph.run(
            {"items": ["a", "b", "c"]}, max_model_calls=2, backend=mesh_nb.MemoryBackend(), display=False
        )
        with pytest.raises(NodeExecutionError):
            await run
        assert (run.status, len(server.bodies)) == ("budget", 2)


async def test_questions_of_items_side_by_side_are_answered_in_any_order_and_no_answer_is_lost() -> None:
    ran: list[str] = []
    body = StateGraph().add_node("work", lambda item: ran.append(item) or {"content": item})
    body.add_node("ask", node_type="approval", message="{{$iteration_index}}?").chain("START", "work", "ask")
    graph = StateGraph().add_node("each", body, node_type="foreach", concurrency=3).set_entry_point("each")
    run = await graph.run(["a", "b", "c", "d"], backend=MemoryBackend(), display=False, on_no_answer="stop")
    seen: list[list[str]] = []
    while run.status == "interrupted":
        seen.append([question.message for question in run.pending])
        run = await run.approve(run.pending[-1].id)
    assert seen == [["0?", "1?", "2?"], ["0?", "1?", "3?"], ["0?", "1?"], ["0?"]]
    assert [r["content"] for r in run.output["results"]] == ["a", "b", "c", "d"]
    assert sorted(ran) == ["a", "b", "c", "d"]
    assert [e.type for e in run.events].count("interrupt") == 4


FRAMES = [
    pd.DataFrame({"a": [1, 2]}),
    pl.DataFrame({"a": [1, 2]}),
    {"rows": pd.DataFrame({"a": [1, 2]}), "title": "t"},
]


@pytest.mark.parametrize("given", FRAMES, ids=["pandas", "polars", "field"])
async def test_the_rows_of_a_frame_are_its_items(given: Any) -> None:
    assert await results(each(lambda a: {"twice": a * 2}), given) == [{"twice": 2}, {"twice": 4}]


@pytest.mark.parametrize(
    "given", [np.arange(1, 3), pd.Series([1, 2]), pl.Series([1, 2]), range(1, 3), (1, 2), deque([1, 2])]
)
async def test_whatever_holds_items_in_order_is_a_list(given: Any) -> None:
    assert await results(each(lambda item: {"twice": item * 2}), given) == [{"twice": 2}, {"twice": 4}]


@pytest.mark.parametrize("given", ["text", 3, {1, 2}, np.array(3), {"a": {1, 2}}])
async def test_what_holds_no_items_in_order_is_no_list(given: Any) -> None:
    with pytest.raises(NodeExecutionError, match=r"0 lists|There is no list to go through"):
        await results(each(lambda item: item), given)
