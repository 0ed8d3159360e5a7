"""Finding a thing by kind and name: the only upward reach, and it goes by string.

A kind is a folder of `mesh_nb`; a plug-in is a module in it whose file name is the user-visible name and
whose module-level `plugin` is the thing itself. Modules that begin with `_` are helpers.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import InputError, UnknownNameError, shown

FOLDERS = {
    "provider": "mesh_nb.providers",
    "node": "mesh_nb.nodes",
    "agent": "mesh_nb.agents",
    "backend": "mesh_nb.backends",
    "frame": "mesh_nb.frames",
    "host": "mesh_nb.hosts",
}

_registered: dict[tuple[str, str], Any] = {}
_own: dict[tuple[str, str], Any] = {}
T = TypeVar("T")


def _folder(kind: str) -> str:
    if not isinstance(kind, str) or kind not in FOLDERS:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnknownNameError("kind of plug-in", kind, FOLDERS)
    return FOLDERS[kind]


def register(kind: str, name: str) -> Callable[[T], T]:
    """Register a plug-in from a notebook cell: `@mesh_nb.register("node", "translate")`.

    Parameters: kind, one of provider, node, agent, backend, frame, host; name, as users will type it.
    Returns a decorator that hands its argument back; running the cell again replaces the plug-in.
    Raises UnknownNameError for an unknown kind, InputError for a name that is not text.
    """
    _folder(kind)
    if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{shown(name)} is not a name for a {kind}: write @register({kind!r}, 'name').")

    def keep(thing: T) -> T:
        _registered[kind, name] = thing
        return thing

    return keep


def _entry_points(kind: str) -> dict[str, Any]:
    return _installed(_folder(kind), tuple(_changed(path) for path in sys.path))


@functools.lru_cache(maxsize=32)
def _installed(group: str, _state: tuple[int, ...]) -> dict[str, Any]:
    """Read the entry points of a group, which takes 10 ms; again when something was installed meanwhile."""
    from importlib.metadata import entry_points

    return {ep.name: ep for ep in entry_points(group=group)}


def _changed(path: str) -> int:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0


def names(kind: str) -> list[str]:
    """Return the names of all plug-ins of a kind, sorted. Raises UnknownNameError for an unknown kind."""
    package = importlib.import_module(_folder(kind))
    own = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    return sorted(own | {n for k, n in _registered if k == kind} | set(_entry_points(kind)))


def find(kind: str, name: str) -> Any:
    """Return the plug-in of this kind and name, importing its module when it is first asked for.

    Looks at what was registered, then at the folder, then at entry points (group `mesh_nb.providers`, ...).
    Raises UnknownNameError with the known names and the nearest one.
    """
    folder = _folder(kind)
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnknownNameError(kind, name, names(kind))
    if (kind, name) in _registered:
        return _registered[kind, name]
    if (own := _own.get((folder, name))) is not None:
        return own
    if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(f"{folder}.{name}"):
        own = _own[folder, name] = importlib.import_module(f"{folder}.{name}").plugin
        return own
    found = _entry_points(kind).get(name)
    if found is not None:
        return found.load()
    raise UnknownNameError(kind, name, names(kind))
