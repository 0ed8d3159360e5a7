"""What is open inside one model call: text, reasoning and the message around them.

Every translator writes its events through this, so that starts and ends balance whatever the wire does.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from typing import Any

from ..core.events import EventType, ExecutionEvent
from ._text import Joiner

_TOKEN, _REASONING_TOKEN = EventType.TOKEN, EventType.REASONING_TOKEN


class Blocks:
    """Opens blocks at their first word and closes them when something else begins.

    Parameters: prefix, what the ids of this call's blocks begin with.
    """

    __slots__ = ("_count", "_join", "_metadata", "_open", "_prefix", "message", "message_id")

    def __init__(self, prefix: str) -> None:
        self.message = False
        self.message_id: str | None = None
        self._prefix, self._count = prefix, 0
        self._open: str | None = None
        self._metadata: dict[str, Any] = {}
        self._join = Joiner()

    def text(self, out: list[ExecutionEvent], text: str, subtype: str = "text") -> None:
        """Add answer text, or a refusal's; opens the message at the first word."""
        if self._open != subtype:
            self.close(out)
            if not self.message:
                self.message = True
                out.append(ExecutionEvent(EventType.MESSAGE_START, metadata=self._identity()))
            self._begin(subtype, {"text_block_id": self._next(), "event_subtype": subtype})
        if self._join.held or not text.isascii():
            text = self._join.add(text)
        if text:
            out.append(ExecutionEvent(_TOKEN, "", text, None, self._metadata))

    def reasoning(self, out: list[ExecutionEvent], text: str, kind: str = "full") -> None:
        """Add reasoning; `kind` is full, summary or redacted (which has no words)."""
        name = f"reasoning {kind}"
        if self._open != name:
            self.close(out)
            self._begin(name, {"block_id": self._next(), "kind": kind})
            out.append(ExecutionEvent(EventType.REASONING_START, metadata=self._metadata))
        if self._join.held or not text.isascii():
            text = self._join.add(text)
        if text:
            out.append(ExecutionEvent(_REASONING_TOKEN, "", text, None, self._metadata))

    def close(self, out: list[ExecutionEvent]) -> None:
        """End the open block, if there is one; the message stays open until the call ends."""
        if self._open is None:
            return
        reasoning = self._open.startswith("reasoning")
        rest = self._join.end()
        if rest:
            kind = _REASONING_TOKEN if reasoning else _TOKEN
            out.append(ExecutionEvent(kind, "", rest, None, self._metadata))
        if reasoning:
            out.append(ExecutionEvent(EventType.REASONING_END, metadata=self._metadata))
        self._open = None

    def end(self, out: list[ExecutionEvent], finish_reason: str | None) -> None:
        """Close the open block and the message."""
        self.close(out)
        if self.message:
            self.message = False
            metadata = {"finish_reason": finish_reason, **self._identity()}
            out.append(ExecutionEvent(EventType.MESSAGE_COMPLETE, metadata=metadata))

    def _begin(self, name: str, metadata: dict[str, Any]) -> None:
        self._open, self._metadata = name, metadata

    def _next(self) -> str:
        self._count += 1
        return f"{self._prefix}.{self._count}"

    def _identity(self) -> dict[str, Any]:
        return {"message_id": self.message_id} if self.message_id else {}


def file_event(data_url: str, name: str) -> ExecutionEvent | None:
    """Return a file event for a base64 `data:` URL, or None when it is something else.

    Parameters: data_url; name, without its suffix, which follows from the type.
    """
    head, _, content = data_url.partition(",")
    mime, *options = head.removeprefix("data:").split(";")
    if not head.startswith("data:") or "base64" not in options:
        return None
    mime = mime or "application/octet-stream"
    try:
        size = len(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError):
        return None
    return bytes_event(content, size, mime, name + (mimetypes.guess_extension(mime) or ""))


def bytes_event(content: str, size: int, mime: str, name: str) -> ExecutionEvent:
    """Return a file event. Parameters: content, base64; size, in bytes once decoded."""
    metadata = {"name": name, "mime_type": mime, "content": content, "size": size}
    return ExecutionEvent(EventType.FILE, metadata=metadata)


def native_event(payload: Any) -> ExecutionEvent:
    """Return what the wire sent and no event of ours says, as it came."""
    return ExecutionEvent(EventType.CUSTOM_DATA, content=payload, metadata={"data_type": "native"})
