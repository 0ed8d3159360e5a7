"""A log, being read: lines into events, whatever they hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from ..core.errors import RunNotFoundError
from ..core.events import ExecutionEvent, decode, loads

BATCH = 200
"""Lines that are parsed at once: with more, what is made of them no longer fits the processor's cache."""
GONE = "{}: the log, or a part of it, cannot be read or was deleted meanwhile."


@dataclass(slots=True)
class Log:
    """One log, being read: `run_id` by its name, `events` once, in order.

    `headers` has those met so far by run id (a log that was exported may hold several runs), `problems` what
    could not be read so far. `status` says whether a run without an ending is running or interrupted. `lines`
    are what the events are made from, None for a run in memory: use either.
    """

    run_id: str
    events: Iterator[ExecutionEvent]
    headers: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    problems: list[str] = field(default_factory=list[str])
    status: Callable[[], str] = lambda: "interrupted"
    lines: Iterator[bytes] | None = None

    def header(self, run_id: str) -> dict[str, Any]:
        """Return the header of a run of this log, empty when it has none."""
        return self.headers.get(run_id, {})


def records_of(lines: Iterator[bytes], log: Log) -> Iterator[list[dict[str, Any]]]:
    """Yield what the lines of a log are, some hundreds at a time: each is a dict with a type."""
    bad = 0
    while batch := _some(lines, log):
        values = _parsed(batch)
        records = values if all(map(_is_event, values)) else [value for value in values if _is_event(value)]
        for value in values if len(records) < len(values) else ():
            if not _is_event(value) and not (isinstance(value, dict) and take_header(value, log)):
                bad += 1
        if records:
            yield records
    note(log, bad)


def header_of(line: bytes) -> dict[str, Any] | None:
    """Return the header that a line is, None for another line."""
    value = _value(line)
    return cast("dict[str, Any]", value) if isinstance(value, dict) and "schema" in value else None


def _is_event(value: Any) -> bool:
    if value.__class__ is not dict or value.get("type").__class__ is not str:
        return False
    metadata = value.get("metadata")
    return metadata.__class__ is dict or not metadata


def _value(line: bytes) -> Any:
    try:
        return loads(line)
    except (ValueError, RecursionError):
        return None


def decoded(lines: Iterable[bytes], types: tuple[str, ...], log: Log) -> Iterator[ExecutionEvent]:
    """Yield the events of lines; headers and what is no event are noted in the log."""
    bad, kinds, rest = 0, frozenset(types), iter(lines)
    while batch := _some(rest, log):
        for record in _parsed(batch):
            try:
                if record.__class__ is not dict:
                    raise ValueError("not an event")
                if "type" in record:
                    if not kinds or record["type"] in kinds:
                        yield decode(record)
                elif not take_header(record, log):
                    raise ValueError("not an event")
            except (ValueError, TypeError):
                bad += 1
        if len(batch) < BATCH:
            break
    note(log, bad)


def _some(lines: Iterator[bytes], log: Log) -> list[bytes]:
    """Return the next lines of a log."""
    batch: list[bytes] = []
    try:
        batch.extend(itertools.islice(lines, BATCH))
    except RunNotFoundError:  # a later part cannot be read, or is gone
        log.problems.append(GONE.format(log.run_id))
    return batch


def _parsed(lines: list[bytes]) -> list[Any]:
    """Return the values of lines, None for one that is no JSON."""
    try:
        # One document is parsed faster than as many lines.
        values: list[Any] = loads(b"[" + b",".join(lines) + b"]")
        if len(values) == len(lines):
            return values
    except (ValueError, RecursionError):
        pass
    return [_value(line) for line in lines if line.strip()]


def note(log: Log, bad: int) -> None:
    """Tell that so many lines of a log were left out."""
    if bad:
        what = "1 line is no event and was" if bad == 1 else f"{bad} lines are no events and were"
        log.problems.append(f"{log.run_id}: {what} left out.")


def take_header(record: dict[str, Any], log: Log) -> bool:
    """Say whether a record is no event although it belongs in a log; a header is kept."""
    if "type" in record:
        return False
    if "schema" in record:
        # That of a part which was added later is about who resumed the run.
        record.pop("begin", None)  # it may be large
        log.headers.setdefault(str(record.get("run_id") or log.run_id), record)
        return True
    return "seq" in record
