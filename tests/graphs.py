"""Graphs, and where static output draws them, as JSON for the front end's tests.

python tests/graphs.py OUT.json
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from mesh_nb.notebook._picture import placed
from mesh_nb.notebook._places import number

NAMES = (
    "llm",
    "WIDE NAME",
    "illicit, filter",
    "\u6f22\u5b57",
    "a\U0001f600b",
    "m@%",
    "x" * 23 + "\U0001f600yz",
    "y" * 40,
)
LABELS = ("yes", "no", "default", "a label that is longer than a name may be", "\u6f22")


def outline(chance: random.Random) -> dict[str, Any]:
    """A graph of up to 30 nodes: branches, joins, loops, cycles, edges twice, graphs inside."""
    ids = [f"{chance.choice(NAMES)}{n}" for n in range(chance.randint(1, 30))]
    nodes: list[dict[str, Any]] = [
        {"id": id, "kind": chance.choice(("llm", "condition", "tool", "agent", "subgraph"))} for id in ids
    ]
    for node in nodes:
        if node["kind"] == "subgraph" and chance.random() < 0.5:
            node["graph"] = {"nodes": [{"id": "x", "kind": "llm"}], "edges": []}
    edges: list[dict[str, Any]] = [{"source": "START", "target": ids[0]}]
    for _ in range(chance.randint(0, 2 * len(ids))):
        places = [chance.randrange(len(ids)) for _ in range(2)]
        source, target = sorted(places) if chance.random() < 0.85 else places
        edge: dict[str, Any] = {"source": ids[source], "target": ids[target]}
        if source >= target:
            edge |= {"kind": "loop", "label": "max: 3"} if chance.random() < 0.8 else {}
        elif chance.random() < 0.3:
            edge |= {"kind": "conditional", "label": chance.choice(LABELS)}
        edges.append(edge)
    return {"nodes": nodes, "edges": edges}


def main(out: Path) -> None:
    """Write all graphs."""
    chance, made = random.Random(20), list[dict[str, Any]]()
    for _ in range(150):
        graph = outline(chance)
        _, drawn = placed(graph)
        made.append(
            {
                "outline": graph,
                "nodes": [[spot.x, spot.y, spot.width] for spot in drawn.nodes],
                "edges": [[line.path, line.down, *map(number, line.at)] for line in drawn.edges],
                "size": [drawn.width, drawn.height],
            }
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
