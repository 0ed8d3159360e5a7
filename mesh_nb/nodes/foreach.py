"""foreach: runs a function, a node or a graph once for each item of a list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Literal, cast

from ..core._ending import error_text
from ..core.channel import Channel, Ended
from ..core.compiled import CompiledGraph, Runnable
from ..core.context import ExecutionContext, as_text
from ..core.errors import (
    BudgetExceededError,
    GraphValidationError,
    InnerFailure,
    MeshError,
    Unanswered,
    shown,
)
from ..core.events import EventType, ExecutionEvent
from ..core.graph import StateGraph
from ..core.nested import run
from ..core.node import BaseNode
from ._paths import listed, parse, select


class ForEachNode(BaseNode):
    """Runs its body once for each item.

    Parameters
    ----------
    body : what runs for each item: a function, a node, a graph, or the id of another node of this graph. None
        takes the one node that this node's edge leads to; the edges of that node then leave from this one.
    array_path : where in the input the list is: `$.items`, `$.pages[*].url`; a lone list needs none. An
        array or a Series is one too, and a DataFrame, whose rows come as dicts.
    concurrency : how many items are worked on at the same time.
    max_iterations : how many items there may be; None for any number.
    on_error : "raise" fails the run at the first item that fails; "collect" goes on, and puts
        `{"error": message, "index": n}` in its place. A budget that is spent ends the run in any case.

    The body receives an item that is a dict as it is, any other as `{"input": item}`; functions may take it
    by the names `item` and `index`, templates as `{{$iteration}}`, `{{$iteration.field}}`,
    `{{$iteration_index}}`, `{{$iteration_total}}`, `{{$iteration_first}}` and `{{$iteration_last}}`. The
    output is `{"results": [...], "count": n, "content": their texts}`, in the order of the items, and
    `failed`, the indices of items that failed. Each item's events carry its index as `visit`.
    """

    kind = "foreach"

    def __init__(
        self,
        id: str,
        body: Any = None,
        *,
        array_path: str | None = None,
        concurrency: int = 1,
        max_iterations: int | None = None,
        on_error: Literal["raise", "collect"] = "raise",
    ) -> None:
        super().__init__(id)
        for name, value in (("concurrency", concurrency), ("max_iterations", max_iterations)):
            whole = isinstance(cast("Any", value), int) and not isinstance(value, bool)
            if (not whole or cast("int", value) < 1) and (name, value) != ("max_iterations", None):
                raise GraphValidationError(f"Foreach node {id!r}: {name} is {shown(value)}, not 1 or more.")
        if on_error not in ("raise", "collect"):
            raise GraphValidationError(
                f"Foreach node {id!r}: on_error is 'raise' or 'collect', not {shown(on_error)}."
            )
        self._steps = None if array_path is None else parse(array_path, f"Foreach node {id!r}: array_path")
        self.body = body if isinstance(body, str) else None
        if body is not None and not isinstance(body, str):
            self.graphs = {"": _graph_of(id, body)}
        self.concurrency, self.max_iterations, self.on_error = concurrency, max_iterations, on_error

    def adopts(self, after: Sequence[str]) -> Sequence[str]:
        """Return the node that is the body. Raises GraphValidationError when there is none."""
        if self.graphs:
            return ()
        if self.body is not None:
            return (self.body,)
        if len(after) != 1:
            raise GraphValidationError(
                f"Foreach node {self.id!r} has no body: pass a function, a graph or a node id as its body, or"
                f" one edge to the node that runs for each item, not {len(after)}."
            )
        return tuple(after)

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run the body for each item. Raises MeshError when there is no list, InnerFailure for an item."""
        items = self._items(input)
        ((name, graph),) = context.inner[self.id].items()
        rounds = _Rounds(graph, f"{self.id}." if not name else "", items, context, self.on_error == "collect")
        at_once = min(self.concurrency, context.max_concurrency or self.concurrency)
        async with aclosing(rounds.events(at_once)) as events:
            async for event in events:
                yield event
        if name:
            context.outputs[name] = rounds.results
        text = "\n\n".join(filter(None, map(as_text, rounds.results)))
        output: dict[str, Any] = {"results": rounds.results, "count": len(items), "content": text}
        if rounds.failed:
            output["failed"] = sorted(rounds.failed)
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output)

    def _items(self, input: Any) -> list[Any]:
        value = input if self._steps is None else select(self._steps, input)
        if self._steps is None and isinstance(value, dict):
            fields = cast("dict[Any, Any]", value)
            lists = [items for items in map(listed, fields.values()) if items is not None]
            if len(lists) != 1:
                raise MeshError(
                    f"The input has {len(lists)} lists; say which to go through: array_path='$.items'."
                )
            value = lists[0]
        items = listed(value)
        if items is None:
            raise MeshError(
                f"There is no list to go through: the input has {type(value).__name__} there. Give it a list,"
                " an array, or a DataFrame for its rows."
            )
        if self.max_iterations is not None and len(items) > self.max_iterations:
            raise MeshError(
                f"There are {len(items)} items, and max_iterations={self.max_iterations}: raise it, or pass"
                " None."
            )
        return items


class _Rounds:
    """The rounds of one visit: `results` in the order of the items, `failed` the indices that failed."""

    def __init__(
        self, graph: CompiledGraph, prefix: str, items: list[Any], context: ExecutionContext, collect: bool
    ) -> None:
        self.results: list[Any] = [None] * len(items)
        self.failed: list[int] = []
        self._graph, self._prefix, self._items = graph, prefix, items
        self._context, self._collect = context, collect

    async def events(self, concurrency: int) -> AsyncGenerator[ExecutionEvent, None]:
        """Run all rounds, so many at a time. Raises what a round raises; a question that nobody answers when
        the rounds beside it have come to their end."""
        if concurrency == 1 or len(self._items) < 2:
            for index in range(len(self._items)):
                async with aclosing(self._round(index)) as events:
                    async for event in events:
                        yield event
            return
        channel = Channel[int]()
        begun = 0
        asking: list[Unanswered] = []
        try:
            while channel.active or (begun < len(self._items) and len(asking) < concurrency):
                while begun < len(self._items) and channel.active + len(asking) < concurrency:
                    channel.add(begun, self._round, begun)
                    begun += 1
                await channel.wait()
                while (pair := channel.poll()) is not None:
                    item = pair[1]
                    if not isinstance(item, Ended):
                        yield item
                    elif isinstance(item.error, Unanswered):
                        asking.append(item.error)
                    elif item.error is not None:
                        await channel.aclose()
                        for _, sent in channel.drain():
                            if not isinstance(sent, Ended):
                                yield sent
                        raise item.error
        finally:
            await channel.aclose()
        if asking:
            raise asking[0]

    async def _round(self, index: int) -> AsyncGenerator[ExecutionEvent, None]:
        total = len(self._items)
        iteration = {
            "value": self._items[index],
            "index": index,
            "total": total,
            "first": index == 0,
            "last": index == total - 1,
        }
        inner = run(
            self._graph,
            self._items[index],
            self._context,
            prefix=self._prefix,
            item=(index, total),
            iteration=iteration,
        )
        try:
            async with aclosing(inner) as events:
                async for event in events:
                    if event.__class__ is ExecutionEvent and event.type == EventType.NODE_COMPLETE:
                        self.results[index] = event.output
                    else:
                        yield event
        except Unanswered:
            raise
        except InnerFailure as error:
            if not self._collect or isinstance(error.cause, BudgetExceededError):
                raise  # Of a budget that is spent, every item after this one would hear the same.
            self.failed.append(index)
            self.results[index] = {"error": error_text(error.cause), "index": index}


def _graph_of(node_id: str, body: Any) -> Runnable:
    if isinstance(body, Runnable):
        return body
    name = getattr(body, "id", None) or getattr(body, "__name__", None)
    name = name if isinstance(name, str) and name.isidentifier() else "body"
    try:
        return StateGraph(node_id).add_node(name, body).set_entry_point(name)
    except GraphValidationError as error:
        raise GraphValidationError(
            [f"Foreach node {node_id!r}, its body: {e}" for e in error.errors]
        ) from None


plugin = ForEachNode
