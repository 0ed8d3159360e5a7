"""Totals agree however they are grouped, and equal the sum over the raw events: on random logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mesh_nb
from mesh_nb.core.events import EventType, ExecutionEvent, dumps, encode
from mesh_nb.frames._report import GROUPS

COUNTERS = ("prompt_tokens", "completion_tokens", "cached_tokens")
MODELS = [("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5"), ("ollama", "llama3"), (None, None)]

usages = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"prompt_tokens": st.integers(0, 10**6), "completion_tokens": st.integers(0, 10**5)},
        optional={"cached_tokens": st.just(0)},
    ),
)


@st.composite
def calls(draw: st.DrawFn, number: int) -> list[tuple[str, str, dict[str, Any]]]:
    """One model call of a run: whole, cut off, or without its beginning; in a loop, a retry, a sub-graph."""
    node = draw(st.sampled_from(["a", "b", "outer/inner"]))
    provider, model = draw(st.sampled_from(MODELS))
    where = {k: v for k in ("visit", "attempt") if (v := draw(st.integers(0, 2)))}
    # An id comes again in another visit or attempt, as with an agent that numbers its calls.
    base = {"call_id": f"c{number}", **where}
    if provider:
        base["provider"] = provider
    end: dict[str, Any] = {**base, "duration_ms": draw(st.sampled_from([None, 5.0, "x"]))}
    if model:
        end["model_id"] = model
    if (usage := draw(usages)) is not None:
        end["usage"] = usage
    if draw(st.booleans()):
        end["cost_usd"] = draw(st.sampled_from([0.0, 0.125, 2.5]))
    parts = [("model_call_start", node, base), ("response_metadata", node, end)]
    kept = draw(st.sampled_from([(0, 1), (0, 1), (0, 1), (1,), (0,)]))
    return [parts[i] for i in kept]


@st.composite
def logs(draw: st.DrawFn) -> list[list[ExecutionEvent]]:
    made: list[list[ExecutionEvent]] = []
    for run in range(draw(st.integers(0, 3))):
        lanes = [draw(calls(n)) for n in range(draw(st.integers(0, 5)))]
        order = draw(st.permutations([i for i, lane in enumerate(lanes) for _ in lane]))
        body = [lanes[i].pop(0) for i in order]
        start = (
            "execution_start",
            "START",
            {"graph_id": "g", "session_id": draw(st.sampled_from(["", "s"]))},
        )
        ending = draw(
            st.sampled_from([("execution_complete", "START", {}), ("execution_error", "START", {}), None])
        )
        records: list[Any] = [start, *body, *([ending] if ending else [])]
        if draw(st.booleans()):  # a run that was resumed goes on after its ending
            records += [("execution_start", "START", {"graph_id": "g"}), ("execution_complete", "START", {})]
        made.append(
            [
                ExecutionEvent(EventType(k), n, metadata=m, timestamp=1.8e9 + i, run_id=f"r{run}", seq=i)
                for i, (k, n, m) in enumerate(records)
            ]
        )
    return made


@given(runs=logs(), noise=st.booleans())
def test_totals_agree_and_equal_the_raw_events(
    runs: list[list[ExecutionEvent]], noise: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    folder = home / ".mesh" / "runs"
    folder.mkdir(parents=True)
    for run in runs:
        _write(folder / f"{run[0].run_id}.jsonl", run, noise)
    raw = [e.metadata for run in runs for e in run if e.type == "response_metadata"]
    begun = sum(e.type == "model_call_start" for run in runs for e in run)
    ended = {
        (e.run_id, e.node_id, e.metadata["call_id"])
        for run in runs
        for e in run
        if e.type == "response_metadata"
    }
    cut = sum(
        (e.run_id, e.node_id, e.metadata["call_id"]) not in ended
        for run in runs
        for e in run
        if e.type == "model_call_start"
    )
    rows = mesh_nb.calls_df(home)
    assert len(rows) == len(raw) + cut <= begun + len(raw)
    for name in COUNTERS:
        known = [c for m in raw if (c := (m.get("usage") or {}).get(name)) is not None]
        assert int(rows[name].sum()) == sum(known)
        assert int(rows[name].notna().sum()) == len(known)
    cost = mesh_nb.costs_df(home)
    total = float(cost.cost_usd.sum())
    assert total == pytest.approx(float(rows.cost_usd.sum()), rel=1e-12)
    wire = [m["cost_usd"] for m in raw if "cost_usd" in m]
    assert float(cost[cost.cost_source == "wire"].cost_usd.sum()) == pytest.approx(sum(wire))
    for sums in (mesh_nb.runs_df(home), mesh_nb.nodes_df(home)):
        assert int(sums.calls.sum()) == len(rows)
        assert float(sums.cost_usd.sum()) == pytest.approx(total)
        assert int(sums.unpriced_calls.sum()) == int(rows.cost_usd.isna().sum())
    for by in (*[[name] for name in GROUPS], ["model", "node_id"], list(GROUPS)):
        report = mesh_nb.cost_report(home, by=by)
        assert int(report.df.calls.sum()) == len(rows)
        assert float(report.df.cost_usd.sum()) == pytest.approx(total)
        assert int(report.df.unpriced_calls.sum()) == int(rows.cost_usd.isna().sum())
        for name in COUNTERS:
            assert int(report.df[name].sum()) == int(rows[name].sum())
    pd.testing.assert_frame_equal(mesh_nb.calls_df([folder / f"{r[0].run_id}.jsonl" for r in runs]), rows)


def _write(path: Path, run: list[ExecutionEvent], noise: bool) -> None:
    lines = [dumps({"schema": 1, "run_id": run[0].run_id})]
    for event in run:
        lines.append(encode(event))
        if noise:
            token = ExecutionEvent(EventType.TOKEN, "a", '{"type":"response_metadata"', run_id=event.run_id)
            lines += [encode(token), b'{"seq":5}', b"torn \xff"]
    path.write_bytes(b"\n".join(lines) + (b"\n" if not noise else b'\n{"seq":1,"type":"response_meta'))
