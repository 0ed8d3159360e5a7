"""The offline demo: hand-written answers played at the pace of a real model, with no key and no network."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from ..core.errors import ConfigurationError, InputError, ProviderError, UnknownNameError
from ..core.events import EventType, ExecutionEvent, Usage
from ._blocks import Blocks, bytes_event
from ._call import ModelCall
from ._demo_image import bar_chart
from ._demo_scripts import SCRIPTS, choose, text_of
from ._stream import call_key

_FIRST_MS = 350.0
_TOKEN_MS = 14.0
_SEARCH_MS = 600.0
_PAUSE = re.compile(r"[.:!?]\s*$|\n\n")


class Demo:
    """Plays a script that fits the question; the same question gives the same answer, times included.

    `model="demo"` chooses by the question, `model="demo/code"` by name. MESH_DEMO_SPEED multiplies the pace
    of about 70 tokens a second; 0 plays without waiting. What it costs is really 0.
    """

    vendor = "demo"
    api = "demo"
    prefixes = ("demo",)
    free = True

    def preload(self) -> None:
        """Import nothing: the demo needs nothing."""

    def check(self, call: ModelCall) -> None:
        """Raise UnknownNameError for a script that does not exist, InputError for tools it cannot play."""
        name = _script_name(call.model)
        if name and name not in SCRIPTS:
            raise UnknownNameError("demo script", name, SCRIPTS)
        if call.builtin_tools:
            raise InputError(
                f"The demo runs no tools of its own, so {call.builtin_tools[0]!r} cannot be used:"
                " pass a function."
            )
        _speed()

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether it can answer to a schema: it can, with words of the question."""
        return True

    def stream(self, call: ModelCall) -> AsyncGenerator[ExecutionEvent, None]:
        """Play the answer. Raises ProviderError where the script says so, after everything before it."""
        return _Player(call).play()


Beat = ExecutionEvent | float
"""An event, or how many milliseconds to wait before the next."""


class _Player:
    """One playing of a script: waits, and keeps the scripted clock and counts.

    The steps are plain generators of beats: only `play` waits, so closing it leaves nothing behind.
    """

    def __init__(self, call: ModelCall) -> None:
        self.call = call
        self.call_id = f"call_{uuid.uuid4().hex[:16]}"
        self.blocks = Blocks(self.call_id)
        self.speed = _speed()
        self.clock = 0.0
        self.first: float | None = None
        self.answer, self.spoken, self.thought, self.tools = "", 0, 0, 0

    async def play(self) -> AsyncGenerator[ExecutionEvent, None]:
        body = _body(self.call)
        metadata: dict[str, Any] = {
            "call_id": self.call_id,
            "call_key": call_key("demo", body),
            "provider": "demo",
            "requested_model": self.call.model,
            "request": body,
        }
        yield ExecutionEvent(EventType.MODEL_CALL_START, metadata=metadata)
        await self._wait(_FIRST_MS)
        failure: ProviderError | None = None
        asked = self.call
        script = choose(_script_name(asked.model), asked.messages, asked.tools, asked.output_schema)
        for kind, payload in script.steps:
            if kind == "fail":
                failure = ProviderError(
                    payload,
                    provider="demo",
                    model=self.call.model,
                    status=503,
                    hint="Nothing needs to be done.",
                )
                break
            beats: Iterator[Beat] = getattr(self, f"_{kind}")(payload)
            for beat in beats:
                if isinstance(beat, ExecutionEvent):
                    yield beat
                else:
                    await self._wait(beat)
        finish = "error" if failure else "tool_calls" if self.tools else "stop"
        out: list[ExecutionEvent] = []
        self.blocks.end(out, finish)
        out.append(self._metadata(finish))
        for event in out:
            yield event
        if failure:
            raise failure

    def _think(self, text: str) -> Iterator[Beat]:
        for piece in _pieces(text):
            self.thought += 1
            yield from self._paced(piece, self.blocks.reasoning)

    def _say(self, text: str) -> Iterator[Beat]:
        for piece in _pieces(text):
            self.spoken += 1
            self.answer += piece
            yield from self._paced(piece, self.blocks.text)

    def _paced(self, piece: str, add: Any) -> Iterator[Beat]:
        out: list[ExecutionEvent] = []
        add(out, piece)
        yield from out
        self.first = self.clock if self.first is None else self.first
        # Short words come faster, and a sentence ends with a breath.
        yield _TOKEN_MS * (0.6 + 0.1 * min(len(piece), 8) + (2.0 if _PAUSE.search(piece) else 0))

    def _search(self, payload: tuple[str, list[dict[str, Any]]]) -> Iterator[Beat]:
        query, results = payload
        asked = {"query": query}
        yield from self._ask("web_search", "provider", asked)
        yield _SEARCH_MS
        yield ExecutionEvent(
            EventType.TOOL_CALL_COMPLETE,
            output=results,
            metadata={
                **self._tool("web_search", "provider"),
                "arguments": asked,
                "status": "ok",
                "duration_ms": _SEARCH_MS,
            },
        )
        found = [{**r, "kind": "result"} for r in results]
        yield ExecutionEvent(EventType.SOURCE, metadata={"sources": found})

    def _call(self, payload: tuple[str, dict[str, Any]]) -> Iterator[Beat]:
        name, asked = payload
        self.tools += 1
        yield from self._ask(name, "client", asked)

    def _ask(self, name: str, by: str, asked: dict[str, Any]) -> Iterator[Beat]:
        out: list[ExecutionEvent] = []
        self.blocks.close(out)
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=self._tool(name, by)))
        yield from out
        self.first = self.clock if self.first is None else self.first
        identity = {"tool_call_id": self._tool(name, by)["tool_call_id"]}
        for fragment in re.findall(r".{1,6}", json.dumps(asked, ensure_ascii=False), re.S):
            self.spoken += 1
            yield ExecutionEvent(EventType.TOOL_CALL_DELTA, content=fragment, metadata=identity)
            yield _TOKEN_MS

    def _cite(self, payload: tuple[str, dict[str, Any]]) -> Iterator[Beat]:
        words, source = payload
        start = self.answer.index(words)
        place = {"start": start, "end": start + len(words), "offset_unit": "code_point", "kind": "cited"}
        yield ExecutionEvent(EventType.SOURCE, metadata={"sources": [{**source, **place}]})

    def _chart(self, payload: tuple[str, dict[str, int] | None]) -> Iterator[Beat]:
        name, values = payload
        own = {"prompt": self._asked(), "reasoning": self.thought, "answer": self.spoken}
        png = bar_chart(own if values is None else values)
        yield bytes_event(base64.b64encode(png).decode(), len(png), "image/png", name)

    def _tool(self, name: str, by: str) -> dict[str, Any]:
        return {"tool_name": name, "tool_call_id": f"{self.call_id}.{name}", "executed_by": by}

    def _metadata(self, finish: str) -> ExecutionEvent:
        asked = self._asked()
        written = self.spoken + self.thought
        usage: Usage = {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
            "reasoning_tokens": self.thought,
        }
        metadata: dict[str, Any] = {
            "call_id": self.call_id,
            "provider": "demo",
            "requested_model": self.call.model,
            "model_id": self.call.model,
            "usage": usage,
            "usage_status": "reported",
            "finish_reason": finish,
            "finish_reason_raw": finish,
            "cost_usd": 0.0,
            "cost_source": "wire",
            "time_to_first_token_ms": round(self.first or self.clock, 3),
            "duration_ms": round(self.clock, 3),
        }
        return ExecutionEvent(EventType.RESPONSE_METADATA, metadata=metadata)

    def _asked(self) -> int:
        said = [self.call.system or "", *(text_of(m.get("content")) for m in self.call.messages)]
        return sum(len(_pieces(text)) for text in said) + 8

    async def _wait(self, ms: float) -> None:
        self.clock += ms
        await asyncio.sleep(ms / 1000 / self.speed if self.speed else 0)


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s*\S+(?:\s+$)?", text)


def _script_name(model: str) -> str:
    return model.partition("/")[2]


def _body(call: ModelCall) -> dict[str, Any]:
    system = [{"role": "system", "content": call.system}] if call.system else []
    body: dict[str, Any] = {"model": call.model, "messages": [*system, *call.messages]}
    if call.tools:
        body["tools"] = [{"name": t.name, "parameters": t.schema} for t in call.tools]
    if call.output_schema is not None:
        body["output_schema"] = call.output_schema
    return body


def _speed() -> float:
    text = os.environ.get("MESH_DEMO_SPEED", "1")
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if speed < 0:
        raise ConfigurationError(f"MESH_DEMO_SPEED={text!r} is not a speed: use a number, 0 for no waiting.")
    return speed


plugin = Demo()
