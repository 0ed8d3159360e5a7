"""The log of one run on disk, and the one thread that writes what may wait, and says that the process lives.

A boundary event is with the operating system when `append` returns, and so is every delta before it. Deltas
alone wait up to 50 ms for the thread: a timer on the event loop would die when user code blocks the loop.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import contextlib
import dataclasses
import logging
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Protocol

from ..core.events import DELTAS, EventType, ExecutionEvent, dumps, encode
from ._blobs import Blobs
from ._process import BEAT_SECONDS, BEGINNINGS, resumed_elsewhere

INLINE_BYTES = 32 * 1024
INTERVAL = 0.05
RETRY = 1.0
CHECK = 1.0
KEEP_BYTES = 64 * 1024 * 1024
MAX_OPEN = 200

_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_logger = logging.getLogger("mesh_nb")
_open_logs: weakref.WeakSet[FileLog] = weakref.WeakSet()
_warned: set[str] = set()


class Waiting(Protocol):
    """A log that is open."""

    def flush(self) -> None:
        """Write the deltas that wait."""
        ...

    def beat(self) -> None:
        """Say that the process lives."""
        ...


class _Writer:
    """One daemon thread for all logs of the process; it sleeps while nothing waits and no log is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[Waiting] = []
        self._open: weakref.WeakSet[Waiting] = weakref.WeakSet()
        self._beat_at = 0.0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def soon(self, log: Waiting) -> None:
        """Have this log written within the interval."""
        with self._lock:
            self._due.append(log)
            self._wake.set()
            self._run()

    def watch(self, log: Waiting) -> None:
        """Let this log give a sign every `BEAT_SECONDS` until it is left."""
        with self._lock:
            due = time.monotonic() + BEAT_SECONDS
            if not self._open or self._beat_at > due:
                self._beat_at = due
                self._wake.set()
            self._open.add(log)
            self._run()

    def leave(self, log: Waiting) -> None:
        """Let this log give no more signs."""
        with self._lock:
            self._open.discard(log)

    def _run(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mesh_nb log writer", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            if self._wake.wait(self._until_beat()):
                time.sleep(INTERVAL)
            with self._lock:
                due, self._due = self._due, []
                self._wake.clear()
                beating = list(self._open) if time.monotonic() >= self._beat_at else []
                if beating:
                    self._beat_at = time.monotonic() + BEAT_SECONDS
            for log in due:
                log.flush()
            for log in beating:
                log.beat()

    def _until_beat(self) -> float | None:
        with self._lock:
            return max(self._beat_at - time.monotonic(), 0.0) if self._open else None


_writer = _Writer()


def soon(log: Waiting) -> None:
    """Have this log written by the one thread, within the interval."""
    _writer.soon(log)


def watch(log: Waiting) -> None:
    """Let this log give a sign of life now and then, until it is left."""
    _writer.watch(log)


def leave(log: Waiting) -> None:
    """Let this log give no more signs."""
    _writer.leave(log)


class FileLog:
    """One run's file: created here and nowhere else, and only ever appended to.

    Parameters: path, which must not exist; header, the first line; blobs, where large contents go; after, the
    file in which another process goes on with the run: once it exists, nothing is written here.
    Raises FileExistsError when the file exists. Any other trouble with the disk is told by `problem`.
    """

    def __init__(self, path: Path, header: dict[str, Any], blobs: Blobs, after: str) -> None:
        self.path, self._blobs, self._after = path, blobs, after
        self._run_id = str(header.get("run_id"))
        self._lost = self._told = False
        self._lock = threading.Lock()
        self._buffer = bytearray(dumps(header) + b"\n")
        self._waiting = False
        self._closed = False
        self._retry_at, self._check_at = 0.0, time.monotonic() + CHECK
        self._problem: str | None = None
        self._fd: int | None = None
        try:
            fd = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            raise
        except OSError as error:
            self._give_up(error)
            return
        if len(_open_logs) < MAX_OPEN:
            self._fd = fd
        else:
            os.close(fd)
        _open_logs.add(self)
        self.flush()
        watch(self)

    @property
    def problem(self) -> str | None:
        """One sentence while events are not on disk, else None."""
        return self._problem

    def append(self, event: ExecutionEvent) -> None:
        """Keep an event; see `core.backend.RunLog`."""
        if event.type in DELTAS:
            line = encode(event)
            with self._lock:
                if self._closed:
                    self._stop_if_lost(event)
                    return
                self._buffer += line
                self._buffer += b"\n"
                if self._waiting:
                    return
                self._waiting = True
            soon(self)
            return
        line = self._line(event)
        with self._lock:
            if not self._closed:
                self._buffer += line
                self._buffer += b"\n"
                self._write()
            self._stop_if_lost(event)

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        with self._lock:
            self._waiting = False
            if not self._closed:
                self._write()

    def beat(self) -> None:
        """Renew the file's time: this process lives, however long the run waits."""
        with self._lock:
            if self._closed:
                return
            self._look_after()
            # A file system may refuse it; that lines cannot be written is told when there is one.
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def close(self) -> None:
        """Write what is buffered and release the file. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._retry_at = 0.0
            self._write()
            if self._closed:
                return
            self._closed = True
            self._buffer.clear()
            if self._fd is not None:
                try:
                    _require(self._fd)
                except FileNotFoundError as error:
                    self._give_up(error)
                    return
                os.close(self._fd)
                self._fd = None
            _open_logs.discard(self)
            leave(self)

    def forget(self) -> None:
        """Leave the file to the process that this one was forked from."""
        self._lock = threading.Lock()
        self._closed = True
        self._buffer.clear()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _line(self, event: ExecutionEvent) -> bytes:
        if event.type == EventType.CUSTOM_DATA and event.metadata.get("transient") is True:
            return b'{"seq":%d}' % event.seq
        if event.type == EventType.FILE:
            event = self._without(event, "content", "content_ref", large_file(event.metadata))
        elif event.type == EventType.MODEL_CALL_START and "request" in event.metadata:
            request = dumps(event.metadata["request"])
            event = self._without(event, "request", "request_ref", request)
        return encode(event)

    def _without(self, event: ExecutionEvent, key: str, ref_key: str, data: bytes | None) -> ExecutionEvent:
        """Return the event with `key` as a blob, for the log only; readers keep the content."""
        if data is None or self._closed:
            return event
        try:
            ref = self._blobs.put(data)
        except OSError as error:
            self._trouble(error)
            return event
        metadata = {k: v for k, v in event.metadata.items() if k != key}
        return dataclasses.replace(event, metadata={**metadata, ref_key: ref})

    def _write(self) -> None:
        if not self._buffer:
            return
        now = time.monotonic()
        if self._problem and now < self._retry_at:
            return
        fd, opened = self._fd, None
        try:
            if fd is None:
                fd = opened = os.open(self.path, _APPEND)
            elif now >= self._check_at:
                self._check_at = now + CHECK
                _require(fd)
                self._look_after()
                if self._closed:
                    return
            while self._buffer:
                del self._buffer[: os.write(fd, self._buffer)]
            self._problem = None
        except FileNotFoundError as error:
            self._give_up(error)
        except OSError as error:
            self._trouble(error)
            if len(self._buffer) > KEEP_BYTES:
                self._give_up(error)
        finally:
            # Beyond MAX_OPEN runs at once the file is opened for each write.
            if opened is not None:
                os.close(opened)

    def _look_after(self) -> None:
        """Write no more once another process has gone on with the run: it has taken this one for dead."""
        if os.path.exists(self._after):
            self._lost = True
            self._problem = str(resumed_elsewhere(self._run_id))
            self._release()

    def _stop_if_lost(self, event: ExecutionEvent) -> None:
        """Raise InputError, once and before anything begins, when another process has gone on with it."""
        if self._lost and (not self._told or event.type in BEGINNINGS):
            self._told = True
            raise resumed_elsewhere(self._run_id)

    def _trouble(self, error: OSError) -> None:
        self._retry_at = time.monotonic() + RETRY
        self._say(error, "is kept in memory until it can")

    def _give_up(self, error: OSError) -> None:
        self._say(error, "is kept in memory only")
        self._release()

    def _release(self) -> None:
        self._closed = True
        self._buffer.clear()
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
        _open_logs.discard(self)
        leave(self)

    def _say(self, error: OSError, what: str) -> None:
        reason = error.strerror or type(error).__name__
        self._problem = f"The log {self.path} cannot be written ({reason}); the run goes on and {what}."
        warn(f"{self.path.parent}: {reason}", self._problem)


def _require(fd: int) -> None:
    """Raise FileNotFoundError when the file behind a descriptor was deleted."""
    if os.fstat(fd).st_nlink == 0:
        raise FileNotFoundError(2, "the file was deleted")


class LostLog:
    """The log of a run that has nowhere to go; `problem` says why."""

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    def append(self, event: ExecutionEvent) -> None:
        """Do nothing: the run keeps its events in memory."""

    def close(self) -> None:
        """Do nothing."""


def lost_log(home: object, error: OSError) -> LostLog:
    """Return a log that keeps nothing, and say so once."""
    reason = error.strerror or type(error).__name__
    where = error.filename or home or "the working directory"
    log = LostLog(
        f"The log in {where} cannot be written ({reason}); the run goes on and is kept in memory only."
    )
    warn(f"{where}: {reason}", log.problem or "")
    return log


def warn(what: str, text: str) -> None:
    """Log a warning, once for each `what`."""
    if what not in _warned:
        _warned.add(what)
        _logger.warning("%s", text)


def large_file(metadata: dict[str, Any]) -> bytes | None:
    """Return a file's bytes when they are too many for a line."""
    content = metadata.get("content")
    if isinstance(content, (bytes, bytearray)):
        return bytes(content) if len(content) > INLINE_BYTES else None
    if not isinstance(content, str) or len(content) * 3 // 4 <= INLINE_BYTES:
        return None
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return None


def is_open(path: Path) -> bool:
    """Say whether this process is writing that log."""
    return any(log.path == path for log in list(_open_logs))


def _flush_all() -> None:
    for log in list(_open_logs):
        log.flush()


def _after_fork() -> None:
    global _writer
    _writer = _Writer()
    for log in list(_open_logs):
        log.forget()
    _open_logs.clear()


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
