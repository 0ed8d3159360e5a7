"""The cache of model calls: what is asked once, what is asked again, and what is never kept."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.testing import Reply, ScriptedModel, check_events


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return tmp_path


def graph_of(model: ScriptedModel, **options: Any) -> mesh.StateGraph:
    made = mesh.StateGraph().add_node("llm", None, node_type="llm", **model.options, **options)
    return made.set_entry_point("llm")


def run(graph: mesh.StateGraph, question: Any = "Why?", **options: Any) -> mesh.Run:
    return graph.run_sync(question, backend=mesh.MemoryBackend(), display=False, **options)


def marks(run: mesh.Run) -> list[bool]:
    return [e.metadata.get("cached", False) for e in run.events if e.type == "response_metadata"]


def test_the_same_call_is_paid_for_once_and_streams_again(home: Path):
    model = ScriptedModel("Because of reasons.", "Other reasons.")
    first, again = (run(graph_of(model), cache=True) for _ in range(2))
    other = run(graph_of(model), "Why not?", cache=True)
    assert len(model.calls) == 2
    assert (first.text, again.text, other.text) == ("Because of reasons.",) * 2 + ("Other reasons.",)
    assert [marks(r) for r in (first, again, other)] == [[False], [True], [False]]
    assert [e.content for e in again.events if e.type == "token"] == ["Because", " of", " reasons."]
    assert [e.type for e in again.events] == [e.type for e in first.events]
    check_events(again.events)
    assert len(list((home / ".mesh" / "cache").glob("??/*.mesh-tape"))) == 2
    assert (home / ".mesh" / ".gitignore").is_file()


def test_without_a_word_nothing_is_kept(home: Path):
    model = ScriptedModel("one", "two")
    assert [run(graph_of(model)).text, run(graph_of(model), cache=False).text] == ["one", "two"]
    assert not (home / ".mesh" / "cache").exists()


def test_what_a_hit_saved_is_in_the_frame():
    model = ScriptedModel(Reply("Four words of it", usage={"prompt_tokens": 1000, "completion_tokens": 500}))
    mesh.prices.set("scripted-*", input=1.0, output=2.0)
    try:
        first = run(graph_of(model), cache=True)
        again = run(graph_of(model), cache=True)
        frame = mesh.calls_df([first, again])
    finally:
        mesh.prices.unset("scripted-*")
    assert list(frame.answered_by) == ["model", "cache"]
    assert frame.cost_usd.iloc[1] == 0
    assert frame.original_cost_usd.iloc[1] == frame.cost_usd.iloc[0]
    assert again.cost_usd == 0


@pytest.mark.parametrize(
    "reply",
    [Reply("cut o", finish_reason="length"), Reply("half", error="lost"), Reply("no", finish_reason="error")],
)
def test_what_failed_or_was_cut_off_is_not_kept(reply: Reply):
    model = ScriptedModel(reply, "whole")
    try:
        run(graph_of(model), cache=True)
    except mesh.NodeExecutionError:
        assert reply.error
    assert run(graph_of(model), cache=True).text == "whole"
    assert run(graph_of(model), cache=True).text == "whole"
    assert len(model.calls) == 2


def test_an_answer_that_is_too_old_is_asked_for_again(home: Path):
    model = ScriptedModel("old", "new")
    run(graph_of(model), cache="7d")
    (path,) = (home / ".mesh" / "cache").glob("??/*")
    then = time.time() - 8 * 86400
    os.utime(path, (then, then))
    assert run(graph_of(model), cache=True).text == "old"
    assert run(graph_of(model), cache=timedelta(days=9)).text == "old"
    assert run(graph_of(model), cache="7d").text == "new"
    assert run(graph_of(model), cache="1h").text == "new"


def test_a_node_says_more_than_the_run():
    model = ScriptedModel("one", "two", "three")
    never, always = graph_of(model, cache=False), graph_of(model, cache="1h")
    assert [run(never, cache=True).text for _ in range(2)] == ["one", "two"]
    assert [run(always).text for _ in range(2)] == ["three", "three"]


def test_samples_and_a_key_of_ones_own():
    model = ScriptedModel(*"abcdef")
    graph = graph_of(model)
    samples = [run(graph, cache=mesh.Cache(sample=n)).text for n in (1, 2, 1, 2)]
    assert samples == ["a", "b", "a", "b"]
    asked = mesh.Cache(key=lambda request: request["messages"][-1]["content"].casefold())
    assert [run(graph, q, cache=asked).text for q in ("Why?", "WHY?", "How?")] == ["c", "c", "d"]


def test_tools_run_again_while_their_model_does_not():
    called: list[str] = []

    def look(city: str) -> str:
        """Look outside."""
        called.append(city)
        return "rain"

    model = ScriptedModel(Reply(tool_calls=[("look", {"city": "Oslo"})]), "It rains.")
    graph = graph_of(model, tools=[look])
    assert [run(graph, cache=True).text for _ in range(2)] == ["It rains."] * 2
    assert called == ["Oslo", "Oslo"]


def test_every_node_and_the_graphs_inside_use_it():
    model = ScriptedModel("a", "b")
    inner = graph_of(model)
    graph = mesh.StateGraph().add_node("sub", inner, node_type="subgraph")
    graph.add_node("last", None, node_type="llm", **model.options)
    graph.add_sequence(["sub", "last"]).set_entry_point("sub")
    assert [run(graph, cache=True).text for _ in range(2)] == ["b", "b"]
    assert len(model.calls) == 2


def test_a_budget_counts_only_what_is_asked():
    model = ScriptedModel("a")
    assert [run(graph_of(model), cache=True, max_model_calls=1).text for _ in range(2)] == ["a", "a"]


def test_a_damaged_answer_is_asked_for_again(home: Path, caplog: pytest.LogCaptureFixture):
    model = ScriptedModel("one", "two")
    run(graph_of(model), cache=True)
    (path,) = (home / ".mesh" / "cache").glob("??/*")
    path.write_text("nonsense", "utf-8")
    with caplog.at_level(logging.WARNING, "mesh_nb"):
        assert run(graph_of(model), cache=True).text == "two"
    assert "line 1" in caplog.text
    assert run(graph_of(model), cache=True).text == "two"


def test_a_disk_that_takes_nothing_costs_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("in the way", "utf-8")
    model = ScriptedModel("one", "two")
    with caplog.at_level(logging.WARNING, "mesh_nb"):
        assert run(graph_of(model), cache=mesh.Cache(path=tmp_path / "file")).text == "one"
    assert "cannot be kept" in caplog.text


def test_the_cache_can_be_emptied():
    model = ScriptedModel("one", "two")
    run(graph_of(model), cache=True)
    assert mesh.Cache().clear() == 1
    assert run(graph_of(model), cache=True).text == "two"


@pytest.mark.parametrize("given", ["soon", 7, -1.0, {"a": 1}, "7 d ays"])
def test_what_is_no_cache(given: Any):
    model = ScriptedModel("one")
    with pytest.raises(mesh.MeshError, match="7d"):
        run(graph_of(model), cache=given)
    with pytest.raises(mesh.MeshError, match="7d"):
        graph_of(model, cache=given)
    with pytest.raises(mesh.MeshError, match="function"):
        mesh.Cache(key="x")  # pyright: ignore[reportArgumentType]


def test_two_processes_at_once_never_see_half_an_answer(home: Path):
    program = """
import sys
import mesh_nb as mesh
from mesh_nb.testing import ScriptedModel
model = ScriptedModel(" ".join(["word"] * 500), repeat=True)
graph = mesh.StateGraph().add_node("llm", None, node_type="llm", **model.options).set_entry_point("llm")
print("ready", flush=True)
sys.stdin.readline()
for n in range(30):
    text = graph.run_sync(str(n), backend=mesh.MemoryBackend(), display=False, cache=True).text
    assert text.count("word") == 500, text
print(len(model.calls), flush=True)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        asked, problems = process.communicate()
        assert process.returncode == 0, problems
        assert problems == ""
        assert 0 < int(asked) <= 30
    assert not list((home / ".mesh" / "cache").glob("*/*.part"))
