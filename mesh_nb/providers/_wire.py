"""Bytes to JSON: an incremental reader of server-sent events, and of what servers send instead of them.

The format is https://html.spec.whatwg.org/multipage/server-sent-events.html; the deviations that it accepts
were all seen in the field and are named where they are handled.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

import orjson

_PREVIEW = 120
_LOOSE_LIMIT = 65_536
_LONE = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


class Decoder:
    """Reads a body in pieces of any size and returns the JSON values of its events.

    Lines end at CR, LF or CRLF and nowhere else; there is no limit on their length. `data: [DONE]` sets
    `done`. An event that is not JSON sets `malformed` to its beginning, and nothing after it is read. An
    event named "error" without an error of its own is wrapped as `{"error": ...}`, as is llama.cpp's line
    `error: {...}`; a bare JSON object between or after the events comes out like an event. `loose` is other
    text that is not an event, such as a proxy's HTML page.
    """

    __slots__ = ("_begun", "_cr", "_parts", "done", "loose", "malformed")

    def __init__(self) -> None:
        self.done = False
        self.malformed: str | None = None
        self.loose = b""
        self._parts: list[bytes] = []
        self._cr = False
        self._begun = False

    def feed(self, data: bytes) -> list[Any]:
        """Return the values of the events that these bytes complete."""
        if self._cr or b"\r" in data:
            data = self._newlines(data)
        across = data[:1] == b"\n" and bool(self._parts) and self._parts[-1].endswith(b"\n")
        if not across and b"\n\n" not in data:
            if data:
                self._parts.append(data)
            return []
        if self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        self._parts = [rest] if rest else []
        if not self._begun and blocks:
            self._begun = True
            blocks[0] = blocks[0].removeprefix(b"\xef\xbb\xbf")
        out: list[Any] = []
        if self.malformed is not None or self.done:
            return out
        for block in blocks:
            if block[:7] == b"data: {" and b"\n" not in block:
                try:
                    out.append(orjson.loads(block[6:]))
                    continue
                except orjson.JSONDecodeError:
                    pass
            self._block(block, out)
            if self.malformed is not None or self.done:
                break
        return out

    def finish(self) -> list[Any]:
        """Return the values of an event that the end of the body left without its blank line.

        Half an event is not an error here: the caller knows whether the answer was complete.
        """
        rest, self._parts = b"".join(self._parts), []
        if not self._begun:
            rest = rest.removeprefix(b"\xef\xbb\xbf")
        out: list[Any] = []
        if rest and self.malformed is None and not self.done:
            self._block(rest, out)
            self.malformed = None
        return out

    def _newlines(self, data: bytes) -> bytes:
        if self._cr and data[:1] == b"\n":
            data = data[1:]
            self._cr = False
        if data:
            self._cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _block(self, block: bytes, out: list[Any]) -> None:
        """Read one event that is more than a single data line, line by line."""
        event, data, loose = b"", [], []
        for raw in block.split(b"\n"):
            name, colon, value = raw.lstrip(b" ").partition(b":")
            value = value.removeprefix(b" ")
            if not colon and not name.strip():
                continue
            if name == b"data":
                data.append(value)
            elif name == b"event":
                event = value
            elif name == b"error":
                self._add(b'{"error":' + value + b"}", out, b"")
            elif name and name not in (b"id", b"retry"):
                loose.append(raw)
        if data:
            text = b"\n".join(data).strip()
            if text == b"[DONE]":
                self.done = True
            elif text:
                self._add(text, out, event)
        if loose:
            self._add_loose(b"\n".join(loose), out)

    def _add(self, text: bytes, out: list[Any], event: bytes) -> None:
        try:
            value = parse(text)
        except ValueError:
            self.malformed = text[:_PREVIEW].decode("utf-8", "replace")
            return
        if event == b"error" and not (isinstance(value, dict) and "error" in value):
            value = {"error": value}
        out.append(value)

    def _add_loose(self, text: bytes, out: list[Any]) -> None:
        self.loose = (self.loose + b"\n" + text if self.loose else text)[:_LOOSE_LIMIT]
        if self.loose.lstrip()[:1] not in (b"{", b"["):
            return
        try:
            value = parse(self.loose)
        except ValueError:
            return
        self.loose = b""
        out.extend(cast("list[Any]", value) if isinstance(value, list) else [value])


def parse(text: bytes) -> Any:
    """Parse JSON; what orjson refuses (lone surrogates, bad UTF-8) goes through the standard library.

    A lone surrogate inside a string becomes U+FFFD; at a string's ends it stays, because its other half may
    be in the neighbouring event. Raises ValueError when the text is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return _mend(json.loads(text.decode("utf-8", "replace")))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        if len(value) < 2:
            return value
        head = value[0] if "\udc00" <= value[0] <= "\udfff" else ""
        tail = value[-1] if "\ud800" <= value[-1] <= "\udbff" else ""
        return head + _LONE.sub("\ufffd", value[len(head) : len(value) - len(tail)]) + tail
    if isinstance(value, dict):
        return {_LONE.sub("\ufffd", k): _mend(v) for k, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_mend(v) for v in cast("list[Any]", value)]
    return value
