"""A graph's outline as Mermaid text: no network, ids numbered, labels escaped."""

from __future__ import annotations

from typing import Any

from ._svg import COLORS
from .errors import UnknownNameError

_SHAPES = {
    "condition": ("{", "}"),
    "START": ("([", "])"),
    "END": ("([", "])"),
    "subgraph": ("[[", "]]"),
    "approval": ("{{", "}}"),
}
DIRECTIONS = ("TD", "LR")


def mermaid(outline: dict[str, Any], title: str | None = None, direction: str = "TD") -> str:
    """Return Mermaid flowchart text for an outline as `CompiledGraph.outline` gives it.

    Nodes are numbered, so that an id may be `end` or anything else; START and END are marked apart from nodes
    of another case. Raises UnknownNameError for another direction than "TD" and "LR".
    """
    if direction not in DIRECTIONS:
        raise UnknownNameError("direction", direction, list(DIRECTIONS))
    names = {n["id"]: str(n["kind"]) for n in outline["nodes"]}
    for edge in outline["edges"]:
        for end in (edge["source"], edge["target"]):
            names.setdefault(end, end)
    key = {name: f"n{k}" for k, name in enumerate(names)}
    lines = ["---", f'title: "{_escape(title)}"', "---"] if title else []
    lines.append(f"flowchart {direction}")
    for name, kind in names.items():
        left, right = _SHAPES.get(kind, ("[", "]"))
        lines.append(f'  {key[name]}{left}"{_escape(name)}"{right}')
    for edge in outline["edges"]:
        arrow = "-.->" if edge.get("kind") in ("loop", "conditional") else "-->"
        label = f'|"{_escape(edge["label"])}"|' if edge.get("label") else ""
        lines.append(f"  {key[edge['source']]} {arrow}{label} {key[edge['target']]}")
    for name, kind in names.items():
        if kind in COLORS:
            fill, stroke, ink = COLORS[kind]
            lines.append(f"  style {key[name]} fill:{fill},stroke:{stroke},color:{ink}")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Write every character that Mermaid or Markdown could read as syntax as an entity code."""
    return "".join(c if c.isalnum() or c in " _-.,:" else f"#{ord(c)};" for c in text)
