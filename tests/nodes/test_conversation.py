"""The conversation node: it asks a person until it knows every field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answer_server import AnswerServer
from run_logs import check_log, cut_logs

from mesh_nb import FileBackend, GraphValidationError, MemoryBackend, NodeExecutionError, StateGraph
from mesh_nb.core.errors import InputError
from mesh_nb.core.events import EventType


def turn(message: str, **fields: str | None) -> str:
    return json.dumps({"message": message, "fields": {"city": None, "day": None, **fields}})


def graph(server: AnswerServer, **options: Any) -> StateGraph:
    fields = {"city": "where the trip goes", "day": "when"}
    graph = StateGraph().add_node(
        *("trip", None, "conversation"),
        extraction_fields=fields,
        model_options=server.options("chat"),
        **options,
    )
    return graph.set_entry_point("trip")


async def answered(run: Any, *answers: str) -> Any:
    """Answer the run's questions in turn."""
    left = list(answers)
    async for event in run:
        if event.type == "interrupt":
            run.edit(left.pop(0))
    return await run


async def test_it_asks_until_every_field_is_known() -> None:
    turns = (
        turn("Where to?"),
        turn("When?", city="Rome"),
        turn("Rome on Monday, then.", city="Rome", day="Monday"),
    )
    with AnswerServer(*turns) as server:
        run = graph(server).run("Book me a trip.", display=False, on_no_answer="wait")
        await answered(run, "to Rome", "on Monday")
        bodies = server.bodies
    assert run.output["fields"] == {"city": "Rome", "day": "Monday"}
    assert run.output["content"] == "Rome on Monday, then."
    assert run.output["turns"] == 2
    assert [m["content"] for m in bodies[-1]["messages"][1:]] == [
        *("Book me a trip.", "Where to?", "to Rome", "When?", "on Monday")
    ]
    asked = [e for e in run.events if e.type == "interrupt"]
    assert [e.metadata["message"] for e in asked] == ["Where to?", "When?"]
    assert [e.metadata["kind"] for e in asked] == ["input", "input"]
    said = [e.content for e in run.events if e.type == "token"]
    assert said == ["Where to?", "When?", "Rome on Monday, then."]


async def test_so_many_questions_and_no_more() -> None:
    with AnswerServer(turn("Where to?")) as server:
        run = graph(server, max_turns=1).run("Hello.", display=False, on_no_answer="wait")
        with pytest.raises(NodeExecutionError, match="1 questions were not enough to find out city, day"):
            await answered(run, "hm")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs extraction_fields="),
        ({"extraction_fields": {"a b": "x"}}, "needs extraction_fields="),
        ({"extraction_fields": {"a": "x"}, "max_turns": 0}, "max_turns=0 is not 1 or more"),
    ],
)
def test_what_cannot_be(options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("trip", None, "conversation", **options)


QUIET: dict[str, Any] = {"display": False}
TURNS = (turn("Where to?"), turn("When?", city="Rome"), turn("Booked.", city="Rome", day="Monday"))


async def test_answers_that_come_later_resume_it_and_no_turn_is_paid_for_twice() -> None:
    with AnswerServer(*TURNS) as server:
        backend = MemoryBackend()
        run = await graph(server).run("Book me a trip.", backend=backend, on_no_answer="stop", **QUIET)
        for asked, answer in (("Where to?", "to Rome"), ("When?", "on Monday")):
            assert run.status == "interrupted"
            assert [q.message for q in run.pending] == [asked]
            run = await run.edit(answer)
        bodies = server.bodies
    assert run.output["fields"] == {"city": "Rome", "day": "Monday"}
    assert [m["content"] for m in run.output["messages"]] == [
        *("Book me a trip.", "Where to?", "to Rome", "When?", "on Monday", "Booked.")
    ]
    assert len(bodies) == 3
    assert [m["content"] for m in bodies[-1]["messages"][1:]] == [
        *("Book me a trip.", "Where to?", "to Rome", "When?", "on Monday")
    ]
    assert [e.content for e in run.events if e.type == "token"] == ["Where to?", "When?", "Booked."]


async def test_a_person_who_does_not_go_on_ends_it() -> None:
    with AnswerServer(*TURNS) as server:
        run = graph(server).run("Book.", backend=MemoryBackend(), on_no_answer="wait", **QUIET)
        async for event in run:
            if event.type == "interrupt":
                run.reject("changed my mind")
        with pytest.raises(NodeExecutionError, match="changed my mind"):
            await run
        assert len(server.bodies) == 1


async def test_an_answer_that_does_not_come_in_time_ends_it() -> None:
    with AnswerServer(*TURNS) as server:
        run = graph(server, timeout=0.01).run("Book.", backend=MemoryBackend(), on_no_answer="wait", **QUIET)
        with pytest.raises(NodeExecutionError, match="in time"):
            await run


async def test_an_answer_without_words_says_how_to_answer() -> None:
    with AnswerServer(*TURNS) as server:
        run = graph(server).run("Book.", backend=MemoryBackend(), on_no_answer="allow", **QUIET)
        with pytest.raises(NodeExecutionError, match=r"answer with run\.edit"):
            await run


async def test_its_calls_count_for_the_budget() -> None:
    with AnswerServer(*TURNS) as server:
        run = graph(server).run(
            "Book.", backend=MemoryBackend(), on_no_answer="wait", max_model_calls=1, **QUIET
        )
        with pytest.raises(NodeExecutionError, match="model call"):
            await answered(run, "to Rome")
        assert (run.status, len(server.bodies)) == ("budget", 1)


async def test_cancel_while_it_waits() -> None:
    with AnswerServer(*TURNS) as server:
        run = graph(server).run("Book.", backend=MemoryBackend(), on_no_answer="wait", **QUIET)
        async for event in run:
            if event.type == "interrupt":
                run.cancel()
        assert run.status == "cancelled"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"extraction_fields": {"class": "x"}}, GraphValidationError, "needs extraction_fields="),
        ({"extraction_fields": {"_x": "x"}}, GraphValidationError, "needs extraction_fields="),
        ({"extraction_fields": {"a": "x"}, "timeout": "soon"}, InputError, "above 0, not 'soon'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_paid(options: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        StateGraph().add_node("trip", None, "conversation", **options)


async def asked(run: Any, answers: dict[str, str]) -> Any:
    """Answer each question by what it says."""
    async for event in run:
        if event.type == "interrupt" and any(q.id == event.metadata["interrupt_id"] for q in run.pending):
            run.edit(answers[event.metadata["message"]], event.metadata["interrupt_id"])
    return await run


async def test_a_run_that_is_killed_anywhere_pays_for_no_turn_twice(tmp_path: Path) -> None:
    answers = {"Where to?": "to Rome", "When?": "on Monday"}
    bad = json.dumps({"message": "When?"})  # It has to be repaired, with a second call.
    turns = (TURNS[0], bad, *TURNS[1:])
    with AnswerServer(*turns) as server:
        made = graph(server)
        whole = await asked(
            made.run("Book.", backend=FileBackend(tmp_path), on_no_answer="wait", **QUIET), answers
        )
        assert len(server.bodies) == 4
        for cut, store in cut_logs(tmp_path, whole.id):
            paid = [e.type for e in store.load(whole.id).events].count(EventType.RESPONSE_METADATA)
            server.answers = list(turns[paid:]) or [b""]
            server.requests.clear()
            run = await asked(made.resume(whole.id, backend=store, on_no_answer="wait", **QUIET), answers)
            assert run.output == whole.output, cut
            assert len(server.bodies) == 4 - paid, cut
            check_log(store.load(whole.id).events)
            said = [e.content for e in run.events if e.type == "token"]
            assert list(dict.fromkeys(said)) == ["Where to?", "When?", "Booked."], cut
            ends = [e.metadata["finish_reason"] for e in run.events if e.type == "message_complete"]
            assert ends.count("stop") == 3, cut
