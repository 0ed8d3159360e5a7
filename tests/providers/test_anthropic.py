"""The Messages API: recorded streams through the real SDK, hand-written ones for what no recording holds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import pytest
from chat_streams import check_grammar, native, sources, text, thoughts
from hypothesis import given
from hypothesis import strategies as st
from replay_server import Case, load_cases
from support import Replay, streams, until

from mesh_nb.core.balance import Balance
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import (
    AuthenticationError,
    ConfigurationError,
    IncompleteStreamError,
    InputError,
    ProviderError,
    RateLimitError,
    StreamTimeoutError,
    ToolError,
    UnknownNameError,
)
from mesh_nb.core.events import DELTAS, ExecutionEvent, encode
from mesh_nb.core.prices import price_now
from mesh_nb.core.tools import Tool
from mesh_nb.nodes._model_call import converse
from mesh_nb.nodes.llm import LLMNode
from mesh_nb.providers._anthropic_thinking import MAX_TOKENS
from mesh_nb.providers._anthropic_translate import Translator
from mesh_nb.providers._call import ModelCall, Provider
from mesh_nb.providers._resolve import resolve
from mesh_nb.providers._wire import Decoder
from mesh_nb.providers.anthropic import plugin

HI = [{"role": "user", "content": "hi"}]
KEY = "not-a-known-form-of-key-0123456789"
_root = streams()
_cases: list[Any] = [c for c in load_cases(_root) if c.api == "messages"] if _root else []
_recorded = _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))]
SIZES = pytest.mark.parametrize("size", [1, 7, 0])


# ---- streams written by hand
def sse(*chunks: Any) -> bytes:
    """A body of these chunks, each an event of its type; a str stands for itself."""
    lines = [
        c if isinstance(c, str) else f"event: {c['type']}\ndata: {json.dumps(c, ensure_ascii=False)}\n\n"
        for c in chunks
    ]
    return "".join(lines).encode("utf-8", "surrogatepass")


def start(id: str = "msg_1", **usage: int) -> dict[str, Any]:
    message = {"id": id, "type": "message", "role": "assistant", "model": "claude-x-2026", "content": []}
    return {"type": "message_start", "message": {**message, "usage": usage or {"input_tokens": 5}}}


def block(index: int, kind: str, *deltas: dict[str, Any], stop: bool = True, **fields: Any) -> list[Any]:
    """The events of one content block."""
    opened = {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}
    inner = [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
    return [opened, *inner, *([{"type": "content_block_stop", "index": index}] if stop else [])]


def words(value: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": value}


def thought(value: str) -> dict[str, Any]:
    return {"type": "thinking_delta", "thinking": value}


def signed(value: str) -> dict[str, Any]:
    return {"type": "signature_delta", "signature": value}


def arguments(value: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": value}


def cite(**fields: Any) -> dict[str, Any]:
    return {"type": "citations_delta", "citation": fields}


def end(reason: str = "end_turn", details: Any = None, **usage: Any) -> list[Any]:
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
    counted = usage or {"output_tokens": 7}
    return [{"type": "message_delta", "delta": delta, "usage": counted}, {"type": "message_stop"}]


def read_all(body: bytes, size: int = 0, **options: Any) -> tuple[list[ExecutionEvent], Translator]:
    decoder, translator = Decoder(), Translator(**options)
    events: list[ExecutionEvent] = []
    step = size or len(body) or 1
    for i in range(0, len(body), step):
        for chunk in decoder.feed(body[i : i + step]):
            events += translator.feed(chunk)
    for chunk in decoder.finish():
        events += translator.feed(chunk)
    return events + translator.finish(), translator


def read(body: bytes, size: int = 0, **options: Any) -> list[ExecutionEvent]:
    return read_all(body, size, **options)[0]


def kinds(events: list[ExecutionEvent]) -> list[str]:
    return [str(e.type) for e in events if e.type not in DELTAS]


def of(events: list[ExecutionEvent], kind: str) -> list[dict[str, Any]]:
    return [e.metadata for e in events if e.type == kind]


def calls(events: list[ExecutionEvent]) -> list[tuple[str, str, str, Any]]:
    """(id, name, who runs it, arguments) of each call, in order."""
    found: dict[str, tuple[str, str, list[str]]] = {}
    for e in events:
        if e.type == "tool_call_start":
            m = e.metadata
            found[m["tool_call_id"]] = (m["tool_name"], m["executed_by"], [])
        elif e.type == "tool_call_delta":
            found[e.metadata["tool_call_id"]][2].append(e.content)
    return [(id, name, by, _parsed("".join(parts))) for id, (name, by, parts) in found.items()]


def _parsed(raw: str) -> Any:
    try:
        return json.loads(raw or "{}")
    except json.JSONDecodeError:
        return {"__invalid_json__": raw}


# ---- recorded streams
def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def recorded_usage(usage: dict[str, Any]) -> dict[str, int]:
    names = {
        "prompt_tokens": "input_total",
        "completion_tokens": "output_total",
        "cached_tokens": "cached_input",
        "cache_write_tokens": "cache_write",
        "reasoning_tokens": "reasoning",
    }
    facts = {ours: usage.get(theirs) for ours, theirs in names.items()}
    facts["total_tokens"] = usage["input_total"] + usage["output_total"]
    facts["web_searches"] = (usage["server_tool_use"] or {}).get("web_search_requests") or None
    written = usage["raw"].get("cache_creation") or {}
    facts["cache_write_1h_tokens"] = written.get("ephemeral_1h_input_tokens") or None
    return {k: v for k, v in facts.items() if v is not None}


@pytest.mark.parametrize("split", [1, 7, 0], ids=["1 byte", "7 bytes", "whole"])
@pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "recorded streams")
async def test_recorded_stream_yields_exactly_its_facts(replay: Replay, case: Case, split: int) -> None:
    expect = case.expect
    model = f"{case.name}@split={split}" if split else f"{case.name}@join=100000"
    events, failure = await collect(ask(replay, model, max_retries=0))
    assert failure is None
    assert expect["terminated"]
    check_grammar(events, start=True)
    meta = events[-1].metadata

    assert digest(text(events)) == expect["text"]["sha256"]
    assert digest(thoughts(events)) == expect["reasoning"]["sha256"]
    assert text(events, "refusal") == (expect["refusal"] or "")
    thinking = of(events, "reasoning_start")
    assert len(thinking) == expect["reasoning"]["blocks"] + expect["reasoning"]["redacted_blocks"]
    assert sum(t["kind"] == "redacted" for t in thinking) == expect["reasoning"]["redacted_blocks"]
    assert calls(events) == [
        (c["id"], c["name"], c["executed_by"], c["arguments"]) for c in expect["tool_calls"]
    ]
    cited, results = sources(events, "cited"), sources(events, "result")
    assert list(dict.fromkeys(s["url"] for s in cited if "url" in s)) == expect["sources"]["cited_urls"]
    assert list(dict.fromkeys(s["url"] for s in results)) == expect["sources"]["result_urls"]
    assert len(cited) == expect["sources"]["citation_count"]
    assert of(events, "file") == expect["files"] == []

    assert (meta["model_id"], meta["message_id"]) == (expect["model_id"], expect["response_id"])
    assert (meta["finish_reason"], meta["finish_reason_raw"]) == (expect["finish"], expect["finish_reason"])
    assert meta["usage"] == recorded_usage(expect["usage"])
    assert meta["usage_status"] == "reported"
    kept = meta.get("provider_state", {}).get("content", [])
    assert sum(bool(b.get("signature")) for b in kept) == expect["reasoning"]["signatures"]
    assert sum(b["type"] == "redacted_thinking" for b in kept) == expect["reasoning"]["redacted_blocks"]
    if kept:
        assert [b["type"] for b in kept] == expect["extra"]["block_types"]
        assert "".join(b["text"] for b in kept if b["type"] == "text") == text(events)


def test_recorded_messages_cases_are_all_found() -> None:
    if not _root:
        pytest.skip("no ../shared/provider-streams")
    assert len(_cases) == 12


# ---- hand-written streams
@SIZES
def test_text_and_usage(size: int) -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    details = {"thinking_tokens": 1}
    body = sse(
        start(input_tokens=1, output_tokens=1, cache_read_input_tokens=3),
        {"type": "ping"},
        *block(0, "text", words("Grüße "), {"type": "text_delta", "text": ""}, words("🙂"), text=""),
        ": keep-alive\n\n",
        *end("end_turn", output_tokens=4, output_tokens_details=details, **usage),
    )
    events, translator = read_all(body, size)
    check_grammar(events)
    assert [str(e.type) for e in events] == [
        "message_start",
        "token",
        "token",
        "message_complete",
        "response_metadata",
    ]
    assert text(events) == "Grüße 🙂"
    assert events[-2].metadata == {"finish_reason": "stop", "message_id": "msg_1"}
    meta = events[-1].metadata
    assert meta["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 4,
        "total_tokens": 19,
        "cached_tokens": 3,
        "cache_write_tokens": 2,
        "reasoning_tokens": 1,
    }
    assert (meta["model_id"], meta["usage_status"]) == ("claude-x-2026", "reported")
    assert "provider_state" not in meta, "plain text needs nothing kept"
    assert translator.terminated


def test_what_is_kept_for_an_hour_costs_twice_the_input_and_for_five_minutes_a_quarter_more() -> None:
    # https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing
    def usd(short: int, long: int) -> float:
        kept = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
        usage: Any = {
            "input_tokens": 0,
            "cache_creation_input_tokens": short + long,
            "cache_creation": kept,
        }
        events = read(sse(start(**usage), *end(output_tokens=0), {"type": "message_stop"}))
        found = price_now({**events[-1].metadata, "provider": "anthropic", "model_id": "claude-sonnet-4-5"})
        assert found is not None
        return found.usd

    base = 3e-6  # US dollars for a token of input
    assert usd(1000, 0) == pytest.approx(1000 * 1.25 * base)
    assert usd(0, 1000) == pytest.approx(1000 * 2 * base)
    assert usd(600, 400) == pytest.approx((600 * 1.25 + 400 * 2) * base)


@SIZES
def test_interleaved_thinking_keeps_its_order_and_its_signatures(size: int) -> None:
    body = sse(
        start(),
        *block(0, "thinking", thought("First "), thought("this."), signed("sig"), signed("A"), thinking=""),
        *block(1, "text", words("So."), text=""),
        *block(2, "thinking", thought("Then."), signed("sigB"), thinking="", signature=""),
        *block(3, "tool_use", arguments('{"a":'), arguments("1}"), id="toolu_1", name="f", input={}),
        *end("tool_use"),
    )
    events = read(body, size)
    check_grammar(events)
    assert thoughts(events) == "First this.Then."
    assert [m["kind"] for m in of(events, "reasoning_start")] == ["full", "full"]
    assert kinds(events) == [
        *("reasoning_start", "reasoning_end", "message_start", "reasoning_start", "reasoning_end"),
        *("tool_call_start", "message_complete", "response_metadata"),
    ]
    assert events[-1].metadata["provider_state"] == {
        "api": "messages",
        "content": [
            {"type": "thinking", "thinking": "First this.", "signature": "sigA"},
            {"type": "text", "text": "So."},
            {"type": "thinking", "thinking": "Then.", "signature": "sigB"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        ],
    }


@SIZES
def test_thinking_without_words_begins_and_ends(size: int) -> None:
    body = sse(
        start(),
        *block(0, "thinking", signed("omitted"), thinking="", signature=""),
        *block(1, "redacted_thinking", data="xyz"),
        *block(2, "text", words("Yes."), text=""),
        *end(),
    )
    events = read(body, size)
    check_grammar(events)
    assert kinds(events)[:4] == ["reasoning_start", "reasoning_end"] * 2
    assert {m["kind"] for m in of(events, "reasoning_start")} == {"redacted"}
    assert events[-1].metadata["provider_state"]["content"] == [
        {"type": "thinking", "thinking": "", "signature": "omitted"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes."},
    ]


@SIZES
def test_tool_calls_with_and_without_arguments(size: int) -> None:
    body = sse(
        start(),
        *block(0, "tool_use", arguments(""), id="a", name="none", input={}),
        *block(1, "tool_use", arguments('{"city": "K'), arguments('öln"}'), id="b", name="get", input={}),
        *block(2, "tool_use", id="c", name="whole", input={"x": 1}),
        *block(3, "tool_use", name="nameless", input={}),
        *end("tool_use"),
    )
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == [
        ("a", "none", "client", {}),
        ("b", "get", "client", {"city": "Köln"}),
        ("c", "whole", "client", {"x": 1}),
        ("call_tool3", "nameless", "client", {}),
    ]
    assert "message_start" not in kinds(events)
    assert events[-1].metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("name", "content", "output", "error"),
    [
        (
            "code_execution",
            {
                "type": "code_execution_result",
                "stdout": "42\n",
                "stderr": "",
                "return_code": 0,
                "content": [],
            },
            {
                "type": "code_execution_result",
                "stdout": "42\n",
                "stderr": "",
                "return_code": 0,
                "content": [],
            },
            None,
        ),
        (
            "text_editor_code_execution",
            {"type": "text_editor_code_execution_create_result", "is_file_update": False},
            {"type": "text_editor_code_execution_create_result", "is_file_update": False},
            None,
        ),
        (
            "web_search",
            {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
            {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
            "max_uses_exceeded",
        ),
        (
            "code_execution",
            {"type": "encrypted_code_execution_result", "encrypted_stdout": "x", "return_code": 0},
            {"type": "encrypted_code_execution_result", "return_code": 0},
            None,
        ),
        (
            "tool_search",
            {"type": "tool_search_tool_result_error", "error_code": "unavailable", "error_message": "Later."},
            {"type": "tool_search_tool_result_error", "error_code": "unavailable", "error_message": "Later."},
            "unavailable: Later.",
        ),
    ],
    ids=["code", "editor", "error", "encrypted", "error with a message"],
)
@SIZES
def test_tools_that_the_provider_runs(size: int, name: str, content: Any, output: Any, error: Any) -> None:
    body = sse(
        start(),
        *block(0, "server_tool_use", arguments('{"q": 1}'), id="srv", name=name, input={}),
        *block(1, f"{name}_tool_result", tool_use_id="srv", content=content),
        *block(2, "text", words("Done."), text=""),
        *end(),
    )
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == [("srv", name, "provider", {"q": 1})]
    [done] = [e for e in events if e.type == "tool_call_complete"]
    assert (done.output, done.error) == (output, error)
    assert done.metadata == {
        "tool_name": name,
        "tool_call_id": "srv",
        "executed_by": "provider",
        "arguments": {"q": 1},
        "status": "error" if error else "ok",
    }
    kept = events[-1].metadata["provider_state"]["content"]
    assert kept[1] == {"type": f"{name}_tool_result", "tool_use_id": "srv", "content": content}


def test_mcp_calls_name_their_server_and_their_failure() -> None:
    said = [{"type": "text", "text": "no such page"}]
    body = sse(
        start(),
        *block(0, "mcp_tool_use", arguments("{}"), id="m", name="fetch", server_name="wiki", input={}),
        *block(1, "mcp_tool_result", tool_use_id="m", is_error=True, content=said),
        *end(),
    )
    events = read(body)
    assert of(events, "tool_call_start")[0]["server_name"] == "wiki"
    [done] = [e for e in events if e.type == "tool_call_complete"]
    assert (done.error, done.metadata["status"], done.metadata["tool_name"]) == (
        "no such page",
        "error",
        "fetch",
    )


@SIZES
def test_search_results_and_citations_with_their_places(size: int) -> None:
    found = [
        {"type": "web_search_result", "url": "https://a", "title": "A", "encrypted_content": "x" * 50},
        {"type": "web_search_result", "url": "https://b", "title": "B", "page_age": "1 day"},
    ]
    located = {
        "type": "web_search_result_location",
        "title": "A",
        "cited_text": "rain",
        "encrypted_index": "i",
    }
    body = sse(
        start(),
        *block(0, "text", words("I look."), text=""),
        *block(1, "server_tool_use", arguments('{"query": "x"}'), id="s", name="web_search", input={}),
        *block(2, "web_search_tool_result", tool_use_id="s", content=found),
        *block(3, "text", words("Grüße 🙂, "), text=""),
        *block(
            4, "text", cite(url="https://a", **located), words("it "), words("rains"), text="", citations=[]
        ),
        *block(5, "text", words("."), text=""),
        *end(),
    )
    events = read(body, size)
    check_grammar(events)
    assert sources(events, "result") == [
        {"kind": "result", "url": "https://a", "title": "A"},
        {"kind": "result", "url": "https://b", "title": "B"},
    ]
    [cited] = sources(events, "cited")
    assert cited == {
        "kind": "cited",
        "url": "https://a",
        "title": "A",
        "cited_text": "rain",
        "start": 9,
        "end": 17,
        "offset_unit": "code_point",
    }
    tokens = [e for e in events if e.type == "token"]
    last = tokens[-1].metadata["text_block_id"]
    latest = "".join(e.content for e in tokens if e.metadata["text_block_id"] == last)
    assert latest[9:17] == "it rains"
    [done] = [e for e in events if e.type == "tool_call_complete"]
    assert "encrypted_content" not in encode(done).decode()
    kept = events[-1].metadata["provider_state"]["content"]
    assert kept[2]["content"] == found
    assert kept[4] == {"type": "text", "text": "it rains", "citations": [{"url": "https://a", **located}]}
    assert "citations" not in kept[5]


@pytest.mark.parametrize(
    ("citation", "expected"),
    [
        (
            {"type": "char_location", "document_title": "facts.txt", "document_index": 0},
            {"title": "facts.txt"},
        ),
        ({"type": "page_location", "document_title": None, "document_index": 1}, {"title": "Document 2"}),
        (
            {"type": "search_result_location", "source": "https://kb/1", "title": "KB"},
            {"url": "https://kb/1", "title": "KB"},
        ),
        ({"type": "search_result_location", "source": "note 7", "title": None}, {"title": "note 7"}),
    ],
    ids=["characters", "page", "search result", "search result without address"],
)
def test_citations_of_the_users_own_documents(citation: Any, expected: Any) -> None:
    body = sse(start(), *block(0, "text", cite(**citation, cited_text="c"), words("ab"), text=""), *end())
    place = {"start": 0, "end": 2, "offset_unit": "code_point"}
    assert sources(read(body), "cited") == [{"kind": "cited", "cited_text": "c", **expected, **place}]


@SIZES
def test_fetched_pdf_and_stored_files(size: int) -> None:
    data = base64.b64encode(b"%PDF-1.7").decode()
    document = {
        "type": "document",
        "title": "Paper",
        "source": {"type": "base64", "media_type": "application/pdf", "data": data},
    }
    fetched = {"type": "web_fetch_result", "url": "https://x.org/a/paper.pdf?v=1", "content": document}
    stored = {"type": "bash_code_execution_result", "content": [{"file_id": "file_1"}], "return_code": 0}
    body = sse(
        start(),
        *block(0, "server_tool_use", arguments('{"url": "u"}'), id="s", name="web_fetch", input={}),
        *block(1, "web_fetch_tool_result", tool_use_id="s", content=fetched),
        *block(2, "server_tool_use", arguments("{}"), id="b", name="bash_code_execution", input={}),
        *block(3, "bash_code_execution_tool_result", tool_use_id="b", content=stored),
        *block(4, "container_upload", file_id="file_2"),
        *end(),
    )
    events = read(body, size)
    check_grammar(events)
    kept = {"mime_type": "application/octet-stream", "provider": "anthropic"}
    assert of(events, "file") == [
        {"name": "paper.pdf", "mime_type": "application/pdf", "content": data, "size": 8},
        {"name": "file_1", **kept, "file_id": "file_1"},
        {"name": "file_2", **kept, "file_id": "file_2"},
    ]
    [page] = sources(events, "result")
    assert page == {"kind": "result", "url": "https://x.org/a/paper.pdf?v=1", "title": "Paper"}
    done = next(e for e in events if e.type == "tool_call_complete")
    assert data not in encode(done).decode(), "the bytes are in the file event only"


@SIZES
def test_restart_voids_what_came_before(size: int) -> None:
    body = sse(
        start("msg_1", input_tokens=5),
        *block(0, "text", words("Old"), text=""),
        *block(1, "tool_use", arguments('{"a'), stop=False, id="old", name="f", input={}),
        start("msg_2", input_tokens=6),
        *block(0, "text", cite(type="char_location", document_title="d"), words("New"), text=""),
        *end(),
    )
    events = read(body, size)
    check_grammar(events)
    at = next(i for i, e in enumerate(events) if e.metadata.get("data_type") == "data-restart")
    assert text(events[at:]) == "New"
    assert "began its answer again" in events[at].content["message"]
    meta = events[-1].metadata
    assert (meta["message_id"], meta["usage"]["prompt_tokens"]) == ("msg_2", 6)
    assert [b["text"] for b in meta["provider_state"]["content"]] == ["New"]
    assert [(s["start"], s["end"]) for s in sources(events, "cited")] == [(0, 3)]


@SIZES
def test_refusal_and_why(size: int) -> None:
    details = {
        "type": "refusal",
        "category": "bio",
        "explanation": "This cannot be answered.",
        "fallback_credit_token": "tok_1",
    }
    body = sse(start(), *block(0, "text", words("To do"), text=""), *end("refusal", details))
    events = read(body, size)
    check_grammar(events)
    assert (text(events), text(events, "refusal")) == ("To do", "This cannot be answered.")
    assert events[-1].metadata["finish_reason"] == "refusal"
    assert native(events) == [
        {"stop_details": {"category": "bio", "explanation": "This cannot be answered."}}
    ]


@pytest.mark.parametrize(
    ("raw", "common"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("odd", "odd"),
    ],
)
def test_finish_reasons(raw: str, common: str) -> None:
    meta = read(sse(start(), *end(raw)))[-1].metadata
    assert (meta["finish_reason"], meta["finish_reason_raw"]) == (common, raw)


@SIZES
def test_error_inside_the_stream(size: int) -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    for chunk in (
        {"type": "error", "error": error, "request_id": "req_1"},
        'event: error\ndata: {"type": "overloaded_error", "message": "Overloaded"}\n\n',
    ):
        events, translator = read_all(sse(start(), *block(0, "text", words("so far"), text=""), chunk), size)
        check_grammar(events)
        assert text(events) == "so far"
        assert translator.error is not None
        assert translator.error["message"] == "Overloaded"
        meta = events[-1].metadata
        assert meta["finish_reason"] == "error"
        assert (meta["usage"], meta["usage_status"]) == ({"prompt_tokens": 5}, "estimated")


def test_unknown_kinds_are_passed_on_and_come_back_in_history() -> None:
    body = sse(
        start(),
        *block(0, "compaction", {"type": "compaction_delta", "content": "Short."}, content=None),
        {"type": "hologram", "beam": 1},
        *block(1, "text", words("x"), {"type": "smell_delta", "smell": "y"}, text=""),
        *end(),
    )
    events = read(body)
    check_grammar(events)
    found = native(events)
    assert found[0]["type"] == "compaction"
    assert found[1]["delta"] == {"type": "compaction_delta", "content": "Short."}
    assert found[2] == {"type": "hologram", "beam": 1}
    assert found[3]["delta"]["smell"] == "y"
    assert events[-1].metadata["provider_state"]["content"][0] == {"type": "compaction", "content": "Short."}
    assert native(read(body, native=True)) == []


def test_a_whole_message_from_a_server_that_does_not_stream() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "All at once."},
        {"type": "tool_use", "id": "x", "name": "f", "input": {"a": 1}},
    ]
    whole = {
        **start()["message"],
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"output_tokens": 3},
    }
    events, translator = read_all(json.dumps(whole, indent=1).encode())
    check_grammar(events)
    assert (text(events), thoughts(events)) == ("All at once.", "Hm.")
    assert calls(events) == [("x", "f", "client", {"a": 1})]
    assert translator.terminated
    assert events[-1].metadata["provider_state"]["content"] == content


@SIZES
def test_surrogate_pairs_cut_between_deltas(size: int) -> None:
    body = (
        sse(
            start(),
            *block(0, "thinking", thought("a\ud83d"), thought("\ude00b\ud83d"), signed("s"), thinking=""),
            *block(1, "text", words("a\ud83d"), words("\ude00b"), text=""),
            *block(
                2, "tool_use", arguments('{"a":"\ud83d'), arguments('\ude00"}'), id="x", name="f", input={}
            ),
            *end("tool_use"),
        )
        .replace(b"\xed\xa0\xbd", b"\\ud83d")
        .replace(b"\xed\xb8\x80", b"\\ude00")
    )
    events = read(body, size)
    check_grammar(events)
    assert (thoughts(events), text(events)) == ("a😀b\ufffd", "a😀b")
    assert calls(events) == [("x", "f", "client", {"a": "😀"})]
    for event in events:
        encode(event).decode()


pieces = st.lists(
    st.sampled_from(
        [
            [start()],
            [start("msg_2")],
            block(0, "text", words("word "), text=""),
            block(0, "text", words("open "), stop=False, text=""),
            block(1, "thinking", thought("hm "), signed("s"), thinking=""),
            block(1, "thinking", signed("s"), stop=False, thinking=""),
            block(2, "redacted_thinking", data="x"),
            block(3, "tool_use", arguments('{"a":'), stop=False, id="a", name="f", input={}),
            block(3, "tool_use", arguments("{}"), id="b", name="f", input={}),
            block(4, "server_tool_use", arguments("{}"), id="s", name="web_search", input={}),
            block(5, "web_search_tool_result", tool_use_id="s", content=[{"type": "web_search_result"}]),
            block(6, "text", cite(type="char_location"), words("cited"), stop=False, text=""),
            [{"type": "content_block_delta", "index": 6, "delta": words("\ud83d")}],
            [{"type": "content_block_delta", "index": 9, "delta": thought("lost")}],
            [{"type": "content_block_delta", "index": 8, "delta": arguments("{}")}],
            [{"type": "content_block_stop", "index": 1}],
            [{"type": "ping"}],
            end(),
            end("refusal", {"type": "refusal", "explanation": "No."}),
            [{"type": "error", "error": {"message": "x"}}],
        ]
    ),
    max_size=12,
)


def check_balance(events: list[ExecutionEvent]) -> None:
    """Assert that all but tool calls is closed; those are closed by their results."""
    balance = Balance()
    for event in events:
        balance.feed(event)
    left = [name for held in balance.open.values() for name, _ in held]
    assert set(left) <= {"tool"}


@given(pieces)
def test_every_prefix_of_every_stream_is_balanced(parts: list[Any]) -> None:
    chunks = [chunk for part in parts for chunk in part]
    for upto in range(len(chunks) + 1):
        events, _ = read_all(sse(*chunks[:upto]))
        check_grammar(events)
        check_balance(events)
        for event in events:
            encode(event)


@pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "recorded streams")
def test_every_prefix_of_every_recording_is_balanced(case: Case) -> None:
    decoder = Decoder()
    chunks = [*decoder.feed(case.body()), *decoder.finish()]
    for upto in range(len(chunks) + 1):
        translator = Translator()
        events = [event for chunk in chunks[:upto] for event in translator.feed(chunk)] + translator.finish()
        check_grammar(events)
        check_balance(events)
        assert translator.terminated == (upto == len(chunks))


_NAMES = (
    *("type", "index", "content_block", "delta", "message", "usage", "content", "citation", "text", "id"),
    *("tool_use_id", "input", "source", "stop_reason", "stop_details", "container", "error", "citations"),
)
_KINDS = (
    *("content_block_start", "content_block_delta", "message_delta", "text", "tool_use", "text_delta"),
    *("web_fetch_tool_result", "citations_delta", "base64", "web_fetch_result", "message", "thinking"),
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(_KINDS),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(_NAMES), x),
        max_leaves=14,
    )
)
def test_no_chunk_of_any_shape_breaks_the_translator(chunk: Any) -> None:
    translator = Translator()
    events = [
        event
        for one in (start(), *block(0, "text", words("a"), stop=False, text=""), chunk)
        for event in translator.feed(one)
    ]
    events += translator.finish()
    check_grammar(events)
    assert text(events).startswith("a")


# ---- over HTTP, through the SDK
def ask(replay: Replay, model: str, **options: Any) -> AsyncGenerator[ExecutionEvent, None]:
    options = {"base_url": replay.url, "api_key": KEY, **options}
    call = ModelCall(model, [{"role": "user", "content": "hi"}], **options)
    return cast("AsyncGenerator[ExecutionEvent, None]", plugin.stream(call))


async def collect(
    stream: AsyncGenerator[ExecutionEvent, None],
) -> tuple[list[ExecutionEvent], ProviderError | None]:
    events: list[ExecutionEvent] = []
    try:
        async for event in stream:
            events.append(event)
    except ProviderError as error:
        return events, error
    return events, None


def tokens(n: int) -> str:
    return "".join(f"tok{i} " for i in range(n))


async def test_a_whole_answer(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-20-r5-x3-t2-u"))
    assert error is None
    check_grammar(events, start=True)
    assert len([e for e in events if e.type == "token"]) == 60
    assert "\u2028" in text(events)
    assert [m["kind"] for m in of(events, "reasoning_start")] == ["full"] * 3
    assert [c[:2] for c in calls(events)] == [("toolu_0", "get_item"), ("toolu_1", "get_item")]
    begun, meta = events[0].metadata, events[-1].metadata
    assert (begun["provider"], meta["provider"], meta["requested_model"]) == (
        *("anthropic", "anthropic"),
        "synthetic-20-r5-x3-t2-u",
    )
    assert 0 < meta["time_to_first_token_ms"] <= meta["duration_ms"]
    assert meta["usage"]["reasoning_tokens"] == 15


FAULTS = [
    ("error=22", ProviderError, "Overloaded"),
    ("drop_event=22", IncompleteStreamError, "connection broke"),
    ("cut_event=22", IncompleteStreamError, "ended before it was complete"),
    ("malformed=22", ProviderError, "not JSON"),
    ("stall=60,stall_at=22", StreamTimeoutError, "Nothing arrived for 0.3 s"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS, ids=[f[0].split("=")[0] for f in FAULTS])
async def test_tokens_then_a_fault(replay: Replay, fault: str, kind: type, says: str) -> None:
    options: dict[str, Any] = {"idle_timeout": 0.3} if fault.startswith("stall") else {}
    events, error = await collect(ask(replay, f"synthetic-100@{fault}", **options))
    assert type(error) is kind
    assert error is not None
    assert says in str(error)
    assert "anthropic/synthetic-100" in str(error)
    if fault.startswith("error"):
        assert (error.retryable, error.request_id) == (True, "req_replay")
        assert "try again" in error.hint
    assert text(events) == tokens(19)  # message_start, ping and the block's beginning come first
    check_grammar(events, start=True)
    assert events[-1].metadata["usage_status"] == "estimated"
    assert replay.stats["requests"] == 1, "a stream that had begun is not asked for again"


@pytest.mark.parametrize("status", [429, 500, 529])
async def test_what_may_pass_is_asked_again(replay: Replay, status: int) -> None:
    events, error = await collect(ask(replay, f"synthetic-5@fail=1,status={status},retry_after=0.05"))
    assert error is None
    assert text(events) == tokens(5)
    assert [e.content["reason"] for e in events if e.type == "custom_data"] == [f"HTTP {status}"]
    assert (replay.stats["requests"], replay.stats["failures_served"]) == (2, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 429])
async def test_what_persists_is_told(replay: Replay, status: int) -> None:
    model = f"synthetic-5@fail=-1,status={status},retry_after=3600"
    events, error = await collect(ask(replay, model))
    assert error is not None
    assert (error.status, error.request_id) == (status, "req_replay_1")
    assert "replay: asked to fail" in str(error)
    assert KEY not in str(error)
    if status == 401:
        assert isinstance(error, AuthenticationError)
        assert "ANTHROPIC_API_KEY" in str(error)
    if status == 429:
        assert isinstance(error, RateLimitError)
        assert error.retry_after == 3600
    assert kinds(events) == ["model_call_start", "response_metadata"]
    assert replay.stats["requests"] == 1


async def test_keys_are_in_no_message(replay: Replay) -> None:
    _, error = await collect(ask(replay, f"echo-{KEY}"))  # the server repeats the name in its message
    assert error is not None
    assert "no case for 'echo-***'" in str(error)


async def test_break_closes_the_connection(replay: Replay) -> None:
    async with aclosing(ask(replay, "synthetic-1000@delay=0.01,keepopen=30")) as stream:
        async for event in stream:
            if event.type == "token":
                break
    await until(lambda: replay.stats["client_disconnects"] == 1)
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_native_events(replay: Replay) -> None:
    events, _ = await collect(ask(replay, "synthetic-3", native=True))
    check_grammar(events, start=True)
    parts = [e.metadata["native"]["delta"]["text"] for e in events if e.type == "token"]
    assert parts == ["tok0 ", "tok1 ", "tok2 "]
    assert native(events)[0]["type"] == "message_start"
    assert native(events)[-1] == {"type": "message_stop"}


async def test_a_client_of_the_users_own(replay: Replay) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=replay.url) as client:
        events, error = await collect(ask(replay, "synthetic-5", client=client, base_url=None, api_key=None))
        assert error is None
        assert text(events) == tokens(5)
        failing = ask(replay, "synthetic-5@fail=-1,status=500", client=client, max_retries=0)
        assert (await collect(failing))[1] is not None
    assert replay.stats["requests"] == 2, "the SDK's own retries are off"


# ---- the llm node
def get_item(index: int, name: str) -> dict[str, Any]:
    """Return an item."""
    return {"index": index, "name": name}


async def run(replay: Replay, model: str, **options: Any) -> list[ExecutionEvent]:
    node = LLMNode("llm", model=model, provider="anthropic", base_url=replay.url, api_key=KEY, **options)
    node.check()
    context = ExecutionContext().for_run("r", "hi")
    return [event async for event in node.run("hi", context)]


async def test_tool_loop(replay: Replay) -> None:
    events = await run(replay, "synthetic-5-r2-t2+synthetic-9", tools=[get_item])
    assert events[-1].output["content"] == tokens(9)
    assert [c["output"] for c in events[-1].output["tool_calls"]] == [
        {"index": 0, "name": "item 0"},
        {"index": 1, "name": "item 1"},
    ]
    assert kinds(events).count("step_complete") == 2
    asked, answered, results = replay.requests[-1]["body"]["messages"]
    assert asked == {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    assert [b["type"] for b in answered["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert answered["content"][0]["signature"] == "c3ludGhldGlj"
    assert answered["content"][2]["input"] == {"index": 0, "name": "item 0"}
    assert results["role"] == "user"
    assert [(b["type"], b["tool_use_id"]) for b in results["content"]] == [
        ("tool_result", "toolu_0"),
        ("tool_result", "toolu_1"),
    ]
    assert json.loads(results["content"][0]["content"]) == {"index": 0, "name": "item 0"}


async def test_paused_turn_goes_on(replay: Replay) -> None:
    if not _root:
        pytest.skip("no ../shared/provider-streams")
    paused = next(c for c in _cases if c.name == "anthropic/pause-turn")
    events = await run(replay, "anthropic/pause-turn+synthetic-3", tools=["web_search"])
    assert events[-1].output == {"content": paused.expect["text"]["value"] + tokens(3), "tool_calls": []}
    assert [m["finish_reason"] for m in of(events, "response_metadata")] == ["pause", "stop"]
    assert replay.stats["requests"] == 2
    body = replay.requests[-1]["body"]
    assert [m["role"] for m in body["messages"]] == ["user", "assistant"]
    went_back = body["messages"][1]["content"]
    assert [b["type"] for b in went_back] == paused.expect["extra"]["block_types"]
    assert went_back[-1]["type"] == "server_tool_use"
    assert body["tools"][0]["type"] == "web_search_20260318"


async def test_turn_that_is_paused_again_and_again_ends(replay: Replay) -> None:
    if not _root:
        pytest.skip("no ../shared/provider-streams")
    with pytest.raises(ToolError, match="paused its turn 2 times"):
        await run(replay, "anthropic/pause-turn", tools=["web_search"], max_steps=2)


class Scripted:
    """A provider that answers with hand-written streams, one for each call."""

    vendor, api, prefixes = "anthropic", "messages", ()

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.asked: list[dict[str, Any]] = []

    def preload(self) -> None: ...

    def check(self, call: ModelCall) -> None: ...

    async def stream(self, call: ModelCall) -> AsyncGenerator[ExecutionEvent, None]:
        self.asked.append(plugin.request(call))
        for event in read(self.bodies[len(self.asked) - 1]):
            yield event


async def conversation(provider: Scripted, **options: Any) -> list[ExecutionEvent]:
    call = ModelCall("claude-x", HI, **options)
    return [event async for event in converse(cast("Provider", provider), call)]


async def test_paused_content_goes_back_as_it_came_and_the_answer_is_one() -> None:
    cited = {"type": "web_search_result_location", "url": "https://a", "encrypted_index": "i"}
    paused = [
        *block(0, "text", cite(**cited), words("First"), text=""),
        *block(1, "server_tool_use", arguments('{"query": "x"}'), id="srv", name="web_search"),
    ]
    result = block(0, "web_search_tool_result", tool_use_id="srv", content=[])
    rest = [*result, *block(1, "text", words(", then."), text="")]
    provider = Scripted(sse(start(), *paused, *end("pause_turn")), sse(start("msg_2"), *rest, *end()))
    events = await conversation(provider, builtin_tools=["web_search"])
    assert events[-1].output["content"] == "First, then."
    assert kinds(events).count("response_metadata") == 2
    assert provider.asked[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "First", "citations": [cited]},
                {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
            ],
        }
    ]


async def test_answer_of_a_restarted_stream_is_the_second_one() -> None:
    void = [
        *block(0, "text", words("Old"), text=""),
        *block(1, "tool_use", arguments("{}"), id="t", name="get_item", input={}),
    ]
    again = [start("msg_2"), *block(0, "text", words("New"), text=""), *end()]
    provider = Scripted(sse(start(), *void, *again))
    events = await conversation(provider, tools=[Tool.from_function(get_item)])
    assert events[-1].output == {"content": "New", "tool_calls": []}


async def test_ids_that_go_back_as_they_came_fit_their_results() -> None:
    used = [
        *block(0, "thinking", thought("t"), signed("s"), thinking=""),
        *block(1, "tool_use", arguments('{"index": 1, "name": "n"}'), id="odd|id", name="get_item", input={}),
    ]
    last = block(0, "text", words("Done."), text="")
    provider = Scripted(sse(start(), *used, *end("tool_use")), sse(start(), *last, *end()))
    await conversation(provider, tools=[Tool.from_function(get_item)])
    _, answered, results = provider.asked[1]["messages"]
    assert answered["content"][1]["id"] == results["content"][0]["tool_use_id"] == "odd|id"


def test_result_may_belong_to_a_call_of_the_paused_message() -> None:
    found = [{"type": "web_search_result", "url": "https://a", "title": "A"}]
    body = sse(start(), *block(0, "web_search_tool_result", tool_use_id="srv_before", content=found), *end())
    [done] = [e for e in read(body) if e.type == "tool_call_complete"]
    assert (done.metadata["tool_call_id"], done.metadata["tool_name"]) == ("srv_before", "web_search")


# ---- the request
def body_of(call: ModelCall) -> dict[str, Any]:
    return plugin.request(call)


def test_request_holds_only_what_was_asked_for() -> None:
    assert body_of(ModelCall("claude-sonnet-5", HI, system="Be brief.")) == {
        "model": "claude-sonnet-5",
        "max_tokens": MAX_TOKENS,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
    }


async def test_request_goes_out_as_it_is(replay: Replay) -> None:
    extra = {"stop_sequences": ["END"], "max_tokens": 77}
    call = ModelCall("synthetic-1", HI, base_url=f"{replay.url}/v1/", api_key=KEY, extra=extra)
    await collect(cast("Any", plugin.stream(call)))
    assert replay.requests[-1]["body"] == plugin.request(call)
    assert replay.requests[-1]["path"] == "/v1/messages"


def test_request_tools() -> None:
    def tool_body(choice: Any) -> dict[str, Any]:
        tools = [Tool.from_function(get_item)]
        builtin = ["web_search", "code_execution", "web_fetch_20250910"]
        return body_of(ModelCall("m", HI, tools=tools, builtin_tools=builtin, tool_choice=choice))

    body = tool_body("get_item")
    own, search, code, fetch = body["tools"]
    assert (own["name"], own["description"]) == ("get_item", "Return an item.")
    assert set(own["input_schema"]["properties"]) == {"index", "name"}
    assert search == {"type": "web_search_20260318", "name": "web_search", "allowed_callers": ["direct"]}
    assert code == {"type": "code_execution_20250825", "name": "code_execution"}
    assert fetch == {"type": "web_fetch_20250910", "name": "web_fetch"}
    assert body["tool_choice"] == {"type": "tool", "name": "get_item"}
    assert tool_body("required")["tool_choice"] == {"type": "any"}
    assert tool_body("web_search")["tool_choice"] == {"type": "tool", "name": "web_search"}
    assert tool_body({"type": "auto", "disable_parallel_tool_use": True})["tool_choice"]["type"] == "auto"


def test_request_tool_types_are_those_of_the_sdk() -> None:
    """The dated types exist in the installed SDK, or the API would not know them either."""
    from typing import get_args, get_type_hints

    from anthropic.types import tool_union_param

    from mesh_nb.providers._anthropic_request import BUILTIN

    known: set[str] = set()
    for param in get_args(tool_union_param.ToolUnionParam):
        hint = get_type_hints(param).get("type")
        known |= {str(a) for arg in (hint, *get_args(hint)) for a in get_args(arg) if isinstance(a, str)}
    assert {t["type"] for t in BUILTIN.values()} <= known


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "output"),
    [
        ("claude-opus-5", "high", {"type": "adaptive", "display": "summarized"}, {"effort": "high"}),
        ("claude-opus-4-6", "low", {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
        (
            "claude-haiku-4-5-20251001",
            "low",
            {"type": "enabled", "budget_tokens": 2048, "display": "summarized"},
            None,
        ),
        (
            "claude-opus-4@20250514",
            "high",
            {"type": "enabled", "budget_tokens": 16000, "display": "summarized"},
            None,
        ),
        ("claude-opus-5", "none", {"type": "disabled"}, None),
        ("claude-x", 4000, {"type": "enabled", "budget_tokens": 4000, "display": "summarized"}, None),
        (
            "claude-x",
            {"budget_tokens": 4000, "display": "omitted"},
            {"type": "enabled", "budget_tokens": 4000, "display": "omitted"},
            None,
        ),
        ("claude-x", {"type": "adaptive", "effort": "max"}, {"type": "adaptive"}, {"effort": "max"}),
        ("claude-x", {"effort": "low"}, {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
    ],
)
def test_request_thinking(model: str, reasoning: Any, thinking: Any, output: Any) -> None:
    body = body_of(ModelCall(model, HI, reasoning=reasoning))
    assert (body["thinking"], body.get("output_config")) == (thinking, output)


def test_request_leaves_room_for_an_answer_after_thinking() -> None:
    assert body_of(ModelCall("m", HI, reasoning=30_000))["max_tokens"] == 46_000
    assert body_of(ModelCall("m", HI, reasoning=2_000))["max_tokens"] == MAX_TOKENS
    assert body_of(ModelCall("m", HI, reasoning=2_000, max_tokens=3_000))["max_tokens"] == 3_000
    with pytest.raises(InputError, match="no room for an answer after 4000 tokens"):
        body_of(ModelCall("m", HI, reasoning=4_000, max_tokens=4_000))


def test_request_structured_output() -> None:
    schema = {"type": "object"}
    body = body_of(ModelCall("claude-opus-5", HI, reasoning="low", output_schema=schema))
    form = {"type": "json_schema", "schema": schema}
    assert body["output_config"] == {"effort": "low", "format": form}


def test_request_history() -> None:
    state = {"api": "messages", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}]}
    asked = [
        {"id": "call|1", "name": "f", "arguments": {"a": 1}},
        {"id": "y", "name": "g", "arguments": None},
    ]
    asked[1]["arguments_raw"] = '{"broken'
    body = body_of(
        ModelCall(
            "m",
            [
                {"role": "system", "content": "Also this."},
                {"role": "user", "content": "q"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": asked,
                    "provider_state": {"reasoning": "x"},
                },
                {"role": "tool", "tool_call_id": "call|1", "name": "f", "content": "42"},
                {"role": "tool", "tool_call_id": "y", "name": "g", "content": "Error: bad"},
                {"role": "user", "content": "more"},
                {"role": "assistant", "content": "words", "provider_state": state},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": "end"},
            ],
            system="Be brief.",
        )
    )
    assert body["system"] == "Be brief.\n\nAlso this."
    question, calling, results, thinking, last = body["messages"]
    assert question["content"] == [{"type": "text", "text": "q"}]
    assert calling["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "y", "name": "g", "input": {"INVALID_JSON": '{"broken'}},
    ]
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "42"},
        {"type": "tool_result", "tool_use_id": "y", "content": "Error: bad"},
        {"type": "text", "text": "more"},
    ]
    assert thinking == {"role": "assistant", "content": state["content"]}
    assert last["content"] == [{"type": "text", "text": "end"}]
    assert state["content"] == [{"type": "thinking", "thinking": "t", "signature": "s"}]


def test_container_and_paused_text_are_kept() -> None:
    words_only = [start(), *block(0, "text", words("x"), text="")]
    kept = {"api": "messages", "content": [{"type": "text", "text": "x"}]}
    assert read(sse(*words_only, *end("pause_turn")))[-1].metadata["provider_state"] == kept
    ending, stop = end()
    ending["delta"]["container"] = {"id": "c_1", "expires_at": "2026-11-20T13:00:00Z"}
    state = read(sse(*words_only, ending, stop))[-1].metadata["provider_state"]
    assert state == {**kept, "container": "c_1"}


def test_request_goes_on_in_the_container_of_the_turn() -> None:
    state = {"api": "messages", "content": [{"type": "text", "text": "x"}], "container": "c_1"}
    paused = [*HI, {"role": "assistant", "content": "x", "provider_state": state}]
    assert body_of(ModelCall("m", paused))["container"] == "c_1"
    assert "container" not in body_of(ModelCall("m", [*paused, *HI]))


def test_request_files() -> None:
    def file(name: str, mime: str) -> dict[str, Any]:
        return {"type": "file", "name": name, "mime_type": mime, "data": b"abc"}

    cited = {"type": "text", "text": "see", "citations": [{"url": "u"}]}
    parts = [
        *(file("a.png", "image/png"), file("a.pdf", "application/pdf"), file("a.csv", "text/csv")),
        *(cited, {"type": "document", "source": {"type": "file", "file_id": "f"}}, ""),
    ]
    [message] = body_of(ModelCall("m", [{"role": "user", "content": parts}]))["messages"]
    image, pdf, table, words, wire = message["content"]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": "YWJj"}
    assert (pdf["type"], pdf["title"], pdf["source"]["media_type"]) == (
        "document",
        "a.pdf",
        "application/pdf",
    )
    assert table["source"] == {"type": "text", "media_type": "text/plain", "data": "abc"}
    assert words == {"type": "text", "text": "see"}
    assert wire == parts[4]
    with pytest.raises(InputError, match=r"cannot read 'a.wav' \(audio/wav\)"):
        body_of(ModelCall("m", [{"role": "user", "content": [file("a.wav", "audio/wav")]}]))


# ---- what is refused before anything starts
def test_missing_key_names_the_variable_and_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=r"ANTHROPIC_API_KEY.*-m demo"):
        plugin.check(ModelCall("claude-opus-5", []))
    plugin.check(ModelCall("claude-opus-5", [], api_key="x"))
    plugin.check(ModelCall("claude-opus-5", [], base_url="http://localhost:1"))
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "x")
    plugin.check(ModelCall("claude-opus-5", []))
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:1")
    plugin.check(ModelCall("claude-opus-5", []))


def test_names_find_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert resolve("claude-opus-5") == (plugin, "claude-opus-5")
    assert resolve("anthropic/claude-opus-5") == (plugin, "claude-opus-5")
    assert resolve("x", provider="anthropic", api="messages") == (plugin, "x")


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"temperature": 0.0}, InputError, "no temperature"),
        ({"builtin_tools": ["bash"]}, UnknownNameError, "web_search"),
        ({"builtin_tools": ["web_serch"]}, UnknownNameError, "Did you mean 'web_search'"),
        ({"reasoning": "hihg"}, UnknownNameError, "Did you mean 'high'"),
        ({"reasoning": 100}, InputError, "1024 tokens or more"),
        ({"reasoning": True}, InputError, "means nothing to Claude"),
        ({"reasoning": {"depth": 3}}, InputError, "needs 'type', 'budget_tokens' or 'effort'"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, InputError, "'wizard'"),
        ({"base_url": "localhost"}, InputError, "not an address"),
        ({"tools": [Tool.from_function(get_item)], "tool_choice": "get_itm"}, UnknownNameError, "'get_item'"),
        ({"client": {}}, InputError, "dict"),
    ],
)
def test_what_cannot_be_sent_is_refused(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    settings: dict[str, Any] = {"messages": [], "base_url": "http://localhost:1", **options}
    with pytest.raises(kind, match=says):
        plugin.check(ModelCall("claude-opus-5", **settings))


def test_clients_that_cannot_be_read_are_refused() -> None:
    import anthropic

    with anthropic.Anthropic(api_key="x") as blocking, pytest.raises(InputError, match="AsyncAnthropic"):
        plugin.check(ModelCall("m", [], client=blocking))
    with pytest.raises(InputError, match="input is empty"):
        plugin.stream(ModelCall("m", [], api_key="x"))
