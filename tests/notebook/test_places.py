"""Where static output draws a graph; that the live view has it there too is tested in graph.test.tsx."""

from __future__ import annotations

import base64
import itertools
import random
import re
import xml.etree.ElementTree as ET

from event_lists import events, token
from graphs import outline

from mesh_nb.notebook._picture import CAP, placed
from mesh_nb.notebook._places import HEIGHT
from mesh_nb.notebook.freeze import freeze


def test_nodes_never_overlap_and_edges_stay_inside_whatever_the_graph() -> None:
    chance = random.Random(3)
    for _ in range(60):
        edges, drawn = placed(outline(chance))
        assert len(edges) == len(drawn.edges)
        for a, b in itertools.combinations(drawn.nodes, 2):
            beside = a.x + a.width <= b.x or b.x + b.width <= a.x
            assert beside or a.y + HEIGHT <= b.y or b.y + HEIGHT <= a.y
        for spot in drawn.nodes:
            assert 0 <= spot.x <= spot.x + spot.width <= drawn.width
            assert 0 <= spot.y <= spot.y + HEIGHT <= drawn.height
        for line in drawn.edges:
            assert not re.search("nan|inf", line.path)
            assert line.tip[1] <= drawn.height


def test_a_way_back_goes_below_everything() -> None:
    graph = {
        "nodes": [{"id": id, "kind": "llm"} for id in "abcd"],
        "edges": [{"source": a, "target": b} for a, b in ("ab", "ac", "bd", "cd")],
    }
    graph["edges"].append({"source": "d", "target": "a", "kind": "loop", "label": "max: 3"})
    _, drawn = placed(graph)
    a, b, c, d = drawn.nodes
    assert a.x < b.x == c.x < d.x
    assert b.y < a.y == d.y < c.y
    assert drawn.edges[-1].at[1] > c.y + HEIGHT


def test_the_picture_has_every_box_where_it_was_placed_and_all_of_it_in_sight() -> None:
    graph = {
        "nodes": [{"id": "ask", "kind": "llm"}, {"id": "check", "kind": "tool"}],
        "edges": [{"source": "ask", "target": "check"}, {"source": "check", "target": "ask", "kind": "loop"}],
    }
    visits = [("ask", 0), ("check", 0), ("ask", 1), ("check", 1)]
    log = events(
        ("execution_start", "START", {"metadata": {"graph_id": "g", "graph": graph}}),
        *[
            row
            for node, visit in visits
            for row in (
                ("node_start", node, {"metadata": {"visit": visit}}),
                token("x", node=node, visit=visit),
                ("node_complete", node, {"metadata": {"visit": visit}}),
            )
        ],
    )
    (data,) = re.findall(r"svg\+xml;base64,([\w+/=]+)", freeze(log)[0]["text/html"])
    picture = ET.fromstring(base64.b64decode(data))
    assert len(base64.b64decode(data)) < CAP
    _, drawn = placed(graph)
    rects = [{k: float(v) for k, v in r.attrib.items() if k in ("x", "y", "width", "height")}
             for r in picture.iter("{http://www.w3.org/2000/svg}rect")]  # fmt: skip
    for spot in drawn.nodes:
        assert {"x": round(spot.x, 1), "y": round(spot.y, 1), "width": spot.width, "height": HEIGHT} in rects
    for rect in rects:
        assert 0 < rect["x"] < rect["x"] + rect["width"] < float(picture.attrib["width"])
        assert 0 < rect["y"] < rect["y"] + rect["height"] <= float(picture.attrib["height"])
    said = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert said == ["ask", "check", "↻ 1", "2", "2"]
