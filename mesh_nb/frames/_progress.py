"""Progress of long work, on stderr, where somebody watches."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 1.0
STEP = 0.2
WIDTH = 24


def watched(items: Sequence[T], what: str, *, always: bool = False) -> Iterator[T]:
    """Yield the items, and after a second show a bar with how many are done; nothing where nobody looks.

    Parameters: what, in a word or two; always, show it at once, whoever looks.
    """
    if not always and not _is_watched():
        yield from items
        return
    shown, due = False, time.monotonic() + (0 if always else PATIENCE)
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now >= due:
                shown, due = True, now + STEP
                _draw(what, done, len(items))
            yield item
        if shown:
            _draw(what, len(items), len(items))
    finally:
        if shown:
            sys.stderr.write("\n")
            sys.stderr.flush()


def _is_watched() -> bool:
    shell = sys.modules.get("IPython.core.interactiveshell")
    if shell is not None and shell.InteractiveShell.initialized():
        return True
    return sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def _draw(what: str, done: int, total: int) -> None:
    full = WIDTH * done // total if total else WIDTH
    done_sign, left_sign = _signs()
    count = f"{done:,} of {total:,}"
    text = f"{what} {done_sign * full}{left_sign * (WIDTH - full)} {count}"
    columns = shutil.get_terminal_size().columns
    if len(text) >= columns:  # a line that wraps is not written over
        text = f"{what} {count}"[: max(columns - 1, 1)]
    sys.stderr.write(f"\r{text}")
    sys.stderr.flush()


def _signs() -> str:
    try:
        "█░".encode(sys.stderr.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "#."
    return "█░"
