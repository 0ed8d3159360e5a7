"""An SQLite file with the logs of many runs: one connection of this process, whatever the number of runs.

In WAL mode a commit is with the operating system when it returns: a killed process loses nothing that was
committed, and readers never wait for writers. A boundary event commits at once, together with the deltas
before it; deltas alone wait up to 50 ms for the writer thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..core.errors import InputError
from ..core.events import dumps

CHECK = 1.0
BUSY_MS = 5000

TABLES = """
CREATE TABLE IF NOT EXISTS mesh_runs (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, header TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mesh_events (
    run INTEGER NOT NULL REFERENCES mesh_runs, seq INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mesh_signs (run INTEGER PRIMARY KEY REFERENCES mesh_runs, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS mesh_blobs (ref TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""
_EVENT = "INSERT INTO mesh_events VALUES (?, ?, ?, CAST(? AS TEXT))"
_BLOB = "INSERT OR IGNORE INTO mesh_blobs VALUES (?, ?)"
_SIGN = "INSERT INTO mesh_signs VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET at = excluded.at"
_NO_DATABASE = "file is not a database"

Row = tuple[int, int, str, bytes]

_databases: weakref.WeakValueDictionary[Path, Database] = weakref.WeakValueDictionary()
_guard = threading.Lock()
_inherited: list[sqlite3.Connection] = []


def database(path: Path) -> Database:
    """Return this process's one connection to a file; nothing is opened before it is needed."""
    with _guard:
        found = _databases.get(path)
        if found is None:
            found = _databases[path] = Database(path)
        return found


class Place(NamedTuple):
    """Where a run is: its number, and the header that says who writes it."""

    number: int
    header: bytes


class TakenOver(Exception):
    """Another process writes this run now."""


class Database:
    """A file, and the one connection through which this process writes it; safe on any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._check_at = 0.0

    def begin(self, run_id: str, header: dict[str, Any]) -> Place:
        """Add a run and return its place.

        Raises InputError when it has a log already or the file is something else; OSError or sqlite3.Error
        when the disk does not cooperate.
        """
        with self._lock:
            try:
                connection = self._connected()
                connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
                line = dumps(header)
                row = connection.execute(
                    "INSERT INTO mesh_runs (run_id, header) VALUES (?, CAST(? AS TEXT))", (run_id, line)
                )
            except sqlite3.IntegrityError:
                raise InputError(f"Run {run_id!r} already has a log; a run is logged once.") from None
            except sqlite3.DatabaseError as error:
                if _NO_DATABASE in str(error):
                    raise InputError(f"{self.path} is not an SQLite database; name another file.") from None
                raise
            return Place(cast("int", row.lastrowid), line)

    def take_over(self, run_id: str, header: dict[str, Any], before: bytes) -> Place:
        """Make this process the writer of a run and return its place.

        Parameters: header, in the place of the one that was read as `before`.
        Raises InputError when another process did so since; OSError or sqlite3.Error as `begin` does.
        """
        with self._lock:
            connection = self._connected()
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            query = "UPDATE mesh_runs SET header = CAST(? AS TEXT)"
            query += " WHERE run_id = ? AND header = CAST(? AS TEXT)"
            line = dumps(header)
            if connection.execute(query, (line, run_id, before)).rowcount != 1:
                raise InputError(f"Run {run_id!r} is still running, or being resumed by another process.")
            found = connection.execute("SELECT id FROM mesh_runs WHERE run_id = ?", (run_id,)).fetchone()
            return Place(cast("int", found[0]), line)

    def sign(self, place: Place) -> None:
        """Say that the process of a run lives. Raises as `write` does."""
        with self._lock:
            connection = self._connected()
            connection.execute("PRAGMA busy_timeout=0")
            _require_own(connection, place)
            connection.execute(_SIGN, (place.number, time.time()))

    def keep(self, data: bytes) -> str:
        """Keep a large content and return its name. Raises OSError or sqlite3.Error."""
        ref = hashlib.sha256(data).hexdigest()
        self.write([], {ref: data}, BUSY_MS)
        return ref

    def write(
        self, rows: list[Row], blobs: dict[str, bytes], busy_ms: int, place: Place | None = None
    ) -> None:
        """Add events and contents in one transaction; all of them, or none.

        Parameters: busy_ms, how long to wait for another process that writes; place, of the run, when it is
        to be seen whether this process still writes it.
        Raises FileNotFoundError when the file was deleted, TakenOver when another process has gone on with
        the run, OSError or sqlite3.Error for other trouble.
        """
        with self._lock:
            connection = self._connected()
            connection.execute(f"PRAGMA busy_timeout={busy_ms}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                if place is not None:
                    _require_own(connection, place)
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


def reason_of(error: Exception) -> str:
    """Return in a few words what the disk or SQLite said."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _require_own(connection: sqlite3.Connection, place: Place) -> None:
    """Raise TakenOver when the header of a run is no longer the one that this process wrote."""
    query = "SELECT 1 FROM mesh_runs WHERE id = ? AND header = CAST(? AS TEXT)"
    if connection.execute(query, place).fetchone() is None:
        raise TakenOver


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
    for store in list(_databases.values()):
        store.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
