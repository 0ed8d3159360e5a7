"""The tool calls of one chat completion, put together from deltas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..core.events import EventType, ExecutionEvent, dumps
from ._text import Joiner


@dataclasses.dataclass(slots=True)
class _Call:
    """A tool call being read; it starts when its name is known."""

    id: str
    given_id: str = ""
    started: bool = False
    early: str = ""
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    join: Joiner = dataclasses.field(default_factory=Joiner)


class ToolCalls:
    """Tells the calls of one answer apart and writes their events.

    Parameters: call_id, what ids begin with where the server sends none; before, called with the list of
    events before a call starts, to close what is open.
    """

    __slots__ = ("_before", "_by_index", "_prefix", "_replaced")

    def __init__(self, call_id: str, before: Callable[[list[ExecutionEvent]], None]) -> None:
        self._prefix, self._before = call_id, before
        self._by_index: dict[int, _Call] = {}
        self._replaced: list[_Call] = []

    @property
    def any(self) -> bool:
        """Whether the answer calls a tool."""
        return bool(self._by_index)

    def feed(self, out: list[ExecutionEvent], calls: list[Any]) -> None:
        """Read one delta's `tool_calls`; a missing index means the position in the list."""
        for position, raw in enumerate(calls):
            if not isinstance(raw, dict):
                continue
            index = raw.get("index")
            function = raw.get("function") or raw.get("custom")
            function = function if isinstance(function, dict) else {}
            name, arguments = function.get("name"), function.get("arguments", function.get("input"))
            call = self._call(index if isinstance(index, int) else position, raw.get("id"), name)
            if not call.started and name:
                self._start(out, call, str(name))
            if isinstance(arguments, dict):
                arguments = dumps(arguments).decode()
            if arguments and isinstance(arguments, str):
                self._argument(out, call, arguments)

    def _call(self, index: int, id: Any, name: Any) -> _Call:
        """A call is new at an unseen index, or at a seen one with another id and a name."""
        given = "" if id is None else str(id)
        call = self._by_index.get(index)
        if call is not None and not (given and name and call.started and given != call.given_id):
            if given and not call.started:
                call.id = call.given_id = given
            return call
        if call is not None:
            self._replaced.append(call)
        fresh = _Call(given or f"{self._prefix}.tool{len(self._by_index) + len(self._replaced)}", given)
        self._by_index[index] = fresh
        return fresh

    def _start(self, out: list[ExecutionEvent], call: _Call, name: str) -> None:
        self._before(out)
        call.started, call.metadata = True, {"tool_call_id": call.id}
        metadata = {"tool_name": name, "tool_call_id": call.id, "executed_by": "client"}
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=metadata))
        if call.early:
            early, call.early = call.early, ""
            self._argument(out, call, early)

    def _argument(self, out: list[ExecutionEvent], call: _Call, text: str) -> None:
        if not call.started:
            call.early += text
            return
        if call.join.held or not text.isascii():
            text = call.join.add(text)
        if text:
            out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, "", text, None, call.metadata))

    def finish(self, out: list[ExecutionEvent]) -> None:
        """Write what waited for a name or for the other half of a character."""
        for call in [*self._replaced, *self._by_index.values()]:
            if not call.started:
                self._start(out, call, "")
            rest = call.join.end()
            if rest:
                out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, content=rest, metadata=call.metadata))
