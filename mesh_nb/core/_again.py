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
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
    ) -> Run:
        """Go on with a run that broke off, failed, was cancelled or waits for an answer.

        It has the same id, and its log goes on. Nodes that have completed are not run again; in those that
        have not, model calls and tool calls that completed come from the log and are not paid for again. What
        was under way when the process died is done again. Outputs come back as the JSON of the log: a
        DataFrame as its rows.

        Parameters
        ----------
        run_id : the run, of this graph.
        answers : to open questions, an `Answer` by interrupt id; `run.approve()` and its like need none.
        variables : values of those whose names look like secrets, which no log keeps.
        budget : what the whole run may spend, None for the limits that it began with.
        backend : the log, None for this project's; the rest as for `run`: no log keeps these.

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
            max_concurrency=max_concurrency,
            timeout=timeout,
            fail_fast=fail_fast,
        )

    def fork(
        self,
        run_id: str,
        *,
        at: str | int,
        patch: dict[str, Any] | None = None,
        variables: dict[str, Any] | None = None,
        budget: Budget | None = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
    ) -> Run:
        """Start a new run that is as another was at some place, and goes its own way from there.

        What completed before that place is taken over, without a call being made; everything after it is run
        again. The run that it leaves stays as it is.

        Parameters
        ----------
        at : a node id, for the moment before the node first started; or a seq, for what completed before it.
        patch : outputs in the place of those that nodes had before `at`, by node id; "START" is the input.
        variables, backend, display, background, on_no_answer : as for `resume`.
        budget : what the new run may spend.

        Raises RunNotFoundError, UnknownNameError for a node that did not run or complete, InputError.
        """
        from ._earlier import fork

        return fork(
            self.compile(),
            run_id,
            at,
            patch,
            variables=variables,
            backend=backend,
            display=display,
            background=background,
            on_no_answer=on_no_answer,
            budget=budget,
        )

    def rerun(
        self,
        run_id: str,
        *,
        variables: dict[str, Any] | None = None,
        budget: Budget | None = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
    ) -> Run:
        """Execute again what a run executed: a new run with its input, variables, state and history, in which
        every call is made, and paid for, anew. `resume` goes on with a run instead.

        Parameters and errors as for `fork`.
        """
        from ._earlier import fork

        return fork(
            self.compile(),
            run_id,
            None,
            None,
            variables=variables,
            backend=backend,
            display=display,
            background=background,
            on_no_answer=on_no_answer,
            budget=budget,
        )
