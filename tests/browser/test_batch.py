"""A batch in the page: how far it is, its Stop button, and what the notebook keeps of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from gated_chat import ChatServer, gate, text
from lab import LabServer, Visit, until

WIDGET = "application/vnd.jupyter.widget-view+json"
SETUP = "%env OPENAI_BASE_URL={}\nimport mesh_nb as mesh"
ASK = 'rows = mesh.batch("m", ["one", "two", "three"], concurrency=1)\nawait rows'


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def test_progress_is_seen_and_the_rows_are_saved(lab: LabServer, guest: Visit, server: ChatServer) -> None:
    server.models["m"] = [text("It <b>floats</b>."), gate("end")]
    notebook = guest.open(lab, lab.write("batch.ipynb", SETUP.format(server.base_url), ASK, "rows"))
    notebook.execute(0)
    notebook.run(1)
    out = notebook.output(1)
    out.get_by_text("0 of 3 rows complete · 1 running · 2 not started").wait_for()
    assert out.get_by_role("button", name="Stop").is_visible()
    server.open("end")
    notebook.wait_done(1)
    out.get_by_text("3 of 3 rows complete").wait_for()
    out.get_by_role("cell", name="It <b>floats</b>.").first.wait_for()
    notebook.execute(2)
    saved = [output["data"] for output in notebook.outputs(1)]
    assert len(saved) == 1
    assert WIDGET not in saved[0]
    assert "It &lt;b&gt;floats&lt;/b&gt;." in saved[0]["text/html"]
    assert "3 of 3 rows complete" in saved[0]["text/plain"]
    assert "rows complete" in json.dumps(notebook.outputs(2))


def test_stop_ends_the_runs_and_keeps_what_came(lab: LabServer, guest: Visit, server: ChatServer) -> None:
    server.models["m"] = [text("Half"), gate("never")]
    cell = 'rows = mesh.batch("m", ["one", "two", "three"], concurrency=2, cache=False)'
    waits = "print(rows.counts, rows.texts)"
    notebook = guest.open(lab, lab.write("stop.ipynb", SETUP.format(server.base_url), cell, waits))
    notebook.execute(0)
    notebook.execute(1)
    out = notebook.output(1)
    out.get_by_text("2 running").wait_for()
    until(lambda: len(server.requests) == 2, "two requests")
    out.get_by_role("button", name="Stop").click()
    out.get_by_text("2 cancelled · 1 not started").wait_for()
    notebook.execute(2)
    assert "{'cancelled': 2, 'not started': 1} ['Half', 'Half', '']" in json.dumps(notebook.outputs(2))
