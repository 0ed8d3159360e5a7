"""What every frame offers: its columns, its types, its sources; and what each one holds."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from event_lists import answer, events, rich, whole
from run_doubles import Speaker, graph_of

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.cli.main import main
from mesh_nb.core.errors import InputError, RunNotFoundError
from mesh_nb.core.events import EventType, ExecutionEvent, encode

NAMES = ["calls", "costs", "events", "messages", "nodes", "runs", "tools"]
SCHEMAS = Path(__file__).parent / "schemas"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    return tmp_path


def frame(name: str, source: Any = None, **options: Any) -> pd.DataFrame:
    return getattr(mesh_nb, f"{name}_df")(source, **options)


def logged(found: list[ExecutionEvent], run_id: str = "run-1", **header: Any) -> Path:
    """Write a run to the project's log."""
    log = FileBackend().open(run_id, header)
    for event in found:
        log.append(event)
    log.close()
    return FileBackend().folder / "runs" / f"{run_id}.jsonl"


def columns(name: str) -> Any:
    return importlib.import_module(f"mesh_nb.frames.{name}").COLUMNS


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_is_the_golden_one(name: str) -> None:
    """A changed column breaks somebody's analysis: change the file beside this one knowingly."""
    empty = frame(name)
    units = {c.name: c.unit for c in columns(name)}
    lines = [f"{n}\t{d}\t{units[n]}".rstrip() for n, d in empty.dtypes.items()]
    assert lines == (SCHEMAS / f"{name}.tsv").read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_unique_and_documented(name: str) -> None:
    found = columns(name)
    assert len({c.name for c in found}) == len(found) == len({c.path for c in found})
    assert all(c.doc.endswith(".") for c in found)
    assert "order" in {c.name for c in found}
    documented = frame(name).attrs["columns"]
    assert {n: (d["unit"], d["doc"]) for n, d in documented.items()} == {
        c.name: (c.unit, c.doc) for c in found
    }
    for column in found:
        for suffix, unit in (("_ms", "ms"), ("_usd", "USD"), ("_tokens", "tokens")):
            if column.name.endswith(suffix):
                assert column.unit == unit


@pytest.mark.parametrize("name", NAMES)
def test_types_do_not_depend_on_what_is_there(name: str) -> None:
    full, empty = frame(name, _run(rich())), frame(name, [])
    assert len(full) > 0
    assert [str(d) for d in full.dtypes] == [str(d) for d in empty.dtypes]


@pytest.mark.parametrize("name", NAMES)
async def test_a_run_its_log_and_an_export_say_the_same(name: str, tmp_path: Path) -> None:
    runs = [
        await graph_of(Speaker("llm", events=[_answered(str(n))])).run(f"question {n}", session_id="s")
        for n in range(2)
    ]
    live = frame(name, runs)
    folder = FileBackend().folder
    paths = [folder / "runs" / f"{run.id}.jsonl" for run in runs]
    for source in (None, [r.id for r in runs], mesh_nb.runs()[::-1], folder, folder.parent, paths):
        pd.testing.assert_frame_equal(frame(name, source), live)
    export = tmp_path / "all.jsonl"
    export.write_bytes(b"".join(path.read_bytes() for path in paths))
    pd.testing.assert_frame_equal(frame(name, export), frame(name, paths))


def _answered(name: str) -> ExecutionEvent:
    metadata = {
        "call_id": name,
        "provider": "openai",
        "model_id": "gpt-4o-mini",
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }
    return ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata)


def _run(found: list[ExecutionEvent]) -> Path:
    return logged(found, found[0].run_id)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_log_keeps_its_rows_and_says_what_was_lost(name: str) -> None:
    path = logged(rich())
    whole_frame = frame(name)
    text = path.read_bytes()
    lines = [
        b'{"seq":90,"type":"response_metadata","metadata":[1]}',
        b'{"seq":91,"type":"tool_call_complete","metadata":{"tool_name":7,"tool_call_id":[2]},"timestamp":"x"}',
        b'{"seq":92,"type":"brand_new","node_id":"llm","metadata":{"x":1},"timestamp":5,"new":1}',
        b'{"seq":93,"type":"token","content":{"a":"\\ud800"},"metadata":{},"timestamp":1,"node_id":3}',
        b'{"seq":94}',
        b"not json at all, type response_metadata",
        b'{"seq":95,"type":"response_metadata","meta',
    ]
    path.write_bytes(text + b"\n".join(lines))
    (path.parent / "notes.jsonl").write_bytes(b"my shopping list\n\xff\xfe\n[1,2]\n")
    found = frame(name)
    assert len(found) >= len(whole_frame)
    assert [str(d) for d in found.dtypes] == [str(d) for d in whole_frame.dtypes]
    if name in ("calls", "costs", "events", "nodes", "runs"):
        assert any("run-1" in problem for problem in found.attrs["problems"])
    if name == "events":
        assert "brand_new" in set(found.type)
        assert any("notes" in problem for problem in found.attrs["problems"])


@pytest.mark.parametrize("name", NAMES)
def test_since_takes_runs_that_began_later(name: str) -> None:
    old = rich(run_id="old")
    logged(old, "old")
    new = rich(run_id="new")
    for event in new:
        event.timestamp += 86400
    logged(new, "new")
    border = datetime.fromtimestamp(new[0].timestamp, UTC)
    assert set(frame(name).run_id) == {"old", "new"}
    for since in (border, border.isoformat(), border - timedelta(hours=1)):
        assert set(frame(name, since=since).run_id) == {"new"}
    assert set(frame(name, since=border.date() + timedelta(days=2)).run_id) == set()
    assert len(frame(name, since=border + timedelta(seconds=1))) == 0


@pytest.mark.parametrize("name", NAMES)
def test_lines_that_others_wrote_with_spaces_are_read(name: str, tmp_path: Path) -> None:
    own = logged(rich())
    spaced = tmp_path / "run-1.jsonl"
    spaced.write_text("\n".join(json.dumps(json.loads(line)) for line in own.read_bytes().splitlines()))
    pd.testing.assert_frame_equal(frame(name, spaced), frame(name, own))


def test_since_takes_ages() -> None:
    made = datetime.now(UTC) - timedelta(hours=3)
    run_id = f"{made:%Y%m%dT%H%M%S%f}-abcdef00"
    logged(rich(run_id=run_id), run_id)
    for age, count in (("4h", 1), ("2h", 0), ("1d", 1), ("170m", 0), ("1w", 1), ("3600 s", 0)):
        assert len(frame("runs", since=age)) == count, age
    assert len(frame("runs", since=timedelta(hours=4))) == 1


def test_since_counts_to_the_microsecond_and_days_begin_at_the_readers_midnight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged(rich(run_id="20261025T003000500000-abcdef00"), "20261025T003000500000-abcdef00")
    for since, count in (("2026-10-25T00:30:00.4+00:00", 1), ("2026-10-25T00:30:00.6+00:00", 0)):
        assert len(frame("runs", since=since)) == count
    try:
        # The clocks go back in this night: half past two in Berlin is twice, and this is the first one.
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        for since, count in (("2026-10-25", 1), ("2026-10-25T02:30", 1), ("2026-10-25T02:31", 0)):
            assert len(frame("runs", since=since)) == count, since
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        assert len(frame("runs", since=datetime(2026, 10, 25).date())) == 1
        assert len(frame("runs", since="2026-10-26")) == 0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("since", ["yesterday", "7", 7, "7y", object(), "-7d", pd.NaT, "0001-01-01"])
def test_a_since_that_says_no_time_is_refused(since: Any) -> None:
    with pytest.raises(InputError, match="7d"):
        mesh_nb.calls_df(since=since)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("events", "messages", "tools")])
def test_a_price_that_is_not_known_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(InputError, match="current"):
        frame(name, "no such run", price="cheap")
    assert "price" in inspect.signature(getattr(mesh_nb, f"{name}_df")).parameters


@pytest.mark.parametrize("name", NAMES)
def test_unknown_runs_and_paths_are_named(name: str) -> None:
    with pytest.raises(RunNotFoundError, match="nope"):
        frame(name, "nope")
    with pytest.raises(InputError, match="no/such"):
        frame(name, "no/such/place")


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_parquet(name: str, tmp_path: Path) -> None:
    found = frame(name, _run(rich()))
    found.to_parquet(tmp_path / "frame.parquet")
    again = pd.read_parquet(tmp_path / "frame.parquet", dtype_backend="pyarrow")
    assert list(again.columns) == list(found.columns)
    assert again.astype(object).where(again.notna(), None).to_dict("list") == found.astype(object).where(
        found.notna(), None
    ).to_dict("list")


def test_events_are_the_log() -> None:
    made = rich()
    found = mesh_nb.events_df(_run(made))
    assert list(found.type) == [e.type for e in made]
    assert list(found.order) == list(range(len(made)))
    assert [json.loads(m) if isinstance(m, str) else {} for m in found.metadata] == [
        json.loads(encode(e))["metadata"] for e in made
    ]
    said = found[found.type == "token"]
    assert "".join(said.content) == "Paris is **mild**."
    assert str(found.timestamp.dt.tz) == "UTC"
    assert found.timestamp[0].timestamp() == pytest.approx(made[0].timestamp)


def test_messages_are_the_conversation() -> None:
    found = mesh_nb.messages_df(_run(rich()))
    rows = [tuple(row) for row in found[["role", "kind", "content"]].itertuples(index=False)]
    assert rows == [
        ("user", "text", "question"),
        ("assistant", "reasoning", "I should look it up."),
        ("assistant", "tool_call", '{"city":"Paris"}'),
        ("tool", "tool_result", '[{"day":"Mon","high":21},{"day":"Tue","high":19}]'),
        ("assistant", "text", "Paris is **mild**."),
    ]
    assert list(found.model.dropna().unique()) == ["demo-1"]
    assert list(found.characters) == [len(row[2]) for row in rows]


def test_a_retried_answer_is_a_message_of_its_own() -> None:
    made = whole(
        ("message_start", "llm"),
        ("token", "llm", {"content": "half"}),
        ("node_retry", "llm"),
        *[
            (k, n, {**(f[0] if f else {}), "metadata": {"attempt": 1}})
            for k, n, *f in answer("all", " of it")
        ],
    )
    found = mesh_nb.messages_df(_run(made))
    said = found[found.role == "assistant"]
    assert list(said.content) == ["half", "all of it"]
    assert list(said.attempt) == [0, 1]


def test_an_answer_that_began_again_is_another_message() -> None:
    made = whole(
        ("message_start", "llm"),
        ("token", "llm", {"content": "void"}),
        ("custom_data", "llm", {"content": {}, "metadata": {"data_type": "data-restart"}}),
        ("token", "llm", {"content": "whole"}),
        ("message_complete", "llm", {"metadata": {"finish_reason": "stop"}}),
    )
    said = mesh_nb.messages_df(_run(made))
    said = said[said.role == "assistant"]
    assert list(said.content) == ["void", "whole"]
    assert list(said.finish_reason) == ["restarted", "stop"]


def test_a_question_is_asked_once_however_often_the_run_was_resumed() -> None:
    made = [*whole(), *whole()]
    for seq, event in enumerate(made):
        event.seq = seq
    made[len(made) // 2].metadata["resumed"] = 1
    assert list(mesh_nb.messages_df(_run(made)).content) == ["question"]


def test_tools_have_arguments_results_and_times() -> None:
    made = whole(
        ("tool_call_start", "llm", {"metadata": {"tool_name": "f", "tool_call_id": "1"}}),
        ("tool_call_start", "llm", {"metadata": {"tool_name": "g", "tool_call_id": "2"}}),
        (
            "tool_call_complete",
            "llm",
            {"error": "boom", "metadata": {"tool_name": "f", "tool_call_id": "1", "duration_ms": 12.5}},
        ),
    )
    found = mesh_nb.tools_df(_run(made))
    assert list(found.tool_name) == ["f", "g"]
    assert found.status[0] == "error"
    assert found.error[0] == "boom"
    assert found.duration_ms[0] == 12.5
    assert pd.isna(found.status[1])


def test_nodes_add_up_their_calls_visits_and_attempts() -> None:
    def called(name: str, **more: Any) -> tuple[Any, ...]:
        usage = {"prompt_tokens": 10, "total_tokens": 10}
        return ("response_metadata", "a", {"metadata": {"call_id": name, "usage": usage, **more}})

    made = events(
        ("execution_start", "START"),
        ("node_start", "a"),
        called("1", cost_usd=0.25),
        ("node_retry", "a", {"error": "slow"}),
        ("node_start", "a", {"metadata": {"attempt": 1}}),
        called("2", attempt=1, cost_usd=0.25),
        ("node_complete", "a", {"metadata": {"attempt": 1}}),
        ("node_start", "a", {"metadata": {"visit": 1}}),
        called("3", visit=1),
        ("node_error", "a", {"error": "lost", "metadata": {"visit": 1}}),
        ("execution_error", "START", {"error": "lost"}),
    )
    found = mesh_nb.nodes_df(_run(made))
    assert list(found.visit) == [0, 1]
    assert list(found.attempts) == [2, 1]
    assert list(found.status) == ["completed", "failed"]
    assert list(found.calls) == [2, 1]
    assert list(found.prompt_tokens) == [20, 10]
    assert found.cost_usd[0] == 0.5
    assert pd.isna(found.cost_usd[1])
    assert list(found.unpriced_calls) == [0, 1]
    assert found.duration_ms[0] == 5000
    assert found.error[1] == "lost"


def test_runs_have_their_end_totals_and_origin() -> None:
    logged(rich(), "run-1", notebook="a.ipynb", cell="c1", graph_id="g")
    log = FileBackend().open("dead", {})
    log.append(ExecutionEvent(EventType.EXECUTION_START, "START", run_id="dead", seq=0, timestamp=5.0))
    found = mesh_nb.runs_df().set_index("run_id")
    assert found.status["run-1"] == "completed"
    assert found.status["dead"] == "running"
    log.close()
    row = found.loc["run-1"]
    assert (row.notebook, row.cell) == ("a.ipynb", "c1")
    assert (row.calls, row.total_tokens, row.cost_usd, row.unpriced_calls) == (1, 1234, 0.01, 0)
    assert (row.input, row.text, row.models) == ("question", "x", "demo-1")
    assert pd.isna(found.cost_usd["dead"])
    assert mesh_nb.runs_df("dead").status[0] == "interrupted"


def test_costs_tell_what_the_cache_saved_and_what_is_missing() -> None:
    def called(name: str, model: str, **usage: int) -> tuple[Any, ...]:
        metadata = {"call_id": name, "provider": "openai", "model_id": model, "usage": usage}
        return ("response_metadata", "llm", {"metadata": metadata})

    made = whole(
        called("1", "gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=0, cached_tokens=500_000),
        called("2", "mine", prompt_tokens=10, completion_tokens=1),
        called("3", "gpt-4o-mini"),
    )
    found = mesh_nb.costs_df(_run(made))
    assert found.cost_usd[0] == pytest.approx(0.5 * 0.15 + 0.5 * 0.075)
    assert found.saved_usd[0] == pytest.approx(0.5 * 0.075)
    assert found.price_date[0] == found.day[0] == "2027-01-15"
    assert list(found.unpriced[1:]) == ["no price known", "no token counts"]
    assert found.cost_usd[1:].isna().all()


def test_requests_that_were_sent_again_are_counted() -> None:
    again = ("custom_data", "llm", {"content": {"attempt": 1}, "metadata": {"data_type": "data-retry"}})
    made = whole(
        ("model_call_start", "llm", {"metadata": {"call_id": "1"}}),
        again,
        again,
        ("response_metadata", "llm", {"metadata": {"call_id": "1"}}),
        ("model_call_start", "llm", {"metadata": {"call_id": "2"}}),
        ("response_metadata", "llm", {"metadata": {"call_id": "2"}}),
    )
    assert list(mesh_nb.calls_df(_run(made)).retries) == [2, 0]


def test_the_logged_price_or_the_current_one() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    known = {"provider": "openai", "model_id": "gpt-4o-mini", "usage": usage, "cost_source": "genai-prices"}
    path = _run(whole(("response_metadata", "llm", {"metadata": {**known, "cost_usd": 9.0}})))
    assert mesh_nb.calls_df(path, price="logged").cost_usd[0] == 9.0
    assert mesh_nb.calls_df(path).cost_usd[0] == pytest.approx(0.15)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_there_twice_counts_once(name: str, tmp_path: Path) -> None:
    """By its id and its path, in another project, in an export: all of them name the same run."""
    path = logged(rich(run_id="one"), "one")
    logged(rich(run_id="two"), "two")
    both, copy = frame(name), tmp_path / "copy" / ".mesh" / "runs"
    shutil.copytree(path.parent, copy)
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join(p.read_bytes() for p in sorted(path.parent.iterdir())))
    for source in (
        ["one", "two", "one"],
        [path, "two", mesh_nb.Run.load("one")],
        [tmp_path, copy],
        ["one", export],
    ):
        found = frame(name, source)
        pd.testing.assert_frame_equal(found, both)
        assert any("one: this run is there more than once" in problem for problem in found.attrs["problems"])
    assert not both.attrs["problems"]


@pytest.mark.parametrize("name", NAMES)
def test_all_files_of_a_folder_are_its_runs_in_any_order(name: str) -> None:
    """A run that was resumed has several files; each of them names it."""
    first = rich(run_id="one")[:-1]
    path = logged(first, "one")
    log = FileBackend().reopen("one", {})
    for seq, event in enumerate(rich(run_id="one"), len(first)):
        event.seq = seq
        log.append(event)
    log.close()
    whole_project = frame(name)
    later = path.with_name("one.r1.jsonl")
    for source in ([path, later], [later, path], later):
        pd.testing.assert_frame_equal(frame(name, source), whole_project)


@pytest.mark.parametrize("value", ["{}", "[1]", '"x"', "NaN", "-Infinity", "9" * 400, "true", "1e308"])
def test_whatever_stands_where_something_else_is_meant_every_frame_and_command_reads_it(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logged([], "odd")
    path = FileBackend().folder / "runs" / "odd.jsonl"
    keys = "visit attempt usage cost_usd duration_ms started_at tool_call_id call_id status input graph_id"
    metadata = ",".join(f'"{key}":{value}' for key in keys.split())
    top = ",".join(
        f'"{key}":{value}' for key in ("node_id", "timestamp", "error", "content", "output", "run_id")
    )
    with path.open("a") as file:
        for seq, kind in enumerate(EventType):
            file.write(f'{{"seq":{seq},"type":"{kind}",{top},"metadata":{{{metadata}}}}}\n')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {name: len(frame(name)) > 0 for name in NAMES} == dict.fromkeys(NAMES, True)
        assert repr(mesh_nb.cost_report(by=["model", "day"]))
    assert mesh_nb.Run.load("odd").id == "odd"
    assert main(["log", "list"]) == 0
    assert "odd" in capsys.readouterr().out
