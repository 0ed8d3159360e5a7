"""The streaming loop against a real server: faults, retries, closing; nothing that had arrived is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import pytest
from chat_streams import check_grammar, delta, native, sse, text, thoughts
from support import Replay, until

from mesh_nb.core.errors import (
    AuthenticationError,
    IncompleteStreamError,
    ProviderError,
    RateLimitError,
    StreamTimeoutError,
)
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers._chat_translate import Translator
from mesh_nb.providers._failures import Target
from mesh_nb.providers._stream import Exchange, call_key, redact, stream
from mesh_nb.providers._wire import Decoder
from mesh_nb.providers.openai_chat import plugin

KEY = "not-a-known-form-of-key-0123456789"


def ask(replay: Replay, model: str, **options: Any) -> AsyncGenerator[ExecutionEvent, None]:
    options.setdefault("base_url", replay.base_url)
    call = ModelCall(model, [{"role": "user", "content": "hi"}], api_key=KEY, **options)
    return cast("AsyncGenerator[ExecutionEvent, None]", plugin.stream(call))


async def collect(
    stream: AsyncGenerator[ExecutionEvent, None],
) -> tuple[list[ExecutionEvent], ProviderError | None]:
    events: list[ExecutionEvent] = []
    try:
        async for event in stream:
            events.append(event)
    except ProviderError as error:
        return events, error
    return events, None


def waits(events: list[ExecutionEvent]) -> list[dict[str, Any]]:
    return [e.content for e in events if e.type == "custom_data" and e.metadata["data_type"] == "data-retry"]


def words(n: int) -> str:
    return "".join(f"tok{i} " for i in range(n))


async def test_a_whole_answer(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-50-r5-t2"))
    assert error is None
    check_grammar(events, start=True)
    assert text(events) == words(50)
    assert len([e for e in events if e.type == "reasoning_token"]) == 5
    start, meta = events[0].metadata, events[-1].metadata
    assert start["call_id"] == meta["call_id"]
    assert start["request"]["model"] == start["requested_model"] == meta["requested_model"]
    assert (start["provider"], meta["provider"]) == ("openai", "openai")
    assert len(start["call_key"]) == 64
    assert 0 < meta["time_to_first_token_ms"] <= meta["duration_ms"]
    assert replay.requests[-1]["body"]["stream_options"] == {"include_usage": True}


FAULTS = [
    ("error=3001", ProviderError, "The server had an error while processing your request"),
    ("drop_event=3001", IncompleteStreamError, "connection broke"),
    ("cut_event=3001", IncompleteStreamError, "ended before it was complete"),
    ("malformed=3001", ProviderError, "not JSON"),
    ("stall=60,stall_at=3001", StreamTimeoutError, "Nothing arrived for 0.3 s"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS, ids=[f[0].split("=")[0] for f in FAULTS])
async def test_3000_tokens_then_a_fault(replay: Replay, fault: str, kind: type, says: str) -> None:
    options: dict[str, Any] = {"idle_timeout": 0.3} if fault.startswith("stall") else {}
    events, error = await collect(ask(replay, f"synthetic-4000@{fault}", **options))
    assert type(error) is kind
    assert error is not None
    assert says in str(error)
    assert "openai/synthetic-4000" in str(error)
    assert text(events) == words(3000)
    check_grammar(events, start=True)
    meta = events[-1].metadata
    assert (meta["usage"], meta["usage_status"]) == ({}, "unknown")
    assert replay.stats["requests"] == 1, "a stream that had begun is not asked for again"


@pytest.mark.parametrize("status", [429, 500, 503, 408, 409])
async def test_what_may_pass_is_asked_again(replay: Replay, status: int) -> None:
    model = f"synthetic-5@fail=1,status={status},retry_after=0.05"
    events, error = await collect(ask(replay, model))
    assert error is None
    check_grammar(events, start=True)
    assert text(events) == words(5)
    [wait] = waits(events)
    assert (wait["attempt"], wait["delay_s"], wait["reason"]) == (1, 0.05, f"HTTP {status}")
    assert (replay.stats["requests"], replay.stats["failures_served"]) == (2, 1)


async def test_retry_after_that_is_too_long_is_said_and_not_waited_for(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-5@fail=-1,status=429,retry_after=3600"))
    assert isinstance(error, RateLimitError)
    assert (error.status, error.retry_after, error.retryable) == (429, 3600.0, True)
    assert waits(events) == []
    assert replay.stats["requests"] == 1


async def test_retries_end(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-5@fail=-1,status=500,retry_after=0", max_retries=2))
    assert type(error) is ProviderError
    assert (error.status, error.request_id) == (500, "req_replay_3")
    assert "try again" in error.hint
    assert [w["attempt"] for w in waits(events)] == [1, 2]
    assert replay.stats["requests"] == 3
    check_grammar(events, start=True)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_will_not_pass_is_not_asked_again(replay: Replay, status: int) -> None:
    events, error = await collect(ask(replay, f"synthetic-5@fail=-1,status={status}"))
    assert error is not None
    assert error.status == status
    assert "replay: asked to fail" in str(error)
    if status in (401, 403):
        assert isinstance(error, AuthenticationError)
        assert "OPENAI_API_KEY" in str(error)
    if status == 404:
        assert "model name" in str(error)
    assert replay.stats["requests"] == 1
    assert [str(e.type) for e in events] == ["model_call_start", "response_metadata"]


async def test_server_may_forbid_a_retry(replay: Replay) -> None:
    _, error = await collect(ask(replay, "synthetic-5@fail=-1,status=500,should_retry=0"))
    assert error is not None
    assert replay.stats["requests"] == 1


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        call = ModelCall("m", [], base_url=url, api_key=KEY, max_retries=0)
        events, error = await collect(cast("Any", plugin.stream(call)))
    assert type(error) is ProviderError
    assert error.retryable
    assert url in str(error)
    assert "Is the server running" in str(error)
    check_grammar(events, start=True)


async def test_connection_dropped_before_the_first_event_is_tried_again(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-5@drop_event=0", max_retries=1))
    assert isinstance(error, IncompleteStreamError)
    assert len(waits(events)) == 1
    assert replay.stats["requests"] == 2


async def test_silence_before_the_first_event(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-5@first=60", idle_timeout=0.3, max_retries=0))
    assert isinstance(error, StreamTimeoutError)
    assert "idle_timeout=" in error.hint
    check_grammar(events, start=True)
    await until(lambda: replay.stats["client_disconnects"] == 1)


async def test_comments_keep_a_silent_stream_alive(replay: Replay) -> None:
    model = "synthetic-20-u@delay=0.02,comment=1,crlf=1,split=3"
    events, error = await collect(ask(replay, model, idle_timeout=5))
    assert error is None
    assert "\u2028" in text(events)
    assert len([e for e in events if e.type == "token"]) == 20


async def test_timeout_of_the_whole_call(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-100000@delay=0.01", timeout=0.4))
    assert isinstance(error, StreamTimeoutError)
    assert "0.4 s" in str(error)
    assert text(events)
    check_grammar(events, start=True)
    await until(lambda: replay.stats["client_disconnects"] == 1)


async def test_break_closes_the_connection(replay: Replay) -> None:
    async with aclosing(ask(replay, "synthetic-1000@delay=0.01,keepopen=30")) as stream:
        async for event in stream:
            if event.type == "token":
                break
    await until(lambda: replay.stats["client_disconnects"] == 1)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert replay.stats["active"] == 0


async def test_cancel_closes_the_connection_and_leaves_no_task(replay: Replay) -> None:
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(ask(replay, "synthetic-1000@delay=0.01,keepopen=30")) as stream:
            async for event in stream:
                if event.type == "token":
                    begun.set()

    task = asyncio.create_task(consume())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: replay.stats["client_disconnects"] == 1)
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_cancel_while_the_server_is_silent(replay: Replay) -> None:
    task = asyncio.create_task(collect(ask(replay, "synthetic-5@first=60")))
    await until(lambda: replay.stats["active"] == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: replay.stats["client_disconnects"] == 1)


async def test_end_of_the_protocol_is_the_end_whatever_the_connection_does(replay: Replay) -> None:
    events, error = await collect(ask(replay, "synthetic-5@nodone=1"))
    assert error is None
    assert text(events) == words(5)
    last = 8  # role, 5 tokens, finish, usage
    events, error = await collect(ask(replay, f"synthetic-5@drop_event={last}"))
    assert error is None
    assert events[-1].metadata["usage_status"] == "reported"


async def test_connection_is_kept_for_the_next_call(replay: Replay) -> None:
    for _ in range(3):
        await collect(ask(replay, "synthetic-5"))
    assert replay.stats["requests"] == 3
    assert replay.stats["connections"] <= 1


async def test_native_events(replay: Replay) -> None:
    events, _ = await collect(ask(replay, "synthetic-3-r1", native=True))
    check_grammar(events, start=True)
    mapped = [e for e in events if "native" in e.metadata]
    assert [str(e.type) for e in mapped] == ["reasoning_token", "token", "token", "token"]
    assert mapped[1].metadata["native"]["choices"][0]["delta"] == {"content": "tok0 "}
    assert mapped[1].metadata["text_block_id"] == mapped[2].metadata["text_block_id"]
    chunks = native(events)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert (text(events), thoughts(events)) == (words(3), "why0 ")


async def test_keys_are_in_no_event_message_or_traceback(replay: Replay) -> None:
    model = f"echo-{KEY}"  # the server repeats it in its message
    events, error = await collect(ask(replay, model, extra={"api_key": KEY, "user": "u"}))
    assert error is not None
    assert "no case for 'echo-***'" in str(error)
    assert KEY not in "".join(traceback.format_exception(error)).replace(model, "")
    request = events[0].metadata["request"]
    assert (request["api_key"], request["user"]) == ("***", "u")
    call = ModelCall("m", [], api_key=KEY)
    assert KEY not in repr(call)
    _, error = await collect(ask(replay, "echo-sk-proj-somebody-elses"))
    assert error is not None
    assert "no case for 'echo-***'" in error.message


async def test_a_burst_is_parsed_as_it_is_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Any] = []
    feed = Decoder.feed

    def spy(decoder: Decoder, data: bytes) -> list[Any]:
        values = feed(decoder, data)
        parsed.extend(values)
        return values

    class Reply:
        async def iter_bytes(self) -> AsyncGenerator[bytes, None]:
            yield sse(*(delta(content=f"tok{i} ") for i in range(5000)), delta(finish="stop"))

    async def send() -> Any:
        return contextlib.nullcontext(Reply())

    monkeypatch.setattr(Decoder, "feed", spy)
    target = Target("openai", "m", "http://127.0.0.1", "OPENAI_API_KEY", 1.0)
    exchange = Exchange(target, {}, send, lambda call_id: Translator(call_id=call_id, model="m"))
    async with aclosing(stream(ModelCall("m", []), exchange)) as events:
        said = [(e.content, len(parsed)) async for e in events if e.type == "token"]
    assert said[0][1] < 100, "the first token waits for no more than what came with it"
    assert "".join(word for word, _ in said) == words(5000)


async def test_a_client_of_the_users_own(replay: Replay) -> None:
    import openai

    async with openai.AsyncOpenAI(api_key=KEY, base_url=replay.base_url) as client:
        events, error = await collect(ask(replay, "synthetic-5", client=client, base_url=None))
        assert error is None
        assert text(events) == words(5)
        _, error = await collect(
            ask(replay, "synthetic-5@fail=-1,status=500", client=client, base_url=None, max_retries=0)
        )
        assert error is not None
    assert replay.stats["requests"] == 2, "the SDK's own retries are off"


def test_call_key_is_what_was_asked_and_nothing_else() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "é"}], "stream": True}
    same = {"messages": [{"content": "é", "role": "user"}], "model": "m"}
    assert call_key("openai", body) == call_key("openai", same)
    assert call_key("openai", body) != call_key("groq", body)
    assert call_key("openai", body) != call_key("openai", {**body, "temperature": 0})
    assert len(call_key("openai", {"big": 10**40, "odd": "\ud83d"})) == 64


def test_redaction_spares_what_only_looks_like_a_key() -> None:
    schema = {"properties": {"api_key": {"type": "string"}}, "max_tokens": 5}
    assert redact(schema) == schema
    assert redact([{"Authorization": "Bearer x"}]) == [{"Authorization": "***"}]
