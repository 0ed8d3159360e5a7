"""Chat completions: recorded streams through the real SDK, hand-written ones for every known quirk."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from chat_streams import (
    calls,
    check_grammar,
    delta,
    native,
    read,
    read_all,
    sources,
    sse,
    text,
    thoughts,
    tool,
)
from hypothesis import given
from hypothesis import strategies as st
from replay_server import Case, load_cases
from support import Replay, streams

from mesh_nb.core.errors import ConfigurationError, InputError, ProviderError, UnknownNameError
from mesh_nb.core.events import ExecutionEvent, encode
from mesh_nb.core.tools import Tool
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers.openai_chat import plugin

_root = streams()
_cases: list[Any] = [c for c in load_cases(_root) if c.api == "chat"] if _root else []
_recorded = _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))]


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@pytest.mark.parametrize("split", [1, 7, 0], ids=["1 byte", "7 bytes", "whole"])
@pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "recorded streams")
async def test_recorded_stream_yields_exactly_its_facts(replay: Replay, case: Case, split: int) -> None:
    expect = case.expect
    model = f"{case.name}@split={split}" if split else f"{case.name}@join=100000"
    call = ModelCall(
        model, [{"role": "user", "content": "x"}], base_url=replay.base_url, api_key="x", max_retries=0
    )
    events: list[ExecutionEvent] = []
    failure: ProviderError | None = None
    try:
        async for event in plugin.stream(call):
            events.append(event)
    except ProviderError as error:
        failure = error
    check_grammar(events, start=True)
    meta = events[-1].metadata

    assert digest(text(events)) == expect["text"]["sha256"]
    assert digest(thoughts(events)) == expect["reasoning"]["sha256"]
    if expect["refusal"]:
        assert digest(text(events, "refusal")) == expect["refusal"]["sha256"]
    else:
        assert text(events, "refusal") == ""
    assert calls(events) == [(c["id"], c["name"], c["arguments"]) for c in expect["tool_calls"]]
    cited, results = sources(events, "cited"), sources(events, "result")
    assert list(dict.fromkeys(s["url"] for s in cited)) == expect["sources"]["cited_urls"]
    assert list(dict.fromkeys(s["url"] for s in results)) == expect["sources"]["result_urls"]
    assert len(cited) == expect["sources"]["citation_count"]

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
    assert meta["usage"] == {k: v for k, v in facts.items() if v is not None}
    assert meta["usage_status"] == ("unknown" if expect["usage"]["raw"] is None else "reported")
    cost = expect["usage"].get("provider_cost")
    if cost is not None:
        total = cost["total_cost"] if isinstance(cost, dict) else cost
        assert (meta["cost_usd"], meta["cost_source"]) == (total, "wire")
    if expect["error"]:
        assert failure is not None
        assert expect["error"]["message"] in failure.message
        assert failure.details["message"] == expect["error"]["message"]
    else:
        assert failure is None
        assert expect["terminated"]


def test_recorded_chat_cases_are_all_found() -> None:
    if not _root:
        pytest.skip("no ../shared/provider-streams")
    assert len(_cases) == 14


# ---- hand-written streams
SIZES = pytest.mark.parametrize("size", [1, 7, 0])


@SIZES
def test_text_and_usage(size: int) -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    end = {"id": "chatcmpl-1", "model": "m-2026", "choices": [], "usage": usage}
    body = sse(
        delta(role="assistant", content=""), delta(content="Grüße "), delta(content="🙂"), delta("stop"), end
    )
    events = read(body, size)
    check_grammar(events)
    assert [str(e.type) for e in events] == [
        "message_start",
        "token",
        "token",
        "message_complete",
        "response_metadata",
    ]
    assert text(events) == "Grüße 🙂"
    assert events[-2].metadata == {"finish_reason": "stop", "message_id": "chatcmpl-1"}
    meta = events[-1].metadata
    assert meta["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "cached_tokens": 3,
        "cache_write_tokens": 2,
        "reasoning_tokens": 1,
    }
    assert (meta["model_id"], meta["finish_reason"], meta["usage_status"]) == ("m-2026", "stop", "reported")


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
        {"content": "<think>Hm.</think>"},
    ],
    ids=["reasoning_content", "reasoning", "both", "details", "mistral", "think tag"],
)
@SIZES
def test_reasoning_in_all_its_spellings_comes_once(size: int, fields: dict[str, Any]) -> None:
    events = read(sse(delta(**fields), delta(content="Yes."), delta("stop")), size)
    check_grammar(events)
    assert (thoughts(events), text(events)) == ("Hm.", "Yes.")
    assert [str(e.type) for e in events][:4] == [
        "reasoning_start",
        "reasoning_token",
        "reasoning_end",
        "message_start",
    ]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_think_tags_split_anywhere(cuts: list[int]) -> None:
    whole, pieces, at = "\n<think>\nA < b and </thin> c\n</think>\n\nThe <think> tag.", [], 0
    for cut in cuts:
        pieces.append(whole[at : at + cut])
        at += cut
    pieces.append(whole[at:])
    events = read(sse(*(delta(content=p) for p in pieces), delta("stop")))
    check_grammar(events)
    assert thoughts(events) == "\nA < b and </thin> c\n"
    assert text(events) == "The <think> tag."


def test_think_tags_that_never_close_or_are_turned_off() -> None:
    events = read(sse(delta(content="<think>Hm"), delta("length")))
    assert (thoughts(events), text(events)) == ("Hm", "")
    events = read(sse(delta(content="<think>Hm</think>"), delta("stop")), think_tags=False)
    assert (thoughts(events), text(events)) == ("", "<think>Hm</think>")
    assert text(read(sse(delta(content="<thi"), delta("stop")))) == "<thi"


@SIZES
def test_refusal_is_told_by_its_subtype(size: int) -> None:
    events = read(sse(delta(content=None, refusal=""), delta(refusal="I'm sorry."), delta("stop")), size)
    check_grammar(events)
    assert (text(events), text(events, "refusal")) == ("", "I'm sorry.")


@SIZES
def test_parallel_tool_calls_interleaved(size: int) -> None:
    body = sse(
        delta(tool_calls=[tool(0, "a", "get"), tool(1, "b", "set")]),
        delta(tool_calls=[tool(1, arguments='{"x"')]),
        delta(tool_calls=[tool(0, arguments='{"city": "Ber')]),
        delta(tool_calls=[tool(0, arguments='lin"}'), tool(1, arguments=": 1}")]),
        delta("tool_calls"),
    )
    events = read(body, size)
    check_grammar(events)
    assert calls(events) == [("a", "get", {"city": "Berlin"}), ("b", "set", {"x": 1})]
    assert "message_start" not in [e.type for e in events]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([[tool(0, "0", "f", None)], [tool(0, "0", "f", "{}")]], [("0", "f", {})]),
        ([[tool(0, "f:0", "f", '{"a"')], [tool(0, "f:0", "f", ":1}")]], [("f:0", "f", {"a": 1})]),
        ([[tool(0, "x", "f", "{}")], [tool(0, "y", "g", '{"b":2}')]], [("x", "f", {}), ("y", "g", {"b": 2})]),
        ([[tool(None, "x", "f", "{}"), tool(None, "y", "g", "{}")]], [("x", "f", {}), ("y", "g", {})]),
        ([[tool(0, None, "f", "{}")]], [("call.tool0", "f", {})]),
        ([[tool(0, "x", None, '{"a"')], [tool(0, None, "f", ":1}")]], [("x", "f", {"a": 1})]),
        ([[tool(0, "x", "f", {"a": 1})]], [("x", "f", {"a": 1})]),
        ([[tool(0, "x", "f")], [tool(0, "", "", "{}")]], [("x", "f", {})]),
        ([[tool(0, "x", "f")]], [("x", "f", {})]),
    ],
    ids=[
        "id repeated, arguments null",
        "name:0 repeated",
        "another call at the same index",
        "no index",
        "no id",
        "name late",
        "arguments as an object",
        "empty strings",
        "no arguments",
    ],
)
@SIZES
def test_tool_call_quirks(size: int, deltas: list[Any], expected: list[Any]) -> None:
    events = read(sse(*(delta(tool_calls=d) for d in deltas), delta("tool_calls")), size)
    check_grammar(events)
    assert calls(events) == expected


def test_legacy_function_call() -> None:
    body = sse(
        delta(function_call={"name": "f", "arguments": '{"a"'}),
        delta(function_call={"arguments": ":1}"}),
        delta("function_call"),
    )
    events = read(body)
    assert calls(events) == [("call.tool0", "f", {"a": 1})]
    assert events[-1].metadata["finish_reason"] == "tool_calls"


@SIZES
def test_citations_are_deduplicated_and_keep_their_offsets(size: int) -> None:
    def citation(url: str, start: int, end: int) -> dict[str, Any]:
        return {
            "type": "url_citation",
            "url_citation": {"url": url, "title": "T", "start_index": start, "end_index": end},
        }

    body = sse(
        delta(content="", annotations=[citation("https://a", 0, 0)]),
        delta(content="Hi", annotations=[citation("https://b", 0, 2), citation("https://b", 0, 2)]),
        delta(
            annotations=[
                {"type": "url_citation", "url": "https://c"},
                {"type": "file_citation", "file_id": "f"},
            ]
        ),
        delta("stop"),
    )
    events = read(body, size)
    assert sources(events, "cited") == [
        {"url": "https://a", "kind": "cited", "title": "T"},
        {
            "url": "https://b",
            "kind": "cited",
            "title": "T",
            "start": 0,
            "end": 2,
            "offset_unit": "code_point",
        },
        {"url": "https://c", "kind": "cited"},
    ]
    assert native(events) == [{"annotation": {"type": "file_citation", "file_id": "f"}}]


@SIZES
def test_perplexity_results_repeated_in_every_chunk(size: int) -> None:
    results = [{"url": "https://a", "title": "A", "snippet": "s"}, {"url": "https://b"}]
    chunk = {**delta(content="1"), "search_results": results, "citations": ["https://a", "https://b"]}
    usage = {"prompt_tokens": 8, "completion_tokens": 1, "cost": {"total_cost": 0.005}}
    events = read(sse(chunk, chunk, {**chunk, "usage": usage}, delta("stop"), done=False), size)
    assert sources(events, "result") == [
        {"url": "https://a", "kind": "result", "title": "A", "cited_text": "s"},
        {"url": "https://b", "kind": "result"},
    ]
    assert sum(e.type == "source" for e in events) == 1
    meta = events[-1].metadata
    assert (meta["cost_usd"], meta["cost_source"], meta["usage"]["total_tokens"]) == (0.005, "wire", 9)


def test_xai_leaves_reasoning_out_of_completion_tokens() -> None:
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 2,
        "total_tokens": 354,
        "completion_tokens_details": {"reasoning_tokens": 340},
    }
    events = read(sse(delta(content="x"), {**delta("stop"), "usage": usage}))
    assert events[-1].metadata["usage"]["completion_tokens"] == 342


@pytest.mark.parametrize(
    "usage", [None, {}, "none", {"prompt_tokens": None, "prompt_tokens_details": None}, []]
)
def test_usage_that_says_nothing_is_unknown_and_never_zero(usage: Any) -> None:
    meta = read(sse(delta(content="x"), {**delta("stop"), "usage": usage}))[-1].metadata
    assert (meta["usage"], meta["usage_status"], "cost_usd" in meta) == ({}, "unknown", False)


def test_last_usage_and_first_finish_reason_count() -> None:
    body = sse(
        {**delta(content="x"), "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        delta("length"),
        {**delta("stop", content=" more"), "usage": {"prompt_tokens": 1, "completion_tokens": 5}},
        {"id": "chatcmpl-1", "choices": [], "usage": None},
    )
    events = read(body)
    assert text(events) == "x more"
    assert events[-1].metadata["finish_reason"] == "length"
    assert events[-1].metadata["usage"]["completion_tokens"] == 5


@SIZES
def test_chunks_with_holes(size: int) -> None:
    base = {"id": "", "created": 0, "object": "chat.completion.chunk"}
    body = sse(
        {**base, "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {**base, "choices": None},
        {**base, "choices": [{"index": 0, "delta": None}]},
        {
            **base,
            "choices": [{"delta": {"content": "ok", "tool_calls": None, "refusal": "", "role": "assistant"}}],
        },
        {**base, "choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        {**base, "choices": ["odd", None]},
    )
    events = read(body, size, model="asked")
    check_grammar(events)
    assert text(events) == "ok"
    assert native(events) == []
    assert events[-1].metadata["model_id"] == "asked"
    assert "message_id" not in events[-1].metadata


@SIZES
def test_surrogate_pairs_cut_between_deltas(size: int) -> None:
    body = (
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"\\ude00b"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"\\ude00c\\ud83d"}}]}\n\n'
        b'data: {"choices":[{"delta":{"reasoning":"\\ud83d"}}]}\n\n'
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":'
        b'{"name":"f","arguments":"{\\"a\\":\\"\\ud83d"}}]}}]}\n\n'
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":'
        b'{"arguments":"\\ude00\\"}"}}]}}]}\n\n'
    )
    events = read(body, size)
    check_grammar(events)
    assert text(events) == "a😀b\ufffdc\ufffd"
    assert thoughts(events) == "\ufffd"
    assert calls(events) == [("x", "f", {"a": "😀"})]
    for event in events:
        encode(event).decode()


def test_images_become_files_once() -> None:
    png = base64.b64encode(b"\x89PNG-bytes").decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}}
    remote = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    events = read(sse(delta(images=[image]), delta(images=[image, remote]), delta("stop")))
    files = [e.metadata for e in events if e.type == "file"]
    assert files == [{"name": "image-1.png", "mime_type": "image/png", "content": png, "size": 10}]
    assert native(events) == [{"image": remote}]


def test_audio_becomes_a_file_and_its_transcript_the_text() -> None:
    parts = [base64.b64encode(p).decode() for p in (b"abc", b"de")]
    body = sse(
        delta(audio={"id": "audio_1", "transcript": "Hel"}),
        delta(audio={"data": parts[0]}),
        delta(audio={"transcript": "lo", "data": parts[1]}),
        delta("stop"),
    )
    events = read(body)
    check_grammar(events)
    assert text(events) == "Hello"
    [file] = [e.metadata for e in events if e.type == "file"]
    assert (base64.b64decode(file["content"]), file["size"], file["mime_type"]) == (b"abcde", 5, "audio/pcm")


def test_groq_runs_tools_itself() -> None:
    executed = {"index": 0, "type": "search", "arguments": '{"q":"x"}'}
    found = {
        **executed,
        "output": "Title",
        "search_results": {"results": [{"url": "https://a", "title": "A"}]},
    }
    body = sse(
        delta(executed_tools=[executed]),
        delta(executed_tools=[found]),
        {
            **delta("stop", content="ok"),
            "x_groq": {"id": "r", "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        },
    )
    events = read(body)
    check_grammar(events)
    kinds = [str(e.type) for e in events]
    assert kinds[:3] == ["tool_call_start", "tool_call_complete", "source"]
    assert {e.metadata["executed_by"] for e in events[:2]} == {"provider"}
    assert events[-1].metadata["usage"]["completion_tokens"] == 2


def test_encrypted_reasoning_and_what_history_needs() -> None:
    body = sse(
        delta(reasoning="A", reasoning_details=[{"type": "reasoning.text", "text": "A", "index": 0}]),
        delta(reasoning="B", reasoning_details=[{"type": "reasoning.text", "text": "B", "index": 0}]),
        delta(reasoning_details=[{"type": "reasoning.text", "signature": "sig", "index": 0}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "xyz", "index": 1}]),
        delta(content="C"),
        delta("stop"),
    )
    events = read(body)
    check_grammar(events)
    assert thoughts(events) == "AB"
    kinds = [e.metadata["kind"] for e in events if e.type == "reasoning_start"]
    assert kinds == ["full", "redacted"]
    assert events[-1].metadata["provider_state"] == {
        "reasoning_details": [
            {"type": "reasoning.text", "text": "AB", "index": 0, "signature": "sig"},
            {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
        ]
    }


def test_unknown_fields_are_passed_on_once_and_known_noise_is_not() -> None:
    noisy = {
        **delta(content="x"),
        "system_fingerprint": "fp",
        "obfuscation": "abc",
        "service_tier": "default",
    }
    odd = {**noisy, "moderation": {"flagged": True}}
    events = read(sse(odd, odd, {"hello": 1}, [1, 2], delta("stop", hologram="h")))
    assert native(events) == [
        {"moderation": {"flagged": True}},
        {"hello": 1},
        [1, 2],
        {"delta.hologram": "h"},
    ]
    assert text(events) == "xx"


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 502, "message": "upstream died"}},
        {**delta("stop"), "error": {"code": 502, "message": "upstream died"}},
        {
            "id": "x",
            "choices": [{"index": 0, "delta": {}, "error": {"message": "upstream died", "code": 502}}],
        },
        {"object": "error", "message": "upstream died", "code": 502},
        'event: error\ndata: {"message": "upstream died", "code": 502}\n\n',
        'error: {"message": "upstream died", "code": 502}\n\n',
        '{"error": {"message": "upstream died", "code": 502}}\n',
    ],
    ids=["error", "in a chunk", "in a choice", "object error", "event", "llama.cpp", "bare JSON"],
)
@SIZES
def test_errors_inside_the_stream(size: int, error: Any) -> None:
    events, translator, _ = read_all(sse(delta(content="so far"), error, done=False), size)
    check_grammar(events)
    assert text(events) == "so far"
    assert translator.error is not None
    assert translator.error["message"] == "upstream died"
    assert events[-1].metadata["finish_reason"] == "error"


def test_a_whole_completion_from_a_server_that_does_not_stream() -> None:
    message = {"role": "assistant", "content": "All at once.", "tool_calls": [tool(None, "x", "f", "{}")]}
    body = {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    events, translator, _ = read_all(json.dumps(body, indent=1).encode())
    check_grammar(events)
    assert text(events) == "All at once."
    assert calls(events) == [("x", "f", {})]
    assert translator.terminated


@pytest.mark.parametrize(
    ("raw", "common"),
    [("max_tokens", "length"), ("eos", "stop"), ("function_call", "tool_calls"), ("odd", "odd")],
)
def test_finish_reasons(raw: str, common: str) -> None:
    meta = read(sse(delta(raw)))[-1].metadata
    assert (meta["finish_reason"], meta["finish_reason_raw"]) == (common, raw)


pieces = st.lists(
    st.sampled_from(
        [
            delta(content="word "),
            delta(reasoning_content="hm "),
            delta(refusal="no "),
            delta(content="<think>a"),
            delta(content="b</think>c"),
            delta(content="\ud83d"),
            delta(content=[{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "u"}]),
            delta(tool_calls=[tool(0, "a", "f", '{"x":')]),
            delta(tool_calls=[tool(1, "b", "g", "{}"), tool(0, arguments="1}")]),
            delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]),
            delta(annotations=[{"type": "url_citation", "url": "https://a"}]),
            delta(audio={"data": "QUJD", "transcript": "say "}),
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
            delta("stop"),
            {"error": {"message": "x"}},
        ]
    ),
    max_size=25,
)


@given(pieces)
def test_every_prefix_of_every_stream_is_balanced(chunks: list[Any]) -> None:
    for end in range(len(chunks) + 1):
        check_grammar(read(sse(*chunks[:end], done=False)))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "delta",
                        "content",
                        "tool_calls",
                        "function",
                        "index",
                        "id",
                        "name",
                        "usage",
                        "error",
                        "reasoning_details",
                        "annotations",
                        "images",
                        "audio",
                        "x_groq",
                        "search_results",
                        "executed_tools",
                        "message",
                        "arguments",
                        "image_url",
                    ]
                ),
                x,
            )
        ),
        max_leaves=12,
    )
)
def test_no_chunk_of_any_shape_breaks_the_translator(chunk: Any) -> None:
    events, _, _ = read_all(sse(delta(content="a"), chunk, delta(content="b"), done=False))
    check_grammar(events)
    assert text(events).startswith("a")


# ---- the request
def get_weather(city: str, days: int = 1) -> str:
    """Forecast for a city."""
    return f"{city} {days}"


def body_of(call: ModelCall) -> dict[str, Any]:
    return plugin.request(call)


def test_request_holds_only_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    body = body_of(ModelCall("gpt-5", [{"role": "user", "content": "hi"}], system="Be brief."))
    assert body == {
        "model": "gpt-5",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_request_settings_and_their_names() -> None:
    call = ModelCall(
        "m",
        [{"role": "user", "content": "hi"}],
        tools=[Tool.from_function(get_weather)],
        tool_choice="get_weather",
        temperature=0.0,
        max_tokens=50,
        reasoning="low",
        output_schema={"type": "object"},
        base_url="http://localhost:1/v1",
        extra={"top_k": 3, "stream_options": None},
    )
    body = body_of(call)
    assert body["max_tokens"] == 50
    assert body["temperature"] == 0.0
    assert body["reasoning_effort"] == "low"
    assert body["top_k"] == 3
    assert "stream_options" not in body
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    [described] = body["tools"]
    assert described["function"]["description"] == "Forecast for a city."
    assert set(described["function"]["parameters"]["properties"]) == {"city", "days"}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    own = ModelCall("m", [], max_tokens=50, base_url="https://api.openai.com/v1", reasoning={"effort": "low"})
    assert body_of(own)["max_completion_tokens"] == 50
    assert body_of(own)["reasoning"] == {"effort": "low"}


def test_request_messages() -> None:
    state = {"reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.text"}]}
    asked = [{"id": "x", "name": "f", "arguments": {"a": 1}}]
    call = ModelCall(
        "m",
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "file", "name": "a.png", "mime_type": "image/png", "data": b"png"},
                ],
            },
            {"role": "assistant", "content": "old", "provider_state": state},
            {
                "role": "user",
                "content": [
                    {"type": "file", "name": "a.pdf", "mime_type": "application/pdf", "data": b"pdf"},
                    {"type": "file", "name": "a.csv", "mime_type": "text/csv", "data": b"1,2"},
                ],
            },
            {"role": "assistant", "content": "", "tool_calls": asked, "provider_state": state},
            {"role": "tool", "tool_call_id": "x", "name": "f", "content": "42"},
        ],
        base_url="http://localhost:1/v1",
    )
    first, old, second, assistant, result = body_of(call)["messages"]
    assert first["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}}
    assert old == {"role": "assistant", "content": "old", "reasoning_details": [{"type": "reasoning.text"}]}
    assert second["content"][0] == {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
    }
    assert second["content"][1] == {"type": "text", "text": "File a.csv:\n\n1,2"}
    assert assistant["tool_calls"] == [
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    assert assistant["content"] is None
    assert assistant["reasoning_content"] == "hm"
    assert result == {"role": "tool", "tool_call_id": "x", "content": "42"}


# ---- what is refused before anything starts
def test_missing_key_names_the_variable_and_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY.*-m demo"):
        plugin.check(ModelCall("gpt-5", []))
    plugin.check(ModelCall("gpt-5", [], api_key="sk-x"))
    plugin.check(ModelCall("qwen", [], base_url="http://localhost:11434/v1"))
    with pytest.raises(ConfigurationError):
        plugin.check(ModelCall("gpt-5", [], base_url="https://api.openai.com/v1/"))


def test_what_cannot_be_sent_is_refused() -> None:
    local = "http://localhost:1/v1"
    with pytest.raises(InputError, match="not an address"):
        plugin.check(ModelCall("m", [], base_url="localhost"))
    with pytest.raises(InputError, match="'web_search'"):
        plugin.check(ModelCall("m", [], builtin_tools=["web_search"], base_url=local))
    with pytest.raises(InputError, match="'wizard'"):
        plugin.check(ModelCall("m", [{"role": "wizard", "content": "x"}], base_url=local))
    tools = [Tool.from_function(get_weather)]
    with pytest.raises(UnknownNameError, match="Did you mean 'get_weather'"):
        plugin.check(ModelCall("m", [], tools=tools, tool_choice="get_wether", base_url=local))
    import openai

    with openai.OpenAI(api_key="x") as blocking, pytest.raises(InputError, match="AsyncOpenAI"):
        plugin.check(ModelCall("m", [], client=blocking))
    with pytest.raises(InputError, match="dict"):
        plugin.check(ModelCall("m", [], client={}))
