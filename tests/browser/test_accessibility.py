"""axe-core finds nothing wrong with what a cell shows: live, asking and frozen, in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, citation, gate, image, reasoning, text
from lab import ROOT, LabServer, Notebook, Visit
from looks import UNFOLD
from scenes import SCENES

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


STATES = f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nfrom scenes import show"
# The element that has the focus, through shadow roots, and how that is seen.
FOCUSED = """
() => {
  let el = document.activeElement;
  while (el?.shadowRoot?.activeElement) el = el.shadowRoot.activeElement;
  const {outlineStyle} = getComputedStyle(el);
  const face = el.querySelector(":scope > .face");
  const seen = face ? getComputedStyle(face).strokeWidth !== "1.3px" : outlineStyle !== "none";
  return {inside: el.getRootNode() instanceof ShadowRoot, name: el.className.baseVal ?? el.className, seen,
          says: el.ariaLabel || el.textContent.trim().slice(0, 40)};
}
"""
WIDE = """
(area) => [...area.querySelectorAll("*")].flatMap((e) => [...(e.shadowRoot?.querySelectorAll(".run") ?? []),
    ...(e.matches(".mesh-run") ? [e] : [])]).filter((e) => e.scrollWidth > e.clientWidth + 1).length
"""
MOVING = """
(area) => [...area.querySelectorAll("*")].flatMap((e) => e.shadowRoot?.getAnimations() ?? [])
    .filter((a) => a.playState === "running").length
"""


def state(lab: LabServer, guest: Visit, *names: str) -> Notebook:
    """Open a notebook whose cells 1, 2, ... show these scenes."""
    cells = [STATES, *(f"show({name!r})" for name in names)]
    notebook = guest.open(lab, lab.write(f"axe-{'-'.join(names)[:40]}.ipynb", *cells))
    notebook.execute(*range(len(cells)))
    return notebook


def bring(notebook: Notebook, index: int) -> Any:
    """Scroll to a cell, open its folds, and return its output."""
    notebook.js("book.activeCellIndex = x; await book.scrollToItem(x, 'start'); return null", index)
    out = notebook.output(index)
    out.locator(".run header").wait_for()
    if out.locator(".graph").count():
        out.locator(".graph svg").wait_for()
    out.evaluate(UNFOLD)
    return out


def focus(notebook: Notebook, index: int, element: Any) -> None:
    """Give an element the focus, once the notebook has given its cell the focus."""
    notebook.js("book.activeCellIndex = x; book.activate(); return null", index)
    notebook.wait("return book.widgets[x].node.contains(document.activeElement)", index)
    element.focus()
    assert element.evaluate("e => e.getRootNode().activeElement === e")


def test_every_state_is_accessible_and_fits_at_twice_the_size(lab: LabServer, guest: Visit) -> None:
    notebook = state(lab, guest, *SCENES)
    guest.page.set_viewport_size({"width": 640, "height": 900})  # 1,280 pixels at 200 %
    for index, name in enumerate(SCENES, 1):
        out = bring(notebook, index)
        assert out.evaluate(WIDE) == 0, name
    guest.page.set_viewport_size({"width": 1280, "height": 900})
    guest.page.add_script_tag(content=Path(AXE).read_text("utf-8"))
    for theme in ("light", "dark"):
        notebook.theme(theme)
        for index, name in enumerate(SCENES, 1):
            bring(notebook, index)
            result: dict[str, Any] = guest.page.evaluate(RUN, index)
            assert result["looked"] == 2, name
            assert not result["seen"], "\n".join([name, theme, *result["seen"]])


def test_who_wants_no_motion_sees_none_and_high_contrast_keeps_edges(lab: LabServer, guest: Visit) -> None:
    notebook = state(lab, guest, "working", "thinking", "custom", "six_nodes")
    assert bring(notebook, 1).evaluate(MOVING)
    guest.page.emulate_media(reduced_motion="reduce", forced_colors="active")
    for index in range(1, 5):
        out = bring(notebook, index)
        assert out.evaluate(MOVING) == 0
    title = bring(notebook, 2).locator("details.reasoning .title")
    assert title.evaluate("e => getComputedStyle(e).color") != "rgba(0, 0, 0, 0)"
    face = bring(notebook, 4).locator(".box.failed .face")
    assert face.evaluate("e => getComputedStyle(e).stroke") not in ("none", "rgba(0, 0, 0, 0)")
    guest.page.emulate_media(reduced_motion="no-preference", forced_colors="none")


def test_the_keyboard_reaches_everything_and_the_focus_is_seen(lab: LabServer, guest: Visit) -> None:
    notebook = state(lab, guest, "answered", "six_nodes", "asking")
    page = guest.page
    out = notebook.output(1)
    focus(notebook, 1, out.locator(".run header button").first)
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if not focused["inside"]:
            break
        assert focused["seen"], focused
        reached.append(f"{focused['name']} {focused['says']}".strip())
    said = "\n".join(reached)
    for what in (
        "Thought for",
        "3 tool calls",
        "Source 1",
        "scroll Table",
        "Copy code",
        "Download",
        "Also read",
    ):
        assert what in said, said

    chips = out.locator("button.chip")
    chips.first.focus()
    out.locator(".card .where").wait_for()
    page.keyboard.press("ArrowRight")
    assert chips.nth(1).evaluate("e => e.getRootNode().activeElement === e")
    page.keyboard.press("Escape")
    out.locator(".card").wait_for(state="hidden")
    fold = out.locator("details.tools > summary")
    fold.focus()
    page.keyboard.press("Enter")
    out.locator("details.tools[open]").wait_for()
    page.keyboard.press("Space")
    out.locator("details.tools:not([open])").wait_for()

    out = bring(notebook, 2)
    box = out.locator(".box[data-node=load]")
    focus(notebook, 2, box)
    page.keyboard.press("Enter")
    out.get_by_text("Only load").wait_for()
    page.keyboard.press("Space")
    out.get_by_text("Only load").wait_for(state="detached")

    out = bring(notebook, 3)
    focus(notebook, 3, out.get_by_role("button", name="Edit"))
    page.keyboard.press("Enter")
    area = out.get_by_role("textbox")
    area.wait_for()
    assert area.evaluate("e => e.getRootNode().activeElement === e")
    page.keyboard.press("Escape")
    edit = out.get_by_role("button", name="Edit")
    edit.wait_for()
    assert edit.evaluate("e => e.getRootNode().activeElement === e")


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
