"""Hand-written runs: lists of events as an executor would record them."""

from __future__ import annotations

import base64
from typing import Any

from mesh_nb.core.events import EventType, ExecutionEvent

PNG = base64.b64encode(
    bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")
).decode()
STARTED = 1_800_000_000.0


def events(*records: Any, run_id: str = "run-1", offset: float = 0.0) -> list[ExecutionEvent]:
    """Make a run of (type, node_id, {fields}); content, output, error and metadata are fields."""
    made: list[ExecutionEvent] = []
    for seq, (kind, node_id, *rest) in enumerate(records):
        fields = rest[0] if rest else {}
        event = ExecutionEvent(EventType(kind), node_id, run_id=run_id, seq=seq, **fields)
        event.timestamp = STARTED + offset + seq
        made.append(event)
    return made


def token(text: str, node: str = "llm", **metadata: Any) -> tuple[str, str, dict[str, Any]]:
    return "token", node, {"content": text, "metadata": metadata}


def answer(*words: str, node: str = "llm", **metadata: Any) -> list[tuple[Any, ...]]:
    return [
        ("message_start", node),
        *[token(word, node, **metadata) for word in words],
        ("message_complete", node),
    ]


def whole(*inside: Any, **options: Any) -> list[ExecutionEvent]:
    """A completed run of one llm node around these records."""
    return events(
        ("execution_start", "START", {"metadata": {"input": "question"}}),
        ("node_start", "llm"),
        *inside,
        ("node_complete", "llm", {"output": {"content": "x"}}),
        ("execution_complete", "START", {"output": {"content": "x"}, "metadata": {"status": "completed"}}),
        **options,
    )


def rich(
    call: str = "call_a", run_id: str = "run-1", offset: float = 0.0, cost: float = 0.01
) -> list[ExecutionEvent]:
    """A run with reasoning, a tool, a citation, an image and usage, whose ids, times and costs vary."""
    source = {"url": "https://example.org/paris", "title": "Paris", "start": 0, "end": 5, "kind": "cited"}
    tool = {"tool_name": "weather", "tool_call_id": call}
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
    return whole(
        ("model_call_start", "llm", {"metadata": {"call_id": f"{run_id}-c", "requested_model": "demo"}}),
        ("reasoning_start", "llm", {"metadata": {"block_id": f"{run_id}-b"}}),
        ("reasoning_token", "llm", {"content": "I should look", "metadata": {"block_id": f"{run_id}-b"}}),
        ("reasoning_token", "llm", {"content": " it up.", "metadata": {"block_id": f"{run_id}-b"}}),
        ("reasoning_end", "llm", {"metadata": {"block_id": f"{run_id}-b"}}),
        ("tool_call_start", "llm", {"metadata": tool}),
        ("tool_call_delta", "llm", {"content": '{"city": "Paris"}', "metadata": tool}),
        (
            "tool_call_complete",
            "llm",
            {
                "output": [{"day": "Mon", "high": 21}, {"day": "Tue", "high": 19}],
                "metadata": {**tool, "arguments": {"city": "Paris"}, "status": "ok", "duration_ms": offset},
            },
        ),
        *answer("Paris", " is **mild**."),
        ("source", "llm", {"metadata": {"sources": [source]}}),
        (
            "file",
            "llm",
            {"metadata": {"name": "chart.png", "mime_type": "image/png", "content": PNG}},
        ),
        (
            "response_metadata",
            "llm",
            {
                "metadata": {
                    "usage": usage,
                    "model_id": "demo-1",
                    "provider": "demo",
                    "cost_usd": cost,
                    "time_to_first_token_ms": 5 + offset,
                }
            },
        ),
        run_id=run_id,
        offset=offset,
    )
