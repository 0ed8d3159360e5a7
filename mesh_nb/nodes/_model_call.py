"""Rounds of model calls and tools: what a model asks for is run and told to it until it answers."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from ..core import tape
from ..core.cache import Cache
from ..core.context import ExecutionContext, Message
from ..core.errors import ToolError
from ..core.events import EventType, ExecutionEvent, canonical
from ..core.journal import Journal, Replayed
from ..providers._call import RESTART, ModelCall, Provider, open_headers
from ._budgeted import stream_of
from ._taped import on_tape, request_of
from ._tool_calls import ToolCall, work

BAD_ROUNDS = 3
"""Rounds in a row in which every call is a bad one, after which the model is not asked again."""


class Answer:
    """The fold of one model call's events: text, the calls for us to run, response_metadata.

    Parameters: key, of the call, which its model_call_start is given.
    """

    __slots__ = ("_by_id", "_text", "calls", "key", "metadata")

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.calls: list[ToolCall] = []
        self.metadata: dict[str, Any] = {}
        self._text = io.StringIO()
        self._by_id: dict[str, ToolCall] = {}

    def feed(self, event: ExecutionEvent) -> None:
        """Take in one event."""
        kind = event.type
        if kind == "token":
            self._text.write(event.content)
        elif kind == "tool_call_start":
            asks = event.metadata.get("needs_approval") is True
            if asks or event.metadata.get("executed_by") != "provider":
                call = ToolCall(event.metadata["tool_call_id"], event.metadata["tool_name"], asks)
                self._by_id[call.id] = call
                self.calls.append(call)
        elif kind == "tool_call_delta":
            call = self._by_id.get(event.metadata["tool_call_id"])
            if call is not None:
                call.fragments.append(event.content)
        elif kind == "response_metadata":
            self.metadata = event.metadata
        elif kind == "custom_data" and event.metadata.get("data_type") == RESTART:
            self.calls, self._text, self._by_id = [], io.StringIO(), {}
        elif kind == "model_call_start" and self.key:
            event.metadata["call_key"] = self.key

    @property
    def text(self) -> str:
        """The answer's words, a refusal's too."""
        return self._text.getvalue()

    @property
    def paused(self) -> bool:
        """Whether the provider broke a long turn off, to go on when the answer comes back to it."""
        return self.metadata.get("finish_reason") == "pause" and not self.calls

    @property
    def asks(self) -> bool:
        """Whether the provider waits to be told if it may run a tool."""
        return any(call.approval for call in self.calls)

    def step_complete(self, step: int) -> ExecutionEvent:
        """Return the event that ends the round of this number."""
        usage, finish = self.metadata.get("usage", {}), self.metadata.get("finish_reason")
        metadata = {"step_index": step, "usage": usage, "finish_reason": finish}
        return ExecutionEvent(EventType.STEP_COMPLETE, metadata=metadata)

    def message(self) -> Message:
        """Return the answer as the message that history needs."""
        calls = [{"id": c.id, "name": c.name, "arguments": c.arguments or {}} for c in self.calls]
        message: Message = {"role": "assistant", "content": self.text}
        if calls:
            message["tool_calls"] = calls
        if self.metadata.get("provider_state") is not None:
            message["provider_state"] = self.metadata["provider_state"]
        return message


async def converse(
    provider: Provider,
    call: ModelCall,
    max_steps: int = 10,
    check: Callable[[str, str | None], str | None] | None = None,
    context: ExecutionContext | None = None,
) -> AsyncGenerator[ExecutionEvent, None]:
    """Call the model, run the tools it asks for, and call it again until it asks for none.

    A turn that the provider pauses is continued in the same way: the answer so far goes back as it is.

    Parameters: provider; call, with its tools; max_steps, how many model calls there may be; check, which
    gets the text and the finish reason of the last answer and may return what to tell the model about it: it
    then answers again, at max_steps too; context, of the node: its budget holds, and calls that its journal
    has are not made again.
    Yields the grammar of each call, tool_call_complete of each tool as it finishes, and, when the call has
    tools, step_start and step_complete around each round; last node_complete with the output: content (the
    last round's text, with that of the pauses before it) and tool_calls. Raises ProviderError from the
    provider, and ToolError when the model still asks for tools, or pauses, after max_steps rounds (the calls
    of the last round are then not run), or calls them wrongly in BAD_ROUNDS rounds on end.
    """
    tools = {t.name: t for t in call.tools}
    done: list[ToolCall] = []
    said = ""
    answer = Answer()
    step, bad = -1, 0
    while (step := step + 1) < max_steps:
        if tools:
            yield ExecutionEvent(EventType.STEP_START, metadata={"step_index": step})
        asked = all_of(provider, call)
        answer = Answer(hashlib.sha256(asked).hexdigest())
        source = _source(provider, call, asked, answer.key, context)
        async with aclosing(source) as events:
            async for event in events:
                answer.feed(event)
                yield event
        async with aclosing(work(answer.calls, tools, context, last=step + 1 == max_steps)) as completions:
            async for event in completions:
                yield event
        done += answer.calls
        if tools:
            yield answer.step_complete(step)
        said = said + answer.text
        problem = None
        if not answer.paused and not (answer.calls if tools else answer.asks):
            problem = check(said, answer.metadata.get("finish_reason")) if check else None
            if problem is None:
                output = {"content": said, "tool_calls": [c.record() for c in done]}
                yield ExecutionEvent(EventType.NODE_COMPLETE, output=output)
                return
            max_steps = max(max_steps, step + 2)
        bad = bad + 1 if answer.calls and all(c.bad for c in answer.calls) else 0
        if bad == BAD_ROUNDS:
            raise ToolError(
                f"The model called its tools wrongly {bad} times in a row: {answer.calls[-1].error}"
            )
        call = _continued(call, answer, problem)
        said = said if answer.paused else ""
    raise _endless(answer, max_steps)


def _endless(answer: Answer, max_steps: int) -> ToolError:
    if answer.paused:
        return ToolError(f"The provider paused its turn {max_steps} times in a row. Raise max_steps=.")
    return ToolError(
        f"The model still asked for tools after max_steps={max_steps} rounds. Raise max_steps=, or tell it in"
        " the system prompt when to stop."
    )


def all_of(provider: Provider, call: ModelCall) -> bytes:
    """Return what tells a model call from every other, in canonical JSON: who is asked what; not where, or by
    whom."""
    outside = ("base_url", "api_key", "client", "timeout", "idle_timeout", "max_retries", "native", "tools")
    parts = {f.name: getattr(call, f.name) for f in dataclasses.fields(call) if f.name not in outside}
    tools = [(t.name, t.description, t.schema) for t in call.tools]
    more = {"headers": open_headers(call), "provider": provider.vendor, "api": provider.api}
    return canonical({**parts, "tools": tools, **more})


def _source(
    provider: Provider, call: ModelCall, asked: bytes, key: str, context: ExecutionContext | None
) -> AsyncGenerator[ExecutionEvent, None]:
    journal: Journal | None = context.journal if context is not None else None
    recorded = journal.call(key) if journal is not None else None
    if recorded is not None:
        return _again(recorded)
    run_id = context.run_id if context is not None else ""

    def request() -> dict[str, Any]:
        return request_of(provider, call)

    on = tape.current()

    def live() -> AsyncGenerator[ExecutionEvent, None]:
        if on is not None:  # What a tape has needs no key, so that nobody has asked for one yet.
            provider.check(call)
        return stream_of(provider, call, context)

    where = f"model {call.model!r}"
    cache: Cache | None = context.cache if context is not None else None
    source = live
    if cache is not None:

        def source() -> AsyncGenerator[ExecutionEvent, None]:
            return on_tape(live, cache.key(asked, request), request, where, cache, run_id)

    if on is None:
        return source()
    return on_tape(source, on.key(asked, request), request, where, on, run_id)


async def _again(events: list[ExecutionEvent]) -> AsyncGenerator[ExecutionEvent, None]:
    for event in events:
        if event.type == EventType.RESPONSE_METADATA and (said := event.metadata.get("answer")):
            yield Replayed(EventType.TOKEN, content=said)  # No token was logged: it was for the node alone.
        yield event


def _continued(call: ModelCall, answer: Answer, problem: str | None) -> ModelCall:
    """Return the call of the next round: the answer, what its tools returned, and what is wrong with it."""
    messages = [*call.messages, answer.message(), *(c.result() for c in answer.calls)]
    if problem is not None:
        messages.append({"role": "user", "content": problem})
    # A forced choice holds for the first round only, or the model could never answer.
    choice = call.tool_choice if call.tool_choice in (None, "auto", "none") else None
    return dataclasses.replace(call, messages=messages, tool_choice=choice)
