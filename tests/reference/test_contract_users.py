"""What users of the predecessor may rely on: behaviours 36 to 47, one numbered test for each."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import fastapi
import httpx2
import pytest
from agent_doubles import EVERYTHING, PNG, Scripted, of_type, openai_agent, text_of, vel_agent
from http_app import serving
from support import until

import mesh_nb as mesh

Make = Callable[..., Any]


async def collect(executor: Any, context: Any = None, input: Any = "go") -> list[mesh.ExecutionEvent]:
    return [event async for event in executor.execute(input, context)]


@pytest.mark.parametrize(
    "spelling",
    [
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "completion_tokens_details": None},
        {"input_tokens": 10, "output_tokens": 5},
        {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15, "reasoningTokens": 0},
        {"promptTokens": 10, "completionTokens": 5, "totalTokens": 15},
    ],
)
async def test_36_usage_has_one_spelling(spelling: dict[str, Any], with_agent: Make) -> None:
    agent = Scripted(["hi", {"type": "response-metadata", "usage": spelling}])
    (event,) = of_type(await collect(with_agent(agent)), "response_metadata")
    assert {
        k: event.metadata["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")
    } == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
    }


async def test_37_bare_steps_get_index_and_usage(replay: Any, with_agent: Make) -> None:
    agent = vel_agent(replay.base_url, "synthetic-4-t1+synthetic-6")
    done = [e.metadata for e in of_type(await collect(with_agent(agent)), "step_complete")]
    assert [(m["step_index"], m["usage"]["total_tokens"]) for m in done] == [(0, 14), (1, 16)]


async def test_38_files_of_every_form(with_agent: Make) -> None:
    packed = base64.b64encode(PNG).decode()
    forms = [{"content": PNG}, {"content": packed}, {"url": f"data:image/png;base64,{packed}"}]
    agent = Scripted([{"type": "file", "name": "", "mimeType": "", **form} for form in forms])
    for event in of_type(await collect(with_agent(agent)), "file"):
        assert event.metadata["name"].endswith(".png")
        assert event.metadata["mime_type"] == "image/png"
        assert base64.b64decode(event.metadata["content"]) == PNG


async def test_40_leaving_closes_generator_and_connection(replay: Any, chat: Make, with_agent: Make) -> None:
    async def leave(executor: Any) -> None:
        async with aclosing(executor.execute("go")) as stream:
            async for event in stream:
                if event.type == "token":
                    return

    scripted = Scripted(EVERYTHING)
    await leave(with_agent(scripted))
    assert scripted.closed == 1
    slow = "synthetic-500"
    await leave(with_agent(vel_agent(replay.base_url, f"{slow}@delay=0.02")))
    await until(lambda: replay.stats["client_disconnects"] == 1)
    await leave(chat(slow, options="delay=0.02"))
    await until(lambda: replay.stats["client_disconnects"] == 2)
    async with openai_agent(replay.base_url, f"{slow}@delay=0.02") as agent:
        await leave(with_agent(agent))
        await until(lambda: replay.stats["client_disconnects"] == 3)


async def test_39_no_token_is_lost_before_a_failure_and_none_of_3000_is_reordered(
    chat: Make, with_agent: Make
) -> None:
    words = [f"tok{n} " for n in range(3000)]
    for executor in (
        chat("synthetic-4000", options="drop_event=3001"),
        with_agent(Scripted([*words, RuntimeError("the agent broke")])),
    ):
        events: list[mesh.ExecutionEvent] = []
        with pytest.raises(mesh.NodeExecutionError):
            await keep(executor.execute("go"), events)
        assert [e.content for e in of_type(events, "token")] == words


async def keep(events: Any, kept: list[mesh.ExecutionEvent]) -> None:
    async for event in events:
        kept.append(event)


async def test_41_concurrent_runs_on_one_executor_and_one_context_do_not_mix(
    chat: Make, context: Any
) -> None:
    executor = chat("synthetic-3", system_prompt="Asked: {{$question}}")
    runs = await asyncio.gather(*(collect(executor, context, f"q{n}") for n in range(8)))
    assert [text_of(events) for events in runs] == ["tok0 tok1 tok2 "] * 8
    assert [len({e.run_id for e in events}) for events in runs] == [1] * 8
    assert len({events[0].run_id for events in runs}) == 8
    assert [events[0].metadata["input"] for events in runs] == [f"q{n}" for n in range(8)]


async def sse(executor: Any) -> tuple[httpx2.Response, list[tuple[str, dict[str, Any]]]]:
    """What a client gets over HTTP from an executor behind an SSEAdapter."""
    app = fastapi.FastAPI()

    @app.post("/")
    async def stream() -> Any:
        return mesh.streaming.SSEAdapter().to_streaming_response(executor.execute("go"))

    async with serving(app) as url, httpx2.AsyncClient() as client:
        response = await client.post(url)
    frames = re.findall(r"event: (.*)\ndata: (.*)\n\n", response.text)
    return response, [(name, json.loads(data)) for name, data in frames]


async def test_42_a_failure_ends_the_sse_body_cleanly_with_one_node_error(with_agent: Make) -> None:
    response, frames = await sse(with_agent(Scripted(["partial", RuntimeError("the agent broke")])))
    names = [name for name, _ in frames]
    assert response.status_code == 200
    assert names.count("node_error") == 1
    assert names[-1] == "execution_error"
    assert "the agent broke" in frames[names.index("node_error")][1]["error"]


async def test_43_outputs_that_are_no_json_do_not_kill_sse() -> None:
    class Odd:
        pass

    def odd() -> dict[str, Any]:
        return {"when": datetime.datetime(2026, 1, 1), "some": {1, 2}, "odd": Odd(), "raw": b"\xff"}

    graph = mesh.StateGraph().add_node("odd", odd).set_entry_point("odd")
    _, frames = await sse(mesh.Executor(graph))
    assert [name for name, _ in frames][-2:] == ["node_complete", "execution_complete"]
    assert frames[-1][1]["output"]["when"].startswith("2026-01-01")


def test_44_a_type_in_an_f_string_is_its_value() -> None:
    for member in mesh.EventType:
        assert f"{member}" == f"{mesh.ExecutionEvent(member).type}" == member.value


async def test_45_to_dict_is_json_for_every_event(everything: Any, chat: Make) -> None:
    for executor in (everything, chat("synthetic-3-r2")):
        for event in await collect(executor):
            assert json.loads(json.dumps(event.to_dict()))["type"] == event.type


async def test_46_independent_branches_overlap() -> None:
    meeting = asyncio.Barrier(3)  # Nobody leaves before all three are there.

    async def branch() -> str:
        async with asyncio.timeout(30):
            await meeting.wait()
        return "met"

    graph = mesh.StateGraph().add_node("root", lambda: {"content": "root"}).set_entry_point("root")
    for node_id in "abc":
        graph.add_node(node_id, branch)
    events = await collect(mesh.Executor(graph.add_parallel_edges("root", list("abc"))))
    assert events[-1].output["content"] == "met\n\nmet\n\nmet"


async def test_47_the_engine_never_waits_between_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost for each node is measured by the benchmarks; here no timer is ever set, so nothing polls."""
    timers: list[Any] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_at", lambda *given, **named: timers.append(given))
    monkeypatch.setattr(loop, "call_later", lambda *given, **named: timers.append(given))

    class Plain(mesh.BaseNode):
        async def execute(self, input: Any, context: mesh.ExecutionContext) -> Any:
            return input

    graph = mesh.StateGraph()
    for n in range(200):
        graph.add_node(f"n{n}", Plain)
    graph.chain("START", *(f"n{n}" for n in range(196)), ["n196", "n197", "n198"], "n199")
    events = await collect(mesh.Executor(graph))
    assert sum(e.type == "node_complete" for e in events) == 200
    assert timers == []
