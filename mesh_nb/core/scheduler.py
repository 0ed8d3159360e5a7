"""Which node runs next, and with what input: pure data, no asyncio.

A node is ready when every edge into it is settled and at least one delivered; when none delivered it is
skipped, and that spreads. A loop edge sends its source's output back: everything below the target becomes
pending again, once nothing below the target can run any more. So what runs, and how often, does not depend on
timing, but for one case: a join that is fed from inside two loops takes what each has sent last.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, cast

from ._plan import START as START
from ._plan import Plan as Plan
from .edges import Way
from .errors import InputError, shown

PENDING, READY, ACTIVE, DONE, SKIPPED, LOOPED = range(6)
_NOBODY = -1
# Most runs need none of these: what is written first replaces them, and writing into them is an error.
_NO_DICT = cast("dict[int, Any]", MappingProxyType({}))
_NO_SET = cast("set[int]", frozenset())
_NO_LIST = cast("list[Any]", ())


class Scheduler:
    """The state of one run over a Plan: `take()` what is ready, `complete()` what has run.

    `skipped` collects the nodes that were skipped, until the caller has read them with `take_skipped`;
    `visit` is which visit `follow` has begun. The active nodes are those of `_active`, with their inputs, and
    before them the one that has run alone since it began: `_alone`, with `_given`.
    """

    __slots__ = (
        "_active",
        "_alone",
        "_given",
        "_leaves",
        "_need",
        "_ready",
        "_returning",
        "_runs",
        "_status",
        "_taken",
        "_values",
        "_waiting",
        "limit",
        "plan",
        "skipped",
        "visit",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.skipped: list[int] = _NO_LIST
        self.visit = 0
        self._status = bytearray(len(plan.ids))
        # Only joins are counted down: any other node is settled when its one parent is.
        self._need: list[int] = list(plan.parents) if plan.joins else _NO_LIST
        # Without loops no node is visited again.
        self._runs = [0] * len(plan.ids) if plan.loops else plan.zeros
        self._ready: list[tuple[int, Any, int]] = _NO_LIST
        self._alone, self._given = START, cast("Any", None)
        self._active: dict[int, Any] = _NO_DICT
        self.limit: int | None = None
        self._values: dict[int, dict[int, Any]] = _NO_DICT
        self._taken = [0] * len(plan.loops) if plan.loops else _NO_LIST
        self._returning: dict[int, dict[int, Any]] = _NO_DICT
        self._leaves: dict[int, Any] = _NO_DICT
        self._waiting = _NO_SET

    def take(self) -> list[tuple[int, Any, int]]:
        """Return every ready node as (index, input, visit), now active; visit counts from 0. With a limit
        there are only as many as may be active."""
        batch, self._ready = self._ready, _NO_LIST
        if self.limit is not None:
            room = max(self.limit - len(self._active) - (self._alone != _NOBODY), 0)
            if len(batch) > room:
                batch, self._ready = batch[:room], batch[room:]
        if not batch:
            return []
        status = self._status
        if len(batch) == 1 and self._alone == _NOBODY and not self._active:
            self._alone, self._given, visit = batch[0]
            status[self._alone] = ACTIVE
            if self.plan.loops:
                self._runs[self._alone] = visit + 1
            return batch
        active = self._active = self._active or {}
        for node, value, visit in batch:
            status[node] = ACTIVE
            active[node] = value
            if self.plan.loops:
                self._runs[node] = visit + 1
        return batch

    def take_skipped(self) -> list[int]:
        """Return the nodes that were skipped since this was last asked."""
        skipped, self.skipped = self.skipped, _NO_LIST
        return skipped

    def rewind(self) -> list[tuple[int, int]]:
        """Make the active nodes ready again, and return them as (index, visit)."""
        inputs = self._all_active().items()
        again = [(n, value, max(self._runs[n] - 1, 0)) for n, value in inputs if n != START]
        if self._alone != START:
            self._alone, self._given = _NOBODY, None
        self._active = _NO_DICT
        for node, _, visit in again:
            self._status[node] = READY
            if self.plan.loops:
                self._runs[node] = visit
        self._ready = [*again, *self._ready]
        return [(node, visit) for node, _, visit in self._ready]

    def is_active(self, node: int, visit: int) -> bool:
        """Say whether a node was taken for this visit and has not completed it."""
        active = node == self._alone or node in self._active
        return active and max(self._runs[node] - 1, 0) == visit

    def taken(self, loop: int) -> int:
        """Return how often a loop edge was taken since the loop around it last began."""
        return self._taken[loop]

    def complete(
        self, node: int, output: Any, targets: Sequence[int] | None = None, loop: int | None = None
    ) -> None:
        """Settle a node that has run.

        Parameters: node, its index; output; targets, the indices it delivers to, None for all; loop, the
        index of the loop edge that it takes instead, whose other edges are then not settled on this visit.
        """
        if node == self._alone:
            self._alone, self._given = _NOBODY, None
        else:
            del self._active[node]
        if loop is not None:
            self._status[node] = LOOPED
            self._taken[loop] += 1
            target = self.plan.loops[loop][1]
            if not (self._alone >= 0 or self._active or self._ready or self._returning or self._waiting):
                self._restart(target, output, (node,))
                return
            self._returning = self._returning or {}
            self._returning.setdefault(target, {})[node] = output
        elif targets is None and (only := self.plan.only[node]):
            self._status[node] = DONE
            self._status[only] = READY
            self._ready = self._ready or []
            self._ready.append((only, output, self._runs[only]))
        elif (
            targets is None
            and len(after := self.plan.targets[node]) == 1
            and self._need[join := after[0]] > 1
        ):
            self._status[node] = DONE
            if (got := self._values.get(join)) is not None:
                got[node] = output
            else:
                self._send(node, join, output)
            self._need[join] -= 1
            if self._waiting:
                self._waiting.add(join)
            else:
                self._waiting = {join}
        else:
            self._settle(node, output, targets)
        if self._returning:
            self._go_back()

    def follow(self, node: int, output: Any, way: Way | None = None) -> int:
        """Settle a node as `complete` does, and take what is ready when that is one node and can be told at
        once: return it, active with this output as its input, and say in `visit` which visit it is. Else
        return START. Parameters: way, where the node chose to go, None for everywhere."""
        plan, status = self.plan, self._status
        if node != self._alone or self._active or self._ready or self._returning or self._waiting:
            after = START
        elif way is None:
            after = plan.only[node]
        else:
            after = plan.body[0] if plan.body and way.loop is not None else START
        if not after:
            self.complete(node, output, way and way.targets, way and way.loop)
            return START
        if way is None:
            status[node] = DONE
        else:
            self._taken[0] += 1
            for inside in plan.body:
                status[inside] = PENDING
        status[after] = ACTIVE
        self._alone, self._given = after, output
        self.visit = visit = self._runs[after]
        if plan.loops:
            self._runs[after] = visit + 1
        return after

    def leaves(self) -> dict[str, Any]:
        """Return the outputs of the nodes that ran and delivered to no other, by node id, in graph order."""
        return {self.plan.ids[n]: self._leaves[n] for n in sorted(self._leaves)}

    def _all_active(self) -> dict[int, Any]:
        """Return the active nodes with their inputs, in the order in which they began."""
        return self._active if self._alone == _NOBODY else {self._alone: self._given, **self._active}

    def _send(self, source: int, join: int, output: Any) -> None:
        """Keep what a node delivers to one with several parents."""
        self._values = self._values or {}
        self._values.setdefault(join, {})[source] = output

    def _wait(self, join: int) -> None:
        self._waiting = self._waiting or set()
        self._waiting.add(join)

    def _settle(self, node: int, output: Any, chosen: Sequence[int] | None) -> None:
        plan, need, status, runs = self.plan, self._need, self._status, self._runs
        ready = self._ready = self._ready or []
        status[node] = DONE
        if node != START and not (plan.targets[node] if chosen is None else chosen):
            self._leaves = self._leaves or {}
            self._leaves[node] = output
        stack = [node]
        while stack:
            source = stack.pop()
            for target in plan.targets[source]:
                hit = status[source] == DONE and (chosen is None or target in chosen)
                value = output
                if plan.parents[target] > 1:
                    if hit:
                        self._send(source, target, output)
                    need[target] -= 1
                    if need[target]:
                        self._wait(target)
                        continue
                    if self._waiting:
                        self._waiting.discard(target)
                    got = self._values.get(target) or {}
                    hit, value = bool(got), {plan.ids[p]: got[p] for p in sorted(got)}
                if hit:
                    status[target] = READY
                    ready.append((target, value, runs[target]))
                else:
                    status[target] = SKIPPED
                    self.skipped = self.skipped or []
                    self.skipped.append(target)
                    stack.append(target)

    def _go_back(self) -> None:
        idle = self._alone == _NOBODY and not self._active
        if idle and not self._ready and len(self._returning) == 1 and not self._waiting:
            self._send_back(next(iter(self._returning)))
            return
        # The innermost target first: starting it makes the outer ones wait.
        order = sorted(self._returning, key=self.plan.rank.__getitem__, reverse=True)
        for target in order:
            if not self._unfinished(target):
                self._send_back(target)
        if idle and not self._ready and self._returning:
            # Loops that wait for each other's joins go in turn when nothing else runs.
            self._send_back(order[0])

    def _unfinished(self, target: int) -> bool:
        """Say whether a loop must wait: for what runs below its target or feeds the loop, for loops inside
        it or beside it that do, and for joins below it that wait for a node elsewhere."""
        plan, sources = self.plan, self._returning[target]
        below = plan.below(target)
        for node in (*self._all_active(), *(n for n, _, _ in self._ready)):
            if node in below or any(s in plan.below(node) for s in sources):
                return True
        for other in self._returning:
            if other != target and other in below:
                return True
            outer = other == target or target in plan.below(other)
            if not outer and any(s in plan.below(other) for s in sources):
                return True
        held = [plan.below(source) for source in sources]
        return any(node in below and not any(node in h for h in held) for node in self._waiting)

    def _send_back(self, target: int) -> None:
        sent, ids = self._returning.pop(target), self.plan.ids
        if len(sent) == 1:
            (value,) = sent.values()
        else:
            value = {ids[s]: sent[s] for s in sorted(sent)}
        self._restart(target, value, tuple(sent))

    def _restart(self, target: int, value: Any, sources: tuple[int, ...]) -> None:
        plan, need, status = self.plan, self._need, self._status
        values = self._values
        seen, stack = {target}, [target]
        while stack:
            node = stack.pop()
            settled = status[node] == DONE or status[node] == SKIPPED
            status[node] = PENDING
            if self._leaves:
                self._leaves.pop(node, None)
            if not settled:
                continue
            for child in plan.targets[node]:
                if plan.parents[child] > 1:
                    need[child] += 1
                    if need[child] != plan.parents[child]:
                        self._wait(child)
                    elif self._waiting:
                        self._waiting.discard(child)
                    if child in values:
                        values[child].pop(node, None)
                if status[child] != PENDING and child not in seen:
                    seen.add(child)
                    stack.append(child)
        if len(plan.loops) > 1:
            # A loop inside this one begins anew: its target is strictly below, or the same and its source
            # strictly before, so that no two loops are inside each other and all of them end.
            for node in seen:
                for loop in plan.loops_of.get(node, ()):
                    other = plan.loops[loop][1]
                    same = other == target and all(s != node and s in plan.below(node) for s in sources)
                    if same or (other != target and other in seen):
                        self._taken[loop] = 0
        status[target] = READY
        self._ready = self._ready or []
        self._ready.append((target, value, self._runs[target]))


def check_concurrency(limit: Any) -> int | None:
    """Return how many nodes may be active at once, None for all. Raises InputError unless it is 1 or more."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InputError(f"max_concurrency={shown(limit)} must be a whole number of 1 or more.")
    return limit
