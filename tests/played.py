"""Recorded runs played in a kernel, for the page: live, to a view that comes late, and frozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from IPython.display import display
from recordings import streamed, written

from mesh_nb.core.events import ENDINGS, ExecutionEvent
from mesh_nb.notebook.freeze import freeze
from mesh_nb.notebook.live import INTERVAL, LiveView


class Played:
    """What a live view needs of a run, going on as a list of events says."""

    graph, pending = None, ()

    def __init__(self, id: str, log: list[ExecutionEvent]) -> None:
        self.id, self.log, self.status = id, log, "running"
        # A run that went on after an ending begins where it was taken up again.
        begun = 1 + max((n for n, event in enumerate(log[:-1]) if event.type in ENDINGS), default=-1)
        self.events = log[:begun]
        self._followers: list[Callable[[ExecutionEvent], None]] = []
        self._ends: list[Callable[[Any], None]] = []

    @property
    def done(self) -> bool:
        return len(self.events) == len(self.log)

    def subscribe(self, follower: Callable[[ExecutionEvent], None]) -> Callable[[], None]:
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._ends.append(callback)

    async def play(self, stop: int) -> None:
        """Let the events up to a place in the log happen, in at least three messages."""
        start = len(self.events)
        for n in range(start, stop):
            self.events.append(self.log[n])
            for follower in list(self._followers):
                follower(self.log[n])
            await asyncio.sleep(2 * INTERVAL if n in (start + 1, (start + stop) // 2) else 0)
        if self.done:
            self.status = str(self.log[-1].metadata.get("status") or "failed")
            for callback in self._ends:
                callback(self)


def logs() -> dict[str, list[ExecutionEvent]]:
    """Return all recorded runs by their names: provider streams where they are present, and written ones."""
    return {**streamed(), **written()}


async def show_live(runs: Iterable[Played]) -> None:
    """Show runs while they go on, and each once more from its middle on; views stay open after the end."""
    runs = list(runs)
    for run in runs:
        display(LiveView(run, LiveView.finish).widget)
    await asyncio.gather(*(run.play((len(run.events) + len(run.log)) // 2) for run in runs))
    for run in runs:
        display(LiveView(run, LiveView.finish).widget)
    await asyncio.gather(*(run.play(len(run.log)) for run in runs))


def show_frozen(runs: Iterable[Played]) -> None:
    """Show the static outputs of runs."""
    for run in runs:
        data, metadata = freeze(run.events, run.id)
        display(data, metadata=metadata, raw=True)
