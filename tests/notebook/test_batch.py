"""One graph over many inputs: what comes back in order, what stops it, what is not paid for twice."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import io
import pickle
import re
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from gated_chat import ChatServer, gate, text
from hostile import ALL
from replay_server import ReplayThread
from run_doubles import Speaker, forever, graph_of, response
from support import until

import mesh_nb as mesh
from mesh_nb.notebook import _batch_forecast, _batch_view


def graph_for(fn: Any) -> mesh.StateGraph:
    return mesh.StateGraph("test").add_node("fn", fn).set_entry_point("fn")


def batch(model: Any, inputs: Any, **options: Any) -> mesh.Batch:
    given = {"backend": mesh.MemoryBackend(), "display": False, "cache": False, **options}
    return mesh.batch(model, inputs, **given)


def served(server: ChatServer, **options: Any) -> dict[str, Any]:
    return {"model": "m", "base_url": server.base_url, "api_key": "k", "max_retries": 0, **options}


async def test_answers_come_in_the_order_of_the_inputs_under_their_labels():
    first = asyncio.Event()

    async def shout(input: Any) -> str:
        if input["input"] == "a":
            await first.wait()
        else:
            first.set()
        return input["input"].upper()

    found = await batch(graph_for(shout), pd.Series(["a", "b", "c"], index=[10, 20, 30]))
    assert found.texts == ["A", "B", "C"]
    frame = found.to_pandas()
    assert frame["text"].to_dict() == {10: "A", 20: "B", 30: "C"}
    assert set(frame["status"]) == {"completed"}
    assert frame.attrs["columns"]["cost_usd"]["unit"] == "USD"


async def test_no_more_than_concurrency_runs_go_on_at_once():
    now = most = 0

    async def node(input: Any) -> Any:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0)
        now -= 1
        return input

    found = await batch(graph_for(node), range(20), concurrency=3)
    assert len(found) == found.counts["completed"] == 20
    assert most == 3


async def test_rows_of_a_table_fill_the_prompt():
    table = pd.DataFrame({"Review Text": ["fine", None], "stars": [4, 5]})
    table["who"] = [{"name": "Ada"}, {"name": "Bo"}]
    prompt = 'Rate {{ Review Text }} ({{stars}}) by {{who.name}} as {{"json"}}'
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), table, prompt=prompt, concurrency=1)
        sent = [request["messages"][-1]["content"] for request in server.requests]
    assert sent == ['Rate fine (4) by Ada as {{"json"}}', 'Rate  (5) by Bo as {{"json"}}']
    assert found[0].input == sent[0]


async def test_records_fill_the_prompt_too():
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        rows = [{"a": 1, "b": 2.5}, {"a": [3]}]
        found = await batch(served(server), rows, prompt="{{a}} or {{b}}", concurrency=1)
    assert [row.input for row in found] == ["1 or 2.5", "[3] or "]


async def test_rows_of_a_table_are_dicts_for_a_graph():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["one", "two"])
    seen: list[Any] = []

    def node(a: int, b: str | None) -> dict[str, Any]:
        seen.append((a, b))
        return {"double": 2 * a, "status": b, "list": [a]}

    frame = (await batch(graph_for(node), table, concurrency=1)).to_pandas()
    assert seen == [(1, "x"), (2, None)]
    joined = table.join(frame)
    assert joined.loc["two", "double"] == 4
    assert joined.loc["one", "output_status"] == "x"
    assert pd.isna(joined.loc["two", "output_status"])
    assert joined["list"].tolist() == [[1], [2]]
    assert joined["status"].tolist() == ["completed", "completed"]


async def test_columns_that_the_table_has_too_are_told_apart():
    table = pd.DataFrame({"text": ["one", "two"], "cost_usd": [1, 2]})
    frame = (await batch(graph_for(lambda text: {"content": text.upper(), "text": 1}), table)).to_pandas()
    joined = table.join(frame)
    assert joined["text"].tolist() == ["one", "two"]
    assert joined["output_text"].tolist() == ["ONE", "TWO"]
    assert joined["output_output_text"].tolist() == [1, 1]
    assert joined["cost_usd"].tolist() == [1, 2]
    assert frame.attrs["columns"]["output_cost_usd"]["unit"] == "USD"


async def test_fields_of_structured_answers_are_columns():
    class Verdict(pydantic.BaseModel):
        mood: str
        score: float

    with ChatServer() as server:
        server.models["m"] = [text('{"mood": "glad", "score": 0.5}')]
        found = await batch(served(server), ["one", "two"], output_type=Verdict)
    frame = found.to_pandas()
    assert frame["mood"].tolist() == ["glad", "glad"]
    assert frame["score"].sum() == 1.0
    assert list(frame.columns)[:3] == ["text", "mood", "score"]
    assert found.outputs[0]["parsed"] == Verdict(mood="glad", score=0.5)


async def test_one_that_fails_does_not_stop_the_others():
    def node(input: Any) -> float:
        return 1 / input["input"]

    found = await batch(graph_for(node), [1, 0, 2])
    assert found.counts == {"completed": 2, "failed": 1}
    assert [row.label for row in found.failed] == [1]
    assert "ZeroDivisionError" in (found[1].error or "")
    assert found.error is None
    assert "ZeroDivisionError" in repr(found)


async def test_a_refused_key_ends_the_batch_and_says_so():
    asked: list[int] = []

    def node(input: Any) -> None:
        asked.append(input["input"])
        raise mesh.AuthenticationError("the key is refused", provider="openai", model="m", status=401)

    found = await batch(graph_for(node), range(50), concurrency=2)
    assert len(asked) <= 2
    assert "the key is refused" in (found.error or "")
    assert found.counts["not started"] >= 48
    assert found.to_pandas()["run_id"].isna().sum() >= 48


async def test_max_failures():
    def node() -> None:
        raise OSError("gone")

    found = await batch(graph_for(node), range(50), concurrency=1, max_failures=3)
    assert found.counts == {"failed": 3, "not started": 47}
    assert "max_failures=3" in (found.error or "")


@pytest.mark.parametrize("at_once", [1, 8])
async def test_a_budget_is_for_all_runs_together(at_once: int):
    mesh.prices.set("m", 1000, 1000)  # the server's 46 tokens cost $0.046
    try:
        with ChatServer() as server:
            server.models["m"] = [text("ok")]
            found = await batch(served(server), list("abcdefghij"), concurrency=at_once, budget_usd=0.1)
            asked = len(server.requests)
    finally:
        mesh.prices.unset("m")
    assert asked == 3
    assert "budget_usd=0.1" in (found.error or "")
    assert found.counts == {"completed": 3, "budget": 1, "not started": 6}  # none beside it was sent
    assert found.cost_usd == pytest.approx(3 * 0.046)


async def test_what_was_answered_is_not_asked_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        server.refuses["m"] = 1
        first = await batch(served(server), ["a", "b", "c"], cache=True, concurrency=1)
        assert first.counts == {"completed": 2, "failed": 1}
        again = await batch(served(server), ["a", "b", "c", "d"], cache=True, concurrency=1)
        asked = [request["messages"][-1]["content"] for request in server.requests]
    assert asked == ["a", "b", "c", "a", "d"]
    assert again.counts == {"completed": 4}
    assert [row.cached for row in again] == [False, True, True, False]


async def test_a_tape_that_is_on_when_it_begins_has_all_of_it(tmp_path: Any):
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        with mesh.record(tmp_path / "t.mesh-tape"):
            found = batch(served(server), ["a", "b", "c"], concurrency=1)
        await found
        assert len(server.requests) == 3
        with mesh.record(tmp_path / "t.mesh-tape", "none", speed=0):
            again = await batch(served(server), ["c", "b", "a"], concurrency=2)
        assert len(server.requests) == 3
    assert again.texts == ["ok", "ok", "ok"]
    assert all(row.cached for row in again)


async def test_cancel_keeps_what_came_and_begins_no_more():
    with ChatServer() as server:
        server.models["m"] = [text("Some"), gate("never"), text(" more")]
        found = batch(served(server), ["a", "b", "c"], concurrency=2)
        begun = asyncio.Event()
        found.watch(lambda: begun.set() if len(found.run_ids) == 2 else None)
        await begun.wait()
        waiting = asyncio.ensure_future(found)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert found.done
    assert found.counts == {"cancelled": 2, "not started": 1}
    assert found.failed == []
    assert repr(found).splitlines() == ["0 of 3 rows complete · 2 cancelled · 1 not started · unpriced"]


async def test_a_run_that_somebody_stops_stops_the_batch():
    found = batch(graph_of(Speaker("llm", wait=forever)), range(9), concurrency=1)
    begun = asyncio.Event()
    found.watch(lambda: begun.set() if found.run_ids else None)
    await begun.wait()
    run = mesh.last_run()
    assert run is not None
    run.cancel()
    await found
    assert found.counts == {"cancelled": 1, "not started": 8}


def test_without_an_event_loop_it_is_waited_for():
    found = batch(graph_for(lambda input: 2 * input["input"]), {"x": 1, "y": 2})
    assert found.wait()
    assert found.done
    assert found.to_pandas()["text"].to_dict() == {"x": "2", "y": "4"}


async def test_every_run_is_in_the_log_and_in_the_frames(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    graph = graph_of(Speaker("llm", events=[response(cost_usd=0.25, cost_source="wire")]))
    found = await batch(graph, range(3), backend=None)
    calls = mesh.calls_df(found.run_ids)
    assert calls["run_id"].tolist() == found.run_ids
    assert calls["cost_usd"].sum() == found.cost_usd == 0.75
    assert found[2].load().text == "Hello world"


async def test_a_forecast_is_reckoned_from_what_was_paid():
    costs = iter([0.01, 0.02, 0.03])

    class Priced(Speaker):
        async def run(self, input: Any, context: Any) -> Any:
            self.extra = [response(cost_usd=next(costs), cost_source="wire")]
            async for event in super().run(input, context):
                yield event

    found = await batch(graph_of(Priced("llm")), range(3), concurrency=1)
    told = found.forecast(1000)
    assert told.usd == pytest.approx(20)
    assert told.low is not None
    assert told.high is not None
    assert told.low < 20 < told.high
    assert told.sample == 3
    assert "1,000 rows: about $20.00" in repr(told)
    with pytest.raises(mesh.InputError, match="rows=0"):
        found.forecast(0)


async def test_an_unpriced_row_has_no_cost_and_no_forecast_of_it():
    found = await batch(graph_of(Speaker("llm", events=[response(model_id="my-own", provider="me")])), ["a"])
    assert found.cost_usd is None
    assert found.unpriced_calls == 1
    assert found.to_pandas()["cost_usd"].isna().all()
    assert found.forecast(10).usd is None
    assert "unpriced" in repr(found.forecast(10))


async def test_what_the_saved_notebook_shows():
    found = await batch(
        graph_for(lambda input: f"<b>{input['input']}</b>"), [f"<i>{n}</i>" for n in range(30)]
    )
    shown = _batch_view.frozen(found)
    assert "30 of 30 rows complete" in shown["text/html"]
    assert "&lt;b&gt;&lt;i&gt;0" in shown["text/html"]
    assert "<b>" not in shown["text/html"].replace("<b ", "")
    assert "22 more" in shown["text/html"]
    assert "<b>" not in shown["text/markdown"]


GRAPH = graph_for(lambda input: input)
TABLE = pd.DataFrame({"a": [1], "b": [2]})


@pytest.mark.parametrize(
    ("model", "inputs", "options", "said"),
    [
        ("demo", "one text", {}, "each of many inputs"),
        ("demo", [], {}, "no inputs"),
        ("demo", ["a", None, float("nan")], {}, "2 of 3 inputs are missing, at 1, 2"),
        ("demo", TABLE, {}, 'prompt="... {{a}}"'),
        ("demo", TABLE, {"prompt": "Hello"}, "names no column"),
        ("demo", TABLE, {"prompt": "{{c}}"}, "'c'"),
        ("demo", ["a"], {"prompt": "{{text}}"}, "Known: input"),
        ("demo", ["a"], {"concurrency": 0}, "concurrency=0"),
        ("demo", ["a"], {"max_failures": True}, "max_failures=True"),
        ("demo", ["a"], {"temprature": 1}, "'temperature'"),
        ("demo", ["a"], {"concurency": 1}, "'concurrency'"),
        ("demo", ["a"], {"budget_usd": -1}, "budget_usd=-1"),
        ("demo", ["a"], {"timeout": "soon"}, "timeout="),
        ("demo", ["a"], {"variables": 3}, "variables="),
        ("demo", pd.DataFrame([[1, 2]], columns=["a", "a"]), {"prompt": "{{a}}"}, "Two columns"),
        ("nosuch", ["a"], {}, "nosuch"),
        (3, ["a"], {}, "model name"),
        (GRAPH, ["a"], {"temperature": 1}, "takes no temperature="),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_nothing_starts(
    model: Any, inputs: Any, options: dict[str, Any], said: str
):
    backend = mesh.MemoryBackend()
    with pytest.raises(mesh.MeshError) as raised:
        batch(model, inputs, **{"backend": backend, **options})
    assert said in str(raised.value)
    assert not list(backend.run_ids())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    monkeypatch.setenv("COLUMNS", "60")
    await batch(graph_for(lambda input: input), range(4), display=None)
    lines = seen.getvalue().split("\r")
    assert lines[1].startswith("0 of 4 rows complete")
    assert lines[-1].split() == ["4", "of", "4", "rows", "complete"]
    assert lines[-1].endswith("\n")
    assert max(map(len, lines)) <= 60


async def test_nothing_is_written_where_nobody_looks(capsys: pytest.CaptureFixture[str]):
    await batch(graph_for(lambda input: input), range(4), display=None)
    assert capsys.readouterr() == ("", "")


async def test_a_watcher_that_fails_costs_no_row(caplog: pytest.LogCaptureFixture):
    calls = 0

    def bad() -> None:
        nonlocal calls
        calls += 1
        raise ValueError("a view")

    found = batch(graph_for(lambda input: input), range(5), concurrency=2)
    found.watch(bad)
    assert (await found).counts == {"completed": 5}
    assert calls == 1
    assert "a view" in caplog.text


async def test_a_view_that_cannot_begin_costs_no_row(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    class Broken(Terminal):
        def isatty(self) -> bool:
            raise OSError("no terminal")

    monkeypatch.setattr(sys, "stderr", Broken())
    found = await batch(graph_for(lambda input: input), range(3), display=None)
    assert found.counts == {"completed": 3}
    assert "no terminal" in caplog.text


async def test_a_bug_ends_the_batch_with_its_error_and_stops_the_other_runs(caplog: pytest.LogCaptureFixture):
    begun = asyncio.Event()

    def run(input: Any, **_: Any) -> Any:
        if input == 1:
            raise RuntimeError("a bug")
        begun.set()
        return graph_of(Speaker("llm", wait=forever)).run(input, backend=mesh.MemoryBackend(), display=False)

    found = batch(graph_for(lambda input: input), [0, 1, 2], concurrency=2)
    found._run = run
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(found, 60)
    assert begun.is_set()
    assert found.done
    assert found.counts == {"cancelled": 1, "not started": 2}
    assert found.error == "RuntimeError: a bug"
    with pytest.raises(RuntimeError, match="a bug"):
        found.wait()


async def test_wait_on_the_loop_of_the_runs_is_refused_for_it_would_never_end():
    found = batch(graph_for(lambda input: input), [1])
    with pytest.raises(mesh.InputError, match="write `await`"):
        found.wait()
    await found
    assert found.wait()


def test_a_loop_that_closes_leaves_every_row_with_an_ending(caplog: pytest.LogCaptureFixture):
    made: list[mesh.Batch] = []

    async def main() -> None:
        begun = asyncio.Event()
        made.append(batch(graph_of(Speaker("llm", wait=forever)), range(5), concurrency=2))
        made[0].watch(lambda: begun.set() if len(made[0].run_ids) == 2 else None)
        await begun.wait()

    asyncio.run(main())
    assert made[0].counts == {"cancelled": 2, "not started": 3}
    assert made[0].done
    assert "never retrieved" not in caplog.text


async def test_cancel_stops_the_run_that_is_just_beginning():
    def run(input: Any, **_: Any) -> Any:
        made = graph_of(Speaker("llm", wait=forever)).run(input, backend=mesh.MemoryBackend(), display=False)
        found.cancel()  # as another thread may, before the batch has seen this run
        return made

    found = batch(graph_for(lambda input: input), range(5), concurrency=2)
    found._run = run
    await asyncio.wait_for(found, 60)
    assert found.counts == {"cancelled": 1, "not started": 4}


def test_the_last_word_is_written_before_those_who_wait_go_on(monkeypatch: pytest.MonkeyPatch):
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    for _ in range(20):
        assert batch(graph_for(lambda input: input), range(3), display=None).wait()
        assert seen.getvalue().rstrip(" \n").endswith("3 of 3 rows complete")
        assert seen.getvalue().endswith("\n")


async def test_a_terminal_is_told_what_failed_without_its_commands(monkeypatch: pytest.MonkeyPatch):
    def node(input: Any) -> None:
        raise ValueError(f"{input['input']}\x1b[2J\x1b]0;title\x07\u202e\nnext \ud800")

    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    found = await batch(graph_for(node), [f"in {n}" for n in range(5)], display=None)
    last = seen.getvalue().split("\r")[-1]
    assert "0 of 5 rows complete · 5 failed" in last
    assert "ValueError: in 0 next" in last
    assert "... and 2 more" in last
    assert all(c.isprintable() or c == "\n" for c in last + repr(found))


async def test_a_row_loads_its_run_from_where_it_is(tmp_path: Path):
    for backend in (mesh.MemoryBackend(), mesh.FileBackend(tmp_path)):
        found = await batch(graph_for(lambda input: input), ["a"], backend=backend)
        assert found[0].load().input is not None
        assert found[0].load().id == found[0].id
    again = pickle.loads(pickle.dumps(found))
    assert again[0] is not found[0]
    assert again[0].text == found[0].text


async def test_a_batch_that_has_ended_can_be_pickled_and_one_that_goes_on_says_why_not():
    def double(input: Any) -> int:
        return 2 * input["input"]

    found = batch(graph_for(double), {"a": 1, "b": 2})
    with pytest.raises(TypeError, match="wait for it first"):
        pickle.dumps(found)
    await found
    again = pickle.loads(pickle.dumps(found))
    assert again.to_pandas().equals(found.to_pandas())
    assert await again is again
    assert again.wait()
    again.cancel()


@pytest.mark.parametrize(
    ("inputs", "rows"),
    [
        (pa.table({"a": [1, None], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]),
        (pl.DataFrame({"a": [1, None], "b": ["x", "y"]}), [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]),
        (pa.array(["x", "y"]), ["x", "y"]),
        (pa.chunked_array([["x"], ["y"]]), ["x", "y"]),
        (pl.Series(["x", "y"]), ["x", "y"]),
        (np.array([1, 2]), [1, 2]),
        (pd.Index(["x"]), ["x"]),
        (pd.Series(["x"], dtype="category"), ["x"]),
        ((c for c in "ab"), ["a", "b"]),
        (
            pd.DataFrame({"n": pd.array([None], "Int64"), "t": [pd.NaT], "l": [[1]]}),
            [{"n": None, "t": None, "l": [1]}],
        ),
        (pd.DataFrame([[1, decimal.Decimal("sNaN")]], columns=["a", 0]), [{"a": 1, "0": None}]),
    ],
)
async def test_inputs_of_every_kind(inputs: Any, rows: list[Any]):
    found = await batch(graph_for(lambda input: "ok"), inputs)
    assert [row.input for row in found] == rows
    assert found.texts == ["ok"] * len(rows)
    assert found.to_pandas()["text"].tolist() == found.texts


async def test_odd_names_of_columns_are_found_in_a_prompt():
    table = pd.DataFrame([[1, 2, 3, 4, 5]], columns=[" text ", "a.b", "Größe (m)", 0, ("x", "y")])
    prompt = "{{text}} {{ a.b }} {{Größe (m)}} {{0}} {{('x', 'y')}} {{{text}}} {{}} {{ $x }}"
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), table, prompt=prompt)
        with pytest.raises(mesh.UnknownNameError, match="Größe"):
            batch(served(server), table, prompt="{{text}} {{Grösse (m)}}")
        with pytest.raises(mesh.InputError, match="photo"):
            batch(served(server), pd.DataFrame({"photo": [b"x"]}), prompt="{{photo}}")
    assert found[0].input == "1 2 3 4 5 {1} {{}} {{ $x }}"


async def test_labels_that_repeat_are_told_before_a_join_multiplies_rows():
    table = pd.DataFrame({"text": ["a", "b", "c"]}, index=[0, 0, 1])
    found = await batch(graph_for(lambda text: text.upper()), table)
    with pytest.warns(UserWarning, match=r"to_pandas\(inputs=True\)"):
        found.to_pandas()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = found.to_pandas(inputs=True)
    assert frame["text"].tolist() == ["a", "b", "c"]
    assert frame["output_text"].tolist() == ["A", "B", "C"]
    assert frame.index.tolist() == [0, 0, 1]
    table["text"] = "changed"
    assert found.to_pandas(inputs=True)["text"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("inputs", "first", "values"),
    [
        (pl.DataFrame({"a": ["x", "y"]}), "a", ["x", "y"]),
        (pa.table({"a": ["x", "y"]}), "a", ["x", "y"]),
        ([{"a": 1}, {"a": 2}], "a", [1, 2]),
        (["x", "y"], "input", ["x", "y"]),
        ({"one": 1.5, "two": 2.5}, "input", [1.5, 2.5]),
        (pd.Series(["x", "y"], index=pd.MultiIndex.from_tuples([(1, "a"), (1, "b")])), "input", ["x", "y"]),
    ],
)
async def test_inputs_and_answers_side_by_side_survive_parquet(
    inputs: Any, first: str, values: list[Any], tmp_path: Path
):
    frame = (await batch(graph_for(lambda input: {"n": 1}), inputs)).to_pandas(inputs=True)
    assert list(frame.columns)[:3] == [first, "text", "n"]
    assert frame[first].tolist() == values
    frame.to_parquet(tmp_path / "t.parquet")
    again = pd.read_parquet(tmp_path / "t.parquet")
    assert again[first].tolist() == values
    assert again["n"].tolist() == [1, 1]


async def test_a_column_of_files_is_attached_row_by_row(tmp_path: Path):
    (tmp_path / "a.txt").write_text("first note")
    table = pd.DataFrame(
        {"what": ["one", "two", "three"], "file": [str(tmp_path / "a.txt"), None, [("b.txt", b"second")]]}
    )
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), table, prompt="Read {{what}}", files="file", concurrency=1)
        sent = [str(request["messages"][-1]["content"]) for request in server.requests]
    assert found.counts == {"completed": 3}
    assert "first note" in sent[0]
    assert sent[1] == "Read two"
    assert "second" in sent[2]
    seen: list[Any] = []

    def node(what: str, files: Any = None) -> None:
        seen.append((what, files and files[0]["name"]))

    await batch(graph_for(node), table, files="file", concurrency=1)
    assert seen == [("one", "a.txt"), ("two", None), ("three", "b.txt")]


async def test_one_row_without_its_file_fails_alone(tmp_path: Path):
    (tmp_path / "a.txt").write_text("note")
    rows = [{"q": "x", "file": tmp_path / name} for name in ("a.txt", "gone.txt")]
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), rows, files="file")
    assert found.counts == {"completed": 1, "failed": 1}
    assert "gone.txt" in (found[1].error or "")


async def test_what_is_there_twice_is_asked_once_unless_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), ["a", "b", "a", "a"], cache=True)
        assert len(server.requests) == 2
        await batch(served(server), ["a", "a"], cache=False)
        assert len(server.requests) == 4
    assert found.counts == {"completed": 4}
    assert sum(row.cached for row in found) == 2


async def test_secrets_are_in_nothing_that_is_shown_or_written():
    key = mesh.secret("open sesame 77")

    def node(input: Any) -> Any:
        if input["input"] == "fail":
            raise ValueError(f"refused {key}")
        return {"content": f"said {key}", "field": f"in {key}"}

    found = await batch(graph_for(node), ["ok", "fail", f"with {key}"])
    views = _batch_view.frozen(found)
    frame = found.to_pandas()
    assert "sesame" not in repr(found) + str(views) + frame.to_csv()
    assert "refused" in repr(found)


async def test_saved_output_is_small_and_clean_whatever_the_rows_say():
    hostile = "<script>alert(1)</script>\x1b[31m\x00\ud800\u202e|`*_[x](y)" + "long " * 500

    def node(input: Any) -> dict[str, Any]:
        return {"content": hostile, hostile: hostile, "status": "mine", "input": "its"}

    found = await batch(graph_for(node), {f"{hostile}{n}": hostile for n in range(60)})
    views = _batch_view.frozen(found)
    whole = "".join(views.values())
    assert "<script" not in views["text/html"]
    assert "<script" not in views["text/markdown"].replace("\\<", "")
    assert whole.encode()
    assert len(whole) < 40_000
    assert not set(whole) & set("\x1b\x00\u202e")
    assert "output_input" in views["text/html"]
    table = [line for line in views["text/markdown"].splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


async def test_the_saved_table_shows_the_columns_that_the_prompt_names():
    table = pd.DataFrame({"review": ["It floats.", "It sank."], "id": [1, 2]})
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), table, prompt="Classify this, " * 40 + "{{review}}")
    shown = _batch_view.frozen(found)["text/html"]
    assert ">review<" in shown
    assert ">It sank.<" in shown
    assert "Classify" not in shown


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "under a second"), (59.7, "1 min"), (90, "2 min"), (3599, "1 h 0 min"), (7300, "2 h 2 min")],
)
def test_a_time_as_people_say_it(seconds: float, said: str):
    assert _batch_forecast.span(seconds) == said


async def test_the_line_of_a_terminal_is_never_left_behind(monkeypatch: pytest.MonkeyPatch):
    seen = Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    found = batch(graph_of(Speaker("llm", wait=forever)), range(9), concurrency=4, display=None)
    await until(lambda: "4 running" in seen.getvalue())
    found.cancel()
    await found


class Old(Terminal):
    encoding = "ascii"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


async def test_a_terminal_gets_signs_that_it_has(monkeypatch: pytest.MonkeyPatch):
    seen = Old()
    monkeypatch.setattr(sys, "stderr", seen)
    await batch(graph_for(lambda input: 1 / input["input"]), [0, 1], display=None)
    assert "1 of 2 rows complete - 1 failed" in seen.getvalue()


class Mood(enum.Enum):
    GLAD = "glad"


class Part(pydantic.BaseModel):
    mood: Mood
    score: float
    on: datetime.date


@dataclasses.dataclass
class Whole:
    parts: list[Part]
    first: Part


ANSWER = '{"mood": "glad", "score": 1, "on": "2026-01-02"}'
GIVEN = {"mood": "glad", "score": 1.0, "on": datetime.date(2026, 1, 2)}


@pytest.mark.parametrize(
    ("kind", "answer", "columns"),
    [
        (Part, ANSWER, GIVEN),
        (
            Whole,
            f'{{"parts": [{ANSWER}], "first": {ANSWER}}}',
            {"first": GIVEN},
        ),
        (
            list[Part],
            f"[{ANSWER}]",
            {"parsed": [{"mood": "glad", "score": 1.0, "on": datetime.date(2026, 1, 2)}]},
        ),
        (list[str], '["a"]', {"parsed": ["a"]}),
        (int, "3", {"parsed": 3}),
    ],
)
async def test_answers_of_every_type_are_plain_values_that_parquet_takes(
    kind: Any, answer: str, columns: dict[str, Any], tmp_path: Path
):
    with ChatServer() as server:
        server.models["m"] = [text(answer)]
        found = await batch(served(server), ["a", "b"], output_type=kind)
    assert found.counts == {"completed": 2}
    frame = found.to_pandas()
    frame.to_parquet(tmp_path / "t.parquet")
    for name, value in columns.items():
        assert frame[name].tolist() == [value, value]
    if kind is Part:
        assert str(frame["score"].dtype) == "double[pyarrow]"


async def test_a_column_of_numbers_has_the_same_dtype_whatever_the_numbers_are():
    rows = [{"x": 1.0, "n": 2**70, "b": True, "none": None}, {"x": 2.0, "n": 1, "b": None, "none": None}]
    frame = (await batch(graph_for(lambda input: {f"{k}2": v for k, v in input.items()}), rows)).to_pandas()
    kinds = {name: str(dtype) for name, dtype in frame.dtypes.items()}
    assert [kinds[f"{name}2"] for name in rows[0]] == [
        "double[pyarrow]",
        "object",
        "bool[pyarrow]",
        "string[pyarrow]",
    ]
    assert frame["n2"].tolist() == [2**70, 1]


BROKEN = ["drop_event=10", "cut_event=10", "error=10", "malformed=10"]


@pytest.mark.parametrize("how", [*(f"fail=-1,status={n}" for n in (400, 429, 500)), *BROKEN])
async def test_what_ends_one_answer_does_not_end_the_others_and_keeps_what_came(how: str):
    with ReplayThread() as url:
        asked = {"model": f"synthetic-40@{how}", "base_url": f"{url}/v1", "api_key": "k", "max_retries": 0}
        found = await batch(asked, list("abcd"), concurrency=2)
    assert found.counts == {"failed": 4}
    assert found.error is None
    assert found.texts == ["".join(f"tok{n} " for n in range(found[0].text.count("tok")))] * 4
    assert (found[0].text != "") == (how in BROKEN)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_what_no_row_can_get_past_ends_the_batch(status: int):
    with ReplayThread() as url:
        model = f"synthetic-40@fail=-1,status={status}"
        asked = {"model": model, "base_url": f"{url}/v1", "api_key": "k", "max_retries": 0}
        found = await batch(asked, range(50), concurrency=2)
    assert found.counts["not started"] >= 46
    assert f"HTTP {status}" in (found.error or "")


async def test_an_account_without_credit_ends_the_batch():
    def node() -> None:
        raise mesh.RateLimitError("no credit", provider="p", model="m", status=429, retryable=False)

    found = await batch(graph_for(node), range(50), concurrency=1)
    assert found.counts == {"failed": 1, "not started": 49}


async def test_runs_that_take_too_long_are_told_apart():
    found = await batch(graph_of(Speaker("llm", wait=forever)), range(2), timeout=0.05)
    assert found.counts == {"timeout": 2}
    assert "2 timed out" in repr(found)
    assert len(found.failed) == 2


async def test_a_budget_of_the_notebook_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    mesh.prices.set("m", 1000, 1000)
    mesh.spending.set(0.1)
    try:
        with ChatServer() as server:
            server.models["m"] = [text("ok")]
            found = await batch(served(server), list("abcdefghij"), concurrency=1, backend=None)
            assert len(server.requests) == 3
    finally:
        mesh.prices.unset("m")
        mesh.spending.clear()
    assert "%mesh budget" in (found.error or "")
    assert found.counts["not started"] == 6


async def test_a_budget_refuses_what_has_no_price_unless_that_is_allowed():
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), list("abc"), concurrency=1, budget_usd=1.0)
        assert found.counts == {"failed": 1, "not started": 2}
        assert "unpriced='allow'" in (found.error or "")
        assert not server.requests
        found = await batch(served(server), list("abc"), budget_usd=1.0, unpriced="allow")
    assert found.counts == {"completed": 3}


async def test_frames_and_reports_tell_the_same_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    mesh.prices.set("synthetic-40", 1000, 1000)
    try:
        with ReplayThread() as url:
            asked = {"base_url": f"{url}/v1", "api_key": "k", "max_retries": 0, "display": False}
            paid = await mesh.batch("synthetic-40", ["a", "b", "a"], **asked)
            half = await mesh.batch("synthetic-40", ["a", "c"], **asked)
            none = await mesh.batch("synthetic-40@drop_event=10", ["a", "c"], **asked)
            assert [len(mesh.calls_df(found.run_ids)) for found in (paid, half, none)] == [3, 2, 2]
            assert paid.cost_usd == pytest.approx(0.1)
            for found in (paid, half):
                assert mesh.calls_df(found.run_ids)["cost_usd"].sum() == pytest.approx(found.cost_usd)
                assert mesh.cost_report(found.run_ids).cost_usd == pytest.approx(found.cost_usd)
                assert found.to_pandas()["cost_usd"].sum() == pytest.approx(found.cost_usd)
            assert none.cost_usd is None
            assert none.unpriced_calls == 2
            assert half.forecast(10).usd == pytest.approx(0.5)
            assert half.forecast(10).sample == 1
    finally:
        mesh.prices.unset("synthetic-40")


async def test_a_forecast_counts_what_failed_rows_cost():
    class Sometimes(Speaker):
        async def run(self, input: Any, context: Any) -> Any:
            self.extra = [response(cost_usd=0.1, cost_source="wire")]
            async for event in super().run(input, context):
                if event.type == "node_complete" and input["input"] % 2:
                    raise ValueError("odd")
                yield event

    found = await batch(graph_of(Sometimes("llm")), range(4), concurrency=1)
    assert found.counts == {"completed": 2, "failed": 2}
    assert found.forecast(100).usd == pytest.approx(100 * 0.4 / 2)


async def test_values_go_to_a_model_as_text_and_what_has_none_is_refused():
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), [5, datetime.date(2026, 1, 2), ["a", 1], np.float64(2.5)])
        for value in (b"bytes", object()):
            with pytest.raises(mesh.InputError, match="files="):
                batch(served(server), ["text", value])
    assert [row.input for row in found] == ["5", "2026-01-02", '["a",1]', "2.5"]


async def test_questions_to_people_stop_their_rows_or_are_counted():
    graph = mesh.StateGraph("ask").add_node("ok", None, node_type="approval", message="Send?")
    graph = graph.set_entry_point("ok")
    found = await batch(graph, ["a", "b"])
    assert found.counts == {"interrupted": 2}
    assert "2 not answered" in repr(found)
    assert found.failed == []
    assert (await batch(graph, ["a", "b"], on_no_answer="allow")).counts == {"completed": 2}
    denied = await batch(graph, ["a", "b"], on_no_answer="deny")
    assert len(denied.failed) == 2
    waiting = batch(graph, ["a"], on_no_answer="wait")
    await until(lambda: waiting.asking == 1)
    waiting[0].load().approve()
    assert (await waiting).counts == {"completed": 1}


async def test_a_project_that_cannot_be_written_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "home").write_text("a file where a folder should be")
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "home"))
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), range(20), cache=True, backend=None)
    assert found.counts == {"completed": 20}
    assert found[3].load().text == "ok"
    assert caplog.text.count("kept in the cache") == 1


async def test_the_saved_table_names_what_did_not_end_well_and_nothing_else():
    found = await batch(graph_for(lambda input: 1 / input["n"]), [{"n": n} for n in (1, 0, *range(1, 20), 0)])
    shown = _batch_view.frozen(found)
    assert shown["text/html"].count("failed: Node") == shown["text/markdown"].count("failed: Node") == 2
    assert "completed" not in shown["text/html"]
    assert "Of those that failed:" in shown["text/html"]
    assert ">n<" in shown["text/html"]


class Parts(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_comment(self, data: str) -> None:
        self.tags.add("comment")


async def test_no_hostile_text_is_more_than_text_in_any_view():
    async def node(input: Any) -> Any:
        if input["n"] % 4 == 3:
            raise ValueError(input["said"])
        said = input["said"]
        return {"content": said, said: said} if input["n"] % 4 == 2 else said

    rows = {f"{said}{n}": {"n": n, "said": said} for n, said in enumerate(ALL)}
    found = await batch(graph_for(node), rows)
    tags = {"p", "strong", "small", "div", "table", "thead", "tbody", "tr", "th", "td"}
    every = found.rows, found.inputs.items
    for at in range(0, len(ALL), _batch_view.ROWS):
        found.rows, part = every[0][at : at + _batch_view.ROWS], every[1][at : at + _batch_view.ROWS]
        found.inputs = dataclasses.replace(found.inputs, items=part)
        shown = _batch_view.frozen(found)
        parts = Parts(shown["text/html"])
        assert parts.tags <= tags
        assert parts.attributes <= {"style", "tabindex", "dir"}
        assert not re.search(r"(?<!\\)[<\[`]", shown["text/markdown"])
        assert "".join(shown.values()).encode()
        assert all(c.isprintable() or c in "\n\u200c\u200d" for c in shown["text/html"] + shown["text/plain"])


async def test_a_series_goes_by_its_name():
    table = pd.DataFrame({"text": ["one", "two"]})
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), table["text"], prompt="Is it {{text}}, {{input}}?")
    assert [row.input for row in found] == ["Is it one, one?", "Is it two, two?"]
    assert table.join(found.to_pandas())["output_text"].tolist() == ["ok", "ok"]
    assert found.to_pandas(inputs=True)["text"].tolist() == ["one", "two"]
    assert ">text<" in _batch_view.frozen(found)["text/html"]


async def test_records_under_any_keys_and_in_a_series():
    rows = pd.Series([{1: "a", "n": np.int64(2)}, {1: "b", "n": None}])
    with ChatServer() as server:
        server.models["m"] = [text("ok")]
        found = await batch(served(server), rows, prompt="{{1}} {{n}}")
        with pytest.raises(mesh.InputError, match="1 of 2 inputs is missing, at 1"):
            batch(served(server), ["a", None], prompt="Is it {{input}}?")
    assert [row.input for row in found] == ["a 2", "b "]
    assert found.to_pandas(inputs=True)["1"].tolist() == ["a", "b"]
