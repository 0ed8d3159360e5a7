"""Programs that are graphs: rows, diamonds, choices, loops, graphs inside graphs, and their models."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from typing import Any

from mesh_nb import StateGraph

Value = dict[str, Any]
Done = tuple[str, int]
"""A node, and which of its visits."""


def digest(value: Any) -> int:
    """A number for an input; joins are read without regard to the order of their parents."""
    text = repr(sorted(value.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


def produced(node_id: str, value: Value) -> Value:
    """What every node makes of its input."""
    return {"content": f"{node_id}:{digest(value)}"}


@dataclasses.dataclass
class Model:
    """What must happen: for each node its inputs in order, and for each visit those that come before it."""

    inputs: dict[str, list[Value]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    after: dict[Done, set[Done]] = dataclasses.field(default_factory=dict[Done, set[Done]])

    def following(self, done: Done) -> set[Done]:
        """Every visit that has this one before it, directly or not."""
        found, size = {done}, 0
        while len(found) > size:
            size = len(found)
            found |= {visit for visit, before in self.after.items() if before & found}
        return found - {done}

    def visit(self, node_id: str, value: Value, before: set[Done]) -> tuple[Value, set[Done]]:
        done = node_id, len(self.inputs[node_id])
        self.inputs[node_id].append(value)
        self.after[done] = set(before)
        return produced(node_id, value), {done}


class Leaf:
    """One node. A block has an entry and an exit, both nodes."""

    def __init__(self, name: str) -> None:
        self.entry = self.exit = name

    def build(self, graph: StateGraph, make: Any) -> None:
        graph.add_node(self.entry, make(self.entry))

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        return model.visit(path + self.entry, value, before)


class Row:
    def __init__(self, name: str, blocks: list[Any]) -> None:
        self.blocks = blocks
        self.entry, self.exit = blocks[0].entry, blocks[-1].exit

    def build(self, graph: StateGraph, make: Any) -> None:
        for block in self.blocks:
            block.build(graph, make)
        for one, next_one in zip(self.blocks, self.blocks[1:], strict=False):
            graph.add_edge(one.exit, next_one.entry)

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        for block in self.blocks:
            value, before = block.interpret(model, value, before, path)
        return value, before


class Fork:
    """A node whose successors run side by side, all of them or those that it chooses, and one that joins."""

    def __init__(self, name: str, blocks: list[Any], chooses: bool) -> None:
        self.entry, self.exit = f"{name}_fork", f"{name}_join"
        self.blocks, self.chooses = blocks, chooses

    def chosen(self, output: Value) -> list[int]:
        mask = digest(output) % (2 ** len(self.blocks)) if self.chooses else -1
        return [k for k in range(len(self.blocks)) if mask >> k & 1] or [0]

    def build(self, graph: StateGraph, make: Any) -> None:
        graph.add_node(self.entry, make(self.entry)).add_node(self.exit, make(self.exit))
        for block in self.blocks:
            block.build(graph, make)
            graph.add_edge(block.exit, self.exit)
        if self.chooses:
            graph.add_conditional_edges(
                self.entry, self.chosen, {k: b.entry for k, b in enumerate(self.blocks)}
            )
        else:
            graph.add_parallel_edges(self.entry, [b.entry for b in self.blocks])

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        output, before = model.visit(path + self.entry, value, before)
        joined: Value = {}
        ends: set[Done] = set()
        for k in self.chosen(output):
            joined[self.blocks[k].exit], end = self.blocks[k].interpret(model, output, before, path)
            ends |= end
        return model.visit(path + self.exit, joined, ends)


class Loop:
    """A block that runs again, at most `times` times more and while its output says so."""

    def __init__(self, name: str, block: Any, times: int) -> None:
        self.entry, self.exit, self.block, self.times = block.entry, f"{name}_again", block, times

    @staticmethod
    def again(output: Value) -> bool:
        return digest(output) % 4 != 0

    def build(self, graph: StateGraph, make: Any) -> None:
        self.block.build(graph, make)
        options: Any = {"loop_back_to": self.entry, "max_loop_count": self.times}
        graph.add_node(self.exit, node_type="loop", loop_condition=self.again, **options)
        graph.add_edge(self.block.exit, self.exit)

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        for taken in range(self.times + 1):
            value, before = self.block.interpret(model, value, before, path)
            _, before = model.visit(path + self.exit, value, before)
            if taken == self.times or not self.again(value):
                break
        return value, before


class Inner:
    """A graph inside a node."""

    def __init__(self, name: str, block: Any) -> None:
        self.entry = self.exit = name
        self.block = block

    def build(self, graph: StateGraph, make: Any) -> None:
        inner = StateGraph()
        self.block.build(inner, lambda name: make(f"{self.entry}.{name}"))
        graph.add_node(self.entry, inner.set_entry_point(self.block.entry))

    def interpret(self, model: Model, value: Value, before: set[Done], path: str) -> Any:
        _, begun = model.visit(path + self.entry, value, before)
        # The node is complete when what is inside it is; that runs after all that the node runs after.
        value, ends = self.block.interpret(model, value, before, f"{path}{self.entry}.")
        return value, begun | ends


def named(drawn: Any, count: Any = None) -> Any:
    count = count if count is not None else iter(range(10_000))
    name = f"n{next(count)}"
    kind, *rest = drawn
    if kind == "leaf":
        return Leaf(name)
    if kind == "row":
        return Row(name, [named(d, count) for d in rest[0]])
    if kind == "fork":
        return Fork(name, [named(d, count) for d in rest[0]], rest[1])
    if kind == "loop":
        return Loop(name, named(rest[0], count), rest[1])
    return Inner(name, named(rest[0], count))
