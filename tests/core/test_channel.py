"""The channel: order, bound, failure, closing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mesh_nb.core.channel import CAPACITY, Channel, Ended


async def received(channel: Channel[str]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    while channel.active:
        pair = channel.poll()
        if pair is None:
            await channel.wait()
        else:
            found.append(pair)
    return found


async def numbers(count: int) -> AsyncIterator[int]:
    for n in range(count):
        yield n


async def test_items_of_each_source_keep_their_order_and_end_once() -> None:
    channel = Channel[str]()
    for key in "abc":
        channel.add(key, numbers, 500)
    pairs = await received(channel)
    for key in "abc":
        items = [item for k, item in pairs if k == key]
        assert items[:-1] == list(range(500))
        assert isinstance(items[-1], Ended)
        assert items[-1].error is None
    await channel.aclose()


async def test_a_source_waits_while_nobody_receives() -> None:
    sent = 0

    async def eager(_: Any) -> AsyncIterator[int]:
        nonlocal sent
        while sent < 10 * CAPACITY:
            sent += 1
            yield sent

    channel = Channel[str]()
    for key in "abc":
        channel.add(key, eager, None)
    for _ in range(50):
        await asyncio.sleep(0)
    assert sent <= CAPACITY + 3
    pairs = await received(channel)
    assert sum(not isinstance(item, Ended) for _, item in pairs) == sent


async def test_the_last_item_comes_with_the_end() -> None:
    channel = Channel[str](lambda item: item == 2)
    channel.add("a", numbers, 3)
    pairs = await received(channel)
    assert [i for _, i in pairs[:-1]] == [0, 1]
    assert pairs[-1][1].last == 2


async def test_a_last_item_that_is_not_the_last_is_sent_like_the_others() -> None:
    channel = Channel[str](lambda item: item == 1)
    channel.add("a", numbers, 3)
    pairs = await received(channel)
    assert [i for _, i in pairs[:-1]] == [0, 1, 2]
    assert pairs[-1][1].last is None


async def test_a_failure_comes_after_what_was_sent_before_it() -> None:
    async def failing(_: Any) -> AsyncIterator[int]:
        yield 1
        raise ValueError("no")

    channel = Channel[str]()
    channel.add("a", failing, None)
    (_, first), (_, end) = await received(channel)
    assert first == 1
    assert isinstance(end.error, ValueError)


async def test_opening_may_fail_too() -> None:
    def broken(_: Any) -> AsyncIterator[int]:
        raise ValueError("no")

    channel = Channel[str]()
    channel.add("a", broken, None)
    [(_, end)] = await received(channel)
    assert isinstance(end.error, ValueError)


async def test_a_call_is_a_source_of_one_item() -> None:
    async def call(value: int, context: object) -> int:
        return 10 // value

    channel = Channel[str]()
    channel.call("a", call, 5)
    channel.call("b", call, 0)
    ends = dict(await received(channel))
    assert ends["a"].last == 2
    assert isinstance(ends["b"].error, ZeroDivisionError)


async def test_closing_closes_sources_keeps_what_was_sent_and_leaves_no_task() -> None:
    before, closed = asyncio.all_tasks(), list[str]()

    async def endless(key: str) -> AsyncIterator[str]:
        try:
            yield key
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append(key)

    channel = Channel[str]()
    for key in "ab":
        channel.add(key, endless, key)
    for _ in range(5):
        await asyncio.sleep(0)
    await channel.aclose()
    assert sorted(closed) == ["a", "b"]
    assert sorted(item for _, item in channel.drain() if not isinstance(item, Ended)) == ["a", "b"]
    assert asyncio.all_tasks() == before


async def test_closing_before_a_source_has_begun_leaves_nothing_behind() -> None:
    begun = list[str]()

    async def call(key: str, context: object) -> None:
        begun.append(key)

    async def source(key: str) -> AsyncIterator[str]:
        begun.append(key)
        yield key

    before = asyncio.all_tasks()
    channel = Channel[str]()
    channel.call("a", call, "a")
    channel.add("b", source, "b")
    await channel.aclose()
    assert begun == []
    assert channel.drain() == []
    assert asyncio.all_tasks() == before


async def test_the_first_item_is_the_one_that_comes_next() -> None:
    channel = Channel[str]()
    assert channel.first() is None
    channel.add("a", numbers, 2)
    await channel.wait()
    first = channel.first()
    assert first is not None
    assert first is channel.poll()
    await channel.aclose()
