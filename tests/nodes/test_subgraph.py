"""A graph inside a graph: isolation, mappings, ids, and what passes through exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from run_doubles import Speaker, response

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


class Template(mesh_nb.BaseNode):
    def __init__(self, id: str, text: str) -> None:
        super().__init__(id)
        self.templates = (text,)

    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        return {"content": templates.resolve(self.templates[0], context), "secret": 1}


async def events_of(graph: StateGraph, input: Any = "q", context: Any = None, **options: Any) -> list[Any]:
    return [e async for e in Executor(graph).execute(input, context, **options)]


async def kept(graph: StateGraph, seen: list[Any]) -> None:
    async for event in Executor(graph).execute("q"):
        seen.append(event)


def around(inner: Any, **options: Any) -> StateGraph:
    graph = StateGraph("outer").add_node("plan", lambda: {"content": "the plan", "topic": "sea"})
    return graph.add_node("sub", inner, **options).chain("START", "plan", "sub")


async def test_tokens_and_usage_pass_through_under_the_names_of_both() -> None:
    inner = StateGraph("inner").add_node("say", Speaker("say", ["a", "b"], events=[response(cost_usd=0.5)]))
    inner.set_entry_point("say")
    backend = MemoryBackend()
    execution = Executor(around(inner), backend).start("q")
    events = [e async for e in execution]
    kinds = [e.type for e in events]
    assert kinds.count("execution_start") == kinds.count("execution_complete") == 1
    assert [e.node_id for e in events if e.type in ("token", "response_metadata")] == ["sub.say"] * 3
    assert [e.content for e in events if e.type == "token"] == ["a", "b"]
    assert events[-1].metadata["cost_usd"] == 0.5
    assert events[-1].metadata["usage"] == {"prompt_tokens": 1000}
    assert events[-1].output == {"content": "ab"}
    assert [e.seq for e in events] == list(range(len(events)))
    assert {type(e).__name__ for e in events} == {"ExecutionEvent"}
    logged = [e.to_dict() for e in backend.load(execution.run_id).events]
    assert logged == [e.to_dict() for e in events]


async def test_54_isolated_subgraphs_return_only_mapped_keys() -> None:
    def remember(state: dict[str, Any]) -> dict[str, Any]:
        state["inside"] = True
        return {"content": "done", "kept": sorted(state)}

    inner = StateGraph().add_node("say", Template, text="{{$input.about}} {{$question}}")
    inner.add_node("remember", remember).chain("START", "say", "remember")
    context = ExecutionContext(
        state={"mine": 1, "other": 2}, chat_history=[{"role": "user", "content": "hi"}]
    )
    graph = around(
        inner,
        input_mapping={"about": "$.topic", "text": "<{{plan.content}}>", "n": lambda input: len(input)},
        output_mapping={"names": "kept", "text": lambda output: output["content"].upper()},
        inherit_keys=["mine"],
    )
    events = await events_of(graph, "q", context)
    outputs = {e.node_id: e.output for e in events if e.type == "node_complete"}
    assert outputs["sub"] == {"names": ["inside", "mine"], "text": "DONE"}
    assert outputs["sub.say"]["content"].startswith("sea {")
    assert context.state == {"mine": 1, "other": 2}
    assert len(context.chat_history) == 3


async def test_a_graph_that_is_not_isolated_shares_state_and_outputs() -> None:
    def remember(state: dict[str, Any]) -> dict[str, Any]:
        state["inside"] = True
        return {}

    inner = StateGraph().add_node("remember", remember).set_entry_point("remember")
    context = ExecutionContext(state={"mine": 1})
    await events_of(around(inner, isolated=False), "q", context)
    assert context.state == {"mine": 1, "inside": True}


async def test_a_failure_names_the_node_inside_once_and_nothing_stays_open() -> None:
    inner = StateGraph().add_node("say", Speaker("say", ["a"], fails=ValueError("broken")))
    inner.set_entry_point("say")
    seen: list[Any] = []
    with pytest.raises(NodeExecutionError, match=r"'sub\.deep\.say' failed: ValueError: broken") as caught:
        await kept(around(StateGraph().add_node("deep", inner).set_entry_point("deep")), seen)
    assert isinstance(caught.value.cause, ValueError)
    assert [e.node_id for e in seen if e.type == "node_error"] == ["sub.deep.say"]
    assert [e.type for e in seen if e.type == "execution_error"] == ["execution_error"]
    assert [e.type for e in seen if e.type.startswith("message")] == ["message_start", "message_complete"]


async def test_leaving_closes_the_nodes_inside() -> None:
    speaker = Speaker("say", ["a"], wait=asyncio.Event().wait)
    inner = StateGraph().add_node("say", speaker).set_entry_point("say")
    execution = Executor(around(inner)).start("q")
    events = execution.events()
    async for event in events:
        if event.type == "token":
            break
    await events.aclose()
    assert speaker.closed
    assert [(e.type, e.node_id) for e in execution.tail] == [
        ("message_complete", "sub.say"),
        ("execution_error", "START"),
    ]


async def test_questions_inside_are_answered_by_the_run() -> None:
    inner = StateGraph().add_node("ok", node_type="approval").set_entry_point("ok")
    events = await events_of(around(inner), on_no_answer="allow")
    asked = [(e.type, e.node_id) for e in events if e.type.startswith("interrupt")]
    assert asked == [("interrupt", "sub.ok"), ("interrupt_resolved", "sub.ok")]
    stopped = await events_of(around(inner))
    assert stopped[-1].metadata["status"] == "interrupted"
    assert [e.node_id for e in stopped if e.type == "node_error"] == []


async def test_parallel_branches_inside_overlap_and_loops_outside_number_the_visits() -> None:
    both = asyncio.Barrier(2)

    async def meet(input: Any) -> dict[str, Any]:
        await both.wait()
        return {"content": "x"}

    inner = StateGraph().add_node("a", meet).add_node("b", meet).chain("START", ["a", "b"])
    graph = around(inner).add_node("again", node_type="loop", loop_back_to="sub", max_loop_count=2)
    events = await events_of(graph.chain("sub", "again"))
    visits = [(e.node_id, e.metadata.get("visit", 0)) for e in events if e.type == "node_start"]
    inside = [v for v in visits if v[0].startswith("sub.")]
    assert len(inside) == len(set(inside)) == 6


async def test_one_graph_serves_as_several_nodes_and_runs_at_once() -> None:
    inner = StateGraph().add_node("say", Template, text="{{$question}}").set_entry_point("say")
    graph = StateGraph().add_node("one", inner).add_node("two", inner).chain("START", ["one", "two"])
    executor = Executor(graph)

    async def text(question: str) -> str:
        return [e async for e in executor.execute(question)][-1].output["content"]

    assert await asyncio.gather(text("x"), text("y")) == ["x\n\nx", "y\n\ny"]


def test_what_cannot_be_a_subgraph() -> None:
    inner = StateGraph().add_node("say", Template, text="{{nobody}}")
    with pytest.raises(GraphValidationError) as caught:
        around(inner).compile()
    assert all(e.startswith("Inside node 'sub': ") for e in caught.value.errors)
    assert len(caught.value.errors) == 2
    with pytest.raises(GraphValidationError, match="needs a graph"):
        StateGraph().add_node("sub", 3, node_type="subgraph")
    with pytest.raises(GraphValidationError, match=r"input_mapping\['x'\]: 3 is not a path"):
        around(inner, input_mapping={"x": 3})
    with pytest.raises(GraphValidationError, match="input_mapping= is a dict"):
        around(inner, input_mapping=["x"])


async def test_checks_of_the_nodes_inside_come_before_the_run() -> None:
    inner = (
        StateGraph().add_node("ask", node_type="llm", model="no-such-model-anywhere").set_entry_point("ask")
    )
    with pytest.raises(mesh_nb.MeshError, match="no-such-model-anywhere"):
        Executor(around(inner)).start("q")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"input_mapping": {"a": "$.b"}},
            r"no 'b' in the input, for input_mapping\['a'\]\. It has 'x'",
        ),
        (
            {"output_mapping": {"a": "$.conten"}},
            r"no 'conten' in the output of the graph inside, for output_mapping.*mean 'content'",
        ),
    ],
)
async def test_a_mapping_that_finds_nothing_says_where(options: dict[str, Any], says: str) -> None:
    inner = StateGraph("in").add_node("n", lambda input: {"content": "c"}).set_entry_point("n")
    graph = StateGraph().add_node("s", inner, **options).set_entry_point("s")
    with pytest.raises(NodeExecutionError, match=says):
        await graph.run({"x": 1}, backend=MemoryBackend())
