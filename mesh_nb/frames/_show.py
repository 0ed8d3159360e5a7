"""A report as HTML, as text and as Markdown. Names come from models and logs: everything is escaped."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..core.prices import dollars

Frame = Any
"""A DataFrame or a Series; what pandas says about the types of their columns is of no use here."""

Section = tuple[str, Frame]

TITLES = {
    "cost_usd": "cost",
    "day": "day (UTC)",
    "saved_usd": "saved by cache",
    "prompt_tokens": "input tokens",
    "completion_tokens": "output tokens",
    "cached_tokens": "cached tokens",
    "unpriced_calls": "unpriced calls",
    "node_id": "node",
    "run_id": "run",
    "session_id": "session",
    "graph_id": "graph",
    "cost_source": "cost source",
    "answered_by": "answered by",
}
NONE = {
    "notebook": "outside a notebook",
    "cell": "outside a cell",
    "execution": "outside a cell",
    "session_id": "no session",
    "graph_id": "no graph",
    "cost_source": "unpriced",
}
"""What stands where a group has no name; others are unknown."""
BAR = "rgba(65, 130, 220, 0.25)"
"""A bar behind a figure, in a colour that both themes can read."""
ROWS = 50
"""Rows that are shown; a note says how many are not."""
CELL = 80


def money(usd: Any) -> str:
    """Return dollars as they are read: to the cent where they are many, never 0 where they are few."""
    if usd is None or pd.isna(usd):
        return "unpriced"
    return dollars(float(usd))


def clean(text: str) -> str:
    """Return text without control characters: names come from models."""
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)


def cell(name: str, value: Any) -> str:
    """Return one value as it is shown, on one line and without control characters."""
    if name == "cost_usd":
        return money(value)
    if pd.isna(value):
        return "" if is_number(name) else NONE.get(name, "unknown")
    if name == "saved_usd":
        return money(value)
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if value else ""
    text = clean(str(value)[: 2 * CELL])
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def _rows(df: Frame) -> tuple[list[str], list[list[str]], str]:
    # A column of zeros tells nothing.
    names = [
        n for n in df.columns if n not in ("cached_tokens", "saved_usd", "unpriced_calls") or _any(df[n])
    ]
    shown = df.head(ROWS)
    rows = [[cell(n, v) for n, v in zip(names, row, strict=True)] for row in _values(shown[names])]
    if "unpriced_calls" in names:
        # Answers of a tape cost nothing; the group is not free for that.
        cost, missing = names.index("cost_usd"), names.index("unpriced_calls")
        for row in rows:
            if row[cost] == "$0" and row[missing]:
                row[cost] = money(None)
    left = len(df) - len(shown)
    return names, rows, f"And {left:,} more." if left else ""


def _values(df: Frame) -> list[Any]:
    return list(df.itertuples(index=False, name=None))


def _any(column: Frame) -> bool:
    return bool((column.fillna(0) != 0).any())


def is_number(name: str) -> bool:
    """Say whether a column of a report holds numbers."""
    return name.endswith(("_usd", "_tokens", "calls"))


def plain(title: str, df: Frame) -> str:
    """Return a section as text for a terminal."""
    names, rows, more = _rows(df)
    heads = [TITLES.get(n, n) for n in names]
    widths = [max(_width(head), *(_width(row[i]) for row in rows), 0) for i, head in enumerate(heads)]

    def line(cells: Sequence[str]) -> str:
        parts: list[str] = []
        for text, width, name in zip(cells, widths, names, strict=True):
            space = " " * (width - _width(text))
            parts.append(space + text if is_number(name) else text + space)
        return "  ".join(parts).rstrip()

    lines = [line(heads), "  ".join("-" * w for w in widths), *map(line, rows)]
    return "\n".join([*([title] if title else []), *lines, *([more] if more else [])])


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def markdown(headline: str, sections: Sequence[Section], notes: Sequence[str]) -> str:
    """Return a report as Markdown."""
    parts = [f"**{_md(headline)}**"]
    for title, df in sections:
        if not len(df):
            continue
        names, rows, more = _rows(df)
        lines = [[TITLES.get(n, n) for n in names], ["---:" if is_number(n) else "---" for n in names]]
        lines += [[_md(c) for c in row] for row in rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"{title}:" if title else "", table, more]
    parts += ["\n".join(f"- {_md(note)}" for note in notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _md(text: str) -> str:
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}") if sign != "_" else text
    return text


def html_table(headline: str, sections: Sequence[Section], notes: Sequence[str]) -> str:
    """Return a report as HTML: tables with a bar for each cost, readable without its styles."""
    parts = [f"<p><b>{html.escape(headline)}</b></p>"]
    for title, df in sections:
        if not len(df):
            continue
        names, rows, more = _rows(df)
        top = float(df.cost_usd.max()) if _any(df.cost_usd) else 0.0
        costs = [0.0 if pd.isna(usd) else float(usd) for usd in df.cost_usd.head(len(rows))]
        head = "".join(f"<th>{html.escape(TITLES.get(n, n))}</th>" for n in names)
        body = "".join(
            f"<tr>{''.join(_td(n, c, usd / top if top else 0) for n, c in zip(names, row, strict=True))}</tr>"
            for row, usd in zip(rows, costs, strict=True)
        )
        caption = f"<caption>{html.escape(title)}</caption>" if title else ""
        parts.append(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        if more:
            parts.append(f"<p>{more}</p>")
    if notes:
        parts.append(f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes)}</ul>")
    return "".join(parts)


def _td(name: str, text: str, share: float) -> str:
    style = "text-align: right" if is_number(name) else "text-align: left"
    if name == "cost_usd" and share > 0:
        width = f"{100 * share:.1f}%"
        style += f"; background: linear-gradient(to left, {BAR} {width}, transparent {width})"
    return f'<td style="{style}">{html.escape(text)}</td>'
