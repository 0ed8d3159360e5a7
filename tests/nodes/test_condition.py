"""Condition nodes: only what holds runs."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb import Condition, Executor, GraphValidationError, StateGraph
from mesh_nb.core.errors import NodeExecutionError, UnknownNameError


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


def test_unknown_options_and_targets() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'default_target'"):
        StateGraph().add_node("c", LOW_HIGH, node_type="condition", default_targt="x")
    graph = StateGraph().add_node("c", LOW_HIGH, node_type="condition").add_node("low", lambda: 1)
    graph.set_entry_point("c")
    with pytest.raises(GraphValidationError, match="'high' is not a node"):
        graph.compile()
