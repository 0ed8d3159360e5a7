"""LangGraph, the real library against the replay server."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import pytest
from agent_doubles import (
    assert_grammar,
    chat_model,
    events_and_error,
    events_of,
    get_item,
    langgraph_agent,
    of_type,
    text_of,
    types,
)
from run_doubles import until as run_until
from support import streams, until
from typing_extensions import TypedDict

import mesh_nb
from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import (
    AuthenticationError,
    IncompleteStreamError,
    InputError,
    ProviderError,
    RateLimitError,
    UnknownNameError,
)
from mesh_nb.nodes.agent import AgentNode

APIS = pytest.mark.parametrize("api", ["chat", "responses"])


class Words(TypedDict):
    question: str
    answer: str


def graph_of(schema: Any, *functions: Any, checkpointer: Any = None) -> Any:
    """A graph of plain functions, one after the other."""
    from langgraph.graph import START, StateGraph

    graph: Any = StateGraph(schema)
    graph.add_sequence([(function.__name__, function) for function in functions])
    graph.add_edge(START, functions[0].__name__)
    return graph.compile(checkpointer=checkpointer)


def updates(events: Any) -> list[Any]:
    return [
        e.content for e in of_type(events, "custom_data") if e.metadata["data_type"] == "data-graph-update"
    ]


@APIS
async def test_text_and_usage(replay: Any, api: str) -> None:
    async with langgraph_agent(replay.base_url, "synthetic-3", api=api) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    assert types(events) == [
        "step_start",
        "model_call_start",
        "message_start",
        "token",
        "message_complete",
        "response_metadata",
        "custom_data",
        "step_complete",
        "node_complete",
    ]
    assert [e.content for e in of_type(events, "token")] == ["tok0 ", "tok1 ", "tok2 "]
    assert events[-1].output == {"content": "tok0 tok1 tok2 ", "tool_calls": []}
    meta = of_type(events, "response_metadata")[0].metadata
    assert (meta["model_id"], meta["provider"], meta["finish_reason"]) == ("synthetic-3", "openai", "stop")
    assert meta["usage"]["prompt_tokens"] == 10
    assert meta["usage"]["completion_tokens"] == 3
    assert meta["usage"]["total_tokens"] == 13
    assert meta["duration_ms"] >= meta["time_to_first_token_ms"] > 0
    (update,) = updates(events)
    assert set(update) == {"node", "update"}
    assert update["node"] == "model"
    assert update["update"]["messages"][0]["type"] == "ai"


async def test_reasoning_of_the_responses_api(replay: Any) -> None:
    async with langgraph_agent(replay.base_url, "synthetic-3-r2", api="responses") as agent:
        events = await events_of(agent)
    assert_grammar(events)
    assert "".join(e.content for e in of_type(events, "reasoning_token")) == "why0 why1 "
    assert text_of(events) == "tok0 tok1 tok2 "
    assert of_type(events, "response_metadata")[0].metadata["usage"]["reasoning_tokens"] == 2


@APIS
async def test_tools(replay: Any, api: str) -> None:
    async with langgraph_agent(replay.base_url, "synthetic-2-t2+synthetic-3", api=api) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    fragments = of_type(events, "tool_call_delta")
    for number, call in enumerate(of_type(events, "tool_call_start")):
        id = call.metadata["tool_call_id"]
        text = "".join(f.content for f in fragments if f.metadata["tool_call_id"] == id)
        assert json.loads(text) == {"index": number, "name": f"item {number}"}
    done = of_type(events, "tool_call_complete")
    assert [d.output for d in done] == [{"index": i, "got": f"item {i}"} for i in (0, 1)]
    assert [d.metadata["arguments"] for d in done] == [{"index": i, "name": f"item {i}"} for i in (0, 1)]
    steps = [s.metadata for s in of_type(events, "step_complete")]
    assert [(s["step_index"], s["finish_reason"]) for s in steps] == [(0, "tool_calls"), (1, "stop")]
    assert [u["node"] for u in updates(events)] == ["model", "tools", "model"]
    assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_a_tool_error_that_the_model_hears_of(replay: Any) -> None:
    from langchain_core.tools import ToolException, tool

    def get_item(index: int, name: str) -> str:
        """Get an item."""
        raise ToolException("It is gone.")

    made = tool(get_item)
    made.handle_tool_error = True
    async with langgraph_agent(replay.base_url, "synthetic-1-t1+synthetic-3", tools=[made]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    (done,) = of_type(events, "tool_call_complete")
    assert (done.metadata["status"], done.error) == ("error", "It is gone.")


async def test_a_tool_that_raises_ends_the_run_with_its_own_exception(replay: Any) -> None:
    def get_item(index: int, name: str) -> str:
        """Get an item."""
        raise ZeroDivisionError("no items")

    async with langgraph_agent(replay.base_url, "synthetic-1-t1", tools=[get_item]) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, ZeroDivisionError)
    assert_grammar(events)
    assert of_type(events, "tool_call_complete")[0].metadata["status"] == "cancelled"
    assert of_type(events, "response_metadata")[0].metadata["usage_status"] == "reported"


async def test_model_calls_that_overlap_are_told_one_after_the_other(replay: Any) -> None:
    from langgraph.graph import START, StateGraph

    class State(TypedDict):
        messages: Annotated[list[Any], lambda a, b: a + b]

    graph: Any = StateGraph(State)
    async with (
        chat_model(replay.base_url, "synthetic-6@delay=0.004") as slow,
        chat_model(replay.base_url, "synthetic-5@delay=0.004") as quick,
    ):

        async def both(state: Any) -> Any:
            return {"messages": list(await asyncio.gather(slow.ainvoke("a"), quick.ainvoke("b")))}

        async def alone(state: Any) -> Any:
            return {"messages": [await quick.ainvoke("c")]}

        graph.add_node("both", both)
        graph.add_node("alone", alone)
        graph.add_edge(START, "both")
        graph.add_edge(START, "alone")
        events = await events_of(graph.compile())
    assert_grammar(events)
    assert replay.stats["max_active"] > 1
    calls: list[str] = []
    for event in events:
        if event.type == "model_call_start":
            calls.append("")
        elif event.type == "token":
            calls[-1] += event.content
    words = [f"tok{i} " for i in range(6)]
    assert sorted(calls) == sorted(["".join(words), "".join(words[:5]), "".join(words[:5])])
    assert len(of_type(events, "response_metadata")) == 3
    assert sum(m.metadata["usage"]["completion_tokens"] for m in of_type(events, "response_metadata")) == 16


async def test_a_subgraph_says_where_it_is(replay: Any) -> None:
    from langgraph.graph import START, MessagesState, StateGraph

    async with langgraph_agent(replay.base_url, "synthetic-3") as inner:
        graph: Any = StateGraph(MessagesState)
        graph.add_node("helper", inner)
        graph.add_edge(START, "helper")
        events = await events_of(graph.compile())
    assert_grammar(events)
    assert text_of(events) == "tok0 tok1 tok2 "
    assert len(of_type(events, "model_call_start")) == 1
    inside, outside = updates(events)
    assert (inside["node"], len(inside["path"])) == ("model", 1)
    assert inside["path"][0].startswith("helper:")
    assert outside["node"] == "helper"
    assert "path" not in outside


async def test_what_a_node_writes_to_the_stream_is_custom_data() -> None:
    from langgraph.config import get_stream_writer

    def work(state: Words) -> Any:
        write = get_stream_writer()
        write({"percent": 40})
        write({"type": "data-progress", "data": {"percent": 60}})
        return {"answer": state["question"].upper()}

    events = await events_of(graph_of(Words, work), run_options={"input": {"question": "q"}})
    assert_grammar(events)
    said = [(e.metadata["data_type"], e.content) for e in of_type(events, "custom_data")]
    assert said == [
        ("data-graph-custom", {"percent": 40}),
        ("data-progress", {"percent": 60}),
        ("data-graph-update", {"node": "work", "update": {"answer": "Q"}}),
    ]
    assert events[-1].output["state"] == {"question": "q", "answer": "Q"}
    assert json.loads(events[-1].output["content"]) == {"question": "q", "answer": "Q"}


async def test_a_graph_without_a_model_that_answers_with_a_message() -> None:
    from langchain_core.messages import AIMessage
    from langgraph.graph import MessagesState

    def say(state: Any) -> Any:
        return {"messages": [AIMessage(f"You said {state['messages'][-1].content}.")]}

    events = await events_of(graph_of(MessagesState, say))
    assert_grammar(events)
    assert events[-1].output == {"content": "You said hi.", "tool_calls": []}
    meta = of_type(events, "response_metadata")[0].metadata
    assert (meta["provider"], meta["model_id"], meta["usage_status"]) == ("agent", "LangGraph", "unknown")


async def test_an_entrypoint_is_a_graph_too() -> None:
    from langgraph.func import entrypoint

    @entrypoint()
    async def shout(text: str) -> str:
        return text.upper()

    events = await events_of(shout)
    assert_grammar(events)
    assert events[-1].output["content"] == "HI"


async def test_a_graph_with_one_key_gets_the_text_in_it_and_one_with_more_is_refused() -> None:
    class One(TypedDict):
        text: str

    def shout(state: One) -> Any:
        return {"text": state["text"].upper()}

    def never(state: Words) -> Any:
        raise AssertionError

    assert (await events_of(graph_of(One, shout)))[-1].output["content"] == "HI"
    with pytest.raises(InputError, match="takes 'question', 'answer', and no messages"):
        await events_of(graph_of(Words, never))


async def test_an_interrupt_is_in_the_output_and_is_answered_with_a_command() -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command, interrupt

    def ask(state: Words) -> Any:
        return {"answer": interrupt({"ask": "Send it?"})}

    graph = graph_of(Words, ask, checkpointer=InMemorySaver())
    context = ExecutionContext(session_id="s-1")
    first = await events_of(graph, context=context, run_options={"input": {"question": "q"}})
    assert_grammar(first)
    (told,) = of_type(first, "custom_data")
    assert told.metadata["data_type"] == "data-graph-interrupt"
    assert told.content["value"] == {"ask": "Send it?"}
    assert first[-1].output["interrupts"] == [told.content]
    then = await events_of(graph, context=context, run_options={"input": Command(resume="yes")})
    assert then[-1].output["state"] == {"question": "q", "answer": "yes"}
    assert "interrupts" not in then[-1].output


async def test_an_interrupt_is_a_question_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import interrupt

    monkeypatch.setenv("MESH_HOME", str(tmp_path))

    def ask(state: Words) -> Any:
        first, second = interrupt("To whom?"), interrupt({"really": True})
        return {"answer": f"{first}, {second}"}

    flow = graph_of(Words, ask, checkpointer=InMemorySaver())
    graph = mesh_nb.StateGraph()
    graph.add_node("flow", flow, node_type="agent", run_options={"input": {"question": "q"}})
    graph.set_entry_point("flow")
    run = graph.run("go", on_no_answer="wait", display=False)
    await run_until(run, lambda: bool(run.pending))
    (question,) = run.pending
    assert (question.kind, question.message) == ("input", "To whom?")
    run.edit("Ann")
    await run_until(run, lambda: any(q.data == {"really": True} for q in run.pending))
    run.approve()
    assert (await run).output["state"] == {"question": "q", "answer": "Ann, True"}
    assert "interrupts" not in run.output
    assert_grammar([e for e in run.events if e.node_id == "flow"])

    run = graph.run("go", on_no_answer="wait", display=False)
    await run_until(run, lambda: bool(run.pending))
    run.reject("not today")
    with pytest.raises(mesh_nb.NodeExecutionError, match="not today"):
        await run
    assert_grammar([e for e in run.events if e.node_id == "flow"])

    events = [e async for e in mesh_nb.Executor(graph).execute("go")]
    assert events[-1].metadata["status"] == "interrupted"


@pytest.mark.parametrize("session", [None, "s-1"])
async def test_a_run_that_ended_at_a_question_goes_on_with_the_answer(
    session: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import interrupt

    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    ran: list[str] = []

    def begin(state: Words) -> Any:
        ran.append("begin")
        return {"answer": ""}

    def ask(state: Words) -> Any:
        return {"answer": interrupt("To whom?")}

    flow = graph_of(Words, begin, ask, checkpointer=InMemorySaver())
    graph = mesh_nb.StateGraph()
    graph.add_node("flow", flow, node_type="agent", run_options={"input": {"question": "q"}})
    run = graph.set_entry_point("flow").run("go", session_id=session, on_no_answer="stop", display=False)
    await run
    assert (run.status, len(run.pending)) == ("interrupted", 1)
    run = run.edit("Ann")
    assert (await run).output["state"] == {"question": "q", "answer": "Ann"}
    # A session's thread remembers how far the graph had come.
    assert ran == (["begin"] if session else ["begin", "begin"])


async def test_what_cannot_be_resumed_is_in_the_output() -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import interrupt

    def ask(state: Words) -> Any:
        return {"answer": interrupt("ok?")}

    for checkpointer, more, found in (
        (None, {}, "ok?"),
        (InMemorySaver(), {"interrupt_before": ["ask"]}, None),
    ):
        graph = mesh_nb.StateGraph()
        options = {"input": {"question": "q"}, **more}
        flow = graph_of(Words, ask, checkpointer=checkpointer)
        graph.add_node("flow", flow, node_type="agent", run_options=options).set_entry_point("flow")
        events = [e async for e in mesh_nb.Executor(graph).execute("go")]
        assert events[-1].metadata["status"] == "completed"
        assert [i["value"] for i in events[-1].output["interrupts"]] == [found]


@APIS
async def test_failures_before_the_first_word(replay: Any, api: str) -> None:
    for options, kind, status in (
        ("fail=-1,status=401", AuthenticationError, 401),
        ("fail=-1,status=429", RateLimitError, 429),
        ("fail=-1,status=500", ProviderError, 500),
    ):
        model = f"synthetic-3@{options}"
        async with langgraph_agent(replay.base_url, model, api=api) as agent:
            events, error = await events_and_error(agent)
        assert type(error) is kind
        assert (error.provider, error.model, error.status) == ("openai", model, status)
        assert error.message == "replay: asked to fail"
        assert "sk-test" not in str(error) + repr(error)
        assert_grammar(events)


@pytest.mark.parametrize(
    ("options", "api", "kind"),
    [
        ("drop_event=7", "chat", ProviderError),
        ("drop_event=7", "responses", ProviderError),
        ("error=7", "chat", ProviderError),
        ("error=7", "responses", ValueError),
        ("cut_event=7", "chat", IncompleteStreamError),
        ("cut_event=7", "responses", IncompleteStreamError),
    ],
)
async def test_failures_in_the_middle_keep_the_words(replay: Any, options: str, api: str, kind: Any) -> None:
    async with langgraph_agent(replay.base_url, f"synthetic-9@{options}", api=api) as agent:
        events, error = await events_and_error(agent)
    assert isinstance(error, kind)
    assert_grammar(events)
    assert text_of(events).startswith("tok0 tok1 ")
    assert "tok8" not in text_of(events)
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "error"
    assert of_type(events, "step_complete")[0].metadata["finish_reason"] == "error"


async def test_leaving_leaves_no_task(replay: Any) -> None:
    before = asyncio.all_tasks()
    async with langgraph_agent(replay.base_url, "synthetic-500@delay=0.02") as agent:
        async with aclosing(AgentNode("a", agent).run({"input": "hi"}, ExecutionContext())) as stream:
            async for event in stream:
                if event.type == "token":
                    break
        await until(lambda: replay.stats["client_disconnects"] == 1)
    assert asyncio.all_tasks() == before


async def test_native_events_are_the_librarys(replay: Any) -> None:
    async with langgraph_agent(replay.base_url, "synthetic-1-t1+synthetic-3") as agent:
        modes = ["messages", "updates", "custom"]
        start = {"messages": [("user", "hi")]}
        sent = [mode async for _, mode, _ in agent.astream(start, stream_mode=modes, subgraphs=True)]
        replay.server.reset()
        events = await events_of(agent, use_native_events=True)
    assert_grammar(events)
    natives = [
        e.metadata.get("native") or e.content
        for e in events
        if "native" in e.metadata or e.metadata.get("data_type") == "native"
    ]
    assert [n["mode"] for n in natives] == sent
    token = of_type(events, "token")[-1]
    assert token.metadata["native"]["data"]["message"]["content"] == token.content
    assert all(json.dumps(e.to_dict()) for e in events)


def said(request: Any) -> list[Any]:
    return [m["content"] for m in request["body"]["messages"]]


async def test_history_goes_in_front_unless_the_graph_remembers(replay: Any) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    history = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}]
    context = ExecutionContext(session_id="s", chat_history=history, variables={"how": "calm"})
    async with langgraph_agent(replay.base_url, "synthetic-1") as agent:
        await events_of(agent, context=context, system_prompt="Be {{$vars.how}}.")
        await events_of(agent, context=context, input_mode="messages", system_prompt="Mind.")
        await events_of(agent, context=context, use_session=False)
    assert [said(r) for r in replay.requests] == [
        ["q1", "a1", "Be calm.\n\nhi"],
        ["Mind.", "q1", "a1", "hi"],
        ["hi"],
    ]
    replay.server.reset()
    async with langgraph_agent(replay.base_url, "synthetic-1", checkpointer=InMemorySaver()) as agent:
        await events_of(agent, context=context)
        await events_of(agent, context=context)
        await events_of(agent, context=context, use_session=False)
        await events_of(agent)
        await events_of(agent)
    assert [said(r) for r in replay.requests] == [["hi"], ["hi", "tok0 ", "hi"], ["hi"], ["hi"], ["hi"]]


async def test_run_options_go_to_the_library(replay: Any) -> None:
    from langgraph.errors import GraphRecursionError

    async with langgraph_agent(replay.base_url, "synthetic-1-t1") as agent:
        events, error = await events_and_error(agent, run_options={"config": {"recursion_limit": 2}})
        assert isinstance(error, GraphRecursionError)
        assert_grammar(events)
        assert replay.stats["requests"] == 1
        for wrong in ("contxt", "stream_mode", "subgraphs"):
            with pytest.raises(UnknownNameError, match=r"Unknown option .* of CompiledStateGraph\.astream"):
                await events_of(agent, run_options={wrong: 1})


async def test_the_users_config_and_callbacks_are_kept_and_never_changed(replay: Any) -> None:
    from langchain_core.callbacks import BaseCallbackHandler, CallbackManager

    class Count(BaseCallbackHandler):
        models = 0

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.models += 1

    def manager(handler: Any) -> Any:
        return CallbackManager(handlers=[handler], inheritable_handlers=[handler])

    for wrap in (lambda handler: [handler], manager):
        count = Count()
        config = {"callbacks": wrap(count), "tags": ["t"]}
        async with langgraph_agent(replay.base_url, "synthetic-1") as agent:
            events = await events_of(agent, run_options={"config": config})
        assert count.models == 1
        assert set(config) == {"callbacks", "tags"}
        assert getattr(config["callbacks"], "handlers", config["callbacks"]) == [count]
        assert of_type(events, "response_metadata")[0].metadata["requested_model"] == "synthetic-1"


async def test_structured_response_is_parsed(replay: Any) -> None:
    class State(TypedDict):
        messages: list[Any]
        structured_response: Any

    def answer(state: State) -> Any:
        return {"structured_response": {"city": "Oslo", "days": 3}}

    events = await events_of(graph_of(State, answer))
    assert events[-1].output["parsed"] == {"city": "Oslo", "days": 3}
    assert json.loads(events[-1].output["content"]) == {"city": "Oslo", "days": 3}


RECORDED = [
    ("openai/responses-text", "responses"),
    ("openai/responses-refusal", "responses"),
    ("openai/responses-incomplete", "responses"),
    ("openai/responses-reasoning-summary", "responses"),
    ("openai/responses-url-citation", "responses"),
    ("openai/responses-web-search-long", "responses"),
    ("openai/responses-file-search", "responses"),
    ("openai/chat-text", "chat"),
]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(("case", "api"), RECORDED)
@pytest.mark.skipif(streams() is None, reason="recorded provider streams are not beside the checkout")
async def test_recorded_streams_yield_their_facts(replay: Any, case: str, api: str) -> None:
    root = streams()
    assert root is not None
    want = json.loads((root / case / "expect.json").read_text())
    async with langgraph_agent(replay.base_url, case, api=api, tools=[]) as agent:
        events = await events_of(agent)
    assert_grammar(events)
    words = {"text": "", "refusal": ""}
    for token in of_type(events, "token"):
        words[token.metadata["event_subtype"]] += token.content
    assert digest(words["text"]) == want["text"]["sha256"]
    assert words["refusal"] == (want["refusal"] or {"value": ""})["value"]
    reasoning = "".join(e.content for e in of_type(events, "reasoning_token"))
    assert digest(reasoning) == want["reasoning"]["sha256"]
    (meta,) = (e.metadata for e in of_type(events, "response_metadata"))
    assert meta["model_id"] == want["model_id"]
    assert meta["finish_reason"] == want["finish"]
    assert meta["usage"]["prompt_tokens"] == want["usage"]["input_total"]
    assert meta["usage"]["completion_tokens"] == want["usage"]["output_total"]
    cited = [s["url"] for e in of_type(events, "source") for s in e.metadata["sources"] if "url" in s]
    assert list(dict.fromkeys(cited)) == list(dict.fromkeys(want["sources"]["cited_urls"]))


def test_matches_compiled_graphs_only() -> None:
    from langgraph.func import entrypoint
    from langgraph.graph import MessagesState, StateGraph

    plugin = plugins.find("agent", "langgraph")

    def say(state: Any) -> Any:
        return {}

    @entrypoint()
    def flow(text: str) -> str:
        return text

    assert plugin.matches(graph_of(MessagesState, say))
    assert plugin.matches(flow)
    assert not plugin.matches(StateGraph(MessagesState))
    assert not plugin.matches(get_item)
