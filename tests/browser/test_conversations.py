"""A chat and a comparison in the page: what a reader types, clicks and sees, and what the notebook keeps."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from gated_chat import ChatServer, gate, text
from lab import LabServer, Notebook, Visit, until
from playwright.sync_api import Locator

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def book(lab: LabServer, guest: Visit, name: str, base_url: str, *cells: str) -> Notebook:
    first = f"%env OPENAI_BASE_URL={base_url}\n%load_ext mesh_nb\nimport mesh_nb as mesh"
    notebook = guest.open(lab, lab.write(name, first, *cells))
    notebook.execute(0)
    return notebook


def box(out: Locator) -> Locator:
    found = out.get_by_role("textbox", name="Message")
    found.wait_for()
    return found


def test_a_chat_streams_stops_edits_and_keeps_its_transcript(
    lab: LabServer, guest: Visit, server: ChatServer
) -> None:
    server.models["m"] = [text("First words"), gate("rest"), text(" and the rest.")]
    notebook = book(lab, guest, "chat.ipynb", server.base_url, 'talk = mesh.chat("m")\ntalk', "talk.close()")
    notebook.execute(1)
    out = notebook.output(1)
    box(out).fill("Is it <b>open</b>?")
    box(out).press("Enter")
    out.get_by_text("First words", exact=True).wait_for()
    server.open("rest")
    out.get_by_text("First words and the rest.").wait_for()
    out.get_by_role("button", name="Edit last").wait_for()
    assert out.get_by_text("Is it <b>open</b>?").is_visible()

    server.models["m"] = [text("Second try"), gate("never")]
    box(out).press("ArrowUp")
    box(out).fill("Is it closed?")
    out.get_by_role("button", name="Ask again").click()
    out.get_by_text("Second try").wait_for()
    assert not out.get_by_text("First words").count()
    out.locator(".composer").get_by_role("button", name="Stop").click()
    out.get_by_role("button", name="Edit last").wait_for()
    assert out.get_by_text("Second try").is_visible()

    notebook.execute(2)
    box_gone = out.get_by_role("textbox", name="Message")
    box_gone.wait_for(state="detached")
    saved = [output["data"] for output in notebook.outputs(1)]
    assert not any(WIDGET in data for data in saved)
    assert "Second try" in saved[0]["text/html"]
    assert "Is it closed?" in saved[0]["text/plain"]


def test_an_attachment_is_chosen_and_sent(lab: LabServer, guest: Visit, server: ChatServer) -> None:
    server.models["m"] = [text("Read it.")]
    notebook = book(lab, guest, "attach.ipynb", server.base_url, 'talk = mesh.chat("m")\ntalk')
    notebook.execute(1)
    out = notebook.output(1)
    box(out).fill("What is in it?")
    out.locator("input[type=file]").set_input_files(
        {"name": "table.csv", "mimeType": "text/csv", "buffer": b"city,people\nOslo,709037\n"}
    )
    out.get_by_text("table.csv · 24 B").wait_for()
    out.get_by_role("button", name="Send").click()
    out.get_by_text("Read it.").wait_for()
    out.get_by_role("button", name="Edit last").wait_for()
    assert out.get_by_text("table.csv").is_visible()
    assert "Oslo,709037" in json.dumps(server.requests[-1])


def test_answers_stream_side_by_side_and_a_vote_names_them(
    lab: LabServer, guest: Visit, server: ChatServer
) -> None:
    server.models["one"] = [text("Alpha"), gate("rest"), text(" ends.")]
    server.models["two"] = [text("Beta"), gate("rest"), text(" ends.")]
    cell = 'pair = mesh.compare("Who?", ["one", "two"], blind=True)'
    votes = 'print(*sorted(pair.to_pandas()["vote"]))'
    notebook = book(lab, guest, "compare.ipynb", server.base_url, cell, votes)
    notebook.execute(1)
    out = notebook.output(1)
    for word in ("Alpha", "Beta"):
        out.get_by_text(word, exact=True).wait_for()
    assert not out.get_by_text("two", exact=True).count()
    server.open("rest")
    out.get_by_role("button", name="A is best").wait_for()
    answers, vote = (output["data"] for output in notebook.outputs(1))
    assert WIDGET not in answers
    assert "Alpha ends." in answers["text/plain"]
    assert WIDGET in vote
    out.get_by_role("button", name="A is best").click()
    out.get_by_role("button", name="A is best").wait_for(state="detached")
    out.get_by_text("two", exact=True).first.wait_for()
    assert not any(WIDGET in output["data"] for output in notebook.outputs(1))
    notebook.execute(2)
    notebook.output(2).get_by_text("lost won").wait_for()


def test_a_chat_whose_kernel_is_gone_is_a_transcript(
    lab: LabServer, guest: Visit, server: ChatServer
) -> None:
    server.models["m"] = [text("It opened in 1869.")]
    notebook = book(
        lab,
        guest,
        "gone.ipynb",
        server.base_url,
        'import os\ntalk = mesh.chat("m")\ntalk',
        "print(os.getpid())",
    )
    notebook.execute(1, 2)
    out = notebook.output(1)
    box(out).fill("When did it open?")
    box(out).press("Enter")
    out.get_by_text("It opened in 1869.").wait_for()
    out.get_by_role("button", name="Edit last").wait_for()
    assert not out.get_by_text("Run this cell to go on").is_visible()
    notebook.save()

    notebook = guest.another().open(lab, "gone.ipynb")  # the kernel lives: so does the box
    box(notebook.output(1)).fill("Are you sure?")
    box(notebook.output(1)).press("Enter")
    until(lambda: len(server.requests) == 2, "the second question")
    notebook.output(1).get_by_role("button", name="Edit last").wait_for()
    notebook.output(1).get_by_text("It opened in 1869.").nth(1).wait_for()

    os.kill(int(notebook.outputs(2)[0]["text"]), signal.SIGKILL)
    notebook.output(1).get_by_role("textbox", name="Message").wait_for(state="detached")
    notebook.output(1).get_by_text("Run this cell to go on").wait_for()
    notebook.save()
    notebook = guest.another().open(lab, "gone.ipynb")
    out = notebook.output(1)
    out.get_by_text("It opened in 1869.").wait_for()
    out.get_by_text("Run this cell to go on").wait_for()
    assert not any(WIDGET in output["data"] for output in notebook.outputs(1))
    body = notebook.page.locator("body").inner_text()
    assert "model not found" not in body
    assert "Error displaying widget" not in body
