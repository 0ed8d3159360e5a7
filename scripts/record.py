"""Record the tape of notebooks/07_record_and_replay.ipynb anew, and save the notebook after a replay.

    python scripts/record.py

The model is a server of our own that speaks OpenAI's protocol (tests/gated_chat.py); no key, no network.
"""

from __future__ import annotations

import importlib
import os
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import notebooks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

gated_chat: Any = importlib.import_module("gated_chat")

NAME = "07_record_and_replay"
TAPE = notebooks.FOLDER / "tapes" / f"{NAME}.mesh-tape"
RIVER = "The longest river of Norway is the **Glomma**, about 600 km from Aursunden to the Skagerrak."


def square() -> bytes:
    """Return a red square of 96 by 96 pixels as PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(96 * (b"\0" + 96 * b"\xd6\x33\x2c"))
    header = struct.pack(">IIBBBBB", 96, 96, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def steps(messages: list[dict[str, Any]]) -> list[Any]:
    """Return what the model says to a conversation."""
    last = str(messages[-1]["content"])
    if messages[-1]["role"] == "tool":
        return [gated_chat.text(word) for word in ("Your ", "room ", "in ", "Bergen ", "is ", "booked.")]
    if "river" in last:
        thought = ("The Glomma ", "is ", "the ", "longest; ", "I ", "look ", "for ", "a ", "source.")
        said = [gated_chat.text(f"{word} ") for word in RIVER.split()]
        source = gated_chat.citation("https://example.org/glomma", "Glomma", 4, len(RIVER), "604 km")
        return [*(gated_chat.reasoning(word) for word in thought), *said, source]
    if "guest" in last:
        name = last.partition("guest ")[2].rstrip(".")
        return [gated_chat.text(word) for word in ("Dear ", name[:6], name[6:], ", ", "welcome to Bergen!")]
    if "room" in last:
        function = {"name": "book", "arguments": '{"city": "Bergen", "nights": 2}'}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        return [gated_chat.reasoning("Bergen, "), gated_chat.reasoning("two nights."), {"tool_calls": [call]}]
    return [gated_chat.text("Here "), gated_chat.text("it is."), gated_chat.image(square())]


def stand_in() -> Any:
    """Return the server, which knows one model."""
    server = gated_chat.ChatServer()
    stream = server.chunks

    def chunks(model: str) -> Any:
        if model != "gpt-4o-mini":
            return [{"error": {"message": f"The model {model!r} does not exist.", "code": "model_not_found"}}]
        server.models[model] = steps(server.requests[-1]["messages"])
        return stream(model)

    server.chunks = chunks
    return server


def main() -> None:
    """Record, then replay and save."""
    path = notebooks.FOLDER / f"{NAME}.ipynb"
    TAPE.unlink(missing_ok=True)
    shutil.rmtree(f"{TAPE}-files", ignore_errors=True)
    with stand_in() as server, tempfile.TemporaryDirectory() as home:
        os.environ.update(MESH_HOME=home, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY="sk-stand-in")
        os.environ.update(MESH_DEMO_SPEED="0")
        notebooks.refresh(path)
        del os.environ["OPENAI_API_KEY"]
        os.environ["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
        notebooks.refresh(path)


if __name__ == "__main__":
    main()
