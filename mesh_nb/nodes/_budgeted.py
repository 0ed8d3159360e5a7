"""Model calls under a budget: each is admitted before it is sent, and counted when it has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from ..core import spending
from ..core.budget import Budget, Hold
from ..core.context import ExecutionContext
from ..core.errors import BudgetExceededError, UnpricedError
from ..core.events import DELTAS, EventType, ExecutionEvent, dumps
from ..providers._call import ModelCall, Provider

IMAGE_TOKENS = 1600
BYTES_PER_TOKEN = 3.5
MESSAGE_TOKENS = 4


def stream_of(
    provider: Provider, call: ModelCall, context: ExecutionContext | None
) -> AsyncGenerator[ExecutionEvent, None]:
    """Return the events of a model call, under the run's budget and the limits of notebook and project.

    The iterator raises BudgetExceededError instead of sending a call that would cross a limit, and
    ConfigurationError for one that has no price where there is a limit in dollars.
    """
    budget = budget_for(context)
    if context is None or budget is None:
        return cast("AsyncGenerator[ExecutionEvent, None]", provider.stream(call))
    return _paid(provider, call, context, budget)


def budget_for(context: ExecutionContext | None) -> Budget | None:
    """Return the budget that calls of a run are made under, None where nothing limits them."""
    if context is None or context.budget is not None:
        return None if context is None else context.budget
    return Budget() if spending.limits() else None


async def _paid(
    provider: Provider, call: ModelCall, context: ExecutionContext, budget: Budget
) -> AsyncGenerator[ExecutionEvent, None]:
    held: Hold | None = None
    begun = False
    try:
        stream = cast("AsyncGenerator[ExecutionEvent, None]", provider.stream(call))
        async with aclosing(stream) as events:
            async for event in events:
                if held is None:
                    # The first event, model_call_start, comes before the request is sent: its names are those
                    # that the call is priced by.
                    named = {"provider": provider.vendor, "requested_model": call.model}
                    given = event.metadata if event.type == EventType.MODEL_CALL_START else {}
                    named |= {name: given[name] for name in named if given.get(name)}
                    free = getattr(provider, "free", False) is True
                    tokens = estimate(call)
                    while held is None:
                        try:
                            held = await budget.hold(
                                named, tokens, call.max_tokens, free=free, run_id=context.run_id
                            )
                        except (BudgetExceededError, UnpricedError) as error:
                            over = isinstance(error, BudgetExceededError)
                            if (budget.on_budget if over else budget.unpriced) != "ask":
                                raise
                            async for asked in _ask(context, budget, error, named):
                                yield asked
                    if held.limited and held.usd:  # other kernels read it in the log
                        event.metadata = {**event.metadata, "held_usd": held.usd}
                elif event.type == EventType.RESPONSE_METADATA:
                    await budget.settle(held, event.metadata, begun)
                    if held.limited:
                        event.metadata = {**event.metadata, "limits": spending.told()}
                elif event.type in DELTAS:
                    begun = True
                yield event
    finally:
        if held is not None:
            budget.release(held, begun)


async def _ask(
    context: ExecutionContext,
    budget: Budget,
    error: BudgetExceededError | UnpricedError,
    named: Mapping[str, Any],
) -> AsyncGenerator[ExecutionEvent, None]:
    data = {**budget.settings(), **budget.limits}
    if isinstance(error, BudgetExceededError):
        data |= {"spent": error.spent, "limit": error.limit}
        question = context.ask("approval", f"{error} Allow as much again?", data=data)
    else:
        model = f"{named['provider']}/{named['requested_model']}"
        data["unpriced_call"] = model
        question = context.ask(
            "approval", f"The price of {model} is not known. Call it, uncounted in dollars?", data=data
        )
    yield question.event
    answer = await question.answer()
    yield question.resolution
    if not answer.approved:
        raise error
    if isinstance(error, BudgetExceededError):
        budget.extend()
    else:
        budget.allow_unpriced()


async def watched(
    events: AsyncGenerator[ExecutionEvent, None], budget: Budget, run_id: str = ""
) -> AsyncGenerator[ExecutionEvent, None]:
    """Yield an agent's events; its calls are counted as they end, and none begins when nothing is left.

    Parameters: budget, as `budget_for` returns it; run_id, whose agent it is.
    Closes the events. Raises BudgetExceededError, and ConfigurationError for a call without a price.
    """
    async with aclosing(events):
        await spending.ready()
        budget.check()
        async for event in events:
            if event.type in (EventType.STEP_START, EventType.MODEL_CALL_START):
                await spending.ready()
                budget.check()
            yield event
            if event.type == EventType.RESPONSE_METADATA:
                await budget.count(event.metadata, run_id)


def estimate(call: ModelCall) -> int:
    """Estimate the input tokens of a call, rather too many than too few; see `BYTES_PER_TOKEN`."""
    total = _text(call.system)
    for message in call.messages:
        total += MESSAGE_TOKENS + _content(message.get("content"))
        total += sum(_text(dumps(c)) for c in message.get("tool_calls") or ())
    schemas = [{"name": t.name, "description": t.description, "parameters": t.schema} for t in call.tools]
    if call.output_schema is not None:
        schemas.append(call.output_schema)
    return total + sum(_text(dumps(schema)) for schema in schemas)


def _content(content: Any) -> int:
    if not isinstance(content, Sequence) or isinstance(content, (str, bytes)):
        return _text(content)
    total = 0
    for part in cast("Sequence[Any]", content):
        found = cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {}
        if found.get("type") == "file":
            data: Any = found.get("data")
            image = str(found.get("mime_type", "")).startswith("image/")
            total += IMAGE_TOKENS if image or not isinstance(data, bytes) else _text(data)
        else:
            total += _text(found.get("text"))
    return total


def _text(value: Any) -> int:
    if value is None:
        return 0
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return -int(-len(data) // BYTES_PER_TOKEN)
