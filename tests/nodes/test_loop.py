"""The loop node: how often it goes back, on what condition, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb import Executor, GraphValidationError, StateGraph
from mesh_nb.core.errors import UnknownNameError


def counting(**options: Any) -> StateGraph:
    graph = StateGraph().add_node("work", lambda input: {"n": input.get("n", 0) + 1})
    graph.add_node("again", node_type="loop", loop_back_to="work", **options)
    graph.add_node("end", lambda n: {"content": str(n)})
    return graph.chain("START", "work", "again", "end")


async def text(graph: StateGraph) -> str:
    return [e async for e in Executor(graph).execute({"n": 0})][-1].output["content"]


async def test_it_goes_back_so_many_times_and_then_on() -> None:
    assert await text(counting(max_loop_count=3)) == "4"
    assert await text(counting()) == "6"


async def test_it_goes_back_while_the_condition_holds() -> None:
    async def small(output: Any) -> bool:
        return output["n"] < 2

    assert await text(counting(loop_condition=small)) == "2"
    assert await text(counting(loop_condition=lambda state, output: output["n"] < 3)) == "3"
    assert await text(counting(loop_condition=lambda output: True, max_loop_count=1)) == "2"


async def test_its_events_say_where_it_went() -> None:
    events = [e async for e in Executor(counting(max_loop_count=1)).execute({"n": 0})]
    ends = [e for e in events if e.type == "node_complete" and e.node_id == "again"]
    assert [e.metadata.get("route") for e in ends] == [["work"], None]
    assert [e.output for e in ends] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs loop_back_to="),
        ({"loop_back_to": "work", "max_loop_count": 0}, "max_loop_count is 0, not 1 or more"),
        ({"loop_back_to": "work", "loop_condition": 1}, "loop_condition is 1, not a function"),
    ],
)
def test_options_that_cannot_be(options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("again", node_type="loop", **options)
    with pytest.raises(UnknownNameError, match="Did you mean 'loop_back_to'"):
        StateGraph().add_node("again", node_type="loop", loop_backto="work")


def test_a_loop_that_leads_nowhere_is_refused_at_compile() -> None:
    graph = (
        StateGraph()
        .add_node("work", lambda: {"n": 1})
        .add_node("again", node_type="loop", loop_back_to="wrk")
    )
    with pytest.raises(GraphValidationError, match=r"'wrk' is not a node. Did you mean 'work'"):
        graph.chain("START", "work", "again").compile()
