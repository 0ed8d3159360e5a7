"""What a frame is made from: this project's log, a path, a run, its id, or several of these."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from ..core import plugins
from ..core.errors import InputError, shown
from ..core.events import ExecutionEvent, decode

Part = tuple[str, Iterator[ExecutionEvent]]


def parts(source: Any, *types: str) -> Iterator[Part]:
    """Yield (run id, its events of these types in order) for each run of a source, oldest first.

    Parameters: source, None for this project's `.mesh/`; a Run or a summary of one; a run id; the path of a
    project, a `.mesh` folder or one `.jsonl` log; or an iterable of these. types, event types; other lines of
    a log are not parsed.
    Raises RunNotFoundError for an unknown id, InputError for a path that is not there and for other things.
    """
    if source is None:
        return _folder(None, types)
    if isinstance(source, (str, os.PathLike)):
        return _named(cast("str | os.PathLike[str]", source), types)
    if isinstance(source, ExecutionEvent):
        raise InputError("A frame is made from a run, not from one event: pass the Run itself.")
    events = getattr(source, "events", None)
    if isinstance(events, list):
        return iter([(str(source.id), _of(cast("list[ExecutionEvent]", events), types))])
    if hasattr(source, "load") and hasattr(source, "id"):
        return _named(str(source.id), types)
    if isinstance(source, Iterable):
        return (part for item in cast("Iterable[Any]", source) for part in parts(item, *types))
    raise InputError(
        f"No runs in {type(source).__name__!r}: pass a Run, a run id, a path, or a list of these; nothing"
        " means this project's log."
    )


def _of(events: list[ExecutionEvent], types: tuple[str, ...]) -> Iterator[ExecutionEvent]:
    return (event for event in list(events) if event.type in types)


def _named(source: str | os.PathLike[str], types: tuple[str, ...]) -> Iterator[Part]:
    path = Path(source)
    if isinstance(source, str) and any(len(part) > 255 for part in path.parts):
        raise InputError(f"There is no log at {shown(source)}: no file has so long a name.")
    if isinstance(source, str) and path.suffix != ".jsonl" and len(path.parts) == 1 and not path.is_dir():
        backend = _file_backend(None)
        return iter([(source, _lines(backend, source, types, check=True))])
    if path.is_dir():
        return _folder(path.parent if path.name == "runs" else path, types)
    if path.is_file():
        return iter([(path.name.removesuffix(".jsonl"), _lines(_file_backend(None), path, types))])
    raise InputError(
        f"There is no log at {shown(str(path))}: name a project, a .mesh folder or a .jsonl file."
    )


def _folder(home: Path | None, types: tuple[str, ...]) -> Iterator[Part]:
    backend = _file_backend(home)
    return ((run, _lines(backend, run, types)) for run in reversed(list(backend.run_ids())))


def _file_backend(home: Path | None) -> Any:
    return plugins.find("backend", "file")(home)


def _lines(
    backend: Any, run: str | Path, types: tuple[str, ...], *, check: bool = False
) -> Iterator[ExecutionEvent]:
    # A quote inside a JSON string is escaped, so these bytes are only ever a key and its value.
    needles = [b'"type":"%b"' % name.encode() for name in types]
    lines = backend.lines(run, *needles)
    if check:
        # An unknown run id is told when the frame is asked for, not as an empty frame.
        first = next(lines, None)
        lines = iter([]) if first is None else _chain(first, lines)
    return _decoded(lines, types)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _decoded(lines: Iterator[bytes], types: tuple[str, ...]) -> Iterator[ExecutionEvent]:
    for line in lines:
        try:
            event = decode(line)
        except (ValueError, AttributeError):
            continue  # a torn or foreign line; Run.load(id).problems tells about it
        if event.type in types and isinstance(cast("Any", event.metadata), dict):
            yield event
