"""Runs know which notebook and cell started them, in a real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernels import Kernel, kernel_env

import mesh_nb

pytestmark = pytest.mark.kernel


def test_a_run_knows_its_notebook_and_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = str(tmp_path / "work" / "a.ipynb")
    with Kernel(tmp_path, kernel_env(MESH_HOME=str(tmp_path), JPY_SESSION_NAME=named)) as kernel:
        assert kernel.run("%load_ext mesh_nb").status == "ok"
        assert kernel.run("%%mesh -m demo -o r\nhi").status == "ok"
        assert kernel.run("%%mesh -m demo --background -o b\nhi").status == "ok"
        assert kernel.run("b.wait(); print(r.header['cell'], b.header['notebook'])").stdout.strip() == (
            "In [2] work/a.ipynb"
        )
        message = kernel.client.session.msg(
            "execute_request",
            {"code": "r2 = await r.graph.run('again', display=False)", "silent": False},
            metadata={"cellId": "abc-1"},
        )
        kernel.client.shell_channel.send(message)
        assert kernel.finish(message["header"]["msg_id"]).status == "ok"
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    found = mesh_nb.runs_df()
    assert list(found.notebook) == ["work/a.ipynb"] * 3
    assert list(found.cell) == ["In [2]", "In [3]", "abc-1"]
    assert list(mesh_nb.calls_df().cell) == ["In [2]", "In [3]", "abc-1"]


def test_outside_a_kernel_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    graph = mesh_nb.StateGraph().add_node("n", lambda: 1).set_entry_point("n")
    run = graph.run_sync("hi")
    assert "notebook" not in run.header
    assert mesh_nb.runs_df().notebook.isna().all()
