"""A graph's outline as Mermaid text: no network, ids numbered, labels escaped."""

from __future__ import annotations

from typing import Any

_SHAPES = {"condition": ("{", "}"), "START": ("([", "])"), "END": ("([", "])")}


def mermaid(outline: dict[str, Any]) -> str:
    """Return Mermaid flowchart text for an outline as `CompiledGraph.outline` gives it."""
    names = {n["id"]: n["kind"] for n in outline["nodes"]}
    for edge in outline["edges"]:
        for end in (edge["source"], edge["target"]):
            names.setdefault(end, end)
    key = {name: f"n{k}" for k, name in enumerate(names)}
    lines = ["flowchart TD"]
    for name, kind in names.items():
        left, right = _SHAPES.get(kind, ("[", "]"))
        lines.append(f'  {key[name]}{left}"{_escape(name)}"{right}')
    for edge in outline["edges"]:
        arrow = "-.->" if edge.get("kind") in ("loop", "conditional") else "-->"
        label = f'|"{_escape(edge["label"])}"|' if "label" in edge else ""
        lines.append(f"  {key[edge['source']]} {arrow}{label} {key[edge['target']]}")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Write every character that Mermaid or Markdown could read as syntax as an entity code."""
    return "".join(c if c.isalnum() or c in " _-.,:" else f"#{ord(c)};" for c in text)
