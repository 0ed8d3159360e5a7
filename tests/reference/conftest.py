"""What the snippets leave undefined: executors over a local OpenAI-compatible server, and over an agent that
emits everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from agent_doubles import EVERYTHING, Scripted

import mesh_nb


@pytest.fixture
def chat(replay: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that makes an executor over an llm node; the stream is a synthetic one by name."""

    def make(stream: str = "synthetic-3", *, options: str = "", **node: Any) -> Any:
        prefix = f"/opt/{options}" if options else ""
        monkeypatch.setenv("OPENAI_BASE_URL", f"{replay.url}{prefix}/as/{stream}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0000")
        graph = mesh_nb.StateGraph()
        graph.add_node("llm", None, node_type="llm", model="gpt-4", **node)
        graph.set_entry_point("llm")
        return mesh_nb.Executor(graph.compile(), mesh_nb.MemoryBackend())

    return make


def _agent_executor(agent: Any, **options: Any) -> Any:
    graph = mesh_nb.StateGraph()
    graph.add_node("agent", agent, node_type="agent", **options)
    graph.set_entry_point("agent")
    return mesh_nb.Executor(graph.compile(), mesh_nb.MemoryBackend())


@pytest.fixture
def with_agent() -> Callable[..., Any]:
    """Return a function that makes an executor over one agent node."""
    return _agent_executor


@pytest.fixture
def everything() -> Any:
    """An executor over an agent that emits everything."""
    return _agent_executor(Scripted(EVERYTHING))


@pytest.fixture
def context() -> mesh_nb.ExecutionContext:
    """The context that the snippets use."""
    return mesh_nb.ExecutionContext(graph_id="my-graph", session_id="session-1")
