"""Tool calls of an agent that a person must allow, as questions of our run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from ..core.context import ExecutionContext
from ..core.events import ExecutionEvent
from ..core.interrupts import Answer


async def ask_for_tools(
    context: ExecutionContext, calls: Iterable[tuple[str, str, Any]], answers: dict[str, Answer]
) -> AsyncGenerator[ExecutionEvent, None]:
    """Ask whether tool calls may run, one after the other, and put what comes of it into `answers`.

    Parameters: calls, as (tool_call_id, name, arguments, which may be JSON text). Raises what waiting for an
    answer raises.
    """
    for call_id, name, arguments in calls:
        question = context.ask(
            "tool", f"Run {name}?", tool_name=name, tool_call_id=call_id, arguments=_parsed(arguments)
        )
        yield question.event
        answers[call_id] = await question.answer()
        yield question.resolution


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments
