"""The tool calls of an answer: read, approved where that is asked for, and run side by side."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from ..core.context import ExecutionContext, Message
from ..core.errors import MeshError, ToolError, Unanswered, UnknownNameError, told
from ..core.events import EventType, ExecutionEvent, dumps, loads
from ..core.interrupts import Question
from ..core.tape import TapeError
from ..core.tools import Tool
from ..providers._wire import parse
from ._taped import result_of

RESULT_LIMIT = 200_000
"""Characters of one tool result that a model is shown; what was cut is said at the end."""

_PLAIN = (str, int, float, bool, type(None))


@dataclasses.dataclass(slots=True)
class ToolCall:
    """One tool call of an answer: id, name, the arguments' JSON as it came, and what became of it.

    approval : whether the provider would run it and asks for leave, whatever tools of ours are called.
    bad : whether there is no such tool, or its arguments do not fit.
    recalled : whether the journal has what became of it. more : further metadata.
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
    recalled: bool = False
    more: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])

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

    def recall(self, done: ExecutionEvent, tool: Tool) -> None:
        """Take what became of the call from its tool_call_complete in the log."""
        given = done.metadata
        self.arguments, self.output, self.error = given.get("arguments"), done.output, done.error
        self.status, self.recalled = str(given.get("status")), True
        self.seconds = (given.get("duration_ms") or 0.0) / 1000
        if self.status == "error":
            try:
                tool.validate(self.arguments or {})
            except ToolError:
                self.bad = True

    def complete(self) -> ExecutionEvent:
        """Return the tool_call_complete event."""
        metadata: dict[str, Any] = {
            "tool_name": self.name,
            "tool_call_id": self.id,
            "executed_by": "provider" if self.approval else "client",
            "arguments": self.arguments,
            "status": self.status,
            "duration_ms": round(self.seconds * 1000, 3),
            **self.more,
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
        record: dict[str, Any] = {"id": self.id, "name": self.name}
        record |= {"arguments": self.arguments, "status": self.status}
        if self.more.get("secret"):
            record["secret"] = True
        return record | ({"output": self.output} if self.error is None else {"error": self.error})


async def work(
    calls: list[ToolCall], tools: dict[str, Tool], context: ExecutionContext | None = None, *, last: bool
) -> AsyncGenerator[ExecutionEvent, None]:
    """Run what can be run of an answer's calls, and yield the completion of each: the refused ones first.

    Parameters: context, of the node, for calls that a person approves or that the journal has; last, when no
    round is left that could use a result.
    Raises Unanswered, when everything else has run, for a call whose approval nobody gives.
    """
    runnable = _prepare(calls, tools, last=last)
    for refused in [c for c in calls if c not in runnable]:
        yield refused.complete()
    ready: list[ToolCall] = []
    asked: list[tuple[ToolCall, Question]] = []
    for call in runnable:
        question = await _question(call, tools[call.name], context)
        if question is not None:
            asked.append((call, question))
            yield question.event
        elif call.error is not None:
            yield call.complete()
        else:
            ready.append(call)
    async with aclosing(_run(ready, asked, tools, context)) as events:
        async for event in events:
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


async def _question(call: ToolCall, tool: Tool, context: ExecutionContext | None) -> Question | None:
    """Return what to ask before a call, None when it may just be made."""
    journal = context.journal if context is not None else None
    if journal is not None and (done := journal.tool(call.name, call.arguments, call.id)) is not None:
        call.recall(done, tool)
        return None
    try:
        wanted = await tool.needs_approval(call.arguments or {})
    except Exception as error:  # noqa: BLE001  a user's function: the model reads what is wrong with the call
        call.status, call.error = "error", str(error) if isinstance(error, MeshError) else told(error)
        return None
    message = f"Call {call.name}?"
    if journal is not None and not tool.idempotent and journal.begun(call.name, call.id):
        wanted, message = True, f"{call.name} may have run when the run broke off. Call it again?"
    if not wanted:
        return None
    if context is None:
        raise ToolError(f"Tool {call.name!r} needs approval, which only a run can ask for.", tool=call.name)
    return context.ask(
        "tool", message, tool_name=call.name, tool_call_id=call.id, arguments=call.arguments or {}
    )


async def _run(
    ready: list[ToolCall],
    asked: list[tuple[ToolCall, Question]],
    tools: dict[str, Tool],
    context: ExecutionContext | None,
) -> AsyncGenerator[ExecutionEvent, None]:
    """Run calls side by side, each as soon as it may be; leaves no task when closed early."""
    questions: dict[asyncio.Task[Any], tuple[ToolCall, Question]] = {}
    tasks: dict[asyncio.Task[Any], ToolCall] = {}
    unanswered: Unanswered | None = None
    for call, question in asked:
        questions[asyncio.ensure_future(question.answer())] = call, question
    for call in ready:
        tasks[asyncio.ensure_future(_execute(call, tools[call.name], context))] = call
    waiting = {*questions, *tasks}
    try:
        while waiting:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(finished, key=[*questions, *tasks].index):
                if task in questions:
                    call, question = questions[task]
                    try:
                        answer = task.result()
                    except Unanswered as error:
                        unanswered = error
                        continue
                    yield question.resolution
                    if answer.approved:
                        call.arguments = answer.value if answer.decision == "edited" else call.arguments
                        again = asyncio.ensure_future(_execute(call, tools[call.name], context))
                        tasks[again] = call
                        waiting.add(again)
                        continue
                    call.status, call.error = "denied", answer.refusal
                elif task.cancelled():
                    tasks[task].status, tasks[task].error = "cancelled", "The tool was cancelled."
                else:
                    try:
                        task.result()
                    except Unanswered as error:
                        unanswered = error
                        continue
                yield (questions[task][0] if task in questions else tasks[task]).complete()
    finally:
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.gather(*waiting, return_exceptions=True)
    if unanswered is not None:
        raise unanswered


async def _execute(call: ToolCall, tool: Tool, context: ExecutionContext | None) -> None:
    if call.recalled:
        return
    if tool.secret:
        call.more["secret"] = True
    began = time.perf_counter()
    try:
        values = tool.validate(call.arguments or {})
    except ToolError as error:
        call.status, call.error, call.bad = "error", str(error), True
        return

    async def work() -> Any:
        result = await tool.run(values)
        return result if isinstance(result, _PLAIN) else loads(dumps(result))

    try:
        run_id = "" if context is None else context.run_id
        call.output = await result_of(tool, call.arguments or {}, work, run_id, _said, call.more)
    except (TapeError, Unanswered):
        raise
    except Exception as error:  # noqa: BLE001  whatever a tool raises is the model's to read
        call.status, call.error = "error", _said(error)
    call.seconds = time.perf_counter() - began


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, MeshError) else f"{type(error).__name__}: {error}"
