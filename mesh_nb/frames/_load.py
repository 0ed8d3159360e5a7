"""What a frame is made from: this project's log, a path, a run, its id, or several of these."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from ..core import plugins
from ..core._scrub import visible
from ..core.errors import InputError, RunNotFoundError, shown
from ..core.events import EventType, ExecutionEvent, loads
from ._columns import Table
from ._packed import Pack, packs, unused
from ._progress import watched
from ._since import began, moment

BATCH = 200
"""Lines that are parsed at once: with more, what is made of them no longer fits the processor's cache."""
KNOWN: dict[str, EventType] = {kind.value: kind for kind in EventType}


HEADER = b'"schema"'
_GONE = "{}: the log, or a part of it, cannot be read or was deleted meanwhile."

Part = tuple[str, Iterator[ExecutionEvent]]


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


class Fold(Protocol):
    """What the events of one run add up to in a frame."""

    def take(self, event: ExecutionEvent) -> None:
        """Take in an event."""
        ...

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        """Return the records that rows are made from, at the end of the run's log."""
        ...


def fill(
    table: Table,
    source: Any,
    types: tuple[str, ...],
    fold: Callable[[str], Fold],
    *,
    since: Any = None,
) -> None:
    """Fill a table from the runs of a source.

    Parameters: types, the event types that the fold takes, none for all; fold, makes that of a run by its id;
    source and since as for `logs`.
    """
    for log in logs(source, *types, since=since):
        folds: dict[str, Fold] = {}
        for event in log.events:
            run_id = event.run_id or log.run_id
            taker = folds.get(run_id)
            if taker is None:
                taker = folds[run_id] = fold(run_id)
            taker.take(event)
        for taker in folds.values():
            for record in taker.rows(log):
                table.add(record)
        table.problems += log.problems


def parts(source: Any, *types: str) -> Iterator[Part]:
    """Yield (run id, its events of these types in order) for each log of a source, oldest first.

    Parameters and errors as for `logs`.
    """
    return ((log.run_id, log.events) for log in logs(source, *types))


def logs(source: Any, *types: str, since: Any = None) -> Iterator[Log]:
    """Return the logs of a source, oldest first.

    Parameters: source, None for this project's `.mesh/`; a Run or a summary of one; a run id; the path of a
    project, a `.mesh` folder or one `.jsonl` log; a backend; or an iterable of these. types, event types,
    none for all; other lines of a log are not parsed. since, the age ("7d", "12h", "30m", "2w") or time (a
    date, a datetime, ISO text) of the oldest run that counts.
    Raises RunNotFoundError for an unknown id, InputError for a path that is not there, for a since= that says
    no time, and for other things.
    """
    return _logs(source, types, moment(since))


def batches(source: Any, *, since: Any = None) -> Iterator[tuple[Log, list[Any]]]:
    """Yield all events of each log of a source, some hundreds at a time: as events where a run has them in
    memory, else as the records that its lines are, each with a type. An empty batch ends a log.

    Parameters and errors as for `logs`.
    """
    for log in _logs(source, (), moment(since)):
        if log.lines is not None:
            for records in _records(log.lines, log):
                yield log, records
        else:
            while batch := list(itertools.islice(log.events, BATCH)):
                yield log, batch
        yield log, []


def _records(lines: Iterator[bytes], log: Log) -> Iterator[list[dict[str, Any]]]:
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


def _logs(source: Any, types: tuple[str, ...], since: float | None) -> Iterator[Log]:
    if source is None:
        return _folder(None, types, since)
    if isinstance(source, (str, os.PathLike)):
        return _named(cast("str | os.PathLike[str]", source), types, since)
    if isinstance(source, ExecutionEvent):
        raise InputError("A frame is made from a run, not from one event: pass the Run itself.")
    events = getattr(source, "events", None)
    if isinstance(events, list):
        if since is not None and source.started_at is not None and source.started_at.timestamp() < since:
            return iter(())
        header = dict(getattr(source, "header", None) or {})
        found = _of(visible(cast("list[ExecutionEvent]", events)), types)
        return iter([Log(str(source.id), found, {source.id: header}, status=lambda: str(source.status))])
    if hasattr(source, "load") and hasattr(source, "id"):
        return _named(str(source.id), types, since)
    if hasattr(source, "run_ids"):
        return (
            _folder(source.folder, types, since)
            if hasattr(source, "lines")
            else _stored(source, types, since)
        )
    if isinstance(source, Iterable):
        return (log for item in cast("Iterable[Any]", source) for log in _logs(item, types, since))
    raise InputError(
        f"No runs in {type(source).__name__!r}: pass a Run, a run id, a path, or a list of these; nothing"
        " means this project's log."
    )


def _of(events: list[ExecutionEvent], types: tuple[str, ...]) -> Iterator[ExecutionEvent]:
    kinds = frozenset(types)
    return (event for event in list(events) if not kinds or event.type in kinds)


def _named(source: str | os.PathLike[str], types: tuple[str, ...], since: float | None) -> Iterator[Log]:
    path = Path(source)
    if isinstance(source, str) and any(len(part) > 255 for part in path.parts):
        raise InputError(f"There is no log at {shown(source)}: no file has so long a name.")
    if isinstance(source, str) and path.suffix != ".jsonl" and len(path.parts) == 1 and not path.is_dir():
        return iter([_read(file_backend(None), source, source, types)])
    if path.is_dir():
        return _folder(path.parent if path.name == "runs" else path, types, since)
    if path.is_file():
        name = path.name.removesuffix(".jsonl")
        return iter([_read(file_backend(None), [path, *_later(path)], name, types)])
    raise InputError(
        f"There is no log at {shown(str(path))}: name a project, a .mesh folder or a .jsonl file."
    )


def _later(path: Path) -> Iterator[Path]:
    """Yield the parts that were added to the log of a run when it was resumed."""
    for number in itertools.count(1):
        part = path.with_name(f"{path.stem}.r{number}{path.suffix}")
        if not part.is_file():
            return
        yield part


def _folder(home: Path | None, types: tuple[str, ...], since: float | None) -> Iterator[Log]:
    backend, problems = file_backend(home), list[str]()
    found = [
        run for run in reversed(list(backend.run_ids())) if since is None or began(backend, run) >= since
    ]
    packed = packs(backend.folder, problems) if found else {}
    for run in watched(found, "Reading logs"):
        log = _one(backend, packed, run, types, problems)
        if problems:
            log.problems += problems
            problems.clear()
        yield log


def _one(backend: Any, packed: dict[str, Pack], run: str, types: tuple[str, ...], problems: list[str]) -> Log:
    """Return the log of a run of a folder, from where it is packed if it is there and not damaged."""
    pack = packed.get(run)
    if pack is not None:
        try:
            return _unpack(pack, run, types)
        except OSError as error:
            problems.append(unused(pack.path, error))
            for other in [name for name, where in packed.items() if where is pack]:
                del packed[other]
    try:
        return _read(backend, run, run, types)
    except RunNotFoundError:  # it was there a moment ago
        return Log(run, iter(()), problems=[_GONE.format(run)])


def _unpack(pack: Pack, run: str, types: tuple[str, ...]) -> Log:
    log = Log(run, iter(()))
    log.lines = filter(None, pack.lines(run, types))
    log.events = decoded(log.lines, types, log)
    return log


def _stored(backend: Any, types: tuple[str, ...], since: float | None) -> Iterator[Log]:
    for run in reversed(list(backend.run_ids())):
        stored = backend.load(run)
        began_at = stored.events[0].timestamp if stored.events else 0.0
        if since is None or began_at >= since:
            log = Log(run, _of(stored.events, types), {run: dict(stored.header)}, list(stored.problems))
            log.status = (lambda: "running") if stored.live else (lambda: "interrupted")
            yield log


def file_backend(home: Path | None) -> Any:
    """Return the store of runs in a project, None for this one."""
    return plugins.find("backend", "file")(home)


def _read(backend: Any, run: str | list[Path], name: str, types: tuple[str, ...]) -> Log:
    # A quote inside a JSON string is escaped, so these bytes are only ever a whole key or value.
    needles = [HEADER, *(b'"%b"' % kind.encode() for kind in types)] if types else []
    found = [run] if isinstance(run, str) else run
    lines: Iterator[bytes] = itertools.chain.from_iterable(backend.lines(one, *needles) for one in found)
    # An unknown run id is told when the frame is asked for, not as an empty frame.
    first = next(lines, None)
    log = Log(name, iter(()), status=lambda: _state(backend, run))
    if first is not None:
        log.lines = itertools.chain((first,), lines)
        log.events = decoded(log.lines, types, log)
    return log


def _state(backend: Any, run: str | list[Path]) -> str:
    if not isinstance(run, str):
        return "interrupted"
    return "running" if backend.summary(run).live else "interrupted"


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
                        yield _event(record)
                elif not take_header(record, log):
                    raise ValueError("not an event")
            except (ValueError, TypeError):
                bad += 1
    note(log, bad)


def _some(lines: Iterator[bytes], log: Log) -> list[bytes]:
    """Return the next lines of a log."""
    batch: list[bytes] = []
    try:
        batch.extend(itertools.islice(lines, BATCH))
    except RunNotFoundError:  # a later part cannot be read, or is gone
        log.problems.append(_GONE.format(log.run_id))
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


def _event(record: dict[str, Any]) -> ExecutionEvent:
    """Return the event of a record, with a number as time and seq, and text as names, whatever the line said.

    Raises ValueError for one without a type, or whose metadata is no object.
    """
    get: Callable[[str], Any] = record.get
    kind, metadata, node = record["type"], get("metadata") or {}, get("node_id") or ""
    at: Any = get("timestamp")
    seq: Any = get("seq")
    run_id: Any = get("run_id")
    if kind.__class__ is not str or metadata.__class__ is not dict:
        raise ValueError("not an event")
    return ExecutionEvent(
        cast("EventType", KNOWN.get(kind, kind)),
        node if node.__class__ is str else str(node),
        get("content"),
        get("output"),
        metadata,
        at if at.__class__ is float or at.__class__ is int else 0.0,
        get("error"),
        run_id if run_id.__class__ is str else "",
        seq if seq.__class__ is int else -1,
    )


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
