"""The graph that a `%%mesh` cell runs: one llm node, or the graph in a variable."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError

from ..core.compiled import CompiledGraph, Runnable
from ..core.graph import StateGraph
from ._arguments import Request, variable
from ._settings import default_model, required_model, setting


def graph_for(request: Request, namespace: Mapping[str, Any]) -> Runnable:
    """Return what to run.

    Without -g it is one llm node, with -m or the default model. A graph of the notebook runs as it is; -m and
    --system replace the model and the system prompt of all its llm nodes, in a copy. Raises UsageError or
    ConfigurationError in one line.
    """
    if request.graph is None:
        options: dict[str, Any] = {"model": request.model or required_model()}
        system = setting("system") if request.system is None else request.system
        if system is not None:
            options["system_prompt"] = system
        if request.json is not None:
            options["output_type"] = variable(namespace, request.json, "--json")
        return StateGraph("mesh").add_node("llm", None, node_type="llm", **options).set_entry_point("llm")
    if request.json is not None:
        raise UsageError("--json goes with -m; give an llm node of the graph its output_type= instead.")
    graph = variable(namespace, request.graph, "-g")
    if not isinstance(graph, Runnable):
        kind = type(graph).__name__
        raise UsageError(f"-g {request.graph}: a {kind} is not a graph; make one with mesh_nb.StateGraph().")
    return _changed(graph.compile(), request)


def _changed(graph: CompiledGraph, request: Request) -> CompiledGraph:
    llms: dict[str, Any] = {i: node for i, node in graph.nodes.items() if getattr(node, "kind", "") == "llm"}
    if not llms and (request.model or request.system):
        option = "-m" if request.model else "--system"
        raise UsageError(f"{option}: graph {graph.graph_id!r} has no llm node to apply it to.")
    default = None if request.model else default_model()
    changed: dict[str, Any] = {}
    for node_id, node in llms.items():
        model = request.model or (default if node.model is None else None)
        if model is not None or request.system is not None:
            changed[node_id] = _with(node, model, request.system)
    return graph.with_nodes(changed) if changed else graph


def _with(node: Any, model: str | None, system: str | None) -> Any:
    node = copy.copy(node)
    if model is not None:
        node.model = model
    if system is not None:
        node.system_prompt = system
        node.templates = (system,)
    return node
