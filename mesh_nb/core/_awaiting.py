"""What goes on while a run is awaited: an interrupt is seen, and ends the runs instead of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Generator

from .runs import live_runs

TICK = 0.1
"""Seconds."""

_awake: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()
_stops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[Callable[[], None]]] = (
    weakref.WeakKeyDictionary()
)
_listening: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def in_cell() -> bool:
    """Say whether a cell of a notebook or of IPython itself awaits, so that its one-line error is shown and
    Run All stops.

    Elsewhere a KeyboardInterrupt would leave the task and end the event loop.
    """
    if "IPython" not in sys.modules:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and getattr(task.get_coro(), "__name__", "") == "run_cell_async"


@contextlib.contextmanager
def awake(stop: Callable[[], None] | None = None) -> Generator[None]:
    """See interrupts while at least one run is awaited on the running loop.

    Parameters: stop, called by Ctrl-C in a terminal's IPython: what is awaited may live on another loop, or
    be more than the runs that go on at that moment.

    A kernel's interrupt is queued on the loop without waking it, so a quiet await would not see it: it is
    woken every TICK. In a terminal's IPython Ctrl-C ends the loop and leaves the run where it is, with its
    connection: it cancels the runs of the loop, and calls what stops those that are awaited, instead.
    """
    if "IPython" not in sys.modules:
        yield
        return
    loop = asyncio.get_running_loop()
    stops = _stops.setdefault(loop, [])
    if stop is not None:
        stops.append(stop)
    _awake[loop] = _awake.get(loop, 0) + 1
    if _awake[loop] == 1:
        if "ipykernel" in sys.modules:
            _tick(weakref.ref(loop))
        else:
            _listen(loop)
    try:
        yield
    finally:
        _awake[loop] -= 1
        if stop is not None:
            stops.remove(stop)
        if _awake[loop] == 0 and loop in _listening:
            _listening.discard(loop)
            loop.remove_signal_handler(signal.SIGINT)


def _tick(ref: weakref.ref[asyncio.AbstractEventLoop]) -> None:
    loop = ref()
    if loop is not None and _awake.get(loop, 0) > 0:
        loop.call_later(TICK, _tick, ref)


def _listen(loop: asyncio.AbstractEventLoop) -> None:
    """Take Ctrl-C, unless somebody else does: asyncio.run has a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    with contextlib.suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGINT, _cancel, weakref.ref(loop))
        _listening.add(loop)


def _cancel(ref: weakref.ref[asyncio.AbstractEventLoop]) -> None:
    loop = ref()
    for stop in list(_stops.get(loop, ())) if loop is not None else ():
        stop()
    for run in live_runs():
        if run._loop is loop:
            run.cancel()
