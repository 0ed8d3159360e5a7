"""What the executor asks of a node, and the base class for nodes of your own."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import CoroutineType
from typing import Any, Protocol, runtime_checkable

from .context import ExecutionContext
from .events import EventType, ExecutionEvent

# Looking up a member of an enum costs as much as a call.
_NODE_COMPLETE = EventType.NODE_COMPLETE


@dataclasses.dataclass(frozen=True, slots=True)
class Routing:
    """How a node that chooses its successors tells compile() about them.

    Parameters: choose, from the node's output to the chosen keys (one, or several), or None when the node
    itself names them in `metadata["route"]` of its node_complete; targets, from a key to a node id; default,
    the node when no key fits. Only chosen targets run; the others are skipped.
    """

    choose: Callable[[Any], Any] | None
    targets: Mapping[Any, str]
    default: str | None = None


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
    """The base for nodes of your own: write `async def execute(self, input, context)` and return the output.

    A subclass that wants to stream overrides `run` instead. `kind` is the name shown in a graph; options of
    `add_node` are the keyword parameters of `__init__`. `templates` are the node's `{{...}}` texts, so that
    compile() can check the names in them.
    """

    kind = "node"
    templates: Sequence[str] = ()

    def __init__(self, id: str) -> None:
        self.id = id

    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        """Return the node's output. Raises whatever the node raises; the run then fails at this node."""
        raise NotImplementedError(f"{type(self).__name__} defines neither execute() nor run()")

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run `execute` and wrap what it returns, or yields, in events."""
        result: Any = self.execute(input, context)
        if result.__class__ is CoroutineType or inspect.isawaitable(result):
            result = await result
        yield ExecutionEvent(_NODE_COMPLETE, self.id, None, result, {}, time.time())

    def check(self) -> None:
        """Raise, before a run starts, what would make this node fail in it, such as a missing key."""

    def routing(self) -> Routing | None:
        """Return how this node chooses among its successors, or None when it does not choose."""
        return None
