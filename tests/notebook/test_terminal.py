"""A run as text for a terminal: what it says while it goes on is what static output says."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from event_lists import answer, events, rich, token, whole
from recordings import streamed, written

from mesh_nb.core.events import ExecutionEvent
from mesh_nb.notebook import _prose
from mesh_nb.notebook._coalesce import coalesce
from mesh_nb.notebook._fold import Text, ToolCall, fold
from mesh_nb.notebook._markup import to_plain
from mesh_nb.notebook._terminal import Transcript

CITED = re.compile(r"\[\d+\]")
OURS = re.compile(r"\r\x1b\[K|\x1b\[[0-9]m|\x1b\[31m")


def said(run: list[ExecutionEvent], sizes: Any = lambda: 1, **looks: Any) -> str:
    """What is written of a run that comes in pieces."""
    transcript, out, at = Transcript(**looks), "", 0
    while at < len(run):
        size = sizes()
        out += transcript.feed(coalesce(run[at : at + size]))
        at += size
    return out + transcript.end(run)


def on_screen(text: str) -> str:
    """What a terminal shows of a text whose lines may be replaced."""
    return OURS.sub("", re.sub(r"[^\n]*\r\x1b\[K", "", text))


def runs() -> dict[str, list[ExecutionEvent]]:
    return {**written(), **streamed()}


@pytest.fixture(scope="module")
def known() -> dict[str, list[ExecutionEvent]]:
    return runs()


def test_every_recording_says_what_its_static_output_says(known: dict[str, list[ExecutionEvent]]) -> None:
    for name, run in known.items():
        shown = said(run)
        view = fold(run)
        bare = CITED.sub("", shown)
        for block in (b for s in view.sections if not s.discarded for b in s.blocks):
            if isinstance(block, Text):
                assert CITED.sub("", to_plain(block.text)).strip() in bare, name
            elif isinstance(block, ToolCall):
                assert f"Tool: {block.name or 'tool'}(" in shown, name
        for part in _prose.after(view):
            assert part in shown, name


def lines(text: str) -> list[str]:
    return sorted(filter(None, CITED.sub("", text).split("\n")))


def test_it_says_the_same_however_the_events_come(known: dict[str, list[ExecutionEvent]]) -> None:
    chance = random.Random(5)
    for name, run in known.items():
        at_once = lines(said(run, lambda: 10_000))
        for cut in (lambda: 1, lambda: chance.randint(1, 9)):
            in_pieces, coloured = said(run, cut), on_screen(said(run, cut, colour=True, width=80))
            if name in ("own/again", "own/resumed"):  # what is written cannot be taken back
                assert set(at_once) < set(lines(in_pieces)), name
                continue
            assert lines(in_pieces) == lines(coloured) == at_once, name


def test_words_are_written_as_they_come_and_once() -> None:
    transcript = Transcript()
    run = whole(*answer("Hello", " ", "world", "."))
    pieces = [transcript.feed([event]) for event in run]
    assert [piece for piece in pieces if piece] == ["Hello", " world", "."]
    assert transcript.end(run) == "\n"


def test_thought_and_calls_are_a_line_each_and_usage_is_last() -> None:
    shown = said(rich()).splitlines()
    assert shown[0] == "Thought (5 words): I should look it up."
    assert shown[1].startswith('Tool: weather(city="Paris") → [{"day":"Mon"')
    assert shown[2:4] == ["", "Paris is **mild**.[1]"]
    assert shown[-1] == "demo/demo-1 · 1 tool call · 1,200 tokens in · 34 tokens out · $0.010"


def test_a_citation_that_comes_with_its_words_stands_there() -> None:
    def cited(end: int) -> tuple[str, str, dict[str, Any]]:
        source = {"url": "https://a.test", "start": 0, "end": end, "kind": "cited"}
        return "source", "llm", {"metadata": {"sources": [source]}}

    run = whole(token("Paris"), cited(5), token(" is mild. "), token("The end."))
    assert said(run).startswith("Paris[1] is mild. The end.\n")
    late = whole(token("Paris"), token(" is mild. "), cited(5), token("The end."))
    assert said(late).startswith("Paris is mild. The end.[1]\n")


def two(*inside: Any, status: str = "completed") -> list[ExecutionEvent]:
    graph = {"nodes": [{"id": "a"}, {"id": "b"}], "edges": []}
    return events(
        ("execution_start", "START", {"metadata": {"graph": graph}}),
        *inside,
        ("execution_complete", "START", {"metadata": {"status": status}}),
    )


def test_nodes_side_by_side_come_one_after_the_other_under_their_names() -> None:
    run = two(
        *[("node_start", n) for n in "ab"],
        *[token(f"{n}{i} ", n) for i in range(3) for n in "ab"],
        ("node_complete", "b"),
        token("a-end", "a"),
        ("node_complete", "a"),
    )
    assert said(run) == "── a ──\na0 a1 a2 a-end\n\n── b ──\nb0 b1 b2\n"


def test_what_runs_inside_a_node_comes_before_the_rest_of_it() -> None:
    call = {"tool_name": "ask", "tool_call_id": "1"}
    run = two(
        ("node_start", "a"),
        token("Asking.", "a"),
        ("tool_call_start", "a", {"metadata": {**call, "arguments": {}}}),
        ("node_start", "a.x"),
        token("Inside.", "a.x"),
        ("node_complete", "a.x"),
        ("tool_call_complete", "a", {"output": "ok", "metadata": {**call, "status": "ok"}}),
        token("Done.", "a"),
        ("node_complete", "a"),
    )
    inside = "── a ──\nAsking.\n\n── a.x ──\nInside.\n\n── a ──\nTool: ask() → ok\n\nDone.\n"
    assert said(run) == f"{inside}\n1 tool call\n"


def test_a_retry_is_told_and_the_answer_comes_again() -> None:
    run = whole(
        token("Half an ans"),
        ("node_retry", "llm", {"error": "it broke", "metadata": {"attempt": 1}}),
        token("The answer.", attempt=1),
    )
    assert said(run) == "Half an ans\n\nTrying again. it broke\n\nThe answer.\n"


def test_what_was_told_before_a_run_went_on_is_not_told_again() -> None:
    before = two(("node_start", "a"), token("Old.", "a"), ("node_complete", "a"), status="interrupted")
    onward = [
        ("execution_start", "START", {"metadata": {"resumed": True, "graph": before[0].metadata["graph"]}}),
        ("node_start", "b"),
        token("New.", "b"),
        ("node_complete", "b"),
        ("execution_complete", "START", {"metadata": {"status": "completed"}}),
    ]
    rest = events(*onward)
    for event in rest:
        event.seq += len(before)
    transcript = Transcript()
    transcript.skip(coalesce(before))
    assert transcript.feed(coalesce(rest)) + transcript.end([*before, *rest]) == "── b ──\nNew.\n"


def test_a_failure_is_told_once() -> None:
    run = events(
        ("execution_start", "START"),
        ("node_start", "llm"),
        token("Some words"),
        ("node_error", "llm", {"error": "KeyError: 'city'"}),
        ("execution_error", "START", {"error": "KeyError: 'city'", "metadata": {"status": "failed"}}),
    )
    shown = said(run)
    assert shown.startswith("Some words\n\nNode llm failed. KeyError: 'city'\n\nKept: 2 words.\n")
    assert shown.count("KeyError") == 1


HOSTILE = "a\x1b[31mred\x1b]0;title\x07b\x9b2Jc\x1b[2J\x08\x7f\x00d\re\tf\ng\x1b"


def test_no_word_of_a_run_controls_the_terminal() -> None:
    call = {"tool_name": HOSTILE, "tool_call_id": "1", "arguments": {HOSTILE: HOSTILE}}
    run = events(
        ("execution_start", "START", {"metadata": {"graph": {"nodes": [{"id": HOSTILE}, {"id": "b"}]}}}),
        ("node_start", HOSTILE),
        ("reasoning_token", HOSTILE, {"content": HOSTILE, "metadata": {"block_id": "r"}}),
        ("tool_call_start", HOSTILE, {"metadata": call}),
        ("tool_call_complete", HOSTILE, {"output": HOSTILE, "metadata": {**call, "status": "ok"}}),
        *[token(sign, HOSTILE) for sign in HOSTILE * 3],
        ("source", HOSTILE, {"metadata": {"sources": [{"url": HOSTILE, "title": HOSTILE}]}}),
        ("file", HOSTILE, {"metadata": {"name": HOSTILE, "mime_type": HOSTILE, "content": ""}}),
        ("custom_data", HOSTILE, {"content": {"x": HOSTILE}, "metadata": {"data_type": HOSTILE}}),
        ("interrupt", HOSTILE, {"metadata": {"interrupt_id": "q", "message": HOSTILE, "kind": "approval"}}),
        ("node_error", HOSTILE, {"error": HOSTILE}),
        ("response_metadata", HOSTILE, {"metadata": {"usage": {"x": 1}, "model_id": HOSTILE}}),
        ("execution_error", "START", {"error": HOSTILE, "metadata": {"status": "failed"}}),
    )
    control = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
    for sizes in (lambda: 1, lambda: 2, lambda: 3, lambda: 7, lambda: 1000):
        assert not control.search(said(run, sizes))
        coloured = said(run, sizes, colour=True, width=60)
        assert "\x1b[2m" in coloured
        assert not control.search(OURS.sub("", coloured))


def test_the_line_that_is_replaced_has_room_on_the_screen() -> None:
    ask = {"interrupt_id": "q", "message": "漢" * 100, "kind": "approval"}
    transcript = Transcript(width=30)
    (line,) = filter(None, (transcript.feed([e]) for e in whole(("interrupt", "llm", {"metadata": ask}))[:3]))
    assert len(line) * 2 < 60
    assert transcript.pause() == "\r\x1b[K"
