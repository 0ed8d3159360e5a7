"""The offline demo: everything a newcomer sees, with no key, the same every time."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from contextlib import aclosing
from typing import Any

import pytest

import mesh_nb
from mesh_nb.core import plugins
from mesh_nb.core.errors import ConfigurationError, InputError, ProviderError, UnknownNameError
from mesh_nb.core.tools import Tool
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers._resolve import resolve

demo = plugins.find("provider", "demo")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_DEMO_SPEED", "0")


def ask(question: str, model: str = "demo", **options: Any) -> ModelCall:
    return ModelCall(model=model, messages=[{"role": "user", "content": question}], **options)


async def play(call: ModelCall) -> list[Any]:
    return [event async for event in demo.stream(call)]


def text_of(events: list[Any]) -> str:
    return "".join(e.content for e in events if e.type == "token")


def weather(city: str, days: int, unit: str = "C") -> str:
    """Weather of a city."""
    return f"{city} {days} {unit}"


async def test_the_tour_shows_everything() -> None:
    events = await play(ask("What is this?"))
    kinds = [e.type for e in events]
    assert kinds[0] == "model_call_start"
    assert kinds[-1] == "response_metadata"
    assert {"reasoning_token", "tool_call_complete", "source", "file", "message_complete"} <= set(kinds)
    assert "offline demo" in text_of(events)
    cited = [s for e in events if e.type == "source" for s in e.metadata["sources"] if s["kind"] == "cited"]
    assert len(cited) == 2
    assert all(text_of(events)[s["start"] : s["end"]] for s in cited)


async def test_the_same_question_gives_the_same_answer() -> None:
    def stable(events: list[Any]) -> list[Any]:
        ids = ("call_id", "text_block_id", "block_id", "tool_call_id")
        return [(e.type, e.content, {k: v for k, v in e.metadata.items() if k not in ids}) for e in events]

    first, again = await play(ask("Show me.")), await play(ask("Show me."))
    assert stable(first) == stable(again)
    assert first[-1].metadata["duration_ms"] > first[-1].metadata["time_to_first_token_ms"] > 0


async def test_what_it_costs_is_really_nothing() -> None:
    last = (await play(ask("hello")))[-1].metadata
    assert (last["cost_usd"], last["cost_source"], last["usage_status"]) == (0.0, "wire", "reported")
    usage = last["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("name", ["tour", "hello", "code", "table", "chart", "sources"])
async def test_a_script_by_name(name: str) -> None:
    events = await play(ask("anything", f"demo/{name}"))
    assert text_of(events)
    assert events[-1].metadata["finish_reason"] == "stop"


async def test_the_file_is_a_png() -> None:
    file = next(e for e in await play(ask("x", "demo/chart")) if e.type == "file")
    data = base64.b64decode(file.metadata["content"])
    assert file.metadata["size"] == len(data)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    size = struct.unpack(">I", data[start - 8 : start - 4])[0]
    assert len(zlib.decompress(data[start : start + size])) == height * (4 * width + 1)


async def test_it_calls_a_tool_of_the_node_and_reads_the_result() -> None:
    graph = mesh_nb.StateGraph()
    graph.add_node("llm", None, node_type="llm", model="demo", tools=[weather])
    graph.set_entry_point("llm")
    executor = mesh_nb.Executor(graph.compile())
    events = [e async for e in executor.execute("Weather in Paris for 3 days?")]
    done = next(e for e in events if e.type == "tool_call_complete")
    assert done.metadata["arguments"] == {"city": "Paris", "days": 3}
    assert done.output == "Paris 3 C"
    assert "Paris 3 C" in events[-1].output["content"]


async def test_arguments_fit_any_schema() -> None:
    from mesh_nb.providers._demo_scripts import arguments

    schema = {
        "required": ["kind", "count", "share", "on", "names", "where"],
        "properties": {
            "kind": {"enum": ["fast", "slow"]},
            "count": {"type": "integer"},
            "share": {"type": "number"},
            "on": {"type": "boolean"},
            "names": {"type": "array", "items": {"type": "string"}},
            "where": {"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}},
        },
    }
    made = arguments(Tool(weather, "w", "", schema), "")
    assert made == {
        "kind": "fast",
        "count": 1,
        "share": 1.0,
        "on": True,
        "names": ["demo"],
        "where": {"x": "demo"},
    }


async def test_a_failure_comes_after_everything_before_it() -> None:
    seen = []

    async def read() -> None:
        async for event in demo.stream(ask("x", "demo/error")):
            seen.append(event)

    with pytest.raises(ProviderError, match="part of the offline demo"):
        await read()
    assert text_of(seen)
    assert [e.type for e in seen[-2:]] == ["message_complete", "response_metadata"]


async def test_leaving_early_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_DEMO_SPEED", "1")
    async with aclosing(demo.stream(ask("x"))) as events:
        async for event in events:
            if event.type == "reasoning_token":
                break
    del event
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_bad_names_and_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'table'"):
        demo.check(ask("x", "demo/tabel"))
    with pytest.raises(InputError, match="web_search"):
        demo.check(ask("x", builtin_tools=["web_search"]))
    monkeypatch.setenv("MESH_DEMO_SPEED", "fast")
    with pytest.raises(ConfigurationError, match="MESH_DEMO_SPEED='fast'"):
        demo.check(ask("x"))


def test_it_is_chosen_by_name_only() -> None:
    assert resolve("demo")[0].vendor == resolve("demo/code")[0].vendor == "demo"
    with pytest.raises(UnknownNameError):
        resolve("llama-unknown")
