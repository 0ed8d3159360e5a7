"""What the log of a run knows, so that the run can go on from there."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from ._inside import host_of, node_at
from ._visit import Way
from .backend import StoredRun
from .balance import Balance
from .compiled import CompiledGraph
from .context import ExecutionContext
from .errors import GraphValidationError, InputError, shown
from .events import EventType, ExecutionEvent
from .interrupts import Answer, Interrupt, choose, unanswered
from .journal import Journal

Begin = dict[str, Any]
"""What a run began with, as its header keeps it: input, variables, state, chat_history, withheld."""


@dataclasses.dataclass(slots=True)
class Past:
    """The part of a run that is in its log.

    Parameters: events, in order; begin, what the run began with; session_id and graph_id of its context;
    answers, to its open questions, by id; version, of the log as it was read.
    """

    events: list[ExecutionEvent]
    begin: Begin
    session_id: str = ""
    graph_id: str = ""
    answers: dict[str, Answer] = dataclasses.field(default_factory=dict[str, Answer])
    version: Any = None

    @property
    def times(self) -> int:
        """How often the run was begun or resumed."""
        return sum(event.type == EventType.EXECUTION_START for event in self.events)

    def open_questions(self) -> list[ExecutionEvent]:
        """Return the interrupt events without an answer, neither in the log nor in `answers`."""
        return [event for id, event in unanswered(self.events).items() if id not in self.answers]

    def journals(self, graph: CompiledGraph, visits: list[tuple[int, int]]) -> dict[tuple[int, int], Journal]:
        """Return the journals of unfinished visits, by node index and visit."""
        wanted = {(graph.plan.ids[index], visit): (index, visit) for index, visit in visits}
        around = {node_id for node_id, _ in wanted if node_id in graph.inner}
        found: dict[tuple[int, int], list[ExecutionEvent]] = {}
        inside: dict[str, list[ExecutionEvent]] = {}
        for event in self.events:
            where = wanted.get((event.node_id, event.metadata.get("visit", 0)))
            if where is not None:
                found.setdefault(where, []).append(event)
            elif around and event.node_id not in graph.index:
                host = host_of(graph, event.node_id)
                if host in around:
                    inside.setdefault(host, []).append(event)
        journals: dict[tuple[int, int], Journal] = {}
        for where, events in found.items():
            node_id = graph.plan.ids[where[0]]
            again = max((e.seq for e in events if e.type == EventType.NODE_RETRY), default=-1)
            within = [e for e in inside.get(node_id, ()) if e.seq > again]
            journals[where] = Journal(events, replays=replays(graph, node_id), inside=within)
        return journals


def past_of(stored: StoredRun, graph: CompiledGraph, answers: dict[str, Answer] | None) -> Past:
    """Return what a stored run goes on from.

    Raises InputError for a run that is complete, that still runs or whose log does not tell what it began
    with, and for an answer to no open question; GraphValidationError when the graph lacks a node that the run
    has completed.
    """
    run_id, given = stored.run_id, cast("Any", answers) or {}
    if not isinstance(given, dict) or any(
        not isinstance(answer, Answer) for answer in cast("dict[Any, Any]", given).values()
    ):
        raise InputError(
            f"answers= is a dict of interrupt ids and Answer('approved') or the like, not {shown(answers)}."
        )
    if stored.live:
        raise InputError(f"Run {run_id} is still running; answer or cancel it instead of resuming it.")
    status = status_of(stored.events)
    if status == "completed":
        raise InputError(f"Run {run_id} is complete: nothing is left to resume. rerun() executes it again.")
    begin = begin_of(stored)
    known = {
        *graph.index,
        *(i for own in graph.inner.values() for inner in own.values() for i in inner.nodes),
    }
    asking = list(unanswered(stored.events).values())
    for event in (*(e for e in stored.events if e.type == EventType.NODE_COMPLETE), *asking):
        inside = event.node_id.partition(".")[0] in known
        if event.node_id not in known and not inside:
            what = "asks something in" if event in asking else "has completed"
            raise GraphValidationError(
                f"Run {run_id} {what} node {event.node_id!r}, which this graph does not have. Resume it with"
                " the graph that it was started with."
            )
    pending = [Interrupt.of(event) for event in asking]
    for id, answer in (answers or {}).items():
        choose(pending, id, answer)
    header = stored.header
    session, name = str(header.get("session_id") or ""), str(header.get("graph_id") or "")
    return Past(stored.events, begin, session, name, dict(answers or {}), version=stored.version)


def context_of(past: Past, variables: dict[str, Any] | None = None) -> ExecutionContext:
    """Return the context that a run began with. Raises InputError for a variable that the log does not keep
    and `variables` lacks."""
    context = context_of_begin(past.begin, variables)
    context.graph_id, context.session_id = past.graph_id, past.session_id
    return context


def context_of_begin(begin: Begin, variables: dict[str, Any] | None = None) -> ExecutionContext:
    """Return a context with the variables, state and history of a beginning. Raises as `context_of`."""
    given = dict(variables or {})
    for name in begin.get("withheld") or ():
        if name not in given:
            raise InputError(
                f"The log does not keep variable {name!r}, whose name looks like a secret: pass"
                f" variables={{{name!r}: ...}}."
            )
    return ExecutionContext(
        chat_history=list(begin.get("chat_history") or ()),
        variables={**(begin.get("variables") or {}), **given},
        state=dict(begin.get("state") or {}),
    )


def begin_of(stored: StoredRun) -> Begin:
    """Return what a stored run began with. Raises InputError when its log does not tell."""
    begin = stored.header.get("begin")
    if not isinstance(begin, dict) or "input" not in begin:
        raise InputError(
            f"The log of run {stored.run_id} does not say what the run began with, so it cannot go on. Start"
            " a new one."
        )
    return begin


def status_of(events: list[ExecutionEvent]) -> str | None:
    """Return the status of a log's last part, None when that has no ending."""
    last = events[-1] if events else None
    if last is None or last.type not in (EventType.EXECUTION_COMPLETE, EventType.EXECUTION_ERROR):
        return None
    return str(last.metadata.get("status") or "completed")


def balance_of(events: list[ExecutionEvent]) -> Balance:
    """Return what the log has left open."""
    balance = Balance()
    for event in events:
        balance.feed(event)
    return balance


class StateChanges:
    """The state_update events of visits that completed; what an unfinished visit changed it changes again."""

    def __init__(self, graph: CompiledGraph) -> None:
        self._graph, self._index = graph, graph.index
        self._inside: set[tuple[str, int]] = set()
        self._waiting: dict[str, list[ExecutionEvent]] = {}
        self._kept: list[ExecutionEvent] = []

    def host(self, node_id: str) -> str:
        """Return the node of the graph that a node is, or is inside of."""
        return host_of(self._graph, node_id) or node_id

    def feed(self, event: ExecutionEvent) -> list[ExecutionEvent]:
        """Take in an event of the log; return the updates of the visit that it completes."""
        kind = event.type
        if kind == EventType.STATE_UPDATE:
            if not event.metadata.get("isolated"):
                self._waiting.setdefault(self.host(event.node_id), []).append(event)
        elif self._waiting and event.node_id in self._index:
            if kind == EventType.NODE_START:
                # It was broken off, and begins again; what completed inside it does not.
                kept = self._waiting.pop(event.node_id, [])
                if kept := [e for e in kept if _visit_of(e) in self._inside]:
                    self._waiting[event.node_id] = kept
            elif kind == EventType.NODE_COMPLETE:
                kept = self._waiting.pop(event.node_id, [])
                self._kept += kept
                return kept
        elif self._waiting and kind == EventType.NODE_COMPLETE:
            self._inside.add(_visit_of(event))
        return []

    def apply(self, context: ExecutionContext) -> None:
        """Change the state as the visits that completed did, in the order in which they did."""
        for event in sorted(self._kept, key=lambda event: event.seq):
            context.update_state(raw_update(event), event.metadata.get("removed", ()))


def raw_update(event: ExecutionEvent) -> dict[str, Any]:
    """Return what a state_update gave to the reducers; its output is what they made of it."""
    return {**(event.output or {}), **(event.metadata.get("update") or {})}


def _visit_of(event: ExecutionEvent) -> tuple[str, int]:
    return event.node_id, event.metadata.get("visit", 0)


def way_back(graph: CompiledGraph, index: int, route: Any) -> Way | None:
    """Return where a node went, from the route that its node_complete tells."""
    choice = graph.choices.get(index)
    if choice is None or not isinstance(route, list):
        return None
    ids, plan = cast("list[str]", route), graph.plan
    for loop, _ in choice.loops:
        if ids == [plan.ids[plan.loops[loop][1]]]:
            return Way(ids, None, loop)
    return Way(ids, [graph.index[i] for i in ids if i in graph.index]) if choice.branches else None


def replays(graph: CompiledGraph, node_id: str) -> bool:
    """Say whether a node takes the calls that it has made already from the journal."""
    return bool(getattr(node_at(graph, node_id), "replays", False))


def misfit(event: ExecutionEvent) -> GraphValidationError:
    """Return the error for a log that this graph cannot have written."""
    return GraphValidationError(
        f"The log says that node {event.node_id!r} completed where this graph does not run it. Resume the run"
        " with the graph that it was started with."
    )


def session_of(header: dict[str, Any]) -> str | None:
    """Return the session of a run, from its log's header; None when it had none."""
    session = header.get("session_id")
    return session if isinstance(session, str) and session else None
