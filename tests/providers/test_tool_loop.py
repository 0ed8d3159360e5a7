"""The tool loop end to end, the same for every API: a server that asks for tools, real SDKs, real runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from chat_streams import delta, tool
from http_servers import GIVE_UP, Exchange, Server
from provider_streams import framed
from replayed import Seen, check_log, run_of, words
from support import until

import mesh_nb as mesh
from mesh_nb.core.errors import NodeExecutionError, ToolError

Call = tuple[str, str]
"""A tool's name, and the arguments as the model writes them."""

VENDORS = {"chat": "openai", "responses": "openai", "messages": "anthropic", "gemini": "gemini"}
APIS = pytest.mark.parametrize("api", list(VENDORS))
WRITES_JSON = pytest.mark.parametrize("api", ["chat", "responses", "messages"])
ANSWER = "Here you are."


# ---- what a model says, on each wire
def _chat(calls: list[Call]) -> list[Any]:
    deltas = [delta(tool_calls=[tool(i, f"c{i}", name, raw)]) for i, (name, raw) in enumerate(calls)]
    return [
        *(deltas or [delta(content=ANSWER)]),
        delta("tool_calls" if calls else "stop"),
        "data: [DONE]\n\n",
    ]


def _responses(calls: list[Call]) -> list[Any]:
    def item(state: str, at: int, **fields: Any) -> dict[str, Any]:
        return {"type": f"response.output_item.{state}", "output_index": at, "item": fields}

    response = {"id": "resp_1", "model": "m", "usage": {"input_tokens": 5, "output_tokens": 9}}
    chunks: list[Any] = [{"type": "response.created", "response": {**response, "status": "in_progress"}}]
    for i, (name, raw) in enumerate(calls):
        fields = {"type": "function_call", "id": f"fc{i}", "call_id": f"c{i}", "name": name}
        chunks += [item("added", i, **fields, arguments=""), item("done", i, **fields, arguments=raw)]
    if not calls:
        said = {"type": "output_text", "text": ANSWER, "annotations": []}
        chunks.append(item("done", 0, type="message", id="msg", role="assistant", content=[said]))
    return [*chunks, {"type": "response.completed", "response": {**response, "status": "completed"}}]


def _messages(calls: list[Call]) -> list[Any]:
    message = {"id": "msg_1", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 5}}
    chunks: list[Any] = [{"type": "message_start", "message": message}]

    def block(index: int, said: dict[str, Any], **fields: Any) -> list[Any]:
        opened = {"type": "content_block_start", "index": index, "content_block": fields}
        inner = {"type": "content_block_delta", "index": index, "delta": said}
        return [opened, inner, {"type": "content_block_stop", "index": index}]

    for i, (name, raw) in enumerate(calls):
        said = {"type": "input_json_delta", "partial_json": raw}
        chunks += block(i, said, type="tool_use", id=f"c{i}", name=name, input={})
    if not calls:
        chunks += block(0, {"type": "text_delta", "text": ANSWER}, type="text", text="")
    reason = {"stop_reason": "tool_use" if calls else "end_turn"}
    return [*chunks, {"type": "message_delta", "delta": reason, "usage": {}}, {"type": "message_stop"}]


def _gemini(calls: list[Call]) -> list[Any]:
    asked = [{"functionCall": {"name": name, "args": json.loads(raw)}} for name, raw in calls]
    content = {"role": "model", "parts": asked or [{"text": ANSWER}]}
    return [{"candidates": [{"content": content, "finishReason": "STOP"}], "modelVersion": "m"}]


SAYS: dict[str, Callable[[list[Call]], list[Any]]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
}


class Model:
    """A server that asks for the calls of each round in turn, and answers when none are left."""

    def __init__(self, api: str, *rounds: list[Call]) -> None:
        self.api, self.rounds = api, rounds
        self.server = Server(self._answer)

    async def _answer(self, x: Exchange) -> None:
        calls = self.rounds[x.number] if x.number < len(self.rounds) else []
        await x.start(b"content-type: text/event-stream\r\n")
        for chunk in SAYS[self.api](calls):
            await x.chunk(framed(chunk))
        await x.send(b"0\r\n\r\n")

    def graph(self, *tools: Any, **options: Any) -> Any:
        """Return a graph of one llm node that asks this model and has these tools."""
        vendor = VENDORS[self.api]
        where = {"base_url": self.server.url + ("/v1" if vendor == "openai" else ""), "api_key": "x"}
        chosen = {"api": self.api} if vendor == "openai" else {}
        graph = mesh.StateGraph()
        graph.add_node(
            "llm",
            None,
            node_type="llm",
            model="m",
            provider=vendor,
            tools=tools,
            **where,
            **chosen,
            **options,
        )
        return graph.set_entry_point("llm").compile()

    async def run(self, *tools: Any, **options: Any) -> Seen:
        """Run it to its end, check the log, and return what was seen."""
        with self.server:
            seen = await run_of(self.graph(*tools, **options))
        check_log(seen)
        return seen

    def told(self, request: int) -> str:
        """What the model was told with a request: the request's body, as text."""
        return json.dumps(json.loads(self.server.requests[request].body), ensure_ascii=False)


def done(seen: Seen) -> list[Any]:
    """The completions of tools, in the order in which they came."""
    return [e for e in seen.log if e.type == "tool_call_complete"]


def states(seen: Seen) -> dict[str, str]:
    return {e.metadata["tool_name"]: e.metadata["status"] for e in done(seen)}


# ---- what becomes of them
@APIS
async def test_parallel_calls_run_in_parallel(api: str) -> None:
    both = asyncio.Barrier(2)

    async def left(n: int) -> str:
        """Wait for the other."""
        async with asyncio.timeout(GIVE_UP):
            await both.wait()
        return f"left {n}"

    async def right(n: int) -> dict[str, Any]:
        """Wait for the other."""
        async with asyncio.timeout(GIVE_UP):
            await both.wait()
        return {"right": n}

    model = Model(api, [("left", '{"n": 1}'), ("right", '{"n": 2}')])
    seen = await model.run(left, right)
    assert seen.error is None
    assert words(seen.log) == ANSWER
    assert states(seen) == {"left": "ok", "right": "ok"}
    assert {e.metadata["tool_name"]: e.output for e in done(seen)} == {
        "left": "left 1",
        "right": {"right": 2},
    }
    assert "left 1" in model.told(1)
    kinds = [str(e.type) for e in seen.log]
    assert (kinds.count("step_start"), kinds.count("step_complete")) == (2, 2)
    assert len(model.server.requests) == 2


@APIS
async def test_a_failing_tool_is_told_to_the_model_and_to_the_reader(api: str) -> None:
    def divide(n: int) -> float:
        """Divide 1 by n."""
        return 1 / n

    def fine() -> str:
        """Return something."""
        return "all well"

    model = Model(api, [("divide", '{"n": 0}'), ("fine", "{}")])
    seen = await model.run(divide, fine)
    assert seen.error is None
    assert words(seen.log) == ANSWER
    assert states(seen) == {"divide": "error", "fine": "ok"}
    [failed] = [e for e in done(seen) if e.metadata["tool_name"] == "divide"]
    assert failed.error == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError: division by zero" in model.told(1)
    assert "all well" in model.told(1)


@APIS
async def test_a_slow_tool_is_stopped_by_its_own_timeout(api: str) -> None:
    ended: list[str] = []

    @mesh.tool(timeout=0.05)
    async def slow() -> str:
        """Never return."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")
        return ""

    async def quick() -> str:
        """Return."""
        return "quick result"

    model = Model(api, [("slow", "{}"), ("quick", "{}")])
    seen = await model.run(slow, quick)
    assert seen.error is None
    assert states(seen) == {"slow": "error", "quick": "ok"}
    assert [e.metadata["tool_name"] for e in done(seen)] == ["quick", "slow"]
    assert ended == ["slow"]
    assert "took longer than its timeout of 0.05 s" in model.told(1)
    assert "quick result" in model.told(1)


def count(n: int) -> int:
    """Count to n."""
    return n


@APIS
async def test_arguments_that_do_not_fit_go_back_and_may_be_mended(api: str) -> None:
    model = Model(api, [("count", '{"n": "many"}')], [("count", '{"n": 3}')])
    seen = await model.run(count)
    assert seen.error is None
    assert [(e.metadata["status"], e.output) for e in done(seen)] == [("error", None), ("ok", 3)]
    assert "Bad arguments for tool 'count': n:" in model.told(1)
    assert words(seen.log) == ANSWER


@WRITES_JSON
async def test_arguments_that_are_no_json_go_back(api: str) -> None:
    model = Model(api, [("count", '{"n": ')], [("count", '{"n": 3}')])
    seen = await model.run(count)
    assert seen.error is None
    first, second = done(seen)
    assert (first.metadata["status"], first.metadata["arguments_raw"]) == ("error", '{"n": ')
    assert (second.metadata["status"], second.output) == ("ok", 3)
    assert "are not JSON" in model.told(1)


@APIS
async def test_arguments_that_never_fit_end_after_max_steps(api: str) -> None:
    model = Model(api, *[[("count", '{"n": "many"}')]] * 9)
    seen = await model.run(count, max_steps=3)
    assert isinstance(seen.error, NodeExecutionError)
    assert isinstance(seen.error.cause, ToolError)
    assert "max_steps=3" in str(seen.error)
    assert len(model.server.requests) == 3
    assert [e.metadata["status"] for e in done(seen)] == ["error", "error", "not_executed"]


@APIS
async def test_an_unknown_tool_is_not_executed_and_the_model_hears_which_there_are(api: str) -> None:
    model = Model(api, [("cuont", '{"n": 3}')])
    seen = await model.run(count)
    assert seen.error is None
    assert states(seen) == {"cuont": "not_executed"}
    assert "count" in model.told(1).split("cuont", 1)[1]
    assert words(seen.log) == ANSWER


@APIS
async def test_max_steps_ends_a_model_that_never_answers(api: str) -> None:
    ran: list[int] = []

    def note(n: int) -> str:
        """Note n."""
        ran.append(n)
        return "noted"

    model = Model(api, *[[("note", f'{{"n": {i}}}')] for i in range(9)])
    seen = await model.run(note, max_steps=3)
    assert isinstance(seen.error, NodeExecutionError)
    assert "max_steps" in str(seen.error.cause)
    assert ran == [0, 1], "what the model could not be told is not run"
    assert len(model.server.requests) == 3


@APIS
async def test_cancel_while_tools_run(api: str) -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def forever() -> str:
        """Never return."""
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append("forever")
        return ""

    async def quick() -> str:
        """Return."""
        return "quick"

    model = Model(api, [("forever", "{}"), ("quick", "{}")])
    with model.server:
        execution = mesh.Executor(model.graph(forever, quick), backend := mesh.MemoryBackend()).start(
            "hi", run_id="r"
        )
        got: list[Any] = []

        async def consume() -> None:
            async for event in execution.events():
                got.append(event)

        task = asyncio.create_task(consume())
        await begun.wait()
        while not any(e.type == "tool_call_complete" for e in got):  # noqa: ASYNC110  the other tool is quick
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    seen = Seen(got, backend.load("r").events, None)
    check_log(seen)
    assert states(seen) == {"quick": "ok", "forever": "cancelled"}
    assert ended == ["forever"]
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert seen.log[-1].metadata["status"] == "cancelled"
    assert len(model.server.requests) == 1


@APIS
async def test_leaving_in_the_second_round_keeps_the_first(api: str) -> None:
    model = Model(api, [("count", '{"n": 3}')])
    with model.server:
        seen = await run_of(model.graph(count), lambda got: got[-1].type == "token")
    check_log(seen)
    assert states(seen) == {"count": "ok"}
    assert seen.log[-1].metadata["status"] == "cancelled"
    await until(lambda: len(asyncio.all_tasks()) == 1)
