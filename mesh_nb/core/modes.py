"""What of a run its reader sees: the event mode of each node, and the stream modes.

The log has every event whatever the modes are, so that costs, frames and resuming stay right; only what
`execute`, `stream` and the iteration of a Run yield is changed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from enum import StrEnum
from typing import Any, cast

from .errors import InputError, UnknownNameError, shown
from .events import EventType, ExecutionEvent

EVENT_MODES = ("full", "status_only", "transient_events", "silent")
_STATUS = frozenset(
    {EventType.NODE_START, EventType.NODE_COMPLETE, EventType.NODE_RETRY, EventType.STATE_UPDATE}
)
_ALWAYS = frozenset({EventType.NODE_ERROR, EventType.INTERRUPT, EventType.INTERRUPT_RESOLVED})
"""What no mode hides: a failure, and a question that somebody must answer."""


def take_event_mode(node_id: str, options: dict[str, Any]) -> str:
    """Take `event_mode` out of a node's options and return it. Raises InputError, or UnknownNameError with
    the nearest mode."""
    mode = options.pop("event_mode", None)
    if mode is None:
        return "full"
    if not isinstance(mode, str):
        raise InputError(f"Node {node_id!r}: event_mode={shown(mode)} must be one of {_listed(EVENT_MODES)}.")
    if mode not in EVENT_MODES:
        raise UnknownNameError(f"event_mode of node {node_id!r}", mode, EVENT_MODES)
    return str(mode)


class EventModes:
    """The event modes of a graph's nodes.

    Parameters: outline, of `CompiledGraph.outline` or of a run's execution_start.
    """

    def __init__(self, outline: Any) -> None:
        nodes: Any = cast("Mapping[str, Any]", outline).get("nodes") if isinstance(outline, Mapping) else None
        self._nodes: dict[str, tuple[str, str]] = {
            str(n["id"]): (n["event_mode"], str(n.get("kind") or "node"))
            for n in (cast("list[Any]", nodes) if isinstance(nodes, list) else [])
            if isinstance(n, dict) and "id" in n and cast("Any", n).get("event_mode") in EVENT_MODES[1:]
        }

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def view(self, event: ExecutionEvent) -> ExecutionEvent | None:
        """Return the event as its node's mode shows it, None when it is hidden.

        "full" shows everything; "status_only" that the node began, was retried, ended, failed or asks, and
        state updates; "silent" only that it failed or asks. "transient_events" shows every other event as a
        transient custom_data: data_type "data-agent-node-token" for a token of an agent node, content the
        event itself. What is in a subgraph's node "name.node" has its own mode, else that of "name".
        """
        mode, kind = self._of(event.node_id)
        if mode == "full" or event.type in _ALWAYS:
            return event
        if mode == "status_only":
            return event if event.type in _STATUS else None
        if mode == "silent":
            return None
        name = str(event.type).removeprefix("node_").replace("_", "-")
        metadata = {"data_type": f"data-{kind.replace('_', '-')}-node-{name}", "transient": True}
        custom = EventType.CUSTOM_DATA
        return dataclasses.replace(
            event, type=custom, content=event.to_dict(), output=None, error=None, metadata=metadata
        )

    def _of(self, node_id: str) -> tuple[str, str]:
        while node_id:
            if found := self._nodes.get(node_id):
                return found
            node_id = node_id.rpartition(".")[0]
        return "full", ""

    async def over(
        self, events: AsyncGenerator[ExecutionEvent, None]
    ) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield the events as the modes show them; closes their generator."""
        async with aclosing(events):
            async for event in events:
                seen = self.view(event)
                if seen is not None:
                    yield seen


class Lens:
    """Batches of a run's events as its modes show them; the modes are in its execution_start."""

    def __init__(self) -> None:
        self.modes = EventModes(None)

    def __call__(self, batch: list[ExecutionEvent]) -> list[ExecutionEvent]:
        """Return what of a batch is seen."""
        if batch and batch[0].type == EventType.EXECUTION_START:
            self.modes = EventModes(batch[0].metadata.get("graph"))
        if not self.modes:
            return batch
        return [seen for event in batch if (seen := self.modes.view(event)) is not None]


class StreamMode(StrEnum):
    """What a stream yields: whole state, changes, text, events, or events with what surrounds them."""

    VALUES = "values"
    UPDATES = "updates"
    MESSAGES = "messages"
    EVENTS = "events"
    DEBUG = "debug"


@dataclasses.dataclass(frozen=True, slots=True)
class StateValue:
    """VALUES: all there is after the start and after each node.

    Parameters: node_id, which has completed, "START" at the start; state; outputs, from node id to its last
    output; timestamp, seconds since the epoch. Both dicts are copies of one level.
    """

    node_id: str
    state: dict[str, Any]
    outputs: dict[str, Any]
    timestamp: float


@dataclasses.dataclass(frozen=True, slots=True)
class StateUpdate:
    """UPDATES: what one visit of a node has changed.

    Parameters: node_id; output; state, the names it has set and their values; visit, above 0 in loops;
    timestamp, seconds since the epoch.
    """

    node_id: str
    output: Any
    state: dict[str, Any]
    visit: int
    timestamp: float


@dataclasses.dataclass(frozen=True, slots=True)
class StreamMessage:
    """MESSAGES: a piece of answer text, and the whole message when it is complete.

    Parameters: node_id; content, the next piece, or all of it when `complete`; message_id; finish_reason of a
    complete message.
    """

    node_id: str
    content: str
    message_id: str = ""
    complete: bool = False
    finish_reason: str | None = None

    def __str__(self) -> str:
        return self.content


@dataclasses.dataclass(frozen=True, slots=True)
class DebugInfo:
    """DEBUG: an event and what surrounds it.

    Parameters: event; elapsed_ms since the first event; active, the nodes that run at this moment; usage,
    tokens so far.
    """

    event: ExecutionEvent
    elapsed_ms: float
    active: tuple[str, ...]
    usage: dict[str, int]


def stream_mode(mode: Any) -> StreamMode:
    """Return a mode given as a member or by name. Raises UnknownNameError, InputError."""
    if not isinstance(mode, str):
        raise InputError(f"mode={shown(mode)} must be one of {_listed(StreamMode)}.")
    try:
        return StreamMode(mode.lower())
    except ValueError:
        raise UnknownNameError("stream mode", mode, [m.value for m in StreamMode]) from None


async def adapted(
    events: AsyncGenerator[ExecutionEvent, None], mode: StreamMode, state: Mapping[str, Any] | None = None
) -> AsyncGenerator[Any, None]:
    """Yield what a mode makes of a run's events, which are all of them; closes their generator.

    Parameters: events; mode; state that the run begins with.
    """
    fold = _FOLDS[mode](dict(state or {}))
    modes = EventModes(None)
    async with aclosing(events):
        async for event in events:
            if event.type == EventType.EXECUTION_START:
                modes = EventModes(event.metadata.get("graph"))
            item = fold.feed(event)
            seen = modes.view(event) if modes else event
            if item is None or seen is None:
                continue
            yield fold.shown(item, seen)


def streamed(graph: Any, input: Any, mode: Any, options: dict[str, Any]) -> AsyncGenerator[Any, None]:
    """Return a stream over a run of a graph, which begins with the first item and is cancelled when the
    consumer leaves; see `Runnable.stream`."""
    return _over_run(graph.compile(), input, stream_mode(mode), options)


async def _over_run(
    graph: Any, input: Any, mode: StreamMode, options: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    from ._awaiting import awake

    run = graph.run(input, **{"display": False, **options})
    try:
        with awake():
            async with aclosing(adapted(_all(run), mode)) as items:
                async for item in items:
                    yield item
        run.result()
    finally:
        if not run.done:
            run.cancel()
            await run._feed.closed()


async def _all(run: Any) -> AsyncGenerator[ExecutionEvent, None]:
    async for batch in run._feed.batches():
        for event in batch:
            yield event


class _Events:
    """The folds of the modes: `feed` takes every event, `shown` puts in what the reader sees of it."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def feed(self, event: ExecutionEvent) -> Any:
        return event

    def shown(self, item: Any, seen: ExecutionEvent) -> Any:
        return seen if item.__class__ is ExecutionEvent else item


class _Values(_Events):
    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(state)
        self.outputs: dict[str, Any] = {}

    def feed(self, event: ExecutionEvent) -> Any:
        if event.type == EventType.STATE_UPDATE:
            self.state.update(event.output or {})
        elif event.type == EventType.NODE_COMPLETE:
            self.outputs[event.node_id] = event.output
        if event.type not in (EventType.EXECUTION_START, EventType.NODE_COMPLETE):
            return None
        return StateValue(event.node_id, dict(self.state), dict(self.outputs), event.timestamp)


class _Updates(_Events):
    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(state)
        self.changed: dict[tuple[str, int], dict[str, Any]] = {}

    def feed(self, event: ExecutionEvent) -> Any:
        key = event.node_id, event.metadata.get("visit", 0)
        if event.type == EventType.STATE_UPDATE:
            self.changed.setdefault(key, {}).update(event.output or {})
        if event.type != EventType.NODE_COMPLETE:
            return None
        return StateUpdate(key[0], event.output, self.changed.pop(key, {}), key[1], event.timestamp)


class _Messages(_Events):
    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(state)
        self.open: dict[tuple[str, int], tuple[str, list[str]]] = {}

    def feed(self, event: ExecutionEvent) -> Any:
        key = event.node_id, event.metadata.get("visit", 0)
        if event.type == EventType.MESSAGE_START:
            self.open[key] = str(event.metadata.get("message_id") or ""), []
        elif event.type == EventType.TOKEN:
            name, words = self.open.setdefault(key, ("", []))
            words.append(event.content)
            return StreamMessage(event.node_id, event.content, name)
        elif event.type == EventType.MESSAGE_COMPLETE:
            name, words = self.open.pop(key, ("", []))
            finish = event.metadata.get("finish_reason")
            name = str(event.metadata.get("message_id") or name)
            return StreamMessage(event.node_id, "".join(words), name, True, finish)
        return None


class _Debug(_Events):
    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__(state)
        self.began: float | None = None
        self.active: dict[tuple[str, int], None] = {}
        self.usage: dict[str, int] = {}

    def feed(self, event: ExecutionEvent) -> Any:
        key = event.node_id, event.metadata.get("visit", 0)
        self.began = event.timestamp if self.began is None else self.began
        if event.type == EventType.NODE_START:
            self.active[key] = None
        elif event.type in (EventType.NODE_COMPLETE, EventType.NODE_ERROR):
            self.active.pop(key, None)
        elif event.type == EventType.RESPONSE_METADATA:
            for name, count in (event.metadata.get("usage") or {}).items():
                if isinstance(count, int):
                    self.usage[name] = self.usage.get(name, 0) + count
        active = tuple(dict.fromkeys(node_id for node_id, _ in self.active))
        return DebugInfo(event, (event.timestamp - self.began) * 1000, active, dict(self.usage))

    def shown(self, item: Any, seen: ExecutionEvent) -> Any:
        return dataclasses.replace(item, event=seen)


_FOLDS = {
    StreamMode.VALUES: _Values,
    StreamMode.UPDATES: _Updates,
    StreamMode.MESSAGES: _Messages,
    StreamMode.EVENTS: _Events,
    StreamMode.DEBUG: _Debug,
}


def _listed(names: Any) -> str:
    return ", ".join(repr(str(name)) for name in names)
