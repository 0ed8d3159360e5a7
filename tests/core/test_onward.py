"""Resume, fork and rerun take what a run takes, and a run's own ones hand on how it was started."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from run_doubles import Speaker, graph_of
from tool_chat import ToolChat

import mesh_nb
from mesh_nb import GraphValidationError, MemoryBackend, NodeExecutionError, Run, StateGraph
from mesh_nb.core import plugins
from mesh_nb.core._again import Options
from mesh_nb.core.errors import InputError, UnknownNameError

VERBS = ("resume", "fork", "rerun")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "k")


@pytest.fixture
def server() -> Any:
    with ToolChat() as running:
        yield running


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `display=` every run was started with."""
    seen: list[Any] = []

    class Host:
        def show(self, run: Run) -> None:
            pass

    def name(display: Any) -> str:
        seen.append(display)
        return "plain"

    monkeypatch.setitem(plugins._registered, ("host", "plain"), Host())
    monkeypatch.setattr("mesh_nb.core.runner.host_name", name)
    return seen


def asking(**options: Any) -> StateGraph:
    graph = StateGraph("g").add_node("first", lambda input: {"content": "1"})
    return graph.add_node("ask", node_type="approval", **options).chain("START", "first", "ask")


def test_all_of_them_take_the_same_options_as_a_run() -> None:
    def options(method: Any) -> set[str]:
        return {p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY}

    new = {"session_id", "files", "reuse"}  # Of these a run that follows another has what that one had.
    shared = set(Options.__annotations__)
    assert shared == options(StateGraph.run) - new
    assert options(StateGraph.resume) - shared == {"answers"}
    assert options(StateGraph.fork) - shared == {"at", "patch"}
    assert options(StateGraph.rerun) == shared
    for verb in VERBS:
        of_a_run = inspect.signature(getattr(Run, verb)).parameters
        assert of_a_run["options"].kind is inspect.Parameter.VAR_KEYWORD
        assert set(of_a_run) - {"self", "options"} == options(getattr(StateGraph, verb)) - shared


@pytest.mark.parametrize("verb", VERBS)
async def test_display_is_an_option_of_each(verb: str, displays: list[Any]) -> None:
    run = await asking().run("q", on_no_answer="stop")
    more: dict[str, Any] = {"at": "ask"} if verb == "fork" else {}
    displays.clear()
    await getattr(run, verb)(display=False, **more)
    assert set(displays) == {False}
    displays.clear()
    await getattr(run.graph, verb)(run.id, display=False, **more)
    assert set(displays) == {False}


async def test_what_comes_of_a_run_is_shown_and_limited_as_the_run_was(displays: list[Any]) -> None:
    run = await asking().run("q", display=False, on_no_answer="stop", max_concurrency=1, fail_fast=False)
    displays.clear()
    fork = await run.fork(at="ask")
    again = await run.rerun(fail_fast=True)
    resumed = await run.resume()
    approved = await resumed.approve()
    assert set(displays) == {False}
    started = {"display": False, "on_no_answer": "stop", "max_concurrency": 1, "fail_fast": False}
    assert fork._options == resumed._options == approved._options == started
    assert again._options == {k: v for k, v in started.items() if k != "fail_fast"}


def test_a_run_sync_hands_on_what_was_chosen_and_not_where_it_lived() -> None:
    run = asking().run_sync("q", timeout=30, on_no_answer="stop")
    assert run._options == {"timeout": 30, "on_no_answer": "stop"}
    assert asking().run_sync("q")._options == {}


async def test_limits_hold_for_each(server: ToolChat) -> None:
    llm: dict[str, Any] = {"node_type": "llm", "model": "m", "base_url": server.base_url}
    graph = StateGraph("g").add_node("one", **llm).add_node("two", **llm).chain("START", "one", "two")
    run = await graph.run("q")
    for again in (run.rerun(max_model_calls=1), run.fork(at="one", max_model_calls=1)):
        with pytest.raises(NodeExecutionError, match="max_model_calls=1"):
            await again
        assert again.status == "budget"
    before = server.calls
    assert (await again.resume(max_model_calls=2)).status == "completed"
    assert server.calls - before == 1
    with pytest.raises(mesh_nb.RunTimeoutError):
        await graph_of(Speaker()).fork((await graph_of(Speaker()).run("q")).id, at=0, timeout=1e-9)


async def test_a_new_run_may_spend_what_the_other_might_unless_it_says_so(server: ToolChat) -> None:
    llm: dict[str, Any] = {"node_type": "llm", "model": "m", "base_url": server.base_url}
    graph = StateGraph("g").add_node("one", **llm).add_node("two", **llm).chain("START", "one", "two")
    run = await graph.run("q", max_model_calls=2, max_tokens=100_000)
    again = await run.rerun()
    assert again.events[0].metadata["budget"] == run.events[0].metadata["budget"]
    other = await graph.fork(run.id, at="two", max_model_calls=1)
    assert other.events[0].metadata["budget"] == {
        "max_model_calls": 1,
        "max_tokens": 100_000,
        "unpriced": "refuse",
        "on_budget": "stop",
    }


async def test_limits_that_were_raised_stay_raised(server: ToolChat) -> None:
    llm: dict[str, Any] = {"node_type": "llm", "model": "m", "base_url": server.base_url}
    graph = StateGraph("g").add_node("one", **llm).add_node("two", **llm).chain("START", "one", "two")
    graph.set_interrupt_after("one")
    run = await graph.run("q", max_model_calls=1, on_no_answer="stop")
    raised = await run.resume(max_model_calls=2)
    assert raised.status == "interrupted"
    assert (await raised.approve()).status == "completed"


async def test_what_a_person_allowed_stays_allowed(server: ToolChat) -> None:
    llm: dict[str, Any] = {"node_type": "llm", "model": "m", "base_url": server.base_url}
    graph = StateGraph("g").add_node("one", **llm).add_node("two", **llm).add_node("three", **llm)
    graph.chain("START", "one", "two", "three").set_interrupt_after("two")
    run = await graph.run("q", max_model_calls=1, on_budget="ask", on_no_answer="stop")
    asked = await run.approve()  # one more call
    assert [q.kind for q in asked.pending] == ["after"]
    third = await asked.approve()
    assert "max_model_calls=2" in third.pending[0].message
    done = await third.approve()
    assert (done.status, server.calls) == ("completed", 3)
    assert len([e for e in done.events if e.type == "interrupt"]) == 3


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"variables": 5}, InputError, "variables= is a dict"),
        ({"backend": "memory"}, InputError, "backend= is a MemoryBackend"),
        ({"on_no_answer": "maybe"}, InputError, "on_no_answer= is one of"),
        ({"max_concurrency": 0}, InputError, "max_concurrency"),
        ({"timeout": -1}, InputError, "timeout= is a number of seconds"),
        ({"fail_fast": "no"}, InputError, "fail_fast= is True or False"),
        ({"budget_usd": float("nan")}, InputError, "budget_usd="),
        ({"unpriced": "perhaps"}, UnknownNameError, "unpriced="),
        ({"cache": "soon"}, InputError, "is no age"),
        ({"display": "no"}, InputError, "display= is True, False or None, not 'no'"),
        ({"background": 1}, InputError, "background= is True or False, not 1"),
    ],
)
async def test_options_that_cannot_be_meant_start_nothing(
    options: Any, error: type[Exception], says: str
) -> None:
    store = MemoryBackend()
    run = await asking().run("q", backend=store, on_no_answer="stop")
    before = list(store.run_ids())
    for verb in VERBS:
        more: dict[str, Any] = {"at": "ask"} if verb == "fork" else {}
        with pytest.raises(error, match=says):
            getattr(run, verb)(**more, **options)
    assert list(store.run_ids()) == before
    assert len(store.load(run.id).events) == len(run.events)


async def test_a_patch_and_answers_that_are_none_are_refused() -> None:
    run = await asking().run("q", on_no_answer="stop")
    patch: Any = ["first"]
    with pytest.raises(InputError, match=r"patch= is a dict of node ids and outputs, not \['first'\]"):
        run.fork(at="ask", patch=patch)
    for answers in (["yes"], {run.pending[0].id: "yes"}):
        with pytest.raises(InputError, match=r"answers= is a dict of interrupt ids and"):
            run.resume(answers=answers)  # pyright: ignore[reportArgumentType]
    word: Any = "approve"
    with pytest.raises(UnknownNameError, match="Did you mean 'approved'"):
        mesh_nb.Answer(word)


async def test_a_fork_needs_a_place() -> None:
    run = await asking().run("q", on_no_answer="stop")
    nowhere: Any = None
    with pytest.raises(InputError, match="at= is a node id or a seq from 0 to"):
        run.fork(at=nowhere)


async def test_a_graph_that_lacks_the_node_that_asks_does_not_go_on() -> None:
    run = await asking().run("q", on_no_answer="stop")
    other = StateGraph("g").add_node("first", lambda input: {"content": "1"}).set_entry_point("first")
    for answers in (None, {run.pending[0].id: mesh_nb.Answer("approved")}):
        with pytest.raises(GraphValidationError, match="asks something in node 'ask', which this graph does"):
            other.resume(run.id, answers=answers, backend=run._store)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_run_may_be_given_as_it_is(verb: str) -> None:
    graph = asking()
    run = await graph.run("q", on_no_answer="stop", backend=MemoryBackend())
    more: dict[str, Any] = {"at": "ask"} if verb == "fork" else {}
    again = getattr(graph, verb)(run, on_no_answer="stop", **more)
    assert (await again).status == "interrupted"
    assert (again.id == run.id) == (verb == "resume")
