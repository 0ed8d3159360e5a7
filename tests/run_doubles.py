"""Nodes for tests of runs: real BaseNode subclasses that say what they are told to and stop where told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.graph import StateGraph
from mesh_nb.core.node import BaseNode


class Speaker(BaseNode):
    """Yields a message word by word, then whatever events it is given, and completes.

    wait : awaited after the words, before anything else; fails : raised after the words.
    `closed` is True once the generator was left, however that was.
    """

    def __init__(
        self,
        id: str = "speaker",
        words: Iterable[str] = ("Hello", " ", "world"),
        *,
        events: Iterable[ExecutionEvent] = (),
        wait: Callable[[], Any] | None = None,
        fails: BaseException | None = None,
    ) -> None:
        super().__init__(id)
        self.words, self.extra, self.wait, self.fails = list(words), list(events), wait, fails
        self.closed = False
        self.spoke = asyncio.Event()

    async def run(self, input: Any, context: Any) -> AsyncIterator[ExecutionEvent]:
        try:
            yield ExecutionEvent(EventType.MESSAGE_START, metadata={"message_id": "m"})
            shared = {"text_block_id": "b"}
            for word in self.words:
                yield ExecutionEvent(EventType.TOKEN, content=word, metadata=shared)
            self.spoke.set()
            if self.wait is not None:
                await self.wait()
            if self.fails is not None:
                raise self.fails
            finish = {"message_id": "m", "finish_reason": "stop"}
            yield ExecutionEvent(EventType.MESSAGE_COMPLETE, metadata=finish)
            for event in self.extra:
                yield event
            yield ExecutionEvent(EventType.NODE_COMPLETE, output={"content": "".join(self.words)})
        finally:
            self.closed = True


def graph_of(*nodes: BaseNode) -> StateGraph:
    """Return a chain of the nodes."""
    graph = StateGraph("test")
    for node in nodes:
        graph.add_node(node.id, node)
    graph.set_entry_point(nodes[0].id)
    graph.add_sequence([node.id for node in nodes])
    return graph


async def until(run: Any, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds after an event of the run."""
    async for _ in run:
        if condition():
            return
    raise AssertionError("the run ended and the condition never held")


async def forever() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


def response(**metadata: Any) -> ExecutionEvent:
    """Return a response_metadata event."""
    known = {"model_id": "gpt-4o-mini", "provider": "openai", "usage": {"prompt_tokens": 1000}, **metadata}
    return ExecutionEvent(EventType.RESPONSE_METADATA, metadata=known)
