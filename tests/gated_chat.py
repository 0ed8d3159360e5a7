"""A chat-completions server whose streams stop at gates that the test opens, so that a test sees every stage.

    with ChatServer() as server:
        server.models["m"] = [text("Hello"), gate("more"), text(" world")]
        ... base_url=server.base_url, model="m" ...
        server.open("more")

A stream ends with finish_reason, usage and [DONE]. Closing the server opens all gates.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from thread_server import ThreadServer


@dataclass(frozen=True)
class Gate:
    """A place where a stream waits until the test calls `open(name)`."""

    name: str


Step = dict[str, Any] | Gate


def gate(name: str) -> Gate:
    """Wait here for `ChatServer.open(name)`."""
    return Gate(name)


def text(words: str) -> Step:
    """A piece of the answer."""
    return {"content": words}


def reasoning(words: str) -> Step:
    """A piece of the reasoning."""
    return {"reasoning_content": words}


def citation(url: str, title: str, start: int, end: int, quote: str = "") -> Step:
    """A citation of the answer's characters start to end."""
    body = {"url": url, "title": title, "start_index": start, "end_index": end, "content": quote}
    return {"annotations": [{"type": "url_citation", "url_citation": body}]}


def image(data: bytes, mime: str = "image/png") -> Step:
    """A file, as image models send them."""
    url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    return {"images": [{"type": "image_url", "image_url": {"url": url}}]}


class ChatServer:
    """Serves `models` (name -> steps) on 127.0.0.1; `requests` are the bodies that came, `refuses` how many
    more requests of a model are refused."""

    def __init__(self) -> None:
        self.models: dict[str, list[Step]] = {}
        self.requests: list[dict[str, Any]] = []
        self.refuses: dict[str, int] = {}
        self.left = threading.Event()
        self._gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._closing = False
        self._server = ThreadServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def open(self, name: str) -> None:
        """Let the streams that wait at this gate go on."""
        self._gates[name].set()

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        for waiting in list(self._gates.values()):
            waiting.set()
        self._server.shutdown()
        self._server.server_close()

    def chunks(self, model: str) -> Any:
        """Yield the chunks of a model's stream, waiting at its gates."""
        for step in self.models[model]:
            if isinstance(step, Gate):
                if not self._closing:
                    self._gates[step.name].wait()
            else:
                yield {"choices": [{"index": 0, "delta": step, "finish_reason": None}]}
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
        yield {"choices": [], "usage": usage}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append(body)
                left = server.refuses.get(body["model"], 0)
                if left:
                    server.refuses[body["model"]] = left - 1
                    self._refuse({"error": {"message": "the harbour is closed", "type": "invalid_request"}})
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": body["model"]}
                try:
                    for chunk in server.chunks(body["model"]):
                        self._send(f"data: {json.dumps({**common, **chunk}, ensure_ascii=False)}\n\n")
                    self._send("data: [DONE]\n\n")
                    self.wfile.write(b"0\r\n\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    server.left.set()
                    self.close_connection = True

            def _refuse(self, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(400)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _send(self, line: str) -> None:
                data = line.encode("utf-8")
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

        return Handler
