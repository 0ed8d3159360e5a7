"""Charts of what calls cost and how fast they were: a small SVG anywhere, an Altair chart with the extra."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, cast

import pandas as pd

from ..core import plugins
from ..core._named import named_options
from ..core.errors import InputError, UnknownNameError
from ._chart_svg import columns, rows, spans
from ._show import clean, money, plain

Frame = Any

TITLES = {
    "cost": "Cost over time (UTC), US dollars",
    "models": "Cost by model, US dollars",
    "latency": "Duration of calls, seconds",
    "speed": "Output tokens per second",
}
QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
NAMED = 6
"""Models with a colour of their own in a chart over time; the others are one."""
STEPS = (
    (1.5, "h", "h", "%m-%d %H:00"),
    (200, "D", "D", "%Y-%m-%d"),
    (1_400, "W", "W-MON", "%G-W%V"),
    (6_000, "M", "MS", "%Y-%m"),
    (1e6, "Y", "YS", "%Y"),
)
"""What a column of a chart over time stands for, by the days that it shows: some hundreds at most."""
SHOWN = 15
"""Rows of a chart by model."""


class Chart:
    """A chart. A notebook shows it as an SVG; `data` is the plain DataFrame behind it.

    Attributes
    ----------
    kind, title : what it shows.
    data : "cost": when, model, cost_usd; "models": model, cost_usd, calls; "latency" (seconds) and "speed"
        (tokens per second): model, the quantiles p5, p25, p50, p75, p95, and calls.
    """

    def __init__(self, kind: str, data: Frame) -> None:
        self.kind, self.title, self.data = kind, TITLES[kind], data

    def __repr__(self) -> str:
        if not len(self.data):
            return f"{self.title}: nothing to show yet."
        if "cost_usd" in self.data:
            return plain(self.title, self.data)
        shown = self.data.assign(model=[clean(str(model)) for model in self.data.model])
        return f"{self.title}\n{shown.to_string(index=False, float_format='{:.3g}'.format)}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"image/svg+xml": self.to_svg(), "text/plain": repr(self)}

    def to_svg(self) -> str:
        """Return the chart as SVG: drawn here, without styles, scripts or links, for light and dark pages."""
        records: list[dict[str, Any]] = self.data.to_dict("records")
        for record in records:
            record["model"] = clean(str(record["model"]))
        if self.kind == "cost":
            return columns(self.title, [(r["when"], r["model"], r["cost_usd"]) for r in records], money)
        if self.kind == "models":
            return rows(self.title, [(r["model"], r["cost_usd"]) for r in records], money)
        found = [(r["model"], [r[name] for name in QUANTILES], int(r["calls"])) for r in records]
        return spans(self.title, found)

    def to_vega_lite(self) -> dict[str, Any]:
        """Return the chart as a Vega-Lite specification, which JupyterLab shows without a library."""
        values = cast("list[dict[str, Any]]", self.data.astype(object).to_dict("records"))
        spec: dict[str, Any] = {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "title": self.title,
            "data": {"values": values},
        }
        named = {"field": "model", "type": "nominal", "title": None}
        model = {**named, "sort": None}
        if self.kind == "cost":
            when = {"field": "when", "type": "ordinal", "title": None}
            usd = {"field": "cost_usd", "type": "quantitative", "title": "US dollars"}
            shown = {"x": when, "y": usd, "color": model, "tooltip": [when, named, usd]}
            return {**spec, "mark": "bar", "encoding": shown}
        if self.kind == "models":
            usd = {"field": "cost_usd", "type": "quantitative", "title": "US dollars"}
            return {**spec, "mark": "bar", "encoding": {"x": usd, "y": model, "tooltip": [named, usd]}}

        def across(mark: Any, first: str, last: str | None = None) -> dict[str, Any]:
            x = {"field": first, "type": "quantitative", "title": None}
            more: dict[str, Any] = {"x2": {"field": last}} if last else {}
            return {"mark": mark, "encoding": {"x": x, **more, "y": model}}

        middle = across({"type": "tick", "color": "black"}, "p50")
        return {**spec, "layer": [across("rule", "p5", "p95"), across("bar", "p25", "p75"), middle]}

    def to_altair(self) -> Any:
        """Return the chart as an `altair.LayerChart` or `altair.Chart`. Raises InputError without Altair."""
        try:
            altair = importlib.import_module("altair")
        except ImportError:
            raise InputError(
                "to_altair() needs Altair: pip install 'mesh_nb[charts]'. to_svg() does without it."
            ) from None
        return altair.Chart.from_dict(self.to_vega_lite())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the SVG to a file and return its path. Raises InputError for another ending, OSError."""
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise InputError(f"A chart is saved as SVG: name a file such as {target.stem}.svg.")
        target.write_text(self.to_svg(), encoding="utf-8")
        return target


@named_options
def chart(kind: str = "cost", source: Any = None, *, since: Any = None, price: str = "current") -> Chart:
    """Draw what model calls cost, or how fast they were.

    Parameters
    ----------
    kind : "cost" (over time, by model), "models" (cost by model), "latency" (duration of calls by model: the
        middle half as a box, 5 to 95 percent as a line) or "speed" (output tokens per second, drawn so too).
    source, since, price : as for `cost_report`.

    Returns a Chart: an SVG in a notebook, a table in a terminal, `.data`, `.to_altair()`, `.save(path)`.
    Calls without a known price have no place in the charts of cost. Raises UnknownNameError for another
    kind, and as `calls_df`.
    """
    if kind not in TITLES:
        raise UnknownNameError("chart", kind, TITLES)
    return of_calls(kind, plugins.find("frame", "calls")(source, since=since, price=price))


def of_calls(kind: str, calls: Frame) -> Chart:
    """Return the chart of some calls; those of cost take `costs_df` too."""
    models = calls.model.astype("object")
    if "requested_model" in calls:
        models = models.where(models.notna(), calls.requested_model.astype("object"))
    known = calls.assign(model=models.fillna("unknown"))
    if kind == "cost":
        return Chart(kind, _over_time(known[known.cost_usd.notna()]))
    if kind == "models":
        return Chart(kind, _by_model(known[known.cost_usd.notna()]))
    asked = known[known.answered_by == "model"]
    values = asked.duration_ms / 1000 if kind == "latency" else asked.tokens_per_second
    return Chart(kind, _quantiles(asked.assign(value=values.astype("float64"))))


def _over_time(calls: Frame) -> Frame:
    times = pd.to_datetime(calls.started_at.astype("datetime64[us, UTC]"))
    times = times.dt.tz_localize(None)
    span = (times.max() - times.min()) / pd.Timedelta(days=1) if times.notna().any() else 0.0
    period, step, text = next(found for days, *found in STEPS if span <= days)
    dear = calls.groupby("model").cost_usd.sum().sort_values(ascending=False)
    named = [str(model) for model in dear.index[:NAMED]]
    model = calls.model.where(calls.model.isin(named), "others")
    made = pd.DataFrame(
        {"at": times.dt.to_period(period).dt.start_time, "model": model, "cost_usd": calls.cost_usd}
    )
    sums = made.groupby(["at", "model"], as_index=False).cost_usd.sum()
    if len(sums):
        # A day without a call is a gap, not left out.
        whole = pd.date_range(sums["at"].min(), sums["at"].max(), freq=step)
        missing = whole.difference(pd.DatetimeIndex(sums["at"]))
        fill = pd.DataFrame({"at": missing, "model": named[0], "cost_usd": 0.0})
        sums = pd.concat([sums, fill]) if len(missing) else sums
    rank = {name: place for place, name in enumerate([*named, "others"])}
    sums = sums.sort_values(["at", "model"], key=lambda c: c.map(rank) if c.name == "model" else c)
    when = sums["at"].dt.strftime(text) if len(sums) else sums["at"].astype("object")
    return pd.DataFrame(
        {"when": when, "model": sums.model, "cost_usd": sums.cost_usd.astype("float64")}
    ).reset_index(drop=True)


def _by_model(calls: Frame) -> Frame:
    groups = calls.groupby("model", as_index=False).agg(
        cost_usd=("cost_usd", "sum"), calls=("cost_usd", "size")
    )
    found = groups.sort_values("cost_usd", ascending=False, kind="stable").head(SHOWN)
    return found.astype({"cost_usd": "float64", "calls": "int64"}).reset_index(drop=True)


def _quantiles(calls: Frame) -> Frame:
    records: list[dict[str, Any]] = []
    for model, values in calls.dropna(subset=["value"]).groupby("model").value:
        found = {name: float(values.quantile(q)) for name, q in QUANTILES.items()}
        records.append({"model": str(model), **found, "calls": len(values)})
    records.sort(key=lambda record: -record["calls"])
    return pd.DataFrame(records[:SHOWN], columns=["model", *QUANTILES, "calls"])
