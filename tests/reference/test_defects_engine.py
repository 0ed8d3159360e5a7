"""Defects of the predecessor that are not in here: what runs, with what, and what becomes of it."""

from __future__ import annotations

import ast
import asyncio
import datetime
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_doubles import Scripted, of_type
from answer_server import AnswerServer

import mesh_nb as mesh

Make = Callable[..., Any]


async def collect(graph: Any, input: Any = "go", context: Any = None) -> list[mesh.ExecutionEvent]:
    return [event async for event in mesh.Executor(graph).execute(input, context)]


def completed(events: list[mesh.ExecutionEvent]) -> list[str]:
    return [e.node_id for e in of_type(events, "node_complete")]


def quiet() -> dict[str, Any]:
    """Options of a run that logs to memory and shows nothing."""
    return {"backend": mesh.MemoryBackend(), "display": False}


@pytest.mark.parametrize(("answer", "runs"), [("refund", ["refund"]), ("none", ["other"])])
async def test_defect_03_ai_routing_runs_one_branch_and_the_default_only_for_none(
    answer: str, runs: list[str]
) -> None:
    scenarios = [{"name": n, "description": f"It is about {n}.", "target": n} for n in ("refund", "praise")]
    with AnswerServer(json.dumps({"scenario": answer})) as server:
        graph = mesh.StateGraph().add_node(
            *("c", None, "condition"),
            scenarios=scenarios,
            default_target="other",
            model_options=server.options("chat"),
        )
        for node_id in ("refund", "praise", "other"):
            graph.add_node(node_id, lambda: 1)
        assert completed(await collect(graph.set_entry_point("c"))) == ["c", *runs]


async def test_defect_04_foreach_iterates_directly_after_start_too() -> None:
    seen: list[Any] = []
    graph = mesh.StateGraph().add_node("each", lambda item: seen.append(item), "foreach")
    await collect(graph.set_entry_point("each"), {"items": [1, 2, 3]})
    assert seen == [1, 2, 3]


async def test_defect_05_parallel_edges_run_in_parallel() -> None:
    met = asyncio.Barrier(3)

    async def branch() -> None:
        async with asyncio.timeout(30):
            await met.wait()

    graph = mesh.StateGraph().add_node("root", lambda: 1).set_entry_point("root")
    for node_id in "abc":
        graph.add_node(node_id, branch)
    events = await collect(graph.add_parallel_edges("root", ["a", "b", "c"]))
    assert sorted(completed(events)) == ["a", "b", "c", "root"]


async def test_defect_07_an_approval_passes_its_input_on_and_loses_no_successor() -> None:
    graph = mesh.StateGraph().add_node("draft", lambda: {"text": "a draft"}).add_node("other", lambda: 2)
    graph.add_node("ask", node_type="approval").add_node("join", lambda input: {"got": input})
    graph.add_node("after", lambda: "after")
    graph.chain("START", "draft", "ask", "join", "after").chain("START", "other", "join")
    run = await graph.run("q", on_no_answer="stop", **quiet())
    assert run.status == "interrupted"
    resumed = await run.approve()
    assert (resumed.status, resumed.text) == ("completed", "after")
    (joined,) = [e.output for e in resumed.events if e.type == "node_complete" and e.node_id == "join"]
    assert joined["got"]["ask"] == {"text": "a draft"}


async def test_defect_10_nothing_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[Any] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_at", lambda *given, **named: timers.append(given))
    gate = asyncio.Event()

    async def waits() -> None:
        await gate.wait()

    async def opens() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        gate.set()

    graph = mesh.StateGraph().add_node("waits", waits).add_node("opens", opens)
    for n in range(50):
        graph.add_node(f"tool{n}", lambda: 1)
    graph.chain("START", *(f"tool{n}" for n in range(50)), ["waits", "opens"])
    assert len(completed(await collect(graph))) == 52
    assert timers == []


async def test_defect_11_a_context_that_is_used_again_remembers_the_session_and_not_the_run() -> None:
    def first(context: mesh.ExecutionContext) -> dict[str, Any]:
        return {"content": context.question, "before": context.get_node_output("second")}

    graph = mesh.StateGraph().add_node("first", first).add_node("second", lambda input: input)
    graph.chain("START", "first", "second")
    graph.add_edge("second", "first", is_loop_edge=True, max_iterations=1)
    context = mesh.ExecutionContext()
    for question in ("one", "two"):
        events = await collect(graph, question, context)
        (begun, again) = [e.output for e in of_type(events, "node_complete") if e.node_id == "first"]
        assert begun == {"content": question, "before": None}
        assert again["content"] == question
    assert [m["content"] for m in context.chat_history] == ["one", "one", "two", "two"]


async def test_defect_15_interrupts_of_edges_ask_and_timeouts_are_enforced() -> None:
    graph = mesh.StateGraph().add_node("a", lambda: 1).add_node("b", lambda: 2).set_entry_point("a")
    run = await graph.add_edge("a", "b", interrupt_before=True).run("q", on_no_answer="stop", **quiet())
    assert [p.kind for p in run.pending] == ["before"]
    assert completed(run.events) == ["a"]
    graph = mesh.StateGraph().add_node("ask", node_type="approval", timeout=0.01).set_entry_point("ask")
    run = graph.run("q", on_no_answer="wait", **quiet())
    with pytest.raises(mesh.NodeExecutionError, match="in time"):
        await run
    assert of_type(run.events, "interrupt_resolved")[0].metadata["decision"] == "timeout"


async def test_defect_16_several_conditional_edges_of_one_node_all_choose() -> None:
    graph = mesh.StateGraph().add_node("a", lambda: {"n": 1}).set_entry_point("a")
    for node_id in "bcdef":
        graph.add_node(node_id, lambda: 1)
    for targets in (["b", "c"], ["d", "e"]):
        graph.add_conditional_edges("a", lambda output, targets=targets: targets[output["n"]], targets)
    graph.add_conditional_edges("a", lambda output: "nothing", {"x": "b"}, default="f")
    assert sorted(completed(await collect(graph))) == ["a", "c", "e", "f"]


async def test_defect_17_an_isolated_subgraph_keeps_its_state_and_begins_no_second_run() -> None:
    inner = mesh.StateGraph().add_node("in", lambda: mesh.NodeResult({"answer": 1}, {"leak": "state"}))
    graph = mesh.StateGraph().add_node(
        "sub", inner.set_entry_point("in"), output_mapping={"only": "$.answer"}
    )
    context = mesh.ExecutionContext()
    events = await collect(graph.set_entry_point("sub"), context=context)
    assert events[-1].output["only"] == 1
    assert "answer" not in events[-1].output
    assert context.state == {}
    assert [str(e.type) for e in events].count("execution_start") == 1


async def test_defect_19_what_is_documented_works() -> None:
    graph = mesh.StateGraph().add_node("x", lambda: "done").set_entry_point("x").add_edge("x", "END")
    assert (await graph.run(input="go", **quiet())).text == "done"
    # A loop over the items of a list is a foreach here: the loop node says which options it has.
    with pytest.raises(mesh.MeshError, match="Unknown option 'array_path' of node type 'loop'"):
        graph.add_node("l", node_type="loop", array_path="$.items")
    graph.add_node("each", lambda item: item, node_type="foreach", array_path="$.items", max_iterations=3)
    extras = (Path(mesh.__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    assert '\nvel = ["vel-ai' in extras


async def test_defect_22_a_loop_that_ends_at_its_bound_is_complete_and_nothing_else() -> None:
    graph = mesh.StateGraph().add_node("n", lambda: 1).set_entry_point("n")
    events = await collect(graph.add_edge("n", "n", is_loop_edge=True, max_iterations=4))
    kinds = [str(e.type) for e in events]
    assert kinds.count("node_complete") == 5
    assert (kinds[-1], "execution_error" in kinds) == ("execution_complete", False)


async def test_defect_23_two_answers_meet_without_one_replacing_the_other() -> None:
    with AnswerServer("tea", "coffee", "both") as server:
        graph = mesh.StateGraph()
        for node_id in ("a", "b", "judge"):
            graph.add_node(node_id, node_type="llm", **server.options("chat"))
        await collect(graph.chain("START", ["a", "b"], "judge"))
        asked = json.dumps(server.bodies[2]["messages"])
    assert "tea" in asked
    assert "coffee" in asked


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_defect_24_the_output_of_a_fan_out_does_not_depend_on_who_is_last(order: str) -> None:
    done = asyncio.Event()

    def node(node_id: str) -> Callable[[], Any]:
        async def branch() -> dict[str, str]:
            if node_id == order[1]:
                await done.wait()
            done.set()
            return {"content": node_id}

        return branch

    graph = mesh.StateGraph()
    for node_id in "ab":
        graph.add_node(node_id, node(node_id)).set_entry_point(node_id)
    output = (await collect(graph))[-1].output
    assert output == {"a": {"content": "a"}, "b": {"content": "b"}, "content": "a\n\nb"}


def test_defect_25_large_graphs_are_checked_without_recursion() -> None:
    graph = mesh.StateGraph()
    for n in range(3000):
        graph.add_node(f"n{n}", lambda: 1)
    graph.chain("START", *(f"n{n}" for n in range(3000)))
    assert len(graph.compile().nodes) == 3000
    graph.add_edge("n2999", "n0")
    with pytest.raises(mesh.CycleDetectedError):
        graph.compile()


async def test_defect_26_no_exception_is_swallowed(caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    def fails(*_: Any) -> bool:
        raise ValueError("the lamp went out")

    with AnswerServer() as server:
        server.files["/v1/chat/completions"] = (401, "application/json", b'{"error": {"message": "no"}}')
        routed = mesh.StateGraph().add_node(
            *("c", None, "condition"),
            scenarios=[{"name": "a", "description": "a", "target": "a"}],
            default_target="a",
            model_options=server.options("chat"),
        )
        with pytest.raises(mesh.NodeExecutionError, match="401"):
            await collect(routed.add_node("a", lambda: 1).set_entry_point("c"))
    looped = mesh.StateGraph().add_node("n", lambda: 1).set_entry_point("n")
    looped.add_edge("n", "n", is_loop_edge=True, loop_condition=fails, max_iterations=2)
    paused = mesh.StateGraph().add_node("n", lambda: 1).set_entry_point("n")
    paused.set_interrupt_before("n", condition=fails)
    for graph in (looped, paused):
        with pytest.raises(mesh.NodeExecutionError, match="the lamp went out"):
            await collect(graph)
    run = mesh.StateGraph().add_node("n", lambda: 1).set_entry_point("n").run("q", **quiet())
    run.subscribe(fails)
    with caplog.at_level(logging.ERROR, "mesh_nb"):
        assert (await run).status == "completed"
    assert "the lamp went out" in caplog.text
    assert capsys.readouterr().out == ""


def test_defect_27_an_agent_is_known_by_what_it_can_do_and_options_by_their_names() -> None:
    class Bot:
        __module__ = "travel_bot"

    class Helper(Scripted):
        __module__ = "somewhere.else"

    graph = mesh.StateGraph()
    with pytest.raises(mesh.MeshError, match="Bot"):
        graph.add_node("bot", Bot(), node_type="agent")
    graph.add_node("helper", Helper(["hi"]), node_type="agent")
    with pytest.raises(mesh.MeshError, match=r"'modle'.*Did you mean 'model'"):
        graph.add_node("llm", node_type="llm", modle="gpt-5")


async def test_defect_30_backends_keep_copies_take_any_state_and_show_what_they_say(tmp_path: Path) -> None:
    given: dict[str, Any] = {"input": "q", "items": [1]}
    context = mesh.ExecutionContext(state={"notes": ["a"]}, chat_history=[{"role": "user", "content": "x"}])
    memory = mesh.MemoryBackend()
    graph = mesh.StateGraph().add_node("n", lambda: 1).set_entry_point("n")
    executor = mesh.Executor(graph, memory)
    (run_id,) = {e.run_id for e in [e async for e in executor.execute(given, context)]}
    given["items"].append(2)
    context.state["notes"].append("b")
    context.chat_history.clear()
    begin = mesh.Run.load(run_id, memory).header["begin"]
    assert (begin["input"]["items"], begin["state"]["notes"]) == ([1], ["a"])
    assert begin["chat_history"] == [{"role": "user", "content": "x"}]

    def odd() -> mesh.NodeResult:
        return mesh.NodeResult("ok", {"when": datetime.datetime(2026, 1, 1), "some": {1}, "odd": object()})

    sqlite = mesh.SQLiteBackend(tmp_path / "runs.db")
    graph = mesh.StateGraph().add_node("odd", odd).set_entry_point("odd")
    run = await graph.run("q", backend=sqlite, display=False)
    loaded = mesh.Run.load(run.id, sqlite)
    assert [str(e.type) for e in loaded.events] == [str(e.type) for e in run.events]
    assert (loaded.status, loaded.problems) == ("completed", [])


async def test_defect_31_a_node_has_a_timeout_and_what_a_thread_cannot_do_is_documented() -> None:
    release, ended = threading.Event(), threading.Event()

    def blocks() -> None:
        release.wait()
        ended.set()

    graph = mesh.StateGraph().add_node("blocks", blocks, node_timeout=0.05).set_entry_point("blocks")
    try:
        with pytest.raises(mesh.NodeExecutionError, match="node_timeout"):
            await graph.run("q", **quiet())
        assert not ended.is_set()  # The run is over; the thread goes on, as every thread of Python does.
    finally:
        release.set()
    from mesh_nb.nodes import tool

    assert "thread" in str(tool.ToolNode.__doc__)


async def test_defect_32_a_failure_waits_for_nobody_and_iteration_first_is_a_name() -> None:
    begun = asyncio.Event()

    async def sleeps() -> None:
        begun.set()
        await asyncio.sleep(60)

    async def fails() -> None:
        await begun.wait()
        raise ValueError("no")

    graph = mesh.StateGraph().add_node("sleeps", sleeps).add_node("fails", fails)
    started = time.monotonic()
    with pytest.raises(mesh.NodeExecutionError, match="'fails'"):
        await collect(graph.set_entry_point("sleeps").set_entry_point("fails"))
    assert time.monotonic() - started < 30  # Half of what the sibling would have slept.
    with AnswerServer("ok") as server:
        graph = mesh.StateGraph().add_node("each", node_type="foreach").set_entry_point("each")
        prompt = "{{$iteration_first}} {{$iteration_last}}"
        graph.add_node("llm", node_type="llm", system_prompt=prompt, **server.options("chat"))
        await collect(graph.add_edge("each", "llm"), {"items": [1, 2]})
        said = [body["messages"][0]["content"].lower() for body in server.bodies]
    assert said == ["true false", "false true"]


async def test_defect_33_times_ids_and_code_are_safe() -> None:
    graph = mesh.StateGraph().add_node("end", lambda: {"n": 1}).add_node('a "b" c', lambda input: input)
    graph.add_node("ask", node_type="approval").chain("START", "end", "ask", 'a "b" c')
    run = await graph.run("q", on_no_answer="allow", **quiet())
    outputs = {e.node_id: e.output for e in of_type(run.events, "node_complete")}
    assert outputs["end"] == outputs["ask"] == {"n": 1}
    assert all(isinstance(e.timestamp, float) for e in run.events)
    assert run.started_at is not None
    assert run.started_at.tzinfo is datetime.UTC
    lines = graph.to_mermaid().splitlines()
    assert len(lines) == len(set(lines))
    assert not [line for line in lines if line.strip().startswith(("end ", "end[", 'a "b"'))]
    ran: list[int] = []
    code = "ran.append(1)"
    data = {"name": "tool", "inputs": {"code": code, "tool": "t"}}
    flow = {"nodes": [{"id": "t", "type": "toolAgentflow", "data": data}], "edges": []}
    with pytest.raises(mesh.MeshError, match="allow_code"):
        mesh.from_react_flow(json.dumps(flow)).compile()
    assert ran == []
    for path in Path(mesh.__file__).parent.rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
        printing = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not printing or path.parent.name in ("cli", "notebook", "hosts"), path
