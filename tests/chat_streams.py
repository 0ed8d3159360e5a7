"""Chat completion streams for tests: written by hand, read in pieces of any size, and checked for balance."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from mesh_nb.core.events import ExecutionEvent
from mesh_nb.providers._chat_translate import Translator
from mesh_nb.providers._wire import Decoder


def sse(*chunks: Any, done: bool = True) -> bytes:
    """A body of these chunks; a str stands for itself, anything else is JSON in a data line."""
    lines = [c if isinstance(c, str) else f"data: {json.dumps(c, ensure_ascii=False)}\n\n" for c in chunks]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode("utf-8", "surrogatepass")


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk with one choice."""
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m-2026", "choices": [choice]}


def tool(index: int | None, id: str | None = None, name: str | None = None, arguments: Any = "") -> Any:
    """One entry of a delta's tool_calls."""
    call: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        call["index"] = index
    if id is not None:
        call |= {"id": id, "type": "function"}
    if name is not None:
        call["function"]["name"] = name
    return call


def read(body: bytes, size: int = 0, **options: Any) -> list[ExecutionEvent]:
    """Read a body in pieces of this many bytes (0: all at once)."""
    return read_all(body, size, **options)[0]


def read_all(body: bytes, size: int = 0, **options: Any) -> tuple[list[ExecutionEvent], Translator, Decoder]:
    decoder, translator = Decoder(), Translator(**options)
    events: list[ExecutionEvent] = []
    step = size or len(body) or 1
    chunks: list[Any] = []
    for i in range(0, len(body), step):
        chunks += decoder.feed(body[i : i + step])
    for chunk in [*chunks, *decoder.finish()]:
        events += translator.feed(chunk)
    return events + translator.finish(), translator, decoder


def text(events: list[ExecutionEvent], subtype: str = "text") -> str:
    return "".join(e.content for e in events if e.type == "token" and e.metadata["event_subtype"] == subtype)


def thoughts(events: list[ExecutionEvent]) -> str:
    return "".join(e.content for e in events if e.type == "reasoning_token")


def sources(events: list[ExecutionEvent], kind: str) -> list[dict[str, Any]]:
    return [s for e in events if e.type == "source" for s in e.metadata["sources"] if s["kind"] == kind]


def native(events: list[ExecutionEvent]) -> list[Any]:
    return [e.content for e in events if e.type == "custom_data" and e.metadata["data_type"] == "native"]


def calls(events: list[ExecutionEvent]) -> list[tuple[str, str, Any]]:
    """(id, name, parsed arguments) of each call for the client, in order."""
    found: list[tuple[str, str, list[str]]] = []
    for e in events:
        if e.type == "tool_call_start" and e.metadata["executed_by"] == "client":
            found.append((e.metadata["tool_call_id"], e.metadata["tool_name"], []))
        elif e.type == "tool_call_delta":
            next(f for f in reversed(found) if f[0] == e.metadata["tool_call_id"])[2].append(e.content)
    return [(id, name, json.loads("".join(parts) or "{}")) for id, name, parts in found]


def check_grammar(events: list[ExecutionEvent], *, start: bool = False) -> None:
    """Assert the grammar of one model call: everything opened is closed, response_metadata once and last."""
    kinds = [str(e.type) for e in events]
    if start:
        assert kinds[0] == "model_call_start"
    assert kinds[-1] == "response_metadata"
    count = Counter(kinds)
    assert count["response_metadata"] == 1
    assert count["message_start"] == count["message_complete"] <= 1
    assert events[-1].metadata["model_id"] is not None
    assert isinstance(events[-1].metadata["usage"], dict)
    open_message, open_reasoning = False, None
    for e in events:
        match e.type:
            case "message_start":
                open_message = True
            case "message_complete":
                open_message = False
            case "reasoning_start":
                assert open_reasoning is None
                open_reasoning = e.metadata["block_id"]
            case "reasoning_token":
                assert e.metadata["block_id"] == open_reasoning
                assert e.content
            case "reasoning_end":
                assert e.metadata["block_id"] == open_reasoning
                open_reasoning = None
            case "token":
                assert open_message
                assert open_reasoning is None
                assert e.content
            case "tool_call_start":
                assert open_reasoning is None
            case _:
                pass
    assert open_reasoning is None
    assert not open_message
