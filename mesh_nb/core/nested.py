"""A graph inside a node of another graph: its events pass through, and are counted once.

A node that runs others says which at compile time (`BaseNode.graphs`, `BaseNode.adopts`), finds them compiled
in `context.inner[node.id]`, and runs one with `async with aclosing(run(...)) as events`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from ._ending import final_output
from ._inside import Numbering, inside
from ._relay import Relay
from .compiled import CompiledGraph
from .context import ExecutionContext, Message
from .errors import InnerFailure, NodeExecutionError, Unanswered
from .events import EventType, ExecutionEvent
from .execution import Execution
from .interrupts import Desk
from .resume import Past

_OURS = frozenset({EventType.EXECUTION_START, EventType.EXECUTION_COMPLETE, EventType.EXECUTION_ERROR})


async def run(
    graph: CompiledGraph,
    input: Any,
    context: ExecutionContext,
    *,
    prefix: str = "",
    item: tuple[int, int] = (0, 1),
    iteration: dict[str, Any] | None = None,
    isolated: bool = False,
    state: dict[str, Any] | None = None,
    chat_history: list[Message] | None = None,
) -> AsyncGenerator[ExecutionEvent, None]:
    """Run a graph as part of a node.

    Parameters
    ----------
    input : what its first nodes receive, a dict as it is, anything else as `{"input": value}`.
    context : that of the node.
    prefix : put before the ids of its nodes in events and errors.
    item : (index, total) of the round, for a node that runs it several times in one visit.
    iteration : `$iteration` values for its nodes.
    isolated : its templates see its own input and outputs only, and its state is `state`; otherwise what the
        node around it sees and changes.
    chat_history : that of an isolated graph.

    Yields the events of its nodes; the last event is a node_complete with the graph's output. Raises
    InnerFailure, which names the node, when one of them fails.
    """
    inner = _Inner(graph, input, context, prefix, item, isolated)
    inner.share(context, input, iteration, isolated, state or {}, chat_history or [])
    try:
        async with aclosing(inner.events()) as events:
            async for event in events:
                if event.type in _OURS:
                    continue
                if isolated and event.type == EventType.STATE_UPDATE:
                    # In how many graphs with a state of their own it is.
                    event.metadata = {**event.metadata, "isolated": event.metadata.get("isolated", 0) + 1}
                yield event
    except InnerFailure:
        raise
    except NodeExecutionError as error:
        raise InnerFailure(prefix + error.node_id, error.cause) from error.cause
    if inner.unanswered is not None:
        raise inner.unanswered
    yield ExecutionEvent(EventType.NODE_COMPLETE, output=inner.result)


class _Inner(Execution):
    """One run of a graph inside a visit of a node.

    result : the output of its only leaf, or that of a run with several; unanswered : the question that it
    waits for.
    """

    def __init__(
        self,
        graph: CompiledGraph,
        input: Any,
        context: ExecutionContext,
        prefix: str,
        item: tuple[int, int],
        isolated: bool,
    ) -> None:
        super().__init__(graph, cast("Any", None), input, context, context.run_id)
        numbering = Numbering(*item, context.visit if context.repeats else None)
        self._recorder = Relay(prefix, numbering.out)
        if context.journal is not None and context.journal.inside:
            found = inside(context.journal.inside, graph, prefix, numbering, isolated)
            self._past = Past(found, {"input": input}) if found else None
        self._first = input
        self.result: Any = None
        self.unanswered: Unanswered | None = None

    def share(
        self,
        outer: ExecutionContext,
        input: Any,
        iteration: dict[str, Any] | None,
        isolated: bool,
        state: dict[str, Any],
        chat_history: list[Message],
    ) -> None:
        """Give the nodes inside what they may see of the run around them."""
        context = self.context
        context.desk, context.journal = outer.desk, None
        self.limit_concurrency(outer.max_concurrency)
        context.iteration = iteration if iteration is not None else {} if isolated else outer.iteration
        if isolated:
            context.state, context.chat_history = state, list(chat_history)
        else:
            context.state, context.input, context.reducers = outer.state, outer.input, outer.reducers
            context.outputs = {**outer.outputs, **context.outputs}
        self._caller, self._state = ExecutionContext(), dict(context.state)
        self.desk = _Silent()

    async def _leave_start(self) -> None:
        question, self.context.input = self.context.input, self._first
        await super()._leave_start()
        self.context.input = question

    def _context_of(self, number: int) -> ExecutionContext:
        if "value" in self.context.iteration and self.graph.plan.loops:
            return self.context.for_visit(number, self.context.iteration)
        return super()._context_of(number)

    def _fail(self, visit: Any, error: BaseException) -> list[ExecutionEvent]:
        if isinstance(error, Unanswered):
            self.unanswered = error
        return super()._fail(visit, error)

    def _end(self) -> list[ExecutionEvent]:
        if self._failure is None and self._failed is None and self.unanswered is None:
            named = {i: self.context.outputs.get(i) for i in self.graph.outputs}
            leaves = named or self._scheduler.leaves()
            self.result = next(iter(leaves.values())) if len(leaves) == 1 else final_output(leaves)
        return super()._end()


class _Silent(Desk):
    """The desk of an inner graph: its questions come to that of the run when their events do."""

    def register(self, event: ExecutionEvent) -> None:
        """Do nothing."""
