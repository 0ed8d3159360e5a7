"""`mesh-nb`: looks after the log of a project."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import InputError, MeshError, RunNotFoundError, nearest
from ..core.plugins import find
from ._told import reason

_LISTED = ("list", "show", "export", "compact", "prune", "verify")
_OPTIONS = (
    *("--home", "--limit", "--events", "--frame", "--since", "--force"),
    *("--older-than", "--dry-run", "--yes"),
)
_COMMANDS = """\
commands:
  mesh-nb log list                     the newest runs
  mesh-nb log show RUN                 one of them, with its answer
  mesh-nb log export calls.parquet --frame calls
                                       runs as a file for pandas, polars, DuckDB or a spreadsheet
  mesh-nb log compact                  make reports over many runs fast
  mesh-nb log prune --older-than 90d   delete old runs
  mesh-nb log verify                   tell what is damaged

The project is that of the working directory, or --home DIR. `mesh-nb log COMMAND --help` tells more.
"""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest command."""

    def error(self, message: str) -> NoReturn:
        word = message.partition("invalid choice: '")[2].partition("'")[0]
        if word in _LISTED and self.prog == "mesh-nb":
            self.exit(2, f"mesh-nb: {word} is a command of the log: mesh-nb log {word}.\n")
        known = ("log",) if self.prog == "mesh-nb" else _LISTED
        if not word and message.startswith("unrecognized"):
            word, known = next((w for w in message.split() if w.startswith("-")), ""), _OPTIONS
        close = nearest(word, known) if word else None
        guess = f" Did you mean {close!r}?" if close else ""
        self.exit(2, f"{self.prog}: {message}.{guess}\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.RawDescriptionHelpFormatter
    text = "Look after the log of mesh_nb's runs."
    top = _Parser(prog="mesh-nb", description=text, epilog=_COMMANDS, formatter_class=whole)
    top.add_argument("--version", action="version", version=f"mesh-nb {version('mesh_nb')}")
    kinds = top.add_subparsers(dest="kind", metavar="log", title="subject")
    group = kinds.add_parser("log", help="the runs of a project", description=text)
    commands = group.add_subparsers(
        dest="command", required=True, metavar="|".join(_LISTED), title="commands"
    )

    def command(name: str, text: str, more: str = "") -> argparse.ArgumentParser:
        described = f"{text[0].upper()}{text[1:]}.{more and f' {more}'}"
        made = commands.add_parser(name, help=text, description=described)
        made.add_argument("--home", type=Path, metavar="DIR", help="the project, or its .mesh folder")
        return made

    listing = command("list", "list the newest runs")
    listing.add_argument("-n", "--limit", type=_positive, default=20, help="how many (20)")
    showing = command("show", "show one run")
    showing.add_argument("run_id", help="its id, as `mesh-nb log list` has it")
    showing.add_argument("--events", action="store_true", help="every event, as JSON lines")
    _export(command)
    command(
        "compact",
        "keep finished runs in Parquet too, which reports read much faster",
        "The logs stay. It may be done again at any time.",
    )
    pruning = command(
        "prune",
        "delete old runs for good",
        "A terminal is asked first. Runs that still go on stay, and so do files that are no logs.",
    )
    pruning.add_argument("--older-than", required=True, metavar="AGE", help="30d, 12h, 8w, or a date")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    pruning.add_argument("-y", "--yes", action="store_true", help="do not ask")
    command("verify", "read every run and tell what is damaged", "Nothing is changed.")
    return top


def _export(command: Callable[..., argparse.ArgumentParser]) -> None:
    exporting = command(
        "export",
        "write runs to a file: .jsonl, .parquet or .csv",
        "Without --frame it has one row for each event; a .jsonl of events is the log itself, which mesh_nb,"
        " pandas and DuckDB read again. polars, too, reads all others.",
    )
    exporting.add_argument("file", type=Path, help="where to; its ending says the format")
    exporting.add_argument("run_ids", nargs="*", default=[], metavar="run_id", help="which runs (all)")
    exporting.add_argument(
        "--frame", default="events", help="events (the default), calls, costs, messages, nodes, runs, tools"
    )
    exporting.add_argument("--since", metavar="WHEN", help="only runs since then: 7d, 12h, 2026-11-01")
    exporting.add_argument("--force", action="store_true", help="replace the file if it is there")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 1 when something is wrong, 2 for a wrong call, 130
    when it was stopped with Ctrl-C."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed, and nobody reads what is said
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # not every terminal can write what models say
            stream.reconfigure(errors="backslashreplace")
    given = _parsed(arguments)
    try:
        from . import log  # it takes a moment, which help and Ctrl-C need not wait for

        status = getattr(log, f"{given.command}_runs")(_backend(given.home), given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"\nmesh-nb: stopped. {stop}".rstrip() + "\n")
        return 130
    except RunNotFoundError as error:
        told = str(error).replace("`mesh_nb.runs()` lists", "`mesh-nb log list` lists")
        sys.stderr.write(f"mesh-nb: {told}\n")
        return 1
    except MeshError as error:
        sys.stderr.write(f"mesh-nb: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"mesh-nb: {reason(error)}.\n")
        return 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    given, rest = top.parse_known_args(arguments)
    if given.kind is None:
        top.print_help(sys.stderr)
        sys.exit(2)
    if rest and given.command == "export" and not any(word.startswith("-") for word in rest):
        given.run_ids += rest  # ids that come after an option
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return given


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _backend(home: Path | None) -> Any:
    if home is not None and not home.is_dir():
        raise InputError(f"There is no folder {home}.")
    backend: Any = find("backend", "file")(home)
    try:
        _ = backend.folder
    except OSError:
        raise InputError(
            "The working directory is gone: change to another one, or name the project with --home."
        ) from None
    return backend


if __name__ == "__main__":
    sys.exit(main())
