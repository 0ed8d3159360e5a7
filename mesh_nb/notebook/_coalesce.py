"""Joining deltas: what the wire to the page and the frozen output have in common. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from ..core._scrub import visible
from ..core.events import DELTAS, ExecutionEvent

Key = tuple[Any, ...]


def block_key(event: ExecutionEvent) -> Key:
    """Return what tells the blocks of a run apart: type, node, visit, attempt, block and subtype."""
    m = event.metadata
    block = m.get("text_block_id") or m.get("block_id") or m.get("tool_call_id")
    return event.type, event.node_id, m.get("visit"), m.get("attempt"), block, m.get("event_subtype")


class Coalescer:
    """Collects events and joins the deltas of one block that no boundary event separates.

    Deltas of different blocks commute, so branches that stream at once still give one event a block; a
    boundary event ends every join, so nothing moves across it. Costs O(1) an event.
    """

    def __init__(self) -> None:
        self.first = self.last = -1
        self._entries: list[tuple[ExecutionEvent, list[str] | None]] = []
        self._open: dict[Key, list[str]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, event: ExecutionEvent) -> None:
        """Take the next event of the run."""
        if not self._entries:
            self.first = event.seq
        self.last = max(self.last, event.seq)
        if event.type not in DELTAS:
            self._open.clear()
            self._entries.append((event, None))
            return
        key = block_key(event)
        parts = self._open.get(key)
        if parts is None:
            parts = self._open[key] = []
            self._entries.append((event, parts))
        parts.append(event.content if isinstance(event.content, str) else "")

    def drain(self) -> list[ExecutionEvent]:
        """Return what was collected, in order, and start anew; a joined delta has the seq of its first."""
        events = [
            event
            if parts is None or len(parts) == 1
            else dataclasses.replace(event, content="".join(parts), run_id=event.run_id, seq=event.seq)
            for event, parts in self._entries
        ]
        self._entries = []
        self._open = {}
        return events


def coalesce(events: Iterable[ExecutionEvent]) -> list[ExecutionEvent]:
    """Return the events of a run with the deltas of each block joined, and what `secret()` marked hidden."""
    joined = Coalescer()
    for event in visible(events):
        joined.add(event)
    return joined.drain()
