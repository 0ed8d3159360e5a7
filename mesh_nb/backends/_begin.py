"""What a run began with, as a header keeps it: JSON, with large contents and bytes as blobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..core.attachments import FileData
from ..core.events import dumps, loads

INLINE_BYTES = 16 * 1024
DEPTH = 200
_BYTES = "$bytes"


def pack(header: dict[str, Any], put: Callable[[bytes], str]) -> dict[str, Any]:
    """Return a header whose `begin` is small JSON; what is not goes to `put`, which returns its name.

    Raises what `put` raises.
    """
    begin = header.get("begin")
    if begin is None:
        return header
    data = dumps(_without_bytes(begin, put))
    rest = {name: value for name, value in header.items() if name != "begin"}
    if len(data) > INLINE_BYTES:
        return {**rest, "begin_ref": put(data)}
    return {**rest, "begin": loads(data)}


def unpack(header: dict[str, Any], get: Callable[[object], bytes | None]) -> dict[str, Any]:
    """Return the header with its `begin` as it was; without one when a part of it cannot be had."""
    begin = header.get("begin")
    if (ref := header.get("begin_ref")) is not None:
        data = get(ref)
        begin = None if data is None else loads(data)
    rest = {name: value for name, value in header.items() if name not in ("begin", "begin_ref")}
    try:
        return rest if begin is None else {**rest, "begin": _with_bytes(begin, get)}
    except LookupError:
        return rest


def _without_bytes(value: Any, put: Callable[[bytes], str], depth: int = 0) -> Any:
    if depth > DEPTH:  # It may contain itself; JSON ends there too.
        return value
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES: put(bytes(value))}
    if isinstance(value, dict):
        return {k: _without_bytes(v, put, depth + 1) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_without_bytes(v, put, depth + 1) for v in cast("list[Any]", value)]
    return value


def _with_bytes(value: Any, get: Callable[[object], bytes | None]) -> Any:
    if isinstance(value, list):
        return [_with_bytes(v, get) for v in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, Any]", value)
    if given.keys() == {_BYTES}:
        data = get(given[_BYTES])
        if data is None:
            raise LookupError
        return FileData(data)
    return {k: _with_bytes(v, get) for k, v in given.items()}
