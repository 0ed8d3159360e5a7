"""Where the nodes and edges of a run's graph are drawn: layers from left to right. Pure and deterministic.

The live view places them by the same rules, step by step (widgets/src/core/layout.ts), so that nothing moves
when static output takes its place. Sums are taken one after the other: `sum` rounds otherwise.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

Point = tuple[float, float]
Side = Literal["before", "after"]

HEIGHT = 28.0
_ROW, _GAP, _EDGE_ROW, _MARGIN = 14.0, 40.0, 10.0, 3.0
_LANE, _CORNER = 11.0, 9.0
_SWEEPS = 8


@dataclasses.dataclass(eq=False, slots=True)
class Spot:
    """A node, or a place where a long edge crosses a layer: its corner and size in pixels."""

    layer: int
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    before: list[Spot] = dataclasses.field(default_factory=list["Spot"])
    after: list[Spot] = dataclasses.field(default_factory=list["Spot"])


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """An edge as it is drawn.

    Parameters: path, of an SVG; at, where its label stands; down, whether it leads downwards; tip, where it
    ends; up, whether it ends from below; right, how far right it goes beside a column, else 0.
    """

    path: str
    at: Point
    down: bool
    tip: Point
    up: bool
    right: float


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """A graph that was placed: its nodes and edges in the order given, and the size of the whole."""

    nodes: list[Spot]
    edges: list[Line]
    width: float
    height: float


def places(
    widths: Sequence[float],
    edges: Sequence[tuple[int, int]],
    loops: Sequence[bool],
    labels: Sequence[float],
) -> Places:
    """Place a graph.

    Parameters: widths of the nodes in pixels; edges, by the numbers of their nodes; loops, which of them say
    that they go back; labels, the widths of their labels in pixels, 0 for none.
    """
    back = _back_edges(len(widths), edges, loops)
    layer = _layers(len(widths), [ends for k, ends in enumerate(edges) if k not in back])
    spots = [Spot(layer[i], width, HEIGHT) for i, width in enumerate(widths)]
    rows: list[list[Spot]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for spot in spots:
        rows[spot.layer].append(spot)
    chains = [None if k in back else _chain(spots[s], spots[t], rows) for k, (s, t) in enumerate(edges)]
    _order(rows)
    for row in rows:
        _stack(row)
    for i in range(_SWEEPS):
        for row in reversed(rows) if i % 2 else rows:
            _align(row, "after" if i % 2 else "before")
    _columns(rows, chains, labels)
    everything = [spot for row in rows for spot in row]
    top = min((spot.y for spot in spots), default=0.0)
    for spot in everything:
        spot.y += _MARGIN - top
    bottom = max((0.0, *(spot.y + spot.height for spot in everything)))
    below, lines = bottom, list[Line]()
    for (source, target), via in zip(edges, chains, strict=True):
        if via is not None:
            lines.append(_through(via))
            continue
        below += _EDGE_ROW
        lines.append(_around(spots[source], spots[target], below, lambda spot: _side(spot, spots)))
    width = max((0.0, *(s.x + s.width for s in spots), *(line.right for line in lines))) + _MARGIN
    return Places(spots, lines, width, below + _MARGIN + (4 if below > bottom else 0))


def _back_edges(count: int, edges: Sequence[tuple[int, int]], loops: Sequence[bool]) -> set[int]:
    """Return the edges that go back: those that say so, and what closes a cycle."""
    back = {k for k, loop in enumerate(loops) if loop}
    out: list[list[int]] = [[] for _ in range(count)]
    for k, (source, _) in enumerate(edges):
        if k not in back:
            out[source].append(k)
    state = [0] * count
    for root in range(count):
        if state[root]:
            continue
        state[root] = 1
        path = [(root, iter(out[root]))]
        while path:
            node, rest = path[-1]
            k = next(rest, None)
            if k is None:
                state[node] = 2
                path.pop()
                continue
            target = edges[k][1]
            if state[target] == 1:
                back.add(k)
            elif not state[target]:
                state[target] = 1
                path.append((target, iter(out[target])))
    return back


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the layer of each node: one after the last of its parents."""
    need, found = [0] * count, [0] * count
    out: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        out[source].append(target)
        need[target] += 1
    ready = [node for node in range(count) if not need[node]]
    for node in ready:
        for target in out[node]:
            found[target] = max(found[target], found[node] + 1)
            need[target] -= 1
            if not need[target]:
                ready.append(target)
    return found


def _chain(source: Spot, target: Spot, rows: list[list[Spot]]) -> list[Spot]:
    """Connect two nodes, with a spot in each layer between them."""
    via = [source]
    for layer in range(source.layer + 1, target.layer):
        via.append(Spot(layer, 0.0, 6.0))
        rows[layer].append(via[-1])
    via.append(target)
    for a, b in itertools.pairwise(via):
        a.after.append(b)
        b.before.append(a)
    return via


def _order(rows: list[list[Spot]]) -> None:
    """Order each layer by the middle of its neighbours, back and forth."""

    def number(row: list[Spot]) -> None:
        for i, spot in enumerate(row):
            spot.y = float(i)

    def place(spot: Spot) -> float:
        return spot.y

    for row in rows:
        number(row)
    for i in range(_SWEEPS):
        side: Side = "before" if i % 2 == 0 else "after"
        for row in reversed(rows) if i % 2 else rows:
            keys = {spot: _or(_mean(_beside(spot, side), place), spot.y) for spot in row}
            row.sort(key=lambda spot, keys=keys: (keys[spot], spot.y))
            number(row)


def _beside(spot: Spot, side: Side) -> list[Spot]:
    return spot.before if side == "before" else spot.after


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _mean(spots: list[Spot], of: Callable[[Spot], float]) -> float | None:
    total = 0.0
    for spot in spots:
        total += of(spot)
    return total / len(spots) if spots else None


def _stack(row: list[Spot]) -> None:
    y = 0.0
    for spot in row:
        spot.y = y
        y += spot.height + _ROW


def _middle(spot: Spot) -> float:
    return spot.y + spot.height / 2


def _align(row: list[Spot], side: Side) -> None:
    """Move a layer as near to its neighbours as its order allows: isotonic regression of the wishes."""
    other: Side = "after" if side == "before" else "before"
    offset, offsets, blocks = 0.0, list[float](), list[list[float]]()
    for spot in row:
        wish = _mean(_beside(spot, side), _middle)
        wish = _or(_mean(_beside(spot, other), _middle), _middle(spot)) if wish is None else wish
        offsets.append(offset)
        blocks.append([wish - spot.height / 2 - offset, 1])
        offset += spot.height + _ROW
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    values = [total / count for total, count in blocks for _ in range(int(count))]
    for spot, value, moved in zip(row, values, offsets, strict=True):
        spot.y = value + moved


def _columns(rows: list[list[Spot]], chains: list[list[Spot] | None], labels: Sequence[float]) -> None:
    gaps = [_GAP] * len(rows)
    for via, label in zip(chains, labels, strict=True):
        if via is not None and label:
            gaps[via[-2].layer] = max(gaps[via[-2].layer], label + 26)
    x = _MARGIN
    for row, gap in zip(rows, gaps, strict=True):
        width = max(spot.width for spot in row)
        for spot in row:
            spot.x = x + (width - spot.width) / 2
            if not spot.width:
                spot.x, spot.width = x, width
        x += width + gap


def number(value: float) -> str:
    """Return a length of a picture, to a tenth of a pixel."""
    rounded = math.floor(value * 10 + 0.5) / 10 + 0.0
    return f"{rounded:.1f}".removesuffix(".0")


def _xy(*values: float) -> str:
    return " ".join(map(number, values))


def _through(via: list[Spot]) -> Line:
    path, at, tip = f"M{_xy(via[0].x + via[0].width, _middle(via[0]))}", (0.0, 0.0), (0.0, 0.0)
    for a, b in itertools.pairwise(via):
        x1, x2, y1, y2 = a.x + a.width, b.x, _middle(a), _middle(b)
        half = (x1 + x2) / 2
        path += f"C{_xy(half, y1)} {_xy(half, y2)} {_xy(x2, y2)}"
        if b is not via[-1]:
            path += f"H{number(b.x + b.width)}"
        at = (x1 + (x2 - x1) * 0.58 if abs(y1 - y2) > 2 else half), y2
        tip = x2, y2
    return Line(path, at, _middle(via[-1]) > _middle(via[-2]) + 2, tip, False, 0.0)


def _side(spot: Spot, spots: list[Spot]) -> Point | None:
    """Return the left and right ends of a node's column when another node stands below it: a way down would
    cross that."""
    column = [other for other in spots if other.layer == spot.layer]
    if not any(other.y > spot.y for other in column):
        return None
    return min(c.x for c in column), max(c.x + c.width for c in column)


def _around(a: Spot, b: Spot, below: float, side: Callable[[Spot], Point | None]) -> Line:
    """Return the way back, below everything."""
    apart = 12 if a is b else 0
    leaves, enters = side(a), side(b)
    x1 = leaves[1] + _LANE if leaves else a.x + a.width / 2 + apart
    x2 = enters[0] - _LANE if enters else b.x + b.width / 2 - apart
    points: list[Point] = [(x1, below), (x2, below)]
    if leaves:
        points[:0] = [(a.x + a.width, _middle(a)), (x1, _middle(a))]
    else:
        points.insert(0, (x1, a.y + a.height))
    points += [(x2, _middle(b)), (b.x, _middle(b))] if enters else [(x2, b.y + b.height)]
    return Line(_rounded(points), ((x1 + x2) / 2, below), False, points[-1], not enters, x1)


def _rounded(points: list[Point]) -> str:
    """Return a path through corners that are rounded."""
    path = f"M{_xy(*points[0])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        path += f"L{_cut(corner, before)}Q{_xy(*corner)} {_cut(corner, after)}"
    return f"{path}L{_xy(*points[-1])}"


def _cut(corner: Point, other: Point) -> str:
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = math.hypot(dx, dy) or 1.0
    share = min(_CORNER, length / 2) / length
    return _xy(corner[0] + dx * share, corner[1] + dy * share)
