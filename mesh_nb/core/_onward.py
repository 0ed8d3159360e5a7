"""From runs of the log: the same run goes on, or a new one begins where another was."""

from __future__ import annotations

import asyncio
from typing import Any

from . import runner
from ._again import Options
from ._earlier import stored
from .budget import Budget
from .errors import InputError, shown
from .events import ExecutionEvent
from .executor import Executor
from .resume import begin_of, context_of_begin, session_of
from .reuse import Reuse, place
from .run import Run
from .runs import here, new_run_id

_LIMITS = ("budget_usd", "max_tokens", "max_model_calls", "unpriced", "on_budget")


def resume(graph: Any, run_id: str | Run, answers: dict[str, Any] | None, options: Options) -> Run:
    """Go on with a run of a compiled graph; parameters and errors as for `graph.resume`."""
    run_id = run_id.id if isinstance(run_id, Run) else run_id
    given = _Given(run_id, options)
    if given.own is not None and not given.own.done:
        raise InputError(f"Run {given.own.id} is still running; answer or cancel it instead of resuming it.")
    found = given.store.load(run_id)
    session = session_of(found.header)
    execution = Executor(graph, given.store).resume(
        run_id,
        answers,
        variables=given.variables,
        caller=runner._context(graph, session, None) if session else None,
        budget=given.budget(found.events),
        **given.limits(),
    )
    run = Run(run_id, graph=graph, session_id=execution.context.session_id)
    run._go_on(execution.past_events)
    return given.begin(run, execution)


def fork(
    graph: Any,
    run_id: str | Run,
    at: str | int,
    patch: dict[str, Any] | None,
    options: Options,
    *,
    anew: bool = False,
) -> Run:
    """Start a run like an earlier one, from a place in it; parameters and errors as for `graph.fork`.

    anew : takes nothing from it, as for `graph.rerun`.
    """
    run_id = run_id.id if isinstance(run_id, Run) else run_id
    given = _Given(run_id, options)
    if patch is not None and not isinstance(patch, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"patch= is a dict of node ids and outputs, not {shown(patch)}.")
    past = stored(given.store, run_id, outputs=not anew)
    begin = begin_of(past)
    changes = dict(patch or {})
    context = context_of_begin(begin, given.variables)
    context.graph_id = graph.graph_id
    new = new_run_id()
    execution = Executor(graph, given.store).start(
        changes.pop("START", begin["input"]),
        context,
        run_id=new,
        budget=given.budget(past.events),
        **given.limits(),
    )
    if not anew:
        execution.take_from(Reuse(past, graph, place(past.events, at), changes))
    return given.begin(Run(new, graph=graph), execution)


class _Given:
    """What was asked for: where the run lives, what it is called with, and how it is shown.

    own : the run as this process has it, None when it has not; store : the log. Raises InputError for options
    that cannot be meant.
    """

    def __init__(self, run_id: str, options: Options) -> None:
        self._options: dict[str, Any] = dict(options)
        self._loop = None if options.get("background") else asyncio._get_running_loop()
        self.variables, backend = options.get("variables"), options.get("backend")
        runner.check_options(self.variables, backend, options.get("display"), options.get("background"))
        self.own = here(run_id)
        kept = self.own._store if self.own is not None else None
        self.store: Any = backend or kept or runner.default_backend()

    def budget(self, events: list[ExecutionEvent]) -> Budget | None:
        """Return what the run may spend: what was given, else what the run of these events might."""
        return Budget.like(events, **{name: self._options.get(name) for name in _LIMITS})

    def limits(self) -> dict[str, Any]:
        """Return what an Executor takes."""
        known = {n: self._options[n] for n in ("max_concurrency", "timeout", "fail_fast", "cache")}
        shown_by = self._options["display"], self._options["background"]
        return {**known, "on_no_answer": runner._policy(self._options["on_no_answer"], *shown_by)}

    def begin(self, run: Run, execution: Any) -> Run:
        """Let the run begin."""
        run._store = self.store
        run._options = runner.chosen(self._options)
        return runner._started(run, execution, self._loop, self._options["display"])
