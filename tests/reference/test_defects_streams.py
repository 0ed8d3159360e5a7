"""Defects of the predecessor that are not in here: what a model and an agent say, and how it is streamed."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
from collections.abc import Callable
from typing import Any

import fastapi
import httpx2
import pytest
from agent_doubles import Scripted, of_type, openai_agent, text_of, types, vel_agent
from answer_server import AnswerServer, sse
from http_app import serving
from snippets import GUIDE, run

import mesh_nb as mesh

Make = Callable[..., Any]


async def collect(
    graph: Any, input: Any = "go", context: Any = None, **options: Any
) -> list[mesh.ExecutionEvent]:
    executor = graph if isinstance(graph, mesh.Executor) else mesh.Executor(graph)
    return [event async for event in executor.execute(input, context, **options)]


async def failing(graph: Any) -> tuple[list[mesh.ExecutionEvent], mesh.NodeExecutionError]:
    executor = graph if isinstance(graph, mesh.Executor) else mesh.Executor(graph)
    events: list[mesh.ExecutionEvent] = []
    try:
        async for event in executor.execute("go"):
            events.append(event)
    except mesh.NodeExecutionError as error:
        return events, error
    raise AssertionError("it did not fail")


def asking(server: AnswerServer, api: str = "chat", **options: Any) -> mesh.StateGraph:
    graph = mesh.StateGraph().add_node("llm", node_type="llm", **server.options(api, **options))
    return graph.set_entry_point("llm")


async def test_defect_01_the_seed_snippets_print_something(chat: Make, context: Any, capsys: Any) -> None:
    await run(GUIDE["basic streaming"], executor=chat(), context=context)
    assert capsys.readouterr().out == "tok0 tok1 tok2 "


@pytest.mark.parametrize("details", [{}, {"prompt_tokens_details": None, "completion_tokens_details": None}])
async def test_defect_02_usage_without_details_is_usage(details: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, **details}
    common = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
    choice = {"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}
    said = (
        sse({**common, "choices": [choice]}, {**common, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    )
    with AnswerServer(said) as server:
        events = await collect(asking(server))
    assert events[-1].output["content"] == "ok"
    assert events[-1].metadata["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("native", [False, True])
async def test_defect_06_tool_calls_of_the_agents_sdk_are_no_answer_text(
    replay: Any, with_agent: Make, native: bool
) -> None:
    async with openai_agent(replay.base_url, "synthetic-2-t1+synthetic-3") as agent:
        events = await collect(with_agent(agent, use_native_events=native))
    assert text_of(events) == "tok0 tok1 tok0 tok1 tok2 "
    assert events[-1].output["content"] == "tok0 tok1 tok2 "
    wanted = {"node_start", "message_start", "tool_call_start", "tool_call_complete", "response_metadata"}
    assert wanted <= set(types(events))


async def test_defect_08_metadata_is_complete_and_the_seed_idiom_finds_it(chat: Make) -> None:
    def get_item(index: int, name: str) -> str:
        return name

    events = await collect(chat("synthetic-4-t1+synthetic-6", tools=[get_item]))
    tokens = [
        event.metadata.get("usage", {}).get("total_tokens", 0)
        for event in events
        if event.type in ("response_metadata", "step_complete")
    ]
    assert tokens == [14, 14, 16, 16]
    assert all(e.metadata["model_id"] for e in of_type(events, "response_metadata"))
    message = of_type(events, "message_complete")[-1].metadata
    assert message["finish_reason"] == "stop"
    assert message["message_id"]
    assert events[-1].metadata["duration_ms"] > 0


async def test_defect_09_tokens_just_before_a_failure_arrive(with_agent: Make) -> None:
    events, _ = await failing(with_agent(Scripted([*"abcde", RuntimeError("broken")])))
    assert [e.content for e in of_type(events, "token")] == list("abcde")


async def test_defect_13_a_prompt_is_never_written_into_the_agent(replay: Any, with_agent: Make) -> None:
    agent = vel_agent(replay.base_url, "synthetic-2", instruction="Be brief.")
    executor = with_agent(agent, system_prompt="The question: {{$question}}")
    for question in ("first question", "second question"):
        await collect(executor, question)
        assert agent.instruction == "Be brief."
    said = json.dumps(replay.requests[-1]["body"])
    assert "second question" in said
    assert "first question" not in said


async def test_defect_14_sse_survives_failures_and_odd_values_and_keeps_the_state_to_itself() -> None:
    def odd(state: dict[str, Any]) -> dict[str, Any]:
        state["private"] = "the whole state"
        return {"when": datetime.datetime(2026, 1, 1), "some": {1, 2}}

    def broken() -> None:
        raise ValueError("the lamp went out")

    graph = mesh.StateGraph().add_node("odd", odd).add_node("broken", broken)
    graph.add_node("ask", node_type="approval").chain("START", "odd", "ask", "broken")
    app = fastapi.FastAPI()

    @app.post("/")
    async def stream(policy: str) -> Any:
        events = mesh.Executor(graph).execute("go", on_no_answer=policy)  # type: ignore[arg-type]
        return mesh.streaming.SSEAdapter().to_streaming_response(events)

    async with serving(app) as url, httpx2.AsyncClient() as client:
        texts = [(await client.post(f"{url}/?policy={policy}")).text for policy in ("stop", "allow")]
    names = [re.findall(r"^event: (.*)$", text, re.MULTILINE) for text in texts]
    assert names[0][-2:] == ["interrupt", "execution_complete"]
    assert names[1][-2:] == ["node_error", "execution_error"]
    asked = re.findall(r"event: interrupt\ndata: (.*)\n", texts[0])
    assert len(asked) == 1
    assert "the whole state" not in asked[0]


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic", "gemini"])
async def test_defect_18_history_is_sent_and_the_address_is_ones_own(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "I see"}]
    with AnswerServer("ok") as server:
        await collect(asking(server, api), "and now?", mesh.ExecutionContext(chat_history=history))
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        graph = mesh.StateGraph().add_node("llm", node_type="llm", model="gpt-5").set_entry_point("llm")
        await collect(graph)
        first, second = server.bodies
    said = json.dumps(first)
    assert said.index("before") < said.index("I see") < said.index("and now?")
    assert "go" in json.dumps(second)


async def test_defect_20_events_come_once_and_in_order(with_agent: Make) -> None:
    def double(input: Any) -> dict[str, Any]:
        return {"items": [1, 2]}

    def body(item: int) -> int:
        return item

    graph = mesh.StateGraph().add_node("tool", double).add_node("each", body, node_type="foreach")
    graph.add_node("cond", [mesh.Condition("yes", bool, "rag")], node_type="condition")
    graph.add_node("rag", ["a text", "another"], node_type="rag").chain("START", "tool", "each", "cond")
    events = await collect(graph)
    assert [str(e.type) for e in events if e.node_id == "tool"] == [
        "node_start", "tool_call_start", "tool_call_complete", "node_complete",
    ]  # fmt: skip
    for node_id in ("tool", "each", "cond", "rag"):
        kinds = [e.type for e in events if e.node_id == node_id]
        assert (kinds.count("node_start"), kinds.count("node_complete")) == (1, 1)
    assert {e.type for e in events if e.node_id == "START"} == {"execution_start", "execution_complete"}

    def broken() -> None:
        raise ValueError("no")

    for _ in range(5):
        failed, _ = await failing(mesh.StateGraph().add_node("bad", broken).set_entry_point("bad"))
        assert len(of_type(failed, "node_error")) == 1
    call = {"toolCallId": "c", "toolName": "t"}
    said = [
        *("one", {"type": "tool-input-available", **call, "input": {}}),
        *({"type": "tool-output-available", **call, "output": 1}, "two"),
    ]
    kinds = types(await collect(with_agent(Scripted(said))))
    assert kinds.index("node_start") == 1
    assert kinds.count("message_start") == kinds.count("message_complete")
    last = len(kinds) - 1 - kinds[::-1].index("token")
    assert "message_start" in kinds[kinds.index("tool_call_complete") : last]


async def test_defect_21_what_a_stream_ends_with_is_there() -> None:
    with AnswerServer("the answer") as server:
        graph = asking(server)
        options: dict[str, Any] = {"backend": mesh.MemoryBackend(), "display": False}
        run = await graph.run("go", **options)
        messages = [m async for m in graph.stream("go", mesh.StreamMode.MESSAGES, **options)]
        values = [v async for v in graph.stream("go", mesh.StreamMode.VALUES, **options)]
    assert run.output == {"content": "the answer", "tool_calls": []}
    assert "".join(m.content for m in messages if not m.complete) == "the answer"
    assert messages[-1].complete
    assert values[-1].state == {}
    assert values[-1].outputs == {"llm": {"content": "the answer", "tool_calls": []}}


async def test_defect_28_only_what_was_set_is_sent_and_a_missing_key_is_told_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with AnswerServer("ok") as server:
        await collect(asking(server))
        await collect(asking(server, temperature=0.2, max_tokens=9))
        plain, set_ = server.bodies
    assert not {"temperature", "max_tokens", "max_completion_tokens"} & plain.keys()
    assert set_["temperature"] == 0.2
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    graph = mesh.StateGraph().add_node("llm", node_type="llm", model="claude-opus-4-6", provider="anthropic")
    graph.set_entry_point("llm").compile()
    with pytest.raises(mesh.MeshError, match="ANTHROPIC_API_KEY"):
        graph.run("go", backend=mesh.MemoryBackend(), display=False)


async def test_defect_29_each_event_mode_shows_what_it_says() -> None:
    async def shown(mode: str) -> list[mesh.ExecutionEvent]:
        with AnswerServer("ok") as server:
            return [e for e in await collect(asking(server, event_mode=mode)) if e.node_id == "llm"]

    assert await shown("silent") == []
    assert types(await shown("status_only")) == ["node_start", "node_complete"]
    transient = await shown("transient_events")
    names = [e.metadata["data_type"] for e in transient]
    assert (names[0], names[-1]) == ("data-llm-node-start", "data-llm-node-complete")
    assert {(str(e.type), e.metadata["transient"]) for e in transient} == {("custom_data", True)}


async def test_defect_34_rlm_is_reached_and_its_answer_is_the_output(
    replay: Any, with_agent: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Budgets, depth and prompts of RLM are Vel's; what a run has of it is ours.
    monkeypatch.setenv("OPENAI_API_BASE", replay.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0000")
    rlm = {"enabled": True, "control_model": {"provider": "openai", "model": "synthetic-4"}}
    agent = vel_agent(replay.base_url, "synthetic-4", rlm=rlm)
    events = await collect(with_agent(agent, run_options={"context_refs": "A long text. " * 50}))
    custom = of_type(events, "custom_data")
    assert len(custom) >= 2
    assert custom[-1].content["total_steps"] >= 1
    assert events[-1].output["content"] == text_of(events) != ""


async def test_defect_35_an_error_is_an_error_and_says_what_the_provider_said(
    replay: Any, with_agent: Make
) -> None:
    # Vel itself checks an answer after it was streamed, and drops the provider's words: an llm node does not.
    answer = {"error": {"message": "max_tokens is too large", "type": "invalid_request_error"}}
    with AnswerServer() as server:
        server.files["/v1/chat/completions"] = (400, "application/json", json.dumps(answer).encode())
        events, error = await failing(asking(server))
    assert "max_tokens is too large" in str(error)
    assert "HTTP 400" in str(error)
    assert text_of(events) == ""
    agent = vel_agent(replay.base_url, "synthetic-3@fail=-1,status=400")
    events, error = await failing(with_agent(agent))
    assert "400" in str(error)
    assert text_of(events) == ""
    thinking = Scripted([{"type": "error", "errorText": "the critique failed"}, {"type": "finish"}])
    events, error = await failing(with_agent(thinking))
    assert "the critique failed" in str(error)
    assert text_of(events) == ""


async def test_defect_12_two_runs_in_one_context_have_their_own_tokens(chat: Make, context: Any) -> None:
    executor = chat("synthetic-3")
    runs = await asyncio.gather(*(collect(executor, "go", context) for _ in range(2)))
    assert [len(of_type(events, "token")) for events in runs] == [3, 3]
