"""StateGraph: nodes and edges, written down in a cell, checked by `compile()`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, overload

from ._cells import Ledger, Origin, origin
from ._gate import Pause
from ._graph_json import GraphJson, Recipe
from ._hosting import Hosting, within
from ._named import named_options
from ._nodes import make_node
from ._pausing import Pausing
from ._rows import NodeRef, Rows
from ._validate import check
from .compiled import CompiledGraph, Runnable
from .edges import Branch, Edge, Retry, check_call
from .errors import GraphValidationError, InputError, shown
from .node import Node

__all__ = ["CompiledGraph", "StateGraph"]

T = TypeVar("T")

RESERVED = ("START", "END")


class StateGraph(Rows, Pausing, GraphJson, Runnable):
    """A graph under construction; builder methods return the graph.

    Parameters: graph_id, a name for logs and reports. Raises InputError for one that is not text.

    In a notebook a cell may be run again: what it had added to this graph the last time is replaced by what
    it adds now. An id that another cell has taken, or that is taken twice in one cell, is refused.
    """

    @named_options
    def __init__(self, graph_id: str | None = None) -> None:
        if graph_id is not None and not isinstance(graph_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"graph_id= is a name for logs, not {shown(graph_id)}; a state needs no declaration here."
            )
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

    @named_options
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
        options : those of its type, which `help(mesh_nb.nodes.llm)` and so on list. A failing node runs
            again with `config={"retry": {"max_retries": 2, "delay": 1.0, "backoff": 2.0}}` (delay in seconds;
            `"jitter": True` spreads it); `event_mode=` says which of its events are seen; `node_timeout=`
            seconds is what each attempt may take, questions to people not counted.

        Raises InvalidNodeTypeError or UnknownNameError for an unknown type or option, with the nearest known
        name; GraphValidationError when the id is taken.
        """
        name = cast("Any", node_id)
        if not isinstance(name, str) or not name or name in RESERVED:
            own = getattr(name, "__name__", "") if callable(name) else ""
            hint = f" Write add_node({own!r}, {own}), or @graph.node above it." if own.isidentifier() else ""
            raise GraphValidationError(
                f"{shown(name)} is not a node id: use text other than START and END, which every graph has."
                f"{hint}"
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

    @named_options
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
        edge = Edge(source, target, is_loop_edge, loop_condition, max_iterations)
        _check_edge(edge, interrupt_before, interrupt_after, interrupt_condition)
        if interrupt_before:
            self._pause(target, "before", source, interrupt_condition)
        if interrupt_after:
            self._pause(source, "after", target, interrupt_condition)
        self._put(here, self._edges, (source, target, is_loop_edge), edge)
        return self

    @named_options
    def add_conditional_edges(
        self,
        source: NodeRef,
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
        source = self._named("Conditional edges", source)
        label = f"Conditional edges from {shown(source)}"
        if not callable(fn):
            raise GraphValidationError(f"{label}: {shown(fn)} is not a function.")
        check_call(label, "fn", fn, ("output",))
        if isinstance(mapping, Mapping):
            targets = dict(mapping)
        else:
            targets = {node_id: node_id for node_id in self._list(label, mapping)}
        _check_ids(label, *targets.values(), *([] if default is None else [default]))
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

    @named_options
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

    @named_options
    def add_reducer(self, key: str, reducer: Callable[[Any, Any], Any]) -> StateGraph:
        """Say how updates of a name of the state are put together: `add_reducer("notes", operator.add)`.

        Parameters: reducer, a plain function from (value, update) to the new value; the first update becomes
        the value as it is. Without a reducer an update replaces the value, so that of two nodes that run side
        by side the last one wins.
        Raises GraphValidationError for what is not a name or not a function.
        """
        here = self._enter()
        plain = callable(reducer) and not inspect.iscoroutinefunction(reducer)
        if not isinstance(cast("Any", key), str) or not plain:
            raise GraphValidationError(
                f"add_reducer({shown(key)}, {shown(reducer)}) takes a name of the state and a plain function."
            )
        check_call(f"add_reducer({key!r})", "reducer", reducer, ("value", "update"))
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

    def _edge(self, source: NodeRef, target: NodeRef) -> None:
        self.add_edge(source, target)

    def _keep_aggregator(self, target: str, aggregator: Callable[[dict[str, Any]], Any]) -> None:
        self._put(self._enter(), self._aggregators, target, aggregator)

    def _keep_pause(self, key: tuple[str, str, str], pause: Pause) -> None:
        self._put(self._enter(), self._pauses, key, pause)

    @named_options
    def compile(self) -> CompiledGraph:
        """Check the graph and return it ready to run; the graph may be changed and compiled again.

        Raises GraphValidationError with all problems in `.errors`, each naming nodes; CycleDetectedError when
        there are only cycles.
        """
        if self._compiled is not None:
            return self._compiled
        with within(self):
            return self._compile()

    def _compile(self) -> CompiledGraph:
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


def _check_edge(edge: Edge, before: Any, after: Any, condition: Any) -> None:
    """Raise GraphValidationError for an edge that cannot be meant."""
    source, target, loop = edge.source, edge.target, cast("Any", edge.loop)
    bounds, limit = (edge.loop_condition, edge.max_iterations), cast("Any", edge.max_iterations)
    plain = loop is before is after is False and bounds == (None, None) and condition is None
    if plain and source != "END" and target != "START":
        return
    label = f"Edge {source!r} -> {target!r}"
    switches = {"is_loop_edge": loop, "interrupt_before": before, "interrupt_after": after}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise GraphValidationError(f"{label}: {name} is True or False, not {shown(value)}.")
    if source == "END" or target == "START":
        raise GraphValidationError(f"{label}: nothing leaves END or enters START.")
    if not loop and bounds != (None, None):
        raise GraphValidationError(f"{label}: loop_condition and max_iterations need is_loop_edge=True.")
    if condition is not None and not (before or after):
        raise GraphValidationError(
            f"{label}: interrupt_condition needs interrupt_before=True or interrupt_after=True."
        )
    if loop and (source == "START" or target == "END"):
        raise GraphValidationError(f"{label} cannot be a loop edge.")
    if (holds := cast("Any", edge.loop_condition)) is not None:
        if not callable(holds):
            raise GraphValidationError(f"{label}: loop_condition is {shown(holds)}, not a function.")
        check_call(label, "loop_condition", holds, ("output",), ("state", "output"))
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise GraphValidationError(f"{label}: max_iterations is {shown(limit)}, not 1 or more.")
