"""Foreign agents for tests: objects of our own that speak Vel's protocol, and the real libraries."""

from __future__ import annotations

import asyncio
import base64
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.nodes.agent import AgentNode
from mesh_nb.nodes.llm import LLMNode

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))


class Scripted:
    """An agent that yields the items it was given, and notes what it was asked and whether it was closed."""

    def __init__(self, items: Iterable[Any], *, model: Any = "gpt-4-scripted") -> None:
        self.items, self.model = list(items), model
        self.asked: list[dict[str, Any]] = []
        self.sessions: list[str | None] = []
        self.closed = 0

    async def run_stream(self, input: dict[str, Any], session_id: str | None = None) -> AsyncIterator[Any]:
        self.asked.append(input)
        self.sessions.append(session_id)
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
                await asyncio.sleep(0)
        finally:
            self.closed += 1


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"promptTokens": prompt, "completionTokens": completion, "totalTokens": prompt + completion}


EVERYTHING: list[dict[str, Any]] = [
    {"type": "start", "messageId": "m-1"},
    {"type": "data-progress", "data": {"percent": 40}, "transient": True},
    {"type": "start-step"},
    {"type": "reasoning-start", "id": "0"},
    {"type": "reasoning-delta", "id": "0", "delta": "Let me "},
    {"type": "reasoning-delta", "id": "0", "delta": "think."},
    {"type": "reasoning-end", "id": "0"},
    {"type": "text-start", "id": "1"},
    {"type": "text-delta", "id": "1", "delta": "I will "},
    {"type": "text-delta", "id": "1", "delta": "search."},
    {"type": "tool-input-start", "toolCallId": "c-1", "toolName": "search"},
    {"type": "tool-input-delta", "toolCallId": "c-1", "inputTextDelta": '{"q": "mesh"}'},
    {"type": "text-end", "id": "1"},
    {"type": "response-metadata", "id": "r-1", "modelId": "gpt-4-0613", "usage": usage(10, 5)},
    {"type": "tool-input-available", "toolCallId": "c-1", "toolName": "search", "input": {"q": "mesh"}},
    {"type": "tool-output-available", "toolCallId": "c-1", "output": {"hits": 2}},
    {"type": "finish-step"},
    {"type": "start-step"},
    {"type": "text-start", "id": "1"},
    {"type": "text-delta", "id": "1", "delta": "Two "},
    {"type": "text-delta", "id": "1", "delta": "hits."},
    {
        "type": "source",
        "sources": [{"url": "https://a.example", "title": "A"}, {"url": "https://b.example"}],
    },
    {"type": "file", "name": "chart.png", "mimeType": "image/png", "content": base64.b64encode(PNG).decode()},
    {"type": "text-end", "id": "1"},
    {"type": "response-metadata", "id": "r-2", "modelId": "gpt-4-0613", "usage": usage(20, 7)},
    {"type": "finish-step"},
    {"type": "data-rlm-step-start", "data": {"step": 1}},
    {"type": "data-rlm-complete", "data": {"answer": "", "meta": {"budget": {"steps": 3}}}},
    {"type": "finish"},
]
"""One run of an agent that emits everything the Events document names."""


async def events_of(agent: Any, input: Any = "hi", **options: Any) -> list[ExecutionEvent]:
    """Run an agent node once, outside a graph."""
    context = options.pop("context", None) or ExecutionContext()
    node = AgentNode("agent", agent, **options)
    return [event async for event in node.run({"input": input}, context)]


async def events_and_error(agent: Any, **options: Any) -> tuple[list[ExecutionEvent], Exception | None]:
    """Run an agent node once and keep what it said before it failed."""
    return await node_events_and_error(AgentNode("agent", agent, **options))


async def node_events_and_error(node: Any) -> tuple[list[ExecutionEvent], Exception | None]:
    """Run a node once and keep what it said before it failed."""
    events: list[ExecutionEvent] = []
    node.check()
    try:
        async for event in node.run({"input": "hi"}, ExecutionContext()):
            events.append(event)
    except Exception as error:  # noqa: BLE001
        return events, error
    return events, None


def types(events: Iterable[ExecutionEvent]) -> list[str]:
    """The event types, runs of the same delta joined into one."""
    out: list[str] = []
    for event in events:
        if not out or out[-1] != event.type or ("delta" not in event.type and "token" not in event.type):
            out.append(str(event.type))
    return out


def of_type(events: Iterable[ExecutionEvent], kind: str) -> list[ExecutionEvent]:
    return [event for event in events if event.type == kind]


def text_of(events: Iterable[ExecutionEvent]) -> str:
    return "".join(event.content for event in events if event.type == "token")


def assert_grammar(events: list[ExecutionEvent]) -> None:
    """Starts and ends balance, and each model call has its grammar: the contract of ARCHITECTURE.md."""
    counts = Counter(str(event.type) for event in events)
    for start, end in (
        ("message_start", "message_complete"),
        ("reasoning_start", "reasoning_end"),
        ("tool_call_start", "tool_call_complete"),
        ("step_start", "step_complete"),
        ("model_call_start", "response_metadata"),
    ):
        assert counts[start] == counts[end], (start, counts)
    assert counts["step_start"] >= 1
    call: str | None = None
    message = False
    thinking: str | None = None
    asked: set[str] = set()
    step: int | None = None
    for event in events:
        meta = event.metadata
        match event.type:
            case EventType.STEP_START:
                assert step is None
                step = meta["step_index"]
            case EventType.STEP_COMPLETE:
                assert step == meta["step_index"]
                assert call is None
                assert isinstance(meta["usage"], dict)
                assert meta["finish_reason"]
                step = None
            case EventType.MODEL_CALL_START:
                assert call is None
                assert step is not None
                call = meta["call_id"]
            case EventType.MESSAGE_START:
                assert call is not None
                assert not message
                assert thinking is None
                message = True
            case EventType.TOKEN:
                assert message
                assert thinking is None
                assert isinstance(event.content, str)
                assert event.content
                assert meta["text_block_id"]
                assert meta["event_subtype"] in ("text", "refusal")
            case EventType.MESSAGE_COMPLETE:
                assert message
                assert meta["finish_reason"]
                assert meta["message_id"]
                message = False
            case EventType.REASONING_START:
                assert call is not None
                thinking = meta["block_id"]
            case EventType.REASONING_TOKEN:
                assert meta["block_id"] == thinking
            case EventType.REASONING_END:
                assert meta["block_id"] == thinking
                thinking = None
            case EventType.TOOL_CALL_START:
                asked.add(meta["tool_call_id"])
            case EventType.TOOL_CALL_DELTA:
                assert meta["tool_call_id"] in asked
            case EventType.TOOL_CALL_COMPLETE:
                asked.remove(meta["tool_call_id"])
                assert meta["status"]
            case EventType.RESPONSE_METADATA:
                assert meta["call_id"] == call
                assert not message
                assert meta["model_id"]
                assert isinstance(meta["usage"], dict)
                call = None
            case _:
                pass


def import_vel() -> Any:
    """Import vel, which warns about an end-of-life Google package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vel

    return vel


async def get_item(index: int, name: str) -> dict[str, Any]:
    """Get an item."""
    return {"index": index, "got": name}


def vel_agent(base_url: str, model: str, *, provider: str = "openai", **options: Any) -> Any:
    """A real Vel agent on the replay server."""
    vel = import_vel()
    cfg = {"provider": provider, "model": model, "api_key": "sk-test-0000", "base_url": base_url}
    options.setdefault("tools", [vel.ToolSpec.from_function(get_item)])
    return vel.Agent(id="tester", model=cfg, **options)


@asynccontextmanager
async def openai_agent(base_url: str, model: str, *, api: str = "chat", **options: Any) -> AsyncIterator[Any]:
    """A real agents.Agent on the replay server."""
    import agents
    from openai import AsyncOpenAI

    kind = agents.OpenAIChatCompletionsModel if api == "chat" else agents.OpenAIResponsesModel
    async with AsyncOpenAI(base_url=base_url, api_key="sk-test-0000", max_retries=0) as client:
        options.setdefault("tools", [agents.function_tool(get_item)])
        yield agents.Agent(name="tester", model=kind(model=model, openai_client=client), **options)


@asynccontextmanager
async def _real_vel(base_url: str, model: str) -> AsyncIterator[Any]:
    yield vel_agent(base_url, model)


@asynccontextmanager
async def pydantic_agent(
    base_url: str, model: str, *, api: str = "chat", **options: Any
) -> AsyncIterator[Any]:
    """A real pydantic_ai.Agent on the replay server: api is chat, responses or anthropic."""
    from pydantic_ai import Agent

    options.setdefault("tools", [get_item])
    if api == "anthropic":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        url = base_url.removesuffix("/v1")
        async with AsyncAnthropic(base_url=url, api_key="sk-test-0000", max_retries=0) as vendor:
            yield Agent(AnthropicModel(model, provider=AnthropicProvider(anthropic_client=vendor)), **options)
        return
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    kind = OpenAIChatModel if api == "chat" else OpenAIResponsesModel
    async with AsyncOpenAI(base_url=base_url, api_key="sk-test-0000", max_retries=0) as client:
        yield Agent(kind(model, provider=OpenAIProvider(openai_client=client)), **options)


@asynccontextmanager
async def chat_model(base_url: str, model: str, *, api: str = "chat", **options: Any) -> AsyncIterator[Any]:
    """A real langchain_openai.ChatOpenAI on the replay server."""
    import httpx2
    from langchain_openai import ChatOpenAI

    options = {"max_retries": 0, "stream_usage": True, "use_responses_api": api == "responses", **options}
    # Its own clients are never closed.
    async with httpx2.AsyncClient() as client:
        yield ChatOpenAI(
            model=model, base_url=base_url, api_key="sk-test-0000", http_async_client=client, **options
        )


@asynccontextmanager
async def langgraph_agent(
    base_url: str, model: str, *, api: str = "chat", tools: Any = (get_item,), checkpointer: Any = None
) -> AsyncIterator[Any]:
    """A real compiled graph: a model node, a tool node, and the edges between them."""
    from langchain_core.tools import tool
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    made = [tool(t) if callable(t) and not hasattr(t, "ainvoke") else t for t in tools]

    async def ask(state: Any) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("model", ask)
    graph.add_node("tools", ToolNode(made))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    async with chat_model(base_url, model, api=api) as llm:
        bound = llm.bind_tools(made) if made else llm
        yield graph.compile(checkpointer=checkpointer)


@asynccontextmanager
async def generator_agent(base_url: str, model: str, **options: Any) -> AsyncIterator[Any]:
    """An async generator function that asks a model through an llm node, and hands on what it says."""
    options = {
        "provider": "openai",
        "base_url": base_url,
        "api_key": "sk-test-0000",
        "max_retries": 0,
        **options,
    }
    node = LLMNode("inner", model=model, tools=options.pop("tools", [get_item]), **options)
    node.check()

    async def helper(message: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        async with aclosing(cast("Any", node.run({"input": message}, ExecutionContext()))) as events:
            async for event in events:
                yield event

    yield helper


REAL = {
    "generator": generator_agent,
    "vel": _real_vel,
    "openai_agents": openai_agent,
    "pydantic_ai": pydantic_agent,
    "langgraph": langgraph_agent,
}
"""How to make a real agent of each plug-in's library on the replay server, with the tool get_item."""
