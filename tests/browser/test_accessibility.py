"""axe-core finds nothing wrong with what a cell shows: live, asking and frozen, in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, citation, gate, image, reasoning, text
from lab import ROOT, LabServer, Notebook, Visit

AXE = ROOT / "widgets" / "node_modules" / "axe-core" / "axe.min.js"
# JupyterLab's page is not ours: only the output is looked at, and rules about whole pages are off.
RUN = """
async (index) => {
  const cell = document.querySelector(`.jp-Notebook .jp-Cell[data-windowed-list-index="${index}"]`);
  const ours = (e) => e.shadowRoot || e.classList.contains("mesh-run");
  const found = [...cell.querySelectorAll(".jp-Cell-outputArea *")].filter(ours);
  const whole = ["region", "landmark-one-main", "page-has-heading-one"];
  const rules = Object.fromEntries(whole.map((rule) => [rule, {enabled: false}]));
  const seen = [];
  for (const el of found)
    for (const {id, nodes} of (await axe.run(el, {rules})).violations)
      for (const n of nodes) seen.push(`${id}: ${n.html.slice(0, 160)} (${n.any.map((a) => a.message)})`);
  return {looked: found.length, seen};
}
"""
GRAPH = """
import mesh_nb
graph = mesh_nb.StateGraph("asking")
graph.add_node("look", lambda input: {"content": "Looked."})
graph.add_node("ask", None, node_type="approval", message="Go on?")
graph.add_edge("look", "ask")
graph.set_entry_point("look")
run = await graph.run({"to": "ana"})
"""


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def png() -> bytes:
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.new("RGB", (64, 40), (30, 110, 190)).save(out, "png")
    return out.getvalue()


def assert_accessible(notebook: Notebook, index: int) -> None:
    """Nothing is wrong in the output of a cell, in either theme."""
    for theme in ("light", "dark"):
        notebook.theme(theme)
        notebook.page.add_script_tag(content=Path(AXE).read_text("utf-8"))
        result: dict[str, Any] = notebook.page.evaluate(RUN, index)
        assert result["looked"]
        assert not result["seen"], "\n".join([theme, *result["seen"]])
    notebook.theme("light")


def test_an_answer_is_accessible_live_and_frozen(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    said = (
        "# Title\n\nA **claim** with `code` and $x^2$.\n\n- [x] done\n- [ ] open\n\n|a|b|\n|-|-:|\n|1|2|\n\n"
    )
    chat.models["m"] = [
        reasoning("Weigh it."),
        text(said),
        text("```python\nx = 1  # a comment\n```\n\nThe end."),
        citation("https://harbour.example/history", "Harbour history", 0, 8, "a quote"),
        image(png()),
        gate("end"),
    ]
    first = f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb"
    notebook = guest.open(lab, lab.write("axe.ipynb", first, "%%mesh -m m\nGo."))
    notebook.execute(0)
    notebook.run(1)
    out = notebook.output(1)
    out.locator("img").wait_for()
    out.locator("math").wait_for()
    out.locator("details.reasoning summary").click()
    assert_accessible(notebook, 1)
    chat.open("end")
    notebook.wait_done(1)
    out.get_by_role("button", name="Stop").wait_for(state="detached")
    assert_accessible(notebook, 1)


def test_a_graph_that_asks_is_accessible(lab: LabServer, guest: Visit) -> None:
    notebook = guest.open(lab, lab.write("axe-ask.ipynb", GRAPH))
    notebook.run(0)
    out = notebook.output(0)
    out.get_by_text("Go on?").wait_for()
    out.locator("details.timeline > summary").click()
    assert_accessible(notebook, 0)
    out.get_by_role("button", name="Edit").click()
    assert_accessible(notebook, 0)
    out.get_by_role("button", name="Back").click()
    out.get_by_role("button", name="Approve", exact=True).click()
    notebook.wait_done(0)
