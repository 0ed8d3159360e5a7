"""The HTTP response: one task reads the run and sends, another watches whether the client is still there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class EventResponse(StreamingResponse):
    """A StreamingResponse that closes its source when the client leaves, whatever the source is doing.

    Starlette's own notices a client that left only when it next sends, and does not close the source.
    `on_close` is awaited when all is sent or the client has left, even before the first byte.
    """

    on_close: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        sender = asyncio.create_task(self._send(send))
        watcher = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait((sender, watcher), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A task of its own, so that what cancels this request does not cut the closing short.
            watcher.cancel()
            sender.cancel()
            await asyncio.wait((sender, watcher))
        if not sender.cancelled() and (error := sender.exception()) is not None:
            raise error
        if self.background is not None:
            await self.background()

    async def _send(self, send: Send) -> None:
        source = self.body_iterator
        try:
            async with contextlib.aclosing(source):  # pyright: ignore[reportArgumentType]
                with contextlib.suppress(OSError):  # the client left while something was being sent
                    await self.stream_response(send)
        finally:
            await self.on_close()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
