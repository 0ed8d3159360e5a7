"""What the calls of this project's runs cost, from the log as it grows: limits over many runs count by it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from . import plugins, prices
from .events import loads
from .origin import IMPORTED

REFRESH = 1.0
"""Seconds for which what was read counts as fresh: so late is seen what other kernels spend."""

_PART = re.compile(r"(\.r[0-9]+)?\.jsonl$")
_NEEDLE = b'"response_metadata"'
_AGAIN = ("reused", "replayed", "cached")


class _File:
    """One file of the log, read up to `read`: its notebook, and (time, US dollars) of its calls."""

    __slots__ = ("calls", "notebook", "read", "run_id")

    def __init__(self, name: str) -> None:
        self.run_id = _PART.sub("", name)
        self.read = 0
        self.notebook = ""
        self.calls: list[tuple[float, float]] = []


class Ledger:
    """What was spent, run by run. Reading is safe on any thread."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._folder: Path | None = None
        self._since = float("inf")
        self._read_at = 0.0
        self._lock = threading.Lock()
        self._own: dict[str, list[tuple[float, float]]] = {}

    def add(self, run_id: str, usd: float) -> None:
        """Count a call of this process, before the log has it or where no log will."""
        with self._lock:
            # A clock that is set back must not take a call out of its session.
            self._own.setdefault(run_id, []).append((max(time.time(), IMPORTED), usd))

    def refresh(self, since: float) -> None:
        """Read what was written since that time and is not known yet. It blocks: a first time reads a lot."""
        with self._lock:
            if since >= self._since and time.monotonic() - self._read_at < REFRESH:
                return
            try:
                folder: Path = plugins.find("backend", "file")().folder / "runs"
                if folder != self._folder:
                    self._files, self._folder = {}, folder
                with os.scandir(folder) as found:
                    grown = [e for e in found if e.name.endswith(".jsonl") and e.stat().st_mtime >= since]
                for entry in grown:
                    self._take(Path(entry.path), entry.stat().st_size)
            except OSError:
                pass  # no log yet, or it cannot be read: what this process spends is counted all the same
            self._since, self._read_at = min(since, self._since), time.monotonic()

    def _take(self, path: Path, size: int) -> None:
        known = self._files.get(path.name)
        if known is None or known.read > size:
            known = self._files[path.name] = _File(path.name)
        if known.read == size:
            return
        with path.open("rb") as file:
            if known.read == 0:
                known.notebook = _notebook(file.readline())
            file.seek(known.read)
            data = file.read(size - known.read)
        whole = data.rfind(b"\n") + 1
        known.read += whole
        for line in _holding(data[:whole]):
            call = _call(line)
            if call is not None:
                known.calls.append(call)

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


def _holding(data: bytes) -> Iterable[bytes]:
    at = 0
    while (hit := data.find(_NEEDLE, at)) >= 0:
        first, at = data.rfind(b"\n", at, hit) + 1 or at, data.find(b"\n", hit) + 1 or len(data)
        yield data[first:at]


def _notebook(line: bytes) -> str:
    header = _object(line)
    return str(header.get("notebook") or "") if "schema" in header else ""


def _call(line: bytes) -> tuple[float, float] | None:
    """Return when a call ended and what it cost, None for another line and for a call without a price."""
    record = _object(line)
    metadata, at = record.get("metadata"), record.get("timestamp")
    if record.get("type") != "response_metadata" or not isinstance(metadata, dict):
        return None
    known = cast("dict[str, Any]", metadata)
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
