"""Scripts show nothing by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_doubles import Speaker, graph_of


async def test_a_script_shows_nothing_until_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    run = graph_of(Speaker()).run("hi")
    run.show()
    await run
    assert capsys.readouterr() == ("", "")
    run.show()
    assert capsys.readouterr().out == "Hello world\n"
