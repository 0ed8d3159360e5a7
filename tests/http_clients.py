"""The client of the transport's tests, what is done to it, and handlers of their servers."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx2
from http_servers import Exchange

from mesh_nb.providers._transport import HTTPTransport

QUICK = httpx2.Timeout(30.0, read=0.05)


def new_client(verify: ssl.SSLContext | None = None, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=HTTPTransport(verify, **options), timeout=30.0)


def deafen(client: httpx2.AsyncClient) -> int:
    """Take every reader of the client's connections away, as a foreign finalized transport does."""
    transport: Any = client._transport
    loop: Any = asyncio.get_running_loop()
    wires = [*transport._watch._wires, *(c for idle in transport._idle.values() for c in idle)]
    for wire in wires:
        loop._remove_reader(wire.raw.get_extra_info("socket").fileno())
    return len(wires)


async def echo(x: Exchange) -> None:
    await x.answer(x.method.encode() + b" " + x.path.encode() + b" " + x.body)


async def forever(x: Exchange) -> None:
    await x.start()
    await x.chunk(b"first")
    await x.client_gone()


async def silent(x: Exchange) -> None:
    await x.client_gone()


async def hang_up(x: Exchange) -> None:
    x.keep = False
