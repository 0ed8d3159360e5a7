"""Where the output of a cell goes, and whether it may be live."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib.resources
import os
from pathlib import Path
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.getipython import get_ipython

from ..backends._project import project_root

_OFF = {"0", "false", "no", "off"}


class Cell:
    """The execution of one cell: what is published here lands in its output, from any thread, at any time."""

    def __init__(self, shell: Any, id: str) -> None:
        self.id = id
        self.runs: set[str] = set()
        self.summary: Any = None
        self.live = may_be_live(shell)
        self.only_widgets = in_voila()
        self._publish = shell.display_pub.publish
        self._context = contextvars.copy_context()

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        display_id: str | None = None,
        update: bool = False,
    ) -> None:
        """Show a mime bundle in this cell, or, with update, put it in place of the output of that id."""
        call = functools.partial(
            self._publish,
            data,
            metadata or {},
            transient={"display_id": display_id} if display_id else {},
            update=update,
        )
        # A copy each time: one context cannot be entered twice, and runs of a cell end on several threads.
        self._context.copy().run(call)


def cell_id(shell: Any) -> str:
    """Return what identifies the current execution of a cell."""
    kernel = getattr(shell, "kernel", None)
    parent = kernel.get_parent() if kernel is not None else {}
    return str(parent.get("header", {}).get("msg_id") or f"execution {shell.execution_count}")


def origin(shell: Any) -> dict[str, str]:
    """Return which notebook and cell are executed here, for the header of a run's log.

    `notebook` is its path, below the project's root where it lies there, as Jupyter and VS Code tell it; else
    the kernel's id, which is another one after a restart. `cell` is the cell's own id, else its
    `execution`, "In [n]".
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return {}
    metadata = kernel.get_parent().get("metadata") or {}
    # While a cell runs, execution_count may be the next one's already.
    execution = f"In [{len(shell.history_manager.input_hist_parsed) - 1}]"
    cell = str(metadata.get("cellId") or execution)
    return {"notebook": notebook_name(shell), "cell": cell, "execution": execution}


def notebook_file(shell: Any) -> Path | None:
    """Return the notebook's file where Jupyter or VS Code tell it, else None."""
    path = os.environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
    return Path(path) if isinstance(path, str) and path else None


def notebook_name(shell: Any) -> str:
    """Return what names the notebook of a kernel, "" outside one."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return ""
    path = notebook_file(shell)
    if path is not None:
        with contextlib.suppress(OSError, ValueError):
            return path.relative_to(project_root()).as_posix()
        return str(path)
    connection = getattr(getattr(kernel, "parent", None), "connection_file", "") or f"kernel-{os.getpid()}"
    return Path(connection).stem


def may_be_live(shell: Any) -> bool:
    """Return whether a widget makes sense here; static output is one final display instead.

    Captured output is static. Else MESH_NB_LIVE decides when it is set; under pytest (nbval) output is
    static, under Voila live; else it is live when the client takes input, which nbclient and papermill
    do not.
    """
    if isinstance(shell.display_pub, CapturingDisplayPublisher) or not has_front_end():
        return False
    setting = os.environ.get("MESH_NB_LIVE", "").strip().lower()
    if setting:
        return setting not in _OFF
    if "PYTEST_VERSION" in os.environ:
        return False
    if in_voila():
        return True
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    content = kernel.get_parent().get("content", {})
    return bool(content.get("allow_stdin", getattr(kernel, "_allow_stdin", False)))


def in_voila() -> bool:
    """Return whether Voila shows this notebook: once a cell has run, only widgets change on its page."""
    return os.environ.get("SERVER_SOFTWARE", "").lower().startswith("voila")


@functools.cache
def has_front_end() -> bool:
    """Return whether the built front end is installed; a checkout may run before it was built."""
    folder = importlib.resources.files("mesh_nb").joinpath("static")
    return all(folder.joinpath(name).is_file() for name in ("hub.js", "stub.js", "graph.js"))


def current_shell() -> Any:
    """Return the running IPython shell, or None."""
    return get_ipython()
