"""Finding plug-ins by kind and name."""

from __future__ import annotations

from pathlib import Path

import pytest

import mesh_nb
from mesh_nb.core import plugins
from mesh_nb.core.errors import UnknownNameError


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registered", {})


def test_a_module_in_the_folder_is_a_plugin() -> None:
    assert {"tool", "condition"} <= set(plugins.names("node"))
    assert plugins.find("node", "tool").kind == "tool"
    assert not any(name.startswith("_") for kind in plugins.FOLDERS for name in plugins.names(kind))


@pytest.mark.parametrize("kind", sorted(plugins.FOLDERS))
def test_every_plugin_of_every_kind_is_found(kind: str) -> None:
    for name in plugins.names(kind):
        assert plugins.find(kind, name) is not None


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tool'"):
        plugins.find("node", "tol")
    with pytest.raises(UnknownNameError, match="Did you mean 'node'"):
        plugins.find("nod", "tool")


@pytest.mark.parametrize("name", ["_model_call", "..core.run", "tool.plugin", "", "os.path"])
def test_a_name_never_reaches_outside_the_folder(name: str) -> None:
    with pytest.raises(UnknownNameError):
        plugins.find("node", name)


def test_registering_again_replaces_and_wins_over_the_folder() -> None:
    @mesh_nb.register("node", "tool")
    class Mine: ...

    assert plugins.find("node", "tool") is Mine
    other = mesh_nb.register("node", "tool")(object())
    assert plugins.find("node", "tool") is other
    with pytest.raises(UnknownNameError):
        mesh_nb.register("nodes", "x")


def test_entry_points_of_installed_packages_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "theirs" not in plugins.names("node")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mesh_nb.nodes]\ntheirs = json:dumps\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "theirs" in plugins.names("node")
    assert plugins.find("node", "theirs").__name__ == "dumps"
