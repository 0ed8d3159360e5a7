"""The runs that this process has, and those of the project's log."""

from __future__ import annotations

import functools
import os
import time
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from . import plugins
from ._named import named_options
from ._summary import RunList, RunSummary
from .errors import InputError, RunNotFoundError, shown

if TYPE_CHECKING:
    from .backend import Backend
    from .run import Run

_last: Run | None = None
_only_here: dict[str, Run] = {}
_here: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()


def new_run_id() -> str:
    """Return an id that sorts by time: UTC to the microsecond, then eight random digits."""
    second, micro = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(second)}{micro:06d}-{os.urandom(4).hex()}"


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}"


def remember(run: Run) -> None:
    """Make this the last run of the process. One that is nowhere else, for its log could not be written, is
    kept: it is said to be."""
    global _last
    if _last is not None and _last is not run and _last.problems:
        _only_here[_last.id] = _last
    _last = _here[run.id] = run


def here(run_id: str) -> Run | None:
    """Return the run of this process that has this id, None when there is none."""
    return _here.get(run_id) if isinstance(cast("Any", run_id), str) else None


def all_here() -> list[Run]:
    """Return the runs of this process, ended or not, oldest first."""
    found = list(_here.values())  # Another thread may start one meanwhile.
    return sorted(found, key=lambda run: run.id)


def live_runs() -> list[Run]:
    """Return the runs of this process that have not ended, oldest first."""
    return [run for run in all_here() if not run.done]


def last_run() -> Run | None:
    """Return the run that was started last in this process, else the newest of this project's log, else None.

    A failed or interrupted run is here with everything it had obtained.
    """
    if _last is not None:
        return _last
    from .run import Run

    log = project_log()
    newest = next(iter(log.run_ids()), None)
    return None if newest is None else Run._stored(log.load(newest))


@named_options
def runs(limit: int = 20, backend: Backend | None = None) -> RunList:
    """Return the newest runs of this project, at most `limit`, as light summaries.

    Parameters: backend, None for the project's `.mesh/` and the runs that this process has, also those that
    no log keeps. Raises InputError for a limit that is no whole number.
    """
    from .run import Run

    if not isinstance(cast("Any", limit), int) or isinstance(limit, bool):
        raise InputError(f"limit= is a whole number, not {shown(limit)}.")
    store = backend or project_log()
    read = getattr(store, "summary", store.load)
    own = {} if backend else {run.id: run for run in all_here() if not run.done or _is_here_only(run)}
    found = RunList()
    for run_id in sorted({*store.run_ids(), *own}, reverse=True):
        if len(found) >= limit:
            break
        try:
            found.append(RunSummary(own.get(run_id) or Run._stored(read(run_id))))
        except RunNotFoundError as error:
            if error.reason:  # else it was deleted since it was listed
                found.problems.append(str(error))
    return found


def _is_here_only(run: Run) -> bool:
    """Say whether the log could not be written, or nothing is logged."""
    from .runner import default_backend

    return bool(run.problems) or all(getattr(s, "transient", False) for s in (run._store, default_backend()))


def project_log() -> Any:
    """Return the backend of this project's `.mesh/`."""
    return plugins.find("backend", "file")()
