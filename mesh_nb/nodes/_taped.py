"""Model calls on tape: played back where the tape has them, recorded where it has not."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from ..core import errors
from ..core.errors import ProviderError
from ..core.events import EventType, ExecutionEvent, dumps, loads
from ..core.tape import Take, Tape
from ..providers._call import ModelCall

Events = AsyncGenerator[ExecutionEvent, None]
_SHOWN = (
    *("model", "system", "messages", "builtin_tools", "temperature", "max_tokens", "reasoning"),
    *("tool_choice", "output_schema", "extra", "prompt_cache"),
)
_FIELDS = ("provider", "model", "status", "request_id", "hint", "retry_after", "retryable")


def keyless(call: ModelCall, on: Tape | None) -> ModelCall:
    """Return a call that passes for one with a key, while it may come from the tape."""
    if on is None or on.mode == "all" or call.client is not None or call.api_key is not None:
        return call
    return dataclasses.replace(call, api_key="not-sent")


async def on_tape(source: Callable[[], Events], key: str, call: ModelCall, on: Tape, run_id: str) -> Events:
    """Yield a model call from the tape, or as it comes, and then it is kept.

    Parameters: source, makes the call; key, what tells it from every other; on, the tape; run_id, of the run
    that asks. Raises ProviderError as the recorded call did, TapeMissError for a call that a replay lacks.
    """
    take = on.find(key, run_id)
    if take is not None:
        events = _played(take, on.speed)
    elif on.mode == "none":
        raise on.miss(request_of(call), f"model {call.model!r}")
    else:
        events = _recorded(source(), key, request_of(call), on)
    async with aclosing(events):
        async for event in events:
            yield event


def request_of(call: ModelCall) -> dict[str, Any]:
    """Return what a call asks as JSON values: what a reader of the tape sees, and a miss is compared with."""
    settings = {f.name: getattr(call, f.name) for f in dataclasses.fields(call) if f.name in _SHOWN}
    asked = {name: value for name, value in settings.items() if value not in (None, [], {})}
    if call.tools:
        asked["tools"] = [{"name": t.name, "description": t.description, **t.schema} for t in call.tools]
    return loads(dumps(asked))


async def _recorded(source: Events, key: str, request: dict[str, Any], on: Tape) -> Events:
    beats: list[tuple[float, ExecutionEvent]] = []
    last = time.monotonic()

    def keep(event: ExecutionEvent) -> None:
        nonlocal last
        now = time.monotonic()
        beats.append(((now - last) * 1000, dataclasses.replace(event)))
        last = now

    error: ProviderError | None = None
    try:
        async with aclosing(source) as events:
            async for event in events:
                keep(event)
                yield event
    except ProviderError as failed:
        error = failed
    # A call that its reader left, or that the program broke, is no recording.
    if any(event.type == EventType.RESPONSE_METADATA for _, event in beats):
        on.add(Take(key, request, beats, None if error is None else _failure(error)))
    if error is not None:
        raise error


async def _played(take: Take, speed: float) -> Events:
    for wait, event in take.beats:
        if speed and wait:
            await asyncio.sleep(wait / 1000 / speed)
        made = dataclasses.replace(event, timestamp=time.time(), seq=-1, run_id="")
        if event.type == EventType.MODEL_CALL_START:
            made.metadata = {**event.metadata, "replayed": True}
        elif event.type == EventType.RESPONSE_METADATA:
            made.metadata = _free(event.metadata)
        yield made
    if take.error is not None:
        raise _raised(take.error)


def _free(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a replayed answer: it costs nothing, and says what the recorded one did."""
    free = {**metadata, "replayed": True, "cost_usd": 0.0, "cost_source": "replay"}
    if metadata.get("cost_usd") is not None:
        free["original_cost_usd"] = metadata.get("original_cost_usd", metadata["cost_usd"])
    return free


def _failure(error: ProviderError) -> dict[str, Any]:
    known = {name: getattr(error, name) for name in _FIELDS}
    return {"class": type(error).__name__, "message": error.message, **{k: v for k, v in known.items() if v}}


def _raised(recorded: dict[str, Any]) -> ProviderError:
    found = getattr(errors, str(recorded.get("class")), ProviderError)
    kind = found if isinstance(found, type) and issubclass(found, ProviderError) else ProviderError
    known: dict[str, Any] = {"provider": "", "model": ""}
    known |= {name: recorded[name] for name in _FIELDS if name in recorded}
    return kind(str(recorded.get("message", "")), **known)
