"""Options of `%%mesh` that change what is sent, and completion; in an IPython shell without a kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from support import Replay

import mesh_nb
from mesh_nb.core.errors import InputError, VariableResolutionError
from mesh_nb.notebook import magics
from mesh_nb.notebook.compare import Comparison


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in ("MESH_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    magics.load(shell)
    yield shell
    magics.unload(shell)
    InteractiveShell.clear_instance()


def ask(shell: Any, line: str, cell: str = "hi") -> Any:
    return shell.run_cell_magic("mesh", line, cell)


def complete(shell: Any, text: str) -> list[str]:
    """Return what a kernel answers to the front end's Tab."""
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(text, len(text))]


def test_show_sends_nothing_and_says_what_it_estimates(
    shell: Any, replay: Replay, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", replay.base_url)
    shell.user_ns["city"] = "Paris"
    assert ask(shell, "-m gpt-4o-mini --system 'Be brief.' --show", "Where is {{city}}?") is None
    out = capsys.readouterr().out
    assert "Nothing was sent" in out
    assert "openai/gpt-4o-mini (chat)" in out
    assert "system: Be brief." in out
    assert "user: Where is Paris?" in out
    assert "(estimates)" in out
    assert replay.stats["requests"] == 0
    assert list(mesh_nb.runs()) == []


def test_show_of_a_graph_names_every_node(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    graph = mesh_nb.StateGraph().add_node("first", None, node_type="llm", model="demo")
    graph.add_node("second", lambda: 1).set_entry_point("first").add_edge("first", "second")
    shell.user_ns["g"] = graph
    ask(shell, "-g g --show")
    out = capsys.readouterr().out
    assert "first: demo/demo" in out
    assert "the demo costs nothing" in out
    assert "second: " in out


def test_attach_takes_files_and_variables(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("note.txt").write_text("some words")
    shell.user_ns["table"] = pd.DataFrame({"a": [1, 2]})
    ask(shell, "-m demo --attach note.txt --attach table --show")
    out = capsys.readouterr().out
    assert "[note.txt, text/plain, 10 bytes]" in out
    assert "text/csv" in out
    assert ask(shell, "-m demo --attach note.txt").status == "completed"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-m demo --attach tabel", "Did you mean 'table'"),
        ("-m demo --attach no/such.pdf", "neither a file nor a variable"),
        ("-m demo --json Ansewr", "Did you mean 'Answer'"),
        ("-g g --json Answer", "--json goes with -m"),
        ("-m demo --budget much", "budget"),
        ("-m demo --atach x", "Did you mean --attach"),
    ],
)
def test_what_cannot_be_done_is_one_line(shell: Any, line: str, message: str) -> None:
    shell.user_ns |= {"table": 1, "Answer": dict, "g": mesh_nb.StateGraph()}
    with pytest.raises((UsageError, InputError, VariableResolutionError), match=message) as error:
        ask(shell, line)
    assert "\n" not in str(error.value)
    assert list(mesh_nb.runs()) == []


def test_json_gives_the_node_its_output_type(shell: Any) -> None:
    @dataclasses.dataclass
    class Answer:
        city: str

    shell.user_ns["Answer"] = Answer
    run = ask(shell, "-m demo --json Answer")
    assert isinstance(run.output["parsed"], Answer)


def test_budget_is_that_of_the_run(shell: Any, replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", replay.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with pytest.raises(mesh_nb.MeshError, match="budget"):
        ask(shell, "-m gpt-4o-mini --budget 0.0000001", "word " * 1000)
    assert replay.stats["requests"] == 0
    with pytest.raises(InputError, match="budget_usd"):
        ask(shell, "-m demo --budget -1")


def test_options_models_graphs_and_commands_are_completed(shell: Any) -> None:
    shell.user_ns["my_graph"] = mesh_nb.StateGraph()
    shell.user_ns["my_table"] = 5
    assert "--background" in complete(shell, "%%mesh --ba")
    assert "-m" in complete(shell, "%%mesh -")
    assert "demo" in complete(shell, "%%mesh -m de")
    assert "anthropic/" in complete(shell, "%%mesh --model anth")
    assert complete(shell, "%%mesh -g my") == ["my_graph"]
    assert "my_table" in complete(shell, "%%mesh --attach my_t")
    assert "cost" in complete(shell, "%mesh co")
    assert "config" in complete(shell, "%mesh co")
    assert "project" in complete(shell, "%mesh cost pro")
    assert "model" in complete(shell, "%mesh config mo")
    run = ask(shell, "-m demo")
    assert run.id in complete(shell, f"%mesh show {run.id[:8]}")


def test_unloading_takes_the_completion_away(shell: Any) -> None:
    magics.unload(shell)
    assert "--background" not in complete(shell, "%%mesh --ba")
    magics.load(shell)
    magics.load(shell)
    assert complete(shell, "%%mesh --backg").count("--background") == 1


def test_several_models_are_compared(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(shell, "-m demo,demo -o pair --budget 0.5")
    assert isinstance(found, Comparison)
    assert shell.user_ns["pair"] is found
    assert list(found.runs) == ["demo", "demo #2"]
    assert [run.status for run in found.runs.values()] == ["completed", "completed"]
    assert found.runs["demo"].events[0].metadata["budget"]["budget_usd"] == 0.25
    assert capsys.readouterr().out.count(found.runs["demo"].text.splitlines()[0]) == 2


def test_a_graph_is_compared_with_several_models(shell: Any) -> None:
    graph = mesh_nb.StateGraph().add_node("a", None, node_type="llm", model="gpt-5").set_entry_point("a")
    shell.user_ns["g"] = graph
    found = ask(shell, "-g g -m demo,demo --blind")
    assert {run.graph.nodes["a"].model for run in found.runs.values()} == {"demo"}
    assert found.blind
    assert set(found.runs) == {"A", "B"}


@pytest.mark.parametrize(
    ("line", "message"),
    [("-m demo,demo -s one", "-s goes with one model"), ("-m demo --blind", "--blind goes with several")],
)
def test_what_does_not_go_with_several_models(shell: Any, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(shell, line)


def test_show_of_several_models_shows_each(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(shell, "-m demo,demo --show") is None
    assert capsys.readouterr().out.count("Nothing was sent") == 2


def test_the_last_of_several_models_is_completed(shell: Any) -> None:
    assert "demo" in complete(shell, "%%mesh -m gpt-5,de")
