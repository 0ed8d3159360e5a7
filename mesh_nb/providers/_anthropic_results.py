"""What the blocks of a Messages answer hold beside words: tool results, sources, files, usage, finish."""

from __future__ import annotations

import posixpath
from typing import Any, cast
from urllib.parse import urlsplit

from ..core.events import EventType, ExecutionEvent, Usage
from ._blocks import file_event
from ._text import clean

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}

# Opaque to everyone but the API, and often larger than all the rest: provider_state keeps them.
_OPAQUE = frozenset({"encrypted_content", "encrypted_stdout", "encrypted_index"})


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list, and nothing for anything else."""
    return [v for v in cast("list[Any]", value) if isinstance(v, dict)] if isinstance(value, list) else []


def finish_reason(raw: str | None) -> str | None:
    """Return the common name of a stop_reason; one that is not known stays as the server said it."""
    return None if raw is None else FINISH.get(raw, raw)


def normalise(raw: dict[str, Any], *, complete: bool) -> Usage:
    """Return the counters that a usage object reports.

    input_tokens leaves cached and cache-write tokens out; prompt_tokens has them. Parameters: raw,
    message_start's usage overlaid with message_delta's; complete, whether the latter came: before it the
    output count is only a beginning, and is left out.
    What is billed beside tokens, or as dearer ones, is there where it happened: web_searches, and
    cache_write_1h_tokens, which are a part of cache_write_tokens.
    """
    given, read, written = (
        _count(raw.get(name))
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    details = raw.get("output_tokens_details")
    thought = (
        _count(cast("dict[str, Any]", details).get("thinking_tokens")) if isinstance(details, dict) else None
    )
    prompt = None if given is None else given + (read or 0) + (written or 0)
    answered = _count(raw.get("output_tokens")) if complete else None
    values = {
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": None if prompt is None or answered is None else prompt + answered,
        "cached_tokens": read,
        "cache_write_tokens": written,
        "reasoning_tokens": thought,
    }
    known: Any = {name: value for name, value in values.items() if value is not None}
    for name, group, key in _BILLED:
        found = raw.get(group)
        number = _count(cast("dict[str, Any]", found).get(key)) if isinstance(found, dict) else None
        if number:
            known[name] = number
    return known


_BILLED = (
    ("web_searches", "server_tool_use", "web_search_requests"),
    ("cache_write_1h_tokens", "cache_creation", "ephemeral_1h_input_tokens"),
)


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        return None
    return int(value)


def shown(value: Any) -> Any:
    """Return a result without what only the API can read and without the bytes of files."""
    if isinstance(value, list):
        return [shown(v) for v in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    held = cast("dict[str, Any]", value)
    hidden = _OPAQUE | {"data"} if held.get("type") == "base64" else _OPAQUE
    return {name: shown(v) for name, v in held.items() if name not in hidden}


def failure(block: dict[str, Any]) -> str | None:
    """Return what went wrong in a result block, None when nothing did."""
    content = block.get("content")
    if isinstance(content, dict):
        code = content.get("error_code")
        if not code and not str(content.get("type") or "").endswith("_error"):
            return None
        message = content.get("error_message")
        return f"{code}: {message}" if code and message else str(code or message or content["type"])
    if block.get("is_error") is not True:
        return None
    parts = [content, *(part.get("text") for part in dicts(content))]
    return "\n".join(p for p in parts if p and isinstance(p, str)) or "The tool failed."


def result_sources(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a search found, or the page that was fetched."""
    content = block.get("content")
    if isinstance(content, dict) and content.get("type") == "web_fetch_result":
        document = content.get("content")
        title = cast("dict[str, Any]", document).get("title") if isinstance(document, dict) else None
        found = [{"url": content.get("url"), "title": title}]
    else:
        found = [r for r in dicts(content) if r.get("type") == "web_search_result"]
    return [_source(r["url"], r.get("title"), "result") for r in found if isinstance(r.get("url"), str)]


def cited_source(citation: dict[str, Any]) -> dict[str, Any]:
    """Return a citation as a source; one of a document has a title and no address."""
    url, title = citation.get("url"), citation.get("title") or citation.get("document_title")
    if citation.get("type") == "search_result_location":
        # The user's own search results: what they call source may be an address or any name.
        origin = citation.get("source")
        if isinstance(origin, str) and urlsplit(clean(origin)).scheme in ("http", "https"):
            url = origin
        title = title or origin
    index = citation.get("document_index")
    if not url and not title and isinstance(index, int):
        title = f"Document {index + 1}"
    return _source(url, title, "cited", citation.get("cited_text"))


def _source(url: Any, title: Any, kind: str, cited: Any = None) -> dict[str, Any]:
    source: dict[str, Any] = {"kind": kind}
    for name, value in (("url", url), ("title", title), ("cited_text", cited)):
        if value and isinstance(value, str):
            source[name] = clean(value)
    return source


def result_files(block: dict[str, Any], number: int) -> list[ExecutionEvent]:
    """Return the files of a result: a fetched PDF with its bytes, others by the id of the Files API.

    Parameters: block; number, of the next file, for one that has no name.
    """
    content = block.get("content")
    if not isinstance(content, dict):
        return []
    held = cast("dict[str, Any]", content)
    document = held.get("content")
    if isinstance(document, dict):
        source = cast("dict[str, Any]", document).get("source")
        return _document(cast("dict[str, Any]", source), held, number) if isinstance(source, dict) else []
    return [stored_file(o["file_id"]) for o in dicts(document) if isinstance(o.get("file_id"), str)]


def _document(source: dict[str, Any], fetched: dict[str, Any], number: int) -> list[ExecutionEvent]:
    if source.get("type") != "base64" or not isinstance(source.get("data"), str):
        return []
    url = fetched.get("url")
    path = urlsplit(clean(url)).path if isinstance(url, str) else ""
    stem = posixpath.splitext(posixpath.basename(path))[0] or f"document-{number}"
    event = file_event(f"data:{source.get('media_type') or 'application/pdf'};base64,{source['data']}", stem)
    return [] if event is None else [event]


def stored_file(file_id: str) -> ExecutionEvent:
    """Return a file event for what lies with the Files API, to be fetched by its id."""
    metadata = {"name": file_id, "mime_type": "application/octet-stream", "file_id": file_id}
    return ExecutionEvent(EventType.FILE, metadata={**metadata, "provider": "anthropic"})
