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
from ..core.events import EventType

BEAT_SECONDS = 10.0
"""How often a log that is open says that its process still runs, to those that cannot ask for it."""
STALE_SECONDS = 60.0
"""After how long without a sign it is taken to have ended: a run may wait for hours between two events."""

BEGINNINGS = frozenset(
    {EventType.NODE_START, EventType.STEP_START, EventType.MODEL_CALL_START, EventType.TOOL_CALL_START}
)
"""What a process that another has taken over from must not begin."""


def identity() -> dict[str, Any]:
    """Return host, pid and process_start of this process: together they are never used twice. In a container
    `pids` names the processes that share its pids."""
    return _identity(os.getpid()).copy()


@functools.cache
def _identity(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "process_start": started(pid), "pids": _pids()}


def _pids() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


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
    own = identity()
    return all(header.get(key, own["pids"] if key == "pids" else None) == own[key] for key in own)


def may_ask(header: Mapping[str, Any]) -> bool:
    """Say whether the process of a header can be looked for here: it ran on this machine since that was
    started, and its pid means here what it meant there."""
    own, begun = identity(), header.get("process_start")
    if header.get("host") != own["host"] or not isinstance(header.get("pid"), int):
        return False
    if header.get("pids", own["pids"]) != own["pids"]:
        return False
    # Machines that share a folder may share a name too.
    return not isinstance(begun, str) or _boot(begun) == _boot(str(own["process_start"]))


def _boot(begun: str) -> str:
    """Return which start of the machine a process_start tells of, where it does."""
    return begun.partition(":")[0] if sys.platform.startswith("linux") else ""


def alive(header: Mapping[str, Any], modified: float, now: float | None = None) -> tuple[bool, str | None]:
    """Say whether the process of a log's header still runs, and a note when that is a guess.

    Parameters: header, the log's first line; modified, when its file last gave a sign, in seconds since the
    epoch; now, by the same clock, None for this machine's.
    Of a process that cannot be looked for here, the age of that sign decides.
    """
    if may_ask(header):
        begun = started(header["pid"])
        return begun is not None and begun == header.get("process_start"), None
    if not header.get("host"):
        return False, None
    # A sign from the future is of another clock: it tells nothing.
    fresh = abs((time.time() if now is None else now) - modified) < STALE_SECONDS
    age, state = ("less", "running") if fresh else ("more", "interrupted")
    return fresh, (
        f"The run belongs to host {str(header['host'])[:80]!r}, whose last sign is {age} than"
        f" {STALE_SECONDS:.0f} s old, so it is taken to be {state}."
    )


def resumed_elsewhere(run_id: str) -> InputError:
    """Return the error for a run that somebody has gone on with since it was read."""
    return InputError(
        f"Run {run_id!r} was resumed by another process meanwhile; Run.load() reads what it did."
    )
