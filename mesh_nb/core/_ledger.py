"""What the calls of this project's runs cost, from the log as it grows: limits over many runs count by it."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from . import plugins, prices
from .errors import RunNotFoundError
from .events import loads
from .origin import IMPORTED

REFRESH = 1.0
"""Seconds for which what was read counts as fresh: so late is seen what other kernels spend."""
NEAR = 0.05
"""The same where a limit may be near."""

_PART = re.compile(r"(\.r[0-9]+)?\.jsonl$")
_START, _END = b'"held_usd"', b'"response_metadata"'
_AGAIN = ("reused", "replayed", "cached")


class _File:
    """One file of the log, read up to `read`: its notebook, (time, US dollars) of its calls, and what calls
    that another process has under way may cost."""

    __slots__ = ("calls", "notebook", "open", "own", "read", "run_id")

    def __init__(self, name: str) -> None:
        self.run_id = _PART.sub("", name)
        self.read = 0
        self.notebook = ""
        self.own = False
        self.calls: list[tuple[float, float]] = []
        self.open: dict[Any, float] = {}


class Ledger:
    """What was spent, run by run. Reading is safe on any thread."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._folder: Path | None = None
        self._since = float("inf")
        self._read_at = 0.0
        self._lock = threading.Lock()
        self._own: dict[str, list[tuple[float, float]]] = {}
        self.problem: str | None = None

    def add(self, run_id: str, usd: float) -> None:
        """Count a call of this process, before the log has it or where no log will."""
        with self._lock:
            # A clock that is set back must not take a call out of its session.
            self._own.setdefault(run_id, []).append((max(time.time(), IMPORTED), usd))

    def refresh(self, since: float, age: float | None = None) -> None:
        """Read what was written since that time and is not known yet. It blocks: a first time reads a lot.

        Parameters: age, seconds for which what was read counts as fresh, None for REFRESH. `problem` says
        afterwards why the log could not be read, None when it could.
        """
        with self._lock:
            known = REFRESH if age is None else min(age, REFRESH)
            if since >= self._since and time.monotonic() - self._read_at < known:
                return
            try:
                self.problem = None
                store: Any = plugins.find("backend", "file")()
                folder: Path = store.folder / "runs"
                if folder != self._folder:
                    self._files, self._folder = {}, folder
                with os.scandir(folder) as found:
                    grown = [e for e in found if e.name.endswith(".jsonl") and e.stat().st_mtime >= since]
                for entry in grown:
                    self._take(Path(entry.path), entry.stat().st_size)
                self._close(store)
            except (FileNotFoundError, NotADirectoryError):
                pass  # no log yet
            except OSError as error:
                self.problem = f"{error.filename} cannot be read: {error.strerror}"
            self._since, self._read_at = min(since, self._since), time.monotonic()

    def _take(self, path: Path, size: int) -> None:
        known = self._files.get(path.name)
        if known is None or known.read > size:
            known = self._files[path.name] = _File(path.name)
        if known.read == size:
            return
        with path.open("rb") as file:
            if known.read == 0:
                header = _object(file.readline())
                known.notebook = str(header.get("notebook") or "") if "schema" in header else ""
                known.own = (header.get("host"), header.get("pid")) == (socket.gethostname(), os.getpid())
            file.seek(known.read)
            data = file.read(size - known.read)
        whole = data.rfind(b"\n") + 1
        known.read += whole
        for line in () if known.own else _holding(data[:whole], _START):
            record = _object(line)
            usd = _metadata(record).get("held_usd")
            if record.get("type") == "model_call_start" and isinstance(usd, (int, float)) and 0 < usd < 1e12:
                known.open[_key(record)] = usd
        for line in _holding(data[:whole], _END):
            record = _object(line)
            known.open.pop(_key(record), None)
            call = _call(record)
            if call is not None:
                known.calls.append(call)

    def _close(self, store: Any) -> None:
        """Forget the calls of processes that are no more."""
        for file in self._files.values():
            if file.open:
                try:
                    going = store.summary(file.run_id).live
                except RunNotFoundError:
                    going = False
                if not going:
                    file.open.clear()

    def held(self, notebook: str | None = None) -> float:
        """Return US dollars that calls which other processes have under way may cost; nothing is read."""
        with self._lock:
            files = [f for f in self._files.values() if notebook is None or f.notebook == notebook]
            return sum(sum(file.open.values()) for file in files)

    def spent(self, since: float, notebook: str | None = None) -> float:
        """Return US dollars spent since a time, as far as they are known; nothing is read.

        Parameters: notebook, None for the whole project. What this process spends counts for its notebook.
        """
        with self._lock:
            totals: dict[str, float] = {}
            for file in self._files.values():
                if notebook is None or file.notebook == notebook:
                    totals[file.run_id] = totals.get(file.run_id, 0.0) + _sum(file.calls, since)
            for run_id, calls in self._own.items():
                # The log of a run of this process lags behind by a call, or is not there at all.
                totals[run_id] = max(totals.get(run_id, 0.0), _sum(calls, since))
            return sum(totals.values())


def _sum(calls: Iterable[tuple[float, float]], since: float) -> float:
    return sum(usd for at, usd in calls if at >= since)


def _holding(data: bytes, needle: bytes) -> Iterable[bytes]:
    at = 0
    while (hit := data.find(needle, at)) >= 0:
        first, at = data.rfind(b"\n", at, hit) + 1 or at, data.find(b"\n", hit) + 1 or len(data)
        yield data[first:at]


def _metadata(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("metadata")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _key(record: dict[str, Any]) -> Any:
    found = _metadata(record)
    return str(record.get("node_id")), str(found.get("visit")), str(found.get("call_id"))


def _call(record: dict[str, Any]) -> tuple[float, float] | None:
    """Return when a call ended and what it cost, None for another event and for a call without a price."""
    known, at = _metadata(record), record.get("timestamp")
    if record.get("type") != "response_metadata" or not known:
        return None
    if not isinstance(at, (int, float)) or any(known.get(mark) for mark in _AGAIN):
        return None
    took = known.get("duration_ms")
    found = prices.price_now(known, at - (took / 1000 if isinstance(took, (int, float)) else 0))
    return None if found is None else (float(at), found.usd)


def _object(line: bytes) -> dict[str, Any]:
    try:
        record = loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", record) if isinstance(record, dict) else {}
