"""A batch in words: what became of it, how far it is, and what came of those that failed. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from ..core._scrub import hidden
from ._batch_forecast import dollars, span
from ._batch_row import RUNNING, WAITING
from ._words import shorten

FAILED = 3
"""Rows that failed which a summary names."""
LINE = 240
"""Characters of each line of a summary."""

_ENDINGS = {"timeout": "timed out", "budget": "over budget", "interrupted": "not answered"}
_STYLING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_JOINERS = "\u200c\u200d"
"""The two marks without a picture that words and emoji need."""


def one_line(value: Any, length: int) -> str:
    """Return what a value says in one line of at most so many characters.

    What `secret()` has marked, commands for terminals, half characters and marks that turn the direction of
    what follows are left out.
    """
    try:
        text = hidden(str(value))
    except Exception:  # noqa: BLE001  the text of a foreign object, which only labels something
        text = f"<{type(value).__name__}>"
    if not text.isprintable():
        text = "".join(map(_shown, _STYLING.sub("", text)))
    return shorten(" ".join(text.split()), length)


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character)[0] != "C":
        return character
    return " " if character.isspace() else ""


def headline(batch: Any) -> str:
    """Return what became of a batch, in one line."""
    counts, total = batch.counts, len(batch.rows)
    last = {status: counts.pop(status, 0) for status in (RUNNING, WAITING)}
    parts = [f"{counts.pop('completed', 0):,} of {total:,} row{'' if total == 1 else 's'} complete"]
    parts += [
        f"{n:,} {_ENDINGS.get(status, status)}" for status, n in (*sorted(counts.items()), *last.items()) if n
    ]
    cost, unpriced = batch.cost_usd, batch.unpriced_calls
    if cost is not None:
        some = f", {unpriced:,} call{'' if unpriced == 1 else 's'} unpriced" if unpriced else ""
        parts.append(f"{dollars(cost)}{some}")
    elif unpriced:
        parts.append("unpriced")
    if before := sum(row.cached for row in batch.rows):
        parts.append(f"{before:,} answered before")
    return " · ".join(parts)


def progress(batch: Any) -> str:
    """Return how far a batch is, and the time that is left once that can be told."""
    line = headline(batch)
    if batch.done:
        return line
    if batch.stopping:
        return f"{line} · stopping"
    if asking := batch.asking:
        line = f"{line} · {asking:,} wait for an answer"
    left = batch.seconds_left()
    return line if left is None else f"{line} · {span(left)} to go"


def summary(batch: Any) -> str:
    """Return what became of a batch, why it ended early, and what its first failures were, a line each."""
    failed = batch.failed
    lines = [headline(batch), *([f"No further rows were begun. {batch.error}"] if batch.error else [])]
    lines += [f"{row.label!r}: {row.error}" for row in failed[:FAILED]]
    if len(failed) > FAILED:
        lines.append(f"... and {len(failed) - FAILED:,} more: .failed has them all")
    return "\n".join(one_line(line, LINE) for line in lines)
