"""Run the notebooks of notebooks/ and save their outputs, without what changes from run to run.

    python scripts/notebooks.py [NOTEBOOK ...]

The demo plays at once, and the runs' logs go to a temporary directory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def refresh(path: Path) -> None:
    """Execute one notebook and write it back."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, resources={"metadata": {"path": str(path.parent)}}, record_timing=False
    ).execute()
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    nbformat.write(notebook, path)
    print(f"{path.name}: {sum(len(c.get('outputs', [])) for c in notebook.cells)} outputs")


def main() -> None:
    """Refresh the notebooks named on the command line, or all."""
    os.environ.pop("MESH_NB_LIVE", None)
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(MESH_DEMO_SPEED="0", MESH_HOME=home)
        for path in [Path(a) for a in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
            refresh(path)


if __name__ == "__main__":
    main()
