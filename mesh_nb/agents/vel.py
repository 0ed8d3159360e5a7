"""Vel agents, and every object that speaks their protocol: an async generator `run_stream(input, session_id)`
of dicts in the AI SDK's UI message stream vocabulary (https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol).

Vel 0.6 gives its step events no fields and restarts its text ids in every step, so that step index, step
usage, finish reason and message id are derived here.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from ..core.context import ExecutionContext
from ..core.errors import UnknownNameError
from ..core.events import EventType, ExecutionEvent, dumps
from . import _errors
from ._fold import Events, Fold, plain, with_native
from ._protocol import AgentInput, loaded_class

_VENDORS = {"openai-responses": "openai", "google": "gemini"}
Event = dict[str, Any]


def _first(event: Event, *names: str, default: Any = "") -> Any:
    for name in names:
        value = event.get(name)
        if value is not None:
            return value
    return default


def _as_event(item: Any) -> Event | None:
    """Return an item of the stream as a dict with a type; None for an item that says nothing."""
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
    return None if item is None else {"type": "unknown", "value": plain(item)}


class _Reader:
    """One run's dict events, read into a fold."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.error: str | None = None
        self.output: dict[str, Any] = {}
        self._rlm_steps = 0
        self._kinds: dict[str, Callable[[Event], Events]] = {
            "start": self._start,
            "start-step": lambda e: fold.step_start(),
            "finish-step": lambda e: fold.step_end(
                usage=e.get("usage"), finish=_first(e, "finishReason", "finish_reason", default=None)
            ),
            "finish-message": self._finish,
            "finish": self._finish,
            "text-start": self._text_start,
            "text-delta": lambda e: fold.text(_first(e, "delta", "textDelta", "text"), str(e.get("id", ""))),
            "text-end": self._text_start,
            "reasoning-start": lambda e: fold.reasoning_start(str(e.get("id", ""))),
            "reasoning-delta": lambda e: fold.reasoning(_first(e, "delta", "text"), str(e.get("id", ""))),
            "reasoning-end": lambda e: fold.reasoning_end(str(e.get("id", ""))),
            "tool-input-start": lambda e: fold.tool_start(*self._tool(e), executed_by=self._where(e)),
            "tool-input-delta": lambda e: fold.tool_delta(
                self._tool(e)[0], _first(e, "inputTextDelta", "delta")
            ),
            "tool-input-available": lambda e: fold.tool_input(
                *self._tool(e), _first(e, "input", "args", default={}), executed_by=self._where(e)
            ),
            "tool-output-available": lambda e: fold.tool_end(
                self._tool(e)[0], output=_first(e, "output", "result", default=None)
            ),
            "tool-output-error": self._tool_error,
            "tool-input-error": self._tool_error,
            "response-metadata": lambda e: fold.metadata(
                usage=e.get("usage"),
                model_id=_first(e, "modelId", "model_id", "model"),
                response_id=_first(e, "id", "responseId"),
                finish=_first(e, "finishReason", default=None),
            ),
            "source": self._source,
            "source-url": self._source,
            "file": self._file,
            "file-response": self._file,
            "error": self._failed,
            "abort": self._failed,
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
        call_id = str(_first(event, "toolCallId", "tool_call_id", "id"))
        return call_id, str(_first(event, "toolName", "tool_name", "name"))

    @staticmethod
    def _where(event: Event) -> str:
        return "provider" if event.get("providerExecuted") else "client"

    def _start(self, event: Event) -> Events:
        message_id = _first(event, "messageId", "message_id")
        if message_id:
            self.fold.message_id(str(message_id))
        return []

    def _finish(self, event: Event) -> Events:
        reason = _first(event, "finishReason", "finish_reason")
        if reason:
            self.fold.finish(str(reason).replace("-", "_"), str(reason))
        return []

    def _text_start(self, event: Event) -> Events:
        self.fold.text_start(str(event.get("id", "")))
        return []

    def _tool_error(self, event: Event) -> Events:
        text = str(_first(event, "errorText", "error", default="the tool failed"))
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
            _first(event, "content", "data", "url"),
            name=str(_first(event, "name", "filename")),
            mime_type=str(_first(event, "mimeType", "mime_type", "mediaType", "mime")),
        )

    def _failed(self, event: Event) -> Events:
        said = str(_first(event, "errorText", "error", "reason"))
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


def _arguments(agent: Any, input: AgentInput, session_id: str | None, options: Mapping[str, Any]) -> Any:
    """Return the positional and keyword arguments that this object's run_stream takes."""
    parameters = inspect.signature(agent.run_stream).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in parameters and not open_ended:
            raise UnknownNameError(f"option of {type(agent).__name__}.run_stream", name, parameters)
    keywords = dict(options)
    if "session_id" in parameters or open_ended:
        keywords["session_id"] = session_id
    named = parameters.get("input")
    if (named is None and not open_ended) or (named is not None and named.kind is named.POSITIONAL_ONLY):
        return (dict(input),), keywords
    return (), {"input": dict(input), **keywords}


def _model(agent: Any) -> tuple[str, str]:
    """Return the provider and the model that an agent says it uses."""
    said: Any = getattr(agent, "model_cfg", None) or getattr(agent, "model", None)
    if isinstance(said, Mapping):
        provider = str(said.get("provider") or "agent")
        return _VENDORS.get(provider, provider), str(said.get("model") or said.get("name") or "")
    return "agent", said if isinstance(said, str) else ""


async def _said(stream: AsyncIterator[Any]) -> AsyncGenerator[tuple[Event, bool], None]:
    """Yield the events of a stream, and whether an event is the end of a step that failed.

    Vel closes the step before it reports the error that ended it: a finish-step waits for its successor.
    """
    held: Event | None = None
    async for item in stream:
        event = _as_event(item)
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


class VelPlugin:
    """Runs Vel agents and objects with the same `run_stream`."""

    accepts = "an object with an async generator run_stream(input, session_id=...), such as a Vel agent"

    def matches(self, agent: object) -> bool:
        """Say whether the object is a Vel agent or has an async-generator `run_stream`."""
        known = loaded_class("vel", "Agent")
        if known is not None and isinstance(agent, known):
            return True
        # pydantic-ai's run_stream is a context manager: the name alone says nothing.
        return not isinstance(agent, type) and inspect.isasyncgenfunction(getattr(agent, "run_stream", None))

    async def run(
        self,
        agent: Any,
        input: AgentInput,
        context: ExecutionContext,
        *,
        native: bool = False,
        use_session: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[ExecutionEvent]:
        """Run the agent once.

        Parameters: see AgentPlugin; options are keyword arguments of `run_stream` (context_refs, rlm,
        thinking, ...). Raises ProviderError for a provider's HTTP failure that the agent reports, MeshError
        for any other error or abort that it reports, and whatever `run_stream` raises.
        """
        provider, model = _model(agent)
        fold = Fold(provider=provider, model=model)
        reader = _Reader(fold)
        with_history = "messages" in input
        session = context.session_id if use_session and context.session_id and not with_history else None
        arguments, keywords = _arguments(agent, input, session, options or {})
        failure: Exception | None = None
        try:
            async with (
                aclosing(agent.run_stream(*arguments, **keywords)) as stream,
                aclosing(_said(stream)) as said,
            ):
                async for event, failed in said:
                    ours = reader.feed({**event, "finishReason": "error"} if failed else event)
                    for one in with_native(ours, plain(event)) if native else ours:
                        yield one
        except Exception as error:  # noqa: BLE001  what it had open is closed first, then it is raised
            failure = _errors.from_exception(error, provider=provider, model=model)
        if failure is None and reader.error is not None:
            failure = _errors.from_text(reader.error, agent=agent, provider=provider, model=model)
        for one in fold.close(failed=failure is not None):
            yield one
        if failure is not None:
            raise failure
        if "parsed" in reader.output and not fold.text_seen:
            reader.output["content"] = dumps(reader.output["parsed"]).decode()
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=reader.output)


plugin = VelPlugin()
