"""What every backend keeps, whichever it is: one suite over all that there are."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mesh_nb.backends import _process, _sqlite_log, _writer
from mesh_nb.core import plugins
from mesh_nb.core.errors import InputError, NodeExecutionError, RunNotFoundError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.executor import Executor
from mesh_nb.core.graph import StateGraph
from mesh_nb.core.run import Run
from mesh_nb.core.runs import runs

NAMES = plugins.names("backend")
ON_DISK = [name for name in NAMES if name != "memory"]
RUN = "20261120T101112123456-abcd1234"
LATER = "20261121T101112123456-abcd1234"

PREAMBLE = """
import itertools, sys
from mesh_nb.core import plugins
from mesh_nb.core.events import EventType, ExecutionEvent
backend = plugins.find("backend", sys.argv[1])()
def event(seq, boundary):
    return ExecutionEvent(EventType.STEP_START if boundary else EventType.TOKEN, "llm", "x", seq=seq)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> Any:
    return plugins.find("backend", request.param)()


@pytest.fixture(params=ON_DISK)
def disk(request: pytest.FixtureRequest) -> str:
    return request.param


def made(name: str) -> Any:
    return plugins.find("backend", name)()


def event(seq: int, type: EventType = EventType.TOKEN, **fields: Any) -> ExecutionEvent:
    return ExecutionEvent(type, "llm", run_id=RUN, seq=seq, timestamp=1.5 + seq, **fields)


def whole() -> list[ExecutionEvent]:
    return [
        event(0, EventType.EXECUTION_START, metadata={"graph_id": "g"}),
        event(1, content="hé\u2028"),
        event(2, EventType.NODE_COMPLETE, output={"a": [1, None, 2.5]}),
        event(3, EventType.EXECUTION_COMPLETE, output={"content": "hi"}, metadata={"status": "completed"}),
    ]


def write(backend: Any, events: list[ExecutionEvent], run: str = RUN) -> None:
    log = backend.open(run, {"graph_id": "g", "session_id": "s"})
    for e in events:
        log.append(e)
    log.close()
    assert log.problem is None


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, *arguments], stdout=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a process of another host from now on, to which no log but its own is open."""
    there = {"host": "elsewhere", "pid": 7, "process_start": "boot:1", "pids": None}
    monkeypatch.setattr(_process, "_identity", lambda pid: there)  # pyright: ignore[reportUnknownLambdaType]


def test_a_run_comes_back_as_it_was_written(backend: Any) -> None:
    write(backend, whole())
    stored = backend.load(RUN)
    assert (stored.events, stored.problems, stored.live) == (whole(), [], False)
    assert stored.run_id == RUN
    assert {"graph_id": "g", "session_id": "s", "run_id": RUN}.items() <= stored.header.items()


def test_a_run_is_live_until_its_log_is_closed_or_its_ending_is_in(backend: Any) -> None:
    log, other = backend.open(RUN, {}), backend.open(LATER, {})
    for e in whole()[:3]:
        log.append(e)
        other.append(e)
    assert backend.load(RUN).live
    log.append(whole()[3])
    assert not backend.load(RUN).live
    other.close()
    assert not backend.load(LATER).live
    log.close()
    log.close()


def test_a_boundary_is_there_when_append_returns_and_the_deltas_before_it_too(backend: Any) -> None:
    log = backend.open(RUN, {})
    for seq in range(50):
        log.append(event(seq))
    log.append(event(50, EventType.MESSAGE_COMPLETE))
    assert [e.seq for e in backend.load(RUN).events] == list(range(51))
    log.close()


def test_what_is_appended_after_the_end_is_ignored(backend: Any) -> None:
    log = backend.open(RUN, {})
    log.append(event(0))
    log.close()
    kept = len(backend.load(RUN).events)
    assert kept == 1


def test_runs_are_listed_newest_first(backend: Any) -> None:
    assert list(backend.run_ids()) == []
    write(backend, whole())
    write(backend, whole(), LATER)
    assert list(backend.run_ids()) == [LATER, RUN]


def test_a_run_has_one_log(backend: Any) -> None:
    write(backend, whole())
    with pytest.raises(InputError, match="already has a log"):
        backend.open(RUN, {})


def test_an_unknown_run_names_the_nearest(backend: Any) -> None:
    with pytest.raises(RunNotFoundError):
        backend.load(RUN)
    write(backend, whole())
    with pytest.raises(RunNotFoundError, match=RUN):
        backend.load(RUN[:-1] + "5")
    with pytest.raises(RunNotFoundError):
        backend.load(None)


def test_transient_events_are_not_kept_and_are_no_gap(backend: Any) -> None:
    transient = {"data_type": "data-p", "transient": True}
    write(backend, [*whole()[:3], event(3, EventType.CUSTOM_DATA, content="shown", metadata=transient)])
    stored = backend.load(RUN)
    assert [e.seq for e in stored.events] == [0, 1, 2]
    assert stored.problems == []


def test_large_files_and_requests_come_back_and_the_readers_event_is_left_alone(backend: Any) -> None:
    content = base64.b64encode(os.urandom(100_000)).decode()
    file = event(0, EventType.FILE, metadata={"name": "a.bin", "mime_type": "x/y", "content": content})
    call = event(1, EventType.MODEL_CALL_START, metadata={"call_id": "c", "request": {"model": "m"}})
    write(backend, [file, call])
    assert file.metadata["content"] == content
    assert call.metadata["request"] == {"model": "m"}
    stored = backend.load(RUN)
    assert stored.events[0].metadata["content"] == content
    kept = stored.events[1].metadata
    if "request" not in kept:
        assert backend.blob(kept["request_ref"]) == b'{"model":"m"}'


def test_odd_values_are_kept_as_json(backend: Any) -> None:
    odd = {"text": "a\ud800b\0c", "set": {1}, "object": object, "deep": 2**100}
    write(backend, [event(0, EventType.NODE_COMPLETE, output=odd)])
    assert len(backend.load(RUN).events) == 1


async def test_a_run_of_a_graph_is_loaded_from_it(backend: Any) -> None:
    graph = StateGraph("g").add_node("up", lambda input: input["input"].upper()).set_entry_point("up")
    run = await graph.run("hello", backend=backend, display=False)
    loaded = Run.load(run.id, backend)
    assert (loaded.text, loaded.status, loaded.input) == ("HELLO", "completed", "hello")
    assert [e.to_dict() for e in loaded.events] == [e.to_dict() for e in run.events]
    assert [r.id for r in runs(backend=backend)] == [run.id]


async def test_a_failed_run_keeps_everything_before_the_failure(backend: Any) -> None:
    def bad() -> None:
        raise ValueError("no")

    graph = StateGraph("g").add_node("one", lambda: 1).add_node("bad", bad).add_sequence(["one", "bad"])
    executor = Executor(graph.set_entry_point("one"), backend)
    with pytest.raises(NodeExecutionError):
        async for _ in executor.execute("x", run_id=RUN):
            pass
    kinds = [e.type for e in backend.load(RUN).events]
    assert kinds[-2:] == ["node_error", "execution_error"]
    assert kinds.count(EventType.NODE_COMPLETE) == 1


def test_a_run_that_broke_off_is_gone_on_with_once(backend: Any) -> None:
    write(backend, whole()[:2])
    log = backend.reopen(RUN, {"graph_id": "g"})
    log.append(whole()[2])
    assert backend.load(RUN).live
    with pytest.raises(InputError, match="still running"):
        backend.reopen(RUN, {"graph_id": "g"})
    log.append(whole()[3])
    log.close()
    stored = backend.load(RUN)
    assert (stored.events, stored.problems, stored.live) == (whole(), [], False)
    assert stored.header["session_id"] == "s"
    assert list(backend.run_ids()) == [RUN]
    with pytest.raises(RunNotFoundError):
        backend.reopen(LATER, {})


def test_who_has_read_a_run_before_another_went_on_with_it_cannot(backend: Any) -> None:
    write(backend, whole()[:2])
    early = backend.load(RUN)
    log = backend.reopen(RUN, {}, backend.load(RUN).version)
    log.append(whole()[2])
    log.append(whole()[3])
    log.close()
    with pytest.raises(InputError, match=r"was resumed .*meanwhile"):
        backend.reopen(RUN, {}, early.version)
    assert backend.load(RUN).events == whole()


def test_what_a_run_began_with_comes_back_bytes_included(backend: Any) -> None:
    begin: dict[str, Any] = {"input": {"text": "hi", "files": [b"\x00\xff" * 20_000]}, "state": {"n": 1}}
    backend.open(RUN, {"graph_id": "g", "begin": begin}).close()
    found = backend.load(RUN).header["begin"]
    assert bytes(found["input"]["files"][0]) == begin["input"]["files"][0]
    assert found["state"] == {"n": 1}


async def test_a_run_of_a_graph_is_resumed_from_it(backend: Any) -> None:
    tries: list[str] = []

    def first() -> str:
        tries.append("first")
        return "one"

    def second() -> str:
        tries.append("second")
        if len(tries) == 2:
            raise ValueError("not yet")
        return "two"

    graph = StateGraph("g").add_node("first", first).add_node("second", second)
    graph.set_entry_point("first").add_edge("first", "second")
    run = graph.run("x", backend=backend, display=False)
    with pytest.raises(NodeExecutionError):
        await run
    again = await graph.resume(run.id, backend=backend, display=False)
    assert tries == ["first", "second", "second"]
    assert again.status == "completed"
    stored = backend.load(run.id)
    assert [e.seq for e in stored.events] == list(range(len(stored.events)))


def test_another_process_reads_what_this_one_wrote(disk: str) -> None:
    write(made(disk), whole())
    told = child("print(len(backend.load(sys.argv[2]).events), *backend.run_ids())", disk, RUN)
    assert told.communicate()[0].split() == ["4", RUN]


def test_another_process_knows_that_the_run_is_live(disk: str) -> None:
    log = made(disk).open(RUN, {})
    log.append(event(0, EventType.STEP_START))
    told = child("print(backend.load(sys.argv[2]).live)", disk, RUN)
    assert told.communicate()[0].split() == ["True"]
    log.close()


def test_a_killed_process_leaves_every_boundary_and_a_gapless_prefix(disk: str) -> None:
    code = """
log = backend.open(sys.argv[2], {})
for seq in itertools.count():
    log.append(event(seq, seq % 1000 == 0))
    if seq % 1000 == 0:
        print(seq, flush=True)
"""
    writer, last = child(code, disk, RUN), 0
    assert writer.stdout is not None
    for _ in range(20):
        last = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    stored = made(disk).load(RUN)
    seqs = [e.seq for e in stored.events]
    assert seqs == list(range(len(seqs)))
    assert seqs[-1] >= last
    assert stored.live is False
    write(made(disk), whole(), LATER)
    assert made(disk).load(LATER).events == whole()


def test_processes_at_once_do_not_mix_or_lose_runs(disk: str) -> None:
    code = """
for n in range(25):
    log = backend.open(f"run-{sys.argv[2]}-{n:02}", {})
    for seq in range(40):
        log.append(event(seq, seq % 5 == 0))
    log.close()
    assert log.problem is None, log.problem
"""
    children = [child(code, disk, str(n)) for n in range(2)]
    assert [ended(c) for c in children] == [0, 0]
    backend = made(disk)
    found = [backend.load(run) for run in backend.run_ids()]
    assert len(found) == 50
    assert all([e.seq for e in run.events] == list(range(40)) and not run.problems for run in found)


def test_two_processes_cannot_write_one_run(disk: str) -> None:
    log = made(disk).open(RUN, {})
    told = child(
        """
try:
    backend.open(sys.argv[2], {})
except ValueError as error:
    print(error)
""",
        disk,
        RUN,
    )
    assert "already has a log" in told.communicate()[0]
    log.close()


def test_a_run_whose_process_was_killed_is_gone_on_with_in_another(disk: str) -> None:
    code = """
log = backend.open(sys.argv[2], {})
for seq in itertools.count():
    log.append(event(seq, seq % 100 == 0))
    if seq == 1000:
        print(seq, flush=True)
"""
    writer = child(code, disk, RUN)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    backend = made(disk)
    last = len(backend.load(RUN).events)
    log = backend.reopen(RUN, {})
    told = child("print(backend.load(sys.argv[2]).live)", disk, RUN)
    assert told.communicate()[0].split() == ["True"]
    log.append(event(last, EventType.EXECUTION_COMPLETE))
    log.close()
    stored = backend.load(RUN)
    assert [e.seq for e in stored.events] == list(range(last + 1))
    assert stored.live is False


def test_a_process_that_ends_normally_writes_what_waits(disk: str) -> None:
    code = """
log = backend.open(sys.argv[2], {})
for seq in range(1000):
    log.append(event(seq, False))
"""
    assert ended(child(code, disk, RUN)) == 0
    assert len(made(disk).load(RUN).events) == 1000


def test_a_forked_child_leaves_the_log_alone_and_may_have_its_own(disk: str) -> None:
    code = """
import os
log = backend.open(sys.argv[2], {})
log.append(event(0, False))
pid = os.fork()
if pid == 0:
    log.append(event(1, True))
    log.close()
    own = backend.open(sys.argv[3], {})
    own.append(event(0, True))
    own.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
log.append(event(1, True))
log.close()
"""
    assert ended(child(code, disk, RUN, LATER)) == 0
    stored, own = made(disk).load(RUN), made(disk).load(LATER)
    assert [(e.seq, e.type) for e in stored.events] == [(0, "token"), (1, "step_start")]
    assert [e.seq for e in own.events] == [0]
    assert stored.problems == own.problems == []


def test_a_place_that_cannot_be_written_does_not_end_the_run(
    disk: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / ".mesh").write_text("a file where the folder should be")
    log = made(disk).open(RUN, {})
    log.append(event(0, EventType.STEP_START))
    log.close()
    assert "cannot be written" in str(log.problem)
    assert len(caplog.records) == 1


def test_a_run_that_waits_for_long_is_known_to_live_on_another_host(
    disk: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(_writer, "BEAT_SECONDS", 0.01)
    log = made(disk).open(RUN, {})
    log.append(event(0, EventType.EXECUTION_START))
    elsewhere(monkeypatch)
    for path in home.rglob(f"{RUN}.jsonl"):
        os.utime(path, (1, 1))
    while not (stored := made(disk).load(RUN)).live:
        time.sleep(0.005)
    assert "last sign is less than 60 s old" in stored.problems[0]
    assert made(disk).summary(RUN).live
    with pytest.raises(InputError, match="is still running"):
        made(disk).reopen(RUN, {})
    log.close()


def test_what_was_taken_for_dead_writes_no_more_and_stops(disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_writer, "CHECK", 0.0)
    monkeypatch.setattr(_sqlite_log, "CHECK", 0.0)
    log = made(disk).open(RUN, {})
    for e in whole()[:2]:
        log.append(e)
    log.flush()
    elsewhere(monkeypatch)
    monkeypatch.setattr(_process, "STALE_SECONDS", 0.0)
    other = made(disk).reopen(RUN, {})
    other.append(whole()[2])
    with pytest.raises(InputError, match="was resumed by another process"):
        log.append(event(2, EventType.MESSAGE_START))
    log.append(event(3, EventType.MESSAGE_COMPLETE))
    for kind in (EventType.NODE_START, EventType.MODEL_CALL_START, EventType.TOOL_CALL_START):
        with pytest.raises(InputError, match="was resumed by another process"):
            log.append(event(4, kind))
    log.close()
    assert "was resumed by another process" in log.problem
    other.append(whole()[3])
    other.close()
    assert made(disk).load(RUN).events == whole()


def test_a_sign_tells_too_that_a_run_was_taken_over(disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = made(disk).open(RUN, {})
    for e in whole()[:3]:
        log.append(e)
    elsewhere(monkeypatch)
    monkeypatch.setattr(_process, "STALE_SECONDS", 0.0)
    made(disk).reopen(RUN, {}).close()
    log.beat()
    with pytest.raises(InputError, match="was resumed by another process"):
        log.append(event(3))
