"""A picture of a graph as SVG: drawn here, offline, with nothing that reaches beyond itself.

No style sheet, script, id or link: the picture can stand in a page beside others and passes sanitizers. Boxes
carry their own light ground and dark text, lines are a middle grey, so that it reads on light and on dark.
"""

from __future__ import annotations

import unicodedata
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from ._layout import LANE, Box, Layout, Point, layout
from .errors import InputError, UnknownNameError

MAX_NODES = 300
FIT = 960.0
"""The width in pixels that a picture should have: that of a notebook's cell."""

LABEL = 30
PAD = 12.0
BOLD = 1.1
HEIGHT = 44.0
LINE, LOOP = "#8b949e", "#a475f9"
COLORS = {
    "START": ("#4b5563", "#4b5563", "#ffffff"),
    "END": ("#dc2626", "#dc2626", "#ffffff"),
    "agent": ("#fee4e2", "#e5484d", "#7a1a1c"),
    "llm": ("#dcebff", "#3b82f6", "#173f7d"),
    "tool": ("#dbf6e4", "#22a55b", "#12512d"),
    "condition": ("#fff3cd", "#d9a406", "#664d03"),
    "loop": ("#f0e6ff", "#9b5cf6", "#4a1d8a"),
    "foreach": ("#f0e6ff", "#9b5cf6", "#4a1d8a"),
    "subgraph": ("#e4e7fb", "#6574e0", "#2c3580"),
    "approval": ("#ffe8d6", "#f0803c", "#7a3510"),
}
OTHER = ("#eef1f4", "#7d8896", "#2f3742")
_ROUND = ("START", "END")
_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'


def svg(outline: dict[str, Any], direction: str = "auto", title: str | None = None) -> str:
    """Return an SVG picture of an outline as `CompiledGraph.outline` gives it.

    Parameters: direction, "LR" from left to right, "TD" from the top down, "auto" what fits a
    notebook's cell; title, for screen readers.
    Raises UnknownNameError for another direction, InputError for a graph of more than 300 nodes.
    """
    if direction not in ("auto", "LR", "TD"):
        raise UnknownNameError("direction", direction, ["auto", "LR", "TD"])
    kinds = _kinds(outline)
    if len(kinds) > MAX_NODES:
        raise InputError(
            f"A graph of {len(kinds)} nodes is too large for a picture; to_mermaid() or to_json() has it all."
        )
    edges = _edges(outline)
    drawn = [_Drawing(kinds, edges, across) for across in _axes(direction)]
    fits = [d for d in drawn if d.width <= FIT]
    # From left to right when it fits, else from the top down, else whichever is less wide.
    chosen = fits[0] if fits else min(drawn, key=lambda d: d.width)
    return chosen.svg(title or "graph")


def _axes(direction: str) -> list[bool]:
    return {"auto": [True, False], "LR": [True], "TD": [False]}[direction]


def _kinds(outline: dict[str, Any]) -> dict[str, str]:
    """Return every node's kind, START first and END last where they have edges."""
    ends = {end for edge in outline["edges"] for end in (edge["source"], edge["target"])}
    kinds = {node["id"]: str(node["kind"]) for node in outline["nodes"]}
    first = {"START": "START"} if "START" in ends else {}
    return {**first, **kinds, **({"END": "END"} if "END" in ends else {})}


def _edges(outline: dict[str, Any]) -> dict[tuple[str, str, bool], tuple[str, list[str]]]:
    """Return kind and labels of the edges by (source, target, whether it goes back)."""
    found: dict[tuple[str, str, bool], tuple[str, list[str]]] = {}
    for edge in outline["edges"]:
        kind = edge.get("kind", "")
        back = kind == "loop" or edge["source"] == edge["target"]
        key = edge["source"], edge["target"], back
        labels = found.setdefault(key, (kind, []))[1]
        if "label" in edge:
            labels.append(str(edge["label"]))
    return found


class _Drawing:
    """A graph laid out in one direction."""

    def __init__(
        self, kinds: dict[str, str], edges: dict[tuple[str, str, bool], tuple[str, list[str]]], across: bool
    ) -> None:
        self.kinds, self.edges, self.across = kinds, edges, across
        self.names = {node: _shorten(node) for node in kinds}
        sizes = {node: self._axes(*self._size(node)) for node in kinds}
        self.labels = {key: _shorten(", ".join(labels), 22) for key, (_, labels) in edges.items()}
        gaps = {
            key: (_width(text, 11) + 10 if across != key[2] else 20.0)
            for key, text in self.labels.items()
            if text
        }
        gap = 46.0 if across else 40.0
        self.layout: Layout = layout(sizes, list(edges), gaps, gap)
        size = self._axes(self.layout.length, self.layout.breadth)
        self.width, self.height = size[0] + 2 * PAD, size[1] + 2 * PAD

    def _axes(self, a: float, b: float) -> Point:
        """Turn (width, height) into (main, cross), and back."""
        return (a, b) if self.across else (b, a)

    def _size(self, node: str) -> Point:
        kind = self.kinds[node]
        if kind in _ROUND:
            return 64.0, 30.0
        text = max(_width(self.names[node], 13.5) * BOLD, _width(_shorten(kind), 10.5))
        return max(text + (44 if kind == "condition" else 28), 72.0), HEIGHT

    def svg(self, title: str) -> str:
        """Return the picture."""
        width, height = round(self.width), round(self.height)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(_clean(title))} {_FONT}'
            ' style="max-width:100%;height:auto">'
        ]
        tops: list[str] = []
        for (key, (kind, _)), route in zip(self.edges.items(), self.layout.routes, strict=True):
            line, label = self._edge(key, kind, route)
            parts.append(line)
            tops.append(label)
        parts += [self._node(node) for node in self.kinds]
        return "\n".join([*parts, *filter(None, tops), "</svg>"])

    def _at(self, main: float, cross: float) -> Point:
        x, y = self._axes(main, cross)
        return x + PAD, y + PAD

    def _edge(self, key: tuple[str, str, bool], kind: str, route: list[Box]) -> tuple[str, str]:
        source, target = self.layout.boxes[key[0]], self.layout.boxes[key[1]]
        color = LOOP if key[2] else LINE
        if key[2]:
            points = self._round_about(source, target, route)
            path, tip = _rounded(points), points[-2:]
            middle = points[len(points) // 2]
            if len(points) % 2 == 0:
                before = points[len(points) // 2 - 1]
                middle = (middle[0] + before[0]) / 2, (middle[1] + before[1]) / 2
        else:
            path, tip, middle = self._straight(source, target, route)
        dashed = ' stroke-dasharray="5 4"' if kind in ("conditional", "loop") or key[2] else ""
        line = (
            f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6"{dashed}/>'
            f'<path d="{_arrow(*tip)}" fill="{color}"/>'
        )
        return line, self._label(self.labels[key], middle, LOOP if key[2] else "#9aa3ad")

    def _straight(self, source: Box, target: Box, route: list[Box]) -> tuple[str, tuple[Point, Point], Point]:
        """Return the path from one layer to a later one: bent between layers only, clear of boxes."""
        start = source.main + source.main_size / 2, source.cross + _port(source.after, source, target, route)
        stop = target.main - target.main_size / 2, target.cross + _port(target.before, target, source, route)
        turns: list[tuple[Point, Point]] = []
        at: Point = self.layout.main[source.layer][1], start[1]
        for dummy in route:
            begin, end = self.layout.main[dummy.layer]
            turns.append((at, (begin, dummy.cross)))
            at = end, dummy.cross
        turns.append((at, (min(self.layout.main[target.layer][0], stop[0] - 8), stop[1])))
        parts = [f"M{_xy(self._at(*start))}"]
        for (m0, c0), (m1, c1) in turns:
            half = (m1 - m0) / 2
            parts.append(f"L{_xy(self._at(m0, c0))}")
            bend = (self._at(m0 + half, c0), self._at(m1 - half, c1), self._at(m1, c1))
            parts.append(f"C{' '.join(_xy(p) for p in bend)}")
        tip = self._at(*stop)
        parts.append(f"L{_xy(self._at(stop[0] - 6, stop[1]))}")
        (m0, c0), (m1, c1) = turns[0]
        return " ".join(parts), (self._at(stop[0] - 10, stop[1]), tip), _on_curve(self, m0, c0, m1, c1)

    def _round_about(self, source: Box, target: Box, route: list[Box]) -> list[Point]:
        """Return the corners of an edge that goes back beside the boxes that it passes."""
        start, stop = source.cross + source.cross_size / 2, target.cross + target.cross_size / 2
        if len(route) == 1:
            lane, side = route[0].cross, min(source.main_size, 60.0) / 4
            corners = [(side, start), (side, lane), (-side, lane), (-side, stop)]
            return [self._at(source.main + m, c) for m, c in corners]
        far, near = max(box.cross for box in route), min(box.cross for box in route)
        level = far - near < LANE  # A small slope would look like a mistake.
        lane = [(box.main, far if level else box.cross) for box in route]
        corners = [(source.main, start), *lane, (target.main, stop)]
        return [self._at(*corner) for corner in corners]

    def _label(self, text: str, middle: Point, color: str) -> str:
        if not text:
            return ""
        width = _width(text, 11) + 12
        x, y = middle
        return (
            f'<rect x="{x - width / 2:.1f}" y="{y - 9:.1f}" width="{width:.1f}" height="18" rx="9"'
            f' fill="#ffffff" stroke="{color}" stroke-width="1"/>'
            f'<text x="{x:.1f}" y="{y + 3.8:.1f}" font-size="11" fill="#3d4752" text-anchor="middle">'
            f"{escape(_clean(text))}</text>"
        )

    def _node(self, node: str) -> str:
        kind, box = self.kinds[node], self.layout.boxes[node]
        fill, stroke, ink = COLORS.get(kind, OTHER)
        (x, y), (width, height) = self._at(box.main, box.cross), self._axes(box.main_size, box.cross_size)
        left, top = x - width / 2, y - height / 2
        shape = f'fill="{fill}" stroke="{stroke}" stroke-width="1.5"'
        frame = f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        if kind == "condition":
            corners = [(left, y), (left + 14, top), (left + width - 14, top), (left + width, y)]
            corners += [(left + width - 14, top + height), (left + 14, top + height)]
            body = f'<polygon points="{" ".join(_xy(c) for c in corners)}" {shape} stroke-linejoin="round"/>'
        elif kind in _ROUND:
            body = f'{frame} rx="15" {shape}/>'
        else:
            body = f'{frame} rx="9" {shape}/>'
        if kind == "subgraph":
            body += (
                f'<rect x="{left + 3:.1f}" y="{top + 3:.1f}" width="{width - 6:.1f}"'
                f' height="{height - 6:.1f}" rx="6" fill="none" stroke="{stroke}" stroke-width="1"/>'
            )
        text = f'x="{x:.1f}" text-anchor="middle" fill="{ink}"'
        name = escape(_clean(self.names[node]))
        if kind in _ROUND:
            words = f'<text {text} y="{y + 4:.1f}" font-size="11" font-weight="600">{name}</text>'
        else:
            words = (
                f'<text {text} y="{y - 1.5:.1f}" font-size="13.5" font-weight="600">{name}</text>'
                f'<text {text} y="{y + 14:.1f}" font-size="10.5" opacity="0.8">'
                f"{escape(_clean(_shorten(kind)))}</text>"
            )
        return f"<g><title>{escape(_clean(node))}</title>{body}{words}</g>"


def _port(others: list[Box], box: Box, other: Box, route: list[Box]) -> float:
    """Return how far from a box's middle an edge meets it: edges that meet there are spread a little."""
    if len(others) < 2:
        return 0.0
    near = other if not route else route[0] if other.layer > box.layer else route[-1]
    order = sorted(others, key=lambda b: b.cross)
    step = min(9.0, (box.cross_size - 20) / (len(order) - 1))
    place = next((n for n, b in enumerate(order) if b is near), 0)
    return (place - (len(order) - 1) / 2) * max(step, 0.0)


def _on_curve(drawing: _Drawing, m0: float, c0: float, m1: float, c1: float, t: float = 0.55) -> Point:
    """Return a point of the bend between two layers, where an edge's label stands."""
    ease = 3 * t * t * (1 - t) + t**3
    rest = 1 - t
    main = rest**3 * m0 + 3 * rest * t * (m0 + m1) / 2 + t**3 * m1
    return drawing._at(main, c0 + (c1 - c0) * ease)


def _rounded(points: list[Point], radius: float = 10.0) -> str:
    """Return a path through corners that are rounded; it ends short of the last point, for the arrow."""
    *rest, last = points
    end = _towards(last, rest[-1], 6)
    parts = [f"M{_xy(points[0])}"]
    for before, corner, after in zip(points, points[1:], [*points[2:-1], end], strict=False):
        a, b = _towards(corner, before, radius), _towards(corner, after, radius)
        parts.append(f"L{_xy(a)} Q{_xy(corner)} {_xy(b)}")
    return " ".join([*parts, f"L{_xy(end)}"])


def _towards(start: Point, goal: Point, distance: float) -> Point:
    dx, dy = goal[0] - start[0], goal[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    share = min(distance / length, 0.5)
    return start[0] + dx * share, start[1] + dy * share


def _arrow(before: Point, tip: Point) -> str:
    dx, dy = tip[0] - before[0], tip[1] - before[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    ux, uy = dx / length, dy / length
    back = tip[0] - 8 * ux, tip[1] - 8 * uy
    left, right = (back[0] - 4 * uy, back[1] + 4 * ux), (back[0] + 4 * uy, back[1] - 4 * ux)
    return f"M{_xy(tip)} L{_xy(left)} L{_xy(right)} Z"


def _xy(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _shorten(text: str, limit: int = LABEL) -> str:
    """Return a name with its middle left out when it is long: beginnings and ends tell names apart."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(shown) <= limit:
        return shown
    return f"{shown[: limit * 2 // 3]}…{shown[-(limit - limit * 2 // 3 - 1) :]}"


def _clean(text: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(
        c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else "\ufffd"
        for c in text
    )


def _width(text: str, size: float) -> float:
    """Estimate the width of a text in pixels; a little too wide rather than too narrow."""
    total = 0.0
    for c in text:
        if unicodedata.east_asian_width(c) in "WF":
            total += 1.02
        elif c in "iljtfrI.,:;'|!()[] ":
            total += 0.36
        elif c in "mwMW@%":
            total += 0.92
        else:
            total += 0.68 if c.isupper() else 0.6
    return total * size
