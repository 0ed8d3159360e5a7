"""Budgets of runs: what would cross a limit is not sent, over real HTTP; and how many nodes run at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from run_doubles import Speaker
from support import Replay

import mesh_nb as mesh
from mesh_nb import Budget, Executor, MemoryBackend, NodeExecutionError, StateGraph
from mesh_nb.core import prices
from mesh_nb.core.errors import BudgetExceededError, ConfigurationError, InputError, UnknownNameError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.interrupts import Answer
from mesh_nb.nodes._budgeted import estimate
from mesh_nb.providers._call import ModelCall

CALL = "synthetic-30"
"""A model call of 10 tokens in and 30 out."""


@pytest.fixture
def priced() -> Iterator[None]:
    """Every token of the replay server costs one dollar."""
    prices.set("*synthetic*", 1_000_000)
    yield
    prices.unset()


def llm(graph: StateGraph, name: str, replay: Replay, model: str = CALL, **options: Any) -> StateGraph:
    return graph.add_node(
        name, None, node_type="llm", model=model, base_url=replay.base_url, api_key="x", **options
    )


def chain(replay: Replay, count: int = 3, model: str = CALL, **options: Any) -> StateGraph:
    names = [f"n{k}" for k in range(count)]
    graph = StateGraph()
    for name in names:
        llm(graph, name, replay, model, **options)
    return graph.set_entry_point("n0").add_sequence(names)


async def failed(graph: StateGraph, **options: Any) -> tuple[Any, Any]:
    """Run a graph that must end by its budget; return the run and the error."""
    run = graph.run("hi", backend=MemoryBackend(), display=False, **options)
    with pytest.raises(NodeExecutionError) as told:
        await run
    return run, told.value.cause


async def done(graph: StateGraph, **options: Any) -> Any:
    return await graph.run("hi", backend=MemoryBackend(), display=False, **options)


async def test_a_call_beyond_max_model_calls_is_not_sent(replay: Replay) -> None:
    run, error = await failed(chain(replay), max_model_calls=2)
    assert isinstance(error, BudgetExceededError)
    assert (error.spent, error.limit) == (2, 2)
    assert "max_model_calls=2" in str(error)
    assert (run.status, len(replay.requests)) == ("budget", 2)
    ended = [e.node_id for e in run.events if e.type == "node_complete"]
    assert ended == ["n0", "n1"]
    assert run.usage["completion_tokens"] == 60
    assert not [e for e in run.events if e.type == "model_call_start" and e.node_id == "n2"]


async def test_a_run_that_stays_within_its_limits_completes(replay: Replay, priced: None) -> None:
    limits = {"max_model_calls": 3, "max_tokens": 1000, "budget_usd": 1000.0}
    run = await done(chain(replay), **limits)
    assert run.status == "completed"
    assert run.events[0].metadata["budget"] == {**limits, "unpriced": "refuse", "on_budget": "stop"}


async def test_a_call_that_may_cost_too_much_is_not_sent(replay: Replay, priced: None) -> None:
    run, error = await failed(chain(replay, max_tokens=50), budget_usd=95)
    assert "budget_usd=95" in str(error)
    assert "an estimate" in str(error)
    assert error.spent == 40
    assert (run.status, len(replay.requests)) == ("budget", 1)


async def test_without_max_tokens_the_run_stops_after_the_call_that_crosses(
    replay: Replay, priced: None
) -> None:
    run, error = await failed(chain(replay), budget_usd=30)
    assert error.spent == 40
    assert len(replay.requests) == 1
    assert run.events[-1].metadata["cost_usd"] == 40
    assert len(run.text.split()) > 0


async def test_a_last_call_that_crosses_keeps_its_answer(replay: Replay, priced: None) -> None:
    run = await done(chain(replay, 1), budget_usd=30)
    assert run.status == "completed"


async def test_tokens_count_input_and_output(replay: Replay) -> None:
    _, error = await failed(chain(replay), max_tokens=100)
    assert error.spent == 80
    assert len(replay.requests) == 2


async def test_an_input_that_is_too_long_is_never_sent(replay: Replay) -> None:
    graph = chain(replay, 1, system_prompt="word " * 2000)
    _, error = await failed(graph, max_tokens=1000)
    assert "an estimate" in str(error)
    assert replay.requests == []


async def test_an_unknown_price_is_refused_and_never_zero(replay: Replay) -> None:
    run, error = await failed(chain(replay), budget_usd=5)
    assert isinstance(error, ConfigurationError)
    assert "synthetic-30" in str(error)
    assert "unpriced='allow'" in str(error)
    assert replay.requests == []
    assert run.status == "failed"


async def test_an_unknown_price_can_be_allowed_and_the_other_limits_hold(replay: Replay) -> None:
    run, _ = await failed(chain(replay), budget_usd=5, unpriced="allow", max_tokens=100)
    assert len(replay.requests) == 2
    assert run.cost_usd is None


async def test_a_person_may_be_asked_about_an_unknown_price(replay: Replay) -> None:
    graph = chain(replay).set_interrupt_after("n1")
    options: dict[str, Any] = {"backend": MemoryBackend(), "display": False, "on_no_answer": "stop"}
    run = await graph.run("hi", budget_usd=5, unpriced="ask", **options)
    assert (run.status, replay.requests) == ("interrupted", [])
    assert "The price of" in run.pending[0].message
    assert "synthetic-30 is not known. Call it" in run.pending[0].message
    after = await run.approve()
    assert (after.pending[0].kind, len(replay.requests)) == ("after", 2)
    assert (await after.approve()).status == "completed"
    assert [e.type for e in after.events].count(EventType.INTERRUPT) == 2
    assert len(replay.requests) == 3


async def test_a_person_may_refuse_a_call_without_a_price(replay: Replay) -> None:
    _, error = await failed(chain(replay), budget_usd=5, unpriced="ask", on_no_answer="deny")
    assert isinstance(error, ConfigurationError)
    assert replay.requests == []


async def test_the_demo_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_DEMO_SPEED", "0")
    graph = StateGraph().add_node("a", None, node_type="llm", model="demo").set_entry_point("a")
    assert (await done(graph, budget_usd=0.01)).cost_usd == 0


async def test_the_rounds_of_a_tool_loop_are_calls(replay: Replay) -> None:
    def get_item(index: int = 0, name: str = "") -> int:
        return index

    graph = llm(StateGraph(), "n", replay, "synthetic-5-t1+synthetic-5", tools=[get_item]).set_entry_point(
        "n"
    )
    run, _ = await failed(graph, max_model_calls=1)
    assert len(replay.requests) == 1
    assert [e.type for e in run.events].count(EventType.TOOL_CALL_COMPLETE) == 1


async def test_retries_of_a_node_are_counted(replay: Replay) -> None:
    node = _Flaky(chain(replay, 1).nodes["n0"])
    graph = StateGraph().add_node("n1", node, config={"retry": {"max_retries": 5, "delay": 0}})
    run, _ = await failed(graph.set_entry_point("n1"), max_model_calls=2)
    assert len(replay.requests) == 2
    assert run.status == "budget"


class _Flaky:
    """Runs a node and then fails."""

    kind = "llm"

    def __init__(self, node: Any) -> None:
        self.id, self.node = "n1", node

    async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
        async for event in self.node.run(input, context):
            if event.type == "node_complete":
                raise ValueError("not good enough")
            yield event


async def test_the_visits_of_a_loop_and_the_graphs_inside_share_the_budget(replay: Replay) -> None:
    inner = llm(StateGraph("inner"), "ask", replay).set_entry_point("ask")
    graph = StateGraph().add_node("sub", inner, node_type="subgraph").set_entry_point("sub")
    graph.add_edge("sub", "sub", is_loop_edge=True, max_iterations=9)
    _, error = await failed(graph, max_model_calls=3)
    assert isinstance(error, BudgetExceededError)
    assert len(replay.requests) == 3


async def test_branches_hold_what_they_may_cost_while_they_run(replay: Replay, priced: None) -> None:
    graph = StateGraph()
    for name in "abcd":
        llm(graph, name, replay, max_tokens=60).add_edge("START", name)
    run, error = await failed(graph, budget_usd=150)
    # One call may cost about 60 dollars and costs 40: two fit at once, a third after them, a fourth never.
    assert isinstance(error, BudgetExceededError)
    assert len(replay.requests) == 3
    assert run.status == "budget"


async def test_a_call_that_waits_for_others_is_sent_when_they_cost_less(replay: Replay, priced: None) -> None:
    graph = StateGraph()
    for name in "abc":
        llm(graph, name, replay, max_tokens=60).add_edge("START", name)
    run = await done(graph, budget_usd=150)
    assert run.status == "completed"
    assert len(replay.requests) == 3


async def test_a_person_may_allow_as_much_again(replay: Replay) -> None:
    run = chain(replay).run(
        "hi",
        backend=MemoryBackend(),
        display=False,
        max_model_calls=1,
        on_budget="ask",
        on_no_answer="wait",
    )
    async for event in run:
        if event.type == "interrupt":
            assert "max_model_calls" in event.metadata["message"]
            run.approve()
    assert (await run).status == "completed"
    assert [e.type for e in run.events].count(EventType.INTERRUPT) == 2
    assert len(replay.requests) == 3


async def test_a_person_who_says_no_ends_the_run_by_its_budget(replay: Replay) -> None:
    run, error = await failed(chain(replay), max_model_calls=1, on_budget="ask", on_no_answer="deny")
    assert isinstance(error, BudgetExceededError)
    assert (run.status, len(replay.requests)) == ("budget", 1)
    assert not Answer("denied").approved


class Agent:
    """An agent of somebody's own, in the way of Vel: each step is a model call of 1,000 tokens."""

    def __init__(self) -> None:
        self.steps, self.closed = 0, False

    async def run_stream(self, input: Any, session_id: Any = None) -> AsyncIterator[dict[str, Any]]:
        usage = {"promptTokens": 900, "completionTokens": 100, "totalTokens": 1000}
        try:
            for _ in range(5):
                self.steps += 1
                yield {"type": "start-step"}
                yield {"type": "text-start", "id": "0"}
                yield {"type": "text-delta", "id": "0", "delta": "word "}
                yield {"type": "text-end", "id": "0"}
                yield {"type": "response-metadata", "id": "r", "modelId": "gpt-4o-mini", "usage": usage}
                yield {"type": "finish-step"}
            yield {"type": "finish"}
        finally:
            self.closed = True


async def test_an_agent_is_stopped_before_the_step_after_its_limit() -> None:
    agent = Agent()
    graph = StateGraph().add_node("agent", agent, node_type="agent").set_entry_point("agent")
    run, error = await failed(graph, max_tokens=2000)
    assert isinstance(error, BudgetExceededError)
    assert error.spent == 2000
    assert agent.closed
    assert agent.steps <= 3
    assert run.text.split() == ["word", "word"] or run.usage["total_tokens"] == 2000


async def test_an_agent_within_its_limit_is_left_alone() -> None:
    graph = StateGraph().add_node("agent", Agent(), node_type="agent").set_entry_point("agent")
    assert (await done(graph, max_tokens=6000)).status == "completed"


async def test_a_budget_counts_what_an_earlier_part_of_the_run_spent(replay: Replay, priced: None) -> None:
    before = await done(chain(replay, 2))
    budget = Budget(usd=85, max_model_calls=5)
    budget.recall(before.events)
    assert (budget.calls, budget.tokens, budget.spent_usd) == (2, 80, 80)
    told: list[BaseException] = []
    try:
        async for _ in Executor(chain(replay, 2)).execute("hi", budget=budget):
            pass
    except NodeExecutionError as error:
        told.append(error.cause)
    assert isinstance(told[0], BudgetExceededError)


async def test_a_run_that_goes_on_has_what_is_left_of_its_budget(replay: Replay, priced: None) -> None:
    graph, backend = chain(replay, 4), MemoryBackend()
    graph.set_interrupt_before("n1")
    options: dict[str, Any] = {"backend": backend, "display": False}
    run = await graph.run("hi", budget_usd=95, on_no_answer="stop", **options)
    assert run.status == "interrupted"
    with pytest.raises(NodeExecutionError) as told:
        await run.approve()
    assert isinstance(told.value.cause, BudgetExceededError)
    assert len(replay.requests) == 2
    raised = await graph.resume(run.id, budget_usd=1000, **options)
    assert raised.status == "completed"
    assert len(replay.requests) == 4


def test_images_are_estimated_as_images() -> None:
    image = {"type": "file", "name": "a.png", "mime_type": "image/png", "data": b"x" * 1_000_000}
    text = {"type": "text", "text": "seven bytes"}
    call = ModelCall("m", [{"role": "user", "content": [image, text]}], system="s" * 35)
    assert 1600 < estimate(call) < 1700


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"budget_usd": 0}, InputError, "budget_usd=0 must be US dollars above 0"),
        ({"budget_usd": "1"}, InputError, "budget_usd='1'"),
        ({"budget_usd": float("nan")}, InputError, "budget_usd=nan"),
        ({"max_tokens": 1.5}, InputError, "max_tokens=1.5 must be a whole number"),
        ({"max_model_calls": True}, InputError, "max_model_calls=True"),
        ({"budget_usd": 1, "unpriced": "alow"}, UnknownNameError, "Did you mean 'allow'"),
        ({"on_budget": "pause"}, UnknownNameError, "ask"),
        ({"max_concurrency": 0}, InputError, "max_concurrency=0"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_before_anything_starts(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    graph = StateGraph().add_node("a", lambda: pytest.fail("it ran")).set_entry_point("a")
    with pytest.raises(error, match=says):
        graph.run("x", backend=MemoryBackend(), display=False, **options)


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (None, 12)])
async def test_at_most_so_many_nodes_run_at_once(limit: int | None, most: int) -> None:
    active, seen = set[str](), list[int]()
    graph = StateGraph().add_node("join", lambda: 1)

    class Worker(mesh.BaseNode):
        async def execute(self, input: Any, context: Any) -> str:
            active.add(self.id)
            seen.append(len(active))
            for _ in range(5):
                await asyncio.sleep(0)
            active.discard(self.id)
            return self.id

    names = [f"w{n}" for n in range(12)]
    for name in names:
        graph.add_node(name, Worker(name)).add_edge("START", name)
    graph.add_fan_in_edge(names, "join")
    run = await done(graph, max_concurrency=limit)
    assert max(seen) == most
    open_nodes, highest = 0, 0
    for event in run.events:
        open_nodes += (event.type == "node_start") - (event.type == "node_complete")
        highest = max(highest, open_nodes)
    assert highest == most
    assert len(seen) == 12


async def test_a_loop_runs_under_a_concurrency_of_one() -> None:
    graph = StateGraph().add_node("a", Speaker("a")).add_node("b", Speaker("b")).add_node("c", lambda: 1)
    graph.add_edge("START", "a").add_edge("START", "b").add_fan_in_edge(["a", "b"], "c")
    graph.add_edge("c", "a", is_loop_edge=True, max_iterations=2)
    run = await done(graph, max_concurrency=1)
    assert [e.node_id for e in run.events if e.type == "node_complete"].count("a") == 3


def test_a_budget_shows_what_is_spent_of_it() -> None:
    assert repr(mesh.Budget()) == "<Budget without limits>"
    budget = mesh.Budget(usd=2.5, max_tokens=100_000)
    budget.spent_usd, budget.tokens = 0.0312, 4_200
    assert repr(budget) == "<Budget $0.0312 of $2.50, 4,200 tokens of 100,000>"
