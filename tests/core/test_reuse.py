"""Runs that take what an earlier run did: forks, and make-like runs; and runs that take nothing."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tool_chat import ToolChat

import mesh_nb
from mesh_nb import BaseNode, Condition, FileBackend, NodeExecutionError, NodeResult, Run, StateGraph
from mesh_nb.core import runs
from mesh_nb.core.errors import InputError, RunNotFoundError, UnknownNameError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "k")


@pytest.fixture
def server() -> Any:
    with ToolChat() as running:
        yield running


def papers(server: ToolChat, second: str = "Say {{one.content}}", model: str = "m") -> StateGraph:
    """START -> one, other -> two (of one) -> join."""
    shared: dict[str, Any] = {"node_type": "llm", "base_url": server.base_url, "max_retries": 0}
    graph = StateGraph("papers").add_node("one", model=model, **shared)
    graph.add_node("other", model="m", **shared)
    graph.add_node("two", model="m", system_prompt=second, **shared)
    graph.add_node("join", join)
    graph.chain("START", ["one", "other"]).chain("one", "two").chain(["two", "other"], "join")
    return graph


def join(input: Any) -> dict[str, Any]:
    return {"content": " & ".join(v["content"].strip() for v in input.values())}


async def test_only_what_changed_runs_again_and_the_run_says_so(server: ToolChat) -> None:
    first = await papers(server).run("Rome")
    assert (server.calls, first.reused) == (3, [])
    same = await papers(server).run("Rome", reuse=True)
    assert server.calls == 3
    assert sorted(same.reused) == ["join", "one", "other", "two"]
    assert same.output == first.output
    assert same.id != first.id
    prompt = await papers(server, "Sing {{one.content}}").run("Rome", reuse=True)
    assert server.calls == 4
    assert sorted(prompt.reused) == ["join", "one", "other"]  # two said the same, so join got the same
    model = await papers(server, model="m2").run("Rome", reuse=first)
    assert sorted(model.reused) == ["join", "other", "two"]
    assert server.calls == 5
    question = await papers(server).run("Oslo", reuse=True)
    assert (question.reused, server.calls) == ([], 8)
    fresh = await papers(server).run("Rome")
    assert (fresh.reused, server.calls) == ([], 11)
    taken = next(e for e in same.events if e.type == "node_complete" and e.node_id == "one")
    assert taken.metadata["reused"]["run_id"] == first.id
    assert same.usage == {}
    assert Run.load(same.id).reused == same.reused


FACTOR = 2


def double(value: int) -> int:
    return value * FACTOR


async def test_a_function_counts_by_its_code_what_it_closes_over_and_what_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def graph(times: int) -> StateGraph:
        def count(input: Any) -> dict[str, Any]:
            return {"n": double(times)}

        return StateGraph("f").add_node("count", count).set_entry_point("count")

    assert (await graph(1).run("q")).output["n"] == 2
    assert (await graph(1).run("q", reuse=True)).reused == ["count"]
    closed = await graph(2).run("q", reuse=True)
    assert (closed.reused, closed.output["n"]) == ([], 4)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    named = await graph(2).run("q", reuse=True)
    assert (named.reused, named.output["n"]) == ([], 6)
    monkeypatch.setitem(globals(), "double", lambda value: -value)
    assert (await graph(2).run("q", reuse=True)).output["n"] == -2


class Reader(BaseNode):
    """Reads what is not among its inputs."""

    async def execute(self, input: Any, context: Any) -> Any:
        return {"content": f"{context.state.get('mood')} {context.outputs.get('far')['n']}"}


async def test_a_node_that_may_read_everything_runs_again_when_anything_changed() -> None:
    def graph(mood: str, n: int) -> StateGraph:
        def far(state: Any) -> dict[str, Any]:
            state["mood"] = mood
            return {"n": n}

        def near(input: Any) -> dict[str, Any]:
            return {"same": True}

        made = (
            StateGraph("r").add_node("far", far).add_node("near", near).add_node("reader", Reader("reader"))
        )
        return made.chain("START", "far", "near", "reader")

    assert (await graph("glad", 1).run("q")).text == "glad 1"
    assert (await graph("glad", 1).run("q", reuse=True)).reused == ["far", "near", "reader"]
    mood = await graph("sad", 1).run("q", reuse=True)
    assert (mood.text, mood.reused) == ("sad 1", ["near"])
    output = await graph("sad", 2).run("q", reuse=True)
    assert (output.text, output.reused) == ("sad 2", [])


async def test_nodes_after_a_loop_get_what_it_ended_with() -> None:
    def graph(stop: int) -> StateGraph:
        def step(input: Any) -> dict[str, Any]:
            return {"n": input.get("n", 0) + 1}

        def after(input: Any) -> dict[str, Any]:
            return {"content": f"ended at {input['n']}"}

        made = StateGraph("l").add_node("step", step).add_node("after", after)
        made.set_entry_point("step").add_edge("step", "after")
        made.add_edge("step", "step", is_loop_edge=True, loop_condition=lambda output: output["n"] < stop)
        return made

    assert (await graph(3).run({"n": 0})).text == "ended at 3"
    assert (await graph(1).run({"n": 0}, reuse=True)).text == "ended at 1"
    same = await graph(1).run({"n": 0}, reuse=True)
    assert (same.text, same.reused) == ("ended at 1", ["step", "after"])


CALLS: list[str] = []


def noting(fail: bool = False) -> StateGraph:
    """Two branches, each of which adds its name to a list in the state, and a node that reads it."""

    def note(name: str) -> Any:
        async def node(input: Any) -> Any:
            CALLS.append(name)
            await asyncio.sleep(0)
            return NodeResult({"content": name}, {"log": [name]})

        return node

    def show(state: Any) -> dict[str, Any]:
        if fail:
            raise ValueError("no")
        return {"content": ",".join(sorted(state["log"]))}

    graph = StateGraph("n").add_reducer("log", operator.add)
    graph.add_node("a", note("a")).add_node("b", note("b")).add_node("show", show)
    return graph.chain("START", ["a", "b"], "show")


async def test_reducers_put_together_what_branches_gave_over_forks_and_resumes() -> None:
    CALLS.clear()
    run = await noting().run("q")
    assert run.text == "a,b"
    fork = await run.fork(at="show")
    assert (fork.text, fork.reused, CALLS) == ("a,b", ["a", "b"], ["a", "b"])
    again = await noting().run("q", reuse=run)
    assert (again.text, sorted(again.reused)) == ("a,b", ["a", "b", "show"])
    with pytest.raises(NodeExecutionError) as caught:
        await noting(fail=True).run("q")
    resumed = await noting().resume(caught.value.run.id)
    assert (resumed.text, CALLS) == ("a,b", ["a", "b"] * 2)


async def test_the_state_that_a_body_of_a_foreach_changes_is_there_after_a_resume() -> None:
    def graph(fail: bool) -> StateGraph:
        def body(item: Any, state: Any) -> Any:
            state["seen"] = [*state.get("seen", []), item]
            return {"content": str(item)}

        def last(state: Any) -> dict[str, Any]:
            if fail:
                raise ValueError("no")
            return {"content": str(state["seen"])}

        made = StateGraph("e").add_node("each", node_type="foreach").add_node("body", body)
        return made.add_node("last", last).chain("START", "each", "body", "last")

    with pytest.raises(NodeExecutionError) as caught:
        await graph(True).run({"items": [1, 2]})
    assert (await graph(False).resume(caught.value.run.id)).text == "[1, 2]"
    fork = await graph(False).fork(caught.value.run.id, at="last")
    assert (fork.text, fork.reused) == ("[1, 2]", ["each"])


async def test_a_fork_that_is_resumed_keeps_to_its_patch() -> None:
    def graph(fail: bool) -> StateGraph:
        def slow(input: Any) -> dict[str, Any]:
            if fail:
                raise ValueError("no")
            return {"content": "slow"}

        def join(input: Any) -> dict[str, Any]:
            return {"content": " ".join(v["content"] for v in input.values())}

        made = StateGraph("p").add_node("first", slow).add_node("a", lambda input: input)
        made.add_node("b", lambda: {"content": "b"}).add_node("join", join)
        return made.chain("START", ["first", "b"]).chain("first", "a").chain(["a", "b"], "join")

    run = await graph(False).run("q")
    patch = {"b": {"content": "patched"}, "a": {"content": "A"}}
    fork = await graph(True).fork(run.id, at="join", patch=patch)
    assert (fork.text, sorted(fork.reused)) == ("A patched", ["a", "b", "first"])
    path = FileBackend().folder / "runs" / f"{fork.id}.jsonl"
    header, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, *lines[:2]]))
    resumed = await graph(True).resume(fork.id, backend=FileBackend())
    assert (resumed.text, resumed.reused) == (fork.text, fork.reused)
    made = await graph(False).run("q", reuse=True)
    assert (made.text, made.reused) == ("slow b", [])  # What a fork took nobody has checked.


async def test_people_are_asked_anew() -> None:
    graph = StateGraph("ask").add_node("before", lambda input: input).add_node("ask", node_type="approval")
    graph.chain("START", "before", "ask")
    await graph.run({"content": "draft"}, on_no_answer="allow")
    again = await graph.run({"content": "draft"}, reuse=True)
    assert (again.reused, [q.node_id for q in again.pending]) == (["before"], ["ask"])


async def test_objects_stay_what_they_are_in_the_process_that_has_them() -> None:
    graph = StateGraph("o").add_node("make", lambda: {"when": {1, 2}}).add_node("last", lambda input: input)
    graph.chain("START", "make", "last")
    run = await graph.run("q")
    fork = await run.fork(at="last")
    assert fork.output["when"] == {1, 2}


KINDS = """
import mesh_nb, json
from mesh_nb import StateGraph, Condition
def look(city: str) -> str:
    "Look."
    return city in {"a", "b", "c"}
graph = StateGraph()
graph.add_node("llm", node_type="llm", model="demo", tools=[look], output_type=dict)
graph.add_node("fn", look)
graph.add_node("if", [Condition("yes", lambda i: i in {"a", "b"}, "llm")], node_type="condition")
graph.add_node("each", look, node_type="foreach", array_path="$.items")
graph.add_node("sub", StateGraph().add_node("x", look).set_entry_point("x"), input_mapping={"city": "$.a"})
graph.add_node("rag", [{"text": "a b"}], node_type="rag")
graph.add_node("http", node_type="http", url="http://localhost/{{fn}}")
graph.chain("START", ["if", "fn"]).chain("fn", ["each", "sub", "rag", "http"])
print(json.dumps(graph.compile().definitions))
"""


def test_a_node_is_the_same_in_another_process_and_another_with_other_options() -> None:
    def made(program: str, seed: str) -> dict[str, str]:
        environ = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(mesh_nb.__file__).parents[1])}
        command = [sys.executable, "-c", program]
        return json.loads(subprocess.run(command, env=environ, capture_output=True, check=True).stdout)

    first = made(KINDS, "1")
    assert made(KINDS, "2") == first
    changes = {
        "each": ("$.items", "$.others"),
        "sub": ("$.a", "$.b"),
        "rag": ("a b", "a c"),
        "http": ("localhost/", "localhost/x"),
        "llm": ("output_type=dict", "output_type=dict, temperature=0"),
    }
    text = KINDS
    for before, after in changes.values():
        text = text.replace(before, after)
    second = made(text, "1")
    assert {n for n in first if first[n] != second[n]} == set(changes)


async def test_the_run_that_failed_is_one_to_reuse(server: ToolChat) -> None:
    server.fails = lambda body: 500 if body["messages"][0]["role"] == "system" else 0
    with pytest.raises(NodeExecutionError):
        await papers(server).run("Rome")
    server.fails = lambda body: 0
    before = server.calls
    again = await papers(server).run("Rome", reuse=True)
    assert "one" in again.reused
    assert server.calls - before == 3 - len([n for n in again.reused if n != "join"])


async def test_a_log_that_is_deleted_meanwhile_is_passed_over(tmp_path: Path) -> None:
    class Racing(FileBackend):
        def summary(self, run_id: str) -> Any:
            if run_id == newest.id:
                raise RunNotFoundError(run_id, ())
            return super().summary(run_id)

    def double(input: Any) -> dict[str, Any]:
        return {"content": str(2 * input["input"])}

    graph, store = StateGraph("g").add_node("double", double).set_entry_point("double"), Racing(tmp_path)
    first, newest = await graph.run(2, backend=store), await graph.run(2, backend=store)
    runs._here.pop(newest.id)
    again = await graph.run(2, backend=store, reuse=True)
    assert again.reused == ["double"]
    assert store.load(again.id).header["taken_from"]["run_id"] == first.id


async def test_a_fork_goes_its_own_way_from_a_node(server: ToolChat) -> None:
    graph = papers(server)
    run = await graph.run("Rome")
    before = server.calls
    fork = await run.fork(at="two", patch={"one": {"content": "patched"}})
    assert fork.id != run.id
    assert "one" in fork.reused
    assert "two" not in fork.reused
    assert "patched" in fork.text
    assert server.calls - before == 2 - ("other" in fork.reused)
    (one,) = [e for e in fork.events if e.type == "node_complete" and e.node_id == "one"]
    assert {**one.metadata["reused"], "seq": 0} == {"run_id": run.id, "seq": 0, "fork": True, "patched": True}
    assert Run.load(run.id).output == run.output
    start = await graph.fork(run.id, at=0, patch={"START": "Oslo"})
    assert start.reused == []
    assert "Oslo" in start.text


async def test_a_fork_follows_the_choices_of_what_it_takes(server: ToolChat) -> None:
    high = Condition("yes", lambda i: i["n"] > 1, "high")
    graph = StateGraph("g").add_node("pick", [high], node_type="condition", default_target="low")
    for name in ("high", "low"):
        graph.add_node(name, node_type="approval")
    run = await graph.set_entry_point("pick").run({"n": 2})
    assert run.pending[0].node_id == "high"
    fork = await run.fork(at="high")
    assert (fork.reused, fork.pending[0].node_id) == (["pick"], "high")


async def test_rerun_executes_everything_anew(server: ToolChat) -> None:
    graph = papers(server, "Say {{$vars.word}}")
    run = await graph.run("Rome", variables={"word": "ciao"})
    before = server.calls
    again = await run.rerun()
    assert (again.reused, server.calls - before) == ([], 3)
    assert again.input == run.input
    assert again.output == run.output
    assert server.bodies[-1]["messages"][0] == {"role": "system", "content": "Say ciao"}


async def test_places_and_patches_that_cannot_be_meant_are_refused(server: ToolChat) -> None:
    graph = papers(server)
    run = await graph.run("Rome")
    with pytest.raises(UnknownNameError, match="Did you mean 'two'"):
        graph.fork(run.id, at="twoo")
    with pytest.raises(InputError, match="at= is a node id or a seq from 0 to"):
        graph.fork(run.id, at=10_000)
    with pytest.raises(UnknownNameError, match="patch"):
        graph.fork(run.id, at="one", patch={"join": {}})
    with pytest.raises(RunNotFoundError):
        graph.rerun("nope")
    with pytest.raises(InputError, match="reuse= is True, a run or its id"):
        graph.run("q", reuse=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds no code"):
        Run.load(run.id).fork(at="two")


async def test_a_log_in_memory_does_not_keep_what_nodes_were(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = StateGraph("g").add_node("n", lambda input: {"content": "x"}).set_entry_point("n")
    store = mesh_nb.MemoryBackend()
    run = await graph.run("q", backend=store)
    for reuse in (True, run, run.id):
        with pytest.raises(InputError, match=r"reuse= takes from the log .* use FileBackend\(\)"):
            graph.run("q", backend=store, reuse=reuse)
    monkeypatch.setenv("MESH_LOG", "off")
    with pytest.raises(InputError, match="no MESH_LOG=off"):
        graph.run("q", reuse=True)
    assert list(store.run_ids()) == [run.id]
