"""nbclient, papermill and nbconvert with ipykernel 6.29, 7.3 and 7.4: one test for each pair."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environments
import nbclient
import nbformat
import papermill
import pytest
from kernels import GIVE_UP, RUN, kernel_env
from replay_server import ReplayThread

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

CELLS = (
    "%load_ext mesh_nb\nimport ipykernel; print(ipykernel.__version__)",
    "%%mesh -m synthetic-20-r5 -o r\nSay {it}",
    "r.status",
    "import mesh_nb\n"
    "g = mesh_nb.StateGraph().add_node('ask', None, node_type='approval', message='Go on?')\n"
    "run = await g.set_entry_point('ask').run('Hello')",
    "run = await run.approve()\nrun.status",
)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with ReplayThread() as url:
        yield f"{url}/v1"


def with_nbclient(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=GIVE_UP).execute()
    return notebook


def with_papermill(path: Path) -> Any:
    return papermill.execute_notebook(str(path), "out.ipynb", progress_bar=False)


def with_nbconvert(path: Path) -> Any:
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--execute",
        "--to",
        "notebook",
        "--output",
        "out",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP, check=False)
    assert done.returncode == 0, done.stderr
    return nbformat.read("out.ipynb", as_version=4)


@pytest.mark.parametrize("version", environments.KERNELS)
@pytest.mark.parametrize("execute", [with_nbclient, with_papermill, with_nbconvert])
def test_a_program_gets_the_answers_as_static_output(
    version: str,
    execute: Callable[[Path], Any],
    base_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        kernel, data = environments.kernel(version)
    except environments.Unavailable as error:
        pytest.skip(f"ipykernel {version} cannot be installed here: {error}")
    for name in set(os.environ) - set(kernel_env()):
        monkeypatch.delenv(name)
    for name, value in {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "sk-x",
        "JUPYTER_PATH": str(data),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("MESH_HOME", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    nbformat.write(notebook, "book.ipynb")

    done = execute(tmp_path / "book.ipynb")

    outputs = [cell.outputs for cell in done.cells if cell.cell_type == "code" and "parameters" not in cell]
    assert outputs[0][0].text == f"{version}\n"
    (answer,), (status,), (asked,), (approved, ended) = outputs[1:]
    assert set(answer.data) == {"text/html", "text/markdown", "text/plain", RUN}
    assert "tok19" in answer.data["text/plain"]
    assert status.data["text/plain"] == "'completed'"
    assert "Waiting for an answer: Go on?" in asked.data["text/plain"]
    assert "Approved: Go on?" in approved.data["text/plain"]
    assert ended.data["text/plain"] == "'completed'"
    assert "widgets" not in done.metadata
