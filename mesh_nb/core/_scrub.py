"""What no tape may hold, and no log of a run that is recorded with `redact=`: keys by their form, values of
the environment, texts that the user names."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from .events import DELTAS, ExecutionEvent, decode, dumps

HIDDEN = "***"
SHORTEST = 8
"""Characters of the shortest value of an environment variable that is a secret."""

# Each with a digit, or "risk-adjusted-returns" and "bearer of news" would be keys.
_KEYS = re.compile(
    r"\bsk-(?=[\w-]*\d)[\w-]{12,}|\bAIza(?=[\w-]*\d)[\w-]{20,}|\bgsk_(?=\w*\d)\w{12,}"
    r"|\bxai-(?=[\w-]*\d)[\w-]{12,}|(?i:\bbearer )(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}"
)
_MARKS = (b"sk-", b"AIza", b"gsk_", b"xai-", b"earer ", b"EARER ")
_NAMED = re.compile(r"API_?KEY|TOKEN|SECRET|PASSWORD", re.I)


class Scrubber:
    """Hides secrets.

    Parameters: named, texts of the user's; the environment's and what looks like a key are hidden too.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        self.named = [text for text in named if text]

    def secrets(self) -> list[str]:
        """Return the texts to be hidden, the environment as it is now, longest first."""
        found = (value for name, value in os.environ.items() if _NAMED.search(name))
        known = {*self.named, *(value for value in found if len(value) >= SHORTEST)}
        return sorted(known, key=len, reverse=True)

    def json(self, data: bytes) -> bytes:
        """Return JSON text without its secrets: itself when it has none."""
        forms = [dumps(secret)[1:-1] for secret in self.secrets()]
        found = [form for form in forms if form in data]
        if not found and not any(mark in data for mark in _MARKS):
            return data
        text = data.decode("utf-8", "replace")
        return hide(text, [form.decode("utf-8", "replace") for form in found]).encode()

    def value(self, value: Any, secrets: Sequence[str]) -> Any:
        """Return a JSON value whose texts have no secrets."""
        if isinstance(value, str):
            return hide(value, secrets)
        if isinstance(value, dict):
            return {k: self.value(v, secrets) for k, v in cast("dict[str, Any]", value).items()}
        if isinstance(value, list):
            return [self.value(v, secrets) for v in cast("list[Any]", value)]
        return value

    def pieces(self, pieces: list[str], secrets: Sequence[str]) -> list[str]:
        """Return the pieces of one text without secrets, those that lie across several included."""
        text = "".join(pieces)
        spans = _spans(text, secrets)
        if not spans:
            return pieces
        made: list[str] = []
        at = 0
        for piece in pieces:
            end = at + len(piece)
            made.append(_without(text, at, end, spans))
            at = end
        return made

    def deltas(self, events: Sequence[ExecutionEvent], secrets: Sequence[str]) -> list[ExecutionEvent]:
        """Return events in whose deltas no secret is left, not even in pieces."""
        blocks: dict[tuple[str, str], list[int]] = {}
        for n, event in enumerate(events):
            if event.type in DELTAS and isinstance(event.content, str):
                blocks.setdefault((event.type, _block(event)), []).append(n)
        made = list(events)
        for places in blocks.values():
            pieces = [events[n].content for n in places]
            for n, said in zip(places, self.pieces(pieces, secrets), strict=True):
                if said != events[n].content:
                    made[n] = dataclasses.replace(events[n], content=said)
        return made


class Hushed:
    """Writes events to a log without secrets; the events themselves stay as they are.

    Deltas wait for the event that follows them, because a secret may lie across several.
    Parameters: append, writes an event; scrubber.
    """

    def __init__(self, append: Callable[[ExecutionEvent], None], scrubber: Scrubber) -> None:
        self._append, self._scrubber = append, scrubber
        self._held: list[ExecutionEvent] = []

    def __call__(self, event: ExecutionEvent) -> None:
        """Write an event, or hold a delta back."""
        if event.type in DELTAS:
            self._held.append(event)
            return
        self.flush()
        record = event.to_dict()
        clean = self._scrubber.value(record, self._scrubber.secrets())
        self._append(event if clean == record else decode(clean))

    def flush(self) -> None:
        """Write what is held back."""
        held, self._held = self._held, []
        for event in self._scrubber.deltas(held, self._scrubber.secrets()) if held else ():
            self._append(event)


def _block(event: ExecutionEvent) -> str:
    given = event.metadata
    return f"{event.node_id} {given.get('visit')} {given.get('tool_call_id') or given.get('block_id')}"


def hide(text: str, secrets: Sequence[str]) -> str:
    """Return a text with each secret as ***."""
    spans = _spans(text, secrets)
    return _without(text, 0, len(text), spans) if spans else text


def _spans(text: str, secrets: Sequence[str]) -> list[tuple[int, int]]:
    """Return where the secrets are, in order and apart."""
    found = sorted({*_places(text, secrets), *(match.span() for match in _KEYS.finditer(text))})
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _places(text: str, secrets: Sequence[str]) -> Iterator[tuple[int, int]]:
    for secret in secrets:
        at = text.find(secret)
        while at >= 0:
            yield at, at + len(secret)
            at = text.find(secret, at + 1)


def _without(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> str:
    """Return text[start:end] with what lies in a span left out, and *** where the span begins."""
    parts: list[str] = []
    at = start
    for first, last in spans:
        if last <= at or first >= end:
            continue
        parts.append(text[at : max(first, at)])
        if first >= start:
            parts.append(HIDDEN)
        at = min(last, end)
    parts.append(text[at:end])
    return "".join(parts)
