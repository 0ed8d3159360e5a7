"""Recorded model calls: record a notebook once, replay it for free.

A tape is one text file that reads well in a diff: a header, then for each call a line that says what was
asked, a line for each event with the milliseconds since the one before, and an empty line. Contents of large
files lie beside it, named by their hash.
"""

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
from typing import Any, cast

from .errors import InputError, MeshError, UnknownNameError, shown
from .events import EventType, ExecutionEvent, decode, dumps, loads

VERSION = 1
MODES = ("once", "none", "all", "rewrite")
LARGE = 4_000
"""Characters of base64 above which a file's content lies beside the tape."""

_ABOUT = "Model calls recorded by mesh_nb. A replay needs no key; record anew instead of editing."
_KEYS = re.compile(r"sk-[\w-]{12,}|AIza[\w-]{20,}|gsk_\w{12,}|xai-[\w-]{12,}|(?i:bearer )[\w.~+/=-]{8,}")
_SECRET = re.compile(r"API_?KEY|TOKEN|SECRET|PASSWORD", re.I)
_SHORTEST_SECRET = 8


class TapeMissError(MeshError):
    """A replay was asked for a call that its tape does not have.

    Parameters: message; differences, (path, recorded, asked) of the nearest recorded request.
    """

    def __init__(self, message: str, differences: list[tuple[str, Any, Any]] | None = None) -> None:
        super().__init__(message)
        self.differences = differences or []


@dataclasses.dataclass(slots=True)
class Take:
    """One recorded call: its key, the request without secrets, its events as (milliseconds since the one
    before, event), and the error that ended it as its fields, None when it ended well."""

    key: str
    request: dict[str, Any]
    beats: list[tuple[float, ExecutionEvent]]
    error: dict[str, Any] | None = None


class Tape:
    """A file of recorded calls, and what to do with calls that it has or has not.

    Parameters
    ----------
    path : the file; its folder is made.
    mode : "once" replays what is there and records the rest; "none" replays only, a call that is missing is a
        TapeMissError; "all" records everything anew; "rewrite" is "once", and what nobody asked for is taken
        out when the tape is closed.
    speed : how many times faster than recorded a replay is; 0 waits for nothing.
    redact : texts that are written as "***", beside keys and the values of environment variables named so.

    Raises InputError for an unknown mode, a negative speed or a file that is no tape.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: str = "once",
        *,
        speed: float = 1.0,
        redact: Iterable[str] = (),
    ) -> None:
        if mode not in MODES:
            raise UnknownNameError("tape mode", mode, MODES)
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not speed >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"speed={shown(speed)} is not a speed: use a number, 0 for no waiting.")
        if isinstance(redact, str):
            raise InputError("redact= is a list of texts, not one text.")
        self.path, self.mode, self.speed = Path(path), mode, float(speed)
        self._redact = [text for text in redact if text]
        self._takes: list[Take] = []
        self._used: set[int] = set()
        self._seen: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        if mode != "all" and self.path.exists():
            self._takes = list(_read(self.path))
        elif mode == "none":
            raise InputError(f"There is no tape {str(self.path)!r} to replay. Record it with mode='once'.")

    def __len__(self) -> int:
        return len(self._takes)

    def find(self, key: str, run_id: str) -> Take | None:
        """Return the take for the next call of this key in a run, None when there is none: the first such
        call of a run is the first one recorded, the second the second."""
        with self._lock:
            number = self._seen.get((run_id, key), 0)
            self._seen[run_id, key] = number + 1
            found = [n for n, take in enumerate(self._takes) if take.key == key]
            if number >= len(found):
                return None
            self._used.add(found[number])
            return self._takes[found[number]]

    def add(self, take: Take) -> None:
        """Keep a recorded call, and write the tape. Raises OSError."""
        with self._lock:
            self._used.add(len(self._takes))
            self._takes.append(take)
            self._write(self._takes)

    def miss(self, request: dict[str, Any], where: str) -> TapeMissError:
        """Return the error for a call that is not there: it says how the nearest recorded one differs."""
        asked = _leaves(request)
        nearest = max(self._takes, key=lambda take: _common(_leaves(take.request), asked), default=None)
        hint = f"Record it with mode='once' (MESH_TAPE={self.path}:once)."
        if nearest is None:
            return TapeMissError(f"The tape {self.path.name!r} is empty and has no call of {where}. {hint}")
        differences = _differences(_leaves(nearest.request), asked)
        told = "; ".join(
            f"{path}: {_brief(old)} there, {_brief(new)} here" for path, old, new in differences[:4]
        )
        more = f" and {len(differences) - 4} more" if len(differences) > 4 else ""
        if not differences:
            told = "nothing: it was recorded fewer times than it is asked"
        return TapeMissError(
            f"The tape {self.path.name!r} has no such call of {where}. The nearest one differs in {told}"
            f"{more}. {hint}",
            differences,
        )

    def close(self) -> None:
        """Finish: in mode "rewrite" what was not asked for is taken out. Raises OSError."""
        with self._lock:
            if self.mode == "rewrite" and len(self._used) < len(self._takes):
                self._takes = [take for n, take in enumerate(self._takes) if n in self._used]
                self._used = set(range(len(self._takes)))
                self._write(self._takes)

    def _write(self, takes: list[Take]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        secrets = [*self._redact, *_environment()]
        lines = [dumps({"mesh_tape": VERSION, "about": _ABOUT})]
        for take in takes:
            lines += [b"", *self._lines(take, secrets)]
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        part.write_bytes(b"\n".join(lines) + b"\n")
        part.replace(self.path)

    def _lines(self, take: Take, secrets: list[str]) -> Iterator[bytes]:
        yield dumps(_scrubbed({"call": take.key, "request": take.request}, secrets))
        last: dict[str, Any] = {}
        for wait, event in take.beats:
            record = event.to_dict()
            for name in ("seq", "timestamp", "run_id", "node_id", "type"):
                record.pop(name, None)
            metadata = record.pop("metadata", {})
            if event.type == EventType.FILE:
                metadata = self._outside(metadata)
            # Deltas of one block share their metadata: it is written once.
            if metadata != last.get(event.type):
                record["metadata"] = last[event.type] = metadata
            fields: Any = record.get("content", "") if record.keys() == {"content"} else record
            yield dumps(_scrubbed([round(wait), str(event.type), fields], secrets))
        if take.error is not None:
            yield dumps(_scrubbed({"error": take.error}, secrets))

    def _outside(self, metadata: dict[str, Any]) -> dict[str, Any]:
        content = metadata.get("content")
        if not isinstance(content, str) or len(content) <= LARGE:
            return metadata
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            return metadata
        digest = hashlib.sha256(data).hexdigest()
        folder = _folder(self.path)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / digest).exists():
            (folder / digest).write_bytes(data)
        kept = {key: value for key, value in metadata.items() if key != "content"}
        return {**kept, "content_ref": digest}


_tapes: list[Tape] = []


def current() -> Tape | None:
    """Return the tape that is on: the innermost `record`, else the one that MESH_TAPE names, else None.

    Raises InputError for a MESH_TAPE that names no mode there is, or no tape to replay.
    """
    if _tapes:
        return _tapes[-1]
    named = os.environ.get("MESH_TAPE", "")
    return _from_environment(named) if named else None


@contextlib.contextmanager
def record(
    path: str | os.PathLike[str],
    mode: str = "once",
    *,
    speed: float = 1.0,
    redact: Iterable[str] = (),
) -> Generator[Tape]:
    """Record the model calls of a block, or replay those that the tape has; parameters as for `Tape`.

    with mesh_nb.record("answers.mesh-tape"):
        run = await graph.run("question")

    The first time the models are asked; from then on the same block costs nothing and needs no key. A call is
    the same when provider, model, messages, tools and settings are; keys, addresses and retries do not count.
    Raises what `Tape` raises, and OSError.
    """
    tape = start(path, mode, speed=speed, redact=redact)
    try:
        yield tape
    finally:
        stop(tape)


def start(path: str | os.PathLike[str], mode: str = "once", **options: Any) -> Tape:
    """Put a tape on until `stop`; parameters as for `Tape`."""
    tape = Tape(path, mode, **options)
    _tapes.append(tape)
    return tape


def stop(tape: Tape | None = None) -> Tape | None:
    """Take a tape off, the last one by default, and return it; None when none was on."""
    found = tape if tape is not None else (_tapes[-1] if _tapes else None)
    if found in _tapes:
        _tapes.remove(found)
        found.close()
    return found


_environment_tapes: dict[str, Tape] = {}


def _from_environment(named: str) -> Tape:
    if named not in _environment_tapes:
        path, colon, mode = named.rpartition(":")
        if not colon or mode not in MODES:
            path, mode = (named, "once") if not colon or os.sep in mode else (path, mode)
        speed = os.environ.get("MESH_TAPE_SPEED", "1")
        try:
            factor = float(speed)
        except ValueError:
            raise InputError(f"MESH_TAPE_SPEED={speed!r} is not a number.") from None
        _environment_tapes[named] = Tape(path, mode, speed=factor)
    return _environment_tapes[named]


def _read(path: Path) -> Iterator[Take]:
    """Yield the takes of a file. Raises InputError, with the line, for what is no tape."""
    lines = path.read_bytes().split(b"\n")
    head = _line(path, 1, lines[0])
    if not isinstance(head, dict) or "mesh_tape" not in head:
        raise InputError(f"{str(path)!r} is not a tape: its first line does not say so.")
    version = cast("dict[str, Any]", head)["mesh_tape"]
    if not isinstance(version, int) or version > VERSION:
        raise InputError(f"{str(path)!r} is a tape of version {version}; this mesh_nb reads up to {VERSION}.")
    take: Take | None = None
    last: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        found = _line(path, number, line)
        if isinstance(found, dict) and "call" in found:
            if take is not None:
                yield take
            take, last = Take(str(found["call"]), found.get("request") or {}, []), {}
        elif take is not None and isinstance(found, dict) and "error" in found:
            take.error = found["error"]
        elif take is not None and isinstance(found, list) and len(cast("list[Any]", found)) == 3:
            take.beats.append(_beat(path, cast("list[Any]", found), last))
        else:
            raise InputError(f"{str(path)!r} is damaged in line {number}: no call and no event.")
    if take is not None:
        yield take


def _line(path: Path, number: int, line: bytes) -> Any:
    try:
        return loads(line)
    except ValueError:
        raise InputError(f"{str(path)!r} is damaged in line {number}: it is not JSON.") from None


def _beat(path: Path, found: list[Any], last: dict[str, dict[str, Any]]) -> tuple[float, ExecutionEvent]:
    wait, kind, fields = found
    record: dict[str, Any] = {"content": fields} if not isinstance(fields, dict) else dict(fields)
    metadata = record.get("metadata", last.get(kind, {}))
    last[kind] = metadata
    digest = metadata.get("content_ref")
    if kind == EventType.FILE and isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest):
        with contextlib.suppress(OSError):
            content = base64.b64encode((_folder(path) / digest).read_bytes()).decode("ascii")
            kept = {key: value for key, value in metadata.items() if key != "content_ref"}
            metadata = {**kept, "content": content}
    return float(wait), decode({**record, "type": kind, "metadata": metadata})


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.name}-files")


def _environment() -> list[str]:
    """Return what no tape may hold: the values of environment variables that are named like secrets."""
    named = (value for name, value in os.environ.items() if _SECRET.search(name))
    return [value for value in named if len(value) >= _SHORTEST_SECRET]


def _scrubbed(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
        return _KEYS.sub("***", value)
    if isinstance(value, dict):
        return {k: _scrubbed(v, secrets) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_scrubbed(v, secrets) for v in cast("list[Any]", value)]
    return value


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the plain values inside a JSON value by their paths: `messages[0].content`."""
    if isinstance(value, dict):
        pairs = ((f"{path}.{k}" if path else str(k), v) for k, v in cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        pairs = ((f"{path}[{n}]", v) for n, v in enumerate(cast("list[Any]", value)))
    else:
        return {path: value}
    return {name: leaf for at, inside in pairs for name, leaf in _leaves(inside, at).items()}


def _common(old: dict[str, Any], new: dict[str, Any]) -> int:
    return sum(2 if new.get(path, _MISSING) == value else path in new for path, value in old.items())


_MISSING: Any = object()


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    paths = [*old, *(path for path in new if path not in old)]
    pairs = ((path, old.get(path, _MISSING), new.get(path, _MISSING)) for path in paths)
    found = [(path, a, b) for path, a, b in pairs if a != b]
    return [(path, None if a is _MISSING else a, None if b is _MISSING else b) for path, a, b in found]


def _brief(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-18:]}"
