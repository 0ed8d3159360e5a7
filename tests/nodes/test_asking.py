"""model_options= of the nodes that ask a model: checked where the node is made."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb import GraphValidationError, StateGraph
from mesh_nb.core.errors import InputError, UnknownNameError


def look(city: str) -> str:
    """Look at a city."""
    return city


NODES: dict[str, tuple[Any, dict[str, Any]]] = {
    "condition": (None, {"scenarios": [{"name": "a", "target": "b"}]}),
    "conversation": (None, {"extraction_fields": {"city": "where to"}}),
    "dynamic_tool_selector": ([look], {}),
    "orchestrator": (None, {}),
}
OWN = {
    "condition": "output_type",
    "conversation": "system_prompt",
    "dynamic_tool_selector": "tools",
    "orchestrator": "system_prompt",
}


def add(kind: str, model_options: Any) -> StateGraph:
    thing, options = NODES[kind]
    return StateGraph().add_node("n", thing, node_type=kind, model_options=model_options, **options)


@pytest.mark.parametrize("kind", NODES)
def test_options_of_the_model_are_checked(kind: str) -> None:
    with pytest.raises(UnknownNameError, match=r"'modle' of the model of node 'n'\. Did you mean 'model'"):
        add(kind, {"modle": "gpt-5"})
    with pytest.raises(GraphValidationError, match=r"model_options= is a dict .*, not \['x'\]"):
        add(kind, ["x"])
    with pytest.raises(GraphValidationError, match=f"sets '{OWN[kind]}' itself"):
        add(kind, {OWN[kind]: "something else"})
    with pytest.raises(InputError, match="temperature='hot' must be a number"):
        add(kind, {"temperature": "hot"})
    assert add(kind, {"model": "demo", "temperature": 0}).nodes["n"].kind == kind
