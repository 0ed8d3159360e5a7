"""A real Jupyter kernel, driven over its protocol."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

GIVE_UP = 120.0
"""Seconds without a message after which a test is stuck rather than slow."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
RUN = "application/vnd.mesh.run+json"


def kernel_env(**extra: str) -> dict[str, str]:
    """The environment of a kernel as a user's JupyterLab starts it, without what pytest adds."""
    hidden = ("PYTEST", "MESH_", "OPENAI_", "SERVER_SOFTWARE")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(hidden)}, **extra}


@dataclasses.dataclass
class Cell:
    """What one executed cell sent: its reply, and its messages on IOPub in order."""

    id: str
    messages: list[dict[str, Any]]
    reply: dict[str, Any]

    @property
    def status(self) -> str:
        return self.reply["status"]

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [m["content"] for m in self.messages if m["msg_type"] in types]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs a saved notebook would hold: updates applied, streams left out."""
        shown: list[dict[str, Any]] = []
        for message in self.messages:
            content = message["content"]
            if message["msg_type"] in ("display_data", "execute_result"):
                shown.append(dict(content))
            elif message["msg_type"] == "update_display_data":
                id = content["transient"]["display_id"]
                for one in shown:
                    if one.get("transient", {}).get("display_id") == id:
                        one.update(content)
        return shown

    @property
    def stdout(self) -> str:
        return "".join(c["text"] for c in self.of("stream"))

    @property
    def error(self) -> dict[str, Any]:
        (error,) = self.of("error")
        return error

    def batches(self) -> list[dict[str, Any]]:
        """The custom messages of the run's widget, kernel to page."""
        return [c["data"]["content"] for c in self.of("comm_msg") if c["data"].get("method") == "custom"]


class Kernel:
    """A kernel and one client; `with Kernel(...) as kernel`."""

    def __init__(self, cwd: Path, env: dict[str, str]) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(cwd), env=env)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=GIVE_UP)
        self._held: list[dict[str, Any]] = []

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def send(self, code: str, *, stdin: bool = True) -> str:
        """Queue a cell and return its message id; stdin False is a client that takes no input."""
        return self.client.execute(code, allow_stdin=stdin, stop_on_error=True)

    def run(self, code: str, *, stdin: bool = True) -> Cell:
        """Execute a cell to its end."""
        return self.finish(self.send(code, stdin=stdin))

    def finish(self, id: str) -> Cell:
        """Wait for a cell that was sent."""
        messages = [m for m in self.iopub(id) if m["msg_type"] != "status"]
        while True:
            reply = self.client.get_shell_msg(timeout=GIVE_UP)
            if reply["parent_header"].get("msg_id") == id:
                return Cell(id, messages, reply["content"])

    def iopub(self, id: str) -> Iterator[dict[str, Any]]:
        """Yield the messages of a cell, those of other parents held back, until it is idle."""
        waiting = [m for m in self._held if m["parent_header"].get("msg_id") == id]
        self._held = [m for m in self._held if m not in waiting]
        while True:
            message = waiting.pop(0) if waiting else self.client.get_iopub_msg(timeout=GIVE_UP)
            if message["parent_header"].get("msg_id") != id:
                self._held.append(message)
                continue
            yield message
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Read messages of any parent until one fulfils a condition; they stay for `finish`."""
        seen: list[dict[str, Any]] = []
        for message in self._held:
            seen.append(message)
            if condition(message):
                return seen
        deadline = time.monotonic() + GIVE_UP
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=GIVE_UP)
            self._held.append(message)
            seen.append(message)
            if condition(message):
                return seen
        raise TimeoutError("the kernel never sent what the test waits for")

    def streaming(self, id: str) -> str:
        """Wait until a token of this cell is on its way to the page; return the widget's comm id."""

        def shows(message: dict[str, Any]) -> bool:
            if message["msg_type"] != "comm_msg" or message["parent_header"].get("msg_id") != id:
                return False
            events = message["content"]["data"].get("content", {}).get("events", [])
            return any(event["type"] == "token" for event in events)

        return self.until(shows)[-1]["content"]["comm_id"]

    def forget(self) -> None:
        """Drop messages that nobody waited for."""
        self._held.clear()

    def from_page(self, comm_id: str, content: dict[str, Any]) -> None:
        """Send a custom message as the page of a widget would."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self.client.shell_channel.send(message)

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()
