"""A notebook that is stripped for git: the answer and its cost stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from event_lists import rich

from mesh_nb.core.errors import InputError
from mesh_nb.notebook.freeze import MIME, freeze
from mesh_nb.notebook.live import RunWidget
from mesh_nb.notebook.strip import WIDGET_STATE, WIDGET_VIEW, strip


def notebook(*outputs: Any) -> Any:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=list(outputs))])
    nb.cells.append(nbformat.v4.new_markdown_cell("# Ä title"))
    return nb


def run_output(run_id: str = "one") -> Any:
    data, metadata = freeze(rich(run_id=run_id), run_id)
    return nbformat.v4.new_output("display_data", data, metadata=metadata)


def test_the_answer_and_the_cost_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook(run_output(), nbformat.v4.new_output("stream", text="said\n")), path)
    before = nbformat.read(path, as_version=4).cells[0].outputs[0]
    done = strip(path)
    after = nbformat.read(path, as_version=4)
    nbformat.validate(after)
    shown, said = after.cells[0].outputs
    assert done.outputs == 1
    assert done.after == path.stat().st_size < done.before
    assert MIME not in shown.data
    assert {k: v for k, v in before.data.items() if k != MIME} == dict(shown.data)
    assert set(shown.metadata.mesh_nb) <= {"status", "models", "usage", "cost_usd"}
    assert said.text == "said\n"
    assert "Ä title" in path.read_text("utf-8")


def test_two_equal_runs_are_stripped_to_the_same_bytes(tmp_path: Path) -> None:
    for name, run_id in (("a.ipynb", "one"), ("b.ipynb", "two")):
        nb = notebook(run_output(run_id))
        for number, cell in enumerate(nb.cells):
            cell.id = f"cell-{number}"
        nbformat.write(nb, tmp_path / name)
        strip(tmp_path / name)
    assert (tmp_path / "a.ipynb").read_bytes() == (tmp_path / "b.ipynb").read_bytes()


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook(run_output()), path)
    strip(path)
    stamp = path.stat().st_mtime_ns
    assert strip(path).outputs == 0
    assert path.stat().st_mtime_ns == stamp


def test_dead_views_and_our_state_go_and_those_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    ours = {"text/plain": "mesh_nb run", WIDGET_VIEW: {"model_id": "m"}}
    other = {"text/plain": "IntSlider()", WIDGET_VIEW: {"model_id": "n"}}
    nb = notebook(*(nbformat.v4.new_output("display_data", data) for data in (ours, other)))
    widget = RunWidget(run_id="one")
    models = {"m": {"state": {"_anywidget_id": widget.get_state()["_anywidget_id"]}}, "n": {"state": {}}}
    nb.metadata["widgets"] = {WIDGET_STATE: {"state": models, "version_major": 2, "version_minor": 0}}
    nbformat.write(nb, path)
    strip(path)
    first, second = nbformat.read(path, as_version=4).cells[0].outputs
    assert WIDGET_VIEW not in first.data
    assert WIDGET_VIEW in second.data
    assert set(json.loads(path.read_text())["metadata"]["widgets"][WIDGET_STATE]["state"]) == {"n"}


@pytest.mark.parametrize("content", ["not json", "[]", '{"worksheets": []}'])
def test_what_is_no_notebook_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(content)
    with pytest.raises(InputError, match="is not a notebook"):
        strip(path)
    assert path.read_text() == content
