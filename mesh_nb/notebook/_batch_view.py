"""A batch in a cell: how far it is while it runs, its first rows as static output after it."""

from __future__ import annotations

import asyncio
import html
import uuid
from typing import Any

from ..core import plugins
from ..core._scrub import hidden
from . import _looks
from ._batch import RUNNING, WAITING, headline, progress
from ._cell import Cell
from ._table import markdown_table
from ._words import shorten

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
REFRESH = 0.2
"""Seconds between two changes of what is shown."""
ROWS, FAILED = 8, 5
"""Rows that static output shows: the first ones, and of those that failed."""
TEXT, FIELDS = 160, 6
"""Characters of a cell, and columns for the fields of answers."""


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
        batch.watch(lambda: cell.publish(frozen(batch)) if batch.done else None)


def display(batch: Any) -> None:
    """Show a batch that is a cell's value, unless this cell has shown it."""
    cell = plugins.find("host", "notebook").cell()
    if cell is not None and batch.id not in cell.runs:
        show(batch)


def frozen(batch: Any) -> dict[str, str]:
    """Return a batch as a mime bundle: a line, the first rows, and others that failed."""
    line, problem = hidden(headline(batch)), hidden(batch.error or "")
    first, rest = batch.rows[:ROWS], len(batch.rows) - ROWS
    parts = [f"<p><strong>{html.escape(line)}</strong></p>"]
    if problem:
        parts.append(f"<p{_looks.of('error')}>No further rows were begun. {html.escape(problem)}</p>")
    parts.append(_table(_records(first)))
    if rest > 0:
        parts.append(f"<p><small>And {rest:,} more: to_pandas() has them all.</small></p>")
    if failed := [row for row in batch.failed if row not in first][:FAILED]:
        parts.append(_table(_records(failed)))
    records = [{_escaped(k): _escaped(v) for k, v in record.items()} for record in _records(first)]
    text = [f"**{_escaped(line)}**", _escaped(problem), markdown_table(records, ROWS) or ""]
    return {
        "text/html": _looks.dressed("".join(parts)),
        "text/markdown": "\n\n".join(filter(None, text)),
        "text/plain": hidden(repr(batch)),
    }


def _records(rows: list[Any]) -> list[dict[str, str]]:
    """Return rows as they are shown: label, input, the answer or its fields, and how it ended if not well."""
    fields = list(dict.fromkeys(name for row in rows for name in row.fields))[:FIELDS]
    ended = {id(row): f"{row.status}: {row.error}" if row.error else row.status for row in rows}
    whole = all(row.status == "completed" for row in rows)
    return [
        {
            "": _short(row.label),
            "input": _short(_asked(row.input)),
            **(
                {_short(name): _short(row.fields.get(name, "")) for name in fields}
                or {"answer": _short(row.text)}
            ),
            **({} if whole else {"status": _short(ended[id(row)])}),
        }
        for row in rows
    ]


def _asked(given: Any) -> str:
    if isinstance(given, dict):
        return ", ".join(f"{name}: {value}" for name, value in given.items())
    return str(given)


def _short(value: Any) -> str:
    return hidden(shorten(" ".join(str(value).split()), TEXT))


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*[]<>#_~$" else c for c in text)


def _table(records: list[dict[str, str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in records[0])
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in record.values())}</tr>"
        for record in records
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


class _Live:
    """A bar, what is done so far, what it cost, how long it will take, and a Stop button."""

    def __init__(self, batch: Any, cell: Cell) -> None:
        import ipywidgets as widgets

        self._batch, self._cell = batch, cell
        self._display_id = f"mesh_nb-{uuid.uuid4().hex}"
        self._timer: asyncio.TimerHandle | None = None
        self._bar = widgets.IntProgress(max=len(batch.rows), layout=widgets.Layout(width="240px"))
        self._line = widgets.HTML(html.escape(progress(batch)))
        if plugins.find("host", "notebook").answers(batch.background):
            stop: Any = widgets.Button(description="Stop", icon="stop", layout=widgets.Layout(width="auto"))
            stop.on_click(lambda _: batch.cancel())
        else:
            stop = widgets.Label("Interrupt the kernel to stop.")
        row = widgets.Layout(align_items="center", grid_gap="0 12px", flex_flow="row wrap")
        self._box = widgets.HBox([self._bar, self._line, stop], layout=row)
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
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REFRESH, self._refresh)

    def _refresh(self) -> None:
        self._timer = None
        self._bar.value = sum(row.status not in (WAITING, RUNNING) for row in self._batch.rows)
        self._line.value = html.escape(progress(self._batch))

    def _end(self) -> None:
        import ipywidgets as widgets

        data = frozen(self._batch)
        # A page that was reloaded misses the update of the output, and has the widget.
        self._box.children = [widgets.HTML(data["text/html"])]
        self._cell.publish(data, display_id=self._display_id, update=True)
