"""Events of the OpenAI Responses API, as dicts, into a fold.

https://platform.openai.com/docs/api-reference/responses-streaming. The Agents SDK hands these on for every
model: for chat models it makes them itself, with "__fake_id__" for the ids that chat does not have, so that
items are told apart by output_index alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._fold import Events, Fold

Chunk = Mapping[str, Any]

_FAKE = "__fake_id__"
_CLIENT_CALLS = frozenset(
    {
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "computer_call",
    }
)
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_PROGRESS = (".added", ".done", ".in_progress", ".searching", ".generating", ".interpreting", ".completed")
_QUIET = frozenset({"response.queued", "response.image_generation_call.partial_image", "error", "keepalive"})


class ResponsesEvents:
    """The state of one response. `feed` returns what an event becomes; no I/O."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.ended = ""
        self._tools: dict[int, str] = {}

    def feed(self, chunk: Chunk) -> Events:
        """Return the events of one Responses event; a kind that nobody knows stays visible as custom_data."""
        kind = str(chunk.get("type", ""))
        words = self._words(kind, chunk)
        if words is not None:
            return words
        item = chunk.get("item")
        if kind == "response.output_item.added" and isinstance(item, Mapping):
            return self._item_added(int(chunk.get("output_index") or 0), item)
        if kind == "response.output_item.done" and isinstance(item, Mapping):
            return self._item_done(int(chunk.get("output_index") or 0), item)
        if kind == "response.output_text.annotation.added":
            return self.fold.source(_citations(chunk.get("annotation")))
        response = chunk.get("response")
        if kind == "response.created" and isinstance(response, Mapping):
            self.ended = ""
            self._tools.clear()
            return self.fold.call_start(
                model_id=str(response.get("model") or ""), response_id=_real(response.get("id"))
            )
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            return self._terminal(kind, response if isinstance(response, Mapping) else {})
        if kind.endswith(_PROGRESS) or kind in _QUIET:
            return []
        return self.fold.custom(dict(chunk), data_type="native")

    def _words(self, kind: str, chunk: Chunk) -> Events | None:
        index = int(chunk.get("output_index") or 0)
        delta = chunk.get("delta")
        text = delta if isinstance(delta, str) else ""
        if kind == "response.output_text.delta":
            return self.fold.text(text, f"{index}.{chunk.get('content_index')}")
        if kind == "response.refusal.delta":
            return self.fold.text(text, f"{index}.{chunk.get('content_index')}", refusal=True)
        if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            return self.fold.tool_delta(self._tools.get(index, ""), text)
        if kind.startswith("response.reasoning_summary_"):
            summary = "full" if chunk.get("item_id") == _FAKE else "summary"
            return self._reasoning(kind, f"{index}.s{chunk.get('summary_index')}", text, summary)
        if kind.startswith("response.reasoning_text."):
            return self._reasoning(kind, f"{index}.r{chunk.get('content_index')}", text, "full")
        return None

    def _reasoning(self, kind: str, block: str, text: str, label: str) -> Events:
        if kind.endswith(".delta"):
            return self.fold.reasoning(text, block, label)
        return self.fold.reasoning_end(block) if kind.endswith(".done") else []

    def _item_added(self, index: int, item: Chunk) -> Events:
        kind = str(item.get("type", ""))
        extra = item.get("provider_data")
        if isinstance(extra, Mapping) and extra.get("response_id"):
            self.fold.metadata(response_id=str(extra["response_id"]))
        if kind in _CLIENT_CALLS:
            self._tools[index] = str(item.get("call_id") or item.get("id") or f"call_{index}")
            return self.fold.tool_start(self._tools[index], _name(kind, item))
        if kind.endswith("_call"):
            self._tools[index] = str(item.get("id") or f"call_{index}")
            return self.fold.tool_start(self._tools[index], _name(kind, item), executed_by="provider")
        return []

    def _item_done(self, index: int, item: Chunk) -> Events:
        kind = str(item.get("type", ""))
        if kind == "mcp_list_tools":
            return self.fold.custom(dict(item), data_type="native")
        if kind not in _CLIENT_CALLS and not kind.endswith("_call"):
            return []
        out = self._item_added(index, item) if index not in self._tools else []
        call_id, name = self._tools[index], _name(kind, item)
        if kind in _CLIENT_CALLS:
            said = next((item[k] for k in ("arguments", "input", "action") if item.get(k) is not None), None)
            return [*out, *self.fold.tool_input(call_id, name, said)]
        arguments, output = _hosted(kind, item)
        error = item.get("error")
        out += self.fold.tool_input(call_id, name, arguments, executed_by="provider")
        if kind == "image_generation_call" and item.get("result"):
            mime = f"image/{item.get('output_format') or 'png'}"
            out += self.fold.file(item["result"], mime_type=mime)
        for image in item.get("outputs") or []:
            if isinstance(image, Mapping) and str(image.get("url", "")).startswith("data:"):
                out += self.fold.file(image["url"])
        return [
            *out,
            *self.fold.tool_end(call_id, output=output, error=None if error is None else str(error)),
        ]

    def _terminal(self, kind: str, response: Chunk) -> Events:
        self.ended = kind.removeprefix("response.")
        out = self.fold.metadata(
            usage=response.get("usage"),
            model_id=str(response.get("model") or ""),
            response_id=_real(response.get("id")),
        )
        if self.ended == "incomplete":
            details = response.get("incomplete_details")
            reason = str(details.get("reason") or "") if isinstance(details, Mapping) else ""
            self.fold.finish(_INCOMPLETE.get(reason, "length"), reason or "incomplete")
        elif self.ended == "failed":
            self.fold.finish("error", "failed")
        return [*out, *self.fold.call_end()]


def _real(value: Any) -> str:
    return "" if value in (None, _FAKE) else str(value)


def _name(kind: str, item: Chunk) -> str:
    return str(item.get("name") or kind.removesuffix("_call"))


def _hosted(kind: str, item: Chunk) -> tuple[Any, Any]:
    """Return the arguments and the output of a tool that the provider ran."""
    if kind == "web_search_call":
        action = item.get("action")
        action = dict(action) if isinstance(action, Mapping) else {}
        found = action.pop("sources", None)
        return action, None if found is None else {"sources": found}
    if kind == "file_search_call":
        return {"queries": item.get("queries")}, item.get("results")
    if kind == "code_interpreter_call":
        return {"code": item.get("code")}, item.get("outputs")
    return item.get("arguments"), item.get("output")


def _citations(annotation: Any) -> list[dict[str, Any]]:
    if not isinstance(annotation, Mapping):
        return []
    source: dict[str, Any] = {"kind": "cited"}
    for key, names in (("url", ("url",)), ("title", ("title", "filename", "file_id"))):
        value = next((annotation[n] for n in names if annotation.get(n)), None)
        if value is not None:
            source[key] = value
    start, end = annotation.get("start_index"), annotation.get("end_index")
    if isinstance(start, int) and isinstance(end, int):
        source |= {"start": start, "end": end, "offset_unit": "code_point"}
    return [source] if "url" in source or "title" in source else []
