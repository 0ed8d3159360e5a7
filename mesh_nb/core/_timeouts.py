"""How long a node, and a run, may take.

A timeout around a `yield` breaks cancellation (PEP 789), so each one here is around one step of a generator.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from .channel import close
from .errors import NodeTimeoutError, RunTimeoutError
from .events import EventType, ExecutionEvent

if TYPE_CHECKING:
    from .execution import Execution


async def limited(source: AsyncIterator[Any], seconds: float) -> AsyncGenerator[Any, None]:
    """Yield the events of one attempt of a node, which may take that many seconds.

    Neither the time that its reader takes counts nor that in which a question to a person is open. Raises
    NodeTimeoutError; the source is closed then.
    """
    loop, left, asked, done = asyncio.get_running_loop(), seconds, 0, False
    try:
        while True:
            if left <= 0 and not asked and not done:
                raise NodeTimeoutError(seconds)  # It never waited, so nothing could stop it.
            began, scope = loop.time(), asyncio.timeout(None if asked else left)
            try:
                async with scope:
                    event = await anext(source)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not scope.expired():
                    raise  # The node's own.
                raise NodeTimeoutError(seconds) from None
            if not asked:
                left -= loop.time() - began
            if isinstance(event, ExecutionEvent):
                done = event.type == EventType.NODE_COMPLETE
                asked += (event.type == EventType.INTERRUPT) - (event.type == EventType.INTERRUPT_RESOLVED)
            yield event
    finally:
        await close(source)


async def until(execution: Execution, seconds: float) -> AsyncGenerator[ExecutionEvent, None]:
    """Yield the events of a run that may take that many seconds, its ending included. Raises
    RunTimeoutError after that."""
    loop = asyncio.get_running_loop()
    deadline = execution.deadline = loop.time() + seconds
    source = execution.recorded()
    try:
        while loop.time() < deadline:
            scope = asyncio.timeout_at(deadline)
            try:
                async with scope:
                    event = await anext(source)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not scope.expired():
                    raise
                break
            yield event
    finally:
        await source.aclose()
    while execution.tail:
        yield execution.tail.pop(0)
    raise RunTimeoutError(seconds)
