"""What no tape may hold, and no log of a run that is recorded with `redact=`: keys by their form, values of
the environment, texts that the user names. What `secret()` marks, nothing may hold that is written."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from .backend import StoredRun
from .errors import InputError
from .events import DELTAS, EventType, ExecutionEvent, decode, dumps, encode
from .secret import blank, marked

HIDDEN = "***"
SHORTEST = 8
"""Characters of the shortest value of an environment variable that is a secret."""

# Each with a digit, or "risk-adjusted-returns" and "bearer of news" would be keys.
_KEYS = re.compile(
    r"\bsk-(?=[\w-]*\d)[\w-]{12,}|\bAIza(?=[\w-]*\d)[\w-]{20,}|\bgsk_(?=\w*\d)\w{12,}"
    r"|\bxai-(?=[\w-]*\d)[\w-]{12,}|(?i:\bbearer )(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}"
)
CHANGED = "secrets_hidden"
"""What says in an event of a log, and in what a run began with, that it was another."""

_NEEDED = (
    *(EventType.NODE_COMPLETE, EventType.STATE_UPDATE, EventType.TOOL_CALL_COMPLETE),
    EventType.INTERRUPT_RESOLVED,
)
_kept: dict[str, dict[Any, Any]] = {}
RUNS_KEPT = 200
"""Runs of this process that can be resumed although their logs hide something."""

_MARKS = (b"sk-", b"AIza", b"gsk_", b"xai-", b"earer ", b"EARER ")
_NAMED = re.compile(r"API_?KEY|TOKEN|SECRET|PASSWORD", re.I)
_BEGUN = re.compile(
    r"(?:\bsk-|\bAIza|\bgsk_|\bxai-|(?i:\bbearer ))[\w.~+/=-]*$|\b(?:sk?|AI?z?|g(?:sk?)?|x(?:ai?)?)$"
    r"|(?i:\bb(?:e(?:a(?:r(?:er?)?)?)?)?)$"
)
"""The end of a text that may become a key."""


class Scrubber:
    """Hides secrets.

    Parameters: named, texts of the user's; the environment's and what looks like a key are hidden too.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        self.named = [text for text in named if text]
        self._known: tuple[Any, list[str]] = None, []
        self._forms: tuple[Sequence[str], list[bytes]] = (), []

    def secrets(self) -> list[str]:
        """Return the texts to be hidden, the environment as it is now, longest first."""
        held = [v for name, v in os.environ.items() if len(v) >= SHORTEST and _NAMED.search(name)]
        now = marked.version, held
        if self._known[0] != now:
            self._known = now, sorted({*self.named, *marked.texts, *held}, key=len, reverse=True)
        return self._known[1]

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
        if not isinstance(value, (dict, list)):
            return value
        given = cast("dict[str, Any] | list[Any]", value)
        if marked.values and given in marked.values:
            return blank(given)
        if isinstance(given, dict):
            if "output" in given and (given.get("secret") is True or _is_secret(given.get("metadata"))):
                given = {**given, "output": blank(given["output"])}
            return {hide(k, secrets): self.value(v, secrets) for k, v in given.items()}
        return [self.value(v, secrets) for v in given]

    def event(self, event: ExecutionEvent, secrets: Sequence[str], *, looks: bool = True) -> ExecutionEvent:
        """Return an event without secrets: itself when it has none. looks False wants one that is known, not
        only what looks like a key."""
        data = encode(event)
        known = self.tells(data, secrets) or marked.values or b'"secret":true' in data
        if not known and not (looks and any(mark in data for mark in _MARKS)):
            return event
        record = event.to_dict()
        clean = self.value(record, secrets)
        return event if clean == record else decode(clean)

    def tells(self, data: bytes, secrets: Sequence[str]) -> bool:
        """Say whether JSON text has a secret: much faster than looking at each text in it."""
        if self._forms[0] is not secrets:
            self._forms = secrets, [dumps(secret)[1:-1] for secret in secrets]
        return any(form in data for form in self._forms[1])

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
    """Passes events on without secrets; the events themselves stay as they are.

    A delta waits for those that follow while its end may be the beginning of a secret, for that may lie
    across several.
    Parameters: append, takes an event; scrubber; kept, where events that were changed are left as they were,
        by seq.
    """

    def __init__(
        self,
        append: Callable[[ExecutionEvent], None],
        scrubber: Scrubber,
        kept: dict[Any, Any] | None = None,
    ) -> None:
        self._append, self._scrubber, self._kept = append, scrubber, kept
        self._held: list[ExecutionEvent] = []
        self._texts: dict[tuple[str, str], str] = {}
        self._known: tuple[int, list[str]] = -1, []

    def __call__(self, event: ExecutionEvent) -> None:
        """Pass an event on, or hold a delta back."""
        if event.type not in DELTAS:
            self.flush()
            clean = self._scrubber.event(event, self._secrets())
            if clean is not event and self._kept is not None:
                self._kept[event.seq] = event
                clean.metadata[CHANGED] = True
            self._append(clean)
            return
        self._held.append(event)
        if isinstance(event.content, str):
            block = event.type, _block(event)
            self._texts[block] = self._texts.get(block, "") + event.content
        secrets = self._secrets() if self._known[0] != marked.version else self._known[1]
        if not any(_begins(text, secrets) for text in self._texts.values()):
            self.flush()

    append = __call__

    def flush(self) -> None:
        """Pass on what is held back."""
        held, self._held, self._texts = self._held, [], {}
        clean = self._scrubber.deltas(held, self._known[1]) if held else []
        for old, new in zip(held, clean, strict=True):
            if new is not old and self._kept is not None:
                self._kept[old.seq] = old
            self._append(new)

    def passed(self, events: Sequence[ExecutionEvent]) -> list[ExecutionEvent]:
        """Return events of the run as far as they were passed on, without secrets."""
        last = self._held[0].seq if self._held else None
        return visible([e for e in events if last is None or e.seq < last])

    def _secrets(self) -> list[str]:
        self._known = marked.version, self._scrubber.secrets()
        return self._known[1]


def originals(run_id: str) -> dict[Any, Any]:
    """Return what the log of a run of this process does not tell: events by seq, what it began with as
    "begin"."""
    kept = _kept.setdefault(run_id, {})
    while len(_kept) > RUNS_KEPT:
        del _kept[next(iter(_kept))]
    return kept


def revealed(stored: StoredRun, *, outputs: bool = True) -> StoredRun:
    """Return a run of the log with what its log does not tell, so that it can go on, or be gone on from.

    Parameters: outputs, whether those of nodes are needed, and not only what the run began with.
    Raises InputError when another process ran it, which alone knows what is hidden in its outputs.
    """
    kept = _kept.get(stored.run_id, {})
    events = [kept.get(event.seq, event) for event in stored.events]
    lost = outputs and any(event.type in _NEEDED and event.metadata.get(CHANGED) for event in events)
    begin = stored.header.get("begin")
    if isinstance(begin, dict) and cast("dict[str, Any]", begin).get(CHANGED):
        lost = lost or "begin" not in kept
        stored = dataclasses.replace(stored, header={**stored.header, "begin": kept.get("begin")})
    if lost:
        raise InputError(
            f"The log of run {stored.run_id} has *** where secrets were, and only the process that ran it"
            " knows them: start a new run."
        )
    return dataclasses.replace(stored, events=events)


def _is_secret(metadata: Any) -> bool:
    return isinstance(metadata, dict) and cast("dict[str, Any]", metadata).get("secret") is True


def _begins(text: str, secrets: Sequence[str]) -> bool:
    """Say whether a secret may begin at the end of a text."""
    for secret in secrets:
        at = text.find(secret[0], max(len(text) - len(secret) + 1, 0))
        while at >= 0:
            if secret.startswith(text[at:]):
                return True
            at = text.find(secret[0], at + 1)
    return _BEGUN.search(text) is not None


def visible(events: Iterable[ExecutionEvent]) -> list[ExecutionEvent]:
    """Return events of a run as they may be shown: without what `secret()` has marked."""
    found = list(events)
    if not marked:
        return found
    scrubber, secrets = Scrubber(), _marked()
    clean = scrubber.deltas(found, secrets)
    return [event if event.type in DELTAS else scrubber.event(event, secrets) for event in clean]


def printable(events: Iterable[ExecutionEvent]) -> list[ExecutionEvent]:
    """Return events of a run, joined, as they may be kept for good: without the values of environment
    variables with names like secrets too."""
    scrubber = Scrubber()
    secrets = scrubber.secrets()
    return [scrubber.event(event, secrets, looks=False) for event in events]


def restored(value: Any, original: Any) -> Any:
    """Return what a person made of a value that was shown without its secrets, with the secrets of those of
    its texts that still have as many ***."""
    if isinstance(value, dict) and isinstance(original, dict):
        old = cast("dict[str, Any]", original)
        return {k: restored(v, old.get(k)) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list) and isinstance(original, list):
        pairs = itertools.zip_longest(value, cast("list[Any]", original)[: len(cast("list[Any]", value))])
        return [restored(new, old) for new, old in pairs]
    if not isinstance(value, str) or not isinstance(original, str) or HIDDEN not in value:
        return value
    secrets = [original[start:end] for start, end in _spans(original, _marked())]
    parts = value.split(HIDDEN)
    if len(parts) != len(secrets) + 1:
        return value
    return "".join(part + secret for part, secret in zip(parts, [*secrets, ""], strict=True))


def hidden(text: str) -> str:
    """Return a text as it may be shown: without what `secret()` has marked."""
    return hide(text, _marked()) if marked else text


def hush(error: BaseException) -> None:
    """Take what `secret()` has marked, and what the environment has under such names, out of the messages of
    an exception and of those that led to it."""
    todo: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    scrubber = Scrubber()
    secrets = scrubber.secrets()
    while todo:
        one = todo.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        told = {name: v for name, v in getattr(one, "__dict__", {}).items() if isinstance(v, (str, list))}
        if scrubber.tells(dumps([one.args, told]), secrets):
            one.args = tuple(scrubber.value(given, secrets) for given in one.args)
            for name, given in told.items():
                setattr(one, name, scrubber.value(given, secrets))
        todo += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _marked() -> list[str]:
    return sorted(marked.texts, key=len, reverse=True)


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
