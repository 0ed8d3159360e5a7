"""The hostile corpus in a real page: said in every place of one run; live, frozen, without trust, exported.

The `guest` fixture fails a test in which a dialog opened or a request left this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from hostile import ALL, LARGE
from lab import ROOT, LabServer, Notebook, Visit
from nbconvert import HTMLExporter
from playwright.sync_api import Page

SETUP = f"""
import sys
sys.path.append({str(ROOT / "tests")!r})
from hostile import ALL, LARGE, sized, told
import mesh_nb
from mesh_nb import EventType, ExecutionEvent

class Says(mesh_nb.BaseNode):
    def __init__(self, id, texts, first, say=told):
        super().__init__(id)
        self.texts, self.first, self.say = texts, first, say
    async def run(self, input, context):
        for number, text in enumerate(self.texts, self.first):
            for kind, fields in self.say(text, number):
                yield ExecutionEvent(EventType(kind), **fields)
        yield ExecutionEvent(EventType.NODE_COMPLETE, output={{"content": self.texts[0][:200]}})

def graph(texts, size, say=told):
    made = mesh_nb.StateGraph("<script>alert(1)</script>")
    ids = []
    for at in range(0, len(texts), size):
        ids.append(texts[at][:200])
        made.add_node(ids[-1], Says(ids[-1], texts[at:at + size], at, say))
    ids.append("last")
    made.add_node("last", None, node_type="approval", message="Is this page still alive?")
    for before, after in zip(ids, ids[1:]):
        made.add_edge(before, after)
    return made.set_entry_point(ids[0])
"""
RUN = "run = await graph(ALL, 16).run('go')"
RUN_LARGE = "run = await graph(list(LARGE.values()), 3, sized).run('go')"
OPEN = """
async (area) => {
  const roots = [area, ...[...area.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)];
  const closed = () => roots.flatMap((root) => [...root.querySelectorAll("details:not([open]) > summary")]);
  let opened = 0;
  for (let folds = closed(), round = 0; folds.length && round < 30; folds = closed(), round++) {
    for (const fold of folds) fold.click(), opened++;
    // What is in a fold is drawn when it opens.
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
  }
  return opened;
}
"""
# Everything in an output, or a page, that is neither text nor harmless.
LIVE = r"""
(area) => {
  const all = [];
  const walk = (root) => {
    for (const e of root.querySelectorAll("*")) {
      all.push(e);
      if (e.shadowRoot) walk(e.shadowRoot);
    }
  };
  walk(area);
  // The picture of the graph is an image of ours: shapes and text.
  const shapes = /^(svg|g|path|rect|circle|polygon|line|text|tspan|title|style)$/;
  const drawn = ({localName, attributes}) => shapes.test(localName)
    && [...attributes].every(({name, value}) => !/^on|href|src/i.test(name) && !/url\(/i.test(value));
  const picture = (value) => {
    const [head, data] = value.split(",", 2);
    if (head !== "data:image/svg+xml;base64") return false;
    const text = new TextDecoder().decode(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
    const svg = new DOMParser().parseFromString(text, "image/svg+xml");
    return [...svg.querySelectorAll("*")].every((e) => drawn(e) && !/url\(|@import/i.test(e.textContent));
  };
  const tags = new RegExp("^(script|iframe|frame|object|embed|applet|form|link|base|meta|template|use|set|"
    + "foreignobject|animate|image|video|textarea|select)$");
  const found = [];
  for (const e of all) {
    if (tags.test(e.localName)) found.push(`<${e.localName}>`);
    for (const {name, value} of e.attributes) {
      const bad = /^on|^srcset$|^(form)?action$|^ping$|^xlink:|^data-command/i.test(name)
        || (name === "href" && !/^(https?:\/\/|mailto:)/i.test(value))
        || (name === "src" && !/^(blob:|data:image\/(png|jpe?g|gif|webp|avif|bmp);base64,)/i.test(value)
          && !picture(value))
        || (name === "style" && /url\(|fixed|expression/i.test(value));
      if (bad) found.push(`${e.localName} ${name}=${value.slice(0, 80)}`);
    }
  }
  return {looked: all.length, found};
}
"""


def assert_harmless(area: Any, least: int) -> None:
    seen = area.evaluate(LIVE)
    assert seen["found"] == []
    assert seen["looked"] > least


def start(lab: LabServer, guest: Visit, name: str, cell: str) -> Notebook:
    notebook = guest.open(lab, lab.write(name, SETUP, cell, "print('still', 'here')"))
    notebook.execute(0)
    notebook.run(1)
    notebook.output(1).get_by_text("Is this page still alive?").first.wait_for()
    return notebook


def finish(notebook: Notebook) -> None:
    """Answer by the button of the live view, and run another cell: the page works."""
    notebook.output(1).get_by_role("button", name="Approve", exact=True).click()
    notebook.wait_done(1)
    notebook.output(1).locator(".mesh-run").wait_for()
    notebook.execute(2)
    assert notebook.outputs(2)[0]["text"] == "still here\n"


def exported(notebook: nbformat.NotebookNode) -> str:
    return HTMLExporter(template_name="lab").from_notebook_node(notebook)[0]


def visit_export(page: Page, guest: Visit, markup: str) -> None:
    page.set_content(markup, wait_until="domcontentloaded")
    page.locator(".mesh-run").first.wait_for()
    assert_harmless(page.locator(".jp-OutputArea").first, 1000)
    # The export's own scripts come from a server of theirs.
    guest.blocked[:] = [url for url in guest.blocked if "leak" in url or "safe.example" in url]


def test_the_corpus_is_text_live_frozen_untrusted_and_exported(lab: LabServer, guest: Visit) -> None:
    assert len(ALL) >= 300
    notebook = start(lab, guest, "corpus.ipynb", RUN)
    assert notebook.output(1).evaluate(OPEN) > len(ALL)
    assert_harmless(notebook.output(1), 20 * len(ALL))
    finish(notebook)
    notebook.output(1).evaluate(OPEN)
    assert_harmless(notebook.output(1), 10 * len(ALL))

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("run")])
    book.cells[0].outputs = [nbformat.from_dict(output) for output in notebook.outputs(1)]
    path = Path(lab.workspace) / "foreign.ipynb"
    nbformat.write(book, path)
    foreign = guest.another().open(lab, "foreign.ipynb", kernel=False)
    foreign.output(0).get_by_text("Thought").first.wait_for(state="attached")
    assert foreign.js("return book.widgets[0].model.trusted") is False
    assert_harmless(foreign.output(0), 5 * len(ALL))

    visit_export(guest.another().page, guest, exported(book))
    assert guest.popups == []


def test_size_alone_leaves_the_page_alive(lab: LabServer, guest: Visit) -> None:
    notebook = start(lab, guest, "sizes.ipynb", RUN_LARGE)
    assert len(LARGE) >= 10
    assert notebook.output(1).evaluate(OPEN) > len(LARGE)
    assert_harmless(notebook.output(1), 1000)
    finish(notebook)
    assert_harmless(notebook.output(1), 500)
