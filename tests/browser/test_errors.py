"""A run that ended early: the buttons at its static output, what a click does, what the notebook keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from gated_chat import ChatServer, gate, text
from lab import LabServer, Notebook, Visit
from playwright.sync_api import Locator

WIDGET = "application/vnd.jupyter.widget-view+json"
GRAPH = """
import mesh_nb
graph = mesh_nb.StateGraph("report")
graph.add_node("plan", None, node_type="llm", model="plan")
graph.add_node("write", None, node_type="llm", model="write")
graph.add_sequence(["START", "plan", "write"])
run = graph.run("Go.", background=True, {options})
"""
SAID = "print(run.status, run.text)"


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["plan"] = [text("First this, then that.")]
        server.models["write"] = [text("The harbour"), gate("rest"), text(" opened in 1869.")]
        yield server


def book(lab: LabServer, guest: Visit, chat: ChatServer, name: str, *cells: str) -> Notebook:
    first = f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb"
    notebook = guest.open(lab, lab.write(name, first, *cells))
    notebook.execute(0)
    return notebook


def button(notebook: Notebook, index: int, name: str) -> Locator:
    return notebook.output(index).get_by_role("button", name=name, exact=True)


def static(notebook: Notebook, index: int) -> str:
    """The HTML that a save would keep, which has neither a widget nor what only the page knows."""
    shown = [output["data"] for output in notebook.outputs(index) if "data" in output]
    (data,) = shown
    assert WIDGET not in data
    assert "data-mesh" not in data["text/html"]
    assert "<button" not in data["text/html"]
    return data["text/html"]


def settled(notebook: Notebook, index: int) -> str:
    """Wait until the kernel has taken its mark off the output."""
    notebook.wait(
        "const out = book.widgets[x].model.outputs.toJSON().find((o) => o.data);"
        "return out && !out.data['text/html'].includes('data-mesh')",
        index,
    )
    return static(notebook, index)


def asked(chat: ChatServer) -> Counter[str]:
    return Counter(request["model"] for request in chat.requests)


def test_a_run_that_failed_is_resumed_in_its_place(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.refuses["write"] = 1
    cell = GRAPH.format(options="budget_usd=None")
    notebook = book(lab, guest, chat, "resume.ipynb", cell, SAID)
    notebook.execute(1)
    out = notebook.output(1)
    resume = button(notebook, 1, "Resume")
    resume.wait_for()
    assert "harbour is closed" in settled(notebook, 1)
    assert "run.resume()" in static(notebook, 1)
    assert not out.get_by_text("run.resume()").is_visible()
    button(notebook, 1, "Copy report of this error").wait_for()

    resume.focus()
    notebook.page.keyboard.press("Enter")
    out.get_by_text("The harbour", exact=True).wait_for()
    assert not resume.count()
    chat.open("rest")
    out.get_by_text("The harbour opened in 1869.").wait_for()
    button(notebook, 1, "Stop").wait_for(state="detached")
    assert asked(chat) == {"plan": 1, "write": 2}
    assert "Tried again" in static(notebook, 1)
    assert not out.get_by_role("group", name="This run").count()
    notebook.execute(2)
    assert notebook.outputs(2)[0]["text"] == "completed The harbour opened in 1869.\n"

    notebook.save()
    notebook.shutdown_kernel()
    notebook = guest.another().open(lab, "resume.ipynb")
    notebook.output(1).get_by_text("The harbour opened in 1869.").wait_for()
    body = notebook.page.locator("body").inner_text()
    assert "model not found" not in body
    assert "Error displaying widget" not in body


def test_a_double_click_and_a_busy_kernel_resume_once(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.refuses["write"] = 2
    free = Path(lab.workspace) / "free"
    busy = f"import os, time\nwhile not os.path.exists({str(free)!r}):\n    time.sleep(0.01)"
    notebook = book(lab, guest, chat, "twice.ipynb", GRAPH.format(options=""), busy)
    notebook.execute(1)
    settled_before = button(notebook, 1, "Resume")
    settled_before.wait_for()
    settled(notebook, 1)
    notebook.run(2)
    settled_before.dblclick()
    notebook.output(1).get_by_text("The kernel is busy").wait_for()
    free.touch()
    notebook.wait_done(2)
    notebook.output(1).get_by_text("Tried again").wait_for()
    button(notebook, 1, "Resume").wait_for()
    assert asked(chat) == {"plan": 1, "write": 2}
    button(notebook, 1, "Run again").click()
    chat.open("rest")
    notebook.output(1).get_by_text("The harbour opened in 1869.").wait_for()
    button(notebook, 1, "Stop").wait_for(state="detached")
    assert asked(chat) == {"plan": 2, "write": 3}
    assert "Tried again" not in static(notebook, 1)


def test_a_stopped_run_goes_on(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "stopped.ipynb", "%%mesh -m write -o run\nGo.", SAID)
    notebook.run(1)
    notebook.output(1).get_by_text("The harbour", exact=True).wait_for()
    button(notebook, 1, "Stop").click()
    button(notebook, 1, "Resume").click()
    notebook.output(1).get_by_text("The harbour", exact=True).wait_for()
    chat.open("rest")
    notebook.output(1).get_by_text("The harbour opened in 1869.").wait_for()
    notebook.execute(2)
    assert notebook.outputs(2)[0]["text"] == "completed The harbour opened in 1869.\n"


def test_a_budget_asks_before_more_is_spent(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "budget.ipynb", GRAPH.format(options="max_model_calls=1"))
    notebook.execute(1)
    notebook.output(1).get_by_text("Over budget").wait_for()
    button(notebook, 1, "Resume").click()
    button(notebook, 1, "Approve").wait_for()
    assert asked(chat) == {"plan": 1}
    button(notebook, 1, "Approve").click()
    chat.open("rest")
    notebook.output(1).get_by_text("The harbour opened in 1869.").wait_for()
    assert asked(chat) == {"plan": 1, "write": 1}


def test_what_cannot_go_on_says_why(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.refuses["write"] = 1
    elsewhere = "again = run.resume(background=True, display=False); again.id == run.id"
    notebook = book(lab, guest, chat, "refused.ipynb", GRAPH.format(options=""), elsewhere)
    notebook.execute(1)
    button(notebook, 1, "Resume").wait_for()
    settled(notebook, 1)
    notebook.execute(2)
    button(notebook, 1, "Resume").click()
    notebook.output(1).get_by_text("is still running").wait_for()
    assert button(notebook, 1, "Resume").is_enabled()
    chat.open("rest")


def test_a_reloaded_page_reads_how_to_go_on(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.refuses["write"] = 1
    notebook = book(lab, guest, chat, "later.ipynb", GRAPH.format(options=""), "run.show()")
    notebook.execute(1)
    button(notebook, 1, "Resume").wait_for()
    settled(notebook, 1)
    notebook.save()
    notebook = guest.another().open(lab, "later.ipynb")
    notebook.output(1).get_by_text("run.resume()").wait_for()
    assert not button(notebook, 1, "Resume").count()
    assert "Error displaying widget" not in notebook.output(1).inner_text()
    notebook.execute(2)  # where it is shown again, there are buttons
    button(notebook, 2, "Resume").click()
    chat.open("rest")
    notebook.output(2).get_by_text("The harbour opened in 1869.").wait_for()
    assert asked(chat) == {"plan": 1, "write": 2}
