"""The one vocabulary: what a run is made of, from the provider's bytes to the pixel.

Names, keys and flow follow the Events document; `ARCHITECTURE.md` says what each event carries.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import time
from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict, cast

import orjson

from .errors import told

SCHEMA_VERSION = 1


class EventType(StrEnum):
    """The type of an event; equal to its string, so `event.type == "token"` holds."""

    EXECUTION_START = "execution_start"
    EXECUTION_COMPLETE = "execution_complete"
    EXECUTION_ERROR = "execution_error"
    NODE_START = "node_start"
    NODE_COMPLETE = "node_complete"
    NODE_ERROR = "node_error"
    NODE_RETRY = "node_retry"
    MODEL_CALL_START = "model_call_start"
    MESSAGE_START = "message_start"
    TOKEN = "token"
    MESSAGE_COMPLETE = "message_complete"
    REASONING_START = "reasoning_start"
    REASONING_TOKEN = "reasoning_token"
    REASONING_END = "reasoning_end"
    TOOL_CALL_START = "tool_call_start"
    TOOL_CALL_DELTA = "tool_call_delta"
    TOOL_CALL_COMPLETE = "tool_call_complete"
    RESPONSE_METADATA = "response_metadata"
    SOURCE = "source"
    FILE = "file"
    STEP_START = "step_start"
    STEP_COMPLETE = "step_complete"
    STATE_UPDATE = "state_update"
    INTERRUPT = "interrupt"
    INTERRUPT_RESOLVED = "interrupt_resolved"
    CUSTOM_DATA = "custom_data"


DELTAS = frozenset({EventType.TOKEN, EventType.REASONING_TOKEN, EventType.TOOL_CALL_DELTA})
"""Events that may be buffered and coalesced; every other event is a boundary."""

ENDINGS = frozenset({EventType.EXECUTION_COMPLETE, EventType.EXECUTION_ERROR})


class Usage(TypedDict, total=False):
    """Token counts of model calls; a counter the provider does not report is absent, never 0.

    prompt_tokens includes cached and cache-write tokens; completion_tokens includes reasoning tokens.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Source(TypedDict, total=False):
    """One citation or search result; offsets are half-open, in the unit that `offset_unit` names.

    One of a file at the provider has file_id, and container_id where it lies in one.
    """

    url: str
    title: str
    file_id: str
    container_id: str
    cited_text: str
    start: int
    end: int
    offset_unit: Literal["code_point", "utf8_byte", "utf16"]
    kind: Literal["cited", "result"]


class ExecutionStartMetadata(TypedDict, total=False):
    """Metadata of execution_start."""

    graph_id: str
    session_id: str
    input: Any
    graph: Any


class ExecutionEndMetadata(TypedDict, total=False):
    """Metadata of execution_complete and execution_error."""

    status: Literal["completed", "interrupted", "failed", "cancelled", "budget", "timeout"]
    duration_ms: float
    usage: Usage
    cost_usd: float


class ModelCallStartMetadata(TypedDict, total=False):
    """Metadata of model_call_start; `request` is redacted, and a blob named by `request_ref` in a log."""

    call_id: str
    call_key: str
    attempt: int
    provider: str
    requested_model: str
    request: Any
    request_ref: str


class TokenMetadata(TypedDict, total=False):
    """Metadata of token."""

    text_block_id: str
    event_subtype: Literal["text", "refusal"]


class MessageMetadata(TypedDict, total=False):
    """Metadata of message_start and message_complete."""

    message_id: str
    finish_reason: str | None


class ToolCallMetadata(TypedDict, total=False):
    """Metadata of tool_call_start, tool_call_delta and tool_call_complete.

    needs_approval: the provider would run it, on a server that it reaches, but asks first.
    """

    tool_name: str
    tool_call_id: str
    executed_by: Literal["client", "provider"]
    needs_approval: bool
    arguments: Any
    arguments_raw: str
    status: Literal["ok", "error", "denied", "cancelled", "not_executed"]
    duration_ms: float


class ReasoningMetadata(TypedDict, total=False):
    """Metadata of reasoning_start, reasoning_token and reasoning_end."""

    block_id: str
    kind: Literal["full", "summary", "redacted"]


class ResponseMetadata(TypedDict, total=False):
    """Metadata of response_metadata: exactly one for each model call, never without model_id and usage."""

    call_id: str
    usage: Usage
    usage_status: Literal["reported", "estimated", "unknown"]
    model_id: str
    requested_model: str
    provider: str
    finish_reason: str | None
    finish_reason_raw: str | None
    message_id: str
    provider_state: Any
    cost_usd: float
    cost_source: Literal["wire", "genai-prices", "custom"]
    time_to_first_token_ms: float
    duration_ms: float


class SourceMetadata(TypedDict):
    """Metadata of source."""

    sources: list[Source]


class FileMetadata(TypedDict, total=False):
    """Metadata of file; content is base64, or, in a log, a blob named by content_ref.

    Without content it lies with a provider, under file_id, and in container_id where that is given.
    """

    name: str
    mime_type: str
    content: str
    content_ref: str
    size: int
    provider: str
    file_id: str
    container_id: str


class StepMetadata(TypedDict, total=False):
    """Metadata of step_start and step_complete."""

    step_index: int
    usage: Usage
    finish_reason: str | None


class CustomDataMetadata(TypedDict, total=False):
    """Metadata of custom_data; transient events are shown and not logged."""

    data_type: str
    transient: bool


class NodeMetadata(TypedDict):
    """What the executor adds to the metadata of a node's events when it is above 0."""

    visit: NotRequired[int]
    attempt: NotRequired[int]


@dataclasses.dataclass(slots=True)
class ExecutionEvent:
    """One thing that happened in a run.

    Parameters
    ----------
    type : EventType, equal to its string; an unknown name read from a newer log stays a plain str.
    node_id : the node it belongs to; "START" for the run itself. Nodes may leave it empty.
    content : text for token and reasoning_token, a fragment for tool_call_delta, the payload for custom_data.
    output : the result of a node, a tool call or the run; any JSON value.
    metadata : always a dict. Deltas of one block share it: read it, do not change it.
    timestamp : seconds since the epoch.
    error : what went wrong, as text.
    run_id, seq : stamped by the executor; seq is gapless within a run, from 0.
    """

    type: EventType
    node_id: str = ""
    content: Any = None
    output: Any = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    timestamp: float = dataclasses.field(default_factory=time.time)
    error: str | None = None
    run_id: str = dataclasses.field(default="", kw_only=True)
    seq: int = dataclasses.field(default=-1, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON values, whatever its payload holds."""
        return cast("dict[str, Any]", orjson.loads(encode(self)))


def as_json(value: Any) -> Any:
    """Return a JSON-able stand-in for a foreign object: the `default` of the codec."""
    if isinstance(value, (set, frozenset, tuple)):
        return list(cast("set[Any]", value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        brief = getattr(value, "brief", None)  # an attachment: no event repeats its bytes
        if isinstance(brief, str):
            return brief
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, BaseException):
        return told(value)
    for method in ("model_dump", "to_dict", "item", "tolist"):
        call = getattr(value, method, None)
        if callable(call) and not isinstance(value, type):
            try:
                return call(orient="records") if method == "to_dict" and hasattr(value, "columns") else call()
            except Exception:  # noqa: BLE001  a foreign object's own failure must not end a run
                continue
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  see above
        return f"<{type(value).__name__}>"


_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_ORJSON_DEPTH = 200
_INTEGER_BITS = 14_000
"""Python writes no decimal integer of more than 4300 digits."""


def dumps(value: Any) -> bytes:
    """Encode any value as JSON in UTF-8; what JSON cannot say becomes text rather than an error."""
    try:
        return orjson.dumps(value, default=as_json, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_plain(value, ()), ensure_ascii=False)
        return text.encode("utf-8", "replace")


def canonical(value: Any) -> bytes:
    """Encode a value as JSON in which equal values are equal bytes: keys sorted, bytes by their sha256."""
    try:
        return orjson.dumps(value, default=_content, option=_OPTIONS | orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_plain(value, ()), sort_keys=True).encode()


def _content(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        known = getattr(value, "sha256", None)  # an attachment is hashed once
        return {"sha256": known if isinstance(known, str) else hashlib.sha256(value).hexdigest()}
    return as_json(value)


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """Make JSON of what orjson refuses: lone surrogates, huge integers, odd keys, and cycles, which end where
    they meet one of the objects `above` them."""
    if len(above) > _ORJSON_DEPTH or id(value) in above:
        return repr(type(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < _INTEGER_BITS else hex(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    inside = (*above, id(value))
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {str(_plain(k, inside)): _plain(v, inside) for k, v in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v, inside) for v in cast("list[Any]", value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (f.name for f in dataclasses.fields(value))
        return {n: _plain(getattr(value, n), inside) for n in names}
    return _plain(as_json(value), inside)


def encode(event: ExecutionEvent) -> bytes:
    """Encode an event as one line of JSON without the newline; fields that are None are left out."""
    record: dict[str, Any] = {"seq": event.seq, "type": event.type, "node_id": event.node_id}
    if event.content is not None:
        record["content"] = event.content
    if event.output is not None:
        record["output"] = event.output
    if event.error is not None:
        record["error"] = event.error
    record["metadata"] = event.metadata
    record["timestamp"] = event.timestamp
    record["run_id"] = event.run_id
    return dumps(record)


_KNOWN: dict[str, EventType] = {t.value: t for t in EventType}


def decode(line: bytes | str | dict[str, Any]) -> ExecutionEvent:
    """Read an event; types and metadata keys of a newer version are kept.

    Raises ValueError when the text is not a JSON object with a type.
    """
    record = line if isinstance(line, dict) else cast("dict[str, Any]", loads(line))
    name = record.get("type")
    if not isinstance(name, str):
        raise ValueError("not an event: it has no type")
    return ExecutionEvent(
        cast("EventType", _KNOWN.get(name, name)),
        record.get("node_id") or "",
        record.get("content"),
        record.get("output"),
        record.get("metadata") or {},
        record.get("timestamp") or 0.0,
        record.get("error"),
        run_id=record.get("run_id") or "",
        seq=record.get("seq", -1),
    )


def loads(data: bytes | str) -> Any:
    """Parse JSON with orjson, and with the standard library where orjson refuses (lone surrogates).

    Raises ValueError for what is no JSON, or is nested too deeply.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
