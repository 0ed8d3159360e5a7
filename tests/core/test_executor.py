"""The executor: order, stamps, failure, closing, concurrency. Numbers are those of the contract list."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import itertools
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import mesh_nb
from mesh_nb import EventType, ExecutionContext, ExecutionEvent, Executor, MemoryBackend, StateGraph
from mesh_nb.core.errors import ConfigurationError, InputError, NodeExecutionError


class Speaker(mesh_nb.BaseNode):
    """Streams `count` tokens in one message; `hold` keeps it open before the last one."""

    def __init__(self, id: str, count: int = 3, *, hold: bool = False, fail: str | None = None) -> None:
        super().__init__(id)
        self.count, self.hold, self.fail, self.closed = count, hold, fail, 0

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        block = {"text_block_id": "t"}
        call = {"call_id": "c1", "requested_model": "m-1", "provider": "p"}
        try:
            yield ExecutionEvent(EventType.MODEL_CALL_START, metadata=call)
            yield ExecutionEvent(EventType.MESSAGE_START, metadata={"message_id": "m1"})
            for n in range(self.count):
                yield ExecutionEvent(EventType.TOKEN, content=f"{n} ", metadata=block)
            if self.hold:
                await asyncio.Event().wait()
            if self.fail:
                raise ValueError(self.fail)
            yield ExecutionEvent(
                EventType.MESSAGE_COMPLETE, metadata={"message_id": "m1", "finish_reason": "stop"}
            )
            usage = {"prompt_tokens": 2, "completion_tokens": self.count}
            metadata = {**call, "model_id": "m-1", "usage": usage, "cost_usd": 0.5}
            yield ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata)
            text = "".join(f"{n} " for n in range(self.count))
            yield ExecutionEvent(EventType.NODE_COMPLETE, output={"content": text})
        finally:
            self.closed += 1


def single(node: Any) -> StateGraph:
    return StateGraph().add_node("n", node).set_entry_point("n")


async def collect(executor: Executor, input: Any = "q", context: ExecutionContext | None = None) -> list[Any]:
    return [event async for event in executor.execute(input, context)]


async def keep(events: AsyncIterator[ExecutionEvent], seen: list[ExecutionEvent]) -> None:
    async for event in events:
        seen.append(event)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  the condition belongs to the code under test
        await asyncio.sleep(0)


def kinds(events: list[ExecutionEvent]) -> list[str]:
    return [str(e.type) for e in events]


def last_log(executor: Executor) -> list[ExecutionEvent]:
    return executor.backend.load(next(iter(executor.backend.run_ids()))).events


async def test_14_events_are_stamped_in_order_and_logged() -> None:
    executor = Executor(single(Speaker("n")), MemoryBackend())
    events = await collect(executor)
    assert [e.seq for e in events] == list(range(len(events)))
    assert len({e.run_id for e in events}) == 1
    assert all(a.timestamp <= b.timestamp for a, b in itertools.pairwise(events))
    assert all(isinstance(e.timestamp, float) and isinstance(e.metadata, dict) for e in events)
    assert last_log(executor) == events
    assert [dataclasses.replace(e) for e in events] == events  # The executor sets every field of its own.


async def test_every_event_is_in_the_log_before_it_is_seen() -> None:
    executor = Executor(single(Speaker("n")))
    async for event in executor.execute("q"):
        assert last_log(executor)[-1] is event


async def test_9_33_34_the_flow_of_one_node() -> None:
    events = await collect(Executor(single(Speaker("n"))), context=ExecutionContext(graph_id="streaming"))
    assert kinds(events) == [
        "execution_start", "node_start", "model_call_start", "message_start", "token", "token", "token",
        "message_complete", "response_metadata", "node_complete", "execution_complete",
    ]  # fmt: skip
    assert (events[0].node_id, events[0].metadata["graph_id"]) == ("START", "streaming")
    assert events[0].metadata["input"] == "q"


async def test_16_17_the_end_has_the_text_the_time_and_the_totals() -> None:
    began = time.monotonic()
    end = (await collect(Executor(single(Speaker("n")))))[-1]
    wall = (time.monotonic() - began) * 1000
    assert end.output == {"content": "0 1 2 "}
    assert 0 < end.metadata["duration_ms"] <= wall
    assert end.metadata["usage"] == {"prompt_tokens": 2, "completion_tokens": 3}
    assert (end.metadata["status"], end.metadata["cost_usd"]) == ("completed", 0.5)


async def test_19_39_a_failing_node_loses_no_token_and_says_so_once() -> None:
    executor = Executor(single(Speaker("n", 3000, fail="broken")))
    events: list[ExecutionEvent] = []
    with pytest.raises(NodeExecutionError, match="Node 'n' failed: ValueError: broken") as caught:
        await keep(executor.execute("q"), events)
    assert [e.content for e in events if e.type == "token"] == [f"{n} " for n in range(3000)]
    assert kinds(events)[-4:] == ["message_complete", "response_metadata", "node_error", "execution_error"]
    message, response, error, end = events[-4:]
    assert message.metadata["finish_reason"] == "error"
    assert (response.metadata["usage"], response.metadata["usage_status"]) == ({}, "unknown")
    assert (error.node_id, error.error) == ("n", "ValueError: broken")
    assert end.metadata["status"] == "failed"
    assert "cost_usd" not in end.metadata
    assert isinstance(caught.value.cause, ValueError)
    assert last_log(executor) == events


async def test_40_leaving_the_loop_closes_the_node_at_once_and_balances_the_log() -> None:
    node = Speaker("n", 3, hold=True)
    executor, tasks = Executor(single(node)), asyncio.all_tasks()
    gc.disable()
    try:
        async for event in executor.execute("q"):
            if event.type == "token":
                break
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert node.closed == 1
    finally:
        gc.enable()
    assert asyncio.all_tasks() == tasks
    log = last_log(executor)
    assert kinds(log)[-3:] == ["message_complete", "response_metadata", "execution_error"]
    assert log[-1].metadata["status"] == "cancelled"
    assert [e.seq for e in log] == list(range(len(log)))


@pytest.mark.parametrize("parallel", [False, True])
async def test_cancelling_the_consumer_closes_everything_and_fills_the_tail(parallel: bool) -> None:
    nodes = [Speaker(i, 2, hold=True) for i in "ab"[: 1 + parallel]]
    graph = StateGraph()
    for node in nodes:
        graph.add_node(node.id, node).set_entry_point(node.id)
    executor = Executor(graph)
    execution = executor.start("q")
    seen: list[ExecutionEvent] = []

    async def consume() -> None:
        async with contextlib.aclosing(execution.events()) as events:
            await keep(events, seen)

    before = asyncio.all_tasks()
    task = asyncio.create_task(consume())
    await until(lambda: sum(e.type == "token" for e in seen) == 2 * len(nodes))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [n.closed for n in nodes] == [1] * len(nodes)
    assert asyncio.all_tasks() == before
    log = last_log(executor)
    assert seen + execution.tail == log
    assert kinds(execution.tail) == ["message_complete", "response_metadata"] * len(nodes) + [
        "execution_error"
    ]


async def test_leaving_in_the_middle_of_the_last_events_keeps_the_rest_in_the_tail() -> None:
    execution = Executor(single(Speaker("n", fail="x"))).start("q")
    seen: list[ExecutionEvent] = []
    async with contextlib.aclosing(execution.events()) as events:
        async for event in events:
            seen.append(event)
            if event.type == "message_complete":
                break
    assert kinds(execution.tail) == ["response_metadata", "node_error", "execution_error"]
    assert [e.seq for e in seen + execution.tail] == list(range(len(seen) + 3))


async def test_46_branches_overlap() -> None:
    meeting = asyncio.Barrier(3)

    async def branch() -> int:
        await meeting.wait()
        return 1

    graph = StateGraph().add_node("root", lambda: {"from": "root"})
    for node_id in "abc":
        graph.add_node(node_id, branch)
    graph.set_entry_point("root").add_parallel_edges("root", list("abc"))
    end = (await asyncio.wait_for(collect(Executor(graph)), 30))[-1]
    assert end.output == {
        "a": {"output": 1},
        "b": {"output": 1},
        "c": {"output": 1},
        "content": "1\n\n1\n\n1",
    }


async def test_a_failing_branch_cancels_its_siblings() -> None:
    sibling = Speaker("slow", 2, hold=True)

    async def failing() -> None:
        await until(lambda: "token" in kinds(seen))
        raise ValueError("broken")

    seen: list[ExecutionEvent] = []
    graph = StateGraph().add_node("slow", sibling).add_node("bad", failing)
    graph.set_entry_point("slow").set_entry_point("bad")
    executor = Executor(graph)
    with pytest.raises(NodeExecutionError, match="'bad'"):
        await keep(executor.execute("q"), seen)
    assert sibling.closed == 1
    log = last_log(executor)
    assert [e.node_id for e in log if e.type == "node_error"] == ["bad"]
    assert kinds(log).count("execution_error") == 1
    assert [e.content for e in log if e.type == "token"] == ["0 ", "1 "]
    assert kinds(log).count("message_start") == kinds(log).count("message_complete")


async def test_a_slow_choice_holds_nothing_back_that_came_before_it() -> None:
    seen: list[ExecutionEvent] = []

    async def choose(output: Any) -> str:
        await until(lambda: "token" in kinds(seen))
        return "END"

    class Plain(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: ExecutionContext) -> str:
            return "x"

    graph = StateGraph().add_node("speaks", Speaker("speaks", hold=True)).add_node("chooses", Plain)
    graph.set_entry_point("speaks").set_entry_point("chooses").add_conditional_edges(
        "chooses", choose, ["END"]
    )
    async with contextlib.aclosing(Executor(graph).execute("q")) as events:
        async for event in events:
            seen.append(event)
            if event.type == "node_complete":
                break
    assert (seen[-1].node_id, seen[-1].metadata["route"]) == ("chooses", [])


async def test_leaving_at_the_first_of_several_starts_keeps_the_others_in_the_tail() -> None:
    class Plain(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: ExecutionContext) -> str:
            raise AssertionError("it was not to begin")

    graph = StateGraph()
    for node_id in "abc":
        graph.add_node(node_id, Plain).set_entry_point(node_id)
    executor = Executor(graph)
    execution = executor.start("q")
    async with contextlib.aclosing(execution.events()) as events:
        async for event in events:
            if event.type == "node_start":
                break
    assert kinds(execution.tail) == ["node_start", "node_start", "execution_error"]
    assert [e.node_id for e in last_log(executor) if e.type == "node_start"] == ["a", "b", "c"]


async def test_41_concurrent_runs_on_one_executor_and_context_do_not_mix() -> None:
    async def echo(input: dict[str, Any], context: ExecutionContext) -> dict[str, Any]:
        for _ in range(5):
            await asyncio.sleep(0)
        return {"content": f"{input['input']}/{context.question}"}

    executor, context = Executor(single(echo)), ExecutionContext(session_id="s")
    runs = await asyncio.gather(*(collect(executor, f"q{n}", context) for n in range(20)))
    assert [r[-1].output["content"] for r in runs] == [f"q{n}/q{n}" for n in range(20)]
    assert all(len({e.run_id for e in r}) == 1 for r in runs)
    assert all([e.seq for e in r] == list(range(len(r))) for r in runs)
    assert len(context.chat_history) == 40


async def test_52_a_second_run_in_one_context_sees_its_own_question_and_fresh_loops() -> None:
    graph = StateGraph().add_node("n", lambda context: {"content": context.question})
    graph.set_entry_point("n").add_edge("n", "n", is_loop_edge=True, max_iterations=2)
    executor, context = Executor(graph), ExecutionContext()
    for question in ("one", "two"):
        events = await collect(executor, question, context)
        assert events[-1].output == {"content": question}
        assert kinds(events).count("node_start") == 3
    assert [m["content"] for m in context.chat_history] == ["one", "one", "two", "two"]
    assert [m["role"] for m in context.chat_history] == ["user", "assistant"] * 2


async def test_53_nodes_and_the_callers_context_are_not_changed_while_a_run_is_on() -> None:
    node, context = Speaker("own-id"), ExecutionContext(state={"k": 1})
    before = dict(vars(node))
    graph = StateGraph().add_node("other", node).set_entry_point("other")
    async for event in Executor(graph).execute("q", context):
        assert event.node_id in ("START", "other")
        if event.type == "token":
            assert (context.outputs, context.chat_history) == ({}, [])
    assert {**vars(node), "closed": 0} == before


async def test_state_updates_are_events_and_written_back_on_completion() -> None:
    def count(state: dict[str, Any]) -> dict[str, Any]:
        state["count"] = state.get("count", 0) + 1
        return {}

    context = ExecutionContext(state={"kept": "x"})
    executor = Executor(single(count))
    for expected in (1, 2):
        events = await collect(executor, context=context)
        assert [e.output for e in events if e.type == "state_update"] == [{"count": expected}]
    assert context.state == {"kept": "x", "count": 2}


async def test_a_failed_run_leaves_the_callers_context_alone() -> None:
    def bad(state: dict[str, Any]) -> None:
        state["half"] = True
        raise ValueError

    context = ExecutionContext()
    with pytest.raises(NodeExecutionError):
        await collect(Executor(single(bad)), context=context)
    assert (context.state, context.chat_history) == ({}, [])


async def test_visits_of_a_loop_are_told_apart() -> None:
    graph = single(Speaker("n", 2)).add_edge("n", "n", is_loop_edge=True, max_iterations=1)
    events = await collect(Executor(graph))
    tokens = [e for e in events if e.type == "token"]
    assert [e.metadata.get("visit", 0) for e in tokens] == [0, 0, 1, 1]
    assert tokens[2].metadata is tokens[3].metadata
    assert tokens[0].metadata == {"text_block_id": "t"}
    routes = [e.metadata.get("route") for e in events if e.type == "node_complete"]
    assert routes == [["n"], None]


async def test_a_retried_node_says_so_and_closes_the_failed_attempt() -> None:
    class Flaky(Speaker):
        tries = 0

        async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
            self.tries += 1
            self.fail = "busy" if self.tries < 3 else None
            async for event in super().run(input, context):
                yield event

    config = {"retry": {"max_retries": 2, "delay": 0}}
    graph = StateGraph().add_node("n", type("F", (Flaky,), {}), config=config).set_entry_point("n")
    events = await collect(Executor(graph))
    retries = [e for e in events if e.type == "node_retry"]
    assert [(e.metadata["attempt"], e.error) for e in retries] == [
        (1, "ValueError: busy"),
        (2, "ValueError: busy"),
    ]
    assert kinds(events).count("message_start") == kinds(events).count("message_complete") == 3
    assert kinds(events).count("response_metadata") == 3
    assert [e.metadata.get("attempt", 0) for e in events if e.type == "token"] == [0] * 3 + [1] * 3 + [2] * 3
    assert kinds(events).count("node_error") == 0


async def test_what_a_completed_node_left_open_is_closed() -> None:
    class Sloppy(mesh_nb.BaseNode):
        async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
            yield ExecutionEvent(EventType.MESSAGE_START, metadata={"message_id": "m"})
            yield ExecutionEvent(EventType.NODE_COMPLETE, output="done")

    events = await collect(Executor(single(Sloppy("n"))))
    assert kinds(events)[2:5] == ["message_start", "message_complete", "node_complete"]
    assert events[-1].output == {"content": "done"}


def yielding(*items: Any) -> Any:
    class Odd(mesh_nb.BaseNode):
        async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[Any]:
            for item in items:
                yield item

    return Odd("n")


COMPLETE = (EventType.NODE_COMPLETE, "", None, 1)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ((), "ended without node_complete"),
        (("text",), "yielded str"),
        ((ExecutionEvent(EventType.EXECUTION_COMPLETE),), "which only the executor records"),
        ((ExecutionEvent(EventType.NODE_COMPLETE), ExecutionEvent(EventType.TOKEN)), "after node_complete"),
        ((ExecutionEvent(EventType.NODE_ERROR, error="mine"),), "mine"),
    ],
)
@pytest.mark.parametrize("parallel", [False, True])
async def test_a_node_that_breaks_the_rules_is_told_which(items: Any, says: str, parallel: bool) -> None:
    graph = single(yielding(*items))
    if parallel:
        graph.add_node("other", lambda: 1).set_entry_point("other")
    with pytest.raises(NodeExecutionError, match=says) as caught:
        await collect(Executor(graph))
    assert caught.value.node_id == "n"


async def test_a_run_method_that_is_no_generator_is_a_clear_error() -> None:
    class Plain(mesh_nb.BaseNode):
        async def run(self, input: Any, context: ExecutionContext) -> Any:  # type: ignore[override]
            return 1

    with pytest.raises(NodeExecutionError, match="must be an async generator"):
        await collect(Executor(single(Plain("n"))))


async def test_checks_of_all_nodes_come_before_anything_starts() -> None:
    ran: list[int] = []

    class Keyless(mesh_nb.BaseNode):
        def check(self) -> None:
            raise ConfigurationError("Set OPENAI_API_KEY.")

    graph = single(lambda: ran.append(1)).add_node("k", Keyless).add_edge("n", "k")
    executor = Executor(graph)
    with pytest.raises(ConfigurationError):
        executor.execute("q")
    assert ran == []
    assert list(executor.backend.run_ids()) == []


async def test_an_execution_is_iterated_once() -> None:
    execution = Executor(single(lambda: 1)).start("q")
    assert [e async for e in execution][-1].type == "execution_complete"
    with pytest.raises(InputError):
        async for _ in execution:
            pass


async def test_a_store_that_nobody_else_has_goes_when_the_log_is_open() -> None:
    backend = MemoryBackend()
    store, events = weakref.ref(backend), Executor(single(lambda: 1), backend).execute("q")
    del backend
    assert (await anext(events)).type == "execution_start"
    gc.collect()
    assert store() is None
    assert [e.type async for e in events][-2:] == ["node_complete", "execution_complete"]


async def test_a_log_that_could_not_be_opened_may_be_tried_again() -> None:
    class Full(MemoryBackend):
        full = True

        def open(self, run_id: str, header: dict[str, Any]) -> Any:
            if self.full:
                raise OSError("disk full")
            return super().open(run_id, header)

    backend = Full()
    execution = Executor(single(lambda: 1), backend).start("q")
    with pytest.raises(OSError, match="disk full"):
        _ = [e async for e in execution]
    backend.full = False
    events = [e async for e in execution]
    assert backend.load(execution.run_id).events == events


@pytest.mark.parametrize(
    ("input", "first"), [("q", {"input": "q"}), ({"topic": "x"}, {"topic": "x"}), (None, {"input": None})]
)
async def test_the_first_nodes_input(input: Any, first: Any) -> None:
    events = await collect(Executor(single(lambda input: input)), input)
    assert next(e for e in events if e.type == "node_complete").output == first


async def test_55_a_join_gets_its_parents_apart_and_an_aggregator_gets_the_same() -> None:
    graph = StateGraph().add_node("a", lambda: {"content": "A"}).add_node("b", lambda: {"content": "B"})
    graph.add_node("join", lambda input: {"content": repr(input)}).set_entry_point("a").set_entry_point("b")
    graph.add_fan_in_edge(["a", "b"], "join")
    end = (await collect(Executor(graph)))[-1]
    assert end.output == {"content": repr({"a": {"content": "A"}, "b": {"content": "B"}})}
    graph.add_fan_in_edge(["a", "b"], "join", aggregator=lambda d: sorted(d))
    assert (await collect(Executor(graph)))[-1].output == {"content": "['a', 'b']"}


async def test_58_two_conditional_edges_from_one_node_both_work() -> None:
    graph = StateGraph().add_node("n", lambda: {"x": 1})
    for node_id in "abcd":
        graph.add_node(node_id, lambda node_id=node_id: {"content": node_id})
    graph.set_entry_point("n")
    graph.add_conditional_edges("n", lambda output: output["x"], {1: "a", 2: "b"})

    async def later(output: Any) -> list[str]:
        return ["d"]

    graph.add_conditional_edges("n", later, ["c", "d"])
    events = await collect(Executor(graph))
    assert sorted(e.node_id for e in events if e.type == "node_complete") == ["a", "d", "n"]
    assert next(e for e in events if e.node_id == "n" and e.type == "node_complete").metadata["route"] == [
        "a",
        "d",
    ]


async def test_a_branch_that_does_not_exist_fails_the_node_and_keeps_its_output() -> None:
    graph = single(lambda: {"x": 1}).add_node("a", lambda: 1)
    graph.add_conditional_edges("n", lambda output: "yess", {"yes": "a"})
    executor = Executor(graph)
    with pytest.raises(NodeExecutionError, match="Did you mean 'yes'"):
        await collect(executor)
    error = next(e for e in last_log(executor) if e.type == "node_error")
    assert error.output == {"x": 1}


async def test_a_loop_condition_that_raises_fails_the_node() -> None:
    graph = single(lambda: 1).add_edge("n", "n", is_loop_edge=True, loop_condition=lambda output: 1 / 0)
    with pytest.raises(NodeExecutionError, match="ZeroDivisionError"):
        await collect(Executor(graph))


async def test_loop_conditions_see_state_and_output() -> None:
    def step(state: dict[str, Any]) -> dict[str, Any]:
        state["n"] = state.get("n", 0) + 1
        return {"n": state["n"]}

    graph = single(step)
    graph.add_edge(
        "n", "n", is_loop_edge=True, loop_condition=lambda state, output: state["n"] == output["n"] < 4
    )
    assert (await collect(Executor(graph)))[-1].output["n"] == 4


async def test_start_may_choose() -> None:
    graph = StateGraph().add_node("a", lambda: {"content": "A"}).add_node("b", lambda: {"content": "B"})
    graph.add_conditional_edges("START", lambda first: first["input"], ["a", "b"])
    assert (await collect(Executor(graph), "b"))[-1].output == {"content": "B"}
    with pytest.raises(NodeExecutionError, match="START"):
        await collect(Executor(graph), "c")


async def test_48_a_choice_of_end_ends_there_and_skipped_nodes_are_empty_in_templates() -> None:
    graph = StateGraph().add_node("n", lambda: {"content": "N"}).add_node("a", lambda: 1)
    graph.set_entry_point("n").add_edge("a", "END")
    graph.add_conditional_edges("n", lambda output: "stop", {"stop": "END", "go": "a"})
    execution = Executor(graph).start("q")
    events = [e async for e in execution]
    assert events[-1].output == {"content": "N"}
    assert execution.context.outputs == {"n": {"content": "N"}, "a": None}


async def test_59_long_chains_and_loops_run_without_recursion() -> None:
    class Nothing(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: ExecutionContext) -> Any:
            return input

    graph, ids = StateGraph(), [f"n{k}" for k in range(1500)]
    for node_id in ids:
        graph.add_node(node_id, Nothing)
    graph.add_sequence(["START", *ids])
    graph.add_edge("n1499", "n1499", is_loop_edge=True, max_iterations=1500)
    events = await collect(Executor(graph))
    assert kinds(events).count("node_complete") == 3000


async def test_plain_nodes_of_a_class_behave_the_same_alone_and_in_parallel() -> None:
    class Double(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: ExecutionContext) -> Any:
            if input["input"] == 0:
                raise ValueError("zero")
            return {"content": str(2 * input["input"])}

    alone = StateGraph().add_node("a", Double).set_entry_point("a")
    both = StateGraph().add_node("a", Double).add_node("b", Double).set_entry_point("a").set_entry_point("b")
    assert (await collect(Executor(alone), 2))[-1].output == {"content": "4"}
    assert (await collect(Executor(both), 2))[-1].output["content"] == "4\n\n4"
    for graph in (alone, both):
        with pytest.raises(NodeExecutionError, match="zero"):
            await collect(Executor(graph), 0)
