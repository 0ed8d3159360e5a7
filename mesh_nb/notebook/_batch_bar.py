"""How far a batch is, in a line of the terminal that somebody looks at."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

from ._batch_words import progress, summary
from ._terminal import ERASE

REFRESH = 0.2
"""Seconds between two changes of the line."""


def follow(batch: Any) -> None:
    """Write the line to stderr until the batch has ended, and then why it ended early and its first failures;
    nothing where stderr is no terminal."""
    out = sys.stderr
    if out is None or not out.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        return
    due = 0.0

    def draw() -> None:
        nonlocal due
        now = time.monotonic()
        if batch.done:
            out.write(f"{ERASE}{summary(batch)}\n")
        elif now < due:
            return
        else:
            width = shutil.get_terminal_size().columns - 1
            out.write(f"{ERASE}{progress(batch)[:width]}")
        due = now + REFRESH
        out.flush()

    batch.watch(draw)
