"""Condition nodes: only what holds runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answer_server import AnswerServer, options
from run_logs import check_log, cut_logs

from mesh_nb import Condition, ExecutionContext, Executor, FileBackend, GraphValidationError, StateGraph
from mesh_nb.core.errors import NodeExecutionError, ProviderError, UnknownNameError
from mesh_nb.core.events import EventType


def routed(conditions: Any, default: str | None = None, *, edges: bool = False) -> StateGraph:
    graph = StateGraph().add_node("c", conditions, node_type="condition", default_target=default)
    for node_id in ("low", "high", "other"):
        graph.add_node(node_id, lambda input, node_id=node_id: {"content": node_id, "got": input})
        if edges:
            graph.add_edge("c", node_id)
    return graph.set_entry_point("c")


LOW_HIGH = [
    Condition("is low", lambda input: input["n"] < 5, "low"),
    Condition("is high", lambda input, context: context.input["n"] > 3, "high"),
]


async def ran(graph: StateGraph, n: int) -> list[str]:
    events = [e async for e in Executor(graph).execute({"n": n})]
    return sorted(e.node_id for e in events if e.type == "node_complete")


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize(("n", "targets"), [(1, ["low"]), (9, ["high"]), (4, ["high", "low"])])
async def test_49_only_targets_of_conditions_that_hold_run(n: int, targets: list[str], edges: bool) -> None:
    graph = routed(LOW_HIGH, default="other", edges=edges)
    assert await ran(graph, n) == ["c", *targets]


async def test_the_default_runs_when_nothing_holds() -> None:
    never = [Condition("never", lambda input: False, "low"), Condition("nor", lambda input: False, "high")]
    assert await ran(routed(never, default="other"), 1) == ["c", "other"]


async def test_without_a_default_nothing_runs_after_it() -> None:
    graph = StateGraph().add_node("c", [Condition("never", lambda i: False, "a")], node_type="condition")
    graph.add_node("a", lambda: 1).set_entry_point("c")
    events = [e async for e in Executor(graph).execute({"n": 1})]
    assert [e.node_id for e in events if e.type == "node_start"] == ["c"]
    assert events[-1].output["n"] == 1


async def test_targets_receive_what_came_in_and_the_event_says_what_held() -> None:
    async def held(input: Any) -> bool:
        return True

    graph = StateGraph().add_node("c", [Condition("yes", held, "a")], node_type="condition")
    graph.add_node("a", lambda input: {"got": input}).set_entry_point("c")
    events = [e async for e in Executor(graph).execute({"n": 1})]
    done = next(e for e in events if e.node_id == "c" and e.type == "node_complete")
    assert done.metadata["conditions"] == [{"name": "yes", "target": "a", "fulfilled": True}]
    assert done.metadata["route"] == ["a"]
    assert events[-1].output["got"] == {"n": 1}


async def test_a_predicate_that_raises_fails_the_node() -> None:
    with pytest.raises(NodeExecutionError, match="KeyError"):
        await ran(
            routed([Condition("bad", lambda input: input["missing"], "low")], default="high", edges=True), 1
        )


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ([], "has no conditions"),
        (None, "has no conditions"),
        (["x"], "not a Condition"),
        ([Condition("a", bool, "x"), Condition("a", bool, "y")], "two conditions named 'a'"),
    ],
)
def test_conditions_that_cannot_be(conditions: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("c", conditions, node_type="condition")


async def test_a_predicate_that_raises_may_count_as_one_that_does_not_hold() -> None:
    conditions = [Condition("bad", lambda input: input["missing"], "low"), Condition("yes", bool, "high")]
    graph = StateGraph().add_node("c", conditions, node_type="condition", on_error="unfulfilled")
    graph.add_node("low", lambda: {"x": 1}).add_node("high", lambda: {"x": 2}).set_entry_point("c")
    events = [e async for e in Executor(graph).execute({"n": 1})]
    done = next(e for e in events if e.node_id == "c" and e.type == "node_complete")
    assert done.metadata["conditions"][0]["error"] == "KeyError: 'missing'"
    assert done.metadata["route"] == ["high"]


SCENARIOS = [
    {"name": "refund", "description": "The customer wants money back.", "target": "low"},
    {"name": "praise", "description": "The customer is happy.", "target": "high"},
]


def chosen_by_model(default: str | None, **options: Any) -> StateGraph:
    graph = StateGraph().add_node(
        *("c", None, "condition"),
        scenarios=SCENARIOS,
        default_target=default,
        instructions="Speak of {{$vars.shop}}.",
        model_options=options,
    )
    for node_id in ("low", "high", "other"):
        graph.add_node(node_id, lambda input, node_id=node_id: {"content": node_id})
    return graph.add_edge("c", "other").add_edge("c", "low").set_entry_point("c")


@pytest.mark.parametrize(("answer", "target"), [("refund", "low"), ("praise", "high"), ("none", "other")])
async def test_49_ai_routing_runs_only_the_chosen_branch(answer: str, target: str) -> None:
    with AnswerServer(json.dumps({"scenario": answer})) as server:
        graph = chosen_by_model("other", **server.options("chat"))
        context = ExecutionContext(variables={"shop": "Ocean Ltd"})
        events = [e async for e in Executor(graph).execute("Give me my money back!", context)]
        [sent] = server.bodies
    assert [e.node_id for e in events if e.type == "node_complete"] == ["c", target]
    assert "refund: The customer wants money back." in sent["messages"][0]["content"]
    assert "Speak of Ocean Ltd." in sent["messages"][0]["content"]
    assert sent["messages"][-1]["content"] == "Give me my money back!"
    kinds = [e.type for e in events if e.node_id == "c"]
    assert kinds == ["node_start", "model_call_start", "response_metadata", "node_complete"]
    done = next(e for e in events if e.type == "node_complete")
    assert [c["fulfilled"] for c in done.metadata["conditions"]] == [answer == "refund", answer == "praise"]


async def test_a_model_call_that_fails_is_no_choice() -> None:
    with AnswerServer("I would say: refund") as server:
        graph = chosen_by_model("other", **server.options("chat"))
        with pytest.raises(NodeExecutionError, match="Node 'c' failed"):
            [e async for e in Executor(graph).execute("x", ExecutionContext(variables={"shop": "s"}))]
    graph = chosen_by_model("other", **(options("chat", "http://127.0.0.1:9") | {"max_retries": 0}))
    with pytest.raises(NodeExecutionError) as caught:
        [e async for e in Executor(graph).execute("x", ExecutionContext(variables={"shop": "s"}))]
    assert isinstance(caught.value.cause, ProviderError)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"scenarios": [{"name": "a"}]}, "is not a scenario"),
        ({"scenarios": [{"name": "none", "target": "x"}]}, "cannot be named 'none'"),
        ({"scenarios": [SCENARIOS[0], SCENARIOS[0]]}, "two conditions named 'refund'"),
        ({"scenarios": SCENARIOS, "conditions": LOW_HIGH}, "both conditions and scenarios"),
        ({"conditions": LOW_HIGH, "model": "gpt-5"}, "chooses by functions"),
        ({"conditions": LOW_HIGH, "on_error": "ignore"}, "'raise' or 'unfulfilled'"),
    ],
)
def test_scenarios_that_cannot_be(given: dict[str, Any], says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("c", given.pop("conditions", None), node_type="condition", **given)


def test_unknown_options_and_targets() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'default_target'"):
        StateGraph().add_node("c", LOW_HIGH, node_type="condition", default_targt="x")
    graph = StateGraph().add_node("c", LOW_HIGH, node_type="condition").add_node("low", lambda: 1)
    graph.set_entry_point("c")
    with pytest.raises(GraphValidationError, match="'high' is not a node"):
        graph.compile()


async def test_a_choice_that_was_paid_for_is_not_paid_again(tmp_path: Path) -> None:
    said = [json.dumps({"scenario": name}) for name in ("repayment", "refund")]  # The first is repaired.
    with AnswerServer(*said) as server:
        made = chosen_by_model("other", **server.options("chat"))
        whole = await made.run(
            "my money", variables={"shop": "s"}, backend=FileBackend(tmp_path), display=False
        )
        assert len(server.bodies) == 2
        for cut, store in cut_logs(tmp_path, whole.id):
            paid = [e.type for e in store.load(whole.id).events].count(EventType.RESPONSE_METADATA)
            server.answers = said[paid:] or [b""]
            server.requests.clear()
            run = await made.resume(whole.id, backend=store, display=False)
            assert run.output == whole.output, cut
            assert len(server.bodies) == 2 - paid, cut
            check_log(store.load(whole.id).events)
