"""The log of one run in an SQLite file."""

from __future__ import annotations

import atexit
import dataclasses
import hashlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path

from ..core.events import DELTAS, EventType, ExecutionEvent, dumps, encode
from ._process import BEGINNINGS, resumed_elsewhere
from ._sqlite import BUSY_MS, Database, Place, Row, TakenOver, reason_of
from ._writer import large_file, leave, soon, warn, watch

RETRY = 1.0
CHECK = 1.0
KEEP_BYTES = 64 * 1024 * 1024

_logger = logging.getLogger("mesh_nb")
_open_logs: weakref.WeakSet[SQLiteLog] = weakref.WeakSet()


class SQLiteLog:
    """One run's events in the file; see `core.backend.RunLog`."""

    def __init__(self, store: Database, run_id: str, place: Place) -> None:
        self.store, self.run_id, self._place = store, run_id, place
        self._check_at = time.monotonic() + CHECK
        self._lost = self._told = False
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._blobs: dict[str, bytes] = {}
        self._size = 0
        self._waiting = self._closed = False
        self._retry_at = 0.0
        self._problem: str | None = None
        _open_logs.add(self)
        watch(self)

    @property
    def problem(self) -> str | None:
        """One sentence while events are not on disk, else None."""
        return self._problem

    def append(self, event: ExecutionEvent) -> None:
        """Keep an event; a boundary event is committed when this returns."""
        delta = event.type in DELTAS
        with self._lock:
            if self._closed:
                self._stop_if_lost(event)
                return
            body = encode(event) if delta else self._body(event)
            self._rows.append((self._place.number, event.seq, str(event.type), body))
            self._size += len(body)
            if not delta:
                self._write(BUSY_MS)
                self._stop_if_lost(event)
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

    def beat(self) -> None:
        """Say that this process lives, however long the run waits."""
        with self._lock:
            if self._closed:
                return
            try:
                self.store.sign(self._place)
            except TakenOver:
                self._leave_to_another()
            except (FileNotFoundError, sqlite3.ProgrammingError) as error:
                self._give_up(error)
            except (OSError, sqlite3.Error) as error:
                # That events cannot be written is told when there is one.
                _logger.debug("%s: %s", self.store.path, error)

    def close(self) -> None:
        """Commit what is buffered. Idempotent."""
        with self._lock:
            if not self._closed:
                self._retry_at = 0.0
                self._write(BUSY_MS)
                self._release()

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
        # While another program holds the file, a run is made to wait for it once and not at every event.
        busy_ms = 0 if self._problem and self._retry_at else busy_ms
        place = None
        if now >= self._check_at:
            place, self._check_at = self._place, now + CHECK
        try:
            try:
                self.store.write(self._rows, self._blobs, busy_ms, place)
            except sqlite3.IntegrityError:
                # Somebody has written these: if that is the run's writer now, this process is not.
                self.store.write(self._rows, self._blobs, busy_ms, self._place)
        except TakenOver:
            self._leave_to_another()
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
        self._release()

    def _leave_to_another(self) -> None:
        self._lost = True
        self._problem = str(resumed_elsewhere(self.run_id))
        self._release()

    def _stop_if_lost(self, event: ExecutionEvent) -> None:
        """Raise InputError, once and before anything begins, when another process has gone on with it."""
        if self._lost and (not self._told or event.type in BEGINNINGS):
            self._told = True
            raise resumed_elsewhere(self.run_id)

    def _release(self) -> None:
        self._closed = True
        self._drop()
        _open_logs.discard(self)
        leave(self)

    def _drop(self) -> None:
        self._rows, self._blobs, self._size = [], {}, 0

    def _say(self, error: Exception, what: str) -> None:
        reason = reason_of(error)
        path = self.store.path
        self._problem = f"The log {path} cannot be written ({reason}); the run goes on and {what}."
        warn(f"{path}: {reason}", self._problem)


def is_open(path: Path, run_id: str) -> bool:
    """Say whether this process is writing that run."""
    return any(log.run_id == run_id and log.store.path == path for log in list(_open_logs))


def flush_all() -> None:
    """Commit what waits, when the process ends."""
    for log in list(_open_logs):
        log.flush()


def _after_fork() -> None:
    for log in list(_open_logs):
        log.forget()
    _open_logs.clear()


atexit.register(flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
