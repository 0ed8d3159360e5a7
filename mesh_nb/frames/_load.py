"""What a frame is made from: this project's log, a path, a run, its id, or several of these."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from ..core import plugins
from ..core._scrub import visible
from ..core.errors import InputError, RunNotFoundError, shown
from ..core.events import ExecutionEvent
from ._columns import Table
from ._lines import BATCH, GONE, Log, decoded, records_of
from ._packed import Pack, packs, unused
from ._progress import watched
from ._since import began, moment

HEADER = b'"schema"'
_PART = re.compile(r"\.r[0-9]+\.jsonl$")
_OTHERS = {
    ".sqlite": "SQLiteBackend(path) reads it",
    ".db": "SQLiteBackend(path) reads runs in SQLite",
    ".parquet": "pandas.read_parquet reads it",
    ".csv": "pandas.read_csv reads it",
    ".ipynb": 'cost_report(notebook="name.ipynb") counts a notebook',
}
_TWICE = "{}: this run is there more than once; the first one counts."

Part = tuple[str, Iterator[ExecutionEvent]]


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
    counted = set[str]()
    for log in logs(source, *types, since=since):
        folds: dict[str, Fold] = {}
        current, take = None, _nobody
        for event in log.events:
            if event.run_id != current:
                current = event.run_id
                run_id = current or log.run_id
                taker = folds.get(run_id)
                if taker is None:
                    taker = folds[run_id] = _Again(run_id) if run_id in counted else fold(run_id)
                take = taker.take
            take(event)
        for taker in folds.values():
            for record in taker.rows(log):
                table.add(record)
        counted.update(folds)
        table.problems += log.problems


def _nobody(event: ExecutionEvent) -> None:
    pass


class _Again:
    """The fold of a run that another log of the source has had: nothing counts twice."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def take(self, event: ExecutionEvent) -> None:
        pass

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        log.problems.append(_TWICE.format(self._run_id))
        return ()


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
    counted = set[str]()
    for log in _logs(source, (), moment(since)):
        own = set[str]()
        for batch in records_of(log.lines, log) if log.lines is not None else _chunks(log.events):
            ids = {_run_of(event) or log.run_id for event in batch}
            own |= ids
            if counted.isdisjoint(ids):
                yield log, batch
            elif left := [event for event in batch if (_run_of(event) or log.run_id) not in counted]:
                yield log, left
        log.problems += [_TWICE.format(run_id) for run_id in sorted(own & counted)]
        counted |= own
        yield log, []


def _chunks(events: Iterator[ExecutionEvent]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(events, BATCH)):
        yield batch


def _run_of(event: Any) -> Any:
    found = event.get("run_id") if event.__class__ is dict else event.run_id
    return found if found.__class__ is str else ""


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
        if (hint := _OTHERS.get(path.suffix.lower())) is not None:
            raise InputError(f"{shown(str(path))} is no log of a run, which is a .jsonl file: {hint}.")
        whole = path.with_name(_PART.sub(".jsonl", path.name))
        if whole.is_file():  # a part of a run is read with the others
            path = whole
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
        return Log(run, iter(()), problems=[GONE.format(run)])


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
