"""The handle of one execution: what it has obtained so far, its end, and its cancel."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import plugins
from ._answering import Answering
from ._awaiting import awake, in_cell
from ._ending import error_text
from ._feed import Feed
from ._files import RunFile, save_all
from ._fold import Fold
from ._named import named_options
from ._summary import line
from .backend import Backend, StoredRun
from .errors import MeshError, MeshInterrupted, RunError, is_interrupt, told
from .events import EventType, ExecutionEvent, Source
from .modes import Lens
from .runs import here, project_log

YIELD_SECONDS = 0.005


class Run(Answering):
    """One execution of a graph, made by `graph.run(...)`.

    `await run` waits for its end and returns it; `async for event in run` reads every event from the first,
    at any time, by any number of readers, on any loop. Cancelling the task that awaits a run cancels the run.
    Everything it has obtained is here while it runs and after it failed.
    """

    def __init__(self, run_id: str, *, graph: Any = None, session_id: str = "") -> None:
        self.id, self.graph = run_id, graph
        self.problems: list[str] = []
        self.header: dict[str, Any] = {}
        self.iterated = False
        self.exception: BaseException | None = None
        self._session_id = session_id
        self._options = {}
        self._feed = Feed()
        self._fold = Fold(self._feed.events)
        self._unfinished = "running"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = self._stopping = self._driving = False
        self._on_done: list[Callable[[Run], None]] = []

    @classmethod
    @named_options
    def load(cls, run_id: str, backend: Backend | None = None) -> Run:
        """Read a run from the log.

        Parameters: run_id, as in `run.id` or `mesh_nb.runs()`; backend, None for this project's `.mesh/`.
        A run whose process died has the status "interrupted" and its partial text; one that another process
        still executes says "running". One that runs in this process is returned itself.
        Raises RunNotFoundError with the nearest id.
        """
        own = here(run_id)
        if own is not None and not own.done and backend is None:
            return own
        return cls._stored((backend or project_log()).load(run_id))

    @classmethod
    def _stored(cls, stored: StoredRun) -> Run:
        run = cls(stored.run_id)
        run._feed = Feed(stored.events, done=True)
        run._fold = Fold(stored.events)
        run._unfinished = "running" if stored.live else "interrupted"
        run.problems, run.header = list(stored.problems), dict(stored.header)
        run._session_id = str(stored.header.get("session_id") or "")
        return run

    @property
    def events(self) -> list[ExecutionEvent]:
        """Every event so far, in order; read it, do not change it."""
        return self._feed.events

    @property
    def done(self) -> bool:
        """Whether no more events will come."""
        return self._feed.done

    @property
    def status(self) -> str:
        """running, completed, failed, cancelled, interrupted, budget or timeout."""
        return self._fold.now().status or self._unfinished

    @property
    def text(self) -> str:
        """The final answer as text; before the end, or without one, all answer text so far."""
        return self._fold.text

    @property
    def output(self) -> Any:
        """The output of the run, None before its end."""
        return self._fold.now().output

    @property
    def input(self) -> Any:
        """What the run was started with, as far as the log keeps it."""
        return self._fold.now().input

    @property
    def usage(self) -> dict[str, int]:
        """Token counts summed over all model calls so far; what no provider reported is absent."""
        return dict(self._fold.now().usage)

    @property
    def cost_usd(self) -> float | None:
        """US dollars so far, summed over the calls whose price is known; None when that is none of them.

        `unpriced_calls` says how many are missing from the sum. The first price of a process that no provider
        told takes about half a second, because the price data is imported.
        """
        return self._fold.cost[0]

    @property
    def billed_usd(self) -> float | None:
        """US dollars that the events themselves tell, None when they tell none; nothing is looked up."""
        return self._fold.billed

    @property
    def unpriced_calls(self) -> int:
        """How many model calls have no known price and are missing from `cost_usd`."""
        return self._fold.cost[1]

    @property
    def files(self) -> list[RunFile]:
        """Files that the run produced so far; `await file.fetch()` gets one that the provider kept."""
        return [file.of(self.graph) for file in self._fold.now().files]

    @property
    def sources(self) -> list[Source]:
        """Sources so far, one for each URL, those that the answer cites first."""
        found = list(self._fold.now().sources.values())
        return sorted(found, key=lambda source: source.get("kind") != "cited")

    @property
    def error(self) -> str | None:
        """What went wrong, as text, None when nothing did."""
        fold = self._fold.now()
        if fold.error is None and self.exception is not None:
            return error_text(self.exception)
        return fold.error or (fold.node_error if fold.status != "completed" else None)

    @property
    def session_id(self) -> str:
        """The session whose history and state the run shares."""
        return self._session_id or self._fold.now().session_id

    @property
    def graph_id(self) -> str:
        """The graph that was run."""
        return self._fold.now().graph_id or str(getattr(self.graph, "graph_id", ""))

    @property
    def started_at(self) -> datetime | None:
        """When the run began, in UTC."""
        started = self._fold.now().started
        return None if started is None else datetime.fromtimestamp(started, UTC)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from the first event to the end, or to the last event so far."""
        fold = self._fold.now()
        if fold.duration_ms is not None or fold.started is None:
            return fold.duration_ms
        return (self.events[-1].timestamp - fold.started) * 1000

    def cancel(self) -> None:
        """Stop the run and close its connections; safe on any thread, and when it has ended already.

        It returns at once. `await run` or `run.wait()` tells when everything is closed.
        """
        if self.done or self._cancelled:
            return
        self._cancelled = True
        loop = self._loop
        if loop is None:
            return
        if asyncio._get_running_loop() is loop:
            self._stop()
            return
        try:
            loop.call_soon_threadsafe(self._stop)
        except RuntimeError:
            self._finish()  # its loop is closed, and with it whatever the run was doing

    @named_options
    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until the run has ended, or for that many seconds; says whether it has.

        Not for the thread whose event loop the run lives on: use `await run` there.
        """
        return self._feed.wait(timeout)

    def subscribe(self, callback: Callable[[ExecutionEvent], None]) -> Callable[[], None]:
        """Call back on the run's loop with every event from now on; returns a function that ends it.

        The last event is always execution_complete or execution_error. A callback that raises is reported
        and gets no more events.
        """
        return self._feed.subscribe(callback)

    def add_done_callback(self, callback: Callable[[Run], None]) -> None:
        """Call back once, on the run's loop, when the run has ended and is closed; at once if it has."""
        if self.done:
            callback(self)
        else:
            self._on_done.append(callback)

    @named_options
    def save_files(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Save the run's files into a directory and return their paths.

        Names are made safe and stay inside the directory; a taken name gets " (2)"; nothing is overwritten.
        One that was not fetched is not saved, and a warning says so. Raises OSError.
        """
        return save_all(self.files, directory)

    @named_options
    def to_pandas(self, frame: str = "calls") -> Any:
        """Return a DataFrame of this run. Raises UnknownNameError with the frames there are."""
        return plugins.find("frame", frame)(self)

    @named_options
    def show(self, host: str | None = None) -> None:
        """Show the run here: in the notebook's cell where there is one. Raises UnknownNameError."""
        from .runner import host_name

        plugins.find("host", host or host_name(None)).show(self)

    def _ipython_display_(self) -> None:
        from .runner import host_name

        name = host_name(None)
        if name not in ("notebook", "terminal"):
            raise NotImplementedError  # IPython then shows the repr
        plugins.find("host", name).display(self)

    def _display_(self) -> Any:  # marimo alone asks for it
        return plugins.find("host", "marimo").displayed(self)

    def __await__(self) -> Generator[Any, None, Run]:
        return self._wait().__await__()

    async def __aiter__(self) -> AsyncIterator[ExecutionEvent]:
        self.iterated = True
        lens = Lens()
        with awake():
            async for batch in self._feed.batches():
                for event in lens(batch):
                    yield event

    async def _wait(self) -> Run:
        try:
            with awake(self.cancel):
                await self._feed.closed()
        except asyncio.CancelledError:
            self.cancel()
            await self._feed.closed()
            if in_cell():
                raise MeshInterrupted(run=self) from None
            raise
        return self.result()

    def result(self) -> Run:
        """Return the run when it has ended well; else raise what ended it.

        Raises NodeExecutionError when it failed, RunTimeoutError when its time was over,
        asyncio.CancelledError when it was cancelled (MeshInterrupted in a notebook's cell).
        """
        if self.exception is not None:
            raise self.exception.with_traceback(None)
        if self._cancelled and self.status == "cancelled":
            raise (
                MeshInterrupted(run=self) if in_cell() else asyncio.CancelledError(f"{self.id} was cancelled")
            )
        return self

    def _stop(self) -> None:
        if self._stopping or self._task is None:
            return
        self._stopping = True
        # A task that is cancelled before its first step never runs and would leave the log without an ending;
        # one that cancels itself would hit its own clean-up. Both see the flag at their next event instead.
        if self._driving and asyncio.current_task() is not self._task:
            self._task.cancel()

    def _begin(self, execution: Any) -> None:
        """Start reading the execution on the running loop."""
        loop = self._loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._drive(execution), name=f"mesh_nb run {self.id}")
        self._task.add_done_callback(lambda _: self._finish())
        if self._cancelled:
            self._stop()

    async def _drive(self, execution: Any) -> None:
        self._driving = True
        stream, yielded = aiter(execution), 0.0
        try:
            async with contextlib.aclosing(stream):
                async for event in stream:
                    self._feed.add(event)
                    if self._stopping:
                        raise asyncio.CancelledError
                    if event.timestamp - yielded > YIELD_SECONDS:
                        # A burst that never waits would keep the readers on this loop from seeing it.
                        yielded = event.timestamp
                        await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._cancelled = True
        except Exception as error:  # noqa: BLE001  kept, and raised to whoever awaits the run
            self.exception = error
            if isinstance(error, RunError):
                error.run = self
        except BaseException as error:
            if is_interrupt(error):
                self._cancelled = True
                raise
            # Out of a task, a SystemExit would end the loop and every run on it.
            self.exception = MeshError(f"A node ended the run with {told(error)}.")
        finally:
            for event in execution.tail:
                self._feed.add(event)
            if problem := getattr(execution, "problem", None):
                self.problems.append(problem)

    def _finish(self) -> None:
        if self.done:
            return
        last = self.events[-1] if self.events else None
        if self._fold.now().status is None:  # The ending of an earlier part is none.
            status = "cancelled" if self._cancelled or self.exception is None else "failed"
            seq = last.seq + 1 if last else 0
            ending = ExecutionEvent(
                EventType.EXECUTION_ERROR, "START", metadata={"status": status}, run_id=self.id, seq=seq
            )
            ending.error = None if self.exception is None else error_text(self.exception)
            self._feed.add(ending)
        self._feed.close()
        for callback in self._on_done:
            callback(self)
        self._on_done.clear()

    def __reduce__(self) -> Any:
        # What a copy or another process can have of it: what the log has.
        if not self.done:
            raise TypeError(
                f"Run {self.id} still goes on and cannot be copied or pickled. Wait for it, or pass its id"
                " and call Run.load(id) there."
            )
        header = {**self.header, "session_id": self.session_id}
        return Run._stored, (StoredRun(self.id, header, self.events, problems=self.problems),)

    def __repr__(self) -> str:
        return f"<Run {self.id} {line(self)}>"
