"""Executor: runs a compiled graph against a backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from . import plugins
from ._fits import fitting
from ._named import named_options
from ._scrub import revealed
from .attachments import files_of, with_files
from .backend import Backend
from .budget import Budget
from .cache import cache_of
from .compiled import CompiledGraph, Runnable
from .context import ExecutionContext
from .errors import InputError, shown
from .events import ExecutionEvent
from .execution import Execution
from .graph import StateGraph
from .interrupts import Answer, Policy, check_policy, check_timeout
from .modes import StreamMode, adapted, stream_mode
from .resume import context_of, past_of
from .reuse import again
from .runs import new_run_id
from .scheduler import START, check_concurrency

__all__ = ["Execution", "Executor"]


class Executor:
    """Executes a graph; one executor and one context may serve any number of runs at once.

    Parameters: graph, compiled or not; state_backend, where logs go, by default the memory of this executor.
    Raises GraphValidationError when the graph cannot run.
    """

    @named_options
    def __init__(self, graph: StateGraph | CompiledGraph, state_backend: Backend | None = None) -> None:
        if not isinstance(graph, Runnable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"An Executor takes a graph, not {shown(graph)}.")
        self.graph = graph.compile()
        self._modes = self.graph.event_modes
        self.backend: Backend = state_backend or plugins.find("backend", "memory")()

    @named_options
    def execute(
        self,
        input: Any,
        context: ExecutionContext | None = None,
        *,
        run_id: str | None = None,
        files: Any = None,
        on_no_answer: Policy = "stop",
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget: Budget | None = None,
        cache: Any = None,
    ) -> AsyncGenerator[ExecutionEvent, None]:
        """Run the graph and yield its events as they happen.

        Parameters
        ----------
        input : text, or a dict; the first node receives `{"input": text}` or the dict as it is.
        context : the session; each run works on its own copy and, when it completes, writes its state back
            and appends question and answer to `chat_history`.
        run_id : the name of the run in the log; made up when None.
        files : attachments, as for `graph.run`.
        on_no_answer : what becomes of a question to a person: "stop" ends with execution_complete of status
            "interrupted", "wait" waits for `Execution.desk`, "deny" and "allow" answer it.
        max_concurrency : how many nodes run at once, None for all that can.
        timeout : seconds that the run may take, its reader's included.
        fail_fast : a node that fails cancels those that run beside it; False lets them come to their end.
        budget : what the run may spend, a new `mesh_nb.Budget(usd=, max_tokens=, max_model_calls=)`.
        cache : as for `graph.run`.

        Raises what a node's `check()` raises before anything is started, out of the
        iterator NodeExecutionError when a node fails and RunTimeoutError when the time is over. Leaving the
        loop closes everything that is open.
        """
        events = self.start(
            input,
            context,
            run_id=run_id,
            files=files,
            on_no_answer=on_no_answer,
            max_concurrency=max_concurrency,
            timeout=timeout,
            fail_fast=fail_fast,
            budget=budget,
            cache=cache,
        ).events()
        return self._modes.over(events) if self._modes else events

    @named_options
    def stream(
        self,
        input: Any,
        context: ExecutionContext | None = None,
        mode: str = StreamMode.VALUES,
        **options: Any,
    ) -> AsyncGenerator[Any, None]:
        """Run the graph and yield what a stream mode makes of it.

        Parameters: mode, a member of StreamMode or its name, as for `graph.stream`; options, of `execute`.
        Raises UnknownNameError for another mode, else as `execute`.
        """
        chosen = stream_mode(mode)
        events = self.start(input, context, **options).events()
        return adapted(events, chosen, context.state if context is not None else None)

    @named_options
    def start(
        self,
        input: Any,
        context: ExecutionContext | None = None,
        *,
        run_id: str | None = None,
        files: Any = None,
        on_no_answer: Policy = "stop",
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget: Budget | None = None,
        cache: Any = None,
    ) -> Execution:
        """Return an Execution, which begins when it is iterated; parameters and errors as for `execute`."""
        _check_names(context, run_id)
        for check in self.graph.checks:
            check()
        if files is not None:
            input = with_files(input, files)
            self._check_files(input)
        limit, seconds, kept = check_concurrency(max_concurrency), check_timeout(timeout), cache_of(cache)
        execution = Execution(
            self.graph,
            self.backend,
            input,
            context,
            run_id or new_run_id(),
            on_no_answer=check_policy(on_no_answer),
        )
        execution.context.budget, execution.context.fail_fast = budget, _switch(fail_fast)
        execution.context.cache = kept or None
        execution.limit_concurrency(limit)
        if seconds is not None:
            execution.timeout = seconds
        return execution

    @named_options
    def resume(
        self,
        run_id: str,
        answers: dict[str, Answer] | None = None,
        *,
        variables: dict[str, Any] | None = None,
        caller: ExecutionContext | None = None,
        budget: Budget | None = None,
        on_no_answer: Policy = "stop",
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        cache: Any = None,
    ) -> Execution:
        """Return an Execution that goes on with a run that broke off, failed, was cancelled, or waits.

        Nodes that have completed are not run again. In one that has not, model calls and tool calls that
        completed are taken from the log.

        Parameters
        ----------
        answers : to open questions, by interrupt id.
        variables : values for those whose names look like secrets, which no log keeps.
        caller : the context that state and history go back to; None keeps them in the run.
        budget : what the whole run may spend; None takes the limits that it began with. What it has spent
            counts.
        on_no_answer, max_concurrency, timeout, fail_fast, cache : as for `execute`; they are not in the log.

        Raises RunNotFoundError; InputError for a run that is complete or still runs, an answer to no open
        question, or a missing variable; GraphValidationError when the log is not one of this graph; and what
        `check()` of a node raises. Nothing is started then.
        """
        policy, kept = check_policy(on_no_answer), cache_of(cache)
        limit, seconds, first = check_concurrency(max_concurrency), check_timeout(timeout), _switch(fail_fast)
        for check in self.graph.checks:
            check()
        stored = revealed(self.backend.load(run_id))
        past = fitting(past_of(stored, self.graph, answers), self.graph)
        context = context_of(past, variables)
        context.budget = budget or Budget.like(past.events)
        if context.budget is not None:
            context.budget.recall(past.events)
        execution = Execution(
            self.graph,
            self.backend,
            past.begin["input"],
            context,
            run_id,
            on_no_answer=policy,
            past=past,
            caller=caller,
        )
        execution.context.fail_fast, execution.timeout = first, seconds
        execution.context.cache = kept or None
        execution.limit_concurrency(limit)
        for event in past.open_questions():  # They can be answered before the nodes have asked them again.
            execution.desk.register(event)
        if (reuse := again(stored.header.get("taken_from"), self.backend, self.graph)) is not None:
            execution.take_from(reuse)
        return execution

    def _check_files(self, input: Any) -> None:
        """Let the nodes that the run begins with refuse its attachments, before anything is sent."""
        found = files_of(input)
        for index in self.graph.plan.targets[START] if found else ():
            check = getattr(self.graph.by_index[index], "check_files", None)
            if check is not None:
                check(found)


def _switch(fail_fast: Any) -> bool:
    if not isinstance(fail_fast, bool):
        raise InputError(f"fail_fast= is True or False, not {shown(fail_fast)}.")
    return fail_fast


def _check_names(context: Any, run_id: Any) -> None:
    if context is not None and not isinstance(context, ExecutionContext):
        raise InputError(f"context= is an ExecutionContext, not {shown(context)}.")
    if run_id is not None and not isinstance(run_id, str):
        raise InputError(f"run_id= is text, not {shown(run_id)}.")
