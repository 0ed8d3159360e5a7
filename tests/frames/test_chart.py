"""Charts: what they are drawn from, that they are drawn with it, and that names cannot steer the page."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import mesh_nb
from mesh_nb.core.errors import InputError, RunNotFoundError, UnknownNameError

KINDS = ("cost", "models", "latency", "speed")
DAY = 86400
START = 1_800_000_000 - 1_800_000_000 % DAY + 3600


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return tmp_path


def log(folder: Path, *calls: tuple[float, str, float | None, dict[str, Any]]) -> Path:
    """Write calls: seconds after START, model, US dollars, more metadata."""
    lines = [{"seq": 0, "type": "execution_start", "node_id": "START", "metadata": {}, "timestamp": START}]
    for number, (at, model, usd, more) in enumerate(calls, 1):
        usage = {"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110}
        metadata = {"call_id": str(number), "model_id": model, "usage": usage, **more}
        if usd is not None:
            metadata["cost_usd"] = usd
        event = {"seq": number, "type": "response_metadata", "node_id": "llm", "metadata": metadata}
        lines.append({**event, "timestamp": START + at})
    path = folder / "calls.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def some(folder: Path) -> Path:
    return log(
        folder,
        (0, "small", 0.5, {"duration_ms": 1000.0}),
        (10, "large", 2.0, {"duration_ms": 3000.0, "time_to_first_token_ms": 1000.0}),
        (3 * DAY, "small", 0.25, {"duration_ms": 2000.0}),
        (3 * DAY, "mine", None, {}),
        (3 * DAY, "small", 0.0, {"replayed": True, "duration_ms": 1.0}),
    )


def drawn(svg: str) -> list[Any]:
    """Return the rectangles of a picture, which must be sound XML without anything that reaches out."""
    root = ElementTree.fromstring(svg)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "title", "text", "rect", "line"}
    assert not re.search(r"href|url\(|style=|<script|on\w+=", svg)
    return [element for element in root.iter() if element.tag.endswith("rect")]


def test_cost_over_time_has_each_day_and_model(project: Path) -> None:
    chart = mesh_nb.chart("cost", some(project))
    made = [tuple(row) for row in chart.data.itertuples(index=False)]
    days = ["2027-01-15", "2027-01-16", "2027-01-17", "2027-01-18"]
    assert made == [
        (days[0], "large", 2.0),
        (days[0], "small", 0.5),
        (days[1], "large", 0.0),
        (days[2], "large", 0.0),
        (days[3], "small", 0.25),
    ]
    heights = [float(box.get("height")) for box in drawn(chart.to_svg())][: len(made)]
    assert heights[0] == pytest.approx(4 * heights[1], rel=0.01)
    assert heights[1] == pytest.approx(2 * heights[4], rel=0.01)


def test_calls_of_one_day_are_shown_by_the_hour(project: Path) -> None:
    path = log(project, (0, "m", 1.0, {}), (7200, "m", 1.0, {}))
    assert list(mesh_nb.chart("cost", path).data.when) == ["01-15 01:00", "01-15 02:00", "01-15 03:00"]


@pytest.mark.parametrize(
    ("days", "first", "last", "most"),
    [
        (150, "2027-01-15", "2027-06-14", 151),
        (300, "2027-W02", "2027-W45", 45),
        (3_000, "2027-01", "2035-04", 101),
        (20_000, "2027", "2081", 56),
    ],
)
def test_long_times_are_shown_by_week_month_or_year(
    project: Path, days: int, first: str, last: str, most: int
) -> None:
    path = log(project, (0, "m", 1.0, {}), (days * 86400, "m", 2.0, {}))
    chart = mesh_nb.chart("cost", path)
    assert (chart.data.when.iloc[0], chart.data.when.iloc[-1]) == (first, last)
    assert len(chart.data) <= most
    assert chart.data.cost_usd.sum() == 3.0
    drawn(chart.to_svg())


def test_axes_have_no_exponents(project: Path) -> None:
    for usd in (0.00002, 40_000.0):
        path = log(project, (0, "m", usd, {}))
        svg = mesh_nb.chart("cost", path).to_svg()
        assert not re.search(r">\$[0-9.]+e[-+]", svg)
        path.unlink()


def test_many_models_are_the_dearest_and_the_others(project: Path) -> None:
    path = log(project, *[(0, f"m{n:02}", float(n + 1), {}) for n in range(20)])
    over_time = mesh_nb.chart("cost", path).data
    assert list(over_time.model) == ["m19", "m18", "m17", "m16", "m15", "m14", "others"]
    assert over_time.cost_usd.sum() == sum(range(21))
    assert len(mesh_nb.chart("models", path).data) == 15


def test_cost_by_model_the_dearest_first(project: Path) -> None:
    chart = mesh_nb.chart("models", some(project))
    assert [tuple(r) for r in chart.data.itertuples(index=False)] == [("large", 2.0, 1), ("small", 0.75, 3)]
    widths = [float(box.get("width")) for box in drawn(chart.to_svg())]
    assert widths[0] / widths[1] == pytest.approx(2 / 0.75, rel=0.01)
    assert mesh_nb.cost_report(some(project)).chart("models").data.equals(chart.data)
    assert mesh_nb.cost_report(some(project)).chart().data.equals(mesh_nb.chart("cost", some(project)).data)


def test_latency_and_speed_are_distributions_of_calls_that_were_made(project: Path) -> None:
    latency = mesh_nb.chart("latency", some(project)).data.set_index("model")
    assert list(latency.index) == ["small", "large"]
    assert latency.p50["small"] == pytest.approx(1.5)
    assert latency.p75["small"] == pytest.approx(1.75)
    assert list(latency.calls) == [2, 1]
    speed = mesh_nb.chart("speed", some(project))
    assert speed.data.set_index("model").p50["large"] == pytest.approx(50)
    assert "small" in repr(speed)
    assert drawn(speed.to_svg())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_show_is_said(kind: str) -> None:
    chart = mesh_nb.chart(kind)
    assert "nothing to show" in repr(chart)
    assert "Nothing to show" in chart.to_svg()
    assert drawn(chart.to_svg()) == []
    assert len(chart.data) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_and_numbers_are_text(project: Path, kind: str) -> None:
    name = "</text><script>alert(1)</script>\x1b[31m\x00&<" + "x" * 500
    path = log(project, (0, name, 1.0, {"duration_ms": 5.0}), (1, "", 1e300, {"duration_ms": 1e300}))
    chart = mesh_nb.chart(kind, path)
    assert drawn(chart.to_svg())
    assert "\x1b" not in repr(chart)
    bundle = chart._repr_mimebundle_()
    assert set(bundle) == {"image/svg+xml", "text/plain"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_vega_lite_specification_too(project: Path, kind: str) -> None:
    chart = mesh_nb.chart(kind, some(project))
    spec = chart.to_vega_lite()
    assert json.loads(json.dumps(spec)) == spec
    assert len(spec["data"]["values"]) == len(chart.data)
    fields = set(re.findall(r'"field": "(\w+)"', json.dumps(spec)))
    assert fields <= set(chart.data.columns)


def test_altair_is_an_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(InputError, match=r"mesh_nb\[charts\]"):
        mesh_nb.chart("cost", some(project)).to_altair()


@pytest.mark.skipif(importlib.util.find_spec("altair") is None, reason="the extra charts is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_altair_takes_every_chart(project: Path, kind: str) -> None:
    made = mesh_nb.chart(kind, some(project)).to_altair()
    assert made.to_dict()["title"] == mesh_nb.chart(kind).title


def test_it_is_saved_as_svg(project: Path) -> None:
    path = mesh_nb.chart("models", some(project)).save(project / "models.svg")
    assert drawn(path.read_text("utf-8"))
    with pytest.raises(InputError, match=r"models\.svg"):
        mesh_nb.chart("models").save(project / "models.png")


def test_unknown_charts_and_sources_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="latency"):
        mesh_nb.chart("latencies")
    with pytest.raises(UnknownNameError, match="models"):
        mesh_nb.cost_report().chart("latency")
    with pytest.raises(RunNotFoundError):
        mesh_nb.chart("cost", "nope")
