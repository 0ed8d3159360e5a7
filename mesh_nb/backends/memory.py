"""Runs kept in this process only."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ..core.backend import StoredRun
from ..core.errors import InputError, RunNotFoundError
from ..core.events import ENDINGS, EventType, ExecutionEvent

_Names = tuple[tuple[str, ...], tuple[str, ...] | None]
# Looking up a member of an enum costs as much as a call.
_CUSTOM_DATA = EventType.CUSTOM_DATA


class MemoryLog:
    """The events of one run in a list, and a copy of what it begins with.

    The header is kept as a tuple of its values and those of its `begin`, for a dict takes several times as
    much; the names are shared by all runs that have the same.
    """

    __slots__ = ("_names", "_values", "events", "open")
    problem: str | None = None

    def __init__(self, header: dict[str, Any]) -> None:
        outer = dict(header)
        inner: dict[str, Any] | None = outer.pop("begin") if isinstance(header.get("begin"), dict) else None
        self._names = _shared(tuple(outer), None if inner is None else tuple(inner))
        values = [*outer.values(), *(inner or {}).values()]
        self._values = tuple([v if v.__class__ is str else _apart(v) for v in values])
        self.events: list[ExecutionEvent] = []
        self.open = True

    @property
    def header(self) -> dict[str, Any]:
        """What the log begins with, in dicts of its own."""
        (outer, inner), values = self._names, iter(self._values)
        header = dict(zip(outer, values, strict=False))
        if inner is not None:
            header["begin"] = dict(zip(inner, values, strict=False))
        return header

    def append(self, event: ExecutionEvent) -> None:
        """Keep an event, unless it is transient."""
        if event.type != _CUSTOM_DATA or event.metadata.get("transient") is not True:
            self.events.append(event)

    def close(self) -> None:
        """End the log. Idempotent."""
        self.open = False


class MemoryBackend:
    """A store of runs that lives and dies with this object: the default of `Executor(graph)`."""

    transient = True

    def __init__(self) -> None:
        self._logs: dict[str, MemoryLog] = {}

    def __repr__(self) -> str:
        return f"<MemoryBackend: {len(self._logs)} runs>"

    def open(self, run_id: str, header: dict[str, Any]) -> MemoryLog:
        """Begin the log of a new run. Raises InputError when the run already has one."""
        if run_id in self._logs:
            raise InputError(f"Run {run_id!r} already has a log; a run is logged once.")
        log = self._logs[run_id] = MemoryLog(header)
        return log

    def reopen(self, run_id: str, header: dict[str, Any], version: Any = None) -> MemoryLog:
        """Go on with the log of a run.

        Parameters: version, how many events there were when it was read, None for any number.
        Raises RunNotFoundError, and InputError while the run still runs, or when it was resumed since.
        """
        if run_id not in self._logs:
            raise RunNotFoundError(run_id, self._logs)
        log = self._logs[run_id]
        if log.open:
            raise InputError(f"Run {run_id!r} is still running, or being resumed.")
        if version is not None and len(log.events) != version:
            raise InputError(f"Run {run_id!r} was resumed meanwhile; Run.load() reads what it did.")
        log.open = True
        return log

    def load(self, run_id: str) -> StoredRun:
        """Return a run. Raises RunNotFoundError."""
        if run_id not in self._logs:
            raise RunNotFoundError(run_id, self._logs)
        log = self._logs[run_id]
        ended = any(e.type in ENDINGS for e in log.events[-1:])
        events = list(log.events)
        return StoredRun(
            run_id, {**log.header, "run_id": run_id}, events, log.open and not ended, version=len(events)
        )

    def run_ids(self) -> Iterator[str]:
        """Yield the ids of all runs, newest first."""
        yield from reversed(list(self._logs))


@functools.lru_cache(maxsize=100)
def _shared(outer: tuple[str, ...], inner: tuple[str, ...] | None) -> _Names:
    """Return the same tuple each time for the same names."""
    return outer, inner


def _apart(value: Any, depth: int = 20) -> Any:
    """Return dicts and lists as copies, so that what the caller does with its own changes no log."""
    if depth and isinstance(value, dict):
        inside: dict[Any, Any] = value
        return {k: _apart(v, depth - 1) if isinstance(v, (dict, list)) else v for k, v in inside.items()}
    if depth and isinstance(value, list):
        items: list[Any] = value
        return [_apart(v, depth - 1) for v in items]
    return value


plugin = MemoryBackend
