"""The dynamic tool selector: a model gets the tools that fit the question."""

from __future__ import annotations

from typing import Any

import pytest
from answer_server import AnswerServer, sse

from mesh_nb import Executor, GraphValidationError, MemoryBackend, NodeExecutionError, StateGraph


def get_weather(city: str) -> str:
    """Tell the weather of a city: rain, sun, temperature."""
    return "sun"


def exchange_rate(currency: str) -> float:
    """Tell what a currency is worth in dollars."""
    return 1.0


def send_mail(to: str, text: str) -> None:
    """Send an e-mail."""


TOOLS = [get_weather, exchange_rate, send_mail]


def graph(server: AnswerServer, **options: Any) -> StateGraph:
    options = {"model_options": server.options("chat"), **options}
    return StateGraph().add_node("ask", TOOLS, "dynamic_tool_selector", **options).set_entry_point("ask")


@pytest.mark.parametrize(
    ("question", "options", "names"),
    [
        ("Rain or sun today, and which temperature?", {}, ["get_weather"]),
        ("What are 5 dollars in another currency?", {"always": "send_mail"}, ["send_mail", "exchange_rate"]),
        ("Hello!", {"max_tools": 2}, ["get_weather", "exchange_rate"]),
        ("mail the weather of the currency", {"max_tools": 1}, None),
    ],
)
async def test_the_tools_that_fit_are_sent(question: str, options: Any, names: Any) -> None:
    with AnswerServer("Yes.") as server:
        events = [e async for e in Executor(graph(server, **options)).execute(question)]
        [body] = server.bodies
    sent = [t["function"]["name"] for t in body["tools"]]
    assert names is None or sent == names
    assert len(sent) <= options.get("max_tools", 5)
    told = next(e for e in events if e.type == "custom_data")
    assert (told.metadata["data_type"], told.content) == ("data-tools-selected", {"tools": sent, "of": 3})
    assert events[-1].output["selected_tools"] == sent
    assert events[-1].output["content"] == "Yes."


@pytest.mark.parametrize(
    ("tools", "options", "says"),
    [
        ([], {}, "has no tools to choose from"),
        (TOOLS, {"max_tools": 0}, "max_tools=0 is not 1 or more"),
        (TOOLS, {"always": ["fly"]}, "always= names 'fly', which is no tool"),
    ],
)
def test_what_cannot_be(tools: Any, options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("ask", tools, "dynamic_tool_selector", **options)


async def test_a_resumed_run_chooses_the_same_says_so_once_and_calls_nothing_twice() -> None:
    def tool_call(name: str, arguments: str) -> bytes:
        function = {"name": name, "arguments": arguments}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        base = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
        choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
        return sse({**base, "choices": [choice]}) + b"data: [DONE]\n\n"

    said = (tool_call("get_weather", '{"city": "Rome"}'), b"data: broken\n\n", "Yes.")
    with AnswerServer(*said) as server:
        made = graph(server)
        run = made.run("Rain or sun today?", backend=MemoryBackend(), display=False)
        with pytest.raises(NodeExecutionError):
            await run
        resumed = await made.resume(run.id, backend=run._store, display=False)
        assert len(server.bodies) == 3
    assert (resumed.text, resumed.output["selected_tools"]) == ("Yes.", ["get_weather"])
    assert [e.content["tools"] for e in resumed.events if e.type == "custom_data"] == [["get_weather"]]
    kinds = [str(e.type) for e in resumed.events]
    assert kinds.count("step_start") == kinds.count("step_complete")
    assert kinds.count("tool_call_complete") == 1
    assert [c["name"] for c in resumed.output["tool_calls"]] == ["get_weather"]
