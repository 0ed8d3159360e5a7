"""Voila, with each kernel, and marimo: what their pages show of a run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import environments
import nbformat
import pytest
from gated_chat import ChatServer, gate, text
from kernels import kernel_env
from lab import Visit, free_port, until

APP = """
import marimo

app = marimo.App()


@app.cell
def _():
    import mesh_nb as mesh
    graph = mesh.StateGraph("g").add_node("llm", None, node_type="llm", model="m").set_entry_point("llm")
    return (graph, mesh)


@app.cell
async def _(graph):
    run = await graph.run("Go.")
    return (run,)


@app.cell
def _(run):
    f"{run.status}: {run.text}"
    return


@app.cell
def _(mesh, run):
    slow = mesh.StateGraph("s").add_node("llm", None, node_type="llm", model="long").set_entry_point("llm")
    later = slow.run(run.text, background=True)
    return (later,)


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def hosts() -> Path:
    try:
        return environments.overlay("hosts", *environments.HOSTS)
    except environments.Unavailable as error:
        pytest.skip(f"Voila and marimo cannot be installed here: {error}")


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("The first half,"), gate("rest"), text(" and the second.")]
        server.models["long"] = [text("It goes on"), gate("never")]
        yield server


@contextmanager
def serving(command: list[str], url: str, cwd: Path, env: dict[str, str]) -> Iterator[str]:
    """A server of pages, until its address answers and until the test is over."""
    log = cwd / "server.log"

    def answers() -> bool:
        assert process.poll() is None, log.read_text("utf-8")[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        until(answers, f"an answer of {url}")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def env(chat: ChatServer, home: Path, **extra: str) -> dict[str, str]:
    known = {"OPENAI_BASE_URL": chat.base_url, "OPENAI_API_KEY": "sk-test", "MESH_HOME": str(home)}
    places = {"IPYTHONDIR": str(home), "JUPYTER_RUNTIME_DIR": str(home), "XDG_CONFIG_HOME": str(home)}
    return kernel_env(**known, **places, NO_PROXY="127.0.0.1,localhost", **extra)


@pytest.fixture
def voila(hosts: Path, chat: ChatServer, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Serve a notebook of these cells; returns its address."""
    with ExitStack() as stack:

        def serve(version: str, *cells: str) -> str:
            try:
                kernel, data = environments.kernel(version)
            except environments.Unavailable as error:
                pytest.skip(f"ipykernel {version} cannot be installed here: {error}")
            notebook: Any = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
            notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
            nbformat.write(notebook, tmp_path / "book.ipynb")
            port = free_port()
            own = ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", "book.ipynb"]
            command = [str(environments.python(hosts)), "-m", "voila", *own]
            url = f"http://127.0.0.1:{port}"
            around = env(chat, tmp_path, JUPYTER_PATH=str(data))
            return stack.enter_context(serving(command, f"{url}/voila/static/voila.js", tmp_path, around))

        yield serve


@pytest.mark.parametrize("version", environments.KERNELS)
def test_voila_shows_an_answer_and_lets_readers_chat(
    voila: Callable[..., str], guest: Visit, chat: ChatServer, version: str
) -> None:
    chat.open("rest")
    cells = ("%load_ext mesh_nb\nimport mesh_nb as mesh", "%%mesh -m m\nGo.", 'mesh.chat("m")')
    url = voila(version, *cells)
    guest.page.goto(url.partition("/voila")[0])
    guest.page.get_by_text("The first half, and the second.", exact=True).first.wait_for()
    box = guest.page.get_by_role("textbox", name="Message")
    box.fill("Is it open?")
    box.press("Enter")
    guest.page.get_by_role("button", name="Edit last").wait_for()
    assert guest.page.get_by_text("The first half, and the second.", exact=True).count() == 2
    assert guest.page.get_by_text("Is it open?").is_visible()
    # Voila's own page asks for icons and scripts of others; nothing of ours does.
    assert all("fontawesome" in url or "require" in url for url in guest.blocked)
    guest.blocked.clear()


def test_voila_shows_the_rows_of_a_batch(voila: Callable[..., str], guest: Visit, chat: ChatServer) -> None:
    chat.open("rest")
    cells = ("import mesh_nb as mesh", 'rows = await mesh.batch("m", ["one", "two"])')
    guest.page.goto(voila(environments.KERNELS[-1], *cells).partition("/voila")[0])
    guest.page.get_by_text("2 of 2 rows complete").wait_for()
    guest.page.get_by_role("cell", name="The first half, and the second.").first.wait_for()
    guest.blocked.clear()  # Voila's own page asks for icons and scripts of others.


def test_marimo_streams_stops_and_keeps(hosts: Path, guest: Visit, chat: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, "utf-8")
    port = free_port()
    own = ["--headless", "--no-token", "--host", "127.0.0.1", "--port", str(port)]
    command = [str(environments.python(hosts)), "-m", "marimo", "run", "app.py", *own]
    with serving(command, f"http://127.0.0.1:{port}/health", tmp_path, env(chat, tmp_path)):
        guest.page.goto(f"http://127.0.0.1:{port}")
        guest.page.get_by_text("The first half,", exact=True).wait_for()
        chat.open("rest")
        guest.page.get_by_text("completed: The first half, and the second.").wait_for()
        guest.page.get_by_text("The first half, and the second.", exact=True).first.wait_for()
        guest.page.get_by_text("It goes on", exact=True).wait_for()
        guest.page.get_by_role("button", name="Stop").click()
        guest.page.get_by_text(re.compile("Stopped")).first.wait_for()
        assert guest.page.get_by_text("It goes on", exact=True).is_visible()


BATCH = """
@app.cell
async def _(mesh, run):
    rows = await mesh.batch("m", [run.text, "<b>two</b>"])
    rows
    return


@app.cell
async def _(mesh, run):
    others = await mesh.batch("m", [run.text, "two", "three"])
    return


"""


def test_marimo_exports_the_answer(hosts: Path, chat: ChatServer, tmp_path: Path) -> None:
    chat.open("rest")
    app = (
        APP.partition("@app.cell\ndef _(mesh, run)")[0]
        + BATCH
        + 'if __name__ == "__main__":\n    app.run()\n'
    )
    (tmp_path / "app.py").write_text(app, "utf-8")
    command = [str(environments.python(hosts)), "-m", "marimo", "export", "html", "app.py", "-o", "app.html"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=env(chat, tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "app.html").read_text("utf-8")
    assert "The first half, and the second." in page
    assert "mesh-run" in page
    assert "marimo-anywidget" not in page
    assert page.count("2 of 2 rows complete") == 1
    assert "3 of 3 rows complete" in page
    assert "<b>two" not in page
