"""Which process writes a log, and whether it still runs."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError

STALE_SECONDS = 30.0


def identity() -> dict[str, Any]:
    """Return host, pid and process_start of this process: together they are never used twice."""
    return _identity(os.getpid()).copy()


@functools.cache
def _identity(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "process_start": started(pid)}


def started(pid: int) -> str | None:
    """Return when a process started, as text that only compares equal for the same process; None when there
    is no such process."""
    if sys.platform.startswith("linux"):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        # The name in parentheses may hold spaces; the fields after it do not. A zombie has ended.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    if os.name == "posix":
        told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
        return told.stdout.strip() or None
    told = subprocess.run(
        ["powershell", "-NoProfile", "-Command", f"(Get-Process -Id {pid}).StartTime.Ticks"],
        capture_output=True,
        text=True,
    )
    return told.stdout.strip() or None


def is_own(header: Mapping[str, Any]) -> bool:
    """Say whether this very process wrote the header."""
    return all(header.get(key) == value for key, value in identity().items())


def alive(header: Mapping[str, Any], modified: float) -> tuple[bool, str | None]:
    """Say whether the process of a log's header still runs, and a note when that is a guess.

    Parameters: header, the log's first line; modified, when its file last grew, in seconds since the epoch.
    On another host the age of the last line decides.
    """
    pid = header.get("pid")
    if header.get("host") == socket.gethostname() and isinstance(pid, int):
        return (started(pid) is not None and started(pid) == header.get("process_start")), None
    if not header.get("host"):
        return False, None
    fresh = time.time() - modified < STALE_SECONDS
    age, state = ("less", "running") if fresh else ("more", "interrupted")
    return fresh, (
        f"The run belongs to host {str(header['host'])[:80]!r}; its last line is {age} than"
        f" {STALE_SECONDS:.0f} s old, so it is taken to be {state}."
    )


def resumed_elsewhere(run_id: str) -> InputError:
    """Return the error for a run that somebody has gone on with since it was read."""
    return InputError(
        f"Run {run_id!r} was resumed by another process meanwhile; Run.load() reads what it did."
    )
