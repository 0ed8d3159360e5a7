"""The orchestrator: agents are tools of a model, and their events are in the run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from answer_server import AnswerServer, sse

import mesh_nb
from mesh_nb import Executor, GraphValidationError, StateGraph


def calls(*wanted: tuple[str, str]) -> bytes:
    """A streamed chat answer that calls tools."""
    made = [
        {
            "index": n,
            "id": f"call_{name}_{n}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps({"task": task})},
        }
        for n, (name, task) in enumerate(wanted)
    ]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m"}
    chunks = [
        {**base, "choices": [{"index": 0, "delta": {"tool_calls": made}, "finish_reason": None}]},
        {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    return sse(*chunks) + b"data: [DONE]\n\n"


def team(server: AnswerServer, **options: Any) -> StateGraph:
    graph = StateGraph().add_node(
        *("boss", None, "orchestrator"), model_options=server.options("chat"), **options
    )
    both = asyncio.Barrier(2)

    async def researcher(input: Any) -> dict[str, Any]:
        await both.wait()
        return {"content": f"found {input['input']}"}

    class Writer(mesh_nb.BaseNode):
        description = "Writes texts."

        async def execute(self, input: Any, context: Any) -> Any:
            await both.wait()
            yield f"wrote {input['input']}"

    return graph.add_node("researcher", researcher).add_node("writer", Writer).set_entry_point("boss")


async def events_of(graph: StateGraph) -> list[Any]:
    return [e async for e in Executor(graph).execute("Do it.")]


async def test_agents_are_called_at_once_and_their_events_are_in_the_run() -> None:
    with AnswerServer(calls(("researcher", "x"), ("writer", "y")), "All done.") as server:
        graph = team(server, system_prompt="Be quick.").chain("boss", ["researcher", "writer"])
        graph.add_node("after", lambda content, results: {"content": content, "n": len(results)})
        events = await events_of(graph.add_edge("researcher", "after"))
        first, second = server.bodies
    assert events[-1].output == {"content": "All done.", "n": 2}
    ended = [e.node_id for e in events if e.type == "node_complete"]
    assert sorted(ended[:2]) == ["researcher", "writer"]
    assert ended[2:] == ["boss", "after"]
    assert [e.content for e in events if e.type == "token"] == ["wrote y", "All done."]
    tools = {t["function"]["name"]: t["function"]["description"] for t in first["tools"]}
    assert tools == {"researcher": "The agent researcher.", "writer": "Writes texts."}
    assert "Be quick." in first["messages"][0]["content"]
    assert [m["content"] for m in second["messages"] if m["role"] == "tool"] == [
        '{"content":"found x"}',
        '{"content":"wrote y"}',
    ]
    boss = next(e for e in events if e.type == "node_complete" and e.node_id == "boss")
    assert boss.output["results"] == [
        {"agent": "researcher", "task": "x", "output": {"content": "found x"}},
        {"agent": "writer", "task": "y", "output": {"content": "wrote y"}},
    ]


async def test_named_agents_descriptions_and_raw_results() -> None:
    with AnswerServer(calls(("researcher", "x"), ("researcher", "z")), "All done.") as server:
        graph = team(server, agents={"researcher": "Finds."}, result_mode="raw")
        graph.add_node("after", lambda content: {"content": content}).chain("boss", "after")
        del graph.nodes["writer"]
        events = await events_of(graph)
        [tool] = server.bodies[0]["tools"]
    assert tool["function"]["description"] == "Finds."
    assert events[-1].output["content"] == "found x\n\nfound z"
    visits = [
        e.metadata.get("visit", 0) for e in events if e.type == "node_start" and e.node_id == "researcher"
    ]
    assert sorted(visits) == [0, 1]


async def test_an_agent_that_fails_is_told_to_the_model() -> None:
    def broken(input: Any) -> None:
        raise ValueError("out of paper")

    with AnswerServer(calls(("printer", "x")), "It cannot.") as server:
        graph = StateGraph().add_node("boss", None, "orchestrator", model_options=server.options("chat"))
        events = await events_of(graph.add_node("printer", broken).chain("START", "boss", "printer"))
        told = server.bodies[1]["messages"][-1]["content"]
    assert events[-1].output["content"] == "It cannot."
    assert "out of paper" in told
    assert [e.node_id for e in events if e.type == "node_error"] == ["printer"]


async def test_a_question_of_an_agent_is_one_of_the_run() -> None:
    with AnswerServer(calls(("ok", "x")), "Done.") as server:
        graph = StateGraph().add_node("boss", None, "orchestrator", model_options=server.options("chat"))
        graph.add_node("ok", node_type="approval").chain("START", "boss", "ok")
        stopped = await events_of(graph)
    assert stopped[-1].metadata["status"] == "interrupted"
    assert len(server.bodies) == 1


def test_what_cannot_be() -> None:
    with AnswerServer("x") as server:
        with pytest.raises(GraphValidationError, match="nobody to hand work to"):
            StateGraph().add_node("boss", None, "orchestrator", model="demo").set_entry_point(
                "boss"
            ).compile()
        with pytest.raises(GraphValidationError, match="Did you mean 'writer'"):
            team(server, agents=["writr"]).compile()
    with pytest.raises(GraphValidationError, match=r"write agents=\['a'\]"):
        StateGraph().add_node("boss", None, "orchestrator", agents="a")
    with pytest.raises(GraphValidationError, match="'synthesize' or 'raw'"):
        StateGraph().add_node("boss", None, "orchestrator", result_mode="x")
