"""Shows a run in the cell that started it: live while it runs, as static output once it has ended."""

from __future__ import annotations

import asyncio
import html
import sys
import threading
import uuid
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from ..core.events import ENDINGS
from ..notebook._again import offers
from ..notebook._cell import Cell, cell_id, current_shell, origin
from ..notebook.freeze import freeze, marked
from ._many import SHOWN, Many

if TYPE_CHECKING:
    from ..notebook.live import LiveView

CELLS_KEPT = 20
REFRESH = 0.25
OFFERS = 8
"""Runs that ended early whose buttons stay."""
FOUND = 10.0
"""Seconds after which the mark of a page's buttons is taken off their output in any case."""

GOES_ON = (
    "The cell has ended, and its run goes on. A cell that awaits its run waits for the answer and shows it:"
    " `await graph.run(...)`."
)
"""What a cell says whose run nobody awaits, where output is static."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookHost:
    """The host of kernels: `show` for a run that starts, `display` for one that is a cell's value."""

    def __init__(self) -> None:
        self._cells: OrderedDict[str, Cell] = OrderedDict()

    def show(self, run: Any) -> None:
        """Show a run in the current cell: live if it may be, until its end; static output after it.

        Parameters: run, a Run that is about to start, runs, or has ended. From the sixth run that starts in
        one cell on, one line counts them.
        """
        cell = self.cell()
        if cell is None:
            return
        cell.runs.add(run.id)
        if not run.events and len(cell.runs) > SHOWN:
            cell.summary = cell.summary or _Summary(cell)
            cell.summary.add(run)
            return
        _show(run, cell)

    def display(self, run: Any) -> None:
        """Show a run that is a cell's value: nothing when this cell has shown it, else live while it runs and
        static output after its end."""
        cell = self.cell()
        if cell is None or run.id in cell.runs:
            return
        cell.runs.add(run.id)
        _show(run, cell)

    def origin(self) -> dict[str, str]:
        """Return the notebook and the cell that is being executed."""
        shell = current_shell()
        return {} if shell is None else origin(shell)

    def answers(self, background: bool = False) -> bool:
        """Return whether the reader's answer to a question of a run that starts now can arrive: the cell is
        live, and the kernel takes messages while it runs.

        Parameters: background, whether the run goes on when the cell has ended; then every kernel takes them.
        Otherwise ipykernel has to be 7 or newer.
        """
        cell = self.cell()
        if cell is None or not cell.live:
            return False
        ipykernel = sys.modules.get("ipykernel")
        return background or int(getattr(ipykernel, "__version__", "0").split(".")[0]) >= 7

    def cell(self) -> Cell | None:
        """Return the cell that is being executed, None outside a shell."""
        shell = current_shell()
        if shell is None:
            return None
        id = cell_id(shell)
        cell = self._cells.get(id)
        if cell is None:
            cell = self._cells[id] = Cell(shell, id)
            while len(self._cells) > CELLS_KEPT:
                self._cells.popitem(last=False)
        return cell


def _frozen(run: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return freeze(list(run.events), run.id, dead=run.status == "interrupted")


def _show(run: Any, cell: Cell) -> None:
    # A widget of an ended run would be saved as a view whose model no later page can find.
    if cell.live and (not run.done or offers(run)):
        _Shown(run, cell)
    else:
        _show_static(run, cell)


def _show_static(run: Any, cell: Cell) -> None:
    if run.done:
        cell.publish(*_frozen(run))
        return

    shown, display_id, lock = False, "", threading.Lock()

    def at_end(event: Any) -> None:
        nonlocal shown
        if event is run or event.type in ENDINGS:
            unsubscribe()
            with lock:
                if not shown:
                    shown = True
                    cell.publish(*_frozen(run), display_id=display_id or None, update=bool(display_id))

    def at_cell_end(_: Any) -> None:
        nonlocal display_id
        events.unregister("post_run_cell", at_cell_end)
        with lock:
            if not shown:
                # Nobody waits for a run that no `await` holds: without a word the cell would be empty.
                display_id = f"mesh_nb-{uuid.uuid4().hex}"
                cell.publish(_goes_on(), display_id=display_id)

    # The last event comes before anybody who waits goes on; it may have come already, though.
    unsubscribe = run.subscribe(at_end)
    run.add_done_callback(at_end)
    events = current_shell().events
    events.register("post_run_cell", at_cell_end)


def _goes_on() -> dict[str, str]:
    parts = enumerate(GOES_ON.split("`"))
    markup = "".join(f"<code>{part}</code>" if number % 2 else part for number, part in parts)
    return {"text/html": f"<p>{markup}</p>", "text/plain": GOES_ON}


class _Shown:
    """A run in a cell: live, then static output, at which the page has buttons when the run ended early, and
    live again in the same place when a reader chose one.

    The buttons are no part of the output: a notebook that is saved has the static output alone.
    """

    def __init__(self, run: Any, cell: Cell) -> None:
        from ..notebook.live import LiveView

        self._cell, self._display_id = cell, f"mesh_nb-{uuid.uuid4().hex}"
        self._mark = ""
        self._view = LiveView(run, self._freeze, on_again=self._again)
        if run.done:
            self._freeze(self._view, update=False)
        else:
            self._show_live(run)

    def _show_live(self, run: Any, update: bool = False) -> None:
        model = {"version_major": 2, "version_minor": 0, "model_id": self._view.widget.model_id}
        # What viewers without this kernel show of a notebook that is saved before the run has ended.
        again = f"<code>%mesh show {run.id}</code>"
        known = f"<p>This run had not ended when the notebook was saved. {again} shows it.</p>"
        data = {"text/plain": f"mesh_nb run {run.id}", "text/html": known, WIDGET_VIEW: model}
        self._cell.publish(data, display_id=self._display_id, update=update)

    def _freeze(self, view: LiveView, update: bool = True) -> None:
        data, metadata = _frozen(view.run)
        # A page asks for a snapshot once; another came from a page that was reloaded and misses the update.
        # Voila's page misses it as well.
        stays = update and (view.snapshots > 1 or self._cell.only_widgets)
        self._mark = "" if stays else uuid.uuid4().hex[:12]
        offered = offers(view.run)
        shown = {**data, "text/html": marked(data["text/html"], self._mark)} if offered else data
        self._cell.publish(shown, metadata, display_id=self._display_id, update=update)
        view.offer(self._mark)
        if stays:
            view.finish()
        elif offered:
            self._keep(data, metadata)
        else:
            view.close()

    def _keep(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Keep the view for its buttons, and take the mark off the output once the page has found it."""
        mark = self._mark

        def clean() -> None:
            if self._mark == mark:
                self._mark = ""
                self._cell.publish(data, metadata, display_id=self._display_id, update=True)

        self._view.on_placed = clean
        timer = threading.Timer(FOUND, clean)
        timer.daemon = True
        timer.start()
        _kept.append(self)
        while len(_kept) > OFFERS:
            _kept.popleft()._let_go()

    def _again(self, ended: Any, run: Any) -> None:
        self._mark = ""
        if self in _kept:
            _kept.remove(self)
        names = current_shell().user_ns
        for name in [name for name, value in names.items() if value is ended and not name.startswith("_")]:
            names[name] = run
        self._show_live(run, update=True)

    def _let_go(self) -> None:
        self._mark = ""
        self._view.close()


_kept: deque[_Shown] = deque()
"""The runs at whose static output buttons may stand, oldest first."""


class _Summary:
    """One line for all runs of a cell beyond the first few: progress while live, one final line if static."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._many = Many(self._changed)
        self._display_id = f"mesh_nb-{uuid.uuid4().hex}"
        self._timer: asyncio.TimerHandle | None = None
        self._shown = ""
        if not cell.live:
            current_shell().events.register("post_run_cell", self._at_cell_end)

    def add(self, run: Any) -> None:
        self._many.add(run)

    def _changed(self) -> None:
        if not self._cell.live:
            return
        if not self._shown or not self._many.running:
            self._publish()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REFRESH, self._publish)

    def _publish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        line = self._many.line()
        if line != self._shown:
            update, self._shown = bool(self._shown), line
            data = {"text/html": f"<p>{html.escape(line)}</p>", "text/plain": line}
            self._cell.publish(data, display_id=self._display_id, update=update)

    def _at_cell_end(self, result: Any) -> None:
        current_shell().events.unregister("post_run_cell", self._at_cell_end)
        self._publish()


plugin = NotebookHost()
