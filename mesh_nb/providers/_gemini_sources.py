"""Where a Gemini answer has its facts from: grounding, citations and the pages that were read.

The formats: https://ai.google.dev/api/generate-content#GroundingMetadata, #CitationMetadata and
#UrlContextMetadata. Offsets on the wire are bytes of UTF-8; ours are code points of the latest text block.
"""

from __future__ import annotations

import bisect
import itertools
from typing import Any, cast

from ..core.events import EventType, ExecutionEvent
from ._text import clean

_KINDS = ("web", "retrievedContext", "maps", "image")
_READ = "URL_RETRIEVAL_STATUS_SUCCESS"


class AnswerText:
    """The answer's words so far, and where their latest block begins; finds places in them."""

    __slots__ = ("_begins", "_bytes", "_parts", "_text")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._begins = 0
        self._text: str | None = None
        self._bytes: list[int] | None = None

    def add(self, text: str) -> None:
        """Add words to the latest block."""
        self._parts.append(text)
        self._text = self._bytes = None

    def begin(self) -> None:
        """Begin a new block: what comes next does not continue the text before it."""
        self._begins = len(self._whole())

    def locate(self, start: Any, end: Any, words: str) -> tuple[int, int] | None:
        """Return a span of the latest block in code points, or None when its place is not known.

        Parameters: start and end, bytes from the beginning of the answer or, with thoughts and code before
        it, of the block (a "part" of its own); words, what should be there, empty when that is not said.
        """
        text, begins = self._whole(), self._begins
        start = 0 if start is None else start
        if isinstance(start, int) and isinstance(end, int) and start >= 0:
            for shift in dict.fromkeys((0, self._byte_of(begins))):
                span = self._point_of(start + shift), self._point_of(end + shift)
                if span[0] is None or span[1] is None or not begins <= span[0] < span[1]:
                    continue
                if not words or text[span[0] : span[1]] == words:
                    return span[0] - begins, span[1] - begins
        at = text.find(words, begins) if words else -1
        return None if at < 0 else (at - begins, at - begins + len(words))

    def _whole(self) -> str:
        if self._text is None:
            self._text = clean("".join(self._parts))
            self._parts = [self._text]
        return self._text

    def _offsets(self) -> list[int] | None:
        """Return the byte at which each code point begins, and the end; None when both are the same."""
        text = self._whole()
        if self._bytes is None and not text.isascii():
            widths = ((c > "\x7f") + (c > "\u07ff") + (c > "\uffff") + 1 for c in text)
            self._bytes = list(itertools.accumulate(widths, initial=0))
        return self._bytes

    def _byte_of(self, point: int) -> int:
        offsets = self._offsets()
        return point if offsets is None else offsets[point]

    def _point_of(self, byte: int) -> int | None:
        offsets = self._offsets()
        if offsets is None:
            return byte if 0 <= byte <= len(self._whole()) else None
        at = bisect.bisect_left(offsets, byte)
        return at if at < len(offsets) and offsets[at] == byte else None


class Sources:
    """Writes source events, each source and each place once.

    Parameters: text, the answer that offsets refer to.
    """

    __slots__ = ("_seen", "_text")

    def __init__(self, text: AnswerText) -> None:
        self._text = text
        self._seen: set[Any] = set()

    def grounding(self, out: list[ExecutionEvent], grounding: dict[str, Any]) -> list[Any]:
        """Read groundingMetadata: what was found, and the words it supports; return unknown chunks."""
        unknown: list[Any] = []
        chunks: list[dict[str, Any] | None] = []
        for chunk in _list(grounding.get("groundingChunks")):
            found = _chunk(chunk)
            chunks.append(found)
            if found is None:
                unknown.append(chunk)
        self._add(out, [c for c in chunks if c is not None])
        cited: list[dict[str, Any]] = []
        for support in _dicts(grounding.get("groundingSupports")):
            segment = support.get("segment")
            segment = segment if isinstance(segment, dict) else {}
            for index in _list(support.get("groundingChunkIndices")):
                chunk = chunks[index] if isinstance(index, int) and 0 <= index < len(chunks) else None
                if chunk is not None:
                    place = self._place(
                        segment.get("startIndex"), segment.get("endIndex"), segment.get("text")
                    )
                    cited.append({k: chunk[k] for k in ("url", "title") if k in chunk} | place)
        self._add(out, cited)
        return unknown

    def citations(self, out: list[ExecutionEvent], citations: Any) -> list[Any]:
        """Read citationMetadata: text that repeats a publication; return what names none."""
        unknown: list[Any] = []
        found: list[dict[str, Any]] = []
        metadata: dict[str, Any] = citations if isinstance(citations, dict) else {}
        for citation in _list(metadata.get("citations") or metadata.get("citationSources")):
            source = _source(citation, "uri", "cited") if isinstance(citation, dict) else None
            if source is None:
                unknown.append(citation)
            else:
                place = self._place(citation.get("startIndex"), citation.get("endIndex"), None)
                found.append(source | place)
        self._add(out, found)
        return unknown

    def pages(self, out: list[ExecutionEvent], context: Any) -> list[Any]:
        """Read urlContextMetadata: the pages that were read; return those that could not be."""
        failed: list[Any] = []
        found: list[dict[str, Any]] = []
        metadata: dict[str, Any] = context if isinstance(context, dict) else {}
        for page in _list(metadata.get("urlMetadata")):
            source = _source(page, "retrievedUrl", "result") if isinstance(page, dict) else None
            if source is None or page.get("urlRetrievalStatus") != _READ:
                failed.append(page)
            else:
                found.append(source)
        self._add(out, found)
        return failed

    def _place(self, start: Any, end: Any, words: Any) -> dict[str, Any]:
        said = clean(words) if isinstance(words, str) else ""
        place: dict[str, Any] = {"kind": "cited"} | ({"cited_text": said} if said else {})
        span = self._text.locate(start, end, said)
        if span is not None:
            place |= {"start": span[0], "end": span[1], "offset_unit": "code_point"}
        return place

    def _add(self, out: list[ExecutionEvent], found: list[dict[str, Any]]) -> None:
        fresh: list[dict[str, Any]] = []
        for source in found:
            name = source.get("url") or source.get("title")
            key = (source["kind"], name, source.get("start"), source.get("end"), source.get("cited_text"))
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(source)
        if fresh:
            out.append(ExecutionEvent(EventType.SOURCE, metadata={"sources": fresh}))


def _chunk(chunk: Any) -> dict[str, Any] | None:
    kind = (
        next((k for k in _KINDS if isinstance(chunk.get(k), dict)), None) if isinstance(chunk, dict) else None
    )
    if kind is None:
        return None
    body = cast("dict[str, Any]", chunk[kind])
    return _source(body, "sourceUri" if kind == "image" else "uri", "result", body.get("text"))


def _source(body: dict[str, Any], url: str, kind: str, words: Any = None) -> dict[str, Any] | None:
    """Return a source with an address or a title, or None when it has neither."""
    source: dict[str, Any] = {"kind": kind}
    for name, value in (("url", body.get(url)), ("title", body.get("title")), ("cited_text", words)):
        if value and isinstance(value, str):
            source[name] = clean(value)
    return source if "url" in source or "title" in source else None


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in _list(value) if isinstance(v, dict)]
