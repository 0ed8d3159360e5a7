"""The part of a chat history that is sent."""

from __future__ import annotations

from collections.abc import Sequence

from .context import Message, as_text

CHARACTERS = 4
"""Characters that count as one token: an estimate, for no provider counts before a call."""


def trimmed(history: Sequence[Message], tokens: int | None) -> list[Message]:
    """Return the latest messages that fit into so many tokens, by estimate; all of them for None.

    A history begins with a question: an answer whose question does not fit is left out with it.
    """
    if tokens is None:
        return list(history)
    left, kept = tokens * CHARACTERS, len(history)
    for at in range(len(history) - 1, -1, -1):
        left -= len(as_text(history[at].get("content")))
        if left < 0:
            break
        if history[at].get("role") == "user":
            kept = at
    return list(history[kept:])
