"""Where the money went: costs added up, as a table for a notebook, a terminal and a file."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pandas as pd

from ..core import plugins, spending
from ..core._named import named_options
from ..core.errors import InputError, RunNotFoundError, UnknownNameError, nearest, shown
from ..core.origin import IMPORTED
from ..core.runs import all_here
from ._chart import Chart, of_calls
from ._lines import header_of
from ._load import file_backend
from ._show import TITLES, Frame, clean, html_table, markdown, money, plain
from ._show import cell as cell_text
from ._styler import styled

GROUPS = (
    *("run_id", "notebook", "cell", "execution", "session_id", "graph_id"),
    *("node_id", "provider", "model", "day", "cost_source", "answered_by"),
)
SUMS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd", "saved_usd")
TOP = 3
_PART = re.compile(r"(\.r[0-9]+)?\.jsonl$")


class CostReport:
    """Costs added up. It shows itself as a table; `df` is the plain DataFrame.

    Attributes
    ----------
    df : one row for each group, the dearest first: the columns of `by`, calls, prompt_tokens,
        completion_tokens, cached_tokens, cost_usd (NA where nothing is known), saved_usd, unpriced_calls.
    costs : the calls that were added up, as `costs_df` has them.
    cost_usd, saved_usd : the sums, None when no call's is known.
    unpriced : the models that have no price: provider, model, unpriced (what is missing), calls.
    notes : sentences that belong to the table.
    """

    def __init__(self, costs: Frame, by: Sequence[str], title: str) -> None:
        self.costs, self.by, self.title = costs, list(by), title
        costs = bare(costs)
        self.df = added_up(costs, self.by)
        self.cost_usd, self.saved_usd = total(costs.cost_usd), total(costs.saved_usd)
        missing = costs[costs.cost_usd.isna()]
        keys = ["provider", "model", "unpriced"]
        self.unpriced = missing.groupby(keys, observed=True, dropna=False).size().reset_index(name="calls")
        named = self.df.assign(cell=_cell_names(costs, self.df)) if "cell" in self.by else self.df
        self.sections: list[tuple[str, Frame]] = [("", named)]
        self.notes = _notes(self, self.costs)

    @property
    def headline(self) -> str:
        """The total in one line."""
        runs, calls = self.costs.run_id.nunique(), len(self.costs)
        tokens = total(self.costs.total_tokens)
        missing = int(self.costs.cost_usd.isna().sum())
        named = f", {missing:,} unpriced," if 0 < missing < calls else ""
        what = f"{calls:,} model call{'' if calls == 1 else 's'}{named}"
        known = money(None) if missing and not self.cost_usd else money(self.cost_usd)
        parts = [
            known if calls else "$0, nothing was called",
            f"{what} in {runs:,} run{'' if runs == 1 else 's'}",
        ]
        if tokens is not None:
            parts.append(f"{tokens:,.0f} tokens")
        return f"{clean(self.title)}: {' · '.join(parts)}"

    def __repr__(self) -> str:
        tables = [plain(name, df) for name, df in self.sections if len(df)]
        return "\n\n".join([self.headline, *tables, *(["\n".join(self._lines)] if self.notes else [])])

    @property
    def _lines(self) -> list[str]:
        return [clean(note) for note in self.notes]

    def _repr_html_(self) -> str:
        return html_table(self.headline, self.sections, self._lines)

    def chart(self, kind: str = "cost") -> Chart:
        """Return a chart of the costs: "cost" over time, or by "models". `mesh_nb.chart` has others.

        Raises UnknownNameError for another kind.
        """
        if kind not in ("cost", "models"):
            raise UnknownNameError("chart of a report", kind, ("cost", "models"))
        return of_calls(kind, self.costs)

    def to_styler(self) -> Any:
        """Return `df` as a pandas Styler with bars, to be styled further or exported.

        The report itself needs none: its HTML keeps its sense where styles are taken away, as on GitHub.
        Raises InputError without Jinja2, which pandas needs for it.
        """
        return styled(self.headline, self.df)

    def to_markdown(self) -> str:
        """Return the report as Markdown, for a file."""
        return markdown(self.headline, self.sections, self._lines)


@named_options
def cost_report(
    source: Any = None,
    *,
    by: str | Sequence[str] = ("model",),
    since: Any = None,
    price: str = "current",
    notebook: str | None = None,
) -> CostReport:
    """Add up what model calls cost.

    Parameters
    ----------
    source : nothing for all runs of this project; a Run, a run id, the path of a project or of one log, or a
        list of these.
    by : what to group by, one name or several: run_id, notebook, cell, execution, session_id, graph_id,
        node_id, provider, model, day, cost_source, answered_by.
    since : only runs that began then or later: an age ("7d", "12h", "30m"), a date or a datetime.
    price : "current" prices tokens now, at the price of the day of the call; "logged" believes the log.
    notebook : only runs of this notebook, as `runs_df` names it.

    Returns a CostReport: a table in a notebook, text in a terminal, `.df`, `.to_markdown()`. A call without a
    known price is named and never counted as 0. Raises UnknownNameError for an unknown name in by=,
    RunNotFoundError for an unknown run id, InputError for what is not a run, a path or a time.
    """
    if not isinstance(by, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f'by={shown(by)} names nothing to group by: write by="model".')
    names = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    for name in names:
        if name not in GROUPS:
            raise UnknownNameError("name in by=", cast("Any", name), GROUPS)
    if not names:
        raise InputError('by= is empty: say what to group by, as in by=["model"].')
    if notebook is not None and not isinstance(notebook, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"notebook= is the name of a notebook, not {shown(notebook)}.")
    costs: Frame = plugins.find("frame", "costs")(source, since=since, price=price)
    others: list[str] = []
    if notebook is not None:
        others, problems = sorted(set(costs.notebook.dropna().astype(str))), costs.attrs
        costs = costs[costs.notebook == notebook].reset_index(drop=True)
        costs.attrs = problems
    report = CostReport(costs, names, f"Cost by {', '.join(TITLES.get(name, name) for name in names)}")
    if notebook is not None and notebook not in others:
        close = nearest(notebook, others)
        guess = f" Did you mean {close!r}?" if close else ""
        report.notes.append(f"No model was called from a notebook {shown(notebook)}.{guess}")
    if not len(report.costs) and (nothing := _nothing_in(source)):
        report.notes.append(nothing)
    return report


def _nothing_in(source: Any) -> str:
    """Return a sentence when a project has no log at all: it may be another that was meant."""
    if source is not None and not isinstance(source, (str, os.PathLike)):
        return ""
    path = None if source is None else Path(source)
    if path is not None and (not path.is_dir() or path.name == "runs"):
        return ""
    folder = file_backend(path).folder
    return "" if (folder / "runs").exists() else f"Nothing was logged yet in {folder}."


def usage() -> CostReport:
    """Return what this process has used so far, by model: its runs, ended or still going.

    Read again for the next figure; calls that are going on count when they end. Of a run that another process
    began and this one resumed, only the calls since then count.
    """
    here = all_here()
    known, ids, unread = {run.id for run in here}, list[str](), list[str]()
    for run_id in _touched(IMPORTED, unread):
        if run_id not in known and _is_ours(run_id):
            ids.append(run_id)
    costs: Frame = plugins.find("frame", "costs")([*ids, *here])
    problems = costs.attrs
    costs = costs[costs.started_at >= datetime.fromtimestamp(IMPORTED, UTC)].reset_index(drop=True)
    costs.attrs = problems
    report = CostReport(costs, ["model"], "Used by this process")
    report.notes += unread
    report.notes += map(str, spending.now())
    going = sum(not run.done for run in here)
    if going:
        report.notes.append(f"{going} run{'' if going == 1 else 's'} still going.")
    return report


def _touched(since: float, unread: list[str]) -> list[str]:
    """Return the runs of this project's log that something was written to since then, oldest first.

    Parameters: unread, takes a sentence when the log cannot be read.
    """
    try:
        with os.scandir(file_backend(None).folder / "runs") as found:
            # A file system may keep times to the second.
            names = [e.name for e in found if e.stat().st_mtime >= since - 2]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unread.append(f"Not read: {error.filename}, {error.strerror}.")
        return []
    return sorted({_PART.sub("", name) for name in names if _PART.search(name)})


def _is_ours(run_id: str) -> bool:
    """Say whether this process wrote a part of a run's log."""
    ours = {"pid": os.getpid(), "host": socket.gethostname()}
    try:
        headers = [header_of(_first_line(path)) for path in file_backend(None).parts(run_id)]
    except (OSError, RunNotFoundError):  # it was deleted meanwhile, or nobody may read it
        return False
    return any(header is not None and header.items() >= ours.items() for header in headers)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()


def overview(costs: Frame, title: str, *, by_notebook: bool = False) -> CostReport:
    """Return the report of `%mesh cost`: by cell and by model, with the most expensive cells named.

    Parameters: by_notebook, for a whole project: by notebook first, and cells with their notebooks.
    """
    report, costs = CostReport(costs, ["notebook", "cell"] if by_notebook else ["cell"], title), bare(costs)
    [(_, cells)] = report.sections
    sums = {name: added_up(costs, [name]) for name in ("notebook", "model") if name == "model" or by_notebook}
    found = {"By cell": cells, **{f"By {name}": df for name, df in sums.items()}}
    report.sections = [
        (name, found[name].drop(columns=["saved_usd"]))
        for name in ("By notebook", "By cell", "By model")
        if name in found
    ]
    dear = cells[cells.cost_usd.fillna(0) > 0].head(TOP)
    if len(cells) > TOP and len(dear):
        rows = dear.to_dict("records")
        named = ", ".join(f"{_place(row)} {money(row['cost_usd'])}" for row in rows)
        report.notes.insert(0, f"Most expensive cells: {named}.")
    report.notes += map(str, spending.now())
    return report


def _place(row: dict[str, Any]) -> str:
    where = row.get("notebook")
    name = cell_text("cell", row["cell"])
    return name if where is None or pd.isna(where) else f"{where} {name}"


def _cell_names(costs: Frame, groups: Frame) -> list[Any]:
    """Name a cell by its last execution: a reader does not know the ids of cells."""
    keys = [name for name in ("notebook", "cell") if name in groups]
    known = costs[[*keys, "execution"]].dropna(subset=["cell", "execution"])
    known = known.drop_duplicates(keys, keep="last").astype("object")
    last = {tuple(row[:-1]): row[-1] for row in known.itertuples(index=False, name=None)}
    names: list[Any] = []
    for key in groups[keys].astype("object").itertuples(index=False, name=None):
        cell, name = key[-1], last.get(tuple(key))
        same = name is None or pd.isna(name) or name == cell
        names.append(cell if same else f"{name} ({cell[:8]})")
    return names


def bare(costs: Frame) -> Frame:
    """Return the frame without its attrs, which pandas copies deeply at every step."""
    found = costs.copy(deep=False)
    found.attrs = {}
    return found


def added_up(costs: Frame, by: Sequence[str]) -> Frame:
    """Return one row for each group, the dearest first; a sum of which nothing is known is NA."""
    marked = costs.assign(unpriced_calls=costs.cost_usd.isna().astype("int64"))
    groups = marked.groupby(list(by), observed=True, dropna=False, sort=True)
    df = groups[list(SUMS)].sum(min_count=1)
    df.insert(0, "calls", groups.size())
    df["unpriced_calls"] = groups.unpriced_calls.sum()
    df = df.astype({"calls": "int64[pyarrow]", "unpriced_calls": "int64[pyarrow]"}).reset_index()
    return df.sort_values("cost_usd", ascending=False, kind="stable", na_position="last", ignore_index=True)


def total(values: Frame) -> float | None:
    """Return a sum, None when nothing is known."""
    found = values.sum(min_count=1)
    return None if pd.isna(found) else float(found)


def _notes(report: CostReport, costs: Frame) -> list[str]:
    notes: list[str] = []
    cached = total(costs.cached_tokens)
    if report.saved_usd is not None and abs(report.saved_usd) > 0:
        word = "saved" if report.saved_usd > 0 else "cost, on balance,"
        notes.append(
            f"The providers' caches {word} {money(abs(report.saved_usd))} ({cached or 0:,.0f} tokens)."
        )
    again = int((costs.answered_by != "model").sum())
    if again:
        what = "1 call was" if again == 1 else f"{again:,} calls were"
        notes.append(f"{what} answered by a tape, a cache or an earlier run, and cost nothing.")
    for row in report.unpriced.itertuples():
        model = "/".join(str(part) for part in (row.provider, row.model) if not pd.isna(part)) or "unknown"
        calls = cast("int", row.calls)
        notes.append(f"Unpriced: {calls:,} call{'' if calls == 1 else 's'} of {model}, {row.unpriced}.")
    if "no price known" in set(report.unpriced.unpriced.dropna()):
        notes.append('mesh_nb.prices.set("provider/model", input, output) gives a price per million tokens.')
    notes += [f"Not read: {problem}" for problem in costs.attrs.get("problems", [])]
    return notes
