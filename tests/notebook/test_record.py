"""`%mesh record`: a tape for the cells that follow; in an IPython shell without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, text
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import mesh_nb as mesh
from mesh_nb.core import tape
from mesh_nb.notebook import _record, magics
from mesh_nb.notebook.freeze import freeze


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("MESH_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "MESH_TAPE", "MESH_TAPE_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    magics.load(shell)
    yield shell
    if _record._on is not None:
        _record.record("off")
    magics.unload(shell)
    InteractiveShell.clear_instance()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("Some words.")]
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server


def ask(shell: Any, question: str = "Why?") -> mesh.Run:
    return shell.run_cell_magic("mesh", "-m m", question)


def test_cells_are_recorded_and_then_replayed(
    shell: Any, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shell.run_line_magic("mesh", "record a.mesh-tape")
    said = capsys.readouterr().out
    first = ask(shell)
    shell.run_line_magic("mesh", "record off")
    assert tape.current() is None
    ask(shell)
    assert len(server.requests) == 2
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    capsys.readouterr()
    for mode in ("", " --mode none --speed 0", " --mode=none --speed=0"):
        shell.run_line_magic("mesh", f"record a.mesh-tape{mode}")
        assert ask(shell).text == first.text == "Some words."
    assert len(server.requests) == 2
    assert said == "a.mesh-tape is on.\n"


def test_a_mode_of_the_environment_counts_and_does_not_change_the_output(
    shell: Any, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    said: list[str] = []
    for mode in ("once", "none"):
        monkeypatch.setenv("MESH_TAPE_MODE", mode)
        shell.run_line_magic("mesh", "record a.mesh-tape --speed 0")
        said.append(capsys.readouterr().out.splitlines()[-1])
        ask(shell)
    shell.run_line_magic("mesh", "record")
    assert said[0] == said[1]
    assert "nothing is asked" in capsys.readouterr().out
    with pytest.raises(mesh.NodeExecutionError, match="has no such call"):
        ask(shell, "How?")
    shell.run_line_magic("mesh", "record a.mesh-tape --mode once")
    ask(shell, "How?")
    assert len(server.requests) == 2


def test_static_output_says_that_a_run_was_replayed(shell: Any, server: ChatServer):
    shell.run_line_magic("mesh", "record a.mesh-tape --speed 0")
    shown = [freeze(ask(shell).events)[0] for _ in range(2)]
    for kind in ("text/plain", "text/html"):
        assert "replayed" not in shown[0][kind]
        assert "replayed" in shown[1][kind]


def test_a_cell_that_is_run_again_puts_on_one_tape(shell: Any, server: ChatServer, tmp_path: Path):
    for _ in range(3):
        shell.run_line_magic("mesh", "record a.mesh-tape")
    shell.run_line_magic("mesh", "record b.mesh-tape")
    ask(shell)
    shell.run_line_magic("mesh", "record off")
    assert tape.current() is None
    assert (tmp_path / "b.mesh-tape").exists()
    assert not (tmp_path / "a.mesh-tape").exists()


def test_what_is_on_is_told(shell: Any, server: ChatServer, capsys: pytest.CaptureFixture[str]):
    shell.run_line_magic("mesh", "record")
    assert capsys.readouterr().out == "No tape is on.\n"
    shell.run_line_magic("mesh", "record 'my tape.mesh-tape'")
    ask(shell)
    shell.run_line_magic("mesh", "record")
    assert capsys.readouterr().out.endswith(
        "my tape.mesh-tape: what it has is replayed, the rest is recorded.\n"
    )


def test_texts_of_a_variable_are_hidden(shell: Any, server: ChatServer, tmp_path: Path):
    shell.user_ns["names"] = ["Jane Roe"]
    shell.run_line_magic("mesh", "record a.mesh-tape --redact names")
    ask(shell, "Who is Jane Roe?")
    assert "Jane" not in (tmp_path / "a.mesh-tape").read_text("utf-8")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("record off", "no tape is on"),
        ("record a b", "one tape at a time"),
        ("record a --mdoe once", "--mode"),
        ("record a --mode", "missing"),
        ("record a --mode onec", "'once'"),
        ("record a --speed fast", "number"),
        ("record a --mode none", "no tape"),
        ("record a --redact nothing", "nothing"),
        ("record --mode once", "name a file"),
    ],
)
def test_what_cannot_be_meant(shell: Any, line: str, said: str):
    with pytest.raises((UsageError, mesh.MeshError), match=said):
        shell.run_line_magic("mesh", line)
    assert tape.current() is None
