"""Take pictures of every state of a cell in a real JupyterLab, live above frozen, to look at.

python scripts/looks.py [--width 600 900 1400] [--theme light dark] [--out build/looks] [SCENE ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from lab import ROOT, SETTINGS, THEMES, LabServer, Notebook, Visit, chromium, visiting
from scenes import SCENES

SETUP = f"""
import sys
sys.path[:0] = {[str(Path(os.environ.get("LOOKS_ROOT", ROOT))), str(ROOT / "scripts")]!r}
import mesh_nb
from scenes import REVIEW, show
%load_ext mesh_nb
"""
BESIDE = "comparison = mesh_nb.compare('Hi.', models={}, blind={})\nawait comparison;"
SHOWN = {
    "compare-2": BESIDE.format(["demo/code", "demo/table"], False),
    "compare-4": BESIDE.format(["demo/hello", "demo/table", "demo/sources", "demo/chart"], False),
    "compare-blind": BESIDE.format(["demo/code", "demo/hello"], True),
    "chat": "chat = mesh_nb.chat('demo/hello')\nchat.send('What can you do?\\nIn two lines.').wait()\n"
    "chat.send('And with a file?', files=[('notes.csv', b'a,b\\n1,2\\n')]).wait()\nchat",
    "batch": "asked = {'prompt': 'Short: {{text}}', 'cache': False}\ntexts = ['It floats.', 'Not'] * 10\n"
    "rows = await mesh_nb.batch('demo/hello', [{'text': t} for t in texts], **asked)\nrows",
    "cell": "%%mesh -m demo\nShow me what a cell can hold.",
    "graph": """graph = mesh_nb.StateGraph("review")
for name in ("load", "optimist", "sceptic", "judge", "publish"):
    graph.add_node(name, lambda input: input)
for pair in ("load optimist", "load sceptic", "optimist judge", "sceptic judge", "judge publish"):
    graph.add_edge(*pair.split())
graph.set_entry_point("load")
graph""",
}
UNFOLD = """(area) => {
    const all = (root, what) => [...root.querySelectorAll(what)];
    for (const host of all(area, "*")) for (let n = 0; host.shadowRoot && n < 3; n++)
        for (const el of all(host.shadowRoot, "details:not([open]) > summary")) el.click();
    for (const el of all(area, ".mesh-run details")) el.open = true;
}"""
CLICKS = {
    "costs": ["button.usage"],
    "unpriced": ["button.usage"],
    "asking": [],
    "asking+edit": [".ask button:text-is('Edit')"],
    "asking+deny": [".ask button:text-is('Deny')"],
}
UNFOLDED = {
    "thoughts",
    "tools",
    "working",
    "grouped+open",
    "failed+open",
    "six_nodes+open",
    "words",
    "custom+open",
}
WAYS = {
    "asking": ["asking", "asking+edit", "asking+deny"],
    **{name: [name, f"{name}+open"] for name in ("grouped", "failed", "six_nodes", "custom")},
}


def _events(way: str) -> list[Any]:
    made = SCENES.get(way.partition("+")[0])
    return made().events if made else []


def picture(notebook: Notebook, index: int, way: str, path: Path) -> None:
    """Bring a cell's output into a state, and take its picture."""
    notebook.js(
        "book.activeCellIndex = x; book.deselectAll(); await book.scrollToItem(x, 'start'); return null",
        index,
    )
    area = notebook.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-Cell-outputArea")
    area.locator(".jp-OutputArea-output :is(.run, .mesh-run, svg, table, img)").first.wait_for()
    for what in CLICKS.get(way, []):
        area.locator(what).first.click()
    if way in UNFOLDED:
        area.evaluate(UNFOLD)
    if way == "answered":
        area.locator("button.chip").nth(1).hover()
        area.locator(".card").wait_for()
    if any("graph" in e.metadata for e in _events(way)[:1]):
        area.locator(".graph svg").wait_for()
    notebook.page.wait_for_timeout(150)
    area.screenshot(path=path)
    notebook.page.mouse.move(0, 0)
    for what in ("button.usage[aria-expanded=true]", ".ask button:text-is('Back')"):
        if area.locator(what).count():
            area.locator(what).first.click()


def main() -> None:
    """Take the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE")
    parser.add_argument("--width", nargs="*", type=int, default=[600, 900, 1400])
    parser.add_argument("--theme", nargs="*", choices=THEMES, default=list(THEMES))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "looks")
    given: Any = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    SETTINGS["notebook-extension/tracker"] = {"windowingMode": "none"}
    names = given.scenes or [*SCENES, *SHOWN]
    with tempfile.TemporaryDirectory(prefix="mesh-looks-") as home:
        server = LabServer(Path(home) / "home", MESH_DEMO_SPEED="50").start()
        try:
            with chromium() as browser, visiting(browser, viewport={"width": 900, "height": 4000}) as context:
                guest = Visit(context)
                cells = [SETUP, *(SHOWN.get(name, f"show({name!r})") for name in names)]
                notebook = guest.open(server, server.write("looks.ipynb", *cells))
                for side in ("left", "right"):
                    notebook.js(f"app.shell.collapse{side.title()}(); return null")
                for index in range(len(cells)):
                    notebook.execute(index)
                    for shown in notebook.outputs(index):
                        if shown["output_type"] == "error":
                            sys.exit("\n".join([cells[index], *shown["traceback"]]))
                for theme in given.theme:
                    notebook.theme(theme)
                    for width in given.width:
                        notebook.page.set_viewport_size({"width": width, "height": 4000})
                        for index, name in enumerate(names, 1):
                            for way in WAYS.get(name, [name]):
                                picture(notebook, index, way, given.out / f"{way}-{theme}-{width}.png")
                guest.leave()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
