"""tool: a plain Python function as a node; its parameters are injected by name."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, cast

from ..core.context import ExecutionContext
from ..core.errors import GraphValidationError, MeshError, ToolError, nearest, told
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode, NodeResult, spoken
from ..core.tools import Tool, in_steps, run_function
from ._kinds import DICT, Kind, check_kinds
from ._taped import result_of

INJECTED = ("input", "context", "state", "variables", "chat_history")
_SECRET = re.compile(r"key$|token$|secret|passw|credential|^auth", re.IGNORECASE)

_KINDS: dict[str, Kind] = {"bindings": DICT}


class ToolNode(BaseNode):
    """Calls a function once a visit.

    Parameters
    ----------
    fn : sync (runs in a thread with the cell's context), async (on the loop), a generator of either kind, or
        a Tool. A generator's texts are streamed as tokens, its ExecutionEvents passed on.
    bindings : values for parameters by name.

    A parameter is filled from `input`, `context`, `state`, `variables` and `chat_history` by name, inside a
    foreach from `item` and `index`, then from the keys of a dict input, then from bindings, then by its
    default. The output is the returned dict as it is, any other value as `{"output": value}`; of a NodeResult
    its output. Of a generator it is what it returns, else the last dict that it yields, else its text as
    `{"content": text}`. What the function assigns to names of
    `state` is an update of the state, as is the state of a NodeResult. A tape (`mesh_nb.record`) keeps what a
    Tool returns; a plain function is called each time.
    """

    kind = "tool"
    replays = True

    def __init__(self, id: str, fn: Any = None, *, bindings: Mapping[str, Any] | None = None) -> None:
        check_kinds(id, _KINDS, locals())
        super().__init__(id)
        if not callable(fn) and not isinstance(fn, Tool):
            raise GraphValidationError(f"Tool node {id!r} needs a function, not {type(fn).__name__}.")
        self.tool = fn if isinstance(fn, Tool) else None
        self.fn: Callable[..., Any] = fn.fn if isinstance(fn, Tool) else fn
        self.name = fn.name if isinstance(fn, Tool) else getattr(fn, "__name__", type(fn).__name__)
        self.bindings = dict(bindings or {})
        try:
            self.parameters = list(inspect.signature(self.fn).parameters.values())
        except (TypeError, ValueError):
            raise GraphValidationError(
                f"Tool node {id!r}: {self.name} has no readable signature; wrap it in a function of your own."
            ) from None
        self._takes_state = any(p.name in ("state", "context") for p in self.parameters)
        for p in self.parameters:
            if p.kind is p.POSITIONAL_ONLY:
                raise GraphValidationError(
                    f"Tool node {id!r}: {self.name} takes {p.name!r} by position only; parameters are"
                    " filled by name, so wrap it in a function of your own."
                )
        named = {p.name for p in self.parameters if p.kind is not p.VAR_POSITIONAL}
        if not any(p.kind is p.VAR_KEYWORD for p in self.parameters):
            for name in self.bindings:
                if name not in named:
                    close = nearest(name, named)
                    guess = f" Did you mean {close!r}?" if close else ""
                    raise GraphValidationError(
                        f"Tool node {id!r}: {self.name} has no parameter {name!r} to bind.{guess}"
                    )

    @property
    def tools(self) -> list[Tool]:
        """The Tool that it calls, where it is one."""
        return [] if self.tool is None else [self.tool]

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Call the function between tool_call_start and tool_call_complete. Raises what it raises."""
        if self._takes_state:  # Its changes reach the others as an event, through the reducers.
            context = dataclasses.replace(context, state=dict(context.state))
        values = self._values(input, context)
        shown = {k: v for k, v in values.items() if k not in INJECTED or k == "input"}
        call = {
            "tool_name": self.name,
            "tool_call_id": f"call_{uuid.uuid4().hex[:16]}",
            "executed_by": "client",
            "arguments": {k: "***" if _SECRET.search(k) else v for k, v in shown.items()},
        }
        if self.tool is not None and self.tool.secret:
            call["secret"] = True
        before = dict(context.state) if self._takes_state else None
        if context.journal is not None or (self.tool is not None and self.tool.requires_approval):
            async with contextlib.aclosing(self._before(call, values, context)) as events:
                async for event in events:
                    if event.type == EventType.NODE_COMPLETE:
                        yield event
                        return
                    yield event
        yield ExecutionEvent(EventType.TOOL_CALL_START, self.id, metadata=dict(call))
        began, result = time.monotonic(), _Result()
        try:
            made = self.fn(**values) if self._streams() else await self._taped(values, call, context)
            if inspect.isgenerator(made) or inspect.isasyncgen(made):
                async with contextlib.aclosing(self._stream(made, result)) as events:
                    async for event in events:
                        yield event
            else:
                result.value = made
        except Exception as error:
            text = _text_of(error)
            metadata = {**call, "status": "error", "duration_ms": _since(began)}
            yield ExecutionEvent(EventType.TOOL_CALL_COMPLETE, self.id, metadata=metadata, error=text)
            raise
        update: dict[str, Any] = {}
        removed: list[str] = []
        if isinstance(result.value, NodeResult):
            update, result.value = result.value.update(self.id).output, result.value.output
        output = result.output()
        metadata = {**call, "status": "ok", "duration_ms": _since(began)}
        yield ExecutionEvent(EventType.TOOL_CALL_COMPLETE, self.id, output=output, metadata=metadata)
        if before is not None:
            update |= {k: v for k, v in context.state.items() if k not in before or before[k] is not v}
            removed = [k for k in before if k not in context.state]
        if update or removed:
            metadata = {"removed": removed} if removed else {}
            yield ExecutionEvent(EventType.STATE_UPDATE, self.id, output=update, metadata=metadata)
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output)

    async def _before(
        self, call: dict[str, Any], values: dict[str, Any], context: ExecutionContext
    ) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield the node_complete of a call that the journal has; else ask whether to make it, where that is
        wanted. Raises RejectedError when it may not be made."""
        name, arguments, tool = self.name, call["arguments"], self.tool
        once = context.journal if tool is not None and not tool.idempotent else None
        if once and (done := once.tool(name, arguments)) is not None and done.error is None:
            yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=done.output)
            return
        wanted = tool is not None and await tool.needs_approval(
            {k: v for k, v in values.items() if k not in INJECTED or k == "input"}
        )
        message = f"Call {name}?"
        if once and once.begun(name):
            wanted, message = True, f"{name} may have run when the run broke off. Call it again?"
        if not wanted:
            return
        question = context.ask("tool", message, tool_name=name, arguments=arguments)
        yield question.event
        answer = await question.answer()
        yield question.resolution
        answer.require()
        if answer.decision == "edited":
            values.update(answer.value)
            call["arguments"] = {k: "***" if _SECRET.search(k) else v for k, v in answer.value.items()}

    def _values(self, input: Any, context: ExecutionContext) -> dict[str, Any]:
        """Return an argument for each parameter. Raises ToolError for one that nothing fills."""
        special = {
            "input": input,
            "context": context,
            "state": context.state,
            "variables": context.variables,
            "chat_history": context.chat_history,
        }
        if "value" in context.iteration:
            special |= {"item": context.iteration["value"], "index": context.iteration["index"]}
        fields = {str(k): v for k, v in input.items()} if isinstance(input, dict) else {}
        values: dict[str, Any] = {}
        for p in self.parameters:
            if p.kind is p.VAR_POSITIONAL:
                continue
            if p.kind is p.VAR_KEYWORD:
                rest = {**self.bindings, **fields}
                values.update((k, v) for k, v in rest.items() if k not in values and k not in special)
                continue
            for source in (special, fields, self.bindings):
                if p.name in source:
                    values[p.name] = source[p.name]
                    break
            else:
                if p.default is p.empty:
                    given = f"has {', '.join(map(repr, fields))}" if fields else f"is {type(input).__name__}"
                    raise ToolError(
                        f"Nothing fills parameter {p.name!r} of {self.name}: the input {given}. Name one"
                        f" of these, take `input`, or pass bindings={{{p.name!r}: ...}}.",
                        tool=self.name,
                    )
        return values

    def _streams(self) -> bool:
        target: Any = self.fn if inspect.isroutine(self.fn) else getattr(self.fn, "__call__", None)  # noqa: B004
        return inspect.isasyncgenfunction(target) or inspect.isgeneratorfunction(target)

    async def _taped(self, values: dict[str, Any], call: dict[str, Any], context: ExecutionContext) -> Any:
        """Call the function; of a Tool, take the result from the tape that is on, where it has one."""
        if self.tool is None:
            return await self._call(values)
        arguments = call["arguments"]
        return await result_of(
            self.tool, arguments, lambda: self._call(values), context.run_id, _text_of, call
        )

    async def _call(self, values: dict[str, Any]) -> Any:
        if self.tool is None:
            return await run_function(self.fn, values)
        return await self.tool.call(values)

    async def _stream(self, made: Any, result: _Result) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield the events of a generator; what it leaves behind goes into the result."""
        returned: list[Any] = []
        items = made if hasattr(made, "__aiter__") else in_steps(made, returned)
        async with contextlib.aclosing(spoken(items, self.name)) as events:
            async for event in events:
                if event.type == EventType.NODE_COMPLETE:
                    result.value = event.output
                else:
                    yield event
        if returned and returned[0] is not None:
            result.value = returned[0]


class _Result:
    """What a function returned, or a generator left behind."""

    value: Any = None

    def output(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.value) if isinstance(self.value, dict) else {"output": self.value}


def _text_of(error: Exception) -> str:
    return str(error) if isinstance(error, MeshError) else told(error)


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)


plugin = ToolNode
