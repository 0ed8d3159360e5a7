"""The file of a tape: how calls are written into it, by several processes at once, and read from it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import hashlib
import os
import re
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ._scrub import Scrubber
from .errors import InputError
from .events import DELTAS, EventType, ExecutionEvent, decode, dumps, loads

try:
    import fcntl
except ImportError:  # Windows has no flock: there, one process records into a tape at a time.
    fcntl = None

VERSION = 1
LARGE = 4_000
"""Characters of base64 above which a file's content lies beside the tape."""

_DELTAS = {kind.value: kind for kind in DELTAS}
_TAIL = 65_536
_ABOUT = "Calls recorded by mesh_nb. A replay needs no key; record anew instead of editing."
_MEND = "Take it back from version control, or delete the call, from its first line to the empty one."
_CONFLICT = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")
_HEAD = dumps({"mesh_tape": VERSION, "about": _ABOUT})


@dataclasses.dataclass(slots=True)
class Take:
    """One recorded call: its key, the request without secrets, its events as (milliseconds since the one
    before, event), and the error that ended it as its fields, None when it ended well."""

    key: str
    request: dict[str, Any]
    beats: list[tuple[float, ExecutionEvent]]
    error: dict[str, Any] | None = None


def stamp(path: Path) -> Any:
    """Return what changes when a tape does; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def append(path: Path, take: Take, scrubber: Scrubber) -> None:
    """Write a call at the end of a tape, whoever else writes there. Raises OSError.

    What a process that was killed left unfinished at the end is taken out first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as file:
        end = file.seek(0, os.SEEK_END)
        start = _whole(file, end) if end else 0
        if start < end:
            file.truncate(start)
        head = b"" if start else _HEAD + b"\n"
        file.write(head + b"\n" + b"".join(line + b"\n" for line in _lines(path, take, scrubber)))
        file.flush()


def rewrite(path: Path, keep: Iterable[Take] | None, scrubber: Scrubber, drop: Iterable[Take] = ()) -> None:
    """Write a tape anew, in this order: `keep`, and then what others have added to it.

    Parameters: keep, what this process knows; drop, what is taken out. Raises OSError.
    """
    kept, gone = list(keep or ()), {id(take) for take in drop}
    with _locked(path):
        seen = [_identity(path, take, scrubber) for take in [*kept, *drop]]
        others: list[Take] = []
        for take in read(path)[0]:
            identity = _identity(path, take, scrubber)
            if identity in seen:
                seen.remove(identity)
            else:
                others.append(take)
        write(path, [*(t for t in kept if id(t) not in gone), *others], scrubber)


def write(path: Path, takes: Iterable[Take], scrubber: Scrubber) -> None:
    """Put a tape in the place of what is there, in one step. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [_HEAD]
    for take in takes:
        lines += [b"", *_lines(path, take, scrubber)]
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    part.write_bytes(b"\n".join(lines) + b"\n")
    part.replace(path)


def _identity(path: Path, take: Take, scrubber: Scrubber) -> bytes:
    return b"\n".join(_lines(path, take, scrubber))


@contextlib.contextmanager
def _locked(path: Path) -> Generator[BinaryIO]:
    """Open a tape that no other process of ours writes to meanwhile."""
    while True:
        with path.open("a+b") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            # Another process may have put a new file in its place while this one waited.
            if stamp(path) is not None and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield file
                return


def _whole(file: BinaryIO, end: int) -> int:
    """Return how many bytes at the beginning of a tape are whole calls; reads no more than its last call."""
    size = _TAIL
    while True:
        at = max(end - size, 0)
        file.seek(at)
        data = file.read()
        if at == 0 or b'\n{"call"' in data:
            return end if not (torn := _torn(data)) else at + torn[1]
        size *= 16


def _torn(data: bytes) -> tuple[int, int] | None:
    """Return (line, offset) of a last call that was not written to its end, None when it was."""
    start = data.rfind(b'\n{"call"')
    if start < 0:
        return (1, 0) if data and len(data) <= len(_HEAD) and _HEAD.startswith(data) else None
    start += 1
    lines = data[start:].rstrip(b"\n").split(b"\n")
    try:
        head = loads(lines[0])
    except ValueError:
        head = {}
    wanted = cast("dict[str, Any]", head).get("lines")
    if isinstance(wanted, int) and len(lines) - 1 >= wanted and data.endswith(b"\n"):
        return None
    if wanted is None and head:
        return None  # written by hand
    return data.count(b"\n", 0, start) + 1, len(data[:start].rstrip(b"\n")) + 1


def _lines(path: Path, take: Take, scrubber: Scrubber) -> list[bytes]:
    """Return the lines of a call; the first one says how many follow."""
    secrets = scrubber.secrets()
    made: list[Any] = []
    last: dict[str, Any] = {}
    clean = scrubber.deltas([event for _, event in take.beats], secrets)
    for (wait, _), event in zip(take.beats, clean, strict=True):
        record = event.to_dict()
        for name in ("seq", "timestamp", "run_id", "node_id", "type"):
            record.pop(name, None)
        metadata = record.pop("metadata", {})
        if event.type == EventType.FILE:
            metadata = _outside(path, metadata)
        # Deltas of one block share their metadata: it is written once.
        if metadata != last.get(event.type, {}):
            record["metadata"] = last[event.type] = metadata
        plain = record.keys() == {"content"} and isinstance(record["content"], str)
        fields: Any = record["content"] if plain else record
        made.append([round(wait), str(event.type), fields])
    if take.error is not None:
        made.append({"error": take.error})
    head = {"call": take.key, "lines": len(made), "request": take.request}
    return [dumps(scrubber.value(line, secrets)) for line in (head, *made)]


def _outside(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    content = metadata.get("content")
    if not isinstance(content, str) or len(content) <= LARGE:
        return metadata
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return metadata
    digest = hashlib.sha256(data).hexdigest()
    folder = _folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / digest).exists():
        part = folder / f"{digest}.{os.getpid()}.part"
        part.write_bytes(data)
        part.replace(folder / digest)
    kept = {key: value for key, value in metadata.items() if key != "content"}
    return {**kept, "content_ref": digest}


def read(path: Path) -> tuple[list[Take], list[str]]:
    """Return the calls of a tape, and what is wrong with its end, in sentences.

    Raises InputError, with the line, for a file that is no tape or is damaged before its last call, and
    OSError.
    """
    data = path.read_bytes()
    problems: list[str] = []
    if torn := _torn(data):
        line, end = torn
        data = data[:end]
        problems.append(
            f"{str(path)!r} breaks off in the call of line {line}, which was not recorded to its end."
        )
    return (list(_takes(path, data.split(b"\n"))) if data else []), problems


def _takes(path: Path, lines: list[bytes]) -> Iterator[Take]:
    head = _line(path, 1, lines[0])
    if not isinstance(head, dict) or "mesh_tape" not in head:
        raise InputError(f"{str(path)!r} is not a tape: its first line does not say so.")
    version = cast("dict[str, Any]", head)["mesh_tape"]
    if not isinstance(version, int) or version > VERSION:
        raise InputError(f"{str(path)!r} is a tape of version {version}; this mesh_nb reads up to {VERSION}.")
    take: Take | None = None
    begun, wanted, seen = 0, None, 0
    last: dict[str, dict[str, Any]] = {}
    for number, found in _parsed(path, lines):
        if isinstance(found, dict) and "call" in found:
            if take is not None:
                yield _checked(path, take, begun, wanted, seen)
            take, last = Take(str(found["call"]), found.get("request") or {}, []), {}
            begun, wanted, seen = number, found.get("lines"), 0
            continue
        seen += 1
        if take is not None and isinstance(found, dict) and "error" in found:
            take.error = found["error"]
        elif take is not None and isinstance(found, list) and len(cast("list[Any]", found)) == 3:
            take.beats.append(_beat(path, number, cast("list[Any]", found), last))
        else:
            raise InputError(f"{str(path)!r} is damaged in line {number}: no call and no event. {_MEND}")
    if take is not None:
        yield _checked(path, take, begun, wanted, seen)


def _parsed(path: Path, lines: list[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line but the first that is not empty."""
    numbers = [n for n, line in enumerate(lines[1:], 2) if line and not line.isspace()]
    try:
        # One text is parsed much faster than many.
        found = loads(b"[" + b",".join(lines[n - 1] for n in numbers) + b"]")
    except ValueError:
        found = []
    if len(found) == len(numbers):
        yield from zip(numbers, found, strict=True)
    else:
        for number in numbers:
            yield number, _line(path, number, lines[number - 1])


def _checked(path: Path, take: Take, begun: int, wanted: Any, seen: int) -> Take:
    if isinstance(wanted, int) and wanted != seen:
        raise InputError(
            f"{str(path)!r} is damaged after line {begun}: the call there has {seen} lines, not {wanted}."
            f" {_MEND}"
        )
    return take


def _line(path: Path, number: int, line: bytes) -> Any:
    try:
        return loads(line)
    except ValueError:
        pass
    if line.startswith(_CONFLICT):
        what = "a merge left its marks. Delete them, and keep the calls of both sides."
    else:
        what = f"it is not JSON. {_MEND}"
    raise InputError(f"{str(path)!r} is damaged in line {number}: {what}")


def _beat(
    path: Path, number: int, found: list[Any], last: dict[str, dict[str, Any]]
) -> tuple[float, ExecutionEvent]:
    wait, kind, fields = found
    if fields.__class__ is str and wait.__class__ is int and kind.__class__ is str and kind in _DELTAS:
        return wait, ExecutionEvent(_DELTAS[kind], "", fields, None, last.get(kind) or {}, 0.0)
    record: dict[str, Any] = {"content": fields} if not isinstance(fields, dict) else dict(fields)
    metadata = record.get("metadata", last.get(kind, {}))
    if not isinstance(wait, (int, float)) or not isinstance(kind, str) or not isinstance(metadata, dict):
        raise InputError(f"{str(path)!r} is damaged in line {number}: it is no event. {_MEND}")
    last[kind] = metadata
    digest = metadata.get("content_ref")
    if kind == EventType.FILE and isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest):
        with contextlib.suppress(OSError):
            content = base64.b64encode((_folder(path) / digest).read_bytes()).decode("ascii")
            kept = {key: value for key, value in metadata.items() if key != "content_ref"}
            metadata = {**kept, "content": content}
    return float(wait), decode({**record, "type": kind, "metadata": metadata})


def missing(path: Path, event: ExecutionEvent) -> str | None:
    """Return where the content of a file event should be, None when it is there or none is needed."""
    digest = event.metadata.get("content_ref")
    lacks = event.type == EventType.FILE and isinstance(digest, str) and "content" not in event.metadata
    return str(_folder(path) / str(digest)) if lacks else None


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.name}-files")
