"""The README's examples run as they stand, and what it points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_every_file_that_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    paths = {a or b for a, b in named}
    assert len(paths) >= 7
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []


@pytest.mark.kernel
def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("MESH_DEMO_SPEED", "0")
    cells = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(cells) == 10
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [cell.outputs[-1].data["text/plain"] if cell.outputs else "" for cell in notebook.cells]
    _, answer, _, agent, table, chat, compared, batch, approved, recorded = shown
    assert "Polly wants a cracker." in agent
    assert "offline demo" in answer
    assert re.search(r"demo\s+demo\s+\d+\s+0\.0", table)
    assert "0 turns" in chat
    assert compared.startswith("A\n")
    assert "B\n" in compared
    assert batch.startswith("10,000 rows: about $0")
    assert "demo" in approved
    assert "demo" in recorded
    assert "A letter to Bob" in (tmp_path / "answers.mesh-tape").read_text("utf-8")
