"""What users of the predecessor may rely on: behaviours 48 to 60, one numbered test for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from agent_doubles import assert_grammar, of_type, text_of, vel_agent
from answer_server import AnswerServer

import mesh_nb as mesh

Make = Callable[..., Any]


async def collect(graph: Any, input: Any = "go", context: Any = None) -> list[mesh.ExecutionEvent]:
    executor = graph if isinstance(graph, mesh.Executor) else mesh.Executor(graph)
    return [event async for event in executor.execute(input, context)]


def completed(events: list[mesh.ExecutionEvent]) -> list[str]:
    return [e.node_id for e in of_type(events, "node_complete")]


async def test_48_an_edge_to_end_needs_no_end_node() -> None:
    graph = mesh.StateGraph().add_node("x", lambda: {"content": "done"})
    events = await collect(graph.set_entry_point("x").add_edge("x", "END"))
    assert events[-1].output == {"content": "done"}


async def test_49_ai_routing_runs_only_the_chosen_branch() -> None:
    scenarios = [{"name": n, "description": f"It is about {n}.", "target": n} for n in ("refund", "praise")]
    with AnswerServer(json.dumps({"scenario": "praise"})) as server:
        graph = mesh.StateGraph().add_node(
            *("c", None, "condition"),
            scenarios=scenarios,
            default_target="other",
            model_options=server.options("chat"),
        )
        for node_id in ("refund", "praise", "other"):
            graph.add_node(node_id, lambda: 1)
        events = await collect(graph.set_entry_point("c"))
    assert completed(events) == ["c", "praise"]


async def test_50_foreach_runs_its_body_once_for_each_item_and_sets_iteration() -> None:
    graph = mesh.StateGraph().add_node(
        "each", lambda item, index: {"content": f"{index}:{item}"}, "foreach", array_path="$.items"
    )
    events = await collect(graph.set_entry_point("each"), {"items": ["a", "b", "c"]})
    assert [r["content"] for r in events[-1].output["results"]] == ["0:a", "1:b", "2:c"]
    with AnswerServer("one", "two") as server:
        graph = mesh.StateGraph().add_node("each", node_type="foreach").set_entry_point("each")
        prompt = "{{$iteration}} {{$iteration_index}} of {{$iteration_total}}"
        graph.add_node("llm", node_type="llm", system_prompt=prompt, **server.options("chat"))
        await collect(graph.add_edge("each", "llm"), {"items": ["x", "y"]})
        said = [body["messages"][0]["content"] for body in server.bodies]
    assert said == ["x 0 of 2", "y 1 of 2"]


async def test_51_approve_passes_the_original_input_on_also_through_a_join() -> None:
    graph = mesh.StateGraph().add_node("draft", lambda: {"text": "a draft", "n": 1})
    graph.add_node("ask", node_type="approval", message="Send it?").add_node("other", lambda: {"b": 2})
    graph.add_node("direct", lambda input: {"got": input}).add_node("join", lambda input: {"got": input})
    graph.chain("START", "draft", ["ask", "other"], "join").chain("ask", "direct")
    run = graph.run("q", backend=mesh.MemoryBackend(), display=False, on_no_answer="wait")
    async for event in run:
        if event.type == "interrupt":
            run.approve()
    outputs = {e.node_id: e.output for e in of_type(run.events, "node_complete")}
    assert outputs["direct"]["got"] == {"text": "a draft", "n": 1}
    assert outputs["join"]["got"] == {"ask": {"text": "a draft", "n": 1}, "other": {"b": 2}}


async def test_52_a_second_run_in_one_context_sees_the_new_question_and_fresh_loops() -> None:
    context = mesh.ExecutionContext()
    with AnswerServer("ok") as server:
        graph = mesh.StateGraph().add_node(
            "llm", node_type="llm", system_prompt="Asked: {{$question}}", **server.options("chat")
        )
        graph.set_entry_point("llm").add_edge("llm", "llm", is_loop_edge=True, max_iterations=2)
        for question in ("one", "two"):
            assert completed(await collect(graph, question, context)) == ["llm"] * 3
        asked = [body["messages"][0]["content"] for body in server.bodies]
    assert asked == ["Asked: one"] * 3 + ["Asked: two"] * 3


async def test_53_agents_are_never_mutated(replay: Any, with_agent: Make, context: Any) -> None:
    agent = vel_agent(replay.base_url, "synthetic-2", instruction="Be brief.")
    before = {name: repr(value) for name, value in vars(agent).items()}
    executor = with_agent(agent, system_prompt="The question: {{$question}}")
    for question in ("one", "two"):
        await collect(executor, question, context)
    assert {name: repr(value) for name, value in vars(agent).items()} == before
    assert "one" not in str(agent.instruction)


async def test_54_isolated_subgraphs_return_only_mapped_keys() -> None:
    def inside() -> mesh.NodeResult:
        return mesh.NodeResult({"answer": 42, "secret": "s"}, {"inner": "state"})

    inner = mesh.StateGraph().add_node("inside", inside).set_entry_point("inside")
    graph = mesh.StateGraph().add_node("sub", inner, output_mapping={"result": "$.answer"})
    context = mesh.ExecutionContext(state={"outer": 1})
    events = await collect(graph.set_entry_point("sub"), context=context)
    (output,) = [e.output for e in of_type(events, "node_complete") if e.node_id == "sub"]
    assert output == {"result": 42}
    assert context.state == {"outer": 1}


async def test_55_the_input_of_a_join_keeps_all_parents_apart() -> None:
    with AnswerServer("from a", "from b") as server:
        graph = mesh.StateGraph().add_node("join", lambda input: {"got": input})
        for node_id in "ab":
            graph.add_node(node_id, node_type="llm", **server.options("chat")).set_entry_point(node_id)
        events = await collect(graph.add_fan_in_edge(["a", "b"], "join"))
    got = events[-1].output["got"]
    assert sorted(got) == ["a", "b"]
    assert {got["a"]["content"], got["b"]["content"]} == {"from a", "from b"}


def test_56_unknown_options_and_node_types_raise() -> None:
    graph = mesh.StateGraph()
    with pytest.raises(mesh.MeshError, match="Did you mean 'model'"):
        graph.add_node("x", None, node_type="llm", modle="gpt-5")
    with pytest.raises(mesh.InvalidNodeTypeError, match="Did you mean 'llm'"):
        graph.add_node("x", None, node_type="lllm")
    with pytest.raises(mesh.InvalidNodeTypeError):
        graph.add_node("x", None, node_type="no such thing")


async def test_57_templates_have_the_question_node_fields_variables_and_history() -> None:
    prompt = "{{$question}}|{{first.path.0.x}}|{{$vars.tone}}|{{$chat_history}}|{{$input.topic}}"
    history = [{"role": "user", "content": "before"}]
    context = mesh.ExecutionContext(variables={"tone": "dry"}, chat_history=history)
    with AnswerServer("ok") as server:
        graph = mesh.StateGraph().add_node("first", lambda: {"path": [{"x": "deep"}]})
        graph.add_node("llm", node_type="llm", system_prompt=prompt, **server.options("chat"))
        await collect(graph.chain("START", "first", "llm"), {"input": "why?", "topic": "tea"}, context)
        system = server.bodies[0]["messages"][0]["content"]
    assert system == "why?|deep|dry|user: before|tea"


async def test_58_two_conditional_edges_from_one_node_both_work() -> None:
    graph = mesh.StateGraph().add_node("a", lambda: {"n": 1})
    for node_id in "bcde":
        graph.add_node(node_id, lambda: 1)
    graph.set_entry_point("a").add_conditional_edges("a", lambda output: output["n"], {1: "b", 2: "c"})
    graph.add_conditional_edges("a", lambda output: output["n"] + 1, {1: "d", 2: "e"})
    assert sorted(completed(await collect(graph))) == ["a", "b", "e"]


async def test_59_a_chain_of_1500_nodes_compiles_and_runs() -> None:
    graph = mesh.StateGraph()
    for n in range(1500):
        graph.add_node(f"n{n}", lambda input: {"content": "x", "n": input.get("n", 0) + 1})
    events = await collect(graph.chain("START", *(f"n{n}" for n in range(1500))))
    assert events[-1].output["n"] == 1500


async def test_60_rlm_inside_a_graph_yields_events_and_an_output(
    replay: Any, with_agent: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RLM asks its own models through Vel's registry, which reads Vel's own variables.
    monkeypatch.setenv("OPENAI_API_BASE", replay.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0000")
    rlm = {"enabled": True, "control_model": {"provider": "openai", "model": "synthetic-4"}}
    agent = vel_agent(replay.base_url, "synthetic-4", rlm=rlm)
    events = await collect(with_agent(agent, run_options={"context_refs": "A long text. " * 50}))
    kinds = [e.metadata["data_type"] for e in of_type(events, "custom_data")]
    assert (kinds[0], kinds[-1]) == ("data-rlm-start", "data-rlm-complete")
    assert events[-1].output["content"] == text_of(events) != ""
    assert_grammar([e for e in events if e.node_id == "agent" and e.type != "node_start"])
