"""The words that every static form of a run shares. Pure."""

from __future__ import annotations

import json
from typing import Any

from ..core.events import dumps
from ._fold import File, Folded, Section, ToolCall

CUT = 8_000
"""Characters of one tool result that static output shows."""

LINE = 80
WRAPPERS = ("content", "output", "result", "text")

TOOL_STATUS = {
    "ok": "",
    "error": "failed",
    "denied": "denied",
    "cancelled": "stopped",
    "not_executed": "not run",
    "running": "unfinished",
}


def signature(call: ToolCall) -> str:
    """Return a call as one line of Python: `get_weather(city="Paris")`, shortened."""
    if isinstance(call.arguments, dict):
        shown = ", ".join(f"{k}={dumps(v).decode()}" for k, v in call.arguments.items())
    elif call.arguments is not None:
        shown = dumps(call.arguments).decode()
    else:
        shown = call.raw
    return f"{call.name or 'tool'}({shorten(' '.join(shown.split()), LINE)})"


def tool_state(call: ToolCall) -> str:
    """Return how a call ended, in a word; empty when it went well."""
    return TOOL_STATUS.get(call.status, call.status)


def value_text(value: Any) -> str:
    """Return a result as text: a string, or the one string in a wrapper, as it is; anything else as JSON."""
    if isinstance(value, dict) and len(value) == 1:
        key, inner = next(iter(value.items()))
        value = inner if key in WRAPPERS and isinstance(inner, str) else value
    return cut(value) if isinstance(value, str) else json_text(value)


def json_text(value: Any) -> str:
    """Return a value as JSON: on one line when it is short, else indented."""
    plain = json.loads(dumps(value))
    line = json.dumps(plain, ensure_ascii=False)
    return line if len(line) <= LINE else cut(json.dumps(plain, indent=2, ensure_ascii=False))


def cut(text: str) -> str:
    """Return at most CUT characters and say how many more there are."""
    if len(text) <= CUT:
        return text
    return f"{text[:CUT]}\n... {len(text) - CUT:,} more characters; run.events has all of it."


def shorten(text: str, length: int) -> str:
    """Return text of at most this many characters, with an ellipsis where it was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def size_text(size: int | None) -> str:
    """Return a number of bytes for people."""
    if size is None:
        return "size unknown"
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def file_line(file: File) -> str:
    """Return a file as name, type and size."""
    return f"{file.name} ({file.mime_type}, {size_text(file.size)})"


def heading(view: Folded, section: Section) -> str:
    """Return the title of a section, empty when the run has only one."""
    if len(view.sections) < 2:
        return ""
    visit = f", visit {section.visit + 1}" if section.visit else ""
    return f"{section.node_id}{visit}{', replaced by a retry' if section.discarded else ''}"


def reasoning_title(kind: str, text: str) -> str:
    """Return the line above folded reasoning."""
    words = len(text.split())
    name = {"summary": "Reasoning, summarised", "redacted": "Reasoning, withheld"}.get(kind, "Reasoning")
    return name if kind == "redacted" else f"{name} ({words} word{'' if words == 1 else 's'})"


def usage_line(view: Folded) -> str:
    """Return models, calls and tokens; times and money differ from run to run and are metadata instead."""
    if not view.model_calls and not view.tool_calls:
        return ""
    parts = [", ".join(view.models)] if view.models else []
    if view.model_calls > 1:
        parts.append(f"{view.model_calls} model calls")
    if view.tool_calls:
        parts.append(f"{view.tool_calls} tool call{'' if view.tool_calls == 1 else 's'}")
    asked, answered = view.usage.get("prompt_tokens"), view.usage.get("completion_tokens")
    if asked is not None:
        parts.append(f"{asked:,} tokens in")
    if answered is not None:
        parts.append(f"{answered:,} tokens out")
    return " · ".join(parts)


def ending(view: Folded) -> str:
    """Return a sentence about an ending that is not a completion, empty otherwise."""
    if view.status in ("completed", "running") or (view.status == "failed" and view.says_failure):
        return ""
    if view.status == "cancelled":
        return "Stopped. What had arrived is kept."
    if view.status == "interrupted":
        return view.error or "Waiting for an answer."
    return view.error or f"The run ended with status {view.status}."


def leftover_output(view: Folded) -> str:
    """Return the run's output as text when no section says it: a graph of tools only."""
    if view.text or view.output is None or view.tool_calls:
        return ""
    content = view.output.get("content") if isinstance(view.output, dict) else None
    return content if isinstance(content, str) else value_text(view.output)
