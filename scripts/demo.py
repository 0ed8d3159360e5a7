"""Execute the quickstart notebook in a real kernel and show on the terminal what a reader sees in Jupyter.

    python scripts/demo.py [NOTEBOOK]

Leaves the executed notebook and its HTML under build/. On a terminal it then opens JupyterLab on the executed
copy; LAB=0 skips that.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
QUICKSTART = ROOT / "notebooks" / "01_quickstart.ipynb"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
RUN = "application/vnd.mesh.run+json"
WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 110)


class Terminal:
    """Prints what a run says as it says it: the messages that the widget in a page would draw."""

    def __init__(self) -> None:
        self._open = ""
        self._column = 0
        self._sources: set[str] = set()
        self.streamed = False

    def cell(self, number: int, count: int, source: str) -> None:
        """Announce a cell by its first line."""
        self.end()
        self.streamed = False
        self._sources.clear()
        first = next((line for line in source.splitlines() if line.strip()), "")
        print(f"\n[{number}/{count}] {textwrap.shorten(first, WIDTH - 10, placeholder=' ...')}", flush=True)

    def events(self, events: list[dict[str, Any]]) -> None:
        """Print the words of a batch of events, and one line for each thing that is not words."""
        for event in events:
            kind, about = event.get("type"), event.get("metadata") or {}
            if kind in ("token", "reasoning_token"):
                self.words("answer" if kind == "token" else "reasoning", str(event.get("content") or ""))
            elif kind == "tool_call_complete":
                self.line(f"tool: {about.get('tool_name')} -> {event.get('output')!r}")
            elif kind == "source":
                for source in about.get("sources") or []:
                    title = str(source.get("title") or source.get("url"))
                    if title not in self._sources:
                        self._sources.add(title)
                        self.line(f"source: {title}")
            elif kind == "file":
                self.line(f"file: {about.get('name')} ({about.get('mime_type')}, {about.get('size')} bytes)")
            elif kind in ("node_error", "execution_error"):
                self.line(f"error: {event.get('error')}")

    def words(self, kind: str, text: str) -> None:
        """Print a piece of text right behind the last piece of the same kind."""
        if self._open != kind:
            self.end()
            print(f"  {kind}: ", end="")
            self._open, self._column = kind, len(kind) + 4
        for piece in re.findall(r"\n|[^\S\n]+|\S+", text):
            if piece == "\n" or (piece.strip() and self._column + len(piece) > WIDTH):
                print("\n    ", end="")
                self._column = 4
            if piece != "\n" and (piece.strip() or self._column > 4):
                print(piece, end="")
                self._column += len(piece)
        sys.stdout.flush()
        self.streamed = True

    def line(self, text: str) -> None:
        """Print one line of its own."""
        self.end()
        print(textwrap.indent(textwrap.shorten(text, 4 * WIDTH, placeholder=" ..."), "  "), flush=True)

    def block(self, text: str) -> None:
        """Print an output as it is, indented."""
        self.end()
        print(textwrap.indent(text.rstrip("\n"), "  "), flush=True)

    def end(self) -> None:
        """Close the line that is being written."""
        if self._open:
            print(flush=True)
        self._open = ""


class Client(NotebookClient):
    """nbclient that also shows every message of the kernel as it arrives."""

    terminal: Terminal

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Show a message, then let nbclient keep it."""
        content, kind = msg["content"], msg["msg_type"]
        if kind == "comm_msg":
            custom = (content.get("data") or {}).get("content") or {}
            if isinstance(custom, dict) and custom.get("kind") == "events":
                self.terminal.events(custom["events"])
        elif kind == "stream":
            self.terminal.block(content["text"])
        elif kind in ("display_data", "execute_result", "update_display_data"):
            self._show(content["data"], repeated=kind == "update_display_data")
        return super().process_message(msg, cell, cell_index)

    def _show(self, data: dict[str, Any], repeated: bool) -> None:
        if WIDGET_VIEW in data or (RUN in data and self.terminal.streamed):
            return
        if not repeated or RUN in data:
            self.terminal.block(str(data.get("text/plain", "")))


def execute(source: Path, terminal: Terminal) -> tuple[nbformat.NotebookNode, str]:
    """Run a notebook's cells in a fresh kernel; return it with its outputs, and what went wrong or ""."""
    notebook = nbformat.read(source, as_version=4)
    code = [
        index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()
    ]

    def announce(cell: Any, cell_index: int) -> None:
        if cell_index in code:
            terminal.cell(code.index(cell_index) + 1, len(code), cell.source)

    client = Client(
        notebook,
        timeout=None,
        store_widget_state=False,
        on_cell_start=announce,
        resources={"metadata": {"path": str(source.parent)}},
    )
    client.terminal = terminal
    BUILD.mkdir(exist_ok=True)
    try:
        with (BUILD / "kernel.log").open("wb") as log:
            client.execute(stderr=log)
    except CellExecutionError as error:
        return notebook, f"{error.ename}: {error.evalue}"
    finally:
        terminal.end()
    return notebook, ""


def frames(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the text of every DataFrame that the notebook shows."""
    return [
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if 'class="dataframe"' in output.get("data", {}).get("text/html", "")
    ]


def save(notebook: nbformat.NotebookNode, name: str) -> list[Path]:
    """Write the executed notebook and its HTML under build/."""
    paths = [BUILD / f"{name}.ipynb", BUILD / f"{name}.html"]
    nbformat.write(notebook, paths[0])
    body, _ = HTMLExporter().from_notebook_node(notebook)
    paths[1].write_text(body, "utf-8")
    return paths


def open_lab(notebook: Path) -> None:
    """Become `jupyter lab` on a notebook."""
    del os.environ["MESH_NB_LIVE"]
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    print("opening JupyterLab; Ctrl-C twice ends it", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", str(notebook), *root])


def main() -> int:
    """Run the demo; the exit status is 1 when a cell failed."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else QUICKSTART
    if not source.is_file():
        print(f"there is no notebook {source}", file=sys.stderr)
        return 1
    # The terminal is the page here: it reads what the widget would, so it asks for the live view.
    os.environ["MESH_NB_LIVE"] = "1"
    began, terminal = time.monotonic(), Terminal()
    notebook, failure = execute(source, terminal)
    written = save(notebook, source.stem)
    print(f"\n{source.name}: {'failed' if failure else 'done'} in {time.monotonic() - began:.1f} s")
    if failure:
        print(failure, file=sys.stderr)
    elif shown := frames(notebook):
        print(f"\nusage:\n{textwrap.indent(shown[-1], '  ')}\n")
    for path in written:
        print(f"  {path.relative_to(ROOT)}")
    if failure:
        return 1
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("LAB") != "0":
        open_lab(written[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
