"""Many runs of one graph: what each gave, what failed, what they cost together. Made by `mesh_nb.batch`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, overload

from ..core import tape
from ..core._awaiting import awake, in_cell
from ..core.errors import InputError, MeshError, MeshInterrupted, told
from ..core.run import Run
from ..core.runner import host_name, private_loop
from ..core.runs import new_run_id
from ._batch_forecast import Forecast, reckon
from ._batch_inputs import Inputs
from ._batch_limits import Room, ends_all
from ._batch_row import RUNNING, BatchRow
from ._batch_words import summary

_NOT_FAILED = frozenset({"completed", "cancelled", "interrupted"})
_RECENT = 64
"""Rows that ended last, by which the time that is left is reckoned."""
_PASSING = ("_run", "_going", "_watchers", "_ended", "_loop", "_task")
"""What a batch has only in the process in which it goes on."""

_logger = logging.getLogger("mesh_nb")


class Batch:
    """The runs of `mesh_nb.batch`, one for each input.

    `await batch` waits for all of them and returns it; `len(batch)`, `batch[3]` and iteration give its rows.
    rows : a BatchRow for each input, in order. inputs : what they came from. error : why no further runs
    began, None when all did. concurrency, max_failures, background : as given.
    """

    def __init__(
        self,
        over: Inputs,
        run: Callable[..., Run],
        concurrency: int,
        max_failures: int | None = None,
        background: bool = False,
        once: bool = False,
        backend: Any = None,
        budget_usd: float | None = None,
    ) -> None:
        self.id, self.inputs, self.background = f"batch-{new_run_id()}", over, background
        inputs = zip(over.labels, over.items, strict=True)
        self.rows = [BatchRow(label, item, _store=backend) for label, item in inputs]
        self.error: str | None = None
        self.concurrency, self.max_failures = concurrency, max_failures
        self._run, self._begun, self._once = run, time.monotonic(), once
        self._budget_usd = budget_usd
        self._recent: deque[float] = deque(maxlen=max(_RECENT, 4 * concurrency))
        self._failures = self._over = 0
        self._stopped = self._done = False
        self._broken: BaseException | None = None
        self._set_up()

    def _set_up(self) -> None:
        self._going: set[Run] = set()
        self._watchers: list[Callable[[], None]] = []
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def done(self) -> bool:
        """Whether all runs that were to begin have ended."""
        return self._done

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are of each status."""
        return dict(Counter(row.status for row in self.rows))

    @property
    def failed(self) -> list[BatchRow]:
        """The rows whose runs ended in an error; not those that somebody stopped."""
        return [row for row in self.rows if row.error is not None and row.status not in _NOT_FAILED]

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

        Ctrl-C or a kernel interrupt stops them and raises MeshInterrupted. Raises InputError on the thread
        whose event loop they live on, as in a notebook's cell, which it would block for ever: use `await`.
        """
        if not self._done and self._loop is not None and asyncio._get_running_loop() is self._loop:
            raise InputError(
                "wait() would block the event loop that the runs live on: write `await` before the batch, or"
                " start it with background=True."
            )
        try:
            self._ended.result(timeout)
        except TimeoutError:
            return False
        except KeyboardInterrupt:
            self.cancel()
            self._ended.result()
            raise self._interrupted() from None
        self._raise_bug()
        return True

    def to_pandas(self, inputs: bool = False) -> Any:
        """Return a DataFrame with one row for each input, under the labels of the inputs: `df.join` takes it.

        Columns: text; the fields of a structured answer, or of an output that is a dict; status, error,
        tokens, cost_usd, duration_ms and run_id. One that the table of the inputs has as well is called
        "output_" and its name. `df.attrs["columns"]` has their units.
        inputs : whether the columns of the inputs come first, those of polars and of a list too. A join by
        labels that repeat would multiply rows, and a warning says so; this does not.
        """
        from ..frames._batch import batch_df

        return batch_df(self, inputs)

    @property
    def stopping(self) -> bool:
        """Whether no further runs begin."""
        return self._stopped or self.error is not None

    @property
    def asking(self) -> int:
        """How many runs wait for a person's answer: `row.load().approve()` gives it."""
        return sum(bool(run.pending) for run in list(self._going))

    def seconds_left(self) -> float | None:
        """Reckon how long the other rows take by the pace of those that ended last; None before some have."""
        ended, now = len(self._recent), time.monotonic()
        if ended < min(self.concurrency, len(self.rows)):
            return None
        whole = ended == self._recent.maxlen
        pace = (now - (self._recent[0] if whole else self._begun)) / ended
        return pace * (len(self.rows) - self._over)

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
        try:
            if name == "notebook":
                from ._batch_view import show

                show(self)
            elif name == "marimo":
                from ._batch_view import show_in_marimo

                show_in_marimo(self)
            else:
                from ._batch_bar import follow

                follow(self)
        except Exception:
            _logger.exception("%s cannot be shown by host %r; it runs all the same.", self.id, name)

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back, on the loop of the runs, whenever a run has begun or ended, and when all have; at once
        if they have already. A callback that raises is reported and not called again.
        """
        self._watchers.append(callback)
        if self._done:
            self._changed()

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
            with awake(self.cancel):
                await asyncio.shield(asyncio.wrap_future(self._ended))
        except asyncio.CancelledError:
            self.cancel()
            await asyncio.shield(asyncio.wrap_future(self._ended))
            if in_cell():
                raise self._interrupted() from None
            raise
        self._raise_bug()
        if self._stopped and in_cell():
            raise self._interrupted()
        return self

    def _raise_bug(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _interrupted(self) -> MeshInterrupted:
        done = self.counts.get("completed", 0)
        on = " Run again, it asks only for the others." if self._once and done else ""
        return MeshInterrupted(f"Stopped: {done:,} of {len(self.rows):,} rows are complete.{on}", run=self)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._drive(), name=f"mesh_nb {self.id}")

    async def _drive(self) -> None:
        left, room = iter(enumerate(self.rows)), Room(self._budget_usd)
        asked = Counter(row.input for row in self.rows if isinstance(row.input, str))
        once = self._once and self.inputs.files is None
        twice = {text: asyncio.Lock() for text, times in asked.items() if times > 1 and once}
        free = contextlib.nullcontext()

        async def work() -> None:
            for at, row in left:
                if self.stopping:
                    return
                # What asks the same waits for the answer, which it finds in the cache then.
                alike = twice.get(row.input, free) if isinstance(row.input, str) else free
                async with alike, room.of(row):
                    if not self.stopping:
                        await self._one(at, row)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.concurrency, len(self.rows)))]
        try:
            await asyncio.gather(*workers)
        except asyncio.CancelledError:  # The loop is about to close.
            self.cancel()
            raise
        except Exception as bug:  # noqa: BLE001  raised to whoever waits
            self._broken, self.error = bug, told(bug)
            self.cancel()
        finally:
            await asyncio.gather(*workers, return_exceptions=True)
            self._done = True
            try:
                self._changed()
            finally:
                self._ended.set_result(None)

    async def _one(self, at: int, row: BatchRow) -> None:
        attached = self.inputs.files
        try:
            run = self._run(row.input) if attached is None else self._run(row.input, files=attached[at])
        except MeshError as error:
            row.status, row.error = "failed", told(error)
            self._count(row, error)
            return
        row.id, row.status = run.id, RUNNING
        ended = asyncio.Event()
        run.add_done_callback(lambda _: ended.set())
        self._going.add(run)
        if self._stopped:  # by another thread, which has not seen this run
            run.cancel()
        self._changed()
        try:
            await ended.wait()
            # Prices are looked up here, and the first of a process imports them.
            await asyncio.to_thread(row._take, run)
        except asyncio.CancelledError:
            run.cancel()
            await ended.wait()
            row._take(run)
            raise
        except Exception as bug:
            row.status, row.error = "failed", told(bug)
            raise
        finally:
            self._going.discard(run)
        self._stopped = self._stopped or run.status == "cancelled"
        self._count(row, run.exception)

    def _count(self, row: BatchRow, error: BaseException | None) -> None:
        self._recent.append(time.monotonic())
        self._over += 1
        if error is not None:
            self._failures += row.status not in _NOT_FAILED
            self._look_at(error)
        self._changed()

    def _look_at(self, error: BaseException) -> None:
        """Begin no further runs after an error that each of them would meet, or after too many errors."""
        cause: BaseException | None = error
        while cause is not None:
            if ends_all(cause):
                self.error = self.error or told(cause)
                return
            cause = getattr(cause, "cause", None)
        if self.max_failures is not None and self._failures >= self.max_failures:
            self.error = self.error or f"max_failures={self.max_failures}: that many runs have failed."

    def _changed(self) -> None:
        for callback in list(self._watchers):
            try:
                callback()
            except Exception:
                # A view that fails must not cost the answers that somebody pays for.
                self._watchers.remove(callback)
                _logger.exception("What watches %s failed and is called no more; it goes on.", self.id)

    def __getstate__(self) -> dict[str, Any]:
        if not self._done:
            raise TypeError(f"{self.id} still goes on and cannot be copied or pickled: wait for it first.")
        return {name: value for name, value in self.__dict__.items() if name not in _PASSING}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_up()
        self._ended.set_result(None)

    def _ipython_display_(self) -> None:
        if host_name(None) != "notebook":
            raise NotImplementedError  # IPython then shows the repr
        from ._batch_view import display

        display(self)

    def _repr_html_(self) -> str:
        from ._batch_view import frozen

        return frozen(self)["text/html"]

    def __repr__(self) -> str:
        return summary(self)


def begin(batch: Batch, display: bool) -> Batch:
    """Show a batch where it is to be shown, let its runs begin, on the loop of this thread or on the private
    one, and return it."""
    if display:
        batch.show()
    with tape.held():
        if asyncio._get_running_loop() is None or batch.background:
            batch._loop = private_loop()
            batch._loop.call_soon_threadsafe(batch._begin, context=contextvars.copy_context())
        else:
            batch._loop = asyncio.get_running_loop()
            batch._begin()
    return batch
