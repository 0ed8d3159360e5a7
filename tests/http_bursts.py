"""Bursts of 50 streams on a loop where other code drops SDK clients: the regression test of lost readers.

An SDK client that is dropped without closing, and collected, takes the readers of new connections away
(python/cpython#130141). A bare asyncio socket loses about 9 streams in 10 here.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import Callable
from typing import Any

import httpx2
from http_servers import GIVE_UP, Exchange, Server

from mesh_nb.core.errors import ProviderError
from mesh_nb.providers import openai_chat
from mesh_nb.providers._call import ModelCall

STREAMS = 50
TOKENS = 8


async def answer(x: Exchange) -> None:
    """Speak the chat API: a whole answer, or a stream of TOKENS events, 5 ms apart."""
    if not json.loads(x.body).get("stream"):
        await x.answer(
            b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}',
            b"content-type: application/json\r\n",
        )
        return
    await x.start(b"content-type: text/event-stream\r\n")
    for i in range(TOKENS):
        await x.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"%d "}}]}\n\n' % i)
        await asyncio.sleep(0.005)
    await x.send(b"0\r\n\r\n")


async def litter(url: str) -> None:
    """Make an SDK client, use it, drop it: a cell that is run again. 50 idle connections are left."""
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0)
    call = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    await asyncio.gather(*(client.chat.completions.create(**call) for _ in range(STREAMS)))  # type: ignore[call-overload]


async def stream(client: httpx2.AsyncClient, url: str) -> int:
    """Read one stream; return how many events came."""
    events = 0
    body = {"model": "m", "stream": True, "messages": []}
    async with client.stream("POST", url + "/chat/completions", json=body) as response:
        async for part in response.aiter_bytes():
            events += part.count(b"data: ")
    return events


async def bursts(
    count: int,
    make: Callable[[], httpx2.AsyncClient],
    server: Server,
    other: Server,
    *,
    drop: bool = False,
) -> dict[str, int]:
    """Run bursts; before each, an SDK client is dropped (`drop`: our own client too) and a collection runs.

    Returns how many streams stalled, came up short or were sent more than once, and how many readers were
    repaired.
    """
    found = {"stalled": 0, "short": 0, "sent again": 0, "repaired": 0}
    client = make()
    gc.collect()
    gc.disable()
    try:
        for _ in range(count):
            await litter(other.url)
            if drop:
                found["repaired"] += repaired(client)
                client = make()
            await asyncio.sleep(0.02)
            gc.collect()
            before = len(server.requests)
            tasks = [asyncio.create_task(stream(client, server.url)) for _ in range(STREAMS)]
            done, late = await asyncio.wait(tasks, timeout=GIVE_UP)
            found["stalled"] += len(late)
            found["short"] += sum(task.result() != TOKENS for task in done)
            found["sent again"] += len(server.requests) - before - STREAMS
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if not drop:
                found["repaired"] += repaired(client)
                await client.aclose()
                client = make()
    finally:
        gc.enable()
        await client.aclose()
        gc.collect()
        await asyncio.sleep(0.05)
    return found


async def resets(x: Exchange) -> None:
    """Begin an answer, and break the connection."""
    await x.start(b"content-type: text/event-stream\r\n")
    for i in range(2):
        await x.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"%d "}}]}\n\n' % i)
        await asyncio.sleep(0.005)
    x.reset()


async def drips(x: Exchange) -> None:
    """Send nothing but comments, for ever."""
    await x.start(b"content-type: text/event-stream\r\n")
    while True:
        await x.chunk(b":\n")
        await asyncio.sleep(0.02)


async def never(x: Exchange) -> None:
    """Take the request, and say nothing."""
    await x.client_gone()


HARD: dict[str, tuple[Callable[[Exchange], Any] | None, str]] = {
    "refused": (None, "could not be reached"),
    "resets": (resets, "The connection broke before the answer was complete"),
    "drips": (drips, "The call took longer than its timeout of 0.5 s"),
    "never answers": (never, "Nothing arrived for 0.4 s"),
}
"""Servers that fail, by name: how they answer, and what a call of theirs says."""


async def ends(url: str) -> str:
    """Make a call through the product and return how it ended."""
    call = ModelCall(
        "m",
        [{"role": "user", "content": "hi"}],
        base_url=url,
        api_key="k",
        max_retries=0,
        timeout=0.5 if "/drips" in url else None,
        idle_timeout=0.4,
    )
    try:
        async for _ in openai_chat.plugin.stream(call):
            pass
    except ProviderError as error:
        return str(error)
    return "whole"


async def hard_bursts(count: int, name: str, other: Server) -> dict[str, int]:
    """Run hostile bursts of calls to a server that fails; return how many ended otherwise than they should,
    never, or were sent more than once."""
    handler, says = HARD[name]
    found = {"otherwise": 0, "stalled": 0, "sent again": 0}
    with socket.socket() as held, Server(handler or never) as server:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}" if handler is None else f"{server.url}/{name}"
        gc.collect()
        gc.disable()
        try:
            for _ in range(count):
                await litter(other.url)
                await asyncio.sleep(0.02)
                gc.collect()
                before = len(server.requests)
                tasks = [asyncio.create_task(ends(url)) for _ in range(STREAMS)]
                done, late = await asyncio.wait(tasks, timeout=GIVE_UP)
                found["stalled"] += len(late)
                found["otherwise"] += sum(says not in task.result() for task in done)
                found["sent again"] += max(len(server.requests) - before - STREAMS, 0)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)
                # The SDK's clean-up would make the next litter's own connections deaf, which nobody repairs.
                while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
            gc.collect()
            await asyncio.sleep(0.05)
    return found


def repaired(client: Any) -> int:
    """Count the readers that the client's transports repaired."""
    transports = [client._transport, *filter(None, client._mounts.values())]
    return sum(transport.repaired for transport in transports)
