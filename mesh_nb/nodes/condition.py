"""condition: a node that chooses which of its successors run."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from ..core.context import ExecutionContext
from ..core.edges import positional
from ..core.errors import GraphValidationError
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode, Routing


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """One way out of a condition node.

    Parameters: name, shown in events; predicate, `(input)` or `(input, context)` to true or false, sync or
    async; target_node, the node that runs when it is true.
    """

    name: str
    predicate: Callable[..., Any]
    target_node: str


class ConditionNode(BaseNode):
    """Runs the targets of all conditions that hold; the others are skipped.

    Parameters
    ----------
    conditions : a list of Condition.
    default_target : the node that runs when no condition holds; without it nothing after this node runs.

    Its output is its input, so that the chosen nodes receive what came in.
    """

    kind = "condition"

    def __init__(
        self, id: str, conditions: Iterable[Condition] | None = None, *, default_target: str | None = None
    ) -> None:
        super().__init__(id)
        self.conditions = list(conditions or ())
        self.default_target = default_target
        for condition in self.conditions:
            if not isinstance(condition, Condition):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise GraphValidationError(
                    f"Condition node {id!r}: {condition!r} is not a Condition(name, predicate, target_node)."
                )
        names = [c.name for c in self.conditions]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise GraphValidationError(f"Condition node {id!r} has two conditions named {twice!r}.")
        if not self.conditions:
            raise GraphValidationError(
                f"Condition node {id!r} has no conditions: pass [Condition(name, predicate, target), ...]."
            )

    def routing(self) -> Routing:
        """Return the targets by condition name; the node's node_complete names those that hold."""
        return Routing(None, {c.name: c.target_node for c in self.conditions}, self.default_target)

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Evaluate every predicate. Raises what a predicate raises."""
        found: list[dict[str, Any]] = []
        for condition in self.conditions:
            given = (input, context) if positional(condition.predicate) > 1 else (input,)
            result = condition.predicate(*given)
            held = bool(await result if inspect.isawaitable(result) else result)
            found.append({"name": condition.name, "target": condition.target_node, "fulfilled": held})
        route = [c["name"] for c in found if c["fulfilled"]]
        metadata = {"conditions": found, "route": route}
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=input, metadata=metadata)


plugin = ConditionNode
