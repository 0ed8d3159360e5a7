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


QUIET: dict[str, Any] = {"display": False}


def boss(server: AnswerServer, **agents: Any) -> StateGraph:
    """A graph of an orchestrator with these agents; a string is a node type."""
    graph = StateGraph().add_node("boss", None, "orchestrator", model_options=server.options("chat"))
    for name, agent in agents.items():
        if isinstance(agent, tuple):
            graph.add_node(name, node_type=agent[0], **agent[1])
        else:
            graph.add_node(name, agent)
        graph.add_edge("boss", name)
    return graph.set_entry_point("boss")


async def test_an_answer_to_an_agents_question_lets_it_go_on() -> None:
    with AnswerServer(calls(("ok", "x")), "Done.") as server:
        graph = boss(server, ok=("approval", {}))
        run = graph.run("q", backend=mesh_nb.MemoryBackend(), on_no_answer="wait", **QUIET)
        async for event in run:
            if event.type == "interrupt":
                assert event.node_id == "ok"
                run.approve()
    assert run.output["content"] == "Done."
    assert run.output["results"] == [{"agent": "ok", "task": "x", "output": {"input": "x"}}]


async def test_a_rejection_is_told_to_the_model() -> None:
    with AnswerServer(calls(("ok", "x")), "I may not.") as server:
        graph = boss(server, ok=("approval", {}))
        run = graph.run("q", backend=mesh_nb.MemoryBackend(), on_no_answer="wait", **QUIET)
        async for event in run:
            if event.type == "interrupt":
                run.reject("too dear")
        told = server.bodies[1]["messages"][-1]["content"]
    assert "too dear" in told
    assert run.output["content"] == "I may not."
    assert "too dear" in run.output["results"][0]["error"]


async def test_an_answer_that_comes_later_pays_for_nothing_twice() -> None:
    done: list[str] = []

    def researcher(input: Any) -> dict[str, str]:
        done.append(input["input"])
        return {"content": f"found {input['input']}"}

    said = (calls(("researcher", "a")), calls(("researcher", "b"), ("ok", "x")), "Done.")
    with AnswerServer(*said) as server:
        graph = boss(server, researcher=researcher, ok=("approval", {}))
        run = await graph.run("q", backend=mesh_nb.MemoryBackend(), on_no_answer="stop", **QUIET)
        assert (run.status, [q.node_id for q in run.pending]) == ("interrupted", ["ok"])
        run = await run.approve()
        assert len(server.bodies) == 3
        told = [m["content"] for m in server.bodies[-1]["messages"] if m["role"] == "tool"]
    assert run.output["content"] == "Done."
    assert told == ['{"content":"found a"}', '{"content":"found b"}', '{"input":"x"}']
    assert [(r["agent"], r["task"]) for r in run.output["results"]] == [
        *(("researcher", "a"), ("researcher", "b"), ("ok", "x"))
    ]
    assert done.count("a") == 1
    completed = [(e.node_id, e.metadata.get("visit", 0)) for e in run.events if e.type == "node_complete"]
    assert len(completed) == len(set(completed))
    starts = [str(e.type) for e in run.events]
    assert starts.count("step_start") == starts.count("step_complete") == 3


async def test_questions_of_agents_side_by_side_are_answered_in_any_order() -> None:
    said = (calls(("ok", "a"), ("ok", "b")), "Done.")
    with AnswerServer(*said) as server:
        graph = boss(server, ok=("approval", {}))
        run = await graph.run("q", backend=mesh_nb.MemoryBackend(), on_no_answer="stop", **QUIET)
        seen: list[list[Any]] = []
        while run.status == "interrupted":
            seen.append([question.data for question in run.pending])
            run = await run.approve(run.pending[-1].id)
        assert seen == [[{"input": "a"}, {"input": "b"}], [{"input": "a"}]]
        assert len(server.bodies) == 2
    assert [r["output"] for r in run.output["results"]] == [{"input": "a"}, {"input": "b"}]


async def test_agents_are_not_asked_again_when_the_model_fails_after_them() -> None:
    done: list[str] = []

    def researcher(input: Any) -> str:
        done.append(input["input"])
        return "found"

    with AnswerServer(calls(("researcher", "a")), b"data: broken\n\n", "Done.") as server:
        graph = boss(server, researcher=researcher)
        run = graph.run("q", backend=mesh_nb.MemoryBackend(), **QUIET)
        with pytest.raises(mesh_nb.NodeExecutionError):
            await run
        resumed = await graph.resume(run.id, backend=run._store, **QUIET)
    assert (resumed.text, done) == ("Done.", ["a"])
    assert resumed.output["results"] == [{"agent": "researcher", "task": "a", "output": {"output": "found"}}]


async def test_calls_of_agents_count_for_the_budget_and_a_spent_one_ends_the_run() -> None:
    with AnswerServer(calls(("helper", "x")), "helped", "Done.") as server:
        helper = ("llm", {**server.options("chat")})
        graph = boss(server, helper=helper)
        options: dict[str, Any] = {"backend": mesh_nb.MemoryBackend(), **QUIET}
        assert (await graph.run("q", max_model_calls=3, **options)).output["content"] == "Done."
        assert len(server.bodies) == 3
    with AnswerServer(calls(("helper", "x")), "helped", "Done.") as server:
        graph = boss(server, helper=("llm", server.options("chat")))
        run = graph.run("q", max_model_calls=1, backend=mesh_nb.MemoryBackend(), **QUIET)
        with pytest.raises(mesh_nb.NodeExecutionError) as caught:
            await run
        assert (run.status, len(server.bodies)) == ("budget", 1)
        # It is not told to the model, which would be asked again to read it.
        assert caught.value.node_id == "helper"


async def test_cancel_closes_the_agents() -> None:
    left: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append("waits")

    with AnswerServer(calls(("waits", "x"))) as server:
        run = boss(server, waits=waits).run("q", backend=mesh_nb.MemoryBackend(), **QUIET)
        async for event in run:
            if event.type == "node_start" and event.node_id == "waits":
                run.cancel()
    assert (run.status, left) == ("cancelled", ["waits"])
    kinds = [str(e.type) for e in run.events]
    assert kinds.count("tool_call_start") == kinds.count("tool_call_complete")
    assert kinds.count("step_start") == kinds.count("step_complete")


async def test_an_orchestrator_may_lead_others_and_be_inside_a_graph() -> None:
    with AnswerServer(calls(("lead", "x")), calls(("worker", "y")), "led", "Done.") as server:
        graph = boss(server, lead=("orchestrator", {"model_options": server.options("chat")}))
        graph.add_node("worker", lambda input: {"content": f"worked on {input['input']}"})
        graph.add_edge("lead", "worker")
        whole = StateGraph().add_node("sub", graph).set_entry_point("sub")
        events = await events_of(whole)
    done = [e.node_id for e in events if e.type == "node_complete"]
    assert done == ["sub.worker", "sub.lead", "sub.boss", "sub"]
    assert events[-1].output["content"] == "Done."
    assert events[-1].output["results"][0]["output"]["content"] == "led"


def test_agents_that_a_model_could_not_tell_apart_are_refused() -> None:
    with AnswerServer("x") as server:
        graph = boss(server, **{"a b": lambda: 1, "a_b": lambda: 2})
        with pytest.raises(GraphValidationError, match="'a b' and 'a_b' would both be the tool 'a_b'"):
            graph.compile()
