"""The grammar of events holds for every stream of every API, wherever it breaks off and however it is mixed.

Whole runs, with the real llm node, executor and log; only the network is a list. `tests/soak` tries more.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from provider_streams import WRITTEN, framed, pieces_of, recorded
from replay_server import synthetic_events
from replayed import TRANSLATORS, Step, check_log, check_node, graph_of, replaying, run_of
from stream_breaks import arguments, breaks_off, mixed_lanes, mixtures, neighbours, side_by_side
from support import Replay

from mesh_nb.core.errors import IncompleteStreamError, NodeExecutionError
from mesh_nb.core.events import DELTAS, ExecutionEvent
from mesh_nb.providers._wire import Decoder

_cases = recorded()
RECORDED = pytest.mark.parametrize(
    "case",
    _cases or [pytest.param(None, marks=pytest.mark.skip(reason="no ../shared/provider-streams"))],
    ids=lambda c: c.name if c else "recorded streams",
)
APIS = pytest.mark.parametrize("api", list(WRITTEN))


def changes(api: str, pieces: list[bytes]) -> list[int]:
    """The places, counted in events of the wire, where a stream is in another state than one event before."""
    decoder, translator = Decoder(), TRANSLATORS[api]()
    places, last = [0], None
    for i, piece in enumerate(pieces):
        kinds = [e.type for chunk in decoder.feed(piece) for e in translator.feed(chunk)]
        if kinds != last or (kinds and kinds[-1] not in DELTAS):
            places += [i, i + 1]
        last = kinds
    return sorted({*places, len(pieces)})


# ---- every prefix
@RECORDED
def test_every_prefix_of_every_recording_has_its_end(case: Any) -> None:
    decoder = Decoder()
    chunks = [*decoder.feed(case.body()), *decoder.finish()]
    assert chunks
    for end in range(len(chunks) + 1):
        translator = TRANSLATORS[case.api](call_id="call")
        events = [e for chunk in chunks[:end] for e in translator.feed(chunk)] + translator.finish()
        assert [e.type for e in events].count("response_metadata") == 1
        assert events[-1].type == "response_metadata"
        check_prefix(events)


def check_prefix(events: list[ExecutionEvent]) -> None:
    """Assert that a call is balanced but for the client's tools, which the node ends."""
    start = ExecutionEvent("model_call_start", metadata={"call_id": "call"})  # type: ignore[arg-type]
    left = set(arguments(events)) - {
        e.metadata["tool_call_id"] for e in events if e.type == "tool_call_complete"
    }
    events[-1].metadata.setdefault("call_id", "call")
    ends = [ExecutionEvent("tool_call_complete", metadata={"tool_call_id": id}) for id in left]  # type: ignore[arg-type]
    check_node([start, *events, *ends])


@RECORDED
@pytest.mark.parametrize("ending", ["cut", "dropped", "left"])
async def test_a_run_that_breaks_off_has_a_balanced_log(case: Any, ending: str) -> None:
    await breaks_off(case.api, pieces_of(case), ending, spread(changes(case.api, pieces_of(case)), 30))


@APIS
@pytest.mark.parametrize("ending", ["cut", "dropped", "left"])
async def test_a_written_stream_that_breaks_off_anywhere(api: str, ending: str) -> None:
    pieces = [framed(chunk) for chunk in WRITTEN[api].mixed(())]
    await breaks_off(api, pieces, ending, range(len(pieces) + 1))
    pieces = list(synthetic_events(api, "synthetic-3-r2-x2-t2"))
    await breaks_off(api, pieces, ending, range(len(pieces) + 1))


def spread(places: list[int], most: int) -> list[int]:
    """At most this many of the places, the first and the last among them."""
    if len(places) <= most:
        return places
    return sorted({places[round(i * (len(places) - 1) / (most - 1))] for i in range(most)})


async def test_a_sample_of_breaks_over_http(replay: Replay) -> None:
    import mesh_nb as mesh

    for fault in ("cut_event=4", "drop_event=5", "error=6", "malformed=7"):
        for options in (
            {"provider": "openai", "api": "chat", "base_url": replay.base_url},
            {"provider": "openai", "api": "responses", "base_url": replay.base_url},
            {"provider": "anthropic", "base_url": replay.url},
            {"provider": "gemini", "base_url": replay.url},
        ):
            graph = mesh.StateGraph().add_node(
                "llm",
                None,
                node_type="llm",
                model=f"synthetic-9-r2-t1@{fault}",
                api_key="x",
                max_retries=0,
                **options,
            )
            seen = await run_of(graph.set_entry_point("llm").compile())
            assert seen.error is not None
            check_log(seen)


# ---- any order of what may be open at once
@settings(max_examples=400)
@given(mixtures())
async def test_lanes_may_be_mixed_in_any_way(mixture: Any) -> None:
    await mixed_lanes(mixture)


# ---- side by side
@settings(max_examples=150)
@given(neighbours())
async def test_calls_side_by_side_do_not_mix(drawn: Any) -> None:
    await side_by_side(drawn)


async def test_a_break_is_told_as_one() -> None:
    for api, written in WRITTEN.items():
        pieces: list[Step] = [framed(chunk) for chunk in written.mixed(())][:4]
        with replaying({"m": (api, pieces)}):
            seen = await run_of(graph_of("m"))
        assert isinstance(seen.error, NodeExecutionError)
        assert isinstance(seen.error.cause, IncompleteStreamError)
