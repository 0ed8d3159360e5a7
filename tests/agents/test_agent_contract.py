"""What every agent plug-in promises, over all of them, with the real libraries."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest
from agent_doubles import (
    REAL,
    assert_grammar,
    events_and_error,
    events_of,
    get_item,
    node_events_and_error,
    of_type,
    text_of,
    types,
)
from http_servers import Exchange, Server
from support import until

from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import AuthenticationError, IncompleteStreamError, ProviderError
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.nodes.agent import AgentNode
from mesh_nb.nodes.llm import LLMNode

NAMES = plugins.names("agent")
each = pytest.mark.parametrize("name", NAMES)


def test_each_plugin_has_a_real_agent_to_test_with() -> None:
    assert set(REAL) == set(NAMES)


REASONING = {"langgraph": "responses"}
"""Which of its APIs an agent's library passes reasoning on for, where that is not chat completions."""


HIDE_A_CUT = {"openai_agents", "vel"}
"""Whose libraries take the end of a chat server's body for the end of the answer."""


async def llm_events(replay: Any, model: str, **options: Any) -> list[ExecutionEvent]:
    node = LLMNode("llm", model=model, provider="openai", base_url=replay.base_url, api_key="k", **options)
    node.check()
    return [e async for e in node.run({"input": "hi"}, ExecutionContext())]


async def assert_same(
    replay: Any, name: str, model: str, *, tools: Sequence[Any] = (), api: str = "chat"
) -> None:
    """Assert that an agent says of a stream what an llm node says of it."""
    made = {"api": api} if api != "chat" else {}
    async with REAL[name](replay.base_url, model, **made) as agent:
        ours = await events_of(agent)
    replay.server.reset()
    theirs = await llm_events(replay, model, tools=list(tools), api=api)
    assert_grammar(ours)
    # An llm node without tools has no steps; an agent always has. What only its library knows is custom_data.
    apart = {"custom_data"} | (set() if tools else {"step_start", "step_complete"})
    ours = [e for e in ours if e.type not in apart]
    assert types(ours) == types(theirs)
    assert text_of(ours) == text_of(theirs)
    assert ours[-1].output == theirs[-1].output
    kinds = ["token", "reasoning_token", "message_complete", "tool_call_start", "tool_call_complete"]
    for kind in [*kinds, "step_complete"] if tools else kinds:
        for mine, other in zip(of_type(ours, kind), of_type(theirs, kind), strict=True):
            assert mine.content == other.content, kind
            assert set(mine.metadata) == set(other.metadata), kind
    for mine, other in zip(
        of_type(ours, "response_metadata"), of_type(theirs, "response_metadata"), strict=True
    ):
        for key in ("finish_reason", "usage_status", "provider"):
            assert mine.metadata[key] == other.metadata[key], key
        assert mine.metadata["usage"].items() >= other.metadata["usage"].items()


@each
async def test_text_is_an_llm_nodes(replay: Any, name: str) -> None:
    await assert_same(replay, name, "synthetic-3")


@each
async def test_reasoning_is_an_llm_nodes(replay: Any, name: str) -> None:
    await assert_same(replay, name, "synthetic-3-r2", api=REASONING.get(name, "chat"))


@each
async def test_a_round_of_tools_is_an_llm_nodes(replay: Any, name: str) -> None:
    await assert_same(replay, name, "synthetic-2-t2+synthetic-3", tools=[get_item])


@each
async def test_one_response_metadata_for_each_model_call(replay: Any, name: str) -> None:
    async with REAL[name](replay.base_url, "synthetic-1-t1+synthetic-2") as agent:
        events = await events_of(agent)
    calls = of_type(events, "response_metadata")
    assert len(calls) == replay.stats["requests"] == 2
    assert len({c.metadata["call_id"] for c in calls}) == 2


@each
async def test_an_http_failure_names_provider_and_status(replay: Any, name: str) -> None:
    async with REAL[name](replay.base_url, "synthetic-3@fail=-1,status=401") as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, AuthenticationError)
    assert (error.provider, error.status) == ("openai", 401)
    assert_grammar(events)


@each
async def test_no_key_is_in_what_is_told_of_a_refusal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "a-key-of-no-known-form-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    async def refuse(x: Exchange) -> None:
        body = {"error": {"message": f"Bad {key} and sk-test-0000", "type": "t", "code": key}}
        await x.answer(json.dumps(body).encode(), b"content-type: application/json\r\n", b"400 No")

    with Server(refuse) as server:
        async with REAL[name](f"{server.url}/v1", "m") as agent:
            events, error = await events_and_error(agent)
    assert isinstance(error, ProviderError)
    assert "HTTP 400" in str(error)
    told = [*map(repr, events), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    assert not [line for line in told if key in line or "sk-test-0000" in line]


@each
async def test_a_connection_that_breaks_is_an_llm_nodes_failure(replay: Any, name: str) -> None:
    model = "synthetic-9@drop_event=4"
    async with REAL[name](replay.base_url, model) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, ProviderError)
    assert error.retryable
    await assert_ended_as_an_llm_nodes(replay, model, events)
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] in ("error", None)
    assert of_type(events, "step_complete")[-1].metadata["finish_reason"] == "error"


@each
async def test_an_answer_that_stops_early_is_an_llm_nodes_failure(replay: Any, name: str) -> None:
    model = "synthetic-9@cut_event=4"
    async with REAL[name](replay.base_url, model) as agent:
        events, error = await events_and_error(agent)
    await assert_ended_as_an_llm_nodes(replay, model, events)
    assert of_type(events, "response_metadata")[0].metadata["usage_status"] == "unknown"
    if name not in HIDE_A_CUT:
        assert isinstance(error, IncompleteStreamError)
        return
    # What its library does not say, nobody can: the log shows that no reason and no usage came.
    assert error is None
    assert of_type(events, "response_metadata")[0].metadata["finish_reason_raw"] is None


async def assert_ended_as_an_llm_nodes(replay: Any, model: str, events: list[ExecutionEvent]) -> None:
    """Assert that what came before a failure is what an llm node had got, and closed as it closes it."""
    replay.server.reset()
    node = LLMNode("llm", model=model, provider="openai", base_url=replay.base_url, api_key="k")
    theirs, error = await node_events_and_error(node)
    assert isinstance(error, IncompleteStreamError)
    assert_grammar(events)
    apart = {"custom_data", "step_start", "step_complete", "node_complete"}
    assert types(e for e in events if e.type not in apart) == types(theirs)
    assert text_of(events) == text_of(theirs) == "tok0 tok1 tok2 "


@each
async def test_leaving_closes_the_connection(replay: Any, name: str) -> None:
    async with REAL[name](replay.base_url, "synthetic-500@delay=0.02") as agent:
        async with aclosing(AgentNode("a", agent).run({"input": "hi"}, ExecutionContext())) as stream:
            async for event in stream:
                if event.type == "token":
                    break
        await until(lambda: replay.stats["client_disconnects"] == 1)


@each
async def test_native_events_change_nothing_else(replay: Any, name: str) -> None:
    async with REAL[name](replay.base_url, "synthetic-3-r1") as agent:
        plain = await events_of(agent)
        native = await events_of(agent, use_native_events=True)
    assert_grammar(native)
    assert types(e for e in native if e.type != "custom_data") == types(
        e for e in plain if e.type != "custom_data"
    )
    assert all("native" in e.metadata for e in of_type(native, "token"))
    assert not any("native" in e.metadata for e in plain)


@each
async def test_the_agent_is_never_changed(replay: Any, name: str) -> None:
    history = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    context = ExecutionContext(variables={"who": "Ann"}, chat_history=history)
    async with REAL[name](replay.base_url, "synthetic-1-t1+synthetic-1") as agent:
        before = state_of(agent)
        await events_of(agent, system_prompt="Speak to {{$vars.who}}.", context=context)
        await events_of(agent, context=context, input_mode="messages", use_native_events=True)
        assert state_of(agent) == before
    assert "Speak to Ann." in str(replay.requests[0]["body"]["messages"][-1]["content"])
    assert "Speak to Ann." not in str(replay.requests[-1]["body"]["messages"])
    assert context.chat_history == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]


def state_of(agent: Any) -> dict[str, str]:
    """All that an agent holds, and what those things hold, as text."""
    return {
        f"{key}.{inner}": repr(held)
        for key, value in vars(agent).items()
        for inner, held in (vars(value) if hasattr(value, "__dict__") else {"": value}).items()
        if key not in _OWN_RECORDS and "cache" not in inner
    }


_OWN_RECORDS = {"ctxmgr", "_function_approval_identity"}
"""Where Vel keeps its sessions, and openai-agents its own number of an agent: theirs to change."""


@each
async def test_one_agent_may_run_twice_at_once(replay: Any, name: str) -> None:
    async with REAL[name](replay.base_url, "synthetic-20@delay=0.002") as agent:
        both = await asyncio.gather(events_of(agent), events_of(agent))
    for events in both:
        assert_grammar(events)
        assert text_of(events) == "".join(f"tok{i} " for i in range(20))


@each
def test_found_by_capability_and_never_by_name(name: str) -> None:
    """Modules and classes of the user's own may be called anything, an agent's library included."""
    plugin = plugins.find("agent", name)
    for module in (
        "vel",
        "agents",
        "travel_vel.agents",
        "pydantic_ai.agent",
        "langgraph.pregel",
        "my_agents",
    ):
        made = type("Agent", (), {"__module__": module, "name": "a", "instructions": "b", "model": "c"})
        assert plugin.matches(made()) is False
        assert plugin.matches(made) is False


@each
def test_the_signature_is_the_protocols(name: str) -> None:
    plugin = plugins.find("agent", name)
    assert plugin.accepts
    assert inspect.isasyncgenfunction(plugin.run)
    keywords = [p.name for p in inspect.signature(plugin.run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert keywords == ["native", "use_session", "options"]
    assert plugin.matches(object()) is False
