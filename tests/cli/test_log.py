"""`mesh-nb log`: what each command does to a real log."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from event_lists import PNG, rich, whole

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.cli.main import _LISTED, main
from mesh_nb.frames import _progress

FRAMES = ["calls", "costs", "events", "messages", "nodes", "runs", "tools"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return tmp_path


def run_id(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%S%f}-{abs(hash(days)) % 16**8:08x}"


def logged(name: str, events: Any = None, **header: Any) -> Path:
    log = FileBackend().open(name, {"notebook": "n.ipynb", **header})
    for event in events or rich(run_id=name):
        log.append(event)
    log.close()
    return FileBackend().folder / "runs" / f"{name}.jsonl"


def cli(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["log", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_list_and_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logged("one")
    logged("two")
    code, out, _ = cli(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["two", "one"]
    assert len(cli(capsys, "list", "-n", 1)[1].splitlines()) == 1
    assert "completed" in cli(capsys, "show", "one", "--home", tmp_path)[1]
    lines = [json.loads(line) for line in cli(capsys, "show", "one", "--events")[1].splitlines()]
    assert lines[0]["schema"] == 1
    assert lines[1]["type"] == "execution_start"


def test_an_unknown_run_command_or_folder_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logged("one")
    code, _, err = cli(capsys, "show", "onw")
    assert code == 1
    assert "Did you mean 'one'" in err
    assert err.count("\n") == 1
    code, _, err = cli(capsys, "list", "--home", "no/such/folder")
    assert code == 1
    assert "no/such/folder" in err
    with pytest.raises(SystemExit) as exit:
        main(["log", "compcat"])
    assert exit.value.code == 2
    assert "Did you mean 'compact'" in capsys.readouterr().err


def test_what_a_model_said_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    made = whole(run_id="one")
    made[-1].output = {"content": "red \x1b[31mtext"}
    logged("one", made)
    assert "\x1b" not in cli(capsys, "show", "one")[1]


def test_exports_are_read_by_pandas_polars_and_mesh_nb(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    logged("one")
    logged("two")
    for suffix in ("jsonl", "parquet", "csv"):
        code, out, err = cli(capsys, "export", tmp_path / f"all.{suffix}")
        assert (code, err) == (0, "")
        assert "2 runs" in out
    frame = mesh_nb.events_df()
    assert list(pd.read_parquet(tmp_path / "all.parquet").type) == list(frame.type)
    assert list(pd.read_csv(tmp_path / "all.csv").type) == list(frame.type)
    assert pl.read_parquet(tmp_path / "all.parquet")["type"].cast(pl.String).to_list() == list(frame.type)
    pd.testing.assert_frame_equal(mesh_nb.events_df(tmp_path / "all.jsonl"), frame)
    pd.testing.assert_frame_equal(mesh_nb.runs_df(tmp_path / "all.jsonl"), mesh_nb.runs_df())
    cli(capsys, "export", tmp_path / "calls.parquet", "two", "--frame", "calls")
    assert list(pd.read_parquet(tmp_path / "calls.parquet").run_id) == ["two"]


@pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="DuckDB is not installed")
def test_exports_are_read_by_duckdb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    duckdb: Any = importlib.import_module("duckdb")
    logged("one")
    logged("two")
    for suffix in ("jsonl", "parquet", "csv"):
        cli(capsys, "export", tmp_path / f"all.{suffix}")
        cli(capsys, "export", tmp_path / f"calls.{suffix}", "--frame", "calls")
    count = len(mesh_nb.events_df())
    headers = "WHERE type IS NOT NULL"
    for suffix, where in (("jsonl", headers), ("parquet", ""), ("csv", "")):
        found = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/all.{suffix}' {where}").fetchall()
        assert found == [(count,)], suffix
        sums = duckdb.sql(f"SELECT sum(cost_usd) FROM '{tmp_path}/calls.{suffix}' GROUP BY model").fetchall()
        assert sums == [(pytest.approx(0.02),)], suffix
    frame = mesh_nb.calls_df()
    assert duckdb.sql("SELECT sum(total_tokens) FROM frame").fetchall() == [(int(frame.total_tokens.sum()),)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "x.xlsx"], ".parquet"),
        (["export", "there.csv"], "--force"),
        (["export", "x.csv", "--frame", "cals"], "calls"),
        (["export", "x.csv", "--since", "soon"], "--since 'soon' is no time"),
        (["export", "no/folder/x.parquet"], "no/folder"),
        (["export", "x.csv", "nope"], "nope"),
        (["prune", "--older-than", "long"], "--older-than 'long' is no time: say an age such as 7d"),
        (["prune", "--older-than", ""], "--older-than"),
    ],
)
def test_what_cannot_be_done_leaves_everything_as_it_was(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    logged("one")
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    code, _, err = cli(capsys, *arguments)
    assert code == 1
    assert message in err
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["there.csv"]
    assert Path("there.csv").read_text() == "mine"


def test_compacting_loses_nothing_and_frames_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    again = ("custom_data", "llm", {"content": {}, "metadata": {"data_type": "data-retry"}})
    paths = [
        logged("a"),
        logged("b", whole(("model_call_start", "llm", {"metadata": {"call_id": "1"}}), again, run_id="b")),
        logged("c"),
    ]
    paths[2].write_bytes(paths[2].read_bytes()[:-1] + b'\n{"torn')
    logged("d", rich(run_id="d")[:-1])
    foreign = FileBackend().folder / "runs" / "foreign.jsonl"
    foreign.write_bytes(b"hello\n")
    before = {name: getattr(mesh_nb, f"{name}_df")() for name in FRAMES}
    code, out, err = cli(capsys, "compact")
    assert code == 0, err
    assert "Packed" in out
    folder = FileBackend().folder / "packed"
    (file,) = folder.glob("*.parquet")
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
    packed = {run for run, _ in json.loads(pq.read_metadata(file).metadata[b"mesh_nb"])["runs"]}
    assert {"a", "b"} <= packed <= {"a", "b", "c"}
    for name in FRAMES:
        after = getattr(mesh_nb, f"{name}_df")()
        pd.testing.assert_frame_equal(after, before[name])
        assert {*after.attrs["problems"]} >= {*before[name].attrs["problems"]}
    assert "Nothing to pack" in cli(capsys, "compact")[1]
    assert list(folder.glob(".*")) == []


def test_frames_really_read_what_was_packed(capsys: pytest.CaptureFixture[str]) -> None:
    path = logged("a")
    cli(capsys, "compact")
    size = path.stat().st_size
    path.write_bytes(b"x" * size)
    assert len(mesh_nb.calls_df()) == 1
    assert mesh_nb.runs_df().status[0] == "completed"


def test_a_log_that_grew_or_is_gone_is_not_read_from_the_pack(capsys: pytest.CaptureFixture[str]) -> None:
    logged("a")
    path = logged("b")
    cli(capsys, "compact")
    with path.open("ab") as file:
        file.write(
            b'{"seq":99,"type":"response_metadata","node_id":"n","metadata":{"cost_usd":5.0},"timestamp":9}\n'
        )
    assert float(mesh_nb.calls_df().cost_usd.sum()) == pytest.approx(5.02)
    (FileBackend().folder / "runs" / "a.jsonl").unlink()
    assert set(mesh_nb.runs_df().run_id) == {"b"}


def resumed(name: str) -> list[Path]:
    """Log a run in two parts, each with a call of 2 cents."""
    first = [*whole(*_priced("1"), run_id=name)[:-1]]
    logged(name, first)
    log = FileBackend().reopen(name, {"notebook": "other.ipynb"})
    again = whole(*_priced("2"), run_id=name)
    again[0].metadata = {"resumed": 1}
    for seq, event in enumerate(again, len(first)):
        event.seq = seq
        log.append(event)
    log.close()
    return FileBackend().parts(name)


def _priced(name: str) -> list[Any]:
    return [("response_metadata", "llm", {"metadata": {"call_id": name, "cost_usd": 0.02}})]


def test_every_command_takes_all_parts_of_a_run_that_was_resumed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = run_id(40)
    parts = resumed(name)
    assert len(parts) == 2
    before = {f: getattr(mesh_nb, f"{f}_df")() for f in FRAMES}
    assert list(before["calls"].cost_usd) == [0.02, 0.02]
    assert list(before["runs"].notebook) == ["n.ipynb"]
    assert before["runs"].cost_usd[0] == pytest.approx(0.04)
    pd.testing.assert_frame_equal(mesh_nb.calls_df(parts[0]), before["calls"])
    cli(capsys, "export", tmp_path / "calls.parquet", "--frame", "calls")
    assert len(pd.read_parquet(tmp_path / "calls.parquet")) == 2
    cli(capsys, "compact")
    for f in FRAMES:
        pd.testing.assert_frame_equal(getattr(mesh_nb, f"{f}_df")(), before[f])
    assert cli(capsys, "verify")[0] == 0
    cli(capsys, "prune", "--older-than", "30d")
    assert list((FileBackend().folder / "runs").iterdir()) == []


def test_a_run_that_was_resumed_after_it_was_packed_is_read_from_its_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged("a", whole(*_priced("1"), run_id="a"))
    cli(capsys, "compact")
    log = FileBackend().reopen("a", {})
    for event in whole(*_priced("2"), run_id="a"):
        log.append(event)
    log.close()
    assert len(mesh_nb.calls_df()) == 2
    assert "Packed 1 run," in cli(capsys, "compact")[1]
    assert len(mesh_nb.calls_df()) == 2


def test_a_damaged_pack_is_told_and_the_logs_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    logged("a")
    cli(capsys, "compact")
    (file,) = (FileBackend().folder / "packed").glob("*.parquet")
    file.write_bytes(b"PAR1 nothing PAR1")
    frame = mesh_nb.calls_df()
    assert len(frame) == 1
    assert any(file.name in problem for problem in frame.attrs["problems"])
    code, out, _ = cli(capsys, "verify")
    assert code == 1
    assert file.name in out


def test_verify_names_what_is_damaged(capsys: pytest.CaptureFixture[str]) -> None:
    path = logged("a")
    logged("b")
    assert cli(capsys, "verify")[:2] == (0, "2 runs, 0 problems.\n")
    cli(capsys, "compact")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"question"', b'"answers!"'))
    code, out, _ = cli(capsys, "verify")
    assert code == 1
    assert "a: packed/" in out
    path.write_bytes(data + b"rubbish\n")
    code, out, _ = cli(capsys, "verify")
    assert code == 1
    assert "a: " in out


def test_prune_deletes_old_runs_and_what_only_they_had(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = run_id(40), run_id(1)
    big = {"name": "a.png", "mime_type": "image/png", "content": PNG * 1000}
    logged(old, whole(("file", "llm", {"metadata": big}), run_id=old))
    logged(new)
    (blob,) = (FileBackend().folder / "blobs").iterdir()
    hours_ago = time.time() - 7200
    os.utime(blob, (hours_ago, hours_ago))
    cli(capsys, "compact")
    code, out, _ = cli(capsys, "prune", "--older-than", "30d", "--dry-run")
    assert code == 0
    assert "1 run would be deleted" in out
    assert set(mesh_nb.runs_df().run_id) == {old, new}
    assert "Deleted 1 run and 1 content" in cli(capsys, "prune", "--older-than", "30d")[1]
    assert list(mesh_nb.runs_df().run_id) == [new]
    left = b"".join(p.read_bytes() for p in FileBackend().folder.rglob("*") if p.is_file())
    assert old.encode() not in left
    assert not blob.exists()
    (file,) = (FileBackend().folder / "packed").glob("*.parquet")
    assert json.loads(pq.read_metadata(file).metadata[b"mesh_nb"])["runs"][0][0] == new


def test_a_run_that_goes_on_is_not_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    old = run_id(40)
    log = FileBackend().open(old, {})
    log.append(rich(run_id=old)[0])
    assert "No run in" in cli(capsys, "prune", "--older-than", "30d")[1]
    log.close()
    assert "Deleted 1 run " in cli(capsys, "prune", "--older-than", "30d")[1]


def test_it_is_a_command(tmp_path: Path) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"]["mesh-nb"] == "mesh_nb.cli.main:main"
    command = [sys.executable, "-m", "mesh_nb.cli.main", "log", "list", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"No runs yet in {tmp_path / '.mesh'}.\n", "")


def test_a_terminal_without_utf_8_gets_what_it_can_show(tmp_path: Path) -> None:
    logged(run_id(1))
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "mesh_nb.cli.main", "log", "list", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert run_id(1)[:8] in done.stdout
    assert "\\xb7" in done.stdout


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"mesh-nb {mesh_nb.__version__}\n"


def test_damage_anywhere_in_a_pack_is_told_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Pages have check sums: a bit that fell over is not taken for what a model said."""
    for name in ("a", "b", "c"):
        logged(name)
    before = {name: getattr(mesh_nb, f"{name}_df")() for name in ("calls", "events")}
    cli(capsys, "compact")
    (file,) = (FileBackend().folder / "packed").glob("*.parquet")
    data, random = file.read_bytes(), Random(6)
    damaged = [data[: len(data) * part // 12] for part in range(12)]
    for _ in range(60):
        place = random.randrange(len(data))
        damaged.append(data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :])
    told = 0
    for changed in damaged:
        file.write_bytes(changed)
        for name, frame in before.items():
            found = getattr(mesh_nb, f"{name}_df")()
            pd.testing.assert_frame_equal(found, frame)
            told += any(file.name in problem for problem in found.attrs["problems"])
    assert told > len(damaged)
    file.write_bytes(data.replace(b"question", b"answers!") if b"question" in data else data[:-600])
    code, out, _ = cli(capsys, "verify")
    assert code == 1
    assert out.count(file.name) == 1
    assert cli(capsys, "prune", "--older-than", "30d")[0] == 0


def test_runs_that_are_deleted_meanwhile_are_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged("a")
    logged("b")
    (FileBackend().folder / "runs" / "dangling.jsonl").symlink_to("nowhere")
    listed = FileBackend.run_ids
    monkeypatch.setattr(FileBackend, "run_ids", lambda self: iter(["zz-gone", *listed(self)]))
    for name in FRAMES:
        found = getattr(mesh_nb, f"{name}_df")()
        assert set(found.run_id) == {"a", "b"}
        assert any("zz-gone" in problem for problem in found.attrs["problems"])
    assert "Packed 2 runs" in cli(capsys, "compact")[1]
    assert len(mesh_nb.calls_df()) == 2
    code, out, _ = cli(capsys, "verify")
    assert code == 1
    assert "zz-gone: the log cannot be read" in out
    assert "No run in" in cli(capsys, "prune", "--older-than", "20000d")[1]


def test_a_later_part_that_is_deleted_meanwhile_costs_no_more_than_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = resumed(run_id(1))
    found = FileBackend.parts
    monkeypatch.setattr(
        FileBackend, "parts", lambda self, run: [*found(self, run), parts[0].with_name("gone")]
    )
    frame = mesh_nb.calls_df()
    assert len(frame) == 2
    assert any("deleted meanwhile" in problem for problem in frame.attrs["problems"])


def test_what_was_deleted_by_hand_leaves_the_packs_too(capsys: pytest.CaptureFixture[str]) -> None:
    logged("a", whole(*_priced("secret-of-a"), run_id="a"))
    logged("b")
    cli(capsys, "compact")
    (FileBackend().folder / "runs" / "a.jsonl").unlink()
    cli(capsys, "prune", "--older-than", "30d")
    (file,) = (FileBackend().folder / "packed").glob("*.parquet")
    assert [run for run, _ in json.loads(pq.read_metadata(file).metadata[b"mesh_nb"])["runs"]] == ["b"]
    assert len(mesh_nb.calls_df()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "-n", "0"], "no whole number above 0"),
        (["list", "-n", "-3"], "no whole number above 0"),
        (["list", "--limt", "3"], "Did you mean '--limit'?"),
        (["export", "x.csv", "--frame", "calls", "one", "--forse"], "Did you mean '--force'?"),
        (["show"], "run_id"),
        (["compact", "extra"], "unrecognized arguments: extra"),
        (["prune"], "--older-than"),
        ([], "list|show|export"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    logged("one")
    with pytest.raises(SystemExit) as exit:
        main(["log", *arguments])
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_options_may_stand_between_a_file_and_its_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        logged(name)
    target = tmp_path / "calls.parquet"
    code, out, err = cli(capsys, "export", target, "--frame", "calls", "one", "two")
    assert (code, err) == (0, "")
    assert out == f"2 rows of 2 runs in {target}\n"
    assert list(pd.read_parquet(target).run_id) == ["one", "two"]


@pytest.mark.parametrize("command", ["", *_LISTED])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["log", *([command] if command else []), "--help"])
    assert exit.value.code == 0
    assert "usage: mesh-nb log" in capsys.readouterr().out


@pytest.mark.parametrize("chosen", [[], ["one", "two", "three"]])
def test_an_export_shows_how_far_it_is_while_it_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: list[str]
) -> None:
    for name in ("one", "two", "three"):
        logged(name)
    done: list[Any] = []
    lines = FileBackend.lines
    monkeypatch.setattr(FileBackend, "lines", lambda *given: done.append("read") or lines(*given))
    monkeypatch.setattr(_progress, "_draw", lambda what, count, total: done.append((count, total)))
    monkeypatch.setattr(_progress, "_is_watched", lambda: True)
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(_progress, "STEP", 0.0)
    assert cli(capsys, "export", tmp_path / "calls.csv", *chosen, "--frame", "calls")[0] == 0
    assert done == [(0, 3), "read", (1, 3), "read", (2, 3), "read", (3, 3)]


def test_an_export_reads_what_was_packed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = logged("one")
    cli(capsys, "compact")
    path.write_bytes(b"x" * path.stat().st_size)
    cli(capsys, "export", tmp_path / "calls.parquet", "--frame", "calls")
    assert len(pd.read_parquet(tmp_path / "calls.parquet")) == 1
