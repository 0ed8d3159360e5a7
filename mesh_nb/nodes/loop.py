"""loop: a node that goes back, so many times or for as long as a condition holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..core.context import ExecutionContext
from ..core.edges import check_call
from ..core.errors import GraphValidationError, shown
from ..core.node import BaseNode, Routing


class LoopNode(BaseNode):
    """Goes back to an earlier node, and on to its own successors when the loop has ended.

    Parameters
    ----------
    loop_back_to : the node that runs again, with this node's input as its own.
    max_loop_count : how often it goes back at most.
    loop_condition : `(output)` or `(state, output)`, sync or async, where output is this node's input; it
        goes back only while that is true.

    Its output is its input. Nodes inside the loop see how often it has gone back as `{{$iteration_index}}`.
    """

    kind = "loop"

    def __init__(
        self,
        id: str,
        *,
        loop_back_to: str | None = None,
        max_loop_count: int = 5,
        loop_condition: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(id)
        if not isinstance(loop_back_to, str):
            raise GraphValidationError(
                f"Loop node {id!r} needs loop_back_to=, the id of the node to run again, not"
                f" {shown(loop_back_to)}."
            )
        count = cast("Any", max_loop_count)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise GraphValidationError(f"Loop node {id!r}: max_loop_count is {shown(count)}, not 1 or more.")
        if loop_condition is not None and not callable(loop_condition):
            raise GraphValidationError(
                f"Loop node {id!r}: loop_condition is {shown(loop_condition)}, not a function."
            )
        self.loop_back_to, self.max_loop_count = loop_back_to, max_loop_count
        if loop_condition is not None:
            check_call(
                f"Loop node {id!r}", "loop_condition", loop_condition, ("output",), ("state", "output")
            )
        self.loop_condition = loop_condition

    def routing(self) -> Routing:
        """Return the way back."""
        return Routing(
            back=self.loop_back_to, back_condition=self.loop_condition, max_loop_count=self.max_loop_count
        )

    async def execute(self, input: Any, context: ExecutionContext) -> Any:
        """Return the input."""
        return input


plugin = LoopNode
