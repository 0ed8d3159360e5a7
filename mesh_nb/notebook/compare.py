"""Several models on one prompt, side by side: `compare(prompt, models=[...])`."""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, cast

from ..core._awaiting import in_cell
from ..core._named import named_options
from ..core.compiled import CompiledGraph, Runnable
from ..core.errors import InputError, MeshInterrupted, UnknownNameError, shown
from ..core.executor import Executor
from ..core.run import Run
from ..core.runner import host_name
from ._of_model import of_model

TIE = "tie"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@named_options
def compare(
    prompt: Any,
    models: Iterable[Any] | Mapping[str, Any],
    *,
    blind: bool = False,
    files: Any = None,
    variables: dict[str, Any] | None = None,
    backend: Any = None,
    display: bool | None = None,
    background: bool = False,
    budget_usd: float | None = None,
    **options: Any,
) -> Comparison:
    """Ask several models the same, at the same time, and return the Comparison, started and shown.

    Parameters
    ----------
    prompt : text, or a dict, as for `graph.run`.
    models : model names, or graphs; or a mapping from the names of the columns to model names, graphs, or
        dicts of llm options (`{"cold": {"model": "gpt-5", "temperature": 0}}`). Twice the same name is asked
        twice.
    blind : the answers are called A, B, ... in random order, until `vote` or `reveal`.
    files, variables, backend, display, background : as for `graph.run`; each answer is a run of its own.
    budget_usd : US dollars that the answers may spend together, the same part for each.
    options : options of every llm node (system_prompt, temperature, ...), those of a graph apart.

    `await comparison` waits for all of them; one that fails does not stop the others.
    Raises, before any of them is asked, InputError for no models or more than 26, and what `graph.run`
    raises.
    """
    graphs = _graphs(models, options)
    for graph in graphs.values():
        Executor(graph).start(prompt, files=files)  # checks only: it begins when it is iterated
    names = list(graphs)
    if blind:
        random.shuffle(names)
    runs = {
        _LETTERS[n] if blind else name: graphs[name].run(
            prompt,
            variables=variables,
            files=files,
            backend=backend,
            display=False,
            background=background,
            budget_usd=None if budget_usd is None else budget_usd / len(names),
        )
        for n, name in enumerate(names)
    }
    hidden = {_LETTERS[n]: name for n, name in enumerate(names)} if blind else {}
    comparison = Comparison(runs, hidden)
    if display is not False:
        comparison.show()
    return comparison


class Comparison:
    """Answers to one prompt, made by `compare`.

    runs : from the name of a column to its Run, in the order of the columns. The names are letters while it
        is blind. told : whether a terminal has written the answers down, so that its value is only its name.
    """

    def __init__(self, runs: dict[str, Run], hidden: dict[str, str] | None = None) -> None:
        self.runs = runs
        self._hidden = dict(hidden or {})
        self._vote: Run | str | None = None
        self._on_vote: list[Callable[[], None]] = []
        self.told = False

    @property
    def blind(self) -> bool:
        """Whether the names of the models are still hidden."""
        return bool(self._hidden)

    @property
    def done(self) -> bool:
        """Whether all answers have ended."""
        return all(run.done for run in self.runs.values())

    @property
    def winner(self) -> str | None:
        """The column that was voted for, "tie", or None before the vote."""
        if isinstance(self._vote, Run):
            return next(name for name, run in self.runs.items() if run is self._vote)
        return self._vote

    def vote(self, name: str) -> Comparison:
        """Vote for a column, or for "tie"; the names are revealed. A later vote replaces it.

        Raises UnknownNameError for a column that there is not.
        """
        if name != TIE and name not in self.runs:
            raise UnknownNameError("answer", name, [*self.runs, TIE])
        self._vote = TIE if name == TIE else self.runs[name]
        return self.reveal()

    def reveal(self) -> Comparison:
        """Name the models of a blind comparison."""
        self.runs = {self._hidden.get(name, name): run for name, run in self.runs.items()}
        self._hidden = {}
        for callback in self._on_vote:
            callback()
        return self

    def cancel(self) -> None:
        """Stop all answers that are not complete; safe on any thread."""
        for run in self.runs.values():
            run.cancel()

    def to_pandas(self) -> Any:
        """Return a DataFrame with one row for each answer: text, tokens, cost_usd, times, vote.

        Each column's unit and meaning is in `df.attrs["columns"]`.
        """
        from ._answers import answers_df

        return answers_df(self)

    def diff(self, first: str | None = None, second: str | None = None) -> str:
        """Return how the second answer differs from the first, line by line, as a unified diff.

        Parameters: names of columns; without them the first two. Raises UnknownNameError, and InputError for
        a comparison of one.
        """
        names = list(self.runs)
        if len(names) < 2:
            raise InputError("A diff needs two answers; this comparison has one.")
        a = names[0] if first is None else first
        b = next(name for name in names if name != a) if second is None else second
        for name in (a, b):
            if name not in self.runs:
                raise UnknownNameError("answer", name, names)
        old, new = self.runs[a].text.splitlines(), self.runs[b].text.splitlines()
        return "\n".join(difflib.unified_diff(old, new, a, b, lineterm=""))

    def show(self) -> None:
        """Show the answers beside each other where there is a notebook's cell, live until they have ended."""
        if host_name(None) == "notebook":
            from ._side_by_side import show

            show(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until all answers have ended, or for that many seconds each; says whether they
        have. Not for the thread whose event loop they live on: use `await` there."""
        for run in self.runs.values():
            run.wait(timeout)
        return self.done

    def wait_here(self) -> Comparison:
        """Block this thread until all answers have ended; Ctrl-C or a kernel interrupt stops them all and
        raises MeshInterrupted."""
        try:
            self.wait()
        except KeyboardInterrupt:
            self.cancel()
            self.wait()
            raise MeshInterrupted(run=next(iter(self.runs.values()))) from None
        return self

    def on_reveal(self, callback: Callable[[], None]) -> None:
        """Call back when a vote, or `reveal`, has named the models."""
        self._on_vote.append(callback)

    def __await__(self) -> Generator[Any, None, Comparison]:
        return self._wait().__await__()

    async def _wait(self) -> Comparison:
        ends = [asyncio.ensure_future(_ended(run)) for run in self.runs.values()]
        try:
            await asyncio.gather(*ends)
        except asyncio.CancelledError:
            # A cell that is stopped stops every answer; what has come is kept in the runs.
            self.cancel()
            await asyncio.gather(*map(_ended, self.runs.values()))
            if in_cell():
                raise MeshInterrupted(run=next(iter(self.runs.values()))) from None
            raise
        return self

    def _ipython_display_(self) -> None:
        if self.told:
            self.told = False
            print(f"<Comparison of {', '.join(self.runs)}>")  # noqa: T201
            return
        if host_name(None) != "notebook":
            raise NotImplementedError  # IPython then shows the repr
        from ._side_by_side import display

        display(self)

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {run!r}" for name, run in self.runs.items())


async def _ended(run: Run) -> None:
    async for _ in run:
        pass


def _graphs(models: Any, options: dict[str, Any]) -> dict[str, CompiledGraph]:
    """Return what to run, by column. Raises InputError for what is neither a model, a graph nor options."""
    if isinstance(models, (str, Runnable)):
        raise InputError(f"compare(models=...) takes a list of models, such as [{shown(models)}, ...].")
    pairs: list[tuple[str, Any]] = []
    if isinstance(models, Mapping):
        pairs = [(str(name), found) for name, found in cast("Mapping[Any, Any]", models).items()]
    elif isinstance(models, Iterable):
        pairs = [(_name(found), found) for found in cast("Iterable[Any]", models)]
    if not 1 <= len(pairs) <= len(_LETTERS):
        raise InputError(f"compare() takes 1 to {len(_LETTERS)} models, not {len(pairs) or shown(models)}.")
    graphs: dict[str, CompiledGraph] = {}
    for name, found in pairs:
        number, label = 1, name
        while label in graphs:
            number += 1
            label = f"{name} #{number}"
        graphs[label] = _graph(name, found, options)
    return graphs


def _name(found: Any) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, Runnable):
        return str(getattr(found, "graph_id", "graph"))
    raise InputError(f"compare() takes model names and graphs, not {shown(found)}; give dicts a name.")


def _graph(name: str, found: Any, options: dict[str, Any]) -> CompiledGraph:
    if isinstance(found, Runnable):
        return found.compile()
    own = {"model": found} if isinstance(found, str) else found
    if not isinstance(own, Mapping):
        raise InputError(
            f"Column {name!r} is {shown(found)}: give a model name, a graph or a dict of options."
        )
    return of_model(compare, {**options, **cast("Mapping[str, Any]", own)})
