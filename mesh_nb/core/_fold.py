"""What the events of a run add up to. Nothing is computed until it is asked for, and then only once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from ._files import RunFile, file_of
from .context import as_text
from .events import EventType, ExecutionEvent, Source, Usage
from .prices import billed, price_now

_BlockKey = tuple[str, Any, int]
_COUNTERS = tuple(Usage.__annotations__)


class Fold:
    """Answer text, output, usage, cost, files and sources of a growing list of events.

    Parameters: events, which only ever grows. Reading is safe on any thread.
    """

    def __init__(self, events: list[ExecutionEvent]) -> None:
        self._events = events
        self._seen = 0
        self._lock = threading.RLock()
        self._blocks: dict[_BlockKey, list[str]] = {}
        self._messages: dict[tuple[str, Any], int] = {}
        self._cost: tuple[int, float | None, int] = (0, None, 0)
        self.status: str | None = None
        self.output: Any = None
        self.error: str | None = None
        self.node_error: str | None = None
        self.usage: dict[str, int] = {}
        self.calls: list[tuple[dict[str, Any], float]] = []
        self.files: list[RunFile] = []
        self.sources: dict[Any, Source] = {}
        self.started: float | None = None
        self.ended: float | None = None
        self.duration_ms: float | None = None
        self.input: Any = None
        self.graph_id = ""
        self.session_id = ""

    def now(self) -> Fold:
        """Take in what has come since the last time, and return itself."""
        with self._lock:
            while self._seen < len(self._events):
                event = self._events[self._seen]
                self._seen += 1
                take = _TAKE.get(event.type)
                if take is not None:
                    take(self, event)
        return self

    def go_on(self) -> None:
        """Forget how the run ended: it is resumed."""
        self.status = self.output = self.error = self.node_error = self.ended = self.duration_ms = None

    @property
    def text(self) -> str:
        """The final output's text, else all answer text so far, one paragraph for each message."""
        with self._lock:
            self.now()
            output = self.output
            if isinstance(output, str):
                return output
            if isinstance(output, dict) and isinstance(output.get("content"), str):
                return cast(str, output["content"])
            for parts in self._blocks.values():
                parts[:] = ["".join(parts)]
            return "\n\n".join(parts[0] for parts in self._blocks.values()) or as_text(output)

    @property
    def cost(self) -> tuple[float | None, int]:
        """US dollars of the calls whose price is known, None when none is; and how many are not known."""
        with self._lock:
            self.now()
            done, usd, unknown = self._cost
            for metadata, at in self.calls[done:]:
                price = price_now(metadata, at)
                if price is None:
                    unknown += 1
                else:
                    usd = (usd or 0.0) + price.usd
            self._cost = (len(self.calls), usd, unknown)
            return usd, unknown

    @property
    def billed(self) -> float | None:
        """US dollars that the events themselves tell; never looks anything up."""
        known = [p.usd for p in (billed(metadata) for metadata, _ in self.now().calls) if p]
        return sum(known) if known else None

    def _start(self, event: ExecutionEvent) -> None:
        metadata = event.metadata
        if metadata.get("resumed"):
            self.go_on()
            return
        self.started = event.timestamp
        self.input = metadata.get("input")
        self.graph_id = str(metadata.get("graph_id") or "")
        self.session_id = str(metadata.get("session_id") or "")

    def _end(self, event: ExecutionEvent) -> None:
        default = "completed" if event.type == EventType.EXECUTION_COMPLETE else "failed"
        self.status = str(event.metadata.get("status") or default)
        self.ended = event.timestamp
        duration = event.metadata.get("duration_ms")
        self.duration_ms = float(duration) if isinstance(duration, (int, float)) else None
        if event.output is not None:
            self.output = event.output
        if event.error is not None:
            self.error = event.error

    def _node_error(self, event: ExecutionEvent) -> None:
        self.node_error = event.error

    def _retry(self, event: ExecutionEvent) -> None:
        """A retried node says everything again: what it had said is not part of the answer."""
        which = (event.node_id, event.metadata.get("visit", 0))
        self._blocks = {key: parts for key, parts in self._blocks.items() if key[:2] != which}

    def _message(self, event: ExecutionEvent) -> None:
        node = (event.node_id, event.metadata.get("visit", 0))
        self._messages[node] = self._messages.get(node, 0) + 1

    def _token(self, event: ExecutionEvent) -> None:
        node = (event.node_id, event.metadata.get("visit", 0))
        # A message may have several text blocks (Anthropic splits at citations): they are one text.
        key = (*node, self._messages.get(node, 0))
        if isinstance(event.content, str) and event.content:
            self._blocks.setdefault(key, []).append(event.content)

    def _response(self, event: ExecutionEvent) -> None:
        self.calls.append((event.metadata, event.timestamp))
        usage = event.metadata.get("usage")
        if isinstance(usage, dict):
            for name in _COUNTERS:
                count = usage.get(name)
                if isinstance(count, int) and not isinstance(count, bool):
                    self.usage[name] = self.usage.get(name, 0) + count

    def _file(self, event: ExecutionEvent) -> None:
        file = file_of(event.metadata, event.node_id)
        if file is not None:
            self.files.append(file)

    def _source(self, event: ExecutionEvent) -> None:
        sources = event.metadata.get("sources")
        for source in cast("list[Any]", sources) if isinstance(sources, list) else []:
            if not isinstance(source, dict):
                continue
            found = cast("Source", source)
            key = found.get("url") or (found.get("title"), found.get("cited_text"))
            known = self.sources.get(str(key))
            if known is None or (found.get("kind") == "cited" and known.get("kind") != "cited"):
                self.sources[str(key)] = {**known, **found} if known else found


_TAKE: dict[str, Callable[[Fold, ExecutionEvent], None]] = {
    EventType.EXECUTION_START: Fold._start,
    EventType.EXECUTION_COMPLETE: Fold._end,
    EventType.EXECUTION_ERROR: Fold._end,
    EventType.NODE_ERROR: Fold._node_error,
    EventType.NODE_RETRY: Fold._retry,
    EventType.MESSAGE_START: Fold._message,
    EventType.TOKEN: Fold._token,
    EventType.RESPONSE_METADATA: Fold._response,
    EventType.FILE: Fold._file,
    EventType.SOURCE: Fold._source,
}
