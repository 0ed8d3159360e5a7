"""Chat completion chunks to events: OpenAI's own, and every server that speaks its format.

The format: https://platform.openai.com/docs/api-reference/chat-streaming. What other servers do
differently is named where it is handled.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

from ..core.events import EventType, ExecutionEvent
from ._blocks import Blocks, bytes_event, file_event, native_event
from ._chat_tools import ToolCalls
from ._chat_usage import finish_reason, normalise, wire_cost
from ._text import ThinkTags, clean

# Fields that are read here, or that say nothing an event should carry.
_ENVELOPE = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
    | {"obfuscation", "provider", "error", "citations", "search_results", "x_groq", "prompt_filter_results"}
)
_CHOICE = frozenset(
    {"index", "delta", "message", "finish_reason", "native_finish_reason", "stop_reason", "matched_stop"}
    | {"error", "content_filter_results", "content_filter_offsets", "content_filter_result"}
)
_DELTA = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning"}
    | {"reasoning_details", "annotations", "images", "audio", "channel", "executed_tools", "name"}
)


class Translator:
    """One streamed chat completion; pure: chunks in, events out.

    Parameters: call_id, what generated ids begin with; model, as requested, for servers that do not say which
    one answered; think_tags, read a leading `<think>...</think>` as reasoning; native, the caller passes the
    chunks on himself, so fields without an event of their own are left to him.

    `terminated` is True once a finish_reason came; `error` is the error that the stream carried.
    """

    def __init__(
        self, *, call_id: str = "call", model: str = "", think_tags: bool = True, native: bool = False
    ) -> None:
        self.terminated = False
        self.error: dict[str, Any] | None = None
        self._call_id, self._model, self._native = call_id, model, native
        self._blocks = Blocks(call_id)
        self._think = ThinkTags()
        self._think.active = think_tags
        self._calls = ToolCalls(call_id, self._before_call)
        self._raw_finish: str | None = None
        self._usage: Any = None
        self._sources: set[Any] = set()
        self._results: Any = None
        self._seen: dict[str, Any] = {}
        self._files = 0
        self._audio: list[str] = []
        self._details: dict[Any, dict[str, Any]] = {}
        self._thoughts: dict[str, list[str]] = {}
        self._executed: set[str] = set()

    def feed(self, chunk: Any) -> list[ExecutionEvent]:
        """Return the events of one chunk; any JSON value is accepted."""
        out: list[ExecutionEvent] = []
        if not isinstance(chunk, dict):
            self._pass_on(out, "", chunk)
            return out
        if not self._blocks.message_id and isinstance(chunk.get("id"), str):
            self._blocks.message_id = chunk["id"]
        model = chunk.get("model")
        if model and isinstance(model, str):
            self._model = model
        if not chunk.keys() <= _ENVELOPE:
            self._unknown(out, chunk, _ENVELOPE, "")
        usage = chunk.get("usage")
        if usage:
            self._usage = usage
        if "x_groq" in chunk or "search_results" in chunk or "citations" in chunk:
            self._vendor(out, chunk)
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in cast("list[Any]", choices):
                if isinstance(choice, dict) and not choice.get("index"):
                    self._choice(out, cast("dict[str, Any]", choice))
        error = chunk.get("error") or (chunk if chunk.get("object") == "error" else None)
        if error:
            self._fail(error)
        return out

    def finish(self) -> list[ExecutionEvent]:
        """Return the events that close whatever is open; the last is response_metadata."""
        out: list[ExecutionEvent] = []
        self._flush_think(out)
        self._blocks.close(out)
        self._calls.finish(out)
        self._end_audio(out)
        reason = "error" if self.error else finish_reason(self._raw_finish)
        self._blocks.end(out, reason)
        usage = normalise(self._usage)
        metadata: dict[str, Any] = {
            "usage": usage,
            "usage_status": "reported" if usage else "unknown",
            "model_id": self._model,
            "finish_reason": reason,
            "finish_reason_raw": self._raw_finish,
        }
        if self._blocks.message_id:
            metadata["message_id"] = self._blocks.message_id
        cost = wire_cost(self._usage)
        if cost is not None:
            metadata |= {"cost_usd": cost, "cost_source": "wire"}
        state = self._state()
        if state:
            metadata["provider_state"] = state
        out.append(ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata))
        return out

    # ---- a choice
    def _choice(self, out: list[ExecutionEvent], choice: dict[str, Any]) -> None:
        if not choice.keys() <= _CHOICE:
            self._unknown(out, choice, _CHOICE, "choice.")
        # Without a delta it is a whole completion, from a server that ignored `stream`.
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        if isinstance(delta, dict):
            content = delta.get("content")
            if len(delta) == 1 and content.__class__ is str:
                if content:
                    self._answer(out, content)
            else:
                self._delta(out, delta, content)
        finish = choice.get("finish_reason")
        if finish and not self._raw_finish:
            self._raw_finish = str(finish)
            self.terminated = True
        if choice.get("error"):
            self._fail(choice["error"])

    def _delta(self, out: list[ExecutionEvent], delta: dict[str, Any], content: Any) -> None:
        if not delta.keys() <= _DELTA:
            self._unknown(out, delta, _DELTA, "delta.")
        self._reason(out, delta)
        if delta.get("annotations"):
            self._annotations(out, delta["annotations"])
        if isinstance(content, str):
            if content:
                self._answer(out, content)
        elif content:
            self._parts(out, content)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self._flush_think(out)
            self._blocks.text(out, refusal, "refusal")
        calls = delta.get("tool_calls")
        if calls and isinstance(calls, list):
            self._calls.feed(out, cast("list[Any]", calls))
        if isinstance(delta.get("function_call"), dict):
            self._calls.feed(out, [{"index": 0, "function": delta["function_call"]}])
        for image in _dicts(delta.get("images")):
            self._image(out, image)
        if isinstance(delta.get("audio"), dict):
            self._add_audio(out, delta["audio"])
        for tool in _dicts(delta.get("executed_tools")):
            self._executed_tool(out, tool)

    def _answer(self, out: list[ExecutionEvent], text: str) -> None:
        if self._think.active:
            thought, text = self._think.add(text)
            if thought:
                self._blocks.reasoning(out, thought)
        if text:
            self._blocks.text(out, text)

    def _before_call(self, out: list[ExecutionEvent]) -> None:
        self._flush_think(out)
        self._blocks.close(out)

    def _flush_think(self, out: list[ExecutionEvent]) -> None:
        if self._think.active:
            thought, text = self._think.end()
            if thought:
                self._blocks.reasoning(out, thought)
            if text:
                self._blocks.text(out, text)

    def _parts(self, out: list[ExecutionEvent], parts: Any) -> None:
        """Mistral: content is a list of text and thinking parts."""
        for part in cast("list[Any]", parts) if isinstance(parts, list) else [parts]:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                if part["text"]:
                    self._answer(out, part["text"])
            elif kind == "thinking":
                inner = part.get("thinking")
                texts = [inner] if isinstance(inner, str) else [p.get("text") for p in _dicts(inner)]
                for text in texts:
                    if text and isinstance(text, str):
                        self._blocks.reasoning(out, text)
            elif kind == "image_url":
                self._image(out, part)
            elif kind == "tool_reference" and isinstance(part.get("url"), str):
                self._add_sources(out, [_source(part["url"], part.get("title"), "cited")])
            else:
                self._pass_on(out, "content", part)

    # ---- reasoning
    def _reason(self, out: list[ExecutionEvent], delta: dict[str, Any]) -> None:
        """Read reasoning once: servers send the same words in up to three fields of one delta."""
        field = "reasoning_content" if delta.get("reasoning_content") else "reasoning"
        thought, details = delta.get(field), _dicts(delta.get("reasoning_details"))
        kind = "summary" if details and details[0].get("type") == "reasoning.summary" else "full"
        if thought and isinstance(thought, str):
            self._thoughts.setdefault(field, []).append(thought)
            self._blocks.reasoning(out, thought, kind)
        elif thought:
            self._pass_on(out, field, thought)
        for position, detail in enumerate(details):
            self._detail(out, detail, detail.get("index", position), read=not thought)

    def _detail(self, out: list[ExecutionEvent], detail: dict[str, Any], index: Any, *, read: bool) -> None:
        key = (repr(index), detail.get("type"))
        kept = self._details.setdefault(key, {})
        for name, value in detail.items():
            if name in ("text", "summary", "data") and isinstance(value, str):
                kept[name] = clean(kept.get(name, "") + value)
            elif value is not None or name not in kept:
                kept[name] = value
        if not read:
            return
        if detail.get("type") == "reasoning.encrypted":
            self._blocks.reasoning(out, "", "redacted")
            return
        for name, kind in (("text", "full"), ("summary", "summary")):
            if isinstance(detail.get(name), str) and detail[name]:
                self._blocks.reasoning(out, detail[name], kind)

    def _state(self) -> dict[str, Any]:
        """What the server wants back with the next request of a tool loop."""
        state: dict[str, Any] = {}
        if self._details:
            state["reasoning_details"] = list(self._details.values())
        elif self._calls.any:
            state |= {name: clean("".join(parts)) for name, parts in self._thoughts.items()}
        return state

    # ---- tools that the provider runs
    def _executed_tool(self, out: list[ExecutionEvent], tool: dict[str, Any]) -> None:
        """Groq's compound models run tools themselves and say so in two deltas: the call, then its output."""
        id = f"{self._call_id}.executed{tool.get('index', 0)}"
        metadata = {"tool_name": str(tool.get("type") or ""), "tool_call_id": id, "executed_by": "provider"}
        if id not in self._executed:
            self._executed.add(id)
            self._blocks.close(out)
            out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=metadata))
        if tool.get("output") is not None and f"{id} done" not in self._executed:
            self._executed.add(f"{id} done")
            done = {**metadata, "status": "ok", "arguments": tool.get("arguments")}
            out.append(ExecutionEvent(EventType.TOOL_CALL_COMPLETE, output=tool["output"], metadata=done))
            results = tool.get("search_results")
            self._search_results(out, results.get("results") if isinstance(results, dict) else results)

    # ---- sources and files
    def _vendor(self, out: list[ExecutionEvent], chunk: dict[str, Any]) -> None:
        """Perplexity repeats its results in every chunk; Groq repeats usage under a name of its own."""
        groq = chunk.get("x_groq")
        if isinstance(groq, dict):
            self._usage = self._usage or groq.get("usage")
            if groq.get("error"):
                self._fail(groq["error"])
        results = (chunk.get("search_results"), chunk.get("citations"))
        if results != self._results:
            self._results = results
            self._search_results(out, results[0])
            urls = [u for u in results[1] or [] if isinstance(u, str)] if isinstance(results[1], list) else []
            self._add_sources(out, [_source(u, None, "result") for u in urls])

    def _search_results(self, out: list[ExecutionEvent], results: Any) -> None:
        found = [
            _source(r["url"], r.get("title"), "result", r.get("snippet") or r.get("content"))
            for r in _dicts(results)
            if isinstance(r.get("url"), str)
        ]
        self._add_sources(out, found)

    def _annotations(self, out: list[ExecutionEvent], annotations: Any) -> None:
        found: list[dict[str, Any]] = []
        for annotation in _dicts(annotations):
            body = annotation.get("url_citation", annotation)
            if annotation.get("type") != "url_citation" or not isinstance(body.get("url"), str):
                self._pass_on(out, "annotation", annotation)
                continue
            source = _source(body["url"], body.get("title"), "cited", body.get("content"))
            start, end = body.get("start_index"), body.get("end_index")
            if isinstance(start, int) and isinstance(end, int) and end > start:
                source |= {"start": start, "end": end, "offset_unit": "code_point"}
            found.append(source)
        self._add_sources(out, found)

    def _add_sources(self, out: list[ExecutionEvent], found: list[dict[str, Any]]) -> None:
        fresh: list[dict[str, Any]] = []
        for source in found:
            key = (source["kind"], source["url"], source.get("start"), source.get("end"))
            if key not in self._sources:
                self._sources.add(key)
                fresh.append(source)
        if fresh:
            out.append(ExecutionEvent(EventType.SOURCE, metadata={"sources": fresh}))

    def _image(self, out: list[ExecutionEvent], part: dict[str, Any]) -> None:
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str) or ("image", url) in self._sources:
            return
        self._sources.add(("image", url))
        event = file_event(url, f"image-{self._files + 1}")
        if event is None:
            self._pass_on(out, "image", part)
            return
        self._files += 1
        out.append(event)

    def _add_audio(self, out: list[ExecutionEvent], audio: dict[str, Any]) -> None:
        """OpenAI's audio models: PCM in pieces, and the spoken words as a transcript."""
        if isinstance(audio.get("data"), str):
            self._audio.append(audio["data"])
        if audio.get("transcript") and isinstance(audio["transcript"], str):
            self._answer(out, audio["transcript"])

    def _end_audio(self, out: list[ExecutionEvent]) -> None:
        if not self._audio:
            return
        try:
            data = b"".join(base64.b64decode(piece) for piece in self._audio)
        except binascii.Error:
            self._pass_on(out, "audio", self._audio)
            return
        out.append(bytes_event(base64.b64encode(data).decode(), len(data), "audio/pcm", "speech.pcm"))

    # ---- the rest
    def _fail(self, error: Any) -> None:
        if self.error is None:
            self.error = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": str(error)}

    def _unknown(
        self, out: list[ExecutionEvent], holder: dict[str, Any], known: frozenset[str], where: str
    ) -> None:
        for name, value in holder.items():
            if name not in known and value not in (None, "", [], {}, False):
                self._pass_on(out, where + name, value)

    def _pass_on(self, out: list[ExecutionEvent], name: str, value: Any) -> None:
        """Deliver what has no event of its own, once until it changes: many servers repeat it."""
        if not self._native and (name not in self._seen or self._seen[name] != value):
            self._seen[name] = value
            out.append(native_event({name: value} if name else value))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in cast("list[Any]", value) if isinstance(v, dict)] if isinstance(value, list) else []


def _source(url: str, title: Any, kind: str, cited: Any = None) -> dict[str, Any]:
    source: dict[str, Any] = {"url": clean(url), "kind": kind}
    if title and isinstance(title, str):
        source["title"] = clean(title)
    if cited and isinstance(cited, str):
        source["cited_text"] = clean(cited)
    return source
