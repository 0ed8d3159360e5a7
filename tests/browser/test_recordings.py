"""Every recorded run in a real JupyterLab: live = joined late = reloaded = frozen, in content."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import ROOT, LabServer, Notebook, Visit
from support import streams

WIDGETS = ROOT / "widgets"
GROUP = 20
"""Runs in a cell; JupyterLab shows 50 outputs of one."""

SETUP = f"""
import asyncio, sys
sys.path[:0] = [{str(ROOT / "tests")!r}]
from played import Played, logs, show_frozen, show_live
runs = [Played(name, log) for name, log in (await asyncio.to_thread(logs)).items()]
print(*(run.id for run in runs), sep="\\n")
"""

# What a reader is told, by the code that the front end's own tests use.
READ = """
const outputs = [...book.widgets[x.cell].node.querySelectorAll(".jp-OutputArea-child")];
if (x.frozen) return outputs.map((output) => {
  const html = output.querySelector(".jp-RenderedHTMLCommon").cloneNode(true);
  html.querySelectorAll(".jp-InternalAnchorLink").forEach((anchor) => anchor.remove());
  return content.ofFrozen(html.innerHTML);
});
const shown = () => outputs.map((output) => [...output.querySelectorAll("*")].map((e) => e.shadowRoot)
  .find(Boolean)?.querySelector(".run"));
const frame = () => new Promise((done) => requestAnimationFrame(done));
let why = "some are not there";
let before = "";
for (const until = Date.now() + 60000; Date.now() < until; await frame()) {
  const runs = shown();
  if (runs.some((run) => !run || run.matches(".running, .pending"))) continue;
  const closed = runs.flatMap((run) => [...run.querySelectorAll("details:not([open]) > summary")]);
  closed.forEach((summary) => summary.click());
  for (let n = 0; n < 5; n++) await frame();
  if (closed.length) continue;
  try {
    const now = JSON.stringify(runs.map(content.ofLive));
    if (now === before) return JSON.parse(now);
    before = now;
  } catch (error) {
    why = error.stack;
  }
}
throw new Error(`the runs did not come to rest: ${why}`)"""


@pytest.fixture(scope="module")
def content_js(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The front end tests' reading of live and frozen views, for a page."""
    out = tmp_path_factory.mktemp("content") / "content.js"
    options = {
        "entryPoints": ["tests/content.ts"],
        "bundle": True,
        "format": "iife",
        "globalName": "content",
        "outfile": str(out),
    }
    program = f'import {{ build }} from "esbuild"; await build({json.dumps(options)});'
    node = Path(sys.executable).parent / "node"
    subprocess.run([node, "--input-type=module", "-e", program], cwd=WIDGETS, check=True)
    return out.read_text("utf-8")


def read(notebook: Notebook, cell: int, frozen: bool = False) -> list[Any]:
    notebook.js("await book.scrollToItem(x); return null", cell)
    return notebook.js(READ, {"cell": cell, "frozen": frozen})


@pytest.mark.parametrize("kind", ["own", "recorded"])
def test_live_late_reloaded_and_frozen_views_say_the_same(
    lab: LabServer, guest: Visit, content_js: str, kind: str
) -> None:
    if kind == "recorded" and streams() is None:
        pytest.skip("../shared/provider-streams is not there (MESH_STREAMS names another place)")
    guest.page.add_init_script(content_js + "\nglobalThis.content = content;")
    notebook = guest.open(lab, lab.write(f"{kind}.ipynb", SETUP))
    notebook.execute(0)
    (printed,) = notebook.outputs(0)
    names = [name for name in printed.get("text", "").split("\n") if name]
    assert names, printed
    mine = [n for n, name in enumerate(names) if name.startswith("own/") == (kind == "own")]
    groups = [mine[at : at + GROUP] for at in range(0, len(mine), GROUP)]
    notebook.js(
        "for (const source of x) { await app.commands.execute('notebook:insert-cell-below');"
        "  book.activeCell.model.sharedModel.setSource(source); } return null",
        [f"await show_live(runs[n] for n in {group})" for group in groups]
        + [f"show_frozen(runs[n] for n in {group})" for group in groups],
    )
    count = len(groups)
    live: dict[str, Any] = {}
    for at, group in enumerate(groups, start=1):
        notebook.execute(at, at + count)
        shown, frozen = read(notebook, at), read(notebook, at + count, frozen=True)
        assert len(shown) == 2 * len(group)
        for n, run in enumerate(group):
            live[names[run]] = shown[n]
            assert shown[n + len(group)] == shown[n], f"{names[run]}: a view that came late"
            assert frozen[n] == shown[n], f"{names[run]}: frozen"
    assert len(live) == len(mine)
    notebook.save()
    guest.page.reload()
    notebook.wait_ready(kernel=False)
    for at, group in enumerate(groups, start=1):
        for n, lines in enumerate(read(notebook, at)):
            name = names[group[n % len(group)]]
            assert lines == live[name], f"{name}: after a reload"
