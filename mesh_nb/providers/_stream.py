"""One call to a provider: send, read, translate, retry, close. The same loop for every SDK."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol, cast

import orjson

from ..core.events import DELTAS, EventType, ExecutionEvent, dumps
from ..core.prices import price
from ._aws_frames import CONTENT_TYPE, unframed
from ._blocks import native_event
from ._call import ModelCall
from ._failures import Target, explain, from_stream, incomplete, malformed, request_id_of
from ._wire import Decoder

MAX_WAIT = 60.0
"""Seconds. A server that asks to wait longer gets no further request; the error says what it asked."""

RETRY = "data-retry"
"""data_type of the custom_data that announces a wait before the request is sent again."""

_FIRST = DELTAS | {EventType.TOOL_CALL_START, EventType.REASONING_START}
_SECRET_FIELDS = ("api_key", "apikey", "api-key", "authorization", "password", "secret", "access_token")
_LARGE = 65_536
_DRAIN = 0.1
_LINGER = 1.0
_SLICE = 4096


class Translator(Protocol):
    """Chunks in, events out; pure.

    `terminated` is True once the protocol's own end was seen; `error` is the error that the stream carried.
    One whose protocol sends more after an error may have `expects_more`, True while that has not come: it is
    waited for, a second at most. The last event of `finish` is response_metadata.
    """

    terminated: bool
    error: dict[str, Any] | None

    def feed(self, chunk: Any) -> list[ExecutionEvent]:
        """Return the events of one chunk."""
        ...

    def finish(self) -> list[ExecutionEvent]:
        """Return the events that close whatever is open."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """What a provider tells the loop about one call.

    Parameters: target, whom it goes to; body, the request as it goes out; send, a coroutine function that
    returns the SDK's streaming response as an async context manager; translate, makes the translator of one
    attempt from the call's id; prepare, a coroutine function for what must be done once and is not the
    provider's time, such as importing its SDK.
    """

    target: Target
    body: dict[str, Any]
    send: Callable[[], Awaitable[contextlib.AbstractAsyncContextManager[Any]]]
    translate: Callable[[str], Translator]
    prepare: Callable[[], Awaitable[None]] | None = None


async def stream(call: ModelCall, exchange: Exchange) -> AsyncGenerator[ExecutionEvent, None]:
    """Make a call and yield its grammar; the request is sent again only before the first event arrived.

    A wait before a further request is told by custom_data of type "data-retry", with attempt, delay_s, reason
    and message. Closing this generator closes the connection. Raises ProviderError after everything that had
    arrived was yielded, every open block closed and response_metadata sent.
    """
    call_id = f"call_{uuid.uuid4().hex[:16]}"
    yield _start(call_id, call, exchange)
    if exchange.prepare is not None:
        await exchange.prepare()
    began, first, attempt = time.perf_counter(), None, 0
    deadline = None if call.timeout is None else asyncio.get_running_loop().time() + call.timeout
    while True:
        attempt += 1
        target, translator, decoder = exchange.target, exchange.translate(call_id), Decoder()
        failure: Exception | None = None
        delivered, until = False, deadline
        async with contextlib.AsyncExitStack() as stack:
            pieces: AsyncIterator[bytes] | None = None
            while failure is None:
                try:
                    if pieces is None:
                        pieces, target = await _open(exchange, stack, deadline)
                    data = await _next(pieces, until)
                except Exception as error:  # noqa: BLE001  explain() hands a bug back as it is
                    failure = _explain(error, target, pieces is not None, deadline)
                    break
                for chunk in _chunks(decoder, data):
                    events = translator.feed(chunk)
                    for event in _with_native(events, chunk) if call.native else events:
                        delivered = True
                        if first is None and event.type in _FIRST:
                            first = time.perf_counter()
                        yield event
                more = translator.error is None or getattr(translator, "expects_more", False)
                if data is None or decoder.done or not more or decoder.malformed is not None:
                    await _drain(pieces, decoder.done)
                    break
                if translator.error is not None and until is deadline:
                    until = _linger(deadline)
        failure = _verdict(failure, translator, decoder, target)
        delay = None if failure is None or delivered else _delay(failure, attempt, call, deadline)
        if failure is None or delay is None:
            break
        yield _retry(call_id, attempt, delay, failure)
        await asyncio.sleep(delay)
    closing = translator.finish()
    await _complete(closing[-1], call_id, call, exchange.target, (began, first, time.perf_counter()))
    for event in closing:
        yield event
    if failure is not None:
        # A traceback that shows variables must not show what the server said: that may be a key.
        data = chunk = event = events = closing = decoder = None
        raise failure


async def _open(
    exchange: Exchange, stack: contextlib.AsyncExitStack, deadline: float | None
) -> tuple[AsyncIterator[bytes], Target]:
    """Send the request; return the answer's bytes, and the target with the id that the vendor gave it."""
    async with asyncio.timeout_at(deadline):
        response = await stack.enter_async_context(await exchange.send())
    headers: Any = getattr(response, "headers", {})
    request_id = request_id_of(headers, exchange.target)
    pieces = await stack.enter_async_context(contextlib.aclosing(response.iter_bytes()))
    if str(headers.get("content-type", "")).startswith(CONTENT_TYPE):
        pieces = await stack.enter_async_context(contextlib.aclosing(unframed(pieces)))
    return pieces, dataclasses.replace(exchange.target, request_id=request_id)


async def _next(pieces: AsyncIterator[bytes], deadline: float | None) -> bytes | None:
    """Return the next bytes, None at the end; silence is the transport's to notice."""
    if deadline is None:
        return await anext(pieces, None)
    async with asyncio.timeout_at(deadline):
        return await anext(pieces, None)


def _chunks(decoder: Decoder, data: bytes | None) -> Iterator[Any]:
    """Yield the values that these bytes complete, None being the end; a large read is never one list."""
    if data is None:
        yield from decoder.finish()
        return
    for at in range(0, len(data), _SLICE):
        yield from decoder.feed(data[at : at + _SLICE])


def _linger(deadline: float | None) -> float:
    """Return until when the rest of a failed answer is waited for."""
    soon = asyncio.get_running_loop().time() + _LINGER
    return soon if deadline is None else min(soon, deadline)


async def _drain(pieces: AsyncIterator[bytes], done: bool) -> None:
    """Read to the end of a body whose marker has come, so that its connection can serve the next call."""
    if done:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_DRAIN):
                async for _ in pieces:
                    pass


def _explain(error: Exception, target: Target, reading: bool, deadline: float | None) -> Exception:
    late = deadline is not None and asyncio.get_running_loop().time() >= deadline
    return explain(error, target, reading=reading, late=late)


def _verdict(
    failure: Exception | None, translator: Translator, decoder: Decoder, target: Target
) -> Exception | None:
    """Say whether the call failed: a broken connection after the protocol's own end is no failure."""
    if translator.error is not None:
        return from_stream(translator.error, target)
    if decoder.malformed is not None:
        return malformed(decoder.malformed, target)
    if translator.terminated or decoder.done:
        return None
    return failure or incomplete(decoder.loose, target)


def _delay(failure: Exception, attempt: int, call: ModelCall, deadline: float | None) -> float | None:
    """Return the seconds to wait before the same request is sent again, None when it should not be."""
    if attempt > call.max_retries or not getattr(failure, "retryable", False):
        return None
    asked: float | None = getattr(failure, "retry_after", None)
    delay = min(8.0, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.75, 1.0) if asked is None else asked
    late = deadline is not None and asyncio.get_running_loop().time() + delay >= deadline
    return None if late or delay > MAX_WAIT else delay


def _retry(call_id: str, attempt: int, delay: float, failure: Exception) -> ExecutionEvent:
    """Tell the reader why nothing comes yet. Not node_retry: the node goes on, what it sent stays valid."""
    status = getattr(failure, "status", None)
    waiting = {
        "call_id": call_id,
        "attempt": attempt,
        "delay_s": round(delay, 3),
        "reason": f"HTTP {status}" if status else type(failure).__name__,
        "message": str(failure),
    }
    return ExecutionEvent(EventType.CUSTOM_DATA, content=waiting, metadata={"data_type": RETRY})


def _start(call_id: str, call: ModelCall, exchange: Exchange) -> ExecutionEvent:
    metadata = {
        "call_id": call_id,
        "call_key": call_key(exchange.target.provider, exchange.body),
        "provider": exchange.target.provider,
        "requested_model": call.model,
        "request": redact(exchange.body),
    }
    return ExecutionEvent(EventType.MODEL_CALL_START, metadata=metadata)


async def _complete(
    event: ExecutionEvent,
    call_id: str,
    call: ModelCall,
    target: Target,
    times: tuple[float, float | None, float],
) -> None:
    began, first, ended = times
    metadata = {"call_id": call_id, "provider": target.provider, "requested_model": call.model}
    event.metadata = metadata | event.metadata
    if first is not None:
        event.metadata["time_to_first_token_ms"] = round((first - began) * 1000, 3)
    event.metadata["duration_ms"] = round((ended - began) * 1000, 3)
    if "cost_usd" not in event.metadata:
        cost = await price(event.metadata)
        if cost is not None:
            event.metadata |= {"cost_usd": cost.usd, "cost_source": cost.source}


def _with_native(events: list[ExecutionEvent], chunk: Any) -> list[ExecutionEvent]:
    """Deliver the chunk too: on the last of its events, or as one of its own when it maps to none."""
    if not events:
        return [native_event(chunk)]
    events[-1].metadata = {**events[-1].metadata, "native": chunk}
    return events


def call_key(provider: str, body: dict[str, Any]) -> str:
    """Return the sha256 that identifies a call by what it asks: provider, model, messages, tools, settings.

    Where it goes, with which key and how patiently is outside it.
    """
    asked = {k: v for k, v in body.items() if k not in ("stream", "stream_options")}
    canonical = dumps([provider, asked])
    with contextlib.suppress(orjson.JSONDecodeError):
        canonical = orjson.dumps(orjson.loads(canonical), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def redact(value: Any) -> Any:
    """Return a request without the values of fields that hold keys, and with a digest for the bytes of large
    attachments, which every round of a tool loop would repeat."""
    if isinstance(value, dict):
        given = cast("dict[str, Any]", value)
        words = given.get("type") == "text"  # a text file may look like anything
        return {
            k: _without_bytes(v, plain=k == "data" and not words) if isinstance(v, str) else redact(v)
            for k, v in given.items()
        } | {k: "***" for k, v in given.items() if isinstance(v, str) and _is_secret(k)}
    if isinstance(value, list):
        return [redact(v) for v in cast("list[Any]", value)]
    return value


def _is_secret(name: str) -> bool:
    return any(s in name.lower() for s in _SECRET_FIELDS)


def _without_bytes(text: str, *, plain: bool) -> str:
    """Return a digest for a long data URL, or, with plain, for long base64; any other text as it is."""
    head, _, data = text.partition(",") if text.startswith("data:") else ("", "", text)
    if len(text) <= _LARGE or not (plain or head.endswith(";base64")):
        return text
    digest = hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()
    said = f"<{len(data)} characters of base64, sha256 {digest}>"
    return f"{head},{said}" if head else said
