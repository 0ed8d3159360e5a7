"""What differs between what a tape has and what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

Difference = tuple[str, Any, Any]

_MISSING: Any = object()
_SHOWN = 4
_BRIEF = 60
"""Characters of a value that are shown."""


def nearest(requests: Iterable[dict[str, Any]], asked: dict[str, Any]) -> list[Difference] | None:
    """Return (path, recorded, asked) of what differs in the nearest request; None when there is none."""
    wanted = _leaves(asked)
    best = max((_leaves(r) for r in requests), key=lambda known: _common(known, wanted), default=None)
    return None if best is None else _differences(best, wanted)


def told(differences: list[Difference]) -> str:
    """Return differences in words."""
    if not differences:
        return "nothing: it was recorded fewer times than it is asked"
    parts = (_side_by_side(*difference) for difference in differences[:_SHOWN])
    more = len(differences) - _SHOWN
    return "; ".join(parts) + (f" and {more} more" if more > 0 else "")


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the plain values inside a JSON value by their paths: `messages[0].content`."""
    if isinstance(value, dict):
        pairs = ((f"{path}.{k}" if path else str(k), v) for k, v in cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        pairs = ((f"{path}[{n}]", v) for n, v in enumerate(cast("list[Any]", value)))
    else:
        return {path: value}
    return {name: leaf for at, inside in pairs for name, leaf in _leaves(inside, at).items()}


def _common(old: dict[str, Any], new: dict[str, Any]) -> int:
    return sum(2 if new.get(path, _MISSING) == value else path in new for path, value in old.items())


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    paths = [*old, *(path for path in new if path not in old)]
    pairs = ((path, old.get(path, _MISSING), new.get(path, _MISSING)) for path in paths)
    found = [(path, a, b) for path, a, b in pairs if a != b]
    return [(path, None if a is _MISSING else a, None if b is _MISSING else b) for path, a, b in found]


def _side_by_side(path: str, old: Any, new: Any) -> str:
    at = 0
    if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > _BRIEF:
        # Long texts are shown where they begin to differ.
        at = next(
            (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
        )
        at = max(at - _BRIEF // 3, 0)
    return f"{path}: {_brief(old, at)} there, {_brief(new, at)} here"


def _brief(value: Any, at: int = 0) -> str:
    if not isinstance(value, str):
        return "nothing" if value is None else _cut(repr(value))
    before, after = "…" if at else "", "…" if len(value) > at + _BRIEF else ""
    return f"{before}{value[at : at + _BRIEF]!r}{after}"


def _cut(text: str) -> str:
    return text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…"
