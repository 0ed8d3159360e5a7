from __future__ import annotations

from pathlib import Path

import pytest

from mesh_nb.core.errors import ConfigurationError
from mesh_nb.notebook._settings import default_model, required_model


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESH_MODEL", raising=False)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")


def setting(text: str) -> None:
    Path("../../pyproject.toml").write_text(text)


def test_the_environment_wins_over_the_project(monkeypatch: pytest.MonkeyPatch):
    setting("[tool.mesh_nb]\nmodel = 'gpt-5'\n")
    assert default_model() == "gpt-5"
    monkeypatch.setenv("MESH_MODEL", "demo")
    assert default_model() == "demo"


def test_without_a_model_the_error_says_what_to_set():
    assert default_model() is None
    with pytest.raises(ConfigurationError, match=r"MESH_MODEL.*pyproject\.toml.*-m demo"):
        required_model()


@pytest.mark.parametrize("text", ["[tool.mesh_nb]\nmodel = 5\n", "[tool.mesh_nb\n"])
def test_an_unusable_project_file_is_named(text: str):
    setting(text)
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        default_model()
