"""Options of nodes that are of another kind: one sentence where the node is made, never a raw error later."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb import Condition, StateGraph
from mesh_nb.core.errors import MeshError


class Agent:
    """An object that the agent plug-ins know."""

    async def run_stream(self, input: Any, session_id: Any = None) -> Any:
        yield {"type": "text-delta", "id": "0", "delta": "hi"}


def look(city: str) -> str:
    """Look at a city."""
    return city


INNER = StateGraph().add_node("z", lambda input: 1).set_entry_point("z")
CASES: list[tuple[str, Any, dict[str, Any], str]] = [
    ("agent", Agent(), {"system_prompt": 5}, "system_prompt=5 must be text"),
    ("agent", Agent(), {"run_options": "xx"}, "run_options='xx' must be a dict"),
    ("agent", Agent(), {"use_session": "no"}, "use_session='no' must be True or False"),
    ("condition", 5, {}, "conditions=5 must be a list"),
    ("condition", [Condition("a", "yes", "b")], {}, "'a' needs a function of the input"),  # type: ignore[arg-type]
    ("condition", None, {"scenarios": True}, "scenarios=True must be a list"),
    ("condition", [Condition("a", bool, "b")], {"default_target": ["b"]}, "must be text"),
    ("conversation", None, {"extraction_fields": "city"}, "needs extraction_fields="),
    ("conversation", None, {"extraction_fields": {"a": "b"}, "system_prompt": 5}, "must be text"),
    ("data", Agent, {"query": "select 1", "max_rows": float("inf")}, "max_rows=inf must be a whole number"),
    ("dynamic_tool_selector", 5, {}, "tools=5 must be a list"),
    ("dynamic_tool_selector", [look], {"always": [None]}, "always= has None, which is no name"),
    ("http", None, {"url": "http://x/", "headers": "xx"}, "headers='xx' must be a dict"),
    ("http", None, {"url": "http://x/", "allowed_hosts": 5}, "allowed_hosts=5 must be a list of names"),
    ("http", None, {"url": "http://x/", "data": {"a": 1}}, "must be text"),
    ("http", None, {"url": "http://x/", "raise_for_status": None}, "must be True or False"),
    ("llm", None, {"model": "demo", "think_tags": "no"}, "think_tags='no' must be True or False"),
    ("llm", None, {"model": "demo", "reasoning": 5}, "reasoning=5 must be text or a dict"),
    ("llm", None, {"model": "demo", "temperature": float("inf")}, "temperature=inf must be 0 or more"),
    ("orchestrator", None, {"agents": 5}, "agents=5 must be a list"),
    ("orchestrator", None, {"agents": [["b"]]}, r"agents= has ['b'], which is no name"),
    ("rag", ["text"], {"query_template": 5}, "query_template=5 must be text"),
    ("rag", ["text"], {"min_score": "high"}, "min_score='high' must be a number"),
    ("subgraph", INNER, {"isolated": "no"}, "isolated='no' must be True or False"),
    ("subgraph", INNER, {"inherit_keys": None}, "inherit_keys=None must be a list of names"),
    ("tool", look, {"bindings": ["city"]}, r"bindings=['city'] must be a dict"),
]


@pytest.mark.parametrize(("kind", "thing", "options", "says"), CASES)
def test_an_option_of_another_kind_is_refused(
    kind: str, thing: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(MeshError) as caught:
        StateGraph().add_node("n", thing, node_type=kind, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_host_is_a_name_and_not_a_list_of_letters() -> None:
    graph = StateGraph().add_node("n", node_type="http", url="http://x/", allowed_hosts="Example.com")
    node: Any = graph.nodes["n"]
    assert node.allowed_hosts == {"example.com"}
