"""The data node: SQL over frames and connections, values bound and never written into SQL."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from mesh_nb import Executor, GraphValidationError, NodeExecutionError, StateGraph

CITIES = {"city": ["Rome", "Paris", "O'Hare"], "size": [2.8, None, 1.5], "n": [1, 2, 3]}


def graph(source: Any, **options: Any) -> StateGraph:
    return StateGraph().add_node("rows", source, node_type="data", **options).set_entry_point("rows")


async def output(graph: StateGraph, input: Any = "q") -> dict[str, Any]:
    return [e async for e in Executor(graph).execute(input)][-1].output


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
async def test_a_frame_is_a_table_and_templates_are_bound_values(make: Any) -> None:
    asked = graph(
        make(CITIES),
        query="select city, size from data where city = :city",
        params={"city": "{{$input.city}}"},
    )
    assert (await output(asked, {"city": "Rome"}))["rows"] == [{"city": "Rome", "size": 2.8}]
    assert (await output(asked, {"city": "O'Hare"}))["count"] == 1
    hostile = await output(asked, {"city": "x' or 1=1 --"})
    assert (hostile["rows"], hostile["content"]) == ([], "| city | size |\n| --- | --- |")
    assert (await output(asked, {"city": "Paris"}))["rows"] == [{"city": "Paris", "size": None}]


async def test_several_frames_dates_and_types() -> None:
    days = pd.DataFrame({"day": pd.to_datetime(["2026-01-02", None]), "n": [1, 2], 'odd "name': ["a|b", "c"]})
    asked = graph(
        {"cities": pd.DataFrame(CITIES), "days": days},
        query='select day, city, days."odd ""name" from cities join days using (n) order by n',
    )
    found = await output(asked)
    assert [r["day"] for r in found["rows"]] == ["2026-01-02T00:00:00", None]
    assert "| 2026-01-02T00:00:00 | Rome | a\\|b |" in found["content"]


@pytest.mark.parametrize(
    "query",
    [
        "delete from data",
        "attach database 'new.db' as other",
        "vacuum into 'new.db'",
        "pragma query_only = off",
        "create table other(x)",
        "select load_extension('new')",
    ],
)
async def test_a_query_of_frames_reads_and_does_nothing_else(
    query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NodeExecutionError, match=r"authoriz.*\. A query of DataFrames reads"):
        await output(graph(pd.DataFrame(CITIES), query=query))
    assert os.listdir(tmp_path) == []


async def test_a_query_of_frames_may_be_any_that_reads() -> None:
    counted = (
        "with recursive n(x) as (select 1 union all select x + 1 from n where x < 3) select sum(x) s from n"
    )
    assert (await output(graph(pd.DataFrame(CITIES), query=counted)))["rows"] == [{"s": 6}]
    ranked = "select city, row_number() over (order by city) n from data where city like 'R%' limit 1"
    assert (await output(graph(pd.DataFrame(CITIES), query=ranked)))["rows"] == [{"city": "Rome", "n": 1}]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select * from cities", r"no such table: cities. The tables are: data\."),
        ("select :city", r"Values for placeholders such as :name are given by params="),
        ("selec 1", r"The query cannot be run: near \"selec\": syntax error\."),
    ],
)
async def test_a_wrong_query_of_frames_is_told_in_a_sentence(query: str, says: str) -> None:
    with pytest.raises(NodeExecutionError, match=says):
        await output(graph(pd.DataFrame(CITIES), query=query))


async def test_connections_functions_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as db:
        db.execute("create table t(x)")
        db.executemany("insert into t values (?)", [(n,) for n in range(5)])
    query = "select x from t where x >= ? order by x"
    found = await output(graph(db, query=query, params=["{{$input.least}}"]), {"least": 3})
    assert found["rows"] == [{"x": 3}, {"x": 4}]
    db.close()
    found = await output(graph(lambda: sqlite3.connect(path), query=query, params=[0], max_rows=2))
    assert (found["count"], found["truncated"]) == (2, True)
    assert "(2 of more than 2 rows)" in found["content"]


async def test_engines_and_connections_in_the_way_of_sqlalchemy(tmp_path: Path) -> None:
    """What the node uses of SQLAlchemy: `Engine.raw_connection()` and `Connection.connection`."""
    path = tmp_path / "x.db"
    closed: list[bool] = []

    class Raw(sqlite3.Connection):
        def close(self) -> None:
            closed.append(True)
            super().close()

    class Engine:
        def raw_connection(self) -> sqlite3.Connection:
            return sqlite3.connect(path, factory=Raw, check_same_thread=False)

    class Connection:
        @property
        def connection(self) -> sqlite3.Connection:
            return held

    with sqlite3.connect(path) as held:
        held.execute("create table t(x)")
        held.execute("insert into t values (1)")
    for source in (Engine(), Connection()):
        found = await output(graph(source, query="select x from t where x >= :least", params={"least": 1}))
        assert found["rows"] == [{"x": 1}]
    assert closed == [True]
    held.close()


async def test_a_query_that_takes_too_long_is_interrupted() -> None:
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"
    with pytest.raises(NodeExecutionError, match=r"longer than its timeout of 0\.05 s"):
        await output(graph(pd.DataFrame(CITIES), query=endless, timeout=0.05))


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        (pd.DataFrame(CITIES), {}, "needs query="),
        (pd.DataFrame(CITIES), {"query": "select '{{$question}}'"}, "takes no templates"),
        (pd.DataFrame(CITIES), {"query": "select 1", "params": 3}, "params= is a dict or a list"),
        (pd.DataFrame(CITIES), {"query": "select 1", "max_rows": 0}, "max_rows=0 is not above 0"),
        ("text", {"query": "select 1"}, "'text' is no source of rows"),
    ],
)
def test_what_cannot_be(source: Any, options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        graph(source, **options)
