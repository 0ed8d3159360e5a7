"""Nothing on the wire is dropped unseen: every kind of chunk that was ever recorded matters, or is named.

A kind is what tells chunks apart: an event's type, an item's, a block's, a field's name. It matters when what
a reader gets is another without it: events, words, usage, state, or the chunk itself, passed on as it came.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chat_streams import native
from provider_streams import WRITTEN, framed, recorded
from replayed import TRANSLATORS, check_log, graph_of, replaying, run_of

from mesh_nb.core.events import ExecutionEvent
from mesh_nb.providers._wire import Decoder

Chunk = dict[str, Any]
Place = tuple[str, Callable[[], Any]]
"""A kind, and what takes it out of its chunk."""

_EMPTY: tuple[Any, ...] = (None, "", [], {})


def fields(name: str, holder: Any) -> Iterator[Place]:
    """The fields of one object that say something."""
    if isinstance(holder, dict):
        for key in list(holder):
            if holder[key] not in _EMPTY:
                yield f"{name}.{key}", lambda key=key: holder.pop(key, None)


def of_chat(chunk: Chunk) -> Iterator[Place]:
    yield from fields("chunk", chunk)
    for choice in chunk.get("choices") or []:
        yield from fields("choice", choice)
        yield from fields("delta", choice.get("delta"))


def of_typed(chunk: Chunk) -> Iterator[Place]:
    """Responses and Messages: a type, and the type of what is inside."""
    kind = str(chunk.get("type"))
    yield kind, chunk.clear
    for name in ("item", "part", "annotation", "content_block", "delta"):
        inner = chunk.get(name)
        if isinstance(inner, dict) and isinstance(inner.get("type"), str):
            yield f"{kind}/{inner['type']}", chunk.clear


def of_gemini(chunk: Chunk) -> Iterator[Place]:
    yield from fields("chunk", chunk)
    for candidate in chunk.get("candidates") or []:
        yield from fields("candidate", candidate)
        for part in (candidate.get("content") or {}).get("parts") or []:
            yield from fields("part", part)


PLACES: dict[str, Callable[[Chunk], Iterator[Place]]] = {
    "chat": of_chat,
    "responses": of_typed,
    "messages": of_typed,
    "gemini": of_gemini,
}

COUNTED = {"chat": 28, "responses": 73, "messages": 19, "gemini": 20}
"""How many kinds the recordings hold."""


def named(prefix: str, names: str) -> set[str]:
    return {prefix + name for name in names.split()}


SILENT: dict[str, set[str]] = {
    "chat": {
        # The envelope: what every chunk repeats, and nobody reads.
        *named("chunk.", "created object obfuscation provider service_tier system_fingerprint"),
        *named("choice.", "index native_finish_reason"),
        *named("delta.", "role channel"),
        # Said elsewhere in the same chunk: Perplexity's whole message and URLs, Groq's second usage.
        *named("", "choice.message chunk.citations chunk.x_groq"),
    },
    "responses": {
        # Beginnings: what follows says all that they do.
        *named("response.", "created in_progress content_part.added reasoning_summary_part.added"),
        *named("response.content_part.added/", "output_text reasoning_text refusal"),
        "response.reasoning_summary_part.added/summary_text",
        *named("response.output_item.added/", "message reasoning file_search_call image_generation_call"),
        *named("response.output_item.added/", "mcp_call mcp_list_tools web_search_call"),
        # Ends that repeat their deltas, and what the finished item says again.
        *named("response.", "content_part.done output_text.done reasoning_text.done refusal.done"),
        *named("response.", "reasoning_summary_part.done reasoning_summary_text.done"),
        *named("response.content_part.done/", "output_text reasoning_text refusal"),
        "response.reasoning_summary_part.done/summary_text",
        *named("response.", "function_call_arguments.done code_interpreter_call_code.done"),
        *named("response.mcp_call_arguments.", "delta done"),
        "response.output_text.annotation.added/container_file_citation",
        # Progress of tools whose start and end are told.
        *named("response.code_interpreter_call.", "in_progress interpreting completed"),
        *named("response.file_search_call.", "in_progress searching completed"),
        *named("response.image_generation_call.", "in_progress generating partial_image completed"),
        *named("response.mcp_call.", "in_progress completed"),
        *named("response.mcp_list_tools.", "in_progress completed"),
        *named("response.web_search_call.", "in_progress searching completed"),
    },
    # A block that begins says nothing that its deltas do not.
    "messages": {"ping", "content_block_start/text", "content_block_start/thinking"},
    "gemini": {"candidate.index", "candidate.safetyRatings", "chunk.createTime"},
}
"""Kinds without which a reader gets the same; with use_native_events they are delivered like all others."""


def chunks_of(case: Any) -> list[Chunk]:
    decoder = Decoder()
    return [*decoder.feed(case.body()), *decoder.finish()]


def read(api: str, chunks: list[Chunk]) -> list[tuple[Any, ...]]:
    """Everything that a reader gets from these chunks."""
    translator = TRANSLATORS[api](call_id="call", model="asked")
    events: list[ExecutionEvent] = [e for chunk in chunks if chunk for e in translator.feed(chunk)]
    events += translator.finish()
    got = [(e.type, e.content, e.output, e.error, e.metadata) for e in events]
    return [*got, (translator.terminated, translator.error)]


def without(api: str, chunks: list[Chunk], kind: str) -> list[Chunk]:
    """The same chunks with every place of one kind taken out."""
    left = copy.deepcopy(chunks)
    for chunk in left:
        for name, take in list(PLACES[api](chunk)):
            if name == kind:
                take()
    return left


_cases = recorded()


@pytest.mark.parametrize("api", list(PLACES))
def test_every_recorded_kind_matters_or_is_named(api: str) -> None:
    if not _cases:
        pytest.skip("no ../shared/provider-streams")
    found: Counter[str] = Counter()
    where: dict[str, list[list[Chunk]]] = {}
    for case in _cases:
        if case.api != api:
            continue
        chunks = chunks_of(case)
        here = Counter(name for chunk in chunks for name, _ in PLACES[api](chunk))
        found += here
        for name in here:
            where.setdefault(name, []).append(chunks)
    silent = {
        name
        for name, places in where.items()
        if all(read(api, chunks) == read(api, without(api, chunks, name)) for chunks in places)
    }
    assert len(found) == COUNTED[api], sorted(found)
    assert silent == SILENT[api]


# ---- kinds that nobody has heard of
HOLOGRAM = {"depth": 3, "of": "a cat"}
INVENTED: dict[str, list[Any]] = {
    "chat": [
        {"id": "c", "model": "m", "choices": [], "hologram": HOLOGRAM},
        {"id": "c", "choices": [{"index": 0, "delta": {}, "hologram": HOLOGRAM}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"hologram": HOLOGRAM}}]},
        ["hologram", HOLOGRAM],
    ],
    "responses": [
        {"type": "response.hologram.delta", "output_index": 9, "delta": HOLOGRAM},
        {"type": "response.output_item.done", "output_index": 9, "item": {"type": "hologram", **HOLOGRAM}},
        {"type": "response.output_text.annotation.added", "annotation": {"type": "hologram", **HOLOGRAM}},
        {"hologram": HOLOGRAM},
        ["hologram", HOLOGRAM],
    ],
    "messages": [
        {"type": "hologram", **HOLOGRAM},
        {"type": "content_block_start", "index": 9, "content_block": {"type": "hologram", **HOLOGRAM}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "hologram", **HOLOGRAM}},
        {"hologram": HOLOGRAM},
        ["hologram", HOLOGRAM],
    ],
    "gemini": [
        {"hologram": HOLOGRAM},
        {"candidates": [{"hologram": HOLOGRAM}]},
        {"candidates": [{"content": {"parts": [{"hologram": HOLOGRAM}]}}]},
        ["hologram", HOLOGRAM],
    ],
}


@pytest.mark.parametrize(
    ("api", "invented"), [(api, chunk) for api, chunks in INVENTED.items() for chunk in chunks]
)
async def test_an_invented_kind_is_passed_on_and_disturbs_nothing(api: str, invented: Any) -> None:
    chunks = WRITTEN[api].mixed(())
    middle = len(chunks) // 2
    logs: list[list[ExecutionEvent]] = []
    for more in ([], [invented]):
        body = [framed(chunk) for chunk in [*chunks[:middle], *more, *chunks[middle:]]]
        with replaying({"m": (api, body)}):
            seen = await run_of(graph_of("m"))
        check_log(seen)
        logs.append(seen.log)
    without_it, with_it = logs
    passed = [n for n in native(with_it) if n not in native(without_it)]
    assert len(passed) == 1
    assert "hologram" in json.dumps(passed)
    assert '"of": "a cat"' in json.dumps(passed)
    kept = [e for e in with_it if not (e.type == "custom_data" and e.content in passed)]
    assert [(e.type, e.content) for e in kept if e.type != "execution_complete"] == [
        (e.type, e.content) for e in without_it if e.type != "execution_complete"
    ]
