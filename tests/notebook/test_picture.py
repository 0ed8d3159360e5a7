"""The graph of a run in its static output."""

from __future__ import annotations

import re
from typing import Any

from event_lists import events, token

from mesh_nb.notebook.freeze import freeze

INSIDE = {"nodes": [{"id": "x", "kind": "llm"}, {"id": "y", "kind": "llm"}], "edges": []}
NESTED = {
    "nodes": [{"id": "a", "kind": "llm"}, {"id": "b", "kind": "subgraph", "graph": INSIDE}],
    "edges": [{"source": "a", "target": "b"}],
}


def words(*rows: Any) -> str:
    """What the picture of the graph says."""
    log = events(
        ("execution_start", "START", {"metadata": {"graph_id": "g", "graph": NESTED}}),
        *[(kind, "a") for kind in ("node_start", "node_complete")],
        ("node_start", "b"),
        *rows,
    )
    (said,) = re.findall(r'alt="(Graph: [^"]*)"', freeze(log)[0]["text/html"])
    return said


def test_a_node_waits_when_one_inside_it_does():
    asked = {"interrupt_id": "q", "kind": "tool", "message": "May I?", "tool_name": "send"}
    rows = [("node_start", "b.x"), token("Hm.", node="b.x"), ("interrupt", "b.x", {"metadata": asked})]
    assert words(*rows) == "Graph: 1 of 2 nodes done, b waiting"


def test_what_has_ended_inside_a_node_does_not_end_it():
    assert words(("node_start", "b.x"), ("node_complete", "b.x")) == "Graph: 1 of 2 nodes done, b running"
