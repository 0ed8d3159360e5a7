"""The Responses API: recorded streams through the real SDK, hand-written ones for every kind of item."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from chat_streams import calls as calls_of
from chat_streams import check_grammar, native, sources, sse, text, thoughts
from hypothesis import given
from hypothesis import strategies as st
from replay_server import Case, ReplayThread, load_cases, split_events
from support import Replay, streams

from mesh_nb.core import prices
from mesh_nb.core.compiled import CompiledGraph
from mesh_nb.core.errors import (
    AuthenticationError,
    ConfigurationError,
    IncompleteStreamError,
    InputError,
    NodeExecutionError,
    ProviderError,
    RateLimitError,
    StreamTimeoutError,
    UnknownNameError,
)
from mesh_nb.core.events import ExecutionEvent, encode
from mesh_nb.core.executor import Executor
from mesh_nb.core.graph import StateGraph
from mesh_nb.core.tools import Tool
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers._resolve import resolve
from mesh_nb.providers._responses_translate import Translator
from mesh_nb.providers._wire import Decoder
from mesh_nb.providers.openai_responses import plugin

_root = streams()
_cases: list[Any] = [c for c in load_cases(_root) if c.api == "responses"] if _root else []
_recorded = _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))]
RECORDED = pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "recorded streams")


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


async def ask(
    replay: Replay, model: str, **options: Any
) -> tuple[list[ExecutionEvent], ProviderError | None]:
    """All events of one call over HTTP, and the error that it ended with."""
    options = {"api_key": "sk-secret-1234", "max_retries": 0, **options}
    call = ModelCall(model, [{"role": "user", "content": "x"}], base_url=replay.base_url, **options)
    events: list[ExecutionEvent] = []
    try:
        async for event in plugin.stream(call):
            events.append(event)
    except ProviderError as error:
        return events, error
    return events, None


def calls(events: list[ExecutionEvent]) -> list[tuple[str, str, Any]]:
    """(id, name, parsed arguments) of each call for the client; the provider's stream arguments too."""
    theirs = {e.metadata["tool_call_id"] for e in events if e.metadata.get("executed_by") == "provider"}
    return calls_of([e for e in events if e.metadata.get("tool_call_id") not in theirs])


def hosted(events: list[ExecutionEvent]) -> list[ExecutionEvent]:
    """tool_call_complete of each tool that the provider ran; each has its start."""
    started = [
        e.metadata["tool_call_id"]
        for e in events
        if e.type == "tool_call_start" and e.metadata["executed_by"] == "provider"
    ]
    ended = [e for e in events if e.type == "tool_call_complete"]
    assert [e.metadata["tool_call_id"] for e in ended] == started
    assert {e.metadata["executed_by"] for e in ended} <= {"provider"}
    return ended


# ---- recorded streams
@pytest.mark.parametrize("split", [1, 7, 0], ids=["1 byte", "7 bytes", "whole"])
@RECORDED
async def test_recorded_stream_yields_exactly_its_facts(replay: Replay, case: Case, split: int) -> None:
    expect = case.expect
    model = f"{case.name}@split={split}" if split else f"{case.name}@join=100000"
    events, failure = await ask(replay, model)
    check_grammar(events, start=True)
    meta = events[-1].metadata

    assert digest(text(events)) == expect["text"]["sha256"]
    assert digest(thoughts(events)) == expect["reasoning"]["sha256"]
    refused = expect["refusal"]
    assert digest(text(events, "refusal")) == (refused["sha256"] if refused else digest(""))
    kinds = [e.metadata["kind"] for e in events if e.type == "reasoning_start"]
    thought = expect["reasoning"]
    assert kinds.count("summary") == thought["summary_parts"]
    assert kinds.count("full") == thought["raw_parts"]
    assert kinds.count("redacted") == (0 if thought["chars"] else thought["encrypted_items"])

    theirs = [c for c in expect["tool_calls"] if c["executed_by"] == "client"]
    assert calls(events) == [(c["id"], c["name"], c["arguments"]) for c in theirs]
    _check_hosted(events, [c for c in expect["tool_calls"] if c["executed_by"] == "provider"])
    _check_sources(events, expect["sources"])
    given = [e.metadata for e in events if e.type == "file"]
    files = [m for m in given if "content" in m]
    hashes = [hashlib.sha256(base64.b64decode(m["content"])).hexdigest() for m in files]
    assert hashes == [f["sha256"] for f in expect["files"]]
    assert [(m["mime_type"], m["size"]) for m in files] == [(f["mime"], f["bytes"]) for f in expect["files"]]
    cited = expect["sources"].get("file_citations") or []
    kept = [c["file_id"] for c in cited if c["type"] == "container_file_citation"]
    assert [m["file_id"] for m in given if "content" not in m] == kept

    assert meta["model_id"] == expect["model_id"]
    assert meta["message_id"] == expect["response_id"]
    assert meta["finish_reason"] == expect["finish"]
    assert meta["finish_reason_raw"] == expect["finish_reason"]
    names = {
        "prompt_tokens": "input_total",
        "completion_tokens": "output_total",
        "total_tokens": "total",
        "cached_tokens": "cached_input",
        "cache_write_tokens": "cache_write",
        "reasoning_tokens": "reasoning",
    }
    facts = {ours: expect["usage"].get(theirs) for ours, theirs in names.items()}
    facts["web_searches"] = sum(c["kind"] == "web_search_call" for c in expect["tool_calls"]) or None
    assert meta["usage"] == {k: v for k, v in facts.items() if v is not None}
    assert meta["usage_status"] == ("unknown" if expect["usage"].get("raw") is None else "reported")
    assert native(events) == []
    if expect["error"]:
        assert failure is not None
        assert expect["error"]["message"] in failure.message
        assert failure.details["message"] == expect["error"]["message"]
    else:
        assert failure is None
        assert expect["terminated"]


def _check_hosted(events: list[ExecutionEvent], expected: list[dict[str, Any]]) -> None:
    ended = [e for e in hosted(events) if e.metadata["tool_name"] != "mcp_list_tools"]
    assert [(e.metadata["tool_call_id"], e.metadata["tool_name"]) for e in ended] == [
        (c["id"], c["name"]) for c in expected
    ]
    for event, fact in zip(ended, expected, strict=True):
        arguments = event.metadata["arguments"]
        assert event.metadata["status"] == "ok"
        if "arguments" in fact:
            assert arguments == fact["arguments"]
        if "queries" in fact:
            assert (arguments.get("queries") or [arguments["query"]]) == fact["queries"]
        if "code_sha256" in fact:
            assert digest(arguments["code"]) == fact["code_sha256"]
            assert sum(len(o.get("logs", "")) for o in event.output) == fact["logs_chars"]
            assert sum(o["type"] == "image" for o in event.output) == fact["images"]
        if "output_chars" in fact:
            assert len(event.output) == fact["output_chars"]


def _check_sources(events: list[ExecutionEvent], expect: dict[str, Any]) -> None:
    cited = sources(events, "cited")
    linked = [s for s in cited if "url" in s]
    results = [s["url"] for s in sources(events, "result") if "url" in s]
    assert list(dict.fromkeys(s["url"] for s in linked)) == expect["cited_urls"]
    assert len(linked) == expect["citation_count"]
    assert list(dict.fromkeys(results)) == expect["result_urls"]
    filed = [(s["file_id"], s["title"]) for s in cited if "url" not in s]
    assert filed == [(f["file_id"], f["filename"]) for f in expect.get("file_citations", [])]
    for source, block in cited_blocks(events):
        # OpenAI writes the link into the answer; the offsets cover it.
        if "url" in source:
            assert source["url"] in block[source["start"] : source["end"]]


def cited_blocks(events: list[ExecutionEvent]) -> list[tuple[dict[str, Any], str]]:
    """Each cited source with the text block that it came after."""
    block, found, last = "", [], None
    for e in events:
        if e.type == "token":
            block = e.content if e.metadata["text_block_id"] != last else block + e.content
            last = e.metadata["text_block_id"]
        elif e.type == "source":
            found += [(s, block) for s in e.metadata["sources"] if s["kind"] == "cited"]
    return found


def test_recorded_responses_cases_are_all_found() -> None:
    if not _root:
        pytest.skip("no ../shared/provider-streams")
    assert len(_cases) == 14


@RECORDED
def test_every_prefix_of_a_recorded_stream_is_balanced(case: Case) -> None:
    pieces = split_events(case.body())
    whole = [json.loads(p.split(b"data: ", 1)[1]) for p in pieces if b"data: " in p]
    for end in range(0, len(whole) + 1, max(1, len(whole) // 60)):
        translator = Translator()
        events = [e for chunk in whole[:end] for e in translator.feed(chunk)]
        events += translator.finish()
        check_grammar(events)
        hosted(events)
        assert translator.terminated == (end == len(whole))


# ---- hand-written streams
SIZES = pytest.mark.parametrize("size", [1, 7, 0])


def read(body: bytes, size: int = 0, **options: Any) -> list[ExecutionEvent]:
    return read_all(body, size, **options)[0]


def read_all(body: bytes, size: int = 0, **options: Any) -> tuple[list[ExecutionEvent], Translator]:
    decoder, translator = Decoder(), Translator(**options)
    step, chunks = size or len(body) or 1, list[Any]()
    for i in range(0, len(body), step):
        chunks += decoder.feed(body[i : i + step])
    events = [e for chunk in [*chunks, *decoder.finish()] for e in translator.feed(chunk)]
    return events + translator.finish(), translator


def stream(*chunks: Any) -> bytes:
    return sse(*chunks, done=False)


def ev(kind: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": at, **fields}


def created(**fields: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "model": "m-2026", "status": "in_progress", **fields}
    return {"type": "response.created", "response": response}


def ended(status: str = "completed", **fields: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "model": "m-2026", "status": status, **fields}
    return {"type": f"response.{status}", "response": response}


def say(delta: str, at: int = 0, part: int = 0) -> dict[str, Any]:
    return ev("output_text.delta", at, content_index=part, delta=delta)


def item(done: bool, at: int, kind: str, **fields: Any) -> dict[str, Any]:
    return ev(f"output_item.{'done' if done else 'added'}", at, item={"type": kind, **fields})


def message(at: int, words: str, **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": words, "annotations": []}
    return item(True, at, "message", id=f"msg_{at}", role="assistant", content=[part], **fields)


def cite(start: int, end: int, at: int = 0, part: int = 0, url: str = "https://a") -> dict[str, Any]:
    note = {"type": "url_citation", "url": url, "title": "A", "start_index": start, "end_index": end}
    return ev("output_text.annotation.added", at, content_index=part, annotation=note)


def state(events: list[ExecutionEvent]) -> Any:
    return events[-1].metadata.get("provider_state")


@SIZES
def test_text_and_usage(size: int) -> None:
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 13,
    }
    body = stream(
        created(),
        item(False, 0, "message", id="msg_0", content=[]),
        say("Grüße "),
        say("🙂"),
        ev("output_text.done", content_index=0, text="Grüße 🙂"),
        message(0, "Grüße 🙂"),
        ended(usage=usage, output=[{"type": "message", "content": [{"type": "output_text", "text": "x"}]}]),
    )
    events = read(body, size)
    check_grammar(events)
    kinds = ["message_start", "token", "token", "message_complete", "response_metadata"]
    assert [str(e.type) for e in events] == kinds
    assert text(events) == "Grüße 🙂"
    assert events[-2].metadata == {"finish_reason": "stop", "message_id": "resp_1"}
    meta = events[-1].metadata
    assert meta["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "cached_tokens": 3,
        "cache_write_tokens": 2,
        "reasoning_tokens": 1,
    }
    assert (meta["model_id"], meta["finish_reason_raw"], meta["usage_status"]) == (
        "m-2026",
        "completed",
        "reported",
    )
    assert "provider_state" not in meta


@pytest.mark.parametrize("usage", [None, {}, "none", {"input_tokens": None, "input_tokens_details": []}])
def test_usage_that_says_nothing_is_unknown_and_never_zero(usage: Any) -> None:
    meta = read(stream(created(), say("x"), ended(usage=usage)))[-1].metadata
    assert (meta["usage"], meta["usage_status"], "cost_usd" in meta) == ({}, "unknown", False)


def test_a_cost_on_the_wire_is_kept() -> None:
    meta = read(stream(created(), ended(usage={"input_tokens": 1, "output_tokens": 2, "cost": 0.5})))[
        -1
    ].metadata
    assert (meta["cost_usd"], meta["cost_source"], meta["usage"]["total_tokens"]) == (0.5, "wire", 3)


def test_words_that_come_only_as_a_whole_are_not_lost_and_never_come_twice() -> None:
    whole = ev("output_text.done", content_index=0, text="Hello")
    for chunks in (
        [say("Hel"), whole],
        [whole, whole],
        [say("Hel"), say("lo"), whole],
        [message(0, "Hello")],
    ):
        events = read(stream(created(), *chunks, message(0, "Hello"), ended()))
        check_grammar(events)
        assert text(events) == "Hello"
    differs = read(stream(created(), say("Hi"), whole, ended()))
    assert text(differs) == "Hi"


def test_a_whole_response_from_a_server_that_does_not_stream() -> None:
    response = {
        "object": "response",
        "id": "resp_1",
        "model": "m",
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "message", "content": [{"type": "output_text", "text": "All at once."}]},
            {"type": "function_call", "call_id": "x", "name": "f", "arguments": '{"a": 1}'},
        ],
    }
    events, translator = read_all(json.dumps(response, indent=1).encode())
    check_grammar(events)
    assert (thoughts(events), text(events)) == ("Hm.", "All at once.")
    assert calls(events) == [("x", "f", {"a": 1})]
    assert translator.terminated


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_think_tags_split_anywhere(cuts: list[int]) -> None:
    whole, said, at = "\n<think>\nA < b and </thin> c\n</think>\n\nThe <think> tag.", list[str](), 0
    for cut in cuts:
        said.append(whole[at : at + cut])
        at += cut
    said.append(whole[at:])
    events = read(stream(created(), *(say(s) for s in said if s), message(0, whole), ended()))
    check_grammar(events)
    assert thoughts(events) == "\nA < b and </thin> c\n"
    assert text(events) == "The <think> tag."


def test_think_tags_that_never_close_or_are_turned_off() -> None:
    open_end = [created(), say("<think>Hm"), ended("incomplete")]
    assert (thoughts(read(stream(*open_end))), text(read(stream(*open_end)))) == ("Hm", "")
    events = read(stream(created(), say("<think>Hm</think>"), ended()), think_tags=False)
    assert (thoughts(events), text(events)) == ("", "<think>Hm</think>")
    cut = [created(), say("<thi"), item(False, 1, "web_search_call", id="ws")]
    assert text(read(stream(*cut))) == "<thi"


@SIZES
def test_refusal_is_told_by_its_subtype(size: int) -> None:
    body = stream(
        created(),
        ev("refusal.delta", content_index=0, delta="I'm "),
        ev("refusal.delta", content_index=0, delta="sorry."),
        ev("refusal.done", content_index=0, refusal="I'm sorry."),
        ended(),
    )
    events = read(body, size)
    check_grammar(events)
    assert (text(events), text(events, "refusal")) == ("", "I'm sorry.")
    assert events[-1].metadata["finish_reason"] == "refusal"


@SIZES
def test_reasoning_full_summary_and_encrypted(size: int) -> None:
    def summary(place: int, words: str) -> list[Any]:
        return [
            ev(
                "reasoning_summary_part.added", summary_index=place, part={"type": "summary_text", "text": ""}
            ),
            ev("reasoning_summary_text.delta", summary_index=place, delta=words),
            ev("reasoning_summary_text.done", summary_index=place, text=words),
            ev(
                "reasoning_summary_part.done",
                summary_index=place,
                part={"type": "summary_text", "text": words},
            ),
        ]

    parts = [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]
    body = stream(
        created(),
        item(False, 0, "reasoning", id="rs_0", summary=[]),
        *summary(0, "One."),
        *summary(1, "Two."),
        item(True, 0, "reasoning", id="rs_0", summary=parts, encrypted_content="abc"),
        ev("reasoning_text.delta", 1, content_index=0, delta="Raw."),
        item(True, 1, "reasoning", id="rs_1", content=[{"type": "reasoning_text", "text": "Raw."}]),
        item(False, 2, "reasoning", id="rs_2", summary=[], encrypted_content="x"),
        item(True, 2, "reasoning", id="rs_2", summary=[], encrypted_content="xyz"),
        say("Yes.", 3),
        message(3, "Yes.", phase="final_answer"),
        ended(),
    )
    events = read(body, size)
    check_grammar(events)
    assert (thoughts(events), text(events)) == ("One.Two.Raw.", "Yes.")
    kinds = [e.metadata["kind"] for e in events if e.type == "reasoning_start"]
    assert kinds == ["summary", "summary", "full", "redacted"]
    items = state(events)["output_items"]
    assert [i.get("encrypted_content") for i in items] == ["abc", None, "xyz", None]
    assert items[3]["phase"] == "final_answer"


@SIZES
def test_parallel_calls_interleaved(size: int) -> None:
    def call(done: bool, at: int, id: str, name: str, arguments: str) -> dict[str, Any]:
        return item(done, at, "function_call", id=f"fc_{id}", call_id=id, name=name, arguments=arguments)

    body = stream(
        created(),
        call(False, 0, "a", "get", ""),
        call(False, 1, "b", "set", ""),
        ev("function_call_arguments.delta", 1, delta='{"x"', item_id="changes"),
        ev("function_call_arguments.delta", 0, delta='{"city": "Ber'),
        ev("function_call_arguments.delta", 0, delta='lin"}', item_id="every time"),
        ev("function_call_arguments.done", 0, arguments='{"city": "Berlin"}'),
        call(True, 0, "a", "get", '{"city": "Berlin"}'),
        ev("function_call_arguments.delta", 1, delta=": 1}"),
        call(True, 1, "b", "set", '{"x": 1}'),
        call(True, 2, "c", "no_deltas", '{"y": 2}'),
        call(True, 3, "d", "none", ""),
        ended(),
    )
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == [
        ("a", "get", {"city": "Berlin"}),
        ("b", "set", {"x": 1}),
        ("c", "no_deltas", {"y": 2}),
        ("d", "none", {}),
    ]
    kinds = {str(e.type) for e in events}
    assert kinds == {"tool_call_start", "tool_call_delta", "response_metadata"}
    assert events[-1].metadata["finish_reason"] == "tool_calls"
    assert state(events) is None


@SIZES
def test_a_custom_tools_text_becomes_one_argument(size: int) -> None:
    said = 'print("ä\n")'
    body = stream(
        created(),
        item(False, 0, "custom_tool_call", call_id="a", name="run", input=""),
        *(ev("custom_tool_call_input.delta", delta=c) for c in said),
        ev("custom_tool_call_input.done", input=said),
        item(True, 0, "custom_tool_call", call_id="a", name="run", input=said),
        ended(),
    )
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == [("a", "run", {"input": said})]
    assert state(events)["output_items"][0]["input"] == said


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("local_shell_call", {"action": {"command": ["ls"]}}, ("local_shell", {"command": ["ls"]})),
        ("shell_call", {"action": {"commands": ["ls"]}}, ("shell", {"commands": ["ls"]})),
        ("apply_patch_call", {"operation": {"path": "a"}}, ("apply_patch", {"path": "a"})),
        ("computer_call", {"action": {"type": "wait"}}, ("computer", {"action": {"type": "wait"}})),
        ("tool_search_call", {"execution": "client", "arguments": {"q": 1}}, ("tool_search", {"q": 1})),
    ],
)
def test_other_calls_for_the_client(kind: str, fields: Any, expected: Any) -> None:
    events = read(stream(created(), item(True, 0, kind, call_id="a", id="i", **fields), ended()))
    check_grammar(events)
    assert [(name, arguments) for _, name, arguments in calls(events)] == [expected]
    assert events[-1].metadata["finish_reason"] == "tool_calls"
    assert not hosted(events)


@SIZES
def test_a_request_for_approval_is_a_call_of_the_providers(size: int) -> None:
    fields = {"id": "mcpr_1", "name": "rm", "server_label": "files", "arguments": '{"a": 1}'}
    body = stream(created(), item(True, 0, "mcp_approval_request", **fields), ended())
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == []
    [asked] = [e.metadata for e in events if e.type == "tool_call_start"]
    assert asked == {
        "tool_name": "rm",
        "tool_call_id": "mcpr_1",
        "executed_by": "provider",
        "needs_approval": True,
    }
    assert events[-1].metadata["finish_reason"] == "tool_calls"


def test_web_searches_are_counted_because_they_are_billed() -> None:
    def found(at: int, action: Any, status: str = "completed") -> dict[str, Any]:
        return item(True, at, "web_search_call", id=f"ws{at}", status=status, action=action)

    search, page = {"type": "search", "query": "q"}, {"type": "open_page", "url": "https://r"}
    searches = [
        found(0, search),
        found(1, search),
        found(1, search),
        found(2, page),
        found(3, search, "failed"),
    ]
    counts = {"input_tokens": 1000, "output_tokens": 100}
    usage = read(stream(created(), *searches, ended(usage=counts)))[-1].metadata["usage"]
    assert usage["web_searches"] == 2
    assert "web_searches" not in read(stream(created(), ended(usage=counts)))[-1].metadata["usage"]
    assert read(stream(created(), *searches, ended()))[-1].metadata["usage"] == {}
    call = {"provider": "openai", "model_id": "gpt-5", "usage": usage}
    with_them = prices.price_now(call)
    without = prices.price_now({**call, "usage": {**usage, "web_searches": 0}})
    assert with_them is not None
    assert without is not None
    assert with_them.usd - without.usd == pytest.approx(0.02)


@SIZES
def test_tools_that_the_provider_runs(size: int) -> None:
    search = {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://r"}]}
    found = [{"file_id": "f1", "filename": "a.txt", "text": "words", "score": 0.5}]
    failed = {"type": "http_error", "code": 500, "message": "down"}
    png = base64.b64encode(b"\x89PNG").decode()
    outputs = [{"type": "logs", "logs": "1"}, {"type": "image", "url": f"data:image/png;base64,{png}"}]
    body = stream(
        created(),
        item(False, 0, "web_search_call", id="ws", status="in_progress"),
        ev("web_search_call.searching", 0),
        item(True, 0, "web_search_call", id="ws", status="completed", action=search),
        item(True, 1, "file_search_call", id="fs", status="completed", queries=["q"], results=found),
        item(False, 2, "code_interpreter_call", id="ci", code="", outputs=[]),
        ev("code_interpreter_call_code.delta", 2, delta='x = "'),
        ev("code_interpreter_call_code.delta", 2, delta='"\n'),
        ev("code_interpreter_call_code.done", 2, code='x = ""\n'),
        item(True, 2, "code_interpreter_call", id="ci", status="completed", code='x = ""\n', outputs=outputs),
        item(True, 3, "mcp_list_tools", id="ml", server_label="s", tools=[{"name": "f"}]),
        item(False, 4, "mcp_call", id="mc", name="f", arguments=""),
        ev("mcp_call_arguments.delta", 4, delta='{"a": 1}'),
        item(True, 4, "mcp_call", id="mc", name="f", arguments='{"a": 1}', output=None, error=failed),
        item(True, 5, "image_generation_call", id="ig", status="completed", revised_prompt="p", result=png),
        item(True, 6, "hologram_call", id="ho", status="failed", arguments="{}"),
        ended(),
    )
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == []
    assert events[-1].metadata["finish_reason"] == "stop"
    told = [(e.metadata["tool_name"], e.metadata["arguments"], e.output) for e in hosted(events)]
    assert told == [
        ("web_search", {"type": "search", "query": "q"}, [{"type": "url", "url": "https://r"}]),
        ("file_search", {"queries": ["q"]}, found),
        (
            "code_interpreter",
            {"code": 'x = ""\n'},
            [{"type": "logs", "logs": "1"}, {"type": "image", "mime_type": "image/png"}],
        ),
        ("mcp_list_tools", {"server_label": "s"}, [{"name": "f"}]),
        ("f", {"a": 1}, None),
        ("image_generation", {"revised_prompt": "p"}, None),
        ("hologram", {"arguments": "{}"}, None),
    ]
    assert [e.metadata["status"] for e in hosted(events)] == ["ok"] * 4 + ["error", "ok", "error"]
    assert hosted(events)[4].error == "down"
    code = [e.content for e in events if e.type == "tool_call_delta" and e.metadata["tool_call_id"] == "ci"]
    assert json.loads("".join(code)) == {"code": 'x = ""\n'}
    assert sources(events, "result") == [
        {"kind": "result", "url": "https://r"},
        {"kind": "result", "file_id": "f1", "title": "a.txt", "cited_text": "words"},
    ]
    files = [(e.metadata["name"], e.metadata["size"]) for e in events if e.type == "file"]
    assert files == [("image-1.png", 4), ("image-2.png", 4)]
    kept = json.dumps(state(events))
    assert png not in kept
    assert '"logs": "1"' in kept


def test_a_hosted_tool_whose_result_is_an_item_of_its_own() -> None:
    home = {"type": "container_reference", "container_id": "c"}
    result = [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    body = stream(
        created(),
        item(True, 0, "shell_call", id="sh", call_id="1", action={"commands": ["ls"]}, environment=home),
        item(True, 1, "program", id="pr", call_id="2", code="run()"),
        item(True, 2, "program_output", call_id="2", result="ok", status="completed"),
        item(True, 3, "shell_call_output", call_id="1", output=result, status="completed"),
        item(True, 4, "shell_call_output", call_id="9", output=[]),
        ended(),
    )
    events = read(body)
    check_grammar(events)
    ends = {e.metadata["tool_call_id"]: e for e in events if e.type == "tool_call_complete"}
    assert (ends["sh"].output, ends["sh"].metadata["arguments"]) == (result, {"commands": ["ls"]})
    assert (ends["pr"].output, ends["pr"].metadata["arguments"]) == ("ok", {"code": "run()"})
    assert [n["item"]["call_id"] for n in native(events)] == ["9"]


def test_a_hosted_tool_that_never_ended_is_closed() -> None:
    events = read(stream(created(), item(False, 0, "web_search_call", id="ws", status="in_progress")))
    check_grammar(events)
    [end] = hosted(events)
    assert end.metadata["status"] == "cancelled"


def test_images_of_unknown_form_are_passed_on() -> None:
    odd = item(True, 0, "image_generation_call", id="ig", result="not base64!", output_format="webp")
    svg = base64.b64encode(b"<svg/>").decode()
    drawn = item(True, 1, "image_generation_call", id="sv", result=svg, output_format="svg")
    events = read(stream(created(), odd, drawn, ended()))
    check_grammar(events)
    assert [e.metadata["mime_type"] for e in events if e.type == "file"] == ["image/svg+xml"]
    assert len(native(events)) == 1


@SIZES
def test_offsets_of_citations_count_code_points_of_their_text_block(size: int) -> None:
    body = stream(
        created(),
        say("Ich suche… 🙂 ", 0),
        message(0, "Ich suche… 🙂 ", phase="commentary"),
        item(True, 1, "web_search_call", id="ws", action={"type": "search"}),
        say("🙂 Paris", 2, 0),
        cite(2, 7, 2, 0),
        cite(2, 7, 2, 0),
        say("Rom", 2, 1),
        cite(0, 3, 2, 1, "https://b"),
        cite(0, 0, 2, 1, "https://c"),
        ended(),
    )
    events = read(body, size)
    check_grammar(events)
    cited = sources(events, "cited")
    assert [s["url"] for s in cited] == ["https://a", "https://b", "https://c"]
    marked = [block[s["start"] : s["end"]] for s, block in cited_blocks(events) if "start" in s]
    assert marked == ["Paris", "Rom"]
    assert cited[0]["offset_unit"] == "code_point"
    assert "start" not in cited[2]


def test_citations_of_files_and_those_that_come_with_the_item() -> None:
    notes = [
        {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 3},
        {
            "type": "container_file_citation",
            "file_id": "g",
            "container_id": "c",
            "filename": "b.png",
            "start_index": 1,
            "end_index": 2,
        },
        {"type": "file_path", "file_id": "h", "index": 0},
    ]
    part = {"type": "output_text", "text": "abc", "annotations": notes}
    added = ev("output_text.annotation.added", content_index=0, annotation=notes[0])
    unknown = ev("output_text.annotation.added", content_index=0, annotation={"type": "hologram"})
    done = item(True, 0, "message", content=[part])
    events = read(stream(created(), say("abc"), added, unknown, done, ended()))
    place = {"kind": "cited", "offset_unit": "code_point"}
    assert sources(events, "cited") == [
        {**place, "file_id": "f", "title": "a.txt", "start": 3, "end": 3},
        {**place, "file_id": "g", "container_id": "c", "title": "b.png", "start": 1, "end": 2},
        {**place, "file_id": "h", "title": "h", "start": 0, "end": 0},
    ]
    assert native(events) == [unknown]


@pytest.mark.parametrize(
    ("reason", "common"),
    [
        ("max_output_tokens", "length"),
        ("content_filter", "content_filter"),
        ("steered", "steered"),
        (None, "length"),
    ],
)
def test_incomplete_says_why(reason: str | None, common: str) -> None:
    details = {"reason": reason} if reason else None
    events, translator = read_all(
        stream(created(), say("so far"), ended("incomplete", incomplete_details=details))
    )
    check_grammar(events)
    meta = events[-1].metadata
    assert (meta["finish_reason"], meta["finish_reason_raw"]) == (common, "incomplete")
    assert translator.terminated
    assert translator.error is None


_SAID = {"code": "server_error", "message": "The model died."}


@pytest.mark.parametrize(
    "chunks",
    [
        [{"type": "error", "sequence_number": 2, **_SAID, "param": None}],
        [{"type": "error", "error": {"type": "server_error", **_SAID}}],
        ['event: error\ndata: {"type": "error", "code": "server_error", "message": "The model died."}\n\n'],
        [{"error": _SAID}],
        [ended("failed", error=_SAID, usage={"input_tokens": 3, "output_tokens": 1})],
        [
            {"type": "error", "error": {"type": "server_error", **_SAID}},
            ended("failed", error=_SAID, usage={"input_tokens": 3, "output_tokens": 1}),
        ],
    ],
    ids=["flat", "nested", "named event", "bare", "failed", "error, then failed"],
)
@SIZES
def test_errors_inside_the_stream(size: int, chunks: list[Any]) -> None:
    events, translator = read_all(stream(created(), say("so far"), *chunks), size)
    check_grammar(events)
    assert text(events) == "so far"
    assert translator.error is not None
    assert (translator.error["code"], translator.error["message"]) == ("server_error", "The model died.")
    assert translator.error.get("type") != "error"
    meta = events[-1].metadata
    assert meta["finish_reason"] == "error"
    failed = chunks[-1] == ended("failed", error=_SAID, usage={"input_tokens": 3, "output_tokens": 1})
    assert translator.expects_more is not failed
    assert meta["usage"].get("total_tokens") == (4 if failed else None)


def test_two_responses_in_one_body_are_read_in_turn() -> None:
    def call(done: bool, id: str, arguments: str) -> dict[str, Any]:
        return item(done, 1, "function_call", call_id=id, name="f", arguments=arguments)

    whole = ev("output_text.done", content_index=0, text="and on")
    body = stream(
        *[created(), say("and "), call(False, "x", "")],
        *[created(), whole, call(False, "y", ""), call(True, "y", '{"a": 1}'), ended()],
    )
    events = read(body)
    check_grammar(events)
    assert text(events) == "and and on"
    assert calls(events) == [("x", "f", {}), ("y", "f", {"a": 1})]


def test_unknown_kinds_are_passed_on_and_known_progress_is_not() -> None:
    odd = {"type": "response.hologram.delta", "delta": "x"}
    thing = item(True, 0, "hologram", id="h")
    compacting = {"type": "response.compaction.compacting"}
    quiet = [
        {"type": "keepalive"},
        {"type": "response.in_progress", "response": {}},
        ev("image_generation_call.partial_image", partial_image_b64="QUJD"),
        ev("content_part.added", part={"type": "output_text", "text": ""}),
    ]
    chunks = [created(), *quiet, odd, thing, compacting, [1], {"hello": 1}]
    assert native(read(stream(*chunks, ended()))) == [odd, thing, compacting, [1], {"hello": 1}]
    assert native(read(stream(*chunks, ended()), native=True)) == []


@SIZES
def test_surrogate_pairs_cut_between_deltas(size: int) -> None:
    def raw(kind: str, delta: str, at: int = 0) -> str:
        head = f'data: {{"type":"response.{kind}.delta","output_index":{at},"content_index":0'
        return f'{head},"delta":"{delta}"}}\n\n'

    body = stream(
        raw("output_text", "a\\ud83d"),
        raw("output_text", "\\ude00b\\ud83d"),
        cite(0, 3),
        raw("reasoning_text", "\\ud83d"),
        item(False, 1, "function_call", call_id="x", name="f"),
        ev("function_call_arguments.delta", 1, delta='{"a":"'),
        raw("function_call_arguments", "\\ud83d", 1),
        raw("function_call_arguments", '\\ude00\\"}', 1),
    )
    events = read(body, size)
    check_grammar(events)
    assert text(events) == "a😀b\ufffd"
    assert thoughts(events) == "\ufffd"
    assert calls(events) == [("x", "f", {"a": "😀"})]
    for event in events:
        encode(event).decode()


pieces = st.lists(
    st.sampled_from(
        [
            created(),
            say("word "),
            say("two ", 1, 1),
            say("\ud83d"),
            say("<think>a", 5),
            say("b</think>c", 5),
            ev("refusal.delta", content_index=0, delta="no "),
            ev("reasoning_text.delta", content_index=0, delta="hm "),
            ev("reasoning_summary_text.delta", summary_index=1, delta="so "),
            ev("reasoning_summary_text.done", summary_index=1, text="so on "),
            item(True, 0, "reasoning", id="rs", encrypted_content="x"),
            item(False, 2, "function_call", id="fc", call_id="a", name="f", arguments=""),
            ev("function_call_arguments.delta", 2, delta="{"),
            item(True, 2, "function_call", id="fc", call_id="a", name="f", arguments="{}"),
            item(False, 3, "code_interpreter_call", id="ci"),
            ev("code_interpreter_call_code.delta", 3, delta='"'),
            item(True, 3, "code_interpreter_call", id="ci", code='"', outputs=[]),
            item(True, 3, "shell_call", id="sh", call_id="s", environment={"type": "container_reference"}),
            item(True, 4, "shell_call_output", call_id="s", output=[]),
            cite(0, 2),
            message(0, "word two"),
            {"type": "error", "message": "x"},
            ended(),
            ended("failed"),
        ]
    ),
    max_size=25,
)


@given(pieces)
def test_every_prefix_of_every_stream_is_balanced(chunks: list[Any]) -> None:
    for end in range(len(chunks) + 1):
        events = read(stream(*chunks[:end]))
        check_grammar(events)
        starts = [
            e for e in events if e.type == "tool_call_start" and e.metadata["executed_by"] == "provider"
        ]
        assert len(starts) == sum(e.type == "tool_call_complete" for e in events)


_KEYS = ["response", "item", "part", "annotation", "delta", "text", "output_index", "content_index", "error"]
_FIELDS = ["id", "call_id", "name", "arguments", "action", "outputs", "content", "summary", "usage", "url"]
_TYPES = [
    "response.output_item.added",
    "response.output_item.done",
    "response.completed",
    "error",
    "response.output_text.annotation.added",
    "response.content_part.done",
    "response.function_call_arguments.done",
    "response.reasoning_text.done",
    "message",
    "reasoning",
    "function_call",
    "web_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "output_text",
    "url_citation",
]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(_TYPES),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(_KEYS + _FIELDS), x)
            | st.tuples(st.sampled_from(_TYPES), st.dictionaries(st.sampled_from(_KEYS + _FIELDS), x)).map(
                lambda pair: {**pair[1], "type": pair[0]}
            )
        ),
        max_leaves=15,
    )
)
def test_no_chunk_of_any_shape_breaks_the_translator(chunk: Any) -> None:
    events = read(stream(say("a", 9), chunk, say("b", 9)))
    check_grammar(events)
    assert text(events).startswith("a")


# ---- faults, over HTTP
def no_key(error: ProviderError | None, events: list[ExecutionEvent]) -> ProviderError:
    assert error is not None
    assert "sk-secret" not in repr(error) + str(error) + "".join(encode(e).decode() for e in events)
    return error


@pytest.mark.parametrize(
    ("fault", "made", "says"),
    [
        ("drop_event=10", IncompleteStreamError, "connection broke"),
        ("cut_event=10", IncompleteStreamError, "before it was complete"),
        ("stall=60,stall_at=10", StreamTimeoutError, "Nothing arrived"),
        ("malformed=10", ProviderError, "not JSON"),
        ("error=10", ProviderError, "had an error while processing"),
    ],
    ids=["drop", "clean cut", "stall", "malformed", "error"],
)
async def test_a_fault_in_the_middle_keeps_what_had_arrived(
    replay: Replay, fault: str, made: type[ProviderError], says: str
) -> None:
    events, error = await ask(replay, f"synthetic-30@{fault}", idle_timeout=0.5, max_retries=2)
    check_grammar(events, start=True)
    assert text(events) == "".join(f"tok{i} " for i in range(6))
    assert isinstance(no_key(error, events), made)
    assert says in str(error)
    assert events[-1].metadata["usage_status"] == "unknown"
    assert replay.stats["requests"] == 1


@pytest.mark.parametrize(
    ("status", "made"), [(401, AuthenticationError), (429, RateLimitError), (500, ProviderError)]
)
async def test_a_refused_request_says_who_refused(
    replay: Replay, status: int, made: type[ProviderError]
) -> None:
    events, error = await ask(replay, f"synthetic-3@fail=-1,status={status}")
    check_grammar(events, start=True)
    assert isinstance(no_key(error, events), made)
    assert error is not None
    assert (error.status, error.provider, error.request_id) == (status, "openai", "req_replay_1")


async def test_a_request_is_sent_again_before_its_first_event(replay: Replay) -> None:
    events, error = await ask(replay, "synthetic-3@fail=2,status=429,retry_after=0", max_retries=2)
    check_grammar(events, start=True)
    assert error is None
    assert text(events) == "tok0 tok1 tok2 "
    assert replay.stats["requests"] == 3


async def test_an_error_that_is_followed_by_nothing_ends_all_the_same(replay: Replay) -> None:
    async with asyncio.timeout(60):
        events, error = await ask(replay, "synthetic-30@error=10,keepopen=9999", idle_timeout=9999)
    assert "had an error while processing" in str(no_key(error, events))


@pytest.mark.parametrize("pace", ["delay=0.05", "join=99"], ids=["apart", "in one read"])
async def test_the_usage_that_follows_an_error_is_read(tmp_path: Path, pace: str) -> None:
    failed = ended("failed", error=_SAID, usage={"input_tokens": 3, "output_tokens": 1})
    (tmp_path / "body.sse").write_bytes(
        stream(created(), say("so"), {"type": "error", "error": _SAID}, failed)
    )
    (tmp_path / "meta.json").write_text(json.dumps({"provider": "p", "api": "responses"}))
    thread = ReplayThread(tmp_path)
    with thread as url:
        events, error = await ask(Replay(thread, url), f"p/{tmp_path.name}@{pace}")
    assert "The model died" in str(no_key(error, events))
    assert text(events) == "so"
    meta = events[-1].metadata
    assert (meta["usage"]["total_tokens"], meta["finish_reason_raw"]) == (4, "failed")


async def test_no_connection_is_said(unused_port: str) -> None:
    call = ModelCall(
        "m", [{"role": "user", "content": "x"}], base_url=unused_port, api_key="x", max_retries=0
    )
    with pytest.raises(ProviderError, match="could not be reached"):
        _ = [event async for event in plugin.stream(call)]


@pytest.fixture
def unused_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


async def test_native_chunks_are_delivered_too(replay: Replay) -> None:
    events, _ = await ask(replay, "synthetic-3", native=True)
    check_grammar(events, start=True)
    assert [e.metadata["native"]["delta"] for e in events if e.type == "token"] == ["tok0 ", "tok1 ", "tok2 "]
    assert native(events)[0]["type"] == "response.created"


async def test_a_client_of_ones_own_is_used_as_it_is(replay: Replay) -> None:
    import openai

    async with openai.AsyncOpenAI(base_url=replay.base_url, api_key="x") as client:
        call = ModelCall("synthetic-3", [{"role": "user", "content": "x"}], client=client)
        plugin.check(call)
        events = [event async for event in plugin.stream(call)]
    assert text(events) == "tok0 tok1 tok2 "
    assert replay.requests[-1]["path"].endswith("/responses")


# ---- in a graph
def graph_of(replay: Replay, model: str, **options: Any) -> CompiledGraph:
    graph = StateGraph()
    options = {"api": "responses", "base_url": replay.base_url, "api_key": "x", "max_retries": 0, **options}
    graph.add_node("llm", None, node_type="llm", model=model, **options)
    graph.add_edge("START", "llm")
    graph.add_edge("llm", "END")
    return graph.compile()


def get_item(index: int, name: str) -> str:
    """Look an item up."""
    return f"{index}: {name}"


async def test_tool_loop(replay: Replay) -> None:
    model = "synthetic-5-r2-t2+synthetic-9"
    graph = graph_of(replay, model, tools=[get_item], reasoning="low", system_prompt="Look things up.")
    events = [e async for e in Executor(graph).execute("find it")]
    assert text(events).endswith("".join(f"tok{i} " for i in range(9)))
    done = [(e.output, e.metadata["status"]) for e in events if e.type == "tool_call_complete"]
    assert sorted(done) == [("0: item 0", "ok"), ("1: item 1", "ok")]
    assert [e.metadata["finish_reason"] for e in events if e.type == "step_complete"] == [
        "tool_calls",
        "stop",
    ]
    first, second = (r["body"] for r in replay.requests)
    assert first["input"] == [{"role": "user", "content": "find it"}]
    assert first["instructions"] == second["instructions"] == "Look things up."
    assert [i.get("type", i.get("role")) for i in second["input"]] == [
        "user",
        "message",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]
    assert second["input"][4] == {"type": "function_call_output", "call_id": "call_0", "output": "0: item 0"}


async def test_a_failing_call_ends_the_node_once(replay: Replay) -> None:
    events: list[ExecutionEvent] = []

    async def run() -> None:
        async for event in Executor(graph_of(replay, "synthetic-9@cut_event=8")).execute("x"):
            events.append(event)

    with pytest.raises(NodeExecutionError, match="before it was complete"):
        await run()
    kinds = [str(e.type) for e in events]
    assert kinds.count("node_error") == kinds.count("response_metadata") == 1
    assert text(events) == "tok0 tok1 tok2 tok3 "


# ---- the request
USER: list[Any] = [{"role": "user", "content": "hi"}]


def body_of(model: str = "gpt-4o", messages: list[Any] = USER, **options: Any) -> dict[str, Any]:
    return plugin.request(ModelCall(model, messages, **options))


def test_request_holds_only_what_was_asked_for() -> None:
    assert body_of(system="Be brief.") == {
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "hi"}],
        "instructions": "Be brief.",
        "stream": True,
        "store": False,
    }
    assert body_of(messages=[], system="Go.")["input"] == [{"role": "developer", "content": "Go."}]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gpt-5", True),
        ("gpt-5.5-mini", True),
        ("o3-mini", True),
        ("gpt-oss-120b", True),
        ("gpt-4o", False),
        ("gpt-4.1", False),
        ("gpt-35-turbo", False),
        ("gpt-5-chat-latest", False),
        ("my-deployment", False),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_reason(model: str, asked: bool) -> None:
    assert ("reasoning.encrypted_content" in body_of(model).get("include", [])) is asked
    assert "reasoning.encrypted_content" in body_of(model, reasoning="low")["include"]


def test_request_settings_and_their_names() -> None:
    body = body_of(
        tools=[Tool.from_function(get_item)],
        tool_choice="get_item",
        temperature=0.0,
        max_tokens=50,
        reasoning="low",
        output_schema={"type": "object"},
        extra={"top_p": 0.5, "store": None, "include": ["message.output_text.logprobs"]},
    )
    assert (body["max_output_tokens"], body["temperature"], body["top_p"]) == (50, 0.0, 0.5)
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    assert "store" not in body
    assert body["tool_choice"] == {"type": "function", "name": "get_item"}
    [described] = body["tools"]
    assert (described["type"], described["name"], described["strict"]) == ("function", "get_item", False)
    assert set(described["parameters"]["properties"]) == {"index", "name"}
    assert body["text"]["format"]["schema"] == {"type": "object"}
    assert body_of(reasoning={"effort": "high"})["reasoning"] == {"effort": "high"}


def test_tools_of_openais_own_go_out_by_name() -> None:
    body = body_of(
        builtin_tools=["web_search", "code_interpreter", "image_generation"], tool_choice="web_search"
    )
    assert body["tools"] == [
        {"type": "web_search"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "image_generation"},
    ]
    assert body["tool_choice"] == {"type": "web_search"}
    assert body["include"] == ["web_search_call.action.sources", "code_interpreter_call.outputs"]
    files = {"type": "file_search", "vector_store_ids": ["vs_1"]}
    extra = {"tools": [files]}
    body = body_of(tools=[Tool.from_function(get_item)], builtin_tools=["file_search"], extra=extra)
    assert [t["type"] for t in body["tools"]] == ["function", "file_search"]
    assert body["tools"][1] == files
    assert body["include"] == ["file_search_call.results"]
    assert extra == {"tools": [files]}
    with pytest.raises(InputError, match="vector_store_ids"):
        body_of(builtin_tools=["file_search"])
    with pytest.raises(UnknownNameError, match="Did you mean 'web_search'"):
        body_of(builtin_tools=["web_serch"])


def file(name: str, mime: str, data: bytes = b"data") -> dict[str, Any]:
    return {"type": "file", "name": name, "mime_type": mime, "data": data}


def test_request_parts_of_a_message() -> None:
    remote = {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}}
    wire = {"type": "input_file", "file_id": "file-1"}
    parts = [
        {"type": "text", "text": "see"},
        file("a.png", "image/png"),
        file("a.pdf", "application/pdf"),
        file("a.csv", "text/csv", b"1,2"),
        remote,
        wire,
    ]
    [sent] = body_of(messages=[{"role": "user", "content": parts}])["input"]
    assert sent["content"] == [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "data:image/png;base64,ZGF0YQ==", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,ZGF0YQ=="},
        {"type": "input_text", "text": "File a.csv:\n\n1,2"},
        {"type": "input_image", "image_url": "https://a/b.png", "detail": "low"},
        wire,
    ]
    with pytest.raises(InputError, match=r"'a\.mp3'"):
        body_of(messages=[{"role": "user", "content": [file("a.mp3", "audio/mpeg")]}])


def answer(items: list[Any] | None, *ids: str) -> dict[str, Any]:
    made: dict[str, Any] = {"role": "assistant", "content": "so"}
    if ids:
        made["tool_calls"] = [{"id": i, "name": "f", "arguments": {"a": 1}} for i in ids]
    if items is not None:
        made["provider_state"] = {"output_items": items}
    return made


def result(id: str, words: str = "42") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "name": "f", "content": words}


ITEMS: list[Any] = [
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"},
    {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary"},
    {"type": "reasoning", "id": "rs_2", "summary": []},
    {"type": "custom_tool_call", "id": "ct_1", "call_id": "a", "name": "f", "input": "raw"},
    {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "outputs": []},
]


def test_what_the_model_said_goes_back_without_ids_that_nobody_stored() -> None:
    _, *sent = body_of(messages=[*USER, answer(ITEMS, "a"), result("a")])["input"]
    assert sent == [
        {"type": "reasoning", "summary": [], "encrypted_content": "abc"},
        {"type": "message", "role": "assistant", "phase": "commentary"},
        {"type": "custom_tool_call", "call_id": "a", "name": "f", "input": "raw"},
        {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "outputs": []},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "42"},
    ]
    _, *sent = body_of(messages=[*USER, answer(ITEMS, "a"), result("a")], extra={"store": True})["input"]
    assert sent[:-1] == ITEMS


@pytest.mark.parametrize("items", [None, ITEMS], ids=["of another provider", "with other calls"])
def test_an_answer_without_fitting_items_goes_back_as_text_and_calls(items: list[Any] | None) -> None:
    _, *sent = body_of(messages=[*USER, answer(items, "x"), result("x")])["input"]
    assert sent == [
        {"role": "assistant", "content": "so"},
        {"type": "function_call", "call_id": "x", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "x", "output": "42"},
    ]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"type": "mcp_approval_request", "id": "a", "name": "f", "arguments": "{}"},
            {
                "type": "mcp_approval_response",
                "approval_request_id": "a",
                "approve": False,
                "reason": "Error: x",
            },
        ),
        (
            {"type": "apply_patch_call", "call_id": "a", "operation": {}},
            {"type": "apply_patch_call_output", "call_id": "a", "status": "failed", "output": "Error: x"},
        ),
        (
            {"type": "local_shell_call", "call_id": "a", "action": {}},
            {"type": "local_shell_call_output", "call_id": "a", "output": "Error: x"},
        ),
        (
            {"type": "shell_call", "call_id": "a", "action": {}},
            {
                "type": "shell_call_output",
                "call_id": "a",
                "output": [{"stdout": "Error: x", "stderr": "", "outcome": {"type": "exit", "exit_code": 1}}],
            },
        ),
    ],
    ids=lambda x: x["type"],
)
def test_every_kind_of_call_gets_its_kind_of_result(item: Any, expected: Any) -> None:
    sent = body_of(messages=[*USER, answer([item], "a"), result("a", "Error: x")])["input"]
    assert sent[-1] == expected


# ---- choosing it, and what is refused before anything starts
def test_it_is_the_default_for_openais_own_models_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert resolve("gpt-5")[0] is plugin
    assert resolve("openai/gpt-5")[0] is plugin
    assert resolve("gpt-5", base_url="https://api.openai.com/v1")[0] is plugin
    assert resolve("gpt-5", api="chat")[0].api == "chat"
    assert resolve("m", base_url="http://localhost:1/v1")[0].api == "chat"
    assert resolve("m", base_url="http://localhost:1/v1", api="responses")[0] is plugin
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert resolve("gpt-5")[0].api == "chat"


def test_missing_key_names_the_variable_and_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY.*-m demo"):
        plugin.check(ModelCall("gpt-5", []))
    plugin.check(ModelCall("gpt-5", [], api_key="sk-x", builtin_tools=["web_search"]))
    plugin.check(ModelCall("qwen", [], base_url="http://localhost:11434/v1"))


def test_what_cannot_be_sent_is_refused() -> None:
    local = "http://localhost:1/v1"
    with pytest.raises(InputError, match="not an address"):
        plugin.check(ModelCall("m", [], base_url="localhost"))
    with pytest.raises(InputError, match="'wizard'"):
        plugin.check(ModelCall("m", [{"role": "wizard", "content": "x"}], base_url=local))
    tools = [Tool.from_function(get_item)]
    with pytest.raises(UnknownNameError, match="Did you mean 'get_item'"):
        plugin.check(ModelCall("m", [], tools=tools, tool_choice="get_itm", base_url=local))
    import openai

    with openai.OpenAI(api_key="x") as blocking, pytest.raises(InputError, match="AsyncOpenAI"):
        plugin.check(ModelCall("m", [], client=blocking))
    with pytest.raises(InputError, match="dict"):
        plugin.check(ModelCall("m", [], client={}))
