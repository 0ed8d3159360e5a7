"""Graphs as JSON: what is data goes out and comes back; what is code is named, and never run from a file."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb import Condition, GraphValidationError, StateGraph
from mesh_nb.core.errors import InputError, MeshError, UnknownNameError


def check(content: str) -> dict[str, Any]:
    return {"content": content, "ok": True}


def good(input: Any) -> bool:
    return True


def again(output: Any) -> bool:
    return False


def join(parents: dict[str, Any]) -> Any:
    return {"content": "+".join(parents)}


def population(city: str) -> int:
    """Return the number of inhabitants."""
    return len(city)


FUNCTIONS = {f.__name__: f for f in (check, good, again, join, population)} | {"add": operator.add}


def whole() -> StateGraph:
    """A graph with something of everything."""
    graph = StateGraph("whole")
    graph.add_node(
        "ask",
        None,
        node_type="llm",
        model="demo",
        system_prompt="In {{$vars.language}}",
        temperature=0.5,
        tools=[population],
        event_mode="status_only",
        config={"retry": {"max_retries": 2, "jitter": True}},
    )
    graph.add_node("check", check)
    graph.add_node("route", [Condition("yes", good, "left")], node_type="condition", default_target="right")
    inner = StateGraph("inner").add_node("in", check).set_entry_point("in")
    graph.add_node("left", inner, node_type="subgraph").add_node("right", check).add_node("end", check)
    graph.add_sequence(["START", "ask", "check", "route"])
    graph.add_edge("route", "left").add_edge("route", "right")
    graph.add_edge("check", "ask", is_loop_edge=True, loop_condition=again, max_iterations=3)
    graph.add_fan_in_edge(["left", "right"], "end", join).add_reducer("notes", operator.add)
    graph.add_conditional_edges("end", check, {True: "END", 3: "END"}, default="END")
    return graph.set_output("end").set_interrupt_before("end", condition=again, timeout=5)


def test_a_graph_comes_back_as_it_was() -> None:
    text = whole().to_json()
    made = StateGraph.from_json(text, FUNCTIONS)
    assert made.to_json() == text
    assert made.compile().outline == whole().compile().outline
    assert made.compile().retries == whole().compile().retries
    assert repr(made._pauses) == repr(whole()._pauses)
    assert isinstance(made, StateGraph)


async def test_a_graph_that_came_back_runs() -> None:
    graph = StateGraph("g").add_node("check", check).set_entry_point("check")
    made = StateGraph.from_json(graph.to_json(), {"check": check})
    run = await made.run({"content": "hello"}, backend=mesh.MemoryBackend(), display=False)
    assert run.output == {"content": "hello", "ok": True}


def test_all_names_that_are_missing_are_told_at_once() -> None:
    with pytest.raises(InputError) as told:
        StateGraph.from_json(whole().to_json(), {"check": check})
    for name in ("population", "good", "again", "join", "add"):
        assert repr(name) in str(told.value)
    assert "'check'" not in str(told.value)


def test_two_functions_of_one_name_stay_apart() -> None:
    graph = StateGraph().add_node("a", lambda: 1).add_node("b", lambda: 2).add_sequence(["START", "a", "b"])
    record = json.loads(graph.to_json())
    assert [n["node"] for n in record["nodes"]] == [{"$function": "a"}, {"$function": "b"}]
    made = StateGraph.from_json(record, {"a": check, "b": good})
    assert made.compile().outline == graph.compile().outline


def test_a_key_is_never_written_and_needs_not_be_given() -> None:
    graph = StateGraph().add_node(
        "llm", None, node_type="llm", model="gpt-4o", api_key="sk-secret", extra_headers={"X-Auth": "hush"}
    )
    text = graph.set_entry_point("llm").to_json()
    assert "sk-secret" not in text
    assert "hush" not in text
    StateGraph.from_json(text)
    made: Any = StateGraph.from_json(text, {"llm.api_key": "sk-other"}).nodes["llm"]
    assert made._settings.api_key == "sk-other"


def test_objects_are_named_after_their_place() -> None:
    class Agent:
        async def run_stream(self, input: Any, session_id: Any = None) -> Any:
            yield {}

    agent = Agent()
    graph = StateGraph().add_node("helper", agent, node_type="agent").set_entry_point("helper")
    text = graph.to_json()
    assert json.loads(text)["nodes"][0]["node"] == {"$given": "helper"}
    with pytest.raises(InputError, match="'helper'"):
        StateGraph.from_json(text)
    made: Any = StateGraph.from_json(text, {"helper": agent}).nodes["helper"]
    assert made.agent is agent


def test_a_server_in_a_file_gets_no_key_unless_it_is_allowed() -> None:
    graph = StateGraph().add_node("llm", None, node_type="llm", model="m", base_url="http://evil.example/v1")
    text = graph.set_entry_point("llm").to_json()
    with pytest.raises(InputError, match=r"evil\.example"):
        StateGraph.from_json(text)
    outer = StateGraph().add_node("sub", graph, node_type="subgraph").set_entry_point("sub").to_json()
    with pytest.raises(InputError, match="allow_base_url"):
        StateGraph.from_json(outer)
    assert StateGraph.from_json(outer, allow_base_url=True).to_json() == outer


def test_a_name_is_looked_up_and_never_imported() -> None:
    record: dict[str, Any] = {
        "mesh_nb": 1,
        "nodes": [{"id": "a", "node": {"$function": "os.system"}}],
        "edges": [{"source": "START", "target": "a"}],
    }
    with pytest.raises(InputError, match=r"os\.system"):
        StateGraph.from_json(record)
    record["nodes"] = [{"id": "a", "node": {"$part": "Popen", "fields": {"args": "ls"}}}]
    with pytest.raises(UnknownNameError, match="Popen"):
        StateGraph.from_json(record)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        "{}",
        '{"nodes": []}',
        '{"mesh_nb": 99}',
        '{"mesh_nb": 1, "nodes": 3}',
        '{"mesh_nb": 1, "nodes": [{}]}',
        '{"mesh_nb": 1, "nodes": [{"id": "a", "options": 3}]}',
        '{"mesh_nb": 1, "nodes": [{"id": "a", "type": "lllm"}]}',
        '{"mesh_nb": 1, "nodes": [{"id": "a", "type": "llm", "options": {"modle": "x"}}]}',
        '{"mesh_nb": 1, "edges": [{"source": "a"}]}',
        '{"mesh_nb": 1, "pauses": [{"node": "a", "when": "sometimes"}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_graph_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(MeshError):
        StateGraph.from_json(text)


def test_an_unfinished_graph_is_written_too() -> None:
    made = StateGraph.from_json(StateGraph("empty").to_json())
    with pytest.raises(GraphValidationError):
        made.compile()
    assert made.graph_id == "empty"


def test_dicts_that_look_like_names_stay_dicts() -> None:
    def tool(**given: Any) -> Any:
        return given

    odd = {"$function": "x", "plain": {"$dict": 1}}
    graph = StateGraph().add_node("t", tool, bindings={"a": odd, "b": {1: "one"}}).set_entry_point("t")
    made: Any = StateGraph.from_json(graph.to_json(), {"tool": tool}).nodes["t"]
    assert made.bindings == {"a": odd, "b": {1: "one"}}


@pytest.mark.parametrize(
    "record",
    [
        {"reducers": 5},
        {"aggregators": [1]},
        {"outputs": 5},
        {"branches": [{"source": "a", "fn": {"$function": "f"}, "mapping": 5}]},
        {"nodes": [{"id": "a", "node": {"$dict": 5}}]},
        {"nodes": [{"id": "a", "type": "condition", "node": [{"$part": "Condition", "fields": 5}]}]},
    ],
)
def test_what_is_of_another_shape_inside_is_refused_in_a_sentence(record: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="This is not the JSON of a graph: "):
        StateGraph.from_json({"mesh_nb": 1, **record}, functions={"f": print})
