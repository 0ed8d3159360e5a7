"""Tool nodes: parameters by name, threads, generators, events."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from mesh_nb import (
    EventType,
    ExecutionContext,
    ExecutionEvent,
    Executor,
    GraphValidationError,
    MemoryBackend,
    NodeResult,
    StateGraph,
    tool,
)
from mesh_nb.core.errors import NodeExecutionError


async def events_of(
    fn: Any, input: Any = "q", context: ExecutionContext | None = None, **options: Any
) -> list[Any]:
    graph = StateGraph().add_node("t", fn, **options).set_entry_point("t")
    return [e async for e in Executor(graph).execute(input, context)]


async def output_of(
    fn: Any, input: Any = "q", context: ExecutionContext | None = None, **options: Any
) -> Any:
    events = await events_of(fn, input, context, **options)
    return next(e.output for e in events if e.type == "node_complete")


async def test_parameters_are_filled_by_name_in_order() -> None:
    def fn(
        input: Any, context: Any, state: Any, variables: Any, chat_history: Any, a: Any, b: Any, c: Any = "c"
    ):
        return {"seen": [input, context.question, state, variables, chat_history, a, b, c]}

    context = ExecutionContext(
        state={"s": 1}, variables={"v": 2}, chat_history=[{"role": "user", "content": "x"}]
    )
    given = {"a": "from input", "input": "q", "state": "shadowed"}
    output = await output_of(fn, given, context, bindings={"a": "from bindings", "b": "bound"})
    assert output["seen"] == [
        given, "q", {"s": 1}, {"v": 2}, [{"role": "user", "content": "x"}], "from input", "bound", "c"
    ]  # fmt: skip


async def test_bindings_through_config_and_extra_keywords() -> None:
    def fn(a: int, **rest: Any) -> Any:
        return {"a": a, "rest": rest}

    assert await output_of(fn, {"x": 1}, config={"bindings": {"a": 5, "y": 2}}) == {
        "a": 5,
        "rest": {"y": 2, "x": 1},
    }


async def test_a_parameter_that_nothing_fills_is_named() -> None:
    with pytest.raises(
        NodeExecutionError, match="Nothing fills parameter 'question' of fn: the input has 'input'"
    ):
        await events_of(lambda_named("fn", lambda question: question))


def lambda_named(name: str, fn: Any) -> Any:
    fn.__name__ = name
    return fn


@pytest.mark.parametrize(
    ("value", "output"),
    [({"k": 1}, {"k": 1}), (3, {"output": 3}), ("x", {"output": "x"}), (None, {"output": None})],
)
async def test_the_output_is_a_dict(value: Any, output: Any) -> None:
    assert await output_of(lambda: value) == output


async def test_33_the_events_of_a_tool_node() -> None:
    def search(query: str, api_key: str) -> dict[str, Any]:
        return {"found": query}

    events = await events_of(search, {"query": "x"}, bindings={"api_key": "sk-secret"})
    assert [str(e.type) for e in events[1:-1]] == [
        "node_start", "tool_call_start", "tool_call_complete", "node_complete"
    ]  # fmt: skip
    start, complete = events[2:4]
    assert start.metadata["tool_name"] == "search"
    assert start.metadata["executed_by"] == "client"
    assert start.metadata["arguments"] == {"query": "x", "api_key": "***"}
    assert complete.output == {"found": "x"}
    assert complete.metadata["status"] == "ok"
    assert complete.metadata["duration_ms"] >= 0
    assert complete.metadata["tool_call_id"] == start.metadata["tool_call_id"]
    assert "sk-secret" not in repr(events)


async def test_a_failing_function_ends_its_tool_call() -> None:
    seen: list[ExecutionEvent] = []

    def bad() -> None:
        raise ValueError("no")

    graph = StateGraph().add_node("t", bad).set_entry_point("t")
    executor = Executor(graph)
    with pytest.raises(NodeExecutionError):
        seen += [e async for e in executor.execute("q")]
    log = executor.backend.load(next(iter(executor.backend.run_ids()))).events
    complete, error = log[-3:-1]
    assert (complete.type, complete.metadata["status"], complete.error) == (
        "tool_call_complete", "error", "ValueError: no"
    )  # fmt: skip
    assert error.type == "node_error"


async def test_a_sync_function_runs_in_a_thread_with_the_callers_context() -> None:
    cell = contextvars.ContextVar("cell", default="none")
    cell.set("cell 7")

    def where() -> dict[str, Any]:
        return {"thread": threading.get_ident(), "cell": cell.get()}

    output = await output_of(where)
    assert output["thread"] != threading.get_ident()
    assert output["cell"] == "cell 7"


async def test_an_async_function_runs_on_the_loop() -> None:
    async def where() -> Any:
        await asyncio.sleep(0)
        return threading.get_ident()

    assert await output_of(where) == {"output": threading.get_ident()}


async def test_partials_tools_and_callable_objects() -> None:
    class Shout:
        def __call__(self, text: str) -> str:
            return text.upper()

    @tool
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert await output_of(functools.partial(lambda a, b: a + b, b=2), {"a": 1}) == {"output": 3}
    assert await output_of(Shout(), {"text": "hi"}) == {"output": "HI"}
    assert await output_of(add, {"a": 4}) == {"output": 5}


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_generator_streams_its_text(kind: str) -> None:
    async def later() -> AsyncIterator[Any]:
        yield "one "
        yield ExecutionEvent(
            EventType.CUSTOM_DATA, content={"percent": 50}, metadata={"data_type": "data-progress"}
        )
        yield "two"

    def now() -> Iterator[Any]:
        yield "one "
        yield ExecutionEvent(
            EventType.CUSTOM_DATA, content={"percent": 50}, metadata={"data_type": "data-progress"}
        )
        yield "two"

    events = await events_of(later if kind == "async" else now)
    assert [str(e.type) for e in events[2:-1]] == [
        "tool_call_start", "message_start", "token", "custom_data", "token", "message_complete",
        "tool_call_complete", "node_complete",
    ]  # fmt: skip
    assert events[-1].output == {"content": "one two"}
    tokens = [e for e in events if e.type == "token"]
    assert len({e.metadata["text_block_id"] for e in tokens}) == 1


async def test_a_generators_last_dict_is_its_output() -> None:
    async def steps() -> AsyncIterator[Any]:
        yield {"n": 1}
        yield {"n": 2}

    assert await output_of(steps) == {"n": 2}


@pytest.mark.parametrize(
    ("returned", "output"),
    [({"answer": 42}, {"answer": 42}), (42, {"output": 42}), (None, {"content": "thinking"})],
)
async def test_what_a_generator_returns_is_its_output(returned: Any, output: Any) -> None:
    def steps() -> Generator[str, None, Any]:
        yield "thinking"
        return returned

    events = await events_of(steps)
    assert [e.content for e in events if e.type == "token"] == ["thinking"]
    assert events[-2].output == output


async def test_what_a_generator_returns_may_change_the_state() -> None:
    def steps() -> Generator[str, None, NodeResult]:
        yield "thinking"
        return NodeResult({"n": 1}, state={"seen": True})

    graph = StateGraph().add_node("t", steps).set_entry_point("t")
    run = await graph.run("q", backend=MemoryBackend())
    assert run.events[-2].output == {"n": 1}
    assert [e.output for e in run.events if e.type == "state_update"] == [{"seen": True}]


async def test_a_generator_that_yields_something_else_is_told() -> None:
    async def odd() -> AsyncIterator[Any]:
        yield 3

    with pytest.raises(NodeExecutionError, match="yielded int"):
        await events_of(odd)


async def test_a_generator_is_closed_when_the_reader_leaves() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[Any]:
        try:
            yield "x"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    graph = StateGraph().add_node("t", endless).set_entry_point("t")
    stream = Executor(graph).execute("q")
    async for event in stream:
        if event.type == "token":
            break
    await stream.aclose()
    assert closed == [True]


@pytest.mark.parametrize(
    ("fn", "options", "says"),
    [
        (None, {}, "needs a function"),
        (lambda a, /: a, {}, "by position only"),
        (lambda a: a, {"bindings": {"b": 1}}, "no parameter 'b' to bind"),
        (dict.fromkeys, {}, "."),
    ],
)
def test_functions_that_cannot_be_tools(fn: Any, options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("t", fn, node_type="tool", **options)


async def test_a_generator_that_a_function_returns_is_streamed_too() -> None:
    async def words(n: int) -> Any:
        for word in "abc"[:n]:
            yield word

    def plain(n: int) -> Any:
        yield from "abc"[:n]

    for returned in (words, plain):
        events = await events_of(lambda n, made=returned: made(n), {"n": 2})
        assert events[-1].output == {"content": "ab"}
        assert [e.content for e in events if e.type == "token"] == ["a", "b"]
