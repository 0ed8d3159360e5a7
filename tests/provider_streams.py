"""Streams of all four APIs for tests of the grammar: written by hand, and recorded ones where present.

Hand-written words say what they are: answer text is made of `t1 `, `t2 `, reasoning of `r1 `, `r2 `, and
arguments hold `ARG`. A stream is a head, lanes that may be interleaved in any way, and a tail.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Iterable
from typing import Any

from chat_streams import delta, tool
from replay_server import load_cases, split_events
from support import streams

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@dataclasses.dataclass(frozen=True)
class Written:
    """A stream in parts. `text` and `reasoning` are what a reader must get, however the lanes are mixed."""

    head: list[Any]
    lanes: list[list[Any]]
    tail: list[Any]
    text: str = "t1 t2 t3 "
    reasoning: str = "r1 r2 "
    calls: int = 2

    def mixed(self, order: Iterable[int]) -> list[Any]:
        """Return all chunks; each number says which lane gives its next chunk, what is left follows."""
        rest = [list(lane) for lane in self.lanes]
        middle = [rest[i % len(rest)].pop(0) for i in order if rest[i % len(rest)]]
        return [*self.head, *middle, *itertools.chain(*rest), *self.tail]

    @property
    def length(self) -> int:
        return sum(map(len, self.lanes))


def _part(*given: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    body = {"content": {"role": "model", "parts": list(given)}, "index": 0, **candidate}
    return {"candidates": [body], "modelVersion": "m-2026", "responseId": "r1"}


def _ev(kind: str, at: int, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": at, **fields}


def _item(state: str, at: int, kind: str, **fields: Any) -> dict[str, Any]:
    return _ev(f"output_item.{state}", at, item={"type": kind, **fields})


def _block(index: int, kind: str, *deltas: dict[str, Any], **fields: Any) -> list[Any]:
    opened = {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}
    inner = [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
    return [opened, *inner, {"type": "content_block_stop", "index": index}]


def _chat() -> Written:
    note = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    return Written(
        head=[delta(role="assistant", content="")],
        lanes=[
            [delta(content=f"t{i} ") for i in (1, 2, 3)],
            [delta(reasoning_content="r1 "), delta(reasoning_content="r2 ")],
            [
                delta(tool_calls=[t])
                for t in (tool(0, "a", "f"), tool(0, arguments='{"x":"ARG'), tool(0, arguments='"}'))
            ],
            [delta(tool_calls=[t]) for t in (tool(1, "b", "f", '{"x":"'), tool(1, arguments='ARG"}'))],
            [delta(annotations=[note]), delta(images=[image])],
        ],
        tail=[
            delta("stop"),
            {"id": "c", "model": "m-2026", "choices": [], "usage": usage},
            "data: [DONE]\n\n",
        ],
    )


def _responses() -> Written:
    response = {"id": "resp_1", "model": "m-2026", "status": "in_progress"}
    counted = {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14}
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 1}
    said = {"type": "output_text", "text": "t1 t2 t3 ", "annotations": []}

    def call(at: int, id: str) -> list[Any]:
        begun = {"id": f"fc_{id}", "call_id": id, "name": "f"}
        fragments = ['{"x":', '"ARG"}']
        return [
            _item("added", at, "function_call", **begun, arguments=""),
            *[_ev("function_call_arguments.delta", at, delta=f) for f in fragments],
            _ev("function_call_arguments.done", at, arguments="".join(fragments)),
            _item("done", at, "function_call", **begun, arguments="".join(fragments)),
        ]

    return Written(
        head=[{"type": "response.created", "response": response}],
        lanes=[
            [
                _item("added", 0, "message", id="msg_1", role="assistant", content=[]),
                *[_ev("output_text.delta", 0, content_index=0, delta=f"t{i} ") for i in (1, 2, 3)],
                _ev("output_text.annotation.added", 0, content_index=0, annotation=note),
                _item("done", 0, "message", id="msg_1", role="assistant", content=[said]),
            ],
            [
                _item("added", 1, "reasoning", id="rs_1", summary=[]),
                *[_ev("reasoning_summary_text.delta", 1, summary_index=0, delta=f"r{i} ") for i in (1, 2)],
                _item(
                    "done", 1, "reasoning", id="rs_1", summary=[{"type": "summary_text", "text": "r1 r2 "}]
                ),
            ],
            call(2, "a"),
            call(3, "b"),
            [
                _item("added", 4, "code_interpreter_call", id="ci_1", status="in_progress"),
                _ev("code_interpreter_call_code.delta", 4, delta="ARG = 1"),
                _item(
                    "done",
                    4,
                    "code_interpreter_call",
                    id="ci_1",
                    code="ARG = 1",
                    status="completed",
                    outputs=[],
                ),
                _item("done", 5, "image_generation_call", id="ig_1", result=PNG, output_format="png"),
            ],
        ],
        tail=[
            {"type": "response.completed", "response": {**response, "status": "completed", "usage": counted}}
        ],
    )


def _messages() -> Written:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026", "content": []}
    found = [{"type": "web_search_result", "url": "https://a", "title": "A"}]
    ended = {"stop_reason": "tool_use", "stop_sequence": None}

    def arguments(*fragments: str) -> list[Any]:
        return [{"type": "input_json_delta", "partial_json": f} for f in fragments]

    return Written(
        head=[
            {"type": "message_start", "message": {**message, "usage": {"input_tokens": 5}}},
            {"type": "ping"},
        ],
        lanes=[
            _block(0, "text", *[{"type": "text_delta", "text": f"t{i} "} for i in (1, 2, 3)], text=""),
            _block(
                1,
                "thinking",
                *[{"type": "thinking_delta", "thinking": f"r{i} "} for i in (1, 2)],
                {"type": "signature_delta", "signature": "s"},
                thinking="",
            ),
            _block(2, "tool_use", *arguments('{"x":', '"ARG"}'), id="a", name="f", input={}),
            _block(3, "tool_use", *arguments('{"x":"ARG"', "}"), id="b", name="f", input={}),
            [
                *_block(
                    4, "server_tool_use", *arguments('{"query":"ARG"}'), id="s", name="web_search", input={}
                ),
                *_block(5, "web_search_tool_result", tool_use_id="s", content=found),
                *_block(6, "redacted_thinking", data="x"),
            ],
        ],
        tail=[
            {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 9}},
            {"type": "message_stop"},
        ],
    )


def _gemini() -> Written:
    counted = {"promptTokenCount": 5, "candidatesTokenCount": 9, "totalTokenCount": 14}
    grounding = {"groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}], "webSearchQueries": ["q"]}
    return Written(
        head=[],
        lanes=[
            [_part({"text": f"t{i} "}) for i in (1, 2, 3)],
            [_part({"text": "r1 ", "thought": True}), _part({"text": "r2 ", "thought": True}, {"text": ""})],
            [
                _part(
                    {"functionCall": {"name": "f", "id": "a", "args": {"x": "ARG"}}, "thoughtSignature": "s"}
                )
            ],
            [_part({"functionCall": {"name": "f", "args": {"x": "ARG"}}})],
            [
                _part({"executableCode": {"language": "PYTHON", "code": "ARG = 1", "id": "x"}}),
                _part({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1", "id": "x"}}),
                _part({"inlineData": {"mimeType": "image/png", "data": PNG}}),
            ],
        ],
        tail=[{**_part(finishReason="STOP", groundingMetadata=grounding), "usageMetadata": counted}],
    )


WRITTEN: dict[str, Written] = {
    "chat": _chat(),
    "responses": _responses(),
    "messages": _messages(),
    "gemini": _gemini(),
}


def framed(chunk: Any) -> bytes:
    """Return one chunk as the bytes of its event."""
    if isinstance(chunk, str):
        return chunk.encode()
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n\n"


def recorded() -> list[Any]:
    """Return all recorded cases, or none where they are not present."""
    root = streams()
    return load_cases(root) if root else []


def pieces_of(case: Any) -> list[bytes]:
    """Return a recorded body cut between its events."""
    return split_events(case.body())
