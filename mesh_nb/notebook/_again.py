"""What a page offers to do with a run that has ended early: go on with it, or run it again."""

from __future__ import annotations

from typing import Any

VERBS = ("resume", "rerun")
"""Methods of Run: the first goes on where the run ended, the second runs all of it anew."""

EARLY = ("failed", "cancelled", "budget", "timeout")


def offers(run: Any) -> list[str]:
    """Return what may be done with a run: nothing while it runs, when it came to its end, and when it was
    read from the log, which has no code."""
    return list(VERBS) if run.graph is not None and run.status in EARLY else []


def again(run: Any, verb: str) -> Any:
    """Start what a reader chose, and return the run that goes on, in the background and shown by nobody.

    Budgets hold as before; where one ended the run, a person is asked before more is spent. Raises as
    `Run.resume` and `Run.rerun` do.
    """
    options: dict[str, Any] = {"background": True, "display": False, "on_no_answer": "wait"}
    if run.status == "budget":
        options["on_budget"] = "ask"
    return run.resume(**options) if verb == "resume" else run.rerun(**options)
