"""The one place where tasks meet a `yield`.

Yielding inside a TaskGroup or a timeout breaks cancellation (PEP 789), so branches that overlap run as tasks
in here, and whoever yields only receives from it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
CAPACITY = 64


class Ended:
    """A source has ended; `error` is what it raised, None when it just ended."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Channel(Generic[K]):
    """Async iterators running at once, received as (key, item) in the order in which the items came.

    Each source has a task of its own and waits while `capacity` items have not been received. After the items
    of a source comes one `Ended`. `aclose()` cancels the tasks, waits until their sources are closed, and
    keeps what was sent before: `drain()` returns it.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.active = 0
        self._capacity = capacity
        self._items: deque[tuple[K, Any]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receiver: asyncio.Future[None] | None = None

    def add(self, key: K, open_source: Callable[[], AsyncIterator[Any]]) -> None:
        """Start a task that sends what `open_source()` yields."""
        self.active += 1
        task = asyncio.get_running_loop().create_task(self._pump(key, open_source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def receive(self) -> tuple[K, Any]:
        """Return the next (key, item). Waits while there is none and a source is active."""
        while not self._items:
            self._receiver = asyncio.get_running_loop().create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        return self._next()

    def drain(self) -> list[tuple[K, Any]]:
        """Return what was sent and not yet received."""
        found: list[tuple[K, Any]] = []
        while self._items:
            found.append(self._next())
        return found

    async def aclose(self) -> None:
        """Cancel all tasks and wait for them. Idempotent."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _next(self) -> tuple[K, Any]:
        pair = self._items.popleft()
        if pair[1].__class__ is Ended:
            self.active -= 1
        self._wake_sender()
        return pair

    async def _pump(self, key: K, open_source: Callable[[], AsyncIterator[Any]]) -> None:
        error: BaseException | None = None
        items, capacity = self._items, self._capacity
        source: AsyncIterator[Any] | None = None
        try:
            source = open_source()
            async for item in source:
                if len(items) >= capacity:
                    try:
                        await self._room()
                    finally:
                        items.append((key, item))
                else:
                    items.append((key, item))
                self._wake_receiver()
        except BaseException as e:
            error = e
            if not isinstance(e, Exception):
                raise
        finally:
            try:
                close: Any = getattr(source, "aclose", None)
                if error is not None and close is not None:
                    await close()
            finally:
                items.append((key, Ended(error)))
                self._wake_receiver()

    async def _room(self) -> None:
        while len(self._items) >= self._capacity:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._senders.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_sender()
                raise

    def _wake_sender(self) -> None:
        while self._senders and len(self._items) < self._capacity:
            waiter = self._senders.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_receiver(self) -> None:
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)
