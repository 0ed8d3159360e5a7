"""Gemini's streamed answers to events.

The format: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from typing import Any, cast

from ..core.events import EventType, ExecutionEvent
from ._blocks import Blocks, bytes_event, native_event
from ._gemini_calls import FunctionCalls, ServerTools
from ._gemini_sources import AnswerText, Sources
from ._gemini_usage import finish_reason, normalise
from ._text import clean

CODE = "code_execution"
STATE = "gemini_parts"
"""Key of provider_state under which the parts of an answer are kept for history."""

# Fields that are read here, or that say nothing an event should carry.
_ENVELOPE = frozenset(
    {"candidates", "usageMetadata", "modelVersion", "responseId", "createTime", "promptFeedback", "error"}
)
_CANDIDATE = frozenset(
    {"content", "finishReason", "index", "safetyRatings", "tokenCount", "avgLogprobs", "groundingMetadata"}
    | {"citationMetadata", "urlContextMetadata", "urlRetrievalMetadata"}
)
_GROUNDING = frozenset({"groundingChunks", "groundingSupports"})
_UNSET = "FINISH_REASON_UNSPECIFIED"


class Translator:
    """One streamed answer; pure: chunks in, events out.

    Parameters: call_id, what generated ids begin with; model, as requested, for answers that do not say which
    one answered; native, the caller passes the chunks on himself, so what has no event of its own is left to
    him.

    `terminated` is True once a finishReason or a blocked prompt came; `error` is the error that the stream
    carried.
    """

    def __init__(self, *, call_id: str = "call", model: str = "", native: bool = False) -> None:
        self.terminated = False
        self.error: dict[str, Any] | None = None
        self._model, self._native = model, native
        self._blocks = Blocks(call_id)
        self._calls = FunctionCalls(call_id)
        self._server = ServerTools(call_id)
        self._text = AnswerText()
        self._sources = Sources(self._text)
        self._history = _History()
        self._in_text = False
        self._raw_finish: str | None = None
        self._blocked = False
        self._usage: Any = None
        self._citations: list[Any] = []
        self._seen: dict[str, Any] = {}
        self._files = 0
        self._speech: list[bytes] = []
        self._speech_type = ""

    def feed(self, chunk: Any) -> list[ExecutionEvent]:
        """Return the events of one chunk; any JSON value is accepted."""
        out: list[ExecutionEvent] = []
        if not isinstance(chunk, dict):
            self._pass_on(out, "", chunk)
            return out
        if not self._blocks.message_id and isinstance(chunk.get("responseId"), str):
            self._blocks.message_id = clean(chunk["responseId"])
        model = chunk.get("modelVersion")
        if model and isinstance(model, str):
            self._model = clean(model)
        if not chunk.keys() <= _ENVELOPE:
            self._unknown(out, chunk, _ENVELOPE, "")
        if chunk.get("usageMetadata"):
            self._usage = chunk["usageMetadata"]
        for candidate in _dicts(chunk.get("candidates")):
            if not candidate.get("index"):
                self._candidate(out, candidate)
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self.terminated = self._blocked = True
            self._pass_on(out, "promptFeedback", feedback)
        error = chunk.get("error")
        if error and self.error is None:
            self.error = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": str(error)}
        return out

    def finish(self) -> list[ExecutionEvent]:
        """Return the events that close whatever is open; the last is response_metadata."""
        out: list[ExecutionEvent] = []
        self._leave(out)
        for citations in self._citations:
            self._cite(out, citations)
        self._server.end(out)
        self._end_speech(out)
        called = self._calls.any
        reason = finish_reason(self._raw_finish, called=called, blocked=self._blocked)
        reason = "error" if self.error else reason
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
        parts = self._history.parts()
        if parts:
            metadata["provider_state"] = {STATE: parts}
        out.append(ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata))
        return out

    # ---- a candidate
    def _candidate(self, out: list[ExecutionEvent], candidate: dict[str, Any]) -> None:
        content = candidate.get("content")
        for part in _dicts(content.get("parts")) if isinstance(content, dict) else ():
            self._part(out, part)
        finish = candidate.get("finishReason")
        if finish and finish != _UNSET:
            self._raw_finish = str(finish)
            self.terminated = True
        grounding = candidate.get("groundingMetadata")
        if grounding and isinstance(grounding, dict):
            for chunk in self._sources.grounding(out, cast("dict[str, Any]", grounding)):
                self._pass_on(out, "groundingChunk", chunk)
            self._unknown(out, cast("dict[str, Any]", grounding), _GROUNDING, "groundingMetadata.")
        if candidate.get("citationMetadata"):
            # Its offsets may point at words that are still to come.
            self._citations.append(candidate["citationMetadata"])
        context = candidate.get("urlContextMetadata") or candidate.get("urlRetrievalMetadata")
        for page in self._sources.pages(out, context):
            self._pass_on(out, "urlContextMetadata", page)
        if not candidate.keys() <= _CANDIDATE:
            self._unknown(out, candidate, _CANDIDATE, "candidate.")

    def _part(self, out: list[ExecutionEvent], part: dict[str, Any]) -> None:
        text = part.get("text")
        if isinstance(text, str):
            if part.get("thought"):
                self._think(out, text)
            elif text:
                self._answer(out, text)
            self._history.text(text, part)
        elif isinstance(part.get("functionCall"), dict):
            self._leave(out, calls=False)
            for whole in self._calls.feed(out, part):
                self._history.add(whole)
        elif not self._tool(out, part) and not self._file(out, part):
            if part.keys() - {"thought", "thoughtSignature"}:
                self._pass_on(out, "part", part)
                self._history.add(part)
            else:
                self._history.text("", part)

    def _answer(self, out: list[ExecutionEvent], text: str) -> None:
        if not self._in_text:
            self._leave(out)
            self._in_text = True
            self._text.begin()
        self._blocks.text(out, text)
        self._text.add(text)

    def _think(self, out: list[ExecutionEvent], text: str) -> None:
        if text:
            self._end_calls(out)
            self._in_text = False
            self._blocks.reasoning(out, text, "summary")

    def _leave(self, out: list[ExecutionEvent], *, calls: bool = True) -> None:
        """End the open block, and a function call that comes in pieces unless this may be its next."""
        self._blocks.close(out)
        self._in_text = False
        if calls:
            self._end_calls(out)

    def _end_calls(self, out: list[ExecutionEvent]) -> None:
        for whole in self._calls.end(out):
            self._history.add(whole)

    # ---- tools that Google runs
    def _tool(self, out: list[ExecutionEvent], part: dict[str, Any]) -> bool:
        kind = next((k for k in _TOOL_PARTS if isinstance(part.get(k), dict)), None)
        if kind is None:
            return False
        self._leave(out)
        self._history.add(part)
        body = cast("dict[str, Any]", part[kind])
        if kind == "executableCode":
            code = {k: body[k] for k in ("language", "code") if k in body}
            self._server.start(out, CODE, body.get("id"), code)
        elif kind == "codeExecutionResult":
            output, outcome = body.get("output"), body.get("outcome")
            failed = outcome not in (None, "OUTCOME_OK")
            problem = clean(str(output or outcome)) if failed else None
            self._server.complete(out, CODE, body.get("id"), output, problem)
        elif kind == "toolCall":
            self._server.start(out, _tool_name(body), body.get("id"), body.get("args"))
        else:
            self._server.complete(out, _tool_name(body), body.get("id"), body.get("response"))
        return True

    # ---- files
    def _file(self, out: list[ExecutionEvent], part: dict[str, Any]) -> bool:
        blob = part.get("inlineData")
        if not isinstance(blob, dict) or not isinstance(blob.get("data"), str):
            return False
        try:
            data = base64.b64decode(blob["data"], validate=True)
        except (binascii.Error, ValueError):
            return False
        self._leave(out)
        mime = clean(str(blob.get("mimeType") or "application/octet-stream"))
        if mime.lower().startswith("audio/l16"):
            # Speech comes as pieces of one recording.
            self._speech.append(data)
            self._speech_type = mime
            return True
        kind = "thought" if part.get("thought") else mime.partition("/")[0]
        kind = kind if kind in ("thought", "image", "audio", "video") else "file"
        self._files += 1
        name = f"{kind}-{self._files}{mimetypes.guess_extension(mime) or ''}"
        out.append(bytes_event(blob["data"], len(data), mime, name))
        return True

    def _end_speech(self, out: list[ExecutionEvent]) -> None:
        if self._speech:
            data = b"".join(self._speech)
            content = base64.b64encode(data).decode()
            out.append(bytes_event(content, len(data), self._speech_type, "speech.pcm"))

    # ---- the rest
    def _cite(self, out: list[ExecutionEvent], citations: Any) -> None:
        for citation in self._sources.citations(out, citations):
            self._pass_on(out, "citation", citation)

    def _unknown(
        self, out: list[ExecutionEvent], holder: dict[str, Any], known: frozenset[str], where: str
    ) -> None:
        for name, value in holder.items():
            if name not in known and value not in (None, "", [], {}, False):
                self._pass_on(out, where + name, value)

    def _pass_on(self, out: list[ExecutionEvent], name: str, value: Any) -> None:
        """Deliver what has no event of its own, once until it changes."""
        if not self._native and (name not in self._seen or self._seen[name] != value):
            self._seen[name] = value
            out.append(native_event({name: value} if name else value))


_TOOL_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


class _History:
    """The parts of an answer as Gemini wants them back: signatures in the very parts that they came with.

    Thoughts are left out, and files, which would be carried twice. Source:
    https://ai.google.dev/gemini-api/docs/thought-signatures.
    """

    __slots__ = ("_needed", "_parts", "_words")

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._words: list[str] = []
        self._needed = False

    def text(self, text: str, part: dict[str, Any]) -> None:
        """Add a text part: joined to the one before it, unless it is signed."""
        signature = part.get("thoughtSignature")
        if signature:
            self._flush()
            thought = {"thought": True} if part.get("thought") else {}
            self._parts.append({"text": clean(text), **thought, "thoughtSignature": signature})
            self._needed = True
        elif text and not part.get("thought"):
            self._words.append(text)

    def add(self, part: dict[str, Any]) -> None:
        """Add a part of another kind as it is."""
        self._flush()
        self._parts.append(part)
        call = part.get("functionCall")
        self._needed |= not isinstance(call, dict) or "id" in call or "thoughtSignature" in part

    def parts(self) -> list[dict[str, Any]]:
        """Return the parts; none when a plain message says the same."""
        self._flush()
        return self._parts if self._needed else []

    def _flush(self) -> None:
        if self._words:
            self._parts.append({"text": clean("".join(self._words))})
            self._words = []


def _tool_name(body: dict[str, Any]) -> str:
    """Return the name of a built-in tool: google_search for GOOGLE_SEARCH_WEB."""
    name = clean(str(body.get("toolType") or "tool")).lower()
    return name.removesuffix("_web") if name.startswith("google_search") else name


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in cast("list[Any]", value) if isinstance(v, dict)] if isinstance(value, list) else []
