"""Runs of real SDKs and agent libraries, recorded from a server and replayed when it is gone; secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_doubles import openai_agent
from gated_chat import ChatServer
from gated_chat import text as words
from replay_server import ReplayThread
from support import streams

import mesh_nb as mesh
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.core.tape import Tape, stop
from mesh_nb.notebook.freeze import freeze
from mesh_nb.testing import check_events

KEY = "sk-proj-Zq3vY81kLw02mTn5"
VOLATILE = {"run_id", "timestamp", "duration_ms", "time_to_first_token_ms", "trace_id"}
FREE = {"cost_usd", "cost_source", "original_cost_usd", "replayed"}
VENDORS: dict[str, dict[str, Any]] = {
    "chat": {"provider": "openai", "api": "chat", "path": "/v1"},
    "responses": {"provider": "openai", "api": "responses", "path": "/v1"},
    "anthropic": {"provider": "anthropic", "path": ""},
    "gemini": {"provider": "gemini", "path": ""},
}


@pytest.fixture(autouse=True)
def no_tape_is_left() -> Iterator[None]:
    yield
    assert stop() is None


def plain(events: list[ExecutionEvent]) -> list[Any]:
    found: list[Any] = []
    for event in events:
        known = {k: v for k, v in event.metadata.items() if k not in VOLATILE | FREE}
        found.append((event.type, event.node_id, event.content, event.output, event.error, known))
    return found


def one_node(*given: Any, **options: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("node", *given, **options).set_entry_point("node")


async def ask(graph: mesh.StateGraph) -> mesh.Run:
    return await graph.run("Why?", backend=mesh.MemoryBackend(), display=False)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("model", ["synthetic-20-r5", "synthetic-3-t2+synthetic-4"])
async def test_every_provider_is_replayed_without_its_server(tmp_path: Path, vendor: str, model: str):
    known = dict(VENDORS[vendor])
    path = known.pop("path")

    def graph(url: str) -> mesh.StateGraph:
        tools = [get_item] if "+" in model else []
        return one_node(
            None, node_type="llm", model=model, base_url=f"{url}{path}", api_key=KEY, tools=tools, **known
        )

    with ReplayThread(streams()) as url, mesh.record(tmp_path / "t"):
        first = await ask(graph(url))
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = await ask(graph("http://127.0.0.1:9"))
    assert first.text
    assert plain(again.events) == plain(first.events)
    assert again.cost_usd == 0
    check_events(again.events)


async def get_item(**values: Any) -> str:  # Threads would end in any order.
    """Get an item."""
    return "found"


@contextlib.asynccontextmanager
async def pydantic_agent(base_url: str, model: str) -> AsyncGenerator[Any]:
    import openai
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield Agent(OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client)), instructions="Be.")


AGENTS: dict[str, Any] = {
    "openai-agents": lambda url, model: openai_agent(url, model, api="chat"),
    "pydantic-ai": pydantic_agent,
}


@pytest.mark.parametrize("library", AGENTS)
async def test_agents_of_other_libraries_are_replayed_without_their_server(tmp_path: Path, library: str):
    agent = AGENTS[library]
    with ReplayThread(streams()) as url, mesh.record(tmp_path / "t"):
        async with agent(f"{url}/v1", "synthetic-9-r2") as one:
            first = await ask(one_node(one, node_type="agent"))
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        async with agent("http://127.0.0.1:9/v1", "synthetic-9-r2") as one:
            again = await ask(one_node(one, node_type="agent"))
        async with agent("http://127.0.0.1:9/v1", "synthetic-8") as other:
            with pytest.raises(mesh.NodeExecutionError, match=r"'synthetic-9-r2' there, 'synthetic-8' here"):
                await ask(one_node(other, node_type="agent"))
    assert first.text.startswith("tok0 tok1")
    assert plain(again.events) == plain(first.events)


@pytest.mark.parametrize("changed", ["instructions", "tool", "setting", "question", "key"])
async def test_what_counts_of_an_agent(tmp_path: Path, changed: str):
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    def agent(change: str) -> Any:
        headers = {"Authorization": "Bearer hunter2" + change}
        settings: Any = {"temperature": 0.5 if change == "setting" else 0.1, "extra_headers": headers}
        one = Agent(
            TestModel(), instructions=f"Be brief. {change == 'instructions'}", model_settings=settings
        )

        def look(name: str, exact: bool = False) -> str:
            """Look."""
            return name

        def look_at(name: str) -> str:
            """Look."""
            return name

        look_at.__name__ = "look"
        one.tool_plain(look if change == "tool" else look_at)
        return one

    with mesh.record(tmp_path / "t"):
        await ask(one_node(agent(""), node_type="agent"))
    graph = one_node(agent(changed), node_type="agent")
    question = "Why not?" if changed == "question" else "Why?"
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        if changed == "key":
            await graph.run(question, backend=mesh.MemoryBackend(), display=False)
        else:
            with pytest.raises(mesh.NodeExecutionError, match="has no such call of the agent"):
                await graph.run(question, backend=mesh.MemoryBackend(), display=False)
    assert "hunter2" not in (tmp_path / "t").read_text("utf-8")


async def test_a_replay_schedules_exactly_the_recorded_delays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with ReplayThread(streams()) as url, mesh.record(tmp_path / "t"):
        await ask(one_node(None, node_type="llm", model="synthetic-8", base_url=f"{url}/v1", api_key=KEY))
    (take,) = Tape(tmp_path / "t")._takes()
    take.beats[:] = [(7.0 * n, event) for n, (_, event) in enumerate(take.beats)]
    with mesh.record(tmp_path / "u", mode="all") as tape:
        tape.add(take)
    now, sleep = [0.0], asyncio.sleep

    async def virtual(delay: float, result: Any = None) -> Any:
        now[0] += delay
        return await sleep(0, result)

    monkeypatch.setattr(asyncio, "sleep", virtual)
    at: list[float] = []
    kinds = [str(event.type) for _, event in take.beats]
    with mesh.record(tmp_path / "u", mode="none"):
        graph = one_node(
            None, node_type="llm", model="synthetic-8", base_url="http://127.0.0.1:9/v1", api_key=KEY
        )
        async for event in mesh.Executor(graph.compile(), mesh.MemoryBackend()).execute("Why?"):
            if str(event.type) in kinds:
                at.append(now[0] * 1000)
    assert at == pytest.approx([sum(7.0 * k for k in range(n + 1)) for n in range(len(kinds))])


SECRETS = {
    "environment": "hunter2-environment",
    "argument": "sk-argument-0123456789abcdef",
    "header": "hunter2-header-value",
    "prompt": "Prompt Secret Person",
    "tool": "Tool Secret Person",
    "key in a prompt": "AIzaSyA1234567890abcdefghijkl",
}


def test_no_secret_is_in_any_file_output_or_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: Any
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SECRETS["environment"])
    hidden = [SECRETS["prompt"], SECRETS["tool"]]
    shown: list[str] = []

    def look(name: str) -> str:
        """Look a person up."""
        return f"It is {SECRETS['tool']}, by {SECRETS['environment']}."

    with ChatServer() as server:
        call = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"name": "x"}'}}
        server.models["m"] = [{"tool_calls": [call]}]
        server.models["n"] = [words("So "), words("hunter2-envi"), words("ronment"), words(" it is.")]
        graph = mesh.StateGraph()
        options: dict[str, Any] = {"base_url": server.base_url, "api_key": SECRETS["argument"]}
        options["extra_headers"] = {"X-Service-Token": SECRETS["header"]}
        graph.add_node("tool", None, node_type="llm", model="m", tools=[look], max_steps=2, **options)
        graph.set_entry_point("tool")
        other = mesh.StateGraph().add_node("say", None, node_type="llm", model="n", **options)
        other.set_entry_point("say")
        question = f"Who is {SECRETS['prompt']}, with {SECRETS['key in a prompt']}?"
        for mode in ("once", "none"):
            with mesh.record(tmp_path / "t.mesh-tape", mode=mode, speed=0, redact=hidden):
                with pytest.raises(mesh.NodeExecutionError) as caught:
                    graph.run_sync(question, display=False)
                shown += [str(caught.getrepr(style="long", showlocals=False)), repr(caught.value)]
                run = other.run_sync(question, display=False)
                if mode == "none":
                    shown += [repr(run), *freeze(run.events)[0].values()]
    assert len(server.requests) == 3
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert sum(p.suffix == ".jsonl" for p in written) == 4
    shown += [p.read_text("utf-8", "replace") for p in written]
    shown += [*capfd.readouterr(), caplog.text]
    for name, secret in SECRETS.items():
        assert not [text for text in shown if secret in text], name
