"""Shows nothing while a run goes on: the host of scripts, tests and terminals.

A script's output belongs to the script. Print `run.text`, iterate the run, or call `run.show()`.
"""

from __future__ import annotations

from typing import Any


class PlainHost:
    """The host where there is no notebook."""

    def show(self, run: Any) -> None:
        """Do nothing for a run that is going on; print the text of one that has ended."""
        if run.done:
            print(run.text or repr(run))  # noqa: T201


plugin = PlainHost()
