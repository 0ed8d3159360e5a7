"""What a graph offers for runs that are in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budget import Budget
    from .interrupts import Policy
    from .run import Run


class Again:
    """Going on with runs of a graph; the graph is compiled first."""

    def compile(self) -> Any:
        """Return the graph checked and ready to run."""
        raise NotImplementedError

    def resume(
        self,
        run_id: str,
        *,
        answers: dict[str, Any] | None = None,
        variables: dict[str, Any] | None = None,
        budget: Budget | None = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
    ) -> Run:
        """Go on with a run that broke off, failed, was cancelled or waits for an answer.

        It has the same id, and its log goes on. Nodes that have completed are not run again; in those that
        have not, model calls and tool calls that completed come from the log and are not paid for again. What
        was under way when the process died is done again.

        Parameters
        ----------
        run_id : the run, of this graph.
        answers : to open questions, an `Answer` by interrupt id; `run.approve()` and its like need none.
        variables : values of those whose names look like secrets, which no log keeps.
        budget : what the whole run may spend, None for the limits that it began with.
        backend : the log, None for this project's; display, background, on_no_answer as for `run`.

        Raises RunNotFoundError; InputError for a run that is complete or still runs; GraphValidationError for
        the log of another graph. Nothing is started then.
        """
        from . import runner

        return runner.resume(
            self.compile(),
            run_id,
            answers=answers,
            variables=variables,
            budget=budget,
            backend=backend,
            display=display,
            background=background,
            on_no_answer=on_no_answer,
        )
