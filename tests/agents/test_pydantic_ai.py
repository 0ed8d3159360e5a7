"""Pydantic AI, the real library against the replay server."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from agent_doubles import (
    assert_grammar,
    events_and_error,
    events_of,
    get_item,
    of_type,
    pydantic_agent,
    text_of,
    types,
)
from pydantic import BaseModel
from run_doubles import until as run_until
from support import streams, until

import mesh_nb
from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import (
    AuthenticationError,
    IncompleteStreamError,
    MeshError,
    ProviderError,
    RateLimitError,
    UnknownNameError,
)
from mesh_nb.nodes.agent import AgentNode

APIS = pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])


class Item(BaseModel):
    index: int
    name: str


@APIS
async def test_text_reasoning_and_usage(replay: Any, api: str) -> None:
    async with pydantic_agent(replay.base_url, "synthetic-3-r2", api=api) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    assert types(events) == [
        "step_start",
        "model_call_start",
        "reasoning_start",
        "reasoning_token",
        "reasoning_end",
        "message_start",
        "token",
        "message_complete",
        "response_metadata",
        "step_complete",
        "node_complete",
    ]
    assert [e.content for e in of_type(events, "reasoning_token")] == ["why0 ", "why1 "]
    assert events[-1].output == {"content": "tok0 tok1 tok2 ", "tool_calls": []}
    meta = of_type(events, "response_metadata")[0].metadata
    vendor = "anthropic" if api == "anthropic" else "openai"
    assert (meta["model_id"], meta["provider"], meta["finish_reason"]) == ("synthetic-3-r2", vendor, "stop")
    assert meta["usage"]["prompt_tokens"] == 10
    assert meta["usage"]["completion_tokens"] == 5
    assert meta["usage"]["total_tokens"] == 15
    assert meta["usage"]["reasoning_tokens"] == 2
    assert of_type(events, "step_complete")[0].metadata["usage"] == meta["usage"]


@APIS
async def test_parallel_tools(replay: Any, api: str) -> None:
    running, most = 0, 0
    both = asyncio.Event()

    async def get_item(index: int, name: str) -> dict[str, Any]:
        """Get an item."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            both.set()
        await both.wait()
        return {"index": index, "got": name}

    model = "synthetic-2-t2+synthetic-3"
    async with pydantic_agent(replay.base_url, model, api=api, tools=[get_item]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    assert most == 2
    calls = of_type(events, "tool_call_start")
    assert [c.metadata["tool_name"] for c in calls] == ["get_item", "get_item"]
    fragments = of_type(events, "tool_call_delta")
    assert [
        json.loads(
            "".join(f.content for f in fragments if f.metadata["tool_call_id"] == c.metadata["tool_call_id"])
        )
        for c in calls
    ] == [{"index": i, "name": f"item {i}"} for i in (0, 1)]
    done = sorted(of_type(events, "tool_call_complete"), key=lambda e: e.metadata["arguments"]["index"])
    assert [d.output for d in done] == [{"index": i, "got": f"item {i}"} for i in (0, 1)]
    assert {d.metadata["status"] for d in done} == {"ok"}
    steps = [s.metadata for s in of_type(events, "step_complete")]
    assert [(s["step_index"], s["finish_reason"]) for s in steps] == [(0, "tool_calls"), (1, "stop")]
    assert len(of_type(events, "response_metadata")) == replay.stats["requests"] == 2
    assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_a_tool_that_asks_for_another_try(replay: Any) -> None:
    from pydantic_ai import ModelRetry

    tries: list[int] = []

    def get_item(index: int, name: str) -> str:
        """Get an item."""
        tries.append(index)
        if len(tries) == 1:
            raise ModelRetry("Not that one.")
        return name

    model = "synthetic-1-t1+synthetic-1-t1+synthetic-3"
    async with pydantic_agent(replay.base_url, model, tools=[get_item]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    done = of_type(events, "tool_call_complete")
    assert [(d.metadata["status"], d.error, d.output) for d in done] == [
        ("error", "Not that one.", None),
        ("ok", None, "item 0"),
    ]
    assert len(of_type(events, "step_start")) == 3


async def test_a_tool_that_always_asks_for_another_try_ends_the_run(replay: Any) -> None:
    from pydantic_ai import ModelRetry, UnexpectedModelBehavior

    def get_item(index: int, name: str) -> str:
        """Get an item."""
        raise ModelRetry("Not that one.")

    async with pydantic_agent(replay.base_url, "synthetic-1-t1", tools=[get_item]) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, UnexpectedModelBehavior)
    assert_grammar(events)
    assert [d.metadata["status"] for d in of_type(events, "tool_call_complete")] == ["error", "cancelled"]


async def test_a_tool_that_raises_ends_the_run_with_its_own_exception(replay: Any) -> None:
    def get_item(index: int, name: str) -> str:
        """Get an item."""
        raise ZeroDivisionError("no items")

    async with pydantic_agent(replay.base_url, "synthetic-2-t2", tools=[get_item]) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, ZeroDivisionError)
    assert_grammar(events)
    assert text_of(events) == "tok0 tok1 "
    assert {d.metadata["status"] for d in of_type(events, "tool_call_complete")} == {"cancelled"}
    assert of_type(events, "response_metadata")[0].metadata["usage_status"] == "reported"


async def test_a_tool_that_failed_and_one_that_does_not_exist(replay: Any) -> None:
    from pydantic_ai import ToolFailed

    def get_item(index: int, name: str) -> str:
        """Get an item."""
        raise ToolFailed("It is gone.")

    for tools, said in (([get_item], "It is gone."), ([], "Unknown tool name")):
        replay.server.reset()
        async with pydantic_agent(replay.base_url, "synthetic-1-t1+synthetic-3", tools=tools) as agent:
            events = await events_of(agent)
        assert_grammar(events)
        (done,) = of_type(events, "tool_call_complete")
        assert done.metadata["status"] == "error"
        assert said in (done.error or "")
        assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_a_tool_that_waits_for_approval_is_not_executed(replay: Any) -> None:
    from pydantic_ai import DeferredToolRequests, Tool

    tools = [Tool(get_item, requires_approval=True)]
    outputs: list[Any] = [str, DeferredToolRequests]
    async with pydantic_agent(replay.base_url, "synthetic-1-t1", tools=tools, output_type=outputs) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    (asked,) = of_type(events, "custom_data")
    assert asked.metadata["data_type"] == "data-deferred-tool-requests"
    assert [a["tool_name"] for a in asked.content["approvals"]] == ["get_item"]
    assert of_type(events, "tool_call_complete")[0].metadata["status"] == "not_executed"


def in_a_graph(agent: Any) -> Any:
    graph = mesh_nb.StateGraph()
    return graph.add_node("helper", agent, node_type="agent").set_entry_point("helper")


async def test_a_tool_that_needs_approval_is_a_question_of_the_run(
    replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    from pydantic_ai import DeferredToolRequests, Tool

    tools = [Tool(get_item, requires_approval=True)]
    outputs: list[Any] = [str, DeferredToolRequests]
    model = "synthetic-1-t2+synthetic-3"
    async with pydantic_agent(replay.base_url, model, tools=tools, output_type=outputs) as agent:
        run = in_a_graph(agent).run("go", on_no_answer="wait", display=False)
        await run_until(run, lambda: len(run.pending) == 1)
        (question,) = run.pending
        assert (question.kind, question.tool_name) == ("tool", "get_item")
        assert question.arguments == {"index": 0, "name": "item 0"}
        run.approve()
        await run_until(run, lambda: any(q.id != question.id for q in run.pending))
        run.reject("not that one")
        await run
        events = [e for e in run.events if e.node_id == "helper"]
        assert_grammar(events)
        done = of_type(events, "tool_call_complete")
        assert sorted(d.metadata["status"] for d in done) == ["denied", "ok"]
        (ok,) = [d for d in done if d.metadata["status"] == "ok"]
        assert ok.output == {"index": 0, "got": "item 0"}
        assert "interrupts" not in run.output
        assert run.text == "tok0 tok1 tok2 "
    assert replay.stats["requests"] == 2
    assert "not that one" in str(replay.requests[-1]["body"]["messages"])


async def test_an_approved_call_may_have_other_arguments(
    replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydantic_ai import DeferredToolRequests, Tool

    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    tools = [Tool(get_item, requires_approval=True)]
    outputs: list[Any] = [str, DeferredToolRequests]
    model = "synthetic-1-t1+synthetic-3"
    async with pydantic_agent(replay.base_url, model, tools=tools, output_type=outputs) as agent:
        run = in_a_graph(agent).run("go", on_no_answer="wait", display=False)
        await run_until(run, lambda: bool(run.pending))
        run.edit({"index": 5, "name": "five"})
        await run
    (done,) = of_type(run.events, "tool_call_complete")
    assert done.output == {"index": 5, "got": "five"}


async def test_an_output_tool_gives_the_parsed_object(replay: Any) -> None:
    from pydantic_ai import ToolOutput

    output = ToolOutput(Item, name="get_item")
    async with pydantic_agent(replay.base_url, "synthetic-1-t1", tools=[], output_type=output) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    assert events[-1].output["parsed"] == {"index": 0, "name": "item 0"}
    assert json.loads(events[-1].output["content"]) == events[-1].output["parsed"]


async def test_an_output_that_does_not_fit_is_asked_for_again(replay: Any) -> None:
    from pydantic_ai import ToolOutput, UnexpectedModelBehavior

    class Other(BaseModel):
        title: str

    output = ToolOutput(Other, name="get_item")
    async with pydantic_agent(replay.base_url, "synthetic-1-t1", tools=[], output_type=output) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, UnexpectedModelBehavior)
    assert_grammar(events)
    assert replay.stats["requests"] == 2
    first = of_type(events, "tool_call_complete")[0]
    assert first.metadata["status"] == "error"
    assert "Field required" in (first.error or "")


async def test_an_output_as_json_text(replay: Any) -> None:
    from pydantic_ai import PromptedOutput
    from pydantic_ai.models.function import FunctionModel

    async def answer(messages: Any, info: Any) -> Any:
        for piece in ('{"index": 1,', ' "name": "a"}'):
            yield piece

    async with pydantic_agent(replay.base_url, "unused", tools=[], output_type=PromptedOutput(Item)) as agent:
        events = await events_of(agent, run_options={"model": FunctionModel(stream_function=answer)})
    assert events[-1].output["parsed"] == {"index": 1, "name": "a"}
    assert events[-1].output["content"] == '{"index": 1, "name": "a"}'
    assert replay.stats["requests"] == 0


@APIS
async def test_failures_before_the_first_word(replay: Any, api: str) -> None:
    for options, kind, status in (
        ("fail=-1,status=401", AuthenticationError, 401),
        ("fail=-1,status=429", RateLimitError, 429),
        ("fail=-1,status=404", ProviderError, 404),
        ("fail=-1,status=500", ProviderError, 500),
    ):
        async with pydantic_agent(replay.base_url, f"synthetic-3@{options}", api=api) as agent:
            events, error = await events_and_error(agent)
        assert type(error) is kind
        assert error.status == status
        assert error.message == "replay: asked to fail"
        assert "sk-test" not in str(error) + repr(error)
        assert_grammar(events)


@APIS
async def test_failures_in_the_middle_keep_the_words(replay: Any, api: str) -> None:
    for options, kind in (
        ("drop_event=7", ProviderError),
        ("error=7", ProviderError),
        ("cut_event=7", IncompleteStreamError),
    ):
        async with pydantic_agent(replay.base_url, f"synthetic-9@{options}", api=api) as agent:
            events, error = await events_and_error(agent)
        assert isinstance(error, kind), options
        assert_grammar(events)
        assert text_of(events).startswith("tok0 tok1 ")
        assert "tok8" not in text_of(events)
        assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "error"
        assert of_type(events, "response_metadata")[0].metadata["finish_reason"] == "error"
        assert of_type(events, "step_complete")[0].metadata["finish_reason"] == "error"


async def test_no_connection_is_a_provider_error() -> None:
    async with pydantic_agent("http://127.0.0.1:9/v1", "synthetic-3") as agent:
        events, error = await events_and_error(agent)
    assert type(error) is ProviderError
    assert error.retryable
    assert_grammar(events)


async def test_leaving_leaves_no_task(replay: Any) -> None:
    before = asyncio.all_tasks()
    async with pydantic_agent(replay.base_url, "synthetic-500@delay=0.02") as agent:
        async with aclosing(AgentNode("a", agent).run({"input": "hi"}, ExecutionContext())) as stream:
            async for event in stream:
                if event.type == "token":
                    break
        await until(lambda: replay.stats["client_disconnects"] == 1)
    assert asyncio.all_tasks() == before


async def test_cancelling_the_task_cancels_the_request(replay: Any) -> None:
    started = asyncio.Event()

    async def consume(agent: Any) -> None:
        async for event in AgentNode("a", agent).run({"input": "hi"}, ExecutionContext()):
            if event.type == "token":
                started.set()

    before = asyncio.all_tasks()
    async with pydantic_agent(replay.base_url, "synthetic-500@delay=0.02") as agent:
        task = asyncio.create_task(consume(agent))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: replay.stats["client_disconnects"] == 1)
    assert asyncio.all_tasks() == before


async def test_native_events_are_all_of_the_librarys(replay: Any) -> None:
    async with pydantic_agent(replay.base_url, "synthetic-1-t1+synthetic-3-r1") as agent:
        async with agent.run_stream_events("hi") as stream:
            sent = [event.event_kind async for event in stream]
        replay.server.reset()
        events = await events_of(agent, use_native_events=True)
    assert_grammar(events)
    natives = [
        e.metadata.get("native") or e.content
        for e in events
        if "native" in e.metadata or e.metadata.get("data_type") == "native"
    ]
    assert [n["event_kind"] for n in natives] == sent
    token = of_type(events, "token")[-1]
    assert token.metadata["native"]["delta"]["content_delta"] == token.content
    assert all(json.dumps(e.to_dict()) for e in events)


def said(request: Any) -> list[Any]:
    return [(m["role"], m["content"]) for m in request["body"]["messages"]]


async def test_history_and_prompts_reach_the_model_and_not_the_agent(replay: Any) -> None:
    context = ExecutionContext(
        session_id="s",
        chat_history=[{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}],
    )
    kept = context.chat_history.copy()
    async with pydantic_agent(replay.base_url, "synthetic-1", system_prompt="Be brief.") as agent:
        before = {key: repr(value) for key, value in vars(agent).items()}
        await events_of(agent, context=context, system_prompt="Mind {{$question}}.")
        await events_of(agent, context=context, input_mode="messages", system_prompt="Mind.")
        await events_of(agent, context=context, use_session=False)
        assert {key: repr(value) for key, value in vars(agent).items()} == before
    assert agent.name is None
    assert context.chat_history == kept
    first, second, third = (said(r) for r in replay.requests)
    assert first == [
        ("system", "Be brief."),
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "Mind .\n\nhi"),
    ]
    assert [m[1] for m in second] == ["Be brief.", "Mind.", "q1", "a1", "hi"]
    assert [m[1] for m in third] == ["Be brief.", "hi"]


async def test_run_options_go_to_the_library(replay: Any) -> None:
    from pydantic_ai import UsageLimitExceeded, UsageLimits

    async with pydantic_agent(replay.base_url, "synthetic-1-t1") as agent:
        options = {"usage_limits": UsageLimits(request_limit=1)}
        events, error = await events_and_error(agent, run_options=options)
        assert isinstance(error, UsageLimitExceeded)
        assert replay.stats["requests"] == 1
        assert_grammar(events)
        for wrong in ("usage_limit", "user_prompt", "infer_name"):
            with pytest.raises(UnknownNameError, match=r"option .* of Agent\.run_stream_events"):
                await events_of(agent, run_options={wrong: 1})
    assert replay.stats["requests"] == 1


async def test_an_agent_without_a_model_says_so_itself() -> None:
    from pydantic_ai import Agent, UserError

    events, error = await events_and_error(Agent())
    assert isinstance(error, UserError)
    assert_grammar(events)


async def test_events_of_the_users_own_are_custom_data(replay: Any) -> None:
    from dataclasses import dataclass

    from pydantic_ai import CustomEvent, RunContext

    @dataclass
    class Progress(CustomEvent, name="mesh_nb_test_progress"):
        percent: int = 0

    async def get_item(ctx: Any, index: int, name: str) -> str:
        await ctx.emit(Progress(percent=40))
        return name

    get_item.__annotations__["ctx"] = RunContext[None]

    async with pydantic_agent(replay.base_url, "synthetic-1-t1+synthetic-3", tools=[get_item]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    (data,) = of_type(events, "custom_data")
    assert data.metadata["data_type"] == "data-mesh_nb_test_progress"
    assert data.content["percent"] == 40


async def test_the_librarys_own_test_model_runs_without_a_network() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    events = await events_of(Agent(TestModel(custom_output_text="All fine."), tools=[get_item]))
    assert_grammar(events)
    assert events[-1].output["content"] == "All fine."
    assert [c.metadata["status"] for c in of_type(events, "tool_call_complete")] == ["ok"]
    assert {m.metadata["finish_reason"] for m in of_type(events, "response_metadata")} == {
        "tool_calls",
        "stop",
    }


RECORDED = [
    ("openai/responses-text", "responses"),
    ("openai/responses-refusal", "responses"),
    ("openai/responses-incomplete", "responses"),
    ("openai/responses-url-citation", "responses"),
    ("openai/responses-reasoning-summary", "responses"),
    ("openai/responses-code-interpreter-image", "responses"),
    ("openai/responses-file-search", "responses"),
    ("openai/responses-web-search-long", "responses"),
    ("openai/chat-text", "chat"),
    ("openai/chat-refusal", "chat"),
    ("anthropic/text", "anthropic"),
    ("anthropic/thinking", "anthropic"),
    ("anthropic/thinking-redacted", "anthropic"),
]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(("case", "api"), RECORDED)
@pytest.mark.skipif(streams() is None, reason="recorded provider streams are not beside the checkout")
async def test_recorded_streams_yield_their_facts(replay: Any, case: str, api: str) -> None:
    root = streams()
    assert root is not None
    want = json.loads((root / case / "expect.json").read_text())
    async with pydantic_agent(replay.base_url, case, api=api, tools=[]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    words = {"text": "", "refusal": ""}
    for token in of_type(events, "token"):
        words[token.metadata["event_subtype"]] += token.content
    assert digest(words["text"]) == want["text"]["sha256"]
    assert words["refusal"] == (want["refusal"] or {"value": ""})["value"]
    reasoning = "".join(e.content for e in of_type(events, "reasoning_token"))
    assert digest(reasoning) == want["reasoning"]["sha256"]
    (meta,) = (e.metadata for e in of_type(events, "response_metadata"))
    assert meta["finish_reason"] == ("refusal" if want["refusal"] else want["finish"])
    assert meta["usage"]["prompt_tokens"] == want["usage"]["input_total"]
    assert meta["usage"]["completion_tokens"] == want["usage"]["output_total"]
    files = [e.metadata for e in of_type(events, "file")]
    assert [(f["mime_type"], f["size"]) for f in files] == [(f["mime"], f["bytes"]) for f in want["files"]]
    cited = [s["url"] for e in of_type(events, "source") for s in e.metadata["sources"] if "url" in s]
    assert list(dict.fromkeys(cited)) == list(dict.fromkeys(want["sources"]["cited_urls"]))


async def test_a_picture_that_is_drawn_twice_is_one_file(replay: Any) -> None:
    if streams() is None:
        pytest.skip("recorded provider streams are not beside the checkout")
    case = "openai/responses-image-generation"
    async with pydantic_agent(replay.base_url, case, api="responses", tools=[]) as agent:
        events, error = await events_and_error(agent)
    # The recording has no words, which this library counts as no answer and asks for again.
    assert not isinstance(error, MeshError)
    assert_grammar(events)
    assert len(of_type(events, "file")) == len(of_type(events, "response_metadata")) == 2


def test_matches_agents_and_wrapped_agents() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.agent import WrapperAgent

    plugin = plugins.find("agent", "pydantic_ai")
    assert plugin.matches(Agent())
    assert plugin.matches(WrapperAgent(Agent()))
    assert not plugin.matches(Agent)
    assert not plugin.matches(get_item)
