"""One row for each model call, from a log, a run, or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from run_doubles import Speaker, graph_of

from mesh_nb.backends.file import FileBackend
from mesh_nb.core.errors import InputError, RunNotFoundError
from mesh_nb.core.events import EventType, ExecutionEvent, Usage
from mesh_nb.core.runs import runs
from mesh_nb.frames.calls import COLUMNS, calls_df

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "cached_tokens": 200,
    "reasoning_tokens": 30,
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    return tmp_path


def call(call_id: str = "c", **end: Any) -> list[ExecutionEvent]:
    """Return the beginning and the end of a model call."""
    begin = {"call_id": call_id, "provider": "openai", "requested_model": "gpt-4o-mini"}
    known = {
        **begin,
        "model_id": "gpt-4o-mini-2024-07-18",
        "usage": USAGE,
        "usage_status": "reported",
        "finish_reason": "stop",
        "duration_ms": 1200.0,
        "time_to_first_token_ms": 200.0,
        **end,
    }
    return [
        ExecutionEvent(EventType.MODEL_CALL_START, metadata=begin),
        ExecutionEvent(EventType.RESPONSE_METADATA, metadata=known),
    ]


async def test_a_call_has_its_model_tokens_cost_and_times() -> None:
    run = await graph_of(Speaker("llm", events=call())).run("hi", session_id="s1")
    row = run.to_pandas("calls").iloc[0]
    assert row.run_id == run.id
    assert row.order == 0
    assert row.node_id == "llm"
    assert row.session_id == "s1"
    assert (row.provider, row.model, row.requested_model) == (
        "openai",
        "gpt-4o-mini-2024-07-18",
        "gpt-4o-mini",
    )
    assert (row.prompt_tokens, row.completion_tokens, row.total_tokens) == (1000, 100, 1100)
    assert (row.cached_tokens, row.reasoning_tokens) == (200, 30)
    assert pd.isna(row.cache_write_tokens)
    assert row.cost_usd == pytest.approx(800 * 0.15e-6 + 200 * 0.075e-6 + 100 * 0.6e-6)
    assert row.cost_source == "genai-prices"
    assert row.tokens_per_second == pytest.approx(100)
    assert row.finish_reason == "stop"
    assert row.usage_status == "reported"
    assert (row.attempt, row.visit) == (0, 0)
    begun = next(e for e in run.events if e.type == "model_call_start")
    assert row.started_at.timestamp() == pytest.approx(begun.timestamp, abs=1e-5)
    assert str(row.started_at.tz) == "UTC"


async def test_the_log_and_the_run_say_the_same() -> None:
    run = await graph_of(Speaker("llm", events=[*call("1"), *call("2", cost_usd=0.5)])).run("hi")
    live = calls_df(run)
    assert list(live.order) == [0, 1]
    for source in (None, run.id, [run], [run.id], runs(), FileBackend().folder, FileBackend().folder.parent):
        pd.testing.assert_frame_equal(calls_df(source), live)
    path = FileBackend().folder / "runs" / f"{run.id}.jsonl"
    pd.testing.assert_frame_equal(calls_df(path), live)
    pd.testing.assert_frame_equal(calls_df(str(path)), live)


async def test_all_runs_of_a_project_oldest_first() -> None:
    made = [await graph_of(Speaker("llm", events=call())).run("hi") for _ in range(3)]
    assert list(calls_df().run_id) == [r.id for r in made]
    assert list(calls_df([made[2], made[0].id]).run_id) == [made[2].id, made[0].id]


async def test_an_unpriced_call_is_missing_and_not_free() -> None:
    events = [
        *call("1", model_id="mine", requested_model="mine"),
        *call("2", cost_usd=0.0, cost_source="wire"),
    ]
    frame = calls_df(await graph_of(Speaker("llm", events=events)).run("hi"))
    assert pd.isna(frame.cost_usd[0])
    assert pd.isna(frame.cost_source[0])
    assert frame.cost_usd[1] == 0.0
    assert frame.cost_source[1] == "wire"


def test_an_empty_log_has_every_column_with_its_type() -> None:
    empty = calls_df()
    assert list(empty.columns) == [c.name for c in COLUMNS]
    assert len(empty) == 0
    types = {name: str(dtype) for name, dtype in empty.dtypes.items()}
    assert types["cost_usd"] == "double[pyarrow]"
    assert types["prompt_tokens"] == "int64[pyarrow]"
    assert types["started_at"] == "timestamp[us, tz=UTC][pyarrow]"
    assert types["model"] == types["node_id"] == types["provider"] == "category"
    assert len(empty.groupby("model").cost_usd.sum()) == 0


async def test_the_types_do_not_depend_on_what_is_there() -> None:
    full = calls_df(await graph_of(Speaker("llm", events=call())).run("hi"))
    for name, dtype in calls_df([]).dtypes.items():
        assert str(full.dtypes[name]) == str(dtype), name
    assert full.groupby(["model", "node_id"]).cost_usd.sum().iloc[0] > 0


def test_every_counter_of_usage_has_a_column() -> None:
    assert {c.path for c in COLUMNS} >= {f"usage.{name}" for name in Usage.__annotations__}


def test_columns_are_documented_and_unique() -> None:
    assert len({c.name for c in COLUMNS}) == len(COLUMNS) == len({c.path for c in COLUMNS})
    assert all(c.doc.endswith(".") for c in COLUMNS)
    assert calls_df().attrs["columns"]["cost_usd"]["unit"] == "USD"


async def test_a_call_that_was_cut_off_has_a_row() -> None:
    begin = call("1")[0]
    path = FileBackend().open("dead", {})
    path.append(
        ExecutionEvent(EventType.MODEL_CALL_START, "llm", metadata=begin.metadata, seq=0, timestamp=5.0)
    )
    path.close()
    row = calls_df("dead").iloc[0]
    assert row.usage_status == "unknown"
    assert row.requested_model == "gpt-4o-mini"
    assert pd.isna(row.model)
    assert pd.isna(row.cost_usd)
    assert row.started_at.timestamp() == 5.0


def test_a_hostile_log_gives_rows_and_no_error() -> None:
    backend = FileBackend()
    backend.open("odd", {}).close()
    lines: list[Any] = [
        {"seq": 0, "type": "response_metadata", "metadata": {"usage": {"prompt_tokens": "9"}, "model_id": 7}},
        {"seq": 1, "type": "response_metadata", "metadata": {"usage": 5, "duration_ms": "x"}, "timestamp": 1},
        {"seq": 2, "type": "response_metadata", "metadata": [1]},
        {"seq": 3, "type": "token", "content": '"type":"response_metadata"', "metadata": {}},
        {
            "seq": 4,
            "type": "response_metadata",
            "metadata": {"usage": {"prompt_tokens": 10**30}},
            "timestamp": 1,
        },
    ]
    with open(backend.folder / "runs" / "odd.jsonl", "ab") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.write(b'{"seq":5,"type":"response_metadata","meta')
    frame = calls_df("odd")
    assert len(frame) == 3
    assert frame.prompt_tokens.isna().all()
    assert frame.cost_usd.isna().all()


@pytest.mark.parametrize("wrong", [5, ExecutionEvent(EventType.TOKEN), object()])
def test_what_is_not_a_run_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError):
        calls_df(wrong)


def test_an_unknown_run_or_path_is_named() -> None:
    with pytest.raises(RunNotFoundError, match="nope"):
        calls_df("nope")
    with pytest.raises(InputError, match="no/such"):
        calls_df("no/such/place")
