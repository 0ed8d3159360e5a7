"""Nodes of a new run that take what they did in an earlier one: forks, and runs with `reuse=True`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

from . import templates
from ._scrub import revealed
from .backend import StoredRun
from .compiled import CompiledGraph
from .context import ExecutionContext
from .errors import InputError, MeshError, UnknownNameError, shown
from .events import EventType, ExecutionEvent, canonical
from .resume import Begin, StateChanges, begin_of, context_of_begin, raw_update


@dataclasses.dataclass(slots=True)
class Kept:
    """What one visit of a node did: its node_complete, and the state_update events before it."""

    done: ExecutionEvent
    updates: list[ExecutionEvent]


class Reuse:
    """What may be taken from an earlier run.

    Parameters
    ----------
    stored : that run.
    graph : the one that runs now.
    until : only visits that completed before this seq, whatever has changed; None for those whose node is
        what it was and gets what it got.
    patch : outputs in the place of those that nodes had, by node id.

    Raises UnknownNameError for a node of `patch` that has no output, InputError when the log does not say
    what the run began with.
    """

    def __init__(
        self,
        stored: StoredRun,
        graph: CompiledGraph,
        until: int | None = None,
        patch: Mapping[str, Any] | None = None,
    ) -> None:
        self.run_id, self._graph, self._until = stored.run_id, graph, until
        self._patch = dict(patch or {})
        self._kept: dict[tuple[str, int], Kept] = {}
        self._read(stored.events)
        self._before = None if until is not None else _Before(stored, graph)

    def note(self) -> dict[str, Any]:
        """Return what the header of the new run's log says of this, so that `again` finds it."""
        found: dict[str, Any] = {"run_id": self.run_id}
        if self._until is not None:
            found |= {"until": self._until, "patch": self._patch}
        return found

    def find(self, node_id: str, visit: int, input: Any, context: ExecutionContext) -> Kept | None:
        """Return what the visit did, None when the node has to run."""
        kept = self._kept.get((node_id, visit))
        if kept is None or self._before is None:
            return kept
        return kept if not visit and self._before.same(kept.done, input, context) else None

    async def events(self, kept: Kept) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield the events of a visit that is taken over; node_complete says so as `reused`."""
        for event in kept.updates:
            removed = event.metadata.get("removed")
            metadata: dict[str, Any] = {"removed": removed} if removed else {}
            yield ExecutionEvent(EventType.STATE_UPDATE, output=raw_update(event), metadata=metadata)
        reused: dict[str, Any] = {"run_id": self.run_id, "seq": kept.done.seq}
        if self._until is not None:
            reused["fork"] = True
            if kept.done.node_id in self._patch:
                reused["patched"] = True
        metadata = {"reused": reused}
        if keys := self._keys(kept.done.node_id, kept.done.metadata.get("route", ())):
            metadata["route"] = keys
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=kept.done.output, metadata=metadata)

    def _keys(self, node_id: str, route: list[str]) -> list[Any]:
        """Return what the node named when it went to these nodes: the keys of its branch."""
        choice = self._graph.choices.get(self._graph.index[node_id])
        branches = [b for b in choice.branches if b.choose is None] if choice is not None else []
        return [key for branch in branches for key, target in branch.targets.items() if target in route]

    def _read(self, events: list[ExecutionEvent]) -> None:
        changes = StateChanges(self._graph)
        for event in events:
            if self._until is not None and event.seq >= self._until:
                break
            updates = changes.feed(event)
            if event.type == EventType.NODE_COMPLETE and event.node_id in self._graph.index:
                done = event
                if event.node_id in self._patch:
                    done = dataclasses.replace(event, output=self._patch[event.node_id])
                self._kept[event.node_id, event.metadata.get("visit", 0)] = Kept(done, updates)
        nodes = {node_id for node_id, _ in self._kept}
        for name in self._patch:
            if name not in nodes:
                hint = "A patch replaces outputs of nodes that completed before the place of the fork."
                raise UnknownNameError("node of patch=", str(name), nodes, hint)


@dataclasses.dataclass(slots=True)
class _Start:
    """What a node began with: its input, the state, and how many node_complete events were before it."""

    input: bytes
    state: bytes
    completed: int


class _Before:
    """What the nodes of an earlier run were and got."""

    def __init__(self, stored: StoredRun, graph: CompiledGraph) -> None:
        self._graph = graph
        begin = begin_of(stored)
        given: Any = begin.get("definitions")
        self._definitions: dict[str, Any] = given if isinstance(given, dict) else {}
        self._withheld: list[str] = begin.get("withheld") or []
        self._context = context_of_begin(begin, dict.fromkeys(self._withheld))
        self._context.input = begin["input"]
        self._context.reducers = graph.reducers
        self._starts: dict[str, _Start] = {}
        self._asked: set[str] = set()
        self._completed: list[ExecutionEvent] = []
        self._read(stored.events, begin)

    def same(self, done: ExecutionEvent, input: Any, context: ExecutionContext) -> bool:
        """Say whether a node is what it was when it completed so, and gets what it got."""
        node_id, graph = done.node_id, self._graph
        node, start = graph.nodes[node_id], self._starts.get(node_id)
        if start is None or self._definitions.get(node_id) != graph.definitions[node_id]:
            return False
        if node_id in self._asked or graph.index[node_id] in graph.pauses:
            return False  # A person is asked anew.
        if cast("dict[str, Any]", done.metadata.get("reused") or {}).get("fork"):
            return False  # Whether it would give that here was not asked there.
        if canonical(input) != start.input or self._around(context) != self._around(self._context):
            return False
        texts = getattr(node, "templates", ())
        sees = _sees_all(node) or node_id in graph.inner
        if not texts and not sees:
            return True
        if sees and canonical(context.state) != start.state:
            return False
        was = self._outputs_before(start)
        if sees and any(canonical(v) != canonical(was.get(k)) for k, v in context.outputs.items()):
            return False
        self._context.outputs = was
        try:
            return all(templates.resolve(t, context) == templates.resolve(t, self._context) for t in texts)
        except MeshError:
            return False

    def _around(self, context: ExecutionContext) -> bytes:
        known = {k: v for k, v in context.variables.items() if k not in self._withheld}
        return canonical([known, context.chat_history])

    def _outputs_before(self, start: _Start) -> dict[str, Any]:
        found: dict[str, Any] = dict.fromkeys(self._graph.awaited)
        skipped = dict.fromkeys(self._graph.index)
        done = self._completed[: start.completed] if self._graph.plan.loops else self._completed
        return {**skipped, **found, **{event.node_id: event.output for event in done}}

    def _read(self, events: list[ExecutionEvent], begin: Begin) -> None:
        changes = StateChanges(self._graph)
        latest: dict[str, ExecutionEvent] = {}
        now = canonical(self._context.state)
        for event in events:
            kind, node_id = event.type, event.node_id
            changes.feed(event)
            if kind == EventType.INTERRUPT:
                self._asked.add(changes.host(node_id))
            elif kind == EventType.STATE_UPDATE and not event.metadata.get("isolated"):
                self._context.update_state(raw_update(event), event.metadata.get("removed", ()))
                now = canonical(self._context.state)
            elif node_id not in self._graph.index:
                continue
            elif kind == EventType.NODE_START and not event.metadata.get("visit"):
                received = canonical(self._input(node_id, latest, begin))
                self._starts[node_id] = _Start(received, now, len(self._completed))
            elif kind == EventType.NODE_COMPLETE:
                latest[node_id] = event
                self._completed.append(event)

    def _input(self, node_id: str, latest: Mapping[str, ExecutionEvent], begin: Begin) -> Any:
        """Return what a node received, by the edges that there are now."""
        graph = self._graph
        index, plan = graph.index[node_id], graph.plan
        parents = [n for n, targets in enumerate(plan.targets) if index in targets]
        value = begin["input"]
        got: dict[str, Any] = {}
        for n in parents:
            done = latest.get(plan.ids[n])
            if n == 0:
                got["START"] = value if isinstance(value, dict) else {"input": value}
            elif done is not None and node_id in done.metadata.get("route", (node_id,)):
                got[done.node_id] = done.output
        joined: Any = next(iter(got.values()), None) if len(parents) == 1 else got
        return graph.aggregators[index](joined) if index in graph.aggregators else joined


def _sees_all(node: Any) -> bool:
    """Say whether a node may read the state and every output."""
    return getattr(node, "_takes_state", False) or not type(node).__module__.startswith("mesh_nb.")


def again(note: Any, store: Any, graph: CompiledGraph) -> Reuse | None:
    """Return what a run that is resumed goes on taking, by the note in its header; None when there is nothing
    to take. Raises RunNotFoundError when outputs were to be patched in a run that is gone."""
    if not isinstance(note, dict):
        return None
    given = cast("dict[str, Any]", note)
    try:
        stored = revealed(store.load(given["run_id"]))
    except MeshError:
        if given.get("patch"):
            raise
        return None
    return Reuse(stored, graph, given.get("until"), given.get("patch"))


def place(events: list[ExecutionEvent], at: str | int) -> int:
    """Return the seq at which a fork leaves a run: of a node's first start, or the one that is given.

    Raises UnknownNameError for a node that did not run, InputError for a seq that the run does not have.
    """
    if isinstance(at, str):
        started = {e.node_id: e.seq for e in reversed(events) if e.type == EventType.NODE_START}
        if at not in started:
            raise UnknownNameError("node of at=", at, started, "It is one that the run has started.")
        return started[at]
    last = events[-1].seq if events else 0
    if isinstance(at, bool) or not isinstance(cast("Any", at), int) or not 0 <= at <= last:
        raise InputError(f"at= is a node id or a seq from 0 to {last}, not {shown(at)}.")
    return at
