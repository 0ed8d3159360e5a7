"""Edges, as they are written down and as they are decided when a node completes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, NamedTuple

from .errors import GraphValidationError, UnknownNameError


@dataclasses.dataclass(slots=True)
class Edge:
    """An edge; a loop edge when `loop` is True, bounded by a condition, a number of times taken, or both."""

    source: str
    target: str
    loop: bool = False
    loop_condition: Callable[..., Any] | None = None
    max_iterations: int | None = None
    takes_state: bool = dataclasses.field(init=False, default=False)

    def __post_init__(self) -> None:
        self.takes_state = self.loop_condition is not None and positional(self.loop_condition) > 1

    def goes_back(self, state: dict[str, Any], output: Any, taken: int) -> bool | Awaitable[Any]:
        """Say whether a loop edge taken `taken` times is taken once more; an awaitable of that when its
        condition is async. Raises what its condition raises."""
        if self.max_iterations is not None and taken >= self.max_iterations:
            return False
        if self.loop_condition is None:
            return True
        result = self.loop_condition(state, output) if self.takes_state else self.loop_condition(output)
        if result is True or result is False:
            return result
        return result if inspect.isawaitable(result) else bool(result)


@dataclasses.dataclass(slots=True)
class Branch:
    """Edges of which a choice is made: `choose(output)` gives one key of `targets`, or several; None when the
    node's own node_complete names them."""

    source: str
    choose: Callable[[Any], Any] | None
    targets: Mapping[Any, str]
    default: str | None = None

    def all_targets(self) -> list[str]:
        """Return every node it may lead to."""
        return [*self.targets.values(), *([] if self.default is None else [self.default])]

    async def choose_from(self, output: Any, route: Any) -> list[str]:
        """Return the node ids chosen for an output; route is what the node's node_complete names, if it does.
        Raises what `choose` raises, and UnknownNameError for a key that is not known."""
        if self.choose is None:
            return self.pick(route or ())
        result = self.choose(output)
        return self.pick(await result if inspect.isawaitable(result) else result)

    def pick(self, chosen: Any) -> list[str]:
        """Return the node ids of the chosen keys. Raises UnknownNameError for one that is not known."""
        keys = chosen if isinstance(chosen, (list, tuple, set, frozenset)) else [chosen]
        if not keys:
            return [] if self.default is None else [self.default]
        picked: list[str] = []
        for key in keys:
            target = self.targets.get(key, self.default) if isinstance(key, Hashable) else self.default
            if target is None:
                known = [str(k) for k in self.targets]
                hint = "Add it to the mapping, or pass default=."
                raise UnknownNameError(f"branch of node {self.source!r}", str(key), known, hint)
            picked.append(target)
        return picked


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """How often a failing node is run again: max_retries times, after delay s, times backoff each time.

    With jitter each wait is between half and one and a half of that, so that nodes which failed together do
    not come back together.
    """

    max_retries: int = 0
    delay: float = 1.0
    backoff: float = 2.0
    jitter: bool = False


class Way(NamedTuple):
    """Where a node that chose goes: by node id; and by index, or by the loop edge that it takes."""

    route: list[str]
    targets: list[int] | None = None
    loop: int | None = None


@dataclasses.dataclass(slots=True)
class Choice:
    """What a node with branches or loop edges decides when it completes, by index.

    Parameters: always, targets of its plain edges; branches; loops, its loop edges in order, each with its
    index in the plan; back, for each of these the way of taking it.
    """

    always: tuple[int, ...]
    branches: tuple[Branch, ...]
    loops: tuple[tuple[int, Edge], ...]
    back: tuple[Way, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.back = tuple(Way([edge.target], None, loop) for loop, edge in self.loops)


def positional(fn: Callable[..., Any]) -> int:
    """Return how many required positional arguments a function takes; 1 when it cannot be told."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters)


def check_call(label: str, name: str, fn: Callable[..., Any], *ways: tuple[str, ...]) -> None:
    """Raise GraphValidationError for a function that can be called in none of these ways, each the names of
    what it is given; one whose signature cannot be read passes."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return
    for way in ways:
        try:
            signature.bind(*way)
        except TypeError:
            continue
        return
    called = " or ".join(f"({', '.join(way)})" for way in ways)
    own = getattr(fn, "__name__", type(fn).__name__)
    raise GraphValidationError(
        f"{label}: {name} is called with {called}, which {own}{signature} does not take."
    )
