"""Where a run is shown live and where as one static output; real kernels are in tests/notebook."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher, DisplayPublisher

from mesh_nb.core import plugins
from mesh_nb.notebook import _cell


def shell(stdin: bool | None, publisher: type[Any] = DisplayPublisher) -> Any:
    content = {} if stdin is None else {"allow_stdin": stdin}
    parent = {"header": {"msg_id": "m"}, "content": content}
    kernel = SimpleNamespace(get_parent=lambda: parent, _allow_stdin=False)
    return SimpleNamespace(display_pub=publisher(), kernel=kernel, execution_count=1)


@pytest.mark.parametrize(
    ("environment", "stdin", "live"),
    [
        ({}, True, True),
        ({}, False, False),
        ({}, None, False),
        ({"PYTEST_VERSION": "9"}, True, False),
        ({"SERVER_SOFTWARE": "voila/0.5.13"}, False, True),
        ({"SERVER_SOFTWARE": "jupyter"}, False, False),
        ({"MESH_NB_LIVE": "1", "PYTEST_VERSION": "9"}, False, True),
        ({"MESH_NB_LIVE": "off", "SERVER_SOFTWARE": "voila"}, True, False),
        ({"MESH_NB_LIVE": ""}, True, True),
    ],
)
def test_mode(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], stdin: bool | None, live: bool):
    for name in ("PYTEST_VERSION", "SERVER_SOFTWARE", "MESH_NB_LIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert _cell.may_be_live(shell(stdin)) is live


def test_captured_output_is_static(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_NB_LIVE", "1")
    assert not _cell.may_be_live(shell(True, CapturingDisplayPublisher))


def test_without_a_built_front_end_output_is_static(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_NB_LIVE", "1")
    monkeypatch.setattr(_cell, "has_front_end", lambda: False)
    assert not _cell.may_be_live(shell(True))


def test_the_host_is_a_plug_in():
    host = plugins.find("host", "notebook")
    assert callable(host.show)
    assert callable(host.display)
