"""The one vocabulary: what a run is made of, from the provider's bytes to the pixel.

Names, keys and flow follow the Events document; `ARCHITECTURE.md` says what each event carries.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

from ._json import as_json as as_json
from ._json import canonical as canonical
from ._json import dumps, loads
from .metadata import LimitMetadata as LimitMetadata
from .metadata import Source as Source
from .metadata import Usage as Usage

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


_FAR = 1e11
_new = object.__new__
_KNOWN: dict[str, Any] = {t.value: t for t in EventType}


def decode(line: bytes | str | dict[str, Any]) -> ExecutionEvent:
    """Read an event; types and metadata keys of a newer version are kept.

    Names are text, time and seq are numbers, whatever the line said; a time that no clock tells is 0. Raises
    ValueError when it is not a JSON object with a type, or its metadata is none.
    """
    record: Any = line if isinstance(line, dict) else loads(line)
    if not isinstance(record, dict):
        raise ValueError("not an event")
    get: Callable[[str], Any] = record.get
    kind: Any = get("type")
    metadata: Any = get("metadata") or {}
    at: Any = get("timestamp")
    seq: Any = get("seq")
    run_id: Any = get("run_id")
    node, error = get("node_id") or "", get("error")
    if kind.__class__ is not str or metadata.__class__ is not dict:
        raise ValueError("not an event: it has no type, or no object as metadata")
    if "visit" in metadata and metadata["visit"].__class__ is not int:
        metadata = {key: value for key, value in metadata.items() if key != "visit"}
    event = _new(ExecutionEvent)  # __init__ takes half as long again, for every line of a log
    event.type = _KNOWN.get(kind, kind)
    event.node_id = node if node.__class__ is str else str(node)
    event.content, event.output, event.metadata = get("content"), get("output"), metadata
    in_time = (at.__class__ is float or at.__class__ is int) and -_FAR < at < _FAR
    event.timestamp = at if in_time else 0.0
    event.error = error if error is None or error.__class__ is str else str(error)
    event.run_id = run_id if run_id.__class__ is str else ""
    event.seq = seq if seq.__class__ is int else -1
    return event
