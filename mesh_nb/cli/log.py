"""What `mesh-nb log` does. Each function takes a FileBackend and the parsed arguments, and returns 0 or 1."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core import plugins
from ..core._summary import line
from ..core.errors import InputError, RunNotFoundError, UnknownNameError
from ..core.events import loads
from ..core.run import Run
from ..core.runs import runs
from ..frames._lines import GONE
from ..frames._packed import Pack, compact, drop, packs, unused, whole_log
from ..frames._progress import watched
from ..frames._since import began, moment
from ._told import reason, trouble

_REF = re.compile(rb'_ref":"([0-9a-f]{64})"')
FORMATS = (".jsonl", ".parquet", ".csv")


def list_runs(backend: Any, given: Any) -> int:
    """List the newest runs, one to a line."""
    found = runs(given.limit, backend)
    for problem in found.problems:
        sys.stderr.write(f"mesh-nb: {_plain(problem)}\n")
    if found or not found.problems:
        _say("\n".join(f"{run.id}  {line(run)}" for run in found) or f"No runs yet in {backend.folder}.")
    return 1 if found.problems else 0


def show_runs(backend: Any, given: Any) -> int:
    """Show a run: its line and its answer, or its events."""
    if given.events:
        for text in backend.lines(given.run_id):
            sys.stdout.buffer.write(text.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()
        return 0
    run = Run.load(given.run_id, backend)
    _say(f"{run.id}  {line(run)}")
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
    if given.file.is_dir():
        raise InputError(f"{given.file} is a folder; name a file.")
    if given.file.exists() and not given.force:
        raise InputError(f"{given.file} is there already; --force replaces it.")
    plugins.find("frame", given.frame)
    border = _time("--since", given.since)
    chosen = list(dict.fromkeys(given.run_ids)) or list(reversed(list(backend.run_ids())))
    chosen = [run for run in chosen if border is None or began(backend, run) >= border]
    for run in given.run_ids:
        backend.parts(run)  # an unknown id is told before anything is read
    problems: list[str] = []
    part = given.file.with_name(f".{given.file.name}.part")
    try:
        with trouble(f"{given.file} cannot be written", lambda: "Nothing was exported."):
            if kind == ".jsonl" and given.frame == "events":
                what, count = "line", _copy(backend, chosen, part, problems)
            else:
                what, count = "row", _table(backend, given, chosen, kind, part, problems)
            os.replace(part, given.file)
    finally:
        part.unlink(missing_ok=True)
    for problem in problems:
        sys.stderr.write(f"mesh-nb: {_plain(problem)}\n")
    _say(f"{_many(count, what)} of {_many(len(chosen), 'run')} in {given.file}")
    return 0


def _copy(backend: Any, chosen: list[str], part: Path, problems: list[str]) -> int:
    """Copy the lines that are JSON objects: one that is torn makes a file unreadable for everybody else."""
    count = 0
    with part.open("wb") as file:
        for run in _watched(chosen, "Exporting"):
            bad = 0
            try:
                for text in backend.lines(run):
                    if _is_object(text):
                        file.write(text.rstrip(b"\n") + b"\n")
                        count += 1
                    elif text.strip():
                        bad += 1
            except RunNotFoundError:
                problems.append(GONE.format(run))
            if bad:
                problems.append(f"{run}: {_many(bad, 'torn or foreign line')} left out.")
    return count


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _table(backend: Any, given: Any, chosen: list[str], kind: str, part: Path, problems: list[str]) -> int:
    make = plugins.find("frame", given.frame)
    if given.run_ids or given.since:
        folder = backend.folder / "runs"
        frame = make(folder / f"{run}.jsonl" for run in _watched(chosen, "Exporting"))
    else:
        frame = make(backend.folder if chosen else [])  # what is packed is read from there
    if kind == ".parquet":
        frame.to_parquet(part, compression="zstd", index=False)
    elif kind == ".csv":
        frame.to_csv(part, index=False)
    else:
        frame.to_json(part, orient="records", lines=True, date_format="iso")
    problems += frame.attrs.get("problems", [])
    return len(frame)


def compact_runs(backend: Any, given: Any) -> int:
    """Pack finished runs."""
    if not any(True for _ in backend.run_ids()):  # tells, too, when they cannot be read
        _say(f"No runs yet in {backend.folder}.")
        return 0
    with trouble("The runs cannot be packed", lambda: "The logs, and what was packed before, are there."):
        count, size = compact(backend, lambda found: _watched(found, "Compacting"))
    done = f"Packed {_many(count, 'run')}, {size / 1e6:,.1f} MB of logs; the logs stay."
    _say(done if count else "Nothing to pack: every run that has ended is packed.")
    return 0


def prune_runs(backend: Any, given: Any) -> int:
    """Delete runs that began before a time, with what only they refer to. Runs that go on stay."""
    border = _time("--older-than", given.older_than) or 0.0
    if border > time.time():
        raise InputError(f"--older-than {given.older_than!r} lies in the future: all runs are older.")
    ids = list(backend.run_ids())
    with trouble("The runs cannot be read", lambda: "No run was deleted."):
        old = [run for run in _watched(ids, "Looking for old runs") if _is_old(backend, run, border)]
    if given.dry_run:
        _say("\n".join([*old, f"{_many(len(old), 'run')} would be deleted."]))
        return 0
    if (
        old
        and not given.yes
        and not _agreed(f"Delete {_many(len(old), 'run')} in {backend.folder} for good?")
    ):
        _say("Nothing was deleted.")
        return 0
    # What is packed goes first: a log that stays is then read again, a copy of a deleted one never.
    with trouble("What is packed cannot be written anew", lambda: "No run was deleted."):
        if (packed := backend.folder / "packed").exists():
            os.listdir(packed)  # what cannot be listed cannot be emptied
        try:
            drop(backend.folder, set(ids) - set(old))
        except OSError:  # a full disk has no room for it, and what stays can be packed again
            _drop_packs(backend.folder / "packed", set(old))
        _drop_unfinished(backend.folder / "packed")
    _delete(backend, old)
    if not old:
        _say(f"No run in {backend.folder} is older than {given.older_than}.")
        return 0
    try:
        blobs = _orphans(backend)
        for blob in blobs:
            blob.unlink(missing_ok=True)
    except (RunNotFoundError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error).rstrip(".")
        _say(f"Deleted {_many(len(old), 'run')}; contents that only they had are still there: {why}.")
        return 1
    _say(f"Deleted {_many(len(old), 'run')} and {_many(len(blobs), 'content')} that nothing else refers to.")
    return 0


def _agreed(question: str) -> bool:
    """Ask where somebody sits at the terminal; a script goes on."""
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        return True
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _delete(backend: Any, old: list[str]) -> None:
    done = 0

    def left() -> str:
        return f"Deleted {done:,} of {_many(len(old), 'run')}; the others stay."

    with trouble("A run cannot be deleted", left):
        for run in _watched(old, "Deleting"):
            with contextlib.suppress(RunNotFoundError):
                # The first part last: the others are found by it.
                for path in reversed(backend.parts(run)):
                    path.unlink(missing_ok=True)
            done += 1


def _drop_packs(folder: Path, old: set[str]) -> None:
    """Remove the files that hold one of the runs."""
    for path in folder.glob("*.parquet"):
        try:
            mixed = not old.isdisjoint(Pack(path).sizes)
        except ValueError:  # it is somebody else's
            continue
        if mixed:
            path.unlink(missing_ok=True)


def _drop_unfinished(folder: Path) -> None:
    """Remove what a `compact` that was killed has left."""
    border = moment("1h") or 0.0
    for path in folder.glob(".*.part"):
        if path.stat().st_mtime < border:
            path.unlink(missing_ok=True)


def _is_old(backend: Any, run: str, border: float) -> bool:
    try:
        known = backend.summary(run)
        if known.live:
            return False
        # A file without a header and without events is somebody else's, whatever its name.
        at = began(backend, run) or (known.header and backend.parts(run)[0].stat().st_mtime)
        return bool(at) and at < border
    except (RunNotFoundError, OSError):  # somebody has deleted it, or it cannot be read
        return False


def _orphans(backend: Any) -> list[Path]:
    """Return the contents that no log refers to; fresh ones may belong to a line that is being written.

    Raises RunNotFoundError for a log that is there and cannot be read: nobody knows what it refers to.
    """
    used = set[str]()
    for run in _watched(list(backend.run_ids()), "Looking for contents"):
        try:
            for text in backend.lines(run, b'_ref":"'):
                used.update(ref.decode() for ref in _REF.findall(text))
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
    ids = list(reversed(list(backend.run_ids())))
    packed = packs(backend.folder, problems)
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
    if not ids:
        counts = f"No runs yet in {backend.folder}."
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
