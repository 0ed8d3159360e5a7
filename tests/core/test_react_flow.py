"""Graphs from React Flow and Flowise JSON: what comes over, and what in it is never executed unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb import InvalidNodeTypeError, MemoryBackend, StateGraph, from_react_flow
from mesh_nb.core.errors import InputError, MeshError, UnknownNameError


def node(node_id: str, kind: str, **inputs: Any) -> dict[str, Any]:
    data = {"name": f"{kind}Agentflow", "label": node_id, "inputs": inputs}
    return {"id": node_id, "type": "agentFlow", "position": {"x": 1, "y": 2}, "data": data}


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{source}-{target}", "source": source, "target": target, **more}


def flow(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "nodes": [part for part in parts if "source" not in part],
        "edges": [part for part in parts if "source" in part],
    }


def ran(events: list[Any]) -> list[str]:
    return [e.node_id for e in events if e.type == "node_complete"]


async def run(graph: StateGraph, input: Any = "hi") -> Any:
    return await graph.run(input, backend=MemoryBackend(), display=False)


def upper(input: Any) -> dict[str, Any]:
    return {"content": str(input["input"]).upper()}


def test_a_chain_of_model_and_tool_comes_over() -> None:
    made = from_react_flow(
        flow(
            node("start_0", "start"),
            node(
                "llm_0",
                "llm",
                modelName="demo",
                systemPrompt="Be brief",
                temperature="0.5",
                maxTokens="100",
                eventMode="silent",
                tools=[{"name": "upper", "description": "d"}],
            ),
            node("tool_0", "tool", tool="upper"),
            node("end_0", "end"),
            edge("start_0", "llm_0"),
            edge("llm_0", "tool_0"),
            edge("tool_0", "end_0"),
        ),
        tools={"upper": upper},
    )
    llm: Any = made.nodes["llm_0"]
    assert (llm.model, llm.system_prompt) == ("demo", "Be brief")
    assert (llm._settings.temperature, llm._settings.max_tokens) == (0.5, 100)
    assert [t.name for t in llm._settings.tools] == ["upper"]
    edges = [(e["source"], e["target"]) for e in made.compile().outline["edges"]]
    assert edges == [("START", "llm_0"), ("llm_0", "tool_0"), ("tool_0", "END")]
    assert made.compile().outline["nodes"][0]["event_mode"] == "silent"


async def test_a_graph_that_came_over_runs() -> None:
    made = from_react_flow(
        json.dumps(flow(node("s", "start"), node("t", "tool", tool="upper"), edge("s", "t"))),
        tools={"upper": upper},
    )
    assert (await run(made)).text == "HI"


CODE = """\
import pathlib
pathlib.Path({path!r}).write_text("it ran")

def shout(input):
    return {{"content": input["input"] + "!"}}
"""


async def test_code_in_a_flow_is_not_executed_unless_it_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    given = flow(
        node("s", "start"), node("t", "tool", tool="shout", code=CODE.format(path=str(path))), edge("s", "t")
    )
    with pytest.raises(InputError, match="allow_code=True"):
        from_react_flow(given)
    assert not path.exists()
    made = from_react_flow(given, allow_code=True)
    assert path.read_text() == "it ran"
    assert (await run(made)).text == "hi!"


def test_a_tool_of_ones_own_goes_before_the_code_of_the_flow(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    tool = {"name": "shout", "code": CODE.format(path=str(path))}
    given = flow(node("s", "start"), node("m", "llm", modelName="demo", tools=[tool]), edge("s", "m"))
    with pytest.raises(InputError, match="code in the flow"):
        from_react_flow(given)
    made: Any = from_react_flow(given, tools={"shout": upper}, allow_code=True).nodes["m"]
    assert made._settings.tools[0].fn is upper
    assert not path.exists()


def branching(*conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return flow(
        node("s", "start"),
        node("c", "condition", conditions=list(conditions), **more),
        node("a", "tool", tool="upper"),
        node("b", "tool", tool="upper"),
        edge("s", "c"),
        edge("c", "a", sourceHandle="c-output-0"),
        edge("c", "b", sourceHandle="c-output-1"),
    )


@pytest.mark.parametrize(
    ("operation", "value", "input", "way"),
    [
        ("equal", "x", "x", "a"),
        ("equal", "x", "y", "b"),
        ("notEqual", "x", "y", "a"),
        ("contains", "el", "hello", "a"),
        ("notContains", "el", "hello", "b"),
        ("isEmpty", None, "", "a"),
        ("isNotEmpty", None, "", "b"),
        ("greaterThan", 3, "4", "a"),
        ("lessThan", "3", "4", "b"),
        ("not_equal", "x", "x", "b"),
    ],
)
async def test_conditions_choose_by_field_operation_and_value(
    operation: str, value: Any, input: str, way: str
) -> None:
    condition = {"name": "first", "field": "input", "operation": operation, "value": value}
    made = from_react_flow(branching(condition), tools={"upper": upper})
    assert ran((await run(made, {"input": input})).events) == ["c", way]


async def test_targets_and_defaults_by_name() -> None:
    condition = {"name": "n", "target": "b", "field": "input", "operation": "equal", "value": "yes"}
    made = from_react_flow(branching(condition, defaultTarget="a"), tools={"upper": upper})
    assert ran((await run(made, "yes")).events) == ["c", "b"]
    assert ran((await run(made, "no")).events) == ["c", "a"]


async def test_an_expression_is_code() -> None:
    condition = {"name": "n", "expression": "len(input['input']) > 3"}
    with pytest.raises(InputError, match="is an expression"):
        from_react_flow(branching(condition), tools={"upper": upper})
    made = from_react_flow(branching(condition), tools={"upper": upper}, allow_code=True)
    assert ran((await run(made, "hello")).events) == ["c", "a"]
    assert ran((await run(made, "hi")).events) == ["c", "b"]


@pytest.mark.parametrize("text", ["len(", "-" * 100_000 + "1", "x" + ".a" * 100_000, "a\0b", "1" * 5000])
def test_an_expression_that_is_none_or_too_deep_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match="of the flow is not Python") as error:
        from_react_flow(branching({"name": "n", "expression": text}), tools={"upper": upper}, allow_code=True)
    assert len(str(error.value)) < 600


async def test_loops_and_items_come_over() -> None:
    def step(input: Any) -> dict[str, Any]:
        return {"input": input["input"] + "."}

    made = from_react_flow(
        flow(
            node("s", "start"),
            node("t", "tool", tool="step"),
            node("l", "loop", loopBackTo="t", maxLoopCount="2"),
            edge("s", "t"),
            edge("t", "l"),
        ),
        tools={"step": step},
    )
    assert (await run(made)).output["input"] == "hi..."
    each = from_react_flow(
        flow(
            node("s", "start"),
            node("f", "foreach", arrayPath="$.items", maxIterations=10),
            node("t", "tool", tool="step"),
            edge("s", "f"),
            edge("f", "t"),
        ),
        tools={"step": step},
    )
    assert (await run(each, {"items": ["a", "b"]})).output["count"] == 2


async def test_a_loop_edge_of_the_editor_is_bounded() -> None:
    made = from_react_flow(
        flow(
            node("s", "start"),
            node("t", "tool", tool="step"),
            edge("s", "t"),
            edge("t", "t", data={"isLoopEdge": True, "maxIterations": 3}),
        ),
        tools={"step": lambda input: input},
    )
    assert ran((await run(made)).events) == ["t"] * 4


def test_objects_are_given_by_name_or_by_node() -> None:
    class Agent:
        async def run_stream(self, input: Any, session_id: Any = None) -> Any:
            yield {}

    agent = Agent()
    given = flow(node("s", "start"), node("x", "agent", agent="helper"), edge("s", "x"))
    for name in ("helper", "x"):
        made: Any = from_react_flow(given, objects={name: agent}).nodes["x"]
        assert made.agent is agent
    with pytest.raises(InputError, match=r"objects=\{'helper'"):
        from_react_flow(given)


def test_a_server_in_a_flow_gets_no_key_unless_it_is_allowed() -> None:
    given = flow(
        node("s", "start"), node("m", "llm", modelName="m", baseUrl="http://evil.example/v1"), edge("s", "m")
    )
    with pytest.raises(InputError, match=r"evil\.example"):
        from_react_flow(given)
    assert from_react_flow(given, allow_base_url=True).compile()


def test_what_is_not_known_is_told_in_a_warning() -> None:
    given = flow(
        node("s", "start"), node("m", "llm", modelName="demo", outputSchema={"a": 1}), edge("s", "m")
    )
    with pytest.warns(UserWarning, match="'outputSchema'"):
        from_react_flow(given)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("no json", InputError, "not the JSON of a flow"),
        ("[" * 100_000, InputError, "not the JSON of a flow"),
        ({}, InputError, "a list of nodes"),
        ({"nodes": [1], "edges": []}, InputError, "a list of nodes"),
        ({"nodes": [{"id": 3}], "edges": []}, InputError, "no id or no type"),
        ({"nodes": [], "edges": [{"source": 1}]}, InputError, "no source"),
        (flow(node("x", "toool")), InvalidNodeTypeError, "Did you mean 'tool'"),
        (flow(node("x", "tool", tool="gone")), InputError, r"tools=\{'gone'"),
        (flow(node("c", "condition", conditions=[{"name": "n"}])), InputError, "leads nowhere"),
        (branching({"field": "x", "operation": "equall"}), UnknownNameError, "Did you mean 'equal'"),
    ],
)
def test_what_is_no_flow_is_refused_in_a_sentence(given: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        from_react_flow(given)
    assert issubclass(error, MeshError)


def test_broken_code_names_its_tool() -> None:
    given = flow(node("x", "tool", tool="t", code="def t(:"))
    with pytest.raises(InputError, match="The code of tool 't'"):
        from_react_flow(given, allow_code=True)
    given = flow(node("x", "tool", tool="t", code="a = 1"))
    with pytest.raises(InputError, match="defines no function"):
        from_react_flow(given, allow_code=True)


def test_it_is_a_public_name() -> None:
    assert "from_react_flow" in mesh.__all__
