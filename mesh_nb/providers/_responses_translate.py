"""Events of the Responses API to events of ours.

The format: https://platform.openai.com/docs/api-reference/responses-streaming. Items are told apart by
output_index: some proxies send another item_id with every event.
"""

from __future__ import annotations

from typing import Any, cast

from ..core.events import EventType, ExecutionEvent
from ._blocks import Blocks, file_event, native_event
from ._chat_usage import wire_cost
from ._responses_items import annotation_source, found_sources, images, kept_items, mended, stored_file
from ._responses_tools import ToolCalls
from ._responses_usage import finish_reason, normalise
from ._text import ThinkTags, clean

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_BEGINNING = frozenset({"response.created", "response.in_progress", "response.queued"})
_ARGUMENTS = frozenset(
    {
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
    }
)
_WHOLE_ARGUMENTS = {
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
    "response.mcp_call_arguments.done": "arguments",
    "response.code_interpreter_call_code.done": "code",
}
# Text of a part: the field that holds all of it at its end, and what it is.
_WORDS = {
    "response.output_text": ("text", "text"),
    "response.refusal": ("refusal", "refusal"),
    "response.reasoning_text": ("text", "full"),
    "response.reasoning_summary_text": ("text", "summary"),
}
_PARTS = {
    "output_text": ("text", "text"),
    "text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "full"),
    "summary_text": ("text", "summary"),
}
# Progress of items whose start and end are events of ours, and previews of what comes whole.
_QUIET = frozenset(
    {"keepalive", "ping", "response.content_part.added", "response.reasoning_summary_part.added"}
    | {f"response.web_search_call.{s}" for s in ("in_progress", "searching", "completed")}
    | {f"response.file_search_call.{s}" for s in ("in_progress", "searching", "completed")}
    | {f"response.code_interpreter_call.{s}" for s in ("in_progress", "interpreting", "completed")}
    | {
        f"response.image_generation_call.{s}"
        for s in ("in_progress", "generating", "partial_image", "completed")
    }
    | {f"response.{n}.{s}" for n in ("mcp_call", "mcp_list_tools") for s in ("in_progress", "completed")}
    | {f"response.{n}.failed" for n in ("mcp_call", "mcp_list_tools")}
    | {f"response.shell_call_command.{s}" for s in ("added", "delta", "done")}
    | {f"response.shell_call_output_content.{s}" for s in ("delta", "done")}
)
_SILENT_ITEMS = frozenset({"message", "reasoning", "compaction"})
_Key = tuple[int, str, int]


class Translator:
    """One streamed response; pure: chunks in, events out.

    Parameters: call_id, what generated ids begin with; model, as requested, for servers that do not say which
    one answered; think_tags, read a leading `<think>...</think>` as reasoning; native, the caller passes the
    chunks on himself.

    `terminated` is True once the response ended; `error` is the error that the stream carried; while
    `expects_more` is True, the end of the failed response, with its usage, is still to come.
    """

    def __init__(
        self, *, call_id: str = "call", model: str = "", think_tags: bool = True, native: bool = False
    ) -> None:
        self.terminated = False
        self.error: dict[str, Any] | None = None
        self.expects_more = False
        self._model, self._native = model, native
        self._blocks = Blocks(call_id)
        self._calls = ToolCalls(call_id, self._close)
        self._think = ThinkTags()
        self._think.active = think_tags
        self._status: str | None = None
        self._reason: str | None = None
        self._usage: Any = None
        self._parts: dict[_Key, list[str]] = {}
        self._bases: dict[_Key, int] = {}
        self._at: tuple[int, str, int] | None = None
        self._length = 0
        self._refused = self._streamed = False
        self._sources: set[Any] = set()
        self._files = 0
        self._items: list[dict[str, Any]] = []

    def feed(self, chunk: Any) -> list[ExecutionEvent]:
        """Return the events of one chunk; any JSON value is accepted."""
        out: list[ExecutionEvent] = []
        if not isinstance(chunk, dict):
            self._pass_on(out, chunk)
            return out
        chunk = cast("dict[str, Any]", chunk)
        kind = chunk.get("type")
        if kind == "response.output_text.delta":
            delta = chunk.get("delta")
            if delta and delta.__class__ is str:
                self._words(out, (_index(chunk), "text", _index(chunk, "content_index")), delta)
        elif not isinstance(kind, str):
            self._untyped(out, chunk)
        elif kind in _ARGUMENTS:
            if isinstance(chunk.get("delta"), str):
                self._calls.delta(out, _index(chunk), chunk["delta"])
        elif kind in _WHOLE_ARGUMENTS:
            self._calls.whole(out, _index(chunk), chunk.get(_WHOLE_ARGUMENTS[kind]))
        elif kind == "error":
            self._fail(chunk.get("error") or chunk)
        elif kind not in _QUIET and not self._known(out, kind, chunk):
            self._pass_on(out, chunk)
        return out

    def finish(self) -> list[ExecutionEvent]:
        """Return the events that close whatever is open; the last is response_metadata."""
        out: list[ExecutionEvent] = []
        self._close(out)
        self._calls.finish(out)
        if self.error:
            reason = "error"
        else:
            reason = finish_reason(
                self._status, self._reason, calls=self._calls.for_client, refused=self._refused
            )
        self._blocks.end(out, reason)
        usage = normalise(self._usage, self._items)
        metadata: dict[str, Any] = {
            "usage": usage,
            "usage_status": "reported" if usage else "unknown",
            "model_id": self._model,
            "finish_reason": reason,
            "finish_reason_raw": self._status,
        }
        if self._blocks.message_id:
            metadata["message_id"] = self._blocks.message_id
        cost = wire_cost(self._usage)
        if cost is not None:
            metadata |= {"cost_usd": cost, "cost_source": "wire"}
        kept = kept_items(self._items)
        if kept:
            metadata["provider_state"] = {"output_items": kept}
        out.append(ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata))
        return out

    # ---- the response as a whole
    def _known(self, out: list[ExecutionEvent], kind: str, chunk: dict[str, Any]) -> bool:
        """Read everything but deltas of the answer's text; say whether it was understood."""
        head, _, tail = kind.rpartition(".")
        if head in _WORDS and tail in ("delta", "done"):
            field, what = _WORDS[head]
            summary = "summary_index" if what == "summary" else "content_index"
            key = (_index(chunk), what, _index(chunk, summary))
            if tail == "done":
                self._whole(out, key, chunk.get(field))
            elif chunk.get("delta") and isinstance(chunk["delta"], str):
                self._words(out, key, chunk["delta"])
            return True
        if kind in ("response.output_item.added", "response.output_item.done"):
            item = chunk.get("item")
            return isinstance(item, dict) and self._item(out, _index(chunk), item, done=tail == "done")
        if kind in ("response.content_part.done", "response.reasoning_summary_part.done"):
            place = "summary_index" if "summary" in kind else "content_index"
            return self._part(out, _index(chunk), _index(chunk, place), chunk.get("part"))
        if kind == "response.output_text.annotation.added":
            return self._annotation(
                out, _index(chunk), _index(chunk, "content_index"), chunk.get("annotation")
            )
        if kind not in _BEGINNING and kind not in _TERMINAL:
            return False
        response = chunk.get("response")
        self._response(out, kind, cast("dict[str, Any]", response) if isinstance(response, dict) else {})
        return True

    def _untyped(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        """Read an error without a type, or a whole response from a server that ignored `stream`."""
        if chunk.get("error"):
            self._fail(chunk["error"])
        elif chunk.get("object") == "response":
            self._response(out, f"response.{chunk.get('status')}", chunk)
        else:
            self._pass_on(out, chunk)

    def _response(self, out: list[ExecutionEvent], kind: str, response: dict[str, Any]) -> None:
        if isinstance(response.get("id"), str) and not self._blocks.message_id:
            self._blocks.message_id = response["id"]
        if response.get("model") and isinstance(response["model"], str):
            self._model = response["model"]
        if kind == "response.created":
            # A proxy may join two responses in one body; the second counts its items from 0 again.
            self._parts.clear()
            self._bases.clear()
            self._calls.forget()
        if kind not in _TERMINAL:
            return
        output = response.get("output")
        if isinstance(output, list) and not self._streamed:
            for index, item in enumerate(cast("list[Any]", output)):
                if isinstance(item, dict):
                    self._item(out, index, cast("dict[str, Any]", item), done=True)
        self.terminated, self.expects_more = True, False
        self._status = kind.removeprefix("response.")
        self._usage = response.get("usage") or self._usage
        details = response.get("incomplete_details")
        if isinstance(details, dict) and isinstance(details.get("reason"), str):
            self._reason = details["reason"]
        if self._status == "failed":
            self._fail(response.get("error") or "The response failed without a reason.")
            self.expects_more = False

    def _fail(self, error: Any) -> None:
        self.expects_more = not self.terminated
        if self.error is not None:
            return
        if isinstance(error, dict):
            error = cast("dict[str, Any]", error)
            envelope = ("sequence_number",) + (("type",) if error.get("type") == "error" else ())
            self.error = {name: value for name, value in error.items() if name not in envelope}
        else:
            self.error = {"message": str(error)}

    # ---- items
    def _item(self, out: list[ExecutionEvent], index: int, item: dict[str, Any], *, done: bool) -> bool:
        kind = item.get("type")
        if not isinstance(kind, str):
            return False
        self._streamed = True
        if done:
            self._items.append(item)
        if self._calls.knows(kind):
            if not done:
                self._calls.added(out, index, item)
                return True
            before = len(out)
            if self._calls.done(out, index, item):
                self._found(out, item)
                return True
            return len(out) > before or not kind.endswith("_output")
        if done and kind == "message":
            for place, part in enumerate(_list(item.get("content"))):
                self._part(out, index, place, part)
        elif done and kind == "reasoning":
            self._reasoning_done(out, index, item)
        return kind in _SILENT_ITEMS

    def _part(self, out: list[ExecutionEvent], index: int, place: int, part: Any) -> bool:
        """Read a finished part: what its deltas left out, and its citations."""
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS:
            return False
        field, what = _PARTS[kind]
        self._whole(out, (index, what, place), part.get(field))
        for annotation in _list(part.get("annotations")):
            self._annotation(out, index, place, annotation)
        return True

    def _reasoning_done(self, out: list[ExecutionEvent], index: int, item: dict[str, Any]) -> None:
        for name in ("summary", "content"):
            for place, part in enumerate(_list(item.get(name))):
                self._part(out, index, place, part)
        said = any(key[0] == index and key[1] in ("full", "summary") for key in self._parts)
        if item.get("encrypted_content") and not said:
            self._close(out)
            self._blocks.reasoning(out, "", "redacted")
        self._close(out)

    def _found(self, out: list[ExecutionEvent], item: dict[str, Any]) -> None:
        """Deliver the sources and files that a tool of the provider's brought."""
        self._add_sources(out, found_sources(item))
        for url in images(item):
            name = f"image-{self._files + 1}"
            event = file_event(url, name) or file_event(mended(url), name)
            if event is None:
                self._pass_on(out, {"type": item["type"], "file": url})
                continue
            self._files += 1
            out.append(event)

    # ---- words
    def _words(self, out: list[ExecutionEvent], key: _Key, text: str) -> None:
        """Add text of a part: answer, refusal, or reasoning."""
        what = key[1]
        thought = what == "full" or what == "summary"
        # Parts of one message are one block; each part of a summary is a block of its own.
        at = key if thought else (key[0], "message", 0)
        if at != self._at:
            self._close(out)
            self._at, self._length = at, 0
        pieces = self._parts.get(key)
        if pieces is None:
            self._streamed = True
            pieces = self._parts[key] = []
            self._bases[key] = self._length
        pieces.append(text)
        if thought:
            self._blocks.reasoning(out, text, what)
            return
        self._refused = self._refused or what == "refusal"
        before = len(out)
        if self._think.active and what == "text":
            self._split(out, *self._think.add(text))
        else:
            self._blocks.text(out, text, what)
        self._measure(out, before)

    def _split(self, out: list[ExecutionEvent], thought: str, text: str) -> None:
        if thought:
            self._blocks.reasoning(out, thought)
        if text:
            self._blocks.text(out, text)

    def _whole(self, out: list[ExecutionEvent], key: _Key, text: Any) -> None:
        """Take a part as a whole and add what its deltas left out; where they differ, the deltas count."""
        if not text or not isinstance(text, str):
            return
        sent, text = clean("".join(self._parts.get(key, ()))), clean(text)
        if len(text) > len(sent) and text.startswith(sent):
            self._words(out, key, text[len(sent) :])

    def _close(self, out: list[ExecutionEvent]) -> None:
        before = len(out)
        if self._think.active and self._at is not None:
            self._split(out, *self._think.end())
        self._blocks.close(out)
        self._at = None
        self._measure(out, before)

    def _measure(self, out: list[ExecutionEvent], before: int) -> None:
        for event in out[before:]:
            if event.type is EventType.TOKEN:
                self._length += len(event.content)

    # ---- sources, and the rest
    def _annotation(self, out: list[ExecutionEvent], index: int, place: int, annotation: Any) -> bool:
        """Deliver a citation, its offsets moved from its part to its text block."""
        base = self._bases.get((index, "text", place), self._length)
        source = annotation_source(annotation, base) if isinstance(annotation, dict) else None
        if source is None:
            return False
        self._add_sources(out, [source])
        made = stored_file(annotation)
        if made is not None and (made["container_id"], made["file_id"]) not in self._sources:
            self._sources.add((made["container_id"], made["file_id"]))
            out.append(ExecutionEvent(EventType.FILE, metadata={k: v for k, v in made.items() if v}))
        return True

    def _add_sources(self, out: list[ExecutionEvent], found: list[dict[str, Any]]) -> None:
        fresh: list[dict[str, Any]] = []
        for source in found:
            names = ("kind", "url", "file_id", "title", "start", "end")
            key = tuple(source.get(name) for name in names)
            if key not in self._sources:
                self._sources.add(key)
                fresh.append(source)
        if fresh:
            out.append(ExecutionEvent(EventType.SOURCE, metadata={"sources": fresh}))

    def _pass_on(self, out: list[ExecutionEvent], value: Any) -> None:
        if not self._native:
            out.append(native_event(value))


def _index(chunk: dict[str, Any], name: str = "output_index") -> int:
    value: Any = chunk.get(name)
    return value if value.__class__ is int else 0


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
