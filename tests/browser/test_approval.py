"""Questions of a run to the reader, answered by the buttons in the cell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gated_chat import ChatServer, gate, text
from lab import LabServer, Notebook, Visit

GRAPH = """
import mesh_nb
def send(input):
    return {"content": f"sent to {input['to']}"}
graph = mesh_nb.StateGraph("mailer")
graph.add_node("ask", None, node_type="approval", message="Send this letter?")
graph.add_node("send", send)
graph.add_edge("ask", "send")
graph.set_entry_point("ask")
letter = {"to": "ana", "body": "<b>Dear Ana</b>"}
"""
AWAITING = "run = await graph.run(letter)\nrun"
BACKGROUND = "run = graph.run(letter, background=True)"


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def asking(lab: LabServer, guest: Visit, name: str, cell: str) -> Notebook:
    """A notebook whose second cell runs a graph that asks, and has asked."""
    read = "print(run.status, run.text or run.output)"
    notebook = guest.open(lab, lab.write(name, GRAPH, cell, read))
    notebook.execute(0)
    notebook.run(1)
    notebook.output(1).get_by_text("Send this letter?").wait_for()
    return notebook


def said(notebook: Notebook) -> str:
    notebook.execute(2)
    return notebook.outputs(2)[0]["text"]


def frozen(notebook: Notebook) -> str:
    notebook.output(1).get_by_role("button", name="Stop").wait_for(state="detached")
    (output,) = notebook.outputs(1)
    return output["data"]["text/plain"]


def test_approve_in_an_awaiting_cell(lab: LabServer, guest: Visit) -> None:
    notebook = asking(lab, guest, "approve.ipynb", AWAITING)
    out = notebook.output(1)
    out.get_by_text("<b>Dear Ana</b>").first.wait_for()
    assert not notebook.done(1)
    out.get_by_role("button", name="Approve", exact=True).click()
    notebook.wait_done(1)
    assert "Approved" in frozen(notebook)
    assert said(notebook) == "completed sent to ana\n"


def test_approve_a_run_of_the_background(lab: LabServer, guest: Visit) -> None:
    notebook = asking(lab, guest, "background.ipynb", BACKGROUND)
    notebook.wait_done(1)
    notebook.output(1).get_by_role("button", name="Approve", exact=True).click()
    assert "Approved" in frozen(notebook)
    assert said(notebook) == "completed sent to ana\n"


def test_what_is_approved_can_be_edited_by_keyboard(lab: LabServer, guest: Visit) -> None:
    notebook = asking(lab, guest, "edit.ipynb", AWAITING)
    out = notebook.output(1)
    out.get_by_role("button", name="Edit").focus()
    guest.page.keyboard.press("Enter")
    area = out.get_by_role("textbox", name="What to go on with")
    area.fill('{"to": ')
    out.get_by_text("This is not JSON yet").wait_for()
    assert out.get_by_role("button", name="Approve with changes").is_disabled()
    area.fill('{"to": "bo"}')
    area.press("Control+Enter")
    notebook.wait_done(1)
    assert said(notebook) == "completed sent to bo\n"


def test_a_denial_says_why(lab: LabServer, guest: Visit) -> None:
    notebook = asking(lab, guest, "deny.ipynb", BACKGROUND)
    out = notebook.output(1)
    out.get_by_role("button", name="Deny").click()
    box = out.get_by_role("textbox", name="Why it is denied")
    box.fill("not before Monday")
    box.press("Enter")
    out.get_by_text("not before Monday").first.wait_for()
    assert "not before Monday" in frozen(notebook)
    assert said(notebook).startswith("failed")


def test_the_graph_shows_where_a_run_is_and_filters_what_is_shown(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    chat.models["m"] = [text("A plan."), gate("end")]
    cells = (
        f"%env OPENAI_BASE_URL={chat.base_url}\nimport mesh_nb",
        "graph = mesh_nb.StateGraph('two')\n"
        "graph.add_node('first', lambda input: {'content': 'Ready.'})\n"
        "graph.add_node('plan', None, node_type='llm', model='m')\n"
        "graph.add_edge('first', 'plan')\ngraph.set_entry_point('first')\nrun = await graph.run('go')",
    )
    notebook = guest.open(lab, lab.write("graph.ipynb", *cells))
    notebook.execute(0)
    notebook.run(1)
    out = notebook.output(1)
    out.get_by_text("A plan.").wait_for()
    out.get_by_role("button", name="first, function, done").or_(
        out.locator("[data-node=first]")
    ).first.wait_for()
    plan = out.locator("[data-node=plan]")
    assert "running" in (plan.get_attribute("aria-label") or "")
    out.locator("[data-node=first]").click()
    out.get_by_text("A plan.").wait_for(state="detached")
    out.get_by_role("button", name="Show all").click()
    out.get_by_text("A plan.").wait_for()
    chat.open("end")
    notebook.wait_done(1)


def test_a_formula_is_typeset_by_the_second_module(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.models["m"] = [text("So $\\frac{a}{b}$ it is."), gate("end")]
    first = f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb"
    notebook = guest.open(lab, lab.write("math.ipynb", first, "%%mesh -m m\nGo."))
    notebook.execute(0)
    notebook.run(1)
    notebook.output(1).locator("mfrac").wait_for()
    chat.open("end")
    notebook.wait_done(1)
