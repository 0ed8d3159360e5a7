"""New runs that begin where an earlier one was."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from .backend import StoredRun
from .budget import Budget
from .errors import InputError, shown
from .events import EventType, canonical
from .executor import Executor
from .interrupts import Policy
from .resume import begin_of, context_of_begin
from .reuse import Reuse, place
from .run import Run
from .runs import here, new_run_id

LOOK_BACK = 200
"""How many of the newest runs are looked through for one to reuse."""


def earlier(graph: Any, store: Any, reuse: Any) -> StoredRun | None:
    """Return the run to reuse: the one that is named, or the newest of a graph of this name, or None.

    Raises RunNotFoundError for a run that the log does not have, InputError for what names none.
    """
    if isinstance(reuse, (Run, str)):
        return stored(store, reuse.id if isinstance(reuse, Run) else reuse)
    if reuse is not True:
        raise InputError(f"reuse= is True, a run or its id, not {shown(reuse)}.")
    read = getattr(store, "summary", store.load)
    for run_id in itertools.islice(store.run_ids(), LOOK_BACK):
        own = here(run_id)
        if (own is None or own.done) and read(run_id).header.get("graph_id") == graph.graph_id:
            return stored(store, run_id)
    return None


def stored(store: Any, run_id: str) -> StoredRun:
    """Return a run of the log; outputs that this process still has come as the objects that they were.

    Raises RunNotFoundError.
    """
    found: StoredRun = store.load(run_id)
    own = here(run_id)
    if own is not None and own.done:
        alive = {e.seq: e for e in own.events if e.type == EventType.NODE_COMPLETE}
        for n, event in enumerate(found.events):
            kept = alive.get(event.seq)
            if kept is not None and canonical(kept.output) == canonical(event.output):
                found.events[n] = kept
    return found


def fork(
    graph: Any,
    run_id: str,
    at: str | int | None,
    patch: dict[str, Any] | None,
    *,
    variables: dict[str, Any] | None = None,
    backend: Any = None,
    display: bool | None = None,
    background: bool = False,
    on_no_answer: Policy | None = None,
    budget: Budget | None = None,
) -> Run:
    """Start a run like an earlier one: from a place in it, or all of it when `at` is None."""
    from . import runner

    loop = None if background else asyncio._get_running_loop()
    own = here(run_id)
    store = backend or (own._store if own is not None else None) or runner.default_backend()
    past = stored(store, run_id)
    begin = begin_of(past)
    changes = dict(patch or {})
    context = context_of_begin(begin, variables)
    context.graph_id = graph.graph_id
    new = new_run_id()
    execution = Executor(graph, store).start(
        changes.pop("START", begin["input"]),
        context,
        run_id=new,
        on_no_answer=runner._policy(on_no_answer, display, background),
        budget=budget,
    )
    if at is not None:
        execution.take_from(Reuse(past, graph, place(past.events, at), changes))
    run = Run(new, graph=graph)
    run._store = store
    return runner._started(run, execution, loop, display)
