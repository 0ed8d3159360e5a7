"""What `%mesh` does: `last`, `runs`, `stop`, `models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError

from ..core import plugins
from ..core.errors import nearest
from ..core.run import last_run, live_runs, runs


def run(line: str, help_text: str) -> Any:
    """Do what a `%mesh` line says and return its value. Raises UsageError with the nearest command."""
    words = line.split()
    if not words or words[0] in ("help", "--help"):
        print(f"{help_text}\n%mesh commands\n\n{listing()}")  # noqa: T201
        return None
    name, *rest = words
    if name not in COMMANDS:
        close = nearest(name, COMMANDS)
        guess = f" Did you mean %mesh {close}?" if close else ""
        raise UsageError(f"%mesh has no command {name!r}.{guess} Known: {', '.join(COMMANDS)}.")
    command, takes = COMMANDS[name]
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
    if not limit.isdecimal():
        raise UsageError(f"%mesh runs {limit}: say how many, as a number.")
    return runs(int(limit))


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
    print("\n".join([head, *lines, "", "Any other model: provider/model, as in %%mesh -m openai/my-model."]))  # noqa: T201


COMMANDS: dict[str, tuple[Callable[..., Any], int]] = {
    "last": (_last, 0),
    "runs": (_runs, 1),
    "stop": (_stop, 0),
    "models": (_models, 0),
}
