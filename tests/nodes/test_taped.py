"""What a tape has beside model calls: results of tools, answers of people, whole runs of foreign agents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_doubles import EVERYTHING, Scripted

import mesh_nb as mesh
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.core.tape import stop
from mesh_nb.testing import Reply, ScriptedModel, check_events

VOLATILE = {
    "run_id",
    "timestamp",
    "duration_ms",
    "time_to_first_token_ms",
    "interrupt_id",
    "call_id",
    "cost_usd",
}
FREE = {"cost_source", "original_cost_usd", "replayed", "trace_id", "by"}


@pytest.fixture(autouse=True)
def no_tape_is_left() -> Iterator[None]:
    yield
    assert stop() is None


def plain(events: list[ExecutionEvent]) -> list[Any]:
    """What a replay has in common with the recording; ids of tool nodes' calls are made for each run."""
    found: list[Any] = []
    for event in events:
        known = {k: v for k, v in event.metadata.items() if k not in VOLATILE | FREE}
        if str(known.get("tool_call_id", "")).startswith("call_"):
            del known["tool_call_id"]
        found.append((event.type, event.node_id, event.content, event.output, event.error, known))
    return found


def run(graph: mesh.StateGraph, question: Any = "Oslo", **options: Any) -> mesh.Run:
    return graph.run_sync(question, backend=mesh.MemoryBackend(), display=False, **options)


def failed(graph: mesh.StateGraph, **options: Any) -> mesh.NodeExecutionError:
    with pytest.raises(mesh.NodeExecutionError) as caught:
        run(graph, **options)
    return caught.value


class Weather:
    """A tool that counts its calls, and a graph with a model that asks for it."""

    def __init__(self, *cities: str, fails: str = "", **options: Any) -> None:
        self.calls: list[str] = []
        self.fails = fails
        self.tool = mesh.tool(**options)(self.weather)
        self.cities = cities or ("Oslo",)
        self.model = ScriptedModel(self.reply, repeat=True)

    def reply(self, messages: list[Any]) -> Reply | str:
        if messages[-1]["role"] == "tool":
            return f"It is {messages[-1]['content']}."
        return Reply(tool_calls=[("weather", {"city": city}) for city in self.cities])

    def weather(self, city: str) -> str:
        """Say how the weather is."""
        self.calls.append(city)
        if self.fails:
            raise ValueError(self.fails)
        return f"rain number {len(self.calls)}"

    @property
    def graph(self) -> mesh.StateGraph:
        made = mesh.StateGraph().add_node(
            "llm", None, node_type="llm", **self.model.options, tools=[self.tool]
        )
        return made.set_entry_point("llm")


def test_the_result_of_a_tool_is_recorded_and_replayed(tmp_path: Path):
    weather = Weather()
    with mesh.record(tmp_path / "t", speed=0) as tape:
        first = run(weather.graph)
        assert len(tape) == 3
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(weather.graph)
    assert weather.calls == ["Oslo"]
    assert again.text == first.text == "It is rain number 1."
    assert plain(again.events) == plain(first.events)
    done = [next(e for e in r.events if e.type == "tool_call_complete") for r in (first, again)]
    assert [e.metadata.get("replayed", False) for e in done] == [False, True]
    check_events(again.events)


def test_an_error_of_a_tool_is_replayed_as_one(tmp_path: Path):
    weather = Weather(fails="no clouds")
    texts: list[str] = []
    for mode in ("once", "none"):
        with mesh.record(tmp_path / "t", mode=mode, speed=0):
            texts.append(run(weather.graph).text)
    assert weather.calls == ["Oslo"]
    assert texts == ["It is Error: ValueError: no clouds."] * 2


@pytest.mark.parametrize(
    ("made", "recorded"),
    [({"live": True}, {}), ({}, {"live_tools": ["weather"]}), ({}, {"live_tools": True})],
)
def test_a_live_tool_is_called_each_time(tmp_path: Path, made: dict[str, Any], recorded: dict[str, Any]):
    weather = Weather(**made)
    with mesh.record(tmp_path / "t", speed=0, **recorded):
        run(weather.graph)
        run(weather.graph)
    assert weather.calls == ["Oslo", "Oslo"]


def test_calls_side_by_side_are_told_apart_by_what_they_ask(tmp_path: Path):
    weather = Weather("Oslo", "Rome", "Oslo")
    with mesh.record(tmp_path / "t", speed=0):
        first = run(weather.graph)
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(weather.graph)
    assert len(weather.calls) == 3
    calls = [
        {c["id"].rpartition(".")[2]: c["output"] for c in r.output["tool_calls"][:3]} for r in (first, again)
    ]
    assert calls[0].keys() == calls[1].keys()
    assert sorted(calls[0].values()) == sorted(calls[1].values())
    assert calls[0]["1"] == calls[1]["1"]


def test_a_tool_call_that_the_tape_has_not_says_what_differs(tmp_path: Path):
    def graph(city: str) -> mesh.StateGraph:
        tool = mesh.tool(lookup)
        return (
            mesh.StateGraph()
            .add_node("look", tool, node_type="tool", bindings={"city": city})
            .set_entry_point("look")
        )

    with mesh.record(tmp_path / "t"):
        run(graph("Oslo"), {"q": 1})
    with mesh.record(tmp_path / "t", mode="none"):
        error = failed(graph("Rome"))
    assert isinstance(error.cause, mesh.TapeMissError)
    assert "tool 'lookup'" in str(error)
    assert "arguments.city: 'Oslo' there, 'Rome' here" in str(error)


CALLED: list[str] = []


def lookup(city: str) -> dict[str, Any]:
    """Look a city up."""
    CALLED.append(city)
    if city == "Atlantis":
        raise KeyError(city)
    return {"city": city, "call": len(CALLED)}


@pytest.mark.parametrize("city", ["Oslo", "Atlantis"])
def test_a_tool_as_a_node_is_recorded_with_its_failure(tmp_path: Path, city: str):
    CALLED.clear()
    graph = mesh.StateGraph().add_node("look", mesh.tool(lookup), node_type="tool").set_entry_point("look")
    seen: list[Any] = []
    for mode in ("once", "none"):
        with mesh.record(tmp_path / "t", mode=mode, speed=0):
            try:
                seen.append(run(graph, {"city": city}).output)
            except mesh.NodeExecutionError as error:
                seen.append(str(error))
    assert [city] == CALLED
    assert seen[0] == seen[1]


def test_a_plain_function_and_a_result_that_is_no_json_are_made_each_time(tmp_path: Path):
    made: list[Any] = []

    def give(kind: str) -> Any:
        """Give something."""
        made.append(kind)
        return {"value": {1, 2}} if kind == "set" else {"value": 1}

    graph = mesh.StateGraph()
    graph.add_node("tool", mesh.tool(give), node_type="tool", bindings={"kind": "set"})
    graph.add_node("plain", lambda value: {"sum": sum(value), "n": made.append("plain")})
    graph.add_sequence(["tool", "plain"]).set_entry_point("tool")
    with mesh.record(tmp_path / "t", speed=0):
        outputs = [run(graph).output]
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        outputs.append(run(graph).output)
    assert outputs[0] == outputs[1]
    assert outputs[0]["sum"] == 3
    assert made == ["set", "plain"] * 2


async def answered(graph: mesh.StateGraph, answer: Any) -> mesh.Run:
    started = graph.run("Oslo", backend=mesh.MemoryBackend(), display=False, on_no_answer="wait")
    async for event in started:
        if event.type == "interrupt":
            answer(started)
    return await started


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (lambda r: r.approve(), ["Oslo"]),
        (lambda r: r.reject("Too wet."), []),
        (lambda r: r.edit({"city": "Rome"}), ["Rome"]),
    ],
)
def test_what_a_person_said_is_replayed(tmp_path: Path, answer: Any, calls: list[str]):
    weather = Weather(requires_approval=True)
    with mesh.record(tmp_path / "t", speed=0):
        first = asyncio.run(answered(weather.graph, answer))
    assert weather.calls == calls
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(weather.graph)  # a run that has nobody to ask
    assert weather.calls == calls
    assert again.status == "completed"
    assert again.pending == []
    assert plain(again.events) == plain(first.events)


def test_an_approval_node_is_answered_by_the_tape(tmp_path: Path):
    graph = mesh.StateGraph().add_node("ask", None, node_type="approval", message="Send it?")
    graph.set_entry_point("ask")
    with mesh.record(tmp_path / "t"):
        first = asyncio.run(answered(graph, lambda r: r.edit({"content": "Later."})))
    with mesh.record(tmp_path / "t", mode="none"):
        again = run(graph)
    assert again.status == "completed"
    assert plain(again.events) == plain(first.events)


def test_nobodys_answer_is_not_recorded(tmp_path: Path):
    weather = Weather(requires_approval=True)
    with mesh.record(tmp_path / "t", speed=0) as tape:
        assert run(weather.graph, on_no_answer="deny").status == "completed"
        assert len(tape) == 2
        assert run(weather.graph, on_no_answer="allow").text == "It is rain number 1."


def agent_graph(agent: Any, **options: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("agent", agent, node_type="agent", **options).set_entry_point("agent")


def test_a_foreign_agents_whole_stream_is_replayed(tmp_path: Path):
    agent = Scripted(EVERYTHING)
    with mesh.record(tmp_path / "t", speed=0):
        first = run(agent_graph(agent))
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(agent_graph(agent))
    assert len(agent.asked) == 1
    assert plain(again.events) == plain(first.events)
    assert again.files[0].data == first.files[0].data
    assert [e.metadata["replayed"] for e in again.events if e.type == "response_metadata"] == [True, True]


def test_another_agent_model_question_or_option_misses(tmp_path: Path):
    async def parrot(message: str, loud: bool = False) -> Any:
        yield message.upper() if loud else message

    with mesh.record(tmp_path / "t", speed=0) as tape:
        for graph, question in [
            (agent_graph(parrot), "Hello"),
            (agent_graph(parrot), "Hullo"),
            (agent_graph(parrot, run_options={"loud": True}), "Hello"),
            (agent_graph(parrot, system_prompt="Sing."), "Hello"),
            (agent_graph(Scripted(EVERYTHING)), "Hello"),
            (agent_graph(Scripted(EVERYTHING, model="other")), "Hello"),
        ]:
            before = len(tape)
            run(graph, question)
            run(graph, question)
            assert len(tape) == before + 1


def test_a_failure_of_an_agent_is_replayed_with_what_it_had_said(tmp_path: Path):
    agent = Scripted([*EVERYTHING[:10], RuntimeError("out of seed")])
    messages: list[str] = []
    texts: list[str] = []
    for mode in ("once", "none"):
        with mesh.record(tmp_path / "t", mode=mode, speed=0):
            error = failed(agent_graph(agent))
            messages.append(str(error))
            texts.append(error.run.text)
    assert len(agent.asked) == 1
    assert messages[0] == messages[1]
    assert "out of seed" in messages[0]
    assert texts[0] == texts[1] == "I will search."
