"""Tab completion of `%%mesh` and `%mesh`: options, models, graphs and other variables, commands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core import plugins
from ..core.compiled import Runnable
from ..core.errors import MeshError
from ..core.runs import runs
from ..core.spending import PERIODS
from ._commands import COMMANDS
from ._settings import NAMES

KEYS = ("%%mesh", "%mesh")


def load(ip: Any, options: list[str]) -> None:
    """Complete the magics of a shell. Parameters: options, those of `%%mesh`."""

    def complete(shell: Any, event: Any) -> list[str]:
        return matches(event.text_until_cursor, shell.user_ns, options)

    for key in KEYS:
        ip.set_hook("complete_command", complete, str_key=key)


def unload(ip: Any) -> None:
    """Remove what `load` added. Idempotent."""
    dispatch = ip.strdispatchers.get("complete_command")
    known: dict[str, Any] = {} if dispatch is None else dispatch.strs
    for key in KEYS:
        chain = known.get(key)
        if chain is None:
            continue
        chain.chain[:] = [(n, hook) for n, hook in chain.chain if not _is_ours(hook)]
        if not chain.chain:
            del known[key]


def _is_ours(hook: Any) -> bool:
    return getattr(getattr(hook, "__func__", hook), "__module__", None) == __name__


def matches(line: str, namespace: dict[str, Any], options: Iterable[str]) -> list[str]:
    """Return what may stand where the line ends.

    Parameters: line, up to the cursor; namespace, the notebook's variables; options of `%%mesh`.
    """
    words = line.split()
    word = "" if line[-1:].isspace() else words.pop()
    if not words:
        return []
    last = words[-1]
    if words[0] == "%mesh":
        found = _of_command(words[1:], namespace)
    elif last in ("-m", "--model"):
        found = _models()
        word = word.rpartition(",")[2]  # IPython completes what follows a comma
    elif last in ("-g", "--graph"):
        found = _graphs(namespace)
    elif last in ("--attach", "--json"):
        found = [name for name in namespace if not name.startswith("_")]
    elif last in ("-o", "--output", "-s", "--session-id", "--system", "--budget"):
        found = []
    else:
        found = [option for option in options if option.startswith("--" if word.startswith("--") else "-")]
    return sorted({name for name in found if name.startswith(word)})


def _of_command(words: list[str], namespace: dict[str, Any]) -> list[str]:
    if not words:
        return list(COMMANDS)
    given = words[1:]
    if words[0] == "show" and not given:
        return [run.id for run in runs(20)]
    if words[0] == "graph" and not given:
        return _graphs(namespace)
    if words[0] == "budget":
        return list(PERIODS) if given[-1:] == ["--per"] else ["--per", "--project", "--clear"]
    if words[0] == "cost":
        return ["project", "1d", "7d", "30d"]
    if words[0] == "strip" and not given:
        return [path.name for path in Path().glob("*.ipynb")]
    if words[0] == "config":
        return list(NAMES) if not given else _models() if given == ["model"] else []
    return []


def _graphs(namespace: dict[str, Any]) -> list[str]:
    return [n for n, value in namespace.items() if isinstance(value, Runnable) and not n.startswith("_")]


def _models() -> list[str]:
    """Return the beginnings of names that providers know, and the models that this project has used."""
    found: set[str] = {"demo"}
    for name in plugins.names("provider"):
        try:
            provider = plugins.find("provider", name)
        except (ImportError, MeshError):
            continue
        found |= {*provider.prefixes, f"{provider.vendor}/"}
    return sorted(found)
