"""One row for each message: what was asked, thought, said, called and returned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..core._named import named_options
from ..core.context import as_text
from ..core.events import EventType, ExecutionEvent, dumps
from ._columns import CATEGORY, INTEGER, TEXT, TIME, Column, Table
from ._lines import Log
from ._load import fill

COLUMNS = (
    Column("run_id", "run_id", TEXT, "", "The run."),
    Column("order", "order", INTEGER, "", "Position among the messages of the run, by their start, from 0."),
    Column("node_id", "node_id", CATEGORY, "", 'The node; "START" for what was asked.'),
    Column("role", "role", CATEGORY, "", "user, assistant or tool."),
    Column("kind", "kind", CATEGORY, "", "text, reasoning, tool_call or tool_result."),
    Column("content", "content", TEXT, "", "The text; arguments and results of tools as JSON text."),
    Column("characters", "characters", INTEGER, "", "Code points of the content."),
    Column("tool_name", "tool_name", CATEGORY, "", "The tool that was called or answered."),
    Column("model", "model", CATEGORY, "", "The model that wrote it."),
    Column("finish_reason", "finish_reason", CATEGORY, "", "Why it ended; NA when it did not."),
    Column("started_at", "started_at", TIME, "UTC", "When it began."),
    Column("session_id", "session_id", TEXT, "", "The session of the run."),
    Column("attempt", "attempt", INTEGER, "", "0 for the first attempt of the node, then 1, 2, ..."),
    Column("visit", "visit", INTEGER, "", "0 for the first visit of the node in a loop, then 1, 2, ..."),
)
TYPES = (
    EventType.EXECUTION_START,
    EventType.MESSAGE_START,
    EventType.TOKEN,
    EventType.MESSAGE_COMPLETE,
    EventType.REASONING_START,
    EventType.REASONING_TOKEN,
    EventType.REASONING_END,
    EventType.TOOL_CALL_COMPLETE,
    EventType.RESPONSE_METADATA,
    EventType.CUSTOM_DATA,
)
RESTART = "data-restart"
"""data_type of what a provider says when its answer begins again."""


@named_options
def messages_df(source: Any = None, *, since: Any = None) -> pd.DataFrame:
    """Return a DataFrame with one row for each message of a run.

    Parameters: source and since as for `calls_df`. What was asked is there as far as the log's first event
    keeps it (2,000 characters of each text). Columns: see `mesh_nb.frames.messages.COLUMNS`, also in
    `df.attrs["columns"]`. Raises RunNotFoundError for an unknown run id, InputError for what is not a run, a
    path or a time.
    """
    table = Table(COLUMNS)
    fill(table, source, TYPES, _Fold, since=since)
    return table.frame()


class _Fold:
    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._messages: list[dict[str, Any]] = []
        self._open: dict[Any, dict[str, Any]] = {}
        self._call: dict[Any, list[dict[str, Any]]] = {}
        self._session: Any = None

    def take(self, event: ExecutionEvent) -> None:
        kind, metadata = event.type, event.metadata
        where: Any = (event.node_id, metadata.get("visit", 0))
        if kind == EventType.TOKEN:
            self._say((*where, "text"), event, "text")
        elif kind == EventType.REASONING_TOKEN:
            self._say((*where, str(metadata.get("block_id"))), event, "reasoning")
        elif kind == EventType.MESSAGE_COMPLETE:
            said = self._open.pop((*where, "text"), None)
            if said is not None:
                said["finish_reason"] = metadata.get("finish_reason")
        elif kind == EventType.REASONING_END:
            self._open.pop((*where, str(metadata.get("block_id"))), None)
        elif kind == EventType.RESPONSE_METADATA:
            model = metadata.get("model_id")
            for message in self._call.pop(where, ()):
                message["model"] = model
        elif kind == EventType.TOOL_CALL_COMPLETE:
            self._tool(event, metadata)
        elif kind == EventType.CUSTOM_DATA:
            if metadata.get("data_type") == RESTART:
                self._void(where)
        elif kind == EventType.EXECUTION_START and not metadata.get("resumed"):
            self._session = metadata.get("session_id") or None
            self._add(event, "user", "text", as_text(metadata.get("input")))

    def _void(self, where: Any) -> None:
        """End what a call has said so far: it says everything again."""
        for message in self._call.get(where, ()):
            message["finish_reason"] = "restarted"
        self._open = {key: message for key, message in self._open.items() if key[:2] != where}

    def _add(self, event: ExecutionEvent, role: str, kind: str, content: str, **more: Any) -> dict[str, Any]:
        metadata = event.metadata
        message = {
            "node_id": event.node_id,
            "role": role,
            "kind": kind,
            "content": [content] if content else [],
            "started_at": event.timestamp,
            "attempt": metadata.get("attempt", 0),
            "visit": metadata.get("visit", 0),
            **more,
        }
        self._messages.append(message)
        return message

    def _say(self, key: Any, event: ExecutionEvent, kind: str) -> None:
        message = self._open.get(key)
        if message is None or message["attempt"] != event.metadata.get("attempt", 0):
            message = self._open[key] = self._add(event, "assistant", kind, "")
            self._call.setdefault(key[:2], []).append(message)
        if isinstance(event.content, str):
            message["content"].append(event.content)

    def _tool(self, event: ExecutionEvent, metadata: dict[str, Any]) -> None:
        arguments = metadata.get("arguments", metadata.get("arguments_raw"))
        result = event.output if event.error is None else event.error
        for role, kind, value in (("assistant", "tool_call", arguments), ("tool", "tool_result", result)):
            text = value if isinstance(value, str) else "" if value is None else dumps(value).decode()
            self._add(event, role, kind, text, tool_name=metadata.get("tool_name"))

    def rows(self, log: Log) -> Iterable[dict[str, Any]]:
        for order, message in enumerate(self._messages):
            text = "".join(message["content"])
            whose = {"run_id": self._run_id, "session_id": self._session, "order": order}
            yield {**message, "content": text, "characters": len(text), **whose}


plugin = messages_df
