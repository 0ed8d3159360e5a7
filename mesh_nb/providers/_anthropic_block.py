"""One content block of a Messages stream, put together from its deltas."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from ._text import Joiner, clean
from ._wire import parse

CALLS = {"tool_use": "client", "server_tool_use": "provider", "mcp_tool_use": "provider"}
"""Kinds of blocks that call a tool, and who runs it."""

OF_DELTA = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""The kind of block that a kind of delta belongs to."""

INVALID = "INVALID_JSON"
"""Name under which arguments that are not a JSON object go back: history needs an object."""


@dataclasses.dataclass(slots=True)
class Block:
    """One content block being read; `raw` is what opened it, the rest what its deltas added."""

    raw: dict[str, Any]
    kind: str
    parts: list[str] = dataclasses.field(default_factory=list[str])
    signature: str = ""
    citations: list[dict[str, Any]] = dataclasses.field(default_factory=list[dict[str, Any]])
    start: int = 0
    open: bool = True
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    join: Joiner = dataclasses.field(default_factory=Joiner)

    def state(self) -> dict[str, Any] | None:
        """Return the block as history needs it, None when it says nothing."""
        text = clean("".join(self.parts))
        if self.kind == "text":
            if not text:
                return None
            kept = {k: v for k, v in self.raw.items() if k != "citations"}
            return {**kept, "text": text, **({"citations": self.citations} if self.citations else {})}
        if self.kind == "thinking":
            return {**self.raw, "thinking": text, "signature": self.signature}
        if self.kind in CALLS and text:
            return {**self.raw, "input": arguments_of(text)}
        return self.raw


def arguments_of(raw: str) -> dict[str, Any]:
    """Parse a call's arguments; what is not a JSON object is wrapped in one."""
    try:
        value = parse(raw.encode())
    except ValueError:
        value = None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {INVALID: raw}


def as_dict(value: Any) -> dict[str, Any]:
    """Return an object, an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def key_of(index: Any) -> Any:
    """Return what a block's index is looked up by, whatever the wire says."""
    return index if index.__class__ is int else str(index)
