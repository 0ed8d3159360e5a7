"""Limits of the notebook and the project: over many runs, by what the log says and what is not logged yet."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from run_doubles import Speaker, graph_of, response, until
from support import Replay
from support import until as holds

import mesh_nb as mesh
from mesh_nb import MemoryBackend, NodeExecutionError, StateGraph, prices, spending
from mesh_nb.backends._process import started
from mesh_nb.backends.file import FileBackend
from mesh_nb.core import _ledger
from mesh_nb.core.errors import BudgetExceededError, ConfigurationError, InputError, UnknownNameError

CALL = "synthetic-30"
"""A model call of 10 tokens in and 30 out: 40 dollars here."""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spending, "_ledger", _ledger.Ledger())
    monkeypatch.setattr(_ledger, "REFRESH", 0.0)
    prices.set("*synthetic*", 1_000_000)
    yield tmp_path
    spending.clear()
    prices.unset()


def one(replay: Replay, name: str = "llm", **options: Any) -> StateGraph:
    graph = StateGraph()
    graph.add_node(name, None, node_type="llm", model=CALL, base_url=replay.base_url, api_key="x", **options)
    return graph.set_entry_point(name)


async def refused(graph: StateGraph, **options: Any) -> Any:
    run = graph.run("hi", display=False, **options)
    with pytest.raises(NodeExecutionError) as told:
        await run
    assert run.status == "budget"
    return told.value.cause


def logged(run_id: str, usd: float, at: float, **header: Any) -> Path:
    log = FileBackend().open(run_id, header)
    event = response(cost_usd=usd)
    event.timestamp, event.seq = at, 0
    log.append(event)
    log.close()
    return FileBackend().folder / "runs" / f"{run_id}.jsonl"


async def test_runs_share_the_limit_and_the_call_that_crosses_it_is_not_sent(replay: Replay) -> None:
    limit = spending.set(100)
    await one(replay).run("hi", display=False)
    run = await one(replay).run("hi", display=False, backend=MemoryBackend())
    assert limit.spent_usd == pytest.approx(80)
    [told] = [e.metadata["limits"] for e in run.events if e.type == "response_metadata"]
    assert told == [{"scope": "notebook", "per": "session", "usd": 100.0, "spent_usd": pytest.approx(80)}]
    error = await refused(one(replay, max_tokens=30))
    assert isinstance(error, BudgetExceededError)
    assert "project's budget of $100.00 per session" in str(error)  # this is no notebook
    assert "%mesh budget AMOUNT" in str(error)
    assert error.spent == pytest.approx(80)
    assert len(replay.requests) == 2
    await one(replay).run("hi", display=False)  # how much it may answer is open: it may cross the limit
    assert limit.left_usd == 0
    await refused(one(replay))
    assert len(replay.requests) == 3


async def test_what_reports_say_is_what_the_limit_counts(replay: Replay) -> None:
    limit = spending.set(1000, per="day")
    for _ in range(3):
        await one(replay).run("hi", display=False)
    spending.now()
    assert limit.spent_usd == pytest.approx(mesh.cost_report().cost_usd)


async def test_other_processes_and_notebooks_count_for_the_project(replay: Replay) -> None:
    logged("other", 30.0, time.time(), notebook="other.ipynb")
    logged("old", 500.0, time.time() - 40 * 86400)
    project = spending.set(100, per="month", scope="project")
    notebook = spending.Limit(100, "month", "notebook", "mine.ipynb")
    assert (project.spent_usd, notebook.spent_usd) == (30.0, 0.0)
    path = logged("more", 20.0, time.time(), notebook="mine.ipynb")
    spending.now()
    assert (project.spent_usd, notebook.spent_usd) == (50.0, 20.0)
    line = {"seq": 1, "type": "response_metadata", "metadata": {"cost_usd": 35.0}, "timestamp": time.time()}
    with path.open("ab") as file:
        file.write(json.dumps(line, separators=(",", ":")).encode())
        file.flush()
        spending.now()
        assert project.spent_usd == 50.0  # the line is not complete yet
        file.write(b"\nrubbish\n")
    spending.now()
    assert project.spent_usd == 85.0
    await refused(one(replay, max_tokens=30))
    assert not replay.requests


def test_what_was_not_paid_again_does_not_count() -> None:
    log = FileBackend().open("forked", {})
    for seq, mark in enumerate(("reused", "replayed", "cached", "first")):
        event = response(cost_usd=5.0, **{mark: True})
        event.seq, event.timestamp = seq, time.time()
        log.append(event)
    log.close()
    assert spending.set(10).spent_usd == 5.0


async def test_calls_at_once_do_not_cross_it_together(replay: Replay) -> None:
    spending.set(100)
    graph = one(replay, max_tokens=30)
    runs = [graph.run("hi", display=False, backend=MemoryBackend()) for _ in range(5)]
    ended = await asyncio.gather(*runs, return_exceptions=True)
    assert sum(not isinstance(error, BaseException) for error in ended) == 2
    assert len(replay.requests) == 2


async def test_a_person_may_allow_as_much_again(replay: Replay) -> None:
    logged("before", 90.0, time.time())
    spending.set(100)
    run = one(replay, max_tokens=30).run(
        "hi", display=False, max_model_calls=5, on_budget="ask", on_no_answer="wait"
    )
    await until(run, lambda: bool(run.pending))
    assert "budget of $100.00" in run.pending[0].message
    run.approve()
    await run
    assert [limit.usd for limit in spending.limits()] == [200.0]


async def test_calls_without_a_price_are_refused(replay: Replay) -> None:
    prices.unset()
    spending.set(100)
    error = await refused_as(one(replay), ConfigurationError)
    assert "mesh_nb.prices.set" in str(error)
    await one(replay).run("hi", display=False, max_model_calls=3, unpriced="allow")


async def refused_as(graph: StateGraph, kind: type[Exception]) -> Exception:
    with pytest.raises(NodeExecutionError) as told:
        await graph.run("hi", display=False)
    assert isinstance(told.value.cause, kind)
    return told.value.cause


async def test_the_demo_costs_nothing() -> None:
    logged("before", 99.0, time.time())
    spending.set(10)
    graph = StateGraph()
    graph.add_node("llm", None, node_type="llm", model="demo")
    assert (await graph.set_entry_point("llm").run("hi", display=False)).status == "completed"


async def test_agents_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    async def agent(input: str) -> Any:
        yield {"type": "token", "content": "hi"}

    logged("before", 99.0, time.time())
    spending.set(10)
    graph = StateGraph()
    graph.add_node("a", agent, node_type="agent")
    assert isinstance(await refused(graph.set_entry_point("a")), BudgetExceededError)
    # A node that calls no model is not limited.
    assert (await graph_of(Speaker("free")).run("hi", display=False)).status == "completed"


async def test_a_project_says_it_in_pyproject(project: Path, replay: Replay) -> None:
    settings = project / "pyproject.toml"
    settings.write_text("[tool.mesh_nb]\nbudget = {usd = 30}\n")
    [limit] = spending.limits()
    assert (limit.usd, limit.per, limit.scope, limit.source) == (30.0, "day", "project", str(settings))
    await refused(one(replay, max_tokens=30))
    spending.set(50, per="day", scope="project")
    assert [found.usd for found in spending.limits()] == [50.0]
    spending.clear("project")
    assert [found.usd for found in spending.limits()] == [30.0]


@pytest.mark.parametrize("text", ["5", '{usd = "x"}', "{usd = -1}", "{usd = 1, per = 'year'}", "{usds = 1}"])
def test_a_pyproject_that_says_nothing_usable_is_told(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(f"[tool.mesh_nb]\nbudget = {text}\n")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml"):
        spending.limits()


@pytest.mark.parametrize("usd", [0, -1, "2", None, True, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(usd: Any) -> None:
    with pytest.raises(InputError, match="US dollars"):
        spending.set(usd)
    assert not spending.limits()


def test_unknown_periods_and_scopes_name_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="month"):
        spending.set(1, per="year")
    with pytest.raises(UnknownNameError, match="project"):
        spending.set(1, scope="world")
    with pytest.raises(UnknownNameError, match="notebook"):
        spending.clear("world")


def test_usage_and_reports_tell_the_limit() -> None:
    logged("before", 3.0, time.time())
    spending.set(10, per="day")
    assert "This project has spent $3.00 of $10.00 today." in repr(mesh.usage())


def test_tab_shows_what_is_meant_for_users() -> None:
    assert dir(mesh.spending) == ["Limit", "SpendingLimitError", "clear", "limits", "set"]
    assert dir(mesh.prices) == ["Price", "Rate", "rates", "set", "unset"]


def test_a_clock_that_is_set_back_takes_no_call_out_of_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = spending.set(10)
    now = time.time() - 86_400
    monkeypatch.setattr(_ledger.time, "time", lambda: now)
    spending.count("one", 4.0)
    assert limit.spent_usd == 4.0


def test_a_notebook_counts_its_own_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    logged("mine", 3.0, time.time(), notebook="mine.ipynb")
    logged("other", 4.0, time.time(), notebook="other.ipynb")
    monkeypatch.setattr(spending, "origin", lambda: {"notebook": "mine.ipynb"})
    assert str(spending.set(10, per="day")) == "This notebook has spent $3.00 of $10.00 today."
    everybody = spending.set(10, per="day", scope="project")
    assert str(everybody) == "This project has spent $7.00 of $10.00 today."


def elsewhere(run_id: str, **header: Any) -> Any:
    """Begin the log of a run of another process, that which started this one, in the midst of a call."""
    log = FileBackend().open(run_id, {})
    path = FileBackend().folder / "runs" / f"{run_id}.jsonl"
    log.close()
    known = json.loads(path.read_bytes())
    known |= {"pid": os.getppid(), "process_start": started(os.getppid()), **header}
    path.write_text(json.dumps(known) + "\n")
    put(path, "model_call_start", call_id="c", held_usd=70.0)
    return path


def put(path: Path, kind: str, **metadata: Any) -> None:
    seq = path.read_bytes().count(b"\n") - 1
    event = {"seq": seq, "type": kind, "node_id": "llm", "metadata": metadata, "timestamp": time.time()}
    with path.open("a") as file:
        file.write(json.dumps(event, separators=(",", ":")) + "\n")


async def test_a_call_that_another_kernel_has_under_way_is_waited_for(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "POLL", 0.01)
    path = elsewhere("other")
    limit = spending.set(100, scope="project")
    run = one(replay, max_tokens=30).run("hi", display=False)
    looked: list[Any] = []
    ready = spending.ready

    async def counted(*given: Any) -> Any:
        looked.append(given)
        return await ready(*given)

    monkeypatch.setattr(spending, "ready", counted)
    await holds(lambda: len(looked) > 3 or run.done)
    assert not replay.requests
    assert limit.spent_usd == 0
    put(path, "response_metadata", call_id="c", cost_usd=20.0)
    await run
    assert limit.spent_usd == pytest.approx(60)
    [begun] = [e.metadata for e in run.events if e.type == "model_call_start"]
    assert begun["held_usd"] == pytest.approx(35)  # for other kernels


async def test_a_call_of_a_kernel_that_died_is_not_waited_for(replay: Replay) -> None:
    elsewhere("other", process_start="another one")
    spending.set(100, scope="project")
    await one(replay, max_tokens=30).run("hi", display=False)
    assert len(replay.requests) == 1


def test_a_log_that_cannot_be_read_is_told_with_the_limit(project: Path) -> None:
    logged("before", 3.0, time.time())
    (project / ".mesh" / "runs").rename(project / ".mesh" / "kept")
    (project / ".mesh" / "runs").symlink_to("runs")
    assert "runs cannot be read: " in str(spending.set(10, per="day"))


def test_a_day_begins_at_midnight_when_the_clock_was_set_back_since(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 10, 25, 15, 30)

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        monkeypatch.setattr(spending, "datetime", Clock)
        assert (
            spending.Limit(1, "day", "project").begins == datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()
        )
        week = datetime(2026, 10, 18, 22, tzinfo=UTC).timestamp()
        assert spending.Limit(1, "week", "project").begins == week
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.parametrize(
    "text", ["[tool]\nmesh_nb = 5\n", "tool = 'x'\n", "[tool.mesh_nb]\nmodel = 'demo'\n"]
)
def test_a_pyproject_without_a_budget_has_no_limit(project: Path, text: str) -> None:
    (project / "pyproject.toml").write_text(text)
    assert spending.limits() == []


async def test_what_is_kept_of_a_call_does_not_have_the_limits_of_its_day(
    project: Path, replay: Replay
) -> None:
    spending.set(1000, scope="project")
    asked, again = [await one(replay, max_tokens=30).run("hi", display=False, cache=True) for _ in range(2)]
    limited = [{"held_usd", "limits"} & {*e.metadata} for e in asked.events]
    assert {"held_usd"} in limited
    assert {"limits"} in limited
    assert len(replay.requests) == 1
    told = [e for e in again.events if e.type in ("model_call_start", "response_metadata")]
    assert all(event.metadata["cached"] for event in told)
    assert not any({"held_usd", "limits"} & {*event.metadata} for event in told)
    kept = [path.read_text() for path in (project / ".mesh" / "cache").rglob("*") if path.is_file()]
    assert kept
    assert not any("held_usd" in text or '"limits"' in text for text in kept)
