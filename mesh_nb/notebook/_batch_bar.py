"""How far a batch is, in a line of the terminal that somebody looks at."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from typing import Any

from ._batch_words import progress, summary

REFRESH, BEAT = 0.2, 1.0
"""Seconds between two changes of the line, and the longest time without one."""
_PLAIN = str.maketrans({"·": "-", "…": "~"})
"""Signs for terminals that have no others."""


def follow(batch: Any) -> None:
    """Write the line to stderr until the batch has ended, and then why it ended early and its first failures;
    nothing where stderr is no terminal."""
    if sys.stderr is not None and sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        batch.watch(_Line(batch, sys.stderr).changed)


class _Line:
    """A line that is written over, a few times a second while something ends."""

    def __init__(self, batch: Any, out: Any) -> None:
        self._batch, self._out = batch, out
        self._timer: asyncio.TimerHandle | None = None
        self._drawn = 0.0
        self._soon = False

    def changed(self) -> None:
        wait = self._drawn + REFRESH - time.monotonic()
        if self._batch.done or (wait <= 0 and not self._soon):
            self._draw()
        elif not self._soon:
            self._soon = True
            self._wake(wait)

    def _wake(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._draw)

    def _draw(self) -> None:
        self._soon, self._drawn = False, time.monotonic()
        width = max(shutil.get_terminal_size().columns - 1, 1)
        if self._batch.done:
            if self._timer is not None:
                self._timer.cancel()
            line, *below = summary(self._batch).split("\n")
            text = "".join(f"{each}\n" for each in (f"{line:<{width}}", *below))
        else:
            text = f"{progress(self._batch)[:width]:<{width}}"
        self._out.write(f"\r{_writable(text, self._out)}")
        self._out.flush()
        if not self._batch.done:
            self._wake(BEAT)


def _writable(text: str, out: Any) -> str:
    try:
        text.encode(out.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN)
    return text
