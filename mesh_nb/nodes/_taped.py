"""Calls on tape: played back where the tape has them, recorded where it has not."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from ..core import errors, tape
from ..core.errors import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    InputError,
    MeshError,
    ProviderError,
    ToolError,
    Unanswered,
    told,
)
from ..core.events import DELTAS, EventType, ExecutionEvent, canonical, dumps, loads
from ..core.secret import mark_result
from ..core.tape import Source, Take, Tape, TapeError
from ..core.tools import Tool
from ..providers._call import ModelCall, Provider

Events = AsyncGenerator[ExecutionEvent, None]
_SHOWN = (
    *("model", "system", "messages", "builtin_tools", "temperature", "max_tokens", "reasoning"),
    *("tool_choice", "output_schema", "extra", "prompt_cache"),
)
_FIELDS = ("provider", "model", "status", "request_id", "hint", "retry_after", "retryable")
_PASSED = (TapeError, Unanswered, BudgetExceededError)
"""What is not the outcome of a call."""

_MENDED = (AuthenticationError, ConfigurationError, InputError)

_BUDGETED = frozenset({"held_usd", "limits"})
_MARKS = {"replay": "replayed", "cache": "cached"}


def keyless(call: ModelCall, on: Source | None) -> ModelCall:
    """Return a call that passes for one with a key, while it may come from the tape."""
    if on is None or on.mode == "all" or call.client is not None or call.api_key is not None:
        return call
    return dataclasses.replace(call, api_key="not-sent")


def on_tape(
    live: Callable[[], Events],
    key: str,
    request: Callable[[], dict[str, Any]],
    where: str,
    on: Source,
    run_id: str,
    *,
    failures: bool = True,
) -> Events:
    """Return the events of a model call or an agent from the tape, or as they come, and then they are kept.

    Parameters: live, makes the call; key, what tells it from every other; request, what is asked, for its
    readers; where, its name in an error; on, the tape; run_id, of the run that asks; failures, whether what
    `live` raises is kept too.
    Raises TapeMissError for a call that a replay lacks; the events raise as the recorded call did.
    """
    take = on.find(key, run_id)
    if take is not None:
        return _played(take, on)
    if on.mode == "none":
        raise on.miss(request(), where)
    return _recorded(live(), key, request(), on, failures)


def request_of(provider: Provider, call: ModelCall) -> dict[str, Any]:
    """Return what a call asks as JSON values: what a reader of the tape sees, and a miss is compared with."""
    settings = {f.name: getattr(call, f.name) for f in dataclasses.fields(call) if f.name in _SHOWN}
    asked = {name: value for name, value in settings.items() if value not in (None, [], {})}
    if call.tools:
        asked["tools"] = [{"name": t.name, "description": t.description, **t.schema} for t in call.tools]
    return loads(canonical({"provider": provider.vendor, **asked}))


async def result_of(
    tool: Tool,
    arguments: dict[str, Any],
    work: Callable[[], Awaitable[Any]],
    run_id: str,
    said: Callable[[Exception], str] = told,
    metadata: dict[str, Any] | None = None,
) -> Any:
    """Return what a tool returns, from the tape where it has that.

    Parameters: arguments, as they were asked for; the rest as for `value_of`.
    Raises what `value_of` raises, ToolError as the recorded call did.
    """
    on = tape.current()
    if on is None or on.is_live(tool):
        return await work()
    asked = {"tool": tool.name, "arguments": arguments}
    try:
        where = f"tool {tool.name!r}"
        result = await value_of(on, asked, where, work, run_id, said, metadata, secret=tool.secret)
    except _Again as error:
        raise ToolError(str(error), tool=tool.name) from None
    if tool.secret:
        mark_result(result)
    return result


class _Again(Exception):
    """A recorded failure."""


async def value_of(
    on: Tape,
    asked: dict[str, Any],
    where: str,
    work: Callable[[], Awaitable[Any]],
    run_id: str,
    said: Callable[[Exception], str] | None = None,
    metadata: dict[str, Any] | None = None,
    secret: bool = False,
) -> Any:
    """Return a value from the tape where it has that, else of `work`, and then it is kept.

    Parameters: asked, what tells it from every other; where, its name in an error; run_id, of the run that
    asks; said, an error in words, None where no failure is kept; metadata, which is told when it comes from
    the tape; secret, whether only the shape of the value is kept.
    A value that is not the same after a way through JSON is not kept: it is made each time.
    Raises what `work` raises, TapeMissError for what a replay lacks.
    """
    data = canonical(asked)
    key = on.key(data)
    take = on.find(key, run_id)
    if take is not None and not take.beats:
        return await work()
    if take is not None:
        if metadata is not None:
            metadata["replayed"] = True
        wait, event = take.beats[0]
        if on.speed and wait:
            await asyncio.sleep(wait / 1000 / on.speed)
        if event.error is not None:
            raise _Again(event.error)
        return event.output
    if on.mode == "none":
        raise on.miss(loads(data), where)
    return await _made(work, on, Take(key, loads(data), []), said, secret=secret)


async def _made(
    work: Callable[[], Awaitable[Any]],
    on: Tape,
    take: Take,
    said: Callable[[Exception], str] | None,
    *,
    secret: bool,
) -> Any:
    began = time.monotonic()

    def keep(output: Any = None, error: str | None = None) -> None:
        status: dict[str, Any] = {"status": "ok" if error is None else "error"}
        status |= {"secret": True} if secret else {}
        event = ExecutionEvent(EventType.TOOL_CALL_COMPLETE, output=output, error=error, metadata=status)
        take.beats.append(((time.monotonic() - began) * 1000, event))

    try:
        output = await work()
    except _PASSED:
        raise
    except Exception as error:
        if said is not None:
            keep(error=said(error))
            on.add(take)
        raise
    if _is_json(output):
        keep(output)
    on.add(take)
    return output


def _is_json(value: Any) -> bool:
    """Say whether a value is the same when it was written and read again; True is not 1, a tuple no list."""
    if isinstance(value, dict):
        return type(value) is dict and all(type(k) is str and _is_json(v) for k, v in value.items())
    if isinstance(value, list):
        return type(value) is list and all(_is_json(v) for v in value)
    return value is None or (type(value) in (str, int, float, bool) and loads(dumps(value)) == value)


async def _recorded(source: Events, key: str, request: dict[str, Any], on: Source, failures: bool) -> Events:
    beats: list[tuple[float, ExecutionEvent]] = []
    last = time.monotonic()

    def keep(event: ExecutionEvent) -> None:
        nonlocal last
        now = time.monotonic()
        beats.append(((now - last) * 1000, dataclasses.replace(event, metadata=_lasting(event.metadata))))
        last = now

    error: Exception | None = None
    try:
        async with aclosing(source) as events:
            async for event in events:
                keep(event)
                yield event
    except _PASSED:
        raise
    except Exception as failed:  # noqa: BLE001  kept, and raised below
        error = failed
    # No recording is a call that its reader left, or a failure that another key, which does not count, mends.
    ended = any(e.type in (EventType.RESPONSE_METADATA, EventType.NODE_COMPLETE) for _, e in beats)
    kept = ended if error is None else failures and not isinstance(error, _MENDED) and _heard(error, beats)
    if kept:
        on.add(Take(key, request, beats, None if error is None else _failure(error)))
    if error is not None:
        raise error


def _lasting(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return metadata without what limits on spending said at that time, on that machine."""
    if _BUDGETED.isdisjoint(metadata):
        return metadata
    return {name: value for name, value in metadata.items() if name not in _BUDGETED}


def _heard(error: Exception, beats: list[tuple[float, ExecutionEvent]]) -> bool:
    """Say whether a call that failed has reached its server, so that the failure is an answer."""
    if type(error) is not ProviderError or error.status is not None or not error.retryable:
        return True
    return any(e.type not in (EventType.MODEL_CALL_START, EventType.RESPONSE_METADATA) for _, e in beats)


async def _played(take: Take, on: Source) -> Events:
    mark, speed, now = _MARKS[on.name], on.speed, time.time
    for wait, event in take.beats:
        kind, metadata = event.type, event.metadata
        if speed and wait and kind != EventType.INTERRUPT_RESOLVED:
            await asyncio.sleep(wait / 1000 / speed)
        if kind not in DELTAS:
            metadata = _lasting(metadata)
            if kind in (EventType.MODEL_CALL_START, EventType.NODE_COMPLETE):
                metadata = {**metadata, mark: True}
            elif kind == EventType.RESPONSE_METADATA:
                metadata = _free(metadata, mark, on.name)
            else:
                metadata = dict(metadata)
        yield ExecutionEvent(kind, "", event.content, event.output, metadata, now(), event.error)
    if take.error is not None:
        error = _raised(take.error)
        error.add_note(f"So it was recorded on {str(getattr(on, 'path', on.name))!r}; mode='all' asks again.")
        raise error


def _free(metadata: dict[str, Any], mark: str, source: str) -> dict[str, Any]:
    """Return the metadata of a replayed answer: it costs nothing, and says what the recorded one did."""
    free = {**metadata, mark: True, "cost_usd": 0.0, "cost_source": source}
    if metadata.get("cost_usd") is not None:
        free["original_cost_usd"] = metadata.get("original_cost_usd", metadata["cost_usd"])
    return free


def _failure(error: Exception) -> dict[str, Any]:
    if not isinstance(error, MeshError):
        return {"class": "MeshError", "message": told(error)}
    known = {name: getattr(error, name, None) for name in _FIELDS}
    message = getattr(error, "message", None) or str(error)
    return {"class": type(error).__name__, "message": message, **{k: v for k, v in known.items() if v}}


def _raised(recorded: dict[str, Any]) -> MeshError:
    found = getattr(errors, str(recorded.get("class")), MeshError)
    message = str(recorded.get("message", ""))
    if not isinstance(found, type) or not issubclass(found, ProviderError):
        return MeshError(message)
    known: dict[str, Any] = {"provider": "", "model": ""}
    known |= {name: recorded[name] for name in _FIELDS if name in recorded}
    return found(message, **known)
