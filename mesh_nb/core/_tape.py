"""A tape: recorded calls by their keys, and what is done with calls that it has or has not."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from . import _tape_file as files
from ._scrub import Scrubber
from ._tape_file import Take
from ._tape_miss import nearest, told
from .errors import InputError, MeshError, UnknownNameError, shown
from .events import EventType, canonical, loads

MODES = ("once", "none", "all", "rewrite")


class TapeError(MeshError):
    """A tape cannot be written, or does not have what a replay was asked for."""


class TapeMissError(TapeError):
    """A replay was asked for a call that its tape does not have.

    Parameters: message; differences, (path, recorded, asked) of the nearest recorded request.
    """

    def __init__(self, message: str, differences: list[tuple[str, Any, Any]] | None = None) -> None:
        super().__init__(message)
        self.differences = differences or []


class Source(Protocol):
    """Where recorded calls come from and go to: a tape, or the cache.

    `name` is the cost_source of what comes from it; `mode` as for `Tape`; `speed` how many times faster than
    recorded, 0 for at once.
    """

    name: str
    mode: str
    speed: float

    def key(self, asked: bytes, request: Callable[[], dict[str, Any]] | None = None) -> str:
        """Return the key of a call from all that its answer depends on."""
        ...

    def find(self, key: str, run_id: str) -> Take | None:
        """Return the take for the next call of this key in a run, None when there is none."""
        ...

    def add(self, take: Take) -> None:
        """Keep a recorded call."""
        ...

    def miss(self, request: dict[str, Any], where: str) -> MeshError:
        """Return the error for a call that is not there."""
        ...


class Tape:
    """A file of recorded calls, and what to do with calls that it has or has not.

    Parameters
    ----------
    path, mode, speed, redact, live_tools, key, sample : as for `record`.

    Several processes may record into one tape at once. `problems` says what of it could not be read.
    Raises what `record` raises.
    """

    name = "replay"

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: str | None = None,
        *,
        speed: float | None = None,
        redact: Iterable[str] = (),
        live_tools: Iterable[str] | bool = (),
        key: Callable[[dict[str, Any]], Any] | None = None,
        sample: Any = None,
    ) -> None:
        mode = _default_mode() if mode is None else mode
        speed = _default_speed() if speed is None else speed
        if mode not in MODES:
            raise UnknownNameError("tape mode", mode, MODES)
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not speed >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"speed={shown(speed)} is not a speed: use a number, 0 for no waiting.")
        for name, given in (("redact", redact), ("live_tools", live_tools)):
            if isinstance(given, str):
                raise InputError(f"{name}= is a list of texts, not one text.")
        if key is not None and not callable(key):
            raise InputError(f"key= is a function of the request, not {shown(key)}.")
        self.path, self.mode, self.speed = Path(path), mode, float(speed)
        self.problems: list[str] = []
        self._live = live_tools if isinstance(live_tools, bool) else frozenset(live_tools)
        self._scrubber, self._choose, self._sample = Scrubber(redact), key, sample
        self._old: list[Take] = []
        self._new: list[tuple[int, Take]] = []
        self._by_key: dict[str, list[Take]] = {}
        self._used: set[int] = set()
        self._seen: dict[tuple[str, str], int] = {}
        self._asked: list[str] = []
        self._stamp: Any = None
        self._lock = threading.RLock()
        if self.path.is_dir():
            raise InputError(f"{str(path)!r} is a folder; name a file for the tape in it.")
        if mode != "none" and not self.path.exists():  # one that may be read only can still be replayed
            _check_place(self.path)
        elif not self.path.exists():
            place = "" if self.path.is_absolute() else f" in {str(Path.cwd())!r}"
            raise InputError(
                f"There is no tape {str(self.path)!r}{place} to replay. Record it with mode='once'."
            )
        self._load()

    def __repr__(self) -> str:
        return f"<Tape {str(self.path)!r}, {self.mode}: {len(self)} on it, {len(self._new)} of them new>"

    def __len__(self) -> int:
        return len(self._old) + len(self._new)

    @property
    def scrubber(self) -> Scrubber | None:
        """What hides keys and the texts of `redact=` in the logs of runs, None where a replay has none."""
        return self._scrubber if self._scrubber.named or self.mode != "none" else None

    def is_live(self, tool: Any) -> bool:
        """Say whether a tool is called although a tape is on."""
        return bool(tool.live) or (self._live if isinstance(self._live, bool) else tool.name in self._live)

    def key(self, asked: bytes, request: Callable[[], dict[str, Any]] | None = None) -> str:
        """Return the key of a call: equal calls have equal keys; secrets do not count.

        Parameters: asked, canonical JSON of all that its answer depends on; request, which makes what `key=`
        chooses from.
        """
        return key_of(asked, request, self._choose, self._sample, self._scrubber)

    def find(self, key: str, run_id: str) -> Take | None:
        """Return the take for the next call of this key in a run, None when there is none: the first such
        call of a run is the first one recorded, the second the second."""
        with self._lock:
            number = self._seen.get((run_id, key), 0)
            self._seen[run_id, key] = number + 1
            if self.mode != "all":
                if number >= len(self._by_key.get(key, ())):
                    self._load()
                found = self._by_key.get(key, ())
                if number < len(found):
                    self._check_files(found[number])
                    self._used.add(id(found[number]))
                    return found[number]
            self._asked.append(key)
            return None

    def add(self, take: Take) -> None:
        """Keep a recorded call, and write it at the end of the tape. Raises TapeError."""
        with self._lock:
            place = len(self._asked)
            if take.key in self._asked:
                # Taken in the order of asking, so that branches side by side have a stable order.
                place = self._asked.index(take.key)
                self._asked[place] = ""
            self._used.add(id(take))
            fresh = self._stamp == files.stamp(self.path)
            try:
                files.append(self.path, take, self._scrubber)
            except OSError as error:
                raise TapeError(f"The tape {str(self.path)!r} cannot be written: {error}.") from error
            self._new.append((place, take))
            self._by_key.setdefault(take.key, []).append(take)
            if fresh:
                self._stamp = files.stamp(self.path)

    def miss(self, request: dict[str, Any], where: str) -> TapeMissError:
        """Return the error for a call that is not there: it says how the nearest recorded one differs."""
        request = self._scrubber.value(loads(canonical(request)), self._scrubber.secrets())
        differences = nearest((take.request for take in self._takes()), request)
        hint = " ".join([f"Record it with mode='once' (MESH_TAPE={self.path}:once).", *self.problems])
        name = self.path.name
        if differences is None:
            return TapeMissError(f"The tape {name!r} is empty and has no call of {where}. {hint}")
        return TapeMissError(
            f"The tape {name!r} has no such call of {where}. The nearest one differs in {told(differences)}."
            f" {hint}",
            differences,
        )

    def close(self, *, whole: bool = True) -> None:
        """Finish: what nobody asked for is taken out in mode "rewrite", what was there before in mode "all";
        calls are put into the order in which they were asked for. Raises OSError.

        Parameters: whole, whether everything that there is to ask was asked; else nothing is taken out.
        """
        with self._lock:
            places = [place for place, _ in self._new]
            gone: list[Take] = []
            if whole and (self.mode == "rewrite" or (self.mode == "all" and self._new)):
                gone = [take for take in self._old if id(take) not in self._used]
            if not gone and places == sorted(places):
                return
            self._new.sort(key=lambda pair: pair[0])
            files.rewrite(self.path, self._takes(), self._scrubber, gone)
            self._old = [take for take in self._old if not any(take is one for one in gone)]
            self._by_key = {}
            for take in self._takes():
                self._by_key.setdefault(take.key, []).append(take)
            self._stamp = files.stamp(self.path)

    def _check_files(self, take: Take) -> None:
        for _, event in take.beats:
            if event.type == EventType.FILE and (place := files.missing(self.path, event)) is not None:
                raise TapeError(
                    f"A file of the tape {self.path.name!r} is missing: {place!r}. Take it back from version"
                    " control, or record anew with mode='all'."
                )

    def _takes(self) -> list[Take]:
        return [*self._old, *(take for _, take in self._new)]

    def _load(self) -> None:
        """Take in what is in the file and not known yet: what was there, or what others have added."""
        now = files.stamp(self.path)
        if now is None or now == self._stamp:
            return
        takes, self.problems = files.read(self.path)
        self._stamp = now
        known: dict[str, int] = {key: len(found) for key, found in self._by_key.items()}
        for take in takes:
            if known.get(take.key, 0) > 0:
                known[take.key] -= 1
                continue
            self._by_key.setdefault(take.key, []).append(take)
            if self.mode != "all" or not self._new:
                self._old.append(take)


def key_of(
    asked: bytes,
    request: Callable[[], dict[str, Any]] | None,
    choose: Callable[[dict[str, Any]], Any] | None,
    sample: Any,
    scrubber: Scrubber | None,
) -> str:
    """Return the sha256 of what counts of a call; parameters as for `Tape`. Without a scrubber secrets do."""
    if choose is not None and request is not None:
        asked = canonical({"key": choose(request())})
    if sample is not None:
        asked += canonical({"sample": sample})
    return hashlib.sha256(asked if scrubber is None else scrubber.json(asked)).hexdigest()


def _check_place(path: Path) -> None:
    """Raise InputError, before a call is paid for, where it could not be kept."""
    place = next(p for p in path.absolute().parents if p.exists())
    if not place.is_dir():
        raise InputError(f"The tape {str(path)!r} cannot be written: {str(place)!r} is no folder.")
    if not os.access(place, os.W_OK):
        raise InputError(f"The tape {str(path)!r} cannot be written: {str(place)!r} is read-only.")


def _default_mode() -> str:
    mode = os.environ.get("MESH_TAPE_MODE") or "once"
    if mode not in MODES:
        raise UnknownNameError("MESH_TAPE_MODE", mode, MODES)
    return mode


def _default_speed() -> float:
    speed = os.environ.get("MESH_TAPE_SPEED") or "1"
    try:
        return float(speed)
    except ValueError:
        raise InputError(f"MESH_TAPE_SPEED={speed!r} is not a number.") from None
