"""What readers do while a run goes on: close the tab, look twice, run all, interrupt, delete the cell."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from gated_chat import ChatServer, gate, text
from lab import LabServer, Notebook, Visit

WIDGET = "application/vnd.jupyter.widget-view+json"
AWAITING = "%%mesh -m m -o run\nGo."
BACKGROUND = "%%mesh -m m -o run --background\nGo."
ASKING = """
import mesh_nb
graph = mesh_nb.StateGraph("mailer")
graph.add_node("ask", None, node_type="approval", message="Send this letter?")
graph.set_entry_point("ask")
run = await graph.run({"to": "ana"})
"""
SAID = "print(run.status, run.text)"


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("The first half,"), gate("rest"), text(" and the second."), gate("end")]
        yield server


def book(lab: LabServer, guest: Visit, chat: ChatServer, name: str, *cells: str) -> Notebook:
    first = f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb\nimport os; print(os.getpid())"
    notebook = guest.open(lab, lab.write(name, first, *cells))
    notebook.execute(0)
    return notebook


def sees(notebook: Notebook, index: int, words: str) -> None:
    notebook.output(index).get_by_text(words, exact=True).first.wait_for()


def sees_the_end(notebook: Notebook, index: int) -> None:
    """The whole answer, as the static output that stays."""
    sees(notebook, index, "The first half, and the second.")
    notebook.output(index).get_by_role("button", name="Stop").wait_for(state="detached")
    notebook.wait(
        "return !book.widgets[x[0]].model.outputs.toJSON().some((o) => x[1] in (o.data ?? {}))",
        [index, WIDGET],
    )
    assert len(notebook.outputs(index)) == 1


def finish(chat: ChatServer) -> None:
    chat.open("rest")
    chat.open("end")


def test_a_second_view_of_a_run_that_goes_on(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "second.ipynb", BACKGROUND, "run.show()", "%mesh last")
    notebook.execute(1)
    sees(notebook, 1, "The first half,")
    notebook.execute(2, 3)
    for index in (2, 3):
        sees(notebook, index, "The first half,")
    chat.open("rest")
    for index in (1, 2, 3):
        sees(notebook, index, "The first half, and the second.")
    notebook.output(3).get_by_role("button", name="Stop").click()
    for index in (1, 2, 3):
        sees_the_end(notebook, index)


def test_a_second_view_of_the_same_output(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "view.ipynb", AWAITING)
    notebook.run(1)
    sees(notebook, 1, "The first half,")
    notebook.js("await app.commands.execute('notebook:create-output-view'); return null")
    view = guest.page.locator(".jp-LinkedOutputView")
    view.get_by_text("The first half,", exact=True).wait_for()
    chat.open("rest")
    view.get_by_text("The first half, and the second.", exact=True).wait_for()
    finish(chat)
    view.get_by_role("button", name="Stop").wait_for(state="detached")
    view.get_by_text("The first half, and the second.", exact=True).wait_for()


def test_a_closed_tab_loses_nothing_of_a_run_that_goes_on(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    notebook = book(lab, guest, chat, "closed.ipynb", BACKGROUND, "%mesh last", SAID)
    notebook.execute(1)
    sees(notebook, 1, "The first half,")
    notebook = guest.another().open(lab, "closed.ipynb")
    notebook.execute(2)
    sees(notebook, 2, "The first half,")
    finish(chat)
    sees_the_end(notebook, 2)
    notebook.execute(3)
    assert notebook.outputs(3)[0]["text"] == "completed The first half, and the second.\n"


def test_a_closed_tab_loses_nothing_of_a_cell_that_awaited(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    notebook = book(lab, guest, chat, "closed-cell.ipynb", AWAITING, "%mesh last")
    notebook.run(1)
    sees(notebook, 1, "The first half,")
    guest.another()
    finish(chat)
    notebook = guest.open(lab, "closed-cell.ipynb")
    notebook.execute(2)
    sees_the_end(notebook, 2)


def test_a_killed_kernel_leaves_what_had_come(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "killed.ipynb", BACKGROUND, "%load_ext mesh_nb\n%mesh last")
    notebook.execute(1)
    sees(notebook, 1, "The first half,")
    os.kill(int(notebook.outputs(0)[-1]["text"].split()[-1]), signal.SIGKILL)
    notebook.output(1).get_by_text("Kernel gone").wait_for()
    sees(notebook, 1, "The first half,")
    assert not notebook.output(1).get_by_role("button", name="Stop").count()
    assert "<code>%mesh show 2" in notebook.outputs(1)[0]["data"]["text/html"]
    notebook.wait("return panel.sessionContext.session?.kernel?.status === 'idle'")
    notebook.execute(2)
    (output,) = notebook.outputs(2)
    assert "The first half," in output["data"]["text/plain"]
    assert "The process of this run ended before the run did." in output["data"]["text/html"]


def test_run_all_during_a_run_waits_its_turn(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "all.ipynb", AWAITING, SAID, "again = 'the last cell'; again")
    notebook.run(1)
    sees(notebook, 1, "The first half,")
    notebook.run_all()
    assert not notebook.done(1)
    finish(chat)
    notebook.wait_done(3)
    sees_the_end(notebook, 1)
    assert notebook.outputs(2)[0]["text"] == "completed The first half, and the second.\n"
    assert len(chat.requests) == 2
    assert [bool(notebook.outputs(index)) for index in (1, 2, 3)] == [True, True, True]


def test_stop_during_run_all_leaves_the_cells_below_alone(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    notebook = book(lab, guest, chat, "all-stop.ipynb", AWAITING, "print('reached')")
    notebook.run_all()
    sees(notebook, 1, "The first half,")
    notebook.output(1).get_by_role("button", name="Stop").click()
    notebook.wait("return book.widgets[1].model.executionState !== 'running'")
    notebook.wait("return panel.sessionContext.session.kernel.status === 'idle'")
    assert notebook.outputs(2) == []


def test_an_interrupt_while_a_run_waits_for_an_answer(lab: LabServer, guest: Visit) -> None:
    notebook = guest.open(lab, lab.write("ask-stop.ipynb", ASKING, "print(mesh_nb.runs()[0].status)"))
    notebook.run(0)
    notebook.output(0).get_by_role("button", name="Approve", exact=True).wait_for()
    notebook.interrupt()
    notebook.wait_done(0)
    notebook.output(0).get_by_role("button", name="Approve", exact=True).wait_for(state="detached")
    shown, error = notebook.outputs(0)
    assert WIDGET not in shown["data"]
    assert "Send this letter?" in shown["data"]["text/plain"]
    assert error["ename"] == "MeshInterrupted"
    notebook.execute(1)
    assert notebook.outputs(1)[0]["text"] == "cancelled\n"


def test_a_cell_that_is_deleted_while_it_runs(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "deleted.ipynb", BACKGROUND, "%mesh last", SAID)
    notebook.execute(1)
    sees(notebook, 1, "The first half,")
    notebook.js(
        "book.activeCellIndex = 1; book.deselectAll();"
        "await app.commands.execute('notebook:delete-cell'); return null"
    )
    notebook.execute(1)
    sees(notebook, 1, "The first half,")
    finish(chat)
    sees_the_end(notebook, 1)
    notebook.execute(2)
    assert notebook.outputs(2)[0]["text"] == "completed The first half, and the second.\n"


def test_an_awaiting_cell_that_is_deleted(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    notebook = book(lab, guest, chat, "deleted-cell.ipynb", AWAITING, "%mesh last", SAID)
    notebook.run(1)
    sees(notebook, 1, "The first half,")
    notebook.js(
        "book.activeCellIndex = 1; book.deselectAll();"
        "await app.commands.execute('notebook:delete-cell'); return null"
    )
    finish(chat)
    notebook.execute(1)
    sees(notebook, 1, "The first half, and the second.")
    notebook.execute(2)
    assert notebook.outputs(2)[0]["text"] == "completed The first half, and the second.\n"
