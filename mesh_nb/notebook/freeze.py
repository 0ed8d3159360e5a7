"""A run as static output: what a saved notebook shows without a kernel, on GitHub and in nbconvert."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..core._scrub import printable
from ..core.events import EventType, ExecutionEvent
from . import _html, _prose
from ._coalesce import coalesce
from ._fold import fold

MIME = "application/vnd.mesh.run+json"
VERSION = 1
CONTENT_CAP = 32_000
"""Characters of one file's or result's content that the JSON form keeps."""

_VOLATILE = {
    *("run_id", "timestamp", "seq"),
    *("call_id", "call_key", "message_id", "session_id", "graph_id", "trace_id", "request", "request_ref"),
    *(
        "provider_state",
        "duration_ms",
        "time_to_first_token_ms",
        "cost_usd",
        "cost_source",
        "content_ref",
        "deadline",
    ),
}
_IDS = ("tool_call_id", "text_block_id", "block_id", "interrupt_id")


def freeze(
    events: Iterable[ExecutionEvent], run_id: str = "", *, dead: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the static output of a run, whole or partial.

    Parameters: events, of one run in order; run_id, for the metadata; dead, whether the process of a run
    without an ending is gone. Returns (data, metadata) for
    `display(..., raw=True)`: data has text/html, text/markdown, text/plain and
    application/vnd.mesh.run+json and depends on the content only; ids, times and costs are in
    metadata["mesh_nb"], which nbval does not compare.
    """
    joined = printable(coalesce(events))
    view = fold(joined)
    if dead and view.status == "running":
        view.status, view.error = "interrupted", "The process of this run ended before the run did."
    data: dict[str, Any] = {
        "text/html": _html.render(view),
        "text/markdown": _prose.markdown(view),
        "text/plain": _prose.plain(view),
        MIME: {"version": VERSION, "status": view.status, "events": stable_events(joined)},
    }
    known = {
        "run_id": run_id or next((e.run_id for e in joined), ""),
        "status": view.status,
        "started": view.started,
        "duration_ms": view.duration_ms,
        "time_to_first_token_ms": view.time_to_first_token_ms,
        "models": view.models,
        "usage": dict(view.usage),
        "cost_usd": view.cost_usd,
    }
    return whole_text(data), whole_text({"mesh_nb": {k: v for k, v in known.items() if v is not None}})


def marked(markup: str, mark: str) -> str:
    """Return static output with a mark by which the page finds it."""
    return markup.replace('<div class="mesh-run"', f'<div class="mesh-run" data-mesh="{mark}"', 1)


def whole_text(value: Any) -> Any:
    """Return a JSON value whose half characters (lone surrogates) are replaced: one of them anywhere, and
    Jupyter cannot send the output."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        pass
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_text(v) for v in value]
    return {whole_text(k): whole_text(v) for k, v in value.items()}


def stable_events(events: Iterable[ExecutionEvent]) -> list[dict[str, Any]]:
    """Return coalesced events as JSON without what differs between equal runs; ids become small numbers."""
    numbers: dict[tuple[str, str], str] = {}
    out: list[dict[str, Any]] = []
    for event in events:
        record = {k: v for k, v in event.to_dict().items() if k not in _VOLATILE}
        meta = {k: v for k, v in record.pop("metadata", {}).items() if k not in _VOLATILE}
        for key in _IDS:
            if key in meta:
                meta[key] = numbers.setdefault((key, str(meta[key])), str(len(numbers) + 1))
        if event.type is EventType.FILE and len(str(meta.get("content") or "")) > CONTENT_CAP:
            del meta["content"]
        if "output" in record:
            record["output"] = _capped(_without_ids(record["output"], numbers))
        if meta:
            record["metadata"] = meta
        out.append(record)
    return out


def _without_ids(value: Any, numbers: dict[tuple[str, str], str]) -> Any:
    # node_complete and execution_complete repeat tool calls, and with them their ids.
    if isinstance(value, list):
        return [_without_ids(v, numbers) for v in value]
    if not isinstance(value, dict):
        return value
    return {
        k: numbers[("tool_call_id", v)]
        if isinstance(v, str) and ("tool_call_id", v) in numbers
        else _without_ids(v, numbers)
        for k, v in value.items()
        if k not in ("provider_state", "message_id")
    }


def _capped(value: Any) -> Any:
    size = len(value) if isinstance(value, str) else len(json.dumps(value))
    return f"({size:,} characters, not kept here)" if size > CONTENT_CAP else value
