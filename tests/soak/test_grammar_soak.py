"""The grammar of events at every place where a recorded stream can break, and for many more mixtures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from provider_streams import pieces_of, recorded
from replayed import graph_of, replaying, run_of
from stream_breaks import breaks_off, mixed_lanes, mixtures, neighbours, side_by_side

_cases = recorded()


@pytest.mark.parametrize(
    "case",
    _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))],
    ids=lambda c: c.name if c else "recorded streams",
)
@pytest.mark.parametrize("ending", ["cut", "dropped", "left"])
async def test_every_place_of_every_recording(case: Any, ending: str) -> None:
    pieces = pieces_of(case)
    last = len(pieces)
    if ending == "left":
        with replaying({"m": (case.api, list(pieces))}):
            last = len((await run_of(graph_of("m"))).got)
    await breaks_off(case.api, pieces, ending, range(last + 1))


@settings(max_examples=20_000)
@given(mixtures())
async def test_many_mixtures(mixture: Any) -> None:
    await mixed_lanes(mixture)


@settings(max_examples=5_000)
@given(neighbours())
async def test_many_calls_side_by_side(drawn: Any) -> None:
    await side_by_side(drawn)
