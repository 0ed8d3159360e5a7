"""Pictures of graphs: SVG and Mermaid, made offline and safe for any text."""

from __future__ import annotations

import itertools
import re
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mesh_nb import StateGraph
from mesh_nb.core._layout import Box, layout
from mesh_nb.core.errors import InputError, UnknownNameError

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>\"' & ]]> \x00\x1b\ud800 end"


def chain(count: int) -> StateGraph:
    ids = [f"step {n}" for n in range(count)]
    made = StateGraph("chain")
    for node_id in ids:
        made.add_node(node_id, lambda: 1)
    return made.set_entry_point(ids[0]).add_sequence(ids)


def fan(count: int) -> StateGraph:
    made = StateGraph("fan").add_node("split", lambda: 1).add_node("join", lambda: 1).set_entry_point("split")
    workers = [f"worker {n}" for n in range(count)]
    for worker in workers:
        made.add_node(worker, lambda: 1)
    return made.add_parallel_edges("split", workers).add_fan_in_edge(workers, "join")


def loop() -> StateGraph:
    made = StateGraph("loop")
    for node_id in ("draft", "check", "publish"):
        made.add_node(node_id, lambda: 1)
    made.set_entry_point("draft").add_sequence(["draft", "check", "publish", "END"])
    made.add_conditional_edges("check", str, {"good": "publish"})
    return made.add_edge("check", "draft", is_loop_edge=True, max_iterations=3)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def boxes(text: str) -> dict[str, tuple[float, float, float, float]]:
    """The rectangle of each node by its title."""
    found: dict[str, tuple[float, float, float, float]] = {}
    for group in parsed(text).iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        if rect is not None:
            x, y, width, height = (float(rect.get(name, "0")) for name in ("x", "y", "width", "height"))
            found[str(title.text)] = (x, y, x + width, y + height)
    return found


@pytest.mark.parametrize("made", [chain(1), chain(4), chain(60), fan(12), loop()], ids=repr)
@pytest.mark.parametrize("direction", ["auto", "LR", "TD"])
def test_boxes_do_not_overlap_and_are_inside_the_picture(made: StateGraph, direction: str) -> None:
    text = made.to_svg(direction=direction)
    root, found = parsed(text), boxes(text)
    assert set(found) == {*made.nodes, "START", *(["END"] if "publish" in made.nodes else [])}
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for x0, y0, x1, y1 in found.values():
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    for a, b in itertools.combinations(found.values(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_edges_run_in_the_direction_that_was_asked_for() -> None:
    across, down = boxes(chain(3).to_svg(direction="LR")), boxes(chain(3).to_svg(direction="TD"))
    assert across["START"][2] < across["step 0"][0] < across["step 1"][0] < across["step 2"][0]
    assert down["START"][3] < down["step 0"][1] < down["step 1"][1] < down["step 2"][1]


def test_a_picture_fits_a_cell_where_it_can() -> None:
    for made in (chain(3), chain(60), fan(12), fan(40)):
        assert float(parsed(made.to_svg()).get("width", "0")) <= 960


def test_a_loop_says_how_often_and_a_choice_says_what() -> None:
    words = [node.text for node in parsed(loop().to_svg()).iter(f"{SVG}text")]
    assert {"max: 3", "good", "draft", "START", "END"} <= set(words)


def test_hostile_text_stays_text() -> None:
    made = StateGraph(HOSTILE).add_node(HOSTILE, lambda: 1).set_entry_point(HOSTILE)
    made.add_node("b", lambda: 1).add_conditional_edges(HOSTILE, str, {HOSTILE: "b"})
    text = made.to_svg(title=HOSTILE)
    root = parsed(text)
    assert {node.tag.removeprefix(SVG) for node in root.iter()} <= {
        *("svg", "g", "title", "rect", "text", "path", "polygon")
    }
    text.encode("utf-8")
    assert any("script" in str(node.text) for node in root.iter(f"{SVG}title"))


def test_a_picture_reaches_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> None:
        raise AssertionError("it opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    text = loop().to_svg()
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\b(href|src|url|style>|@import|id)=?\(", text)


def test_a_long_id_is_cut_in_its_middle_and_whole_in_its_title() -> None:
    name = "first part of a name " * 5 + "last part"
    text = StateGraph().add_node(name, lambda: 1).set_entry_point(name).to_svg()
    words = [str(node.text) for node in parsed(text).iter(f"{SVG}text")]
    assert any(w.startswith("first part") and "…" in w and w.endswith("last part") for w in words)
    assert name in boxes(text)


def test_branches_that_could_cross_do_not() -> None:
    sizes = dict.fromkeys("aAbBcCdD", (10.0, 10.0))
    edges = [("a", "D", False), ("b", "C", False), ("c", "B", False), ("d", "A", False)]
    found = layout(sizes, edges, {}, 20.0).boxes
    order = sorted("abcd", key=lambda node: found[node].cross)
    other = sorted("ABCD", key=lambda node: found[node].cross)
    assert [{"a": "D", "b": "C", "c": "B", "d": "A"}[node] for node in order] == other


def test_the_lane_of_a_loop_is_beside_the_boxes_it_passes() -> None:
    sizes = dict.fromkeys("abc", (10.0, 30.0))
    edges = [("a", "b", False), ("b", "c", False), ("c", "a", True)]
    found = layout(sizes, edges, {}, 20.0)
    lane: list[Box] = found.routes[2]
    assert len(lane) == 3
    assert all(dummy.cross >= found.boxes["b"].cross + 15 for dummy in lane)


def test_a_graph_shows_itself_as_a_picture() -> None:
    bundle = chain(2)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    assert bundle["image/svg+xml"] == chain(2).to_svg() == chain(2).compile().to_svg()


def test_a_graph_that_is_too_large_for_a_picture_says_so() -> None:
    made = chain(301)
    with pytest.raises(InputError, match="to_mermaid"):
        made.to_svg()
    assert "too large" in made._repr_mimebundle_()["text/plain"]


def test_an_unknown_direction_is_refused() -> None:
    for make in (chain(1).to_svg, chain(1).to_mermaid):
        with pytest.raises(UnknownNameError, match="LR"):
            make(direction="lr")


def test_mermaid_has_title_direction_colours_and_any_id() -> None:
    made = (
        StateGraph().add_node("end", lambda: 1).add_node('a "quoted" [id]', lambda: 1).set_entry_point("end")
    )
    made.add_edge("end", 'a "quoted" [id]').add_edge('a "quoted" [id]', "END")
    made.add_edge("end", "end", is_loop_edge=True, max_iterations=2)
    text = made.to_mermaid(title='My: "graph"', direction="LR")
    assert text.splitlines()[:4] == ["---", 'title: "My: #34;graph#34;"', "---", "flowchart LR"]
    assert '"end"' in text
    assert '|"max: 2"|' in text
    assert "#34;quoted#34; #91;id#93;" in text
    assert text.count("START") == 1
    assert re.search(r"style n\d+ fill:#dbf6e4", text)


@pytest.mark.parametrize(("name", "begins"), [("g.svg", "<svg "), ("g.mmd", "flowchart TD")])
def test_a_graph_is_saved_by_the_ending_of_the_name(tmp_path: Path, name: str, begins: str) -> None:
    path = chain(2).save_visualization(tmp_path / name)
    assert path == tmp_path / name
    assert path.read_text("utf-8").startswith(begins)


def test_a_graph_is_saved_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = StateGraph("../my graph").add_node("a", lambda: 1).set_entry_point("a")
    made.save_visualization(title="T")
    assert [p.name for p in tmp_path.iterdir()] == ["my_graph.svg"]


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.svg"):
        chain(1).save_visualization(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
