"""Bytes to JSON: the same values whatever the pieces, and nothing lost to odd framing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_nb.providers._wire import Decoder, parse


def decode(body: bytes, size: int = 0) -> list[object]:
    decoder, out = Decoder(), []
    step = size or len(body) or 1
    for i in range(0, len(body), step):
        out += decoder.feed(body[i : i + step])
    return out + decoder.finish()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(), values), max_size=5), st.integers(1, 40), st.sampled_from("\n\r "))
def test_events_survive_any_framing(objects: list[dict[str, object]], size: int, kind: str) -> None:
    end = {"\n": "\n", "\r": "\r", " ": "\r\n"}[kind]
    body = "".join(f"data: {json.dumps(o, ensure_ascii=False)}{end}{end}" for o in objects)
    assert decode(body.encode("utf-8", "surrogatepass"), size) == objects


@pytest.mark.parametrize("size", [0, 1, 7])
def test_lines_end_at_cr_lf_and_crlf_only(size: int) -> None:
    text = "a\u2028b\u0085c\x0bd\x0ce\u2029"
    body = f'data: {{"t":"{text}"}}\n\n'.replace("\x0b", "\\u000b").replace("\x0c", "\\f")
    assert decode(body.encode(), size) == [{"t": text}]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
@pytest.mark.parametrize("size", [0, 1, 7])
def test_event_of_several_lines(size: int, end: bytes) -> None:
    body = end.join([b"event: error", b'data: {"a":', b"data: 1}", b"", b'data: {"b":2}', b"", b""])
    assert decode(body, size) == [{"error": {"a": 1}}, {"b": 2}]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_comments_blank_lines_ids_and_a_byte_order_mark(size: int) -> None:
    body = b'\xef\xbb\xbf\n\n: OPENROUTER PROCESSING\n\n data: {"a":1}\nid: 7\nretry: 10\n\n\n\n'
    body += b':x\ndata:{"b":2}\n\n'
    assert decode(body, size) == [{"a": 1}, {"b": 2}]


def test_done_is_seen_and_ends_the_reading() -> None:
    decoder = Decoder()
    assert decoder.feed(b'data: {"a":1}\n\ndata: [DONE]\n\ndata: {"b":2}\n\n') == [{"a": 1}]
    assert decoder.done


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_last_event_without_its_blank_line(size: int) -> None:
    assert decode(b'data: {"a":1}\n\ndata: {"b":2}', size) == [{"a": 1}, {"b": 2}]
    assert decode(b'data: {"a":1}\n\ndata: {"b":', size) == [{"a": 1}]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_llama_cpp_error_line(size: int) -> None:
    body = b'data: {"a":1}\n\nerror: {"code":500,"message":"out of memory"}\n\n'
    assert decode(body, size) == [{"a": 1}, {"error": {"code": 500, "message": "out of memory"}}]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_named_error_event_without_an_error_of_its_own(size: int) -> None:
    assert decode(b'event: error\ndata: {"message":"no"}\n\n', size) == [{"error": {"message": "no"}}]
    assert decode(b'event: error\ndata: {"error":{"message":"no"}}\n\n') == [{"error": {"message": "no"}}]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_bare_json_after_the_events(size: int) -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded."}}
    body = b'data: {"a":1}\r\n\r\n' + json.dumps(error, indent=2).encode() + b"\n"
    assert decode(body, size) == [{"a": 1}, error]


def test_text_that_is_no_event_is_kept() -> None:
    decoder = Decoder()
    assert decoder.feed(b"<html>\n\n<h1>502 Bad Gateway</h1>\n\n") + decoder.finish() == []
    assert b"502 Bad Gateway" in decoder.loose


def test_malformed_event_is_named_and_what_came_before_it_kept() -> None:
    decoder = Decoder()
    assert decoder.feed(b'data: {"a":1}\n\ndata: {"broken": [1, 2\n\ndata: {"b":2}\n\n') == [{"a": 1}]
    assert decoder.malformed == '{"broken": [1, 2'


def test_a_line_of_megabytes_in_small_pieces() -> None:
    image = "A" * 2_000_000
    assert decode(b'data: {"b64":"' + image.encode() + b'"}\n\n', 1000) == [{"b64": image}]


def test_lone_surrogates_and_bad_utf8() -> None:
    assert parse(rb'{"t":"\ud83d"}') == {"t": "\ud83d"}
    assert parse(rb'{"t":"a\ud83dz\ude00b"}') == {"t": "a\ufffdz\ufffdb"}
    assert parse(rb'{"\ud83d":1}') == {"\ufffd": 1}
    assert parse(b'{"t":"\xff"}') == {"t": "\ufffd"}
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(b"[" * 100_000)
