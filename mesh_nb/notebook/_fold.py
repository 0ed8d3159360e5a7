"""Events to blocks: what a reader of a finished run sees, in order. Pure; no HTML and no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.events import EventType, ExecutionEvent, dumps, loads
from ._coalesce import coalesce
from ._going_on import after, cut_off
from ._marks import end_of, place_marks
from ._view import (
    AGAIN,
    CLOSE_MARK,
    OPEN_MARK,
    PROGRESS,
    RESTART,
    STEPS,
    Ask,
    Block,
    Citation,
    Data,
    File,
    Folded,
    Note,
    Reasoning,
    Section,
    Text,
    ToolCall,
)


def fold(events: Iterable[ExecutionEvent]) -> Folded:
    """Fold the events of a run, whole or partial, into what its reader sees."""
    state = Folding()
    state.feed(coalesce(events))
    for section in state.view.sections:
        section.blocks = [b for b in section.blocks if not isinstance(b, (Text, Reasoning)) or b.text.strip()]
        for block in section.blocks:
            if isinstance(block, Text):
                place_marks(block)
            elif isinstance(block, ToolCall) and block.arguments is None:
                block.arguments = _whole_object(block.raw)
    state.view.sources = sorted(state.found.values(), key=lambda c: c.number or len(state.found) + 1)
    return state.view


class Folding:
    """A run while it goes on: `view` has what was fed, blocks without words and citations apart included."""

    def __init__(self) -> None:
        self.view = Folded()
        self.sections: dict[tuple[str, int], Section] = {}
        self.open: dict[tuple[Any, ...], Block] = {}
        self.calls: dict[str, ToolCall] = {}
        self.found: dict[str, Citation] = {}
        self.cited = 0
        self.was = ""

    def feed(self, events: Iterable[ExecutionEvent]) -> None:
        """Take in the next events, the deltas of each block joined."""
        for event in events:
            handler = _HANDLERS.get(event.type)
            if handler is not None:
                handler(self, event)

    def section(self, event: ExecutionEvent) -> Section:
        key = event.node_id, int(event.metadata.get("visit") or 0)
        if key not in self.sections:
            self.sections[key] = Section(*key)
            self.view.sections.append(self.sections[key])
            self.view.steps += 1
            self.view.entered = self.view.steps
        return self.sections[key]

    def add(self, event: ExecutionEvent, block: Block) -> None:
        self.section(event).blocks.append(block)

    def call(self, event: ExecutionEvent, *, starts: bool = False) -> ToolCall:
        call_id = str(event.metadata.get("tool_call_id") or f"seq{event.seq}")
        key = f"{event.node_id}\0{event.metadata.get('visit') or 0}\0{call_id}"
        # Some servers number the calls of every round anew.
        if key not in self.calls or (starts and self.calls[key].status != "running"):
            self.calls[key] = ToolCall(call_id)
            self.add(event, self.calls[key])
            self.view.tool_calls += 1
        call = self.calls[key]
        call.name = event.metadata.get("tool_name") or call.name
        call.executed_by = event.metadata.get("executed_by") or call.executed_by
        call.again = _again(event) or call.again
        return call


def _text(state: Folding, event: ExecutionEvent) -> None:
    m = event.metadata
    refusal = m.get("event_subtype") == "refusal"
    key = "text", event.node_id, m.get("visit"), m.get("text_block_id"), refusal
    block = state.open.get(key)
    # Text of no named block goes on only while nothing else of its node came between.
    if not isinstance(block, Text) or (key[3] is None and state.section(event).blocks[-1] is not block):
        section = state.section(event)
        block = state.open[key] = Text(refusal=refusal, marks=section.marks)
        section.marks = []
        state.add(event, block)
    block.text += _clean(event.content)


def _message_end(state: Folding, event: ExecutionEvent) -> None:
    # A later message may reuse a block id; it is a block of its own.
    ended = [k for k in state.open if k[1] == event.node_id and k[2] == event.metadata.get("visit")]
    for key in ended:
        if not isinstance(state.open[key], Ask):
            del state.open[key]


def _reasoning(state: Folding, event: ExecutionEvent) -> None:
    m = event.metadata
    key = "reasoning", event.node_id, m.get("visit"), m.get("block_id")
    block = state.open.get(key)
    if not isinstance(block, Reasoning):
        block = state.open[key] = Reasoning()
        state.add(event, block)
    block.kind = m.get("kind") or block.kind
    if event.type is EventType.REASONING_TOKEN:
        block.text += _clean(event.content)


def _reasoning_end(state: Folding, event: ExecutionEvent) -> None:
    m = event.metadata
    block = state.open.pop(("reasoning", event.node_id, m.get("visit"), m.get("block_id")), None)
    if isinstance(block, Reasoning):
        block.kind = m.get("kind") or block.kind


def _tool_start(state: Folding, event: ExecutionEvent) -> None:
    call = state.call(event, starts=True)
    if event.metadata.get("arguments") is not None:
        call.arguments = event.metadata["arguments"]


def _tool_delta(state: Folding, event: ExecutionEvent) -> None:
    state.call(event).raw += event.content if isinstance(event.content, str) else ""


def _tool_complete(state: Folding, event: ExecutionEvent) -> None:
    m, call = event.metadata, state.call(event)
    if m.get("arguments") is not None:
        call.arguments = m["arguments"]
    call.raw = m.get("arguments_raw") or call.raw
    call.output, call.error = event.output, event.error
    call.status = m.get("status") or ("error" if event.error else "ok")


def _source(state: Folding, event: ExecutionEvent) -> None:
    section = state.section(event)
    text = next((b for b in reversed(section.blocks) if isinstance(b, Text)), None)
    for source in event.metadata.get("sources") or []:
        url, title = str(source.get("url") or ""), _clean(source.get("title"))
        name = url or title
        if not name:
            continue
        found = state.found.setdefault(name, Citation(0, url, title or url))
        found.cited_text = found.cited_text or _clean(source.get("cited_text"))
        if source.get("kind") == "result":
            continue
        if not found.number:
            state.cited += 1
            found.number = state.cited
        if text is not None:
            text.marks.append((end_of(text.text, source), found.number))
        else:
            section.marks.append((-1, found.number))


def _file(state: Folding, event: ExecutionEvent) -> None:
    m = event.metadata
    content = m.get("content")
    size = m.get("size")
    if size is None and isinstance(content, str):
        size = len(content) * 3 // 4 - content[-2:].count("=")
    mime = str(m.get("mime_type") or "application/octet-stream")
    holder = (_clean(m.get("provider")) or "the provider") if m.get("file_id") else ""
    state.add(event, File(_clean(m.get("name")) or "file", mime, content, size, holder))


def _response(state: Folding, event: ExecutionEvent) -> None:
    view, m = state.view, event.metadata
    view.model_calls += 1
    provider, model = str(m.get("provider") or ""), str(m.get("model_id") or "")
    if provider and model.partition("/")[0] != provider:
        model = f"{provider}/{model}" if model else provider
    if model and model not in view.models:
        view.models.append(model)
    for name, count in (m.get("usage") or {}).items():
        if isinstance(count, int):
            view.usage[name] = view.usage.get(name, 0) + count
    cost, again = m.get("cost_usd"), _again(event)
    if again:
        view.again[again] = view.again.get(again, 0) + 1
        had = m.get("original_cost_usd", cost)
        cost = 0.0
        if isinstance(had, (int, float)) and had > 0:
            view.saved_usd = (view.saved_usd or 0.0) + had
    if cost is not None:
        view.cost_usd = (view.cost_usd or 0.0) + cost
    elif provider:
        view.unpriced += 1
    if view.time_to_first_token_ms is None:
        view.time_to_first_token_ms = m.get("time_to_first_token_ms")
    section = state.section(event)
    section.answered = m.get("finish_reason") != "error"
    for block in section.blocks:
        if isinstance(block, Reasoning) and not block.text and block.kind == "redacted":
            block.text = "The provider keeps this reasoning to itself."


def _model_call(state: Folding, event: ExecutionEvent) -> None:
    section = state.section(event)
    section.call, section.answered = len(section.blocks), False


def _custom(state: Folding, event: ExecutionEvent) -> None:
    m, blocks = event.metadata, state.section(event).blocks
    data_type = _clean(m.get("data_type")) or "data"
    if data_type == "native" or m.get("transient"):
        return
    if data_type == RESTART:
        _restart(state, event)
        return
    payload = event.content
    if data_type.startswith(f"{STEPS}-"):
        data_type, payload = STEPS, (data_type.removeprefix(f"{STEPS}-"), payload)
    last = blocks[-1] if blocks else None
    if not isinstance(last, Data) or last.data_type != data_type:
        blocks.append(Data(data_type, [payload]))
    elif data_type == PROGRESS:
        last.payloads = [payload]
    else:
        last.payloads.append(payload)


def _restart(state: Folding, event: ExecutionEvent) -> None:
    """The answer of a model call begins again: what the call had said is void."""
    section = state.section(event)
    void = section.blocks[section.call :]
    del section.blocks[section.call :]
    state.open = {k: b for k, b in state.open.items() if not any(b is v for v in void)}
    dropped = Section(section.node_id, section.visit, void, discarded=True, answer=True)
    state.view.sections.insert(state.view.sections.index(section), dropped)


def _asked(state: Folding, event: ExecutionEvent) -> None:
    m = event.metadata
    key = "ask", event.node_id, m.get("visit"), m.get("interrupt_id")
    if key in state.open:
        return
    about = next((v for v in (m.get("arguments"), m.get("data"), event.output) if v is not None), None)
    kind, tool = _clean(m.get("kind")) or "approval", _clean(m.get("tool_name"))
    ask = state.open[key] = Ask(_clean(m.get("message")), kind, tool, about)
    state.add(event, ask)


def _answered(state: Folding, event: ExecutionEvent) -> None:
    m = event.metadata
    ask = state.open.pop(("ask", event.node_id, m.get("visit"), m.get("interrupt_id")), None)
    if isinstance(ask, Ask):
        ask.decision, ask.by = _clean(m.get("decision")) or "approved", _clean(m.get("by"))
        ask.reason, ask.output = _clean(m.get("reason")), event.output


def _node_start(state: Folding, event: ExecutionEvent) -> None:
    section = state.section(event)
    section.again = _again(event) or section.again
    if section.broken:
        _go_on(state, section)


def _go_on(state: Folding, section: Section) -> None:
    """A node that was cut off is run again: what came of calls that had not ended is void."""
    section.broken = False
    void = cut_off(section)
    state.open = {k: b for k, b in state.open.items() if not any(b is v for v in void)}
    error = next((b.text for b in void if isinstance(b, Note)), "")
    shown: list[Block] = [b for b in void if not isinstance(b, Note)]
    if shown or error:
        dropped = Section(
            section.node_id, section.visit, shown, discarded=True, reason=error or after(state.was)
        )
        state.view.sections.insert(state.view.sections.index(section), dropped)
    state.view.steps += 1
    state.view.entered = state.view.steps


def _node_complete(state: Folding, event: ExecutionEvent) -> None:
    section = state.section(event)
    section.again, section.broken = _again(event) or section.again, False
    _close(section, "not_executed")
    state.view.steps += 1
    section.ended = state.view.steps


def _close(section: Section, status: str) -> None:
    for block in section.blocks:
        if isinstance(block, ToolCall) and block.status == "running":
            block.status = status


def _node_error(state: Folding, event: ExecutionEvent) -> None:
    _close(state.section(event), "cancelled")
    state.add(event, Note(_clean(event.error) or "failed", failure=True))


def _node_retry(state: Folding, event: ExecutionEvent) -> None:
    key = event.node_id, int(event.metadata.get("visit") or 0)
    section = state.sections.pop(key, None)
    if section is not None:
        section.discarded, section.reason = True, _clean(event.error)
    state.open = {k: b for k, b in state.open.items() if k[1] != event.node_id}


def _start(state: Folding, event: ExecutionEvent) -> None:
    view = state.view
    view.started = event.timestamp if view.started is None else view.started
    graph = event.metadata.get("graph")
    view.outline = graph if isinstance(graph, dict) else None
    if not event.metadata.get("resumed"):
        return
    state.was = view.status
    if view.status != "interrupted":
        for section in view.sections:
            section.broken = section.ended is None and not section.discarded
    view.status, view.error = "running", None


def _complete(state: Folding, event: ExecutionEvent) -> None:
    state.view.status = event.metadata.get("status") or "completed"
    _close_all(state)
    state.view.output = event.output
    state.view.duration_ms = event.metadata.get("duration_ms")


def _error(state: Folding, event: ExecutionEvent) -> None:
    state.view.status = event.metadata.get("status") or "failed"
    _close_all(state)
    state.view.error = _clean(event.error) or None
    state.view.duration_ms = event.metadata.get("duration_ms")


def _close_all(state: Folding) -> None:
    if state.view.status != "interrupted":
        for section in state.view.sections:
            _close(section, "cancelled")


_HANDLERS = {
    EventType.TOKEN: _text,
    EventType.MESSAGE_COMPLETE: _message_end,
    EventType.REASONING_START: _reasoning,
    EventType.REASONING_TOKEN: _reasoning,
    EventType.REASONING_END: _reasoning_end,
    EventType.TOOL_CALL_START: _tool_start,
    EventType.TOOL_CALL_DELTA: _tool_delta,
    EventType.TOOL_CALL_COMPLETE: _tool_complete,
    EventType.SOURCE: _source,
    EventType.FILE: _file,
    EventType.RESPONSE_METADATA: _response,
    EventType.CUSTOM_DATA: _custom,
    EventType.MODEL_CALL_START: _model_call,
    EventType.INTERRUPT: _asked,
    EventType.INTERRUPT_RESOLVED: _answered,
    EventType.NODE_START: _node_start,
    EventType.NODE_COMPLETE: _node_complete,
    EventType.NODE_ERROR: _node_error,
    EventType.NODE_RETRY: _node_retry,
    EventType.EXECUTION_START: _start,
    EventType.EXECUTION_COMPLETE: _complete,
    EventType.EXECUTION_ERROR: _error,
}


def _clean(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else dumps(value).decode()
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace(OPEN_MARK, "").replace(CLOSE_MARK, "")


def _again(event: ExecutionEvent) -> str:
    return next((word for word in AGAIN if event.metadata.get(word)), "")


def _whole_object(raw: str) -> Any:
    """Return arguments once their JSON is complete; only the whole of an object ends as one."""
    if not raw.endswith("}") or len(raw) > 20_000:
        return None
    try:
        return loads(raw)
    except ValueError:
        return None
