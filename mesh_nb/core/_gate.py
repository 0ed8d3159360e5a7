"""Interrupts before and after a node: a person lets its input in, or its output out."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Literal, cast

from .channel import close
from .context import ExecutionContext, preview
from .edges import positional
from .errors import MeshError
from .events import EventType, ExecutionEvent


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """One interrupt of a node.

    Parameters: when, "before" or "after"; condition and extract, functions of (state, data) or of the data
    alone, where data is the node's input or its output: whether to ask, and the dict to show; timeout in
    seconds.
    """

    when: Literal["before", "after"]
    condition: Callable[..., Any] | None = None
    extract: Callable[..., Any] | None = None
    timeout: float | None = None


async def gated(
    node_id: str,
    open_source: Callable[[Any], AsyncIterator[Any]],
    input: Any,
    context: ExecutionContext,
    pauses: tuple[Pause, ...],
) -> AsyncGenerator[Any, None]:
    """Yield a node's events between its interrupts; an edit replaces its input or its output.

    Raises RejectedError when the answer is no. A node whose output was asked about before the run was resumed
    is not run again.
    """
    async for event in _ask(node_id, pauses, "before", input, context):
        if isinstance(event, _Edit):
            input = event.value
        else:
            yield event
    done: ExecutionEvent | None = context.journal.held() if context.journal is not None else None
    if done is None:
        source = open_source(input)
        try:
            async for event in source:
                if done is not None:
                    yield done  # It was not the last one after all: the executor says what is wrong.
                    done = None
                if event.__class__ is ExecutionEvent and event.type == EventType.NODE_COMPLETE:
                    done = event
                else:
                    yield event
        finally:
            await close(source)
    if done is None:
        return
    async for event in _ask(node_id, pauses, "after", done.output, context):
        if isinstance(event, _Edit):
            done = dataclasses.replace(done, output=event.value)
        else:
            yield event
    yield done


@dataclasses.dataclass(frozen=True, slots=True)
class _Edit:
    value: Any


async def _ask(
    node_id: str,
    pauses: tuple[Pause, ...],
    when: Literal["before", "after"],
    data: Any,
    context: ExecutionContext,
) -> AsyncGenerator[ExecutionEvent | _Edit, None]:
    for pause in pauses:
        if pause.when != when or not await _call(pause.condition, context.state, data, True):
            continue
        shown: Any = await _call(pause.extract, context.state, data, None)
        if shown is None:
            shown = preview(data)
        elif not isinstance(shown, dict):
            raise MeshError(f"metadata_extractor returned {type(shown).__name__}; it returns a dict.")
        noun = "its input" if when == "before" else "its output"
        message = f"{'Before' if when == 'before' else 'After'} {node_id}: let {noun} pass?"
        question = context.ask(when, message, data=cast("Any", shown), timeout=pause.timeout)
        if when == "after":
            question.event.output = data
        yield question.event
        answer = await question.answer()
        yield question.resolution
        answer.require()
        if answer.decision == "edited":
            data = answer.value
            yield _Edit(data)


async def _call(function: Callable[..., Any] | None, state: Any, data: Any, default: Any) -> Any:
    if function is None:
        return default
    result = function(state, data) if positional(function) > 1 else function(data)
    return await result if inspect.isawaitable(result) else result
