"""Nodes that run other nodes themselves: taken out of the plan when the graph is compiled."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from ._inside import node_at
from .compiled import CompiledGraph
from .edges import Branch, Edge
from .errors import GraphValidationError, nearest, shown
from .node import BaseNode, Node

Inner = dict[str, dict[str, CompiledGraph]]
"""The graphs that nodes run, by node id and name."""


_around: ContextVar[tuple[Any, ...]] = ContextVar("mesh_nb graphs that are read", default=())


@contextlib.contextmanager
def within(graph: Any) -> Generator[None]:
    """Read a graph, and those inside it. Raises GraphValidationError for one that is inside itself."""
    around = _around.get()
    if any(graph is outer for outer in around):
        raise GraphValidationError(
            f"Graph {graph.graph_id!r} is inside itself. Repeat it by a loop edge or a foreach node, or"
            " run it from a function: await graph.run(...)."
        )
    token = _around.set((*around, graph))
    try:
        yield
    finally:
        _around.reset(token)


@dataclasses.dataclass(slots=True)
class Hosting:
    """A graph without the nodes that other nodes run.

    Parameters: nodes, edges, branches, of the graph; inner, for each node that runs others, the compiled
    graphs by name; hosts, from an adopted node to the node that runs it; problems, one sentence each.
    """

    nodes: dict[str, Node]
    edges: list[Edge]
    branches: list[Branch]
    inner: dict[str, dict[str, CompiledGraph]] = dataclasses.field(default_factory=dict[str, Any])
    hosts: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    problems: list[str] = dataclasses.field(default_factory=list[str])


def host(
    nodes: Mapping[str, Node],
    edges: Iterable[Edge],
    branches: Iterable[Branch],
    alone: Callable[[str, Inner], CompiledGraph],
) -> Hosting:
    """Find what nodes run themselves, and take it out of the graph.

    Parameters: alone, from a node id and the graphs that it runs to a graph of that node only.
    An adopted node's edges onwards become those of the node that runs it.
    """
    found = Hosting(dict(nodes), list(edges), list(branches))
    after: dict[str, list[str]] = {}
    for edge in found.edges:
        if edge.target in nodes and not edge.loop:
            after.setdefault(edge.source, []).append(edge.target)
    for node_id, node in nodes.items():
        graphs: Mapping[str, Any] = getattr(node, "graphs", None) or {}
        for name, graph in graphs.items():
            try:
                found.inner.setdefault(node_id, {})[name] = graph.compile()
            except GraphValidationError as error:
                found.problems += [f"Inside node {node_id!r}: {e}" for e in error.errors]
        adopts = getattr(node, "adopts", None)
        if adopts is not None and getattr(type(node), "adopts", None) is not BaseNode.adopts:
            try:
                _adopt(found, node_id, adopts(after.get(node_id, [])))
            except GraphValidationError as error:
                found.problems += error.errors
    if found.hosts:
        direct = dict(found.hosts)
        _build(found, direct, alone)
        _move(found, direct)
    _check_dotted(found)
    return found


def _check_dotted(found: Hosting) -> None:
    """Note nodes whose ids nodes inside others have in events: no log could tell them apart."""
    for node_id in (i for i in found.nodes if "." in i):
        for host, graphs in found.inner.items():
            for name, graph in graphs.items():
                inside = node_id if name else node_id.removeprefix(f"{host}.")
                if (name or inside != node_id) and node_at(graph, inside) is not None:
                    found.problems.append(
                        f"Node {node_id!r} has the id that a node inside {host!r} has in events: give it"
                        " another."
                    )


def _build(found: Hosting, direct: Mapping[str, str], alone: Callable[[str, Inner], CompiledGraph]) -> None:
    """Make a graph of each adopted node, those of its own inside; `hosts` are from now on nodes that stay."""
    for name in direct:
        way = [name]
        while way[-1] in direct and direct[way[-1]] not in way:
            way.append(direct[way[-1]])
        if way[-1] in direct:
            whole = " is run by ".join(map(repr, [*way, direct[way[-1]]]))
            found.problems.append(f"Node {name!r} would run itself: {whole}.")
            del found.hosts[name]
        else:
            found.hosts[name] = way[-1]
    # The ones furthest inside come first, so that those around them find them made.
    depth = dict.fromkeys(found.hosts, 0)
    for name in depth:
        host = direct[name]
        while host in direct:
            depth[name], host = depth[name] + 1, direct[host]
    for name in sorted(depth, key=depth.__getitem__, reverse=True):
        graph = alone(name, {name: found.inner.pop(name)} if name in found.inner else {})
        found.inner.setdefault(direct[name], {})[name] = graph
    order = list(direct)
    for graphs in found.inner.values():
        for name in sorted((n for n in graphs if n), key=order.index):
            graphs[name] = graphs.pop(name)


def _adopt(found: Hosting, node_id: str, adopted: Sequence[str]) -> None:
    for name in adopted:
        if name not in found.nodes or name == node_id:
            close = nearest(name, [n for n in found.nodes if n != node_id])
            guess = f" Did you mean {close!r}?" if close else ""
            found.problems.append(f"Node {node_id!r} runs {shown(name)}, which is no other node.{guess}")
        elif name in found.hosts:
            found.problems.append(f"Node {name!r} is run by {found.hosts[name]!r} and by {node_id!r}.")
        elif getattr(found.nodes[name], "routing", lambda: None)() is not None:
            found.problems.append(
                f"Node {node_id!r} cannot run {name!r} itself: {name!r} chooses among its successors. Put it"
                " into a graph of its own."
            )
        else:
            found.hosts[name] = node_id


def _move(found: Hosting, direct: Mapping[str, str]) -> None:
    """Give the edges of adopted nodes to the nodes that run them; direct says which node adopted each."""
    hosts, kept = found.hosts, dict[tuple[str, str, bool], Edge]()
    for edge in found.edges:
        source, target = edge.source, edge.target
        if target in hosts and (edge.loop or direct[target] != source):
            found.problems.append(
                f"Edge {source!r} -> {target!r}: {target!r} is run by {hosts[target]!r}; let the edge lead"
                f" there."
            )
        elif source in hosts and edge.loop:
            found.problems.append(
                f"Loop edge {source!r} -> {target!r}: {source!r} is run by {hosts[source]!r}; let the edge"
                " leave from there."
            )
        elif target in hosts or hosts.get(source) == target:
            continue
        else:
            if source in hosts:
                edge = dataclasses.replace(edge, source=hosts[source])
            kept[edge.source, target, edge.loop] = edge
    for branch in found.branches:
        for end in (branch.source, *branch.all_targets()):
            if end in hosts:
                found.problems.append(
                    f"Conditional edges from {branch.source!r}: {end!r} is run by {hosts[end]!r}, so they"
                    " cannot leave from it or lead to it."
                )
    found.branches = [b for b in found.branches if not hosts.keys() & {b.source, *b.all_targets()}]
    found.edges = list(kept.values())
    for name in hosts:
        del found.nodes[name]
