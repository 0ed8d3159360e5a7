"""Tools that a provider runs, in an llm node: shown, and never run here, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from answer_server import AnswerServer, sse

import mesh_nb as mesh

ran: list[str] = []


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    ran.clear()
    with AnswerServer("Then I will not.") as running:
        yield running


def items(*found: dict[str, Any]) -> bytes:
    """An answer of the Responses API that is made of these items."""
    base = {"id": "resp_1", "object": "response", "model": "m", "status": "in_progress", "output": []}
    told: list[dict[str, Any]] = []
    for index, item in enumerate(found):
        told.append({"type": "response.output_item.added", "output_index": index, "item": item})
        told.append({"type": "response.output_item.done", "output_index": index, "item": item})
    end = {**base, "status": "completed", "output": list(found)}
    return sse(
        {"type": "response.created", "response": base}, *told, {"type": "response.completed", "response": end}
    )


def rm(path: str) -> str:
    """Remove a file of this computer."""
    ran.append(path)
    return "removed"


async def ask(server: AnswerServer, **options: Any) -> mesh.Run:
    graph = mesh.StateGraph().add_node("llm", node_type="llm", **server.options("responses", **options))
    return await graph.set_entry_point("llm").run("Do it.", backend=mesh.MemoryBackend(), display=False)


REQUEST = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "far",
    "name": "rm",
    "arguments": '{"path": "/"}',
}


@pytest.mark.parametrize("tools", [[], [rm]])
async def test_a_request_for_approval_is_denied_and_never_run_here(
    server: AnswerServer, tools: list[Any]
) -> None:
    server.answers = [items(REQUEST), "Then I will not."]
    run = await ask(server, tools=tools)
    assert ran == []
    assert run.text == "Then I will not."
    [call] = run.output["tool_calls"]
    assert (call["name"], call["status"], call["arguments"]) == ("rm", "denied", {"path": "/"})
    [done] = [e for e in run.events if e.type == "tool_call_complete"]
    assert (done.metadata["executed_by"], done.metadata["status"]) == ("provider", "denied")
    told = server.bodies[1]["input"][-1]
    assert (told["type"], told["approval_request_id"], told["approve"]) == (
        "mcp_approval_response",
        "mcpr_1",
        False,
    )


HOSTED = [
    ({"type": "mcp_call", "id": "i", "name": "rm", "arguments": '{"path": "/"}', "output": "gone"}, "rm"),
    ({"type": "file_search_call", "id": "i", "queries": ["q"], "status": "completed"}, "file_search"),
    (
        {"type": "image_generation_call", "id": "i", "status": "completed", "result": "iVBORw0K"},
        "image_generation",
    ),
    ({"type": "code_interpreter_call", "id": "i", "code": "1", "outputs": []}, "code_interpreter"),
    ({"type": "web_search_call", "id": "i", "action": {"type": "search", "query": "q"}}, "web_search"),
    ({"type": "rm_call", "id": "i", "name": "rm", "arguments": '{"path": "/"}'}, "rm"),
]


@pytest.mark.parametrize(("item", "name"), HOSTED)
async def test_what_the_provider_ran_is_shown_and_not_run_again(
    server: AnswerServer, item: dict[str, Any], name: str
) -> None:
    server.answers = [items(item)]
    run = await ask(server, tools=[rm])
    assert ran == []
    assert len(server.bodies) == 1
    marks = [e.metadata for e in run.events if e.type in ("tool_call_start", "tool_call_complete")]
    assert [(m["tool_name"], m["executed_by"]) for m in marks] == [(name, "provider")] * 2
