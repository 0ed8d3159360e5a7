"""What compile() refuses: every problem of a graph at once, each naming nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import templates
from ._hosting import Hosting, Inner, host
from .compiled import CompiledGraph
from .edges import Branch, Edge
from .errors import CycleDetectedError, GraphValidationError, nearest, shown
from .scheduler import START, Plan

LIMIT = 10
"""How many nodes one message names before it says how many more there are."""


def check_endpoints(
    nodes: Mapping[str, Any], edges: Iterable[Edge], branches: Iterable[Branch], entry: bool
) -> list[str]:
    """Return one sentence for each edge endpoint that is not a node, and for a missing entry point."""
    problems: list[str] = []
    if not nodes:
        return ["The graph has no nodes: add one with add_node(...)."]

    def known(name: str, role: str, where: str) -> None:
        if name in nodes or name == ("START" if role == "source" else "END"):
            return
        close = nearest(name, [*nodes, "START", "END"])
        guess = f" Did you mean {close!r}?" if close else ""
        problems.append(
            f"{where}: the {role} {shown(name)} is not a node.{guess}"
            f" Add it with add_node({shown(name)}, ...)."
        )

    for edge in edges:
        if edge.source in nodes and edge.target in nodes:
            continue
        label = f"Edge {shown(edge.source)} -> {shown(edge.target)}"
        known(edge.source, "source", label)
        known(edge.target, "target", label)
    for branch in branches:
        label = f"Conditional edges from {branch.source!r}"
        known(branch.source, "source", label)
        for target in dict.fromkeys(branch.all_targets()):
            known(target, "target", label)
    if not entry:
        first = next(iter(nodes))
        problems.append(
            f"The graph has no entry point: call set_entry_point({first!r}), or name another node."
        )
    return problems


def check(
    nodes: Mapping[str, Any],
    edges: Sequence[Edge],
    branches: Sequence[Branch],
    outputs: Sequence[str],
    make: Callable[[Hosting], CompiledGraph],
    alone: Callable[[str, Inner], CompiledGraph],
) -> CompiledGraph:
    """Return the compiled graph that `make` makes of nodes, edges and branches.

    Parameters: alone, from a node id and the graphs it runs to a graph of that node, for nodes that others
    run.
    Raises one GraphValidationError with every problem, also those of the rest of a graph whose edges name
    what is not there; CycleDetectedError when cycles are the only problem. Iterative, O(V+E).
    """
    entry = any(e.source == "START" for e in edges) or any(b.source == "START" for b in branches)
    problems = check_endpoints(nodes, edges, branches, entry)
    problems += [f"set_output({i!r}): {_no_node(i, nodes)}" for i in outputs if i not in nodes]
    whole = not problems
    if not whole:
        edges = [e for e in edges if e.source in (*nodes, "START") and e.target in (*nodes, "END")]
        known = [b for b in branches if b.source in (*nodes, "START")]
        branches = [b for b in known if all(t in (*nodes, "END") for t in b.all_targets())]
    hosting = host(nodes, edges, branches, alone)
    problems += hosting.problems
    whole = whole and not hosting.problems
    graph = make(hosting)
    cycles = _cycles(graph)
    problems += [*cycles, *_loops(graph), *(_unreachable(graph.plan) if whole else ())]
    problems += _templates(graph, nodes, hosting.hosts, whole and not cycles)
    if cycles and len(problems) == len(cycles):
        raise CycleDetectedError(cycles)
    if problems:
        raise GraphValidationError(problems)
    return graph


def _no_node(name: str, nodes: Mapping[str, Any]) -> str:
    close = nearest(name, nodes)
    guess = f" Did you mean {close!r}?" if close else ""
    return f"{shown(name)} is not a node.{guess}"


def _templates(
    graph: CompiledGraph, nodes: Mapping[str, Any], hosts: Mapping[str, str], whole: bool
) -> list[str]:
    """Check the names in templates; with a whole graph also that what they name can have run before."""
    problems: list[str] = []
    named: dict[str, dict[str, str]] = {}
    for node_id, node in nodes.items():
        for template in getattr(node, "templates", ()):
            problems += [f"Node {node_id!r}: {p}" for p in templates.check(template, nodes)]
            for expression in templates.references(template):
                if whole and (found := templates.node_in(expression, nodes)) is not None:
                    named.setdefault(node_id, {}).setdefault(found, expression)

    def at(node_id: str) -> int:
        return graph.index[hosts.get(node_id, node_id)]

    bits = {at(i): 1 << n for n, i in enumerate({i: 0 for names in named.values() for i in names})}
    first, before = _before(graph.plan, bits) if named else ([], [])
    awaited: dict[str, None] = {}
    for node_id, names in named.items():
        for found, expression in names.items():
            if not first[at(node_id)] & bits[at(found)]:
                awaited[found] = None
            if not before[at(node_id)] & bits[at(found)]:
                problems.append(
                    f"Node {node_id!r}: Template {{{{{expression}}}}} names {found!r}, which cannot have run"
                    f" before it: no edge leads from {found!r} to {node_id!r}."
                )
    graph.awaited = tuple(awaited)
    return problems


def _before(plan: Plan, bits: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Return, for each node, the bits of the nodes that may have run before its first visit, and before one
    of its visits."""
    before, order = [0] * len(plan.ids), sorted(range(len(plan.ids)), key=plan.rank.__getitem__)
    first: list[int] = []
    changed = True
    while changed:  # Once, and once more for each depth of loops within loops.
        for node in order:
            seen = before[node] | bits.get(node, 0)
            for target in plan.targets[node]:
                before[target] |= seen
        first = first or list(before)
        changed = False
        for source, target in plan.loops:
            seen = before[source] | bits.get(source, 0)
            if seen & ~before[target]:
                before[target] |= seen
                changed = True
    return first, before


def _listing(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - LIMIT} more" if len(ids) > LIMIT else ""
    return ", ".join(repr(i) for i in ids[:LIMIT]) + more


def _unreachable(plan: Plan) -> list[str]:
    reached = plan.below(START)
    lost = [plan.ids[n] for n in range(1, len(plan.ids)) if n not in reached]
    if not lost:
        return []
    noun, them = ("Node", "it") if len(lost) == 1 else ("Nodes", "them")
    return [
        f"{noun} {_listing(lost)} cannot be reached from START: add an edge to {them}, or leave {them} out."
    ]


def _loops(graph: CompiledGraph) -> list[str]:
    plan, problems = graph.plan, list[str]()
    for edge in graph.edges:
        if edge.loop and edge.loop_condition is None and edge.max_iterations is None:
            problems.append(
                f"Loop edge {edge.source!r} -> {edge.target!r} has no bound: give it loop_condition= or"
                " max_iterations=."
            )
    for source, target in plan.loops:
        if source != target and not _leads_to(plan, target, source):
            problems.append(
                f"Loop edge {plan.ids[source]!r} -> {plan.ids[target]!r} does not go back: nothing leads from"
                f" {plan.ids[target]!r} to {plan.ids[source]!r}. Make it a plain edge."
            )
    return problems


def _leads_to(plan: Plan, first: int, last: int) -> bool:
    seen, stack, bound = {first}, [first], plan.rank[last]
    while stack:
        for target in plan.targets[stack.pop()]:
            if target == last:
                return True
            if target not in seen and (bound < 0 or plan.rank[target] < bound):
                seen.add(target)
                stack.append(target)
    return False


def _cycles(graph: CompiledGraph) -> list[str]:
    """Return one sentence for each cycle found; a cycle's nodes are then left out of the search for more."""
    plan = graph.plan
    left = {n for n, rank in enumerate(plan.rank) if rank < 0}
    parents: dict[int, list[int]] = {n: [] for n in left}
    need = dict.fromkeys(left, 0)
    for node in left:
        for target in plan.targets[node]:
            if target in left:
                parents[target].append(node)
                need[target] += 1
    found: list[str] = []
    branching = {(b.source, t) for b in graph.branches for t in b.all_targets()}
    while left and len(found) < LIMIT:
        # Every node that is left has a parent that is left, so walking backwards must meet itself.
        path, at, node = list[int](), dict[int, int](), next(iter(left))
        while node not in at:
            at[node] = len(path)
            path.append(node)
            node = next(p for p in parents[node] if p in left)
        cycle = path[at[node] :][::-1]
        # Start at the node that comes first in the graph: the edge back to it is the one to mark.
        start = cycle.index(min(cycle))
        ids = [plan.ids[n] for n in cycle[start:] + cycle[:start]]
        found.append(_cycle_text(ids, (ids[-1], ids[0]) in branching))
        left.difference_update(cycle)
        ready = list(cycle)
        while ready:
            for target in plan.targets[ready.pop()]:
                if target in left:
                    need[target] -= 1
                    if not need[target]:
                        left.discard(target)
                        ready.append(target)
    return found


def _cycle_text(ids: list[str], conditional: bool) -> str:
    names = [*ids[:LIMIT], "..."] if len(ids) > LIMIT else ids
    way = " -> ".join(i if i.isprintable() else repr(i) for i in [*names, ids[0]])
    fix = f"add_edge({ids[-1]!r}, {ids[0]!r}, is_loop_edge=True, loop_condition=..., max_iterations=...)"
    if conditional:
        return (
            f"Cycle {way}: the conditional edges from {ids[-1]!r} go back to {ids[0]!r}. Take that target"
            f" out of the mapping and bound the way back with {fix}."
        )
    return f"Cycle {way} has no bound: make the way back a loop edge with {fix}."
