"""The live view of real runs, without a page: what it sends, and how it answers."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support import until

from mesh_nb import (
    BaseNode,
    ExecutionContext,
    ExecutionEvent,
    MemoryBackend,
    NodeExecutionError,
    StateGraph,
)
from mesh_nb.core.events import EventType
from mesh_nb.core.run import Run
from mesh_nb.notebook import live
from mesh_nb.notebook.live import FILE_CAP, LiveView


class Script(BaseNode):
    """Yields events one by one; waits for `go` where the script says None."""

    def __init__(self, id: str, events: list[ExecutionEvent | None], go: asyncio.Event) -> None:
        super().__init__(id)
        self.events, self.go = events, go

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        for event in self.events:
            if event is None:
                await self.go.wait()
            else:
                yield event
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output={"content": "done"})


def tokens(count: int) -> list[ExecutionEvent | None]:
    return [ExecutionEvent(EventType.TOKEN, "n", f"{n} ") for n in range(count)]


class Page:
    """Stands where the page would: keeps what the widget sends, and sends as the page does."""

    def __init__(self, view: LiveView) -> None:
        self.view = view
        self.sent: list[tuple[dict[str, Any], Any]] = []
        self.arrived = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        view.widget.send = self.receive

    def receive(self, content: dict[str, Any], buffers: Any = None) -> None:
        self.sent.append((content, buffers))
        self.loop.call_soon_threadsafe(self.arrived.set)

    def says(self, **content: Any) -> None:
        self.view.widget._handle_custom_msg(content, [])

    async def until(self, kind: str) -> tuple[dict[str, Any], Any]:
        while True:
            for content, buffers in self.sent:
                if content["kind"] == kind:
                    return content, buffers
            self.arrived.clear()
            await self.arrived.wait()

    def batches(self) -> list[dict[str, Any]]:
        return [c for c, _ in self.sent if c["kind"] == "events"]


def start(*events: ExecutionEvent | None) -> tuple[Run, asyncio.Event]:
    go = asyncio.Event()
    graph = StateGraph().add_node("n", Script("n", list(events), go)).set_entry_point("n")
    return graph.run("question", backend=MemoryBackend(), display=False), go


async def test_a_burst_is_one_message_after_the_first():
    run, _ = start(*tokens(500))
    page = Page(LiveView(run))
    await run
    batches = page.batches()
    assert [b["from"] for b in batches] == [0, *[b["to"] + 1 for b in batches[:-1]]]
    assert batches[-1]["to"] == run.events[-1].seq
    text = "".join(e["content"] for b in batches for e in b["events"] if e["type"] == "token")
    assert text == "".join(f"{n} " for n in range(500))
    assert len(batches) <= 2 + (run.duration_ms or 0) / 1000 * 30


async def test_what_is_pending_is_sent_without_another_event():
    run, go = start(*tokens(3), None)
    page = Page(LiveView(run))
    await until(lambda: len(run.events) == 5 and bool(page.batches()) and page.batches()[-1]["to"] == 4)
    assert not run.done
    go.set()
    await run


async def test_a_snapshot_is_everything_so_far_and_no_batch_overlaps_it():
    run, go = start(*tokens(50), None, *tokens(50))
    page = Page(LiveView(run))
    await until(lambda: len(run.events) == 52)
    threading.Thread(target=page.says, kwargs={"kind": "snapshot"}).start()
    snapshot, _ = await page.until("snapshot")
    assert snapshot["to"] == run.events[-1].seq
    assert [e["content"] for e in snapshot["events"] if e["type"] == "token"] == [
        "".join(f"{n} " for n in range(50))
    ]
    go.set()
    await run
    after = page.sent[[c["kind"] for c, _ in page.sent].index("snapshot") + 1 :]
    assert after[0][0]["from"] == snapshot["to"] + 1


async def test_stop_from_any_thread_cancels_the_run():
    run, _ = start(*tokens(3), None)
    page = Page(LiveView(run))
    await page.until("events")
    threading.Thread(target=page.says, kwargs={"kind": "stop"}).start()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert run.status == "cancelled"
    assert page.batches()[-1]["to"] == run.events[-1].seq


async def test_unknown_messages_are_ignored():
    run, _ = start(*tokens(1))
    page = Page(LiveView(run))
    for content in ({}, {"kind": "delete"}):
        page.says(**content)
    page.view.widget._handle_custom_msg("text", [])
    await run


async def test_a_large_file_travels_only_on_request():
    data = b"\x00\x01" * FILE_CAP
    metadata = {"name": "big.bin", "mime_type": "application/octet-stream"}
    content = base64.b64encode(data).decode()
    run, _ = start(ExecutionEvent(EventType.FILE, "n", metadata={**metadata, "content": content}))
    page = Page(LiveView(run))
    await run
    (file,) = [e for b in page.batches() for e in b["events"] if e["type"] == "file"]
    assert file["metadata"] == {**metadata, "content_omitted": True, "size": len(data)}
    page.says(kind="file", seq=file["seq"])
    reply, buffers = await page.until("file")
    assert reply["seq"] == file["seq"]
    assert buffers == [data]
    assert run.files[0].data == data


async def test_a_view_of_a_finished_run_has_it_all_in_its_final_trait():
    run, _ = start(*tokens(3))
    await run
    view = LiveView(run)
    assert view.widget.final["to"] == run.events[-1].seq
    assert view.widget.status == "completed"
    page = Page(view)
    page.says(kind="snapshot")
    assert (await page.until("snapshot"))[0]["events"] == view.widget.final["events"]


async def test_the_bundle_comes_on_request():
    run, _ = start(*tokens(1))
    page = Page(LiveView(run))
    page.says(kind="bundle")
    _, buffers = await page.until("bundle")
    assert buffers == [live.bundle("hub").encode()]
    await run


async def test_names_have_no_memory_address():
    run, _ = start(*tokens(1))
    assert repr(LiveView(run).widget) == f"RunWidget({run.id!r})"
    assert repr(live.Hub()) == "Hub('hub')"
    await run


def test_in_marimo_the_widget_brings_the_hub(monkeypatch: pytest.MonkeyPatch):
    class Marimo:
        @staticmethod
        def running_in_notebook() -> bool:
            return True

    plain = live.stub_source()
    monkeypatch.setitem(__import__("sys").modules, "marimo", Marimo)
    assert live.stub_source().endswith(plain)
    assert len(live.stub_source()) > len(plain) + len(live.bundle("hub"))


class Asking(BaseNode):
    """Asks whether it may call a tool, so many times, and keeps the answers."""

    def __init__(self, id: str, times: int) -> None:
        super().__init__(id)
        self.times = times
        self.answers: list[Any] = []

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        for n in range(self.times):
            question = context.ask(
                "tool", "May I?", tool_name="send", tool_call_id=str(n), arguments={"n": n}
            )
            yield question.event
            self.answers.append(await question.answer())
            yield question.resolution
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output={"content": "done"})


async def asked(times: int = 1) -> tuple[Run, Asking, Page, str]:
    """A run that waits for an answer, its page, and the id of its question."""
    node = Asking("n", times)
    graph = StateGraph().add_node("n", node).set_entry_point("n")
    run = graph.run("go", backend=MemoryBackend(), display=False, on_no_answer="wait")
    page = Page(LiveView(run))
    await until(lambda: bool(run.pending))
    return run, node, page, run.pending[0].id


@pytest.mark.parametrize(
    ("content", "decision", "value", "reason"),
    [
        ({"decision": "approve"}, "approved", None, ""),
        ({"decision": "edit", "value": {"n": 7}}, "edited", {"n": 7}, ""),
        ({"decision": "reject", "message": "not now"}, "rejected", None, "not now"),
    ],
)
async def test_the_page_answers_a_question(
    content: dict[str, Any], decision: str, value: Any, reason: str
) -> None:
    run, node, page, id = await asked()
    page.says(kind="answer", interrupt_id=id, **content)
    await run
    (answer,) = node.answers
    assert (answer.decision, answer.value, answer.reason) == (decision, value, reason)


async def test_an_approval_for_the_run_answers_what_is_asked_about_the_same_tool() -> None:
    run, node, page, id = await asked(times=4)
    page.says(kind="answer", interrupt_id=id, decision="approve_run")
    await run
    assert [a.decision for a in node.answers] == ["approved"] * 4


async def test_an_answer_that_comes_too_late_is_refused_in_words() -> None:
    run, _, page, id = await asked()
    run.approve(id)
    await run
    page.says(kind="answer", interrupt_id=id, decision="reject", message="no")
    content, _ = await page.until("refused")
    assert content["interrupt_id"] == id
    assert content["message"]


@pytest.mark.parametrize("name", ["more", "graph"])
async def test_a_later_module_comes_when_it_is_asked_for(name: str) -> None:
    run, go = start(None)
    page = Page(LiveView(run))
    page.says(kind="bundle", name=name)
    content, buffers = await page.until("bundle")
    assert content["name"] == name
    assert buffers == [live.bundle(name).encode()]
    go.set()
    await run


async def test_the_module_of_graphs_comes_unasked_with_the_first_run_of_several_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The kernel of a running cell may not hear the page.
    opened: list[str] = []

    class Opened:
        comm = "open"

        def __init__(self, part: str) -> None:
            opened.append(part)

        def close(self) -> None:
            pass

    live.close_hub()
    monkeypatch.setattr(live, "Hub", Opened)
    run, _ = start(*tokens(1))
    LiveView(run)
    assert opened == ["hub"]
    several = StateGraph().add_node("a", lambda input: input).add_node("b", lambda input: input)
    several.add_edge("a", "b").set_entry_point("a")
    for _ in range(2):
        graph_run = several.run("x", backend=MemoryBackend(), display=False)
        LiveView(graph_run)
        await graph_run
    assert opened == ["hub", "graph"]
    await run
    live.close_hub()


class Fails(BaseNode):
    """Fails as often as it is told to, then answers."""

    def __init__(self, id: str, times: int) -> None:
        super().__init__(id)
        self.times, self.runs = times, 0

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        self.runs += 1
        yield ExecutionEvent(EventType.TOKEN, self.id, "words ")
        if self.runs <= self.times:
            raise OSError("the line is down")
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output={"content": "done"})


async def failed(times: int) -> tuple[Run, Fails]:
    node = Fails("n", times)
    graph = StateGraph().add_node("n", node).set_entry_point("n")
    run = graph.run("question", backend=MemoryBackend(), display=False)
    with pytest.raises(NodeExecutionError):
        await run
    return run, node


async def ended(view: LiveView, before: Run) -> Run:
    await until(lambda: view.run is not before and view.run.done)
    return view.run


@pytest.mark.parametrize("verb", ["resume", "rerun"])
async def test_a_reader_goes_on_once_with_a_run_that_failed(verb: str) -> None:
    run, node = await failed(1)
    shown: list[tuple[Run, Run]] = []
    ends: list[LiveView] = []
    view = LiveView(run, ends.append, on_again=lambda before, after: shown.append((before, after)))
    page = Page(view)
    page.says(kind=verb)  # nothing was offered yet
    assert view.run is run
    assert view.offer("mark")
    assert view.widget.offer == {"verbs": ["resume", "rerun"], "mark": "mark"}
    page.says(kind=verb)
    page.says(kind=verb)
    again = await ended(view, run)
    assert (again.id == run.id) is (verb == "resume")
    assert (again.status, node.runs) == ("completed", 2)
    assert shown == [(run, again)]
    await until(lambda: ends == [view])
    sent = [event["seq"] for batch in page.batches() for event in batch["events"]]
    first = len(run.events) if verb == "resume" else 0
    assert sent[0] == page.batches()[0]["from"] == first
    assert page.batches()[-1]["to"] == again.events[-1].seq
    assert view.widget.run_id == again.id
    assert not view.offer()


async def test_what_is_complete_or_read_from_a_log_offers_nothing() -> None:
    run, _ = start(*tokens(1))
    await run
    assert not LiveView(run).offer()
    log = MemoryBackend()
    graph = StateGraph().add_node("n", Fails("n", 1)).set_entry_point("n")
    with pytest.raises(NodeExecutionError):
        await graph.run("question", backend=log, display=False)
    (id,) = log.run_ids()
    assert not LiveView(Run.load(id, log)).offer()


async def test_what_cannot_go_on_is_refused_in_a_sentence() -> None:
    run, _ = await failed(1)
    view = LiveView(run)
    page = Page(view)
    view.offer()
    await run.resume(display=False)  # somebody else was quicker
    page.says(kind="resume")
    content, _ = await page.until("refused")
    assert "interrupt_id" not in content
    assert "is complete" in content["message"]
    assert view.run is run
    assert view.widget.offer["verbs"]
