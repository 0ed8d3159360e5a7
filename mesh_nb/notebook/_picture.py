"""The graph of a run as a small picture: how far each node came, by colour and sign.

It is an image in static output, because sanitizers take SVG out of HTML and leave images. Boxes have their
own light ground and dark text, lines are a middle grey, so that it reads on light and on dark pages. Pure
and deterministic.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections import Counter, defaultdict
from typing import Any
from xml.sax.saxutils import escape

from ..core._layout import Box, Point, layout
from ..core._mermaid import mermaid
from . import _words
from ._reading import hosts
from ._view import Ask, Folded, Note, Section

LARGEST = 30
"""Nodes of a graph that is drawn."""
CAP = 9_000
"""Characters of a picture that a notebook keeps."""

HEIGHT = 28.0
PAD = 3.0
NAME = 24
GAP = 40.0
_LINE = "#8b949e"
_COLORS = {
    "completed": ("#eaf6ee", "#2e9e5b"),
    "failed": ("#fdeceb", "#d93025"),
    "waiting": ("#fff4e0", "#c77700"),
    "stopped": ("#eef1f4", "#6b7580"),
    "running": ("#e8f1fd", "#1a73e8"),
    "skipped": ("#f6f8fa", "#9aa3ad"),
}
_SIGNS = {
    "completed": "m1 5 3 3 6-7",
    "failed": "m1 1 8 8m0-8-8 8",
    "waiting": "m3 1v8m4-8v8",
    "stopped": "m2 2h6v6h-6z",
    "running": "m5 0a5 5 0 1 1-5 5",
    "skipped": "m2 5h6",
}
_WORDS = {"completed": "done", "skipped": "not run"}


def image(view: Folded) -> tuple[str, str] | None:
    """Return the picture of a run's graph as a data address, and its words; None for a graph of one node, or
    one that is too large."""
    nodes = _nodes(view)
    if not 2 <= len(nodes) <= LARGEST:
        return None
    drawn = _Drawing(view, nodes).svg()
    if len(drawn) > CAP:
        return None
    data = base64.b64encode(drawn.encode("utf-8", "replace")).decode("ascii")
    return f"data:image/svg+xml;base64,{data}", words(view)


def text(view: Folded) -> str:
    """Return a run's graph as Mermaid text, empty for a graph of one node, or one that is too large."""
    nodes = _nodes(view)
    return mermaid(view.outline) if view.outline and 2 <= len(nodes) <= LARGEST else ""


def words(view: Folded) -> str:
    """Return how far a run came in its graph, as a sentence."""
    states = _states(view, list(_nodes(view)))
    done = sum(state == "completed" for state in states.values())
    rest = [f"{node} {_WORDS.get(s, s)}" for node, s in states.items() if s not in ("completed", "skipped")]
    return f"Graph: {done} of {_words.count(len(states), 'node')} done{''.join(f', {one}' for one in rest)}"


def _nodes(view: Folded) -> dict[str, str]:
    """Return the kinds of the graph's nodes by id."""
    listed: Any = (view.outline or {}).get("nodes")
    nodes = [node for node in listed or () if isinstance(node, dict)]
    return {str(node.get("id")): str(node.get("kind") or "node") for node in nodes}


def _states(view: Folded, nodes: list[str]) -> dict[str, str]:
    states = dict.fromkeys(nodes, "skipped")
    for section in view.sections:
        if section.discarded:
            continue
        state = _state(section, view)
        if section.node_id in states:
            states[section.node_id] = state
        if state == "waiting":
            # A node waits when one inside it does.
            states |= dict.fromkeys((host for host in hosts(section.node_id) if host in states), state)
    return states


def _state(section: Section, view: Folded) -> str:
    if any(isinstance(b, Note) and b.failure for b in section.blocks):
        return "failed"
    if section.ended is not None:
        return "completed"
    if any(isinstance(b, Ask) and not b.decision for b in section.blocks):
        return "waiting"
    return "running" if view.status == "running" else "stopped"


class _Drawing:
    def __init__(self, view: Folded, kinds: dict[str, str]) -> None:
        self.kinds, self.states = kinds, _states(view, list(kinds))
        visits = Counter(s.node_id for s in view.sections if not s.discarded)
        self.names = {
            node: _shorten(node, NAME) + (f" ×{visits[node]}" if visits[node] > 1 else "") for node in kinds
        }
        self.edges: dict[tuple[str, str, bool], str] = {}
        for edge in (view.outline or {}).get("edges") or ():
            self._add(edge, visits)
        sizes = {node: (_width(self.names[node], 12) + 44, HEIGHT - 12) for node in kinds}
        gaps = {key: _width(label, 10) + 14 for key, label in self.edges.items() if label}
        self.layout = layout(sizes, list(self.edges), gaps, GAP)

    def _add(self, edge: Any, visits: Counter[str]) -> None:
        source, target, kind = str(edge.get("source")), str(edge.get("target")), edge.get("kind")
        if source not in self.kinds or target not in self.kinds:
            return
        label, back = str(edge.get("label") or ""), kind == "loop" or source == target
        if back:
            most = re.fullmatch(r"max: (\d+)", label)
            label = f"↻ {max(visits[target] - 1, 0)}{f'/{most[1]}' if most else ''}"
        key = source, target, back
        known = self.edges.get(key)
        self.edges[key] = _shorten(f"{known}, {label}" if known and label else known or label, NAME)

    def svg(self) -> str:
        width, height = self.layout.length + 2 * PAD, self.layout.breadth + 2 * PAD + 12
        lines: list[str] = []
        tips: list[str] = []
        labels: list[str] = []
        for ((source, target, back), label), route in zip(
            self.edges.items(), self.layout.routes, strict=True
        ):
            boxes = self.layout.boxes[source], self.layout.boxes[target]
            path, tip, middle = _around(*boxes, route) if back else self._through(*boxes, route)
            lines.append(path)
            tips.append(tip)
            if label:
                labels.append(_label(label, middle))
        line = f'<g fill="none" stroke="{_LINE}" stroke-width="1.4"><path d="{"".join(lines)}"/></g>'
        arrows = f'<path fill="{_LINE}" d="{"".join(tips)}"/>'
        named = "".join(self._name(node) for node in self.kinds)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}"'
            f' font-family="system-ui,sans-serif" font-size="12">{line if lines else ""}'
            f"{arrows if tips else ''}{''.join(self._faces())}"
            f'<g fill="#1f2328">{named}</g>{"".join(labels)}</svg>'
        )

    def _corner(self, node: str) -> Point:
        box = self.layout.boxes[node]
        return box.main - box.main_size / 2 + PAD, _y(box) - HEIGHT / 2

    def _faces(self) -> list[str]:
        """Return the boxes and signs, those of one state together."""
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for node, state in self.states.items():
            groups[state].append(node)
        found: list[str] = []
        for state, nodes in groups.items():
            fill, stroke = _COLORS[state]
            dash = ' stroke-dasharray="3 3"' if state == "skipped" else ""
            boxes = "".join(map(self._face, nodes))
            corners = [self._corner(node) for node in nodes]
            signs = "".join(f"M{_n(x + 10)} {_n(y + 9)}{_SIGNS[state]}" for x, y in corners)
            found.append(
                f'<g fill="{fill}" stroke="{stroke}" stroke-width="1.3"><g{dash}>{boxes}</g>'
                f'<path fill="none" stroke-width="1.7" d="{signs}"/></g>'
            )
        return found

    def _face(self, node: str) -> str:
        kind, width, (x, y) = self.kinds[node], self.layout.boxes[node].main_size, self._corner(node)
        if kind == "condition":
            return f'<path d="M{_n(x + 11)} {_n(y)}h{_n(width - 22)}l11 14-11 14h-{_n(width - 22)}l-11-14z"/>'
        radius = 14 if kind in ("agent", "subgraph") else 3 if kind in ("tool", "function") else 8
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(HEIGHT)}"'
        return f'<rect {place} rx="{radius}"/>'

    def _name(self, node: str) -> str:
        x, y = self._corner(node)
        return f'<text x="{_n(x + 28)}" y="{_n(y + 18)}">{_text(self.names[node])}</text>'

    def _through(self, source: Box, target: Box, route: list[Box]) -> tuple[str, str, Point]:
        x, y = source.main + source.main_size / 2 + PAD, _y(source)
        path, at = f"M{_n(x)} {_n(y)}", (x, y)
        ends = [(self.layout.main[d.layer], _y(d)) for d in route]
        stop = target.main - target.main_size / 2 + PAD
        for (begin, end), height in [*ends, ((stop - PAD, stop - PAD), _y(target))]:
            goal = begin + PAD
            half = _n((x + goal) / 2)
            path += f"C{half} {_n(y)} {half} {_n(height)} {_n(goal)} {_n(height)}"
            at = x + (goal - x) * 0.55, y + (height - y) * 0.6
            x, y = end + PAD, height
            path += f"H{_n(x)}" if x > goal else ""
        return path, f"M{_n(stop)} {_n(y)}l-7-3.5v7z", at


def _around(source: Box, target: Box, route: list[Box]) -> tuple[str, str, Point]:
    """Return the way back below the nodes that it passes."""
    below = max(_y(box) for box in route)
    start, stop = source.main + PAD, target.main + PAD
    if source is target:
        start, stop = start + 12, stop - 12
    foot = _y(target) + HEIGHT / 2
    path = f"M{_n(start)} {_n(_y(source) + HEIGHT / 2)}V{_n(below)}H{_n(stop)}V{_n(foot)}"
    return path, f"M{_n(stop)} {_n(foot)}l-3.5 7h7z", ((start + stop) / 2, below)


def _y(box: Box) -> float:
    # The layout's boxes are lower than those that are drawn: its rows would stand far apart.
    return box.cross + PAD + 6


def _label(text: str, middle: Point) -> str:
    width = _width(text, 10) + 10
    x, y = middle
    return (
        f'<rect x="{_n(x - width / 2)}" y="{_n(y - 8)}" width="{_n(width)}" height="16" rx="8" fill="#fff"'
        f' stroke="{_LINE}"/><text x="{_n(x)}" y="{_n(y + 3.5)}" font-size="10" text-anchor="middle"'
        f' fill="#3d4752">{_text(text)}</text>'
    )


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _shorten(text: str, limit: int) -> str:
    return _words.shorten(" ".join(text.split()), limit)


def _width(text: str, size: float) -> float:
    """Estimate the width of a text in pixels; a little too wide rather than too narrow."""
    wide = sum(
        2.0 if unicodedata.east_asian_width(c) in "WF" else 1.35 if c in "mw@%" or c.isupper() else 1.0
        for c in text
    )
    return wide * size * 0.6
