"""Async generator functions as agents."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from agent_doubles import (
    EVERYTHING,
    Scripted,
    assert_grammar,
    events_and_error,
    events_of,
    of_type,
    text_of,
    types,
)
from event_lists import rich

import mesh_nb
from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import AuthenticationError, InputError, MeshError, UnknownNameError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.nodes.agent import AgentNode, find_plugin


def yielding(*items: Any) -> Any:
    """An agent that yields these; an exception among them is raised."""

    async def agent(message: str) -> AsyncIterator[Any]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return agent


async def echo(message: str) -> AsyncIterator[str]:
    for word in message.split():
        yield word + " "


async def test_text_becomes_tokens() -> None:
    events = await events_of(echo, "one two")
    assert_grammar(events)
    assert types(events) == [
        "step_start",
        "model_call_start",
        "message_start",
        "token",
        "message_complete",
        "response_metadata",
        "step_complete",
        "node_complete",
    ]
    assert [e.content for e in of_type(events, "token")] == ["one ", "two "]
    assert events[-1].output == {"content": "one two ", "tool_calls": []}
    meta = of_type(events, "response_metadata")[0].metadata
    assert (meta["provider"], meta["model_id"], meta["usage_status"]) == ("agent", "echo", "unknown")


async def test_in_a_graph_with_other_nodes() -> None:
    async def shout(message: str, context: ExecutionContext) -> AsyncIterator[str]:
        yield f"{message.strip().upper()} ({context.question})"

    graph = mesh_nb.StateGraph()
    graph.add_node("echo", echo, node_type="agent").add_node("shout", shout, node_type="agent")
    graph.add_sequence(["echo", "shout"]).set_entry_point("echo")
    events = [e async for e in mesh_nb.Executor(graph).execute("a b")]
    assert events[-1].output["content"] == "A B (a b)"


class Callable:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, message: str) -> AsyncIterator[str]:
        self.asked.append(message)
        yield "called"

    async def method(self, message: str) -> AsyncIterator[str]:
        yield "method"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Callable(), "called"),
        (lambda: Callable().method, "method"),
        (lambda: functools.partial(echo, message="x"), "x "),
    ],
)
async def test_what_is_an_async_generator_when_called(make: Any, said: str) -> None:
    assert text_of(await events_of(make())) == said


def test_found_by_what_it_can_do() -> None:
    plugin = plugins.find("agent", "generator")

    async def coroutine(message: str) -> str:
        return message

    def plain(message: str) -> Any:
        yield message

    assert find_plugin("a", echo) is plugin
    for other in (coroutine, plain, Callable, len, "echo"):
        assert not plugin.matches(other)
    # run_stream is the richer protocol.
    assert find_plugin("a", Scripted([])) is plugins.find("agent", "vel")


async def test_objects_with_text_in_them() -> None:
    agent = yielding(
        SimpleNamespace(content="a"),
        SimpleNamespace(delta="b"),
        {"content": "c"},
        {"delta": "d"},
        SimpleNamespace(content=None, tool_calls=None),
        SimpleNamespace(delta=None),
        None,
        {},
        "",
    )
    events = await events_of(agent)
    assert_grammar(events)
    assert [e.content for e in of_type(events, "token")] == ["a", "b", "c", "d"]
    assert of_type(events, "custom_data") == []


async def test_objects_that_nobody_knows_stay_visible() -> None:
    events = await events_of(yielding({"rows": 3}, 7, SimpleNamespace(content=None, tool_calls=["x"])))
    assert_grammar(events)
    assert [e.metadata["data_type"] for e in of_type(events, "custom_data")] == ["native"] * 3
    assert of_type(events, "custom_data")[0].content["value"] == {"rows": 3}


async def test_dicts_are_read_as_vels_are() -> None:
    ours = await events_of(yielding(*EVERYTHING))
    theirs = await events_of(Scripted(EVERYTHING))
    assert types(ours) == types(theirs)
    assert ours[-1].output == theirs[-1].output


async def test_our_own_events_are_handed_on_in_balance() -> None:
    given = rich(cost=0.01)
    events = await events_of(yielding(*given))
    assert_grammar(events)
    kinds = {"token", "reasoning_token", "tool_call_delta", "tool_call_complete", "source", "file"}
    for kind in kinds:
        told = [(e.content, e.output) for e in of_type(events, kind)]
        assert told == [(e.content, e.output) for e in of_type(given, kind)], kind
    meta = of_type(events, "response_metadata")[0].metadata
    assert meta["cost_usd"] == 0.01
    assert (meta["provider"], meta["model_id"], meta["requested_model"]) == ("demo", "demo-1", "demo")
    assert meta["usage"]["total_tokens"] == 1234
    assert events[-1].output["content"] == "x"


async def test_words_without_a_frame_get_one() -> None:
    bare = ExecutionEvent(EventType.TOKEN, content="hi")
    tool = ExecutionEvent(
        EventType.TOOL_CALL_COMPLETE,
        output=3,
        metadata={"tool_name": "add", "tool_call_id": "c", "arguments": {"a": 1}, "status": "ok"},
    )
    update = ExecutionEvent(EventType.STATE_UPDATE, metadata={"seen": True})
    events = await events_of(yielding(bare, tool, update))
    assert_grammar(events)
    assert events[-1].output["tool_calls"][0]["arguments"] == {"a": 1}
    assert of_type(events, "state_update")[0].metadata == {"seen": True}


async def test_a_whole_graph_inside() -> None:
    inner = mesh_nb.StateGraph()
    inner.add_node("llm", node_type="llm", model="demo").set_entry_point("llm")
    compiled = inner.compile()

    async def agent(message: str) -> AsyncIterator[ExecutionEvent]:
        async for event in mesh_nb.Executor(compiled).execute(message):
            yield event

    events = await events_of(agent)
    assert_grammar(events)
    assert events[-1].output["content"] == text_of(events) != ""
    (meta,) = of_type(events, "response_metadata")
    assert meta.metadata["provider"] == "demo"


async def test_what_it_is_given() -> None:
    seen: dict[str, Any] = {}

    async def agent(
        message: Any, *, context: ExecutionContext, session_id: str | None = None, tone: str = "flat"
    ) -> AsyncIterator[str]:
        seen.update(message=message, context=context, session_id=session_id, tone=tone)
        yield "ok"

    history = [{"role": "user", "content": "q"}]
    context = ExecutionContext(session_id="s-1", chat_history=history)
    await events_of(agent, context=context, run_options={"tone": "calm"}, system_prompt="Be kind.")
    assert seen == {"message": "Be kind.\n\nhi", "context": context, "session_id": "s-1", "tone": "calm"}
    await events_of(agent, context=context, input_mode="messages", use_session=False)
    assert seen["message"] == [{"role": "user", "content": "hi"}]
    assert (seen["session_id"], seen["tone"]) == (None, "flat")


async def test_a_function_that_takes_nothing_is_asked_nothing() -> None:
    async def agent() -> AsyncIterator[str]:
        yield "always this"

    assert text_of(await events_of(agent)) == "always this"


async def test_wrong_options_are_refused_before_it_starts() -> None:
    started: list[int] = []

    async def agent(message: str, tone: str) -> AsyncIterator[str]:
        started.append(1)
        yield message

    with pytest.raises(UnknownNameError, match="Did you mean 'tone'"):
        await events_of(agent, run_options={"ton": "calm"})
    with pytest.raises(InputError, match="missing a required argument: 'tone'"):
        await events_of(agent)
    assert started == []


async def test_what_it_raises_comes_out_after_what_it_said() -> None:
    events, error = await events_and_error(yielding("partial ", ZeroDivisionError("no")))
    assert isinstance(error, ZeroDivisionError)
    assert_grammar(events)
    assert text_of(events) == "partial "
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "error"


async def test_an_error_that_it_reports_is_raised() -> None:
    events, error = await events_and_error(yielding("a", {"type": "error", "errorText": "out of paper"}))
    assert isinstance(error, MeshError)
    assert "out of paper" in str(error)
    assert_grammar(events)


async def test_the_error_of_an_sdk_inside_is_a_provider_error(replay: Any) -> None:
    import openai

    async def agent(message: str) -> AsyncIterator[Any]:
        async with openai.AsyncOpenAI(
            base_url=replay.base_url, api_key="sk-test-0000", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model=agent.model, messages=[{"role": "user", "content": message}], stream=True
            )
            async with stream:
                async for chunk in stream:
                    if chunk.choices:
                        yield chunk.choices[0].delta

    agent.model = "synthetic-3"
    events = await events_of(agent)
    assert_grammar(events)
    assert text_of(events) == "tok0 tok1 tok2 "
    agent.model = "synthetic-3@fail=-1,status=401"
    events, error = await events_and_error(agent)
    assert isinstance(error, AuthenticationError)
    assert (error.provider, error.status) == ("openai", 401)


async def test_leaving_closes_it() -> None:
    closed = asyncio.Event()

    async def agent(message: str) -> AsyncIterator[str]:
        try:
            while True:
                yield "on "
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with aclosing(AgentNode("a", agent).run({"input": "hi"}, ExecutionContext())) as stream:
        async for event in stream:
            if event.type == "token":
                break
    assert closed.is_set()


async def test_native_is_what_it_yielded() -> None:
    items = ["a", {"type": "data-x", "data": 1}, ExecutionEvent(EventType.TOKEN, content="b")]
    events = await events_of(yielding(*items), use_native_events=True)
    assert_grammar(events)
    natives = [e.metadata["native"] for e in events if "native" in e.metadata]
    assert natives[0]["delta"] == "a"
    assert natives[1] == {"type": "data-x", "data": 1}
    assert natives[2]["content"] == "b"
