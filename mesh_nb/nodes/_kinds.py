"""What kinds of values the options of nodes are, and the refusal of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..core.errors import InputError, shown

Kind = tuple[str, tuple[Any, ...]]
"""In words, and as classes; True and False are no numbers, texts and bytes no lists."""

TEXT: Kind = ("text", (str,))
NUMBER: Kind = ("a number", (int, float))
WHOLE: Kind = ("a whole number", (int,))
SWITCH: Kind = ("True or False", (bool,))
DICT: Kind = ("a dict", (Mapping,))
LIST: Kind = ("a list", (Iterable,))
NAMES: Kind = ("a list of names", (Iterable, str))
TOOLS: Kind = ("a list", (Iterable, str, Callable))


def check_kinds(
    node_id: str, kinds: Mapping[str, Kind], options: Mapping[str, Any], needed: Iterable[str] = ()
) -> None:
    """Raise InputError for an option of another kind.

    Parameters: kinds, by option; options, such as the locals of `__init__`; needed, those that cannot be
    None.
    """
    for name, (meant, classes) in kinds.items():
        value = options[name]
        if value is None and name not in needed:
            continue
        fits = isinstance(value, classes)
        if isinstance(value, bool):
            fits = bool in classes
        elif isinstance(value, (str, bytes)) and Iterable in classes:
            fits = str in classes and isinstance(value, str)
        if not fits:
            # A key in the wrong place must not end up in a message.
            given = type(value).__name__ if name == "api_key" else shown(value)
            raise InputError(f"Node {node_id!r}: {name}={given} must be {meant}.")


def names(node_id: str, option: str, given: Any) -> list[str]:
    """Return names that were given as a list, or one as text. Raises InputError for what is none."""
    found: list[Any] = [given] if isinstance(given, str) else list(given)
    for name in found:
        if not isinstance(name, str):
            raise InputError(f"Node {node_id!r}: {option}= has {shown(name)}, which is no name.")
    return found
