"""A layered layout of a directed graph: layers, an order within each that crosses little, and coordinates.

The method is that of Sugiyama, Tagawa and Toda (1981): longest-path layers, dummies on long edges, barycentre
sweeps, and positions by least squares with a minimum distance (pool adjacent violators). "Main" is the axis
along which edges run, "cross" the one within a layer; the caller decides which is x.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

Point = tuple[float, float]
SWEEPS = 24
SPACE = 26.0
LANE = 20.0


@dataclasses.dataclass(slots=True)
class Box:
    """A node, or a dummy where an edge passes a layer.

    Parameters: size along main and cross; main, cross, its centre; node, its name, None for a dummy; beside,
    the node of the same layer that a lane of a loop edge is attached to.
    """

    main_size: float
    cross_size: float
    node: str | None = None
    beside: Box | None = None
    layer: int = 0
    place: int = 0
    main: float = 0.0
    cross: float = 0.0
    before: list[Box] = dataclasses.field(default_factory=list["Box"])
    after: list[Box] = dataclasses.field(default_factory=list["Box"])


@dataclasses.dataclass(slots=True)
class Layout:
    """Where everything is.

    Parameters: boxes by node; routes, the dummies of each edge from its source to its target; main, the
    beginning and end of each layer; length and breadth of the whole.
    """

    boxes: dict[str, Box]
    routes: list[list[Box]]
    main: list[tuple[float, float]]
    length: float
    breadth: float


def layout(
    sizes: dict[str, Point],
    edges: Sequence[tuple[str, str, bool]],
    gaps: dict[tuple[str, str, bool], float],
    gap: float,
) -> Layout:
    """Place nodes and edges.

    Parameters: sizes, (main, cross) of each node; edges, (source, target, whether it goes back); gaps, the
    room that an edge's label takes along main, and along cross for one that goes back; gap, the least
    distance of two layers.
    """
    layer_of = _layers(sizes, edges)
    boxes = {node: Box(*size, node=node, layer=layer_of[node]) for node, size in sizes.items()}
    layers: list[list[Box]] = [[] for _ in range(max(layer_of.values(), default=0) + 1)]
    for box in boxes.values():
        layers[box.layer].append(box)
    routes = [
        _lane(boxes[s], boxes[t], layers, gaps.get((s, t, True), 0.0))
        if back
        else _passes(boxes[s], boxes[t], layers)
        for s, t, back in edges
    ]
    _order(layers)
    _cross(layers)
    shift = min((b.cross - b.cross_size / 2 for layer in layers for b in layer), default=0.0)
    breadth = 0.0
    for layer in layers:
        for box in layer:
            box.cross -= shift
            breadth = max(breadth, box.cross + box.cross_size / 2)
    main = _main(layers, edges, boxes, gaps, gap)
    return Layout(boxes, routes, main, main[-1][1], breadth)


def _layers(nodes: Iterable[str], edges: Sequence[tuple[str, str, bool]]) -> dict[str, int]:
    """Return the longest way from a beginning to each node; nodes of a cycle come after the others."""
    after: dict[str, list[str]] = defaultdict(list)
    need = dict.fromkeys(nodes, 0)
    for source, target, back in edges:
        if not back and source != target:
            after[source].append(target)
            need[target] += 1
    layer, ready = dict.fromkeys(need, 0), deque(node for node, count in need.items() if not count)
    while ready:
        node = ready.popleft()
        for target in after[node]:
            layer[target] = max(layer[target], layer[node] + 1)
            need[target] -= 1
            if not need[target]:
                ready.append(target)
    return layer


def _passes(source: Box, target: Box, layers: list[list[Box]]) -> list[Box]:
    chain = [Box(0.0, LANE, layer=n) for n in range(source.layer + 1, target.layer)]
    for dummy in chain:
        layers[dummy.layer].append(dummy)
    _join([source, *chain, target])
    return chain


def _lane(source: Box, target: Box, layers: list[list[Box]], label: float) -> list[Box]:
    """Return dummies beside the source, in every layer between, and beside the target."""
    chain = [Box(0.0, LANE, layer=n) for n in range(target.layer, source.layer + 1)]
    chain[0].beside, chain[-1].beside = target, source
    chain[len(chain) // 2].cross_size = max(LANE, label + 12)
    for dummy in chain:
        layers[dummy.layer].append(dummy)
    _join(chain)
    return chain[::-1]


def _join(chain: Sequence[Box]) -> None:
    for first, second in itertools.pairwise(chain):
        if first.layer < second.layer:
            first.after.append(second)
            second.before.append(first)


def _order(layers: list[list[Box]]) -> None:
    """Order each layer by the mean places of its neighbours, and keep the order that crosses least."""
    for layer in layers:
        _number(layer)
    best, kept = _crossings(layers), [list(layer) for layer in layers]
    for sweep in range(SWEEPS):
        if not best:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            mean = {id(box): _mean(box.before if down else box.after, box) for box in layer}
            layer.sort(key=lambda box: mean[id(box)])
            _number(layer)
        crossings = _crossings(layers)
        if crossings < best:
            best, kept = crossings, [list(layer) for layer in layers]
    for layer, order in zip(layers, kept, strict=True):
        layer[:] = order
        _number(layer)


def _mean(neighbours: list[Box], box: Box) -> float:
    if box.beside is not None:
        return box.beside.place + 0.5
    return sum(n.place for n in neighbours) / len(neighbours) if neighbours else box.place


def _number(layer: list[Box]) -> None:
    """Number the places; the lane of a loop edge is always directly beside its node."""
    lanes: dict[int, list[Box]] = defaultdict(list)
    for box in layer:
        if box.beside is not None and box.beside.layer == box.layer:
            lanes[id(box.beside)].append(box)
    rest = [box for box in layer if box.beside is None]
    layer[:] = [b for box in rest for b in (box, *lanes[id(box)])]
    for place, box in enumerate(layer):
        box.place = place


def _crossings(layers: list[list[Box]]) -> int:
    """Count the pairs of edges between neighbouring layers that cross: inversions, with a Fenwick tree."""
    total = 0
    for upper, lower in itertools.pairwise(layers):
        ends = [p for box in upper for p in sorted(n.place for n in box.after)]
        tree, size = [0] * (len(lower) + 1), len(lower)
        for seen, place in enumerate(ends):
            below, n = 0, place + 1
            while n:
                below += tree[n]
                n &= n - 1
            total += seen - below
            n = place + 1
            while n <= size:
                tree[n] += 1
                n += n & -n
    return total


def _cross(layers: list[list[Box]]) -> None:
    """Move every box towards its neighbours, layer by layer, without overlap and in order."""
    for layer in layers:
        at = 0.0
        for box in layer:
            box.cross = at + box.cross_size / 2
            at += box.cross_size + SPACE
    for sweep in range(2 * SWEEPS):
        both = sweep >= SWEEPS
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted, weights = list[float](), list[float]()
            for box in layer:
                near = [*box.before, *box.after] if both else box.before if sweep % 2 == 0 else box.after
                if box.beside is not None:
                    wanted.append(box.beside.cross + (box.beside.cross_size + box.cross_size) / 2 + SPACE / 3)
                    weights.append(0.5)
                    continue
                wanted.append(sum(n.cross for n in near) / len(near) if near else box.cross)
                # A bend in a long edge is uglier than one where it begins.
                weights.append(0.3 if not near else 4.0 if box.node is None else 1.0)
            _settle(layer, wanted, weights)


def _settle(layer: list[Box], wanted: list[float], weights: list[float]) -> None:
    """Put boxes as near as they can be to where they want to be, by least squares."""
    offsets, at = list[float](), 0.0
    for n, box in enumerate(layer):
        if n:
            before = layer[n - 1]
            tight = box.beside is before
            at += (before.cross_size + box.cross_size) / 2 + (SPACE / 3 if tight else SPACE)
        offsets.append(at)
    blocks: list[tuple[float, float, int]] = []
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, total, count = want - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, other_total, other_count = blocks.pop()
            mean = (mean * total + other * other_total) / (total + other_total)
            total, count = total + other_total, count + other_count
        blocks.append((mean, total, count))
    n = 0
    for mean, _, count in blocks:
        for _ in range(count):
            layer[n].cross = mean + offsets[n]
            n += 1


def _main(
    layers: list[list[Box]],
    edges: Sequence[tuple[str, str, bool]],
    boxes: dict[str, Box],
    gaps: dict[tuple[str, str, bool], float],
    gap: float,
) -> list[tuple[float, float]]:
    """Place the layers along main; a gap has room for its labels and for edges that go far to the side."""
    room = [gap] * len(layers)
    for source, target, back in edges:
        if not back:
            layer = boxes[source].layer
            room[layer] = max(room[layer], gaps.get((source, target, False), 0.0) + gap * 0.8)
    for upper in layers:
        for box in upper:
            far = max((abs(n.cross - box.cross) for n in box.after), default=0.0)
            room[box.layer] = max(room[box.layer], min(gap + far * 0.12, gap * 2))
    found, at = list[tuple[float, float]](), 0.0
    for n, layer in enumerate(layers):
        size = max((box.main_size for box in layer), default=0.0)
        for box in layer:
            box.main = at + size / 2
        found.append((at, at + size))
        at += size + room[n]
    return found
