"""The agent node: which plug-in, what the agent is asked, what the node gives."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from agent_doubles import EVERYTHING, Scripted, events_of, of_type, text_of

import mesh_nb
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import GraphValidationError, InputError, NodeExecutionError, VariableResolutionError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.nodes.agent import AgentNode


def graph_of(*nodes: tuple[str, Any, dict[str, Any]]) -> Any:
    graph = mesh_nb.StateGraph()
    for name, agent, options in nodes:
        graph.add_node(name, agent, node_type="agent", **options)
    graph.set_entry_point(nodes[0][0])
    graph.add_sequence([name for name, _, _ in nodes])
    return graph


@pytest.mark.parametrize("thing", [object(), "agent", 3, len])
def test_an_unknown_object_is_one_clear_error(thing: Any) -> None:
    with pytest.raises(GraphValidationError) as caught:
        graph_of(("helper", thing, {}))
    text = str(caught.value)
    assert "'helper'" in text
    assert type(thing).__name__ in text
    assert "Vel" in text
    assert "agents.Agent" in text


def test_a_class_instead_of_an_instance_says_so() -> None:
    with pytest.raises(GraphValidationError, match="the class Scripted; pass an instance"):
        graph_of(("helper", Scripted, {}))


def test_no_agent_at_all() -> None:
    with pytest.raises(GraphValidationError, match="has no agent"):
        graph_of(("helper", None, {}))


def test_options_are_checked() -> None:
    with pytest.raises(LookupError, match="Did you mean 'use_native_events'"):
        graph_of(("helper", Scripted([]), {"use_native_event": True}))
    with pytest.raises(GraphValidationError, match="input_mode is 'message' or 'messages'"):
        graph_of(("helper", Scripted([]), {"input_mode": "text"}))
    with pytest.raises(GraphValidationError, match="nobody"):
        graph_of(("helper", Scripted([]), {"system_prompt": "{{nobody}}"})).compile()


async def test_the_message_has_the_prompt_in_front() -> None:
    agent = Scripted(["ok"])
    context = ExecutionContext(session_id="s-1", variables={"tone": "calm"})
    executor = mesh_nb.Executor(graph_of(("a", agent, {"system_prompt": "Be {{$vars.tone}}: {{$question}}"})))
    async for _ in executor.execute("why?", context):
        pass
    assert agent.asked == [{"message": "Be calm: why?\n\nwhy?"}]
    assert agent.sessions == ["s-1"]


async def test_messages_mode_hands_over_the_history() -> None:
    agent = Scripted(["ok"])
    history = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    context = ExecutionContext(session_id="s-1", chat_history=history)
    await events_of(agent, context=context, input_mode="messages", system_prompt="Be calm.")
    assert agent.asked[-1] == {
        "messages": [{"role": "system", "content": "Be calm."}, *history, {"role": "user", "content": "hi"}]
    }
    assert agent.sessions == [None]
    await events_of(agent, context=context, input_mode="messages", use_session=False)
    assert agent.asked[-1] == {"messages": [{"role": "user", "content": "hi"}]}


async def test_without_a_session_the_agent_sees_none() -> None:
    agent = Scripted(["ok"])
    await events_of(agent, context=ExecutionContext(session_id="s-1"), use_session=False)
    await events_of(agent)
    assert agent.sessions == [None, None]


async def test_messages_of_the_input_win() -> None:
    agent = Scripted(["ok"])
    given = [{"role": "user", "content": "from the input"}]
    node = AgentNode("a", agent, input_mode="messages")
    async for _ in node.run(
        {"messages": given}, ExecutionContext(chat_history=[{"role": "user", "content": "x"}])
    ):
        pass
    assert agent.asked == [{"messages": given}]


async def test_nothing_to_ask() -> None:
    with pytest.raises(InputError, match="nothing to ask"):
        await events_of(Scripted(["ok"]), input="")


async def test_a_missing_template_name_fails_before_the_agent() -> None:
    agent = Scripted(["ok"])
    with pytest.raises(VariableResolutionError, match="tone"):
        await events_of(agent, system_prompt="{{$vars.tone}}")
    assert agent.asked == []


async def test_output_is_the_last_answer_and_its_tools() -> None:
    events = await events_of(Scripted(EVERYTHING))
    assert events[-1].type == "node_complete"
    assert events[-1].output == {
        "content": "Two hits.",
        "tool_calls": [
            {"id": "c-1", "name": "search", "arguments": {"q": "mesh"}, "status": "ok", "output": {"hits": 2}}
        ],
    }


async def test_an_agent_after_an_agent_reads_its_answer() -> None:
    first, second = Scripted(["one"]), Scripted(["two"])
    run = [e async for e in mesh_nb.Executor(graph_of(("a", first, {}), ("b", second, {}))).execute("go")]
    assert second.asked == [{"message": "one"}]
    assert run[-1].output["content"] == "two"


async def test_a_failing_agent_keeps_what_it_said() -> None:
    agent = Scripted(["partial", RuntimeError("the agent broke")])
    events: list[ExecutionEvent] = []
    stream = mesh_nb.Executor(graph_of(("a", agent, {}))).execute("go")

    async def consume() -> None:
        async for event in stream:
            events.append(event)

    with pytest.raises(NodeExecutionError) as caught:
        await consume()
    assert isinstance(caught.value.cause, RuntimeError)
    assert text_of(events) == "partial"
    (error,) = of_type(events, "node_error")
    assert (error.node_id, "the agent broke" in (error.error or "")) == ("a", True)
    assert [str(e.type) for e in events[-5:]] == [
        "message_complete",
        "response_metadata",
        "step_complete",
        "node_error",
        "execution_error",
    ]


async def test_a_registered_agent_kind_is_found() -> None:
    class Robot:
        words = "beep"

    class RobotPlugin:
        accepts = "a Robot"

        def matches(self, agent: object) -> bool:
            return isinstance(agent, Robot)

        async def run(self, agent: Any, input: Any, context: Any, **_: Any) -> Any:
            yield ExecutionEvent(EventType.MESSAGE_START)
            yield ExecutionEvent(EventType.TOKEN, content=f"{agent.words} {input['message']}")
            yield ExecutionEvent(EventType.MESSAGE_COMPLETE)

    mesh_nb.register("agent", "robot")(RobotPlugin())
    events = await events_of(Robot())
    assert events[-1].output["content"] == "beep hi"


def test_making_a_node_imports_no_agent_library() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); from agent_doubles import Scripted;"
        "from mesh_nb.nodes.agent import AgentNode; AgentNode('a', Scripted([]));"
        "print(sorted({'agents', 'vel', 'openai', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
