"""The one vocabulary: what a run is made of, from the provider's bytes to the pixel.

Names, keys and flow follow the Events document; `ARCHITECTURE.md` says what each event carries.
"""

from __future__ import annotations

import dataclasses
import time
from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict, cast

from ._json import as_json as as_json
from ._json import canonical as canonical
from ._json import dumps, loads

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


class LimitMetadata(TypedDict):
    """A limit over many runs that held for a call, and what was spent of it when the call had ended."""

    scope: Literal["notebook", "project"]
    per: Literal["session", "hour", "day", "week", "month"]
    usd: float
    spent_usd: float


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
    limits: list[LimitMetadata]


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


@dataclasses.dataclass(slots=True, init=False)
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
    run_id: str = ""
    seq: int = -1

    # A generated one takes half as long again, and an event is made for each token.
    def __init__(
        self,
        type: EventType,
        node_id: str = "",
        content: Any = None,
        output: Any = None,
        metadata: dict[str, Any] | None = None,
        timestamp: float | None = None,
        error: str | None = None,
        run_id: str = "",
        seq: int = -1,
    ) -> None:
        self.type = type
        self.node_id = node_id
        self.content = content
        self.output = output
        self.metadata = {} if metadata is None else metadata
        self.timestamp = time.time() if timestamp is None else timestamp
        self.error = error
        self.run_id = run_id
        self.seq = seq

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON values, whatever its payload holds."""
        return cast("dict[str, Any]", loads(encode(self)))


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
