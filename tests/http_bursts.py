"""Bursts of 50 streams on a loop where other code drops SDK clients: the regression test of lost readers.

An SDK client that is dropped without closing, and collected, takes the readers of new connections away
(python/cpython#130141). A bare asyncio socket loses about 9 streams in 10 here.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import httpx2
from http_servers import GIVE_UP, Exchange, Server

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


def repaired(client: Any) -> int:
    """Count the readers that the client's transports repaired."""
    transports = [client._transport, *filter(None, client._mounts.values())]
    return sum(transport.repaired for transport in transports)
