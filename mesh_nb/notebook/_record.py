"""`%mesh record`: a tape for all cells that follow."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from ..core import tape
from ..core.errors import nearest
from ._arguments import variable
from ._cell import current_shell

_OPTIONS = ("--mode", "--speed", "--redact", "--live")
_USAGE = "%mesh record FILE [--mode once|none|all|rewrite] [--speed N] [--redact NAME] [--live TOOL]"
_SAID = {
    "once": "{path}: what it has is replayed, the rest is recorded.",
    "none": "{path}: replayed; nothing is asked that it does not have.",
    "all": "{path}: recorded anew.",
    "rewrite": "{path}: what it has is replayed, the rest is recorded, what nobody asks for is taken out.",
}

_on: tape.Tape | None = None


def record(*words: str) -> None:
    """Record what cells ask, or replay it: %mesh record FILE [--mode M] [--speed N] | off."""
    global _on
    if not words:
        current = tape.current()
        print("No tape is on." if current is None else _said(current))  # noqa: T201
        return
    if words == ("off",):
        if _on is None:
            raise UsageError("%mesh record off: no tape is on.")
        tape.stop(_on)
        _on = None
        return
    path, mode, options = _read(list(words))
    made = tape.Tape(path, mode, **options)
    # A cell that is run again puts its tape in the place of the one that it had put on.
    if _on is not None:
        tape.stop(_on)
    _on = tape.put_on(made)
    # A mode of the environment's must not change what the cell has as its output.
    print(_said(made) if mode else "\n".join([f"{path} is on.", *made.problems]))  # noqa: T201


def _said(current: tape.Tape) -> str:
    lines = [_SAID[current.mode].format(path=current.path), *current.problems]
    return "\n".join(lines)


def _read(words: list[str]) -> tuple[str, str | None, dict[str, Any]]:
    path, mode, options = "", None, dict[str, Any]()
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            if path:
                raise UsageError(f"%mesh record: one tape at a time, not {path} and {word}. {_USAGE}")
            path = word
            continue
        if name not in _OPTIONS:
            close = nearest(name, _OPTIONS)
            guess = f" Did you mean {close}?" if close else ""
            raise UsageError(f"%mesh record has no {name}.{guess} {_USAGE}")
        if not equals:
            if not words:
                raise UsageError(f"%mesh record {name}: the value is missing. {_USAGE}")
            value = words.pop(0)
        if name == "--mode":
            mode = value
        elif name == "--speed":
            try:
                options["speed"] = float(value)
            except ValueError:
                raise UsageError(f"%mesh record --speed {value}: say a number, 0 for at once.") from None
        elif name == "--live":
            options.setdefault("live_tools", []).append(value)
        else:
            options.setdefault("redact", []).extend(_texts(value))
    if not path:
        raise UsageError(f"%mesh record: name a file. {_USAGE}")
    return path, mode, options


def _texts(name: str) -> list[str]:
    """Return the texts to be hidden that a variable of the notebook holds."""
    found: Any = variable(current_shell().user_ns, name, "%mesh record --redact")
    texts = [found] if isinstance(found, str) else list(found)
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"%mesh record --redact {name}: it holds a {type(found).__name__}, not texts.")
    return texts
