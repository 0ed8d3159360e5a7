"""Amazon Bedrock's binary framing of a stream, unpacked into server-sent events.

The format: https://smithy.io/2.0/aws/amazon-eventstream.html; what Bedrock puts into a frame:
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast
from zlib import crc32

from ..core.events import dumps
from ._wire import parse

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct(">III")
_CHECKSUM = 4
_LARGEST = 25_165_824
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7
# The service's exceptions, by what Anthropic's own API calls the same.
_ERRORS = {
    "throttlingException": "rate_limit_error",
    "serviceUnavailableException": "overloaded_error",
    "internalServerException": "api_error",
    "modelStreamErrorException": "api_error",
    "modelTimeoutException": "timeout_error",
    "validationException": "invalid_request_error",
}


class FrameError(Exception):
    """Bytes that are no frame of an event stream, or arrived damaged."""


async def unframed(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the events in a framed body as server-sent events, and exceptions as events of type "error".

    Parameters: pieces, the body in pieces of any size. Raises FrameError, and what reading raises.
    """
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        while (frame := _first(rest)) is not None:
            del rest[: len(frame)]
            if event := _event(frame):
                yield event
    if rest:
        raise FrameError("the last frame is cut off")


def _first(data: bytearray) -> bytes | None:
    """Return the first frame of the data, None while it is not whole."""
    if len(data) < _PRELUDE.size:
        return None
    length, _, checksum = _PRELUDE.unpack_from(data)
    whole = _PRELUDE.size + _CHECKSUM <= length <= _LARGEST
    if not whole or checksum != crc32(data[: _PRELUDE.size - _CHECKSUM]):
        raise FrameError("the beginning of a frame is damaged")
    if len(data) < length:
        return None
    frame = bytes(data[:length])
    if int.from_bytes(frame[-_CHECKSUM:], "big") != crc32(frame[:-_CHECKSUM]):
        raise FrameError("a frame is damaged")
    return frame


def _event(frame: bytes) -> bytes:
    _, size, _ = _PRELUDE.unpack_from(frame)
    start = _PRELUDE.size
    headers = _headers(frame[start : start + size])
    payload = frame[start + size : -_CHECKSUM]
    if headers.get(":message-type") == "event":
        value = _object(payload).get("bytes")
        return _data(_decoded(value)) if isinstance(value, str) else b""
    kind = headers.get(":exception-type") or headers.get(":error-code") or "error"
    said = _object(payload).get("message") or headers.get(":error-message") or kind
    error = {"type": "error", "error": {"type": _ERRORS.get(kind, kind), "message": str(said)}}
    return _data(dumps(error))


def _data(text: bytes) -> bytes:
    # A line break in JSON is always between its values.
    return b"data: " + text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FrameError("a frame holds no base64") from None


def _object(payload: bytes) -> dict[str, Any]:
    try:
        value = parse(payload)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _headers(data: bytes) -> dict[str, str]:
    """Return the headers that are text; the others are passed over by their length."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode("ascii", "replace"), data[name_end]
            at = name_end + 1
            if kind in (_BYTES, _TEXT):
                size = int.from_bytes(data[at : at + 2], "big")
                at += 2
                if kind == _TEXT:
                    found[name] = data[at : at + size].decode("utf-8", "replace")
            else:
                size = _FIXED[kind]
            at += size
    except (IndexError, KeyError):
        raise FrameError("the headers of a frame cannot be read") from None
    return found
