"""`%mesh budget`: what it sets, shows and takes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from mesh_nb import spending
from mesh_nb.core import _ledger
from mesh_nb.core.errors import InputError, UnknownNameError
from mesh_nb.notebook import _complete, magics


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spending, "_ledger", _ledger.Ledger())
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    magics.load(shell)
    yield shell
    spending.clear()
    magics.unload(shell)
    InteractiveShell.clear_instance()


def said(shell: Any, capsys: pytest.CaptureFixture[str], line: str) -> str:
    capsys.readouterr()
    shell.run_line_magic("mesh", f"budget {line}")
    return capsys.readouterr().out


def test_it_sets_shows_and_clears(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "%mesh budget 2.50 --per day" in said(shell, capsys, "")
    assert said(shell, capsys, "2.50 --per day") == "This project has spent $0 of $2.50 today.\n"
    both = said(shell, capsys, "--project --per week $20")
    assert both.splitlines()[1] == "This project has spent $0 of $20.00 this week."
    assert 'budget = {usd = 20, per = "week"} under [tool.mesh_nb]' in both.splitlines()[2]
    assert said(shell, capsys, "").splitlines() == both.splitlines()[:2]
    assert said(shell, capsys, "--clear --project") == both.splitlines()[0] + "\n"
    assert said(shell, capsys, "3").endswith("of $3.00 in this session.\n")
    assert "No budget is set" in said(shell, capsys, "--clear")
    assert not spending.limits()


def test_that_of_the_project_is_shown_with_its_source(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pyproject.toml").write_text("[tool.mesh_nb]\nbudget = {usd = 5, per = 'month'}\n")
    text = said(shell, capsys, "")
    assert text.startswith("This project has spent $0 of $5.00 this month. (set in ")
    assert "pyproject.toml" in text


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("much", UsageError, "say US dollars"),
        ("-1", InputError, "above 0"),
        ("1 --per year", UnknownNameError, "month"),
        ("1 --per", UnknownNameError, "day"),
        ("1 --pre day", UsageError, "Did you mean --per"),
        ("--claer", UsageError, "Did you mean --clear"),
        ("--per day", UsageError, "needs an amount"),
        ("--clear 5", UsageError, "stands alone"),
        ("2 --per=dya", UnknownNameError, "Did you mean 'day'"),
    ],
)
def test_what_it_does_not_know_is_one_line(
    shell: Any, capsys: pytest.CaptureFixture[str], line: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        said(shell, capsys, line)
    assert not spending.limits()


def test_small_amounts_and_signs_of_equality_are_read(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(shell, capsys, "0.00001 --per=day").endswith("of $0.00001 today.\n")
    assert said(shell, capsys, "0.005").endswith("of $0.0050 in this session.\n")


def test_help_is_what_the_command_takes(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "%mesh budget [USD [--per day] [--project] | --clear]" in said(shell, capsys, "--help")
    assert not spending.limits()


def test_completion() -> None:
    assert _complete.matches("%mesh bud", {}, []) == ["budget"]
    assert "--per" in _complete.matches("%mesh budget 2 ", {}, [])
    assert _complete.matches("%mesh budget 2 --per d", {}, []) == ["day"]
