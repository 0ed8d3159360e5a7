"""A conversation in a cell: turns, edits, attachments, what it shows and refuses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.core.events import EventType, ExecutionEvent


class Echo(mesh.BaseNode):
    """Answers with what it knows of the conversation; waits where it is told to, fails at "fail"."""

    def __init__(self, id: str, hold: threading.Event | None = None) -> None:
        super().__init__(id)
        self.hold = hold

    async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
        said = [str(message["content"]) for message in context.chat_history if message["role"] == "user"]
        text = f"before: {said}; now: {context.question}"
        yield ExecutionEvent(EventType.TOKEN, content=text, metadata={"text_block_id": "b"})
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait)
        if context.question == "fail":
            raise OSError("the line is down")
        yield ExecutionEvent(EventType.NODE_COMPLETE, output={"content": text})


def conversation(hold: threading.Event | None = None) -> mesh.Chat:
    graph = mesh.StateGraph("talk").add_node("echo", Echo("echo", hold)).set_entry_point("echo")
    return mesh.chat(graph, backend=mesh.MemoryBackend())


async def ask(chat: mesh.Chat, text: str, **options: Any) -> str:
    return (await chat.send(text, **options)).text


async def test_a_turn_knows_those_before_it():
    chat = conversation()
    assert await ask(chat, "one") == "before: []; now: one"
    assert await ask(chat, "two") == "before: ['one']; now: two"
    assert [turn.text for turn in chat.turns] == ["one", "two"]
    assert {run.session_id for run in chat.runs} == {chat.session_id}
    assert len(chat.to_pandas("calls")) == 0


async def test_two_conversations_know_nothing_of_each_other():
    first, second = conversation(), conversation()
    await ask(first, "one")
    assert await ask(second, "other") == "before: []; now: other"


async def test_an_edited_turn_takes_those_after_it_away():
    chat = conversation()
    for text in ("one", "two", "three"):
        await ask(chat, text)
    gone = chat.runs[1]
    assert await ask(chat, "second", edit=1) == "before: ['one']; now: second"
    assert [turn.text for turn in chat.turns] == ["one", "second"]
    assert gone.text == "before: ['one']; now: two"
    assert await ask(chat, "third") == "before: ['one', 'second']; now: third"


async def test_a_failed_turn_is_shown_and_leaves_no_history():
    chat = conversation()
    with pytest.raises(mesh.NodeExecutionError):
        await chat.send("fail")
    assert await ask(chat, "again") == "before: []; now: again"
    page = chat.transcript()["text/html"]
    assert "the line is down" in page
    assert "before: []; now: again" in page


async def test_one_answer_at_a_time_and_stop():
    hold = threading.Event()
    chat = conversation(hold)
    run = chat.send("one")
    async for event in run:
        if event.type == EventType.TOKEN:
            break
    with pytest.raises(mesh.MeshError, match="being written"):
        chat.send("two")
    chat.stop()
    hold.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert chat.runs[0].text == "before: []; now: one"
    assert not chat.busy


async def test_the_transcript_is_text_whatever_was_said():
    chat = conversation()
    await ask(chat, "<script>alert(1)</script>\nnext", files=[("<b>.txt", b"words")])
    shown = chat.transcript()
    assert "<script>" not in shown["text/html"]
    assert "&lt;script&gt;" in shown["text/html"]
    assert "&lt;b&gt;.txt" in shown["text/html"]
    assert "You: <script>" in shown["text/plain"]
    assert "> next" in shown["text/markdown"]


def test_a_model_gets_the_options():
    chat = mesh.chat("demo", system_prompt="Be brief.", session_id="s", backend=mesh.MemoryBackend())
    run = chat.send("Hello there")
    run.wait()
    assert run.status == "completed"
    assert chat.session_id == "s"


@pytest.mark.parametrize(
    ("graph", "options", "said"),
    [
        (7, {}, "graph or a model's name"),
        ("nosuch", {}, "nosuch"),
        ("demo", {"temprature": 1}, "temperature"),
        (mesh.StateGraph().add_node("n", Echo("n")).set_entry_point("n"), {"tools": []}, "tools"),
    ],
)
def test_what_cannot_be_meant_is_refused(graph: Any, options: dict[str, Any], said: str):
    with pytest.raises(mesh.MeshError, match=said):
        mesh.chat(graph, **options)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [(" ", {}, "empty"), ("x", {"edit": 3}, "turn"), ("x", {"files": ["nowhere.txt"]}, "nowhere.txt")],
)
async def test_a_refused_message_changes_nothing(text: str, options: dict[str, Any], said: str):
    chat = conversation()
    await ask(chat, "one")
    with pytest.raises(mesh.MeshError, match=said):
        chat.send(text, **options)
    assert [turn.text for turn in chat.turns] == ["one"]
    assert await ask(chat, "two") == "before: ['one']; now: two"
