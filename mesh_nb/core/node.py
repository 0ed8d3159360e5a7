"""What the executor asks of a node, and the base class for nodes of your own."""

from __future__ import annotations

import dataclasses
import inspect
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from types import CoroutineType, MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

from .context import ExecutionContext
from .errors import MeshError, shown
from .events import EventType, ExecutionEvent
from .tools import in_steps

# Looking up a member of an enum costs as much as a call.
_NODE_COMPLETE = EventType.NODE_COMPLETE


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """How a node that chooses its successors tells compile() about them.

    Parameters: choose, from the node's output to the chosen keys (one, or several), or None when the node
    itself names them in `metadata["route"]` of its node_complete; targets, from a key to a node id; default,
    the node when no key fits. Only chosen targets run; the others are skipped. back, a node id to go back to
    before any of that, for as long as back_condition, `(output)` or `(state, output)`, holds and at most
    max_loop_count times.
    """

    choose: Callable[[Any], Any] | None = None
    targets: Mapping[Any, str] = dataclasses.field(default_factory=dict[Any, str])
    default: str | None = None
    back: str | None = None
    back_condition: Callable[..., Any] | None = None
    max_loop_count: int | None = None


@dataclasses.dataclass(slots=True)
class NodeResult:
    """What a node or a function returns when it changes the state too.

    Parameters: output, of the node; state, new values by name, which go through the graph's reducers.
    """

    output: Any = None
    state: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    def update(self, node_id: str) -> ExecutionEvent:
        """Return the state_update event."""
        if not isinstance(self.state, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise MeshError(f"state= of a NodeResult is a dict of names and values, not {shown(self.state)}.")
        return ExecutionEvent(EventType.STATE_UPDATE, node_id, output=dict(self.state))


@runtime_checkable
class Node(Protocol):
    """A node: an id, a kind for display, and `run`, an async generator of events.

    The last event that `run` yields is node_complete and carries the output. The executor adds node_start,
    node_error and the stamps; a node never asks who listens.
    """

    id: str
    kind: str

    def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run once and yield events as they happen."""
        ...


class BaseNode:
    """The base for nodes of your own: write `async def execute(self, input, context)` and return the output,
    or a `NodeResult(output, state={...})` to change the state too.

    To stream, yield in it: text becomes tokens of one message, events are passed on, and the output is the
    last dict that was yielded, else `{"content": text}`; a plain `def` may yield too, in threads, and return
    the output. A subclass may override `run` instead.

    `kind` is the name shown in a graph; options of `add_node` are the keyword parameters of `__init__`.
    `replays` says that run() takes calls that an earlier part of a resumed run has made from
    `context.journal`, and that its rounds and tools go on where the log ends.
    `templates` are the node's `{{...}}` texts, so that compile() can check the names in them. `graphs` are
    graphs that the node runs itself, by name: compile() compiles them into `context.inner[id]`, and
    `core.nested.run` runs them.
    """

    kind = "node"
    replays = False
    templates: Sequence[str] = ()
    graphs: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, id: str) -> None:
        self.id = id

    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        """Return the node's output, or yield it in pieces. Whatever it raises fails the run at this node."""
        raise NotImplementedError(f"{type(self).__name__} defines neither execute() nor run()")

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run `execute` and wrap what it returns, or yields, in events."""
        result: Any = self.execute(input, context)
        if isinstance(result, (AsyncGenerator, Generator)):
            returned, done = list[Any](), cast("Any", None)
            items = in_steps(result, returned) if isinstance(result, Generator) else result
            async with aclosing(spoken(items, self.id)) as events:
                async for event in events:
                    if event.type == _NODE_COMPLETE:
                        done = event.output
                    else:
                        yield event
            result = returned[0] if returned and returned[0] is not None else done
        if result.__class__ is CoroutineType or inspect.isawaitable(result):
            result = await result
        if result.__class__ is NodeResult:
            if result.state:
                yield result.update(self.id)
            result = result.output
        yield ExecutionEvent(_NODE_COMPLETE, self.id, None, result, {}, time.time())

    def check(self) -> None:
        """Raise, before a run starts, what would make this node fail in it, such as a missing key."""

    def adopts(self, after: Sequence[str]) -> Sequence[str]:
        """Return the nodes of the graph that this node runs itself, as it does `graphs`.

        Parameters: after, the nodes that its plain edges lead to. The edges that leave an adopted node then
        leave from this one.
        """
        return ()

    def routing(self) -> Routing | None:
        """Return how this node chooses among its successors, or None when it does not choose."""
        return None


async def spoken(items: AsyncGenerator[Any, None], name: str) -> AsyncGenerator[ExecutionEvent, None]:
    """Yield the events of a generator that yields text, dicts and events; closes it.

    Parameters: items; name, of what yields them, for an error message.
    Text becomes the tokens of one message. The last event is node_complete: its output is that of the items'
    own node_complete or their last dict, else `{"content": text}`, or None when there was nothing. Raises
    MeshError for an item of another kind, and what the generator raises.
    """
    block = {"text_block_id": f"text_{uuid.uuid4().hex[:12]}", "event_subtype": "text"}
    message = {"message_id": f"msg_{uuid.uuid4().hex[:12]}"}
    words: list[str] | None = None
    output: Any = None
    async with aclosing(items):
        async for item in items:
            if isinstance(item, ExecutionEvent):
                if item.type == _NODE_COMPLETE:
                    output = item.output
                else:
                    yield item
            elif isinstance(item, str):
                if words is None:
                    words = []
                    yield ExecutionEvent(EventType.MESSAGE_START, metadata=dict(message))
                words.append(item)
                if item:
                    yield ExecutionEvent(EventType.TOKEN, content=item, metadata=block)
            elif isinstance(item, dict):
                output = cast("dict[str, Any]", item)
            else:
                kind = type(cast("object", item)).__name__
                raise MeshError(f"{name} yielded {kind}; it may yield text, dicts and events.")
    if words is not None:
        yield ExecutionEvent(EventType.MESSAGE_COMPLETE, metadata={**message, "finish_reason": "stop"})
    if output is None and words:
        output = {"content": "".join(words)}
    yield ExecutionEvent(_NODE_COMPLETE, output=output)
