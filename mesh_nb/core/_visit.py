"""One visit of a node: where it stands, and its events."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from ._ending import error_text
from ._timeouts import limited
from .channel import close
from .context import ExecutionContext
from .edges import Retry, Way
from .errors import BudgetExceededError, MeshError, RejectedError, Unanswered
from .events import EventType, ExecutionEvent
from .interrupts import LONGEST


class Visit:
    """A node on its way: `done` is its node_complete, held until its generator has ended; `way` is where it
    goes, None for everywhere; `output` is what it chose by."""

    __slots__ = (
        "_marked",
        "_plain",
        "attempt",
        "done",
        "index",
        "input",
        "node_id",
        "number",
        "output",
        "way",
    )
    _marked: dict[str, Any]

    def __init__(self, index: int, node_id: str, input: Any, number: int) -> None:
        self.index = index
        self.node_id = node_id
        self.input = input
        self.number = number
        self.attempt = 0
        self.done: ExecutionEvent | None = None
        self.way: Way | None = None
        self.output: Any = None
        self._plain: dict[str, Any] | None = None

    def retry(self, attempt: int) -> None:
        """Begin another attempt."""
        self.attempt, self.done, self._plain = attempt, None, None

    def mark(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return metadata with visit and attempt; deltas share their dict, so the last one is kept."""
        if metadata is not self._plain:
            self._plain, self._marked = metadata, dict(metadata)
            if self.number:
                self._marked["visit"] = self.number
            if self.attempt:
                self._marked["attempt"] = self.attempt
        return self._marked


def open_node(node: Any, input: Any, context: ExecutionContext) -> AsyncIterator[Any]:
    """Return the events of a node. Raises MeshError when its run() is no async generator."""
    source = node.run(input, context)
    if not hasattr(source, "__aiter__"):
        if asyncio.iscoroutine(source):
            source.close()
        raise MeshError("its run() must be an async generator: `async def run(...)` with `yield`.")
    return source


async def retrying(
    node: Any, input: Any, context: ExecutionContext, retry: Retry, seconds: float | None = None
) -> AsyncGenerator[Any, None]:
    """Yield a node's events, and node_retry before each further attempt; seconds is what one may take."""
    for attempt in range(retry.max_retries + 1):
        source = open_node(node, input, context)
        if seconds is not None:
            source = limited(source, seconds)
        try:
            async for event in source:
                yield event
            return
        except (Unanswered, RejectedError, BudgetExceededError):
            raise  # Asking again would not be another attempt.
        except Exception as error:
            if attempt == retry.max_retries:
                raise
            text = error_text(error)
        finally:
            await close(source)
        delay = _wait_before(retry, attempt)
        metadata = {"attempt": attempt + 1, "max_retries": retry.max_retries, "delay_s": delay}
        yield ExecutionEvent(EventType.NODE_RETRY, error=text, metadata=metadata)
        await asyncio.sleep(delay)


def _wait_before(retry: Retry, attempt: int) -> float:
    """Return the seconds before the attempt after this one."""
    try:
        delay = float(retry.delay * retry.backoff**attempt)
    except OverflowError:
        delay = LONGEST if retry.delay else 0.0
    return min(delay * (random.uniform(0.5, 1.5) if retry.jitter else 1.0), LONGEST)
