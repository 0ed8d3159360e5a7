"""Since when: ages and dates as people write them, and when a run began."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from ..core.errors import InputError

_ID_TIME = re.compile(r"(\d{8}T\d{6})(\d{6})-")
_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(since: Any) -> float | None:
    """Return what since= says in seconds since 1970. Raises InputError."""
    if since is None:
        return None
    if isinstance(since, timedelta):
        return datetime.now(UTC).timestamp() - since.total_seconds()
    if isinstance(since, str):
        age = _AGE.fullmatch(since)
        if age is not None:
            return datetime.now(UTC).timestamp() - float(age[1]) * _SECONDS[age[2]]
        try:
            since = datetime.fromisoformat(since.strip())
        except ValueError:
            since = None
    elif hasattr(since, "year") and not isinstance(since, datetime):
        since = datetime(since.year, since.month, since.day)
    try:
        # A time without a zone is the reader's own; days begin at the reader's midnight.
        at = since.timestamp() if isinstance(since, datetime) else None
    except (ValueError, OverflowError, OSError):  # a year that no clock knows
        at = None
    if at is None or at != at:
        raise InputError('since= is an age such as "7d", "12h" or "30m", or a date: since="2026-11-01".')
    return at


def began(backend: Any, run_id: str) -> float:
    """Return when a run of a file backend began, in seconds since 1970: its id says it, else its log."""
    found = _ID_TIME.match(run_id)
    if found is not None:
        try:
            return datetime.fromisoformat(f"{found[1]}.{found[2]}+00:00").timestamp()
        except ValueError:
            pass
    events = backend.summary(run_id).events
    return events[0].timestamp if events and isinstance(events[0].timestamp, (int, float)) else 0.0
