"""Recorded calls and answers: record a notebook once, replay it for free.

A tape is one text file that reads well in a diff: a header, then for each call a line that says what was
asked, a line for each event with the milliseconds since the one before, and an empty line. Contents of large
files lie beside it, named by their hash.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable
from typing import Any

from ._named import named_options
from ._tape import MODES as MODES
from ._tape import Source as Source
from ._tape import Tape as Tape
from ._tape import TapeError as TapeError
from ._tape import TapeMissError as TapeMissError
from ._tape_file import Take as Take

_logger = logging.getLogger("mesh_nb")

_tapes: list[Tape] = []
_own: contextvars.ContextVar[tuple[Tape | None, bool] | None] = contextvars.ContextVar("_own", default=None)
"""The tape of the block around, or of the run, and whether it stays after the block has ended."""


def current() -> Tape | None:
    """Return the tape that is on: that of the run, which was on when it began; the innermost `record` here,
    else anywhere; else the one that MESH_TAPE names; else None.

    Raises InputError for a MESH_TAPE that names no mode there is, or no tape to replay.
    """
    own = _own.get()
    if own is not None and (own[1] or own[0] in _tapes):
        return own[0]
    if _tapes:
        return _tapes[-1]
    named = os.environ.get("MESH_TAPE", "")
    return _from_environment(named) if named else None


@contextlib.contextmanager
def held() -> Generator[None]:
    """Let what begins inside keep the tape that is on now, whatever is put on or taken off later."""
    before = _own.get()
    _own.set((current(), True))
    try:
        yield
    finally:
        _own.set(before)


@contextlib.contextmanager
@named_options
def record(
    path: str | os.PathLike[str],
    mode: str | None = None,
    *,
    speed: float | None = None,
    redact: Iterable[str] = (),
    live_tools: Iterable[str] | bool = (),
    key: Callable[[dict[str, Any]], Any] | None = None,
    sample: Any = None,
) -> Generator[Tape]:
    """Record what the runs of a block ask, or replay what the tape has of it.

    with mesh_nb.record("answers.mesh-tape"):
        run = await graph.run("question")

    The first time the models, tools, agents, web servers, databases and people are asked; from then on the
    same block costs nothing and needs no key.

    Parameters
    ----------
    path : the file, one text file for git; its folder is made, large contents go to `PATH-files` beside it.
    mode : "once" replays what is there and records the rest; "none" replays only, a call that is missing is a
        TapeMissError that says how the nearest recorded one differs; "all" records everything anew;
        "rewrite" is "once", and what nobody asked for is taken out at the end of the block, unless that
        raises. None takes the mode in MESH_TAPE_MODE, else "once".
    speed : how many times faster than recorded a replay is; 0 waits for nothing. None takes the number in
        MESH_TAPE_SPEED, else 1. The answers of people come at once.
    redact : texts that are written as "***", beside keys and the values of environment variables with names
        like secrets; in the logs of the runs too. A replay needs the same texts, or what it asks is not what
        was recorded.
    live_tools : names of tools that are always called, True for all; so is what is made with live=True: a
        tool, an http, a data or a rag node.
    key : a function of a request to a model, a dict, that returns what of it counts; None counts everything.
    sample : a number or text that counts too: other samples of the same prompts.

    A model call is the same when provider, model, messages, tools and settings are, attachments by content;
    keys, addresses and retries do not count. A tool call is the same when its name and arguments are. A plain
    function as a node runs each time, and so does what is asked of DataFrames of a data node and documents of
    a rag node. An agent of another library is recorded whole, with the calls that it makes inside.
    What failed fails again in a replay, but for a key that was refused and a server that was not reached. A
    run that begins in the block belongs to the tape until its end. Yields the Tape.

    Raises InputError for a negative speed, a tape that is damaged, with the line, or is not there to be
    replayed, and OSError.
    """
    options: dict[str, Any] = {"live_tools": live_tools, "key": key, "sample": sample}
    tape = start(path, mode, speed=speed, redact=redact, **options)
    before = _own.get()
    _own.set((tape, False))
    whole = False
    try:
        yield tape
        whole = True
    finally:
        _own.set(before)
        stop(tape, whole=whole)


def start(path: str | os.PathLike[str], mode: str | None = None, **options: Any) -> Tape:
    """Put a tape on until `stop`; parameters as for `record`."""
    return put_on(_told(Tape(path, mode, **options)))


def _told(tape: Tape) -> Tape:
    for problem in tape.problems:
        _logger.warning("%s The others are there.", problem)
    return tape


def put_on(tape: Tape) -> Tape:
    """Put a tape on until `stop`, and return it."""
    _tapes.append(tape)
    return tape


def stop(tape: Tape | None = None, *, whole: bool = True) -> Tape | None:
    """Take a tape off, the last one by default, and return it; None when none was on. whole as for
    `Tape.close`."""
    found = tape if tape is not None else (_tapes[-1] if _tapes else None)
    if found in _tapes:
        _tapes.remove(found)
        found.close(whole=whole)
    return found


_environment_tapes: dict[str, Tape] = {}


def _from_environment(named: str) -> Tape:
    if named not in _environment_tapes:
        path, colon, mode = named.rpartition(":")
        if not colon or mode not in MODES:
            path, mode = (named, None) if not colon or os.sep in mode else (path, mode)
        _environment_tapes[named] = _told(Tape(path, mode))
    return _environment_tapes[named]


@atexit.register
def _close_all() -> None:
    # What a process that ended in an error did not come to is no reason to forget it; nor is a kernel that is
    # restarted before `%mesh record off`.
    failed = getattr(sys, "last_value", None) is not None
    for tape in _environment_tapes.values():
        tape.close(whole=not failed)
    for tape in _tapes:
        tape.close(whole=False)
