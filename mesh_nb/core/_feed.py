"""The events of a run as they come: one writer, any number of readers, on any loop and thread.

A reader waits with one future for however many events, and reads them in batches; no task, no queue and no
copy per event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable

from .events import ExecutionEvent

Callback = Callable[[ExecutionEvent], None]
_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]
_logger = logging.getLogger("mesh_nb")


class Feed:
    """What has happened so far, and who waits for more.

    Parameters: events, what is there already; done, whether that is all.
    """

    def __init__(self, events: list[ExecutionEvent] | None = None, *, done: bool = False) -> None:
        self.events: list[ExecutionEvent] = [] if events is None else events
        self._done = threading.Event()
        self._waiting: list[_Waiter] = []
        self._closing: list[_Waiter] = []
        self._callbacks: dict[object, Callback] = {}
        if done:
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether no more events will come."""
        return self._done.is_set()

    def add(self, event: ExecutionEvent) -> None:
        """Take an event. Called by the writer only."""
        self.events.append(event)
        if self._waiting:
            self._wake(self._waiting)
        if self._callbacks:
            self._call(event)

    def close(self) -> None:
        """Say that no more events will come. Idempotent."""
        self._done.set()
        self._wake(self._waiting)
        self._wake(self._closing)
        self._callbacks.clear()

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Call back with every event from now on; returns what ends it."""
        token = object()
        if not self.done:
            self._callbacks = {**self._callbacks, token: callback}

        def unsubscribe() -> None:
            self._callbacks = {k: v for k, v in self._callbacks.items() if k is not token}

        return unsubscribe

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until there is no more to come; says whether that is so."""
        return self._done.wait(timeout)

    async def closed(self) -> None:
        """Wait until no more events will come."""
        while not self.done:
            await self._wait(self._closing, lambda: self.done)

    async def batches(self) -> AsyncIterator[list[ExecutionEvent]]:
        """Yield the events in order, as many at a time as there are."""
        seen = 0
        while True:
            done = self.done
            batch = self.events[seen:]
            if batch:
                seen += len(batch)
                yield batch
            elif done:
                return
            else:
                await self._wait(self._waiting, lambda: self.done or len(self.events) > seen)  # noqa: B023

    async def _wait(self, queue: list[_Waiter], ready: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        entry = (loop, future)
        queue.append(entry)
        # The writer may be another thread: a look before the waiter is in the list could miss an event.
        try:
            if not ready():
                await future
        finally:
            with contextlib.suppress(ValueError):
                queue.remove(entry)

    def _wake(self, queue: list[_Waiter]) -> None:
        here = asyncio._get_running_loop()
        while queue:
            loop, future = queue.pop()
            if loop is here:
                _release(future)
                continue
            try:
                loop.call_soon_threadsafe(_release, future)
            except RuntimeError:
                continue  # that reader's loop is closed, and the reader gone with it

    def _call(self, event: ExecutionEvent) -> None:
        for token, callback in self._callbacks.items():
            try:
                callback(event)
            except Exception:
                self._callbacks = {k: v for k, v in self._callbacks.items() if k is not token}
                _logger.exception("A subscriber of run %s failed and gets no more events.", event.run_id)


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
