"""Which cell of a notebook is running, so that running it again replaces what it had added to a graph."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple


class Origin(NamedTuple):
    """One execution of a cell.

    Parameters: cell, the cell's id in the notebook, None where the front end does not say; execution, which
    differs each time that a cell is run.
    """

    cell: str | None
    execution: str


def origin() -> Origin | None:
    """Return the execution that is running; None outside IPython, where nothing is run twice."""
    module: Any = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return None
    shell = module.InteractiveShell.instance()
    get_parent = getattr(shell, "get_parent", None)
    message: dict[str, Any] = (get_parent() if get_parent is not None else None) or {}
    execution = message.get("header", {}).get("msg_id") or str(shell.execution_count)
    return Origin(message.get("metadata", {}).get("cellId"), execution)


class Ledger:
    """What each cell has put into the dicts of a graph."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[str, list[tuple[dict[Any, Any], Any, Any]]]] = {}
        self._at: dict[Any, Origin | None] = {}

    def enter(self, here: Origin | None) -> None:
        """Take back what an earlier execution of this cell had put in, once a later one begins to."""
        if here is None or here.cell is None:
            return
        execution, made = self._made.get(here.cell, (here.execution, []))
        if execution != here.execution:
            for store, key, value in made:
                if store.get(key) is value:
                    del store[key]
            made = []
        self._made[here.cell] = here.execution, made

    def put(self, here: Origin | None, store: dict[Any, Any], key: Any, value: Any) -> None:
        """Put a value into a dict of the graph."""
        store[key] = value
        self._at[id(store), key] = here
        if here is not None and here.cell is not None:
            self._made[here.cell][1].append((store, key, value))

    def may_replace(self, here: Origin | None, store: dict[Any, Any], key: Any) -> bool:
        """Say whether a name that is taken may be given anew: by a later run of a cell without an id."""
        made = self._at.get((id(store), key))
        if here is None or made is None:
            return False
        return made.cell is None and here.cell is None and made.execution != here.execution
