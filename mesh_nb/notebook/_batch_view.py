"""A batch in a cell: how far it is while it runs, its first rows as static output after it."""

from __future__ import annotations

import asyncio
import html
import threading
import uuid
from collections.abc import Iterable
from typing import Any, cast

from ..core import plugins
from . import _looks
from ._batch_row import RUNNING, WAITING
from ._batch_words import LINE, headline, one_line, progress, summary
from ._cell import Cell, current_shell
from ._table import markdown_table

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
REFRESH, BEAT = 0.2, 1.0
"""Seconds between two changes of what is shown, and the longest time without one."""
GOES_ON = (
    "The cell has ended, and its batch goes on. A cell that awaits it waits for the rows and shows them:"
    " await mesh_nb.batch(...)."
)
"""What a cell says whose batch nobody awaits, where output is static."""
ROWS, FAILED = 8, 5
"""Rows that static output shows: the first ones, and of those that failed."""
TEXT, FIELDS, ASKED = 160, 6, 3
"""Characters of a cell; columns for the fields of answers, and for those of a row that was asked."""


def show(batch: Any) -> None:
    """Show a batch in the current cell."""
    cell = plugins.find("host", "notebook").cell()
    if cell is None:
        return
    cell.runs.add(batch.id)
    if batch.done:
        cell.publish(frozen(batch))
    elif cell.live:
        _Live(batch, cell)
    else:
        _Static(batch, cell)


def show_in_marimo(batch: Any) -> None:
    """Show the rows in marimo's cell, if it still runs when they have ended; a value takes their place."""
    append = plugins.find("host", "marimo").place()
    batch.watch(lambda: append(frozen(batch)["text/html"]) if batch.done else None)


def display(batch: Any) -> None:
    """Show a batch that is a cell's value, unless this cell has shown it."""
    cell = plugins.find("host", "notebook").cell()
    if cell is not None and batch.id not in cell.runs:
        show(batch)


def frozen(batch: Any) -> dict[str, str]:
    """Return a batch as a mime bundle: a line, the first rows, and others that failed."""
    line = one_line(headline(batch), LINE)
    problem = f"No further rows were begun. {one_line(batch.error, LINE)}" if batch.error else ""
    rest, every = len(batch.rows) - ROWS, set(map(id, batch.failed))
    failed = [at for at, row in enumerate(batch.rows) if at >= ROWS and id(row) in every]
    records = _records(batch, range(min(ROWS, len(batch.rows))))
    done, _, more = line.partition(" · ")
    parts = [f"<p><strong>{html.escape(done)}</strong>{html.escape(more and f' · {more}')}</p>"]
    text = [f"**{_escaped(done)}**{_escaped(more and f' · {more}')}", _escaped(problem)]
    if problem:
        parts.append(f"<p{_looks.of('error')}>{html.escape(problem)}</p>")
    parts.append(_table(records))
    text.append(_markdown(records))
    if rest > 0:
        note = f"And {rest:,} more row{'' if rest == 1 else 's'}: to_pandas() has them all."
        parts.append(f"<p><small>{note}</small></p>")
        text.append(_escaped(note))
    if failed:
        some = f", the first {FAILED} of {len(failed):,}" if len(failed) > FAILED else ""
        note = f"Of those that failed{some}:"
        records = _records(batch, failed[:FAILED])
        parts.append(f"<p><small>{note}</small></p>{_table(records)}")
        text += [note, _markdown(records)]
    return {
        "text/html": _looks.dressed("".join(parts)),
        "text/markdown": "\n\n".join(filter(None, text)),
        "text/plain": summary(batch),
    }


def _records(batch: Any, places: Iterable[int]) -> list[dict[str, str]]:
    """Return rows as they are shown: label, input, the answer or its fields, and how it ended if not well."""
    rows = [(batch.rows[at], _asked(batch, at)) for at in places]
    fields = list(dict.fromkeys(name for row, _ in rows for name in row.fields))[:FIELDS]
    shown: list[dict[str, str]] = []
    for row, asked in rows:
        record = {"": one_line(row.label, TEXT)}
        answers = {name: row.fields.get(name) for name in fields} if fields else {"answer": row.text}
        for name, value in (*asked.items(), *answers.items()):
            record[_free(one_line(name, TEXT), record)] = "" if value is None else one_line(value, TEXT)
        shown.append(record)
    if any(row.status != "completed" for row, _ in rows):
        for (row, _), record in zip(rows, shown, strict=True):
            ended = "" if row.status == "completed" else row.status
            ended = f"{ended}: {row.error}" if row.error and ended else ended
            record[_free("status", record)] = one_line(ended, TEXT)
    return shown


def _asked(batch: Any, at: int) -> dict[str, Any]:
    """Return the input of a row: of a table its first columns, with a prompt those that it names."""
    over = batch.inputs
    if over.named:
        return {name: over.rows[at].get(name) for name in over.named[:ASKED]}
    given = over.items[at]
    if isinstance(given, dict):
        row = cast("dict[Any, Any]", given)
        return {name: row.get(name) for name in over.columns[:ASKED]} or {"input": row}
    return {over.name: given}


def _free(name: str, taken: dict[str, str]) -> str:
    while name in taken:
        name = f"output_{name}"
    return name


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*[]<>#_~$" else c for c in text)


def _markdown(records: list[dict[str, str]]) -> str:
    clean = [
        {_escaped(name).replace("|", "\\|"): _escaped(value) for name, value in record.items()}
        for record in records
    ]
    return markdown_table(clean, len(clean)) or ""


def _table(records: list[dict[str, str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in records[0])
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in record.values())}</tr>"
        for record in records
    )
    # The line break keeps the few rows from being a window that scrolls.
    return f"<table>\n<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


class _Static:
    """Static output: the rows once all have ended; when the cell has before them, a word of how to wait."""

    def __init__(self, batch: Any, cell: Cell) -> None:
        self._batch, self._cell = batch, cell
        self._display_id = ""
        self._lock = threading.Lock()
        self._shown = False
        self._events = current_shell().events
        self._events.register("post_run_cell", self._at_cell_end)
        batch.watch(self._changed)

    def _changed(self) -> None:
        if not self._batch.done:
            return
        with self._lock:
            if not self._shown:
                self._shown = True
                data, id = frozen(self._batch), self._display_id
                self._cell.publish(data, display_id=id or None, update=bool(id))

    def _at_cell_end(self, _: Any) -> None:
        self._events.unregister("post_run_cell", self._at_cell_end)
        with self._lock:
            if not self._shown:
                self._display_id = f"mesh_nb-{uuid.uuid4().hex}"
                data = {"text/html": f"<p>{html.escape(GOES_ON)}</p>", "text/plain": GOES_ON}
                self._cell.publish(data, display_id=self._display_id)


class _Live:
    """A bar, what is done so far, what it cost, how long it will take, and a Stop button."""

    def __init__(self, batch: Any, cell: Cell) -> None:
        import ipywidgets as widgets

        self._batch, self._cell = batch, cell
        self._display_id = f"mesh_nb-{uuid.uuid4().hex}"
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        self._bar = widgets.IntProgress(max=len(batch.rows), layout=widgets.Layout(flex="0 1 320px"))
        self._line = widgets.HTML(html.escape(progress(batch)), layout=widgets.Layout(width="100%"))
        self._note = widgets.HTML(layout=widgets.Layout(width="100%", display="none"))
        if plugins.find("host", "notebook").answers(batch.background):
            stop: Any = widgets.Button(description="Stop", icon="stop", layout=widgets.Layout(width="auto"))
            stop.on_click(lambda _: batch.cancel())
        else:
            stop = widgets.Label("Interrupt the kernel to stop.")
        row = widgets.Layout(align_items="center", grid_gap="0 12px", flex_flow="row wrap")
        self._parts = [self._bar, stop, self._line, self._note]
        self._box = widgets.HBox(self._parts, layout=row)
        model = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        known = "<p>This batch had not ended when the notebook was saved. mesh_nb.runs() lists its runs.</p>"
        data = {"text/plain": f"mesh_nb {batch.id}", "text/html": known, WIDGET_VIEW: model}
        cell.publish(data, display_id=self._display_id)
        batch.watch(self._changed)

    def _changed(self) -> None:
        if self._batch.done:
            if self._timer is not None:
                self._timer.cancel()
            self._end()
        elif not self._soon:
            self._soon = True
            self._wake(REFRESH)

    def _wake(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._refresh)

    def _refresh(self) -> None:
        self._soon = False
        batch = self._batch
        self._bar.value = sum(row.status not in (WAITING, RUNNING) for row in batch.rows)
        self._line.value = html.escape(progress(batch))
        if not self._note.value and (failures := batch.failed):
            told = html.escape(one_line(f"Row {failures[0].label} failed: {failures[0].error}", LINE))
            self._note.value = f"<span{_looks.of('error')}>{told}</span>"
            self._note.layout.display = ""
        # Also while nothing ends: what is left takes longer then, and a person may be asked.
        self._wake(BEAT)

    def _end(self) -> None:
        import ipywidgets as widgets

        data = frozen(self._batch)
        # A page that was reloaded misses the update of the output, and has the widget.
        self._box.children = [widgets.HTML(data["text/html"])]
        self._cell.publish(data, display_id=self._display_id, update=True)
        for part in self._parts:
            part.close()
