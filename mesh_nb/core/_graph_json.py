"""A graph as JSON and back: what is data is written, what is code is named.

Names stand for objects as `{"$function": name}` or `{"$given": name}`, nested graphs as `{"$graph": ...}`,
dicts with odd keys as `{"$dict": [[key, value], ...]}`. Nothing that is read is ever executed or imported.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self, cast

from . import plugins
from ._gate import Pause
from ._hosting import within
from ._named import named_options
from .edges import Branch, Edge, Retry
from .errors import InputError, MeshError, UnknownNameError, shown, told
from .tools import Tool

VERSION = 1
_SECRET = re.compile(r"api_?key|secret|passw|authorization|credential|headers$|^client$", re.IGNORECASE)
_MARKS = ("$function", "$given", "$graph", "$dict", "$part")


class Recipe(NamedTuple):
    """What `add_node` was given for a node."""

    thing: Any
    node_type: str | None
    options: dict[str, Any]


class GraphJson:
    """`to_json` and `from_json` of a graph under construction."""

    graph_id: str
    nodes: dict[str, Any]
    _recipes: dict[str, Recipe]
    _edges: dict[tuple[str, str, bool], Edge]
    _branches: dict[Any, Branch]
    _aggregators: dict[str, Callable[..., Any]]
    _retries: dict[str, Retry]
    _outputs: dict[str, bool]
    _reducers: dict[str, Callable[..., Any]]
    _pauses: dict[tuple[str, str, str], Pause]

    @named_options
    def to_json(self, indent: int | None = 2) -> str:
        """Return the graph as JSON, from which `StateGraph.from_json` makes it again.

        Parameters: indent, spaces; None for one line.
        Data is written as it is. Functions, agents, clients and other objects are named, to be given to
        `from_json`. Keys and headers are never written. A graph need not be complete.

        Raises GraphValidationError for a graph that is inside itself.
        """
        if indent is not None and (not isinstance(cast("Any", indent), int) or isinstance(indent, bool)):
            raise InputError(f"indent= is a number of spaces or None, not {shown(indent)}.")
        with within(self):
            record = self._record()
        return json.dumps(record, indent=indent, ensure_ascii=False)

    def _record(self) -> dict[str, Any]:
        write = _Writer()
        nodes: list[dict[str, Any]] = []
        for node_id in self.nodes:
            recipe = self._recipes.get(node_id) or Recipe(self.nodes[node_id], None, {})
            record: dict[str, Any] = {"id": node_id}
            if recipe.node_type is not None:
                record["type"] = recipe.node_type
            if recipe.thing is not None:
                record["node"] = write.value(recipe.thing, node_id)
            if recipe.options:
                record["options"] = {k: write.option(k, v, node_id) for k, v in recipe.options.items()}
            nodes.append(record)
        edges: list[dict[str, Any]] = []
        for edge in self._edges.values():
            record = {"source": edge.source, "target": edge.target}
            if edge.loop:
                record |= {"is_loop_edge": True, "max_iterations": edge.max_iterations}
                where = f"{edge.source} -> {edge.target}"
                record["loop_condition"] = write.value(edge.loop_condition, where)
            edges.append(record)
        branches = [
            {
                "source": b.source,
                "fn": write.value(b.choose, f"{b.source} -> ?"),
                "mapping": [[write.value(k, b.source), t] for k, t in b.targets.items()],
                "default": b.default,
            }
            for b in self._branches.values()
        ]
        pauses = [
            {
                "node": node_id,
                "when": when,
                "source": source,
                "timeout": pause.timeout,
                "condition": write.value(pause.condition, f"{node_id}.condition"),
                "metadata_extractor": write.value(pause.extract, f"{node_id}.metadata_extractor"),
            }
            for (node_id, when, source), pause in self._pauses.items()
        ]
        record = {
            "mesh_nb": VERSION,
            "graph_id": self.graph_id,
            "nodes": nodes,
            "edges": edges,
            "branches": branches,
            "aggregators": {t: write.value(f, f"{t}.aggregator") for t, f in self._aggregators.items()},
            "reducers": {k: write.value(f, f"{k}.reducer") for k, f in self._reducers.items()},
            "outputs": list(self._outputs),
            "pauses": pauses,
        }
        return {name: value for name, value in record.items() if value not in ({}, [])}

    @classmethod
    @named_options
    def from_json(
        cls,
        text: str | bytes | Mapping[str, Any],
        functions: Mapping[str, Any] | None = None,
        *,
        allow_base_url: bool = False,
    ) -> Self:
        """Make a graph from what `to_json` returned.

        Parameters
        ----------
        text : the JSON, or the dict in it.
        functions : what its names stand for, such as `{"check": check}` or `globals()`. Keys that were left
            out come from the environment, unless they are here as "node.api_key".
        allow_base_url : True lets its nodes name servers. Your key goes to the server of a node: allow it for
            files that you trust.

        Raises InputError for what is no such JSON, for every name that is missing at once, and for a server
        that is not allowed; else what the builder methods raise.
        """
        record: Any = text
        if isinstance(text, (str, bytes)):
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise InputError(f"This is not the JSON of a graph: {error}.") from None
        try:
            return cls._made(record, _Reader(functions or {}, allow_base_url))
        except MeshError:
            raise
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise InputError(f"This is not the JSON of a graph: {told(error)}.") from error

    @classmethod
    def _made(cls, record: Any, read: _Reader) -> Self:
        _check_shape(record)
        parts: Any = record
        read.check(parts)
        graph = cast("Any", cls)(str(parts.get("graph_id") or "graph"))
        for node in parts.get("nodes", []):
            node_type, options = node.get("type"), node.get("options", {})
            named = {k: read.value(v, node_type, cls) for k, v in options.items() if not read.left_out(v)}
            thing = read.value(node.get("node"), node_type, cls)
            graph.add_node(node["id"], thing, node_type, **named)
        for edge in parts.get("edges", []):
            rest = {k: read.value(edge.get(k)) for k in ("loop_condition", "max_iterations")}
            rest["is_loop_edge"] = edge.get("is_loop_edge") is True
            graph.add_edge(edge["source"], edge["target"], **rest)
        for branch in parts.get("branches", []):
            mapping = {read.value(key): target for key, target in branch["mapping"]}
            graph.add_conditional_edges(
                branch["source"], read.value(branch["fn"]), mapping, branch.get("default")
            )
        for target, function in parts.get("aggregators", {}).items():
            sources = [e["source"] for e in parts.get("edges", []) if e["target"] == target]
            graph.add_fan_in_edge(sources, target, read.value(function))
        for key, function in parts.get("reducers", {}).items():
            graph.add_reducer(key, read.value(function))
        if parts.get("outputs"):
            graph.set_output(*parts["outputs"])
        for pause in parts.get("pauses", []):
            given = (read.value(pause.get("condition")), read.value(pause.get("metadata_extractor")))
            graph._pause(pause["node"], pause["when"], pause.get("source", ""), *given, pause.get("timeout"))
        return graph


class _Writer:
    """Writes values; equal names mean one object."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def option(self, name: str, value: Any, node_id: str) -> Any:
        where = f"{node_id}.{name}"
        if value is not None and _SECRET.search(name):
            return {"$given": where, "secret": True}
        return self.value(value, where)

    def value(self, value: Any, where: str) -> Any:
        """Return JSON for a value found at a place of the graph."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if value - value == 0 else {"$given": where}
        if isinstance(value, (list, tuple)):
            items = cast("list[Any]", value)
            return [self.value(item, f"{where}[{n}]") for n, item in enumerate(items)]
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value), where)
        if isinstance(value, GraphJson):
            with within(value):
                return {"$graph": value._record()}
        if dataclasses.is_dataclass(value) and not isinstance(value, (type, Tool)):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            if type(value) in _parts():
                return {"$part": type(value).__name__, "fields": self._mapping(fields, where)}
        named: str = getattr(value, "__name__", "") or (value.name if isinstance(value, Tool) else "")
        if callable(value) or isinstance(value, Tool):
            name = named if named.isidentifier() else where
            if self.names.setdefault(name, value) is not value:
                name = where
                self.names[name] = value
            return {"$function": name}
        return {"$given": where}

    def _mapping(self, value: Mapping[Any, Any], where: str) -> Any:
        if all(isinstance(key, str) for key in value) and not any(mark in value for mark in _MARKS):
            return {key: self.value(item, f"{where}.{key}") for key, item in value.items()}
        return {"$dict": [[self.value(k, where), self.value(v, f"{where}.{k}")] for k, v in value.items()]}


class _Reader:
    """Reads values; names are looked up, never imported."""

    def __init__(self, functions: Mapping[str, Any], allow_base_url: bool) -> None:
        self.functions, self.allow_base_url = functions, allow_base_url

    def left_out(self, value: Any) -> bool:
        """Say whether this is a secret that nobody has given."""
        return _is(value, "$given") and value.get("secret") is True and value["$given"] not in self.functions

    def check(self, record: Any) -> None:
        """Raise InputError for names that are missing, all at once, and for servers."""
        missing = [name for name in dict.fromkeys(self._needed(record)) if name not in self.functions]
        if missing:
            listing = ", ".join(f"{name!r}: ..." for name in missing)
            raise InputError(f"The graph needs what is not data: pass functions={{{listing}}}.")
        if not self.allow_base_url:
            for node in record.get("nodes", []):
                options = node.get("options", {})
                url = options.get("base_url") or (options.get("model_options") or {}).get("base_url")
                if url:
                    raise InputError(
                        f"Node {node['id']!r} sends its requests, and your key, to {shown(url)}. Pass"
                        " allow_base_url=True if you trust that server."
                    )

    def _needed(self, value: Any) -> list[str]:
        found, stack = list[str](), [value]
        while stack:
            item = stack.pop()
            if isinstance(item, Mapping):
                inside = cast("Mapping[str, Any]", item)
                if not self.left_out(inside):
                    found += [str(inside[mark]) for mark in ("$function", "$given") if mark in inside]
                stack += reversed(list(inside.values()))
            elif isinstance(item, list):
                stack += reversed(cast("list[Any]", item))
        return found

    def value(self, value: Any, node_type: str | None = None, made: Any = None) -> Any:
        """Return what a JSON value stands for."""
        if isinstance(value, list):
            return [self.value(item, node_type, made) for item in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        record = cast("dict[str, Any]", value)
        for mark in ("$function", "$given"):
            if mark in record:
                return self.functions[record[mark]]
        if "$graph" in record and made is not None:
            return made._made(record["$graph"], self)
        if "$dict" in record:
            return {self.value(k): self.value(v, node_type, made) for k, v in record["$dict"]}
        if "$part" in record:
            kinds = {kind.__name__: kind for kind in _parts()}
            if record["$part"] not in kinds:
                raise UnknownNameError("part of a node", str(record["$part"]), kinds)
            return kinds[record["$part"]](**self.value(record["fields"], node_type, made))
        return {key: self.value(item, node_type, made) for key, item in record.items()}


def _parts() -> list[type[Any]]:
    """Return the data classes that node types name as parts of their options."""
    kinds = [plugins.find("node", name) for name in plugins.names("node")]
    return [part for kind in kinds for part in getattr(kind, "parts", ())]


def _is(value: Any, mark: str) -> bool:
    return isinstance(value, Mapping) and mark in value


def _check_shape(record: Any) -> None:
    """Raise InputError for what is no graph as `to_json` writes it."""
    if not isinstance(record, Mapping) or "mesh_nb" not in record:
        raise InputError(
            "This is not the JSON of a graph: to_json() writes one; from_react_flow() reads those of editors."
        )
    found = cast("Mapping[str, Any]", record)
    version = found["mesh_nb"]
    if not isinstance(version, int) or version > VERSION:
        raise InputError(
            f"The graph is of version {shown(version)}, newer than {VERSION}, which is known here."
        )
    shapes = {"nodes": ("id",), "edges": ("source", "target"), "branches": ("source", "fn", "mapping")}
    shapes["pauses"] = ("node", "when")
    for name, keys in shapes.items():
        items: Any = found.get(name, [])
        for item in cast("list[Any]", items) if isinstance(items, list) else [None]:
            if not isinstance(item, dict) or any(key not in item for key in keys):
                raise InputError(
                    f"This is not the JSON of a graph: {name!r} has an item without {keys[0]!r}."
                )
            if name == "pauses" and item["when"] not in ("before", "after"):
                raise InputError(
                    f"Interrupt {shown(item['when'])} of {item['node']!r}: it is before or after."
                )
            if not isinstance(cast("dict[str, Any]", item).get("options", {}), dict):
                raise InputError(
                    f"This is not the JSON of a graph: the options of {item['id']!r} are no dict."
                )
