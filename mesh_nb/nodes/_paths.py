"""Where in a value something is: `$.items[*].name`, a small part of JSONPath (RFC 9535)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

from ..core.errors import GraphValidationError, MeshError, nearest, shown

_STEP = re.compile(
    r"\.(?P<name>[^\W\d][\w-]*)|\[(?P<index>-?\d+)\]|\[(?P<q>['\"])(?P<quoted>.*?)(?P=q)\]|(?P<all>\[\*\]|\.\*)"
)
_ALL = object()


def parse(path: Any, label: str) -> tuple[Any, ...]:
    """Read a path: `$`, then `.name`, `['name']`, `[0]`, `[-1]`, `[*]` or `.*`; a bare `items` is `$.items`.

    Returns its steps for `select`. Raises GraphValidationError, which begins with the label, for anything
    else of JSONPath (filters, slices, descents).
    """
    if not isinstance(path, str) or not path.strip():
        raise GraphValidationError(f"{label}: {shown(path)} is not a path; write it as '$.items'.")
    text = path.strip()
    if not text.startswith("$"):
        text = f"${text}" if text.startswith("[") else f"$.{text}"
    steps: list[Any] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise GraphValidationError(
                f"{label}: {shown(path)} cannot be read at {text[at:]!r}; a path is made of .name, ['name'],"
                " [0] and [*]."
            )
        if match["all"] is not None:
            steps.append(_ALL)
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(match["name"] if match["name"] is not None else match["quoted"])
        at = match.end()
    return tuple(steps)


def select(steps: tuple[Any, ...], value: Any, where: str = "the input") -> Any:
    """Return what is at a path: a list of all that fits when the path has a `[*]`, else the one value.

    Parameters: where, what the value is, for an error message.
    Raises MeshError for a name or an index that is not there, with the nearest name; a `[*]` skips those.
    """
    found, several = [value], False
    for step in steps:
        if step is _ALL:
            several, found = True, [child for one in found for child in _children(one)]
        elif several:
            found = [child for one in found if (child := _child(one, step, _ALL, where)) is not _ALL]
        else:
            found = [_child(found[0], step, None, where)]
    return found if several else found[0]


def listed(value: Any) -> list[Any] | None:
    """Return a list of what a value holds in order, None for what is no such thing: a list, a tuple, a range,
    an array, a Series; of a DataFrame its rows, as dicts."""
    if isinstance(value, (list, tuple, range, deque)):
        return list(cast("list[Any]", value))
    if isinstance(value, type):
        return None
    if hasattr(value, "columns"):
        if hasattr(value, "to_dicts"):
            return value.to_dicts()
        return value.to_dict(orient="records") if hasattr(value, "to_dict") else None
    for method in ("to_list", "tolist"):
        if hasattr(value, method):
            items = getattr(value, method)()
            return cast("list[Any]", items) if isinstance(items, list) else None
    return None


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(cast("Mapping[Any, Any]", value).values())
    return list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else []


def _child(value: Any, step: Any, missing: Any, where: str) -> Any:
    known: list[str] = []
    if isinstance(value, Mapping):
        fields = cast("Mapping[Any, Any]", value)
        if step in fields:
            return fields[step]
        known = [str(k) for k in fields]
    elif isinstance(value, (list, tuple)) and isinstance(step, int):
        items = cast("list[Any]", value)
        if -len(items) <= step < len(items):
            return items[step]
    if missing is _ALL:
        return _ALL
    close = nearest(str(step), known)
    guess = f" Did you mean {close!r}?" if close else ""
    listing = f" It has {', '.join(map(repr, known[:20]))}." if known else f" It is {type(value).__name__}."
    raise MeshError(f"There is no {shown(step)} in {where}.{guess}{listing}")
