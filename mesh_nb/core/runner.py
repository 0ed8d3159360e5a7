"""Where a run lives: on the loop of the calling thread, or on one private loop thread.

The only home of nest_asyncio, which is used when `nested=True` asks for it and never otherwise.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from . import plugins, tape
from ._earlier import earlier
from .budget import Budget
from .context import ExecutionContext
from .errors import InputError, MeshInterrupted, shown
from .executor import Executor
from .interrupts import Policy, check_policy
from .reuse import Reuse
from .run import Run
from .runs import live_runs, new_run_id, remember

CLOSE_SECONDS = 2.0

_logger = logging.getLogger("mesh_nb")
_sessions: dict[str, ExecutionContext] = {}
_lock = threading.Lock()
_private: asyncio.AbstractEventLoop | None = None


def start(
    graph: Any,
    input: Any,
    *,
    session_id: str | None = None,
    variables: dict[str, Any] | None = None,
    files: Any = None,
    backend: Any = None,
    display: bool | None = None,
    background: bool = False,
    on_no_answer: Policy | None = None,
    max_concurrency: int | None = None,
    timeout: float | None = None,
    fail_fast: bool = True,
    budget: Budget | None = None,
    cache: Any = None,
    reuse: Any = None,
) -> Run:
    """Start a run of a compiled graph and return it; parameters as for `graph.run`.

    It lives on the loop that runs in this thread, if there is one and background is False, else on the
    private loop thread. Raises what the graph's checks raise; nothing was started then.
    """
    if session_id is not None and not isinstance(session_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"session_id= is text, not {shown(session_id)}.")
    check_options(variables, backend, display, background)
    loop = None if background else asyncio._get_running_loop()
    context = _context(graph, session_id, variables)
    run_id = new_run_id()
    store = backend if backend is not None else default_backend()
    policy = _policy(on_no_answer, display, background)
    execution = Executor(graph, store).start(
        input,
        context,
        run_id=run_id,
        files=files,
        on_no_answer=policy,
        max_concurrency=max_concurrency,
        timeout=timeout,
        fail_fast=fail_fast,
        budget=budget,
        cache=cache,
    )
    if reuse is not None and reuse is not False:
        found = earlier(graph, store, reuse)
        if found is not None:
            execution.take_from(Reuse(found, graph))
    run = Run(run_id, graph=graph, session_id=context.session_id)
    run._store = store
    run._options = chosen(locals())
    return _started(run, execution, loop, display)


def check_options(variables: Any, backend: Any, display: Any = None, background: Any = False) -> None:
    """Raise InputError for variables, a backend and switches that cannot be meant."""
    if display is not None and not isinstance(display, bool):
        raise InputError(f"display= is True, False or None, not {shown(display)}.")
    if not isinstance(background, bool):
        raise InputError(f"background= is True or False, not {shown(background)}.")
    if variables is not None and not isinstance(variables, dict):
        raise InputError(f"variables= is a dict of names and values, not {shown(variables)}.")
    if backend is not None and not hasattr(backend, "open"):
        raise InputError(f"backend= is a MemoryBackend() or a FileBackend(), not {shown(backend)}.")


def chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the options was chosen of those that a run hands on to the runs that come of it."""
    return {name: options[name] for name, usual in _HANDED_ON.items() if options[name] is not usual}


_HANDED_ON: dict[str, Any] = {
    "display": None,
    "background": False,
    "on_no_answer": None,
    "max_concurrency": None,
    "timeout": None,
    "fail_fast": True,
    "cache": None,
}


def _started(run: Run, execution: Any, loop: asyncio.AbstractEventLoop | None, display: bool | None) -> Run:
    """Let a run begin on this thread's loop, or on the private one when there is none."""
    with tape.held():
        run._desk = execution.desk
        run.header = execution.header
        run._loop = loop or private_loop()
        remember(run)
        _show(run, display)
        if loop is not None:
            run._begin(execution)
        else:
            run._loop.call_soon_threadsafe(run._begin, execution, context=contextvars.copy_context())
    return run


def run_sync(
    graph: Any,
    input: Any,
    *,
    session_id: str | None = None,
    variables: dict[str, Any] | None = None,
    files: Any = None,
    backend: Any = None,
    display: bool | None = None,
    nested: bool = False,
    on_no_answer: Policy | None = None,
    max_concurrency: int | None = None,
    timeout: float | None = None,
    fail_fast: bool = True,
    budget: Budget | None = None,
    cache: Any = None,
    reuse: Any = None,
) -> Run:
    """Run a compiled graph to its end while this thread waits; parameters as for `graph.run`.

    It runs on the private loop thread. Ctrl-C or a kernel interrupt cancels it.

    nested : True runs on the loop that is running in this thread, through nest_asyncio, for clients and locks
        that are bound to it. The price: nest_asyncio replaces asyncio's Task and Future in the whole process;
        with ipykernel 7 it loses the next queued cell and the messages of widgets, and an interrupt may leave
        a paid stream running. Prefer `await graph.run(...)`.

    Raises NodeExecutionError when a node fails, MeshInterrupted when it was stopped; `.run` of either has
    what was obtained. Raises InputError when it is called on the private loop itself, which it would block.
    """
    options: dict[str, Any] = {
        "session_id": session_id,
        "variables": variables,
        "files": files,
        "backend": backend,
        "display": display,
        "max_concurrency": max_concurrency,
        "timeout": timeout,
        "fail_fast": fail_fast,
        "budget": budget,
        "cache": cache,
        "reuse": reuse,
        # Nothing that a page sends is heard while this thread waits.
        "on_no_answer": "stop" if on_no_answer is None else on_no_answer,
    }
    given = {**options, "background": False, "on_no_answer": on_no_answer}
    if nested:
        return _run_nested(graph, input, options)
    if asyncio._get_running_loop() is _private and _private is not None:
        raise InputError("run_sync() inside a run would wait for itself; use `await graph.run(...)` there.")
    run = start(graph, input, background=True, **options)
    run._options = chosen(given)
    return wait_here(run)


def wait_here(run: Run) -> Run:
    """Block this thread until a run of the private loop has ended; Ctrl-C or a kernel interrupt cancels it.

    Raises as `run_sync` does.
    """
    try:
        run.wait()
    except KeyboardInterrupt:
        run.cancel()
        run.wait()
        raise MeshInterrupted(run=run) from None
    return _outcome(run)


def _run_nested(graph: Any, input: Any, options: dict[str, Any]) -> Run:
    loop = asyncio._get_running_loop()
    if loop is None:
        return asyncio.run(_start_and_wait(graph, input, options))
    import nest_asyncio

    nest_asyncio.apply(loop)
    run = start(graph, input, **options)
    try:
        loop.run_until_complete(run._feed.closed())
    except KeyboardInterrupt:
        run.cancel()
        loop.run_until_complete(run._feed.closed())
        raise MeshInterrupted(run=run) from None
    return _outcome(run)


async def _start_and_wait(graph: Any, input: Any, options: dict[str, Any]) -> Run:
    return await start(graph, input, **options)


def _outcome(run: Run) -> Run:
    if run.exception is None and run.status == "cancelled":
        raise MeshInterrupted(run=run)
    return run.result()


def default_backend() -> Any:
    """Return the project's log, or memory when MESH_LOG=off."""
    off = os.environ.get("MESH_LOG", "").strip().lower() in ("off", "0", "false", "no")
    return plugins.find("backend", "memory" if off else "file")()


def host_name(display: bool | None) -> str:
    """Return the host that shows a run: "notebook" in a kernel, "marimo" there, "terminal" in IPython without
    a kernel, unless display is False; else "plain"."""
    if display is not False and in_marimo():
        return "marimo"
    shell = sys.modules.get("IPython.core.interactiveshell")
    if display is False or shell is None or not shell.InteractiveShell.initialized():
        return "plain"
    return (
        "notebook" if getattr(shell.InteractiveShell.instance(), "kernel", None) is not None else "terminal"
    )


def in_marimo() -> bool:
    """Say whether this is a kernel of marimo, or its export."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and bool(getattr(marimo, "running_in_notebook", bool)())


def _policy(given: Policy | None, display: bool | None, background: bool) -> Policy:
    """Return on_no_answer: by default a run waits where its host has a way to answer, else it stops."""
    if given is not None:
        return check_policy(given)
    answers = getattr(plugins.find("host", host_name(display)), "answers", None)
    return "wait" if answers is not None and answers(background) else "stop"


def _show(run: Run, display: bool | None) -> None:
    name = host_name(display)
    try:
        plugins.find("host", name).show(run)
    except Exception:
        # A view that fails must not cost the answer that somebody pays for.
        _logger.exception("Run %s cannot be shown by host %r; it runs all the same.", run.id, name)


def _context(graph: Any, session_id: str | None, variables: dict[str, Any] | None) -> ExecutionContext:
    """Return the session's context, kept in this process, or a fresh one without a session."""
    if not session_id:
        return ExecutionContext(graph_id=graph.graph_id, variables=dict(variables or {}))
    context = session(session_id, graph.graph_id)
    if variables:
        context.variables.update(variables)
    return context


def session(session_id: str, graph_id: str = "") -> ExecutionContext:
    """Return what this process keeps of a session: chat history, state and variables; a new one is empty."""
    with _lock:
        return _sessions.setdefault(session_id, ExecutionContext(graph_id=graph_id, session_id=session_id))


def private_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of the one daemon thread that serves all runs without a loop of their own."""
    global _private
    with _lock:
        if _private is None:
            _private = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(_private,), name="mesh_nb runs", daemon=True).start()
        return _private


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while loop is _private:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Somebody's callback; the other runs, and those to come, must not wait for a loop that is dead.
            _logger.exception("A callback tried to end the loop of the background runs; it goes on.")


def _close_private() -> None:
    """Cancel what still runs at exit, so that logs end and connections close."""
    global _private
    loop, _private = _private, None
    if loop is None or not loop.is_running():
        return
    going = [run.id for run in live_runs() if run._loop is loop]
    if going and "ipykernel" not in sys.modules:
        _logger.warning(
            "Python ends before these runs have, so they are cancelled: %s. In a script, graph.run_sync(...)"
            " or run.wait() waits for the end.",
            ", ".join(going),
        )
    with contextlib.suppress(TimeoutError):
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(CLOSE_SECONDS)
    loop.call_soon_threadsafe(loop.stop)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _after_fork() -> None:
    global _private, _lock
    _private, _lock = None, threading.Lock()


atexit.register(_close_private)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
