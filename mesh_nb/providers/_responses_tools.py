"""The tool calls of one response: those for the client to run, and those that the provider ran itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, cast

from ..core.events import EventType, ExecutionEvent, dumps
from ._text import Joiner, clean
from ._wire import parse

Item = dict[str, Any]
Party = Literal["client", "provider"]
Shape = Literal["json", "text", "value", "fields"]

# Item type: who runs it (None: the item says so), how it holds its arguments, and in which fields.
# json: as JSON text. text: as plain text, which is the only argument. value: the field is all of them.
# fields: each field is one.
_KINDS: dict[str, tuple[Party | None, Shape, tuple[str, ...]]] = {
    "function_call": ("client", "json", ("arguments",)),
    "custom_tool_call": ("client", "text", ("input",)),
    "mcp_approval_request": ("client", "json", ("arguments",)),
    "local_shell_call": ("client", "value", ("action",)),
    "apply_patch_call": ("client", "value", ("operation",)),
    "computer_call": ("client", "fields", ("action", "actions")),
    "shell_call": (None, "value", ("action",)),
    "tool_search_call": (None, "value", ("arguments",)),
    "web_search_call": ("provider", "value", ("action",)),
    "file_search_call": ("provider", "fields", ("queries",)),
    "code_interpreter_call": ("provider", "text", ("code",)),
    "image_generation_call": ("provider", "fields", ("revised_prompt",)),
    "mcp_call": ("provider", "json", ("arguments",)),
    "mcp_list_tools": ("provider", "fields", ("server_label",)),
    "program": ("provider", "text", ("code",)),
}
# A call of a type that nobody knows is never for us.
_UNKNOWN: tuple[Party | None, Shape, tuple[str, ...]] = (
    "provider",
    "fields",
    ("name", "arguments", "action"),
)

# Whose results come as an item of their own.
_OUTPUTS = {
    "shell_call_output": ("shell_call", "output"),
    "program_output": ("program", "result"),
    "tool_search_output": ("tool_search_call", "tools"),
}
# What is asked of the client here is a yes or no: the provider runs it, so it is no tool of ours.
_APPROVAL = "mcp_approval_request"
_AWAITED = frozenset(kind for kind, _ in _OUTPUTS.values())
_FAILED = {"failed": "error", "incomplete": "cancelled"}


@dataclasses.dataclass(slots=True)
class _Call:
    """A tool call being read. `field` names the argument whose plain text streams, None for JSON."""

    kind: str
    name: str
    id: str
    party: Party
    item_id: Any
    field: str | None
    identity: dict[str, Any]
    given: str | None = None
    sent: list[str] = dataclasses.field(default_factory=list[str])
    closed: bool = False
    done: bool = False
    arguments: Any = None
    join: Joiner = dataclasses.field(default_factory=Joiner)

    @property
    def metadata(self) -> dict[str, Any]:
        asks = self.kind == _APPROVAL
        metadata = {"tool_name": self.name, "tool_call_id": self.id}
        metadata["executed_by"] = "provider" if asks else self.party
        return {**metadata, "needs_approval": True} if asks else metadata


class ToolCalls:
    """Tells the calls of one response apart by output_index and writes their events.

    Parameters: call_id, what ids begin with where the server sends none; before, called with the list of
    events before a call starts, to close what is open.
    `for_client` says whether a call came that the client is to run. Plain text that streams (the code of a
    code interpreter, a custom tool's input) becomes a JSON object of one field, so that fragments of
    arguments always join to JSON.
    """

    __slots__ = ("_all", "_before", "_by_index", "_prefix", "for_client")

    def __init__(self, call_id: str, before: Callable[[list[ExecutionEvent]], None]) -> None:
        self.for_client = False
        self._prefix, self._before = call_id, before
        self._by_index: dict[int, _Call] = {}
        self._all: list[_Call] = []

    def knows(self, kind: str) -> bool:
        """Whether an item of this type is a call, or the result of one."""
        return kind in _KINDS or kind in _OUTPUTS or kind.endswith("_call")

    def forget(self) -> None:
        """Begin another response, whose items are counted from 0 again."""
        self._by_index.clear()

    def added(self, out: list[ExecutionEvent], index: int, item: Item) -> None:
        """Start the call that an item announces."""
        if item["type"] not in _OUTPUTS:
            self._call(out, index, item)

    def delta(self, out: list[ExecutionEvent], index: int, text: str) -> None:
        """Add a fragment of a call's arguments; one that belongs to no call is nobody's."""
        call = self._by_index.get(index)
        if call is not None and not call.closed:
            self._argument(out, call, text)

    def whole(self, out: list[ExecutionEvent], index: int, text: Any) -> None:
        """Take the arguments as a whole and send what the fragments left out."""
        call = self._by_index.get(index)
        if call is None or call.closed or not isinstance(text, str):
            return
        sent, text = clean("".join(call.sent)), clean(text)
        if text.startswith(sent):
            self._argument(out, call, text[len(sent) :])
        self._close_arguments(out, call)

    def done(self, out: list[ExecutionEvent], index: int, item: Item) -> bool:
        """End the call of an item; the provider's are complete with it. False when there was none to end."""
        kind = item["type"]
        if kind in _OUTPUTS:
            return self._result(out, item, *_OUTPUTS[kind])
        call = self._call(out, index, item)
        if call.done:
            return False
        text, call.arguments = _arguments(kind, item)
        if text is None and call.party == "client" and not call.sent:
            text = dumps(call.arguments).decode()
        self.whole(out, index, text)
        self._close_arguments(out, call)
        if call.party == "client":
            call.done = True
        elif kind not in _AWAITED:
            self._complete(out, call, item)
        return True

    def finish(self, out: list[ExecutionEvent]) -> None:
        """Write what waited, and end the calls of the provider whose end never came."""
        for call in self._all:
            self._flush(out, call)
            if call.party == "provider" and not call.done:
                self._complete(out, call, {"status": "incomplete"})

    def _call(self, out: list[ExecutionEvent], index: int, item: Item) -> _Call:
        """Return the call at an index; another id after its end is another call."""
        call = self._by_index.get(index)
        if call is not None and not (call.done and item.get("id") != call.item_id):
            return call
        kind: str = item["type"]
        party = _party(kind, item)
        named = (item.get("call_id"), item.get("id")) if party == "client" else (item.get("id"), None)
        id = next((str(n) for n in named if n), f"{self._prefix}.tool{len(self._all)}")
        _, shape, fields = _KINDS.get(kind, _UNKNOWN)
        field = fields[0] if shape == "text" else None
        name = item.get("name")
        name = name if name and isinstance(name, str) else kind.removesuffix("_call")
        given = item.get("call_id")
        call = _Call(kind, name, id, party, item.get("id"), field, {"tool_call_id": id})
        call.given = given if isinstance(given, str) else None
        self._by_index[index] = call
        self._all.append(call)
        self.for_client = self.for_client or party == "client"
        self._before(out)
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=call.metadata))
        return call

    def _argument(self, out: list[ExecutionEvent], call: _Call, text: str) -> None:
        if not text:
            return
        first = not call.sent
        call.sent.append(text)
        if call.join.held or not text.isascii():
            text = call.join.add(text)
        if call.field:
            text = (f'{{"{call.field}":"' if first else "") + _inside(text)
        if text:
            out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, "", text, None, call.identity))

    def _flush(self, out: list[ExecutionEvent], call: _Call) -> None:
        rest = call.join.end()
        if rest:
            out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, content=rest, metadata=call.identity))

    def _close_arguments(self, out: list[ExecutionEvent], call: _Call) -> None:
        if call.closed:
            return
        self._flush(out, call)
        call.closed = True
        if call.field and call.sent:
            out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, content='"}', metadata=call.identity))

    def _result(self, out: list[ExecutionEvent], item: Item, kind: str, field: str) -> bool:
        """End the call that a result belongs to; without a call_id, the last one of its kind."""
        waiting = [c for c in self._all if c.kind == kind and c.party == "provider" and not c.done]
        given = item.get("call_id")
        same = [c for c in waiting if given is None or c.given == given]
        if not same:
            return False
        self._complete(out, same[-1], {**item, "output": item.get(field)})
        return True

    def _complete(self, out: list[ExecutionEvent], call: _Call, item: Item) -> None:
        call.done = True
        error = item.get("error")
        status = "error" if error else _FAILED.get(str(item.get("status")), "ok")
        metadata = {**call.metadata, "status": status, "arguments": call.arguments}
        if call.arguments is None and call.sent:
            metadata |= _read("".join(call.sent), call.field)
        out.append(
            ExecutionEvent(
                EventType.TOOL_CALL_COMPLETE,
                output=_output(call.kind, item),
                error=_said(error) if error else None,
                metadata=metadata,
            )
        )


def _party(kind: str, item: Item) -> Party:
    """Say who runs a call; one of an unknown type is never for us."""
    if kind == "shell_call":
        environment = item.get("environment")
        hosted = isinstance(environment, dict) and environment.get("type") not in (None, "local")
        return "provider" if hosted else "client"
    if kind == "tool_search_call":
        return "client" if item.get("execution") == "client" else "provider"
    return _KINDS.get(kind, _UNKNOWN)[0] or "provider"


def _arguments(kind: str, item: Item) -> tuple[str | None, Any]:
    """Return the arguments of a finished item: as text where they stream as text, and parsed where known."""
    _, shape, fields = _KINDS.get(kind, _UNKNOWN)
    values = {name: item[name] for name in fields if item.get(name) is not None}
    only = next(iter(values.values()), None)
    if shape == "json":
        return only if isinstance(only, str) else None if only is None else dumps(only).decode(), None
    if shape == "text":
        return (only, {**values}) if isinstance(only, str) else ("", None)
    if shape == "value":
        if kind == "web_search_call" and isinstance(only, dict):
            only = {name: v for name, v in cast("Item", only).items() if name != "sources"}
        return None, only
    return None, values


def _read(text: str, field: str | None) -> dict[str, Any]:
    """Return the arguments parsed, or as text where they are no JSON."""
    if field:
        return {"arguments": {field: clean(text)}}
    try:
        return {"arguments": parse(text.encode("utf-8", "replace"))}
    except ValueError:
        return {"arguments": None, "arguments_raw": clean(text)}


def _output(kind: str, item: Item) -> Any:
    """Return what a call of the provider's brought, without the bytes of files, which come as events."""
    if kind == "web_search_call":
        action = item.get("action")
        found = action.get("sources") if isinstance(action, dict) else None
        return found if found is not None else item.get("results")
    if kind == "file_search_call":
        return item.get("results")
    if kind == "mcp_list_tools":
        return item.get("tools")
    if kind == "code_interpreter_call":
        outputs = item.get("outputs")
        return [_without_bytes(o) for o in cast("list[Any]", outputs)] if isinstance(outputs, list) else None
    if kind == "image_generation_call":
        names = ("size", "quality", "background", "output_format")
        return {name: item[name] for name in names if item.get(name) is not None} or None
    return item.get("output")


def _without_bytes(output: Any) -> Any:
    if isinstance(output, dict) and str(output.get("url", "")).startswith("data:"):
        kind = str(output["url"]).partition(";")[0].removeprefix("data:")
        return {"type": output.get("type"), "mime_type": kind}
    return output


def _said(error: Any) -> str:
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return clean(error["message"])
    return clean(error) if isinstance(error, str) else dumps(error).decode()


def _inside(text: str) -> str:
    return dumps(text).decode()[1:-1]
