"""A server that says given texts in the form of whichever API is called, and serves given files.

    with AnswerServer("first answer", "second answer") as server:
        LLMNode("llm", **server.options("anthropic"), ...)
        server.bodies      # what was asked

The last answer is given to every request after it. `files` maps a path to what a GET or POST of it returns.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from thread_server import ThreadServer

APIS = ("chat", "responses", "anthropic", "gemini")
"""The four APIs, by the names that `options` takes."""

MODELS = {"chat": "gpt-5", "responses": "gpt-5", "anthropic": "claude-opus-4-6", "gemini": "gemini-3-pro"}


class AnswerServer:
    """Answers POST requests with `answers` in turn; `requests` are (method, path, headers, body)."""

    def __init__(self, *answers: str | bytes) -> None:
        self.answers: list[Any] = list(answers)
        self.files: dict[str, tuple[int, str, bytes]] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self._server = ThreadServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> AnswerServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON bodies that were posted, in order."""
        return [body for method, _, _, body in self.requests if method == "POST"]

    def options(self, api: str, **more: Any) -> dict[str, Any]:
        """What an llm node needs to ask this server through one of APIS."""
        return options(api, self.url) | more

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                if self.path in server.files:
                    server.requests.append(("POST", self.path, dict(self.headers), raw))
                    self._answer(*server.files[self.path])
                    return
                body = json.loads(raw)
                said = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                headers = {k.lower(): v for k, v in self.headers.items()}
                server.requests.append(("POST", self.path, headers, body))
                self._answer(200, "text/event-stream", stream(self.path, said))

            def do_GET(self) -> None:
                headers = {k.lower(): v for k, v in self.headers.items()}
                server.requests.append(("GET", self.path, headers, None))
                gone = (
                    404,
                    "application/json",
                    b'{"error": {"message": "No such file", "type": "not_found"}}',
                )
                self._answer(*server.files.get(self.path.partition("?")[0], gone))

            def _answer(self, status: int, kind: str, data: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler


def options(api: str, url: str) -> dict[str, Any]:
    """What an llm node needs to ask a server through one of APIS."""
    common = {"model": MODELS[api], "api_key": "a-key-that-nobody-has"}
    if api in ("chat", "responses"):
        return {**common, "provider": "openai", "api": api, "base_url": f"{url}/v1"}
    return {**common, "provider": api, "base_url": url}


def stream(path: str, said: str | bytes) -> bytes:
    """The body of one streamed answer, by the path that was asked; bytes are one already."""
    if isinstance(said, bytes):
        return said
    if path.endswith("/chat/completions"):
        return _chat(said)
    if path.endswith("/responses"):
        return _responses(said)
    return _messages(said) if path.endswith("/messages") else _gemini(said)


def sse(*chunks: dict[str, Any]) -> bytes:
    """A body of these chunks, each named by its type where it has one."""
    named = [(f"event: {c['type']}\n" if "type" in c else "") + f"data: {json.dumps(c)}\n\n" for c in chunks]
    return "".join(named).encode()


def _chat(said: str) -> bytes:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}

    return sse(chunk({"content": said}), chunk({}, "stop")) + b"data: [DONE]\n\n"


def _responses(said: str) -> bytes:
    response = {"id": "resp_1", "object": "response", "model": "m", "status": "in_progress", "output": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": said, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    done = {**response, "status": "completed", "output": [item]}
    return sse(
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.output_text.delta", **at, "delta": said},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    )


def _messages(said: str) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    return sse(
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )


def _gemini(said: str) -> bytes:
    content = {"role": "model", "parts": [{"text": said}]}
    return sse({"candidates": [{"content": content, "finishReason": "STOP"}], "modelVersion": "m"})
