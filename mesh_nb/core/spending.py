"""Limits over many runs: what this notebook, or the project, may spend in an hour, a day, a week.

They are kept as the budgets of runs are: each call is admitted before it is sent, with what it can cost at
most. What was spent is what the log says, of every kernel of the project, and what this process has not
logged yet.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from . import prices
from ._ledger import NEAR, Ledger
from ._named import named_options
from .errors import BudgetExceededError, ConfigurationError, InputError, UnknownNameError, shown
from .events import LimitMetadata
from .origin import IMPORTED, origin

__all__ = ["Limit", "SpendingLimitError", "clear", "limits", "set"]


def __dir__() -> list[str]:
    return __all__


PERIODS = ("session", "hour", "day", "week", "month")
SCOPES = ("notebook", "project")
_SINCE = {
    "session": "in this session",
    "hour": "in this hour",
    "day": "today",
    "week": "this week",
    "month": "this month",
}


POLL = 0.2
"""Seconds after which a call that waits for those of other processes looks again."""


@dataclasses.dataclass(slots=True, eq=False)
class Limit:
    """A limit in US dollars.

    Parameters: usd; per, the period; scope, "notebook" or "project"; notebook, whose runs count, None for
    all; source, where it was set: "set" or the path of a pyproject.toml.
    """

    usd: float
    per: str
    scope: str
    notebook: str | None = None
    source: str = "set"

    @property
    def begins(self) -> float:
        """When its period began, in seconds since 1970, by the clock of this machine."""
        if self.per == "session":
            return IMPORTED
        # Without a zone: midnight may have another offset than now.
        now = datetime.now().replace(minute=0, second=0, microsecond=0)
        if self.per != "hour":
            now = now.replace(hour=0)
        if self.per == "week":
            now -= timedelta(days=now.weekday())
        elif self.per == "month":
            now = now.replace(day=1)
        return now.timestamp()

    @property
    def spent_usd(self) -> float:
        """What was spent in the period, in US dollars, as far as prices are known."""
        return _ledger.spent(self.begins, self.notebook)

    @property
    def left_usd(self) -> float:
        """What is left of it."""
        return max(self.usd - self.spent_usd, 0.0)

    @property
    def whose(self) -> str:
        """Whose runs count: "notebook", or "project", also where it is not known which notebook this is."""
        return self.scope if self.notebook is not None else "project"

    def __str__(self) -> str:
        when = _SINCE[self.per]
        told = f"This {self.whose} has spent {_dollars(self.spent_usd)} of {_dollars(self.usd)} {when}."
        return told if _ledger.problem is None else f"{told} Others are not counted: {_ledger.problem}."


class SpendingLimitError(BudgetExceededError):
    """A notebook or a project would spend more than its limit.

    Parameters: message; spent and limit in USD; scope, "notebook" or "project".
    """

    def __init__(self, message: str, *, spent: float, limit: float, scope: str) -> None:
        self.scope = scope
        super().__init__(message, spent=spent, limit=limit)


_ledger = Ledger()
_limits: dict[str, Limit] = {}
_held: dict[Any, float] = {}
_waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
_lock = threading.RLock()
_read: dict[tuple[str, int], dict[str, Any]] = {}


@named_options
def set(usd: float, per: str = "session", scope: str = "notebook") -> Limit:
    """Limit what this notebook or the project may spend; a limit of the same scope is replaced.

    Parameters
    ----------
    usd : US dollars.
    per : "session" (since this process began), "hour", "day", "week" or "month", by this machine's clock.
    scope : "notebook", or "project": all its notebooks and scripts. Outside a notebook both mean the project.

    A call that would cross it is not sent; its run ends with the status "budget". Calls without a known price
    are refused, unless the run says unpriced="allow". What other kernels spend counts, with what their calls
    under way may cost; two calls that two kernels send in the same moment may cross it together. The limit
    itself holds in this process.
    `budget = {usd = 5.0, per = "day"}` under `[tool.mesh_nb]` of pyproject.toml limits the project in all.
    Raises InputError for a limit that is no number above 0, UnknownNameError for another word.
    """
    limit = _checked(usd, per, scope)
    limit.notebook = origin().get("notebook") if scope == "notebook" else None
    _limits[scope] = limit
    _ledger.refresh(limit.begins)
    return limit


def clear(scope: str | None = None) -> None:
    """Take back what `set` said for a scope, None for both; that of pyproject.toml stays.

    Raises UnknownNameError for another scope.
    """
    if scope is not None and scope not in SCOPES:
        raise UnknownNameError("scope=", scope, SCOPES)
    for name in SCOPES if scope is None else (scope,):
        _limits.pop(name, None)
    _wake()


def limits() -> list[Limit]:
    """Return the limits that hold now: that of pyproject.toml too, unless one for the project was set.

    Raises ConfigurationError for a pyproject.toml that says something unusable.
    """
    found = list(_limits.values())
    if "project" not in _limits and (given := _of_project()) is not None:
        found.append(given)
    return found


def now() -> list[Limit]:
    """Return the limits, with what was spent read again."""
    found = limits()
    if found:
        _ledger.refresh(min(limit.begins for limit in found))
    return found


def told() -> list[LimitMetadata]:
    """Return the limits as an event tells them; nothing is read."""
    return cast(
        "list[LimitMetadata]",
        [
            {"scope": limit.scope, "per": limit.per, "usd": limit.usd, "spent_usd": limit.spent_usd}
            for limit in limits()
        ],
    )


async def ready(usd: float = 0.0) -> list[Limit]:
    """Do what `now` does, reading in a thread, once more when a call of so many US dollars may come near a
    limit that other kernels spend from too."""
    found = limits()
    if found:
        since = min(limit.begins for limit in found)
        await asyncio.to_thread(_ledger.refresh, since)
        if any(2 * (limit.spent_usd + _under_way(limit) + usd) > limit.usd for limit in found):
            await asyncio.to_thread(_ledger.refresh, since, NEAR)
    return found


def _under_way(limit: Limit) -> float:
    """Return what calls that have not ended may cost, in US dollars: of this process and of others."""
    return sum(_held.values()) + _ledger.held(limit.notebook)


def hold(found: list[Limit], held: Any, usd: float) -> SpendingLimitError | bool:
    """Admit a call, until `release`: True; False when only calls that still run stand in the way, and the
    error when it would cross a limit anyway.

    Parameters: found, the limits; held, a key for the call; usd, what it may cost.
    """
    with _lock:
        free = True
        for limit in found:
            spent = limit.spent_usd
            if spent >= limit.usd or spent + usd > limit.usd:
                return _exceeded(limit, spent, usd)
            free = free and spent + _under_way(limit) + usd <= limit.usd
        if free:
            _held[held] = usd
        return free


def release(held: Any, run_id: str, usd: float) -> None:
    """End what is held for a call, which has cost so many US dollars."""
    with _lock:
        _held.pop(held, None)
        if usd:
            _ledger.add(run_id, usd)
    _wake()


def count(run_id: str, usd: float) -> None:
    """Count a call that was not admitted here."""
    _ledger.add(run_id, usd)


def check() -> None:
    """Raise SpendingLimitError when nothing is left for another call; nothing is read."""
    for limit in limits():
        spent = limit.spent_usd
        if spent >= limit.usd:
            raise _exceeded(limit, spent, 0.0)


def extend(crossed: SpendingLimitError) -> None:
    """Allow as much again as a limit was when it was crossed; one of pyproject.toml for this process only."""
    for limit in limits():
        if limit.scope == crossed.scope:
            raised = max(limit.usd, 2 * crossed.limit)
            _limits[limit.scope] = dataclasses.replace(limit, usd=raised, source="set")
    _wake()


def wait(future: asyncio.Future[None]) -> None:
    """Have a future of this loop set when what is held or allowed changes."""
    with _lock:
        _waiting.append((asyncio.get_running_loop(), future))


def _wake() -> None:
    with _lock:
        waiting, _waiting[:] = list(_waiting), []
    for loop, future in waiting:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_set, future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _exceeded(limit: Limit, spent: float, usd: float) -> SpendingLimitError:
    more = f", and the next call may cost about {prices.dollars(usd)} (an estimate)" if usd else ""
    how = f"%mesh budget AMOUNT --per {limit.per}" + (" --project" if limit.scope == "project" else "")
    return SpendingLimitError(
        f"The {limit.whose}'s budget of {_dollars(limit.usd)} per {limit.per} is reached:"
        f" {prices.dollars(spent)} were spent {_SINCE[limit.per]}{more}. `{how}` raises it.",
        spent=spent,
        limit=limit.usd,
        scope=limit.scope,
    )


def _dollars(usd: float) -> str:
    """Return an amount to the cent, and finer where that would make it another one."""
    if usd == 0:
        return "$0"
    if usd == round(usd, 2):
        return f"${usd:,.2f}"
    return f"${usd:,.4f}" if usd >= 1e-4 else "$" + f"{usd:.12f}".rstrip("0")


def _checked(usd: Any, per: Any, scope: Any) -> Limit:
    if isinstance(usd, bool) or not isinstance(usd, (int, float)) or not 0 < usd < float("inf"):
        raise InputError(f"A budget is US dollars above 0, not {shown(usd)}.")
    for name, given, words in (("per", per, PERIODS), ("scope", scope, SCOPES)):
        if given not in words:
            raise UnknownNameError(f"{name}=", str(given), words)
    return Limit(float(usd), per, scope)


def _of_project() -> Limit | None:
    here = Path.cwd()
    path = next((p for f in (here, *here.parents) if (p := f / "pyproject.toml").is_file()), None)
    if path is None:
        return None
    key = (str(path), path.stat().st_mtime_ns)
    if key not in _read:
        try:
            settings: Any = tomllib.loads(path.read_text("utf-8"))
            for name in ("tool", "mesh_nb"):
                settings = settings.get(name, {}) if isinstance(settings, dict) else {}
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}.") from None
        _read.clear()
        _read[key] = {"limit": _given(path, settings.get("budget") if isinstance(settings, dict) else None)}
    return _read[key]["limit"]


def _given(path: Path, value: Any) -> Limit | None:
    if value is None:
        return None
    table = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not table or table.keys() - {"usd", "per"}:
        raise ConfigurationError(
            f'{path}: budget under [tool.mesh_nb] is a table: budget = {{usd = 5.0, per = "day"}}.'
        )
    try:
        limit = _checked(table.get("usd"), table.get("per", "day"), "project")
    except (InputError, UnknownNameError) as error:
        raise ConfigurationError(f"{path}: budget under [tool.mesh_nb]: {error}") from None
    return dataclasses.replace(limit, source=str(path))
