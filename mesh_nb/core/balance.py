"""What is open in a run, and the events that close it when a failure or a cancel left it open.

A cancelled generator cannot yield, and foreign agents never would, so the executor closes for them. Only
boundary events are looked at; deltas cost nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from .events import EventType, ExecutionEvent

Reason = Literal["error", "cancelled", "unfinished"]
_Key = tuple[str, int]
_Item = tuple[str, Any]

_STARTS: dict[str, tuple[str, str]] = {
    EventType.MODEL_CALL_START: ("call", "call_id"),
    EventType.MESSAGE_START: ("message", "message_id"),
    EventType.REASONING_START: ("reasoning", "block_id"),
    EventType.TOOL_CALL_START: ("tool", "tool_call_id"),
    EventType.STEP_START: ("step", "step_index"),
}
_ENDS: dict[str, tuple[str, str]] = {
    EventType.RESPONSE_METADATA: ("call", "call_id"),
    EventType.MESSAGE_COMPLETE: ("message", "message_id"),
    EventType.REASONING_END: ("reasoning", "block_id"),
    EventType.TOOL_CALL_COMPLETE: ("tool", "tool_call_id"),
    EventType.STEP_COMPLETE: ("step", "step_index"),
}


class Balance:
    """Tracks the open blocks of a run, for each node and visit.

    A node whose run was cancelled gets no event of its own: execution_error ends it.
    """

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open: dict[_Key, dict[_Item, ExecutionEvent]] = {}

    def feed(self, event: ExecutionEvent) -> None:
        """Take note of a recorded boundary event."""
        kind = event.type
        metadata = event.metadata
        if kind in _STARTS:
            name, field = _STARTS[kind]
            key = (event.node_id, metadata.get("visit", 0))
            self.open.setdefault(key, {})[name, metadata.get(field)] = event
        elif kind in _ENDS:
            name, field = _ENDS[kind]
            key = (event.node_id, metadata.get("visit", 0))
            blocks = self.open.get(key)
            if not blocks:
                return
            if blocks.pop((name, metadata.get(field)), None) is None:
                # An end without the id of its start closes the innermost block of its kind.
                last = next((item for item in reversed(blocks) if item[0] == name), None)
                if last is not None:
                    del blocks[last]
            if not blocks:
                del self.open[key]

    def closing(self, reason: Reason, where: tuple[str, int] | None = None) -> list[ExecutionEvent]:
        """Return the events, not yet stamped, that close what is open, innermost first, and forget it.

        Parameters: reason, "unfinished" when the node completed and left it open; where, a (node_id,
        visit), None for the whole run.
        """
        chosen = list(self.open) if where is None else [where] if where in self.open else []
        events: list[ExecutionEvent] = []
        for key in chosen:
            for (name, _), start in reversed(self.open.pop(key).items()):
                events.append(_closing(name, start, reason))
        return events

    def broken_off(self, replays: Callable[[str], bool]) -> list[ExecutionEvent]:
        """Return the events that close what nobody will go on with after a resume, and forget it: a model
        call or a message under way and what is inside it; everything of a node that begins anew.

        Parameters: replays, says of a node id whether the rounds and tools of its log go on.
        """
        events: list[ExecutionEvent] = []
        for key in list(self.open):
            blocks = self.open[key]
            calls = [n for n, (name, _) in enumerate(blocks) if name in ("call", "message", "reasoning")]
            first = calls[0] if calls else len(blocks)
            cut = list(blocks)[first if replays(key[0]) else 0 :]
            events += [_closing(item[0], blocks.pop(item), "error") for item in reversed(cut)]
            if not blocks:
                del self.open[key]
        return events


def _closing(name: str, start: ExecutionEvent, reason: Reason) -> ExecutionEvent:
    given = start.metadata
    kept = {k: given[k] for k in ("visit", "attempt") if k in given}
    finish = None if reason == "unfinished" else "error"

    def event(kind: EventType, *fields: str, **more: Any) -> ExecutionEvent:
        metadata = {k: given[k] for k in fields if k in given}
        return ExecutionEvent(kind, start.node_id, metadata={**metadata, **more, **kept})

    if name == "message":
        return event(EventType.MESSAGE_COMPLETE, "message_id", finish_reason=finish)
    if name == "reasoning":
        return event(EventType.REASONING_END, "block_id", "kind")
    if name == "tool":
        status = "not_executed" if reason == "unfinished" else "cancelled"
        fields = ("tool_name", "tool_call_id", "executed_by", "arguments", "arguments_raw")
        return event(EventType.TOOL_CALL_COMPLETE, *fields, status=status)
    if name == "step":
        return event(EventType.STEP_COMPLETE, "step_index", usage={}, finish_reason=finish)
    return event(
        EventType.RESPONSE_METADATA,
        "call_id",
        "provider",
        "requested_model",
        model_id=given.get("requested_model", "unknown"),
        usage={},
        usage_status="unknown",
        finish_reason=finish,
    )
