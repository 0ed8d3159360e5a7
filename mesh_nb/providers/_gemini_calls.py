"""The function calls of one Gemini answer: whole ones, and those of Vertex whose arguments come in pieces.

The formats: https://ai.google.dev/api/caching#FunctionCall and, for `partialArgs`,
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, cast

from ..core.events import EventType, ExecutionEvent, dumps
from ._text import clean

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,4})\]|\['([^']*)'\]|\["([^"]*)"\]""")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
_MAX_DEPTH = 64

Path = tuple[str | int, ...]


@dataclasses.dataclass(slots=True)
class _Open:
    """A call whose arguments are still arriving; part is as history needs it."""

    id: str
    name: str
    given_id: str
    part: dict[str, Any]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    strings: dict[Path, list[str]] = dataclasses.field(default_factory=dict[Path, list[str]])

    def goes_on(self, call: dict[str, Any]) -> bool:
        """Whether a functionCall belongs to this call; name and id may be repeated or left out."""
        name, given = call.get("name"), call.get("id")
        return "args" not in call and name in (None, "", self.name) and given in (None, "", self.given_id)

    def add(self, pieces: Any) -> None:
        """Put pieces where their paths say; what has no place among arguments is left out."""
        for piece in cast("list[Any]", pieces) if isinstance(pieces, list) else []:
            if not isinstance(piece, dict):
                continue
            path, kind = _path(piece.get("jsonPath")), next((k for k in _VALUES if k in piece), None)
            if path is None or kind is None:
                continue
            value = None if kind == "nullValue" else piece[kind]
            if not isinstance(value, str):
                _place(self.arguments, path, value)
            elif path in self.strings:
                self.strings[path].append(value)
            elif _place(self.arguments, path, ""):
                self.strings[path] = [value]

    def whole(self) -> dict[str, Any]:
        """Return the arguments, with strings put together."""
        for path, texts in self.strings.items():
            _place(self.arguments, path, clean("".join(texts)))
        return self.arguments


class FunctionCalls:
    """Writes the events of function calls; a call without an id gets one.

    Parameters: call_id, what generated ids begin with. `any` is True once a function was called.
    """

    __slots__ = ("_open", "_prefix", "_used")

    def __init__(self, call_id: str) -> None:
        self._prefix = call_id
        self._used: set[str] = set()
        self._open: _Open | None = None

    @property
    def any(self) -> bool:
        """Whether the answer calls a function."""
        return bool(self._used)

    def feed(self, out: list[ExecutionEvent], part: dict[str, Any]) -> list[dict[str, Any]]:
        """Read a part with a functionCall; return the parts that it completes, for history."""
        call = cast("dict[str, Any]", part["functionCall"])
        if self._open is not None and self._open.goes_on(call):
            self._open.add(call.get("partialArgs"))
            return [] if call.get("willContinue") else self.end(out)
        ended = self.end(out)
        pieces, goes_on = call.get("partialArgs"), bool(call.get("willContinue"))
        if not (call.get("name") or call.get("id") or pieces or "args" in call):
            return ended
        name, given = str(call.get("name") or ""), str(call.get("id") or "")
        id = self._start(out, name, given)
        if pieces or goes_on:
            self._open = _Open(id, name, given, part)
            self._open.add(pieces)
            return ended if goes_on else ended + self.end(out)
        if call.get("args"):
            self._arguments(out, id, call["args"])
        return [*ended, part]

    def end(self, out: list[ExecutionEvent]) -> list[dict[str, Any]]:
        """Write the arguments of a call that is still open: the empty call that ends it may be missing."""
        if self._open is None:
            return []
        ended, self._open = self._open, None
        arguments = ended.whole()
        if arguments:
            self._arguments(out, ended.id, arguments)
        call = {"name": ended.name, "args": arguments} | ({"id": ended.given_id} if ended.given_id else {})
        return [{**ended.part, "functionCall": call}]

    def _start(self, out: list[ExecutionEvent], name: str, given: str) -> str:
        fresh = bool(given) and given not in self._used
        id = clean(given) if fresh else f"{self._prefix}.tool{len(self._used)}"
        self._used.add(id)
        metadata = {"tool_name": clean(name), "tool_call_id": id, "executed_by": "client"}
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=metadata))
        return id

    def _arguments(self, out: list[ExecutionEvent], id: str, arguments: Any) -> None:
        text = dumps(arguments).decode()
        out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, content=text, metadata={"tool_call_id": id}))


class ServerTools:
    """Writes the events of tools that Google runs: code, and with Gemini 3 every built-in tool.

    Parameters: call_id, what generated ids begin with.
    """

    __slots__ = ("_count", "_open", "_prefix")

    def __init__(self, call_id: str) -> None:
        self._prefix, self._count = call_id, 0
        self._open: dict[str, dict[str, Any]] = {}

    def start(self, out: list[ExecutionEvent], name: str, given: Any, arguments: Any) -> None:
        """Begin a call. Parameters: name; given, the wire's id, if it has one; arguments, any JSON value."""
        id = clean(str(given)) if given else ""
        if not id or id in self._open:
            id = f"{self._prefix}.server{self._count}"
        self._count += 1
        metadata = {"tool_name": name, "tool_call_id": id, "executed_by": "provider", "arguments": arguments}
        self._open[id] = metadata
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=metadata))

    def complete(
        self, out: list[ExecutionEvent], name: str, given: Any, output: Any, problem: str | None = None
    ) -> None:
        """End the call that this result belongs to: by id, else the oldest open one of that name."""
        id = clean(str(given)) if given else ""
        if id not in self._open:
            open_ids = (i for i, m in self._open.items() if m["tool_name"] == name)
            found = next(open_ids, None)
            if found is None:
                self.start(out, name, given, None)
                found = next(reversed(self._open))
            id = found
        metadata = {**self._open.pop(id), "status": "ok" if problem is None else "error"}
        out.append(
            ExecutionEvent(EventType.TOOL_CALL_COMPLETE, output=output, error=problem, metadata=metadata)
        )

    def end(self, out: list[ExecutionEvent]) -> None:
        """Close the calls whose result never came."""
        for metadata in self._open.values():
            out.append(
                ExecutionEvent(EventType.TOOL_CALL_COMPLETE, metadata={**metadata, "status": "cancelled"})
            )
        self._open.clear()


def _path(text: Any) -> Path | None:
    """Read a path such as $.city or $.items[0]['a b']; None when it does not name an argument."""
    if not isinstance(text, str) or text[:1] != "$":
        return None
    path: list[str | int] = []
    at = 1
    while at < len(text) and len(path) <= _MAX_DEPTH:
        step = _STEP.match(text, at)
        if step is None:
            return None
        name, index = next((g for g in step.group(1, 3, 4) if g is not None), None), step[2]
        path.append(int(index) if name is None else clean(name))
        at = step.end()
    return tuple(path) if path and isinstance(path[0], str) and len(path) <= _MAX_DEPTH else None


def _place(root: dict[str, Any], path: Path, value: Any) -> bool:
    """Set a value inside nested objects and arrays, making them on the way; False when it does not fit."""
    here: Any = root
    for i, step in enumerate(path):
        last = i + 1 == len(path)
        if isinstance(step, int):
            if not isinstance(here, list):
                return False
            here += [None] * (step + 1 - len(here))
        elif not isinstance(here, dict):
            return False
        if last:
            here[step] = value
            return True
        below = here[step] if isinstance(step, int) else here.get(step)
        if not isinstance(below, (dict, list)):
            below = [] if isinstance(path[i + 1], int) else {}
            here[step] = below
        here = cast("Any", below)
    return False
