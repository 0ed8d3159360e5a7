"""Runs that go on where their log ends: after a crash, a failure, a cancel, or with an answer."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from run_doubles import forever, until
from run_logs import check_log, of
from tool_chat import ToolChat

import mesh_nb
from mesh_nb import Answer, FileBackend, MemoryBackend, Run, SQLiteBackend, StateGraph, Tool
from mesh_nb.backends import _process, _writer
from mesh_nb.core.errors import GraphValidationError, InputError, NodeExecutionError, RunNotFoundError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.testing import Reply, ScriptedModel

RANDOM = random.Random(4)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    return tmp_path


@pytest.fixture
def server() -> Any:
    with ToolChat() as running:
        yield running


def stored(backend: str, tmp_path: Path) -> Any:
    return {
        "memory": MemoryBackend,
        "file": lambda: FileBackend(tmp_path / "f"),
        "sqlite": lambda: SQLiteBackend(tmp_path / "runs.sqlite"),
    }[backend]()


def llm(server: ToolChat, **options: Any) -> dict[str, Any]:
    return {"node_type": "llm", "model": "m", "base_url": server.base_url, "max_retries": 0, **options}


@pytest.mark.parametrize("backend", ["memory", "file", "sqlite"])
async def test_a_failed_run_goes_on_with_the_node_that_failed(backend: str, tmp_path: Path) -> None:
    seen: list[str] = []
    broken = True

    def first(input: Any) -> dict[str, Any]:
        seen.append("first")
        return {"n": 1}

    def second(input: Any) -> dict[str, Any]:
        seen.append("second")
        if broken:
            raise ValueError("not yet")
        return {"content": f"got {input['n']}"}

    graph = StateGraph("g").add_node("first", first).add_node("second", second)
    graph.set_entry_point("first").add_edge("first", "second")
    run = graph.run({"q": 1}, backend=stored(backend, tmp_path))
    with pytest.raises(NodeExecutionError):
        await run
    broken = False
    again = run.resume()
    assert again.id == run.id
    assert again.status == "running"
    assert (await again).text == "got 1"
    assert seen == ["first", "second", "second"]
    check_log(again.events)
    starts = [e.metadata.get("resumed") for e in of(again, "execution_start")]
    assert starts == [None, 1]
    assert [e.metadata.get("resumed") for e in of(again, "node_start")] == [None, None, 1]
    loaded = Run.load(run.id, again._store)
    assert loaded.status == "completed"
    assert [e.seq for e in loaded.events] == [e.seq for e in again.events]
    with pytest.raises(InputError, match="complete: nothing is left to resume"):
        again.resume()


@pytest.mark.parametrize("backend", ["memory", "file", "sqlite"])
async def test_an_answer_resumes_a_run_that_had_ended_as_interrupted(backend: str, tmp_path: Path) -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval").add_node("out", lambda input: input)
    graph.set_entry_point("ask").add_edge("ask", "out")
    run = await graph.run({"content": "draft"}, backend=stored(backend, tmp_path))
    assert run.status == "interrupted"
    loaded = Run.load(run.id, run._store)
    assert [q.id for q in loaded.pending] == [q.id for q in run.pending]
    again = await run.approve(by="ada")
    assert again.text == "draft"
    assert len(of(again, "interrupt")) == 1
    assert of(again, "interrupt_resolved")[0].metadata["by"] == "ada"
    check_log(again.events)


async def test_a_run_read_from_the_log_is_resumed_by_its_graph() -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval").set_entry_point("ask")
    run = await graph.run({"content": "draft"})
    loaded = Run.load(run.id)
    (question,) = loaded.pending
    with pytest.raises(InputError, match="holds no code"):
        loaded.approve()
    with pytest.raises(InputError, match="No open question 'nope'"):
        graph.resume(run.id, answers={"nope": Answer("approved")})
    again = await graph.resume(run.id, answers={question.id: Answer("edited", {"content": "final"})})
    assert again.text == "final"


async def test_a_question_stays_the_same_over_resumes_until_it_is_answered() -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval", timeout=3600).set_entry_point("ask")
    run = await graph.run("q")
    again = await run.resume()
    assert again.status == "interrupted"
    assert again.pending == run.pending
    assert len(of(again, "interrupt")) == 1
    with pytest.raises(NodeExecutionError, match="rejected: no"):
        await again.reject("no")


async def test_the_node_before_an_interrupt_after_it_is_not_run_again() -> None:
    ran: list[int] = []

    def pay(input: Any) -> dict[str, Any]:
        ran.append(1)
        return {"content": "paid"}

    graph = StateGraph("g").add_node("pay", pay).set_entry_point("pay").set_interrupt_after("pay")
    run = await graph.run("q")
    assert (run.status, ran) == ("interrupted", [1])
    assert (await run.approve()).text == "paid"
    assert ran == [1]


async def test_state_variables_and_history_are_those_of_the_beginning() -> None:
    class Asks(mesh_nb.BaseNode):
        async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
            question = context.ask("input", "?")
            yield question.event
            await question.answer()
            yield question.resolution
            seen = {"state": dict(context.state), "vars": context.variables, "input": context.input}
            yield ExecutionEvent(EventType.NODE_COMPLETE, output=seen)

    class Writes(mesh_nb.BaseNode):
        async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
            yield ExecutionEvent(EventType.STATE_UPDATE, output={"n": 1})
            yield ExecutionEvent(EventType.NODE_COMPLETE, output=input)

    graph = StateGraph("g").add_node("w", Writes).add_node("a", Asks).set_entry_point("w").add_edge("w", "a")
    data = b"\x00\x01" * 20_000
    run = await graph.run(
        {"q": "x" * 5000}, variables={"city": "Rome", "api_key": "sk-1"}, files=[("a.bin", data)]
    )
    log = (FileBackend().folder / "runs" / f"{run.id}.jsonl").read_text()
    assert "sk-1" not in log
    with pytest.raises(InputError, match="'api_key', whose name looks like a secret"):
        run.approve()
    id = run.pending[0].id
    again = await graph.resume(run.id, answers={id: Answer("approved")}, variables={"api_key": "sk-1"})
    assert again.output["state"] == {"n": 1}
    assert again.output["vars"] == {"city": "Rome", "api_key": "sk-1"}
    assert again.output["input"]["q"] == "x" * 5000
    assert again.output["input"]["files"][0]["data"] == data


async def test_a_call_that_completed_is_not_paid_for_again(server: ToolChat) -> None:
    looked: list[str] = []

    def look(city: str) -> str:
        """Look at a city."""
        looked.append(city)
        return f"sunny in {city}"

    server.fails = lambda body: 500 if body["messages"][-1]["role"] == "tool" else 0
    graph = StateGraph("g").add_node("ask", **llm(server, tools=[look])).set_entry_point("ask")
    run = graph.run("Rome")
    with pytest.raises(NodeExecutionError):
        await run
    assert server.calls == 2
    server.fails = lambda body: 0
    again = await graph.resume(run.id)
    assert again.text.strip() == "you said sunny in Rome"
    assert server.calls == 3
    assert looked == ["Rome"]
    check_log(again.events)
    assert again.usage["prompt_tokens"] == 20
    assert [e.metadata["step_index"] for e in of(again, "step_start")] == [0, 1, 1]


def approving(server: ToolChat, ran: list[str], **options: Any) -> StateGraph:
    def send(city: str) -> str:
        """Send a card."""
        ran.append(city)
        return f"sent to {city}"

    known: dict[str, Any] = {"requires_approval": True, **options}
    tool = Tool.from_function(send, **known)
    return StateGraph("g").add_node("ask", **llm(server, tools=[tool])).set_entry_point("ask")


async def test_a_tool_that_needs_approval_waits_for_it(server: ToolChat) -> None:
    ran: list[str] = []
    run = approving(server, ran).run("Rome", on_no_answer="wait")
    await until(run, lambda: bool(run.pending))
    (question,) = run.pending
    assert (question.kind, question.tool_name, question.arguments) == ("tool", "send", {"city": "Rome"})
    assert ran == []
    run.approve()
    assert (await run).text.strip() == "you said sent to Rome"
    assert ran == ["Rome"]


async def test_the_model_reads_why_a_tool_was_not_called(server: ToolChat) -> None:
    ran: list[str] = []
    run = approving(server, ran).run("Rome", on_no_answer="wait")
    await until(run, lambda: bool(run.pending))
    run.reject("not there")
    assert (await run).text.strip() == "you said Error: It was rejected: not there"
    assert ran == []
    complete = of(run, "tool_call_complete")[0]
    assert complete.metadata["status"] == "denied"


async def test_an_edit_changes_a_tools_arguments(server: ToolChat) -> None:
    ran: list[str] = []
    run = approving(server, ran).run("Rome", on_no_answer="wait")
    await until(run, lambda: bool(run.pending))
    with pytest.raises(InputError, match="The arguments of a tool are a dict"):
        run.edit("Oslo")
    run.edit({"city": "Oslo"})
    assert (await run).text.strip() == "you said sent to Oslo"
    assert of(run, "tool_call_complete")[0].metadata["arguments"] == {"city": "Oslo"}


async def test_a_condition_decides_which_calls_need_approval(server: ToolChat) -> None:
    ran: list[str] = []
    graph = approving(server, ran, requires_approval=lambda arguments: arguments["city"] == "Rome")
    assert (await graph.run("Oslo")).status == "completed"
    assert (await graph.run("Rome")).status == "interrupted"
    assert ran == ["Oslo"]


async def test_an_approval_that_comes_later_pays_for_nothing_twice(server: ToolChat) -> None:
    ran: list[str] = []
    graph = approving(server, ran)
    run = await graph.run("Rome")
    assert (run.status, server.calls, ran) == ("interrupted", 1, [])
    again = await run.approve()
    assert again.text.strip() == "you said sent to Rome"
    assert (server.calls, ran) == (2, ["Rome"])
    check_log(again.events)
    assert len(of(again, "tool_call_start")) == 1


async def test_a_tool_node_asks_too(server: ToolChat) -> None:
    ran: list[int] = []

    def pay(amount: int) -> dict[str, Any]:
        ran.append(amount)
        return {"content": f"paid {amount}"}

    graph = StateGraph("g").add_node("pay", Tool.from_function(pay, requires_approval=True))
    run = await graph.set_entry_point("pay").run({"amount": 3})
    assert (run.status, ran) == ("interrupted", [])
    assert (await run.edit({"amount": 2})).text == "paid 2"
    assert ran == [2]
    with pytest.raises(NodeExecutionError, match="rejected"):
        await (await graph.run({"amount": 3})).reject("no")
    assert ran == [2]


async def test_a_tool_that_must_not_run_twice_is_asked_about(tmp_path: Path) -> None:
    ran: list[int] = []
    hold = True

    async def pay(amount: int) -> dict[str, Any]:
        ran.append(amount)
        if hold:
            await forever()
        return {"content": f"paid {amount}"}

    graph = StateGraph("g").add_node("pay", Tool.from_function(pay, idempotent=False)).set_entry_point("pay")
    run = graph.run({"amount": 3})
    await until(run, lambda: bool(ran))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    hold = False
    again = await run.resume()
    assert again.status == "interrupted"
    assert again.pending[0].message == "pay may have run when the run broke off. Call it again?"
    assert ran == [3]
    assert (await again.approve()).text == "paid 3"


async def test_a_running_run_an_unknown_one_and_another_graph_are_refused() -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval").set_entry_point("ask")
    run = graph.run("q", on_no_answer="wait")
    await until(run, lambda: bool(run.pending))
    with pytest.raises(InputError, match="is still running"):
        graph.resume(run.id)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    with pytest.raises(RunNotFoundError):
        graph.resume("nope")
    both = StateGraph("g").add_node("a", lambda input: input).add_node("ask", node_type="approval")
    other = await both.set_entry_point("a").add_edge("a", "ask").run("q")
    with pytest.raises(GraphValidationError, match="has completed node 'a', which this graph does not have"):
        graph.resume(other.id)


def busy(server: ToolChat) -> StateGraph:
    """A graph with branches, a join, a loop, a choice and model calls with tools in all of them."""

    def look(city: str) -> str:
        """Look at a city."""
        return f"sunny in {city}"

    def merge(input: Any) -> dict[str, Any]:
        return {"content": " & ".join(str(v["content"]).strip() for v in input.values()), "n": 0}

    def count(input: Any) -> dict[str, Any]:
        return {"content": input["content"], "n": input.get("n", 0) + 1}

    graph = StateGraph("busy").add_node("left", **llm(server, tools=[look])).add_node("right", **llm(server))
    graph.add_node("merge", merge).add_node("count", count).add_node("again", **llm(server, tools=[look]))
    graph.add_node("end", **llm(server)).add_node("other", lambda input: input)
    graph.set_entry_point("left").set_entry_point("right").add_fan_in_edge(["left", "right"], "merge")
    graph.add_sequence(["merge", "count", "again"])
    graph.add_edge("again", "count", is_loop_edge=True, max_iterations=2)
    graph.add_conditional_edges("again", lambda output: "end", ["end", "other"])
    return graph


async def test_a_run_goes_on_from_wherever_its_log_ends(server: ToolChat, tmp_path: Path) -> None:
    graph = busy(server)
    run = await graph.run("Rome")
    total = server.calls
    check_log(run.events)
    folder = FileBackend().folder
    lines = (folder / "runs" / f"{run.id}.jsonl").read_bytes().splitlines(keepends=True)
    cuts = [1, *sorted(RANDOM.sample(range(1, len(lines)), 12)), len(lines) - 1]
    for number, cut in enumerate(cuts):
        home = tmp_path / f"cut{number}"
        (home / ".mesh" / "runs").mkdir(parents=True)
        shutil.copytree(folder / "blobs", home / ".mesh" / "blobs")
        torn = lines[cut][: RANDOM.randrange(len(lines[cut]))] if cut < len(lines) else b""
        (home / ".mesh" / "runs" / f"{run.id}.jsonl").write_bytes(b"".join(lines[:cut]) + torn)
        backend = FileBackend(home)
        known = len(of(backend.load(run.id).events, "response_metadata"))
        before = server.calls
        again = await graph.resume(run.id, backend=backend)
        assert again.output == run.output, cut
        assert server.calls - before == total - known, cut
        loaded = backend.load(run.id)
        check_log(loaded.events)
        assert len(loaded.events) == len(again.events)


async def test_a_budget_survives_a_resume_with_what_was_spent(server: ToolChat) -> None:
    graph = StateGraph("g").add_node("one", **llm(server)).add_node("two", **llm(server))
    graph.set_entry_point("one").add_edge("one", "two").set_interrupt_after("one")
    run = await graph.run("Rome", max_model_calls=1)
    assert (run.status, server.calls) == ("interrupted", 1)
    again = run.approve()
    with pytest.raises(NodeExecutionError, match="max_model_calls"):
        await again
    assert (again.status, server.calls) == ("budget", 1)
    more = await graph.resume(run.id, max_model_calls=2)
    assert (more.status, server.calls) == ("completed", 2)


async def test_a_resumed_run_has_limits_of_its_own() -> None:
    active, most, broken = 0, 0, True

    async def work(input: Any) -> str:
        nonlocal active, most
        if broken:
            raise ValueError("not yet")
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        return "done"

    async def last() -> str:
        if waits:
            await asyncio.Event().wait()
        raise ValueError("not yet either")

    waits: list[bool] = []
    names = ["a", "b", "c"]
    graph = StateGraph().add_node("start", lambda input: input).add_node("last", last)
    for name in names:
        graph.add_node(name, work)
    graph.set_entry_point("start").add_parallel_edges("start", names).add_fan_in_edge(names, "last")
    store = MemoryBackend()
    run = graph.run("hi", backend=store)
    with pytest.raises(NodeExecutionError):
        await run
    broken = False
    refused: list[dict[str, Any]] = [{"timeout": -1}, {"max_concurrency": 0}, {"fail_fast": "no"}]
    for options in refused:
        with pytest.raises(InputError):
            graph.resume(run.id, backend=store, **options)
    with pytest.raises(NodeExecutionError, match="not yet either"):
        await graph.resume(run.id, backend=store, max_concurrency=1)
    assert most == 1
    waits.append(True)
    with pytest.raises(mesh_nb.RunTimeoutError):
        await graph.resume(run.id, backend=store, timeout=0.05)


async def test_a_question_can_be_answered_as_soon_as_its_run_goes_on() -> None:
    graph = StateGraph("g").add_node("ask", node_type="approval").set_entry_point("ask")
    run = await graph.run("q", on_no_answer="stop")
    again = run.resume(on_no_answer="wait")
    assert again.pending == run.pending
    again.approve()
    assert (await again).status == "completed"
    assert len(of(again, "interrupt")) == len(of(again, "interrupt_resolved")) == 1


def shaped(edges: str) -> StateGraph:
    """Return a graph of functions a to e, of which e fails, with edges such as "start>ab a>c b>c"."""

    def fails(input: Any) -> dict[str, Any]:
        raise ValueError("not yet")

    graph = StateGraph("g")
    for node_id in "abcd":
        graph.add_node(node_id, lambda input: {"n": 1})
    graph.add_node("e", fails)
    for source, targets in (edge.split(">") for edge in edges.split()):
        for target in targets:
            graph.add_edge("START" if source == "start" else source, target)
    return graph


CHANGED = [
    (
        "start>a a>b b>c c>d d>e",
        "start>a a>c c>b b>d d>e",
        "'b' completed",
    ),
    ("start>ab a>c b>d c>e d>e", "start>a a>bc b>d c>e d>e", None),
    ("start>a a>b b>e e>cd", "start>a a>b b>e e>c c>d", None),
    (
        "start>a a>bcd b>e c>e d>e",
        "start>b b>a a>cd c>e d>e",
        "'a' completed",
    ),
]


@pytest.mark.parametrize(("before", "after", "says"), CHANGED)
async def test_a_graph_in_another_order_is_refused_before_anything_starts(
    before: str, after: str, says: str | None
) -> None:
    run = shaped(before).run("q", max_concurrency=1)
    with pytest.raises(NodeExecutionError):
        await run
    logged, other = len(run.events), shaped(after)
    if says is None:
        with pytest.raises(NodeExecutionError):
            await other.resume(run.id)
        return
    with pytest.raises(GraphValidationError, match=f"node {says} where this graph does not run it.*fork"):
        other.resume(run.id)
    assert len(Run.load(run.id).events) == logged


async def test_a_choice_that_is_another_now_is_refused_before_anything_starts() -> None:
    def choosing(targets: dict[str, str] | None) -> StateGraph:
        graph = shaped("start>a b>e c>e")
        if targets is None:
            return graph.add_edge("a", "b").add_edge("a", "c").add_edge("b", "d")
        return graph.add_conditional_edges("a", lambda output: "x", targets).add_edge("b", "d")

    run = choosing({"x": "b", "y": "c"}).run("q")
    with pytest.raises(NodeExecutionError):
        await run
    for other, says in (
        (choosing({"x": "c", "y": "d"}).add_edge("c", "b"), "went to 'b', where it does not lead"),
        (choosing(None), "chose b, and in this graph it does not choose"),
    ):
        with pytest.raises(GraphValidationError, match=says):
            other.resume(run.id)
    everywhere = choosing(None).run("q")
    with pytest.raises(NodeExecutionError):
        await everywhere
    with pytest.raises(GraphValidationError, match="went everywhere, and in this graph it chooses"):
        choosing({"x": "b", "y": "c"}).resume(everywhere.id)
    with pytest.raises(NodeExecutionError):
        await choosing({"other": "b", "y": "c", "x": "b"}).resume(run.id)


async def test_where_a_run_began_may_have_been_chosen() -> None:
    def began(order: str) -> StateGraph:
        graph = shaped(f"{order[0]}>{order[1]} {order[1]}>c c>e")
        return graph.add_conditional_edges("START", lambda input: order[0], [order[0], "d"])

    run = began("ab").run("q")
    with pytest.raises(NodeExecutionError):
        await run
    with pytest.raises(GraphValidationError, match="'a' completed where"):
        began("ba").resume(run.id)
    with pytest.raises(NodeExecutionError):
        await began("ab").resume(run.id)


@pytest.mark.parametrize("fail_fast", [True, False])
async def test_a_run_that_another_host_goes_on_with_stops_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_fast: bool
) -> None:
    monkeypatch.setattr(_writer, "CHECK", 0.0)
    spent: list[str] = []
    graph = StateGraph("g").add_node("ask", node_type="approval").add_node("spend", lambda: spent.append("x"))
    graph.set_entry_point("ask").add_edge("ask", "spend")
    run = graph.run("q", on_no_answer="wait", backend=FileBackend(tmp_path), fail_fast=fail_fast)
    await until(run, lambda: bool(run.pending))
    monkeypatch.setattr(_process, "_identity", lambda pid: {"host": "far", "pids": ""})  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(_process, "STALE_SECONDS", 0.0)
    answers = {run.pending[0].id: Answer("approved")}
    async for _ in mesh_nb.Executor(graph, FileBackend(tmp_path)).resume(run.id, answers):
        pass
    assert len(spent) == 1
    run.approve()
    with pytest.raises(NodeExecutionError, match="was resumed by another process"):
        await run
    assert len(spent) == 1
    check_log(Run.load(run.id, FileBackend(tmp_path)).events)


async def test_a_run_that_another_process_resumes_first_has_failed_here(tmp_path: Path) -> None:
    class Taken(FileBackend):
        def reopen(self, run_id: str, header: dict[str, Any], version: Any = None) -> Any:
            raise InputError("Run x was resumed by another process meanwhile.")

    graph = StateGraph("g").add_node("ask", node_type="approval").set_entry_point("ask")
    run = await graph.run("q", on_no_answer="stop", backend=FileBackend(tmp_path))
    again = graph.resume(run.id, backend=Taken(tmp_path), on_no_answer="stop")
    with pytest.raises(InputError, match="was resumed by another process"):
        await again
    assert (again.done, again.status) == (True, "failed")
    assert again.error == "Run x was resumed by another process meanwhile."
    assert again.events[-1].type == "execution_error"
    assert Run.load(run.id, FileBackend(tmp_path)).status == "interrupted"


@pytest.mark.parametrize("live", [True, False])
async def test_an_edit_that_the_tool_does_not_take_leaves_its_question_open(live: bool) -> None:
    paid: list[int] = []

    @mesh_nb.tool(requires_approval=True)
    def pay(amount: int) -> str:
        paid.append(amount)
        return f"paid {amount}"

    model = ScriptedModel(Reply(tool_calls=[("pay", {"amount": 3})]), "done")
    inner = StateGraph("in").add_node("m", node_type="llm", tools=[pay], **model.options).set_entry_point("m")
    graph = StateGraph("g").add_node("s", inner).set_entry_point("s")
    run = graph.run("q", on_no_answer="wait" if live else "stop")
    await until(run, lambda: bool(run.pending) or run.done)
    if not live:
        await run
    for wrong in ({"amount": "five"}, {}, {"amount": 1, "to": "x"}):
        with pytest.raises(InputError, match="Bad arguments for tool 'pay'"):
            run.edit(wrong)
    assert len(run.pending) == 1
    done = await run.edit({"amount": 5})
    assert (done.text, paid, len(model.calls)) == ("done", [5], 2)
