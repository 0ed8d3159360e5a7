"""Shows a run in the marimo cell that started it: live while it runs, as static output once it has ended.

marimo has no magics: `await graph.run(...)`, `run.show()` and a run as the value of a cell are the interface.
What the page sends arrives while no cell is running, so Stop and Approve work for background runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..notebook.freeze import freeze


class MarimoHost:
    """The host of marimo's kernel: `show` for a run that starts, `displayed` for the value of a cell."""

    def show(self, run: Any) -> None:
        """Show a run in the current cell: live until its end, static output after it.

        A value of the cell takes the place of both; for a run that value is what `displayed` returns.
        """
        marimo: Any = sys.modules["marimo"]
        if run.done:
            marimo.output.append(self.displayed(run))
            return
        from ..notebook.live import LiveView

        cell, view = _cell(), LiveView(run)
        shown = marimo.as_html(marimo.ui.anywidget(view.widget))
        marimo.output.append(shown)

        def ended(_: Any) -> None:
            if cell is not None and _cell() is cell:
                cell.output.remove(shown)
                marimo.output.append(self.displayed(run))
                view.close()
            else:
                # The output of a cell that has ended cannot be replaced: its view stays, and knows all.
                view.finish()
                view.offer()

        run.add_done_callback(ended)

    def displayed(self, run: Any) -> Any:
        """Return what marimo shows for a run that is a cell's value: a live view while it runs, else HTML."""
        marimo: Any = sys.modules["marimo"]
        if run.done:
            data, _ = freeze(list(run.events), run.id, dead=run.status == "interrupted")
            return marimo.Html(data["text/html"])
        from ..notebook.live import LiveView

        return marimo.ui.anywidget(LiveView(run, lambda view: view.finish()).widget)

    def place(self) -> Callable[[str], None]:
        """Return what appends HTML to the output of the cell that is running now, while it runs."""
        marimo: Any = sys.modules["marimo"]
        cell = _cell()

        def append(markup: str) -> None:
            if cell is not None and _cell() is cell:
                marimo.output.append(marimo.Html(markup))

        return append

    def answers(self, background: bool = False) -> bool:
        """Return whether a reader's answer can arrive: only while no cell is running."""
        return background


def _cell() -> Any:
    """Return what marimo keeps of the cell that is running, None when there is none."""
    module: Any = sys.modules.get("marimo._runtime.context")
    if module is None:
        return None
    try:
        return module.get_context().execution_context
    except module.ContextNotInitializedError:
        return None


plugin = MarimoHost()
