"""The one place where tasks meet a `yield`.

Yielding inside a TaskGroup or a timeout breaks cancellation (PEP 789), so branches that overlap run as tasks
in here, and whoever yields only receives from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
CAPACITY = 64
_Call = Callable[[Any, Any], Awaitable[Any]]


async def close(source: Any) -> None:
    """Close an async generator; do nothing for None and for iterators that cannot be closed."""
    if source is not None and hasattr(source, "aclose"):
        await source.aclose()


class Ended:
    """A source has ended; `error` is what it raised, None when it just ended, `last` its last item, `at` when
    that was, in seconds since the epoch."""

    __slots__ = ("at", "error", "last")

    def __init__(self, error: BaseException | None, last: Any = None) -> None:
        self.error = error
        self.last = last
        self.at = time.time()


class Channel(Generic[K]):
    """Async iterators running at once, received as (key, item) in the order in which the items came.

    Each source has a task of its own, and waits while `capacity` items have not been received. After the
    items of a source comes one `Ended`; its last item comes with it when `is_last(item)` said so. `aclose()`
    cancels the tasks and waits until their sources are closed; what was sent before is kept, and `drain()`
    returns it.
    """

    def __init__(self, is_last: Callable[[Any], bool] | None = None, capacity: int = CAPACITY) -> None:
        self.active = 0
        self._is_last = is_last
        self._capacity = capacity
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[K, Any]] = deque()
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receiver: asyncio.Future[None] | None = None

    def add(
        self, key: K, open_source: Callable[[Any], AsyncIterator[Any]], argument: Any, name: str = ""
    ) -> None:
        """Start a task that sends what `open_source(argument)` yields; no two active sources share a key.

        Parameters: name, of the task; without one asyncio numbers it.
        """
        self.active += 1
        pump = self._pump(key, open_source, argument)
        self._tasks[key] = self._loop.create_task(pump, name=name or None)

    def call(self, key: K, function: _Call, input: Any, context: Any = None, name: str = "") -> None:
        """Start a task for a source of one item, the result of `function(input, context)`, which is its last;
        the rest as for `add`."""
        self.active += 1
        self._tasks[key] = self._loop.create_task(self._one(key, function, input, context), name=name or None)

    def first(self) -> tuple[K, Any] | None:
        """Return the pair that `poll()` is going to return."""
        return self._items[0] if self._items else None

    def poll(self) -> tuple[K, Any] | None:
        """Return the next (key, item) if there is one."""
        if not self._items:
            return None
        pair = self._items.popleft()
        if pair[1].__class__ is Ended:
            self.active -= 1
        if self._senders:
            self._wake_sender()
        return pair

    async def wait(self) -> None:
        """Wait until there is an item. The channel must have an active source."""
        while not self._items:
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None

    def drain(self) -> list[tuple[K, Any]]:
        """Return what was sent and not yet received."""
        found: list[tuple[K, Any]] = []
        while (pair := self.poll()) is not None:
            found.append(pair)
        return found

    async def aclose(self) -> None:
        """Cancel all tasks and wait for them. Idempotent."""
        while tasks := [task for task in self._tasks.values() if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _one(self, key: K, function: _Call, input: Any, context: Any) -> None:
        error: BaseException | None = None
        last: Any = None
        try:
            last = await function(input, context)
        except BaseException as e:
            error = e
            if not isinstance(e, Exception):
                raise
        finally:
            self._end(key, Ended(error, last))

    async def _pump(self, key: K, open_source: Callable[[Any], AsyncIterator[Any]], argument: Any) -> None:
        error: BaseException | None = None
        items, capacity, is_last = self._items, self._capacity, self._is_last
        source: AsyncIterator[Any] | None = None
        last: Any = None
        try:
            source = open_source(argument)
            async for item in source:
                if last is None and is_last is not None and is_last(item):
                    last = item
                    continue
                if last is not None:
                    # It was not the last one after all: the receiver decides what that means.
                    items.append((key, last))
                    last = None
                if len(items) >= capacity:
                    try:
                        await self._room()
                    finally:
                        items.append((key, item))
                else:
                    items.append((key, item))
                if self._receiver is not None:
                    self._wake_receiver()
        except BaseException as e:
            error = e
            if not isinstance(e, Exception):
                raise
        finally:
            try:
                if error is not None:
                    await close(source)
            finally:
                self._end(key, Ended(error, last))

    def _end(self, key: K, end: Ended) -> None:
        """The last thing that a task does; it is then freed, though its end may wait to be received."""
        del self._tasks[key]
        self._items.append((key, end))
        if self._receiver is not None:
            self._wake_receiver()

    async def _room(self) -> None:
        while len(self._items) >= self._capacity:
            waiter: asyncio.Future[None] = self._loop.create_future()
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
