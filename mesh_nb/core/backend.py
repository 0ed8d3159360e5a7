"""What a store of event logs offers. `backends/` holds the implementations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

from .events import ExecutionEvent


@dataclasses.dataclass(slots=True)
class StoredRun:
    """A run read back: its header, its events in order of seq, whether its process still runs, notes on
    anything that could not be read (a torn last line, a missing blob), and a version, which is another once
    somebody has gone on with the run."""

    run_id: str
    header: dict[str, Any]
    events: list[ExecutionEvent]
    live: bool = False
    problems: list[str] = dataclasses.field(default_factory=list[str])
    version: Any = None


class RunLog(Protocol):
    """Where one run writes its events. Calls come from one thread at a time; a run keeps its log, and not the
    store that it is of."""

    def append(self, event: ExecutionEvent) -> None:
        """Keep an event. A boundary event is with the operating system when this returns; deltas
        (`events.DELTAS`) may wait up to 50 ms. Never raises for a full or read-only disk: the run goes on
        and `problem` says so once. Raises InputError when another process has gone on with the run."""
        ...

    def close(self) -> None:
        """Write what is buffered and release the file. Idempotent."""
        ...

    @property
    def problem(self) -> str | None:
        """One sentence when events could not be kept, else None."""
        ...


class Backend(Protocol):
    """A store of runs."""

    def open(self, run_id: str, header: dict[str, Any]) -> RunLog:
        """Begin the log of a new run. header holds graph_id, session_id and what the executor knows;
        `begin` in it, what the run began with, comes back from `load` as JSON, bytes included."""
        ...

    def reopen(self, run_id: str, header: dict[str, Any], version: Any = None) -> RunLog:
        """Begin the next part of a run's log; its events go on after those that are there.

        Parameters: version, of the run as it was read, None for any.
        Raises RunNotFoundError, and InputError when the run still runs, another process resumes it, or
        somebody has gone on with it since it was read.
        """
        ...

    def load(self, run_id: str) -> StoredRun:
        """Read a run. Raises RunNotFoundError."""
        ...

    def run_ids(self) -> Iterator[str]:
        """Yield the ids of all runs, newest first."""
        ...
