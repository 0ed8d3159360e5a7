"""Runs that go on inside a node: in a subgraph, in the rounds of a foreach, and in graphs inside those."""

from __future__ import annotations

import operator
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_logs import check_log, of
from tool_chat import ToolChat

from mesh_nb import FileBackend, NodeResult, StateGraph

RANDOM = random.Random(5)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "k")


@pytest.fixture
def server() -> Any:
    with ToolChat() as running:
        yield running


def look(city: str) -> str:
    """Look at the city."""
    return f"{city} is big"


def note(word: str) -> Any:
    def noting(state: Any, input: Any) -> NodeResult:
        return NodeResult({"content": f"{word}{len(state.get('notes', []))}"}, {"notes": [word]})

    return noting


def notes(state: Any, input: Any) -> dict[str, Any]:
    return {"content": "".join(sorted(state["notes"])), "got": input}


def nested(server: ToolChat, *, isolated: bool, concurrency: int = 1) -> StateGraph:
    """A loop around a subgraph with a model and tools, a foreach over it, and notes in the state."""
    llm: dict[str, Any] = {"node_type": "llm", "model": "m", "base_url": server.base_url, "max_retries": 0}
    item = StateGraph().add_node("ask", tools=[look], **llm).add_node("note", note("i"))
    item.chain("START", "ask", "note").add_reducer("notes", operator.add)
    sub = StateGraph().add_node("cities", lambda: {"cities": ["Rome", "Oslo", "Bonn"]})
    sub.add_node("each", item, node_type="foreach", concurrency=concurrency).add_node("mark", note("s"))
    sub.chain("START", "cities", "each", "mark").add_reducer("notes", operator.add)
    graph = StateGraph("nested").add_node("sub", sub, node_type="subgraph", isolated=isolated)
    graph.add_node("again", note("g")).add_node("end", notes).add_reducer("notes", operator.add)
    graph.chain("START", "sub", "again", "end")
    return graph.add_edge("again", "sub", is_loop_edge=True, max_iterations=1)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_run_goes_on_inside_from_wherever_its_log_ends(
    server: ToolChat, tmp_path: Path, isolated: bool, concurrency: int
) -> None:
    graph = nested(server, isolated=isolated, concurrency=concurrency)
    run = await graph.run("q")
    total = server.calls
    assert total == 12
    check_log(run.events)
    folder = FileBackend().folder
    lines = (folder / "runs" / f"{run.id}.jsonl").read_bytes().splitlines(keepends=True)
    for cut in RANDOM.sample(range(1, len(lines)), 7):
        home = tmp_path / f"cut{cut}"
        shutil.copytree(folder, home / ".mesh")
        (home / ".mesh" / "runs" / f"{run.id}.jsonl").write_bytes(b"".join(lines[:cut]))
        backend = FileBackend(home)
        before = server.calls
        known = of(backend.load(run.id).events, "response_metadata")
        again = await graph.resume(run.id, backend=backend)
        assert again.output["content"] == run.output["content"], cut
        assert server.calls - before == total - len(known), cut
        events = backend.load(run.id).events
        check_log(events)
        second = cut + (len(events) - cut) // 2
        path = home / ".mesh" / "runs" / f"{run.id}.r1.jsonl"
        part = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(part[: 1 + second - cut]))
        backend, before = FileBackend(home), server.calls
        known = of(backend.load(run.id).events, "response_metadata")
        finished = [e for e in known if e.metadata["finish_reason"] not in (None, "error")]
        twice = await graph.resume(run.id, backend=backend)
        assert twice.output["content"] == run.output["content"], (cut, second)
        assert server.calls - before == total - len(finished), (cut, second)
        check_log(backend.load(run.id).events)


async def test_a_question_inside_is_answered_when_its_run_has_ended(server: ToolChat) -> None:
    inner = StateGraph().add_node("before", note("b")).add_node("ask", node_type="approval")
    inner.chain("START", "before", "ask")
    graph = StateGraph().add_node("each", inner, node_type="foreach")
    graph.add_node("sub", inner, node_type="subgraph").chain("START", "each", "sub")
    run = await graph.run({"items": ["a", "b"]})
    asked: list[str] = []
    while run.status == "interrupted":
        (question,) = run.pending
        asked.append(question.node_id)
        run = await run.approve()
    assert asked == ["each.ask", "each.ask", "sub.ask"]
    assert run.status == "completed"
    assert len(of(run, "interrupt")) == 3
    assert [e.node_id for e in of(run, "node_complete")].count("each.before") == 2
    check_log(run.events)
