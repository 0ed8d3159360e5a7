"""What users of the two documents may rely on: behaviours 1 to 35, one numbered test for each."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
import time
from collections.abc import Callable
from contextlib import aclosing
from enum import StrEnum
from typing import Any

import fastapi
import httpx2
import pytest
from agent_doubles import PNG, Scripted, of_type, openai_agent, text_of, types, usage, vel_agent
from http_app import serving
from snippets import EVENTS, GUIDE, run
from support import until

import mesh_nb
from mesh_nb.core.events import ExecutionEvent

Make = Callable[..., Any]
TYPES = re.findall(
    r"\w+",
    """execution_start execution_complete node_start node_complete node_error token message_start
    message_complete tool_call_start tool_call_complete reasoning_start reasoning_token reasoning_end
    response_metadata source file step_start step_complete custom_data""",
)


async def collect(executor: Any, context: Any = None, input: Any = "go") -> list[ExecutionEvent]:
    return [event async for event in executor.execute(input, context)]


async def collect_failing(executor: Any) -> tuple[list[ExecutionEvent], mesh_nb.NodeExecutionError]:
    events: list[ExecutionEvent] = []
    try:
        async for event in executor.execute("go"):
            events.append(event)
    except mesh_nb.NodeExecutionError as error:
        return events, error
    raise AssertionError("it did not fail")


# 1, 18 and 33 are in test_snippets.py.
async def test_02_tokens_arrive_before_the_answer_is_complete(chat: Make, replay: Any) -> None:
    seen: list[str] = []
    async with aclosing(chat("synthetic-9", options="stall=600,stall_at=4").execute("go")) as stream:
        async for event in stream:
            if event.type == "token":
                seen.append(event.content)
                if len(seen) == 3:
                    break
    assert seen == ["tok0 ", "tok1 ", "tok2 "]
    await until(lambda: replay.stats["client_disconnects"] == 1)


def test_03_types_are_members_and_strings() -> None:
    assert issubclass(mesh_nb.EventType, StrEnum)
    assert mesh_nb.EventType.TOKEN == "token"
    assert mesh_nb.ExecutionEvent(mesh_nb.EventType.TOKEN).type is mesh_nb.EventType("token")


def test_04_all_nineteen_types_exist() -> None:
    assert len(set(TYPES)) == 19
    assert set(TYPES) <= {str(t) for t in mesh_nb.EventType}


async def test_05_tokens_concatenate_to_the_answer(chat: Make, everything: Any) -> None:
    for executor in (chat("synthetic-20"), everything):
        tokens = of_type(await collect(executor), "token")
        assert tokens
        assert all(isinstance(t.content, str) and t.content for t in tokens)
    events = await collect(chat("synthetic-20"))
    assert text_of(events) == events[-1].output["content"] == "".join(f"tok{i} " for i in range(20))


async def test_06_arguments_and_reasoning_are_no_tokens(chat: Make, everything: Any) -> None:
    def get_item(index: int, name: str) -> str:
        return name

    for executor in (everything, chat("synthetic-2-r3-t1+synthetic-2", tools=[get_item])):
        text = text_of(await collect(executor))
        assert "why" not in text
        assert "think" not in text
        assert "{" not in text


async def test_07_one_complete_message_and_it_is_last(everything: Any, context: Any) -> None:
    sent: list[Any] = []

    class Websocket:
        async def send(self, message: Any) -> None:
            sent.append(message)

    names = {"executor": everything, "context": context, "input": "go", "websocket": Websocket()}
    await run(GUIDE["pattern 3: ui updates"], **names)
    assert sent[-1] == {"status": "complete"}
    assert sent.count({"status": "complete"}) == 1


async def sse_app(executor: Any, context: Any) -> Any:
    app = fastapi.FastAPI()
    await run(EVENTS["sse streaming"], app=app, executor=executor, context=context)
    return app


def frames_in(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(n, json.loads(d)) for n, d in re.findall(r"event: (.*)\ndata: (.*)\n\n", text)]


async def all_frames(everything: Any, context: Any) -> list[tuple[str, dict[str, Any]]]:
    app = await sse_app(everything, context)
    async with serving(app) as url, httpx2.AsyncClient() as client:
        response = await client.post(f"{url}/execute/stream", json={"input": "go"})
    assert re.fullmatch(r"(event: .*\ndata: .*\n\n)+", response.text)
    return frames_in(response.text)


async def test_08_each_frame_is_named_by_the_type_in_it(everything: Any, context: Any) -> None:
    frames = await all_frames(everything, context)
    assert all(name == data["type"] for name, data in frames)
    assert len(frames) > 20


async def test_09_the_first_frame_is_execution_start_of_start(everything: Any, context: Any) -> None:
    name, data = (await all_frames(everything, context))[0]
    assert (name, data["node_id"]) == ("execution_start", "START")


async def test_10_token_frames_have_their_content_at_the_top(everything: Any, context: Any) -> None:
    tokens = [data for name, data in await all_frames(everything, context) if name == "token"]
    assert "".join(data["content"] for data in tokens) == "I will search.Two hits."


async def test_11_the_last_frame_is_execution_complete_with_the_output(everything: Any, context: Any) -> None:
    name, data = (await all_frames(everything, context))[-1]
    assert (name, data["output"]["content"]) == ("execution_complete", "Two hits.")


async def test_12_frames_are_flushed_as_they_are_produced(chat: Make, context: Any, replay: Any) -> None:
    app = await sse_app(chat("synthetic-9", options="stall=600,stall_at=4"), context)
    seen = ""
    async with serving(app) as url, httpx2.AsyncClient(timeout=None) as client:
        async with client.stream("POST", f"{url}/execute/stream", json={"input": "go"}) as response:
            async for chunk in response.aiter_text():
                seen += chunk
                if "tok2 " in seen:
                    break
        await until(lambda: replay.stats["client_disconnects"] == 1)
    assert [n for n, _ in frames_in(seen)].count("token") == 3


async def test_13_two_requests_with_one_context(chat: Make, context: Any) -> None:
    app = await sse_app(chat("synthetic-3"), context)
    async with serving(app) as url, httpx2.AsyncClient() as client:
        asked = [client.post(f"{url}/execute/stream", json={"input": q}) for q in ("one", "two")]
        answers = await asyncio.gather(*asked)
    for answer in answers:
        frames = frames_in(answer.text)
        assert "".join(d["content"] for n, d in frames if n == "token") == "tok0 tok1 tok2 "
        assert len({d["run_id"] for _, d in frames}) == 1
        assert [d["seq"] for _, d in frames] == list(range(len(frames)))


async def test_14_every_event_has_the_seven_fields_and_a_float_as_time(everything: Any) -> None:
    before = time.time()
    events = await collect(everything)
    stamps = [e.timestamp for e in events]
    fields = ["type", "node_id", "content", "output", "metadata", "timestamp", "error"]
    assert all(isinstance(e, mesh_nb.ExecutionEvent) for e in events)
    assert [f.name for f in dataclasses.fields(mesh_nb.ExecutionEvent)][:7] == fields
    assert all(isinstance(t, float) for t in stamps)
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= stamps[-1] <= time.time()


async def test_15_metadata_is_always_a_dict(everything: Any, chat: Make) -> None:
    for executor in (everything, chat()):
        assert all(type(e.metadata) is dict for e in await collect(executor))
    assert mesh_nb.ExecutionEvent(mesh_nb.EventType.TOKEN).metadata == {}


async def test_16_the_output_of_execution_complete_is_a_dict_with_the_text(chat: Make) -> None:
    assert (await collect(chat("synthetic-3")))[-1].output["content"] == "tok0 tok1 tok2 "


async def test_17_execution_complete_says_how_long_it_took(chat: Make) -> None:
    began = time.monotonic()
    events = await collect(chat("synthetic-3", options="first=0.05"))
    elapsed = (time.monotonic() - began) * 1000
    assert 50 <= events[-1].metadata["duration_ms"] <= elapsed


@pytest.mark.parametrize("kind", ["agent", "tool", "provider"])
async def test_19_node_error_names_node_and_message_once(kind: str, chat: Make, with_agent: Make) -> None:
    def broken(input: Any) -> None:
        raise ValueError("the lamp went out")

    if kind == "tool":
        graph = mesh_nb.StateGraph().add_node("lamp", broken, node_type="tool").set_entry_point("lamp")
        executor, name, said = mesh_nb.Executor(graph.compile()), "lamp", "the lamp went out"
    elif kind == "agent":
        executor, name, said = with_agent(Scripted([ValueError("no oil")])), "agent", "no oil"
    else:
        executor, name, said = chat(options="fail=-1,status=401"), "llm", "401"
    events, error = await collect_failing(executor)
    (event,) = of_type(events, "node_error")
    assert (event.node_id, error.node_id) == (name, name)
    assert said in (event.error or "")
    assert len(of_type(events, "execution_error")) == 1
    assert of_type(events, "execution_complete") == []


async def test_20_reasoning_precedes_the_answer(chat: Make, replay: Any, with_agent: Make) -> None:
    wanted = ["reasoning_start", "reasoning_token", "reasoning_end", "message_start", "token"]
    vel = with_agent(vel_agent(replay.base_url, "synthetic-3-r2"))
    for executor in (chat("synthetic-3-r2"), vel):
        order = [t for t in types(await collect(executor)) if t in wanted]
        assert order == wanted


async def usages(chat: Make, replay: Any, with_agent: Make) -> list[list[dict[str, Any]]]:
    """The response_metadata of two calls, from an llm node and from an agent."""

    def get_item(index: int, name: str) -> str:
        return name

    model, found = "synthetic-4-t1+synthetic-6", list[list[dict[str, Any]]]()
    for executor in (chat(model, tools=[get_item]), with_agent(vel_agent(replay.base_url, model))):
        replay.server.reset()
        found.append([e.metadata for e in of_type(await collect(executor), "response_metadata")])
    return found


async def test_21_usage_has_the_three_counters_and_the_model(
    chat: Make, replay: Any, with_agent: Make
) -> None:
    for metas in await usages(chat, replay, with_agent):
        for meta in metas:
            assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= meta["usage"].keys()
            assert meta["model_id"]


async def test_22_there_is_one_usage_for_each_model_call(chat: Make, replay: Any, with_agent: Make) -> None:
    counters = ("prompt_tokens", "completion_tokens", "total_tokens")
    for metas in await usages(chat, replay, with_agent):
        assert [[m["usage"][c] for c in counters] for m in metas] == [[10, 4, 14], [10, 6, 16]]


async def test_23_steps(everything: Any) -> None:
    events = await collect(everything)
    assert [e.metadata["step_index"] for e in of_type(events, "step_start")] == [0, 1]
    done = [e.metadata for e in of_type(events, "step_complete")]
    assert [(m["step_index"], m["usage"]["total_tokens"], m["finish_reason"]) for m in done] == [
        (0, 15, "tool_calls"),
        (1, 27, "stop"),
    ]


async def test_24_sources_keep_absent_titles_absent(everything: Any) -> None:
    (event,) = of_type(await collect(everything), "source")
    assert event.metadata["sources"] == [
        {"url": "https://a.example", "title": "A"},
        {"url": "https://b.example"},
    ]


async def test_25_files_decode_to_their_bytes(everything: Any) -> None:
    (event,) = of_type(await collect(everything), "file")
    meta = event.metadata
    assert (meta["name"], meta["mime_type"]) == ("chart.png", "image/png")
    assert base64.b64decode(meta["content"], validate=True) == PNG


async def test_26_custom_data_has_its_type_its_payload_and_transient(everything: Any) -> None:
    event = of_type(await collect(everything), "custom_data")[0]
    assert (event.metadata["data_type"], event.metadata["transient"]) == ("data-progress", True)
    assert event.content == {"percent": 40}


async def test_27_rlm_complete_has_total_steps(everything: Any) -> None:
    event = of_type(await collect(everything), "custom_data")[-1]
    assert event.metadata["data_type"] == "data-rlm-complete"
    assert event.content["total_steps"] == 3


async def test_28_tool_calls(everything: Any) -> None:
    events = await collect(everything)
    (start,) = of_type(events, "tool_call_start")
    assert (start.metadata["tool_name"], start.metadata["tool_call_id"]) == ("search", "c-1")
    (done,) = of_type(events, "tool_call_complete")
    assert done.output == {"hits": 2}


async def test_29_tokens_name_their_block(chat: Make, everything: Any) -> None:
    for executor in (chat("synthetic-5"), everything):
        tokens = of_type(await collect(executor), "token")
        assert all(t.metadata["event_subtype"] == "text" for t in tokens)
        assert all(t.metadata["text_block_id"] for t in tokens)
    events = await collect(chat("synthetic-5"))
    assert len({t.metadata["text_block_id"] for t in of_type(events, "token")}) == 1


async def test_30_message_complete_says_why(chat: Make, with_agent: Make) -> None:
    (event,) = of_type(await collect(chat()), "message_complete")
    assert event.metadata["finish_reason"] == "stop"
    assert event.metadata["message_id"]
    cut = with_agent(Scripted(["Once", {"type": "finish-message", "finishReason": "length"}]))
    (event,) = of_type(await collect(cut), "message_complete")
    assert event.metadata["finish_reason"] == "length"
    assert event.metadata["message_id"]


async def test_31_sdk_agents_are_translated_by_default(replay: Any, with_agent: Make) -> None:
    async with openai_agent(replay.base_url, "synthetic-2-t1+synthetic-3") as agent:
        events = await collect(with_agent(agent))
    assert text_of(events) == "tok0 tok1 tok0 tok1 tok2 "
    assert of_type(events, "custom_data") == []


async def test_32_native_events_show_the_providers_structure(replay: Any, with_agent: Make) -> None:
    async with openai_agent(replay.base_url, "synthetic-3") as agent:
        events = await collect(with_agent(agent, use_native_events=True))
    (token, *_) = of_type(events, "token")
    assert token.metadata["native"]["data"]["type"] == "response.output_text.delta"
    assert "response.output_text.delta" in str(token)
    assert text_of(events) == "tok0 tok1 tok2 "


async def test_34_execution_start_names_the_graph(chat: Make, context: Any) -> None:
    assert (await collect(chat(), context))[0].metadata["graph_id"] == "my-graph"


async def test_35_llm_and_agent_nodes_emit_the_same_types(chat: Make, replay: Any, with_agent: Make) -> None:
    steps = {"step_start", "step_complete"}
    llm = types(await collect(chat("synthetic-3-r2")))
    for agent in (vel_agent(replay.base_url, "synthetic-3-r2"), Scripted(scripted_answer())):
        assert [t for t in types(await collect(with_agent(agent))) if t not in steps] == llm


def scripted_answer() -> list[dict[str, Any]]:
    return [
        {"type": "reasoning-delta", "id": "0", "delta": "why"},
        {"type": "text-delta", "id": "1", "delta": "tok"},
        {"type": "response-metadata", "modelId": "m", "usage": usage(1, 1)},
    ]
