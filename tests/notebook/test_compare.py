"""Several models on one prompt: what the comparison keeps, shows, hides and refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from run_doubles import Speaker, forever, graph_of, response, until

import mesh_nb as mesh
from mesh_nb.notebook import _side_by_side


def speaker(name: str, *words: str, **options: Any) -> mesh.StateGraph:
    said = response(model_id=name, duration_ms=1500, time_to_first_token_ms=250, cost_usd=0.002)
    graph = graph_of(Speaker("llm", words, events=[said], **options))
    graph.graph_id = name
    return graph


def compare(models: Any, **options: Any) -> mesh.Comparison:
    return mesh.compare("Question?", models, backend=mesh.MemoryBackend(), display=False, **options)


async def test_answers_come_side_by_side_in_the_order_asked():
    models = [speaker("one", "Yes"), speaker("two", "No", " way")]
    comparison = await compare(models)
    assert list(comparison.runs) == ["one", "two"]
    frame = comparison.to_pandas()
    assert frame["text"].tolist() == ["Yes", "No way"]
    assert frame["cost_usd"].tolist() == [0.002, 0.002]
    assert frame["time_to_first_token_ms"].tolist() == [250, 250]
    assert frame["vote"].isna().all()
    assert frame.attrs["columns"]["cost_usd"]["unit"] == "USD"


async def test_they_run_at_the_same_time():
    met = asyncio.Barrier(2)
    comparison = await compare([speaker(name, name, wait=met.wait) for name in ("one", "two")])
    assert [run.status for run in comparison.runs.values()] == ["completed", "completed"]


async def test_one_that_fails_does_not_stop_the_others():
    comparison = await compare([speaker("bad", "Half", fails=OSError("gone")), speaker("good", "Whole")])
    frame = comparison.to_pandas().set_index("answer")
    assert frame.loc["bad", "status"] == "failed"
    assert frame.loc["bad", "text"] == "Half"
    assert "gone" in frame.loc["bad", "error"]
    assert frame.loc["good", "status"] == "completed"


async def test_an_unpriced_answer_costs_na():
    frame = (await compare([graph_of(Speaker("llm", events=[response(model_id="my-own")]))])).to_pandas()
    assert frame["cost_usd"].isna().all()


async def test_the_same_model_twice_has_two_columns():
    comparison = await compare([speaker("one"), speaker("one")])
    assert list(comparison.runs) == ["one", "one #2"]


async def test_blind_answers_have_letters_until_the_vote():
    models = {name: speaker(name, f"I am {name[0]}.") for name in ("alpha", "beta", "gamma")}
    comparison = await compare(models, blind=True)
    assert list(comparison.runs) == ["A", "B", "C"]
    shown = _side_by_side.frozen(comparison)
    assert not any(name in text for name in models for text in shown.values())
    chosen = comparison.runs["B"]
    comparison.vote("B")
    assert comparison.runs[comparison.winner or ""] is chosen
    assert set(comparison.runs) == set(models)
    frame = comparison.to_pandas()
    assert sorted(frame["vote"]) == ["lost", "lost", "won"]
    assert frame.loc[frame["vote"] == "won", "run_id"].item() == chosen.id
    assert all(name in _side_by_side.frozen(comparison)["text/html"] for name in models)


async def test_a_tie_and_a_second_thought():
    comparison = await compare([speaker("one"), speaker("two")])
    assert set(comparison.vote("tie").to_pandas()["vote"]) == {"tie"}
    assert comparison.vote("two").winner == "two"
    with pytest.raises(mesh.MeshError, match="'two'"):
        comparison.vote("tow")


async def test_what_the_saved_notebook_shows():
    comparison = await compare({"<one>": speaker("one", "Same\n\nold"), "two": speaker("two", "Same\n\nnew")})
    shown = _side_by_side.frozen(comparison)
    page = shown["text/html"]
    assert "&lt;one&gt;" in page
    assert "<one>" not in page
    assert page.index("old") < page.index("new")
    assert "0.25 s" in page
    assert "1.5 s" in page
    assert "$0.0020" in page
    assert "-old" in comparison.diff()
    assert "+new" in page
    assert "## two" in shown["text/markdown"]


async def test_stopping_the_cell_stops_all_and_keeps_what_came():
    comparison = compare([speaker("one", "Some", wait=forever), speaker("two", "Any", wait=forever)])
    for run in comparison.runs.values():
        await until(run, lambda run=run: run.text != "")
    waiting = asyncio.ensure_future(comparison)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert comparison.to_pandas()["text"].tolist() == ["Some", "Any"]
    assert {run.status for run in comparison.runs.values()} == {"cancelled"}


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], "1 to 26"),
        ("demo", "a list of models"),
        (7, "1 to 26"),
        ([{"model": "demo"}], "give dicts a name"),
        ({"x": 3}, "'x'"),
        (["demo", "nosuch"], "nosuch"),
        ({"x": {"model": "demo", "temprature": 1}}, "temperature"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_nothing_starts(models: Any, said: str):
    backend = mesh.MemoryBackend()
    with pytest.raises(mesh.MeshError, match=said):
        mesh.compare("Question?", models, backend=backend, display=False)
    assert not list(backend.run_ids())
