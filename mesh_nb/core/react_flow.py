"""Graphs of React Flow and Flowise editors, from their JSON. Code in it is not run unless that is allowed."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from . import plugins
from ._named import named_options
from ._react_flow_code import chooser, expression, function
from .errors import InputError, InvalidNodeTypeError, UnknownNameError, shown
from .graph import StateGraph

_SUFFIX = re.compile(r"agentflow$", re.IGNORECASE)
_UNUSED = frozenset({"description", "label", "name", "color", "icon"})
"""Inputs that mean nothing to a graph."""


class _Part(NamedTuple):
    """A node of the editor: id, type without its suffix, and its inputs."""

    id: str
    type: str
    inputs: dict[str, Any]


class _Given(NamedTuple):
    """What the caller passed for what is not data."""

    tools: Mapping[str, Any]
    objects: Mapping[str, Any]
    allow_code: bool
    allow_base_url: bool
    types: Mapping[str, str]


@named_options
def from_react_flow(
    flow: str | bytes | Mapping[str, Any],
    *,
    tools: Mapping[str, Any] | None = None,
    objects: Mapping[str, Any] | None = None,
    allow_code: bool = False,
    allow_base_url: bool = False,
    graph_id: str | None = None,
) -> StateGraph:
    """Make a graph of what a React Flow or Flowise editor saved.

    Parameters
    ----------
    flow : the JSON, or the dict in it, with nodes and edges.
    tools : functions by name, for the tools of llm and tool nodes.
    objects : agents, retrievers and connections, by the name the flow has for them or by node id.
    allow_code : True executes Python code that the flow holds, with all your rights: for tools that are not
        in `tools`, and for expressions of conditions. Allow it for files that you trust.
    allow_base_url : True lets llm nodes name servers, which get your key.
    graph_id : a name for logs; None takes the flow's.

    Nodes are start, end, llm, agent, tool, condition, foreach, loop, rag, dataHandler and api, with or
    without "Agentflow" behind. Inputs that are not known are told in a warning.
    Raises InputError for what is no flow, for code and servers that are not allowed, and for tools and
    objects that are missing; InvalidNodeTypeError for other nodes; else what the builder methods raise.
    """
    record = _read(flow)
    parts = [_part(node) for node in record["nodes"]]
    types = {part.id: part.type for part in parts}
    graph = StateGraph(graph_id or str(record.get("name") or record.get("id") or "flow"))
    given = _Given(tools or {}, objects or {}, allow_code, allow_base_url, types)
    edges = [_edge(edge, types) for edge in record["edges"]]
    for part in parts:
        if part.type not in ("start", "end"):
            _ADD.get(part.type, _unknown)(graph, part, given, edges)
            _told(part)
    for edge in edges:
        loop = edge["loop"]
        count = _number(edge["count"], int) if loop else None
        if types.get(edge["source"]) == "condition" or (types.get(edge["source"]) == "loop" and loop):
            continue
        bound = {"is_loop_edge": True, "max_iterations": count or 5} if loop else {}
        graph.add_edge(edge["source"], edge["target"], **cast("Any", bound))
    return graph


def _read(flow: Any) -> dict[str, Any]:
    record: Any = flow
    if isinstance(flow, (str, bytes)):
        try:
            record = json.loads(flow)
        except (ValueError, RecursionError) as error:
            raise InputError(f"This is not the JSON of a flow: {error}.") from None
    if isinstance(record, Mapping) and isinstance(cast("Any", record).get("flowData"), str):
        return _read(cast("Any", record)["flowData"])
    found = cast("dict[str, Any]", record) if isinstance(record, dict) else {}
    for name in ("nodes", "edges"):
        items: Any = found.get(name)
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in cast("list[Any]", items)):
            raise InputError(f"This is not the JSON of a flow: it needs a list of {name}.")
    return found


def _part(node: dict[str, Any]) -> _Part:
    data: Any = node.get("data")
    data = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    node_id, name = node.get("id"), data.get("name") or node.get("type")
    if not isinstance(node_id, str) or not isinstance(name, str):
        raise InputError(f"A node of the flow has no id or no type: {shown(node)}.")
    inputs: Any = data.get("inputs")
    kept = {
        str(key): value
        for key, value in (cast("dict[Any, Any]", inputs) if isinstance(inputs, dict) else {}).items()
        if value not in (None, "", [], {}) and key not in _UNUSED
    }
    kind = _SUFFIX.sub("", name) or "agent"
    return _Part(node_id, kind[:1].lower() + kind[1:], kept)


def _edge(edge: dict[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    ends: list[str] = []
    for name, place, kind in (("source", "START", "start"), ("target", "END", "end")):
        node_id = edge.get(name)
        if not isinstance(node_id, str):
            raise InputError(f"An edge of the flow has no {name}: {shown(edge)}.")
        ends.append(place if types.get(node_id) == kind else node_id)
    data: Any = edge.get("data")
    more = {**(cast("dict[str, Any]", data) if isinstance(data, dict) else {}), **edge}
    handle = re.search(r"output-(\d+)$", str(edge.get("sourceHandle") or ""))
    return {
        "source": ends[0],
        "target": ends[1],
        "loop": more.get("isLoopEdge", more.get("is_loop_edge")) is True,
        "count": more.get("maxIterations", more.get("max_iterations")),
        "handle": int(handle[1]) if handle else None,
    }


def _told(part: _Part) -> None:
    """Warn of what the flow says about a node and nothing here understands."""
    if part.inputs:
        names = ", ".join(map(repr, part.inputs))
        warnings.warn(f"Node {part.id!r} of the flow: {names} is not known and was left out.", stacklevel=3)


def _unknown(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
    try:
        raise UnknownNameError("type of node", part.type, [*_ADD, "start", "end"])
    except UnknownNameError as error:
        raise InvalidNodeTypeError(f"Node {part.id!r} of the flow: {error}") from None


def _options(part: _Part, names: Mapping[str, str]) -> dict[str, Any]:
    """Take inputs out of a node, under our names; numbers may be text."""
    found: dict[str, Any] = {}
    for theirs, ours in names.items():
        if theirs in part.inputs:
            value = part.inputs.pop(theirs)
            found[ours] = (
                _number(value, float if ours == "temperature" else int) if ours in _NUMBERS else value
            )
    return found


_NUMBERS = frozenset({"temperature", "max_tokens", "max_iterations", "max_loop_count", "top_k"})


def _number(value: Any, kind: Callable[[Any], Any]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        return value  # the node says what is wrong with it


_MODEL = {
    "modelName": "model",
    "provider": "provider",
    "systemPrompt": "system_prompt",
    "temperature": "temperature",
    "maxTokens": "max_tokens",
    "eventMode": "event_mode",
    "useNativeEvents": "use_native_events",
    "baseUrl": "base_url",
}


def _llm(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
    options = _options(part, _MODEL)
    if "base_url" in options and not given.allow_base_url:
        raise InputError(
            f"Node {part.id!r} of the flow sends its requests, and your key, to {shown(options['base_url'])}."
            " Pass allow_base_url=True if you trust that server."
        )
    if "tools" in part.inputs:
        wanted: Any = part.inputs.pop("tools")
        items = cast("list[Any]", wanted) if isinstance(wanted, list) else [wanted]
        options["tools"] = [_tool(part.id, item, given) for item in items]
    graph.add_node(part.id, None, node_type="llm", **options)


def _agent(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
    if "agent" not in part.inputs and part.id not in given.objects and "modelName" in part.inputs:
        _llm(graph, part, given, edges)
        return
    agent = _object(part, part.inputs.pop("agent", None), given, "agent")
    names = {name: _MODEL[name] for name in ("systemPrompt", "eventMode", "useNativeEvents")}
    graph.add_node(part.id, agent, node_type="agent", **_options(part, names))


def _tool_node(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
    named = {name: part.inputs.pop(name, None) for name in ("tool", "toolUuid", "code")}
    item = {"name": named["tool"] or named["toolUuid"] or part.id, "code": named["code"]}
    graph.add_node(part.id, _tool(part.id, item, given), node_type="tool", **_options(part, _TOOL))


_TOOL = {"bindings": "bindings", "eventMode": "event_mode"}


def _tool(node_id: str, item: Any, given: _Given) -> Any:
    """Return a tool by its name, or from its code where that is allowed."""
    record = cast("dict[str, Any]", item) if isinstance(item, dict) else {"name": item}
    name = record.get("name")
    if not isinstance(name, str):
        raise InputError(f"Node {node_id!r} of the flow has a tool without a name: {shown(item)}.")
    if name in given.tools:
        return given.tools[name]
    code = record.get("code")
    if not code:
        raise InputError(
            f"Node {node_id!r} of the flow needs the tool {name!r}: pass tools={{{name!r}: ...}}."
        )
    if not given.allow_code:
        raise InputError(
            f"Tool {name!r} of node {node_id!r} is code in the flow, which is not executed. Pass your own as"
            f" tools={{{name!r}: ...}}, or allow_code=True if you trust the file: it gets all your rights."
        )
    return function(name, str(code), record.get("description"))


def _object(part: _Part, name: Any, given: _Given, noun: str) -> Any:
    for key in (name, part.id):
        if isinstance(key, str) and key in given.objects:
            return given.objects[key]
    wanted = name if isinstance(name, str) else part.id
    raise InputError(f"Node {part.id!r} of the flow needs its {noun}: pass objects={{{wanted!r}: ...}}.")


def _condition(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
    own = [edge for edge in edges if edge["source"] == part.id]
    kind = plugins.find("node", "condition")
    conditions: list[Any] = []
    used: set[int] = set()
    listed: Any = part.inputs.pop("conditions", [])
    if not isinstance(listed, list):
        raise InputError(f"Node {part.id!r}: conditions of the flow are a list, not {shown(listed)}.")
    for n, item in enumerate(cast("list[Any]", listed)):
        if not isinstance(item, dict):
            raise InputError(f"Condition {n} of node {part.id!r} is {shown(item)}, not a dict.")
        record = cast("dict[str, Any]", item)
        places = [k for k, e in enumerate(own) if e["handle"] == n or e["target"] == record.get("target")]
        target = record.get("target") or next((own[k]["target"] for k in places), None)
        if not isinstance(target, str):
            raise InputError(
                f"Condition {n} of node {part.id!r} leads nowhere: it has no target and no edge."
            )
        target = "END" if given.types.get(target) == "end" else target
        used |= set(places)
        name = str(record.get("name") or f"condition {n}")
        if record.get("expression"):
            if not given.allow_code:
                raise InputError(
                    f"{name!r} of node {part.id!r} is an expression in the flow, which is not executed. Pass"
                    " allow_code=True if you trust the file: it gets all your rights."
                )
            test = expression(str(record["expression"]))
        else:
            test = chooser(part.id, record)
        conditions.append(kind.parts[0](name, test, target))
    rest = [edge["target"] for k, edge in enumerate(own) if k not in used]
    default = part.inputs.pop("defaultTarget", None) or (rest[0] if len(rest) == 1 else None)
    graph.add_node(part.id, conditions, node_type="condition", default_target=default)


def _plain(node_type: str, names: Mapping[str, str], needs: str = "", noun: str = "") -> Any:
    """Return how a node is added whose inputs are options; `needs` names the one that is an object."""

    def add(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
        thing = _object(part, part.inputs.pop(needs, None), given, noun) if needs else None
        options = _options(part, names)
        if node_type == "rag":
            options["retriever"], thing = thing, None
        graph.add_node(part.id, thing, node_type=node_type, **options)

    return add


def _http(graph: StateGraph, part: _Part, given: _Given, edges: list[dict[str, Any]]) -> None:
    base, endpoint = str(part.inputs.pop("baseUrl", "")), str(part.inputs.pop("endpoint", ""))
    url = f"{base.rstrip('/')}/{endpoint.lstrip('/')}" if base and endpoint else base or endpoint
    graph.add_node(
        part.id,
        None,
        node_type="http",
        url=url,
        **_options(part, {"headers": "headers", "queryParams": "params"}),
    )


_LOOP = {"loopBackTo": "loop_back_to", "maxLoopCount": "max_loop_count", "eventMode": "event_mode"}
_RAG = {"queryTemplate": "query_template", "topK": "top_k", "similarityThreshold": "min_score"}
_ADD: dict[str, Callable[[StateGraph, _Part, _Given, list[dict[str, Any]]], None]] = {
    "llm": _llm,
    "agent": _agent,
    "tool": _tool_node,
    "condition": _condition,
    "foreach": _plain("foreach", {"arrayPath": "array_path", "maxIterations": "max_iterations"}),
    "loop": _plain("loop", _LOOP),
    "rag": _plain("rag", _RAG, "fileId", "retriever"),
    "dataHandler": _plain("data", {"query": "query", "params": "params"}, "dbSource", "connection"),
    "api": _http,
}
