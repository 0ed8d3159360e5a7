"""The record of one run: every event is stamped and logged here, and what is open is closed."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from . import tape
from ._ending import Totals
from ._scrub import CHANGED, Hushed, Scrubber, originals
from ._visit import Visit
from .backend import Backend, RunLog
from .balance import Balance, Reason
from .context import ExecutionContext
from .edges import Way
from .errors import InputError
from .events import EventType, ExecutionEvent, dumps, loads
from .origin import origin
from .resume import Begin, Past, balance_of
from .secret import marked

_SECRET = re.compile(r"key$|token$|secret|passw|credential|^auth", re.IGNORECASE)

_NODE_START = EventType.NODE_START
_new = ExecutionEvent.__new__
_NO_VISITS: dict[tuple[str, int], int] = {}


class Recorder:
    """Stamps and logs the events of one run.

    ended : whether the run's ending was recorded.
    """

    # What few runs need is made when it is asked for.
    __slots__ = (
        "_again",
        "_balance",
        "_began",
        "_context",
        "_header",
        "_hushed",
        "_last",
        "_log",
        "_marks",
        "_run_id",
        "_seq",
        "_sink",
        "_totals",
        "_visit",
        "ended",
    )
    _sink: RunLog | Hushed

    def __init__(self, run_id: str) -> None:
        self.ended = False
        self._run_id = run_id
        self._balance: Balance | None = None
        self._totals: Totals | None = None
        self._header: dict[str, Any] | None = None
        self._context: ExecutionContext | None = None
        self._log: RunLog | None = None
        self._hushed: Hushed | None = None
        self._seq = 0
        self._last = self._began = 0.0
        self._again = _NO_VISITS
        self._visit = 0
        self._marks: dict[str, Any] = {}

    @property
    def balance(self) -> Balance:
        """What is open."""
        if self._balance is None:
            self._balance = Balance()
        return self._balance

    @property
    def totals(self) -> Totals:
        """Usage and cost so far."""
        if self._totals is None:
            self._totals = Totals()
        return self._totals

    @property
    def header(self) -> dict[str, Any]:
        """What the log begins with, once it is open; empty before."""
        if self._header is None:
            self._header = {} if self._context is None else _named(self._context)
        return self._header

    @property
    def problem(self) -> str | None:
        """One sentence when events could not be kept, else None."""
        return None if self._log is None else self._log.problem

    def open(
        self,
        backend: Backend,
        context: ExecutionContext,
        past: Past | None = None,
        definitions: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        """Open the log of the context's run, or the next part of it after its past. Raises InputError the
        second time, and for a run that another process resumes."""
        if self._log is not None:
            raise InputError("An execution is iterated once; start another one.")
        self._context, header, where = context, _named(context), origin()
        if where or self._header is not None:
            self.header.update({**header, **where})
            header = dict(self.header)
        on = tape.current()
        scrubber = (None if on is None else on.scrubber) or (Scrubber() if marked else None)
        if past is None:
            begin = _begin(context)
            if definitions is not None and not getattr(backend, "transient", False):
                begin["definitions"] = definitions()
            if scrubber is not None:
                begin = self._hidden(begin, scrubber)
            header["begin"] = begin
            self._log = backend.open(self._run_id, header)
        else:
            self._log = backend.reopen(self._run_id, header, past.version)
            self._go_on(past.events)
        self._sink = self._log
        if scrubber is not None:
            self._hush(scrubber)
        self._began = time.monotonic()

    def _hush(self, scrubber: Scrubber) -> None:
        """Write no secrets from now on, though the first may have been marked only now."""
        self._sink = self._hushed = Hushed(self._sink.append, scrubber, originals(self._run_id))

    def _hidden(self, begin: Begin, scrubber: Scrubber) -> Begin:
        """Return what a run begins with without secrets."""
        written = loads(dumps(begin))
        clean = cast("Begin", scrubber.value(written, scrubber.secrets()))
        if clean == written:
            return begin
        originals(self._run_id)["begin"] = begin
        return {**clean, CHANGED: True}

    def _go_on(self, events: list[ExecutionEvent]) -> None:
        self._balance = balance_of(events)
        for event in events:
            if event.type == EventType.RESPONSE_METADATA:
                self.totals.add(event.metadata)
        if events:
            self._seq, self._last = events[-1].seq + 1, events[-1].timestamp

    def again(self, visits: Iterable[tuple[str, int]], times: int) -> None:
        """Say in the next node_start of these visits, (node_id, visit), that the run was resumed: its
        `times`-th time."""
        self._again = dict.fromkeys(visits, times)

    def close(self) -> None:
        """Close the log."""
        if self._hushed is not None:
            self._hushed.flush()
        if self._log is not None:
            self._log.close()

    def record(self, event: ExecutionEvent, node_id: str, visit: Visit | None = None) -> ExecutionEvent:
        """Stamp an event, a copy when it was recorded before, and log it."""
        if event.seq >= 0:
            event = dataclasses.replace(event)
        event.run_id = self._run_id
        event.node_id = node_id
        event.seq = self._seq
        self._seq += 1
        if event.timestamp < self._last:
            event.timestamp = self._last
        else:
            self._last = event.timestamp
        if visit is not None and (visit.number or visit.attempt):
            event.metadata = visit.mark(event.metadata)
        if marked.version and self._hushed is None:
            self._hush(Scrubber())
        self._sink.append(event)
        return event

    def passed(self, event: ExecutionEvent) -> ExecutionEvent:
        """Record an event of a node that another node runs; it has its node id and its numbers."""
        event.__class__ = ExecutionEvent
        return self.record(event, event.node_id)

    def make(
        self,
        kind: EventType,
        node_id: str,
        number: int,
        at: float,
        output: Any = None,
        way: Way | None = None,
    ) -> ExecutionEvent:
        """Make an event of the executor's own, at a time in seconds since the epoch, and record it: in one
        step, for it happens twice for each node."""
        if at < self._last:
            at = self._last
        self._last = at
        if number == self._visit:
            metadata = self._marks
        else:
            self._visit, self._marks = number, (metadata := {"visit": number} if number else {})
        if self._again and kind is _NODE_START and (node_id, number) in self._again:
            metadata = {**metadata, "resumed": self._again.pop((node_id, number))}
        if way is not None:
            metadata = {**metadata, "route": way.route}
        seq = self._seq
        self._seq = seq + 1
        # By its class it takes three times as long.
        event = _new(ExecutionEvent)
        event.type = kind
        event.node_id = node_id
        event.content = event.error = None
        event.output = output
        event.metadata = metadata
        event.timestamp = at
        event.run_id = self._run_id
        event.seq = seq
        if marked.version and self._hushed is None:
            self._hush(Scrubber())
        self._sink.append(event)
        return event

    def close_blocks(self, reason: Reason, visit: Visit | None = None) -> list[ExecutionEvent]:
        """Record the events that close what a visit, or the whole run, has left open."""
        if self._balance is None or not self._balance.open:
            return []
        where = (visit.node_id, visit.number) if visit is not None else None
        return self._record_closing(self._balance.closing(reason, where))

    def close_broken_off(self, replays: Callable[[str], bool]) -> list[ExecutionEvent]:
        """Record the events that close what was open when the run broke off and does not go on."""
        return self._record_closing(self.balance.broken_off(replays))

    def _record_closing(self, found: list[ExecutionEvent]) -> list[ExecutionEvent]:
        recorded = [self.record(event, event.node_id) for event in found]
        for event in recorded:
            if event.type == EventType.RESPONSE_METADATA:
                self.totals.add(event.metadata)
        return recorded

    def ending(
        self, kind: EventType, status: str, output: Any = None, error: str | None = None
    ) -> ExecutionEvent:
        """Record the last event of the run."""
        duration = round((time.monotonic() - self._began) * 1000, 3)
        totals = {"usage": {}} if self._totals is None else self._totals.metadata()
        metadata = {"status": status, "duration_ms": duration, **totals}
        self.ended = True
        return self.record(ExecutionEvent(kind, "START", None, output, metadata, None, error), "START")


def _named(context: ExecutionContext) -> dict[str, Any]:
    return {"graph_id": context.graph_id, "session_id": context.session_id, "trace_id": context.trace_id}


def _begin(context: ExecutionContext) -> Begin:
    """Return what a run begins with, for its header; variables that look like secrets by name only."""
    begin: Begin = {"input": context.input}
    if variables := context._variables:
        withheld = [name for name in variables if _SECRET.search(str(name))]
        begin["variables"] = {k: v for k, v in variables.items() if k not in withheld}
        if withheld:
            begin["withheld"] = withheld
    if state := context._state:
        begin["state"] = dict(state)
    if history := context._chat_history:
        begin["chat_history"] = list(history)
    return begin
