"""How far a batch is, in a line of the terminal that somebody looks at."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

from ._batch import progress

REFRESH = 0.2
"""Seconds between two changes of the line."""


def follow(batch: Any) -> None:
    """Write the line to stderr until the batch has ended; nothing where stderr is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        return
    due = 0.0

    def draw() -> None:
        nonlocal due
        now = time.monotonic()
        if now < due and not batch.done:
            return
        due = now + REFRESH
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{progress(batch)[:width]:<{width}}{chr(10) if batch.done else ''}")
        sys.stderr.flush()

    batch.watch(draw)
