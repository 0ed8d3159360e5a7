"""A graph that asks one model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..core.compiled import CompiledGraph
from ..core.errors import UnknownNameError
from ..core.graph import StateGraph


def of_model(asked_by: Callable[..., Any], options: Mapping[str, Any]) -> CompiledGraph:
    """Return a graph of one llm node, named after the function that takes the node's options beside its own.

    Raises what `add_node` raises; UnknownNameError for an option that neither the node nor the function has.
    """
    name: str = asked_by.__name__
    try:
        graph = StateGraph(name).add_node("llm", None, node_type="llm", **options)
    except UnknownNameError as error:
        if error.name not in options:
            raise
        own = [p.name for p in inspect.signature(asked_by).parameters.values() if p.kind is not p.VAR_KEYWORD]
        raise UnknownNameError(f"option of {name}()", error.name, {*error.known, *own}) from None
    return graph.set_entry_point("llm").compile()
