"""Runs in one SQLite file: the same log as `.mesh/`, for those who want one file, or SQL over it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from ..core._named import named_options
from ..core.backend import RunLog, StoredRun
from ..core.errors import InputError, RunNotFoundError, shown
from ..core.events import ENDINGS, SCHEMA_VERSION, ExecutionEvent, decode, loads
from ._begin import pack, unpack
from ._process import alive, identity, is_own, resumed_elsewhere
from ._project import mesh_folder, prepare
from ._sqlite import Database, database, reason_of
from ._sqlite_log import SQLiteLog, is_open
from ._writer import LostLog, lost_log, warn

MAX_PROBLEMS = 20


def _version(header: dict[str, Any]) -> list[Any]:
    """Return what changes when a process becomes the writer of a run."""
    return [header.get(name) for name in ("created", "host", "pid", "process_start")]


class SQLiteBackend:
    """A store of runs in an SQLite file, in WAL mode, with one connection for each process.

    Parameters: path, the file, made with the first run; None for `.mesh/runs.sqlite` of this project. It may
    hold other tables: ours are mesh_runs, mesh_events (run, seq, type, body as JSON), mesh_blobs and
    mesh_signs (when the process of a run last said that it lives).
    Several processes may use one file at once, on a local disk: WAL needs memory that they share. On NFS use
    the FileBackend.

    Raises InputError for a path that is a folder, and for ":memory:".
    """

    @named_options
    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        given = cast("Any", path)
        if given is not None and not isinstance(given, (str, os.PathLike)):
            raise InputError(f"SQLiteBackend takes the path of a file, not {shown(given)}.")
        if given == ":memory:":
            raise InputError("SQLiteBackend keeps runs in a file; use MemoryBackend() for runs in memory.")
        if path is not None and Path(path).expanduser().is_dir():
            raise InputError(f"{os.fspath(path)} is a folder; name a file in it, such as 'runs.sqlite'.")
        self._given = path
        self._store: Database | None = None

    def __repr__(self) -> str:
        name = os.fspath(self._given) if self._given is not None else ".mesh/runs.sqlite"
        return f"<SQLiteBackend {name!r}>"

    @property
    def path(self) -> Path:
        """The file. Raises OSError when it depends on a working directory that is gone."""
        if self._given is None:
            return mesh_folder(None) / "runs.sqlite"
        return Path(self._given).expanduser().absolute()

    def open(self, run_id: str, header: dict[str, Any]) -> RunLog:
        """Begin the log of a new run.

        Raises InputError for a run that has a log already, for an id that is not text, and for a file that is
        no SQLite database. Trouble with the disk is not raised: the log that comes back says so in `problem`.
        """
        name = cast("Any", run_id)
        if not isinstance(name, str) or not name or len(name) > 200 or "\0" in name:
            raise InputError(f"{shown(name)} cannot be a run id: use text of at most 200 characters.")
        created = datetime.now(UTC).isoformat()
        record = {"schema": SCHEMA_VERSION, **header, "run_id": run_id, **identity(), "created": created}
        try:
            if self._given is None:
                prepare(mesh_folder(None))
            path = self.path
        except OSError as error:
            return lost_log(self._given, error)
        self._store = database(path)
        try:
            place = self._store.begin(run_id, pack(record, self._store.keep))
        except (OSError, sqlite3.Error) as error:
            reason = reason_of(error)
            text = f"The log {path} cannot be written ({reason}); the run goes on and is kept in memory only."
            warn(f"{path}: {reason}", text)
            return LostLog(text)
        return SQLiteLog(self._store, run_id, place)

    def reopen(self, run_id: str, header: dict[str, Any], version: Any = None) -> RunLog:
        """Go on with the log of a run.

        Parameters: version, when its writer began, None for any time.
        Raises RunNotFoundError, and InputError when the run still runs or another process resumes it, or has
        since it was read. Trouble with the disk is not raised, as for `open`.
        """
        stored = self.load(run_id)
        if stored.live:
            raise InputError(f"Run {run_id!r} is still running, or being resumed by another process.")
        with self._reading() as connection:
            _, raw = self._raw(connection, run_id)
        before = _object(raw) or {}
        if version is not None and _version(before) != version:
            raise resumed_elsewhere(run_id)
        record = {**before, **header, **identity(), "created": datetime.now(UTC).isoformat()}
        try:
            self._store = database(self.path)
            place = self._store.take_over(run_id, record, raw)
        except (OSError, sqlite3.Error) as error:
            return LostLog(
                f"The log {self.path} cannot be written ({reason_of(error)}); the run goes on and is kept in"
                " memory only."
            )
        return SQLiteLog(self._store, run_id, place)

    def load(self, run_id: str) -> StoredRun:
        """Read a run, whatever state its log is in; `problems` tells what could not be read.

        Raises RunNotFoundError when there is no such run, with the nearest id that exists, and InputError
        for a file that is no SQLite database.
        """
        with self._reading() as connection:
            number, header = self._find(connection, run_id)
            header = unpack(header, lambda ref: _blob(connection, ref))
            rows = _rows(
                connection, "SELECT seq, body FROM mesh_events WHERE run = ? ORDER BY seq", (number,)
            )
            events, problems = _decoded(rows)
            for event in events:
                _restore(event, connection, problems)
            sign = _sign(connection, number)
        live, notes = self._state(run_id, header, events, sign)
        del problems[MAX_PROBLEMS:]
        return StoredRun(run_id, header, events, live, [*problems, *notes], _version(header))

    def run_ids(self) -> Iterator[str]:
        """Yield the ids of all runs, newest first. Raises InputError for a file that is no database."""
        with self._reading() as connection:
            found = _rows(connection, "SELECT run_id FROM mesh_runs ORDER BY id DESC", ())
        yield from (row[0].decode("utf-8", "replace") for row in found)

    def summary(self, run_id: str) -> StoredRun:
        """Return a run with its first event and its ending only. Raises as `load` does."""
        with self._reading() as connection:
            number, header = self._find(connection, run_id)
            ends = "SELECT min(seq) FROM mesh_events WHERE run = :run UNION SELECT max(seq) FROM mesh_events"
            query = f"SELECT seq, body FROM mesh_events WHERE run = :run AND seq IN ({ends} WHERE run = :run)"
            events, _ = _decoded(_rows(connection, query + " ORDER BY seq", {"run": number}))
            sign = _sign(connection, number)
        live, notes = self._state(run_id, header, events, sign)
        shown_events = events[:1] + [event for event in events[1:] if event.type in ENDINGS]
        return StoredRun(run_id, header, shown_events, live, notes)

    def blob(self, ref: str) -> bytes | None:
        """Return what a content_ref or request_ref names, None when it is not there."""
        with self._reading() as connection:
            return _blob(connection, ref)

    def _find(self, connection: sqlite3.Connection | None, run_id: Any) -> tuple[int, dict[str, Any]]:
        number, header = self._raw(connection, run_id)
        return number, _object(header) or {}

    def _raw(self, connection: sqlite3.Connection | None, run_id: Any) -> tuple[int, bytes]:
        if isinstance(run_id, str):
            query = "SELECT id, header FROM mesh_runs WHERE run_id = ?"
            for number, header in _rows(connection, query, (run_id.encode("utf-8", "replace").decode(),)):
                return number, header
        known = [row[0].decode() for row in _rows(connection, "SELECT run_id FROM mesh_runs", ())]
        raise RunNotFoundError(run_id, known)

    def _state(
        self, run_id: str, header: dict[str, Any], events: list[ExecutionEvent], sign: float
    ) -> tuple[bool, list[str]]:
        """Return whether the run's process is still at it, and a note when that is a guess."""
        if events and events[-1].type in ENDINGS:
            return False, []
        if is_own(header):
            return is_open(self.path, run_id), []
        last = events[-1].timestamp if events else _created(header)
        live, note = alive(header, max(last, sign))
        return live, [note] if note else []

    @contextlib.contextmanager
    def _reading(self) -> Generator[sqlite3.Connection | None]:
        """Open the file for reading, beside whoever writes it; None when there is none."""
        try:
            path = self.path
        except OSError:
            path = None
        if path is None or not path.exists():
            yield None
            return
        connection = _reader(path)
        try:
            yield connection
        finally:
            connection.close()


def _reader(path: Path) -> sqlite3.Connection:
    # A folder that is not writable has no place for the file that readers share; nobody writes there either.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=5)
        connection.text_factory = bytes
        try:
            connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            continue
        except sqlite3.DatabaseError:
            connection.close()
            raise InputError(f"{path} is not an SQLite database.") from None
        return connection
    raise InputError(f"{path} cannot be read by SQLite.")


def _rows(connection: sqlite3.Connection | None, query: str, values: Any) -> list[Any]:
    """Return all rows; none of a database that has no log in it yet."""
    if connection is None:
        return []
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise


def _decoded(rows: list[Any]) -> tuple[list[ExecutionEvent], list[str]]:
    """Return the events, and what could not be read; a row may have been edited by anyone."""
    events, problems, last, seen = list[ExecutionEvent](), list[str](), -1, 0
    for seq, body in rows:
        if not isinstance(seq, int):
            problems.append("An event has no number and was left out.")
            continue
        last, seen = seq, seen + 1
        record = _object(body) or {}
        if "type" not in record and record.get("seq") == seq:
            continue
        stamped = isinstance(record.get("timestamp"), (int, float))
        if not stamped or not isinstance(record.get("metadata", {}), dict):
            problems.append(f"Event {seq} cannot be read and was left out.")
            continue
        try:
            events.append(decode({**record, "seq": seq}))
        except ValueError:
            problems.append(f"Event {seq} cannot be read and was left out.")
    if last + 1 > seen:
        problems.append(f"{last + 1 - seen} of {last + 1} events are missing from the log.")
    return events, problems


def _object(body: Any) -> dict[str, Any] | None:
    try:
        record = loads(body)
    except (ValueError, TypeError):
        return None
    return cast("dict[str, Any]", record) if isinstance(record, dict) else None


def _restore(event: ExecutionEvent, connection: sqlite3.Connection | None, problems: list[str]) -> None:
    """Put a file's content back where readers of a live run find it."""
    ref = event.metadata.get("content_ref")
    if ref is None or "content" in event.metadata:
        return
    data = _blob(connection, ref)
    if data is None:
        name = str(event.metadata.get("name"))[:80]
        problems.append(f"The content of file {name!r} is missing from the log.")
    else:
        event.metadata["content"] = base64.b64encode(data).decode("ascii")


def _blob(connection: sqlite3.Connection | None, ref: object) -> bytes | None:
    if not isinstance(ref, str):
        return None
    for (data,) in _rows(connection, "SELECT data FROM mesh_blobs WHERE ref = ?", (ref,)):
        if isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == ref:
            return data
    return None


def _sign(connection: sqlite3.Connection | None, number: int) -> float:
    """Return when the process of a run last said that it lives."""
    rows = _rows(connection, "SELECT at FROM mesh_signs WHERE run = ?", (number,))
    return float(rows[0][0]) if rows and isinstance(rows[0][0], (int, float)) else 0.0


def _created(header: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(header.get("created"))).timestamp()
    except ValueError:
        return 0.0


plugin = SQLiteBackend
