"""A comparison in a cell: a column for each answer while they stream, one static table after it."""

from __future__ import annotations

import dataclasses
import html
import uuid
from collections.abc import Iterable
from typing import Any

from ..core import plugins
from ..core.events import EventType, ExecutionEvent
from ..core.prices import dollars
from . import _html, _looks, _prose, _words
from ._cell import Cell
from ._coalesce import coalesce
from ._fold import Folded, fold
from .compare import TIE
from .freeze import whole_text

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
COLUMN = "minmax(min(100%, 20rem), 1fr)"
_NAMES = ("provider", "model_id", "requested_model", "request_ref", "call_key", "cost_usd", "provider_state")


def show(comparison: Any) -> None:
    """Show a comparison in the current cell: live while answers come, as static output after it."""
    cell = plugins.find("host", "notebook").cell()
    if cell is None:
        return
    cell.runs.update(run.id for run in comparison.runs.values())
    if comparison.done and not (cell.live and comparison.blind):
        cell.publish(frozen(comparison))
    elif cell.live:
        _Live(comparison, cell)
    else:
        _at_end(comparison, lambda: cell.publish(frozen(comparison)))


def display(comparison: Any) -> None:
    """Show a comparison that is a cell's value, unless this cell has shown it."""
    cell = plugins.find("host", "notebook").cell()
    if cell is not None and not all(run.id in cell.runs for run in comparison.runs.values()):
        show(comparison)


def frozen(comparison: Any) -> dict[str, str]:
    """Return a comparison as a mime bundle: columns in HTML, sections in Markdown and plain text."""
    views = {name: _folded(comparison, run) for name, run in comparison.runs.items()}
    heads = "".join(
        f"<th{_looks.of('column')}>{html.escape(name)}{_mark(comparison, name)}</th>" for name in views
    )
    place = f'<td valign="top" width="{100 // len(views)}%"{_looks.of("column")}>'
    cells = "".join(f"{place}{_html.render(view)}</td>" for view in views.values())
    rows = f"<thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody>"
    columns = f"<div{_looks.of('columns')}><table{_looks.columns(len(views))}>{rows}</table></div>"
    below = _looks.dressed(_figures(comparison, views) + _differences(comparison))
    bundle = {
        "text/html": f"{columns}\n{below}",
        "text/markdown": "\n\n".join(f"## {name}\n\n{_prose.markdown(view)}" for name, view in views.items()),
        "text/plain": "\n\n".join(f"{name}\n{_prose.plain(view)}" for name, view in views.items()),
    }
    return whole_text(bundle)


def masked(event: ExecutionEvent) -> ExecutionEvent:
    """Return an event without what names the model that it came from."""
    if event.type not in (EventType.MODEL_CALL_START, EventType.RESPONSE_METADATA):
        return event
    known = {key: value for key, value in event.metadata.items() if key not in _NAMES}
    return dataclasses.replace(event, metadata=known)


def _folded(comparison: Any, run: Any) -> Folded:
    events: Iterable[ExecutionEvent] = list(run.events)
    return fold(coalesce(map(masked, events) if comparison.blind else events))


def _mark(comparison: Any, name: str) -> str:
    if comparison.winner == name:
        return " ✓"
    return " (tie)" if comparison.winner == TIE else ""


def _figures(comparison: Any, views: dict[str, Folded]) -> str:
    """Return the answers' numbers as a table; times are those that the providers' calls took."""
    titles = ("Answer", "First token", "Time", "In", "Out", *([] if comparison.blind else ["Cost"]))
    rows: list[str] = []
    for name, run in comparison.runs.items():
        calls = [e.metadata for e in run.events if e.type == EventType.RESPONSE_METADATA]
        took = sum(c["duration_ms"] for c in calls if isinstance(c.get("duration_ms"), (int, float)))
        first = views[name].time_to_first_token_ms
        usage = run.usage
        figures = (
            name,
            "" if first is None else f"{first / 1000:.2f} s",
            f"{took / 1000:.1f} s" if took else "",
            *(_count(usage.get(key)) for key in ("prompt_tokens", "completion_tokens")),
            *([] if comparison.blind else [_cost(run)]),
        )
        rows.append(f"<tr>{_row('td', figures)}</tr>")
    head = _row("th", titles)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    name, *figures = cells
    numbers = "".join(f'<{tag} align="right">{html.escape(figure)}</{tag}>' for figure in figures)
    return f"<{tag}>{html.escape(name)}</{tag}>{numbers}"


def _count(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


def _cost(run: Any) -> str:
    cost = run.cost_usd
    return "unpriced" if cost is None or run.unpriced_calls else dollars(cost)


def _differences(comparison: Any) -> str:
    names = list(comparison.runs)
    found = comparison.diff() if len(names) == 2 else ""
    if not found:
        return ""
    title = f"How {names[1]} differs from {names[0]}"
    shown = html.escape(_words.cut(found))
    return f"<details><summary>{html.escape(title)}</summary>\n<pre>{shown}</pre></details>"


def _at_end(comparison: Any, then: Any) -> None:
    waiting = [run for run in comparison.runs.values() if not run.done]
    left = len(waiting)

    def ended(run: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            then()

    for run in waiting:
        run.add_done_callback(ended)
    if not waiting:
        then()


class _Live:
    """The columns while the answers come, and the vote of a blind comparison after it."""

    def __init__(self, comparison: Any, cell: Cell) -> None:
        import ipywidgets as widgets

        from .live import LiveView

        self._comparison, self._cell = comparison, cell
        self._display_id, self._vote_id = (f"mesh_nb-{uuid.uuid4().hex}" for _ in range(2))
        self._views: list[Any] = []
        columns: list[Any] = []
        for name, run in comparison.runs.items():
            view = LiveView(run, lambda view: view.finish(), edit=masked if comparison.blind else None)
            self._views.append(view)
            columns.append(widgets.VBox([widgets.Label(name, style={"font_weight": "600"}), view.widget]))
        layout = widgets.Layout(grid_template_columns=f"repeat(auto-fit, {COLUMN})", grid_gap="0 1.5rem")
        self._vote = widgets.HBox([])
        # The buttons are an output of their own, so that a notebook saved before the vote has the answers.
        # Where only widgets change on the page, they stay together.
        self._apart = comparison.blind and not cell.only_widgets
        grid = widgets.GridBox(columns, layout=layout)
        self._box = widgets.VBox([grid] if self._apart else [grid, self._vote])
        self._show("comparison", self._box, self._display_id)
        if self._apart:
            self._show("vote", self._vote, self._vote_id)
        comparison.on_reveal(self._freeze)
        _at_end(comparison, self._ended)

    def _show(self, what: str, widget: Any, display_id: str) -> None:
        model = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
        self._cell.publish({"text/plain": f"mesh_nb {what}", WIDGET_VIEW: model}, display_id=display_id)

    def _ended(self) -> None:
        if not self._comparison.blind:
            self._freeze()
            return
        if self._apart:
            self._freeze_answers()
        import ipywidgets as widgets

        buttons: list[Any] = []
        for name in [*self._comparison.runs, TIE]:
            button = widgets.Button(description="Tie" if name == TIE else f"{name} is best")
            button.on_click(lambda _, name=name: self._comparison.vote(name))
            buttons.append(button)
        self._vote.children = buttons

    def _freeze(self) -> None:
        if self._box is None or not self._comparison.done:
            return
        self._freeze_answers()
        box, self._box = self._box, None
        _close(box)
        if self._apart:
            self._cell.publish({"text/plain": ""}, display_id=self._vote_id, update=True)
            _close(self._vote)

    def _freeze_answers(self) -> None:
        self._cell.publish(frozen(self._comparison), display_id=self._display_id, update=True)
        for view in self._views:
            view.close()


def _close(widget: Any) -> None:
    """Close a box and what it holds; a page that is reloaded finds none of it."""
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()
