"""Gemini: recorded streams over HTTP, hand-written ones for every known quirk, the tool loop, faults."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import httpx2
import pytest
from chat_streams import calls, check_grammar, native, sources, sse, text, thoughts
from http_servers import Exchange, Server
from hypothesis import given
from hypothesis import strategies as st
from replay_server import Case, load_cases
from support import Replay, streams, until

import mesh_nb as mesh
from mesh_nb.core.errors import (
    AuthenticationError,
    ConfigurationError,
    IncompleteStreamError,
    InputError,
    ProviderError,
    RateLimitError,
    StreamTimeoutError,
    UnknownNameError,
)
from mesh_nb.core.events import ExecutionEvent, encode
from mesh_nb.core.tools import Tool
from mesh_nb.providers import _clients
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers._gemini_translate import Translator
from mesh_nb.providers._resolve import resolve
from mesh_nb.providers._wire import Decoder
from mesh_nb.providers.gemini import plugin

KEY = "not-a-known-form-of-key-0123456789"
HI = {"role": "user", "content": "hi"}

_root = streams()
_cases: list[Any] = [c for c in load_cases(_root) if c.api == "gemini"] if _root else []
_recorded = _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))]


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def ask(url: str, model: str, **options: Any) -> AsyncGenerator[ExecutionEvent, None]:
    options.setdefault("api_key", KEY)
    call = ModelCall(model, [HI], base_url=url, **options)
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


def read_all(body: bytes, size: int = 0, **options: Any) -> tuple[list[ExecutionEvent], Translator]:
    """Read a body in pieces of this many bytes (0: all at once)."""
    decoder, translator = Decoder(), Translator(**options)
    step = size or len(body) or 1
    chunks: list[Any] = []
    for i in range(0, len(body), step):
        chunks += decoder.feed(body[i : i + step])
    events: list[ExecutionEvent] = []
    for chunk in [*chunks, *decoder.finish()]:
        events += translator.feed(chunk)
    return events + translator.finish(), translator


def read(*chunks: Any, size: int = 0, **options: Any) -> list[ExecutionEvent]:
    return read_all(sse(*chunks, done=False).replace(b"\n", b"\r\n"), size, **options)[0]


def parts(*given: dict[str, Any], finish: str | None = None, **candidate: Any) -> dict[str, Any]:
    """One chunk with these parts."""
    body = {"content": {"parts": list(given), "role": "model"}, "index": 0, **candidate}
    if finish:
        body["finishReason"] = finish
    return {"candidates": [body], "modelVersion": "gemini-x-001", "responseId": "r1"}


def say(words: str, **more: Any) -> dict[str, Any]:
    return parts({"text": words, **more})


def call_part(name: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {**({"name": name} if name else {}), **fields}}


def server_calls(events: list[ExecutionEvent], kind: str) -> list[ExecutionEvent]:
    return [e for e in events if e.type == kind and e.metadata["executed_by"] == "provider"]


def kinds(events: list[ExecutionEvent]) -> list[str]:
    return [str(e.type) for e in events]


STOP = parts(finish="STOP")
SIZES = pytest.mark.parametrize("size", [1, 7, 0])


# ---- recorded streams
def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def check_sources(events: list[ExecutionEvent], expect: dict[str, Any]) -> None:
    """Grounding is listed as results; each support cites some of them, at a place that is really there."""
    results = sources(events, "result")
    assert list(dict.fromkeys(s["url"] for s in results)) == expect["result_urls"]
    cited = sources(events, "cited")
    supports = [s for s in cited if s["url"] in expect["result_urls"]]
    cited = [s for s in cited if s not in supports]
    assert list(dict.fromkeys(s["url"] for s in cited)) == expect["cited_urls"]
    assert len(cited) == expect["citation_count"]
    assert len({(s["start"], s["end"]) for s in supports}) == expect["grounding_supports"]
    for source in supports:
        assert text(events)[source["start"] : source["end"]] == source["cited_text"]
    queries = [
        n["groundingMetadata.webSearchQueries"] for n in native(events) if "webSearchQueries" in str(n)
    ]
    assert [q for group in queries for q in group] == expect["search_queries"]


def check_calls(events: list[ExecutionEvent], expect: list[dict[str, Any]]) -> None:
    asked = [c for c in expect if c["executed_by"] == "client"]
    found = calls(events)
    assert [(name, arguments) for _, name, arguments in found] == [(c["name"], c["arguments"]) for c in asked]
    assert all(c["id"] in (None, id) for c, (id, _, _) in zip(asked, found, strict=True))
    assert len({id for id, _, _ in found}) == len(found)
    ran = [c for c in expect if c["executed_by"] == "provider"]
    started, completed = (server_calls(events, kind) for kind in ("tool_call_start", "tool_call_complete"))
    assert [e.metadata["tool_name"] for e in started] == [c["name"] for c in ran]
    for c, begun, done in zip(ran, started, completed, strict=True):
        assert begun.metadata["tool_call_id"] == done.metadata["tool_call_id"] == c["id"]
        assert begun.metadata["arguments"]["language"] == c["language"]
        assert digest(done.metadata["arguments"]["code"]) == c["code_sha256"]
        assert done.metadata["status"] == "ok"


@pytest.mark.parametrize("split", [1, 7, 0], ids=["1 byte", "7 bytes", "whole"])
@pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "recorded streams")
async def test_recorded_stream_yields_exactly_its_facts(replay: Replay, case: Case, split: int) -> None:
    expect = case.expect
    model = f"{case.name}@split={split}" if split else f"{case.name}@join=100000"
    events, failure = await collect(ask(replay.url, model, max_retries=0))
    check_grammar(events, start=True)
    meta = events[-1].metadata

    assert digest(text(events)) == expect["text"]["sha256"]
    assert digest(thoughts(events)) == expect["reasoning"]["sha256"]
    assert text(events, "refusal") == ""
    check_calls(events, expect["tool_calls"])
    check_sources(events, expect["sources"])
    files = [base64.b64decode(e.metadata["content"]) for e in events if e.type == "file"]
    assert [(len(f), hashlib.sha256(f).hexdigest()) for f in files] == [
        (f["bytes"], f["sha256"]) for f in expect["files"]
    ]
    kept = json.dumps(meta.get("provider_state", {}))
    assert kept.count('"thoughtSignature"') == expect["reasoning"]["signatures"]

    assert meta["model_id"] == (expect["model_id"] or model)
    assert meta.get("message_id") == expect["response_id"]
    assert (meta["finish_reason"], meta["finish_reason_raw"]) == (expect["finish"], expect["finish_reason"])
    names = {
        "prompt_tokens": "input_total",
        "completion_tokens": "output_total",
        "total_tokens": "total",
        "cached_tokens": "cached_input",
        "reasoning_tokens": "reasoning",
        "tool_use_tokens": "tool_use_input",
    }
    facts = {ours: expect["usage"].get(theirs) for ours, theirs in names.items()}
    assert meta["usage"] == {k: v for k, v in facts.items() if v is not None}
    assert meta["usage_status"] == ("unknown" if expect["usage"]["raw"] is None else "reported")
    assert expect["terminated"]
    if expect["error"]:
        assert failure is not None
        assert failure.message == expect["error"]["message"]
        assert failure.status == expect["error"]["code"]
    else:
        assert failure is None


def test_recorded_gemini_cases_are_all_found() -> None:
    if not _root:
        pytest.skip("no ../shared/provider-streams")
    assert len(_cases) == 9


@pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "recorded streams")
def test_every_prefix_of_every_recorded_stream_is_balanced(case: Case) -> None:
    decoder = Decoder()
    chunks = [*decoder.feed(case.body()), *decoder.finish()]
    for end in range(len(chunks) + 1):
        translator = Translator(call_id="call")
        events = [e for chunk in chunks[:end] for e in translator.feed(chunk)]
        check_grammar(events + translator.finish())


# ---- hand-written streams
@SIZES
def test_text_thoughts_and_usage(size: int) -> None:
    usage = {
        "promptTokenCount": 9,
        "cachedContentTokenCount": 3,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 18,
    }
    events = read(
        {**say("Hm.", thought=True), "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}},
        say("Grüße "),
        parts({"text": "🙂"}, {"text": ""}),
        {**STOP, "usageMetadata": usage},
        size=size,
    )
    check_grammar(events)
    assert kinds(events) == [
        *("reasoning_start", "reasoning_token", "reasoning_end"),
        *("message_start", "token", "token", "message_complete", "response_metadata"),
    ]
    assert (text(events), thoughts(events)) == ("Grüße 🙂", "Hm.")
    assert events[0].metadata["kind"] == "summary"
    assert events[-2].metadata == {"finish_reason": "stop", "message_id": "r1"}
    meta = events[-1].metadata
    assert meta["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 9,
        "total_tokens": 18,
        "cached_tokens": 3,
        "reasoning_tokens": 5,
    }
    assert (meta["model_id"], meta["finish_reason"]) == ("gemini-x-001", "stop")
    assert "provider_state" not in meta


@SIZES
def test_several_kinds_of_parts_in_one_event(size: int) -> None:
    chunk = parts(
        {"text": "why", "thought": True},
        {"text": "A"},
        call_part("f", args={"x": "é"}),
        {"text": "B"},
        call_part("f", args={}),
        finish="STOP",
    )
    events = read(chunk, size=size)
    check_grammar(events)
    assert calls(events) == [("call.tool0", "f", {"x": "é"}), ("call.tool1", "f", {})]
    assert (text(events), thoughts(events)) == ("AB", "why")
    blocks = [e.metadata["text_block_id"] for e in events if e.type == "token"]
    assert len(set(blocks)) == 2
    assert events[-1].metadata["finish_reason"] == "tool_calls"
    assert events[-1].metadata["finish_reason_raw"] == "STOP"


def test_ids_of_calls_are_kept_and_never_shared() -> None:
    events = read(parts(call_part("f", id="a", args={"x": 1}), call_part("g", id="a", args={"x": 2})), STOP)
    assert calls(events) == [("a", "f", {"x": 1}), ("call.tool1", "g", {"x": 2})]


def piece(path: str, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value}


@SIZES
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "the empty call is missing"])
@pytest.mark.parametrize("repeated", [True, False], ids=["name repeated", "name once"])
def test_arguments_that_arrive_in_pieces(size: int, ended: bool, repeated: bool) -> None:
    again = {"name": "f", "id": "v"} if repeated else {}

    def more(*pieces: dict[str, Any]) -> dict[str, Any]:
        return parts({"functionCall": {**again, "partialArgs": list(pieces), "willContinue": True}})

    events = read(
        parts({**call_part("f", id="v", willContinue=True), "thoughtSignature": "sig"}),
        more(piece("$.city", stringValue="São ", willContinue=True), piece("$.days", numberValue=3)),
        more(piece("$.city", stringValue="Paulo"), piece("$.exact", boolValue=False)),
        more(piece("$.legs[1].to", stringValue="x"), piece("$.legs[0]['a b']", nullValue="NULL_VALUE")),
        *([parts(call_part())] if ended else []),
        parts(call_part("g", args={"y": 1})),
        STOP,
        size=size,
    )
    check_grammar(events)
    city = {"city": "São Paulo", "days": 3, "exact": False, "legs": [{"a b": None}, {"to": "x"}]}
    assert calls(events) == [("v", "f", city), ("call.tool1", "g", {"y": 1})]
    kept = events[-1].metadata["provider_state"]["gemini_parts"]
    assert kept[0] == {"functionCall": {"name": "f", "args": city, "id": "v"}, "thoughtSignature": "sig"}


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        (say("x"), "token"),
        (say("x", thought=True), "reasoning_start"),
        (parts({"executableCode": {"code": "1"}}), "tool_call_start"),
        (STOP, "message_complete"),
    ],
    ids=["text", "thought", "code", "the end"],
)
def test_whatever_comes_next_ends_a_call_in_pieces(then: dict[str, Any], kind: str) -> None:
    begun = call_part("f", partialArgs=[piece("$.x", stringValue="y", willContinue=True)], willContinue=True)
    events = read(say("a"), parts(begun), parts({"text": ""}), then)
    check_grammar(events)
    assert calls(events) == [("call.tool0", "f", {"x": "y"})]
    assert kinds(events)[kinds(events).index("tool_call_delta") + 1] == kind


def test_pieces_of_arguments_that_have_no_place() -> None:
    hostile = [
        piece("$", stringValue="x"),
        piece("$[0]", stringValue="x"),
        piece("city", stringValue="x"),
        piece("$.a[99999999]", stringValue="x"),
        piece("$" + ".a" * 500, stringValue="x"),
        piece("$.a", stringValue="x"),
        piece("$.a.b.c", numberValue=1),
        piece("$.a[0]", numberValue=1),
        {"jsonPath": 5},
        None,
    ]
    events = read(parts(call_part("f", partialArgs=hostile)), STOP)
    check_grammar(events)
    [(_, name, arguments)] = calls(events)
    assert name == "f"
    assert set(arguments) == {"a"}


@SIZES
def test_code_that_google_runs(size: int) -> None:
    png = base64.b64encode(b"\x89PNG").decode()
    events = read(
        say("Let me see. "),
        parts({"executableCode": {"language": "PYTHON", "code": "1/0"}}),
        parts({"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}}),
        parts({"executableCode": {"language": "PYTHON", "code": "plot()", "id": "c2"}}),
        parts(
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "done", "id": "c2"}},
            {"inlineData": {"mimeType": "image/png", "data": png}},
        ),
        say("Done."),
        STOP,
        size=size,
    )
    check_grammar(events)
    assert calls(events) == []
    first, second = server_calls(events, "tool_call_complete")
    assert (first.metadata["status"], first.error) == ("error", "ZeroDivisionError")
    assert (second.metadata["tool_call_id"], second.metadata["status"], second.output) == ("c2", "ok", "done")
    assert second.metadata["arguments"] == {"language": "PYTHON", "code": "plot()"}
    [file] = [e.metadata for e in events if e.type == "file"]
    assert file == {"name": "image-1.png", "mime_type": "image/png", "content": png, "size": 4}
    assert events[-1].metadata["finish_reason"] == "stop"
    kept = events[-1].metadata["provider_state"]["gemini_parts"]
    assert [next(iter(p)) for p in kept] == [
        *("text", "executableCode", "codeExecutionResult", "executableCode", "codeExecutionResult", "text"),
    ]


def test_builtin_tools_that_show_their_calls() -> None:
    asked = {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["x"]}, "id": "s1"}
    events = read(
        parts({"toolCall": asked, "thoughtSignature": "a"}),
        parts({"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "response": {"ok": 1}, "id": "s1"}}),
        parts({"toolCall": {"toolType": "URL_CONTEXT"}}),
        STOP,
    )
    check_grammar(events)
    done, open_still = server_calls(events, "tool_call_complete")
    assert (done.metadata["tool_name"], done.metadata["arguments"], done.output) == (
        *("google_search", {"queries": ["x"]}),
        {"ok": 1},
    )
    assert (open_still.metadata["tool_name"], open_still.metadata["status"]) == ("url_context", "cancelled")
    assert len(events[-1].metadata["provider_state"]["gemini_parts"]) == 3


def grounded(text: str, *supports: tuple[int, int, str | None, list[int]], **more: Any) -> dict[str, Any]:
    chunks = [
        {"web": {"uri": "https://a", "title": "A"}},
        {"retrievedContext": {"title": "notes.pdf", "text": "a passage"}},
        {"hologram": {"uri": "https://h"}},
    ]
    made = [
        {
            "segment": {"startIndex": s, "endIndex": e, **({} if t is None else {"text": t})},
            "groundingChunkIndices": c,
        }
        for s, e, t, c in supports
    ]
    grounding = {"groundingChunks": chunks, "groundingSupports": made, **more}
    return parts({"text": text}, groundingMetadata=grounding)


@SIZES
def test_grounding_has_byte_offsets_and_ours_are_code_points(size: int) -> None:
    words = "Zürich 🙂 is cold."
    at = len("Zürich 🙂 ".encode())
    chunk = grounded(
        words, (at, at + 8, "is cold.", [0, 1, 2, 9]), (0, 7, "Zürich", [0]), webSearchQueries=["q"]
    )
    events = read(chunk, chunk, STOP, size=size)
    check_grammar(events)
    assert sources(events, "result") == [
        {"kind": "result", "url": "https://a", "title": "A"},
        {"kind": "result", "title": "notes.pdf", "cited_text": "a passage"},
    ]
    place = {"kind": "cited", "cited_text": "is cold.", "start": 9, "end": 17, "offset_unit": "code_point"}
    first = {"kind": "cited", "cited_text": "Zürich", "start": 0, "end": 6, "offset_unit": "code_point"}
    assert sources(events, "cited") == [
        {"url": "https://a", "title": "A", **place},
        {"title": "notes.pdf", **place},
        {"url": "https://a", "title": "A", **first},
    ]
    assert native(events) == [
        {"groundingChunk": {"hologram": {"uri": "https://h"}}},
        {"groundingMetadata.webSearchQueries": ["q"]},
    ]
    assert server_calls(events, "tool_call_start") == []


@pytest.mark.parametrize(
    ("start", "end", "words", "found"),
    [
        (5, 9, "béta", (1, 5)),
        (6, 11, "béta", (1, 5)),
        (1, 6, "béta", (1, 5)),
        (400, 500, "béta", (1, 5)),
        (6, 11, None, (1, 5)),
        (8, 9, None, None),
        (0, 3, "one", None),
        (0, 0, None, None),
        ("0", "3", None, None),
        (-4, 3, "nowhere", None),
    ],
    ids=[
        *("wrong by one", "bytes of the answer", "bytes of the block", "far off, found by its words"),
        *("without words", "inside a character", "in an earlier block", "empty", "strings", "not there"),
    ],
)
def test_offsets_are_places_in_the_latest_text_block(start: Any, end: Any, words: Any, found: Any) -> None:
    code = parts({"executableCode": {"code": "1"}})
    events = read(say("one: "), code, grounded(" béta.", (start, end, words, [0])), STOP)
    [source] = sources(events, "cited")
    assert (source.get("start"), source.get("end")) == (found or (None, None))


@SIZES
def test_citations_and_pages(size: int) -> None:
    cited = {"citations": [{"startIndex": 3, "endIndex": 6, "uri": "https://c"}, {"license": "mit"}]}
    older = {"citationSources": [{"endIndex": 2, "uri": "https://d"}, {"uri": "https://d", "endIndex": 2}]}
    pages = {
        "urlMetadata": [
            {"retrievedUrl": "https://p", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
            {"retrievedUrl": "https://q", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
        ]
    }
    events = read(
        parts({"text": "é "}, citationMetadata=cited),
        parts({"text": "abc"}, citationMetadata=older, urlContextMetadata=pages),
        STOP,
        size=size,
    )
    check_grammar(events)
    assert sources(events, "cited") == [
        {"kind": "cited", "url": "https://c", "start": 2, "end": 5, "offset_unit": "code_point"},
        {"kind": "cited", "url": "https://d", "start": 0, "end": 1, "offset_unit": "code_point"},
    ]
    assert sources(events, "result") == [{"kind": "result", "url": "https://p"}]
    assert native(events) == [
        {"urlContextMetadata": pages["urlMetadata"][1]},
        {"citation": {"license": "mit"}},
    ]


def test_speech_comes_in_pieces_and_is_one_file() -> None:
    pcm = [base64.b64encode(p).decode() for p in (b"abc", b"de")]
    mime = "audio/L16;codec=pcm;rate=24000"
    events = read(*(parts({"inlineData": {"mimeType": mime, "data": p}}) for p in pcm), STOP)
    [file] = [e.metadata for e in events if e.type == "file"]
    assert (base64.b64decode(file["content"]), file["size"], file["mime_type"]) == (b"abcde", 5, mime)


@SIZES
def test_signatures_stay_in_the_parts_that_they_came_with(size: int) -> None:
    events = read(
        say("thinking", thought=True),
        say("a"),
        say("b"),
        say("c", thoughtSignature="s1"),
        say("d"),
        parts({"thoughtSignature": "s2"}),
        parts({**call_part("f", args={}), "thoughtSignature": "s3"}),
        STOP,
        size=size,
    )
    assert events[-1].metadata["provider_state"] == {
        "gemini_parts": [
            {"text": "ab"},
            {"text": "c", "thoughtSignature": "s1"},
            {"text": "d"},
            {"text": "", "thoughtSignature": "s2"},
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s3"},
        ]
    }


@pytest.mark.parametrize(
    ("raw", "common"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("A_NEW_ONE", "A_NEW_ONE"),
        ("FINISH_REASON_UNSPECIFIED", None),
    ],
)
def test_finish_reasons(raw: str, common: str | None) -> None:
    events, translator = read_all(sse(parts({"text": "x"}, finish=raw), done=False))
    meta = events[-1].metadata
    assert meta["finish_reason"] == common
    assert meta["finish_reason_raw"] == (raw if common else None)
    assert translator.terminated is (common is not None)


def test_a_blocked_prompt_is_an_answer_without_words() -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT"}
    body = {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}
    events, translator = read_all(sse(body, done=False))
    assert kinds(events) == ["custom_data", "response_metadata"]
    assert native(events) == [{"promptFeedback": feedback}]
    assert translator.terminated
    meta = events[-1].metadata
    assert (meta["finish_reason"], meta["usage"]) == (
        "content_filter",
        {"prompt_tokens": 7, "total_tokens": 7},
    )


@pytest.mark.parametrize("usage", [None, {}, "none", [], {"promptTokenCount": "7", "thoughtsTokenCount": -1}])
def test_usage_that_says_nothing_is_unknown_and_never_zero(usage: Any) -> None:
    meta = read({**say("x"), "usageMetadata": usage}, STOP)[-1].metadata
    assert (meta["usage"], meta["usage_status"]) == ({}, "unknown")


@SIZES
def test_chunks_with_holes(size: int) -> None:
    events = read(
        {"candidates": None},
        {"candidates": [None, {"content": None}, {"content": {}}, {"content": {"parts": None}}, {}]},
        {"candidates": [{"content": {"parts": [{}, None, {"text": None}, {"text": ""}, {"thought": True}]}}]},
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "another"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "ok"}]}, "safetyRatings": [{"x": 1}]}]},
        {"candidates": [{"finishReason": "STOP"}]},
        size=size,
        model="asked",
    )
    check_grammar(events)
    assert text(events) == "ok"
    assert native(events) == [{"part": {"text": None}}]
    assert (events[-1].metadata["model_id"], "message_id" in events[-1].metadata) == ("asked", False)


def test_unknown_parts_and_fields_are_passed_on_once() -> None:
    odd = {**parts({"hologram": {"x": 1}}, finishMessage="why"), "modelStatus": {"stage": "preview"}}
    bad = {"inlineData": {"mimeType": "image/png", "data": "not base64!"}}
    link = {"fileData": {"fileUri": "gs://b/o", "mimeType": "image/png"}}
    events = read(odd, odd, [1], parts(bad), parts(link), STOP)
    assert native(events) == [
        {"modelStatus": {"stage": "preview"}},
        {"part": {"hologram": {"x": 1}}},
        {"candidate.finishMessage": "why"},
        [1],
        {"part": bad},
        {"part": link},
    ]
    assert native(read(odd, native=True)) == []


@SIZES
def test_surrogates_are_joined_or_replaced(size: int) -> None:
    body = (
        b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]}}]}\r\n\r\n'
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\ude00b\\ud83d"}]}}]}\r\n\r\n'
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f\\ud83d",'
        b'"args":{"x":"\\ud83d"}}}]},"finishReason":"STOP"}]}\r\n\r\n'
    )
    events, _ = read_all(body, size)
    check_grammar(events)
    assert text(events) == "a😀b\ufffd"
    assert calls(events) == [("call.tool0", "f\ufffd", {"x": "\ufffd"})]
    for event in events:
        encode(event).decode()


@SIZES
@pytest.mark.parametrize("listed", [True, False], ids=["in a list", "bare"])
def test_errors_inside_the_stream(size: int, listed: bool) -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    events, translator = read_all(
        sse(say("so far"), json.dumps([error] if listed else error, indent=1), done=False), size
    )
    check_grammar(events)
    assert text(events) == "so far"
    assert translator.error == error["error"]
    assert events[-1].metadata["finish_reason"] == "error"


_pieces = st.lists(
    st.sampled_from(
        [
            say("word "),
            say("hm ", thought=True),
            say("", thoughtSignature="s"),
            say("\ud83d"),
            parts(call_part("f", args={"x": 1})),
            parts(call_part("f", willContinue=True)),
            parts(call_part(partialArgs=[piece("$.x", stringValue="y")], willContinue=True)),
            parts(call_part()),
            parts({"executableCode": {"code": "1"}}),
            parts({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}),
            parts({"toolCall": {"toolType": "URL_CONTEXT", "id": "t"}}),
            parts({"inlineData": {"mimeType": "image/png", "data": "QUJD"}}),
            parts({"inlineData": {"mimeType": "audio/L16", "data": "QUJD"}}),
            grounded("said ", (0, 5, "said ", [0])),
            {"promptFeedback": {"blockReason": "SAFETY"}},
            {"usageMetadata": {"promptTokenCount": 1}},
            {"error": {"message": "x"}},
            STOP,
        ]
    ),
    max_size=20,
)


@given(_pieces)
def test_every_prefix_of_every_stream_is_balanced(chunks: list[Any]) -> None:
    for end in range(len(chunks) + 1):
        events = read(*chunks[:end])
        check_grammar(events)
        started, completed = (
            server_calls(events, kind) for kind in ("tool_call_start", "tool_call_complete")
        )
        assert sorted(e.metadata["tool_call_id"] for e in started) == sorted(
            e.metadata["tool_call_id"] for e in completed
        )


_NAMES = [
    *(
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "thoughtSignature",
        "functionCall",
        "name",
        "args",
    ),
    *(
        "partialArgs",
        "jsonPath",
        "stringValue",
        "willContinue",
        "executableCode",
        "codeExecutionResult",
        "id",
    ),
    *("inlineData", "data", "mimeType", "groundingMetadata", "groundingChunks", "web", "uri", "segment"),
    *("groundingSupports", "groundingChunkIndices", "startIndex", "endIndex", "citationMetadata", "error"),
    *("citations", "urlContextMetadata", "urlMetadata", "promptFeedback", "blockReason", "usageMetadata"),
    *("finishReason", "responseId", "modelVersion", "toolCall", "toolResponse", "toolType", "index"),
]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(_NAMES), x),
        max_leaves=12,
    )
)
def test_no_chunk_of_any_shape_breaks_the_translator(value: Any) -> None:
    shaped = [value, {"candidates": [value]}, parts(value), parts({"functionCall": value})]
    shaped += [parts(groundingMetadata=value), parts(groundingMetadata={"groundingChunks": value})]
    for chunk in shaped:
        events = read(say("a"), chunk, say("b"))
        check_grammar(events)
        assert text(events).startswith("a")


# ---- the request
def get_item(index: int, name: str) -> dict[str, Any]:
    """Return an item."""
    return {"index": index, "name": name}


TOOLS = [Tool.from_function(get_item)]


def test_request_holds_only_what_was_asked_for() -> None:
    body = plugin.request(ModelCall("gemini-2.5-flash", [HI], system="Be brief."))
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
    }


def test_request_settings_and_their_names() -> None:
    call = ModelCall(
        "gemini-2.5-flash",
        [HI],
        tools=TOOLS,
        builtin_tools=["google_search", "code_execution", "url_context"],
        tool_choice="get_item",
        temperature=0.0,
        max_tokens=50,
        reasoning="low",
        output_schema={"type": "object"},
        extra={
            "generationConfig": {"topK": 3, "maxOutputTokens": None},
            "safetySettings": [],
            "cachedContent": None,
        },
    )
    body = plugin.request(call)
    declared, *own = body["tools"]
    assert declared["functionDeclarations"] == [
        {"name": "get_item", "description": "Return an item.", "parametersJsonSchema": TOOLS[0].schema}
    ]
    assert own == [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}]
    assert body["toolConfig"] == {
        "includeServerSideToolInvocations": True,
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_item"]},
    }
    assert body["generationConfig"] == {
        "temperature": 0.0,
        "topK": 3,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }
    assert body["safetySettings"] == []
    assert "cachedContent" not in body


@pytest.mark.parametrize(
    ("model", "reasoning", "config"),
    [
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24_576, "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-3-pro-preview", "low", {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-flash-latest", "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-2.5-pro", 512, {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-pro", True, {"includeThoughts": True}),
        ("gemini-2.5-pro", {"thinkingBudget": -1}, {"thinkingBudget": -1}),
    ],
)
def test_reasoning(model: str, reasoning: Any, config: dict[str, Any]) -> None:
    body = plugin.request(ModelCall(model, [HI], reasoning=reasoning))
    assert body["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(("choice", "mode"), [("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")])
def test_tool_choice(choice: str, mode: str) -> None:
    body = plugin.request(ModelCall("m", [HI], tools=TOOLS, tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": mode}}


def test_request_messages() -> None:
    kept = [{"functionCall": {"name": "f", "args": {}, "id": "g1"}, "thoughtSignature": "s"}]
    asked = [{"id": "x1", "name": "f", "arguments": {"a": 1}}, {"id": "x2", "name": "g", "arguments": {}}]
    files = [
        {"type": "file", "name": "a.pdf", "mime_type": "application/pdf", "data": b"pdf"},
        {"type": "file", "name": "a.csv", "mime_type": "text/csv", "data": b"1,2"},
    ]
    body = plugin.request(
        ModelCall(
            "m",
            [
                {"role": "system", "content": "S"},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "see"}, "this", *files, {"fileData": {}}],
                },
                {"role": "assistant", "content": "Wait.", "tool_calls": asked},
                {"role": "tool", "tool_call_id": "x1", "name": "f", "content": "1"},
                {"role": "tool", "tool_call_id": "x2", "content": {"content": "2"}},
                {"role": "assistant", "content": "", "provider_state": {"reasoning_details": []}},
                {"role": "assistant", "content": "", "provider_state": {"gemini_parts": kept}},
                {"role": "tool", "tool_call_id": "g1", "name": "f", "content": "3"},
            ],
        )
    )
    assert body["systemInstruction"] == {"parts": [{"text": "S"}]}
    user, called, results, again, last = body["contents"]
    assert user["parts"] == [
        {"text": "see"},
        {"text": "this"},
        {"inlineData": {"mimeType": "application/pdf", "data": "cGRm"}},
        {"text": "File a.csv:\n\n1,2"},
        {"fileData": {}},
    ]
    assert called == {
        "role": "model",
        "parts": [
            {"text": "Wait."},
            {"functionCall": {"name": "f", "args": {"a": 1}}},
            {"functionCall": {"name": "g", "args": {}}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "f", "response": {"output": "1"}}},
            {"functionResponse": {"name": "g", "response": {"output": "2"}}},
        ],
    }
    assert again == {"role": "model", "parts": kept}
    assert last["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "3"}, "id": "g1"}}]


# ---- what is refused before anything starts
def test_missing_key_names_the_variable_and_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"GEMINI_API_KEY.*-m demo"):
        plugin.check(ModelCall("gemini-2.5-pro", []))
    plugin.check(ModelCall("gemini-2.5-pro", [], api_key="k"))
    plugin.check(ModelCall("gemini-2.5-pro", [], base_url="http://localhost:1"))
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    plugin.check(ModelCall("gemini-2.5-pro", []))
    with pytest.raises(ConfigurationError, match="copy it again") as caught:
        plugin.check(ModelCall("gemini-2.5-pro", [], api_key="secret\nkey"))
    assert "secret" not in str(caught.value)


def test_what_cannot_be_sent_is_refused() -> None:
    def check(**options: Any) -> None:
        options.setdefault("base_url", "http://localhost:1")
        plugin.check(ModelCall("m", options.pop("messages", []), **options))

    zipped = {"type": "file", "name": "a.zip", "mime_type": "application/zip", "data": b""}
    with pytest.raises(InputError, match="not an address"):
        check(base_url="localhost")
    with pytest.raises(UnknownNameError, match="Did you mean 'google_search'"):
        check(builtin_tools=["google_serch"])
    with pytest.raises(UnknownNameError, match="Did you mean 'get_item'"):
        check(tools=TOOLS, tool_choice="get_itm")
    with pytest.raises(InputError, match="needs functions"):
        check(builtin_tools=["google_search"], tool_choice="required")
    with pytest.raises(UnknownNameError, match="Did you mean 'medium'"):
        check(reasoning="mediun")
    with pytest.raises(InputError, match="'wizard'"):
        check(messages=[{"role": "wizard", "content": "x"}])
    with pytest.raises(InputError, match=r"'a.zip' \(application/zip\)"):
        check(messages=[{"role": "user", "content": [zipped]}])
    with pytest.raises(InputError, match="has no name"):
        check(messages=[{"role": "tool", "tool_call_id": "x", "content": "1"}])
    with httpx2.Client() as blocking, pytest.raises(InputError, match=r"httpx2\.AsyncClient"):
        check(client=blocking)
    with pytest.raises(InputError, match="dict"):
        check(client={})


def test_it_is_found_by_name() -> None:
    assert resolve("gemini-2.5-pro") == (plugin, "gemini-2.5-pro")
    assert resolve("some/name", provider="gemini", base_url="http://localhost:1") == (plugin, "some/name")


# ---- over HTTP
async def test_a_whole_answer(replay: Replay) -> None:
    events, error = await collect(ask(replay.url, "synthetic-20-r5-t1"))
    assert error is None
    check_grammar(events, start=True)
    assert text(events) == "".join(f"tok{i} " for i in range(20))
    assert calls(events) == [
        (events[0].metadata["call_id"] + ".tool0", "get_item", {"index": 0, "name": "item 0"})
    ]
    start, meta = events[0].metadata, events[-1].metadata
    assert start["call_id"] == meta["call_id"]
    assert start["request"] == {"model": "synthetic-20-r5-t1", **plugin.request(ModelCall("m", [HI]))}
    assert (start["provider"], meta["provider"]) == ("gemini", "gemini")
    assert 0 < meta["time_to_first_token_ms"] <= meta["duration_ms"]
    [request] = replay.requests
    assert request["path"] == "/v1beta/models/synthetic-20-r5-t1:streamGenerateContent"
    assert request["body"] == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert request["authorization_present"]


async def answer(x: Exchange) -> None:
    if "refuse" in x.path:
        details = [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"},
        ]
        kind, status = (0, b"400 Bad") if "key" in x.path else (1, b"429 Slow")
        said = f"No: {KEY} and AIzaSyA-someone-elses_key_0123456789"
        error = {"error": {"code": 1, "message": said, "details": [details[kind]]}}
        await x.answer(json.dumps([error] if kind else error).encode(), status=status)
    elif "page" in x.path:
        await x.answer(b"<html>Bad gateway</html>", status=b"502 Bad Gateway")
    elif "elsewhere" in x.path:
        await x.answer(b"", b"location: https://example.org/\r\n", status=b"307 Temporary")
    else:
        await x.answer(sse(parts({"text": "hi"}, finish="STOP"), done=False))


@pytest.mark.parametrize(
    ("base", "model", "path"),
    [
        ("", "gemini-x", "/v1beta/models/gemini-x"),
        ("/", "models/gemini-x", "/v1beta/models/gemini-x"),
        ("/", "tunedModels/mine", "/v1beta/tunedModels/mine"),
        ("/v1/publishers/google", "gemini-x", "/v1/publishers/google/models/gemini-x"),
        ("/v1beta/", "a/../b?key=1#x", "/v1beta/models/a%2F..%2Fb%3Fkey%3D1%23x"),
    ],
)
async def test_where_requests_go_and_with_which_key(base: str, model: str, path: str) -> None:
    with Server(answer) as server:
        events, error = await collect(ask(server.url + base, model))
        assert (error, text(events)) == (None, "hi")
        [request] = server.requests
    assert request.path == f"{path}:streamGenerateContent?alt=sse"
    assert request.headers["x-goog-api-key"] == KEY


async def test_a_key_that_is_no_key() -> None:
    with Server(answer) as server:
        _, error = await collect(ask(server.url + "/refuse-key", "m"))
        assert len(server.requests) == 1
    assert isinstance(error, AuthenticationError)
    assert (error.status, error.retryable) == (400, False)
    assert "Check GEMINI_API_KEY" in str(error)
    shown = "".join(traceback.format_exception(error))
    assert "No: *** and ***" in shown
    assert KEY not in shown
    assert "AIzaSy" not in shown


async def test_a_wait_that_the_error_asks_for() -> None:
    with Server(answer) as server:
        _, error = await collect(ask(server.url + "/refuse", "m", max_retries=0))
    assert isinstance(error, RateLimitError)
    assert (error.status, error.retry_after, error.retryable) == (429, 34.0, True)


async def test_an_answer_that_is_no_json_and_one_that_sends_us_away() -> None:
    with Server(answer) as server:
        _, error = await collect(ask(server.url + "/page", "m", max_retries=0))
        assert error is not None
        assert (error.status, error.retryable) == (502, True)
        assert "Bad gateway" in str(error)
        _, error = await collect(ask(server.url + "/elsewhere", "m"))
        assert error is not None
        assert error.status == 307


FAULTS = [
    ("error=20", ProviderError, "The model is overloaded"),
    ("drop_event=20", IncompleteStreamError, "connection broke"),
    ("cut_event=20", IncompleteStreamError, "ended before it was complete"),
    ("malformed=20", ProviderError, "not JSON"),
    ("stall=60,stall_at=20", StreamTimeoutError, "Nothing arrived for 0.3 s"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS, ids=[f[0].split("=")[0] for f in FAULTS])
async def test_tokens_then_a_fault(replay: Replay, fault: str, kind: type, says: str) -> None:
    options: dict[str, Any] = {"idle_timeout": 0.3} if fault.startswith("stall") else {}
    events, error = await collect(ask(replay.url, f"synthetic-40@{fault}", **options))
    assert type(error) is kind
    assert says in str(error)
    assert "gemini/synthetic-40" in str(error)
    assert text(events) == "".join(f"tok{i} " for i in range(20))
    check_grammar(events, start=True)
    assert events[-1].metadata["usage_status"] == "unknown"
    assert replay.stats["requests"] == 1, "a stream that had begun is not asked for again"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ProviderError), (401, AuthenticationError), (403, AuthenticationError), (404, ProviderError)],
)
async def test_what_will_not_pass_is_not_asked_again(replay: Replay, status: int, kind: type) -> None:
    events, error = await collect(ask(replay.url, f"synthetic-5@fail=-1,status={status}"))
    assert type(error) is kind
    assert error is not None
    assert (error.status, error.request_id) == (status, "req_replay_1")
    assert "replay: asked to fail" in str(error)
    assert kinds(events) == ["model_call_start", "response_metadata"]
    assert replay.stats["requests"] == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_asked_again(replay: Replay, status: int) -> None:
    model = f"synthetic-5@fail=1,status={status},retry_after=0.05"
    events, error = await collect(ask(replay.url, model))
    assert error is None
    assert [e.content["reason"] for e in events if e.type == "custom_data"] == [f"HTTP {status}"]
    assert replay.stats["requests"] == 2


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        events, error = await collect(ask(url, "m", max_retries=0))
    assert type(error) is ProviderError
    assert error.retryable
    assert url in str(error)
    check_grammar(events, start=True)


async def test_silence_before_the_first_event(replay: Replay) -> None:
    events, error = await collect(ask(replay.url, "synthetic-5@first=60", idle_timeout=0.3, max_retries=0))
    assert isinstance(error, StreamTimeoutError)
    check_grammar(events, start=True)
    await until(lambda: replay.stats["client_disconnects"] == 1)


async def test_comments_and_small_writes(replay: Replay) -> None:
    events, error = await collect(ask(replay.url, "synthetic-20-u@comment=1,split=3"))
    assert error is None
    assert "\u2028" in text(events)
    assert len([e for e in events if e.type == "token"]) == 20


async def test_break_closes_the_connection(replay: Replay) -> None:
    async with aclosing(ask(replay.url, "synthetic-1000@delay=0.01,keepopen=30")) as stream:
        async for event in stream:
            if event.type == "token":
                break
    await until(lambda: replay.stats["client_disconnects"] == 1)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert replay.stats["active"] == 0


async def test_cancel_closes_the_connection(replay: Replay) -> None:
    task = asyncio.create_task(collect(ask(replay.url, "synthetic-5@first=60")))
    await until(lambda: replay.stats["active"] == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: replay.stats["client_disconnects"] == 1)


async def test_connection_is_kept_for_the_next_call(replay: Replay) -> None:
    for _ in range(3):
        await collect(ask(replay.url, "synthetic-5"))
    assert replay.stats["requests"] == 3
    assert replay.stats["connections"] == 1


def test_the_shared_client_is_closed_with_its_loop(replay: Replay) -> None:
    async def use() -> httpx2.AsyncClient:
        await collect(ask(replay.url, "synthetic-5"))
        return _clients.client("httpx2")

    first = asyncio.run(use())
    assert first.is_closed
    assert asyncio.run(use()) is not first


async def test_a_client_of_the_users_own(replay: Replay) -> None:
    async with httpx2.AsyncClient(headers={"authorization": "Bearer t"}) as client:
        events, error = await collect(ask(replay.url, "synthetic-5", client=client, api_key=None))
        assert (error, text(events)) == (None, "tok0 tok1 tok2 tok3 tok4 ")
        assert not client.is_closed
    assert replay.requests[0]["authorization_present"]


async def test_native_events(replay: Replay) -> None:
    events, _ = await collect(ask(replay.url, "synthetic-2-r1", native=True))
    check_grammar(events, start=True)
    mapped = [e for e in events if "native" in e.metadata]
    assert kinds(mapped) == ["reasoning_token", "token", "token"]
    assert mapped[1].metadata["native"]["candidates"][0]["content"]["parts"] == [{"text": "tok0 "}]
    assert native(events)[-1]["usageMetadata"]["totalTokenCount"] == 13


# ---- through a node
async def test_the_tool_loop(replay: Replay) -> None:
    graph = mesh.StateGraph()
    graph.add_node(
        "llm",
        None,
        node_type="llm",
        model="synthetic-5-t1+synthetic-9",
        provider="gemini",
        base_url=replay.url,
        api_key=KEY,
        tools=[get_item],
    )
    graph.set_entry_point("llm")
    executor = mesh.Executor(graph.compile(), mesh.MemoryBackend())
    events = [event async for event in executor.execute("hi")]
    [done] = [e for e in events if e.type == "tool_call_complete"]
    assert (done.output, done.metadata["status"]) == ({"index": 0, "name": "item 0"}, "ok")
    [node] = [e for e in events if e.type == "node_complete"]
    assert node.output["content"] == "".join(f"tok{i} " for i in range(9))
    first, second = (r["body"] for r in replay.requests)
    assert first["tools"][0]["functionDeclarations"][0]["name"] == "get_item"
    user, model, result = second["contents"]
    assert user == first["contents"][0]
    assert model["parts"] == [
        {"text": "".join(f"tok{i} " for i in range(5))},
        {"functionCall": {"name": "get_item", "args": {"index": 0, "name": "item 0"}}},
    ]
    [returned] = result["parts"]
    assert json.loads(returned["functionResponse"]["response"]["output"]) == {"index": 0, "name": "item 0"}
    assert KEY not in "".join(encode(e).decode() for e in events)


@pytest.mark.skipif(not _root, reason="no ../shared/provider-streams")
async def test_a_recorded_signature_goes_back_in_its_part(replay: Replay) -> None:
    def get_country() -> str:
        """Return the country."""
        return "Japan"

    graph = mesh.StateGraph()
    graph.add_node(
        "llm",
        None,
        node_type="llm",
        model="google/tool-call-signature+google/text",
        provider="gemini",
        base_url=replay.url,
        api_key=KEY,
        tools=[get_country],
    )
    graph.set_entry_point("llm")
    events = [e async for e in mesh.Executor(graph.compile(), mesh.MemoryBackend()).execute("hi")]
    assert text(events) == "The capital of France is Paris.\n"
    _, model, result = replay.requests[1]["body"]["contents"]
    [part] = model["parts"]
    assert part["functionCall"] == {"name": "get_country", "args": {}}
    assert len(part["thoughtSignature"]) > 100
    assert result["parts"][0]["functionResponse"]["response"] == {"output": "Japan"}
