"""The log in .mesh/: what is in it, what survives, and what happens when the disk does not cooperate."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mesh_nb.backends import _process, _writer
from mesh_nb.backends._read import matching
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.errors import InputError, RunNotFoundError
from mesh_nb.core.events import EventType, ExecutionEvent

RUN = "20261120T101112123456-abcd1234"


def event(seq: int, type: EventType = EventType.TOKEN, **fields: Any) -> ExecutionEvent:
    return ExecutionEvent(type, "llm", run_id=RUN, seq=seq, **fields)


def start(seq: int = 0) -> ExecutionEvent:
    return ExecutionEvent(EventType.EXECUTION_START, "START", run_id=RUN, seq=seq, metadata={"graph_id": "g"})


def end(seq: int) -> ExecutionEvent:
    return event(
        seq, EventType.EXECUTION_COMPLETE, output={"content": "hi"}, metadata={"status": "completed"}
    )


def path_of(home: Path, run: str = RUN) -> Path:
    return home / ".mesh" / "runs" / f"{run}.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def wait_until(condition: Any) -> None:
    while not condition():
        time.sleep(0.005)


def write(home: Path, *events: ExecutionEvent, header: dict[str, Any] | None = None) -> Path:
    log = FileBackend(home).open(RUN, header or {"graph_id": "g", "session_id": "s"})
    for e in events:
        log.append(e)
    log.close()
    return path_of(home)


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    events = [
        start(),
        event(1, content="hé\u2028"),
        event(2, EventType.NODE_COMPLETE, output={"a": [1]}),
        end(3),
    ]
    write(tmp_path, *events)
    stored = FileBackend(tmp_path).load(RUN)
    assert stored.events == events
    assert stored.problems == []
    assert stored.live is False
    assert stored.header["graph_id"] == "g"
    assert stored.header["pid"] == os.getpid()
    assert stored.header["schema"] == 1


def test_the_folder_explains_itself_and_stays_out_of_git(tmp_path: Path) -> None:
    write(tmp_path, start())
    assert (tmp_path / ".mesh" / ".gitignore").read_text() == "*\n"
    assert "request_ref" in (tmp_path / ".mesh" / "README").read_text()


def test_nothing_is_made_before_a_run_is_logged(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path)
    assert list(backend.run_ids()) == []
    with pytest.raises(RunNotFoundError):
        backend.load(RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_boundary_is_on_disk_when_append_returns_and_brings_the_deltas_before_it(tmp_path: Path) -> None:
    log = FileBackend(tmp_path).open(RUN, {})
    log.append(start())
    for seq in range(1, 50):
        log.append(event(seq, content="x"))
    log.append(event(50, EventType.MESSAGE_COMPLETE))
    assert [r["seq"] for r in records(path_of(tmp_path))[1:]] == list(range(51))
    log.close()


def test_deltas_are_written_without_a_boundary_and_without_a_loop(tmp_path: Path) -> None:
    log = FileBackend(tmp_path).open(RUN, {})
    log.append(event(0, content="a"))
    log.append(event(1, EventType.REASONING_TOKEN, content="b"))
    wait_until(lambda: len(records(path_of(tmp_path))) == 3)
    log.append(event(2, content="c"))
    wait_until(lambda: len(records(path_of(tmp_path))) == 4)
    log.close()


def test_one_thread_writes_for_all_runs(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path)
    logs = [backend.open(f"run-{i}", {}) for i in range(20)]
    for log in logs:
        log.append(event(0, content="x"))
    wait_until(lambda: all(len(records(path_of(tmp_path, f"run-{i}"))) == 2 for i in range(20)))
    assert sum(t.name == "mesh_nb log writer" for t in threading.enumerate()) == 1
    for log in logs:
        log.close()


def test_more_runs_at_once_than_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_writer, "MAX_OPEN", 2)
    backend = FileBackend(tmp_path)
    logs = [backend.open(f"run-{i}", {}) for i in range(5)]
    for seq in range(3):
        for log in logs:
            log.append(event(seq, EventType.STEP_START))
    for log in logs:
        log.close()
    for i in range(5):
        assert [e.seq for e in backend.load(f"run-{i}").events] == [0, 1, 2]
    assert all(log.problem is None for log in logs)


def test_a_run_has_one_writer(tmp_path: Path) -> None:
    write(tmp_path, start())
    with pytest.raises(InputError, match="already has a log"):
        FileBackend(tmp_path).open(RUN, {})


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a\0b", "x" * 300])
def test_a_run_id_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        FileBackend(tmp_path).open(name, {})
    with pytest.raises(RunNotFoundError):
        FileBackend(tmp_path).load(name)


def test_ids_come_newest_first_and_a_wrong_one_names_the_nearest(tmp_path: Path) -> None:
    backend = FileBackend(tmp_path)
    for run in ("20260101T000000-aa", "20270101T000000-bb", "20260601T000000-cc"):
        backend.open(run, {}).close()
    assert list(backend.run_ids()) == ["20270101T000000-bb", "20260601T000000-cc", "20260101T000000-aa"]
    with pytest.raises(RunNotFoundError, match="20270101T000000-bb"):
        backend.load("20270101T000000-bc")


def test_large_files_are_kept_once_and_come_back(tmp_path: Path) -> None:
    data = os.urandom(100_000)
    content = base64.b64encode(data).decode()
    given = event(1, EventType.FILE, metadata={"name": "a.bin", "mime_type": "x/y", "content": content})
    small = event(2, EventType.FILE, metadata={"name": "b", "mime_type": "x/y", "content": "aGk="})
    path = write(tmp_path, start(), given, small)
    assert given.metadata["content"] == content
    line = records(path)[2]
    assert "content" not in line["metadata"]
    assert (tmp_path / ".mesh" / "blobs" / line["metadata"]["content_ref"]).read_bytes() == data
    assert records(path)[3]["metadata"]["content"] == "aGk="
    assert FileBackend(tmp_path).load(RUN).events[1].metadata["content"] == content


def test_a_missing_or_changed_blob_is_told(tmp_path: Path) -> None:
    content = base64.b64encode(os.urandom(100_000)).decode()
    path = write(tmp_path, start(), event(1, EventType.FILE, metadata={"name": "a.bin", "content": content}))
    (tmp_path / ".mesh" / "blobs" / records(path)[2]["metadata"]["content_ref"]).write_bytes(b"other")
    stored = FileBackend(tmp_path).load(RUN)
    assert "content" not in stored.events[1].metadata
    assert any("'a.bin' is missing" in p for p in stored.problems)


def test_a_blob_name_from_a_log_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    path = write(tmp_path, start(), event(1, EventType.FILE, metadata={"content_ref": "../../secret"}))
    assert path.exists()
    assert "content" not in FileBackend(tmp_path).load(RUN).events[1].metadata


def test_a_model_request_is_a_blob(tmp_path: Path) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    given = event(1, EventType.MODEL_CALL_START, metadata={"call_id": "c", "request": request})
    path = write(tmp_path, start(), given)
    assert given.metadata["request"] == request
    metadata = records(path)[2]["metadata"]
    assert "request" not in metadata
    assert metadata["call_id"] == "c"
    assert json.loads(FileBackend(tmp_path).blob(metadata["request_ref"]) or b"") == request


def test_transient_events_leave_only_their_number(tmp_path: Path) -> None:
    secret = event(
        1, EventType.CUSTOM_DATA, content="shown", metadata={"data_type": "data-p", "transient": True}
    )
    kept = event(2, EventType.CUSTOM_DATA, content="kept", metadata={"data_type": "data-p"})
    path = write(tmp_path, start(), secret, kept, end(3))
    assert b"shown" not in path.read_bytes()
    stored = FileBackend(tmp_path).load(RUN)
    assert [e.seq for e in stored.events] == [0, 2, 3]
    assert stored.problems == []


@pytest.mark.parametrize(
    ("damage", "seqs", "told"),
    [
        (lambda b: b[:-20], [0, 1, 2], "torn"),
        (lambda b: b + b'{"seq": 4, "ty', [0, 1, 2, 3], "torn"),
        (lambda b: b[:-1], [0, 1, 2, 3], None),
        (lambda b: b + b"\0" * 500, [0, 1, 2, 3], "torn"),
        (lambda b: b + b"not json\n[1]\n42\n", [0, 1, 2, 3], "not an event"),
        (lambda b: b + b'{"seq":4,"type":7}\n{"seq":"5","type":"token"}\n', [0, 1, 2, 3], "not an event"),
        (
            lambda b: b + b'{"seq":4,"type":"token","metadata":[],"timestamp":1}\n',
            [0, 1, 2, 3],
            "not an event",
        ),
        (lambda b: b + b"\xff\xfe\n", [0, 1, 2, 3], "not an event"),
        (lambda b: b + b.splitlines(True)[2], [0, 1, 2, 3], "repeats seq 1"),
        (
            lambda b: b"".join(x for i, x in enumerate(b.splitlines(True)) if i != 2),
            [0, 2, 3],
            "1 of 4 events",
        ),
        (lambda b: b"".join(b.splitlines(True)[1:]), [0, 1, 2, 3], "no header"),
        (lambda b: b"", [], "no header"),
    ],
)
def test_a_damaged_log_gives_what_is_left(
    tmp_path: Path, damage: Any, seqs: list[int], told: str | None
) -> None:
    path = write(tmp_path, start(), event(1, content="a"), event(2, content="b"), end(3))
    path.write_bytes(damage(path.read_bytes()))
    stored = FileBackend(tmp_path).load(RUN)
    assert [e.seq for e in stored.events] == seqs
    if told is None:
        assert stored.problems == []
    else:
        assert any(told in p for p in stored.problems), stored.problems


def test_events_and_keys_of_a_newer_version_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path, start())
    with open(path, "ab") as file:
        file.write(b'{"seq":1,"type":"dream","node_id":"x","metadata":{"new":1},"timestamp":1.5,"later":2}\n')
    newer = FileBackend(tmp_path).load(RUN).events[1]
    assert newer.type == "dream"
    assert newer.metadata == {"new": 1}


def test_a_run_whose_process_lives_is_live(tmp_path: Path) -> None:
    log = FileBackend(tmp_path).open(RUN, {})
    log.append(start())
    assert FileBackend(tmp_path).load(RUN).live is True
    with open(path_of(tmp_path), "ab") as file:
        file.write(b'{"seq":1,"typ')
    assert FileBackend(tmp_path).load(RUN).problems == []
    log.close()


def written_by(home: Path, **change: Any) -> Path:
    """Write a log whose header says that another process wrote it."""
    path = write(home, start())
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps({**json.loads(first), **change}).encode() + b"\n" + rest)
    return path


@pytest.mark.parametrize("change", [{"pid": 2**22 + 7}, {"process_start": "of this boot"}])
def test_a_run_whose_process_is_gone_is_not_live(tmp_path: Path, change: dict[str, Any]) -> None:
    if "process_start" in change:
        change = {"process_start": str(_process.started(os.getpid())).partition(":")[0] + ":1"}
    written_by(tmp_path, **change)
    assert FileBackend(tmp_path).load(RUN).live is False


NOT_HERE = [{"host": "elsewhere"}, {"process_start": "another boot:1"}, {"pids": "pid:[1]"}]


@pytest.mark.skipif(sys.platform != "linux", reason="boots and pid namespaces are told on Linux")
@pytest.mark.parametrize("change", NOT_HERE)
def test_a_run_whose_process_cannot_be_looked_for_is_judged_by_its_last_sign(
    tmp_path: Path, change: dict[str, str]
) -> None:
    path = written_by(tmp_path, **change)
    fresh = FileBackend(tmp_path).load(RUN)
    assert fresh.live is True
    assert any(
        "whose last sign is less than 60 s old, so it is taken to be running" in p for p in fresh.problems
    )
    os.utime(path, (1, 1))
    assert FileBackend(tmp_path).load(RUN).live is False


def test_the_clock_of_the_disk_decides_whether_a_run_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written_by(tmp_path, host="elsewhere")
    monkeypatch.setattr(_process.time, "time", lambda: 9e9)
    backend = FileBackend(tmp_path)
    assert backend.load(RUN).live is False
    with pytest.raises(InputError, match="is still running"):
        backend.reopen(RUN, {})
    assert list(path.parent.iterdir()) == [path]
    os.utime(path, (1, 1))
    backend.reopen(RUN, {}).close()


def test_a_run_that_died_in_a_stream_keeps_every_boundary_and_a_gapless_prefix(tmp_path: Path) -> None:
    code = f"""
import sys, itertools
from mesh_nb.backends._read import matching
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.events import EventType, ExecutionEvent
log = FileBackend({str(tmp_path)!r}).open({RUN!r}, {{}})
for seq in itertools.count():
    boundary = seq % 1000 == 0
    log.append(ExecutionEvent(EventType.STEP_START if boundary else EventType.TOKEN, "llm", "x", seq=seq))
    if boundary:
        print(seq, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    last = 0
    for _ in range(20):
        last = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.communicate()
    stored = FileBackend(tmp_path).load(RUN)
    seqs = [e.seq for e in stored.events]
    assert seqs == list(range(len(seqs)))
    assert seqs[-1] >= last
    assert stored.live is False


def test_a_process_that_ends_normally_writes_what_waits(tmp_path: Path) -> None:
    code = f"""
from mesh_nb.backends._read import matching
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.events import EventType, ExecutionEvent
log = FileBackend({str(tmp_path)!r}).open({RUN!r}, {{}})
for seq in range(1000):
    log.append(ExecutionEvent(EventType.TOKEN, "llm", "x", seq=seq))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(FileBackend(tmp_path).load(RUN).events) == 1000


def test_several_processes_share_a_project(tmp_path: Path) -> None:
    code = """
import sys
from mesh_nb.backends._read import matching
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.events import EventType, ExecutionEvent
for n in range(10):
    log = FileBackend(sys.argv[1]).open(f"run-{sys.argv[2]}-{n}", {})
    for seq in range(50):
        log.append(ExecutionEvent(EventType.TOKEN if seq % 5 else EventType.STEP_START, "llm", "x", seq=seq))
    log.close()
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(i)]) for i in range(3)]
    assert [c.wait() for c in children] == [0, 0, 0]
    backend = FileBackend(tmp_path)
    runs = [backend.load(run) for run in backend.run_ids()]
    assert len(runs) == 30
    assert all([e.seq for e in r.events] == list(range(50)) and r.problems == [] for r in runs)


def test_a_forked_child_leaves_the_log_alone(tmp_path: Path) -> None:
    code = f"""
import os
from mesh_nb.backends._read import matching
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.events import EventType, ExecutionEvent
log = FileBackend({str(tmp_path)!r}).open({RUN!r}, {{}})
log.append(ExecutionEvent(EventType.TOKEN, "llm", "x", seq=0))
pid = os.fork()
if pid == 0:
    log.append(ExecutionEvent(EventType.STEP_START, "child", seq=1))
    log.close()
    os._exit(0)
os.waitpid(pid, 0)
log.append(ExecutionEvent(EventType.STEP_START, "parent", seq=1))
log.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    stored = FileBackend(tmp_path).load(RUN)
    assert [(e.seq, e.node_id) for e in stored.events] == [(0, "llm"), (1, "parent")]
    assert stored.problems == []


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """A disk that is full while fails["after"] is a number of bytes, and healthy while it is None."""
    state: dict[str, int | None] = {"after": None}
    real = os.write

    def full(fd: int, data: Any) -> int:
        if state["after"] is None:
            return real(fd, data)
        room, state["after"] = state["after"], 0
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, bytes(data[:room]))

    monkeypatch.setattr(_writer.os, "write", full)
    monkeypatch.setattr(_writer, "RETRY", 0.0)
    _writer._warned.clear()
    return state


def test_a_full_disk_is_told_once_and_what_waited_is_written_when_there_is_room(
    tmp_path: Path, fails: dict[str, int | None], caplog: pytest.LogCaptureFixture
) -> None:
    log = FileBackend(tmp_path).open(RUN, {})
    log.append(start())
    fails["after"] = 25
    log.append(event(1, EventType.STEP_START))
    log.append(event(2, EventType.STEP_COMPLETE))
    assert log.problem is not None
    assert "No space left on device" in log.problem
    assert len(caplog.records) == 1
    assert [e.seq for e in FileBackend(tmp_path).load(RUN).events] == [0]
    fails["after"] = None
    log.append(end(3))
    assert log.problem is None
    log.close()
    stored = FileBackend(tmp_path).load(RUN)
    assert [e.seq for e in stored.events] == [0, 1, 2, 3]
    assert stored.problems == []


def test_a_deleted_folder_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    monkeypatch.setattr(_writer, "CHECK", 0.0)
    _writer._warned.clear()

    log = FileBackend(tmp_path).open(RUN, {})
    log.append(start())
    shutil.rmtree(tmp_path / ".mesh")
    log.append(event(1, EventType.STEP_START))
    log.append(end(2))
    log.close()
    assert log.problem is not None
    assert "deleted" in log.problem
    assert len(caplog.records) == 1
    again = FileBackend(tmp_path).open("next", {})
    again.close()
    assert again.problem is None


def test_a_folder_deleted_between_two_looks_is_noticed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    monkeypatch.setattr(_writer, "CHECK", 1e9)
    log = FileBackend(tmp_path).open(RUN, {})
    shutil.rmtree(tmp_path / ".mesh")
    log.append(start())
    assert log.problem is None
    log.close()
    assert "deleted" in (log.problem or "")


def test_a_project_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".mesh").write_text("a file where the folder should be")
    for run in ("one", "two"):
        log = FileBackend(tmp_path).open(run, {})
        log.append(start())
        log.close()
        assert log.problem is not None
        assert ".mesh" in log.problem
    assert len(caplog.records) == 1


def test_the_project_is_found_from_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESH_HOME", raising=False)
    (tmp_path / "pyproject.toml").touch()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert FileBackend().folder == tmp_path / ".mesh"
    (tmp_path / "a" / ".mesh").mkdir()
    assert FileBackend().folder == tmp_path / "a" / ".mesh"
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "elsewhere"))
    assert FileBackend().folder == tmp_path / "elsewhere" / ".mesh"
    assert FileBackend(tmp_path / ".mesh").folder == tmp_path / ".mesh"


def test_a_summary_reads_the_ends_only(tmp_path: Path) -> None:
    long = [event(seq, content="x" * 200) for seq in range(1, 2000)]
    path = write(tmp_path, start(), *long, end(2000))
    assert path.stat().st_size > 300_000
    stored = FileBackend(tmp_path).summary(RUN)
    assert [e.type for e in stored.events] == ["execution_start", "execution_complete"]
    assert stored.header["graph_id"] == "g"


def test_lines_come_by_what_is_in_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        start(),
        event(1, content='"type":"response_metadata"'),
        event(2, EventType.RESPONSE_METADATA),
    )
    lines = list(FileBackend(tmp_path).lines(RUN, b'"type":"response_metadata"'))
    assert [json.loads(line)["seq"] for line in lines] == [2]


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_lines_are_whole_wherever_the_reads_fall(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first aa\nno\nbb aa bb aa\n\naa\nno\nlast bb")
    found = list(matching(path, (b"aa", b"bb"), size))
    assert [line.strip() for line in found] == [b"first aa", b"bb aa bb aa", b"aa", b"last bb"]
    assert list(matching(path, (b"zz",), size)) == []
