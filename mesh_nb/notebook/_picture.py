"""The graph of a run as a small picture: how far each node came, by colour and sign.

It is an image in static output, because sanitizers take SVG out of HTML and leave images. Boxes have their
own light ground and dark text, lines are a middle grey, so that it reads on light and on dark pages. Pure
and deterministic.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter, defaultdict
from typing import Any
from xml.sax.saxutils import escape

from ..core._mermaid import mermaid
from . import _words
from ._places import HEIGHT, Line, Places, Point, number, places
from ._reading import hosts
from ._view import Ask, Folded, Note, Section

LARGEST = 30
"""Nodes of a graph that is drawn."""
CAP = 9_000
"""Characters of a picture that a notebook keeps."""

NAME = 24
_WIDE = re.compile("[A-Zmw@%]")
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
        self.visits = Counter(s.node_id for s in view.sections if not s.discarded)
        self.names = {node: short(node) for node in kinds}
        self.edges, self.places = placed(view.outline or {})
        self.spots = dict(zip(kinds, self.places.nodes, strict=True))

    def svg(self) -> str:
        lines: dict[str, None] = {}
        tips: dict[str, None] = {}
        labels: dict[Point, list[str]] = {}
        for edge, line in zip(self.edges, self.places.edges, strict=True):
            lines[line.path] = tips[_tip(line)] = None
            label, (x, y) = self._said(edge), line.at
            if label:
                raised = 0.0 if edge.get("kind") == "loop" else 8.5 if line.down else -8.5
                labels.setdefault((x, y + raised), []).append(label)
        drawn = f'<g fill="none" stroke="{_LINE}" stroke-width="1.4"><path d="{"".join(lines)}"/></g>'
        arrows = f'<path fill="{_LINE}" d="{"".join(tips)}"/>'
        named = "".join(self._name(node) for node in self.kinds)
        said = "".join(_label(short(", ".join(dict.fromkeys(texts))), at) for at, texts in labels.items())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(self.places.width)}"'
            f' height="{number(self.places.height)}"'
            f' font-family="system-ui,sans-serif" font-size="12">{drawn if lines else ""}'
            f"{arrows if tips else ''}{''.join(self._faces())}"
            f'<g fill="#1f2328">{named}</g>{said}{"".join(map(self._badge, self.kinds))}</svg>'
        )

    def _said(self, edge: Any) -> str:
        label = str(edge.get("label") or "")
        if edge.get("kind") != "loop":
            return label
        most = re.fullmatch(r"max: (\d+)", label)
        return f"↻ {max(self.visits[str(edge.get('target'))] - 1, 0)}{f'/{most[1]}' if most else ''}"

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
            corners = [(self.spots[node].x + self._inset(node), self.spots[node].y) for node in nodes]
            signs = "".join(f"M{number(x + 11)} {number(y + 9)}{_SIGNS[state]}" for x, y in corners)
            found.append(
                f'<g fill="{fill}" stroke="{stroke}" stroke-width="1.3"><g{dash}>{boxes}</g>'
                f'<path fill="none" stroke-width="1.7" d="{signs}"/></g>'
            )
        return found

    def _inset(self, node: str) -> int:
        return 4 if self.kinds[node] == "condition" else 0

    def _face(self, node: str) -> str:
        kind, spot = self.kinds[node], self.spots[node]
        x, y, width = number(spot.x), number(spot.y), number(spot.width)
        if kind == "condition":
            side = number(spot.width - 22)
            return f'<path d="M{number(spot.x + 11)} {y}h{side}l11 14-11 14h-{side}l-11-14z"/>'
        radius = 14 if kind in ("agent", "subgraph") else 3 if kind in ("tool", "function") else 8
        return f'<rect x="{x}" y="{y}" width="{width}" height="{number(HEIGHT)}" rx="{radius}"/>'

    def _name(self, node: str) -> str:
        spot = self.spots[node]
        x, y = number(spot.x + 29 + self._inset(node)), number(spot.y + 18)
        return f'<text x="{x}" y="{y}">{_text(self.names[node])}</text>'

    def _badge(self, node: str) -> str:
        """Return how often a node was visited, when more than once."""
        times, spot = self.visits[node], self.spots[node]
        if times < 2:
            return ""
        counted = str(times) if times < 1000 else "999+"
        width, stroke = 12 + 6 * len(counted), _COLORS[self.states[node]][1]
        x, y = spot.x + spot.width + 2 - width, max(spot.y - 3, 1.0)
        return (
            f'<rect x="{number(x)}" y="{number(y)}" width="{width}" height="14" rx="7" fill="#fff"'
            f' stroke="{stroke}"/><text x="{number(x + width / 2)}" y="{number(y + 10.5)}" font-size="10"'
            f' text-anchor="middle" fill="#1f2328">{counted}</text>'
        )


def placed(outline: dict[str, Any]) -> tuple[list[dict[str, Any]], Places]:
    """Return the edges of a graph that are drawn, and where they and its nodes are, in its order."""
    widths: dict[str, float] = {}
    for node in outline.get("nodes") or ():
        if isinstance(node, dict) and (id := str(node.get("id"))) not in widths:
            more = 22 if _has_nodes(node.get("graph")) else 0
            wide = math.ceil(letters(short(id), 7.1))
            widths[id] = wide + 44 + (8 if node.get("kind") == "condition" else 0) + more
    number_of = {id: n for n, id in enumerate(widths)}
    edges: list[dict[str, Any]] = []
    ends: list[tuple[int, int]] = []
    for edge in outline.get("edges") or ():
        if isinstance(edge, dict):
            source, target = (number_of.get(str(edge.get(end))) for end in ("source", "target"))
            if source is not None and target is not None:
                edges.append(edge)
                ends.append((source, target))
    loops = [edge.get("kind") == "loop" for edge in edges]
    labels = [letters(short(str(edge.get("label") or "")), 6) for edge in edges]
    return edges, places(list(widths.values()), ends, loops, labels)


def _has_nodes(graph: Any) -> bool:
    return isinstance(graph, dict) and bool(graph.get("nodes"))


def letters(text: str, each: float) -> float:
    """Return about how many pixels a text is wide, as the live view does."""
    width = 0.0
    for sign in text:
        wide = "\u1100" <= sign <= "\uffdc" or sign > "\uffff"
        width += (2 if wide else 1.35 if _WIDE.match(sign) else 0.6 if sign in "fijlrt.,'|I " else 1) * each
    return width


def short(text: str) -> str:
    """Return a name as a box has room for it; characters outside the basic plane count twice."""
    units = text.encode("utf-16-le", "surrogatepass")
    if len(units) <= 2 * NAME:
        return text
    return f"{units[: 2 * (NAME - 1)].decode('utf-16-le', 'replace')}…"


def _tip(line: Line) -> str:
    x, y = map(number, line.tip)
    return f"M{x} {y}l-3.5 7h7z" if line.up else f"M{x} {y}l-7-3.5v7z"


def _label(text: str, middle: Point) -> str:
    width = letters(text, 6) + 10
    x, y = middle
    return (
        f'<rect x="{number(x - width / 2)}" y="{number(y - 7)}" width="{number(width)}" height="14" rx="7"'
        f' fill="#fff" stroke="{_LINE}"/><text x="{number(x)}" y="{number(y + 3.5)}" font-size="10"'
        f' text-anchor="middle" fill="#3d4752">{_text(text)}</text>'
    )


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
