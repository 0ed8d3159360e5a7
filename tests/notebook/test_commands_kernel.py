"""`%mesh cost` in a real kernel: the runs of this notebook, by cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernels import Kernel, kernel_env

pytestmark = pytest.mark.kernel

OTHER = """
import mesh_nb
from mesh_nb.core.events import EventType, ExecutionEvent
log = mesh_nb.FileBackend().open('other', {'notebook': 'b.ipynb', 'cell': 'c'})
known = {'call_id': '1', 'model_id': 'm', 'provider': 'p', 'cost_usd': 9.0}
log.append(ExecutionEvent(EventType.RESPONSE_METADATA, 'n', metadata=known, run_id='other', seq=0))
log.close()
"""


def test_the_cost_of_this_notebook_by_cell(tmp_path: Path) -> None:
    env = kernel_env(MESH_HOME=str(tmp_path), JPY_SESSION_NAME=str(tmp_path / "a.ipynb"))
    with Kernel(tmp_path, env) as kernel:
        assert kernel.run("%load_ext mesh_nb").status == "ok"
        assert kernel.run(OTHER).status == "ok"
        for _ in range(2):
            assert kernel.run("%%mesh -m demo\nhi\n;").status == "ok"
        cell = kernel.run("%mesh cost")
        (output,) = cell.outputs
        text, html = output["data"]["text/plain"], output["data"]["text/html"]
        assert text.startswith("This notebook: $0 · 2 model calls in 2 runs")
        assert "In [3]" in text
        assert "In [4]" in text
        assert "<table>" in html
        (output,) = kernel.run("%mesh cost project").outputs
        assert output["data"]["text/plain"].startswith("This project: $9.0000")
        assert kernel.run("%mesh cost nothing").error["evalue"].startswith("No run 'nothing'")


def test_several_models_in_one_cell_are_one_output(tmp_path: Path) -> None:
    env = kernel_env(MESH_HOME=str(tmp_path), MESH_DEMO_SPEED="0")
    with Kernel(tmp_path, env) as kernel:
        assert kernel.run("%load_ext mesh_nb").status == "ok"
        cell = kernel.run("%%mesh -m demo,demo -o pair\nhi", stdin=False)
        (output,) = cell.outputs
        assert "demo #2" in output["data"]["text/plain"]
        assert "<table" in output["data"]["text/html"]
        assert kernel.run("print(pair.done, len(pair.to_pandas()), _ is pair)").stdout == "True 2 True\n"
        assert kernel.run("%%mesh -m demo,demo -s one\nhi").stdout.startswith("UsageError: -s goes")


def test_a_saved_notebook_is_stripped(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    env = kernel_env(MESH_HOME=str(tmp_path), JPY_SESSION_NAME=str(path))
    with Kernel(tmp_path, env) as kernel:
        assert kernel.run("%load_ext mesh_nb").status == "ok"
        assert kernel.run("%mesh strip").stdout == "a.ipynb: nothing to strip.\n"
        assert kernel.run("%mesh strip b.ipynb").stdout.strip().endswith("Did you mean 'a.ipynb'?")
