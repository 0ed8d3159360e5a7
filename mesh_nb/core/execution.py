"""One run of a graph: every event is stamped and logged before anyone sees it.

While one node is active its generator is awaited directly: no queue, no task. From the second on, each has a
task and their events meet in a channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from time import time as now
from types import CoroutineType
from typing import Any

from ._ending import error_text, final_output, status_of, write_back
from ._scrub import hush
from ._timeouts import until
from ._visit import Visit
from ._visits import Visits
from .backend import Backend
from .channel import Channel, Ended, close
from .compiled import CompiledGraph
from .context import ExecutionContext, preview
from .errors import NodeExecutionError, RunTimeoutError, is_cancel
from .events import DELTAS, EventType, ExecutionEvent
from .interrupts import Policy
from .node import NodeResult
from .resume import Past, StateChanges, misfit, replays, way_back
from .reuse import Reuse
from .scheduler import START

_LEFT = (GeneratorExit, asyncio.CancelledError, KeyboardInterrupt)
# Looking up a member of an enum costs as much as a call.
_NO_STATE: dict[str, Any] = {}
_NO_EVENTS: Iterator[ExecutionEvent] = iter(())
_NODE_START, _NODE_COMPLETE = EventType.NODE_START, EventType.NODE_COMPLETE


def _is_last(event: Any) -> bool:
    return event.__class__ is ExecutionEvent and event.type is _NODE_COMPLETE


class Execution(Visits):
    """One run of a graph, iterated once: `async for event in execution.events()`.

    run_id : the name of the run in the log.
    context : the run's own copy of the context.
    past : what the log of the run has already, when it is resumed; caller, the context that state and history
        go back to, when it is not `context`.
    timeout : seconds that the run may take; deadline, when they are over, by the clock of its loop.
    """

    timeout: float | None = None
    deadline: float | None = None
    _past: Past | None = None
    _caller: ExecutionContext | None = None
    _state: dict[str, Any] = _NO_STATE
    _rest: Iterator[ExecutionEvent] = _NO_EVENTS
    _tail: list[ExecutionEvent] | None = None

    def __init__(
        self,
        graph: CompiledGraph,
        backend: Backend,
        input: Any,
        context: ExecutionContext | None,
        run_id: str,
        *,
        on_no_answer: Policy = "stop",
        past: Past | None = None,
        caller: ExecutionContext | None = None,
    ) -> None:
        super().__init__(graph, input, context, run_id, on_no_answer)
        if past is not None:
            self._past = past
        if context is not None:
            self._caller, self._state = context, dict(context.state)
        if caller is not None:
            self._caller = caller
        self._backend: Any = backend

    def events(self) -> AsyncGenerator[ExecutionEvent, None]:
        """Run, and yield every event after it was recorded. Raises NodeExecutionError when a node fails,
        RunTimeoutError after `timeout` seconds."""
        return self.recorded() if self.timeout is None else until(self, self.timeout)

    def __aiter__(self) -> AsyncIterator[ExecutionEvent]:
        return self.events()

    @property
    def tail(self) -> list[ExecutionEvent]:
        """Events that were recorded and not yielded because the consumer had left, such as those that close a
        cancelled call; complete when the generator is closed."""
        if self._tail is None:
            self._tail = []
        return self._tail

    @property
    def past_events(self) -> list[ExecutionEvent]:
        """The events that an earlier part of the run has recorded."""
        return [] if self._past is None else list(self._past.events)

    @property
    def problem(self) -> str | None:
        """One sentence when events could not be kept, else None."""
        return self._recorder.problem

    @property
    def header(self) -> dict[str, Any]:
        """What the log begins with; empty before the run."""
        return self._recorder.header

    def take_from(self, reuse: Reuse) -> None:
        """Take from an earlier run what may be taken; before the run begins."""
        self._reuse, self._direct = reuse, {}
        self._recorder.header["taken_from"] = reuse.note()

    def limit_concurrency(self, limit: int | None) -> None:
        """Let at most so many nodes run at once, None for all that can; before the run begins."""
        self._scheduler.limit = self.context.max_concurrency = limit

    # Nothing here may refer to the generator: that cycle would keep a stream open after a break.
    async def recorded(self) -> AsyncGenerator[ExecutionEvent, None]:
        """Run without regard to the timeout, and yield every event after it was recorded."""
        recorder, scheduler, context = self._recorder, self._scheduler, self.context
        self._open_log()
        direct, choices, ids = self._direct, self.graph.choices, self.graph.plan.ids
        outputs, rounds = context.outputs, -1 if self.graph.plan.loops else None
        try:
            yield recorder.record(self._start_event(), "START")
            for recorded in self._handing(await self._make_ready()):
                yield recorded
            while self._failure is None and (batch := self._take()):
                if len(batch) > 1:
                    async with self._together() as channel:
                        events = self._launch(channel, batch)
                        while events:
                            for recorded in self._handing(events):
                                yield recorded
                            events = await self._next(channel)
                    continue
                index, value, number = batch[0]
                del batch
                while index != START:
                    node_id = ids[index]
                    yield recorder.make(_NODE_START, node_id, number, now())
                    if (call := direct.get(index)) is None:
                        visit = Visit(index, node_id, value, number)
                        async with aclosing(self._stream(visit)) as stream:
                            async for recorded in stream:
                                yield recorded
                        break
                    if rounds is not None and rounds != number:
                        context, rounds = self._context_of(number), number
                    try:
                        output, way = await call(value, context), None
                        if output.__class__ is NodeResult:
                            yield self._updated(Visit(index, node_id, value, number), output)
                            output = output.output
                        if choices and (choice := choices.get(index)) is not None:
                            way = self._decide(choice, output, None)
                            if way.__class__ is CoroutineType:
                                way = await way
                    except (Exception, asyncio.CancelledError) as error:
                        if is_cancel(error):
                            raise
                        visit = Visit(index, node_id, value, number)
                        for recorded in self._handing(self._fail(visit, error)):
                            yield recorded
                        break
                    recorded = recorder.make(_NODE_COMPLETE, node_id, number, now(), output, way)
                    outputs[node_id] = output
                    index, value, number = scheduler.follow(index, output, way), output, scheduler.visit
                    yield recorded
            for recorded in self._handing(self._end()):
                yield recorded
            self._raise_failure()
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            recorder.close()

    def _open_log(self) -> None:
        self._recorder.open(self._backend, self.context, self._past, self._definitions)
        self._backend = None  # The log is enough from here on: a store that nobody else has can go.

    def _definitions(self) -> dict[str, str]:
        return self.graph.definitions

    async def _stream(self, visit: Visit) -> AsyncGenerator[ExecutionEvent, None]:
        """Run a node that yields its events, alone."""
        source: Any = None
        try:
            source = self._source(visit)
            async for event in source:
                if event.__class__ is ExecutionEvent and event.type in DELTAS and not visit.done:
                    yield self._recorder.record(event, visit.node_id, visit)
                else:
                    for recorded in self._handing(self._accept(visit, event)):
                        yield recorded
            source = None
            if visit.done is not None and (choice := self.graph.choices.get(visit.index)) is not None:
                await self._choose_way(visit, choice, visit.done.output)
            ending = self._completed(visit)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancel(error):
                raise
            ending = self._fail(visit, error)
        finally:
            await close(source)
        for recorded in self._handing(ending):
            yield recorded

    def _raise_failure(self) -> None:
        if failed := self._failure or self._failed:
            visit, error = failed
            hush(error)
            raise NodeExecutionError(visit.node_id, error) from error

    def _launch(self, channel: Channel[Visit], batch: list[tuple[int, Any, int]]) -> list[ExecutionEvent]:
        """Start nodes at once, each with a task, and return their node_start events."""
        ids, direct, started = self.graph.plan.ids, self._direct, list[ExecutionEvent]()
        make = self._recorder.make
        batch.reverse()
        while batch:  # Each is freed as it becomes a visit: of many at once, fewer objects for gc to walk.
            index, value, number = batch.pop()
            visit = Visit(index, ids[index], value, number)
            started.append(make(_NODE_START, visit.node_id, number, now()))
            if call := direct.get(index):
                channel.call(visit, call, value, self._context_of(number), visit.node_id)
            else:
                channel.add(visit, self._source, visit, visit.node_id)
        return started

    async def _next(self, channel: Channel[Visit]) -> list[ExecutionEvent]:
        """Return what has come from the active nodes, and the starts of those that this made ready; nothing
        when all have ended."""
        choices, recorded = self.graph.choices, list[ExecutionEvent]()
        while not recorded and channel.active and self._failure is None:
            await channel.wait()
            while self._failure is None and (pair := channel.first() if choices else channel.poll()):
                visit, item = pair
                if choices:
                    if item.__class__ is Ended and visit.index in choices:
                        if recorded:
                            return recorded  # A slow choice does not hold back what came before it.
                        await self._choose(visit, item)
                    channel.poll()
                recorded += self._received(visit, item)
            if self._failure is None and channel.active:
                recorded += self._launch(channel, self._scheduler.take())
        if recorded or self._failure is None:
            return recorded
        # A failure cancels the others: what they had sent before is not lost.
        await channel.aclose()
        for visit, item in channel.drain():
            if not isinstance(item, Ended) or not isinstance(item.error, asyncio.CancelledError):
                await self._choose(visit, item)
                recorded += self._received(visit, item)
        return recorded

    @asynccontextmanager
    async def _together(self) -> AsyncGenerator[Channel[Visit], None]:
        """Hold nodes that run at once; in the end close those that are active: what they had sent goes to the
        tail."""
        channel = Channel[Visit](_is_last)
        try:
            yield channel
        finally:
            await channel.aclose()
            if sent := [pair for pair in channel.drain() if not isinstance(pair[1], Ended)]:
                self.tail.extend(self._rest)
                self.tail.extend(event for visit, item in sent for event in self._received(visit, item))

    def _take(self) -> list[tuple[int, Any, int]]:
        """Take what is ready."""
        if self._scheduler.skipped:
            self._empty_skipped()
        return self._scheduler.take()

    async def _choose(self, visit: Visit, item: Any) -> None:
        """Ask the edges of a node that has ended well; if they fail, so does the node."""
        choice = self.graph.choices.get(visit.index)
        if item.__class__ is not Ended or item.error is not None or choice is None:
            return
        if visit.index not in self._direct:
            visit.done = visit.done or item.last
        try:
            if visit.index in self._direct:
                last = item.last
                await self._choose_way(visit, choice, last.output if last.__class__ is NodeResult else last)
            elif visit.done:
                await self._choose_way(visit, choice, visit.done.output)
        except Exception as error:  # noqa: BLE001  a routing function may raise anything
            item.error = error

    async def _leave_start(self) -> None:
        value = self.context.input
        first: dict[str, Any] = value if isinstance(value, dict) else {"input": value}
        visit = Visit(START, "START", None, 0)
        if (choice := self.graph.choices.get(START)) is not None:
            try:
                await self._choose_way(visit, choice, first)
            except Exception as error:  # noqa: BLE001  a routing function may raise anything
                self._failure = visit, error
                return
        self._scheduler.complete(START, first, visit.way and visit.way.targets)
        self._empty_skipped()

    async def _make_ready(self) -> list[ExecutionEvent]:
        """Make the first nodes ready; those that come next in a run that is resumed."""
        await self._leave_start()
        return [] if self._past is None or self._failure is not None else self._catch_up(self._past)

    def _catch_up(self, past: Past) -> list[ExecutionEvent]:
        """Bring scheduler and state to where the log ends; close what was broken off."""
        graph, scheduler = self.graph, self._scheduler
        limit, scheduler.limit = scheduler.limit, None
        scheduler.take()
        states = StateChanges(graph)
        for event in past.events:
            index = graph.index.get(event.node_id)
            states.feed(event)
            if event.type is _NODE_COMPLETE and index is not None:
                number = event.metadata.get("visit", 0)
                if not scheduler.is_active(index, number):
                    self._failure = Visit(START, "START", None, 0), misfit(event)
                    return []
                visit = Visit(index, event.node_id, None, number)
                visit.way = way_back(graph, index, event.metadata.get("route"))
                self._complete(visit, event)
                scheduler.take()
        states.apply(self.context)
        visits, scheduler.limit = scheduler.rewind(), limit
        self._journals = past.journals(graph, visits)
        self._recorder.again(((graph.plan.ids[n], number) for n, number in self._journals), past.times)
        for id, answer in past.answers.items():
            self.desk.give(id, answer)
        return self._recorder.close_broken_off(lambda node_id: replays(graph, node_id))

    def _handing(self, events: Iterable[ExecutionEvent]) -> Iterator[ExecutionEvent]:
        """Return an iterator whose rest goes to the tail if the consumer leaves before its end."""
        if not events:
            return _NO_EVENTS
        self._rest = iter(events)
        return self._rest

    def _start_event(self) -> ExecutionEvent:
        metadata = {
            "graph_id": self.context.graph_id,
            "session_id": self.context.session_id,
            "input": preview(self.context.input),
            "graph": self.graph.outline,
        }
        if self.context.budget is not None:
            metadata["budget"] = self.context.budget.settings()
        if self._past is not None:
            metadata["resumed"] = self._past.times
        return ExecutionEvent(EventType.EXECUTION_START, metadata=metadata)

    def _end(self) -> list[ExecutionEvent]:
        """Record how the run ended."""
        if failed := self._failure or self._failed:
            visit, error = failed
            events = [] if self._failure is None else self._node_error(visit, error)
            events += self._recorder.close_blocks("cancelled")
            text = str(NodeExecutionError(visit.node_id, error))
            return [*events, self._recorder.ending(EventType.EXECUTION_ERROR, status_of(error), error=text)]
        if self._suspended:
            # What surrounds the open questions stays open in the log: the resumed run closes it.
            return [self._recorder.ending(EventType.EXECUTION_COMPLETE, "interrupted")]
        named = {i: self.context.outputs.get(i) for i in self.graph.outputs}
        output = final_output(named or self._scheduler.leaves())
        if self._caller is not None:
            write_back(self._caller, self.context, self._state, output)
        return [self._recorder.ending(EventType.EXECUTION_COMPLETE, "completed", output=output)]

    def _abandon(self, error: BaseException) -> None:
        """Close in the log what a consumer that has left can no longer see."""
        self.tail.extend(self._rest)
        if not self._recorder.ended:
            left = isinstance(error, _LEFT)
            status, text = ("cancelled", "The run was cancelled.") if left else ("failed", error_text(error))
            if left and self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline:
                status, text = "timeout", str(RunTimeoutError(self.timeout or 0))
            self.tail.extend(self._recorder.close_blocks("cancelled"))
            self.tail.append(self._recorder.ending(EventType.EXECUTION_ERROR, status, error=text))
