"""The shape of a compiled graph by integer index: what all its runs share."""

from __future__ import annotations

import dataclasses
from typing import cast

START = 0
"""The index of START in every plan; it has no events and completes with the run's input."""


@dataclasses.dataclass(slots=True)
class Plan:
    """The shape of a compiled graph, by integer index; shared by all its runs.

    Parameters: ids, node ids, "START" first; targets, for each node the targets of its edges other than loop
    edges, each once; parents, how many nodes have an edge to it; rank, a topological order; loops, the loop
    edges as (source, target).
    """

    ids: tuple[str, ...]
    targets: tuple[tuple[int, ...], ...]
    parents: tuple[int, ...]
    rank: tuple[int, ...]
    loops: tuple[tuple[int, int], ...] = ()
    loops_of: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict[int, tuple[int, ...]])
    only: tuple[int, ...] = dataclasses.field(init=False)
    zeros: list[int] = dataclasses.field(init=False)
    joins: bool = dataclasses.field(init=False)
    body: tuple[int, ...] = dataclasses.field(init=False, default=())
    _below: dict[int, frozenset[int]] = dataclasses.field(default_factory=dict[int, frozenset[int]])

    def __post_init__(self) -> None:
        """Find, for each node, the one node that it leads to, in `only` when that has no other parent, else
        START; and the nodes of the only loop, when it is a chain of `only`. `zeros` has one for each node,
        `joins` says whether any has several parents."""
        alone = [t[0] if len(t) == 1 else START for t in self.targets]
        self.only = tuple(t if self.parents[t] == 1 else START for t in alone)
        self.zeros = cast("list[int]", (0,) * len(self.ids))
        self.joins = max(self.parents) > 1
        if len(self.loops) == 1:
            source, target = self.loops[0]
            body = [target]
            while body[-1] != source and (after := self.only[body[-1]]):
                body.append(after)
            self.body = tuple(body) if body[-1] == source else ()

    def below(self, node: int) -> frozenset[int]:
        """Return a node and everything that its edges, other than loop edges, lead to."""
        if node not in self._below:
            seen, stack = {node}, [node]
            while stack:
                for target in self.targets[stack.pop()]:
                    if target not in seen:
                        seen.add(target)
                        stack.append(target)
            self._below[node] = frozenset(seen)
        return self._below[node]
