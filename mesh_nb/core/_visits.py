"""What becomes of the events of a run's nodes: each is checked, recorded and acted upon here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Iterable
from types import CoroutineType
from typing import Any

from ._ending import node_failure
from ._gate import gated
from ._recorder import Recorder
from ._relay import InnerEvent
from ._timeouts import limited
from ._visit import Visit, open_node, retrying
from .channel import Ended
from .compiled import CompiledGraph
from .context import ExecutionContext
from .edges import Choice, Way
from .errors import InnerFailure, MeshError, Unanswered
from .events import DELTAS, EventType, ExecutionEvent
from .interrupts import Desk, Policy
from .journal import Journal, Replayed
from .node import NodeResult
from .reuse import Reuse
from .scheduler import Scheduler

# Looking up a member of an enum costs as much as a call.
_NODE_COMPLETE = EventType.NODE_COMPLETE
_OURS = frozenset({EventType.EXECUTION_START, EventType.EXECUTION_COMPLETE, EventType.EXECUTION_ERROR})
_HANDLED = {
    EventType.NODE_START,
    EventType.NODE_COMPLETE,
    EventType.NODE_ERROR,
    EventType.NODE_RETRY,
    EventType.STATE_UPDATE,
    EventType.RESPONSE_METADATA,
    EventType.INTERRUPT,
}
_PLAIN = frozenset(EventType) - _HANDLED - _OURS
"""Events that are only recorded."""


_NO_JOURNALS: dict[tuple[int, int], Journal] = {}


class Visits:
    """The nodes of one run as they are visited; `Execution` says when.

    context : the run's own copy of the caller's context. desk : the run's open questions.
    """

    _failure: tuple[Visit, BaseException] | None = None
    _failed: tuple[Visit, BaseException] | None = None
    _journals: dict[tuple[int, int], Journal] = _NO_JOURNALS
    _suspended = False
    _round: ExecutionContext | None = None
    _reuse: Reuse | None = None

    def __init__(
        self,
        graph: CompiledGraph,
        input: Any,
        context: ExecutionContext | None,
        run_id: str,
        on_no_answer: Policy,
    ) -> None:
        self.graph = graph
        self.run_id = run_id
        if context is None:
            self.context = ExecutionContext(graph.graph_id, input=input, run_id=run_id)
        else:
            self.context = context.for_run(run_id, input)
            self.context.graph_id = self.context.graph_id or graph.graph_id
        if graph.awaited:
            self.context.outputs.update(dict.fromkeys(graph.awaited))
        self.context.inner, self.context.repeats = graph.inner, bool(graph.plan.loops)
        self.context.reducers = graph.reducers
        if self.context.desk is None:
            self.context.desk = Desk(on_no_answer)
        self.desk: Desk = self.context.desk
        self._recorder = Recorder(run_id)
        self._scheduler = Scheduler(graph.plan)
        self._direct = graph.direct

    def _fail(self, visit: Visit, error: BaseException) -> list[ExecutionEvent]:
        """Take note of what ended a node, and return the events that say so unless the run ends with it."""
        if not isinstance(error, Unanswered) and self.context.fail_fast:
            self._failure = visit, error
            return []
        if self._scheduler.limit is not None:
            self._scheduler.limit += 1  # It stays active, so that nothing after it runs, but needs no room.
        if isinstance(error, Unanswered):
            self._suspended = True
            return []
        self._failed = self._failed or (visit, error)
        return self._node_error(visit, error)

    def _context_of(self, number: int) -> ExecutionContext:
        """Return the context for a node's visit of this number."""
        if not self.graph.plan.loops:
            return self.context
        if self._round is None or self._round.visit != number:
            self._round = self.context.for_visit(number)
        return self._round

    def _source(self, visit: Visit) -> AsyncIterator[Any]:
        """Return the node's events. Raises what calling the node, or its aggregator, raises."""
        graph, index = self.graph, visit.index
        if index in graph.aggregators:
            visit.input = graph.aggregators[index](visit.input)
            if visit.input.__class__ is CoroutineType:
                visit.input.close()
                raise MeshError("its aggregator is async; add_fan_in_edge() takes a plain function.")
        context = self._context_of(visit.number)
        if self._journals and (journal := self._journals.get((index, visit.number))) is not None:
            context = dataclasses.replace(context, journal=journal)
        if self._reuse is not None:
            kept = self._reuse.find(visit.node_id, visit.number, visit.input, context)
            if kept is not None:
                return self._reuse.events(kept)
        if index in graph.pauses:
            opened = functools.partial(self._open, index, context)
            return gated(visit.node_id, opened, visit.input, context, graph.pauses[index])
        return self._open(index, context, visit.input)

    def _open(self, index: int, context: ExecutionContext, input: Any) -> AsyncIterator[Any]:
        graph, node = self.graph, self.graph.by_index[index]
        seconds = graph.timeouts.get(index) if graph.timeouts else None
        if index in graph.retries:
            return retrying(node, input, context, graph.retries[index], seconds)
        source = open_node(node, input, context)
        return source if seconds is None else limited(source, seconds)

    def _accept(self, visit: Visit, event: Any) -> Iterable[ExecutionEvent]:
        """Record an event of a node; node_complete is held until the generator has ended."""
        if event.__class__ is InnerEvent:
            return self._passed(event)
        if not isinstance(event, ExecutionEvent):
            raise MeshError(f"it yielded {type(event).__name__}; a node yields ExecutionEvent objects.")
        if event.__class__ is Replayed:
            return ()
        journal = self._journals.get((visit.index, visit.number)) if self._journals else None
        if journal is not None and journal.seen(event):
            return ()
        kind, before = event.type, list[ExecutionEvent]()
        if kind in _PLAIN and visit.done is None:
            pass
        elif kind == EventType.NODE_RETRY:
            before = self._recorder.close_blocks("error", visit)
            visit.retry(event.metadata.get("attempt", visit.attempt + 1))
        elif visit.done is not None:
            raise MeshError(f"it yielded {kind} after node_complete, which must be its last event.")
        elif kind == EventType.NODE_COMPLETE:
            visit.done = event
            return ()
        elif kind == EventType.NODE_ERROR:
            raise MeshError(event.error or "it reported an error.")
        elif kind in _OURS or kind == EventType.NODE_START:
            raise MeshError(f"it yielded {kind}, which only the executor records.")
        elif kind == EventType.STATE_UPDATE:
            self._change_state(event)
        elif kind == EventType.RESPONSE_METADATA:
            self._recorder.totals.add(event.metadata)
        elif kind == EventType.INTERRUPT:
            event.metadata = {**event.metadata, **self._recorder.totals.metadata()}
        recorded = self._recorder.record(event, visit.node_id, visit)
        if kind not in DELTAS:
            self._recorder.balance.feed(recorded)
            if kind == EventType.INTERRUPT:
                self.desk.register(recorded)
        return (*before, recorded)

    def _passed(self, event: ExecutionEvent) -> Iterable[ExecutionEvent]:
        """Record an event of a node that a node runs itself."""
        kind = event.type
        if kind == EventType.RESPONSE_METADATA:
            self._recorder.totals.add(event.metadata)
        elif kind == EventType.INTERRUPT:
            event.metadata = {**event.metadata, **self._recorder.totals.metadata()}
        recorded = self._recorder.passed(event)
        if kind not in DELTAS:
            self._recorder.balance.feed(recorded)
            if kind == EventType.INTERRUPT:
                self.desk.register(recorded)
        return (recorded,)

    def _change_state(self, event: ExecutionEvent) -> None:
        """Do what a state_update says; where a reducer put values together, `update` is what it was given."""
        context, given = self.context, event.output or {}
        event.output = context.update_state(given, event.metadata.get("removed", ()))
        if context.reducers and (reduced := {k: v for k, v in given.items() if k in context.reducers}):
            event.metadata = {**event.metadata, "update": reduced}

    def _updated(self, visit: Visit, result: NodeResult) -> ExecutionEvent:
        """Record what a node's result does to the state."""
        (recorded,) = self._accept(visit, result.update(visit.node_id))
        return recorded

    def _received(self, visit: Visit, item: Any) -> Iterable[ExecutionEvent]:
        """Record an item of a channel."""
        try:
            if item.__class__ is ExecutionEvent and item.type in DELTAS and visit.done is None:
                return (self._recorder.record(item, visit.node_id, visit),)
            if item.__class__ is not Ended:
                return self._accept(visit, item)
            error = item.error
            if error is None and visit.index in self._direct:
                output, updated = item.last, list[ExecutionEvent]()
                if output.__class__ is NodeResult:
                    output, updated = output.output, [self._updated(visit, output)]
                done = self._recorder.make(
                    _NODE_COMPLETE, visit.node_id, visit.number, item.at, output, visit.way
                )
                return (*updated, self._complete(visit, done))
            visit.done = visit.done or item.last
            if error is None:
                return self._completed(visit)
        except Exception as e:  # noqa: BLE001  a node may raise anything: the run fails by it
            error = e
        if self._failure is None or isinstance(error, Unanswered):
            return self._fail(visit, error)
        return self._node_error(visit, error)

    async def _choose_way(self, visit: Visit, choice: Choice, output: Any) -> None:
        """Decide where a visit goes."""
        visit.output = output
        named = visit.done.metadata.get("route") if visit.done else None
        way = self._decide(choice, output, named)
        visit.way = await way if way.__class__ is CoroutineType else way

    def _decide(self, choice: Choice, output: Any, named: Any) -> Any:
        """Ask the edges of a node that chooses where it goes; node_complete says so as `route`.

        Parameters: named, the keys that the node's own node_complete names.
        Returns a Way, None for everywhere; a coroutine of that when there is more to ask than loop edges
        that know at once.
        """
        scheduler = self._scheduler
        if (state := self.context._state) is None:
            state = self.context.state
        for number, (loop, edge) in enumerate(choice.loops):
            back = edge.goes_back(state, output, scheduler.taken(loop))
            if back is True:
                return choice.back[number]
            if back is not False:
                return self._ask_edges(choice, output, named, back, number)
        return self._ask_branches(choice, output, named) if choice.branches else None

    async def _ask_edges(
        self, choice: Choice, output: Any, named: Any, back: Awaitable[Any], number: int
    ) -> Way | None:
        """Wait for what a loop edge says, and go on with those after it."""
        if await back:
            return choice.back[number]
        for at in range(number + 1, len(choice.loops)):
            loop, edge = choice.loops[at]
            said = edge.goes_back(self.context.state, output, self._scheduler.taken(loop))
            if said is True or (said is not False and await said):
                return choice.back[at]
        return await self._ask_branches(choice, output, named) if choice.branches else None

    async def _ask_branches(self, choice: Choice, output: Any, named: Any) -> Way:
        index, ids, targets = self.graph.index, self.graph.plan.ids, list(choice.always)
        for branch in choice.branches:
            for node_id in await branch.choose_from(output, named):
                if node_id != "END" and index[node_id] not in targets:
                    targets.append(index[node_id])
        return Way([ids[t] for t in targets], targets)

    def _completed(self, visit: Visit) -> list[ExecutionEvent]:
        """Close what a node has left open, and record its node_complete. Raises MeshError without one."""
        closed = self._recorder.close_blocks("unfinished", visit)
        done = visit.done
        if done is None:
            raise MeshError("it ended without node_complete, which must be its last event.")
        if visit.way is not None:
            done.metadata = {**done.metadata, "route": visit.way.route}
        return [*closed, self._complete(visit, self._recorder.record(done, visit.node_id, visit))]

    def _complete(self, visit: Visit, done: ExecutionEvent) -> ExecutionEvent:
        """Tell the scheduler where the node goes; return its node_complete."""
        output = done.output
        self.context.outputs[visit.node_id] = output
        scheduler, way = self._scheduler, visit.way
        if way is None:
            scheduler.complete(visit.index, output)
        else:
            scheduler.complete(visit.index, output, way.targets, way.loop)
        if scheduler.skipped:
            self._empty_skipped()
        return done

    def _empty_skipped(self) -> None:
        """A template that names a skipped node is empty there, not wrong."""
        for skipped in self._scheduler.take_skipped():
            self.context.outputs[self.graph.plan.ids[skipped]] = None

    def _node_error(self, visit: Visit, error: BaseException) -> list[ExecutionEvent]:
        closed = self._recorder.close_blocks("error", visit)
        if isinstance(error, InnerFailure):
            return closed  # The node inside has said so.
        output = visit.done.output if visit.done else visit.output
        return [*closed, self._recorder.record(node_failure(error, output), visit.node_id, visit)]
