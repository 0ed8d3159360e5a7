"""Every snippet of the Streaming Guide and of Events runs as it is written."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import fastapi
import httpx2
import pytest
from agent_doubles import EVERYTHING, PNG, Scripted, openai_agent
from http_app import serving
from snippets import EVENTS, GUIDE, SPELLINGS, run

import mesh_nb

Make = Callable[..., Any]
CHAT_TEXT = "tok0 tok1 tok2 "


@pytest.mark.parametrize("document", ["streaming-guide", "events"])
def test_snippets_are_verbatim(document: str) -> None:
    original = Path(__file__).parents[3] / "shared" / "reference" / f"{document}.txt"
    if not original.exists():
        pytest.skip("the documents are not beside the checkout")
    lines = [line.strip() for line in original.read_text("utf-8").splitlines() if line.strip()]
    snippets = {"streaming-guide": GUIDE, "events": EVENTS}[document]
    for name, text in snippets.items():
        wanted = [line.strip() for line in text.splitlines() if line.strip()]
        assert any(lines[i : i + len(wanted)] == wanted for i in range(len(lines))), name
    loops = [line for line in lines if line.startswith("async for")]
    carried = [line for text in snippets.values() for line in text.splitlines() if "async for" in line]
    assert [line.strip() for line in carried] == loops


# ---- Streaming Guide
async def test_basic_streaming(chat: Make, context: Any, capsys: Any) -> None:
    await run(GUIDE["basic streaming"], executor=chat(), context=context)
    assert capsys.readouterr().out == CHAT_TEXT


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_01_the_complete_example_prints_the_story(replay: Any, spelling: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(SPELLINGS[spelling](GUIDE["complete example"]), "utf-8")
    env = {**os.environ, "OPENAI_BASE_URL": f"{replay.url}/as/synthetic-3/v1", "OPENAI_API_KEY": "sk-test"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env)
    assert (done.stdout, done.stderr, done.returncode) == (f"Story: {CHAT_TEXT}\n", "", 0)
    (request,) = replay.requests
    assert request["body"]["model"] == "gpt-4"
    assert [m["content"] for m in request["body"]["messages"]] == ["Tell a short story", "Tell me a story"]


async def test_display_only(chat: Make, context: Any, capsys: Any) -> None:
    await run(GUIDE["pattern 1: display only"], executor=chat(), context=context, input="go")
    assert capsys.readouterr().out == CHAT_TEXT


async def test_collect_and_display(chat: Make, context: Any, capsys: Any) -> None:
    saved: list[str] = []
    names = {"executor": chat(), "context": context, "input": "go", "save_to_database": saved.append}
    await run(GUIDE["pattern 2: collect and display"], **names)
    assert saved == [capsys.readouterr().out] == [CHAT_TEXT]


async def test_ui_updates(chat: Make, context: Any) -> None:
    sent: list[Any] = []

    class Websocket:
        async def send(self, message: Any) -> None:
            sent.append(message)

    names = {"executor": chat(), "context": context, "input": "go", "websocket": Websocket()}
    await run(GUIDE["pattern 3: ui updates"], **names)
    assert sent == ["tok0 ", "tok1 ", "tok2 ", {"status": "complete"}]


# ---- SSE, by a real server
async def frames_of(app: Any, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    async with serving(app) as url, httpx2.AsyncClient() as client:
        response = await client.post(f"{url}/execute/stream", json=body)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    found = re.findall(r"event: (.*)\ndata: (.*)\n\n", response.text)
    return [(name, json.loads(data)) for name, data in found]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_sse_of_the_guide(chat: Make, context: Any, spelling: str) -> None:
    text = SPELLINGS[spelling](GUIDE["sse streaming"])
    space = await run(text, executor=chat(), context=context)
    frames = await frames_of(space["app"], {"input": "Tell me a story"})
    assert "".join(data["content"] for name, data in frames if name == "token") == CHAT_TEXT


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_sse_of_events_sends_what_the_client_receives(chat: Make, context: Any, spelling: str) -> None:
    app = fastapi.FastAPI()
    await run(SPELLINGS[spelling](EVENTS["sse streaming"]), app=app, executor=chat(), context=context)
    frames = await frames_of(app, {"input": "go"})
    wanted = re.findall(r"event: (.*)\ndata: (.*)\n", EVENTS["client receives"])
    shown = [f for f in frames if f[0] in {name for name, _ in wanted}]
    assert [name for name, _ in shown] == ["execution_start", "token", "token", "token", "execution_complete"]
    for name, line in wanted:
        given = next(data for kind, data in frames if kind == name)
        literal = {"..."} | set(re.findall(r'"(type|node_id|content|output)":', line))
        assert literal - {"..."} <= set(given)
        assert given["type"] == name
    assert shown[0][1]["node_id"] == "START"
    assert isinstance(shown[-1][1]["output"], dict)


# ---- Events
def test_event_structure() -> None:
    space: dict[str, Any] = {
        "dataclass": dataclasses.dataclass,
        "EventType": mesh_nb.EventType,
        "Optional": Optional,
        "Dict": dict,
        "Any": Any,
        "__name__": __name__,
    }
    exec(EVENTS["event structure"], space)
    wanted = [f.name for f in dataclasses.fields(space["ExecutionEvent"])]
    assert [f.name for f in dataclasses.fields(mesh_nb.ExecutionEvent)][: len(wanted)] == wanted


async def test_basic_pattern(chat: Make, context: Any, capsys: Any) -> None:
    await run(EVENTS["basic pattern"], executor=chat(), context=context, input="go")
    output = {"content": CHAT_TEXT, "tool_calls": []}
    assert capsys.readouterr().out == f"{CHAT_TEXT}\nDone! Output: {output}\n"


async def test_18_each_line_of_all_events_is_printed_once_and_in_order(
    everything: Any, context: Any, capsys: Any
) -> None:
    await run(EVENTS["all event types"], executor=everything, context=context, input="go")
    call = {
        "id": "c-1",
        "name": "search",
        "arguments": {"q": "mesh"},
        "status": "ok",
        "output": {"hits": 2},
    }
    output = {"content": "Two hits.", "tool_calls": [call]}
    assert capsys.readouterr().out.splitlines() == [
        "[Starting execution]",
        "",
        "[agent] Starting...",
        "",
        "[Step 1]",
        "",
        "[Custom: data-progress]",
        "",
        "[Thinking...]",
        "Let me think.",
        "[Done thinking]",
        "I will search.",
        "[Calling tool: search]",
        "",
        "",
        "[Usage: 15 tokens]",
        "[Tool result: {'hits': 2}]",
        "[Step complete - 15 tokens]",
        "",
        "[Step 2]",
        "Two hits.",
        "[Sources: 2 citations]",
        "",
        "[File: chart.png]",
        "",
        "",
        "[Usage: 27 tokens]",
        "[Step complete - 27 tokens]",
        "",
        "[Custom: data-rlm-step-start]",
        "",
        "[Custom: data-rlm-complete]",
        "[agent] ✓ Complete",
        "",
        f"[Complete] Final output: {output}",
    ]


async def test_all_event_types_of_a_chat_stream(chat: Make, context: Any, capsys: Any) -> None:
    await run(EVENTS["all event types"], executor=chat("synthetic-3-r2"), context=context, input="go")
    assert capsys.readouterr().out.splitlines() == [
        "[Starting execution]",
        "",
        "[llm] Starting...",
        "",
        "[Thinking...]",
        "why0 why1 ",
        "[Done thinking]",
        "tok0 tok1 tok2 ",
        "",
        "[Usage: 15 tokens]",
        "[llm] ✓ Complete",
        "",
        f"[Complete] Final output: {{'content': '{CHAT_TEXT}', 'tool_calls': []}}",
    ]


async def test_all_event_types_of_a_failure(with_agent: Make, context: Any, capsys: Any) -> None:
    executor = with_agent(Scripted(["partial", RuntimeError("the agent broke")]))
    with pytest.raises(mesh_nb.NodeExecutionError):
        await run(EVENTS["all event types"], executor=executor, context=context, input="go")
    lines = capsys.readouterr().out.splitlines()
    assert "partial" in lines
    assert [line for line in lines if "✗" in line] == ["[agent] ✗ Error: RuntimeError: the agent broke"]


async def test_collecting_response(chat: Make, context: Any, capsys: Any) -> None:
    space = await run(EVENTS["collecting response"], executor=chat(), context=context, input="go")
    assert capsys.readouterr().out.startswith(f"Response: {CHAT_TEXT}\nMetadata: {{'status': 'completed'")
    assert space["metadata"]["usage"]["total_tokens"] == 13


@pytest.mark.parametrize("source", ["chat", "agent"])
async def test_reasoning(source: str, chat: Make, everything: Any, context: Any, capsys: Any) -> None:
    executor = chat("synthetic-3-r2") if source == "chat" else everything
    await run(EVENTS["reasoning events"], executor=executor, context=context, input="go")
    thought, said = (
        ("why0 why1 ", CHAT_TEXT) if source == "chat" else ("Let me think.", "I will search.Two hits.")
    )
    assert capsys.readouterr().out == (
        f"🤔 Thinking...\n\n{thought}\n\n✅ Done thinking\n\n{said}"
        f"\nReasoning: {len(thought)} chars\nResponse: {len(said)} chars\n"
    )


async def test_usage_tracking(chat: Make, everything: Any, context: Any, capsys: Any) -> None:
    space = await run(EVENTS["usage tracking"], executor=chat(), context=context, input="go")
    assert capsys.readouterr().out == "\n💰 Tokens: 13 | Cost: $0.0005\n"
    assert space["total_cost"] == pytest.approx((10 * 0.03 + 3 * 0.06) / 1000)
    space = await run(EVENTS["usage tracking"], executor=everything, context=context, input="go")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "💰 Tokens: 15 | Cost: $0.0006",
        "Step 1: 15 tokens",
        "",
        "💰 Tokens: 27 | Cost: $0.0010",
        "Step 2: 27 tokens",
    ]
    assert space["total_cost"] == pytest.approx((30 * 0.03 + 12 * 0.06) / 1000)


async def test_source_citations(everything: Any, context: Any, capsys: Any) -> None:
    await run(EVENTS["source citations"], executor=everything, context=context, input="go")
    assert capsys.readouterr().out == (
        "I will search.Two hits."
        "\n📚 Source: A\n URL: https://a.example\n\n📚 Source: Unknown\n URL: https://b.example\n"
        "\n\nReferences:\n1. A - https://a.example\n2. Unknown - https://b.example\n"
    )


async def test_multi_modal_files(
    everything: Any, context: Any, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = await run(EVENTS["multi-modal files"], executor=everything, context=context, input="go")
    assert capsys.readouterr().out == "\n📎 File: chart.png (image/png)\n Saved to chart.png\n"
    assert (tmp_path / "chart.png").read_bytes() == PNG
    data = base64.b64encode(PNG).decode()
    assert space["files_received"] == [{"name": "chart.png", "type": "image/png", "data": data}]


async def test_custom_progress(everything: Any, context: Any, capsys: Any) -> None:
    await run(EVENTS["custom progress events"], executor=everything, context=context, input="go")
    assert capsys.readouterr().out == "\rProgress: 40%\n[RLM Step 1]\n\n[RLM Complete: 3 steps]\n"


async def test_multi_step_tracking(everything: Any, context: Any, capsys: Any) -> None:
    snippet = EVENTS["multi-step agent tracking"]
    space = await run(snippet, executor=everything, context=context, input="go")
    out = capsys.readouterr().out
    assert out.endswith("\n\n✓ Step complete (27 tokens)\n\n\nTotal steps: 2\nTotal tokens: 42\n")
    assert [(s["index"], s["content"], s["finish_reason"]) for s in space["steps"]] == [
        (0, "I will search.", "tool_calls"),
        (1, "Two hits.", "stop"),
    ]


class Late:
    """The snippets add a node and then execute: an executor that compiles the graph when it is used."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def execute(self, input: Any, context: Any) -> Any:
        self.graph.set_entry_point("agent")
        return mesh_nb.Executor(self.graph.compile(), mesh_nb.MemoryBackend()).execute(input, context)


async def test_translated_agent(replay: Any, context: Any, capsys: Any) -> None:
    graph = mesh_nb.StateGraph()
    async with openai_agent(replay.base_url, "synthetic-2-t1+synthetic-3") as agent:
        names = {"graph": graph, "openai_agent": agent, "executor": Late(graph)}
        await run(EVENTS["vel-translated events"], **names, context=context, input="go")
    assert capsys.readouterr().out == "tok0 tok1 tok0 tok1 tok2 "


async def test_native_agent(replay: Any, context: Any, capsys: Any) -> None:
    graph = mesh_nb.StateGraph()
    async with openai_agent(replay.base_url, "synthetic-3") as agent:
        names = {"graph": graph, "openai_agent": agent, "executor": Late(graph)}
        await run(EVENTS["native provider events"], **names, context=context, input="go")
    out = capsys.readouterr().out
    assert "response.output_text.delta" in out
    assert "response.completed" in out
    assert "raw_response_event" in out


async def test_event_metadata(everything: Any, context: Any) -> None:
    space = await run(EVENTS["event metadata"], executor=everything, context=context, input="go")
    assert space["block_id"]
    assert space["event_subtype"] == "text"
    assert space["finish_reason"] == "stop"
    assert space["message_id"]
    assert (space["tool_name"], space["tool_call_id"]) == ("search", "c-1")


async def test_always_handle_errors(chat: Make, context: Any, caplog: pytest.LogCaptureFixture) -> None:
    executor = chat(options="fail=-1,status=401")
    names = {"executor": executor, "context": context, "input": "go", "logger": logging.getLogger("snippet")}
    with caplog.at_level(logging.ERROR, "snippet"), pytest.raises(mesh_nb.NodeExecutionError):
        await run(EVENTS["always handle errors"], **names)
    (record,) = [r for r in caplog.records if r.name == "snippet"]
    assert record.getMessage().startswith("Error in llm: ")
    assert "401" in record.getMessage()


async def test_flush_token_output(capsys: Any) -> None:
    event = mesh_nb.ExecutionEvent(mesh_nb.EventType.TOKEN, content="hi ")
    await run(EVENTS["flush token output"], event=event)
    assert capsys.readouterr().out == "hi hi "


async def test_track_progress(chat: Make, context: Any, capsys: Any) -> None:
    await run(EVENTS["track progress"], executor=chat(), context=context, input="go")
    assert capsys.readouterr().out == "\rTokens: 1\rTokens: 2\rTokens: 3"


async def test_use_execution_complete(chat: Make, context: Any) -> None:
    space = await run(EVENTS["use execution complete"], executor=chat(), context=context, input="go")
    assert space["final_output"]["content"] == CHAT_TEXT
    assert space["execution_time"] > 0


async def test_33_the_flow_is_that_of_the_figure(chat: Make, context: Any) -> None:
    """The figure holds after filtering to the types that it shows."""
    chat("synthetic-3")

    def search() -> dict[str, int]:
        return {"hits": 2}

    graph = mesh_nb.StateGraph("my-graph")
    graph.add_node("analyzer", None, node_type="llm", model="gpt-4")
    graph.add_node("tool", search, node_type="tool")
    graph.add_edge("START", "analyzer").add_edge("analyzer", "tool")
    graph.set_entry_point("analyzer")
    wanted = re.findall(r"^(\w+)(?: \((.*)\))?$", EVENTS["event flow example"], flags=re.MULTILINE)
    shown = {name for name, _ in wanted}
    events = [e async for e in mesh_nb.Executor(graph.compile()).execute("go", context) if e.type in shown]
    assert [str(e.type) for e in events] == [name for name, _ in wanted]
    for event, (_, note) in zip(events, wanted, strict=True):
        key, _, value = note.partition("=")
        if key == "output":
            assert isinstance(event.output, dict)
        elif key == "node_id":
            assert event.node_id == value
        elif key in ("graph_id", "tool_name"):
            assert event.metadata[key] == value
        elif note:
            assert event.content


def test_nothing_of_the_agent_that_emits_everything_is_left_out() -> None:
    """The types that a chat stream cannot make are all in the scripted run."""
    kinds = {e["type"] for e in EVERYTHING}
    assert {"source", "file", "reasoning-delta", "tool-output-available", "data-rlm-complete"} <= kinds
