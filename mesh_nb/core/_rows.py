"""Several edges at once, as a graph under construction takes them down."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, cast

from ._named import named_options
from .edges import check_call
from .errors import GraphValidationError, shown

NodeRef = str | Callable[..., Any]
"""A node in an edge: its id, or the function that was added under it."""


class Rows:
    """The builder methods for rows of nodes, and for nodes that run side by side."""

    @named_options
    def add_sequence(self, nodes: Iterable[NodeRef]) -> Self:
        """Add an edge from each node to the next."""
        for source, target in itertools.pairwise(self._list("add_sequence", nodes)):
            self._edge(source, target)
        return self

    def chain(self, *nodes: NodeRef | Sequence[NodeRef]) -> Self:
        """Add edges along a row of nodes; a list stands for nodes that run side by side.

        `graph.chain("START", load, [summarise, criticise], report)` runs load, then the two at the same time,
        then report with both outputs. Each is a node id or a function that was added.

        Raises GraphValidationError for a row of fewer than two, or a list without nodes.
        """
        row = [list(n) if isinstance(n, (list, tuple)) else [n] for n in cast("tuple[Any, ...]", nodes)]
        if len(row) < 2 or not all(row):
            raise GraphValidationError("chain() takes two nodes or more, and no empty list: chain('a', 'b').")
        for sources, targets in itertools.pairwise(row):
            for source, target in itertools.product(sources, targets):
                self._edge(source, target)
        return self

    @named_options
    def add_parallel_edges(self, source: NodeRef, targets: Iterable[NodeRef]) -> Self:
        """Add an edge from one node to several, which then run at the same time."""
        for target in self._list("add_parallel_edges", targets):
            self._edge(source, target)
        return self

    @named_options
    def add_fan_in_edge(
        self,
        sources: Iterable[NodeRef],
        target: NodeRef,
        aggregator: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Self:
        """Add edges from several nodes to one, which waits for all of them.

        Parameters: aggregator, a plain function from `{source: output}` to the target's input; None takes the
        dict as it is.
        Raises GraphValidationError for fewer than two sources, and for an aggregator that is async or none.
        """
        ids = list(dict.fromkeys(self._list("add_fan_in_edge", sources)))
        found = self._named("add_fan_in_edge", target)
        if aggregator is not None and (not callable(aggregator) or inspect.iscoroutinefunction(aggregator)):
            raise GraphValidationError(
                f"Fan-in to {shown(found)}: aggregator is {shown(aggregator)}, not a plain function."
            )
        if aggregator is not None:
            check_call(f"Fan-in to {shown(found)}", "aggregator", aggregator, ("outputs",))
        if len(ids) < 2:
            raise GraphValidationError(
                f"Fan-in to {shown(found)} needs at least two sources; use add_edge for one."
            )
        for source in ids:
            self._edge(source, found)
        if aggregator is not None:
            self._keep_aggregator(found, aggregator)
        return self

    def _list(self, label: str, nodes: Any) -> list[str]:
        """Return the ids of several nodes. Raises GraphValidationError for one alone, or for what is none."""
        if isinstance(nodes, str) or not isinstance(nodes, Iterable):
            raise GraphValidationError(f"{label} takes a list of node ids, not {shown(nodes)}.")
        return [self._named(label, node) for node in cast("Iterable[Any]", nodes)]

    def _named(self, label: str, node: Any) -> str:
        raise NotImplementedError

    def _edge(self, source: NodeRef, target: NodeRef) -> None:
        raise NotImplementedError

    def _keep_aggregator(self, target: str, aggregator: Callable[[dict[str, Any]], Any]) -> None:
        raise NotImplementedError
