"""The scheduler against a small reference model, and its rules one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mesh_nb
from mesh_nb.core.graph import StateGraph
from mesh_nb.core.scheduler import START, Plan, Scheduler


class Nothing(mesh_nb.BaseNode):
    async def execute(self, input: Any, context: Any) -> Any:
        return input


def plan_of(edges: list[tuple[str, str]], loops: Sequence[tuple[str, str]] = ()) -> Plan:
    graph = StateGraph()
    for node_id in dict.fromkeys(n for edge in edges for n in edge if n != "START"):
        graph.add_node(node_id, Nothing)
    for source, target in edges:
        graph.add_edge(source, target)
    for source, target in loops:
        graph.add_edge(source, target, is_loop_edge=True, max_iterations=99)
    return graph.compile().plan


class Driver:
    """Runs a scheduler: a node's output is "id/visit", and `pick` says which active node completes next."""

    def __init__(
        self, plan: Plan, routes: dict[str, list[str]] | None = None, limits: dict[int, int] | None = None
    ):
        self.plan, self.routes, self.limits = plan, routes or {}, limits or {}
        self.index = {node_id: n for n, node_id in enumerate(plan.ids)}
        self.scheduler = Scheduler(plan)
        self.scheduler.complete(START, "in")
        self.active: list[tuple[int, Any, int]] = []
        self.ran: list[tuple[str, int, Any]] = []
        self.skipped: list[str] = []

    def step(self, pick: Callable[[int], int]) -> bool:
        self.active += self.scheduler.take()
        if not self.active:
            return False
        index, value, visit = self.active.pop(pick(len(self.active)))
        node_id = self.plan.ids[index]
        self.ran.append((node_id, visit, value))
        targets = self.routes.get(node_id)
        loop = next(
            (k for k in self.plan.loops_of.get(index, ()) if self.scheduler.taken(k) < self.limits.get(k, 0)),
            None,
        )
        chosen = None if targets is None else [self.index[t] for t in targets]
        self.scheduler.complete(index, f"{node_id}/{visit}", chosen, loop)
        self.skipped += [self.plan.ids[n] for n in self.scheduler.take_skipped()]
        return True

    def run(self, pick: Callable[[int], int] = lambda n: 0) -> Driver:
        while self.step(pick):
            pass
        return self


@st.composite
def graphs(draw: st.DrawFn, loops: int = 0) -> tuple[list[tuple[str, str]], dict[str, list[str]], Any]:
    count = draw(st.integers(2, 9))
    ids = [f"n{k}" for k in range(count)]
    edges = [("START", "n0")]
    for k in range(1, count):
        parents = draw(st.sets(st.integers(0, k - 1), min_size=1, max_size=3))
        edges += [(ids[p], ids[k]) for p in sorted(parents)]
    routes: dict[str, list[str]] = {}
    for node_id in ids:
        targets = [t for s, t in edges if s == node_id]
        if targets and draw(st.booleans()):
            routes[node_id] = draw(st.lists(st.sampled_from(targets), unique=True))
    backs: list[tuple[str, str]] = []
    for _ in range(loops):
        target = draw(st.integers(0, count - 1))
        below, stack = {target}, [target]
        while stack:
            at = stack.pop()
            for s, t in edges:
                if s == ids[at] and int(t[1:]) not in below:
                    below.add(int(t[1:]))
                    stack.append(int(t[1:]))
        backs.append((ids[draw(st.sampled_from(sorted(below)))], ids[target]))
    return edges, routes, list(dict.fromkeys(backs))


def orderly(plan: Plan) -> bool:
    """Whether loops are nested, or meet only below the ends of both: a join of two loops' insides, fed while
    they still go round, takes what each has sent last."""
    for s1, t1 in plan.loops:
        for s2, t2 in plan.loops:
            if t1 not in plan.below(t2) and t2 not in plan.below(t1):
                ends = plan.below(s1) & plan.below(s2)
                if not plan.below(t1) & plan.below(t2) <= ends:
                    return False
    return True


def reference(edges: list[tuple[str, str]], routes: dict[str, list[str]]) -> dict[str, Any]:
    """The input of every node that runs: ids are in topological order, so one pass is enough."""
    inputs: dict[str, Any] = {}
    for node_id in sorted({t for _, t in edges}, key=lambda i: int(i[1:])):
        parents = [s for s, t in edges if t == node_id]
        got = {
            s: "in" if s == "START" else f"{s}/0"
            for s in parents
            if s == "START" or (s in inputs and node_id in routes.get(s, [node_id]))
        }
        if got:
            inputs[node_id] = got if len(parents) > 1 else next(iter(got.values()))
    return inputs


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_random_graphs_agree_with_the_reference_model(case: Any, random: Any) -> None:
    edges, routes, _ = case
    driver = Driver(plan_of(edges), routes).run(random.randrange)
    expected = reference(edges, routes)
    assert {node_id: value for node_id, _, value in driver.ran} == expected
    assert len(driver.ran) == len(expected)
    every = {t for _, t in edges}
    assert sorted(driver.skipped) == sorted(every - expected.keys())
    order = {node_id: k for k, (node_id, _, _) in enumerate(driver.ran)}
    assert all(order[s] < order[t] for s, t in edges if s in order and t in order)
    leaves = [n for n in expected if not [t for s, t in edges if s == n and t in routes.get(n, [t])]]
    assert driver.scheduler.leaves() == {n: f"{n}/0" for n in sorted(leaves, key=lambda i: driver.index[i])}


@given(graphs(loops=3), st.lists(st.randoms(use_true_random=False), min_size=2, max_size=2))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_what_runs_never_depends_on_timing(case: Any, randoms: list[Any]) -> None:
    edges, routes, loops = case
    plan = plan_of(edges, loops)
    assume(orderly(plan))
    limits = {k: 1 + k for k in range(len(plan.loops))}
    first, second = (Driver(plan, routes, limits).run(r.randrange) for r in randoms)
    assert sorted(map(repr, first.ran)) == sorted(map(repr, second.ran))
    assert first.scheduler.leaves() == second.scheduler.leaves()


@given(graphs(loops=2), st.randoms(use_true_random=False), st.integers(0, 12))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_run_that_is_rewound_goes_on_as_if_nothing_had_happened(case: Any, random: Any, at: int) -> None:
    edges, routes, loops = case
    plan = plan_of(edges, loops)
    assume(orderly(plan))
    limits = dict.fromkeys(range(len(plan.loops)), 1)
    whole = Driver(plan, routes, limits).run()
    driver = Driver(plan, routes, limits)
    for _ in range(at):
        driver.step(random.randrange)
    ready = driver.scheduler.rewind()
    assert {(n, visit) for n, _, visit in driver.active} <= set(ready)
    driver.active = []
    driver.run(random.randrange)
    assert sorted(map(repr, driver.ran)) == sorted(map(repr, whole.ran))
    assert driver.scheduler.leaves() == whole.scheduler.leaves()


def test_a_join_keeps_its_parents_apart() -> None:
    driver = Driver(plan_of([("START", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])).run()
    assert driver.ran[-1] == ("d", 0, {"b": "b/0", "c": "c/0"})


def test_a_join_with_one_delivering_parent_keeps_its_shape() -> None:
    edges = [("START", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    driver = Driver(plan_of(edges), {"a": ["c"]}).run()
    assert driver.ran[-1] == ("d", 0, {"c": "c/0"})
    assert driver.skipped == ["b"]


def test_a_loop_sends_the_output_back_and_counts_visits() -> None:
    plan = plan_of([("START", "a"), ("a", "b"), ("b", "c")], [("b", "a")])
    driver = Driver(plan, limits={0: 2}).run()
    assert [r[:2] for r in driver.ran] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("b", 2),
        ("c", 0),
    ]
    assert driver.ran[2] == ("a", 1, "b/0")


def test_an_inner_loop_begins_anew_in_each_round_of_the_outer_one() -> None:
    plan = plan_of([("START", "a"), ("a", "b"), ("b", "c")], [("b", "b"), ("c", "a")])
    driver = Driver(plan, limits={0: 2, 1: 1}).run()
    assert [r[0] for r in driver.ran] == ["a", "b", "b", "b", "c", "a", "b", "b", "b", "c"]


def test_two_loops_to_one_target_arrive_as_a_join() -> None:
    plan = plan_of([("START", "t"), ("t", "a"), ("t", "b")], [("a", "t"), ("b", "t")])
    driver = Driver(plan, limits={0: 1, 1: 1}).run()
    assert ("t", 1, {"a": "a/0", "b": "b/0"}) in driver.ran
    assert len(driver.ran) == 6


def test_a_loop_waits_for_a_slow_branch_below_its_target() -> None:
    plan = plan_of([("START", "t"), ("t", "fast"), ("t", "slow"), ("slow", "after")], [("fast", "t")])
    driver = Driver(plan, limits={0: 1})
    driver.step(lambda n: 0)
    driver.step(lambda n: 0)
    assert driver.ran[-1][0] == "fast"
    assert [plan.ids[n] for n, _, _ in driver.scheduler.take()] == []
    driver.run()
    assert [r[0] for r in driver.ran].count("after") == 2
