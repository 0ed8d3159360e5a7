"""Events as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

event: token
data: {"seq": 4, "type": "token", "node_id": "llm", "content": "Hello", ...}
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

from ..core.errors import ConfigurationError
from ..core.events import ENDINGS, EventType, ExecutionEvent, encode

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_logger = logging.getLogger("mesh_nb")
_LINE_BREAKS = re.compile(r"[\r\n\0]")


class SSEAdapter:
    """Turns a stream of events into the body of an HTTP response.

    Parameters: event_name, the SSE event name of every frame; None takes the type of each event.
    """

    def __init__(self, event_name: str | None = None) -> None:
        self.event_name = event_name

    def format_event(self, event: ExecutionEvent) -> str:
        """Return one frame; `data` is the event as `to_dict()`, with type and content at the top level."""
        return self._frame(event).decode()

    def _frame(self, event: ExecutionEvent) -> bytes:
        name = _LINE_BREAKS.sub(" ", self.event_name or str(event.type))
        return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(event))

    async def event_generator(self, stream: Any) -> AsyncIterator[bytes]:
        """Yield a frame for each event, as it comes.

        Parameters: stream, the iterator of `executor.execute(...)`, or a Run.
        A run that fails ends the frames after its node_error and execution_error; nothing is raised. Leaving
        the generator (`aclose`) ends the run and closes the provider's connection.
        """
        events = aiter(stream)
        last: ExecutionEvent | None = None
        ended = False
        try:
            async for event in events:
                last = event
                ended = ended or event.type in ENDINGS
                yield self._frame(event)
        except Exception as error:
            if not ended:
                _logger.warning("A streamed run failed: %s", error, exc_info=True)
                yield self._frame(_failure(error, last))
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
            await _stop(stream)

    def to_streaming_response(self, stream: Any, *, status_code: int = 200) -> Any:
        """Return a Starlette `StreamingResponse` (FastAPI's is the same) that sends each event at once.

        Parameters: stream, the iterator of `executor.execute(...)`, or a Run; status_code, of the response.
        A client that disconnects cancels the run and closes the provider's connection, also while the model
        is silent. Raises ConfigurationError when Starlette is not installed.
        """
        try:
            from ._response import EventResponse
        except ImportError as error:
            raise ConfigurationError(
                "Streaming over HTTP needs Starlette: pip install 'mesh_nb[server]'."
            ) from error
        response = EventResponse(
            self.event_generator(stream),
            status_code=status_code,
            media_type="text/event-stream",
            headers=HEADERS,
        )
        response.on_close = lambda: _stop(stream)
        return response


def _failure(error: Exception, last: ExecutionEvent | None) -> ExecutionEvent:
    """Return the ending of a stream that failed without one."""
    return ExecutionEvent(
        EventType.EXECUTION_ERROR,
        "START",
        error=f"{type(error).__name__}: {error}",
        metadata={"status": "failed"},
        run_id=last.run_id if last else "",
        seq=last.seq + 1 if last else 0,
    )


async def _stop(stream: Any) -> None:
    """Cancel a Run that still goes on, and wait until it is closed."""
    cancel = getattr(stream, "cancel", None)
    if cancel is not None and not stream.done:
        cancel()
        async for _ in stream:
            pass
