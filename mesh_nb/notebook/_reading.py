"""What a reader of a run with several nodes sees first: the answer; the nodes on the way to it are folded.

The live view follows the same rules (widgets/src/core/reading.ts), so that nothing moves when static output
takes its place. Pure.
"""

from __future__ import annotations

import re

from . import _words
from ._marks import unmarked
from ._view import Folded, Section, Text, ToolCall

MANY = 4
"""Folded nodes in a row from which on they are one line together."""

BRIEF = 72


def opened(view: Folded) -> list[Section]:
    """Return the sections that are open: those that nothing followed, or that have not ended, and the answer.

    A node inside another is open while it runs, or when it has the answer.
    """
    shown = [s for s in view.sections if not s.discarded]
    names = {s.node_id for s in shown}
    answer = next((s for s in reversed(shown) if _text(s)), None)
    return [
        s
        for s in shown
        if s is answer or s.ended is None or (s.ended > view.entered and not _inside(s, names))
    ]


def hosts(node_id: str) -> list[str]:
    """Return the ids of the nodes that a node may run inside of, the outermost first: a and a.b for a.b.c."""
    parts = node_id.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _inside(section: Section, names: set[str]) -> bool:
    return any(host in names for host in hosts(section.node_id))


def brief(section: Section) -> str:
    """Return what a folded section is about: how its text begins, else how many calls it made."""
    text = _text(section)
    if text:
        plain = _MARKUP.sub("", unmarked(text[: 4 * BRIEF]))
        return _words.shorten(" ".join(plain.split()), BRIEF)
    calls = sum(isinstance(b, ToolCall) for b in section.blocks)
    return _words.count(calls, "tool call") if calls else ""


def names_of(sections: list[Section]) -> tuple[str, str]:
    """Return the line above folded nodes in a row: how many, and which."""
    names = list(dict.fromkeys(s.node_id for s in sections))
    return _words.count(len(sections), "node"), ", ".join(names[:6]) + (", …" if len(names) > 6 else "")


def _text(section: Section) -> str:
    return next((b.text for b in section.blocks if isinstance(b, Text) and b.text.strip()), "")


_MARKUP = re.compile(r"^\s*(?:#{1,6}|[-*+>]|\d+[.)])\s+|\*+|__|`+", re.MULTILINE)
