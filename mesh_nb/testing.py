"""What tests of graphs need: a model that says what it is told to, and checks of event streams.

    from mesh_nb.testing import Reply, ScriptedModel, check_events

    model = ScriptedModel(Reply(tool_calls=[("weather", {"city": "Oslo"})]), "It rains.")
    run = model.instead_of(graph).run_sync("Umbrella?", backend=mesh_nb.MemoryBackend())
    assert run.text == "It rains."
    assert model.asked(1)[-1]["content"] == "rain"
    check_events(run.events)

No key, no network, no clock: the same test gives the same events every time.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from .core import plugins
from .core.compiled import CompiledGraph, Runnable
from .core.context import Message
from .core.errors import InputError, MeshError, ProviderError, UnknownNameError, shown
from .core.events import DELTAS, ENDINGS, EventType, ExecutionEvent, Usage, dumps
from .providers._blocks import Blocks
from .providers._call import ModelCall
from .providers._stream import call_key

__all__ = ["Reply", "ScriptedModel", "check_events", "comparable", "tool_calls"]

VENDOR = "scripted"

_models: dict[str, ScriptedModel] = {}
_numbers = itertools.count(1)


@dataclasses.dataclass(slots=True)
class Reply:
    """One answer of a scripted model, in the order in which it comes.

    Parameters
    ----------
    text : the answer; it comes word by word.
    reasoning : what the model thinks before it.
    tool_calls : (name, arguments) pairs; arguments are a dict, or text that is sent as it is.
    sources : as in a source event: dicts with url, title, ...
    usage : token counts; None counts words.
    finish_reason : None says "tool_calls" or "stop", whichever fits.
    error : what ends the call after all that: a message, or an exception.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: Sequence[tuple[str, Any]] = ()
    sources: Sequence[dict[str, Any]] = ()
    usage: dict[str, int] | None = None
    finish_reason: str | None = None
    error: str | Exception | None = None


Scripted = str | Reply | Callable[[list[Message]], str | Reply]


class ScriptedModel:
    """A model that answers from a list, one reply for each time it is asked.

    Parameters
    ----------
    replies : text, Reply objects, or functions from the list of messages to one of these.
    repeat : begin again after the last reply; else one more question is an error that shows it.

    `name` and `provider` are the options of an llm node that asks it; `calls` are the questions that came.
    """

    def __init__(self, *replies: Scripted, repeat: bool = False) -> None:
        for reply in replies:
            if not isinstance(reply, (str, Reply)) and not callable(reply):
                raise InputError(f"{shown(reply)} is not a reply: give text, a Reply, or a function.")
        if repeat and not replies:
            raise InputError("A scripted model that repeats needs a reply.")
        self.name, self.provider = f"scripted-{next(_numbers)}", VENDOR
        self.calls: list[ModelCall] = []
        self._begun = itertools.count()
        self._replies, self._repeat = replies, repeat
        _models[self.name] = self
        plugins.register("provider", VENDOR)(_PROVIDER)

    @property
    def options(self) -> dict[str, Any]:
        """The options of an llm node that asks it: `add_node("llm", node_type="llm", **model.options)`."""
        return {"model": self.name, "provider": self.provider}

    def asked(self, number: int = -1) -> list[Message]:
        """Return the messages of one question, the last one by default. Raises InputError for one that never
        came."""
        if not -len(self.calls) <= number < len(self.calls):
            raise InputError(f"There is no question {number}: the model was asked {len(self.calls)} times.")
        return self.calls[number].messages

    def instead_of(self, graph: Runnable, nodes: Iterable[str] | None = None) -> CompiledGraph:
        """Return a copy of a graph whose nodes ask this model: llm nodes, others that ask a model, and those
        in the graphs inside of it. Foreign agents ask their own.

        Parameters: graph; nodes, the ids of those to change, with all that is inside them, None for all.
        Raises UnknownNameError for a node of the graph that asks no model, and what compiling raises.
        """
        compiled = graph.compile()
        asking = {i: made for i, node in compiled.nodes.items() if (made := self._asked_by(node)) is not None}
        inner = {
            i: {name: self.instead_of(one) for name, one in graphs.items()}
            for i, graphs in compiled.inner.items()
        }
        wanted = [*asking, *inner] if nodes is None else list(nodes)
        for node_id in wanted:
            if node_id not in asking and node_id not in inner:
                raise UnknownNameError("llm node", node_id, {*asking, *inner})
        changed = {i: made for i, made in asking.items() if i in wanted}
        return compiled.with_nodes(
            changed, {i: inner[i] if i in wanted else compiled.inner[i] for i in inner}
        )

    def _asked_by(self, node: Any) -> Any:
        """Return a copy of a node that asks this model, None for one that asks none."""
        own = getattr(node, "kind", "") == "llm"
        held = {name: value for name, value in vars(node).items() if getattr(value, "kind", "") == "llm"}
        if not own and not held:
            return None
        made = copy.copy(node)
        if own:
            _set(made, **self.options, api=None)
        for name, llm in held.items():
            setattr(made, name, self._asked_by(llm))
        options: Any = getattr(node, "_options", None)
        if held and isinstance(options, dict):  # of a node that makes an llm node for each question
            _set(made, _options={**cast("dict[str, Any]", options), **self.options, "api": None})
        return made

    def reply(self, call: ModelCall) -> Reply:
        """Take note of a question and return its answer. Raises MeshError when the script has no more."""
        number = len(self.calls)
        if number >= len(self._replies) and not self._repeat:
            last = dumps(call.messages[-1:]).decode()
            raise MeshError(
                f"The scripted model has {len(self._replies)} replies and was asked once more: {last}."
            )
        found = self._replies[number % len(self._replies)]
        self.calls.append(dataclasses.replace(call, messages=list(call.messages)))
        said = found(call.messages) if callable(found) else found
        return Reply(said) if isinstance(said, str) else said

    def __repr__(self) -> str:
        return f"<ScriptedModel {self.name}: {len(self.calls)} of {len(self._replies)} replies>"


def _set(node: Any, **options: Any) -> None:
    for name, value in options.items():
        setattr(node, name, value)


class _Provider:
    """The provider of scripted models: it looks a model up by its name."""

    vendor = VENDOR
    api = VENDOR
    prefixes = ("scripted-",)

    def preload(self) -> None:
        """Import nothing."""

    def check(self, call: ModelCall) -> None:
        """Raise UnknownNameError for a model that is gone."""
        if call.model not in _models:
            raise UnknownNameError("scripted model", call.model, _models)

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether it answers to a schema: its replies are what they are."""
        return True

    async def stream(self, call: ModelCall) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield one reply as the grammar of one call. Raises ProviderError where the reply says so."""
        self.check(call)
        model = _models[call.model]
        call_id = f"{model.name}.{next(model._begun)}"
        body = {"model": "scripted", "system": call.system, "messages": call.messages}
        known = {"call_id": call_id, "provider": VENDOR, "requested_model": call.model}
        key = {"call_key": call_key(VENDOR, body), "request": body}
        yield ExecutionEvent(EventType.MODEL_CALL_START, metadata={**known, **key})
        reply = model.reply(call)  # A budget refuses a call at its start: then nothing was asked.
        blocks = Blocks(call_id)
        for event in _said(reply, blocks, call_id):
            yield event
        for event in _ended(reply, blocks, call, known):
            yield event
        if isinstance(reply.error, Exception):
            raise reply.error
        if reply.error is not None:
            raise ProviderError(reply.error, provider=VENDOR, model=call.model)


_PROVIDER = _Provider()


def _said(reply: Reply, blocks: Blocks, call_id: str) -> Iterator[ExecutionEvent]:
    out: list[ExecutionEvent] = []
    for word in _words(reply.reasoning):
        blocks.reasoning(out, word)
    for word in _words(reply.text):
        blocks.text(out, word)
    if reply.sources:
        out.append(ExecutionEvent(EventType.SOURCE, metadata={"sources": [dict(s) for s in reply.sources]}))
    if reply.tool_calls:
        blocks.close(out)
    for at, (name, arguments) in enumerate(reply.tool_calls):
        identity = {"tool_call_id": f"{call_id}.{at}"}
        tool = {"tool_name": name, **identity, "executed_by": "client"}
        out.append(ExecutionEvent(EventType.TOOL_CALL_START, metadata=tool))
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        out.append(ExecutionEvent(EventType.TOOL_CALL_DELTA, content=text, metadata=identity))
    yield from out


def _ended(reply: Reply, blocks: Blocks, call: ModelCall, known: dict[str, Any]) -> list[ExecutionEvent]:
    out: list[ExecutionEvent] = []
    finish = "error" if reply.error is not None else "tool_calls" if reply.tool_calls else "stop"
    finish = reply.finish_reason or finish
    blocks.end(out, finish)
    asked = sum(len(_words(str(message.get("content") or ""))) for message in call.messages)
    thought, spoken = len(_words(reply.reasoning)), len(_words(reply.text))
    counted: Usage = {"prompt_tokens": asked, "completion_tokens": thought + spoken}
    counted["total_tokens"] = asked + thought + spoken
    end = {
        **known,
        "model_id": call.model,
        "usage": counted if reply.usage is None else dict(reply.usage),
        "usage_status": "reported",
        "finish_reason": finish,
        "finish_reason_raw": finish,
        "cost_usd": 0.0,
        "cost_source": "wire",
        "time_to_first_token_ms": 0.0,
        "duration_ms": 0.0,
    }
    return [*out, ExecutionEvent(EventType.RESPONSE_METADATA, metadata=end)]


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+(?:\s+$)?|\s+$", text)


def tool_calls(events: Iterable[ExecutionEvent]) -> list[tuple[str, Any]]:
    """Return the tool calls of a stream as (name, arguments) pairs, in the order of their completion."""
    done = (event.metadata for event in events if event.type == EventType.TOOL_CALL_COMPLETE)
    return [(known.get("tool_name", ""), known.get("arguments")) for known in done]


_TIMES = {"timestamp", "duration_ms", "time_to_first_token_ms", "deadline"}
_OWN = {"run_id", "session_id", "trace_id", "cell", "call_key", "request", "request_ref"}
_PAID = {"cost_usd", "cost_source", "original_cost_usd", "replayed", "cached", "reused", "answered_by"}
_IDS = {"call_id", "tool_call_id", "message_id", "block_id", "text_block_id", "interrupt_id", "id"}


def comparable(events: Iterable[ExecutionEvent]) -> list[dict[str, Any]]:
    """Return events as dicts without what differs between two runs that did the same.

    assert comparable(replayed.events) == comparable(recorded.events)

    Left out are run ids and times, and who answered at what cost: a model, a tape or a cache. Ids of calls
    and messages are numbers in the order in which they come; the words of an answer are one token.
    """
    numbers: dict[str, str] = {}
    made: list[dict[str, Any]] = []
    last: dict[str, dict[str, Any]] = {}
    for event in events:
        record = _without(event.to_dict(), numbers)
        record.pop("seq", None)
        if event.type not in DELTAS:
            last = {}
        elif (before := last.get(record["type"])) is not None and _joins(before, record):
            before["content"] += record["content"]
            continue
        else:
            last[record["type"]] = record
        made.append(record)
    return made


def _joins(before: dict[str, Any], record: dict[str, Any]) -> bool:
    return {**before, "content": ""} == {**record, "content": ""} and isinstance(record.get("content"), str)


def _without(value: Any, numbers: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_without(inside, numbers) for inside in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, inside in cast("dict[str, Any]", value).items():
        if name in _TIMES or name in _OWN or name in _PAID:
            continue
        numbered = name in _IDS and isinstance(inside, str) and (name != "id" or inside in numbers)
        made[name] = (
            numbers.setdefault(inside, f"#{len(numbers) + 1}") if numbered else _without(inside, numbers)
        )
    return made


_OPENS: dict[str, tuple[str, str]] = {
    EventType.MODEL_CALL_START: (EventType.RESPONSE_METADATA, "call_id"),
    EventType.MESSAGE_START: (EventType.MESSAGE_COMPLETE, "message_id"),
    EventType.REASONING_START: (EventType.REASONING_END, "block_id"),
    EventType.TOOL_CALL_START: (EventType.TOOL_CALL_COMPLETE, "tool_call_id"),
    EventType.STEP_START: (EventType.STEP_COMPLETE, "step_index"),
    EventType.NODE_START: (EventType.NODE_COMPLETE, ""),
}
_ENDS = {end: (start, field) for start, (end, field) in _OPENS.items()}
_INSIDE = {
    EventType.TOKEN: EventType.MESSAGE_START,
    EventType.REASONING_TOKEN: EventType.REASONING_START,
    EventType.TOOL_CALL_DELTA: EventType.TOOL_CALL_START,
}


def check_events(events: Iterable[ExecutionEvent]) -> None:
    """Raise AssertionError with the first event of a run that breaks the grammar of ARCHITECTURE.md.

    Checked: seq without a gap, one beginning and one ending, nothing outside of its node, starts and ends
    that balance for each node and visit, deltas inside of their block. What a failed node has left open is
    closed by the engine before node_error; the nodes that ran beside it have no end of their own.
    """
    run = list(events)
    assert run, "there are no events"
    open_blocks: dict[tuple[str, int], list[tuple[str, Any]]] = {}
    for at, event in enumerate(run):
        _check_place(run, at)
        _check_block(event, open_blocks.setdefault((event.node_id, event.metadata.get("visit", 0)), []))
    assert run[-1].type in ENDINGS, f"the run has no ending: its last event is {_name(run[-1])}"
    if run[-1].type == EventType.EXECUTION_COMPLETE and run[-1].metadata.get("status") != "interrupted":
        for (node_id, _), left in open_blocks.items():
            assert not left, f"node {node_id!r} never ended {left[-1][0]}"


def _check_place(run: list[ExecutionEvent], at: int) -> None:
    event = run[at]
    assert event.seq == run[0].seq + at, f"{_name(event)} should have seq {run[0].seq + at}"
    assert (at == 0) == (event.type == EventType.EXECUTION_START), f"{_name(event)} is out of place"
    assert at == len(run) - 1 or event.type not in ENDINGS, f"{_name(event)} is not the last event"


def _check_block(event: ExecutionEvent, blocks: list[tuple[str, Any]]) -> None:
    kind = str(event.type)
    if kind in _OPENS:
        field = _OPENS[kind][1]
        blocks.append((kind, event.metadata.get(field) if field else None))
    elif kind in _ENDS:
        start, field = _ENDS[kind]
        block = (start, event.metadata.get(field) if field else None)
        # Message ids are known to some providers only at the end.
        found = block if block in blocks else next((b for b in reversed(blocks) if b[0] == start), None)
        assert found is not None, f"{_name(event)} ends what had not begun"
        blocks.remove(found)
    elif kind == EventType.NODE_ERROR:
        blocks.clear()
    elif kind in _INSIDE:
        inside = [block for block, _ in blocks]
        assert _INSIDE[event.type] in inside, f"{_name(event)} is outside of {_INSIDE[event.type]}"


def _name(event: ExecutionEvent) -> str:
    return f"{event.type} of node {event.node_id!r} (seq {event.seq})"
