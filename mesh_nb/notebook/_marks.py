"""Where the numbers of citations stand in a text. Pure."""

from __future__ import annotations

import re
from typing import Any

from ._view import CLOSE_MARK, OPEN_MARK, Text


def end_of(text: str, source: dict[str, Any]) -> int:
    """Return where a citation's number stands; -1, the end of the text, when the server does not say."""
    end = source.get("end")
    # Some servers send start = end = 0 for "no place known".
    if not isinstance(end, int) or end <= (source.get("start") or 0):
        return -1
    return _offset(text, end, source.get("offset_unit") or "code_point")


def _offset(text: str, end: int, unit: str) -> int:
    """Convert a half-open end offset to a position in text; out of range means the end."""
    if unit == "utf8_byte":
        return len(text.encode()[: max(end, 0)].decode("utf-8", "ignore"))
    if unit == "utf16":
        return len(text.encode("utf-16-le")[: max(end, 0) * 2].decode("utf-16-le", "ignore"))
    return min(max(end, 0), len(text))


def _placed(text: str, at: int) -> int:
    """Return where a mark stands: not past the end, nor at the beginning of a line that it does not end."""
    head = text if at < 0 else text[:at]
    bare = head.rstrip()
    return len(bare) if "\n" in head[len(bare) :] or not text[len(head) :].strip() else len(head)


def place_marks(block: Text) -> None:
    """Put the marks of a block's citations into its text."""
    text = block.text
    marks = {(_placed(text, at), number) for at, number in block.marks}
    for at, number in sorted(marks, reverse=True):
        text = f"{text[:at]}{OPEN_MARK}{number}{CLOSE_MARK}{text[at:]}"
    block.text = text


def unmarked(text: str) -> str:
    """Return a text without the numbers of its citations."""
    return _MARK.sub("", text)


_MARK = re.compile(f"{OPEN_MARK}\\d*{CLOSE_MARK}?")
