"""Settings that every provider writes in its own way: cache marks, headers, the choice of a tool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from answer_server import APIS, AnswerServer

import mesh_nb as mesh
from mesh_nb.core.errors import InputError, UnknownNameError
from mesh_nb.core.events import encode
from mesh_nb.nodes.llm import LLMNode
from mesh_nb.providers._call import ModelCall
from mesh_nb.providers.openai_chat import plugin as chat
from mesh_nb.providers.openai_responses import plugin as responses

EVERY = pytest.mark.parametrize("api", APIS)
MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer("fine") as running:
        yield running


def double(n: int) -> int:
    """Double it."""
    return 2 * n


async def ask(server: AnswerServer, api: str, session: str | None = None, **options: Any) -> mesh.Run:
    graph = mesh.StateGraph().add_node("llm", node_type="llm", **server.options(api, **options))
    run = graph.set_entry_point("llm").run(
        "Why?", session_id=session, backend=mesh.MemoryBackend(), display=False
    )
    return await run


# ---- headers
@EVERY
async def test_headers_go_along_and_are_not_logged(server: AnswerServer, api: str) -> None:
    headers = {"X-Team": "red", "X-Gateway-Token": "a-secret-of-the-gateway"}
    run = await ask(server, api, extra_headers=headers)
    sent = server.requests[0][2]
    assert (sent["x-team"], sent["x-gateway-token"]) == ("red", "a-secret-of-the-gateway")
    assert not [e for e in run.events if b"a-secret-of-the-gateway" in encode(e)]


@EVERY
async def test_a_header_of_ones_own_goes_before_ours(server: AnswerServer, api: str) -> None:
    name = "X-Goog-Api-Key" if api == "gemini" else "Authorization"
    await ask(server, api, extra_headers={name: "Bearer mine"})
    assert server.requests[0][2][name.lower()] == "Bearer mine"


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X": "a\nb"}, "the value of 'X'"),
        ({"X": 1}, "the value of 'X'"),
        ({"a b": "c"}, "the name 'a b'"),
        ({1: "c"}, "the name 1"),
        ("X: y", "extra_headers='X: y' must be a dict"),
    ],
)
def test_what_is_no_header(headers: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        LLMNode("llm", model="demo", extra_headers=headers)
    assert says in str(caught.value)


# ---- prompt_cache
async def test_anthropic_gets_marks_at_the_system_prompt_and_the_last_message(server: AnswerServer) -> None:
    for _ in range(2):
        await ask(server, "anthropic", "s", system_prompt="Be brief.", tools=[double], prompt_cache="auto")
    first, second = server.bodies
    assert first["system"] == [{"type": "text", "text": "Be brief.", **MARK}]
    assert first["messages"][-1]["content"] == [{"type": "text", "text": "Why?", **MARK}]
    marks = [b for m in second["messages"] for b in m["content"] if "cache_control" in b]
    assert marks == [second["messages"][-1]["content"][-1]]
    assert all("cache_control" not in t for t in first["tools"])


async def test_anthropic_gets_a_mark_at_the_last_tool_without_a_system_prompt(server: AnswerServer) -> None:
    await ask(server, "anthropic", tools=[double, "web_search"], prompt_cache="auto")
    assert ["cache_control" in t for t in server.bodies[0]["tools"]] == [False, True]
    await ask(server, "anthropic", tools=[double, "web_search"])
    assert "cache_control" not in str(server.bodies[1])


def openai_key(plugin: Any, server: AnswerServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Send through a plug-in as if the server were OpenAI's own, and return the bodies that came."""
    from mesh_nb.providers import _hosts

    monkeypatch.setattr(_hosts, "is_openai", lambda base_url: True)

    async def send(system: str, question: str, **more: Any) -> dict[str, Any]:
        call = ModelCall(
            "gpt-5",
            [{"role": "user", "content": question}],
            system=system,
            base_url=f"{server.url}/v1",
            api_key="k",
            prompt_cache="auto",
            **more,
        )
        async for _ in plugin.stream(call):
            pass
        return server.bodies[-1]

    return send


@pytest.mark.parametrize("plugin", [chat, responses], ids=["chat", "responses"])
async def test_openai_gets_one_key_for_requests_that_begin_alike(
    server: AnswerServer, monkeypatch: pytest.MonkeyPatch, plugin: Any
) -> None:
    send = openai_key(plugin, server, monkeypatch)
    keys = [
        (await send(system, question))["prompt_cache_key"]
        for system, question in [("A", "x"), ("A", "y"), ("B", "x")]
    ]
    assert keys[0] == keys[1] != keys[2]
    assert len(keys[0]) <= 64
    assert (await send("A", "x", extra={"prompt_cache_key": "mine"}))["prompt_cache_key"] == "mine"


@EVERY
async def test_servers_that_cache_by_themselves_get_nothing(server: AnswerServer, api: str) -> None:
    await ask(server, api, prompt_cache="auto")
    if api != "anthropic":
        assert "cache" not in str(server.bodies[0])


def test_another_prompt_cache_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="prompt_cache 'always' of node 'llm'"):
        LLMNode("llm", model="demo", prompt_cache="always")


# ---- tool_choice
@pytest.mark.parametrize(
    ("api", "choice", "sent"),
    [
        ("responses", "web_search", {"type": "web_search"}),
        ("responses", "double", {"type": "function", "name": "double"}),
        ("anthropic", "web_search", {"type": "tool", "name": "web_search"}),
        ("anthropic", "tool_search_regex", {"type": "tool", "name": "tool_search_tool_regex"}),
        ("anthropic", "web_search_20250305", {"type": "tool", "name": "web_search"}),
        ("anthropic", "required", {"type": "any"}),
    ],
)
async def test_a_tool_of_the_providers_own_can_be_the_choice(
    server: AnswerServer, api: str, choice: str, sent: Any
) -> None:
    named = choice if choice not in ("double", "required") else "web_search"
    await ask(server, api, tools=[double, named], tool_choice=choice)
    assert server.bodies[0]["tool_choice"] == sent


async def test_gemini_decides_itself_about_its_own_tools(server: AnswerServer) -> None:
    for tools in (["web_search"], [double, "web_search"]):
        with pytest.raises(InputError, match="about its own tools Gemini decides"):
            await ask(server, "gemini", tools=tools, tool_choice="web_search")
    assert server.requests == []


def test_a_choice_that_is_no_tool_names_the_tools() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'web_search'"):
        LLMNode("llm", model="demo", tools=[double, "web_search"], tool_choice="websearch")
