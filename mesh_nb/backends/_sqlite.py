"""An SQLite file with the logs of many runs: one connection of this process, whatever the number of runs.

In WAL mode a commit is with the operating system when it returns: a killed process loses nothing that was
committed, and readers never wait for writers. A boundary event commits at once, together with the deltas
before it; deltas alone wait up to 50 ms for the writer thread.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import hashlib
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import Any, cast

from ..core.errors import InputError
from ..core.events import DELTAS, EventType, ExecutionEvent, dumps, encode
from ._writer import large_file, soon, warn

RETRY = 1.0
CHECK = 1.0
BUSY_MS = 5000
KEEP_BYTES = 64 * 1024 * 1024

TABLES = """
CREATE TABLE IF NOT EXISTS mesh_runs (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, header TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mesh_events (
    run INTEGER NOT NULL REFERENCES mesh_runs, seq INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mesh_blobs (ref TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""
_EVENT = "INSERT INTO mesh_events VALUES (?, ?, ?, CAST(? AS TEXT))"
_BLOB = "INSERT OR IGNORE INTO mesh_blobs VALUES (?, ?)"
_NO_DATABASE = "file is not a database"

Row = tuple[int, int, str, bytes]

_databases: weakref.WeakValueDictionary[Path, Database] = weakref.WeakValueDictionary()
_open_logs: weakref.WeakSet[SQLiteLog] = weakref.WeakSet()
_guard = threading.Lock()
_inherited: list[sqlite3.Connection] = []


def database(path: Path) -> Database:
    """Return this process's one connection to a file; nothing is opened before it is needed."""
    with _guard:
        found = _databases.get(path)
        if found is None:
            found = _databases[path] = Database(path)
        return found


class Database:
    """A file, and the one connection through which this process writes it; safe on any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._check_at = 0.0

    def begin(self, run_id: str, header: dict[str, Any]) -> int:
        """Add a run and return its number.

        Raises InputError when it has a log already or the file is something else; OSError or sqlite3.Error
        when the disk does not cooperate.
        """
        with self._lock:
            try:
                connection = self._connected()
                connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
                row = connection.execute(
                    "INSERT INTO mesh_runs (run_id, header) VALUES (?, CAST(? AS TEXT))",
                    (run_id, dumps(header)),
                )
            except sqlite3.IntegrityError:
                raise InputError(f"Run {run_id!r} already has a log; a run is logged once.") from None
            except sqlite3.DatabaseError as error:
                if _NO_DATABASE in str(error):
                    raise InputError(f"{self.path} is not an SQLite database; name another file.") from None
                raise
            return cast("int", row.lastrowid)

    def take_over(self, run_id: str, header: dict[str, Any], before: bytes) -> int:
        """Make this process the writer of a run and return its number.

        Parameters: header, in the place of the one that was read as `before`.
        Raises InputError when another process did so since; OSError or sqlite3.Error as `begin` does.
        """
        with self._lock:
            connection = self._connected()
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            query = "UPDATE mesh_runs SET header = CAST(? AS TEXT)"
            query += " WHERE run_id = ? AND header = CAST(? AS TEXT)"
            if connection.execute(query, (dumps(header), run_id, before)).rowcount != 1:
                raise InputError(f"Run {run_id!r} is still running, or being resumed by another process.")
            found = connection.execute("SELECT id FROM mesh_runs WHERE run_id = ?", (run_id,)).fetchone()
            return cast("int", found[0])

    def keep(self, data: bytes) -> str:
        """Keep a large content and return its name. Raises OSError or sqlite3.Error."""
        ref = hashlib.sha256(data).hexdigest()
        self.write([], {ref: data}, BUSY_MS)
        return ref

    def write(self, rows: list[Row], blobs: dict[str, bytes], busy_ms: int) -> None:
        """Add events and contents in one transaction; all of them, or none.

        Parameters: busy_ms, how long to wait for another process that writes.
        Raises FileNotFoundError when the file was deleted, OSError or sqlite3.Error for other trouble.
        """
        with self._lock:
            connection = self._connected()
            connection.execute(f"PRAGMA busy_timeout={busy_ms}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                if blobs:
                    connection.executemany(_BLOB, blobs.items())
                connection.executemany(_EVENT, rows)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def _connected(self) -> sqlite3.Connection:
        now = time.monotonic()
        if self._connection is not None:
            if now < self._check_at:
                return self._connection
            self._check_at = now + CHECK
            if _identity(self.path) == self._file:
                return self._connection
            self._connection.close()
            self._connection = None
            raise FileNotFoundError(2, "the file was deleted")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file, self._check_at = connection, _identity(self.path), now + CHECK
        return connection

    def forget(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        self._lock = threading.Lock()
        if self._connection is not None:
            # Closing it here would drop the parent's locks; kept, so that it is never closed here.
            _inherited.append(self._connection)
            self._connection = None

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()


class SQLiteLog:
    """One run's events in the file; see `core.backend.RunLog`."""

    def __init__(self, store: Database, run_id: str, number: int) -> None:
        self.store, self.run_id, self._number = store, run_id, number
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._blobs: dict[str, bytes] = {}
        self._size = 0
        self._waiting = self._closed = False
        self._retry_at = 0.0
        self._problem: str | None = None
        _open_logs.add(self)

    @property
    def problem(self) -> str | None:
        """One sentence while events are not on disk, else None."""
        return self._problem

    def append(self, event: ExecutionEvent) -> None:
        """Keep an event; a boundary event is committed when this returns."""
        delta = event.type in DELTAS
        with self._lock:
            if self._closed:
                return
            body = encode(event) if delta else self._body(event)
            self._rows.append((self._number, event.seq, str(event.type), body))
            self._size += len(body)
            if not delta:
                self._write(BUSY_MS)
                return
            if self._waiting:
                return
            self._waiting = True
        soon(self)

    def flush(self) -> None:
        """Commit what is buffered."""
        with self._lock:
            self._waiting = False
            if not self._closed:
                self._write(BUSY_MS)

    def close(self) -> None:
        """Commit what is buffered. Idempotent."""
        with self._lock:
            if not self._closed:
                self._retry_at = 0.0
                self._write(BUSY_MS)
                self._closed = True
                self._drop()
                _open_logs.discard(self)

    def forget(self) -> None:
        """Leave the log to the process that this one was forked from."""
        self._lock = threading.Lock()
        self._closed = True
        self._drop()

    def _body(self, event: ExecutionEvent) -> bytes:
        """Return an event as JSON; large contents go to the table of blobs."""
        metadata = event.metadata
        if event.type == EventType.CUSTOM_DATA and metadata.get("transient") is True:
            return b'{"seq":%d}' % event.seq
        if event.type == EventType.FILE:
            key, ref_key, data = "content", "content_ref", large_file(metadata)
        elif event.type == EventType.MODEL_CALL_START and "request" in metadata:
            key, ref_key, data = "request", "request_ref", dumps(metadata["request"])
        else:
            return encode(event)
        if data is None:
            return encode(event)
        ref = hashlib.sha256(data).hexdigest()
        self._blobs[ref] = data
        self._size += len(data)
        rest = {k: v for k, v in metadata.items() if k != key}
        return encode(dataclasses.replace(event, metadata={**rest, ref_key: ref}))

    def _write(self, busy_ms: int) -> None:
        if not self._rows:
            return
        now = time.monotonic()
        if self._problem and now < self._retry_at:
            return
        try:
            # While another program holds the file, a run is made to wait for it once and not at every event.
            self.store.write(self._rows, self._blobs, 0 if self._problem and self._retry_at else busy_ms)
        except (FileNotFoundError, sqlite3.ProgrammingError) as error:
            self._give_up(error)
        except (OSError, sqlite3.Error) as error:
            self._retry_at = now + RETRY
            self._say(error, "is kept in memory until it can")
            if self._size > KEEP_BYTES:
                self._give_up(error)
        else:
            self._problem = None
            self._drop()

    def _give_up(self, error: Exception) -> None:
        self._say(error, "is kept in memory only")
        self._closed = True
        self._drop()
        _open_logs.discard(self)

    def _drop(self) -> None:
        self._rows, self._blobs, self._size = [], {}, 0

    def _say(self, error: Exception, what: str) -> None:
        reason = reason_of(error)
        path = self.store.path
        self._problem = f"The log {path} cannot be written ({reason}); the run goes on and {what}."
        warn(f"{path}: {reason}", self._problem)


def reason_of(error: Exception) -> str:
    """Return in a few words what the disk or SQLite said."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_open(path: Path, run_id: str) -> bool:
    """Say whether this process is writing that run."""
    return any(log.run_id == run_id and log.store.path == path for log in list(_open_logs))


def flush_all() -> None:
    """Commit what waits, when the process ends."""
    for log in list(_open_logs):
        log.flush()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare(connection: sqlite3.Connection) -> None:
    """Set the mode and make the tables. SQLite does not wait by itself when two processes begin at once."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(TABLES)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _after_fork() -> None:
    global _guard
    _guard = threading.Lock()
    for log in list(_open_logs):
        log.forget()
    _open_logs.clear()
    for store in list(_databases.values()):
        store.forget()


atexit.register(flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
