"""Shows a run in a terminal's IPython: its words as they come, the rest in lines, what it cost at the end.

What iterates a run prints what it wants of it: such a run shows nothing by itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections import deque
from typing import Any

from ..core._scrub import Hushed, Scrubber
from ..core.events import ENDINGS, ExecutionEvent
from ..notebook._cell import current_shell
from ..notebook._coalesce import Coalescer, coalesce
from ..notebook._terminal import Transcript
from ._many import SHOWN, Many

INTERVAL = 1 / 30
"""Seconds between two writes of a run."""

_OFF = {"0", "false", "no", "off"}


class TerminalHost:
    """The host of IPython without a kernel: `show` for a run that starts, `display` for a cell's value.

    Runs that go on at once are written one after the other. What goes on when its cell has ended is written
    in one piece at its end.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._views: deque[_View] = deque()
        self._shell: Any = None
        self._cell: _Cell | None = None

    def show(self, run: Any) -> None:
        """Write a run down as it goes on; all of one that has ended."""
        if run.done:
            write(_whole(run))
            return
        cell = self._of_now()
        if cell is not None:
            cell.runs += 1
            if cell.runs > SHOWN:
                cell.many = cell.many or Many()
                cell.many.add(run)
                return
            cell.shown.add(run.id)
        live = os.environ.get("MESH_NB_LIVE", "").strip().lower() not in _OFF
        with self._lock:
            view = _View(run, cell, self)
            if live:
                self._views.append(view)

    def display(self, run: Any) -> None:
        """Write the value of a cell: of a run that the cell has written down only its name.

        Raises NotImplementedError for any other, for which its repr stands.
        """
        if self._cell is None or run.id not in self._cell.shown:
            raise NotImplementedError
        write(f"<Run {run.id}>\n")

    def write(self, view: _View) -> None:
        """Let a view write what is new, if it is its turn; with its end the turn of the next comes."""
        with self._lock:
            if view.ended and view not in self._views:
                self._views.append(view)
            if self._views and self._views[0] is view:
                self._go_on()

    def _go_on(self) -> None:
        while self._views and self._views[0].write():
            self._views.popleft()

    def _of_now(self) -> _Cell | None:
        """Return the cell that is executed, None for a script, and for a thread of its own."""
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_name != "_run_cell":
            frame = frame.f_back
        if frame is None:
            return self._cell
        shell = current_shell()
        if shell is not self._shell:
            self._shell = shell
            shell.events.register("post_execute", self._at_cell_end)
        self._cell = self._cell or _Cell()
        return self._cell

    def _at_cell_end(self) -> None:
        cell, self._cell = self._cell, None
        if cell is None:
            return
        with self._lock:
            for view in [view for view in self._views if view.cell is cell]:
                view.pause()
                self._views.remove(view)
            self._go_on()
        if cell.many is not None:
            write(f"{cell.many.line()}\n")


class _Cell:
    """A cell of the terminal: which runs it has written down, and what has become of those beyond."""

    def __init__(self) -> None:
        self.runs = 0
        self.shown: set[str] = set()
        self.many: Many | None = None


class _View:
    """Writes one run when it has news, at most every INTERVAL, and when it is its turn."""

    def __init__(self, run: Any, cell: _Cell | None, host: TerminalHost) -> None:
        self.cell, self.ended = cell, False
        self._run, self._host = run, host
        self._transcript = Transcript(**_looks())
        self._pending = Coalescer()
        self._hushed = Hushed(self._pending.add, Scrubber())
        self._read = len(run.events)
        self._transcript.skip(coalesce(run.events))
        self._timer: asyncio.TimerHandle | None = None
        self._written_at = -INTERVAL
        self._before = "\n" if cell is not None and cell.runs > 1 else ""
        self._unsubscribe = run.subscribe(self._event)
        run.add_done_callback(lambda _: self._end())

    def _event(self, event: ExecutionEvent) -> None:
        if event.type in ENDINGS:
            self._end()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            wait = self._written_at + INTERVAL - loop.time()
            if wait > 0:
                self._timer = loop.call_later(wait, self._tick, loop)
            else:
                self._tick(loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._written_at = None, loop.time()
        self._host.write(self)

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
        self._host.write(self)

    def pause(self) -> None:
        """Leave the terminal's line to the prompt."""
        write(self._transcript.pause())

    def write(self) -> bool:
        """Write what is new, and say whether that was the last of it."""
        ended = self.ended
        if self._run.iterated:
            return ended
        events = self._run.events
        to = len(events)
        for event in events[self._read : to]:
            self._hushed(event)
        self._read = to
        if ended:
            self._hushed.flush()
        said = self._transcript.feed(self._pending.drain())
        said += self._transcript.end(events) if ended else ""
        if said:
            write(self._before + said)
            self._before = ""
        return ended


def _whole(run: Any) -> str:
    transcript = Transcript(**_looks())
    return transcript.feed(coalesce(run.events)) + transcript.end(run.events)


def _looks() -> dict[str, Any]:
    """Return what the terminal takes: colours, and lines that are replaced; nothing where it is none."""
    out: Any = sys.stdout
    try:
        terminal = out is not None and out.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        terminal = False
    plain = str(getattr(current_shell(), "colors", "")).lower() == "nocolor"
    if not terminal or plain or os.environ.get("NO_COLOR"):
        return {}
    return {"colour": True, "width": shutil.get_terminal_size().columns}


def write(text: str) -> None:
    """Write to what is standard output now; what it cannot encode becomes a question mark."""
    out: Any = sys.stdout
    if out is None or not text:
        return
    try:
        out.write(text)
    except UnicodeEncodeError:
        encoding = getattr(out, "encoding", None) or "ascii"
        out.write(text.encode(encoding, "replace").decode(encoding, "replace"))
    out.flush()


plugin = TerminalHost()
