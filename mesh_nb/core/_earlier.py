"""Runs of the log that new ones take from."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

from ._scrub import revealed
from .backend import StoredRun
from .errors import InputError, RunNotFoundError, shown
from .events import EventType, canonical
from .run import Run
from .runs import here

LOOK_BACK = 200
"""How many of the newest runs are looked through for one to reuse."""


def earlier(graph: Any, store: Any, reuse: Any) -> StoredRun | None:
    """Return the run to reuse: the one that is named, or the newest of a graph of this name, or None.

    Raises RunNotFoundError for a run that the log does not have, InputError for what names none, and for a
    store in memory, which does not keep what nodes were.
    """
    if getattr(store, "transient", False):
        raise InputError(
            "reuse= takes from the log what has not changed, and this one is in memory alone, without what"
            " nodes were: use FileBackend() or SQLiteBackend(), and no MESH_LOG=off."
        )
    if isinstance(reuse, (Run, str)):
        return stored(store, reuse.id if isinstance(reuse, Run) else reuse)
    if reuse is not True:
        raise InputError(f"reuse= is True, a run or its id, not {shown(reuse)}.")
    read = getattr(store, "summary", store.load)
    for run_id in itertools.islice(store.run_ids(), LOOK_BACK):
        own = here(run_id)
        # A log may be deleted meanwhile; what another process has hidden cannot be taken from its log.
        with contextlib.suppress(InputError, RunNotFoundError):
            if (own is None or own.done) and read(run_id).header.get("graph_id") == graph.graph_id:
                return stored(store, run_id)
    return None


def stored(store: Any, run_id: str, *, outputs: bool = True) -> StoredRun:
    """Return a run of the log; outputs that this process still has come as the objects that they were.

    Parameters: outputs, whether those of nodes are needed, and not only what the run began with.
    Raises RunNotFoundError, InputError for one whose log hides what only its process knows.
    """
    found = revealed(store.load(run_id), outputs=outputs)
    own = here(run_id)
    if own is not None and own.done:
        alive = {e.seq: e for e in own.events if e.type == EventType.NODE_COMPLETE}
        for n, event in enumerate(found.events):
            kept = alive.get(event.seq)
            if kept is not None and canonical(kept.output) == canonical(event.output):
                found.events[n] = kept
    return found
