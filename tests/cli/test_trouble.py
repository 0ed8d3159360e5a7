"""`mesh-nb` where something is wrong: with the disk, the call, the files; and when it is stopped."""

from __future__ import annotations

import builtins
import io
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from event_lists import rich

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.cli import log
from mesh_nb.cli.main import main
from mesh_nb.frames import _packed


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return tmp_path


def old_id(days: int = 40) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%S%f}-{days:08x}"


def logged(name: str) -> Path:
    made = FileBackend().open(name, {"notebook": "n.ipynb"})
    for event in rich(run_id=name):
        made.append(event)
    made.close()
    return FileBackend().folder / "runs" / f"{name}.jsonl"


def cli(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["log", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def unreadable(folder: Path) -> None:
    """Put a link to itself where the folder of runs was: nobody can read it, not even root."""
    (folder / "runs").rename(folder / "kept")
    (folder / "runs").symlink_to("runs")


@pytest.mark.parametrize("command", ["list", "compact", "verify", "prune --older-than 1d", "export x.csv"])
def test_a_log_that_cannot_be_read_is_told_and_is_not_an_empty_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    logged(old_id())
    cli(capsys, "compact")
    packed = sorted((tmp_path / ".mesh" / "packed").iterdir())
    unreadable(tmp_path / ".mesh")
    code, out, err = cli(capsys, *command.split())
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert f"The log in {tmp_path / '.mesh' / 'runs'} cannot be read" in err
    assert sorted((tmp_path / ".mesh" / "packed").iterdir()) == packed
    assert not (tmp_path / "x.csv").exists()


def test_frames_and_reports_of_a_log_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    logged("one")
    unreadable(tmp_path / ".mesh")
    for make in (mesh_nb.calls_df, mesh_nb.runs_df, mesh_nb.cost_report, mesh_nb.runs, mesh_nb.chart):
        with pytest.raises(mesh_nb.ConfigurationError, match="cannot be read"):
            make()
    with pytest.raises(mesh_nb.MeshError, match="cannot be read"):
        mesh_nb.Run.load("one")


def test_what_the_disk_does_not_allow_is_one_sentence_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = old_id()
    path = logged(run)
    (tmp_path / ".mesh" / "packed").write_text("a file where the folder belongs")
    code, out, err = cli(capsys, "compact")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "The runs cannot be packed: " in err
    assert "[Errno" not in err

    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", no_room)
    code, out, err = cli(capsys, "export", tmp_path / "x.parquet")
    assert (code, out) == (1, "")
    target = tmp_path / "x.parquet"
    assert err == f"mesh-nb: {target} cannot be written: No space left on device. Nothing was exported.\n"
    assert path.exists()
    assert not list(tmp_path.glob("*.parquet*"))


@pytest.fixture
def barred(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that nobody may open or look at, by name, whoever runs the tests."""
    names: list[str] = []
    opened = builtins.open

    def refused(file: Any, *given: Any, **more: Any) -> Any:
        if isinstance(file, (str, Path)) and Path(file).name in names:
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *given, **more)

    monkeypatch.setattr(builtins, "open", refused)
    monkeypatch.setattr(io, "open", refused)
    return names


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_listed(
    capsys: pytest.CaptureFixture[str], barred: list[str]
) -> None:
    logged("a")
    barred.append(logged("b").name)
    code, out, err = cli(capsys, "list", "-n", "1")
    assert code == 1
    assert out.startswith("a  completed")
    assert err == "mesh-nb: The log of run 'b' cannot be read: Permission denied.\n"
    found = mesh_nb.runs(1)
    assert [run.id for run in found] == ["a"]
    assert "The log of run 'b' cannot be read" in repr(found)
    code, out, err = cli(capsys, "show", "b")
    assert (code, out) == (1, "")
    assert err == "mesh-nb: The log of run 'b' cannot be read: Permission denied.\n"


def test_packs_that_cannot_be_listed_keep_their_logs(capsys: pytest.CaptureFixture[str]) -> None:
    path = logged(old_id())
    (path.parent.parent / "packed").write_text("a file where the folder belongs")
    code, _, err = cli(capsys, "prune", "--older-than", "30d")
    assert code == 1
    assert "What is packed cannot be written anew: " in err
    assert path.exists()


def test_a_run_that_cannot_be_deleted_stops_with_what_was_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [logged(old_id(days)) for days in (40, 50, 60)]
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self == paths[1]:
            raise PermissionError(13, "Permission denied", str(self))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    code, out, err = cli(capsys, "prune", "--older-than", "30d")
    assert (code, out) == (1, "")
    assert err == (
        f"mesh-nb: A run cannot be deleted: Permission denied: {paths[1]}."
        " Deleted 1 of 3 runs; the others stay.\n"
    )
    assert sum(path.exists() for path in paths) == 2


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_can_be_pruned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = logged(old_id())
    logged("new")
    cli(capsys, "compact")
    monkeypatch.setattr(_packed, "_write", full)
    code, out, err = cli(capsys, "prune", "--older-than", "30d")
    assert (code, err) == (0, "")
    assert "Deleted 1 run " in out
    assert not path.exists()
    assert not list((path.parent.parent / "packed").iterdir())
    assert list(mesh_nb.runs_df().run_id) == ["new"]


def test_packs_that_cannot_be_changed_keep_their_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = logged(old_id())
    logged("new")
    cli(capsys, "compact")

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_packed, "_write", refused)
    monkeypatch.setattr(log, "_drop_packs", refused)
    code, _, err = cli(capsys, "prune", "--older-than", "30d")
    assert code == 1
    assert "What is packed cannot be written anew: Permission denied. No run was deleted." in err
    assert path.exists()


@pytest.mark.parametrize(
    ("command", "patched", "told"),
    [
        (["compact"], "compact", "The logs, and what was packed before, are there."),
        (["export", "x.csv"], "_table", "Nothing was exported."),
        (["prune", "--older-than", "30d"], "drop", "No run was deleted."),
        (["verify"], "packs", ""),
    ],
)
def test_ctrl_c_is_one_line_and_leaves_nothing_half_done(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: list[str],
    patched: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = logged(old_id())
    before = sorted(tmp_path.rglob("*"))

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log, patched, stopped)
    code, out, err = cli(capsys, *command)
    assert (code, out) == (130, "")
    assert err.strip() == f"mesh-nb: stopped. {told}".strip()
    assert sorted(tmp_path.rglob("*")) == before
    assert path.exists()


def test_torn_and_foreign_lines_do_not_make_an_export_unreadable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = logged("one")
    logged("two")
    with path.open("ab") as file:
        file.write(b'garbage\n\xff\xfe\n[1]\n{"seq": 99, "type": "tok')
    target = tmp_path / "all.jsonl"
    code, out, err = cli(capsys, "export", target)
    assert (code, err) == (0, "mesh-nb: one: 4 torn or foreign lines left out.\n")
    lines = [json.loads(text) for text in target.read_text("utf-8").splitlines()]
    assert out.startswith(f"{len(lines)} lines of 2 runs in ")
    assert len(pd.read_json(target, lines=True)) == len(lines)
    code, _, err = cli(capsys, "export", tmp_path / "all.csv")
    assert code == 0
    assert "mesh-nb: one: 4 lines are no events and were left out.\n" in err


def test_files_of_others_are_not_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    runs = logged(old_id()).parent
    years_ago = time.time() - 1e8
    others = {"notes": '{"x": 1}\n', "data.csv": "a,b\n1,2\n", "empty": ""}
    for name, text in others.items():
        (runs / f"{name}.jsonl").write_text(text)
        os.utime(runs / f"{name}.jsonl", (years_ago, years_ago))
    (runs / "torn.jsonl").write_text('{"schema":1,"run_id":"torn"}\n{"seq":0,"ty')
    os.utime(runs / "torn.jsonl", (years_ago, years_ago))
    assert "Deleted 2 runs " in cli(capsys, "prune", "--older-than", "30d")[1]
    assert {path.stem for path in runs.iterdir()} == set(others)


def test_a_date_that_is_to_come_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    path = logged("one")
    code, _, err = cli(capsys, "prune", "--older-than", "2999-01-01")
    assert code == 1
    assert "lies in the future" in err
    assert path.exists()


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("", True), ("y", False)])
def test_a_terminal_is_asked_before_anything_is_deleted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, stays: bool
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return f"{answer}\n"

    path = logged(old_id())
    monkeypatch.setattr(sys, "stdin", Terminal())
    code, out, _ = cli(capsys, "prune", "--older-than", "30d")
    assert code == 0
    assert "Delete 1 run in" in out
    assert path.exists() is stays
    assert ("Nothing was deleted" in out) is stays


def test_yes_does_not_ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = logged(old_id())
    monkeypatch.setattr(sys, "stdin", None)
    assert "?" not in cli(capsys, "prune", "--older-than", "30d", "--yes")[1]
    assert not path.exists()


def test_what_a_killed_compact_has_left_is_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    folder = logged("one").parent.parent / "packed"
    cli(capsys, "compact")
    for name in (".old.part", ".new.part"):
        (folder / name).write_text("half")
    hours_ago = time.time() - 7200
    os.utime(folder / ".old.part", (hours_ago, hours_ago))
    cli(capsys, "prune", "--older-than", "30d")
    assert [path.name for path in folder.glob(".*")] == [".new.part"]


def test_an_empty_project_is_exported_as_an_empty_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for suffix in ("csv", "parquet", "jsonl"):
        target = tmp_path / f"none.{suffix}"
        assert cli(capsys, "export", target, "--frame", "calls") == (0, f"0 rows of 0 runs in {target}\n", "")
    assert list(pd.read_parquet(tmp_path / "none.parquet").columns) == list(mesh_nb.calls_df([]).columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list"], "list is a command of the log: mesh-nb log list."),
        (["logs", "list"], "Did you mean 'log'?"),
        (["log", "export"], "the following arguments are required: file."),
    ],
)
def test_a_wrong_call_says_the_right_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_a_call_without_words_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([])
    assert exit.value.code == 2
    assert "mesh-nb log list" in capsys.readouterr().err


def test_an_unknown_run_points_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`mesh-nb log list` lists the runs" in cli(capsys, "show", "nope")[2]


def command_line(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell, for what only a shell can close."""
    script = f"{sys.executable} -m mesh_nb.cli.main log {arguments}"
    return subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=False, cwd=folder, env=os.environ.copy()
    )


def test_outputs_that_are_closed_or_full_are_no_traceback(tmp_path: Path) -> None:
    logged("one")
    done = command_line("list >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = command_line("list 2>&-", tmp_path)
    assert done.stdout.startswith("one  completed")
    if os.path.exists("/dev/full"):
        done = command_line("list > /dev/full", tmp_path)
        assert (done.returncode, done.stderr) == (1, "mesh-nb: No space left on device.\n")


def test_a_working_directory_that_is_gone_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MESH_HOME")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, err = cli(capsys, "list")
    assert code == 1
    assert err.startswith("mesh-nb: The working directory is gone")
