"""What the log of a run says of a graph inside a node: the same events, as that graph would number them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from .compiled import CompiledGraph
from .events import EventType, ExecutionEvent


@dataclasses.dataclass(frozen=True, slots=True)
class Numbering:
    """The visits of nodes inside a node: one number tells each from all others of its node in the run.

    Parameters: index and total, which of so many rounds of the node's visit this is; outer, the visit of the
    node around it, None where there is only one.
    """

    index: int
    total: int
    outer: int | None = None

    def out(self, visit: int) -> int:
        """Return the number in the run of a visit inside."""
        here = self.index + self.total * visit
        # Cantor's pairing: one number for the visit of the node around it and the visit inside.
        return here if self.outer is None else (self.outer + here) * (self.outer + here + 1) // 2 + here

    def into(self, number: int) -> int | None:
        """Return the visit inside that has this number, None for one of another round or visit."""
        here = number
        if self.outer is not None:
            both = (math.isqrt(8 * number + 1) - 1) // 2
            here = number - both * (both + 1) // 2
            if both - here != self.outer:
                return None
        visit, index = divmod(here, self.total)
        return visit if index == self.index else None


def host_of(graph: CompiledGraph, node_id: str) -> str | None:
    """Return the node of a graph that a node is, or is inside of; None for one of another graph."""
    while node_id not in graph.index:
        if node_id in graph.adopted:
            return graph.adopted[node_id]
        node_id, dot, _ = node_id.rpartition(".")
        if not dot:
            return None
    return node_id


def node_at(graph: CompiledGraph, node_id: str) -> Any:
    """Return a node by its id in the run, also one inside others; None when there is none."""
    if node_id in graph.index:
        return graph.by_index[graph.index[node_id]]
    for host, graphs in graph.inner.items():
        for name, inner in graphs.items():
            prefix = "" if name else f"{host}."
            if node_id.startswith(prefix) and (found := node_at(inner, node_id[len(prefix) :])) is not None:
                return found
    return None


def inside(
    events: Iterable[ExecutionEvent], graph: CompiledGraph, prefix: str, numbering: Numbering, isolated: bool
) -> list[ExecutionEvent]:
    """Return the events of one run of a graph inside a node, as copies that the graph could have recorded.

    Parameters: events, of everything inside that node; prefix, put before the ids of the graph's nodes;
    numbering, of its visits; isolated, whether the graph has a state of its own.
    """
    found: list[ExecutionEvent] = []
    for event in events:
        node_id = event.node_id.removeprefix(prefix)
        if not event.node_id.startswith(prefix) or host_of(graph, node_id) is None:
            continue
        visit = numbering.into(event.metadata.get("visit", 0))
        if visit is None:
            continue
        metadata = {**event.metadata, "visit": visit}
        if not visit:
            del metadata["visit"]
        if isolated and event.type == EventType.STATE_UPDATE and (depth := metadata.pop("isolated", 0)) > 1:
            metadata["isolated"] = depth - 1
        if event.type == EventType.INTERRUPT:
            metadata.setdefault("asked_by", event.node_id)
        found.append(dataclasses.replace(event, node_id=node_id, metadata=metadata))
    return found
