"""One run of a graph: every event is stamped and logged before anyone sees it.

While one node is active its generator is awaited directly: no queue, no task. From the second on, each has a
task and their events meet in a channel.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from ._ending import Totals, error_text, final_output, node_failure, preview, status_of, write_back
from ._visit import Visit, open_node, retrying
from .backend import Backend, RunLog
from .balance import Balance, Reason
from .channel import Channel, Ended, close
from .compiled import CompiledGraph
from .context import ExecutionContext
from .errors import InputError, MeshError, NodeExecutionError
from .events import DELTAS, EventType, ExecutionEvent
from .scheduler import START, Scheduler

_LEFT = (GeneratorExit, asyncio.CancelledError, KeyboardInterrupt)
# Looking up a member of an enum costs as much as a call.
_NODE_START, _NODE_COMPLETE = EventType.NODE_START, EventType.NODE_COMPLETE
_OURS = frozenset({EventType.EXECUTION_START, EventType.EXECUTION_COMPLETE, EventType.EXECUTION_ERROR})
_HANDLED = {
    EventType.NODE_START,
    EventType.NODE_COMPLETE,
    EventType.NODE_ERROR,
    EventType.NODE_RETRY,
    EventType.STATE_UPDATE,
    EventType.RESPONSE_METADATA,
}
_PLAIN = frozenset(EventType) - _HANDLED - _OURS
"""Events that are only recorded."""


def _is_last(event: Any) -> bool:
    return event.__class__ is ExecutionEvent and event.type is _NODE_COMPLETE


class Execution:
    """One run of a graph, iterated once: `async for event in execution.events()`.

    run_id : the name of the run in the log.
    context : the run's own copy of the context.
    tail : events that were recorded and not yielded because the consumer had left, such as those that close a
        cancelled call; complete when the generator is closed.
    """

    def __init__(
        self, graph: CompiledGraph, backend: Backend, input: Any, context: ExecutionContext, run_id: str
    ) -> None:
        self.graph = graph
        self.run_id = run_id
        self.tail: list[ExecutionEvent] = []
        self.context = context.for_run(run_id, input)
        self.context.graph_id = context.graph_id or graph.graph_id
        self._caller = context
        self._round = self.context
        self._state = dict(context.state)
        self._backend = backend
        self._log: RunLog | None = None
        self._scheduler = Scheduler(graph.plan)
        self._balance = Balance()
        self._totals = Totals()
        self._seq = 0
        self._last = 0.0
        self._began = 0.0
        self._ended = False
        self._append: Callable[[ExecutionEvent], None] = self.tail.append
        self._failure: tuple[Visit, BaseException] | None = None
        self._rest: Iterator[ExecutionEvent] = iter(())

    def __aiter__(self) -> AsyncIterator[ExecutionEvent]:
        return self.events()

    @property
    def problem(self) -> str | None:
        """One sentence when events could not be kept, else None."""
        return None if self._log is None else self._log.problem

    async def events(self) -> AsyncGenerator[ExecutionEvent, None]:
        """Run, and yield every event after it was recorded.

        This object must not refer to the generator: the cycle would keep a stream open after a break.
        """
        self._open_log()
        direct, choices, ids = self.graph.direct, self.graph.choices, self.graph.plan.ids
        try:
            yield self._record(self._start_event(), "START")
            await self._leave_start()
            while self._failure is None and (batch := self._scheduler.take()):
                if len(batch) > 1:
                    async with aclosing(self._overlapping(batch)) as events:
                        async for event in events:
                            yield event
                    continue
                index, value, number = batch[0]
                visit = Visit(index, ids[index], value, number)
                yield self._node_start(visit)
                source: Any = None
                try:
                    if index in direct:
                        output = await direct[index](value, self._context_of(visit))
                        visit.done = ExecutionEvent(
                            _NODE_COMPLETE, visit.node_id, None, output, {}, time.time()
                        )
                    else:
                        source = self._source(visit)
                        async for event in source:
                            if event.__class__ is ExecutionEvent and event.type in DELTAS and not visit.done:
                                yield self._record(event, visit.node_id, visit)
                            else:
                                for recorded in self._handing(self._accept(visit, event)):
                                    yield recorded
                        source = None
                    if index in choices:
                        await self._decide(visit)
                    if self._balance.open:
                        for recorded in self._handing(self._close_blocks("unfinished", visit)):
                            yield recorded
                    yield self._complete(visit)
                except Exception as error:  # noqa: BLE001  a node may raise anything: the run fails by it
                    self._failure = visit, error
                finally:
                    if source is not None:
                        await close(source)
            for recorded in self._handing(self._end()):
                yield recorded
            if self._failure is not None:
                visit, error = self._failure
                raise NodeExecutionError(visit.node_id, error) from error
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            self._close_log()

    async def _overlapping(self, batch: list[tuple[int, Any, int]]) -> AsyncGenerator[ExecutionEvent, None]:
        """Run several nodes at once, and what they make ready, until none is active."""
        channel, visits, ids = Channel[int](_is_last), dict[int, Visit](), self.graph.plan.ids
        try:
            while batch or channel.active:
                for index, value, number in batch:
                    visit = visits[index] = Visit(index, ids[index], value, number)
                    yield self._node_start(visit)
                    if index in self.graph.direct:
                        channel.call(index, self._call(visit))
                    else:
                        channel.add(index, self._source, visit)
                batch = []
                pair = channel.poll()
                if pair is None:
                    await channel.wait()
                    continue
                index, item = pair
                events = self._quickly(visits[index], item) or await self._received(visits[index], item)
                for recorded in self._handing(events):
                    yield recorded
                if self._failure is not None:
                    break
                if item.__class__ is Ended and channel.active:
                    batch = self._scheduler.take()
            await channel.aclose()
            # A failure cancelled the others: what they had sent before is not lost.
            for index, item in channel.drain():
                if not isinstance(item, Ended) or not isinstance(item.error, asyncio.CancelledError):
                    for recorded in self._handing(await self._received(visits[index], item)):
                        yield recorded
        finally:
            await channel.aclose()
            if sent := [(visits[n], item) for n, item in channel.drain() if not isinstance(item, Ended)]:
                self.tail += self._rest
                self.tail += [e for visit, item in sent for e in await self._received(visit, item)]

    def _quickly(self, visit: Visit, item: Any) -> Iterable[ExecutionEvent] | None:
        """Return the events of the common items, None for those that need `_received`."""
        if item.__class__ is ExecutionEvent and item.type in DELTAS and visit.done is None:
            return (self._record(item, visit.node_id, visit),)
        if item.__class__ is Ended and item.error is None and item.last is not None:
            visit.done = item.last
            if visit.index not in self.graph.choices and not self._balance.open:
                return (self._complete(visit),)
        return None

    async def _received(self, visit: Visit, item: Any) -> Iterable[ExecutionEvent]:
        error: BaseException | None = None
        try:
            if not isinstance(item, Ended):
                return self._accept(visit, item)
            visit.done = item.last or visit.done
            if item.error is None:
                if visit.index in self.graph.choices:
                    await self._decide(visit)
                return [*self._close_blocks("unfinished", visit), self._complete(visit)]
            error = item.error
        except Exception as e:  # noqa: BLE001  a node may raise anything: the run fails by it
            error = e
        if self._failure is None:
            self._failure = visit, error
            return ()
        return self._node_error(visit, error)

    def _context_of(self, visit: Visit) -> ExecutionContext:
        if not self.graph.plan.loops:
            return self.context
        if self._round.iteration.get("index") != visit.number:
            self._round = self.context.with_iteration({"index": visit.number})
        return self._round

    async def _call(self, visit: Visit) -> ExecutionEvent:
        """Return the node_complete of a node that only has execute(): what its run() would yield."""
        output = await self.graph.direct[visit.index](visit.input, self._context_of(visit))
        return ExecutionEvent(_NODE_COMPLETE, visit.node_id, None, output, {}, time.time())

    def _source(self, visit: Visit) -> AsyncIterator[Any]:
        """Return the node's events. Raises what calling the node, or its aggregator, raises."""
        graph, index = self.graph, visit.index
        if index in graph.aggregators:
            visit.input = graph.aggregators[index](visit.input)
        context = self._context_of(visit)
        if index in graph.retries:
            return retrying(graph.by_index[index], visit.input, context, graph.retries[index])
        return open_node(graph.by_index[index], visit.input, context)

    def _accept(self, visit: Visit, event: Any) -> Iterable[ExecutionEvent]:
        """Record an event of a node; node_complete is held until the generator has ended."""
        if not isinstance(event, ExecutionEvent):
            raise MeshError(f"it yielded {type(event).__name__}; a node yields ExecutionEvent objects.")
        kind, before = event.type, list[ExecutionEvent]()
        if kind in _PLAIN and visit.done is None:
            pass
        elif kind == EventType.NODE_RETRY:
            before = self._close_blocks("error", visit)
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
            self.context.state.update(event.output or {})
        elif kind == EventType.RESPONSE_METADATA:
            self._totals.add(event.metadata)
        recorded = self._record(event, visit.node_id, visit)
        if kind not in DELTAS:
            self._balance.feed(recorded)
        return (*before, recorded)

    async def _decide(self, visit: Visit) -> None:
        """Ask the edges of a node that chooses where it goes; node_complete says so as `route`."""
        done, plan = visit.done, self.graph.plan
        choice = self.graph.choices[visit.index]
        if done is None:
            return
        for loop, edge in choice.loops:
            back = edge.goes_back(self.context.state, done.output, self._scheduler.taken(loop))
            if back is True or (back is not False and await back):
                visit.loop = loop
                done.metadata = {**done.metadata, "route": [plan.ids[plan.loops[loop][1]]]}
                return
        if not choice.branches:
            return
        index, targets = self.graph.index, list(choice.always)
        for branch in choice.branches:
            for node_id in await branch.choose_from(done.output, done.metadata.get("route")):
                if node_id != "END" and index[node_id] not in targets:
                    targets.append(index[node_id])
        visit.targets = targets
        done.metadata = {**done.metadata, "route": [plan.ids[t] for t in targets]}

    def _complete(self, visit: Visit) -> ExecutionEvent:
        """Record node_complete and tell the scheduler where the node goes."""
        done = visit.done
        if done is None:
            raise MeshError("it ended without node_complete, which must be its last event.")
        recorded = self._record(done, visit.node_id, visit)
        self.context.outputs[visit.node_id] = done.output
        self._scheduler.complete(visit.index, done.output, visit.targets, visit.loop)
        if self._scheduler.skipped:
            self._empty_skipped()
        return recorded

    def _empty_skipped(self) -> None:
        """A template that names a skipped node is empty there, not wrong."""
        for skipped in self._scheduler.skipped:
            self.context.outputs[self.graph.plan.ids[skipped]] = None
        self._scheduler.skipped.clear()

    async def _leave_start(self) -> None:
        value = self.context.input
        first: dict[str, Any] = value if isinstance(value, dict) else {"input": value}
        visit = Visit(START, "START", None, 0)
        if START in self.graph.choices:
            visit.done = ExecutionEvent(EventType.EXECUTION_START, output=first)
            try:
                await self._decide(visit)
            except Exception as error:  # noqa: BLE001  a routing function may raise anything
                self._failure = visit, error
                return
        self._scheduler.complete(START, first, visit.targets)
        self._empty_skipped()

    def _open_log(self) -> None:
        if self._log is not None:
            raise InputError("An execution is iterated once; start another one.")
        fields = ("graph_id", "session_id", "trace_id")
        header = {name: getattr(self.context, name) for name in fields}
        self._log = self._backend.open(self.run_id, header)
        self._append = self._log.append
        self._began = time.monotonic()

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()

    def _handing(self, events: Iterable[ExecutionEvent]) -> Iterator[ExecutionEvent]:
        """Return an iterator whose rest goes to the tail if the consumer leaves before its end."""
        self._rest = iter(events)
        return self._rest

    def _record(self, event: ExecutionEvent, node_id: str, visit: Visit | None = None) -> ExecutionEvent:
        if event.seq >= 0:
            event = dataclasses.replace(event)
        event.run_id = self.run_id
        event.node_id = node_id
        event.seq = self._seq
        self._seq += 1
        if event.timestamp < self._last:
            event.timestamp = self._last
        else:
            self._last = event.timestamp
        if visit is not None and visit.marks:
            event.metadata = visit.mark(event.metadata)
        self._append(event)
        return event

    def _node_start(self, visit: Visit) -> ExecutionEvent:
        start = ExecutionEvent(_NODE_START, visit.node_id, None, None, {}, time.time())
        return self._record(start, visit.node_id, visit)

    def _start_event(self) -> ExecutionEvent:
        metadata = {
            "graph_id": self.context.graph_id,
            "session_id": self.context.session_id,
            "input": preview(self.context.input),
            "graph": self.graph.outline,
        }
        return ExecutionEvent(EventType.EXECUTION_START, metadata=metadata)

    def _close_blocks(self, reason: Reason, visit: Visit | None = None) -> list[ExecutionEvent]:
        """Record the events that close what a visit, or the whole run, has left open."""
        where = (visit.node_id, visit.number) if visit is not None else None
        found = self._balance.closing(reason, where)
        recorded = [self._record(event, event.node_id) for event in found]
        for event in recorded:
            if event.type == EventType.RESPONSE_METADATA:
                self._totals.add(event.metadata)
        return recorded

    def _node_error(self, visit: Visit, error: BaseException) -> list[ExecutionEvent]:
        closed = self._close_blocks("error", visit)
        return [*closed, self._record(node_failure(error, visit.done), visit.node_id, visit)]

    def _end(self) -> list[ExecutionEvent]:
        """Record how the run ended."""
        if self._failure is not None:
            visit, error = self._failure
            events = [*self._node_error(visit, error), *self._close_blocks("cancelled")]
            text = str(NodeExecutionError(visit.node_id, error))
            return [*events, self._ending(EventType.EXECUTION_ERROR, status_of(error), error=text)]
        output = final_output(self._scheduler.leaves())
        write_back(self._caller, self.context, self._state, output)
        return [self._ending(EventType.EXECUTION_COMPLETE, "completed", output=output)]

    def _ending(self, kind: EventType, status: str, **fields: Any) -> ExecutionEvent:
        duration = round((time.monotonic() - self._began) * 1000, 3)
        metadata = {"status": status, "duration_ms": duration, **self._totals.metadata()}
        self._ended = True
        return self._record(ExecutionEvent(kind, metadata=metadata, **fields), "START")

    def _abandon(self, error: BaseException) -> None:
        """Close in the log what a consumer that has left can no longer see."""
        self.tail += self._rest
        if not self._ended:
            left = isinstance(error, _LEFT)
            status, text = ("cancelled", "The run was cancelled.") if left else ("failed", error_text(error))
            self.tail += self._close_blocks("cancelled")
            self.tail.append(self._ending(EventType.EXECUTION_ERROR, status, error=text))
