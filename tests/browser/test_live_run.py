"""A run in the page: what a reader sees while it streams, how it is stopped, and what stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from gated_chat import ChatServer, citation, gate, image, reasoning, text
from lab import LabServer, Notebook, Visit, until
from PIL import Image

WIDGET = "application/vnd.jupyter.widget-view+json"
FORMS = {"text/html", "text/markdown", "text/plain", "application/vnd.mesh.run+json"}
SENTENCE = "The harbour opened in 1869."
QUOTE = "opened to ships in the autumn of 1869"


def png() -> bytes:
    from io import BytesIO

    out = BytesIO()
    Image.new("RGB", (64, 40), (30, 110, 190)).save(out, "png")
    return out.getvalue()


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def book(lab: LabServer, guest: Visit, name: str, base_url: str, *cells: str) -> Notebook:
    """Open a notebook whose first cell loads the extension and points it at a local server."""
    first = f"%env OPENAI_BASE_URL={base_url}\n%load_ext mesh_nb"
    notebook = guest.open(lab, lab.write(name, first, *cells))
    notebook.execute(0)
    return notebook


def bundle(notebook: Notebook, index: int) -> dict[str, Any]:
    """The mime bundle of a cell's only output."""
    (output,) = notebook.outputs(index)
    return output["data"]


def test_a_cell_streams_visibly_and_freezes_when_it_ends(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    chat.models["m"] = [text("First **words**"), gate("rest"), text(" and the rest.")]
    notebook = book(lab, guest, "stream.ipynb", chat.base_url, "%%mesh -m m\nTell me {about} this.")
    notebook.run(1)
    out = notebook.output(1)
    out.get_by_text("First words", exact=True).wait_for()
    out.get_by_role("button", name="Stop").wait_for()
    assert not notebook.done(1)
    assert WIDGET in bundle(notebook, 1)
    chat.open("rest")
    notebook.wait_done(1)
    out.get_by_text("First words and the rest.").wait_for()
    assert set(bundle(notebook, 1)) == FORMS
    assert out.get_by_role("button", name="Stop").count() == 0
    assert chat.requests[0]["messages"][-1]["content"] == "Tell me {about} this."


def test_reasoning_folds(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.models["m"] = [
        reasoning("Weigh the tides."),
        gate("answer"),
        text("Half past four."),
        gate("end"),
    ]
    notebook = book(lab, guest, "reasoning.ipynb", chat.base_url, "%%mesh -m m\nWhen?")
    notebook.run(1)
    out = notebook.output(1)
    thoughts, summary = out.get_by_text("Weigh the tides."), out.locator("details.reasoning summary")
    thoughts.wait_for()
    chat.open("answer")
    out.get_by_text("Half past four.").wait_for()
    thoughts.wait_for(state="hidden")
    summary.click()
    thoughts.wait_for()
    summary.click()
    thoughts.wait_for(state="hidden")
    chat.open("end")
    notebook.wait_done(1)
    frozen = out.locator("details")
    frozen.wait_for()
    assert not thoughts.is_visible()
    frozen.locator("summary").click()
    thoughts.wait_for()


def test_a_citation_opens(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    url = "https://harbour.example/history"
    chat.models["m"] = [
        text(SENTENCE),
        citation(url, "Harbour history", 0, len(SENTENCE), QUOTE),
        text(" It closed in 1974."),
        gate("end"),
    ]
    notebook = book(lab, guest, "citation.ipynb", chat.base_url, "%%mesh -m m\nWhen?")
    notebook.run(1)
    out = notebook.output(1)
    chip = out.get_by_role("button", name="Source 1")
    chip.wait_for()
    assert not out.get_by_text(QUOTE).is_visible()
    chip.click()
    out.get_by_text(QUOTE).wait_for()
    card = out.get_by_role("note").get_by_role("link", name="Harbour history")
    card.wait_for()
    assert card.get_attribute("href") == url
    assert card.get_attribute("target") == "_blank"
    assert "noopener" in (card.get_attribute("rel") or "")
    chat.open("end")
    notebook.wait_done(1)
    listed = out.locator("ol li a")
    listed.wait_for()
    assert listed.get_attribute("href") == url


def test_an_image_shows(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.models["m"] = [text("Here it is."), image(png()), gate("end")]
    notebook = book(lab, guest, "image.ipynb", chat.base_url, "%%mesh -m m\nDraw.")
    notebook.run(1)
    img = notebook.output(1).locator("img")
    img.wait_for()
    loaded = "e => e.decode().then(() => [e.naturalWidth, e.naturalHeight])"
    assert img.evaluate(loaded) == [64, 40]
    notebook.output(1).get_by_role("button", name="Download").wait_for()
    chat.open("end")
    notebook.wait_done(1)
    notebook.output(1).locator("img[src^='data:image/png']").wait_for()
    assert img.evaluate(loaded) == [64, 40]


def streaming(lab: LabServer, guest: Visit, replay: Any, name: str) -> Notebook:
    """A cell whose server has far more than 30 s of tokens to send, some of them already in the page."""
    cell = "%%mesh -m synthetic-4000@delay=0.02 -o run\nGo on."
    notebook = book(lab, guest, name, replay.base_url, cell, "print(run.status, run.text[:10])")
    notebook.run(1)
    notebook.output(1).get_by_text("tok20 ").first.wait_for()
    assert not notebook.done(1)
    return notebook


def assert_stopped(notebook: Notebook, replay: Any) -> None:
    """The cell ended, the server saw the client go, and what had come is kept."""
    notebook.wait_done(1)
    until(lambda: replay.stats["client_disconnects"] == 1, "the disconnect, at the server")
    assert replay.stats["completed"] == 0
    assert replay.requests[-1]["events"] < 2500
    notebook.output(1).get_by_text("tok20 ").first.wait_for()
    notebook.execute(2)
    assert notebook.outputs(2)[0]["text"] == "cancelled tok0 tok1 \n"


def test_stop_ends_the_cell_and_the_stream(lab: LabServer, guest: Visit, replay: Any) -> None:
    notebook = streaming(lab, guest, replay, "stop.ipynb")
    notebook.output(1).get_by_role("button", name="Stop").click()
    assert_stopped(notebook, replay)


def test_a_kernel_interrupt_ends_the_cell_and_the_stream(lab: LabServer, guest: Visit, replay: Any) -> None:
    notebook = streaming(lab, guest, replay, "interrupt.ipynb")
    notebook.interrupt()
    assert_stopped(notebook, replay)


@pytest.fixture
def saved(lab: LabServer, guest: Visit, chat: ChatServer) -> str:
    """A notebook with an answer, saved, whose kernel has been shut down."""
    chat.models["m"] = [reasoning("Count."), text("**Forty-two** is the answer."), image(png())]
    notebook = book(lab, guest, "saved.ipynb", chat.base_url, "%%mesh -m m\nWhat?")
    notebook.execute(1)
    notebook.output(1).get_by_text("Forty-two").wait_for()
    notebook.save()
    notebook.shutdown_kernel()
    return notebook.name


def assert_readable(notebook: Notebook) -> None:
    out = notebook.output(1)
    out.get_by_text("Forty-two is the answer.").wait_for()
    assert out.locator("img").evaluate("e => e.decode().then(() => e.naturalWidth)") == 64
    body = notebook.page.locator("body").inner_text()
    for complaint in ("model not found", "Error displaying widget", "Loading widget"):
        assert complaint not in body


def test_a_saved_answer_is_there_without_its_kernel(lab: LabServer, guest: Visit, saved: str) -> None:
    assert_readable(guest.another().open(lab, saved))
    (output,) = lab.read(saved).cells[1].outputs
    assert set(output["data"]) == FORMS


def test_an_untrusted_copy_reads_as_well(lab: LabServer, guest: Visit, saved: str) -> None:
    shutil.copy(lab.workspace / saved, lab.workspace / "copy.ipynb")
    copy = lab.read("copy.ipynb")
    copy.cells.append(nbformat.v4.new_markdown_cell("changed, so nobody signed it"))
    nbformat.write(copy, lab.workspace / "copy.ipynb")
    assert_readable(guest.another().open(lab, "copy.ipynb"))


def test_a_reloaded_page_shows_the_whole_run(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.models["m"] = [text("Before the reload."), gate("rest"), text(" After it."), gate("end")]
    notebook = book(lab, guest, "reload.ipynb", chat.base_url, "%%mesh -m m\nGo.")
    notebook.run(1)
    notebook.output(1).get_by_text("Before the reload.").wait_for()
    notebook.save()
    guest.page.reload()
    notebook.wait_ready(kernel=False)
    notebook.output(1).get_by_text("Before the reload.").wait_for()
    chat.open("rest")
    notebook.output(1).get_by_text("Before the reload. After it.").wait_for()
    chat.open("end")
    notebook.output(1).get_by_role("button", name="Stop").wait_for(state="detached")
    notebook.output(1).get_by_text("Before the reload. After it.").wait_for()
