"""What `%mesh` does, in an IPython shell without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_lists import rich
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.errors import InputError, RunNotFoundError
from mesh_nb.notebook import _settings, magics


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MESH_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    magics.load(shell)
    yield shell
    for name in _settings.NAMES:
        _settings.configure(name, None)
    magics.unload(shell)
    InteractiveShell.clear_instance()


def mesh(shell: Any, line: str) -> Any:
    return shell.run_line_magic("mesh", line)


def logged(run_id: str, **header: Any) -> None:
    log = FileBackend().open(run_id, header)
    for event in rich(run_id=run_id):
        log.append(event)
    log.close()


def test_the_listing_names_every_command(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mesh(shell, "")
    text = capsys.readouterr().out
    for name in ("last", "runs", "show", "stop", "pending", "cost", "models", "graph", "config", "strip"):
        assert f"%mesh {name}" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("csot", "Did you mean %mesh cost"),
        ("show", "name a run"),
        ("graph nothing", "no variable"),
        ("graph text", "str is not a graph"),
        ("config modle", "Did you mean 'model'"),
        ("pending now", "unexpected 'now'"),
        ("cost 7d 3d", "unexpected '3d'"),
        ("cost project other", "unexpected 'other'"),
        ("cost --project", "unexpected '--project'"),
        ("runs many", "as a number"),
        ("runs 0", "above 0"),
        ("cost projcet", "did you mean %mesh cost project"),
        ("cost a.ipynb", "no model was called from a notebook 'a.ipynb'"),
        ("strip", "name a file"),
        ("strip nothing.ipynb", "no such file"),
        ("strip 'a b", "no closing quotation"),
    ],
)
def test_what_cannot_be_done_is_one_line(shell: Any, line: str, message: str) -> None:
    shell.user_ns["text"] = "x"
    with pytest.raises(UsageError, match=message) as error:
        mesh(shell, line)
    assert "\n" not in str(error.value)


def test_show_gives_a_run_of_the_log(shell: Any) -> None:
    logged("one")
    assert mesh(shell, "show one").text == "x"
    with pytest.raises(RunNotFoundError, match="Did you mean 'one'"):
        mesh(shell, "show onw")


def test_cost_of_a_project_a_run_and_a_time(shell: Any) -> None:
    logged("one")
    logged("two", notebook="a.ipynb")
    report = mesh(shell, "cost project")
    assert report.cost_usd == pytest.approx(0.02)
    assert "This project: $0.0200" in repr(report)
    assert mesh(shell, "cost two").cost_usd == pytest.approx(0.01)
    assert mesh(shell, "cost project 7d").cost_usd == pytest.approx(0.02)
    with pytest.raises(InputError, match="7d"):
        mesh(shell, "cost project 7x")
    assert mesh(shell, "cost 2020-01-01T10:00 project").cost_usd == pytest.approx(0.02)


def test_cost_of_a_notebook_by_its_name(shell: Any) -> None:
    logged("one", notebook="a.ipynb")
    logged("two", notebook="notes/b.ipynb")
    report = mesh(shell, "cost notes/b.ipynb")
    assert list(report.costs.run_id) == ["two"]
    assert repr(report).startswith("notes/b.ipynb: $0.0100")
    assert list(mesh(shell, "cost b.ipynb").costs.run_id) == ["two"]
    assert repr(mesh(shell, "cost a.ipynb 7d")).startswith("a.ipynb, last 7d: ")
    assert repr(mesh(shell, "cost 2020-01-01 a.ipynb")).startswith("a.ipynb, since 2020-01-01: $0.0100")
    with pytest.raises(UsageError, match=r"Did you mean 'a\.ipynb'"):
        mesh(shell, "cost aa.ipynb")


def test_cost_of_a_project_keeps_cells_of_different_notebooks_apart(shell: Any) -> None:
    for number, notebook in enumerate(("a.ipynb", "b.ipynb", "b.ipynb", None)):
        header = {"notebook": notebook, "cell": "In [3]", "execution": "In [3]"} if notebook else {}
        logged(f"r{number}", **header)
    report = mesh(shell, "cost project")
    assert [name for name, _ in report.sections] == ["By notebook", "By cell", "By model"]
    text = repr(report)
    assert [line.split()[:4] for line in text.splitlines() if "In [3]" in line][:2] == [
        ["b.ipynb", "In", "[3]", "2"],
        ["a.ipynb", "In", "[3]", "1"],
    ]
    assert "outside a notebook" in text
    assert list(report.df.cell[:2]) == ["In [3]", "In [3]"]


def test_cost_without_a_notebook_is_that_of_the_process(shell: Any) -> None:
    logged("20200101T000000000000-00000000")
    assert "Used by this process" in repr(mesh(shell, "cost"))


def test_config_sets_the_model_of_cells(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mesh(shell, "config")
    assert "model = not set" in capsys.readouterr().out
    mesh(shell, "config model demo")
    assert _settings.required_model() == "demo"
    Path("pyproject.toml").write_text("[tool.mesh_nb]\nmodel = 'gpt-5'\nsystem = 'Be brief.'\n")
    mesh(shell, "config")
    out = capsys.readouterr().out
    assert "model = demo" in out
    assert "system = Be brief." in out
    mesh(shell, "config model default")
    assert _settings.default_model() == "gpt-5"


def test_a_cell_uses_the_configured_system_prompt(shell: Any) -> None:
    mesh(shell, "config model demo")
    _settings.configure("system", "Answer in French.")
    run = shell.run_cell_magic("mesh", "", "hi")
    assert run.graph.nodes["llm"].system_prompt == "Answer in French."
    assert run.status == "completed"


def test_graph_gives_a_graph(shell: Any) -> None:
    graph = mesh_nb.StateGraph().add_node("n", lambda: 1).set_entry_point("n")
    shell.user_ns["g"] = graph
    assert mesh(shell, "graph g") is graph
    run = graph.run_sync("hi")
    assert mesh(shell, "graph") is run.graph
    assert mesh(shell, "pending") is None
