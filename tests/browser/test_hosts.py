"""JupyterLab 4 and Notebook 7 with the kernels of ipykernel 6.29, 7.3 and 7.4: one test for each pair."""

from __future__ import annotations

import os
from collections.abc import Iterator

import environments
import pytest
from gated_chat import ChatServer, gate, text
from lab import LabServer, Notebook, NotebookServer, Visit
from playwright.sync_api import TimeoutError

WIDGET = "application/vnd.jupyter.widget-view+json"
GRAPH = """
import mesh_nb
graph = mesh_nb.StateGraph("mailer")
graph.add_node("ask", None, node_type="approval", message="Send this letter?")
graph.add_node("send", lambda input: {"content": f"Sent to {input['to']}."})
graph.add_sequence(["START", "ask", "send"])
run = graph.run({"to": "ana"}, background=True)
"""


@pytest.fixture(scope="module")
def kernels() -> dict[str, str]:
    """The kernels by version, and what JUPYTER_PATH must be to find them."""
    try:
        found = {version: environments.kernel(version) for version in environments.KERNELS}
    except environments.Unavailable as error:
        pytest.skip(f"other versions of ipykernel cannot be installed here: {error}")
    names = {version: name for version, (name, _) in found.items()}
    return {**names, "path": os.pathsep.join(str(data) for _, data in found.values())}


def settings(kernels: dict[str, str]) -> dict[str, str]:
    return {"OPENAI_API_KEY": "sk-test-browser", "JUPYTER_PATH": kernels["path"]}


@pytest.fixture(scope="module")
def lab4(kernels: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer(tmp_path_factory.mktemp("lab4") / "home", **settings(kernels)).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def notebook7(kernels: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    try:
        folder = environments.overlay("hosts", *environments.HOSTS)
    except environments.Unavailable as error:
        pytest.skip(f"Notebook 7 cannot be installed here: {error}")
    server = NotebookServer(tmp_path_factory.mktemp("notebook7") / "home", **settings(kernels))
    server.python = str(environments.python(folder))
    yield server.start()
    server.stop()


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("The first half,"), gate("rest"), text(" and the second.")]
        server.models["long"] = [text("It goes on"), gate("never")]
        yield server


def sees(notebook: Notebook, index: int, words: str) -> None:
    notebook.output(index).get_by_text(words, exact=True).first.wait_for()


def frozen(notebook: Notebook, index: int) -> str:
    notebook.output(index).get_by_role("button", name="Stop").wait_for(state="detached")
    notebook.wait(
        "return !book.widgets[x[0]].model.outputs.toJSON().some((o) => x[1] in (o.data ?? {}))",
        [index, WIDGET],
    )
    (output,) = (output for output in notebook.outputs(index) if "data" in output)
    return output["data"]["text/plain"]


def _begin(guest: Visit, server: LabServer, name: str) -> Notebook:
    """Open a notebook and run its first cell. A kernel that never answers its first request, as 7.3.0 does
    now and then, is restarted."""
    notebook = Notebook(guest.page, name)
    try:
        notebook = guest.open(server, name)
        notebook.execute(0)
    except TimeoutError:
        notebook.restart()
        notebook.execute(0)
    return notebook


@pytest.mark.parametrize("version", environments.KERNELS)
@pytest.mark.parametrize("host", ["lab4", "notebook7"])
def test_a_host_streams_stops_asks_and_keeps(
    request: pytest.FixtureRequest,
    guest: Visit,
    chat: ChatServer,
    kernels: dict[str, str],
    host: str,
    version: str,
) -> None:
    server: LabServer = request.getfixturevalue(host)
    first = (
        f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb\nimport ipykernel; ipykernel.__version__"
    )
    cells = (first, "%%mesh -m m\nGo.", "%%mesh -m long --background\nGo.", "%%mesh -m long\nGo.", GRAPH)
    name = server.write(f"{host}-{version}.ipynb", *cells, kernel=kernels[version])
    notebook = _begin(guest, server, name)
    assert version in notebook.outputs(0)[-1]["data"]["text/plain"]

    notebook.run(1)
    sees(notebook, 1, "The first half,")
    assert not notebook.done(1)
    chat.open("rest")
    notebook.wait_done(1)
    assert "The first half, and the second." in frozen(notebook, 1)

    notebook.execute(2)  # a background run is stopped by its button on every kernel
    sees(notebook, 2, "It goes on")
    notebook.output(2).get_by_role("button", name="Stop").click()
    assert "It goes on" in frozen(notebook, 2)
    asked = len(chat.requests)
    notebook.output(2).get_by_role("button", name="Resume").click()  # and goes on by one, in its place
    notebook.output(2).get_by_role("button", name="Stop").click()
    assert "2 model calls" in frozen(notebook, 2)
    assert len(chat.requests) == asked + 1

    notebook.run(3)  # an awaiting cell on an old kernel by Interrupt alone
    sees(notebook, 3, "It goes on")
    if version.startswith("6"):
        notebook.interrupt()
    else:
        notebook.output(3).get_by_role("button", name="Stop").click()
    notebook.wait_done(3)
    assert "It goes on" in frozen(notebook, 3)

    notebook.execute(4)
    notebook.output(4).get_by_role("button", name="Approve", exact=True).click()
    answered = frozen(notebook, 4)
    assert "Approved" in answered
    assert "Sent to ana." in answered
    notebook.save()
    kept = [output for cell in server.read(notebook.name).cells for output in cell.outputs]
    assert not [output for output in kept if WIDGET in output.get("data", {})]
