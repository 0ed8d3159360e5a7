"""Limits for each provider and key: how many at once, how many a minute, and waiting together after a 429."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import Replay, until

import mesh_nb as mesh
from mesh_nb.core.errors import InputError, RateLimitError, UnknownNameError
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.nodes.llm import LLMNode
from mesh_nb.providers import _limits
from mesh_nb.providers._limits import Gate

APIS = ("chat", "responses", "anthropic", "gemini")
EVERY = pytest.mark.parametrize("api", APIS)
TOO_MANY = RateLimitError("slow down", provider="openai", model="m", status=429)


@pytest.fixture(autouse=True)
def _no_limits_after() -> Iterator[None]:
    yield
    mesh.limits.clear()


def node(replay: Replay, api: str, model: str, key: str = "one-key", **more: Any) -> LLMNode:
    if api in ("chat", "responses"):
        more = {"provider": "openai", "api": api, "base_url": replay.base_url, **more}
    else:
        more = {"provider": api, "base_url": replay.url, **more}
    return LLMNode("llm", model=model, api_key=key, **more)


def provider(api: str) -> str:
    return "openai" if api in ("chat", "responses") else api


async def run(node: LLMNode, events: list[ExecutionEvent] | None = None) -> str:
    context = mesh.ExecutionContext().for_run("r", "hi")
    found = [] if events is None else events
    async for event in node.run("hi", context):
        found.append(event)
    return found[-1].output["content"]


# ---- limits that were set
@EVERY
async def test_at_most_so_many_answers_at_once(replay: Replay, api: str) -> None:
    mesh.limits.set(provider(api), concurrency=2)
    asked = [node(replay, api, "synthetic-3@delay=0.01") for _ in range(6)]
    assert await asyncio.gather(*(run(n) for n in asked)) == ["tok0 tok1 tok2 "] * 6
    assert replay.stats["max_active"] <= 2


async def test_loops_and_threads_share_the_limit(replay: Replay) -> None:
    mesh.limits.set("openai", concurrency=1)
    answers: list[str] = []

    def other() -> None:
        answers.append(asyncio.run(run(node(replay, "chat", "synthetic-3@delay=0.01"))))

    threads = [threading.Thread(target=other) for _ in range(3)]
    for thread in threads:
        thread.start()
    answers += await asyncio.gather(*(run(node(replay, "chat", "synthetic-3@delay=0.01")) for _ in range(3)))
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    assert answers == ["tok0 tok1 tok2 "] * 6
    assert replay.stats["max_active"] == 1


async def test_at_most_so_many_requests_a_minute(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, "MINUTE", 0.4)
    mesh.limits.set("openai", requests_per_minute=2)
    times: list[float] = []
    start = _limits.Gate._start

    def noted(gate: _limits.Gate) -> None:
        times.append(time.monotonic())
        start(gate)

    # When a request arrives says little on a busy machine: what counts is when it may start.
    monkeypatch.setattr(_limits.Gate, "_start", noted)
    await asyncio.gather(*(run(node(replay, "chat", "synthetic-1")) for _ in range(5)))
    assert len(times) == replay.stats["requests"] == 5
    assert all(later - earlier > 0.399 for earlier, later in zip(times, times[2:], strict=False))


async def test_a_cancelled_call_leaves_the_queue(replay: Replay) -> None:
    mesh.limits.set("openai", concurrency=1)
    holding = asyncio.ensure_future(run(node(replay, "chat", "synthetic-3@keepopen=600,nodone=1")))
    await until(lambda: replay.stats["active"] == 1)
    waiting = [asyncio.ensure_future(run(node(replay, "chat", "synthetic-1"))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    holding.cancel()
    assert await asyncio.gather(*waiting[1:]) == ["tok0 "] * 2
    await asyncio.gather(holding, waiting[0], return_exceptions=True)
    assert replay.stats["requests"] == 3


async def test_a_limit_that_is_lifted_lets_the_queue_go(replay: Replay) -> None:
    mesh.limits.set("openai", concurrency=1)
    holding = asyncio.ensure_future(run(node(replay, "chat", "synthetic-3@keepopen=600,nodone=1")))
    await until(lambda: replay.stats["active"] == 1)
    waiting = asyncio.ensure_future(run(node(replay, "chat", "synthetic-1")))
    await asyncio.sleep(0)
    mesh.limits.set("openai", concurrency=None)
    assert await waiting == "tok0 "
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


# ---- a provider that says how long to wait
@EVERY
async def test_after_a_429_all_calls_of_that_key_wait_and_no_others(replay: Replay, api: str) -> None:
    events: list[ExecutionEvent] = []
    refused = asyncio.ensure_future(
        run(node(replay, api, "synthetic-2@fail=1,status=429,retry_after=60"), events)
    )
    await until(lambda: any(e.metadata.get("data_type") == "data-retry" for e in events))
    waiting = [asyncio.ensure_future(run(node(replay, api, "synthetic-1"))) for _ in range(4)]
    async with asyncio.timeout(50):  # less than the pause, which this call does not share
        assert await run(node(replay, api, "synthetic-1", key="another-key")) == "tok0 "
    assert replay.stats["requests"] == 2
    assert not any(task.done() for task in waiting)
    mesh.limits.clear()  # as the end of the 60 seconds would
    assert await asyncio.gather(*waiting) == ["tok0 "] * 4
    refused.cancel()
    await asyncio.gather(refused, return_exceptions=True)


async def test_no_call_fails_when_a_burst_meets_a_429(replay: Replay) -> None:
    model = "synthetic-1@fail=4,status=429,retry_after=0.05,key=burst"
    answers = await asyncio.gather(*(run(node(replay, "chat", model, max_retries=4)) for _ in range(20)))
    assert answers == ["tok0 "] * 20
    assert replay.stats["requests"] == 24


async def test_a_wait_that_is_too_long_makes_nobody_wait(replay: Replay) -> None:
    with pytest.raises(RateLimitError):
        await run(node(replay, "chat", "synthetic-1@fail=1,status=429,retry_after=3600"))
    assert await run(node(replay, "chat", "synthetic-1")) == "tok0 "


async def test_after_a_refusal_requests_go_one_by_one_then_two_then_four() -> None:
    gate = Gate(None, None)
    await gate.acquire()
    gate.answered(TOO_MANY, taken=False)
    gate.release()
    through: list[int] = []

    async def call(number: int) -> None:
        await gate.acquire()
        through.append(number)

    tasks = [asyncio.ensure_future(call(n)) for n in range(7)]
    for expected in (1, 3, 6, 7):
        await until(lambda expected=expected: len(through) >= expected)
        for _ in range(5):
            await asyncio.sleep(0)
        assert through == list(range(expected))
        gate.answered(None, taken=True)
    await asyncio.gather(*tasks)


# ---- what cannot be meant
@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("opnai", {}, "Did you mean 'openai'"),
        ("openai", {"concurrency": 0}, "concurrency=0 must be a whole number above 0"),
        ("openai", {"requests_per_minute": 1.5}, "requests_per_minute=1.5"),
        ("openai", {"concurrency": True}, "concurrency=True"),
    ],
)
def test_wrong_limits(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises((UnknownNameError, InputError)) as caught:
        mesh.limits.set(name, **options)
    assert says in str(caught.value)
    assert repr(mesh.limits) == "<Limits none>"


def test_what_is_set_is_shown() -> None:
    mesh.limits.set("groq", concurrency=3)
    assert repr(mesh.limits) == "<Limits groq: concurrency=3, requests_per_minute=None>"
