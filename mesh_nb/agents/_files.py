"""Attachments as agents hand them over, as name, type and base64."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

_DATA_URL = re.compile(r"data:(?P<mime>[^;,]*)(?P<params>(?:;[^;,]*)*),(?P<data>.*)", re.DOTALL)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"<svg", "image/svg+xml"),
)


def _bytes(content: Any, mime_type: str) -> tuple[bytes, str]:
    """Return the bytes and the type that a data URL names; text that is no base64 counts as text."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content), ""
    text = content if isinstance(content, str) else ""
    url = _DATA_URL.fullmatch(text)
    said = url["mime"] if url else ""
    if url and ";base64" not in url["params"].lower():
        return unquote_to_bytes(url["data"]), said
    packed = "".join((unquote(url["data"]) if url else text).split())
    binary = not (mime_type or said or "text/").startswith("text/")
    try:
        return base64.b64decode(packed, validate=not binary), said
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "replace"), said or "text/plain"


def describe(content: Any, name: str = "", mime_type: str = "", *, number: int = 1) -> dict[str, Any]:
    """Return the metadata of a file event: name, mime_type, content in base64, size in bytes.

    Parameters: content, raw bytes, base64 or a data URL; name and mime_type may be empty, and are then
    derived from the data URL, the name's ending or the first bytes; number tells files without a name apart.
    A name is reduced to its last part, so that it cannot point outside the directory it is saved in.
    """
    data, said = _bytes(content, mime_type)
    base = re.split(r"[/\\]", name.replace("\0", ""))[-1].strip()
    base = "" if base in (".", "..") else base
    mime = (
        mime_type
        or said
        or (mimetypes.guess_type(base)[0] or "")
        or next((kind for magic, kind in _MAGIC if data.startswith(magic)), "application/octet-stream")
    )
    default = f"file{'' if number == 1 else f'-{number}'}{mimetypes.guess_extension(mime) or ''}"
    return {
        "name": base or default,
        "mime_type": mime,
        "content": base64.b64encode(data).decode("ascii"),
        "size": len(data),
    }
