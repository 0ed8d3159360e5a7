"""`%%mesh` where nobody watches: nbclient, papermill, nbconvert, nbval, a script, a terminal."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import pytest
from kernels import GIVE_UP, RUN, WIDGET_VIEW, kernel_env
from replay_server import ReplayThread

pytestmark = pytest.mark.kernel

CELLS = [
    "%load_ext mesh_nb",
    "%%mesh -m synthetic-20-r5 -o r\nSay {it}",
    "r.status",
    "import mesh_nb as mesh\n"
    "g = mesh.StateGraph().add_node('a', None, node_type='llm', model='synthetic-5').set_entry_point('a')\n"
    "await g.run('Hello')",
]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with ReplayThread() as url:
        home = str(tmp_path_factory.mktemp("home"))
        yield kernel_env(OPENAI_BASE_URL=f"{url}/v1", OPENAI_API_KEY="sk-x", MESH_HOME=home, IPYTHONDIR=home)


def use(env: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MESH_HOME"):
        patch.setenv(name, env[name])
    patch.delenv("PYTEST_VERSION", raising=False)


@pytest.fixture(autouse=True)
def _environment(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(env, monkeypatch)
    monkeypatch.chdir(tmp_path)


def notebook(*cells: str) -> Any:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.metadata["language_info"] = {
        "name": "python",
        "file_extension": ".py",
        "nbconvert_exporter": "python",
    }
    return nb


def saved(nb: Any, name: str = "nb.ipynb") -> Path:
    nbformat.write(nb, name)
    return Path(name)


def command(env: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], env=env, capture_output=True, text=True, timeout=GIVE_UP, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_static(nb: Any) -> None:
    outputs = [cell.outputs for cell in nb.cells if cell.cell_type == "code"]
    assert [len(o) for o in outputs] == [0, 1, 1, 1]
    for (output,) in (outputs[1], outputs[3]):
        assert set(output.data) == {"text/html", "text/markdown", "text/plain", RUN}
    assert "tok19" in outputs[1][0].data["text/plain"]
    assert outputs[2][0].data["text/plain"] == "'completed'"
    assert "widgets" not in nb.metadata


@pytest.fixture(scope="module")
def executed(env: dict[str, str]) -> Any:
    """The notebook as nbclient leaves it."""
    nb = notebook(*CELLS)
    with pytest.MonkeyPatch.context() as patch:
        use(env, patch)
        nbclient.NotebookClient(nb, timeout=GIVE_UP).execute()
    return nb


def test_nbclient(executed: Any):
    assert_static(executed)


def test_a_run_that_was_answered_shows_what_came_after():
    nb = notebook(
        "import mesh_nb as mesh\n"
        "g = mesh.StateGraph().add_node('ask', None, node_type='approval', message='Send it?')\n"
        "g.add_node('send', lambda input: {'content': 'It was sent.'})\n"
        "g.add_sequence(['START', 'ask', 'send'])\nrun = await g.run({'to': 'ana'})",
        "run = await run.approve()",
    )
    nbclient.NotebookClient(nb, timeout=GIVE_UP).execute()
    asked, answered = (cell.outputs[0].data["text/plain"] for cell in nb.cells)
    assert "Waiting for an answer: Send it?" in asked
    assert "It was sent." in answered


def test_nbclient_with_live_output_saves_the_frozen_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_NB_LIVE", "1")
    nb = notebook(*CELLS[:2])
    nbclient.NotebookClient(nb, timeout=GIVE_UP).execute()
    (output,) = nb.cells[1].outputs
    assert RUN in output.data
    assert WIDGET_VIEW not in output.data


def test_a_run_that_nobody_awaits_says_what_to_write():
    nb = notebook(
        "import asyncio, mesh_nb as mesh\n"
        "g = mesh.StateGraph().add_node('a', None, node_type='llm', model='synthetic-5')\n"
        "async def later(input):\n    while not go: await asyncio.sleep(0.01)\n    return 'Hello'\n"
        "g.add_node('later', later).add_sequence(['START', 'later', 'a'])\n"
        "go = []\ng.run('Hello')",
        "r = mesh.last_run()\nr",
        "go.append(1)\nawait r",
        "f = g.run('again'); _ = await f",
    )
    nbclient.NotebookClient(nb, timeout=GIVE_UP).execute()
    shown = [[o.data["text/plain"] for o in cell.outputs] for cell in nb.cells]
    for (said,) in shown[:2]:
        assert said.startswith("The cell has ended, and its run goes on.")
        assert "`await graph.run(...)`" in said
    for (said,) in shown[2:]:
        assert "tok4" in said


def test_papermill():
    nb = papermill.execute_notebook(str(saved(notebook(*CELLS))), "out.ipynb", progress_bar=False)
    assert_static(nb)


def test_nbconvert_execute_to_html_shows_the_answer_without_a_kernel(env: dict[str, str]):
    command(env, "nbconvert", "--execute", "--to", "html", str(saved(notebook(*CELLS))))
    page = Path("nb.html").read_text("utf-8")
    assert "tok18 tok19" in page
    assert "Thought (5 words)" in page
    assert "widget-view" not in page


def test_nbconvert_to_script_runs_in_ipython(env: dict[str, str]):
    nb = saved(notebook(*CELLS[:2], "print('status:', r.status)"))
    command(env, "nbconvert", "--to", "script", str(nb))
    printed = command(env, "IPython", "--colors=NoColor", "nb.py")
    assert "tok18 tok19" in printed
    assert "status: completed" in printed


def test_nbval_passes_strictly_every_time_and_sees_another_answer(env: dict[str, str], executed: Any):
    changed = copy.deepcopy(executed)
    changed.cells[1].source = changed.cells[1].source.replace("synthetic-20", "synthetic-21")
    names = [
        str(saved(nb, name))
        for nb, name in ((executed, "a.ipynb"), (executed, "b.ipynb"), (changed, "c.ipynb"))
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval",
            "-q",
            "-rA",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            *names,
        ],
        env=env,
        capture_output=True,
        text=True,
        timeout=GIVE_UP,
        check=False,
    )
    failed = [
        line.split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))
    ]
    assert failed == ["FAILED c.ipynb::Cell 1"], done.stdout + done.stderr


def test_a_terminal_runs_the_sync_magic_and_prints_the_answer(env: dict[str, str]):
    Path("session.py").write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance(colors='NoColor')\n"
        "ip.run_cell('%load_ext mesh_nb')\n"
        "assert ip.input_transformers_post == []\n"
        "done = ip.run_cell('%%mesh -m synthetic-20 -o r\\nSay {it}')\n"
        "assert done.result is ip.user_ns['r'], done\n"
        "assert done.result.status == 'completed'\n"
        "assert ip.run_cell('%mesh last').result is done.result\n"
        "bad = ip.run_cell('%%mesh --modle x\\nHello')\n"
        "print(type(bad.error_in_exec).__name__, bad.error_in_exec)\n"
    )
    done = subprocess.run(
        [sys.executable, "session.py"], env=env, capture_output=True, text=True, timeout=GIVE_UP, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tok18 tok19" in done.stdout
    assert "UsageError %%mesh has no option --modle. Did you mean --model?" in done.stdout


def test_ctrl_c_in_a_terminal_ends_what_its_cell_awaits(env: dict[str, str]):
    Path("session.py").write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance(colors='NoColor')\n"
        "ip.run_cell('''\n"
        "import asyncio, os, signal\n"
        "import mesh_nb as mesh\n"
        "async def wait():\n"
        "    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does, once the node has begun\n"
        "    await asyncio.Event().wait()\n"
        "graph = mesh.StateGraph().add_node('wait', wait).set_entry_point('wait')\n"
        "''')\n"
        "one = ip.run_cell('await graph.run(1)')\n"
        "print(type(one.error_in_exec).__name__, ip.run_cell('mesh.last_run().status').result)\n"
        "two = ip.run_cell('runs = [graph.run(2), graph.run(3)]; await asyncio.gather(*runs)')\n"
        "print([run.status for run in ip.user_ns['runs']])\n"
        "import signal\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    done = subprocess.run(
        [sys.executable, "session.py"], env=env, capture_output=True, text=True, timeout=GIVE_UP, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MeshInterrupted cancelled" in done.stdout
    assert "['cancelled', 'cancelled']" in done.stdout
