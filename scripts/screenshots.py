"""Take the README's pictures: a run in a real JupyterLab, in the light and in the dark theme.

    python scripts/screenshots.py

Writes docs/images/run-light.png and run-dark.png (while the answer streams), saved-light.png and
saved-dark.png (the static output that stays).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab import ROOT, THEMES, LabServer, Visit, chromium, visiting

IMAGES = ROOT / "docs" / "images"
CELL = "%%mesh -m demo\nShow me what a cell can hold."
LATE = "The cell draws it"
HIDE_SIDES = """
const toggle = "application:toggle-side-tabbar";
for (const side of ["left", "right"])
    if (app.shell.isSideTabBarVisible(side)) await app.commands.execute(toggle, {side});
return null"""
SIZE = {"width": 980, "height": 900}


def take(server: LabServer, guest: Visit, theme: str) -> None:
    """Run the cell in one theme; take a picture while it streams and one when it has ended."""
    notebook = guest.open(server, server.write("demo.ipynb", "%load_ext mesh_nb", CELL))
    notebook.theme(theme)
    notebook.execute(0)
    notebook.js(HIDE_SIDES)
    notebook.run(1)
    output = notebook.output(1)
    output.get_by_text(LATE).wait_for()
    print(notebook.screenshot(IMAGES / f"run-{theme}.png").relative_to(ROOT), flush=True)
    notebook.wait_done(1)
    output.get_by_role("button", name="Stop").wait_for(state="detached")
    print(notebook.screenshot(IMAGES / f"saved-{theme}.png").relative_to(ROOT), flush=True)
    guest.leave()


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory(prefix="mesh-screenshots-") as home:
        server = LabServer(Path(home) / "home").start()
        try:
            with chromium() as browser, visiting(browser, viewport=SIZE, device_scale_factor=1.5) as context:
                for theme in THEMES:
                    take(server, Visit(context), theme)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
