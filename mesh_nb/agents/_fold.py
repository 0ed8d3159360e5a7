"""From what a foreign agent says to our grammar: opens lazily, closes always.

Agents differ in what they announce: some name no steps, restart their text ids in every step, end a block
twice or never, or report usage before the tool call that it belongs to. `Fold` takes such calls in any order
and answers with balanced events: one message pair and one response_metadata for each model call, each call
inside a step.
"""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from typing import Any

from ..core.events import EventType as T
from ..core.events import ExecutionEvent, Usage, dumps, loads
from . import _files
from ._usage import add, normalise

Events = list[ExecutionEvent]


def plain(value: Any) -> Any:
    """Return JSON values for whatever an agent or a tool handed over."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return loads(dumps(value))


@dataclasses.dataclass(slots=True)
class _Call:
    """One model call while it runs."""

    started: float
    call_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    message_id: str = ""
    response_id: str = ""
    model_id: str = ""
    usage: Usage = dataclasses.field(default_factory=Usage)
    reported: bool = False
    message_open: bool = False
    message_done: bool = False
    refused: bool = False
    client_tools: bool = False
    finish: str | None = None
    finish_raw: str | None = None
    first_delta: float | None = None


@dataclasses.dataclass(slots=True)
class _Tool:
    name: str
    executed_by: str
    started: float
    fragments: list[str] = dataclasses.field(default_factory=list[str])
    arguments: Any = None

    def metadata(self, call_id: str) -> dict[str, Any]:
        out: dict[str, Any] = {
            "tool_name": self.name,
            "tool_call_id": call_id,
            "executed_by": self.executed_by,
        }
        if self.arguments is not None:
            out["arguments"] = plain(self.arguments)
            return out
        raw = "".join(self.fragments)
        try:
            out["arguments"] = json.loads(raw) if raw.strip() else {}
        except ValueError:
            out["arguments_raw"] = raw
        return out


class Fold:
    """The state of one agent run; every method returns the events that its news makes.

    Parameters: provider and model, as response_metadata names them when the agent does not.
    """

    def __init__(self, *, provider: str, model: str) -> None:
        self.provider, self.model = provider, model or "unknown"
        self.text_seen = False
        self._call: _Call | None = None
        self._steps = 0
        self._step_open = self._step_implicit = False
        self._step_started = time.time()
        self._step_usage: Usage = {}
        self._step_finish: str | None = None
        self._blocks = self._unnamed = 0
        self._text: dict[str, dict[str, Any]] = {}
        self._reasoning: dict[str, dict[str, Any]] = {}
        self._tools: dict[str, _Tool] = {}
        self._next_message_id = ""

    @property
    def calling(self) -> bool:
        """Whether a model call is open."""
        return self._call is not None

    # ---- steps
    def step_start(self) -> Events:
        """Begin a step; one that we had begun ourselves and that holds no call yet is taken over."""
        if self._step_open and self._step_implicit and self._call is None and not self._step_finish:
            self._step_implicit = False
            return []
        return [*self.step_end(), *self._open_step(implicit=False)]

    def _open_step(self, *, implicit: bool = True) -> Events:
        if self._step_open:
            return []
        self._step_open, self._step_implicit = True, implicit
        self._step_usage, self._step_finish, self._step_started = Usage(), None, time.time()
        return [ExecutionEvent(T.STEP_START, metadata={"step_index": self._steps})]

    def step_end(self, *, usage: Any = None, finish: str | None = None) -> Events:
        """End the step and the model call in it; usage and finish reason are derived when not given."""
        out = self.call_end(finish=finish)
        if not self._step_open:
            return out
        metadata = {
            "step_index": self._steps,
            "usage": normalise(usage) or self._step_usage,
            "finish_reason": finish or self._step_finish or "stop",
        }
        self._step_open, self._steps = False, self._steps + 1
        return [*out, ExecutionEvent(T.STEP_COMPLETE, metadata=metadata)]

    # ---- one model call
    def call_start(
        self, *, model_id: str = "", response_id: str = "", started: float | None = None
    ) -> Events:
        """Begin a model call, in a step; a call that has said something already is ended first."""
        out = [*self.call_end(), *self._open_step()]
        fresh = not self._step_finish
        self._call = call = _Call(started or (self._step_started if fresh else time.time()))
        call.model_id, call.response_id = model_id, response_id
        metadata = {"call_id": call.call_id, "provider": self.provider, "requested_model": self.model}
        return [*out, ExecutionEvent(T.MODEL_CALL_START, metadata=metadata)]

    def message_id(self, value: str) -> None:
        """Name the next message, for agents that do so before it begins."""
        self._next_message_id = value

    def metadata(
        self, *, usage: Any = None, model_id: str = "", response_id: str = "", finish: str | None = None
    ) -> Events:
        """Take news about the current call; counts that repeat or grow replace earlier ones."""
        call, out = self._call, []
        if call is None or (call.reported and response_id and call.response_id not in ("", response_id)):
            out = self.call_start()
            call = self._call
        assert call is not None
        call.model_id = model_id or call.model_id
        call.response_id = response_id or call.response_id
        call.finish = finish or call.finish
        counts = normalise(usage)
        if counts:
            call.usage, call.reported = counts, True
        return out

    def finish(self, reason: str, raw: str | None = None) -> None:
        """Say why the current call ended."""
        if self._call is not None:
            self._call.finish, self._call.finish_raw = reason, raw

    def call_end(self, *, finish: str | None = None) -> Events:
        """End the model call, if one is open: blocks, message_complete, response_metadata."""
        call = self._call
        if call is None:
            return []
        out = self._message_end(call, finish)
        self._call = None
        self._step_usage = add(self._step_usage, call.usage)
        self._step_finish = call.finish
        now = time.time()
        metadata: dict[str, Any] = {
            "call_id": call.call_id,
            "usage": call.usage,
            "usage_status": "reported" if call.reported else "unknown",
            "model_id": call.model_id or self.model,
            "requested_model": self.model,
            "provider": self.provider,
            "finish_reason": call.finish,
            "finish_reason_raw": call.finish_raw,
            "duration_ms": round((now - call.started) * 1000, 3),
        }
        if call.message_id or call.response_id:
            metadata["message_id"] = call.message_id or call.response_id
        if call.first_delta is not None:
            metadata["time_to_first_token_ms"] = round((call.first_delta - call.started) * 1000, 3)
        return [*out, ExecutionEvent(T.RESPONSE_METADATA, metadata=metadata)]

    def _message_end(self, call: _Call, finish: str | None = None) -> Events:
        out = self._close_reasoning()
        self._text.clear()
        derived = "refusal" if call.refused else "tool_calls" if call.client_tools else "stop"
        call.finish = finish or call.finish or derived
        if call.message_open:
            call.message_open, call.message_done = False, True
            metadata = {"finish_reason": call.finish, "message_id": call.message_id}
            out.append(ExecutionEvent(T.MESSAGE_COMPLETE, metadata=metadata))
        return out

    def _speak(self) -> tuple[_Call, Events]:
        """Return the call that new words belong to: words after its usage, or its message, begin another."""
        call = self._call
        if call is not None and not call.reported and not call.message_done:
            return call, []
        out = self.call_start()
        assert self._call is not None
        return self._call, out

    def _block_id(self, call: _Call) -> str:
        self._blocks += 1
        return f"{call.call_id}.{self._blocks}"

    # ---- words
    def text_start(self, block: str = "") -> None:
        """Make the next words of this id a block of their own."""
        self._text.pop(block, None)

    def text(self, delta: str, block: str = "", *, refusal: bool = False) -> Events:
        """Take words of the answer."""
        if not delta:
            return []
        call, out = self._speak()
        out += self._close_reasoning()
        if not call.message_open:
            call.message_open = True
            call.message_id = self._next_message_id or call.response_id or f"msg_{call.call_id}"
            self._next_message_id = ""
            out.append(ExecutionEvent(T.MESSAGE_START, metadata={"message_id": call.message_id}))
        shared = self._text.get(block)
        if shared is None:
            subtype = "refusal" if refusal else "text"
            shared = {"text_block_id": self._block_id(call), "event_subtype": subtype}
            self._text[block] = shared
        call.first_delta = call.first_delta or time.time()
        call.refused, self.text_seen = call.refused or refusal, True
        return [*out, ExecutionEvent(T.TOKEN, content=delta, metadata=shared)]

    def reasoning_start(self, block: str = "", kind: str = "full") -> Events:
        """Begin a reasoning block; one that was not ended ends here."""
        if block in self._reasoning:
            return []
        call, out = self._speak()
        out += self._close_reasoning()
        shared = {"block_id": self._block_id(call), "kind": kind}
        self._reasoning[block] = shared
        return [*out, ExecutionEvent(T.REASONING_START, metadata=shared)]

    def reasoning(self, delta: str, block: str = "", kind: str = "full") -> Events:
        """Take words of reasoning; a block that was not announced begins here."""
        if not delta:
            return []
        out = self.reasoning_start(block, kind)
        if self._call is not None:
            self._call.first_delta = self._call.first_delta or time.time()
        return [*out, ExecutionEvent(T.REASONING_TOKEN, content=delta, metadata=self._reasoning[block])]

    def reasoning_end(self, block: str = "") -> Events:
        """End a reasoning block; one that is not open is ignored."""
        shared = self._reasoning.pop(block, None)
        return [] if shared is None else [ExecutionEvent(T.REASONING_END, metadata=shared)]

    def _close_reasoning(self) -> Events:
        return [event for block in list(self._reasoning) for event in self.reasoning_end(block)]

    # ---- tools
    def tool_start(self, call_id: str, name: str, *, executed_by: str = "client") -> Events:
        """Announce a tool call. Usage may have come before it: it still belongs to that model call."""
        if call_id in self._tools:
            self._tools[call_id].name = self._tools[call_id].name or name
            return []
        # In a step that the agent announced there is one model call: a tool named after another one's result
        # was asked for by that same call.
        asked_before = self._step_open and not self._step_implicit and bool(self._step_finish)
        out = self.call_start() if self._call is None and not asked_before else []
        out += self._close_reasoning()
        self._tools[call_id] = _Tool(name, executed_by, time.time())
        if self._call is not None:
            self._call.client_tools |= executed_by == "client"
            self._call.first_delta = self._call.first_delta or time.time()
        metadata = {"tool_name": name, "tool_call_id": call_id, "executed_by": executed_by}
        return [*out, ExecutionEvent(T.TOOL_CALL_START, metadata=metadata)]

    def tool_delta(self, call_id: str, fragment: str) -> Events:
        """Take a fragment of the arguments' JSON."""
        if not fragment:
            return []
        out = self.tool_start(call_id, "")
        self._tools[call_id].fragments.append(fragment)
        return [*out, ExecutionEvent(T.TOOL_CALL_DELTA, content=fragment, metadata={"tool_call_id": call_id})]

    def tool_input(self, call_id: str, name: str, arguments: Any, *, executed_by: str = "client") -> Events:
        """Take the whole arguments of a call, announced before or not."""
        out = self.tool_start(call_id, name, executed_by=executed_by)
        tool = self._tools[call_id]
        if not tool.fragments and arguments not in (None, "", {}):
            text = arguments if isinstance(arguments, str) else dumps(arguments).decode()
            out += self.tool_delta(call_id, text)
        if not isinstance(arguments, str):
            tool.arguments = arguments
        return out

    def tool_end(
        self, call_id: str, *, output: Any = None, error: str | None = None, status: str = ""
    ) -> Events:
        """Take the result of a tool call; the model call that asked for it ends first."""
        out = self.tool_start(call_id, "") if call_id not in self._tools else []
        tool = self._tools.pop(call_id)
        call = self._call
        if call is not None and tool.executed_by == "client":
            out += self.call_end() if call.reported else self._message_end(call)
        metadata = tool.metadata(call_id)
        metadata["status"] = status or ("error" if error is not None else "ok")
        metadata["duration_ms"] = round((time.time() - tool.started) * 1000, 3)
        event = ExecutionEvent(T.TOOL_CALL_COMPLETE, output=plain(output), metadata=metadata, error=error)
        return [*out, event]

    # ---- everything else
    def _beside(self, event: ExecutionEvent) -> Events:
        return [*([] if self._steps else self._open_step()), event]

    def source(self, sources: list[dict[str, Any]]) -> Events:
        """Take citations or search results; nothing is emitted for an empty list."""
        if not sources:
            return []
        return self._beside(ExecutionEvent(T.SOURCE, metadata={"sources": plain(sources)}))

    def file(self, content: Any, *, name: str = "", mime_type: str = "") -> Events:
        """Take an attachment: base64, a data URL or raw bytes, with or without a name and a type."""
        self._unnamed += not name
        metadata = _files.describe(content, name, mime_type, number=self._unnamed)
        return self._beside(ExecutionEvent(T.FILE, metadata=metadata))

    def custom(self, payload: Any, *, data_type: str, transient: bool = False) -> Events:
        """Take an event that only the agent knows."""
        metadata = {"data_type": data_type, "transient": transient}
        return self._beside(ExecutionEvent(T.CUSTOM_DATA, content=plain(payload), metadata=metadata))

    # ---- endings
    def close(self, *, failed: bool = False) -> Events:
        """End everything that is open; an agent that said nothing still has its one step."""
        out = [] if self._steps else self._open_step()
        out += self.call_end(finish="error" if failed else None)
        status = "cancelled" if failed else "not_executed"
        for call_id in list(self._tools):
            out += self.tool_end(call_id, status=status)
        return [*out, *self.step_end(finish="error" if failed else None)]


def with_native(events: Events, native: Any) -> Events:
    """Put the agent's own event beside what it became: on the last of ours, or as custom_data of its own."""
    if not events:
        metadata = {"data_type": "native", "transient": False}
        return [ExecutionEvent(T.CUSTOM_DATA, content=native, metadata=metadata)]
    last = events[-1]
    events[-1] = dataclasses.replace(last, metadata={**last.metadata, "native": native})
    return events
