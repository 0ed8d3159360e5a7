"""What a cell would send, before a byte leaves: `%%mesh --show`."""

from __future__ import annotations

from typing import Any

from ..core._scrub import hidden
from ..core.attachments import with_files
from ..core.compiled import CompiledGraph
from ..core.context import ExecutionContext
from ..core.prices import dollars, price_now
from ..nodes._budgeted import estimate

SHOWN = 2000
"""Characters of one message that are shown."""


def preview(graph: CompiledGraph, prompt: str, files: list[Any]) -> str:
    """Return what the first calls of a graph would send, with estimates of their tokens and their cost.

    Nothing is sent and nothing is started. Raises what reading the attachments and the templates raises.
    """
    value: Any = with_files(prompt, files) if files else prompt
    given = value if isinstance(value, dict) else {"input": value}
    context = ExecutionContext(graph_id=graph.graph_id).for_run("", value)
    first = {graph.plan.ids[index] for index in graph.plan.targets[0]}
    parts = ["Nothing was sent. This is what the cell would send:"]
    for node_id, node in graph.nodes.items():
        llm: Any = node if getattr(node, "kind", "") == "llm" else None
        if llm is not None and node_id in first:
            parts.append(_call(llm, given, context))
        elif node_id in first:
            parts.append(
                f"{node_id}: a node of kind {getattr(node, 'kind', 'node')!r}, which gets the prompt."
            )
        else:
            parts.append(f"{node_id}: what it gets is known when the nodes before it have ended.")
    return hidden("\n\n".join(parts))


def _call(node: Any, given: Any, context: ExecutionContext) -> str:
    provider, call = node.prepared(given, context)
    head = f"{node.id}: {provider.vendor}/{call.model} ({provider.api})"
    tools = [*(tool.name for tool in call.tools), *call.builtin_tools]
    lines = [head + (f", tools {', '.join(tools)}" if tools else "")]
    if call.system:
        lines.append(f"  system: {_cut(call.system)}")
    for message in call.messages:
        lines += [f"  {message['role']}: {said}" for said in _said(message.get("content"))]
    return "\n".join([*lines, f"  {_estimate(provider, call)}"])


def _said(content: Any) -> list[str]:
    if not isinstance(content, list):
        return [_cut(str(content or ""))]
    said: list[str] = []
    for part in content:
        if part.get("type") == "text":
            said.append(_cut(str(part.get("text", ""))))
        else:
            name, mime, data = part.get("name") or "a file", part.get("mime_type"), part.get("data") or b""
            said.append(f"[{name}, {mime}, {len(data):,} bytes]")
    return said


def _cut(text: str) -> str:
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"
    return shown.replace("\n", "\n    ")


def _estimate(provider: Any, call: Any) -> str:
    tokens = estimate(call)
    if provider.vendor == "demo":
        return f"About {tokens:,} input tokens (an estimate); the demo costs nothing."
    usage = {"prompt_tokens": tokens, "completion_tokens": 0}
    known: dict[str, Any] = {"provider": provider.vendor, "model_id": call.model, "usage": usage}
    least = price_now(known)
    if least is None:
        return f"About {tokens:,} input tokens (an estimate); no price is known for this model."
    text = f"About {tokens:,} input tokens, {dollars(least.usd)} (estimates)"
    if call.max_tokens is None:
        return f"{text}; the answer comes on top, and has no max_tokens."
    most = price_now({**known, "usage": {**usage, "completion_tokens": call.max_tokens}})
    top = dollars(most.usd) if most is not None else "unknown"
    return f"{text}; at most {top} with an answer of {call.max_tokens:,} tokens."
