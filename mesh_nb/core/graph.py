"""StateGraph: nodes and edges, written down in a cell, checked by `compile()`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast, overload

from ._cells import Ledger, Origin, origin
from ._gate import Pause
from ._graph_json import GraphJson, Recipe
from ._hosting import Hosting
from ._nodes import make_node
from ._pausing import Pausing
from ._validate import check
from .compiled import CompiledGraph, Runnable
from .edges import Branch, Edge, Retry
from .errors import GraphValidationError, shown
from .node import Node

__all__ = ["CompiledGraph", "StateGraph"]

T = TypeVar("T")

RESERVED = ("START", "END")
NodeRef = str | Callable[..., Any]
"""A node in an edge: its id, or the function that was added under it."""


class StateGraph(Pausing, GraphJson, Runnable):
    """A graph under construction; builder methods return the graph.

    Parameters: graph_id, a name for logs and reports.

    In a notebook a cell may be run again: what it had added to this graph the last time is replaced by what
    it adds now. An id that another cell has taken, or that is taken twice in one cell, is refused.
    """

    def __init__(self, graph_id: str | None = None) -> None:
        self.graph_id = graph_id or "graph"
        self.nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str, bool], Edge] = {}
        self._branches: dict[Any, Branch] = {}
        self._aggregators: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self._retries: dict[str, Retry] = {}
        self._timeouts: dict[str, float] = {}
        self._modes: dict[str, str] = {}
        self._outputs: dict[str, bool] = {}
        self._reducers: dict[str, Callable[[Any, Any], Any]] = {}
        self._ids: dict[int, tuple[str, Any]] = {}
        self._recipes: dict[str, Recipe] = {}
        self._ledger = Ledger()
        self._pauses: dict[tuple[str, str, str], Pause] = {}
        self._compiled: CompiledGraph | None = None

    def add_node(
        self, node_id: str, node_or_config: Any = None, node_type: str | None = None, **options: Any
    ) -> StateGraph:
        """Add a node.

        Parameters
        ----------
        node_id : its name in edges, templates and events.
        node_or_config : a function (its parameters are injected by name), a node, a node class, or what the
            node_type wants: an agent object, a list of conditions, None.
        node_type : "llm", "agent", "tool", "condition" or a registered name; functions and nodes need none.
        options : options of the node type. A failing node is run again with
            `config={"retry": {"max_retries": 2, "delay": 1.0, "backoff": 2.0}}` (delay in seconds;
            `"jitter": True` spreads it); `event_mode=` says which of its events are seen; `node_timeout=`
            seconds is what each attempt may take, questions to people not counted.

        Raises InvalidNodeTypeError or UnknownNameError for an unknown type or option, with the nearest known
        name; GraphValidationError when the id is taken.
        """
        name = cast("Any", node_id)
        if not isinstance(name, str) or not name or name in RESERVED:
            raise GraphValidationError(
                f"{shown(name)} is not a node id: use text other than START and END, which every graph has."
            )
        here = self._enter()
        if node_id in self.nodes and not self._ledger.may_replace(here, self.nodes, node_id):
            raise GraphValidationError(
                f"Node {node_id!r} is already in this graph. Give the new one another id, or run the cell"
                " that makes the graph (StateGraph()) again."
            )
        node, retry, timeout, mode = make_node(node_id, node_or_config, node_type, options)
        for settings in (self._retries, self._timeouts, self._modes):
            settings.pop(node_id, None)
        self._put(here, self.nodes, node_id, node)
        self._recipes[node_id] = Recipe(node_or_config, node_type, dict(options))
        if retry.max_retries:
            self._put(here, self._retries, node_id, retry)
        if timeout is not None:
            self._put(here, self._timeouts, node_id, timeout)
        if mode != "full":
            self._put(here, self._modes, node_id, mode)
        if callable(node_or_config):
            self._ids[id(node_or_config)] = node_id, node_or_config
        return self

    @overload
    def node(self, thing: T, /) -> T: ...
    @overload
    def node(self, node_id: str | None = None, /, **options: Any) -> Callable[[T], T]: ...
    def node(self, thing: Any = None, /, **options: Any) -> Any:
        """Add the function or the node class below: `@graph.node`, or `@graph.node("name", config={...})`.

        Its id is the name given, else that of the function. The function stays as it is, to be called, tested
        and named in `chain` and `add_edge`. Options and errors are those of `add_node`.
        """

        def add(made: T) -> T:
            self.add_node(thing if isinstance(thing, str) else getattr(made, "__name__", ""), made, **options)
            return made

        if thing is None or isinstance(thing, str):
            return add
        thing, made = None, thing
        return add(made)

    def add_edge(
        self,
        source: NodeRef,
        target: NodeRef,
        *,
        is_loop_edge: bool = False,
        loop_condition: Callable[..., Any] | None = None,
        max_iterations: int | None = None,
        interrupt_before: bool = False,
        interrupt_after: bool = False,
        interrupt_condition: Callable[..., Any] | None = None,
    ) -> StateGraph:
        """Add an edge; "START" and "END" always exist, and an edge to "END" may be left out.

        Parameters
        ----------
        is_loop_edge : the edge goes back. It is taken when its source completes and both bounds allow it.
        loop_condition : `(state, output)` or `(output)` of the source; true goes back once more.
        max_iterations : how often the edge may be taken.
        interrupt_before, interrupt_after : ask a person before the target runs, or after the source has, as
            `set_interrupt_before` and `set_interrupt_after` do; interrupt_condition is their condition.

        Raises GraphValidationError for an edge into START, out of END, or with bounds but no loop.
        """
        here = self._enter()
        source, target = self._named("Edge", source), self._named("Edge", target)
        if source == "END" or target == "START":
            raise GraphValidationError(f"Edge {source!r} -> {target!r}: nothing leaves END or enters START.")
        if not is_loop_edge and (loop_condition is not None or max_iterations is not None):
            raise GraphValidationError(
                f"Edge {source!r} -> {target!r}: loop_condition and max_iterations need is_loop_edge=True."
            )
        if is_loop_edge and (source == "START" or target == "END"):
            raise GraphValidationError(f"Edge {source!r} -> {target!r} cannot be a loop edge.")
        limit = cast("Any", max_iterations)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise GraphValidationError(
                f"Edge {source!r} -> {target!r}: max_iterations is {shown(limit)}, not 1 or more."
            )
        if loop_condition is not None and not callable(loop_condition):
            raise GraphValidationError(
                f"Edge {source!r} -> {target!r}: loop_condition is {shown(loop_condition)}, not a function."
            )
        if interrupt_before:
            self._pause(target, "before", source, interrupt_condition)
        if interrupt_after:
            self._pause(source, "after", target, interrupt_condition)
        edge = Edge(source, target, is_loop_edge, loop_condition, max_iterations)
        self._put(here, self._edges, (source, target, is_loop_edge), edge)
        return self

    def add_conditional_edges(
        self,
        source: str,
        fn: Callable[[Any], Any],
        mapping: Mapping[Any, str] | Iterable[str],
        default: str | None = None,
    ) -> StateGraph:
        """Add edges of which `fn` chooses; several calls for one node all apply.

        Parameters
        ----------
        fn : from the source's output to a key of the mapping, or several; sync or async.
        mapping : from keys to node ids, or node ids that are their own keys; "END" is one.
        default : the node for any other key; without it another key fails the node.
        """
        here = self._enter()
        if not callable(fn):
            raise GraphValidationError(f"Conditional edges from {source!r}: {fn!r} is not a function.")
        label = f"Conditional edges from {shown(source)}"
        if isinstance(mapping, Mapping):
            targets = dict(mapping)
        else:
            targets = {node_id: node_id for node_id in _list(label, mapping)}
        _check_ids(label, source, *targets.values(), *([] if default is None else [default]))
        if not targets and default is None:
            raise GraphValidationError(
                f"Conditional edges from {source!r} lead nowhere: the mapping is empty."
            )
        if source == "END" or "START" in (*targets.values(), default):
            raise GraphValidationError(
                f"Conditional edges from {source!r}: nothing leaves END or enters START."
            )
        key: Any = (source, getattr(fn, "__qualname__", ""), *targets.values(), default)
        if not self._ledger.may_replace(here, self._branches, key):
            while key in self._branches:
                key = (*key, "")
        self._put(here, self._branches, key, Branch(source, fn, targets, default))
        return self

    def add_sequence(self, node_ids: Iterable[str]) -> StateGraph:
        """Add an edge from each node to the next."""
        for source, target in itertools.pairwise(_list("add_sequence", node_ids)):
            self.add_edge(source, target)
        return self

    def chain(self, *nodes: NodeRef | Sequence[NodeRef]) -> StateGraph:
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
                self.add_edge(source, target)
        return self

    def add_parallel_edges(self, source: str, targets: Iterable[str]) -> StateGraph:
        """Add an edge from one node to several, which then run at the same time."""
        for target in _list("add_parallel_edges", targets):
            self.add_edge(source, target)
        return self

    def add_fan_in_edge(
        self,
        sources: Iterable[str],
        target: str,
        aggregator: Callable[[dict[str, Any]], Any] | None = None,
    ) -> StateGraph:
        """Add edges from several nodes to one, which waits for all of them.

        Parameters: aggregator, from `{source: output}` to the target's input; None takes the dict as it is.
        Raises GraphValidationError for fewer than two sources.
        """
        ids = list(dict.fromkeys(_list("add_fan_in_edge", sources)))
        if aggregator is not None and not callable(aggregator):
            raise GraphValidationError(
                f"Fan-in to {shown(target)}: aggregator is {shown(aggregator)}, not a function."
            )
        if len(ids) < 2:
            raise GraphValidationError(
                f"Fan-in to {target!r} needs at least two sources; use add_edge for one."
            )
        for source in ids:
            self.add_edge(source, target)
        if aggregator is not None:
            self._put(self._enter(), self._aggregators, target, aggregator)
        return self

    def set_entry_point(self, node_id: NodeRef) -> StateGraph:
        """Begin at this node: the same as `add_edge("START", node_id)`."""
        return self.add_edge("START", node_id)

    def set_output(self, *node_ids: NodeRef) -> StateGraph:
        """Name the nodes whose outputs are the run's output.

        Without it these are all nodes that delivered to no other: one gives its output as it is, several give
        `{node_id: output}` with their texts under "content".
        """
        here = self._enter()
        for node_id in node_ids:
            self._put(here, self._outputs, self._named("set_output", node_id), True)
        return self

    def add_reducer(self, key: str, reducer: Callable[[Any, Any], Any]) -> StateGraph:
        """Say how updates of a name of the state are put together: `add_reducer("notes", operator.add)`.

        Parameters: reducer, a plain function from (value, update) to the new value; the first update becomes
        the value as it is. Without a reducer an update replaces the value, so that of two nodes that run side
        by side the last one wins.
        Raises GraphValidationError for what is not a name or not a function.
        """
        here = self._enter()
        if not isinstance(cast("Any", key), str) or not callable(reducer):
            raise GraphValidationError(
                f"add_reducer({shown(key)}, {shown(reducer)}) takes a name of the state and a function."
            )
        self._put(here, self._reducers, key, reducer)
        return self

    def _enter(self) -> Origin | None:
        """Return the cell that is running; what an earlier run of it had added is taken back."""
        here = origin()
        self._ledger.enter(here)
        return here

    def _put(self, here: Origin | None, store: dict[Any, Any], key: Any, value: Any) -> None:
        self._ledger.put(here, store, key, value)
        self._compiled = None

    def _named(self, label: str, node: Any) -> str:
        """Return the id of a node that is given by its id or by its function."""
        if callable(node):
            node_id, _ = self._ids.get(id(node), ("", None))
            if node_id not in self.nodes:
                name = getattr(node, "__name__", type(node).__name__)
                raise GraphValidationError(
                    f"{label}: the function {name} is not a node of this graph: add it with @graph.node."
                )
            return node_id
        _check_ids(label, node)
        return node

    def _keep_pause(self, key: tuple[str, str, str], pause: Pause) -> None:
        self._put(self._enter(), self._pauses, key, pause)

    def compile(self) -> CompiledGraph:
        """Check the graph and return it ready to run; the graph may be changed and compiled again.

        Raises GraphValidationError with all problems in `.errors`, each naming nodes; CycleDetectedError when
        there are only cycles.
        """
        if self._compiled is not None:
            return self._compiled
        edges, branches = self._routed()
        compiled = check(
            self.nodes,
            edges,
            branches,
            list(self._outputs),
            self._make,
            lambda i, inner: self._make(Hosting({i: self.nodes[i]}, [Edge("START", i)], [], inner)),
        )
        compiled.outputs, compiled.reducers = tuple(self._outputs), dict(self._reducers)
        self._compiled = compiled
        return compiled

    def _make(self, found: Hosting) -> CompiledGraph:
        return CompiledGraph(
            self.graph_id,
            found.nodes,
            found.edges,
            found.branches,
            {k: f for k, f in self._aggregators.items() if k in found.nodes},
            {k: r for k, r in self._retries.items() if k in found.nodes},
            pauses=self._pauses_of(found.nodes),
            inner=found.inner,
            timeouts={k: s for k, s in self._timeouts.items() if k in found.nodes},
            modes={k: m for k, m in self._modes.items() if k in found.nodes},
        )

    def _routed(self) -> tuple[list[Edge], list[Branch]]:
        """Return the edges and branches, nodes that choose included; a plain edge to a target that its source
        chooses is that choice, not another edge."""
        edges, branches = dict(self._edges), list(self._branches.values())
        for node_id, node in self.nodes.items():
            routing = getattr(node, "routing", None)
            own = routing() if routing is not None else None
            if own is not None and own.back is not None:
                edges[node_id, own.back, True] = Edge(
                    node_id, own.back, True, own.back_condition, own.max_loop_count
                )
                edges.pop((node_id, own.back, False), None)
            if own is not None and (own.targets or own.default is not None):
                branch = Branch(node_id, own.choose, own.targets, own.default)
                branches.append(branch)
                for target in branch.all_targets():
                    edges.pop((node_id, target, False), None)
        return list(edges.values()), branches

    def __repr__(self) -> str:
        return f"<StateGraph {self.graph_id!r}: {len(self.nodes)} nodes, {len(self._edges)} edges>"


def _check_ids(label: str, *ids: Any) -> None:
    """Raise GraphValidationError for a node id that is not text."""
    for node_id in ids:
        if not isinstance(node_id, str):
            raise GraphValidationError(f"{label}: {shown(node_id)} is not a node id; node ids are text.")


def _list(label: str, ids: Any) -> list[str]:
    """Return several node ids as a list. Raises GraphValidationError for one alone, or for what is none."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise GraphValidationError(f"{label} takes a list of node ids, not {shown(ids)}.")
    found = list(cast("Iterable[Any]", ids))
    _check_ids(label, *found)
    return found
