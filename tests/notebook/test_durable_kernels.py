"""Runs of two real kernels in one project, and tools that block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel, kernel_env
from run_logs import check_log
from tool_chat import ToolChat

from mesh_nb import FileBackend

pytestmark = pytest.mark.kernel

RUNS = 50

GRAPH = """
import asyncio, json, os, mesh_nb
from mesh_nb import Run, StateGraph
def asking():
    llm = dict(node_type="llm", model="m", max_retries=0)
    graph = StateGraph("shared").add_node("draft", **llm).add_node("ask", node_type="approval")
    graph.add_node("final", **llm)
    return graph.chain("START", "draft", "ask", "final")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def server() -> Iterator[ToolChat]:
    with ToolChat() as running:
        yield running


@pytest.fixture
def kernels(project: Path, server: ToolChat) -> Iterator[list[Kernel]]:
    env = kernel_env(MESH_HOME=str(project), OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="k")
    with Kernel(project, env) as one, Kernel(project, env) as two:
        for kernel in (one, two):
            assert kernel.run(GRAPH).status == "ok"
        yield [one, two]


def both(kernels: list[Kernel], *cells: str) -> list[Any]:
    """Run a cell in each kernel at once; return what they printed as JSON."""
    ids = [kernel.send(cell) for kernel, cell in zip(kernels, cells, strict=True)]
    done = [kernel.finish(id) for kernel, id in zip(kernels, ids, strict=True)]
    assert [cell.status for cell in done] == ["ok", "ok"], [cell.reply for cell in done]
    return [json.loads(cell.stdout) for cell in done]


def test_two_kernels_in_one_project_mix_nothing_lose_nothing_and_resume_each_others_runs(
    kernels: list[Kernel], project: Path, server: ToolChat
) -> None:
    start = """
graph = asking()
questions = [f"{KERNEL} asks {{n}}" for n in range({RUNS})]
runs = await asyncio.gather(*[graph.run(q, display=False, on_no_answer="stop") for q in questions])
print(json.dumps([[q, r.id, r.status, r.events[-1].seq] for q, r in zip(questions, runs)]))
"""
    told = both(kernels, *(start.replace("{KERNEL}", k).format(n="{n}", RUNS=RUNS) for k in ("Ada", "Bob")))
    known = [row for rows in told for row in rows]
    assert len({run_id for _, run_id, _, _ in known}) == 2 * RUNS
    assert server.calls == 2 * RUNS
    backend = FileBackend(project)
    assert sorted(backend.run_ids()) == sorted(run_id for _, run_id, _, _ in known)
    for question, run_id, status, last in known:
        stored = backend.load(run_id)
        assert (status, stored.problems, stored.header["begin"]["input"]) == ("interrupted", [], question)
        assert [e.seq for e in stored.events] == list(range(last + 1))
        assert {e.run_id for e in stored.events} == {run_id}
        (draft,) = [e.output["content"] for e in stored.events if e.type == "node_complete"]
        assert draft.strip() == f"you said {question}"

    go_on = """
graph = asking()
ids = json.loads('''{ids}''')
async def one(id):
    (question,) = Run.load(id).pending
    run = await graph.resume(id, answers={{question.id: mesh_nb.Answer("approved")}}, display=False)
    return [id, run.status, run.text]
print(json.dumps(await asyncio.gather(*map(one, ids))))
"""
    # Each takes the runs that the other has begun.
    others = [[run_id for _, run_id, _, _ in rows] for rows in reversed(told)]
    ended = both(kernels, *(go_on.format(ids=json.dumps(ids)) for ids in others))
    texts = {run_id: (status, text) for rows in ended for run_id, status, text in rows}
    assert server.calls == 4 * RUNS
    for question, run_id, _, _ in known:
        assert texts[run_id][0] == "completed"
        assert texts[run_id][1].split() == f"you said you said {question}".split()
        events = backend.load(run_id).events
        check_log(events)
        assert events[-1].type == "execution_complete"


def test_of_two_kernels_that_resume_one_run_only_one_does(kernels: list[Kernel], server: ToolChat) -> None:
    begun = kernels[0].run("run = await asking().run('q', display=False, on_no_answer='stop')\nprint(run.id)")
    run_id = begun.stdout.strip()
    read = f"""
graph = asking()
(question,) = Run.load("{run_id}").pending
print(1)
"""
    go_on = f"""
try:
    run = await graph.resume("{run_id}", answers={{question.id: mesh_nb.Answer("approved")}}, display=False)
    print(json.dumps(run.status))
except mesh_nb.MeshError as error:
    print(json.dumps(str(error)))
"""
    both(kernels, read, read)
    told = both(kernels, go_on, go_on)
    assert told.count("completed") == 1
    (refused,) = [text for text in told if text != "completed"]
    assert any(why in refused for why in ("is still running", "is complete", "was resumed"))
    assert server.calls == 2


BLOCKING = """
import threading, time
held, released, ticks = threading.Event(), threading.Event(), []
def block(input):
    held.set()
    released.wait(60)
    return {"content": "blocked"}
async def tick(input):
    while not held.is_set():
        await asyncio.sleep(0.001)
    for n in range(20):
        await asyncio.sleep(0.001)
        ticks.append(n)
        yield f"tick {n} "
    released.set()
def graph():
    made = StateGraph("blocking").add_node("block", block).add_node("tick", tick)
    return made.chain("START", ["block", "tick"])
"""


def test_a_tool_that_blocks_holds_up_neither_its_branches_nor_the_page(kernels: list[Kernel]) -> None:
    kernel = kernels[0]
    assert kernel.run(BLOCKING).status == "ok"
    id = kernel.send("run = await graph().run('q')\nprint(len(ticks), run.status)")
    kernel.streaming(id)  # Words of the other branch are on the page; it is they that release the tool.
    cell = kernel.finish(id)
    assert (cell.status, cell.stdout.split()) == ("ok", ["20", "completed"])


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_a_tool_that_blocks_does_not_hold_up_a_stop(kernels: list[Kernel], how: str) -> None:
    kernel = kernels[0]
    assert kernel.run(BLOCKING).status == "ok"
    assert (
        kernel.run("async def tick(input):\n    yield 'waiting'\n    await asyncio.sleep(600)").status == "ok"
    )
    id = kernel.send("run = graph().run('q')\nawait run")
    comm_id = kernel.streaming(id)
    if how == "stop":
        kernel.from_page(comm_id, {"kind": "stop"})
    else:
        kernel.interrupt()
    assert kernel.finish(id).status == "error"
    told = kernel.run("print(run.status, released.is_set(), held.is_set())\nreleased.set()")
    assert told.stdout.split() == ["cancelled", "False", "True"]
    assert kernel.run("print(1 + 1)").stdout.strip() == "2"
