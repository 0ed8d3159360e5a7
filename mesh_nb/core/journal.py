"""What an unfinished visit of a node has done already, so that it is not done, and paid for, again.

A resumed node runs from its top. What it asks for that the log has the result of comes from here, as events
of the class `Replayed`, which the executor does not record a second time.
"""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Any

from .events import EventType, ExecutionEvent, canonical

_FINAL = ("ok", "error", "denied")
"""What a tool call ended with that its model was told."""


class Replayed(ExecutionEvent):
    """An event that an earlier part of the run has recorded."""

    __slots__ = ()


def replayed(event: ExecutionEvent) -> ExecutionEvent:
    """Return a copy of a recorded event that is not recorded again."""
    made = copy.copy(event)
    made.__class__ = Replayed
    return made


def key_of(parts: dict[str, Any]) -> str:
    """Return the sha256 of a call's parts: equal calls have equal keys, whatever the order of their fields.

    Parameters: parts, everything that the answer depends on; bytes count by content.
    """
    return hashlib.sha256(canonical(parts)).hexdigest()


class Journal:
    """The journal of one visit.

    Parameters: events, what the log has of the visit, in order; replays, whether the node takes its calls
    from here, so that the rounds around them were recorded too; inside, what the log has of nodes that this
    one runs.
    """

    def __init__(
        self,
        events: Iterable[ExecutionEvent],
        *,
        replays: bool = False,
        inside: Iterable[ExecutionEvent] = (),
    ) -> None:
        self.inside = list(inside)
        self._calls: dict[str, deque[list[ExecutionEvent]]] = {}
        self._done: dict[str, deque[ExecutionEvent]] = {}
        self._begun: dict[str, int] = {}
        self._questions: list[tuple[ExecutionEvent, ExecutionEvent | None]] = []
        self._held: ExecutionEvent | None = None
        self._seen: set[tuple[str, Any]] = set()
        self._spoken: list[str] = []
        self._read(list(events))
        if not replays:
            self._calls, self._done, self._begun, self._seen = {}, {}, {}, set()

    def call(self, key: str) -> list[ExecutionEvent] | None:
        """Return the events of the next completed model call with this key, None when there is none left."""
        found = self._calls.get(key)
        return [replayed(event) for event in found.popleft()] if found else None

    def tool(self, name: str, arguments: Any, tool_call_id: str | None = None) -> ExecutionEvent | None:
        """Return the tool_call_complete of a call that was finished: by its id, else the next of its kind."""
        key = tool_call_id or _kind(name, arguments)
        found = self._done.get(key)
        return replayed(found.popleft()) if found else None

    def finished(self, tool_call_id: str) -> bool:
        """Say whether the log has what became of a call."""
        return tool_call_id in self._done

    def begun(self, name: str, tool_call_id: str | None = None) -> bool:
        """Say whether a call was begun, and nobody knows how it ended."""
        return self._begun.get(tool_call_id or name, 0) > 0

    def question(self, metadata: dict[str, Any]) -> tuple[ExecutionEvent, ExecutionEvent | None] | None:
        """Return the next recorded question of this kind, and its resolution, None while it has none."""
        for n, (asked, resolution) in enumerate(self._questions):
            if _same(asked.metadata, metadata):
                del self._questions[n]
                return replayed(asked), None if resolution is None else replayed(resolution)
        return None

    def asked(self, kind: str) -> bool:
        """Say whether there is a recorded question of a kind left."""
        return any(asked.metadata.get("kind") == kind for asked, _ in self._questions)

    def spoke(self, text: str) -> bool:
        """Say whether the node itself said this, in a message of its own that is complete; each only once."""
        if text not in self._spoken:
            return False
        self._spoken.remove(text)
        return True

    def held(self) -> ExecutionEvent | None:
        """Return the node_complete of a node that has run and whose output was asked about."""
        if self._held is None:
            return None
        return ExecutionEvent(EventType.NODE_COMPLETE, output=self._held.output)

    def seen(self, event: ExecutionEvent) -> bool:
        """Say whether an event around the replayed calls is in the log; each only once."""
        if event.__class__ is Replayed:
            return True
        identity = _identity(event)
        if identity is None or identity not in self._seen:
            return False
        self._seen.discard(identity)
        return True

    def _read(self, events: list[ExecutionEvent]) -> None:
        retries = [n for n, event in enumerate(events) if event.type == EventType.NODE_RETRY]
        kept = events[retries[-1] + 1 :] if retries else events
        call: list[ExecutionEvent] = []
        in_call = False
        answers = {e.metadata.get("interrupt_id"): e for e in kept if e.type == EventType.INTERRUPT_RESOLVED}
        for event in kept:
            kind = event.type
            if kind == EventType.MODEL_CALL_START or (kind == EventType.MESSAGE_START and not in_call):
                call, in_call = [], kind == EventType.MODEL_CALL_START
            call.append(event)
            if kind == EventType.RESPONSE_METADATA:
                self._end_call(call)
                call, in_call = [], False
            elif kind == EventType.MESSAGE_COMPLETE and not in_call:
                self._spoken.append("".join(e.content for e in call if e.type == EventType.TOKEN))
            elif kind == EventType.INTERRUPT:
                self._questions.append((event, answers.get(event.metadata.get("interrupt_id"))))
                if event.metadata.get("kind") == "after" and self._held is None:
                    self._held = event
            elif kind in (EventType.TOOL_CALL_START, EventType.TOOL_CALL_COMPLETE):
                self._tool(event)
            elif kind == EventType.STEP_COMPLETE and event.metadata.get("finish_reason") == "error":
                self._seen.discard(("start", event.metadata.get("step_index")))
            elif (identity := _identity(event)) is not None:
                self._seen.add(identity)

    def _end_call(self, call: list[ExecutionEvent]) -> None:
        first = call[0]
        key = first.metadata.get("call_key") if first.type == EventType.MODEL_CALL_START else None
        # A call that broke off has no reason, or this one.
        if key and call[-1].metadata.get("finish_reason") not in (None, "error"):
            self._calls.setdefault(str(key), deque()).append(call)

    def _tool(self, event: ExecutionEvent) -> None:
        given = event.metadata
        if given.get("executed_by") == "provider":
            return
        id, name = str(given.get("tool_call_id")), str(given.get("tool_name"))
        if event.type == EventType.TOOL_CALL_START:
            for key in (id, name):
                self._begun[key] = self._begun.get(key, 0) + 1
        elif given.get("status") in _FINAL:
            for key in (id, name):
                self._begun[key] = self._begun.get(key, 0) - 1
            for key in (id, _kind(name, given.get("arguments"))):
                self._done.setdefault(key, deque()).append(event)
            self._seen.add(("tool", id))
        elif given.get("status") == "not_executed":
            self._seen.add(("tool", id))


def _kind(name: str, arguments: Any) -> str:
    return key_of({"tool": name, "arguments": arguments})


def _identity(event: ExecutionEvent) -> tuple[str, Any] | None:
    kind, given = event.type, event.metadata
    if kind == EventType.STEP_START:
        return "start", given.get("step_index")
    if kind == EventType.STEP_COMPLETE:
        return "end", given.get("step_index")
    if kind == EventType.TOOL_CALL_COMPLETE:
        return "tool", given.get("tool_call_id")
    return None


def _same(asked: dict[str, Any], now: dict[str, Any]) -> bool:
    return all(asked.get(name) == now.get(name) for name in ("kind", "tool_name", "tool_call_id"))
