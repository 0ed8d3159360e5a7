"""Streams that break off anywhere, are mixed in any way, and run side by side; drawn, run and checked."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from provider_streams import WRITTEN, Written, framed
from replayed import TRANSLATORS, Step, check_log, dropped, graph_of, replaying, run_of, words

from mesh_nb.core.errors import NodeExecutionError, ProviderError
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.providers._wire import Decoder

ERROR: dict[str, Any] = {
    "chat": {"error": {"message": "boom", "code": 500}},
    "responses": {"type": "error", "error": {"type": "server_error", "message": "boom"}},
    "messages": {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}},
    "gemini": {"error": {"code": 503, "status": "UNAVAILABLE", "message": "boom"}},
}


def arguments(events: list[ExecutionEvent]) -> dict[str, str]:
    """The arguments' JSON of each call, as far as it came, by the call's id."""
    found: dict[str, str] = {}
    for e in events:
        if e.type == "tool_call_start":
            found[e.metadata["tool_call_id"]] = ""
        elif e.type == "tool_call_delta":
            found[e.metadata["tool_call_id"]] += e.content
    return found


def complete(api: str, pieces: list[bytes]) -> bool:
    """Whether the protocol's own end is in there."""
    decoder, translator = Decoder(), TRANSLATORS[api]()
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)] + decoder.finish()
    for chunk in chunks:
        translator.feed(chunk)
    return translator.terminated or decoder.done


async def breaks_off(api: str, pieces: list[bytes], ending: str, places: Iterable[int]) -> None:
    """Run the stream as far as each of the places; what came begins what comes when it does not break."""
    with replaying({"m": (api, list(pieces))}) as provider:
        graph = graph_of("m")
        whole = await run_of(graph)
        check_log(whole)
        said, thought = words(whole.log), words(whole.log, "reasoning_token")
        asked = list(arguments(whole.log).values())
        for place in places:
            step: list[Step] = [dropped()] if ending == "dropped" else []
            provider.scripts["m"] = api, [*pieces[:place], *step]
            if ending == "left":
                seen = await run_of(graph, lambda got, n=place: len(got) > n)
            else:
                seen = await run_of(graph)
                if not complete(api, pieces[:place]):
                    assert isinstance(seen.error, NodeExecutionError)
                    assert isinstance(seen.error.cause, ProviderError)
            check_log(seen)
            assert provider.open == 0
            assert said.startswith(words(seen.log))
            assert thought.startswith(words(seen.log, "reasoning_token"))
            came = list(arguments(seen.log).values())
            assert all(all_of_it.startswith(raw) for raw, all_of_it in zip(came, asked, strict=False))
            assert len(came) <= len(asked)


@st.composite
def mixtures(draw: Any) -> tuple[str, Written, list[int], str, int, int]:
    """An API, its stream, an order of its lanes, how it ends and where, and the bytes of one read."""
    api = draw(st.sampled_from(list(WRITTEN)))
    written = WRITTEN[api]
    order = draw(st.lists(st.integers(0, len(written.lanes) - 1), max_size=written.length))
    ending = draw(st.sampled_from(["whole", "cut", "dropped", "left", "error", "malformed"]))
    return api, written, order, ending, draw(st.integers(0, 40)), draw(st.sampled_from([0, 7, 50, 400]))


async def mixed_lanes(mixture: Any) -> None:
    """Run one drawn mixture and check what came of it."""
    api, written, order, ending, place, size = mixture
    with replaying({"m": (api, script(api, written.mixed(order), ending, place, size))}) as provider:
        leave = (lambda got: len(got) > place) if ending == "left" else None
        seen = await run_of(graph_of("m"), leave)
        assert provider.open == 0
    check_log(seen)
    check_words(seen.log, written, whole=ending == "whole")
    if ending == "whole":
        assert seen.error is None


def script(api: str, chunks: list[Any], ending: str, place: int, size: int = 0) -> list[Step]:
    """The connection of a call: bytes in reads of a size, and then its ending."""
    sent = [framed(chunk) for chunk in chunks]
    if ending not in ("whole", "left"):
        sent = sent[: min(place, len(sent) - 2)]
    if ending == "error":
        sent.append(framed(ERROR[api]))
    if ending == "malformed":
        sent.append(b'data: {"broken": [1\n\n')
    body = b"".join(sent)
    reads: list[Step] = [body[i : i + size] for i in range(0, len(body), size)] if size else [*sent]
    return [*reads, dropped()] if ending == "dropped" else reads


def check_words(log: list[ExecutionEvent], written: Written, *, whole: bool) -> None:
    """Assert that words, reasoning and arguments came as themselves, in order, complete if `whole`."""
    said, thought, asked = words(log), words(log, "reasoning_token"), arguments(log)
    assert written.text.startswith(said)
    assert written.reasoning.startswith(thought)
    assert not any("t1" in raw or "r1" in raw for raw in asked.values())
    if whole:
        assert (said, thought) == (written.text, written.reasoning)
        client = [e.metadata for e in log if e.type == "tool_call_complete"]
        client = [m for m in client if m["executed_by"] == "client"]
        assert [json.loads(asked[m["tool_call_id"]]) for m in client] == [{"x": "ARG"}] * written.calls


@dataclasses.dataclass
class Neighbours:
    """Three calls at once: the connection and the stream of each; whether all are whole; when to leave."""

    scripts: dict[str, tuple[str, list[Step]]]
    streams: dict[str, Written]
    whole: bool
    leave_after: int | None


@st.composite
def neighbours(draw: Any) -> Neighbours:
    """Calls with an order of lanes and an ending each, and turns of the loop between their reads."""
    scripts: dict[str, tuple[str, list[Step]]] = {}
    streams: dict[str, Written] = {}
    endings: list[str] = []
    for name in ("a", "b", "c"):
        api, written, order, ending, place, size = draw(mixtures())
        turns: list[Step] = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
        endings.append(draw(st.sampled_from(["whole", "whole", "whole", ending])))
        steps = script(api, written.mixed(order), endings[-1], place, size)
        mixed = [x for pair in zip(itertools.cycle(turns), steps, strict=False) for x in pair]
        scripts[name], streams[name] = (api, mixed), written
    leaving = draw(st.sampled_from([None, None, draw(st.integers(0, 120))]))
    return Neighbours(scripts, streams, set(endings) <= {"whole", "left"}, leaving)


async def side_by_side(drawn: Neighbours) -> None:
    """Run three drawn calls at once and check that each has only its own words."""
    place = drawn.leave_after
    with replaying(drawn.scripts) as provider:
        seen = await run_of(graph_of(*drawn.scripts), (lambda got: len(got) > place) if place else None)
        assert provider.open == 0
    check_log(seen)
    if drawn.whole:
        assert seen.error is None
    for name, written in drawn.streams.items():
        mine = [e for e in seen.log if e.node_id == name]
        check_words(mine, written, whole=drawn.whole and not seen.left)
        assert mine or seen.left
