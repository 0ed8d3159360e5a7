"""One readable line about a run, and a list of runs that is one line each."""

from __future__ import annotations

import unicodedata
from typing import Any, cast

from ._scrub import hidden
from .events import ENDINGS
from .prices import dollars

PREVIEW = 60


class RunSummary:
    """What `runs()` tells about one run: id, status, graph_id, session_id, started_at, duration_ms, usage,
    billed_usd as the log has it, error, and the beginning of its text."""

    def __init__(self, run: Any) -> None:
        self.id, self.status = run.id, run.status
        self.graph_id, self.session_id = run.graph_id, run.session_id
        self.started_at, self.duration_ms = run.started_at, run.duration_ms
        end = run.events[-1].metadata if run.events and run.events[-1].type in ENDINGS else {}
        known = end.get("usage")
        counts = cast("dict[str, Any]", known) if isinstance(known, dict) else {}
        self.usage: dict[str, int] = run.usage or {k: n for k, n in counts.items() if isinstance(n, int)}
        cost = run.billed_usd if run.billed_usd is not None else end.get("cost_usd")
        self.billed_usd: float | None = cost if isinstance(cost, (int, float)) and 0 <= cost < 1e12 else None
        self.text, self.error = run.text[: 4 * PREVIEW], run.error

    def load(self) -> Any:
        """Return the whole Run. Raises RunNotFoundError when it is gone."""
        from .run import Run

        return Run.load(self.id)

    def __repr__(self) -> str:
        return f"<{self.id} {line(self)}>"


class RunList(list[RunSummary]):
    """Runs, newest first, one to a line; `problems` names those that could not be read."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def __repr__(self) -> str:
        return "\n".join([*map(repr, self), *self.problems]) or "No runs yet."


def line(run: Any) -> str:
    """Return what matters about a run, or a summary of one, in one line without control characters."""
    parts = [str(run.status)]
    if run.duration_ms is not None:
        parts[0] += f" in {run.duration_ms / 1000:.1f} s"
    if run.graph_id:
        parts.append(run.graph_id)
    if run.usage:
        tokens = [run.usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        parts.append(" + ".join("?" if count is None else f"{count:,}" for count in tokens) + " tokens")
    cost = run.billed_usd
    if cost is not None:
        parts.append(dollars(cost))
    said = hidden(run.error if run.error and run.status != "completed" else run.text)
    said = " ".join("".join(c if unicodedata.category(c)[0] != "C" else " " for c in said[:400]).split())
    if said:
        parts.append(repr(said if len(said) <= PREVIEW else said[: PREVIEW - 1] + "…"))
    return " · ".join(parts)
