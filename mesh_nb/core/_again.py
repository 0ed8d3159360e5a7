"""What a graph offers for runs that are in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

from ._named import named_options

if TYPE_CHECKING:
    from .budget import OnBudget, Unpriced
    from .cache import Cache
    from .interrupts import Policy
    from .run import Run


class Options(TypedDict, total=False):
    """What `resume`, `fork` and `rerun` take alike; see `Again.resume`."""

    variables: dict[str, Any] | None
    backend: Any
    display: bool | None
    background: bool
    on_no_answer: Policy | None
    max_concurrency: int | None
    timeout: float | None
    fail_fast: bool
    budget_usd: float | None
    max_tokens: int | None
    max_model_calls: int | None
    unpriced: Unpriced | None
    on_budget: OnBudget | None
    cache: bool | str | Cache | None


def _options(given: dict[str, Any]) -> Options:
    return cast("Options", {name: given[name] for name in Options.__annotations__})


class Again:
    """Going on with runs of a graph; the graph is compiled first."""

    def compile(self) -> Any:
        """Return the graph checked and ready to run."""
        raise NotImplementedError

    @named_options
    def resume(
        self,
        run_id: str | Run,
        *,
        answers: dict[str, Any] | None = None,
        variables: dict[str, Any] | None = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        max_model_calls: int | None = None,
        unpriced: Unpriced | None = None,
        on_budget: OnBudget | None = None,
        cache: bool | str | Cache | None = None,
    ) -> Run:
        """Go on with a run that broke off, failed, was cancelled or waits for an answer.

        It has the same id, and its log goes on. Nodes that have completed are not run again; in those that
        have not, model calls and tool calls that completed come from the log and are not paid for again. What
        was under way when the process died is done again. Outputs come back as the JSON of the log: a
        DataFrame as its rows.

        Parameters
        ----------
        run_id : the run, of this graph, by its id or as it is.
        answers : to open questions, an `Answer` by interrupt id; `run.approve()` and its like need none.
        variables : values of those whose names look like secrets, which no log keeps, and new ones.
        backend : the log, None for this project's.
        display, background, on_no_answer, max_concurrency, timeout, fail_fast, cache : as for `run`; no log
            keeps these.
        budget_usd, max_tokens, max_model_calls, unpriced, on_budget : what the whole run may spend, what it
            has spent included; None is what the run had.

        Raises RunNotFoundError; InputError for a run that is complete or still runs; GraphValidationError for
        the log of another graph. Nothing is started then.
        """
        from ._onward import resume

        return resume(self.compile(), run_id, answers, _options(locals()))

    @named_options
    def fork(
        self,
        run_id: str | Run,
        *,
        at: str | int,
        patch: dict[str, Any] | None = None,
        variables: dict[str, Any] | None = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        max_model_calls: int | None = None,
        unpriced: Unpriced | None = None,
        on_budget: OnBudget | None = None,
        cache: bool | str | Cache | None = None,
    ) -> Run:
        """Start a new run that is as another was at some place, and goes its own way from there.

        What completed before that place is taken over, without a call being made; everything after it is run
        again. The run that it leaves stays as it is.

        Parameters
        ----------
        at : a node id, for the moment before the node first started; or a seq, for what completed before it.
        patch : outputs in the place of those that nodes had before `at`, by node id; "START" is the input.
        budget_usd, max_tokens, max_model_calls, unpriced, on_budget : what the new run may spend, None what
            the other might; the rest as for `resume`.

        Raises RunNotFoundError, UnknownNameError for a node that did not run or complete, InputError.
        """
        from ._onward import fork

        return fork(self.compile(), run_id, at, patch, _options(locals()))

    @named_options
    def rerun(
        self,
        run_id: str | Run,
        *,
        variables: dict[str, Any] | None = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        max_model_calls: int | None = None,
        unpriced: Unpriced | None = None,
        on_budget: OnBudget | None = None,
        cache: bool | str | Cache | None = None,
    ) -> Run:
        """Execute again what a run executed: a new run with its input, variables, state and history, in which
        every call is made, and paid for, anew. `resume` goes on with a run instead.

        Parameters and errors as for `fork`.
        """
        from ._onward import fork

        return fork(self.compile(), run_id, 0, None, _options(locals()), anew=True)
