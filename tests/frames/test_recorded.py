"""Every recorded provider stream with usage: its row in calls_df says what its facts say, and costs what
genai-prices calculates, or what the provider billed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from genai_prices import extract_usage
from replay_server import load_cases
from support import Replay, streams

import mesh_nb

APIS: dict[str, dict[str, Any]] = {
    "chat": {"provider": "openai", "api": "chat"},
    "responses": {"provider": "openai", "api": "responses"},
    "messages": {"provider": "anthropic"},
    "gemini": {"provider": "gemini"},
}
COUNTERS = {
    "prompt_tokens": "input_total",
    "completion_tokens": "output_total",
    "cached_tokens": "cached_input",
    "cache_write_tokens": "cache_write",
    "reasoning_tokens": "reasoning",
}
_root = streams()
_cases: list[Any] = [
    c
    for c in (load_cases(_root) if _root else [])
    if (json.loads((_root / c.name / "expect.json").read_text()).get("usage") or {}).get("input_total")
]
_recorded = _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)


@pytest.mark.parametrize("case", _recorded, ids=lambda c: c.name if c else "none")
async def test_the_row_of_a_recorded_stream(case: Any, replay: Replay) -> None:
    assert _root is not None
    expect = json.loads((_root / case.name / "expect.json").read_text())
    usage = expect["usage"]
    options = APIS[case.api]
    url = replay.url if case.api in ("messages", "gemini") else replay.base_url
    graph = mesh_nb.StateGraph()
    graph.add_node("llm", None, node_type="llm", model=case.name, base_url=url, api_key="sk-test", **options)
    run = graph.set_entry_point("llm").run("hi")
    try:
        await run
    except mesh_nb.NodeExecutionError:
        assert expect.get("error") or expect["finish"] in (None, "error", "tool_calls", "pause")
    row = mesh_nb.calls_df(run.id).iloc[0]
    assert row.model == expect["model_id"]
    for column, fact in COUNTERS.items():
        said = usage.get(fact)
        if said is None:
            assert pd.isna(row[column]) or row[column] == 0, column
        else:
            assert row[column] == said or (said == 0 and pd.isna(row[column])), column
    searches = sum(c["kind"] == "web_search_call" for c in expect["tool_calls"])
    _check_cost(row, usage, case.api, searches)


def _check_cost(row: Any, usage: dict[str, Any], api: str, searches: int) -> None:
    """Compare with what genai-prices itself makes of the final usage object, as the vendor counts.

    OpenAI's web searches are in no usage object; a thousand cost 10 dollars.
    """
    billed = usage.get("provider_cost")
    if billed is not None:
        assert row.cost_source == "wire"
        assert row.cost_usd == pytest.approx(billed["total_cost"] if isinstance(billed, dict) else billed)
        return
    flavour = {"chat": "chat", "responses": "responses"}.get(api, "default")
    name = "google" if api == "gemini" else row.provider
    key = "usageMetadata" if api == "gemini" else "usage"
    try:
        found = extract_usage(
            {"model": row.model, "modelVersion": row.model, key: usage["raw"]},
            provider_id=name,
            api_flavor=flavour,
        )
        theirs = found.calc_price(genai_request_timestamp=row.started_at.to_pydatetime()).total_price
    except LookupError:
        assert pd.isna(row.cost_usd)
        assert pd.isna(row.cost_source)
        return
    assert row.cost_usd == pytest.approx(float(theirs) + searches / 100, rel=1e-12)
    assert row.cost_source == "genai-prices"
    assert row.price_date == datetime.now(UTC).date().isoformat()
