"""One row for each answer of a comparison: what it said, what it cost, how long it took, and the vote."""

from __future__ import annotations

from typing import Any

from ..frames._columns import CATEGORY, INTEGER, NUMBER, TEXT, Column, build

COLUMNS = (
    Column("answer", "answer", TEXT, "", "The column: the model's name, or a letter while it is blind."),
    Column("status", "status", CATEGORY, "", "How the run ended: completed, failed, cancelled, ..."),
    Column("text", "text", TEXT, "", "The answer, or as much of it as came."),
    Column("prompt_tokens", "usage.prompt_tokens", INTEGER, "tokens", "Input, cached tokens included."),
    Column("completion_tokens", "usage.completion_tokens", INTEGER, "tokens", "Output, reasoning included."),
    Column("reasoning_tokens", "usage.reasoning_tokens", INTEGER, "tokens", "Output spent on reasoning."),
    Column("cost_usd", "cost_usd", NUMBER, "USD", "What the run cost; NA when a call has no known price."),
    Column("time_to_first_token_ms", "first", NUMBER, "ms", "From the request to the first delta."),
    Column("duration_ms", "duration_ms", NUMBER, "ms", "From the start of the run to its end."),
    Column("vote", "vote", CATEGORY, "", "won, lost or tie; NA before the vote."),
    Column("error", "error", TEXT, "", "What went wrong, NA when nothing did."),
    Column("run_id", "run_id", TEXT, "", "The run."),
)


def answers_df(comparison: Any) -> Any:
    """Return a DataFrame with one row for each answer of a Comparison, in the order of its columns.

    Columns: see COLUMNS (name, dtype, unit, doc), also in `df.attrs["columns"]`.
    """
    winner = comparison.winner
    rows: list[dict[str, Any]] = []
    for name, run in comparison.runs.items():
        vote = None
        if winner is not None:
            vote = winner if winner not in comparison.runs else ("won" if name == winner else "lost")
        rows.append(
            {
                "answer": name,
                "status": run.status,
                "text": run.text,
                "usage": run.usage,
                "cost_usd": None if run.unpriced_calls else run.cost_usd,
                "first": _first(run),
                "duration_ms": run.duration_ms,
                "vote": vote,
                "error": run.error,
                "run_id": run.id,
            }
        )
    return build(rows, COLUMNS)


def _first(run: Any) -> float | None:
    found = (event.metadata.get("time_to_first_token_ms") for event in run.events)
    return next((value for value in found if isinstance(value, (int, float))), None)
