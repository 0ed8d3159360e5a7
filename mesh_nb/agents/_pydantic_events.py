"""Events of a Pydantic AI run (https://pydantic.dev/docs/ai/), into a fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.interrupts import Answer
from ..providers._chat_usage import finish_reason
from ._fold import Events, Fold, plain

_OUTCOMES = {"success": "ok", "denied": "denied", "interrupted": "cancelled"}
_QUIET = frozenset({"final_result", "agent_run_result"})


def _usage(usage: Any) -> dict[str, int]:
    """Return a response's counts; nothing when the provider sent none, which the library fills with zeros."""
    total = usage.input_tokens + usage.output_tokens
    if usage.unmeasured_requests or not total:
        return {}
    counts = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": total,
        "cached_tokens": usage.cache_read_tokens,
        "reasoning_tokens": usage.output_reasoning_tokens,
    }
    return counts | ({"cache_write_tokens": usage.cache_write_tokens} if usage.cache_write_tokens else {})


def _sources(citations: Any) -> list[dict[str, Any]]:
    """Return citations as sources; their places are in the text part that they belong to."""
    found: list[dict[str, Any]] = []
    for citation in citations or ():
        anchor = citation.anchor
        place = (
            {} if anchor is None else {"start": anchor.start, "end": anchor.end, "offset_unit": "code_point"}
        )
        for origin in citation.sources:
            source: dict[str, Any] = {"kind": "cited", **place}
            title = origin.title or getattr(origin, "document_id", None)
            said = {
                "url": getattr(origin, "url", None),
                "title": title,
                "cited_text": "\n".join(origin.excerpts),
            }
            found.append(source | {key: value for key, value in said.items() if value})
    return found


class Reader:
    """One run's events, read into a fold. Events are told apart by the kinds that they name themselves."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.output: Any = None
        self.result: Any = None
        self.cut = False
        self.by_tool = False
        self.refused = False
        self._open = False
        self._settled = 0
        self._tools: dict[int, str] = {}
        self._file: tuple[int, Any] | None = None

    def feed(self, event: Any, responses: list[Any]) -> Events:
        """Return what an event becomes; responses are those that the run has completed by now."""
        kind = event.event_kind
        if self._file is not None and (kind != "part_start" or event.index != self._file[0]):
            return [*self._file_done(), *self._feed(kind, event, responses)]
        return self._feed(kind, event, responses)

    def _file_done(self) -> Events:
        """Return the file that is held back: until then, a later version of it may take its place."""
        if self._file is None:
            return []
        content, self._file = self._file[1].content, None
        return self.fold.file(content.data, mime_type=content.media_type)

    def _feed(self, kind: str, event: Any, responses: list[Any]) -> Events:
        if kind == "part_delta":
            return self._delta(str(event.index), event.index, event.delta)
        if kind == "part_end":
            return self._part_end(str(event.index), event.part)
        out = self.settle(responses)
        if kind == "part_start":
            return [*out, *self._begin(), *self._part_start(str(event.index), event.index, event.part)]
        if kind.endswith("tool_call"):
            part = event.part
            self.by_tool |= kind == "output_tool_call"
            return [*out, *self.fold.tool_input(part.tool_call_id, part.tool_name, _arguments(part))]
        if kind.endswith("tool_result"):
            return [*out, *self._result(event.part)]
        if kind == "deferred_tool_requests":
            requests = plain(event.requests)
            return [*out, *self.fold.custom(requests, data_type="data-deferred-tool-requests")]
        if kind == "agent_run_result":
            self.result, self.output = event.result, event.result.output
        if kind in _QUIET:
            return out
        name = getattr(event, "name", "") if kind == "custom" else ""
        return [*out, *self.fold.custom(plain(event), data_type=f"data-{name}" if name else "native")]

    def waiting(self) -> list[tuple[str, str, Any]]:
        """Return the tool calls that the run has ended at, when all it needs is a person's approval."""
        approvals = getattr(self.output, "approvals", None)
        if type(self.output).__name__ != "DeferredToolRequests" or self.output.calls or not approvals:
            return []
        return [(part.tool_call_id, part.tool_name, part.args) for part in approvals]

    def resumed(self, sdk: Any, answers: Mapping[str, Answer]) -> dict[str, Any]:
        """Return the options of the run that goes on with these answers."""
        approvals: dict[str, Any] = {}
        for call_id, answer in answers.items():
            if not answer.approved:
                approvals[call_id] = sdk.ToolDenied(f"{answer.refusal}.")
            else:
                approvals[call_id] = sdk.ToolApproved(override_args=answer.value)
        results = sdk.DeferredToolResults(approvals=approvals)
        messages, self._settled = self.result.all_messages(), 0
        return {"message_history": messages, "deferred_tool_results": results}

    def settle(self, responses: list[Any], *, failed: bool = False) -> Events:
        """End the model calls whose responses are complete; a failure leaves the last one to `Fold.close`."""
        out = self._file_done() if failed else []
        for response in responses[self._settled :]:
            broken = failed and response.state != "complete"
            if broken and not self._open:
                continue
            details: dict[str, Any] = response.provider_details or {}
            out += self._begin()
            if details.get("refusal"):
                # The library keeps a refusal's words to itself, and raises.
                self.refused = True
                out += self.fold.text(str(details["refusal"]), "refusal", refusal=True)
            out += self.fold.metadata(
                usage=_usage(response.usage),
                model_id=response.model_name or "",
                response_id=response.provider_response_id or "",
            )
            if broken:
                continue
            raw = str(details.get("finish_reason") or response.finish_reason or "")
            self.cut = _is_cut(response, details)
            reason = "error" if self.cut else finish_reason(response.finish_reason or raw)
            # An answer of the Responses API that calls tools ends with "stop" as well.
            derived = reason == "stop" or "refusal" in details
            self.fold.finish("" if derived else reason or "", raw or None)
            out += self.fold.call_end()
            self._open, self._settled = False, self._settled + 1
        return out

    def _begin(self) -> Events:
        if self._open:
            return []
        self._open = True
        self._tools.clear()
        return [*self.fold.step_start(), *self.fold.call_start()]

    def _part_start(self, block: str, index: int, part: Any) -> Events:
        fold, kind = self.fold, part.part_kind
        if kind == "text":
            fold.text_start(block)
            return [*fold.text(part.content, block), *fold.source(_sources(part.citations))]
        if kind == "thinking":
            return [*fold.reasoning_start(block), *fold.reasoning(part.content, block)]
        if kind in ("tool-call", "builtin-tool-call"):
            self._tools[index] = part.tool_call_id
            where = "client" if kind == "tool-call" else "provider"
            out = fold.tool_start(part.tool_call_id, part.tool_name, executed_by=where)
            said = part.args
            if isinstance(said, str):
                return [*out, *fold.tool_delta(part.tool_call_id, said)]
            return [*out, *(fold.tool_input(part.tool_call_id, part.tool_name, said) if said else [])]
        if kind == "builtin-tool-return":
            return self._result(part)
        if kind == "file":
            self._file = (index, part)
            return []
        return fold.custom(plain(part), data_type="native")

    def _delta(self, block: str, index: int, delta: Any) -> Events:
        kind = delta.part_delta_kind
        if kind == "text":
            words = self.fold.text(delta.content_delta or "", block)
            return [*words, *self.fold.source(_sources(delta.citations_delta))]
        if kind == "thinking":
            return self.fold.reasoning(delta.content_delta or "", block)
        if kind == "tool_call":
            # Arguments that come as an object are whole with the part's end.
            fragment = delta.args_delta if isinstance(delta.args_delta, str) else ""
            return self.fold.tool_delta(self._tools.get(index, delta.tool_call_id or block), fragment)
        return self.fold.custom(plain(delta), data_type="native")

    def _part_end(self, block: str, part: Any) -> Events:
        if part.part_kind == "thinking":
            return self.fold.reasoning_end(block)
        if part.part_kind in ("tool-call", "builtin-tool-call"):
            where = "client" if part.part_kind == "tool-call" else "provider"
            return self.fold.tool_input(
                part.tool_call_id, part.tool_name, _arguments(part), executed_by=where
            )
        return []

    def _result(self, part: Any) -> Events:
        status = _OUTCOMES.get(part.outcome, "error")
        if status == "ok":
            return self.fold.tool_end(part.tool_call_id, output=part.content)
        said = part.content
        text = said if isinstance(said, str) else str(plain(said))
        return self.fold.tool_end(part.tool_call_id, error=text, status=status)


def _is_cut(response: Any, details: Mapping[str, Any]) -> bool:
    """Say whether an answer stopped without a finish reason; for a chat server's the library makes one up.

    A model that is not on a network, such as TestModel, has no address and no reason.
    """
    said = details.get("finish_reason") or "refusal" in details
    if said or not response.provider_url:
        return False
    return not response.finish_reason or response.provider_name == "openai"


def _arguments(part: Any) -> Any:
    """Return a call's arguments: what the model wrote, or the object that the library made of it."""
    return part.args if part.args is not None else {}
