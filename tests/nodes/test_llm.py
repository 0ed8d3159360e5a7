"""The llm node: what it sends, the tool loop, and what it refuses before anything starts."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from support import Replay, until

import mesh_nb as mesh
from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import (
    ConfigurationError,
    InputError,
    MeshError,
    NodeExecutionError,
    ProviderError,
    ToolError,
    UnknownNameError,
    VariableResolutionError,
)
from mesh_nb.core.events import EventType, ExecutionEvent, encode
from mesh_nb.nodes.llm import LLMNode
from mesh_nb.providers._call import ModelCall


def node(replay: Replay, model: str, **options: Any) -> LLMNode:
    return LLMNode("llm", model=model, base_url=replay.base_url, api_key="x", **options)


async def run(
    node: LLMNode, input: Any = "hi", context: ExecutionContext | None = None
) -> list[ExecutionEvent]:
    context = (context or ExecutionContext()).for_run("r", input)
    return [event async for event in node.run(input, context)]


async def gather(source: AsyncIterator[ExecutionEvent], events: list[ExecutionEvent]) -> None:
    async for event in source:
        events.append(event)


def kinds(events: list[ExecutionEvent]) -> list[str]:
    deltas = ("token", "reasoning_token", "tool_call_delta")
    return [str(e.type) for e in events if e.type not in deltas]


def of(events: list[ExecutionEvent], kind: str) -> list[ExecutionEvent]:
    return [e for e in events if e.type == kind]


def output(events: list[ExecutionEvent]) -> dict[str, Any]:
    assert events[-1].type == "node_complete"
    return events[-1].output


def get_item(index: int, name: str) -> dict[str, Any]:
    """Return an item."""
    return {"index": index, "name": name}


# ---- one call
async def test_answer_and_output(replay: Replay) -> None:
    events = await run(node(replay, "synthetic-3"))
    assert kinds(events) == [
        "model_call_start",
        "message_start",
        "message_complete",
        "response_metadata",
        "node_complete",
    ]
    assert output(events) == {"content": "tok0 tok1 tok2 ", "tool_calls": []}


async def test_history_system_prompt_and_question_are_sent(replay: Replay) -> None:
    context = ExecutionContext(
        chat_history=[{"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"}],
        variables={"tone": "dry"},
    )
    asked = node(replay, "synthetic-1", system_prompt="Be {{$vars.tone}}. {literal} {{$question}}")
    await run(asked, {"input": "what now?"}, context)
    assert replay.requests[-1]["body"]["messages"] == [
        {"role": "system", "content": "Be dry. {literal} what now?"},
        {"role": "user", "content": "before"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "what now?"},
    ]


async def test_settings_are_sent(replay: Replay) -> None:
    asked = node(replay, "synthetic-1", temperature=0, max_tokens=7, reasoning="low", extra={"seed": 3})
    await run(asked)
    body = replay.requests[-1]["body"]
    assert {k: body[k] for k in ("temperature", "max_tokens", "reasoning_effort", "seed")} == {
        "temperature": 0,
        "max_tokens": 7,
        "reasoning_effort": "low",
        "seed": 3,
    }


async def test_an_empty_question_is_refused(replay: Replay) -> None:
    with pytest.raises(InputError, match="nothing to ask"):
        await run(node(replay, "synthetic-1"), "")
    assert replay.stats["requests"] == 0


async def test_unknown_template_name_starts_nothing(replay: Replay) -> None:
    with pytest.raises(VariableResolutionError, match="tone"):
        await run(node(replay, "synthetic-1", system_prompt="{{$vars.tone}}"))
    assert replay.stats["requests"] == 0


async def test_native_events_on_request(replay: Replay) -> None:
    events = await run(node(replay, "synthetic-2", use_native_events=True))
    assert all("native" in e.metadata for e in of(events, "token"))


# ---- tools
async def test_tool_loop(replay: Replay) -> None:
    events = await run(node(replay, "synthetic-0-t2+synthetic-2", tools=[get_item]))
    assert kinds(events) == [
        "step_start",
        "model_call_start",
        "tool_call_start",
        "tool_call_start",
        "response_metadata",
        "tool_call_complete",
        "tool_call_complete",
        "step_complete",
        "step_start",
        "model_call_start",
        "message_start",
        "message_complete",
        "response_metadata",
        "step_complete",
        "node_complete",
    ]
    first, second = of(events, "step_complete")
    assert (first.metadata["step_index"], first.metadata["finish_reason"]) == (0, "tool_calls")
    assert (second.metadata["step_index"], second.metadata["finish_reason"]) == (1, "stop")
    assert first.metadata["usage"]["prompt_tokens"] == 10
    done = of(events, "tool_call_complete")
    assert sorted(e.output["index"] for e in done) == [0, 1]
    assert {e.metadata["status"] for e in done} == {"ok"}
    assert {e.metadata["executed_by"] for e in done} == {"client"}
    assert output(events)["content"] == "tok0 tok1 "
    assert [c["arguments"] for c in output(events)["tool_calls"]] == [
        {"index": 0, "name": "item 0"},
        {"index": 1, "name": "item 1"},
    ]
    messages = replay.requests[-1]["body"]["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool"]
    assert [m["tool_call_id"] for m in messages[2:]] == ["call_0", "call_1"]
    assert messages[2]["content"] == '{"index":0,"name":"item 0"}'


async def test_parallel_calls_overlap_and_complete_as_they_finish(replay: Replay) -> None:
    second_was_seen = asyncio.Event()

    async def get_item(index: int, name: str) -> int:
        if index == 0:
            await second_was_seen.wait()
        return index

    seen: list[int] = []
    asked = node(replay, "synthetic-0-t2+synthetic-1", tools=[get_item])
    async for event in asked.run("hi", ExecutionContext()):
        if event.type == "tool_call_complete":
            seen.append(event.output)
            second_was_seen.set()
    assert seen == [1, 0]


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda index: index, "Bad arguments for tool 'get_item'"),
        (lambda index, name: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda index, name: threading.Event().wait(0.05) or 1, "timeout of 0.001 s"),
    ],
    ids=["bad arguments", "exception", "timeout"],
)
async def test_a_failing_tool_tells_the_model(replay: Replay, fn: Any, says: str) -> None:
    made = mesh.tool(name="get_item", timeout=0.001 if "0.001" in says else None)(fn)
    events = await run(node(replay, "synthetic-0-t1+synthetic-1", tools=[made]))
    [done] = of(events, "tool_call_complete")
    assert done.metadata["status"] == "error"
    assert says in (done.error or "")
    assert says in replay.requests[-1]["body"]["messages"][-1]["content"]
    assert output(events)["content"] == "tok0 "


async def test_unknown_tool_is_not_executed_and_the_model_hears_of_it(replay: Replay) -> None:
    def get_items() -> int:
        return 1

    events = await run(node(replay, "synthetic-0-t1+synthetic-1", tools=[get_items]))
    [done] = of(events, "tool_call_complete")
    assert done.metadata["status"] == "not_executed"
    assert "Did you mean 'get_items'" in (done.error or "")
    assert "Unknown tool 'get_item'" in replay.requests[-1]["body"]["messages"][-1]["content"]


async def test_call_of_a_node_without_tools_is_in_its_output(replay: Replay) -> None:
    events = await run(node(replay, "synthetic-0-t1"))
    assert "step_start" not in kinds(events)
    assert of(events, "tool_call_complete")[0].metadata["status"] == "not_executed"
    assert output(events)["tool_calls"][0]["name"] == "get_item"
    assert replay.stats["requests"] == 1


async def test_max_steps_ends_a_model_that_never_answers(replay: Replay) -> None:
    ran: list[int] = []

    def get_item(index: int, name: str) -> None:
        ran.append(index)

    events: list[ExecutionEvent] = []
    asked = node(replay, "synthetic-0-t1", tools=[get_item], max_steps=2)
    with pytest.raises(ToolError, match="max_steps=2"):
        await gather(asked.run("hi", ExecutionContext()), events)
    assert replay.stats["requests"] == 2
    assert ran == [0], "the last round's calls are not run: nothing could use their results"
    assert [e.metadata["status"] for e in of(events, "tool_call_complete")] == ["ok", "not_executed"]


@pytest.mark.parametrize("name", ["get_item", "another"], ids=["bad arguments", "unknown tool"])
async def test_a_model_that_calls_wrongly_three_times_on_end_is_not_asked_again(
    replay: Replay, name: str
) -> None:
    made = mesh.tool(name=name)(lambda number: number)
    events: list[ExecutionEvent] = []
    with pytest.raises(ToolError, match=r"wrongly 3 times in a row: .*get_item"):
        await gather(node(replay, "synthetic-0-t1", tools=[made]).run("hi", ExecutionContext()), events)
    assert replay.stats["requests"] == 3
    assert len(of(events, "tool_call_complete")) == len(of(events, "step_complete")) == 3


async def test_a_good_call_between_bad_ones_counts_again(replay: Replay) -> None:
    tried: list[int] = []

    def get_item(index: int, name: str) -> None:
        tried.append(index)
        if len(tried) % 2:
            raise ValueError("not a bad call, but a tool that failed")

    with pytest.raises(ToolError, match="max_steps=6"):
        await run(node(replay, "synthetic-0-t1", tools=[get_item], max_steps=6))
    assert len(tried) == 5


async def test_a_forced_choice_holds_for_the_first_round(replay: Replay) -> None:
    await run(node(replay, "synthetic-0-t1+synthetic-1", tools=[get_item], tool_choice="required"))
    first, second = (r["body"] for r in replay.requests[-2:])
    assert first["tool_choice"] == "required"
    assert "tool_choice" not in second


async def test_results_that_are_not_json_are_made_json(replay: Replay) -> None:
    import pandas as pd

    @dataclasses.dataclass
    class Thing:
        a: int

    def get_item(index: int, name: str) -> Any:
        return pd.DataFrame({"a": [1, 2]}) if index == 0 else Thing(3)

    events = await run(node(replay, "synthetic-0-t2+synthetic-1", tools=[get_item]))
    results = {e.metadata["tool_call_id"]: e.output for e in of(events, "tool_call_complete")}
    assert results == {"call_0": [{"a": 1}, {"a": 2}], "call_1": {"a": 3}}
    for event in events:
        encode(event)


class Scripted:
    """A provider that plays one list of (kind, content or output, metadata) for each call."""

    vendor = "scripted"
    api = "chat"
    prefixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *rounds: list[tuple[str, str]]) -> None:
        self.rounds, self.asked = list(rounds), list[ModelCall]()

    def preload(self) -> None: ...
    def check(self, call: ModelCall) -> None: ...

    async def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        self.asked.append(call)
        yield ExecutionEvent(EventType.MODEL_CALL_START)
        for i, (name, arguments) in enumerate(self.rounds.pop(0)):
            meta = {"tool_call_id": f"c{i}", "tool_name": name, "executed_by": "client"}
            yield ExecutionEvent(EventType.TOOL_CALL_START, metadata=meta)
            if arguments:
                yield ExecutionEvent(EventType.TOOL_CALL_DELTA, content=arguments, metadata=meta)
        meta = {"model_id": "m", "usage": {}, "provider_state": {"kept": len(self.asked)}}
        yield ExecutionEvent(EventType.RESPONSE_METADATA, metadata=meta)


@pytest.fixture
def scripted() -> Any:
    def make(*rounds: list[tuple[str, str]]) -> Scripted:
        provider = Scripted(*rounds)
        plugins.register("provider", "scripted-rounds")(provider)
        return provider

    return make


@pytest.mark.parametrize(
    ("arguments", "says"),
    [('{"n": ', "not JSON"), ("[1]", "must be a JSON object"), ("", ""), ("  ", "")],
)
async def test_arguments_as_models_write_them(scripted: Any, arguments: str, says: str) -> None:
    def count(n: int = 0) -> int:
        return n

    provider = scripted([("count", arguments)], [])
    events = await run(LLMNode("llm", model="m", provider="scripted-rounds", tools=[count]))
    [done] = of(events, "tool_call_complete")
    if says:
        assert says in (done.error or "")
        assert done.metadata["arguments_raw"] == arguments
    else:
        assert (done.output, done.metadata["arguments"]) == (0, {})
    assistant, result = provider.asked[1].messages[-2:]
    assert assistant["tool_calls"][0]["arguments"] == {}
    assert assistant["provider_state"] == {"kept": 1}
    assert result["tool_call_id"] == "c0"


async def test_closing_while_tools_run_leaves_no_task(scripted: Any) -> None:
    started, cancelled = asyncio.Event(), list[str]()

    async def slow() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("slow")
            raise

    async def quick() -> str:
        await started.wait()
        return "done"

    scripted([("slow", ""), ("quick", "")], [])
    asked = LLMNode("llm", model="m", provider="scripted-rounds", tools=[slow, quick])
    async with aclosing(asked.run("hi", ExecutionContext())) as events:  # type: ignore[type-var]
        async for event in events:
            if event.type == "tool_call_complete":
                assert event.metadata["tool_name"] == "quick"
                break
    assert cancelled == ["slow"]
    assert len(asyncio.all_tasks()) == 1


async def test_cancel_during_the_stream_closes_the_connection(replay: Replay) -> None:
    begun = asyncio.Event()

    async def consume() -> None:
        async for event in node(replay, "synthetic-500@delay=0.01,keepopen=30").run("x", ExecutionContext()):
            if event.type == "token":
                begun.set()

    task = asyncio.create_task(consume())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: replay.stats["client_disconnects"] == 1)
    await until(lambda: len(asyncio.all_tasks()) == 1)


# ---- in a graph
async def test_failure_in_a_graph_keeps_what_had_arrived(replay: Replay) -> None:
    graph = mesh.StateGraph()
    graph.add_node(
        "llm", None, node_type="llm", model="synthetic-30@error=21", base_url=replay.base_url, api_key="x"
    )
    graph.set_entry_point("llm")
    events: list[ExecutionEvent] = []
    executor = mesh.Executor(graph.compile(), mesh.MemoryBackend())
    with pytest.raises(NodeExecutionError) as info:
        await gather(executor.execute("hi"), events)
    assert isinstance(info.value.cause, ProviderError)
    assert len(of(events, "token")) == 20
    assert len(of(events, "node_error")) == len(of(events, "execution_error")) == 1
    assert kinds(events)[-4:] == ["message_complete", "response_metadata", "node_error", "execution_error"]


# ---- what is refused
def test_options_are_read_from_the_signature(replay: Replay) -> None:
    with pytest.raises(UnknownNameError, match=r"'modle'.*Did you mean 'model'"):
        mesh.StateGraph().add_node("llm", None, node_type="llm", modle="gpt-5")


def test_no_model_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESH_MODEL", raising=False)
    with pytest.raises(ConfigurationError, match="MESH_MODEL"):
        LLMNode("llm").check()
    monkeypatch.setenv("MESH_MODEL", "gpt-5")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    LLMNode("llm").check()


def test_unknown_model_and_missing_key_are_found_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UnknownNameError, match="begins with 'gpt'"):
        LLMNode("llm", model="gtp-5").check()
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY.*-m demo"):
        LLMNode("llm", model="gpt-5").check()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -1}, "temperature=-1"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"timeout": 0}, "timeout=0"),
        ({"idle_timeout": 0}, "idle_timeout=0"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"tools": get_item}, r"tools=\[get_item\]"),
        ({"tools": [get_item, get_item]}, "two tools named 'get_item'"),
        ({"tools": [42]}, "42 is not a tool"),
        ({"tools": [get_item], "tool_choice": "get_itm"}, "Did you mean 'get_item'"),
        ({"tool_choice": "auto"}, "no tools"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], says: str) -> None:
    with pytest.raises(MeshError, match=says):
        LLMNode("llm", model="gpt-5", **options)


def test_keys_are_not_in_a_repr() -> None:
    made = LLMNode("llm", model="gpt-5", api_key="sk-secret")
    assert "sk-secret" not in repr(made) + repr(vars(made))
