"""The handle of a run: its end, its readers, its cancel, and what it adds up to."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from run_doubles import Speaker, forever, graph_of, response, until

from mesh_nb.backends.file import FileBackend
from mesh_nb.backends.memory import MemoryBackend
from mesh_nb.core.errors import MeshError, NodeExecutionError, RunNotFoundError, UnknownNameError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.graph import StateGraph
from mesh_nb.core.run import Run
from mesh_nb.core.runs import last_run, runs


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    return tmp_path


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


async def test_awaiting_a_run_returns_it_when_it_has_ended() -> None:
    run = graph_of(Speaker()).run("hi")
    assert run.status == "running"
    assert await run is run
    assert run.status == "completed"
    assert run.text == "Hello world"
    assert run.output == {"content": "Hello world"}
    assert run.error is None
    assert run.done
    assert await run is run
    assert not others()


async def test_a_run_goes_on_by_itself() -> None:
    node = Speaker()
    run = graph_of(node).run("hi")
    ended = asyncio.Event()
    run.add_done_callback(lambda _: ended.set())
    await ended.wait()
    assert run.status == "completed"
    assert node.closed


async def test_readers_see_every_event_from_the_first_at_any_time() -> None:
    gate = asyncio.Event()
    run = graph_of(Speaker(wait=gate.wait)).run("hi")

    async def read() -> list[ExecutionEvent]:
        return [event async for event in run]

    early = [asyncio.create_task(read()) for _ in range(3)]
    await until(run, lambda: run.text == "Hello world")
    middle = asyncio.create_task(read())
    await asyncio.sleep(0)
    gate.set()
    await run
    late = await read()
    assert [e.seq for e in late] == list(range(len(late)))
    for task in (*early, middle):
        assert await task == late
    assert late[0].type == "execution_start"
    assert late[-1].type == "execution_complete"


async def test_a_reader_is_woken_before_a_burst_is_over() -> None:
    run = graph_of(Speaker(words=["x"] * 50_000)).run("hi")
    async for event in run:
        if event.type == "token":
            break
    assert len(run.events) < 50_000
    await run
    assert run.text == "x" * 50_000


async def test_a_reader_that_leaves_does_not_end_the_run() -> None:
    run = graph_of(Speaker()).run("hi")
    async for _ in run:
        break
    assert (await run).status == "completed"


async def test_a_failure_is_raised_with_the_run_and_everything_it_had() -> None:
    run = graph_of(Speaker(fails=ValueError("no"))).run("hi")
    with pytest.raises(NodeExecutionError, match="speaker") as caught:
        await run
    assert caught.value.run is run
    assert isinstance(caught.value.cause, ValueError)
    assert run.status == "failed"
    assert run.text == "Hello world"
    assert "no" in (run.error or "")
    assert last_run() is run
    events = [event.type async for event in run]
    assert events.count(EventType.NODE_ERROR) == 1
    assert events[-1] == EventType.EXECUTION_ERROR
    with pytest.raises(NodeExecutionError):
        await run


async def test_cancel_closes_the_run_and_leaves_nothing_behind() -> None:
    node = Speaker(wait=forever)
    run = graph_of(node).run("hi")
    await node.spoke.wait()
    run.cancel()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert node.closed
    assert run.status == "cancelled"
    assert run.text == "Hello world"
    assert [e.seq for e in run.events] == list(range(len(run.events)))
    assert run.events[-1].type == "execution_error"
    assert EventType.MESSAGE_COMPLETE in [e.type for e in run.events]
    assert not others()
    run.cancel()


async def test_cancelling_the_task_that_awaits_cancels_the_run_and_waits_for_it() -> None:
    released = asyncio.Event()

    async def slow_to_close() -> None:
        try:
            await forever()
        finally:
            await released.wait()

    node = Speaker(wait=slow_to_close)
    run = graph_of(node).run("hi")

    async def wait() -> None:
        await run

    task = asyncio.create_task(wait())
    await node.spoke.wait()
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert node.closed
    assert run.status == "cancelled"
    assert not others()


async def test_a_timeout_around_a_run_cancels_it() -> None:
    node = Speaker(wait=forever)
    run = graph_of(node).run("hi")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run
    assert node.closed
    assert run.status == "cancelled"


async def test_cancel_before_the_first_step_still_ends_the_log(project: Path) -> None:
    run = graph_of(Speaker()).run("hi")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert run.status == "cancelled"
    assert Run.load(run.id).status == "cancelled"


async def test_cancel_from_a_callback_does_not_cut_the_closing_short() -> None:
    closed: list[bool] = []

    class SlowToClose(Speaker):
        async def run(self, input: Any, context: Any) -> Any:
            try:
                async for event in super().run(input, context):
                    yield event
            finally:
                for _ in range(5):
                    await asyncio.sleep(0)
                closed.append(True)

    run = graph_of(SlowToClose()).run("hi")
    run.subscribe(lambda event: run.cancel() if event.type == "token" else None)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert closed == [True]
    assert run.status == "cancelled"
    assert sum(e.type == "token" for e in run.events) == 1


async def test_cancel_from_another_thread() -> None:
    node = Speaker(wait=forever)
    run = graph_of(node).run("hi")
    await node.spoke.wait()
    await asyncio.to_thread(run.cancel)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert node.closed


async def test_subscribers_get_what_comes_and_the_ending_last() -> None:
    gate = asyncio.Event()
    node = Speaker(wait=gate.wait)
    run = graph_of(node).run("hi")
    await node.spoke.wait()
    seen: list[str] = []
    stop = run.subscribe(lambda event: seen.append(event.type))
    stopped: list[str] = []
    run.subscribe(lambda event: stopped.append(event.type))()
    gate.set()
    await run
    assert seen[0] == "message_complete" or "token" in seen
    assert seen[-1] == "execution_complete"
    assert stopped == []
    stop()
    stop()


async def test_a_subscriber_that_fails_is_reported_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def broken(event: ExecutionEvent) -> None:
        calls.append(event)
        raise RuntimeError("view is gone")

    run = graph_of(Speaker()).run("hi")
    run.subscribe(broken)
    await run
    assert len(calls) == 1
    assert sum("subscriber" in r.message for r in caplog.records) == 1


async def test_done_callbacks_come_after_the_end() -> None:
    seen: list[str] = []
    run = graph_of(Speaker()).run("hi")
    run.add_done_callback(lambda r: seen.append(r.status))
    await run
    run.add_done_callback(lambda r: seen.append("late"))
    assert seen == ["completed", "late"]


def test_a_run_is_awaited_from_another_loop_and_thread() -> None:
    gate = threading.Event()

    async def wait_for_gate() -> None:
        await asyncio.to_thread(gate.wait)

    run = graph_of(Speaker(wait=wait_for_gate)).run("hi")  # no loop here: it lives on the private one
    results: list[Any] = []

    async def follow() -> None:
        reader = asyncio.create_task(collect())
        await run
        results.append(await reader)

    async def collect() -> list[int]:
        return [event.seq async for event in run]

    threads = [threading.Thread(target=lambda: asyncio.run(follow())) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert results == [list(range(len(run.events)))] * 4


def test_a_loop_that_ends_cancels_its_runs() -> None:
    node = Speaker(wait=forever)
    made: list[Run] = []

    async def main() -> None:
        made.append(graph_of(node).run("hi"))
        await node.spoke.wait()

    asyncio.run(main())
    assert node.closed
    assert made[0].status == "cancelled"
    assert made[0].wait()


async def test_usage_and_cost_add_up_over_calls() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    run = await graph_of(
        Speaker(events=[response(usage=usage, call_id="1"), response(usage=usage, call_id="2")])
    ).run("hi")
    assert run.usage == {"prompt_tokens": 2000, "completion_tokens": 200, "total_tokens": 2200}
    assert run.cost_usd == pytest.approx(2 * (1000 * 0.15e-6 + 100 * 0.6e-6))
    assert run.unpriced_calls == 0


async def test_an_unknown_cost_is_none_and_not_zero() -> None:
    run = await graph_of(Speaker(events=[response(model_id="mine", provider="demo")])).run("hi")
    assert run.cost_usd is None
    assert run.unpriced_calls == 1
    assert "$" not in repr(run)
    run = await graph_of(
        Speaker(events=[response(model_id="mine", call_id="1"), response(cost_usd=0.25, call_id="2")])
    ).run("hi")
    assert run.cost_usd == 0.25
    assert run.unpriced_calls == 1


async def test_sources_come_once_each_and_cited_ones_first() -> None:
    def source(*sources: dict[str, Any]) -> ExecutionEvent:
        return ExecutionEvent(EventType.SOURCE, metadata={"sources": list(sources)})

    run = await graph_of(
        Speaker(
            events=[
                source({"url": "a", "kind": "result"}, {"url": "b", "kind": "result"}),
                source(
                    {"url": "b", "title": "B", "kind": "cited"}, {"url": "c"}, {"url": "b", "kind": "cited"}
                ),
                ExecutionEvent(EventType.SOURCE, metadata={"sources": ["rubbish"]}),
            ]
        )
    ).run("hi")
    assert [s.get("url") for s in run.sources] == ["b", "a", "c"]
    assert run.sources[0].get("title") == "B"


def a_file(name: str, data: bytes = b"data", mime: str = "text/plain") -> ExecutionEvent:
    content = base64.b64encode(data).decode()
    return ExecutionEvent(EventType.FILE, metadata={"name": name, "mime_type": mime, "content": content})


async def test_files_are_saved_under_safe_names_and_overwrite_nothing(tmp_path: Path) -> None:
    names = [
        "../../etc/passwd",
        "C:\\Windows\\x.txt",
        "plot.svg",
        "plot.svg",
        "",
        ".bashrc",
        "CON.txt",
        "a\0b\n.txt",
        "invoice\u202egpj.exe",
        "x" * 400 + ".png",
        "a<b>:c?.md",
    ]
    run = await graph_of(Speaker(events=[a_file(n, n.encode()) for n in names])).run("hi")
    target = tmp_path / "out"
    target.mkdir()
    (target / "passwd.txt").write_text("mine")
    (target / "x.txt").symlink_to(tmp_path / "elsewhere")
    paths = run.save_files(target)
    assert all(path.parent == target for path in paths)
    assert [p.name for p in paths] == [
        "passwd (2).txt",
        "x (2).txt",
        "plot.svg",
        "plot (2).svg",
        "file.txt",
        "bashrc.txt",
        "_CON.txt",
        "ab.txt",
        "invoicegpj.exe",
        "x" * 196 + ".png",
        "a_b__c_.md",
    ]
    assert (target / "passwd.txt").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    assert [p.read_bytes() for p in paths] == [n.encode() for n in names]
    assert all(len(p.name.encode()) <= 255 for p in paths)
    assert len({p.name for p in paths}) == len(names)


async def test_a_file_has_its_bytes_and_no_html_repr() -> None:
    run = await graph_of(Speaker(events=[a_file("p.svg", b"<svg/>", "image/svg+xml")])).run("hi")
    (file,) = run.files
    assert file.data == b"<svg/>"
    assert file.size == 6
    assert not any(name.startswith("_repr_") for name in dir(file))


async def test_a_large_file_survives_the_log(project: Path) -> None:
    data = os.urandom(200_000)
    run = await graph_of(Speaker(events=[a_file("big.bin", data, "x/y")])).run("hi")
    assert Run.load(run.id).files[0].data == data == run.files[0].data


async def test_text_of_parallel_nodes_does_not_mix() -> None:
    gate = asyncio.Event()
    graph = graph_of(Speaker("first"))
    graph.add_node("a", Speaker("a", ["A1 ", "A2"], wait=gate.wait))
    graph.add_node("b", Speaker("b", ["B1 ", "B2"], wait=gate.wait))
    graph.add_edge("first", "a")
    graph.add_edge("first", "b")
    run = graph.run("hi")
    await until(run, lambda: "B2" in run.text and "A2" in run.text)
    assert run.text == "Hello world\n\nA1 A2\n\nB1 B2"
    gate.set()
    await run


async def test_a_retried_node_does_not_say_everything_twice() -> None:
    attempts: list[int] = []

    class Flaky(Speaker):
        async def run(self, input: Any, context: Any) -> Any:
            attempts.append(1)
            self.fails = ValueError("again") if len(attempts) == 1 else None
            self.wait = forever if len(attempts) == 2 else None
            async for event in super().run(input, context):
                yield event

    graph = graph_of(Speaker("first"))
    graph.add_node("flaky", Flaky("flaky"), config={"retry": {"max_retries": 1, "delay": 0.0}})
    graph.add_edge("first", "flaky")
    run = graph.run("hi")
    await until(run, lambda: len(attempts) == 2 and run.text.count("world") == 2)
    assert run.text == "Hello world\n\nHello world"
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_the_repr_is_one_line_whatever_the_model_says() -> None:
    run = await graph_of(
        Speaker(words=["line\n\x1b[31mred\u2028" * 50], events=[response(cost_usd=0.0123)])
    ).run("hi")
    text = repr(run)
    assert text.splitlines() == [text]
    assert "\x1b" not in text
    assert "completed" in text
    assert "$0.0123" in text
    assert "1,000 + ? tokens" in text
    assert len(text) < 250


async def test_loading_a_finished_run_gives_what_it_had(project: Path) -> None:
    run = await graph_of(Speaker(events=[response(cost_usd=0.5)])).run("hi", session_id="s1")
    loaded = Run.load(run.id)
    assert loaded is not run
    assert loaded.events == run.events
    assert (loaded.status, loaded.text, loaded.output) == ("completed", run.text, run.output)
    assert loaded.session_id == "s1"
    assert loaded.graph_id == "test"
    assert loaded.cost_usd == 0.5
    assert loaded.problems == []
    assert await loaded is loaded
    assert [e async for e in loaded] == run.events


async def test_a_run_of_this_process_is_loaded_as_itself_while_it_runs() -> None:
    node = Speaker(wait=forever)
    run = graph_of(node).run("hi")
    await node.spoke.wait()
    assert Run.load(run.id) is run
    assert Run.load(run.id, FileBackend()).status == "running"
    assert runs()[0].status == "running"
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert Run.load(run.id).status == "cancelled"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))])
async def test_a_run_that_has_ended_is_copied_with_what_it_had(copied: Any) -> None:
    run = await graph_of(Speaker()).run("hi", session_id="s1")
    other = copied(run)
    assert (other.id, other.text, other.status, other.session_id) == (run.id, run.text, "completed", "s1")
    assert [event.to_dict() for event in other.events] == [event.to_dict() for event in run.events]


async def test_a_run_that_goes_on_is_not_copied() -> None:
    run = graph_of(Speaker(wait=forever)).run("hi")
    with pytest.raises(TypeError, match=rf"Run {run.id} still goes on.*Run\.load\(id\)"):
        pickle.dumps(run)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_failed_run_comes_back_from_another_process_inside_its_error() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(NodeExecutionError) as raised:
        await StateGraph().add_node("fail", fail).set_entry_point("fail").run("hi")
    back = pickle.loads(pickle.dumps(raised.value))
    assert (back.run.id, back.run.status, str(back)) == (raised.value.run.id, "failed", str(raised.value))


async def test_an_unknown_run_names_the_nearest() -> None:
    run = await graph_of(Speaker()).run("hi")
    with pytest.raises(RunNotFoundError, match=run.id):
        Run.load(run.id[:-1] + "z")


async def test_an_unknown_frame_names_the_known_ones() -> None:
    run = await graph_of(Speaker()).run("hi")
    with pytest.raises(UnknownNameError, match="calls"):
        run.to_pandas("cals")


async def test_a_kept_event_is_small() -> None:
    run = await graph_of(Speaker(words=["one"])).run("hi")  # everything is imported now
    words = [f" word{i}" for i in range(20_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run = await graph_of(Speaker(words=words)).run("hi")
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(run.events) > 20_000
    assert used / len(run.events) <= 300


KILLED = """
import asyncio, sys
from run_doubles import Speaker, graph_of
class Endless(Speaker):
    async def run(self, input, context):
        from mesh_nb.core.events import EventType, ExecutionEvent
        shared = {"text_block_id": "b"}
        n = 0
        while True:
            n += 1
            boundary = n % 200 == 0
            if boundary:
                yield ExecutionEvent(EventType.STEP_START, metadata={"step_index": n})
                print(context.run_id, flush=True)
            yield ExecutionEvent(EventType.TOKEN, content=f" {n}", metadata=shared)
            await asyncio.sleep(0)
async def main():
    await graph_of(Endless()).run("hi")
asyncio.run(main())
"""


def test_a_killed_run_is_interrupted_and_keeps_its_partial_text(project: Path) -> None:
    doubles = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, env=doubles)
    assert child.stdout is not None
    for _ in range(10):
        run_id = child.stdout.readline().strip()
    running = Run.load(run_id)
    assert running.status == "running"
    child.send_signal(signal.SIGKILL)
    rest = child.communicate()[0].split()
    run = Run.load(run_id)
    assert run.status == "interrupted"
    assert [e.seq for e in run.events] == list(range(len(run.events)))
    assert sum(e.type == "step_start" for e in run.events) >= 10 + len(rest)
    tokens = run.text.split()
    assert tokens == [str(n) for n in range(1, len(tokens) + 1)]
    assert len(tokens) > 1900
    assert runs()[0].status == "interrupted"


async def test_a_foreign_error_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(MemoryBackend):
        def open(self, run_id: str, header: dict[str, Any]) -> Any:
            raise MeshError("no log today")

    run = graph_of(Speaker()).run("hi", backend=Broken())
    with pytest.raises(MeshError, match="no log today"):
        await run
    assert run.status == "failed"
    assert run.error == "no log today"
    assert run.events[-1].type == "execution_error"
