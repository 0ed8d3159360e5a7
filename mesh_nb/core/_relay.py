"""Events of a graph inside a node: named and numbered here, stamped and logged by the run around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._recorder import Recorder
from ._visit import Visit
from .backend import Backend
from .balance import Reason
from .context import ExecutionContext
from .edges import Way
from .events import EventType, ExecutionEvent
from .resume import Past


class InnerEvent(ExecutionEvent):
    """An event of a node inside another node, on its way out to the run that records it."""

    __slots__ = ()


class Relay(Recorder):
    """Names and numbers the events of an inner graph; seq, time and log are those of the run around it.

    Parameters: prefix, put before node ids; number, from a visit of an inner node to the number that tells it
    from all visits of that node in the run.
    """

    __slots__ = ("_number", "_numbered", "_prefix")

    def __init__(self, prefix: str, number: Callable[[int], int]) -> None:
        super().__init__("")
        self._prefix = prefix
        self._number = number
        self._numbered: tuple[dict[str, Any], dict[str, Any]] | None = None

    @property
    def problem(self) -> str | None:
        """None: what cannot be kept is said by the run around it."""
        return None

    def open(
        self,
        backend: Backend,
        context: ExecutionContext,
        past: Past | None = None,
        definitions: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        """Do nothing: the run around it has the log."""

    def close(self) -> None:
        """Do nothing, as `open`."""

    def record(self, event: ExecutionEvent, node_id: str, visit: Visit | None = None) -> ExecutionEvent:
        """Name and number an event."""
        event.node_id = self._prefix + node_id
        if visit is not None:
            event.metadata = self._mark(event.metadata, visit.number, visit.attempt)
        event.__class__ = InnerEvent
        return event

    def passed(self, event: ExecutionEvent) -> ExecutionEvent:
        """Name and number an event that comes from further inside."""
        event.node_id = self._prefix + event.node_id
        event.metadata = self._mark(event.metadata, event.metadata.get("visit", 0), 0)
        return event

    def make(
        self,
        kind: EventType,
        node_id: str,
        number: int,
        at: float,
        output: Any = None,
        way: Way | None = None,
    ) -> ExecutionEvent:
        """Make an event of the executor's own."""
        metadata = self._mark({} if way is None else {"route": way.route}, number, 0)
        return self.record(ExecutionEvent(kind, "", None, output, metadata, at), node_id)

    def close_blocks(self, reason: Reason, visit: Visit | None = None) -> list[ExecutionEvent]:
        """Return the events that close what a visit, or the whole inner run, has left open."""
        if self._balance is None:
            return []
        keys = list(self._balance.open)
        if visit is not None:
            keys = [(self._prefix + visit.node_id, self._number(visit.number))]
        closed: list[ExecutionEvent] = []
        for key in keys:
            for event in self._balance.closing(reason, key):
                # What opened it has gone on outwards, and has other names by now.
                event.node_id = key[0]
                event.metadata.pop("visit", None)
                if key[1]:
                    event.metadata["visit"] = key[1]
                event.__class__ = InnerEvent
                closed.append(event)
        return closed

    def ending(
        self, kind: EventType, status: str, output: Any = None, error: str | None = None
    ) -> ExecutionEvent:
        """Return the inner run's last event, which nobody records."""
        self.ended = True
        return ExecutionEvent(kind, output=output, metadata={"status": status}, error=error)

    def _mark(self, metadata: dict[str, Any], visit: int, attempt: int) -> dict[str, Any]:
        number = self._number(visit)
        if not number and not attempt:
            return metadata
        # Deltas share their dict: they share the numbered one too.
        if self._numbered is None or self._numbered[0] is not metadata:
            marked = {**metadata, "visit": number}
            if attempt:
                marked["attempt"] = attempt
            self._numbered = metadata, marked
        return self._numbered[1]
