"""The OpenAI Agents SDK, the real library against the replay server."""

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
    openai_agent,
    text_of,
    types,
)
from run_doubles import until as run_until
from support import streams, until

import mesh_nb
from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import AuthenticationError, IncompleteStreamError, ProviderError, UnknownNameError
from mesh_nb.nodes.agent import AgentNode

APIS = pytest.mark.parametrize("api", ["chat", "responses"])


@APIS
async def test_text_and_reasoning(replay: Any, api: str) -> None:
    async with openai_agent(replay.base_url, "synthetic-3-r2", api=api) as agent:
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
    assert text_of(events) == "tok0 tok1 tok2 "
    assert "".join(e.content for e in of_type(events, "reasoning_token")) == "why0 why1 "
    assert events[-1].output == {"content": "tok0 tok1 tok2 ", "tool_calls": []}
    meta = of_type(events, "response_metadata")[0].metadata
    assert (meta["model_id"], meta["provider"]) == ("synthetic-3-r2", "openai")
    assert meta["usage"]["total_tokens"] == 15
    assert meta["usage"]["reasoning_tokens"] == 2


@APIS
async def test_tool_loop(replay: Any, api: str) -> None:
    async with openai_agent(replay.base_url, "synthetic-2-t2+synthetic-3", api=api) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    assert types(events)[4:14] == [
        "tool_call_start",
        "tool_call_delta",
        "tool_call_start",
        "tool_call_delta",
        "message_complete",
        "response_metadata",
        "tool_call_complete",
        "tool_call_complete",
        "step_complete",
        "step_start",
    ]
    done = of_type(events, "tool_call_complete")
    assert [d.output for d in done] == [{"index": i, "got": f"item {i}"} for i in (0, 1)]
    assert [d.metadata["arguments"] for d in done] == [{"index": i, "name": f"item {i}"} for i in (0, 1)]
    steps = [s.metadata for s in of_type(events, "step_complete")]
    assert [(s["step_index"], s["finish_reason"]) for s in steps] == [(0, "tool_calls"), (1, "stop")]
    assert len(of_type(events, "response_metadata")) == 2
    assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_usage_is_asked_for_unless_the_agent_declines(replay: Any) -> None:
    from agents import ModelSettings

    for wanted, asked in ((None, True), (False, False)):
        settings = ModelSettings(include_usage=wanted)
        async with openai_agent(replay.base_url, "synthetic-2", model_settings=settings) as agent:
            events = await events_of(agent)
        (meta,) = (e.metadata for e in of_type(events, "response_metadata"))
        assert meta["usage_status"] == ("reported" if asked else "unknown")


async def test_handoff_is_custom_data(replay: Any) -> None:
    import agents

    async with (
        openai_agent(replay.base_url, "synthetic-3") as second,
        openai_agent(replay.base_url, "synthetic-1-t1", tools=[]) as first,
    ):
        # The synthetic stream calls get_item, whatever the handoff tool is called by default.
        first.handoffs = [agents.handoff(second, tool_name_override="get_item")]
        events = await events_of(first)
    assert_grammar(events)
    (data,) = of_type(events, "custom_data")
    assert data.metadata["data_type"] == "data-handoff"
    assert data.content == {"from": "tester", "to": "tester"}
    assert of_type(events, "tool_call_complete")[0].metadata["status"] == "ok"
    assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_after_a_handoff_the_other_agents_model_is_named(replay: Any) -> None:
    import agents

    async with (
        openai_agent(replay.base_url, "synthetic-3") as second,
        openai_agent(replay.base_url, "synthetic-1-t1", tools=[]) as first,
    ):
        first.handoffs = [agents.handoff(second, tool_name_override="get_item")]
        events = await events_of(first)
    asked = [m.metadata["requested_model"] for m in of_type(events, "model_call_start")]
    assert asked == ["synthetic-1-t1", "synthetic-3"]


def guardrail(trips: bool) -> Any:
    import agents

    async def check(context: Any, agent: Any, data: Any) -> Any:
        return agents.GuardrailFunctionOutput(output_info={"why": "rules"}, tripwire_triggered=trips)

    return check


async def test_an_input_guardrail_is_named_and_ends_the_run(replay: Any) -> None:
    import agents

    rules = [agents.InputGuardrail(guardrail(True), name="manners")]
    async with openai_agent(replay.base_url, "synthetic-500@delay=0.02", input_guardrails=rules) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, agents.InputGuardrailTripwireTriggered)
    assert_grammar(events)
    (told,) = of_type(events, "custom_data")
    assert told.metadata["data_type"] == "data-guardrail"
    assert told.content == {"kind": "InputGuardrail", "name": "manners", "output_info": {"why": "rules"}}
    await until(lambda: replay.stats["active"] == 0)


async def test_an_output_guardrail_is_named_and_the_words_are_kept(replay: Any) -> None:
    import agents

    rules = [agents.OutputGuardrail(guardrail(True), name="manners")]
    async with openai_agent(replay.base_url, "synthetic-3", output_guardrails=rules) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, agents.OutputGuardrailTripwireTriggered)
    assert_grammar(events)
    assert text_of(events) == "tok0 tok1 tok2 "
    assert of_type(events, "response_metadata")[0].metadata["usage_status"] == "reported"
    assert of_type(events, "step_complete")[0].metadata["finish_reason"] == "error"
    assert of_type(events, "custom_data")[0].content["name"] == "manners"


async def test_guardrails_that_pass_say_nothing(replay: Any) -> None:
    import agents

    async with openai_agent(
        replay.base_url,
        "synthetic-3",
        input_guardrails=[agents.InputGuardrail(guardrail(False))],
        output_guardrails=[agents.OutputGuardrail(guardrail(False))],
    ) as agent:
        events = await events_of(agent)
    assert of_type(events, "custom_data") == []
    assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_a_tool_guardrail_is_named(replay: Any) -> None:
    import agents

    @agents.tool_input_guardrail
    def never(data: Any) -> Any:
        return agents.ToolGuardrailFunctionOutput.raise_exception(output_info="no items today")

    tool = agents.function_tool(get_item, tool_input_guardrails=[never])
    async with openai_agent(replay.base_url, "synthetic-1-t1", tools=[tool]) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, agents.ToolInputGuardrailTripwireTriggered)
    assert_grammar(events)
    (told,) = of_type(events, "custom_data")
    assert (told.content["name"], told.content["output_info"]) == ("never", "no items today")
    assert of_type(events, "tool_call_complete")[0].metadata["status"] == "cancelled"


async def test_a_tool_that_waits_for_approval_is_not_executed(replay: Any) -> None:
    import agents

    tool = agents.function_tool(get_item, needs_approval=True)
    async with openai_agent(replay.base_url, "synthetic-1-t1", tools=[tool]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    (asked,) = of_type(events, "custom_data")
    assert asked.metadata["data_type"] == "data-tool-approval"
    assert events[-1].output["interrupts"] == [asked.content]
    assert (asked.content["tool_name"], asked.content["tool_call_id"]) == ("get_item", "call_0")
    assert of_type(events, "tool_call_complete")[0].metadata["status"] == "not_executed"


def in_a_graph(agent: Any) -> Any:
    graph = mesh_nb.StateGraph()
    return graph.add_node("helper", agent, node_type="agent").set_entry_point("helper")


async def test_a_tool_that_needs_approval_is_a_question_of_the_run(
    replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    import agents

    tool = agents.function_tool(get_item, needs_approval=True)
    async with openai_agent(replay.base_url, "synthetic-1-t2+synthetic-3", tools=[tool]) as agent:
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


async def test_an_edit_of_a_tools_arguments_is_refused(
    replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import agents

    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    tool = agents.function_tool(get_item, needs_approval=True)
    async with openai_agent(replay.base_url, "synthetic-1-t1+synthetic-3", tools=[tool]) as agent:
        run = in_a_graph(agent).run("go", on_no_answer="wait", display=False)
        await run_until(run, lambda: bool(run.pending))
        run.edit({"index": 5, "name": "x"})
        with pytest.raises(mesh_nb.NodeExecutionError, match="approve the call, or reject it"):
            await run
        assert_grammar([e for e in run.events if e.node_id == "helper"])


async def test_nobody_to_ask_ends_the_run_as_interrupted(replay: Any) -> None:
    import agents

    tool = agents.function_tool(get_item, needs_approval=True)
    async with openai_agent(replay.base_url, "synthetic-1-t1", tools=[tool]) as agent:
        events = [e async for e in mesh_nb.Executor(in_a_graph(agent)).execute("go")]
    assert events[-1].metadata["status"] == "interrupted"
    assert_grammar([e for e in events if e.node_id == "helper"])


async def test_a_tool_that_raises_and_one_that_does_not_exist(replay: Any) -> None:
    import agents

    async def broken(index: int, name: str) -> str:
        raise ZeroDivisionError("no items")

    tool = agents.function_tool(broken, name_override="get_item", failure_error_function=None)
    for tools, kind in (([tool], agents.UserError), ([], agents.ModelBehaviorError)):
        async with openai_agent(replay.base_url, "synthetic-2-t1", tools=tools) as agent:
            events, error = await events_and_error(agent)
        assert isinstance(error, kind)
        assert_grammar(events)
        assert text_of(events) == "tok0 tok1 "
        assert of_type(events, "tool_call_complete")[0].metadata["status"] == "cancelled"


async def test_an_answer_that_stops_early_is_incomplete(replay: Any) -> None:
    async with openai_agent(replay.base_url, "synthetic-9@cut_event=7", api="responses") as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, IncompleteStreamError)
    assert_grammar(events)
    assert text_of(events).startswith("tok0 ")


@APIS
async def test_http_failure_is_ours(replay: Any, api: str) -> None:
    async with openai_agent(replay.base_url, "synthetic-3@fail=-1,status=401", api=api) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, AuthenticationError)
    assert error.status == 401
    assert "sk-test" not in str(error)
    assert_grammar(events)


async def test_a_failure_in_the_middle_keeps_the_words(replay: Any) -> None:
    async with openai_agent(replay.base_url, "synthetic-9@error=4") as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, ProviderError)
    assert text_of(events) == "tok0 tok1 tok2 "
    assert_grammar(events)
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "error"


async def test_leaving_cancels_the_run_and_the_request(replay: Any) -> None:
    before = asyncio.all_tasks()
    async with openai_agent(replay.base_url, "synthetic-500@delay=0.02") as agent:
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
    async with openai_agent(replay.base_url, "synthetic-500@delay=0.02") as agent:
        task = asyncio.create_task(consume(agent))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: replay.stats["client_disconnects"] == 1)
    assert asyncio.all_tasks() == before


async def test_native_events_keep_the_sdks_structure(replay: Any) -> None:
    import agents

    async with openai_agent(replay.base_url, "synthetic-3") as agent:
        config = agents.RunConfig(tracing_disabled=True)
        result = agents.Runner.run_streamed(agent, "hi", run_config=config)
        sent = [e async for e in result.stream_events()]
        events = await events_of(agent, use_native_events=True)
    assert_grammar(events)
    natives = [
        e.metadata.get("native") or e.content
        for e in events
        if "native" in e.metadata or e.metadata.get("data_type") == "native"
    ]
    assert [n["type"] for n in natives] == [e.type for e in sent]
    token = of_type(events, "token")[1]
    assert token.metadata["native"]["data"]["type"] == "response.output_text.delta"
    assert token.metadata["native"]["data"]["delta"] == token.content
    assert all(json.dumps(e.to_dict()) for e in events)


async def test_nothing_is_traced(replay: Any) -> None:
    import agents
    from agents.tracing import TracingProcessor

    seen: list[Any] = []

    class Spy(TracingProcessor):
        def on_trace_start(self, trace: Any) -> None:
            seen.append(trace)

        on_trace_end = on_span_start = on_span_end = on_trace_start

        def shutdown(self) -> None: ...
        def force_flush(self) -> None: ...

    agents.set_trace_processors([Spy()])
    try:
        async with openai_agent(replay.base_url, "synthetic-1-t1+synthetic-2") as agent:
            await events_of(agent)
    finally:
        agents.set_trace_processors([])
    assert seen == []


async def test_history_and_prompt_reach_the_model_and_not_the_agent(replay: Any) -> None:
    context = ExecutionContext(
        session_id="s",
        chat_history=[{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}],
    )
    async with openai_agent(replay.base_url, "synthetic-1", instructions="Be brief.") as agent:
        before = dict(vars(agent))
        await events_of(agent, context=context, system_prompt="Mind {{$question}}.")
        await events_of(agent, context=context, input_mode="messages", system_prompt="Mind.")
        await events_of(agent, context=context, use_session=False)
        assert vars(agent) == before
    first, second, third = (r["body"]["messages"] for r in replay.requests)
    assert [m["content"] for m in first] == ["Be brief.", "q1", "a1", "Mind .\n\nhi"]
    assert [m["content"] for m in second] == ["Be brief.", "Mind.", "q1", "a1", "hi"]
    assert [m["content"] for m in third] == ["Be brief.", "hi"]


async def test_run_options_go_to_the_runner(replay: Any) -> None:
    from agents import MaxTurnsExceeded

    async with openai_agent(replay.base_url, "synthetic-1-t1") as agent:
        events, error = await events_and_error(agent, run_options={"max_turns": 1})
        assert isinstance(error, MaxTurnsExceeded)
        assert replay.stats["requests"] == 1
        assert_grammar(events)
        with pytest.raises(UnknownNameError, match="Did you mean 'max_turns'"):
            await events_of(agent, run_options={"max_turn": 1})


RECORDED = [
    "responses-text",
    "responses-refusal",
    "responses-incomplete",
    "responses-url-citation",
    "responses-reasoning-summary",
    "responses-image-generation",
    "responses-code-interpreter-image",
    "responses-file-search",
    "responses-web-search-long",
    "responses-mcp",
]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("case", RECORDED)
@pytest.mark.skipif(streams() is None, reason="recorded provider streams are not beside the checkout")
async def test_recorded_responses_yield_their_facts(replay: Any, case: str) -> None:
    root = streams()
    assert root is not None
    want = json.loads((root / "openai" / case / "expect.json").read_text())
    async with openai_agent(replay.base_url, f"openai/{case}", api="responses", tools=[]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    said = {"text": "", "refusal": ""}
    for token in of_type(events, "token"):
        said[token.metadata["event_subtype"]] += token.content
    assert digest(said["text"]) == want["text"]["sha256"]
    assert said["refusal"] == (want["refusal"] or {"value": ""})["value"]
    reasoning = "".join(e.content for e in of_type(events, "reasoning_token"))
    assert digest(reasoning) == want["reasoning"]["sha256"]
    (meta,) = (e.metadata for e in of_type(events, "response_metadata"))
    assert meta["model_id"] == want["model_id"]
    assert meta["finish_reason"] == want["finish"]
    assert meta["usage"]["prompt_tokens"] == want["usage"]["input_total"]
    assert meta["usage"]["completion_tokens"] == want["usage"]["output_total"]
    calls = of_type(events, "tool_call_complete")
    assert [c.metadata["tool_call_id"] for c in calls] == [c["id"] for c in want["tool_calls"]]
    assert {c.metadata["executed_by"] for c in calls} <= {"provider"}
    cited = [s["url"] for e in of_type(events, "source") for s in e.metadata["sources"] if "url" in s]
    assert list(dict.fromkeys(cited)) == list(dict.fromkeys(want["sources"]["cited_urls"]))
    files = [e.metadata for e in of_type(events, "file")]
    assert [(f["mime_type"], f["size"]) for f in files] == [(f["mime"], f["bytes"]) for f in want["files"]]


async def test_chat_refusal_ends_with_that_reason(replay: Any) -> None:
    if streams() is None:
        pytest.skip("recorded provider streams are not beside the checkout")
    async with openai_agent(replay.base_url, "openai/chat-refusal") as agent:
        events = await events_of(agent)
    assert {t.metadata["event_subtype"] for t in of_type(events, "token")} == {"refusal"}
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "refusal"


def test_matches_only_the_sdks_agent() -> None:
    import agents

    plugin = plugins.find("agent", "openai_agents")
    assert plugin.matches(agents.Agent(name="a"))
    assert not plugin.matches(agents.Agent)
    assert not plugin.matches(get_item)
