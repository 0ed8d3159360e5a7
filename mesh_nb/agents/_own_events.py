"""Our own events, as an agent hands them on from a node, a graph or its own making, into a fold."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..core.events import EventType as T
from ..core.events import ExecutionEvent
from ._fold import Events, Fold

_AS_THEY_ARE = frozenset({T.STATE_UPDATE, T.INTERRUPT, T.INTERRUPT_RESOLVED})
_WORDS = frozenset({T.TOKEN, T.MESSAGE_START, T.MESSAGE_COMPLETE})
_THOUGHTS = frozenset({T.REASONING_START, T.REASONING_TOKEN, T.REASONING_END})
_TOOLS = frozenset({T.TOOL_CALL_START, T.TOOL_CALL_DELTA, T.TOOL_CALL_COMPLETE})
_CALLS = frozenset({T.STEP_START, T.STEP_COMPLETE, T.MODEL_CALL_START, T.RESPONSE_METADATA})


class OwnEvents:
    """One run's own events. `feed` returns what an event becomes in a balanced stream.

    Parameters: fold; output, a dict that takes the output of a node or run that the agent hands on.
    """

    def __init__(self, fold: Fold, output: dict[str, Any]) -> None:
        self.fold, self.output = fold, output

    def feed(self, event: ExecutionEvent) -> Events:
        """Return what an event becomes. Those of other nodes and runs stay visible as custom_data."""
        kind, fold, given = event.type, self.fold, event.metadata
        if kind in _WORDS:
            return self._words(event)
        if kind in _THOUGHTS:
            return self._thoughts(event)
        if kind in _TOOLS:
            return self._tools(event)
        if kind in _CALLS:
            return self._calls(event)
        if kind in _AS_THEY_ARE:
            return [event]
        if kind == T.SOURCE:
            return fold.source(list(given.get("sources") or []))
        if kind == T.FILE:
            name, mime = str(given.get("name") or ""), str(given.get("mime_type") or "")
            return fold.file(given.get("content"), name=name, mime_type=mime)
        if kind == T.CUSTOM_DATA:
            transient = bool(given.get("transient"))
            data_type = str(given.get("data_type") or "native")
            return fold.custom(event.content, data_type=data_type, transient=transient)
        if kind in (T.NODE_COMPLETE, T.EXECUTION_COMPLETE) and isinstance(event.output, dict):
            self.output.clear()
            self.output.update(event.output)
            return []
        return fold.custom(event.to_dict(), data_type="native")

    def _words(self, event: ExecutionEvent) -> Events:
        given = event.metadata
        if event.type == T.TOKEN:
            refusal = given.get("event_subtype") == "refusal"
            return self.fold.text(
                str(event.content or ""), str(given.get("text_block_id", "")), refusal=refusal
            )
        if event.type == T.MESSAGE_START:
            self.fold.message_id(str(given.get("message_id") or ""))
        elif given.get("finish_reason"):
            self.fold.finish(str(given["finish_reason"]))
        return []

    def _thoughts(self, event: ExecutionEvent) -> Events:
        block, kind = str(event.metadata.get("block_id", "")), str(event.metadata.get("kind") or "full")
        if event.type == T.REASONING_START:
            return self.fold.reasoning_start(block, kind)
        if event.type == T.REASONING_END:
            return self.fold.reasoning_end(block)
        return self.fold.reasoning(str(event.content or ""), block, kind)

    def _tools(self, event: ExecutionEvent) -> Events:
        given, fold = event.metadata, self.fold
        id, name = str(given.get("tool_call_id") or ""), str(given.get("tool_name") or "")
        where = str(given.get("executed_by") or "client")
        if event.type == T.TOOL_CALL_START:
            return fold.tool_start(id, name, executed_by=where)
        if event.type == T.TOOL_CALL_DELTA:
            return fold.tool_delta(id, str(event.content or ""))
        out: Events = []
        if "arguments" in given:
            out = fold.tool_input(id, name, given["arguments"], executed_by=where)
        status = str(given.get("status") or "")
        return [*out, *fold.tool_end(id, output=event.output, error=event.error, status=status)]

    def _calls(self, event: ExecutionEvent) -> Events:
        given, fold = event.metadata, self.fold
        if event.type == T.STEP_START:
            return fold.step_start()
        if event.type == T.STEP_COMPLETE:
            return fold.step_end(usage=given.get("usage"), finish=given.get("finish_reason"))
        fold.provider = str(given.get("provider") or fold.provider)
        fold.model = str(given.get("requested_model") or fold.model)
        if event.type == T.MODEL_CALL_START:
            return fold.call_start()
        model, response = str(given.get("model_id") or ""), str(given.get("message_id") or "")
        out = fold.metadata(usage=given.get("usage"), model_id=model, response_id=response)
        if "finish_reason" in given:
            # A call that broke off has none.
            fold.finish(str(given["finish_reason"] or "error"), given.get("finish_reason_raw"))
        out += fold.call_end()
        ended = out[-1]
        # What only the model's own node knows, such as a cost, is kept.
        out[-1] = dataclasses.replace(ended, metadata={**given, **ended.metadata})
        return out
