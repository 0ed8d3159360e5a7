"""Rounds of model calls and tools: what a model asks for is run and told to it until it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

from ..core.context import ExecutionContext, Message
from ..core.errors import MeshError, ToolError, UnknownNameError
from ..core.events import EventType, ExecutionEvent, dumps, loads
from ..core.tools import Tool
from ..providers._call import RESTART, ModelCall, Provider
from ..providers._wire import parse
from ._budgeted import stream_of

RESULT_LIMIT = 200_000
"""Characters of one tool result that a model is shown; what was cut is said at the end."""

BAD_ROUNDS = 3
"""Rounds in a row in which every call is a bad one, after which the model is not asked again."""

_PLAIN = (str, int, float, bool, type(None))


@dataclasses.dataclass(slots=True)
class ToolCall:
    """One tool call of an answer: id, name, the arguments' JSON as it came, and what became of it.

    approval : whether the provider would run it and asks for leave, whatever tools of ours are called.
    bad : whether there is no such tool, or its arguments do not fit.
    """

    id: str
    name: str
    approval: bool = False
    fragments: list[str] = dataclasses.field(default_factory=list[str])
    arguments: dict[str, Any] | None = None
    problem: str = ""
    status: str = "ok"
    bad: bool = False
    output: Any = None
    error: str | None = None
    seconds: float = 0.0

    def read(self) -> None:
        """Parse the arguments; nothing at all means none. `problem` says why they cannot be used."""
        raw = self.raw
        try:
            value = parse(raw.encode()) if raw.strip() else {}
        except ValueError:
            self.problem = f"The arguments of {self.name!r} are not JSON: {raw[:200]}"
            return
        if isinstance(value, dict):
            self.arguments = cast("dict[str, Any]", value)
        else:
            self.problem = f"The arguments of {self.name!r} must be a JSON object, not {raw[:200]}"

    @property
    def raw(self) -> str:
        """The arguments as the model wrote them."""
        return "".join(self.fragments)

    def complete(self) -> ExecutionEvent:
        """Return the tool_call_complete event."""
        metadata: dict[str, Any] = {
            "tool_name": self.name,
            "tool_call_id": self.id,
            "executed_by": "provider" if self.approval else "client",
            "arguments": self.arguments,
            "status": self.status,
            "duration_ms": round(self.seconds * 1000, 3),
        }
        if self.arguments is None:
            metadata["arguments_raw"] = self.raw
        return ExecutionEvent(
            EventType.TOOL_CALL_COMPLETE, output=self.output, error=self.error, metadata=metadata
        )

    def result(self) -> Message:
        """Return the message that tells the model what came of its call."""
        if self.error is not None:
            text = f"Error: {self.error}"
        else:
            text = self.output if isinstance(self.output, str) else dumps(self.output).decode()
        if len(text) > RESULT_LIMIT:
            text = f"{text[:RESULT_LIMIT]}… (cut: {len(text) - RESULT_LIMIT} more characters)"
        return {"role": "tool", "tool_call_id": self.id, "name": self.name, "content": text}

    def record(self) -> dict[str, Any]:
        """Return the call as the node's output lists it."""
        record = {"id": self.id, "name": self.name, "arguments": self.arguments, "status": self.status}
        return record | ({"output": self.output} if self.error is None else {"error": self.error})


class Answer:
    """The fold of one model call's events: text, the calls for us to run, response_metadata."""

    __slots__ = ("_by_id", "_text", "calls", "metadata")

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.metadata: dict[str, Any] = {}
        self._text: list[str] = []
        self._by_id: dict[str, ToolCall] = {}

    def feed(self, event: ExecutionEvent) -> None:
        """Take in one event."""
        kind = event.type
        if kind == "token":
            self._text.append(event.content)
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
            self.calls, self._text, self._by_id = [], [], {}

    @property
    def text(self) -> str:
        """The answer's words, a refusal's too."""
        return "".join(self._text)

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
    then answers again, at max_steps too; context, whose budget the calls are under.
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
        answer = Answer()
        async with aclosing(stream_of(provider, call, context)) as events:
            async for event in events:
                answer.feed(event)
                yield event
        async with aclosing(_work(answer.calls, tools, last=step + 1 == max_steps)) as completions:
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


def _continued(call: ModelCall, answer: Answer, problem: str | None) -> ModelCall:
    """Return the call of the next round: the answer, what its tools returned, and what is wrong with it."""
    messages = [*call.messages, answer.message(), *(c.result() for c in answer.calls)]
    if problem is not None:
        messages.append({"role": "user", "content": problem})
    # A forced choice holds for the first round only, or the model could never answer.
    choice = call.tool_choice if call.tool_choice in (None, "auto", "none") else None
    return dataclasses.replace(call, messages=messages, tool_choice=choice)


async def _work(
    calls: list[ToolCall], tools: dict[str, Tool], *, last: bool
) -> AsyncGenerator[ExecutionEvent, None]:
    """Run what can be run of an answer's calls, and yield the completion of each: the refused ones first."""
    runnable = _prepare(calls, tools, last=last)
    for refused in [c for c in calls if c not in runnable]:
        yield refused.complete()
    async with aclosing(_run(runnable, tools)) as completions:
        async for event in completions:
            yield event


def _prepare(calls: list[ToolCall], tools: dict[str, Tool], *, last: bool) -> list[ToolCall]:
    """Parse the arguments, and mark the calls that cannot be run; return the others."""
    for call in calls:
        call.read()
        if call.approval:
            call.status = "denied"
            call.error = f"Nobody was asked, so the provider may not run {call.name!r}."
        elif call.name not in tools:
            call.status = "not_executed"
            call.error, call.bad = str(UnknownNameError("tool", call.name, tools)), True
        elif last:
            call.status, call.error = "not_executed", "The node has no round left that could use the result."
        elif call.problem:
            call.status, call.error, call.bad = "error", call.problem, True
    return [c for c in calls if c.error is None]


async def _run(calls: list[ToolCall], tools: dict[str, Tool]) -> AsyncGenerator[ExecutionEvent, None]:
    """Run calls side by side and yield each completion as it comes; leaves no task when closed early."""
    tasks = {asyncio.ensure_future(_execute(call, tools[call.name])): call for call in calls}
    waiting = set(tasks)
    try:
        while waiting:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(finished, key=list(tasks).index):
                if task.cancelled():
                    tasks[task].status, tasks[task].error = "cancelled", "The tool was cancelled."
                else:
                    task.result()
                yield tasks[task].complete()
    finally:
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.gather(*waiting, return_exceptions=True)


async def _execute(call: ToolCall, tool: Tool) -> None:
    began = time.perf_counter()
    try:
        values = tool.validate(call.arguments or {})
    except ToolError as error:
        call.status, call.error, call.bad = "error", str(error), True
        return
    try:
        result = await tool.run(values)
        call.output = result if isinstance(result, _PLAIN) else loads(dumps(result))
    except MeshError as error:
        call.status, call.error = "error", str(error)
    except Exception as error:  # noqa: BLE001  whatever a tool raises is the model's to read
        call.status, call.error = "error", f"{type(error).__name__}: {error}"
    call.seconds = time.perf_counter() - began
