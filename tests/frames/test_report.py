"""Reports: what they add up, what they say, how they look; prices of one's own; usage while runs go on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from event_lists import whole
from run_doubles import Speaker, graph_of, response, until

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.errors import InputError, UnknownNameError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.frames import _progress
from mesh_nb.frames._report import GROUPS, overview


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    yield tmp_path
    mesh_nb.prices.unset()


def called(name: str, model: str, provider: str = "openai", **usage: int) -> tuple[Any, ...]:
    known = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000, **usage}
    metadata = {"call_id": name, "provider": provider, "model_id": model, "usage": known}
    return ("response_metadata", "llm", {"metadata": metadata})


def logged(run_id: str, *calls: tuple[Any, ...], **header: Any) -> None:
    log = FileBackend().open(run_id, header)
    for event in whole(*calls, run_id=run_id):
        log.append(event)
    log.close()


def two_notebooks() -> None:
    logged("r1", called("1", "gpt-4o-mini"), notebook="a.ipynb", cell="c1", execution="In [1]")
    logged("r2", called("1", "gpt-4o-mini"), called("2", "mine"), notebook="a.ipynb", cell="c2")
    logged("r3", called("1", "gpt-4o", cached_tokens=500_000), notebook="b.ipynb", cell="c3")


def test_a_report_is_a_plain_frame_the_dearest_first() -> None:
    two_notebooks()
    report = mesh_nb.cost_report()
    assert type(report.df) is pd.DataFrame
    assert list(report.df.model) == ["gpt-4o", "gpt-4o-mini", "mine"]
    assert list(report.df.calls) == [1, 2, 1]
    assert list(report.df.cost_usd[:2]) == pytest.approx([0.5 * 2.5 + 0.5 * 1.25, 0.30])
    assert pd.isna(report.df.cost_usd[2])
    assert list(report.df.unpriced_calls) == [0, 0, 1]
    assert report.cost_usd == pytest.approx(1.875 + 0.30)
    assert report.saved_usd == pytest.approx(0.5 * 1.25)
    [row] = report.unpriced.to_dict("records")
    assert row == {"provider": "openai", "model": "mine", "unpriced": "no price known", "calls": 1}


def test_by_several_names_and_one_notebook() -> None:
    two_notebooks()
    report = mesh_nb.cost_report(by=["notebook", "cell"], notebook="a.ipynb")
    assert sorted(map(tuple, report.df[["notebook", "cell"]].to_numpy())) == [
        ("a.ipynb", "c1"),
        ("a.ipynb", "c2"),
    ]
    assert mesh_nb.cost_report(by="day").df.calls[0] == 4


@pytest.mark.parametrize("wrong", ["modell", ["model", "cel"], [3]])
def test_an_unknown_group_names_the_known_ones(wrong: Any) -> None:
    with pytest.raises(UnknownNameError, match="node_id") as error:
        mesh_nb.cost_report(by=wrong)
    assert set(error.value.known) == set(GROUPS)


def test_nothing_to_group_by_is_refused() -> None:
    with pytest.raises(InputError, match="by="):
        mesh_nb.cost_report(by=[])


def test_text_markdown_and_html_say_the_same_and_escape() -> None:
    logged("r1", called("1", "<script>alert(1)</script>|`x`"), called("2", "gpt-4o-mini"))
    report = mesh_nb.cost_report()
    text, html, markdown = repr(report), report._repr_html_(), report.to_markdown()
    for shown in (text, html, markdown):
        assert "$0.1500" in shown
        assert "unpriced" in shown
        assert "2 model calls, 1 unpriced, in 1 run" in shown
    assert "<script>" not in html
    assert "<script>" not in markdown
    assert "\\|" in markdown
    assert "$0 " not in text
    assert "prices.set" in text


def test_control_characters_of_a_model_name_do_not_reach_the_terminal() -> None:
    logged("r1", called("1", "\x1b[31mred\x07"))
    assert "\x1b" not in repr(mesh_nb.cost_report())


def test_an_empty_project_costs_nothing() -> None:
    report = mesh_nb.cost_report()
    assert "nothing was called" in repr(report)
    assert report.cost_usd is None
    assert list(report.df.columns)[:2] == ["model", "calls"]
    assert "0 model calls" in report.to_markdown()


def test_the_overview_names_cells_and_savings() -> None:
    for number in range(5):
        usage = {"prompt_tokens": 1_000_000 * (number + 1), "cached_tokens": 100_000}
        logged(
            f"r{number}",
            called("1", "gpt-4o-mini", **usage),
            notebook="a",
            cell=f"0{number}abcdefgh",
            execution=f"In [{number}]",
        )
    text = repr(overview(mesh_nb.costs_df(), "This notebook"))
    assert text.startswith("This notebook: $2.")
    assert "Most expensive cells: In [4] (04abcdef)" in text
    assert "In [0]" in text
    assert "caches saved $0.0375 (500,000 tokens)" in text
    assert "By model" in text


def test_problems_of_the_log_are_told() -> None:
    two_notebooks()
    with open(FileBackend().folder / "runs" / "r1.jsonl", "ab") as file:
        file.write(b'{"seq":99,"type":"response_metadata","meta')
    assert "Not read: r1: 1 line" in repr(mesh_nb.cost_report())


def test_own_prices_go_before_the_known_ones_and_after_the_bill() -> None:
    logged("r1", called("1", "llama3", "ollama", completion_tokens=1_000_000))
    logged("r2", called("1", "gpt-4o-mini", cached_tokens=400_000, cache_write_tokens=100_000))
    billed = called("1", "gpt-4o-mini")
    billed[2]["metadata"]["cost_usd"] = 7.0
    logged("r3", billed)
    mesh_nb.prices.set("ollama/*", 0)
    mesh_nb.prices.set("openai/gpt-4o-*", 10, 20, cached=1, cache_write=30)
    found = mesh_nb.calls_df().set_index("run_id")
    assert found.cost_usd["r1"] == 0
    assert found.cost_usd["r2"] == pytest.approx(0.5 * 10 + 0.4 * 1 + 0.1 * 30)
    assert found.cost_usd["r3"] == 7.0
    assert list(found.cost_source) == ["custom", "custom", "wire"]
    assert mesh_nb.costs_df("r2").saved_usd[0] == pytest.approx(10 - 8.4)
    mesh_nb.prices.set("gpt-4o-mini", 1, 2, reasoning=5)
    assert mesh_nb.calls_df("r2").cost_usd[0] == pytest.approx(1)
    mesh_nb.prices.unset("gpt-4o-mini")
    assert mesh_nb.calls_df("r2").cost_usd[0] == pytest.approx(8.4)
    assert list(mesh_nb.prices.rates()) == ["ollama/*", "openai/gpt-4o-*"]


@pytest.mark.parametrize(
    "given",
    [("", 1), (5, 1), ("m", -1), ("m", float("nan")), ("m", "1"), ("m", None), ("m", True), ("m", 1, -2)],
)
def test_a_price_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(InputError):
        mesh_nb.prices.set(*given)
    assert not mesh_nb.prices.rates()


def test_forgetting_an_unknown_price_is_told() -> None:
    with pytest.raises(InputError, match="nothing-set"):
        mesh_nb.prices.unset("nothing-set")


async def test_usage_counts_runs_of_this_process_while_they_go_on() -> None:
    metadata = called("1", "gpt-4o-mini")[2]["metadata"]
    answered = [ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata)]
    first = await graph_of(Speaker("a", events=answered)).run("hi")
    go = asyncio.Event()
    second = Speaker("a", events=answered)
    going = graph_of(second, Speaker("b", wait=go.wait)).run("hi")
    ids = {first.id, going.id}
    await until(going, lambda: any(e.node_id == "b" for e in going.events))
    report = mesh_nb.usage()
    assert [run for run in report.costs.run_id if run in ids] == [first.id, going.id]
    assert any(note.endswith("still going.") for note in report.notes)
    go.set()
    await going
    assert [run for run in mesh_nb.usage().costs.run_id if run in ids] == [first.id, going.id]


async def test_usage_counts_what_no_log_has_and_what_was_done_since_a_run_was_resumed() -> None:
    run = graph_of(Speaker("a", events=[response(call_id="1")])).run("hi", backend=mesh_nb.MemoryBackend())
    await run
    assert run.id in set(mesh_nb.usage().costs.run_id)
    name = "20200101T000000000000-00000001"
    log = FileBackend().open(name, {})
    old = response(call_id="old")
    old.timestamp, old.seq = 1_577_836_800.0, 0
    log.append(old)
    log.close()
    path = FileBackend().folder / "runs" / f"{name}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"pid":', b'"pid":9'))
    assert name not in set(mesh_nb.usage().costs.run_id)
    again = FileBackend().reopen(name, {})
    new = response(call_id="new")
    new.seq = 1
    again.append(new)
    again.close()
    assert list(mesh_nb.usage().costs.run_id).count(name) == 1


async def test_a_node_that_was_taken_from_an_earlier_run_is_not_paid_again() -> None:
    graph = graph_of(Speaker("a", events=[response(call_id="1")]), Speaker("b"))
    first = await graph.run("hi")
    forked = await first.fork(at="b")
    nodes = mesh_nb.nodes_df(forked).set_index("node_id")
    assert nodes.status["a"] == "reused"
    assert nodes.status["b"] == "completed"
    assert len(mesh_nb.calls_df([first, forked])) == 1


def test_a_long_reading_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two_notebooks()
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(_progress, "STEP", 0.0)
    mesh_nb.cost_report()
    assert capsys.readouterr().err == ""  # nobody looks
    monkeypatch.setattr(_progress, "_is_watched", lambda: True)
    for read in (mesh_nb.runs_df, mesh_nb.cost_report):
        read()
        bar = capsys.readouterr().err
        assert "Reading logs" in bar
        assert "3 of 3" in bar


def test_a_styler_has_the_figures_and_bars_and_escapes() -> None:
    logged("r1", called("1", "<script>alert(1)</script>\x1b"), called("2", "gpt-4o-mini"))
    report = mesh_nb.cost_report()
    styler = report.to_styler()
    text = styler.to_html()
    assert "<script>" not in text
    assert "\x1b" not in text
    for shown in (
        "&lt;script&gt;",
        "$0.1500",
        "unpriced",
        "linear-gradient",
        "2 model calls, 1 unpriced, in 1 run",
        "input tokens",
    ):
        assert shown in text
    assert report.to_styler().to_html() == text  # a notebook that is executed again does not change
    assert "font-weight: bold" in styler.set_properties(**{"font-weight": "bold"}).to_html()
    assert list(report.df.columns) == list(mesh_nb.cost_report().df.columns)


def test_an_empty_report_and_one_without_prices_have_a_styler() -> None:
    assert "nothing was called" in mesh_nb.cost_report().to_styler().to_html()
    logged("r1", called("1", "mine"))
    assert "unpriced" in mesh_nb.cost_report().to_styler().to_html()


def test_a_styler_without_jinja_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    report = mesh_nb.cost_report()
    monkeypatch.delitem(sys.modules, "pandas.io.formats.style", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match="pip install jinja2"):
        report.to_styler()
    assert "nothing was called" in report._repr_html_()
