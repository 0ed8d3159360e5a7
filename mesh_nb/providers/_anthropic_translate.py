"""Messages stream events to ours.

The format: https://platform.claude.com/docs/en/build-with-claude/streaming.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..core.events import EventType, ExecutionEvent, dumps
from ._anthropic_block import CALLS, INVALID, OF_DELTA, Block, arguments_of, as_dict, key_of
from ._anthropic_request import STATE
from ._anthropic_results import (
    cited_source,
    dicts,
    failure,
    finish_reason,
    normalise,
    result_files,
    result_sources,
    shown,
    stored_file,
)
from ._blocks import Blocks, native_event
from ._call import RESTART
from ._text import clean

_TOKEN = EventType.TOKEN
_NEEDLESS = frozenset({"text", "tool_use"})


class Translator:
    """One streamed message; pure: chunks in, events out.

    Parameters: call_id, what generated ids begin with; model, as requested, for servers that do not say which
    one answered; native, the caller passes the chunks on himself, so what has no event of its own is left to
    him.

    `terminated` is True once message_stop came; `error` is the error that the stream carried. A citation's
    offsets count code points of the text block that it is in.
    """

    def __init__(self, *, call_id: str = "call", model: str = "", native: bool = False) -> None:
        self.terminated = False
        self.error: dict[str, Any] | None = None
        self._call_id, self._model, self._native = call_id, model, native
        self._blocks = Blocks(call_id)
        self._files = 0
        self._tools: dict[str, dict[str, Any]] = {}
        self._begin()

    def _begin(self) -> None:
        self._message_id: str | None = None
        self._by_index: dict[Any, Block] = {}
        self._content: list[Block] = []
        self._length = 0
        self._usage: dict[str, Any] = {}
        self._counted = False
        self._raw_finish: str | None = None
        self._container: str | None = None

    def feed(self, chunk: Any) -> list[ExecutionEvent]:
        """Return the events of one chunk; any JSON value is accepted."""
        out: list[ExecutionEvent] = []
        if not isinstance(chunk, dict):
            self._pass_on(out, chunk)
            return out
        kind: Any = chunk.get("type")
        if kind == "content_block_delta":
            self._delta(out, chunk)
        elif kind.__class__ is str and kind in _HANDLERS:
            _HANDLERS[kind](self, out, chunk)
        elif chunk.get("error"):
            self._fail(out, chunk)
        else:
            self._pass_on(out, chunk)
        return out

    def finish(self) -> list[ExecutionEvent]:
        """Return the events that close whatever is open; the last is response_metadata."""
        out: list[ExecutionEvent] = []
        for block in self._content:
            self._end_block(out, block)
        reason = "error" if self.error else finish_reason(self._raw_finish)
        self._blocks.end(out, reason)
        usage = normalise(self._usage, complete=self._counted)
        status = "unknown" if not usage else "reported" if self._counted else "estimated"
        metadata: dict[str, Any] = {
            "usage": usage,
            "usage_status": status,
            "model_id": self._model,
            "finish_reason": reason,
            "finish_reason_raw": self._raw_finish,
        }
        if self._message_id:
            metadata["message_id"] = self._message_id
        state = self._state()
        if state:
            metadata["provider_state"] = state
        out.append(ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata))
        return out

    # ---- the message
    def _message_start(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        message = as_dict(chunk.get("message"))
        if self._message_id is not None or self._content:
            self._restart(out)
        if isinstance(message.get("id"), str):
            self._message_id = message["id"]
            if not self._blocks.message:
                self._blocks.message_id = self._message_id
        if message.get("model") and isinstance(message["model"], str):
            self._model = message["model"]
        self._add_usage(message.get("usage"))
        for index, block in enumerate(dicts(message.get("content"))):
            self._block_start(out, {"index": index, "content_block": block})

    def _message(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        """A whole message, from a server that ignored `stream`."""
        self._message_start(out, {"message": chunk})
        for block in self._content:
            self._end_block(out, block)
        self._message_delta(out, {"delta": chunk, "usage": chunk.get("usage")})
        self.terminated = True

    def _restart(self, out: list[ExecutionEvent]) -> None:
        """Begin again: the server sent a second message_start, and what the first brought is void."""
        for block in self._content:
            self._end_block(out, block)
        self._close(out)
        self._begin()
        said = {"message": "The provider began its answer again; what came before in this call is void."}
        out.append(ExecutionEvent(EventType.CUSTOM_DATA, content=said, metadata={"data_type": RESTART}))

    def _message_delta(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        delta = as_dict(chunk.get("delta"))
        if isinstance(delta.get("stop_reason"), str):
            self._raw_finish = delta["stop_reason"]
        self._add_usage(chunk.get("usage"))
        self._counted = self._counted or bool(chunk.get("usage"))
        container = as_dict(delta.get("container"))
        if isinstance(container.get("id"), str):
            self._container = container["id"]
        details = as_dict(delta.get("stop_details"))
        explanation = details.get("explanation")
        if self._raw_finish == "refusal" and explanation and isinstance(explanation, str):
            self._length = 0
            self._blocks.text(out, explanation, "refusal")
        said = {
            k: v for k, v in details.items() if v is not None and k != "type" and not k.endswith("_token")
        }
        if said:
            self._pass_on(out, {"stop_details": said})

    def _message_stop(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        self.terminated = True

    def _add_usage(self, usage: Any) -> None:
        """message_delta's counters are totals and replace those of message_start."""
        self._usage |= {name: value for name, value in as_dict(usage).items() if value is not None}

    def _fail(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        error: Any = chunk.get("error")
        if self.error is None:
            self.error = dict(error) if isinstance(error, dict) else {"message": str(error or chunk)}
            if isinstance(chunk.get("request_id"), str):
                self.error.setdefault("request_id", chunk["request_id"])

    # ---- blocks
    def _block_start(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        raw, index = chunk.get("content_block"), chunk.get("index")
        if not isinstance(raw, dict):
            self._pass_on(out, chunk)
            return
        raw = dict(cast("dict[str, Any]", raw))
        block = Block(raw, str(raw.get("type") or ""), start=self._length)
        before = self._by_index.get(key_of(index))
        if before is not None:
            self._end_block(out, before)
        self._by_index[key_of(index)] = block
        self._content.append(block)
        if block.kind == "text":
            self._add_text(out, block, raw.get("text"))
            for citation in dicts(raw.get("citations")):
                self._cite(out, block, citation)
        elif block.kind == "thinking":
            self._close(out)
            block.signature = str(raw.get("signature") or "")
            self._add_thought(out, block, raw.get("thinking"))
        elif block.kind == "redacted_thinking":
            self._silent_thought(out)
        elif block.kind in CALLS:
            self._start_call(out, block)
        elif isinstance(raw.get("tool_use_id"), str):
            self._result(out, raw, block.kind)
        elif block.kind == "container_upload" and isinstance(raw.get("file_id"), str):
            self._close(out)
            out.append(stored_file(raw["file_id"]))
        else:
            self._pass_on(out, raw)

    def _delta(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        block, delta = self._by_index.get(key_of(chunk.get("index"))), chunk.get("delta")
        if not isinstance(delta, dict):
            self._pass_on(out, chunk)
            return
        if block is None:
            # A delta of a block that never began: its kind tells what it is.
            kind = OF_DELTA.get(str(delta.get("type")), "")
            block = Block({"type": kind}, kind, start=self._length)
            self._by_index[key_of(chunk.get("index"))] = block
            self._content.append(block)
            if kind in CALLS:
                self._start_call(out, block)
        kind = delta.get("type")
        if kind == "text_delta":
            self._add_text(out, block, delta.get("text"))
        elif kind == "thinking_delta":
            self._add_thought(out, block, delta.get("thinking"))
        elif kind == "input_json_delta":
            self._add_argument(out, block, delta.get("partial_json"))
        elif kind == "signature_delta":
            block.signature += str(delta.get("signature") or "")
        elif kind == "citations_delta":
            self._cite(out, block, delta.get("citation"))
        else:
            for name, value in delta.items():
                if name != "type":
                    block.raw[name] = value
            self._pass_on(out, chunk)

    def _block_stop(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        block = self._by_index.pop(key_of(chunk.get("index")), None)
        if block is not None:
            self._end_block(out, block)

    def _end_block(self, out: list[ExecutionEvent], block: Block) -> None:
        if not block.open:
            return
        block.open = False
        if block.kind == "text":
            self._end_text(out, block)
        elif block.kind == "thinking":
            if any(block.parts):
                self._close(out)
            else:
                self._silent_thought(out)
        elif block.kind in CALLS:
            self._end_call(out, block)

    # ---- words
    def _add_text(self, out: list[ExecutionEvent], block: Block, text: Any) -> None:
        if not text or not isinstance(text, str):
            return
        block.parts.append(text)
        before = len(out)
        self._blocks.text(out, text)
        for event in out[before:]:
            if event.type is _TOKEN:
                self._length += len(event.content)

    def _end_text(self, out: list[ExecutionEvent], block: Block) -> None:
        """Say what the block's text was cited from: a citation comes before the words that it is for."""
        if not block.citations:
            return
        found = [cited_source(c) for c in block.citations]
        if self._length > block.start:
            place = {"start": block.start, "end": self._length, "offset_unit": "code_point"}
            found = [{**source, **place} for source in found]
        out.append(ExecutionEvent(EventType.SOURCE, metadata={"sources": found}))

    def _cite(self, out: list[ExecutionEvent], block: Block, citation: Any) -> None:
        if isinstance(citation, dict):
            block.citations.append(cast("dict[str, Any]", citation))
        else:
            self._pass_on(out, {"citation": citation})

    def _add_thought(self, out: list[ExecutionEvent], block: Block, text: Any) -> None:
        if text and isinstance(text, str):
            block.parts.append(text)
            self._length = 0
            self._blocks.reasoning(out, text)

    def _silent_thought(self, out: list[ExecutionEvent]) -> None:
        """Thinking without words: encrypted, or left out by `display: omitted`."""
        self._close(out)
        self._blocks.reasoning(out, "", "redacted")
        self._blocks.close(out)

    def _close(self, out: list[ExecutionEvent]) -> None:
        self._blocks.close(out)
        self._length = 0

    # ---- tools
    def _start_call(self, out: list[ExecutionEvent], block: Block) -> None:
        self._close(out)
        raw = block.raw
        if not isinstance(raw.get("id"), str) or not raw["id"]:
            raw["id"] = f"{self._call_id}_tool{len(self._tools)}"
        block.metadata = {
            "tool_name": str(raw.get("name") or ""),
            "tool_call_id": raw["id"],
            "executed_by": CALLS[block.kind],
        }
        if isinstance(raw.get("server_name"), str):
            block.metadata["server_name"] = raw["server_name"]
        self._tools[raw["id"]] = {**block.metadata, "arguments": {}}
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=block.metadata))
        block.metadata = {"tool_call_id": raw["id"]}

    def _add_argument(self, out: list[ExecutionEvent], block: Block, text: Any) -> None:
        if not text or not isinstance(text, str) or block.kind not in CALLS:
            return
        block.parts.append(text)
        if block.join.held or not text.isascii():
            text = block.join.add(text)
        if text:
            out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, "", text, None, block.metadata))

    def _end_call(self, out: list[ExecutionEvent], block: Block) -> None:
        given = block.raw.get("input")
        if not block.parts and given and isinstance(given, dict):
            self._add_argument(out, block, dumps(given).decode())
        rest = block.join.end()
        if rest:
            out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, "", rest, None, block.metadata))
        raw = clean("".join(block.parts))
        if raw:
            arguments = arguments_of(raw)
            known = self._tools[block.raw["id"]]
            known["arguments"] = arguments
            if INVALID in arguments:
                known |= {"arguments": None, "arguments_raw": raw}

    def _result(self, out: list[ExecutionEvent], raw: dict[str, Any], kind: str) -> None:
        """A tool that the provider ran is done; its call may lie in the message that was paused before."""
        self._close(out)
        id = raw["tool_use_id"]
        unknown = {
            "tool_name": kind.removesuffix("_tool_result"),
            "tool_call_id": id,
            "executed_by": "provider",
        }
        error = failure(raw)
        metadata = {**self._tools.get(id, unknown), "status": "ok" if error is None else "error"}
        output = shown(raw.get("content"))
        done = ExecutionEvent(EventType.TOOL_CALL_COMPLETE, output=output, error=error, metadata=metadata)
        out.append(done)
        found = result_sources(raw)
        if found:
            out.append(ExecutionEvent(EventType.SOURCE, metadata={"sources": found}))
        files = result_files(raw, self._files + 1)
        self._files += len(files)
        out.extend(files)

    # ---- the rest
    def _state(self) -> dict[str, Any]:
        """Return what the next request must bring back; nothing when text and tool calls say it all."""
        needed = self._container or self._raw_finish == "pause_turn"
        if not needed and all(b.kind in _NEEDLESS and not b.citations for b in self._content):
            return {}
        content = [state for state in (b.state() for b in self._content) if state]
        if not content:
            return {}
        return {"api": STATE, "content": content} | (
            {"container": self._container} if self._container else {}
        )

    def _ignore(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        """A ping says only that the connection lives."""

    def _pass_on(self, out: list[ExecutionEvent], value: Any) -> None:
        if not self._native:
            out.append(native_event(value))


_HANDLERS: dict[str, Callable[[Translator, list[ExecutionEvent], dict[str, Any]], None]] = {
    "message": Translator._message,
    "message_start": Translator._message_start,
    "content_block_start": Translator._block_start,
    "content_block_stop": Translator._block_stop,
    "message_delta": Translator._message_delta,
    "message_stop": Translator._message_stop,
    "ping": Translator._ignore,
    "error": Translator._fail,
}
