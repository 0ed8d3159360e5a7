"""subgraph: a whole graph as one node of another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, cast

from ..core import templates
from ..core.compiled import Runnable
from ..core.context import ExecutionContext
from ..core.errors import GraphValidationError, shown
from ..core.events import ExecutionEvent
from ..core.nested import run
from ..core.node import BaseNode
from ._kinds import NAMES, SWITCH, Kind, check_kinds, names
from ._paths import parse, select

Source = str | Callable[[Any], Any]

_KINDS: dict[str, Kind] = {"isolated": SWITCH, "inherit_keys": NAMES}
_NEEDED = ("isolated", "inherit_keys")


class SubgraphNode(BaseNode):
    """Runs a graph; its nodes show up as "id.node", and tokens, questions and usage pass through.

    Parameters
    ----------
    graph : a StateGraph or a compiled one.
    input_mapping : from names of the inner graph's input to where they come from: a path in this node's input
        ("$.topic"), a template ("{{planner.content}}"), or a function of the input. Without it the input is
        handed over as it is.
    output_mapping : from names of this node's output to paths in the inner graph's output, or functions of
        it. Without it the output is the inner graph's.
    isolated : the inner graph has its own state and history, and its templates see its own nodes and input.
        False shares the state of this graph, its history, and the outputs of nodes that have run.
    inherit_keys : names of the state that an isolated graph begins with.
    """

    kind = "subgraph"

    def __init__(
        self,
        id: str,
        graph: Runnable | None = None,
        *,
        input_mapping: Mapping[str, Source] | None = None,
        output_mapping: Mapping[str, Source] | None = None,
        isolated: bool = True,
        inherit_keys: Iterable[str] = (),
    ) -> None:
        check_kinds(id, _KINDS, locals(), _NEEDED)
        super().__init__(id)
        if not isinstance(graph, Runnable):
            raise GraphValidationError(
                f"Subgraph node {id!r} needs a graph, a StateGraph or a compiled one, not {shown(graph)}."
            )
        self.graphs = {"": graph}
        self.input_mapping = _mapping(id, "input_mapping", input_mapping, templated=True)
        self.output_mapping = _mapping(id, "output_mapping", output_mapping, templated=False)
        self.isolated = isolated
        self.inherit_keys = names(id, "inherit_keys", inherit_keys)
        given = (input_mapping or {}).values()
        self.templates = tuple(v for v in given if isinstance(v, str) and "{{" in v)

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run the graph. Raises InnerFailure, naming the node inside, when one fails."""
        given = input
        if self.input_mapping is not None:
            given = {name: read(input, context) for name, read in self.input_mapping.items()}
        inner = run(
            context.inner[self.id][""],
            given,
            context,
            prefix=f"{self.id}.",
            isolated=self.isolated,
            state={k: context.state[k] for k in self.inherit_keys if k in context.state},
        )
        async with aclosing(inner) as events:
            async for event in events:
                if event.__class__ is ExecutionEvent and self.output_mapping is not None:
                    result = event.output  # This is the inner graph's node_complete.
                    event.output = {k: read(result, context) for k, read in self.output_mapping.items()}
                yield event


_Read = Callable[[Any, ExecutionContext], Any]


def _mapping(
    node_id: str, option: str, given: Mapping[str, Source] | None, *, templated: bool
) -> dict[str, _Read] | None:
    if given is None:
        return None
    if not isinstance(cast("Any", given), Mapping):
        raise GraphValidationError(f"Subgraph node {node_id!r}: {option}= is a dict, not {shown(given)}.")
    return {
        str(k): _reader(f"Subgraph node {node_id!r}: {option}[{k!r}]", v, templated) for k, v in given.items()
    }


def _reader(label: str, source: Source, templated: bool) -> _Read:
    if callable(source):
        return lambda value, _: source(value)
    if templated and isinstance(cast("Any", source), str) and "{{" in source:
        return lambda _, context: templates.fill(source, context)
    steps = parse(source, label)
    where = f"the {'input' if templated else 'output of the graph inside'}, for {label.partition(': ')[2]}"
    return lambda value, _: select(steps, value, where)


plugin = SubgraphNode
