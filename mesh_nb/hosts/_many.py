"""Runs of one cell beyond the first few, in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.events import ENDINGS, ExecutionEvent

SHOWN = 5
"""Runs that start in one cell and are shown each."""


class Many:
    """How runs stand that are not shown each.

    Parameters: changed, called on a run's loop with every event.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._statuses: dict[str, str] = {}

    @property
    def running(self) -> bool:
        """Whether one of them goes on."""
        return "running" in self._statuses.values()

    def add(self, run: Any) -> None:
        """Take in a run that starts."""
        self._statuses[run.id] = "running"

        def follow(event: ExecutionEvent) -> None:
            if event.type in ENDINGS:
                unsubscribe()
                failed = event.type == "execution_error"
                self._statuses[run.id] = event.metadata.get("status") or ("failed" if failed else "completed")
            self._changed()

        unsubscribe = run.subscribe(follow)

    def line(self) -> str:
        """Return how many there are, and how many of them ended how."""
        counts: dict[str, int] = {}
        for status in self._statuses.values():
            counts[status] = counts.get(status, 0) + 1
        parts = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        total = len(self._statuses)
        return (
            f"{total} more run{'' if total == 1 else 's'} in this cell: {parts}. mesh_nb.runs() lists them."
        )
