"""Totals agree however they are grouped, and equal the sum over the raw events: on random logs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from genai_prices import Usage, calc_price
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.events import EventType, ExecutionEvent, dumps, encode
from mesh_nb.frames._packed import compact
from mesh_nb.frames._report import GROUPS, added_up

Record = tuple[str, str, dict[str, Any]]

COUNTERS = ("prompt_tokens", "completion_tokens", "cached_tokens")
TOKENS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_tokens": "cached_tokens",
}
MODELS = [("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5"), ("ollama", "llama3"), (None, None)]

usages = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"prompt_tokens": st.integers(0, 10**6), "completion_tokens": st.integers(0, 10**5)},
        optional={"cached_tokens": st.just(0)},
    ),
)


@st.composite
def calls(draw: st.DrawFn, number: int) -> list[Record]:
    """One model call of a run: whole, cut off, or without its beginning; in a loop, a retry, a sub-graph;
    sent again before it began to answer; made by a model, or taken from a tape."""
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
    if draw(st.integers(0, 4)) == 0:
        end |= {"original_cost_usd": end.get("cost_usd"), "replayed": True}
        end |= {"cost_usd": 0.0, "cost_source": "replay"}
    again = ("custom_data", node, {"data_type": "data-retry", **where})
    parts = [("model_call_start", node, base), again, ("response_metadata", node, end)]
    kept = draw(st.sampled_from([(0, 2), (0, 2), (0, 1, 2), (2,), (0,), (0, 1)]))
    return [parts[i] for i in kept]


@st.composite
def logs(draw: st.DrawFn) -> list[list[list[ExecutionEvent]]]:
    """Runs, each in one or more parts: resumed ones go on in a part of their own, whatever the first ended
    with; a forked one begins with what it took over from the run before."""
    made: list[list[list[ExecutionEvent]]] = []
    for run in range(draw(st.integers(0, 3))):
        records: list[list[Record]] = []
        session = draw(st.sampled_from(["", "s"]))
        for part in range(draw(st.sampled_from([1, 1, 2, 3]))):
            lanes = [draw(calls(10 * part + n)) for n in range(draw(st.integers(0, 4)))]
            order = draw(st.permutations([i for i, lane in enumerate(lanes) for _ in lane]))
            start = {"graph_id": "g", "session_id": session, **({"resumed": part} if part else {})}
            ending = draw(st.sampled_from(["execution_complete", "execution_error", None]))
            records.append([("execution_start", "START", start), *[lanes[i].pop(0) for i in order]])
            if part == 0 and made and draw(st.booleans()):
                records[0][1:1] = [
                    (e.type, e.node_id, {**e.metadata, "reused": True})
                    for e in made[-1][0]
                    if e.type == "response_metadata"
                ]
            if ending:
                records[-1].append((ending, "START", {}))
        made.append(_events(f"r{run}", records))
    return made


def _events(run_id: str, records: list[list[Record]]) -> list[list[ExecutionEvent]]:
    numbers = iter(range(10**6))
    return [
        [
            ExecutionEvent(
                EventType(k), n, metadata=m, timestamp=1.8e9 + (i := next(numbers)), run_id=run_id, seq=i
            )
            for k, n, m in part
        ]
        for part in records
    ]


def _rows_of(run: list[list[ExecutionEvent]]) -> tuple[list[dict[str, Any]], int]:
    """Return the ends of a run's calls, and how many calls have none: the oracle, written another way."""
    ends, open_, cut = [], set[Any](), 0
    for event in (e for part in run for e in part):
        key = (event.node_id, event.metadata.get("visit", 0), event.metadata.get("call_id"))
        if event.type == "response_metadata":
            ends.append(event.metadata)
            open_.discard(key)
        elif event.type == "model_call_start":
            cut += key in open_
            open_.add(key)
    return ends, cut + len(open_)


def _paid(metadata: dict[str, Any]) -> float | None:
    if metadata.get("reused") or metadata.get("replayed"):
        return 0.0
    if "cost_usd" in metadata:
        return metadata["cost_usd"]
    if "usage" not in metadata or metadata.get("provider") not in ("openai", "anthropic"):
        return None
    counts = {ours: metadata["usage"].get(theirs, 0) for ours, theirs in TOKENS.items()}
    moment = datetime.fromtimestamp(1.8e9, UTC)
    found = calc_price(
        Usage(**counts),
        metadata["model_id"],
        provider_id=metadata["provider"],
        genai_request_timestamp=moment,
    )
    return float(found.total_price)


# Making a failing example smaller takes minutes: run it once with all phases to look at one.
@settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(runs=logs(), noise=st.booleans())
def test_totals_agree_and_equal_the_raw_events(
    runs: list[list[list[ExecutionEvent]]], noise: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    folder = home / ".mesh" / "runs"
    folder.mkdir(parents=True)
    for run in runs:
        for number, part in enumerate(run):
            suffix = f".r{number}" if number else ""
            _write(folder / f"{part[0].run_id}{suffix}.jsonl", part, noise)
    found = [_rows_of(run) for run in runs]
    raw, cut = [end for ends, _ in found for end in ends], sum(cut for _, cut in found)
    paid = [_paid(end) for end in raw]
    asked = [end for end in raw if not end.get("reused") and not end.get("replayed")]
    rows = mesh_nb.calls_df(home)
    assert len(rows) == len(raw) + cut
    unpriced = paid.count(None) + cut
    total = sum(usd for usd in paid if usd is not None)
    assert int(rows.cost_usd.isna().sum()) == unpriced
    assert float(rows.cost_usd.sum()) == pytest.approx(total, rel=1e-12)
    assert int((rows.answered_by != "model").sum()) == len(raw) - len(asked)
    cost = mesh_nb.costs_df(home)
    wire = [m["cost_usd"] for m in asked if "cost_usd" in m]
    assert float(cost[cost.cost_source == "wire"].cost_usd.sum()) == pytest.approx(sum(wire))
    for df in (cost, mesh_nb.runs_df(home), mesh_nb.nodes_df(home)):
        assert float(df.cost_usd.sum()) == pytest.approx(total)
        for name in COUNTERS:
            known = [c for m in asked if (c := (m.get("usage") or {}).get(name)) is not None]
            assert int(df[name].sum()) == sum(known)
    for sums in (mesh_nb.runs_df(home), mesh_nb.nodes_df(home)):
        assert int(sums.calls.sum()) == len(rows)
        assert int(sums.unpriced_calls.sum()) == unpriced
    for by in (*[[name] for name in GROUPS], ["model", "node_id"], list(GROUPS)):
        df = added_up(cost, by)
        assert int(df.calls.sum()) == len(rows)
        assert float(df.cost_usd.sum()) == pytest.approx(total)
        assert int(df.unpriced_calls.sum()) == unpriced
        for name in COUNTERS:
            assert int(df[name].sum()) == int(cost[name].sum())
    pd.testing.assert_frame_equal(mesh_nb.cost_report(home, by="model").df, added_up(cost, ["model"]))
    pd.testing.assert_frame_equal(mesh_nb.calls_df([folder / f"r{n}.jsonl" for n in range(len(runs))]), rows)
    compact(FileBackend(home))
    pd.testing.assert_frame_equal(mesh_nb.calls_df(home), rows)


def _write(path: Path, run: list[ExecutionEvent], noise: bool) -> None:
    lines = [dumps({"schema": 1, "run_id": run[0].run_id})]
    for event in run:
        lines.append(encode(event))
        if noise:
            token = ExecutionEvent(EventType.TOKEN, "a", '{"type":"response_metadata"', run_id=event.run_id)
            lines += [encode(token), b'{"seq":5}', b"torn \xff"]
    path.write_bytes(b"\n".join(lines) + (b"\n" if not noise else b'\n{"seq":1,"type":"response_meta'))
