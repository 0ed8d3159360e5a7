"""One graph over many inputs: what comes back in order, what stops it, what is not paid for twice."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any

import pandas as pd
import pydantic
import pytest
from gated_chat import ChatServer, gate, text
from run_doubles import Speaker, forever, graph_of, response

import mesh_nb as mesh
from mesh_nb.notebook import _batch_view


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


async def test_a_budget_is_for_all_runs_together():
    mesh.prices.set("m", 1000, 1000)  # the server's 46 tokens cost $0.046
    try:
        with ChatServer() as server:
            server.models["m"] = [text("ok")]
            found = await batch(served(server), list("abcdefghij"), concurrency=1, budget_usd=0.1)
            asked = len(server.requests)
    finally:
        mesh.prices.unset("m")
    assert asked == 3
    assert "budget_usd=0.1" in (found.error or "")
    assert found.counts == {"completed": 3, "budget": 1, "not started": 6}
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
