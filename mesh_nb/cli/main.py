"""`mesh-nb`: looks after the log of a project."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import MeshError, nearest
from ..core.plugins import find
from . import log

_LISTED = ("list", "show", "export", "compact", "prune", "verify")
_OPTIONS = ("--home", "--limit", "--events", "--frame", "--since", "--force", "--older-than", "--dry-run")


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest command."""

    def error(self, message: str) -> NoReturn:
        word = message.partition("invalid choice: '")[2].partition("'")[0]
        known = _LISTED
        if not word and message.startswith("unrecognized"):
            word, known = next((w for w in message.split() if w.startswith("-")), ""), _OPTIONS
        close = nearest(word, known) if word else None
        guess = f" Did you mean {close!r}?" if close else ""
        self.exit(2, f"{self.prog}: {message}.{guess}\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(prog="mesh-nb", description="Look after the log of mesh_nb's runs.")
    top.add_argument("--version", action="version", version=f"mesh-nb {version('mesh_nb')}")
    kinds = top.add_subparsers(dest="kind", required=True, metavar="log")
    group = kinds.add_parser("log", help="the runs of a project")
    commands = group.add_subparsers(dest="command", required=True, metavar="|".join(_LISTED))

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        made.add_argument("--home", type=Path, metavar="DIR", help="the project, or its .mesh folder")
        made.set_defaults(run=getattr(log, f"{name}_runs"))
        return made

    listing = command("list", "list the newest runs")
    listing.add_argument("-n", "--limit", type=_positive, default=20, help="how many (20)")
    showing = command("show", "show one run")
    showing.add_argument("run_id")
    showing.add_argument("--events", action="store_true", help="every event, as JSON lines")
    exporting = command("export", "write runs to a file: .jsonl, .parquet or .csv")
    exporting.add_argument("file", type=Path, help="where to; its ending says the format")
    exporting.add_argument("run_ids", nargs="*", metavar="run_id", help="which runs (all)")
    exporting.add_argument(
        "--frame", default="events", help="events, calls, costs, messages, nodes, runs, tools"
    )
    exporting.add_argument("--since", metavar="WHEN", help="only runs since then: 7d, 12h, 2026-11-01")
    exporting.add_argument("--force", action="store_true", help="replace the file if it is there")
    command("compact", "keep finished runs in Parquet too, which reports read much faster")
    pruning = command("prune", "delete old runs for good")
    pruning.add_argument("--older-than", required=True, metavar="AGE", help="30d, 12h, 8w, or a date")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    command("verify", "read every run and tell what is damaged")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 1 when something is wrong, 2 for a wrong call."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal can write what models say
            stream.reconfigure(errors="backslashreplace")
    given = _parsed(arguments)
    try:
        return given.run(_backend(given.home), given)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MeshError, OSError) as error:
        sys.stderr.write(f"mesh-nb: {error}\n")
        return 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    given, rest = top.parse_known_args(arguments)
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
        raise FileNotFoundError(f"There is no folder {home}.")
    return find("backend", "file")(home)


if __name__ == "__main__":
    sys.exit(main())
