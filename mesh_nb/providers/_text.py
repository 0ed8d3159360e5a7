"""Text that arrives in pieces: characters and tags that are cut in two."""

from __future__ import annotations

import re

_LONE = re.compile("[\ud800-\udfff]")


class Joiner:
    """Joins UTF-16 surrogate pairs that two deltas share.

    A trailing high surrogate is held until the next piece; whatever has no other half becomes U+FFFD, so
    that the text can always be encoded. `held` is what waits.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = ""

    def add(self, text: str) -> str:
        """Return the text that is ready now; empty when all of it waits."""
        if self.held:
            text, self.held = self.held + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self.held = text[:-1], text[-1]
        return clean(text)

    def end(self) -> str:
        """Return what was held: U+FFFD for half a character, or nothing."""
        held, self.held = self.held, ""
        return "\ufffd" if held else ""


def clean(text: str) -> str:
    """Return the text with surrogate pairs joined and lone surrogates as U+FFFD."""
    if text.isascii() or not _LONE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class ThinkTags:
    """Splits a leading `<think>...</think>` off answer text that arrives in pieces.

    Only a tag at the very beginning counts, so that an answer about the tag stays as it is. White space
    before `<think>` and between `</think>` and the first word belongs to neither. `active` is False once
    nothing more can be found; the caller then need not ask.
    """

    OPEN, CLOSE = "<think>", "</think>"

    __slots__ = ("_buffer", "_inside", "_skip", "active")

    def __init__(self) -> None:
        self.active = True
        self._buffer = ""
        self._inside = False
        self._skip = False

    def add(self, text: str) -> tuple[str, str]:
        """Return (reasoning, answer): what can be told from these and the earlier pieces."""
        self._buffer += text
        if self._inside:
            return self._reasoning()
        start = self._buffer.lstrip()
        if self._skip:
            self.active, self._buffer = not start, ""
            return "", start
        if start.startswith(self.OPEN):
            self._inside, self._buffer = True, start[len(self.OPEN) :]
            return self._reasoning()
        if self.OPEN.startswith(start):
            return "", ""
        self.active = False
        answer, self._buffer = self._buffer, ""
        return "", answer

    def _reasoning(self) -> tuple[str, str]:
        thought, tag, rest = self._buffer.partition(self.CLOSE)
        if tag:
            self._inside, self._skip, self._buffer = False, True, ""
            return thought, self.add(rest)[1]
        keep = next((n for n in range(len(self.CLOSE) - 1, 0, -1) if thought.endswith(self.CLOSE[:n])), 0)
        cut = len(thought) - keep
        self._buffer = thought[cut:]
        return thought[:cut], ""

    def end(self) -> tuple[str, str]:
        """Return (reasoning, answer) of what was still waiting for the rest of a tag."""
        waiting, self._buffer = self._buffer, ""
        self.active = False
        return (waiting, "") if self._inside else ("", waiting)
