"""A log that a released version has written opens in this one, and says what it said then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fixtures.write_log import known

import mesh_nb
from mesh_nb.cli.main import main

FIXTURES = Path(__file__).parents[1] / "fixtures"
LOGS = sorted(FIXTURES.glob("log-*"))


@pytest.fixture(params=LOGS, ids=lambda path: path.name)
def released(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / ".mesh"
    shutil.copytree(request.param, folder)
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return folder


def expected(folder: Path) -> Any:
    return json.loads((folder / "expect.json").read_text("utf-8"))


def test_there_is_one_of_this_version() -> None:
    assert FIXTURES / f"log-{mesh_nb.__version__}" in LOGS, "python tests/fixtures/write_log.py"


def test_it_reads_as_it_did(released: Path) -> None:
    assert json.loads(json.dumps(known(released))) == expected(released)


def test_it_reads_so_without_what_was_packed(released: Path) -> None:
    shutil.rmtree(released / "packed")
    assert json.loads(json.dumps(known(released))) == expected(released)


def test_what_was_packed_is_used(released: Path) -> None:
    packed = [run for run, found in expected(released)["runs"].items() if found["status"] == "completed"]
    for path in (released / "runs").iterdir():
        if path.name.removesuffix(".jsonl").partition(".")[0] in packed:
            path.write_bytes(b"x" * path.stat().st_size)
    rows = [row for row in expected(released)["calls"] if row["run_id"] in packed]
    assert len(mesh_nb.calls_df()) == len(rows) > 0


def test_the_commands_take_it(released: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["log", "verify"]) == 1
    out = capsys.readouterr().out
    assert "torn: The last line is torn" in out
    assert out.rstrip().endswith("1 problem.")
    assert main(["log", "export", str(tmp_path / "all.jsonl")]) == 0
    assert len(mesh_nb.events_df(tmp_path / "all.jsonl")) == expected(released)["rows"]["events"]
