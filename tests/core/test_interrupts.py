"""A run that asks a person: questions, answers, policies, timeouts, and what the log says of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from run_doubles import until

import mesh_nb
from mesh_nb import Executor, MemoryBackend, StateGraph
from mesh_nb.core.errors import GraphValidationError, InputError, NodeExecutionError, RejectedError
from mesh_nb.core.events import EventType, ExecutionEvent


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))


def shout(input: dict[str, Any]) -> dict[str, Any]:
    return {"content": str(input.get("content") or input.get("input")).upper()}


def approval(**options: Any) -> StateGraph:
    graph = StateGraph("g").add_node("ask", node_type="approval", **options).add_node("shout", shout)
    return graph.set_entry_point("ask").add_edge("ask", "shout")


def kinds(events: Any) -> list[str]:
    return [str(e.type) for e in events]


def of(run: Any, kind: str) -> list[Any]:
    return [e for e in run.events if e.type == kind]


async def asked(run: Any) -> None:
    await until(run, lambda: bool(run.pending))


async def test_51_approve_passes_the_original_input_on() -> None:
    run = approval(message="Shout {{$question}}?").run("hi", on_no_answer="wait")
    await asked(run)
    assert not run.done
    (question,) = run.pending
    assert (question.kind, question.node_id, question.message) == ("approval", "ask", "Shout hi?")
    assert question.data == {"input": "hi"}
    assert run.approve() is run
    assert (await run).text == "HI"
    assert run.pending == []
    resolved = of(run, "interrupt_resolved")[0]
    assert resolved.metadata["decision"] == "approved"
    assert resolved.metadata["interrupt_id"] == question.id
    assert resolved.metadata["by"] == "person"
    assert resolved.node_id == "ask"


async def test_51_approve_passes_the_original_input_on_also_through_a_join() -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval").add_node("other", lambda input: {"n": 1})
    graph.add_node("join", lambda input: {"got": input})
    for source in ("ask", "other"):
        graph.set_entry_point(source).add_edge(source, "join")
    run = graph.run({"draft": "d"}, on_no_answer="wait")
    await asked(run)
    run.approve()
    assert (await run).output["got"] == {"ask": {"draft": "d"}, "other": {"n": 1}}


async def test_an_edit_replaces_the_data() -> None:
    run = approval().run("hi", on_no_answer="wait")
    await asked(run)
    run.edit({"content": "bye"})
    assert (await run).text == "BYE"
    resolved = of(run, "interrupt_resolved")[0]
    assert (resolved.metadata["decision"], resolved.output) == ("edited", {"content": "bye"})


async def test_a_rejection_fails_the_node_with_the_reason() -> None:
    run = approval().run("hi", on_no_answer="wait")
    await asked(run)
    run.reject("too loud")
    with pytest.raises(NodeExecutionError, match="It was rejected: too loud") as caught:
        await run
    assert isinstance(caught.value.cause, RejectedError)
    assert caught.value.cause.reason == "too loud"
    assert run.status == "failed"
    assert not of(run, "node_start")[1:]


async def test_a_rejection_may_be_what_edges_choose_by() -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval", on_reject="continue")
    graph.add_node("send", lambda input: {"content": "sent"})
    graph.add_node("drop", lambda input: {"content": f"dropped: {input['reason']}"})
    graph.set_entry_point("ask").add_conditional_edges(
        "ask", lambda output: output.get("approved", True), {True: "send", False: "drop"}
    )
    run = graph.run({"a": 1}, on_no_answer="wait")
    await asked(run)
    run.reject("no")
    assert (await run).text == "dropped: It was rejected: no"


@pytest.mark.parametrize(("policy", "decision"), [("allow", "approved"), ("deny", "denied")])
async def test_a_policy_answers_where_nobody_does(policy: Any, decision: str) -> None:
    run = approval().run("hi", on_no_answer=policy)
    if policy == "allow":
        assert (await run).text == "HI"
    else:
        with pytest.raises(NodeExecutionError, match="denied by on_no_answer="):
            await run
    metadata = of(run, "interrupt_resolved")[0].metadata
    assert (metadata["decision"], metadata["by"]) == (decision, "policy")


async def test_a_run_without_a_person_ends_as_interrupted() -> None:
    run = await approval().run("hi")
    assert run.status == "interrupted"
    assert [q.node_id for q in run.pending] == ["ask"]
    assert kinds(run.events) == ["execution_start", "node_start", "interrupt", "execution_complete"]


async def test_the_iterator_of_an_executor_ends_as_interrupted() -> None:
    events = [e async for e in Executor(approval()).execute("hi")]
    assert events[-1].type == EventType.EXECUTION_COMPLETE
    assert events[-1].metadata["status"] == "interrupted"
    assert events[-1].output is None


async def test_branches_beside_an_open_question_run_to_their_end() -> None:
    done = asyncio.Event()

    async def slow(input: Any) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        done.set()
        return {"n": 1}

    graph = StateGraph("g").add_node("ask", node_type="approval").add_node("slow", slow)
    graph.add_node("after", lambda input: input)
    graph.set_entry_point("ask").set_entry_point("slow").add_edge("slow", "after")
    run = await graph.run("hi")
    assert run.status == "interrupted"
    assert done.is_set()
    assert [e.node_id for e in of(run, "node_complete")] == ["slow", "after"]


async def test_a_timeout_is_an_answer() -> None:
    run = approval(timeout=0.01).run("hi", on_no_answer="wait")
    with pytest.raises(NodeExecutionError, match="Nobody answered in time"):
        await run
    asked_at = of(run, "interrupt")[0].metadata
    assert asked_at["timeout_s"] == 0.01
    metadata = of(run, "interrupt_resolved")[0].metadata
    assert (metadata["decision"], metadata["by"]) == ("timeout", "timeout")


async def test_answers_come_from_any_thread_and_only_once() -> None:
    run = approval().run("hi", on_no_answer="wait")
    await asked(run)
    results: list[Any] = []

    def answer() -> None:
        try:
            results.append(run.approve())
        except InputError as error:
            results.append(str(error))

    threads = [threading.Thread(target=answer) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert (await run).status == "completed"
    assert results.count(run) == 1
    assert all("Nothing waits" in text for text in results if text is not run)


async def test_several_questions_are_answered_by_id() -> None:
    graph = StateGraph("g")
    for name in ("a", "b"):
        graph.add_node(name, node_type="approval").set_entry_point(name)
    run = graph.run("hi", on_no_answer="wait")
    await until(run, lambda: len(run.pending) == 2)
    with pytest.raises(InputError, match="2 questions wait for an answer; name one of"):
        run.approve()
    with pytest.raises(InputError, match="No open question 'nope'"):
        run.approve("nope")
    ids = {q.node_id: q.id for q in run.pending}
    run.edit({"content": "B"}, ids["b"])
    run.approve(ids["a"])
    assert (await run).output["b"] == {"content": "B"}


async def test_a_run_that_asks_nothing_says_so() -> None:
    run = await StateGraph("g").add_node("shout", shout).set_entry_point("shout").run("hi")
    assert run.pending == []
    with pytest.raises(InputError, match="Nothing waits for an answer"):
        run.approve()


async def test_cancel_ends_a_run_that_waits() -> None:
    run = approval().run("hi", on_no_answer="wait")
    await asked(run)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert run.status == "cancelled"
    assert run.pending == []


async def test_an_interrupt_tells_what_the_run_has_cost_and_nothing_of_its_state() -> None:
    class Spender(mesh_nb.BaseNode):
        async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
            metadata = {"call_id": "c", "model_id": "m", "usage": {"prompt_tokens": 3}, "cost_usd": 0.25}
            yield ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata)
            yield ExecutionEvent(EventType.STATE_UPDATE, output={"secret": "x"})
            yield ExecutionEvent(EventType.NODE_COMPLETE, output={"content": "y" * 5000})

    graph = StateGraph("g").add_node("spend", Spender).add_node("ask", node_type="approval")
    graph.add_node("again", Spender).set_entry_point("spend").add_sequence(["spend", "ask", "again"])
    run = graph.run("hi", on_no_answer="wait")
    await asked(run)
    (question,) = run.pending
    assert question.cost_usd == 0.25
    assert len(question.data["content"]) == 2001
    assert "secret" not in str(of(run, "interrupt")[0].metadata)
    run.approve()
    assert (await run).usage == {"prompt_tokens": 6}
    assert of(run, "interrupt")[0].metadata["usage"] == {"prompt_tokens": 3}


async def test_interrupts_before_and_after_a_node() -> None:
    graph = StateGraph("g").add_node("shout", shout).set_entry_point("shout")
    graph.set_interrupt_before("shout").set_interrupt_after("shout", timeout=60)
    run = graph.run("hi", on_no_answer="wait")
    await asked(run)
    assert [(q.kind, q.data) for q in run.pending] == [("before", {"input": "hi"})]
    run.edit({"content": "other"})
    await until(run, lambda: bool(run.pending) and run.pending[0].kind == "after")
    assert run.pending[0].data == {"content": "OTHER"}
    assert run.pending[0].deadline is not None
    run.edit({"content": "edited"})
    assert (await run).text == "edited"


async def test_a_condition_decides_whether_to_ask_and_an_extractor_what_to_show() -> None:
    seen: list[Any] = []

    async def condition(state: Any, data: Any) -> bool:
        seen.append((state, data))
        return data["n"] > 1

    graph = StateGraph("g").add_node("node", lambda input: input).set_entry_point("node")
    graph.set_interrupt_before("node", condition, lambda data: {"number": data["n"]})
    assert (await graph.run({"n": 1})).status == "completed"
    run = await graph.run({"n": 2})
    assert run.status == "interrupted"
    assert run.pending[0].data == {"number": 2}
    assert seen == [({}, {"n": 1}), ({}, {"n": 2})]


async def test_edges_take_interrupts_too() -> None:
    graph = StateGraph("g").add_node("a", shout).add_node("b", shout).set_entry_point("a")
    graph.add_edge("a", "b", interrupt_before=True, interrupt_condition=lambda state, data: "HI" in str(data))
    run = await graph.run("hi")
    assert [(q.kind, q.node_id) for q in run.pending] == [("before", "b")]
    assert (await graph.run("no")).status == "completed"


async def test_a_rejection_is_not_retried() -> None:
    graph = StateGraph("g").add_node("n", shout, config={"retry": {"max_retries": 3, "delay": 0}})
    graph.set_entry_point("n").set_interrupt_before("n")
    run = graph.run("hi", on_no_answer="deny")
    with pytest.raises(NodeExecutionError):
        await run
    assert of(run, "node_retry") == []
    assert len(of(run, "interrupt")) == 1


async def test_a_node_of_ones_own_asks() -> None:
    class Asker(mesh_nb.BaseNode):
        async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
            question = context.ask("input", "How many?", timeout=60)
            yield question.event
            answer = await question.answer()
            yield question.resolution
            answer.require()
            yield ExecutionEvent(EventType.NODE_COMPLETE, output={"content": str(answer.value)})

    run = StateGraph("g").add_node("n", Asker).set_entry_point("n").run("hi", on_no_answer="wait")
    await asked(run)
    run.edit(7)
    assert (await run).text == "7"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, "timeout is a number of seconds above 0, not 0"),
        ({"timeout": True}, "timeout is a number of seconds above 0"),
        ({"message": 3}, "message is text"),
        ({"data_extractor": 3}, "data_extractor is 3, not a function"),
        ({"on_reject": "explode"}, "on_reject is 'stop' or 'continue'"),
        ({"mesage": "x"}, "Did you mean 'message'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: Any, error: str) -> None:
    with pytest.raises((InputError, GraphValidationError, LookupError), match=error):
        approval(**options)


def test_policies_and_interrupts_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'allow'"):
        approval().run("hi", on_no_answer="alow")  # type: ignore[arg-type]
    graph = approval()
    with pytest.raises(GraphValidationError, match="condition is 3, not a function"):
        graph.set_interrupt_before("shout", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="timeout is a number of seconds above 0"):
        graph.set_interrupt_after("shout", timeout=-1)
    with pytest.raises(GraphValidationError, match="START and END are no nodes"):
        graph.set_interrupt_after("END")
    with pytest.raises(GraphValidationError, match="'gone': there is no such node"):
        graph.set_interrupt_after("gone").compile()


def test_a_question_outside_a_run_is_refused() -> None:
    with pytest.raises(InputError, match="only while a run executes it"):
        mesh_nb.ExecutionContext().ask("input", "?")


async def test_runs_of_one_executor_keep_their_questions_apart() -> None:
    executor = Executor(approval(), MemoryBackend())
    first = executor.start("one", on_no_answer="wait")
    second = executor.start("two", on_no_answer="wait")
    texts: dict[str, Any] = {}

    async def drive(name: str, execution: Any) -> None:
        async for event in execution:
            if event.type == EventType.INTERRUPT:
                asyncio.get_running_loop().call_soon(_approve, execution)
            texts[name] = event.output

    await asyncio.gather(drive("one", first), drive("two", second))
    assert (texts["one"]["content"], texts["two"]["content"]) == ("ONE", "TWO")


def _approve(execution: Any) -> None:
    from mesh_nb.core.interrupts import Answer

    execution.desk.answer(None, Answer("approved"))


async def test_an_answer_after_its_time_is_refused_and_the_run_can_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = StateGraph().add_node("ask", node_type="approval", timeout=3600).set_entry_point("ask")
    run = await graph.run("q", backend=MemoryBackend(), display=False, on_no_answer="stop")
    later = SimpleNamespace(time=lambda: (run.pending[0].deadline or 0) + 1)
    monkeypatch.setattr("mesh_nb.core.interrupts.time", later)
    with pytest.raises(InputError, match=r"The time to answer .* is over; resume\(\)"):
        run.approve()
    with pytest.raises(NodeExecutionError, match="Nobody answered in time"):
        await run.resume()


async def test_ids_names_and_reasons_that_are_no_text_are_refused() -> None:
    graph = StateGraph().add_node("ask", node_type="approval").set_entry_point("ask")
    run = await graph.run("q", backend=MemoryBackend(), display=False, on_no_answer="stop")
    wrong: Any = ["x"]
    with pytest.raises(InputError, match=r"No open question \['x'\]"):
        run.approve(wrong)
    with pytest.raises(InputError, match=r"by= of an answer is text, not \['x'\]"):
        run.approve(by=wrong)
    assert run.status == "interrupted"
