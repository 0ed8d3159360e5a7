"""Many runs of one graph: what each gave, what failed, what they cost together. Made by `mesh_nb.batch`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, cast, overload

from ..core import tape
from ..core._awaiting import awake, in_cell
from ..core._summary import PREVIEW
from ..core.errors import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    MeshError,
    MeshInterrupted,
    told,
)
from ..core.run import Run
from ..core.runner import host_name, private_loop
from ..core.runs import new_run_id
from ._batch_forecast import Forecast, dollars, reckon, span
from ._batch_inputs import Inputs

WAITING, RUNNING = "not started", "running"
_OURS = frozenset({"content", "tool_calls", "files"})
"""What outputs have beside what the user's own nodes put there."""
_NONE_CAN = (AuthenticationError, ConfigurationError, BudgetExceededError)
"""What ends one run and would end every other."""


@dataclasses.dataclass(slots=True, eq=False)
class BatchRow:
    """One input of a Batch and what came of it.

    label : its label in the index or mapping, else its position. input : what the run was given.
    id : of the run, None before it begins. status : "not started", "running", or that of the run.
    text, output, error, usage, cost_usd, unpriced_calls, duration_ms : as of a Run, once it has ended.
    cached : whether every answer came from the cache or a tape, so that none was paid for.
    """

    label: Any
    input: Any
    id: str | None = None
    status: str = WAITING
    text: str = ""
    output: Any = None
    error: str | None = None
    usage: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    cost_usd: float | None = None
    unpriced_calls: int = 0
    duration_ms: float | None = None
    cached: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """What the output has beside its text, by name: of an `output_type` the answer's fields."""
        if not isinstance(self.output, Mapping):
            return {}
        known = cast("Mapping[Any, Any]", self.output)
        if "parsed" not in known:
            return {str(name): value for name, value in known.items() if name not in _OURS}
        parsed = known["parsed"]
        if hasattr(parsed, "model_dump"):
            parsed = parsed.model_dump()
        elif dataclasses.is_dataclass(parsed) and not isinstance(parsed, type):
            parsed = dataclasses.asdict(parsed)
        if isinstance(parsed, Mapping):
            return {str(name): value for name, value in cast("Mapping[Any, Any]", parsed).items()}
        return {"parsed": parsed}

    def load(self) -> Run:
        """Return the whole Run from the log. Raises RunNotFoundError for one that has not begun."""
        return Run.load(self.id or "")

    def _take(self, run: Run) -> None:
        """Keep what a run that has ended gave; the run itself, with all its events, is let go."""
        self.text, self.output, self.error = run.text, run.output, run.error
        self.usage, self.cost_usd = run.usage, run.cost_usd
        self.unpriced_calls, self.duration_ms = run.unpriced_calls, run.duration_ms
        calls = [e.metadata for e in run.events if e.type == "response_metadata"]
        self.cached = bool(calls) and all(c.get("cached") or c.get("replayed") for c in calls)
        self.status = run.status


class Batch:
    """The runs of `mesh_nb.batch`, one for each input.

    `await batch` waits for all of them and returns it; `len(batch)`, `batch[3]` and iteration give its rows.
    rows : a BatchRow for each input, in order. inputs : what they came from. error : why no further runs
    began, None when all did. concurrency, max_failures, background : as given.
    """

    def __init__(
        self,
        over: Inputs,
        run: Callable[[Any], Run],
        concurrency: int,
        max_failures: int | None = None,
        background: bool = False,
    ) -> None:
        self.id, self.inputs, self.background = f"batch-{new_run_id()}", over, background
        self.rows = [BatchRow(label, item) for label, item in zip(over.labels, over.items, strict=True)]
        self.error: str | None = None
        self.concurrency, self.max_failures = concurrency, max_failures
        self._run, self._begun = run, time.monotonic()
        self._going: set[Run] = set()
        self._stopped = False
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._watchers: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """Whether all runs that were to begin have ended."""
        return self._ended.done()

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are of each status."""
        return dict(Counter(row.status for row in self.rows))

    @property
    def failed(self) -> list[BatchRow]:
        """The rows whose runs ended in an error."""
        return [row for row in self.rows if row.error is not None and row.status != "completed"]

    @property
    def texts(self) -> list[str]:
        """The answers in the order of the inputs, "" where there is none."""
        return [row.text for row in self.rows]

    @property
    def outputs(self) -> list[Any]:
        """The outputs in the order of the inputs, None where there is none."""
        return [row.output for row in self.rows]

    @property
    def run_ids(self) -> list[str]:
        """The ids of the runs that have begun, as `calls_df` and the other frames take them."""
        return [row.id for row in self.rows if row.id is not None]

    @property
    def cost_usd(self) -> float | None:
        """US dollars of the runs that have ended, those of unknown price left out; None when that is all."""
        known = [row.cost_usd for row in self.rows if row.cost_usd is not None]
        return math.fsum(known) if known else None

    @property
    def unpriced_calls(self) -> int:
        """How many model calls have no known price and are missing from `cost_usd`."""
        return sum(row.unpriced_calls for row in self.rows)

    def cancel(self) -> None:
        """Stop the runs that go on and begin no others; safe on any thread, and when all have ended."""
        self._stopped = True
        for run in list(self._going):
            run.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until all runs have ended, or for that many seconds; says whether they have.

        Not for the thread whose event loop they live on: use `await` there. Ctrl-C or a kernel interrupt
        stops them and raises MeshInterrupted.
        """
        try:
            self._ended.result(timeout)
        except (TimeoutError, concurrent.futures.TimeoutError):
            return False
        except KeyboardInterrupt:
            self.cancel()
            self._ended.result()
            raise self._interrupted() from None
        return True

    def to_pandas(self) -> Any:
        """Return a DataFrame with one row for each input, under the labels of the inputs: `df.join` takes it.

        Columns: text; the fields of a structured answer, or of an output that is a dict; status, error,
        tokens, cost_usd, duration_ms and run_id. One that the table of the inputs has as well is called
        "output_" and its name. `df.attrs["columns"]` has their units.
        """
        from ..frames._batch import batch_df

        return batch_df(self)

    def forecast(self, rows: int) -> Forecast:
        """Reckon what so many rows will cost and take from the rows of this batch that were paid for.

        sample = await mesh.batch("gpt-5-mini", df["text"].head(20))
        sample.forecast(len(df))

        Raises InputError for a number below 1, and when no row was completed and asked anew.
        """
        return reckon(self.rows, rows, self.concurrency)

    def show(self) -> None:
        """Show the batch: its progress, then in a notebook's cell its first rows."""
        name = host_name(None)
        if name == "notebook":
            from ._batch_view import show

            show(self)
        elif name != "marimo":
            from ._batch_bar import follow

            follow(self)

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back, on the loop of the runs, whenever a run has begun or ended, and when all have."""
        self._watchers.append(callback)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[BatchRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, at: int) -> BatchRow: ...
    @overload
    def __getitem__(self, at: slice) -> list[BatchRow]: ...
    def __getitem__(self, at: int | slice) -> BatchRow | list[BatchRow]:
        return self.rows[at]

    def __await__(self) -> Generator[Any, None, Batch]:
        return self._wait().__await__()

    async def _wait(self) -> Batch:
        try:
            with awake():
                await asyncio.shield(asyncio.wrap_future(self._ended))
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.shield(asyncio.wrap_future(self._ended))
            if in_cell():
                raise self._interrupted() from None
            raise
        if self._stopped and in_cell():
            raise self._interrupted()
        return self

    def _interrupted(self) -> MeshInterrupted:
        done = self.counts.get("completed", 0)
        return MeshInterrupted(f"Stopped: {done:,} of {len(self.rows):,} rows are complete.", run=self)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._drive(), name=f"mesh_nb {self.id}")

    async def _drive(self) -> None:
        left = iter(self.rows)

        async def work() -> None:
            for row in left:
                if self._stopped or self.error is not None:
                    return
                await self._one(row)

        try:
            await asyncio.gather(*(work() for _ in range(min(self.concurrency, len(self.rows)))))
        finally:
            self._ended.set_result(None)
            self._changed()

    async def _one(self, row: BatchRow) -> None:
        try:
            run = self._run(row.input)
        except MeshError as error:
            row.status, row.error = "failed", told(error)
            self._look_at(error)
            self._changed()
            return
        row.id, row.status = run.id, RUNNING
        self._going.add(run)
        self._changed()
        ended = asyncio.Event()
        run.add_done_callback(lambda _: ended.set())
        await ended.wait()
        self._going.discard(run)
        # Prices are looked up here, and the first of a process imports them.
        await asyncio.to_thread(row._take, run)
        self._stopped = self._stopped or run.status == "cancelled"
        if run.exception is not None:
            self._look_at(run.exception)
        self._changed()

    def _look_at(self, error: BaseException) -> None:
        """Begin no further runs after an error that each of them would meet, or after too many errors."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, _NONE_CAN):
                self.error = self.error or told(cause)
                return
            cause = getattr(cause, "cause", None)
        if self.max_failures is not None and len(self.failed) >= self.max_failures:
            self.error = self.error or f"max_failures={self.max_failures}: that many runs have failed."

    def _changed(self) -> None:
        for callback in self._watchers:
            callback()

    def _ipython_display_(self) -> None:
        if host_name(None) != "notebook":
            raise NotImplementedError  # IPython then shows the repr
        from ._batch_view import display

        display(self)

    def _repr_html_(self) -> str:
        from ._batch_view import frozen

        return frozen(self)["text/html"]

    def __repr__(self) -> str:
        lines = [headline(self), *([self.error] if self.error else [])]
        lines += [f"{row.label!r}: {row.error}" for row in self.failed[:3]]
        return "\n".join(line if len(line) <= 4 * PREVIEW else f"{line[: 4 * PREVIEW]}…" for line in lines)


def begin(batch: Batch) -> None:
    """Let the runs of a batch begin on the loop of this thread, or on the private one."""
    with tape.held():
        if asyncio._get_running_loop() is None or batch.background:
            private_loop().call_soon_threadsafe(batch._begin, context=contextvars.copy_context())
        else:
            batch._begin()


def headline(batch: Batch) -> str:
    """Return what became of a batch, in one line."""
    counts, total = batch.counts, len(batch.rows)
    last = {status: counts.pop(status, 0) for status in (RUNNING, WAITING)}
    parts = [f"{counts.pop('completed', 0):,} of {total:,} row{'' if total == 1 else 's'} complete"]
    parts += [f"{n:,} {status}" for status, n in (*sorted(counts.items()), *last.items()) if n]
    if batch.cost_usd is not None:
        some = f", {batch.unpriced_calls:,} calls unpriced" if batch.unpriced_calls else ""
        parts.append(f"{dollars(batch.cost_usd)}{some}")
    elif batch.unpriced_calls:
        parts.append("unpriced")
    if cached := sum(row.cached for row in batch.rows):
        parts.append(f"{cached:,} asked nothing anew")
    return " · ".join(parts)


def progress(batch: Batch) -> str:
    """Return how far a batch is, and the time that is left once that can be told."""
    line = headline(batch)
    ended = sum(row.status not in (WAITING, RUNNING) for row in batch.rows)
    if batch.done or ended < batch.concurrency:
        return line
    took = time.monotonic() - batch._begun
    return f"{line} · {span(took / ended * (len(batch.rows) - ended))} to go"
