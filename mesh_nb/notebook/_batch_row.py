"""One input of a batch, and what came of it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any, cast

from ..core.run import Run

WAITING, RUNNING = "not started", "running"
_OURS = frozenset({"content", "tool_calls", "files"})
"""What outputs have beside what the user's own nodes put there."""


@dataclasses.dataclass(slots=True, eq=False)
class BatchRow:
    """One input of a Batch and what came of it.

    label : its label in the index or mapping, else its position. input : what the run was given.
    id : of the run, None before it begins. status : "not started", "running", or that of the run.
    text, output, error, usage, cost_usd, unpriced_calls, duration_ms : as of a Run, once it has ended.
    cached : whether every answer came from the cache or a tape, so that none was paid for.
    """

    label: Any
    input: Any
    id: str | None = None
    status: str = WAITING
    text: str = ""
    output: Any = None
    error: str | None = None
    usage: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    cost_usd: float | None = None
    unpriced_calls: int = 0
    duration_ms: float | None = None
    cached: bool = False
    _kept: Run | None = dataclasses.field(default=None, repr=False)
    _store: Any = dataclasses.field(default=None, repr=False)

    @property
    def fields(self) -> dict[str, Any]:
        """What the output has beside its text, by name: of an `output_type` the answer's fields."""
        if not isinstance(self.output, Mapping):
            return {}
        known = cast("Mapping[Any, Any]", self.output)
        if "parsed" not in known:
            return {str(name): value for name, value in known.items() if name not in _OURS}
        parsed = _plain(known["parsed"])
        return parsed if isinstance(parsed, dict) else {"parsed": parsed}

    def load(self) -> Run:
        """Return the whole Run, from its log when it has ended. Raises RunNotFoundError for one that has not
        begun, and where nothing is logged (MESH_LOG=off)."""
        if self._kept is not None:
            return self._kept
        return Run.load(self.id or "", None if self.status == RUNNING else self._store)

    def __getstate__(self) -> dict[str, Any]:
        fields = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in fields if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "_kept": None, "_store": None}.items():
            setattr(self, name, value)

    def _take(self, run: Run) -> None:
        """Keep what a run that has ended gave; the run itself, with all its events, is let go where a log
        has it."""
        self._kept = run if run.problems else None
        self.text, self.output, self.error = run.text, run.output, run.error
        self.usage, self.cost_usd = run.usage, run.cost_usd
        self.unpriced_calls, self.duration_ms = run.unpriced_calls, run.duration_ms
        calls = [e.metadata for e in run.events if e.type == "response_metadata"]
        self.cached = bool(calls) and all(c.get("cached") or c.get("replayed") for c in calls)
        self.status = run.status


def _plain(value: Any) -> Any:
    """Return an answer's value as Python's own: models, dataclasses and enums are taken apart."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in cast("Iterable[Any]", value)]
    return value
