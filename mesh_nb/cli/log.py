"""What `mesh-nb log` does. Each function takes a FileBackend and the parsed arguments, and returns 0 or 1."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core import plugins
from ..core.errors import InputError, RunNotFoundError, UnknownNameError
from ..core.run import Run
from ..core.runs import runs
from ..frames._packed import compact, drop, packs, unused, whole_log
from ..frames._progress import watched
from ..frames._since import began, moment

_REF = re.compile(rb'_ref":"([0-9a-f]{64})"')
FORMATS = (".jsonl", ".parquet", ".csv")


def list_runs(backend: Any, given: Any) -> int:
    """List the newest runs, one to a line."""
    _say(repr(runs(given.limit, backend)))
    return 0


def show_runs(backend: Any, given: Any) -> int:
    """Show a run: its line and its answer, or its events."""
    if given.events:
        for line in backend.lines(given.run_id):
            sys.stdout.buffer.write(line.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()
        return 0
    run = Run.load(given.run_id, backend)
    _say(repr(run))
    for problem in run.problems:
        _say(f"  ! {problem}")
    if run.text:
        _say(f"\n{_plain(run.text)}")
    return 0


def export_runs(backend: Any, given: Any) -> int:
    """Write runs to a file that pandas, polars and DuckDB read."""
    kind = given.file.suffix.lower()
    if kind not in FORMATS:
        raise UnknownNameError("format", kind or str(given.file), FORMATS)
    if not given.file.parent.is_dir():
        raise InputError(f"There is no folder {given.file.parent}.")
    if given.file.exists() and not given.force:
        raise InputError(f"{given.file} is there already; --force replaces it.")
    border = _time("--since", given.since)
    chosen = list(dict.fromkeys(given.run_ids)) or list(reversed(list(backend.run_ids())))
    chosen = [run for run in chosen if border is None or began(backend, run) >= border]
    part = given.file.with_name(f".{given.file.name}.part")
    try:
        if kind == ".jsonl" and given.frame == "events":
            count = _copy(backend, chosen, part)
        else:
            count = _table(backend, given, chosen, kind, part)
        os.replace(part, given.file)
    finally:
        part.unlink(missing_ok=True)
    _say(f"{_many(count, 'line')} of {_many(len(chosen), 'run')} in {given.file}")
    return 0


def _copy(backend: Any, chosen: list[str], part: Path) -> int:
    count = 0
    with part.open("wb") as file:
        for run in _watched(chosen, "Exporting"):
            for line in backend.lines(run):
                file.write(line.rstrip(b"\n") + b"\n")
                count += 1
    return count


def _table(backend: Any, given: Any, chosen: list[str], kind: str, part: Path) -> int:
    make = plugins.find("frame", given.frame)
    if given.run_ids or given.since:
        for run in chosen:
            backend.parts(run)  # an unknown id is told before anything is read
        folder = backend.folder / "runs"
        frame = make(folder / f"{run}.jsonl" for run in _watched(chosen, "Exporting"))
    else:
        frame = make(backend.folder)  # what is packed is read from there
    if kind == ".parquet":
        frame.to_parquet(part, compression="zstd", index=False)
    elif kind == ".csv":
        frame.to_csv(part, index=False)
    else:
        frame.to_json(part, orient="records", lines=True, date_format="iso")
    return len(frame)


def compact_runs(backend: Any, given: Any) -> int:
    """Pack finished runs."""
    count, size = compact(backend, lambda found: _watched(found, "Compacting"))
    done = f"Packed {_many(count, 'run')}, {size / 1e6:,.1f} MB of logs; the logs stay."
    _say(done if count else "Nothing to pack.")
    return 0


def prune_runs(backend: Any, given: Any) -> int:
    """Delete runs that began before a time, with what only they refer to. Runs that go on stay."""
    border = _time("--older-than", given.older_than) or 0.0
    old = [run for run in backend.run_ids() if _is_old(backend, run, border)]
    if given.dry_run:
        _say("\n".join([*old, f"{_many(len(old), 'run')} would be deleted."]))
        return 0
    for run in _watched(old, "Deleting"):
        with contextlib.suppress(RunNotFoundError):
            # The first part last: the others are found by it.
            for path in reversed(backend.parts(run)):
                path.unlink(missing_ok=True)
    drop(backend.folder, set(backend.run_ids()))
    blobs = _orphans(backend) if old else []
    for blob in blobs:
        blob.unlink(missing_ok=True)
    _say(f"Deleted {_many(len(old), 'run')} and {_many(len(blobs), 'content')} that nothing else refers to.")
    return 0


def _is_old(backend: Any, run: str, border: float) -> bool:
    try:
        return began(backend, run) < border and not backend.summary(run).live
    except RunNotFoundError:  # somebody has deleted it
        return False


def _orphans(backend: Any) -> list[Path]:
    """Return the contents that no log refers to; fresh ones may belong to a line that is being written.

    Raises RunNotFoundError for a log that is there and cannot be read: nobody knows what it refers to.
    """
    used = set[str]()
    for run in list(backend.run_ids()):
        try:
            for line in backend.lines(run, b'_ref":"'):
                used.update(ref.decode() for ref in _REF.findall(line))
        except RunNotFoundError:
            if run in backend.run_ids():
                raise
    folder = backend.folder / "blobs"
    border = moment("1h") or 0.0
    found = folder.iterdir() if folder.is_dir() else iter(())
    return [path for path in found if path.name not in used and path.stat().st_mtime < border]


def verify_runs(backend: Any, given: Any) -> int:
    """Read every run, and compare what was packed with it."""
    problems: list[str] = []
    packed = packs(backend.folder, problems)
    ids = list(reversed(list(backend.run_ids())))
    for run in _watched(ids, "Verifying"):
        pack = packed.get(run)
        try:
            problems += [f"{run}: {problem}" for problem in backend.load(run).problems]
            if pack is not None and b"\n".join(pack.lines(run, ())) != whole_log(backend.parts(run))[0]:
                problems.append(f"{run}: packed/{pack.path.name} differs from the log.")
        except RunNotFoundError:
            problems.append(f"{run}: the log cannot be read, or was deleted meanwhile.")
        except OSError as error:
            problems.append(unused(packed[run].path, error))
            packed = {name: other for name, other in packed.items() if other is not pack}
    counts = f"{_many(len(ids), 'run')}, {_many(len(problems), 'problem')}."
    _say("\n".join([*map(_plain, problems), counts]))
    return 1 if problems else 0


def _time(option: str, given: str | None) -> float | None:
    """Return what an option says in seconds since 1970. Raises InputError."""
    try:
        return moment(given)
    except InputError:
        raise InputError(
            f"{option} {given!r} is no time: say an age such as 7d or 12h, or a date such as 2026-11-01."
        ) from None


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _watched(found: Any, what: str) -> Iterator[str]:
    return watched(list(found), what)


def _plain(text: str) -> str:
    """Return text that cannot steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
