"""A compiled graph: edges checked, adjacency by integer index, ready to run any number of times at once."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ._again import Again
from ._named import named_options
from ._views import Views
from .budget import Budget, OnBudget, Unpriced
from .cache import Cache
from .edges import Branch, Choice, Edge, Retry
from .node import BaseNode, Node
from .scheduler import Plan

if TYPE_CHECKING:
    from ._gate import Pause
    from .interrupts import Policy
    from .modes import EventModes
    from .run import Run


class Runnable(Again, Views):
    """What a graph offers for running it; compiled or not."""

    def compile(self) -> CompiledGraph:
        """Return the graph checked and ready to run. Raises GraphValidationError with every problem found."""
        raise NotImplementedError

    @named_options
    def run(
        self,
        input: Any,
        *,
        session_id: str | None = None,
        variables: dict[str, Any] | None = None,
        files: Any = None,
        backend: Any = None,
        display: bool | None = None,
        background: bool = False,
        on_no_answer: Policy | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        max_model_calls: int | None = None,
        unpriced: Unpriced = "refuse",
        on_budget: OnBudget = "stop",
        cache: bool | str | Cache | None = None,
        reuse: bool | str | Run = False,
    ) -> Run:
        """Start a run and return it at once: await it, iterate its events, or, without an event loop, wait().

        Parameters
        ----------
        input : text, or a dict; the first node receives `{"input": text}` or the dict as it is.
        session_id : runs of one session share chat history and state. variables : for `{{$vars.name}}`.
        files : attachments, a list of paths, bytes, (name, bytes), PIL images, matplotlib figures or
            DataFrames, at most 20 MB in all: neutral parts under `files` of the first nodes' input.
        backend, display : where the log goes, None for the project's `.mesh/`; False shows nothing.
        background, on_no_answer : True keeps it running when the cell ends; questions that nobody answers
            "wait" or "stop" (an answer resumes), or get "deny", "allow". None waits where there are buttons.
        max_concurrency, timeout : how many nodes of each graph may run at once; seconds for the whole run.
        fail_fast : a node that fails cancels those that run beside it; False lets them come to their end.
        budget_usd, max_tokens, max_model_calls, unpriced, on_budget : what it may spend, see `Budget`.
        cache : True takes answers of the same calls from `.mesh/cache`, "7d" those that are no older.
        reuse : True takes what has not changed from this graph's newest run; a run, from that one.

        Raises GraphValidationError, InputError or ConfigurationError before anything is started.
        """
        from . import runner

        return runner.start(
            self.compile(),
            input,
            session_id=session_id,
            variables=variables,
            files=files,
            backend=backend,
            display=display,
            background=background,
            on_no_answer=on_no_answer,
            max_concurrency=max_concurrency,
            timeout=timeout,
            fail_fast=fail_fast,
            budget=Budget.of(budget_usd, max_tokens, max_model_calls, unpriced, on_budget),
            cache=cache,
            reuse=reuse,
        )

    @named_options
    def run_sync(
        self,
        input: Any,
        *,
        session_id: str | None = None,
        variables: dict[str, Any] | None = None,
        files: Any = None,
        backend: Any = None,
        display: bool | None = None,
        nested: bool = False,
        on_no_answer: Policy | None = None,
        max_concurrency: int | None = None,
        timeout: float | None = None,
        fail_fast: bool = True,
        budget_usd: float | None = None,
        max_tokens: int | None = None,
        max_model_calls: int | None = None,
        unpriced: Unpriced = "refuse",
        on_budget: OnBudget = "stop",
        cache: bool | str | Cache | None = None,
        reuse: bool | str | Run = False,
    ) -> Run:
        """Run to the end on a private event loop and return the finished Run; parameters as for `run`.

        nested : True runs on the kernel's own loop through nest_asyncio, for objects bound to it; a kernel
            interrupt is then seen late.

        Raises NodeExecutionError when a node fails; its `.run` has what was obtained.
        """
        from . import runner

        return runner.run_sync(
            self.compile(),
            input,
            session_id=session_id,
            variables=variables,
            files=files,
            backend=backend,
            display=display,
            nested=nested,
            on_no_answer=on_no_answer,
            max_concurrency=max_concurrency,
            timeout=timeout,
            fail_fast=fail_fast,
            budget=Budget.of(budget_usd, max_tokens, max_model_calls, unpriced, on_budget),
            cache=cache,
            reuse=reuse,
        )

    @named_options
    def stream(self, input: Any, mode: str = "values", **options: Any) -> AsyncGenerator[Any, None]:
        """Run the graph and yield what a stream mode makes of it; leaving the loop cancels the run.

        Parameters
        ----------
        mode : "values" yields a StateValue after the start and after each node; "updates" a StateUpdate for
            each node; "messages" a StreamMessage for each piece of answer text, and one for the whole;
            "events" every ExecutionEvent; "debug" a DebugInfo for each event. Or a member of StreamMode.
        options : parameters of `run`.

        Raises UnknownNameError for another mode, and out of the iterator what `run` raises.
        """
        from .modes import streamed

        return streamed(self, input, mode, options)


class CompiledGraph(Runnable):
    """A graph that was checked: made by `StateGraph.compile()`, run by an Executor or `run`.

    `nodes` maps node ids to nodes, `plan` is its shape, the rest is by index into `plan.ids`. `outputs`
    are the nodes that the run's output is of, none for all leaves; `awaited` those that templates may name
    before they have run, in a loop's first round; `inner` what nodes run themselves, by node and name;
    `reducers` how updates of a name of the state are put together.
    """

    def __init__(
        self,
        graph_id: str,
        nodes: dict[str, Node],
        edges: Sequence[Edge],
        branches: Sequence[Branch],
        aggregators: dict[str, Callable[[dict[str, Any]], Any]],
        retries: dict[str, Retry],
        outputs: tuple[str, ...] = (),
        pauses: Mapping[str, tuple[Pause, ...]] | None = None,
        inner: Mapping[str, Mapping[str, CompiledGraph]] | None = None,
        timeouts: Mapping[str, float] | None = None,
        modes: Mapping[str, str] | None = None,
    ) -> None:
        self.graph_id = graph_id
        self.inner: Mapping[str, Mapping[str, CompiledGraph]] = inner or {}
        self.outputs = outputs
        self.awaited: tuple[str, ...] = ()
        self.reducers: Mapping[str, Callable[[Any, Any], Any]] = {}
        self.nodes = nodes
        self.edges = edges
        self.branches = branches
        self.plan, self.choices = _shape(nodes, edges, branches)
        self.index = index = {node_id: n for n, node_id in enumerate(self.plan.ids)}
        self.by_index: list[Any] = [None, *nodes.values()]
        self.aggregators = {index[i]: f for i, f in aggregators.items()}
        self.retries = {index[i]: r for i, r in retries.items()}
        self.modes = modes or {}
        self.timeouts = {index[i]: s for i, s in (timeouts or {}).items()}
        self.pauses = {index[i]: p for i, p in (pauses or {}).items()}
        # What these nodes' run() would do, without a generator.
        self.direct: dict[int, Callable[[Any, Any], Any]] = {
            n: cast("Any", node).execute
            for n, node in enumerate(nodes.values(), 1)
            if getattr(type(node), "run", None) is BaseNode.run
            and inspect.iscoroutinefunction(getattr(type(node), "execute", None))
            and n not in self.aggregators
            and n not in self.retries
            and n not in self.timeouts
            and n not in self.pauses
        }
        self.checks = [c for c in map(_check_of, nodes.values()) if c is not None]
        self._defined: tuple[Any, dict[str, str]] | None = None
        self.checks += [c for graphs in self.inner.values() for g in graphs.values() for c in g.checks]

    def compile(self) -> CompiledGraph:
        """Return itself."""
        return self

    def with_nodes(
        self, changed: Mapping[str, Node], inner: Mapping[str, Mapping[str, CompiledGraph]] | None = None
    ) -> CompiledGraph:
        """Return the same graph with other nodes in the places of some of its own, by node id, and other
        graphs inside its nodes, None for its own."""
        ids = self.plan.ids
        graph = CompiledGraph(
            self.graph_id,
            {**self.nodes, **changed},
            self.edges,
            self.branches,
            {ids[i]: f for i, f in self.aggregators.items()},
            {ids[i]: r for i, r in self.retries.items()},
            self.outputs,
            {ids[i]: p for i, p in self.pauses.items()},
            self.inner if inner is None else inner,
            {ids[i]: s for i, s in self.timeouts.items()},
            self.modes,
        )
        graph.awaited, graph.reducers = self.awaited, self.reducers
        return graph

    @property
    def definitions(self) -> dict[str, str]:
        """What each node is, as a hash; what a run keeps of it for one that reuses its results."""
        from ._definition import around, definition

        now = around()
        if self._defined is None or self._defined[0] != now:
            aggregators, index = self.aggregators, self.index
            hashes = {
                i: definition(node, self.inner.get(i, {}), aggregators.get(index[i]))
                for i, node in self.nodes.items()
            }
            self._defined = now, hashes
        return self._defined[1]

    @functools.cached_property
    def outline(self) -> dict[str, Any]:
        """The graph as JSON values: nodes with id, kind and an event_mode other than "full"; edges with
        source, target and, where it has one, kind (conditional, loop) and label."""
        kinds = {i: getattr(n, "kind", "node") for i, n in self.nodes.items()}
        nodes: list[dict[str, Any]] = [{"id": i, "kind": kind} for i, kind in kinds.items()]
        for record in nodes:
            if record["id"] in self.modes:
                record["event_mode"] = self.modes[record["id"]]
        edges: list[dict[str, Any]] = []
        for edge in self.edges:
            record: dict[str, Any] = {"source": edge.source, "target": edge.target}
            if edge.loop:
                record["kind"] = "loop"
                if edge.max_iterations is not None:
                    record["label"] = f"max: {edge.max_iterations}"
            edges.append(record)
        for branch in self.branches:
            pairs = [
                *branch.targets.items(),
                *([("default", branch.default)] if branch.default is not None else []),
            ]
            edges += [
                {"source": branch.source, "target": t, "kind": "conditional", "label": str(k)}
                for k, t in pairs
            ]
        for host, graphs in self.inner.items():
            for name, graph in graphs.items():
                if name in graph.nodes and len(graph.nodes) == 1:
                    nodes += graph.outline["nodes"]
                    edges.append({"source": host, "target": name})
                else:
                    next(n for n in nodes if n["id"] == host)["graph"] = graph.outline
        return {"nodes": nodes, "edges": edges}

    @functools.cached_property
    def event_modes(self) -> EventModes:
        """How much of its nodes' events is shown."""
        from .modes import EventModes

        return EventModes(self.outline)

    @functools.cached_property
    def adopted(self) -> dict[str, str]:
        """The nodes of this graph that run other nodes of it, by the ids of those, however deep."""
        found: dict[str, str] = {}
        for host, graphs in self.inner.items():
            for name, graph in graphs.items():
                if name:
                    found |= dict.fromkeys([name, *graph.adopted], host)
        return found

    def __repr__(self) -> str:
        return f"<CompiledGraph {self.graph_id!r}: {len(self.nodes)} nodes>"


def _check_of(node: Any) -> Callable[[], None] | None:
    check = getattr(node, "check", None)
    return None if check is None or getattr(type(node), "check", None) is BaseNode.check else check


def _shape(
    nodes: Mapping[str, Node], edges: Iterable[Edge], branches: Iterable[Branch]
) -> tuple[Plan, dict[int, Choice]]:
    ids = ("START", *nodes)
    index = {node_id: n for n, node_id in enumerate(ids)}
    targets: list[dict[int, None]] = [{} for _ in ids]
    always: list[dict[int, None]] = [{} for _ in ids]
    looping: dict[int, list[tuple[int, Edge]]] = {}
    loops: list[tuple[int, int]] = []
    for edge in edges:
        if edge.target == "END":
            continue
        source, target = index[edge.source], index[edge.target]
        if edge.loop:
            looping.setdefault(source, []).append((len(loops), edge))
            loops.append((source, target))
        else:
            targets[source][target] = always[source][target] = None
    choosing: dict[int, list[Branch]] = {}
    for branch in branches:
        source = index[branch.source]
        choosing.setdefault(source, []).append(branch)
        for target in branch.all_targets():
            if target != "END":
                targets[source][index[target]] = None
    parents = [0] * len(ids)
    for outgoing in targets:
        for target in outgoing:
            parents[target] += 1
    choices = {
        n: Choice(tuple(always[n]), tuple(choosing.get(n, ())), tuple(looping.get(n, ())))
        for n in sorted({*choosing, *looping})
    }
    plan = Plan(
        ids,
        tuple(tuple(t) for t in targets),
        tuple(parents),
        tuple(_rank(targets, parents)),
        tuple(loops),
        {n: tuple(k for k, _ in found) for n, found in looping.items()},
    )
    return plan, choices


def _rank(targets: Sequence[Iterable[int]], parents: Sequence[int]) -> list[int]:
    """Return a topological order; nodes on or below a cycle get -1."""
    need, rank, position = list(parents), [-1] * len(parents), 0
    ready = deque(n for n, count in enumerate(need) if not count)
    while ready:
        node = ready.popleft()
        rank[node] = position
        position += 1
        for target in targets[node]:
            need[target] -= 1
            if not need[target]:
                ready.append(target)
    return rank
