"""Which notebook and cell something is started from: what the header of a run's log says about it."""

from __future__ import annotations

import sys
import time

from . import plugins

IMPORTED = time.time()
"""Every run of this process began later."""


def origin() -> dict[str, str]:
    """Return notebook and cell, as far as the kernel that runs here knows them; nothing outside a kernel."""
    shell = sys.modules.get("IPython.core.interactiveshell")
    if shell is None or not shell.InteractiveShell.initialized():
        return {}
    if getattr(shell.InteractiveShell.instance(), "kernel", None) is None:
        return {}
    found: dict[str, str] = plugins.find("host", "notebook").origin()
    return found
