"""The kit for tests of graphs: scripted models and checks of event streams."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.core.events import EventType
from mesh_nb.testing import Reply, ScriptedModel, check_events, comparable, tool_calls


def weather(city: str) -> str:
    """Say the weather of a city."""
    return f"rain in {city}"


def graph_of(**options: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("llm", None, node_type="llm", **options).set_entry_point("llm")


def ask(graph: Any, question: str = "Umbrella?") -> mesh.Run:
    return graph.run_sync(question, backend=mesh.MemoryBackend(), display=False)


def test_a_tool_loop_without_a_key():
    model = ScriptedModel(Reply(tool_calls=[("weather", {"city": "Oslo"})]), "It rains in Oslo.")
    run = ask(graph_of(tools=[weather], **model.options))
    assert run.text == "It rains in Oslo."
    assert tool_calls(run.events) == [("weather", {"city": "Oslo"})]
    assert model.asked(1)[-1]["content"] == "rain in Oslo"
    assert run.cost_usd == 0
    check_events(run.events)


def test_it_stands_in_for_the_models_of_a_graph(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    graph = graph_of(model="gpt-5").add_node("second", None, node_type="llm", model="claude-opus-4-5")
    graph.add_edge("llm", "second")
    model = ScriptedModel("first", "last")
    run = ask(model.instead_of(graph))
    assert run.text == "last"
    assert len(model.calls) == 2
    with pytest.raises(mesh.MeshError, match="'second'"):
        model.instead_of(graph, ["secnd"])
    with pytest.raises(mesh.MeshError, match="OPENAI_API_KEY"):
        ask(graph)


def test_it_stands_in_for_the_models_inside_of_nodes(monkeypatch: pytest.MonkeyPatch):
    for name in ("OPENAI_API_KEY", "MESH_MODEL"):
        monkeypatch.delenv(name, raising=False)
    body = graph_of(model="gpt-5")
    graph = mesh.StateGraph().add_node("sub", body, node_type="subgraph")
    graph.add_node(
        "choose",
        None,
        node_type="condition",
        model="gpt-5",
        scenarios=[{"name": "wet", "description": "It rains.", "target": "find"}],
    )
    graph.add_node("find", None, node_type="dynamic_tool_selector", model="gpt-5", tools=[weather])
    graph.add_sequence(["sub", "choose"]).set_entry_point("sub")
    model = ScriptedModel("one", '{"scenario": "wet"}', "two")
    run = ask(model.instead_of(graph))
    assert run.text == "two"
    assert len(model.calls) == 3
    with pytest.raises(mesh.MeshError, match="OPENAI_API_KEY"):
        ask(model.instead_of(graph, ["sub"]))


def test_what_a_reply_may_hold():
    reply = Reply(
        "Yes, it does.",
        reasoning="Look it up.",
        sources=[{"url": "https://example.org", "title": "Weather"}],
        usage={"prompt_tokens": 7},
        finish_reason="length",
    )
    run = ask(graph_of(**ScriptedModel(reply).options))
    assert "".join(e.content or "" for e in run.events if e.type == "reasoning_token") == "Look it up."
    assert run.sources[0].get("title") == "Weather"
    assert run.usage == {"prompt_tokens": 7}
    assert next(e for e in run.events if e.type == "message_complete").metadata["finish_reason"] == "length"
    check_events(run.events)


def test_a_reply_may_be_made_from_the_question():
    model = ScriptedModel(lambda messages: f"You said: {messages[-1]['content']}", repeat=True)
    graph = graph_of(**model.options)
    assert [ask(graph, question).text for question in ("a", "b")] == ["You said: a", "You said: b"]


def test_a_failure_keeps_what_came_before_it():
    graph = graph_of(**ScriptedModel(Reply("Half an", error="the line is down")).options)
    with pytest.raises(mesh.NodeExecutionError, match="the line is down") as caught:
        ask(graph)
    run = caught.value.run
    assert run is not None
    assert run.text == "Half an"
    check_events(run.events)


def test_one_question_too_many_shows_it():
    model = ScriptedModel("only one")
    graph = graph_of(**model.options)
    ask(graph)
    with pytest.raises(mesh.NodeExecutionError, match="Another one"):
        ask(graph, "Another one")
    with pytest.raises(mesh.MeshError, match="asked 1 times"):
        model.asked(3)


def test_the_same_test_gives_the_same_events():
    def once() -> list[Any]:
        run = ask(graph_of(**ScriptedModel(Reply("Same.", reasoning="Why not?")).options))
        return [(e.type, e.content, e.output) for e in run.events]

    assert once() == once()


@pytest.mark.parametrize("reply", [None, 3, {"text": "x"}])
def test_what_is_no_reply(reply: Any):
    with pytest.raises(mesh.MeshError, match="not a reply"):
        ScriptedModel(reply)


def test_runs_that_did_the_same_are_comparable(tmp_path: Path):
    call = Reply(reasoning="Hm.", tool_calls=[("weather", {"city": "Oslo"})])
    model = ScriptedModel(call, "It rains.", call, "It rains.", call, "It does not.")
    graph = graph_of(tools=[weather], **model.options)
    with mesh.record(tmp_path / "t"):
        recorded = ask(graph)
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        replayed = ask(graph)
    same, other = ask(graph), ask(graph)
    first, *again = (comparable(run.events) for run in (recorded, replayed, same, other))
    assert again[0] == first
    assert again[1] == first
    assert again[2] != first
    assert [e["content"] for e in first if e["type"] == "token"] == ["It rains."]


def test_a_broken_stream_is_found():
    run = ask(graph_of(**ScriptedModel(Reply("Yes.", reasoning="Hm.")).options))
    events = run.events
    kinds = [e.type for e in events]

    def without(kind: str) -> list[Any]:
        left = [e for e in events if e.type != kind]
        return [dataclasses.replace(e, seq=n) for n, e in enumerate(left)]

    for kind in (
        "execution_complete",
        "message_start",
        "reasoning_end",
        "node_complete",
        "response_metadata",
    ):
        with pytest.raises(AssertionError):
            check_events(without(kind))
    with pytest.raises(AssertionError, match="seq"):
        check_events([*events[:3], *events[4:]])
    with pytest.raises(AssertionError, match="out of place"):
        check_events(events[1:])
    with pytest.raises(AssertionError, match="no events"):
        check_events([])
    assert kinds[0] == EventType.EXECUTION_START


async def test_a_call_that_a_budget_refuses_asks_nothing() -> None:
    model = ScriptedModel("one", "two")
    graph = mesh.StateGraph().add_node("a", node_type="llm", **model.options)
    graph.add_node("b", node_type="llm", **model.options).set_entry_point("a").add_edge("a", "b")
    run = graph.run("q", max_model_calls=1, backend=mesh.MemoryBackend())
    with pytest.raises(mesh.NodeExecutionError, match="max_model_calls=1"):
        await run
    assert (run.status, len(model.calls)) == ("budget", 1)
    check_events(run.events)
