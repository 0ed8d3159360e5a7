"""Answers that were paid for once: a cache of model calls, each a tape of one call in `.mesh/cache`."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from . import _tape_file as files
from . import plugins
from ._named import named_options
from ._scrub import Scrubber
from ._tape import Take, key_of
from .errors import InputError, MeshError, shown
from .events import DELTAS, EventType

_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNFINISHED = (None, "length", "error", "content_filter", "incomplete")

_logger = logging.getLogger("mesh_nb")


class Cache:
    """Answers of models, kept for the calls that ask the same.

    Parameters
    ----------
    max_age : how old an answer may be: "7d", "12h", "30m", a timedelta; None for any age.
    sample : a number or text that counts too: `Cache(sample=2)` has other answers than `Cache(sample=1)`.
    key : a function of a request, a dict, that returns what of it counts; None counts everything: provider,
        model, messages, tools, settings and the contents of attachments.
    path : the folder; None for `.mesh/cache` of the project.

    An answer that failed, was cut off or tells a secret is not kept. Several processes may use one folder at
    once. Raises InputError for what is no age or no function.
    """

    name = "cache"
    mode = "once"
    speed = 0.0

    @named_options
    def __init__(
        self,
        max_age: str | timedelta | None = None,
        *,
        sample: Any = None,
        key: Callable[[dict[str, Any]], Any] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        if key is not None and not callable(key):
            raise InputError(f"key= is a function of the request, not {shown(key)}.")
        self.max_age = _seconds(max_age)
        self._sample, self._choose, self._path = sample, key, path
        self._scrubber = Scrubber()
        self._warned: set[str] = set()

    def _warn(self, message: str, error: Exception) -> None:
        """Say what is wrong once: a batch meets the same with every row."""
        told = message % error
        if told not in self._warned:
            self._warned.add(told)
            _logger.warning("%s", told)

    def __repr__(self) -> str:
        age = "" if self.max_age is None else f", up to {self.max_age:g} s old"
        return f"<Cache {os.fspath(self._path) if self._path is not None else '.mesh/cache'}{age}>"

    @property
    def folder(self) -> Path:
        """Where the answers are. Raises OSError."""
        if self._path is not None:
            return Path(self._path)
        return plugins.find("backend", "file")().prepared("cache")

    def key(self, asked: bytes, request: Callable[[], dict[str, Any]] | None = None) -> str:
        """Return the key of a call; parameters as for `Tape.key`. Calls that differ in their secrets only
        have answers of their own."""
        return key_of(asked, request, self._choose, self._sample, None)

    def find(self, key: str, run_id: str) -> Take | None:
        """Return the answer to a call, None when there is none, or none that is new enough."""
        try:
            path = self._file(key)
            age = time.time() - path.stat().st_mtime
            if self.max_age is not None and age > self.max_age:
                return None
            found = next((take for take in files.read(path)[0] if take.key == key), None)
            if found is not None and any(files.missing(path, event) for _, event in found.beats):
                return None
            return found
        except FileNotFoundError:
            return None
        except (OSError, MeshError) as error:
            self._warn("An answer in the cache cannot be read, and is asked for anew: %s", error)
            return None

    def add(self, take: Take) -> None:
        """Keep the answer to a call if it is whole. A disk that is full or gone is told as a warning."""
        ends = [e.metadata for _, e in take.beats if e.type == EventType.RESPONSE_METADATA]
        if take.error is not None or not ends or ends[-1].get("finish_reason") in _UNFINISHED:
            return
        if self._tells_a_secret(take):
            return
        try:
            files.write(self._file(take.key), [take], self._scrubber)
        except OSError as error:
            self._warn("An answer cannot be kept in the cache: %s", error)

    def _tells_a_secret(self, take: Take) -> bool:
        """Say whether an answer would come back without words that it had."""
        secrets = self._scrubber.secrets()
        said = [e for _, e in take.beats if e.type != EventType.MODEL_CALL_START]
        clean = self._scrubber.deltas(said, secrets)
        return any(
            new is not old or (old.type not in DELTAS and self._scrubber.event(old, secrets) is not old)
            for old, new in zip(said, clean, strict=True)
        )

    def miss(self, request: dict[str, Any], where: str) -> MeshError:
        """Return an error; a cache is never asked for one."""
        return MeshError(f"The cache has no such call of {where}.")

    def clear(self) -> int:
        """Take everything out, and return how many answers that were. Raises OSError."""
        found = list(self.folder.glob("??/*.mesh-tape"))
        for path in found:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        return len(found)

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.mesh-tape"


def cache_of(given: Any) -> Cache | bool | None:
    """Return what a cache= option means: a Cache; False for none, None where it says nothing.

    Raises InputError for what is neither True, False, an age such as "7d", nor a Cache.
    """
    if given is None or given is False or isinstance(given, Cache):
        return given
    if given is True:
        return Cache()
    if isinstance(given, (str, timedelta)):
        return Cache(given)
    raise InputError(f'cache= is True, False, an age such as "7d" or a mesh_nb.Cache, not {shown(given)}.')


def _seconds(age: Any) -> float | None:
    if age is None:
        return None
    if isinstance(age, timedelta):
        return age.total_seconds()
    found = _AGE.fullmatch(age) if isinstance(age, str) else None
    if found is None:
        raise InputError(f'{shown(age)} is no age: write "7d", "12h", "30m" or a timedelta.')
    return float(found[1]) * _SECONDS[found[2]]
