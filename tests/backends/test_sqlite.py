"""The SQLite file: what is in it, and what happens when it or its disk does not cooperate."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from mesh_nb.backends import _sqlite, _sqlite_log, _writer
from mesh_nb.backends.sqlite import SQLiteBackend
from mesh_nb.core.errors import InputError
from mesh_nb.core.events import EventType, ExecutionEvent

RUN = "20261120T101112123456-abcd1234"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    _writer._warned.clear()
    return tmp_path / "runs.sqlite"


def event(seq: int, type: EventType = EventType.STEP_START, **fields: Any) -> ExecutionEvent:
    return ExecutionEvent(type, "llm", run_id=RUN, seq=seq, **fields)


def write(path: Path, *events: ExecutionEvent) -> None:
    log = SQLiteBackend(path).open(RUN, {"graph_id": "g"})
    for e in events:
        log.append(e)
    log.close()


def edit(path: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def test_nothing_is_made_before_a_run_is_logged(path: Path) -> None:
    backend = SQLiteBackend(path)
    assert list(backend.run_ids()) == []
    assert list(path.parent.iterdir()) == []


def test_the_events_are_json_that_sql_can_read(path: Path) -> None:
    write(path, event(0), event(1, EventType.TOKEN, content="a"), event(2, EventType.TOKEN, content="b"))
    connection = sqlite3.connect(path)
    query = "SELECT group_concat(json_extract(body, '$.content'), '') FROM mesh_events WHERE type = 'token'"
    assert connection.execute(query).fetchone() == ("ab",)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert json.loads(connection.execute("SELECT header FROM mesh_runs").fetchone()[0])["graph_id"] == "g"
    connection.close()


def test_a_process_has_one_connection_to_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    real = sqlite3.connect

    def counted(*given: Any, **named: Any) -> sqlite3.Connection:
        made.append(given)
        return real(*given, **named)

    monkeypatch.setattr(_sqlite.sqlite3, "connect", counted)
    logs = [SQLiteBackend(path).open(f"run-{n}", {}) for n in range(20)]
    for log in logs:
        log.append(event(0))
    assert len(made) == 1
    for log in logs:
        log.close()


def test_a_boundary_and_the_deltas_before_it_are_one_transaction(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_log, "soon", lambda log: None)
    sizes: list[int] = []
    real = _sqlite.Database.write
    monkeypatch.setattr(
        _sqlite.Database,
        "write",
        lambda self, rows, *rest: (sizes.append(len(rows)), real(self, rows, *rest)),
    )
    write(path, *[event(n, EventType.TOKEN, content="x") for n in range(9)], event(9), event(10))
    assert sizes == [10, 1]


def test_deltas_are_written_without_a_boundary(path: Path) -> None:
    log = SQLiteBackend(path).open(RUN, {})
    log.append(event(0, EventType.TOKEN, content="x"))
    while not SQLiteBackend(path).load(RUN).events:
        threading.Event().wait(0.005)
    log.close()


@pytest.mark.parametrize(
    ("given", "says"), [(":memory:", "MemoryBackend"), (7, "path of a file"), (".", "is a folder")]
)
def test_what_cannot_be_a_file_is_refused(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        SQLiteBackend(given)


def test_another_kind_of_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("these are notes, not a database\n" * 100)
    with pytest.raises(InputError, match="not an SQLite database"):
        SQLiteBackend(path).open(RUN, {})
    with pytest.raises(InputError, match="not an SQLite database"):
        SQLiteBackend(path).load(RUN)
    assert path.read_text().startswith("these are notes")


def test_a_database_of_the_users_own_keeps_its_tables(path: Path) -> None:
    edit(path, "CREATE TABLE events (a)")
    assert list(SQLiteBackend(path).run_ids()) == []
    write(path, event(0))
    edit(path, "INSERT INTO events VALUES (1)")
    assert list(SQLiteBackend(path).run_ids()) == [RUN]


@pytest.mark.parametrize(
    ("statement", "seqs", "told"),
    [
        ("UPDATE mesh_events SET body = 'not json' WHERE seq = 1", [0, 2], "Event 1 cannot be read"),
        ("UPDATE mesh_events SET body = x'fffe' WHERE seq = 1", [0, 2], "Event 1 cannot be read"),
        ("UPDATE mesh_events SET body = 7 WHERE seq = 1", [0, 2], "Event 1 cannot be read"),
        (
            'UPDATE mesh_events SET body = \'{"type":"token","metadata":[],"timestamp":1}\' WHERE seq = 1',
            [0, 2],
            "Event 1 cannot be read",
        ),
        ("DELETE FROM mesh_events WHERE seq = 1", [0, 2], "1 of 3 events are missing"),
        ("UPDATE mesh_events SET seq = 'x' WHERE seq = 1", [0, 2], "has no number"),
        ("UPDATE mesh_runs SET header = 'x'", [0, 1, 2], None),
    ],
)
def test_a_damaged_log_gives_what_is_left(
    path: Path, statement: str, seqs: list[int], told: str | None
) -> None:
    write(path, event(0), event(1), event(2))
    edit(path, statement)
    stored = SQLiteBackend(path).load(RUN)
    assert [e.seq for e in stored.events] == seqs
    assert told is None or any(told in problem for problem in stored.problems), stored.problems


def test_a_changed_blob_is_told(path: Path) -> None:
    write(path, event(0, EventType.FILE, metadata={"name": "a.bin", "content": "QUJD" * 20_000}))
    edit(path, "UPDATE mesh_blobs SET data = x'00'")
    stored = SQLiteBackend(path).load(RUN)
    assert "content" not in stored.events[0].metadata
    assert any("'a.bin' is missing" in problem for problem in stored.problems)


def test_the_summary_is_the_first_event_and_the_ending(path: Path) -> None:
    ending = event(3, EventType.EXECUTION_COMPLETE, output={"content": "hi"})
    write(path, event(0), event(1), event(2), ending)
    assert [e.seq for e in SQLiteBackend(path).summary(RUN).events] == [0, 3]


def test_a_file_that_another_program_holds_is_told_once_and_written_when_it_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_sqlite, "BUSY_MS", 20)
    monkeypatch.setattr(_sqlite_log, "BUSY_MS", 20)
    monkeypatch.setattr(_sqlite_log, "RETRY", 0.0)
    log = SQLiteBackend(path).open(RUN, {})
    log.append(event(0))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.append(event(1))
    log.append(event(2))
    assert "locked" in str(log.problem)
    assert len(caplog.records) == 1
    other.execute("ROLLBACK")
    log.append(event(3))
    assert log.problem is None
    log.close()
    other.close()
    assert [e.seq for e in SQLiteBackend(path).load(RUN).events] == [0, 1, 2, 3]


def test_a_full_disk_is_told_once_and_what_waited_is_written_when_there_is_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_sqlite_log, "RETRY", 0.0)
    backend = SQLiteBackend(path)
    log = backend.open(RUN, {})
    connection = _sqlite.database(path)._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    log.append(event(0, content="x" * 100_000))
    log.append(event(1))
    assert "full" in str(log.problem)
    assert len(caplog.records) == 1
    connection.execute("PRAGMA max_page_count=100000")
    log.append(event(2))
    assert log.problem is None
    log.close()
    assert [e.seq for e in backend.load(RUN).events] == [0, 1, 2]


def test_a_deleted_file_does_not_end_the_run_and_the_next_one_has_a_new_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_sqlite, "CHECK", 0.0)
    backend = SQLiteBackend(path)
    log = backend.open(RUN, {})
    for part in path.parent.iterdir():
        part.unlink()
    log.append(event(0))
    log.append(event(1))
    log.close()
    assert "deleted" in str(log.problem)
    assert len(caplog.records) == 1
    write(path, event(0))
    assert [e.seq for e in SQLiteBackend(path).load(RUN).events] == [0]
