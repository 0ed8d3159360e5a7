"""Runs in `.mesh/`: one append-only file each, which survives the death of its process.

It works on NFS and with several kernels at once, because no file ever has two writers and nothing is locked.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core._named import named_options
from ..core.backend import RunLog, StoredRun
from ..core.errors import ConfigurationError, InputError, RunNotFoundError, shown
from ..core.events import ENDINGS, SCHEMA_VERSION, ExecutionEvent, decode
from ._begin import pack, unpack
from ._blobs import Blobs
from ._process import alive, identity, is_own, may_ask, resumed_elsewhere
from ._project import mesh_folder, prepare
from ._read import ends, header_of, matching, read
from ._writer import FileLog, is_open, lost_log

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_PART = re.compile(r"\.r[0-9]+$")


class FileBackend:
    """The store of runs in a project's `.mesh/` folder: the default of `graph.run`.

    Parameters: home, the project's root or a `.mesh` folder; None for MESH_HOME, else the nearest ancestor of
    the working directory with `.mesh`, `pyproject.toml` or `.git`, else the working directory.
    Nothing is created before the first run is logged.
    """

    @named_options
    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self._home = home

    def __repr__(self) -> str:
        return f"<FileBackend {os.fspath(self._home) if self._home is not None else '.mesh'!r}>"

    @property
    def folder(self) -> Path:
        """The `.mesh` folder. Raises OSError when it depends on a working directory that is gone."""
        return mesh_folder(self._home)

    def prepared(self, name: str) -> Path:
        """Return the path of a folder in `.mesh`, which is made with its explaining files. Raises OSError."""
        folder = self.folder
        prepare(folder)
        return folder / name

    def open(self, run_id: str, header: dict[str, Any]) -> RunLog:
        """Begin the log of a new run.

        Raises InputError for a run id that cannot be a file name or that has a log already. Trouble with the
        disk is not raised: the log that comes back says so in `problem`.
        """
        if not _RUN_ID.fullmatch(run_id) or _PART.search(run_id):
            raise InputError(
                f"{shown(run_id)} cannot be a run id: use letters, digits, '-', '_' and '.', and no '.r1' at"
                " the end."
            )
        record = {
            "schema": SCHEMA_VERSION,
            **header,
            "run_id": run_id,
            **identity(),
            "created": datetime.now(UTC).isoformat(),
        }
        try:
            folder = self.folder
            prepare(folder)
            blobs = Blobs(folder / "blobs")
            record = pack(record, blobs.put)
        except OSError as error:
            return lost_log(self._home, error)
        try:
            path = folder / "runs" / f"{run_id}.jsonl"
            return FileLog(path, record, blobs, f"{os.fspath(path)[:-6]}.r1.jsonl")
        except FileExistsError:
            raise InputError(f"Run {run_id!r} already has a log; a run is logged once.") from None

    def reopen(self, run_id: str, header: dict[str, Any], version: Any = None) -> RunLog:
        """Begin the next part of a run's log, `RUN.r1.jsonl`, `RUN.r2.jsonl` and so on: a file of its own, so
        that nothing is ever appended after a torn line, or to what another process writes.

        Parameters: version, how many parts there were when the run was read, None for any number.
        Raises RunNotFoundError, and InputError when the run still runs or another process resumes it, or has.
        """
        parts = self.parts(run_id)
        if version is not None and len(parts) != version:
            raise resumed_elsewhere(run_id)
        busy = InputError(f"Run {run_id!r} is still running, or being resumed by another process.")
        if self._live(parts[-1], exact=True)[0] and not _has_ended(parts[-1]):
            raise busy
        record = {"schema": SCHEMA_VERSION, **header, "run_id": run_id, "part": len(parts), **identity()}
        path, after = (f"{os.fspath(parts[0])[:-6]}.r{len(parts) + n}.jsonl" for n in (0, 1))
        record["created"] = datetime.now(UTC).isoformat()
        try:
            return FileLog(Path(path), record, self._blobs(parts[0]), after)
        except FileExistsError:
            raise busy from None

    def load(self, run_id: str) -> StoredRun:
        """Read a run, whatever state its log is in; `problems` tells what could not be read.

        Raises RunNotFoundError when there is no such log, with the nearest id that exists.
        """
        if not isinstance(run_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RunNotFoundError(run_id, self.run_ids())
        try:
            parts = self.parts(run_id)
            blobs = self._blobs(parts[0])
            live, note = self._live(parts[-1])
            header, events, problems = read(parts, blobs, live=live)
        except OSError as error:
            raise self._unread(run_id, error) from None
        header = unpack(header, blobs.get)
        ended = bool(events) and events[-1].type in ENDINGS
        if note and not ended:
            problems.append(note)
        return StoredRun(run_id, header, events, live and not ended, problems, len(parts))

    def run_ids(self) -> Iterator[str]:
        """Yield the ids of all runs, newest first; none where nothing was logged yet.

        Raises ConfigurationError when the folder is there and cannot be read.
        """
        try:
            with os.scandir(self.folder / "runs") as found:
                names = [entry.name for entry in found if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ConfigurationError(
                f"The log in {error.filename} cannot be read: {error.strerror}."
            ) from None
        for name in sorted(names, reverse=True):
            if name.endswith(".jsonl") and _RUN_ID.fullmatch(name[:-6]) and not _PART.search(name[:-6]):
                yield name[:-6]

    def summary(self, run_id: str) -> StoredRun:
        """Return a run with its first event and its ending only, without reading what lies between.

        Raises RunNotFoundError.
        """
        try:
            parts = self.parts(run_id)
            head, tail = ends(parts[0])
            if parts[1:]:
                tail = [line for part in ends(parts[-1]) for line in part]
            live, note = self._live(parts[-1])
        except OSError as error:
            raise self._unread(run_id, error) from None
        first = [event for event in map(_event, head[1:2]) if event]
        last = [event for event in map(_event, [*head[2:], *tail][-3:]) if event and event.type in ENDINGS]
        notes = [note] if note and not last else []
        header = (header_of(head[0]) if head else None) or {}
        return StoredRun(run_id, header, first + last, live and not last, notes)

    def lines(self, run: str | Path, *needles: bytes) -> Iterator[bytes]:
        """Yield the raw lines of a run, by id or by path, that hold one of the needles.

        Raises RunNotFoundError.
        """
        try:
            for path in [run] if isinstance(run, Path) else self.parts(run):
                yield from matching(path, needles)
        except OSError as error:
            raise self._unread(str(run), error) from None

    def blob(self, ref: str) -> bytes | None:
        """Return what a content_ref or request_ref names, None when it is not there."""
        return Blobs(self.folder / "blobs").get(ref)

    def _unread(self, run_id: str, error: OSError) -> RunNotFoundError:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return RunNotFoundError(run_id, self.run_ids())
        return RunNotFoundError(run_id, reason=error.strerror or type(error).__name__)

    def _path(self, run_id: str) -> Path:
        if not _RUN_ID.fullmatch(run_id):
            raise RunNotFoundError(run_id, self.run_ids())
        try:
            return self.folder / "runs" / f"{run_id}.jsonl"
        except OSError:
            raise RunNotFoundError(run_id) from None

    def parts(self, run_id: str) -> list[Path]:
        """Return the files of a run, oldest first: one, and one more for each time it was resumed.

        Raises RunNotFoundError.
        """
        parts = [self._path(run_id)]
        try:
            while (path := parts[0].with_name(f"{run_id}.r{len(parts)}.jsonl")).exists():
                parts.append(path)
            found = parts[0].exists()
        except OSError as error:
            raise self._unread(run_id, error) from None
        if not found:
            raise RunNotFoundError(run_id, self.run_ids())
        return parts

    @staticmethod
    def _blobs(path: Path) -> Blobs:
        return Blobs(path.parent.parent / "blobs")

    @staticmethod
    def _live(path: Path, exact: bool = False) -> tuple[bool, str | None]:
        """Say whether the process of a log lives; exact asks the clock of the disk, which may be another
        machine's, by making a file."""
        with open(path, "rb") as file:
            header = header_of(file.readline())
        if header is None:
            return False, None
        if is_own(header):
            return is_open(path), None
        now = _clock(path.parent) if exact and not may_ask(header) else None
        return alive(header, path.stat().st_mtime, now)


def _clock(folder: Path) -> float | None:
    """Return the time by the clock that stamps files here, None when none can be made."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def _has_ended(path: Path) -> bool:
    """Say whether the last line of a log is an ending."""
    head, tail = ends(path)
    lines = [line for line in (tail or head) if line.strip()]
    last = _event(lines[-1]) if lines else None
    return last is not None and last.type in ENDINGS


def _event(line: bytes) -> ExecutionEvent | None:
    try:
        return decode(line)
    except (ValueError, AttributeError):
        return None


plugin = FileBackend
