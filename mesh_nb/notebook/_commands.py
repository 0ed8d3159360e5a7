"""What `%mesh` does: looks at runs and what they cost, stops them, sets what cells use."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from ..core import plugins, spending
from ..core._scrub import hidden
from ..core.compiled import Runnable
from ..core.errors import RunNotFoundError, nearest
from ..core.run import Run
from ..core.runs import last_run, live_runs, runs
from . import _settings
from ._arguments import variable
from ._cell import current_shell, notebook_file, notebook_name
from ._record import record
from .strip import strip


def run(line: str, help_text: str) -> Any:
    """Do what a `%mesh` line says and return its value. Raises UsageError with the nearest command."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%mesh {line}: {str(error).lower()}.") from None
    if not words or words[0] in ("help", "--help"):
        print(f"{help_text}\n%mesh commands\n\n{listing()}")  # noqa: T201
        return None
    name, *rest = words
    if name not in COMMANDS:
        close = nearest(name, COMMANDS)
        guess = f" Did you mean %mesh {close}?" if close else ""
        raise UsageError(f"%mesh has no command {name!r}.{guess} Known: {', '.join(COMMANDS)}.")
    command, takes = COMMANDS[name]
    if {"-h", "--help"} & set(rest):
        print(inspect.cleandoc(command.__doc__ or ""))  # noqa: T201
        return None
    if len(rest) > takes:
        raise UsageError(f"%mesh {name}: unexpected {rest[takes]!r}.")
    return command(*rest)


def listing() -> str:
    """Return the commands, one to a line."""
    return "\n".join(
        f"  %mesh {name:<8} {(f.__doc__ or '').splitlines()[0]}" for name, (f, _) in COMMANDS.items()
    )


def _last() -> Any:
    """The last run, shown again; live if it still runs."""
    found = last_run()
    if found is None:
        print("No runs yet.")  # noqa: T201
    return found


def _runs(limit: str = "20") -> Any:
    """The newest runs of this project: %mesh runs [how many]."""
    if not limit.isdecimal() or not int(limit):
        raise UsageError(f"%mesh runs {limit}: say how many, as a number above 0.")
    return runs(int(limit))


def _show(run_id: str = "") -> Any:
    """A run of this project, shown again: %mesh show ID."""
    if not run_id:
        raise UsageError("%mesh show: name a run, as %mesh runs lists them.")
    return Run.load(run_id)


def _pending() -> None:
    """The questions that runs of this kernel, and the last run, wait with."""
    last = last_run()
    going = live_runs()
    waiting = [*going, *([last] if last is not None and last.id not in {run.id for run in going} else [])]
    lines = [f"{run.id}  {q.node_id}: {q.message}" for run in waiting for q in run.pending]
    print(hidden("\n".join(lines)) or "No questions are open.")  # noqa: T201


def _cost(*words: str) -> Any:
    """What this notebook cost, by cell and model: %mesh cost [project | NOTEBOOK.ipynb | RUN] [7d]."""
    from ..frames._report import overview, usage
    from ..frames._since import moment

    scope, since = "", None
    for word in words:
        is_time = word[:1].isdigit() and (len(word) < 11 or word[4:5] == "-")  # ids of runs are longer
        is_time = is_time and not word.endswith(".ipynb")
        if (since if is_time else scope) or word.startswith("-"):
            raise UsageError(f"%mesh cost: unexpected {word!r}. It takes a run or project, and a time: 7d.")
        if is_time:
            moment(word)
            since = word
        else:
            scope = word
    name = scope if scope.endswith(".ipynb") else notebook_name(current_shell())
    if not scope and not name:
        return usage()
    of_notebook = not scope or scope == name
    costs: Any = _costs(None if of_notebook or scope == "project" else scope, since)
    title = "This project" if scope == "project" else scope or "This notebook"
    if since:
        title += f", since {since}" if "-" in since else f", last {since}"
    if of_notebook:
        known, problems = sorted(set(costs.notebook.dropna().astype(str))), costs.attrs
        if scope and name not in known:  # the folder may be left out
            inside = [other for other in known if other.endswith(f"/{name}")]
            name = inside[0] if len(inside) == 1 else name
        costs = costs[costs.notebook == name].reset_index(drop=True)
        costs.attrs = problems
        if scope and name not in known:
            close = nearest(name, known)
            guess = f" Did you mean {close!r}?" if close else ""
            raise UsageError(f"%mesh cost: no model was called from a notebook {name!r}.{guess}")
    return overview(costs, title, by_notebook=scope == "project")


def _costs(source: str | None, since: str | None) -> Any:
    try:
        return plugins.find("frame", "costs")(source, since=since)
    except RunNotFoundError as error:
        if source is None or not nearest(source, ("project",)):
            raise
        raise UsageError(f"%mesh cost: {error} Or did you mean %mesh cost project?") from None


def _budget(*words: str) -> None:
    """What this notebook may spend: %mesh budget [USD [--per day] [--project] | --clear]."""
    words = tuple(part for word in words for part in (word.split("=", 1) if word[:2] == "--" else [word]))
    scope = "project" if "--project" in words else "notebook"
    rest = [word for word in words if word not in ("--project", "--clear")]
    per = "session"
    if timed := "--per" in rest:
        place = rest.index("--per")
        per = rest[place + 1] if len(rest) > place + 1 else ""
        del rest[place : place + 2]
    for word in rest if rest[:1] and rest[0].startswith("--") else rest[1:]:
        close = nearest(word, ("--per", "--project", "--clear"))
        guess = f" Did you mean {close}?" if close else ""
        raise UsageError(f"%mesh budget: unexpected {word!r}.{guess}")
    if (timed and not rest) or ("--clear" in words and (rest or timed)):
        given = "--clear" if "--clear" in words else f"--per {per}"
        needs = "stands alone" if "--clear" in words else "needs an amount, as in %mesh budget 2.50 --per day"
        raise UsageError(f"%mesh budget: {given} {needs}.")
    if "--clear" in words:
        spending.clear("project" if scope == "project" else None)
    usd = 0.0
    if rest:
        try:
            usd = float(rest[0].removeprefix("$"))
        except ValueError:
            raise UsageError(f"%mesh budget {rest[0]}: say US dollars, as in %mesh budget 2.50.") from None
        spending.set(usd, per, scope)
    lines = [f"{limit} {_from(limit)}".rstrip() for limit in spending.now()]
    if rest and scope == "project":
        table = f'budget = {{usd = {usd:g}, per = "{per}"}}'
        lines.append(f"It holds in this kernel; {table} under [tool.mesh_nb] in pyproject.toml, in all.")
    print("\n".join(lines) or "No budget is set: %mesh budget 2.50 --per day sets one.")  # noqa: T201


def _from(limit: spending.Limit) -> str:
    return "" if limit.source == "set" else f"(set in {limit.source})"


def _graph(name: str = "") -> Any:
    """A graph of the notebook, or that of the last run: %mesh graph [NAME]."""
    if name:
        graph = variable(current_shell().user_ns, name, "%mesh graph")
        if not isinstance(graph, Runnable):
            raise UsageError(f"%mesh graph {name}: a {type(graph).__name__} is not a graph.")
        return graph
    last = last_run()
    if last is None or last.graph is None:
        raise UsageError("%mesh graph: name a graph of the notebook; the last run's is not in this kernel.")
    return last.graph


def _config(name: str = "", value: str = "") -> None:
    """What cells use when they do not say: %mesh config [NAME [VALUE | default]]."""
    if name and name not in _settings.NAMES:
        close = nearest(name, _settings.NAMES)
        guess = f" Did you mean {close!r}?" if close else ""
        raise UsageError(f"%mesh config has no {name!r}.{guess} Known: {', '.join(_settings.NAMES)}.")
    if value:
        _settings.configure(name, None if value == "default" else value)
    lines = [f"{n} = {_settings.setting(n) or 'not set'}" for n in ([name] if name else _settings.NAMES)]
    print("\n".join(lines))  # noqa: T201


def _stop() -> None:
    """Stop every run of this kernel that is still going."""
    going = live_runs()
    for one in going:
        one.cancel()
    count = len(going)
    print(f"Stopped {count} run{'' if count == 1 else 's'}." if going else "Nothing is running.")  # noqa: T201


def _models() -> None:
    """The providers, the model names they answer to, and how to name any model."""
    lines: list[str] = []
    for name in plugins.names("provider"):
        provider = plugins.find("provider", name)
        prefixes = ", ".join(f"{p}..." for p in provider.prefixes) or "-"
        lines.append(f"{provider.vendor:<12} {provider.api:<10} {prefixes}")
    head = f"{'provider':<12} {'api':<10} model names that mean it"
    other = "Any other model: provider/model, such as openai/my-model, or its server in OPENAI_BASE_URL."
    print("\n".join([head, *lines, "", other]))  # noqa: T201


def _strip(file: str = "") -> None:
    """A saved notebook without events, ids and times, for git: %mesh strip [FILE]."""
    path = Path(file).expanduser() if file else notebook_file(current_shell())
    if path is None:
        raise UsageError("%mesh strip: name a file; Jupyter does not say here which notebook this is.")
    if not path.is_file():
        close = nearest(path.name, [p.name for p in path.parent.glob("*.ipynb")])
        guess = f" Did you mean {close!r}?" if close else ""
        raise UsageError(f"%mesh strip {path}: there is no such file.{guess}")
    done = strip(path)
    if done.before == done.after:
        print(f"{path.name}: nothing to strip.")  # noqa: T201
        return
    outputs = f"{done.outputs} output{'' if done.outputs == 1 else 's'}"
    size = f"{done.before / 1000:,.1f} KB to {done.after / 1000:,.1f} KB"
    print(f"{path.name}: {outputs} stripped, {size}. Reload it where it is open.")  # noqa: T201


COMMANDS: dict[str, tuple[Callable[..., Any], int]] = {
    "last": (_last, 0),
    "runs": (_runs, 1),
    "show": (_show, 1),
    "cost": (_cost, 2),
    "budget": (_budget, 4),
    "pending": (_pending, 0),
    "stop": (_stop, 0),
    "models": (_models, 0),
    "graph": (_graph, 1),
    "config": (_config, 2),
    "strip": (_strip, 1),
    "record": (record, 12),
}
