"""What an agent's stream holds, into a fold: dicts in the AI SDK's UI message stream vocabulary
(https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol), text, objects with text in them, and our own events.

Vel 0.6 gives its step events no fields and restarts its text ids in every step, so that step index, step
usage, finish reason and message id are derived here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

from ..core.events import ExecutionEvent
from ._fold import Events, Fold, plain
from ._own_events import OwnEvents

Event = dict[str, Any]
_OWN = "mesh-event"


def first(event: Event, *names: str, default: Any = "") -> Any:
    """Return the first field of these names that is there: versions and libraries spell them differently."""
    for name in names:
        value = event.get(name)
        if value is not None:
            return value
    return default


def as_event(item: Any) -> Event | None:
    """Return an item of the stream as a dict with a type; None for an item that says nothing."""
    if isinstance(item, ExecutionEvent):
        return {"type": _OWN, "event": item}
    if isinstance(item, str):
        return {"type": "text-delta", "id": "", "delta": item}
    if not isinstance(item, Mapping) and not isinstance(item, type):
        convert = getattr(item, "to_dict", None) or getattr(item, "model_dump", None)
        record = convert() if callable(convert) and hasattr(item, "type") else None
        if isinstance(record, Mapping):
            item = record
    if isinstance(item, Mapping) and isinstance(item.get("type"), str):
        return dict(item)
    for name in ("delta", "content"):
        value = item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
        if isinstance(value, str):
            return {"type": "text-delta", "id": "", "delta": value}
    return None if _is_silent(item) else {"type": "unknown", "value": plain(item)}


def _is_silent(item: Any) -> bool:
    """Say whether an item has a place for text, and nothing else in it: as first and last pieces often do."""
    if item is None or item == {}:
        return True
    places = [name for name in ("delta", "content") if getattr(item, name, ...) is None]
    return bool(places) and not getattr(item, "tool_calls", None)


def native_of(event: Event) -> Any:
    """Return an item of the stream as plain JSON values."""
    return event["event"].to_dict() if event["type"] == _OWN else plain(event)


class Reader:
    """One run's dict events, read into a fold."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.error: str | None = None
        self.output: dict[str, Any] = {}
        self._rlm_steps = 0
        own = OwnEvents(fold, self.output)
        self._kinds: dict[str, Callable[[Event], Events]] = {
            "start": self._start,
            "start-step": lambda e: fold.step_start(),
            "finish-step": lambda e: fold.step_end(
                usage=e.get("usage"), finish=first(e, "finishReason", "finish_reason", default=None)
            ),
            "finish-message": self._finish,
            "finish": self._finish,
            "text-start": self._text_start,
            "text-delta": lambda e: fold.text(first(e, "delta", "textDelta", "text"), str(e.get("id", ""))),
            "text-end": self._text_start,
            "reasoning-start": lambda e: fold.reasoning_start(str(e.get("id", ""))),
            "reasoning-delta": lambda e: fold.reasoning(first(e, "delta", "text"), str(e.get("id", ""))),
            "reasoning-end": lambda e: fold.reasoning_end(str(e.get("id", ""))),
            "tool-input-start": lambda e: fold.tool_start(*self._tool(e), executed_by=self._where(e)),
            "tool-input-delta": lambda e: fold.tool_delta(
                self._tool(e)[0], first(e, "inputTextDelta", "delta")
            ),
            "tool-input-available": lambda e: fold.tool_input(
                *self._tool(e), first(e, "input", "args", default={}), executed_by=self._where(e)
            ),
            "tool-output-available": lambda e: fold.tool_end(
                self._tool(e)[0], output=first(e, "output", "result", default=None)
            ),
            "tool-output-error": self._tool_error,
            "tool-input-error": self._tool_error,
            "response-metadata": lambda e: fold.metadata(
                usage=e.get("usage"),
                model_id=first(e, "modelId", "model_id", "model"),
                response_id=first(e, "id", "responseId"),
                finish=first(e, "finishReason", default=None),
            ),
            "source": self._source,
            "source-url": self._source,
            "file": self._file,
            "file-response": self._file,
            "error": self._failed,
            "abort": self._failed,
            _OWN: lambda e: own.feed(e["event"]),
        }

    def feed(self, event: Event) -> Events:
        """Return what an event of the agent becomes; one that nobody knows stays visible as custom_data."""
        kind = event["type"]
        handler = self._kinds.get(kind)
        if handler is not None:
            return handler(event)
        if kind.startswith("data-"):
            return self._data(kind, event)
        return self.fold.custom(event, data_type="native")

    @staticmethod
    def _tool(event: Event) -> tuple[str, str]:
        call_id = str(first(event, "toolCallId", "tool_call_id", "id"))
        return call_id, str(first(event, "toolName", "tool_name", "name"))

    @staticmethod
    def _where(event: Event) -> str:
        return "provider" if event.get("providerExecuted") else "client"

    def _start(self, event: Event) -> Events:
        message_id = first(event, "messageId", "message_id")
        if message_id:
            self.fold.message_id(str(message_id))
        return []

    def _finish(self, event: Event) -> Events:
        reason = first(event, "finishReason", "finish_reason")
        if reason:
            self.fold.finish(str(reason).replace("-", "_"), str(reason))
        return []

    def _text_start(self, event: Event) -> Events:
        self.fold.text_start(str(event.get("id", "")))
        return []

    def _tool_error(self, event: Event) -> Events:
        text = str(first(event, "errorText", "error", default="the tool failed"))
        return self.fold.tool_end(self._tool(event)[0], error=text)

    def _source(self, event: Event) -> Events:
        found = event.get("sources", [event])
        sources = [
            {k: v for k, v in s.items() if v is not None and k not in ("type", "sourceId")}
            for s in (found if isinstance(found, list) else [])
            if isinstance(s, Mapping)
        ]
        return self.fold.source(sources)

    def _file(self, event: Event) -> Events:
        return self.fold.file(
            first(event, "content", "data", "url"),
            name=str(first(event, "name", "filename")),
            mime_type=str(first(event, "mimeType", "mime_type", "mediaType", "mime")),
        )

    def _failed(self, event: Event) -> Events:
        said = str(first(event, "errorText", "error", "reason"))
        if event["type"] == "abort":
            said = f"it was aborted{f' ({said})' if said else ''}"
        self.error = self.error or said or "it did not say which"
        return []

    def _data(self, kind: str, event: Event) -> Events:
        payload = event.get("data")
        transient = bool(event.get("transient"))
        if kind == "data-object-complete" and isinstance(payload, Mapping):
            self.output["parsed"] = plain(payload.get("object"))
        if kind == "data-rlm-step-start":
            self._rlm_steps += 1
        if kind != "data-rlm-complete" or not isinstance(payload, Mapping):
            return self.fold.custom(payload, data_type=kind, transient=transient)
        return self._rlm_complete(dict(payload), transient)

    def _rlm_complete(self, payload: Event, transient: bool) -> Events:
        meta: Any = payload.get("meta")
        budget: Any = meta.get("budget") if isinstance(meta, Mapping) else None
        budget = budget if isinstance(budget, Mapping) else {}
        # Vel leaves steps without a tool call out of its own count.
        payload.setdefault("total_steps", max(int(budget.get("steps") or 0), self._rlm_steps))
        out: Events = []
        answer = payload.get("answer")
        if isinstance(answer, str) and answer and not self.fold.text_seen:
            # RLM sends no text events: without this its answer would be nowhere in the stream.
            out += self.fold.text(answer, "rlm")
            out += self.fold.metadata(usage=budget)
        return [*out, *self.fold.custom(payload, data_type="data-rlm-complete", transient=transient)]


async def said(stream: AsyncIterator[Any]) -> AsyncGenerator[tuple[Event, bool], None]:
    """Yield the events of a stream, and whether an event is the end of a step that failed.

    Vel closes the step before it reports the error that ended it: a finish-step waits for its successor.
    """
    held: Event | None = None
    async for item in stream:
        event = as_event(item)
        if event is None:
            continue
        if held is not None:
            yield held, event["type"] == "error"
            held = None
        if event["type"] == "finish-step":
            held = event
        else:
            yield event, False
    if held is not None:
        yield held, False
