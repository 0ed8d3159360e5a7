"""Messages of LangChain chat models, as a LangGraph run streams them, into a fold.

Model calls that overlap are told one after the other: what belongs to a later one waits until the earlier one
has ended. https://docs.langchain.com/oss/python/langchain/messages
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..core.events import loads
from ..providers._chat_usage import finish_reason
from ._fold import Events, Fold
from ._usage import add, normalise

_VENDORS = {"google_genai": "gemini", "google_vertexai": "gemini", "azure": "openai"}
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_SPEAKING_REASONS = frozenset({"openai", "anthropic"})


@dataclasses.dataclass(slots=True)
class _Call:
    """The model call that is being told."""

    key: tuple[str, str]
    provider: str
    usage: Any = dataclasses.field(default_factory=dict[str, int])
    said: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    tools: dict[Any, str] = dataclasses.field(default_factory=dict[Any, str])


class Messages:
    """The state of a run's messages. `feed` returns what a message becomes; no I/O.

    Parameters: fold; starts, for each checkpoint namespace, the starts of its model calls that have said
    nothing yet, as (seconds since the epoch, provider, model): the messages themselves do not say.
    """

    def __init__(self, fold: Fold, starts: dict[str, list[tuple[float, str, str]]]) -> None:
        self.fold, self.starts = fold, starts
        self.cut = False
        self._given = (fold.provider, fold.model)
        self._call: _Call | None = None
        self._later: list[tuple[Any, Mapping[str, Any]]] = []
        self._named: dict[str, tuple[str, str]] = {}
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}

    def feed(self, message: Any, metadata: Mapping[str, Any]) -> Events:
        """Return the events of one message, or of one piece of it."""
        key = self._key(message, str(metadata.get("langgraph_checkpoint_ns", "")))
        if self._call is not None and key != self._call.key:
            self._later.append((message, metadata))
            return []
        return [*self._tell(message, metadata, key), *self._catch_up()]

    def end(self, node: str = "") -> Events:
        """End the model call of a graph node that has finished, or any when no name is given."""
        if self._call is None or (node and self._call.key[0].rpartition("|")[2].partition(":")[0] != node):
            return []
        return [*self._end(self._call), *self._catch_up()]

    def close(self) -> Events:
        """End every model call that the run has heard of, the last one excepted: the fold closes that."""
        out: Events = []
        while self._later and self._call is not None:
            out += self._end(self._call)
            out += self._catch_up()
        if self._call is not None:
            self._report(self._call)
        return out

    def _catch_up(self) -> Events:
        out: Events = []
        while self._call is None and self._later:
            waiting, self._later = self._later, []
            for message, metadata in waiting:
                out += self.feed(message, metadata)
        return out

    def _key(self, message: Any, where: str) -> tuple[str, str]:
        """Return what tells one model call from another: a first piece may bear the response's own id."""
        name = str(message.id or "")
        if message.type == "tool":
            return where, f"tool {message.tool_call_id}"
        if message.type != "AIMessageChunk":
            return where, name
        if not name.startswith("lc_run-"):
            return self._named.setdefault(where, (where, name))
        if (where, name) not in self._keys:
            self._keys[where, name] = self._named.pop(where, (where, name))
        return self._keys[where, name]

    def _tell(self, message: Any, metadata: Mapping[str, Any], key: tuple[str, str]) -> Events:
        if message.type == "tool":
            return self._tool_result(message)
        if message.type not in ("ai", "AIMessageChunk"):
            return []
        out: Events = []
        call = self._call
        if call is None:
            call = self._call = self._begin(metadata, key)
            started, _, _ = self._started(key[0])
            out += [*self.fold.step_start(), *self.fold.call_start(started=started)]
        out += self._content(message)
        out += self._tool_calls(message, call)
        if message.usage_metadata:
            call.usage = add(call.usage, _usage(message.usage_metadata))
        call.said |= message.response_metadata
        if not str(message.id or "").startswith("lc_run-") and "id" not in call.said:
            call.said["id"] = message.id
        if message.type == "ai" or message.chunk_position == "last":
            out += self._end(call)
        return out

    def _begin(self, metadata: Mapping[str, Any], key: tuple[str, str]) -> _Call:
        waiting = self.starts.get(key[0])
        _, provider, model = waiting[0] if waiting else (None, "", "")
        provider = str(metadata.get("ls_provider") or provider or self._given[0])
        self.fold.provider = _VENDORS.get(provider, provider)
        self.fold.model = str(metadata.get("ls_model_name") or model or self._given[1])
        return _Call(key, self.fold.provider)

    def _started(self, where: str) -> tuple[float | None, str, str]:
        waiting = self.starts.get(where)
        return waiting.pop(0) if waiting else (None, "", "")

    def _report(self, call: _Call) -> None:
        self.fold.metadata(
            usage=call.usage,
            model_id=str(call.said.get("model_name") or call.said.get("model") or ""),
            response_id=str(call.said.get("id") or ""),
        )

    def _end(self, call: _Call) -> Events:
        self._report(call)
        reason, raw = _finish(call.said)
        # Models that are made up, and some servers' packages, have no reason to end.
        self.cut = not raw and call.said.get("model_provider") in _SPEAKING_REASONS
        self.fold.finish("error" if self.cut else reason, raw or None)
        self._call = None
        self._named.pop(call.key[0], None)
        return self.fold.call_end()

    def _content(self, message: Any) -> Events:
        out: Events = []
        thoughts: Any = message.additional_kwargs.get("reasoning_content")
        if isinstance(thoughts, str):
            out += self.fold.reasoning(thoughts, "reasoning_content")
        if isinstance(message.content, str):
            return [*out, *self.fold.text(message.content)]
        raw: Any = next((b for b in message.content if isinstance(b, Mapping)), {})
        for block in message.content_blocks:
            out += self._block(block, "summary" if "summary" in raw else "full")
        refusal: Any = message.additional_kwargs.get("refusal")
        return [*out, *(self.fold.text(refusal, "refusal", refusal=True) if isinstance(refusal, str) else [])]

    def _block(self, block: Mapping[str, Any], thought: str) -> Events:
        kind, fold, index = block.get("type"), self.fold, str(block.get("index", ""))
        if kind == "text":
            cited = [c for c in map(_citation, block.get("annotations") or []) if c]
            return [*fold.text(str(block.get("text") or ""), index), *fold.source(cited)]
        if kind == "reasoning":
            return fold.reasoning(str(block.get("reasoning") or ""), index, thought)
        if kind == "server_tool_call":
            call_id, name = str(block.get("id")), str(block.get("name"))
            return fold.tool_input(call_id, name, block.get("args"), executed_by="provider")
        if kind == "server_tool_result":
            failed = block.get("status") == "error"
            output = block.get("output")
            call_id = str(block.get("tool_call_id"))
            return fold.tool_end(call_id, output=output, error=str(output) if failed else None)
        if kind in ("image", "audio", "video", "file") and block.get("base64"):
            return fold.file(block["base64"], mime_type=str(block.get("mime_type") or ""))
        if kind in ("tool_call", "tool_call_chunk", "invalid_tool_call", "server_tool_call_chunk"):
            return []
        value: Any = block.get("value", block)
        if isinstance(value, Mapping) and value.get("type") == "refusal":
            return fold.text(str(value.get("refusal") or ""), index, refusal=True)
        return fold.custom(dict(block), data_type="native")

    def _tool_calls(self, message: Any, call: _Call) -> Events:
        out: Events = []
        if message.type == "ai":
            for asked in message.tool_calls:
                out += self.fold.tool_input(str(asked["id"]), asked["name"], asked["args"])
            return out
        for piece in message.tool_call_chunks:
            index = piece.get("index")
            if piece.get("id"):
                call.tools[index] = str(piece["id"])
                out += self.fold.tool_start(call.tools[index], str(piece.get("name") or ""))
            out += self.fold.tool_delta(call.tools.get(index, str(index)), piece.get("args") or "")
        return out

    def _tool_result(self, message: Any) -> Events:
        said = message.content if isinstance(message.content, str) else str(message.text)
        if message.status == "error":
            return self.fold.tool_end(str(message.tool_call_id), error=said)
        output = message.content if isinstance(message.content, list) else _value(said)
        return self.fold.tool_end(str(message.tool_call_id), output=output)


def _value(text: str) -> Any:
    """Return what a tool returned: LangGraph hands objects and lists to the model as their JSON text."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return loads(text)
    except ValueError:
        return text


def _usage(counts: Mapping[str, Any]) -> Any:
    """Return LangChain's token counts under our names; what a cache gave is part of its input tokens."""
    given: Mapping[str, Any] = counts.get("input_token_details") or {}
    made: Mapping[str, Any] = counts.get("output_token_details") or {}
    flat = {
        **counts,
        "cached_tokens": given.get("cache_read"),
        "cache_write_tokens": given.get("cache_creation"),
        "reasoning_tokens": made.get("reasoning"),
    }
    return normalise({k: v for k, v in flat.items() if v is not None and not k.endswith("_details")})


def _finish(said: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a model call ended, in the common word and in the provider's own; "" derives it."""
    if said.get("status"):
        details: Any = said.get("incomplete_details")
        raw = str((details.get("reason") if isinstance(details, Mapping) else None) or said["status"])
        return _INCOMPLETE.get(raw, ""), raw
    raw = str(said.get("finish_reason") or said.get("stop_reason") or "")
    reason = finish_reason(raw) or ""
    return ("" if reason in ("stop", "tool_calls") else reason), raw


def _citation(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation as a source; offsets are in the block of text that it came with."""
    if block.get("type") != "citation":
        return {}
    names = {"url": "url", "title": "title", "cited_text": "cited_text"}
    source: dict[str, Any] = {ours: block[theirs] for ours, theirs in names.items() if block.get(theirs)}
    start, end = block.get("start_index"), block.get("end_index")
    if isinstance(start, int) and isinstance(end, int):
        source |= {"start": start, "end": end, "offset_unit": "code_point"}
    return {"kind": "cited", **source} if source else {}
