"""Whether a graph is the one that a log was written by, as far as the log tells."""

from __future__ import annotations

from typing import Any, cast

from .compiled import CompiledGraph
from .errors import GraphValidationError
from .events import EventType, ExecutionEvent
from .resume import Past, way_back
from .scheduler import START, Scheduler

_SEEN = (EventType.NODE_START, EventType.NODE_COMPLETE)


def fitting(past: Past, graph: CompiledGraph) -> Past:
    """Return the past of a run, whose completed nodes were followed along the edges of a graph.

    Raises GraphValidationError when one completed where the graph does not run it, or went where the graph
    does not lead. Nodes after those that completed may be others than they were.
    """
    index, plan, events = graph.index, graph.plan, past.events
    begun = None
    if START in graph.choices:
        # Where the run began was chosen by a function, which is not called again for this.
        if plan.loops:
            return past
        seen = {event.node_id for event in events if event.type in _SEEN}
        begun = [target for target in plan.targets[START] if plan.ids[target] in seen]
    scheduler = Scheduler(plan)
    scheduler.complete(START, None, begun)
    scheduler.take()
    for event in events:
        node = index.get(event.node_id)
        if event.type != EventType.NODE_COMPLETE or node is None:
            continue
        if not scheduler.is_active(node, event.metadata.get("visit", 0)):
            raise _misfit(event, "completed where this graph does not run it")
        route = event.metadata.get("route")
        if problem := _wrong_way(graph, node, route):
            raise _misfit(event, problem)
        way = way_back(graph, node, route)
        scheduler.complete(node, None, way and way.targets, way and way.loop)
        scheduler.take()
    return past


def _wrong_way(graph: CompiledGraph, node: int, route: Any) -> str:
    """Return what is wrong with where a node went, "" when nothing is."""
    choice, plan = graph.choices.get(node), graph.plan
    if not isinstance(route, list):
        return (
            "went everywhere, and in this graph it chooses" if choice is not None and choice.branches else ""
        )
    went = cast("list[Any]", route)
    branches = choice is not None and choice.branches
    loops = [plan.ids[plan.loops[loop][1]] for loop, _ in choice.loops] if choice else []
    if len(went) == 1 and went[0] in loops:
        return ""
    if not branches and any(node_id not in plan.ids for node_id in went):
        return ""  # A node of one's own may mean something else by it.
    leads = {plan.ids[target] for target in plan.targets[node]}
    for node_id in went:
        if node_id not in leads:
            return f"went to {str(node_id)!r}, where it does not lead in this graph"
    if not branches and set(went) != leads:
        return f"chose {', '.join(map(str, went)) or 'no way'}, and in this graph it does not choose"
    return ""


def _misfit(event: ExecutionEvent, what: str) -> GraphValidationError:
    return GraphValidationError(
        f"The log says that node {event.node_id!r} {what}. Resume the run with the graph that it was started"
        f" with; fork({event.run_id!r}, at=...) begins a new run of this one with what that run has done."
    )
