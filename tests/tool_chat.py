"""A chat-completions server whose answers follow from the request alone: a model with tools calls the first
of them, once, and then says what it was told; one without says its question back.

    with ToolChat() as server:
        ... base_url=server.base_url, model="m", tools=[look] ...
        server.calls, server.finished   # requests that came, answers that were sent to their end
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from thread_server import ThreadServer


class ToolChat:
    """The server. `arguments(question)` makes the arguments of the tool call; `fails` makes requests fail:
    it gets the body and returns an HTTP status, or 0."""

    def __init__(self, arguments: Callable[[str], dict[str, Any]] | None = None) -> None:
        self.arguments = arguments or (lambda question: {"city": question})
        self.fails: Callable[[dict[str, Any]], int] = lambda body: 0
        self.bodies: list[dict[str, Any]] = []
        self.finished = 0
        self._ids = itertools.count()
        self._server = ThreadServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def calls(self) -> int:
        return len(self.bodies)

    def __enter__(self) -> ToolChat:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def deltas(self, body: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Yield (delta, finish_reason) of the answer."""
        last = body["messages"][-1]
        if body.get("tools") and last["role"] != "tool":
            arguments = json.dumps(self.arguments(last["content"]))
            function = {"name": body["tools"][0]["function"]["name"], "arguments": ""}
            call = {"index": 0, "id": f"call_{next(self._ids)}", "type": "function"}
            yield {"tool_calls": [{**call, "function": function}]}, None
            for part in (arguments[:5], arguments[5:]):
                yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}, None
            yield {}, "tool_calls"
            return
        yield {"role": "assistant", "content": ""}, None
        for word in f"you said {last['content']}".split(" "):
            yield {"content": f"{word} "}, None
        yield {}, "stop"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.bodies.append(body)
                status = server.fails(body)
                if status:
                    data = b'{"error": {"message": "no"}}'
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": body["model"]}
                try:
                    for delta, finish in server.deltas(body):
                        choice = {"index": 0, "delta": delta, "finish_reason": finish}
                        self._send(json.dumps({**common, "choices": [choice]}))
                    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
                    self._send(json.dumps({**common, "choices": [], "usage": usage}))
                    self._send("[DONE]")
                    self.wfile.write(b"0\r\n\r\n")
                    server.finished += 1
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _send(self, data: str) -> None:
                line = f"data: {data}\n\n".encode()
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()

        return Handler
