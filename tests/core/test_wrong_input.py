"""Wrong kinds of everything: refused in one sentence that names the thing, before anything starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mesh_nb as mesh
from mesh_nb.core.errors import ConfigurationError, shown

LONG = "x" * 100_000


def graph() -> Any:
    return mesh.StateGraph().add_node("llm", lambda input: input).set_entry_point("llm")


def llm(**options: Any) -> Callable[[], Any]:
    def ask() -> Any:
        nodes: Any = mesh.StateGraph().add_node("a", None, node_type="llm", **options)
        return nodes.set_entry_point("a").run_sync("x")

    return ask


def cycle() -> Any:
    nodes = mesh.StateGraph().add_node("a\nb", lambda: 1).add_node("c", lambda: 1).set_entry_point("c")
    return nodes.add_sequence(["a\nb", "c", "a\nb"]).compile()


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "node type 5": (lambda: graph().add_node("b", None, node_type=5), "Unknown node type 5. Known: agent"),
    "node type list": (lambda: graph().add_node("b", None, node_type=["llm"]), "Unknown node type"),
    "node type long": (lambda: graph().add_node("b", None, node_type=LONG), "Unknown node type 'xxx"),
    "option": (
        lambda: graph().add_node("b", None, node_type="llm", modle="x"),
        "Unknown option 'modle' of node",
    ),
    "retry kind": (
        lambda: graph().add_node("b", int, config={"retry": {"max_retries": "2"}}),
        "max_retries >= 0",
    ),
    "retry": (lambda: graph().add_node("b", int, config={"retry": 2}), "retry is a dict"),
    "edge None": (lambda: graph().add_edge(None, "llm"), "None is not a node id"),
    "edge list": (lambda: graph().add_edge("START", ["llm"]), r"\['llm'\] is not a node id"),
    "entry": (lambda: graph().set_entry_point(3), "3 is not a node id"),
    "edge long": (lambda: graph().add_edge("START", LONG).compile(), "is not a node"),
    "bound": (
        lambda: graph().add_edge("llm", "llm", is_loop_edge=True, max_iterations=True),
        "max_iterations",
    ),
    "condition": (
        lambda: graph().add_edge("llm", "llm", is_loop_edge=True, loop_condition="x"),
        "loop_condition is 'x', not a function",
    ),
    "mapping": (
        lambda: graph().add_conditional_edges("llm", int, None),
        "takes a list of node ids, not None",
    ),
    "mapping text": (lambda: graph().add_conditional_edges("llm", int, "llm"), "takes a list of node ids"),
    "mapping value": (lambda: graph().add_conditional_edges("llm", int, {"x": ["llm"]}), "is not a node id"),
    "sequence": (lambda: graph().add_sequence(None), "takes a list of node ids"),
    "sequence text": (
        lambda: graph().add_sequence("llm"),
        "add_sequence takes a list of node ids, not 'llm'",
    ),
    "parallel": (lambda: graph().add_parallel_edges("START", 5), "takes a list of node ids, not 5"),
    "fan-in": (lambda: graph().add_fan_in_edge(None, "llm"), "takes a list of node ids"),
    "aggregator": (lambda: graph().add_fan_in_edge(["a", "b"], "llm", aggregator=5), "aggregator is 5"),
    "graph id": (lambda: mesh.StateGraph(dict), "graph_id= is a name for logs, not <class 'dict'>"),  # pyright: ignore[reportArgumentType]
    "loop switch": (
        lambda: graph().add_edge("llm", "llm", is_loop_edge=[]),
        r"is_loop_edge is True or False",
    ),
    "interrupt switch": (lambda: graph().add_edge("START", "llm", interrupt_before=1), "interrupt_before is"),
    "interrupt condition alone": (
        lambda: graph().add_edge("START", "llm", interrupt_condition=bool),
        "interrupt_condition needs interrupt_before=True",
    ),
    "interrupt node": (lambda: graph().set_interrupt_before(["llm"]), r"\['llm'\] is not a node id"),
    "async aggregator": (
        lambda: graph().add_fan_in_edge(["a", "b"], "llm", aggregator=asyncio.sleep),
        "not a plain function",
    ),
    "async reducer": (lambda: graph().add_reducer("x", asyncio.sleep), "a plain function"),
    "retry text": (lambda: graph().add_node("b", int, config={"retry": ""}), "retry is a dict"),
    "resume list": (lambda: graph().resume(["x"]), r"No run \['x'\]"),
    "fork dict": (lambda: graph().fork({}, at=0), "No run {}"),
    "runs": (lambda: mesh.runs(None), "limit= is a whole number, not None"),  # pyright: ignore[reportArgumentType]
    "executor": (lambda: mesh.Executor(None), "An Executor takes a graph, not None"),  # pyright: ignore[reportArgumentType]
    "title": (lambda: graph().to_svg(title=5), "title= is text, not 5"),
    "mermaid title": (lambda: graph().to_mermaid(["x"]), "title= is text"),
    "picture path": (lambda: graph().save_visualization(5), "path= is the path of a file, not 5"),
    "no path": (lambda: graph().save_visualization(""), "path= is the path of a file, not ''"),
    "indent": (lambda: graph().to_json(1.5), "indent= is a number of spaces or None, not 1.5"),
    "cycle": (cycle, r"Cycle 'a\\nb' -> c"),
    "session": (lambda: graph().run_sync("x", session_id=5), "session_id= is text, not 5"),
    "display": (lambda: graph().run_sync("x", display="no"), "display= is True, False or None, not 'no'"),
    "background": (lambda: graph().run("x", background="no"), "background= is True or False, not 'no'"),
    "variables": (lambda: graph().run_sync("x", variables=5), "variables= is a dict"),
    "backend": (lambda: graph().run_sync("x", backend="memory"), "backend= is a MemoryBackend"),
    "load": (lambda: mesh.Run.load(None), "No run None"),  # pyright: ignore[reportArgumentType]
    "load long": (lambda: mesh.Run.load(LONG), "No run 'xxx"),
    "frame": (lambda: mesh.calls_df(LONG), "There is no log at 'xxx"),
    "frame kind": (lambda: graph().run_sync("x", backend=mesh.MemoryBackend()).to_pandas(None), "frame None"),
    "plug-in kind": (lambda: mesh.register(None, "x"), "kind of plug-in|Unknown kind None"),  # pyright: ignore[reportArgumentType]
    "plug-in name": (lambda: mesh.register("node", 5), "5 is not a name for a node"),  # pyright: ignore[reportArgumentType]
    "model": (llm(model=5), "model=5 must be text"),
    "model long": (llm(model=LONG), "Unknown model 'xxx"),
    "system prompt": (llm(model="demo", system_prompt=5), "system_prompt=5 must be text"),
    "temperature": (llm(model="demo", temperature="hot"), "temperature='hot' must be a number"),
    "max_tokens": (llm(model="demo", max_tokens=True), "max_tokens=True must be a whole number"),
    "max_steps": (llm(model="demo", max_steps=None), "max_steps=None must be a whole number"),
    "tools": (llm(model="demo", tools=5), "tools=5 must be a list"),
    "extra": (llm(model="demo", extra=5), "extra=5 must be a dict"),
    "template": (llm(model="demo", system_prompt="{{" + LONG + "}}"), "names 'xxx"),
    "scheme": (llm(model="m", base_url="htp://u:PASS@h/v1", api_key="k"), "'htp://h/v1' is not an address"),
    "port": (llm(model="m", base_url="http://u:PASS@h:99999/v1", api_key="k"), "is not an address"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_sentence_and_nothing_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    attempt, says = WRONG[name]
    with pytest.raises(mesh.MeshError, match=says) as caught:
        attempt()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert "PASS" not in text
    assert list(tmp_path.rglob("*.jsonl")) == []


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-secreté"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_told(key: str) -> None:
    with pytest.raises(ConfigurationError, match="API key") as caught:
        llm(model="gpt-4o", api_key=key)()
    assert "secret" not in str(caught.value)


def test_a_node_shows_neither_its_key_nor_its_address_with_a_password() -> None:
    node: Any = mesh.StateGraph()
    node.add_node(
        "a",
        None,
        node_type="llm",
        model="m",
        base_url="http://u:PASS@h/v1",
        api_key="KEY1",
        extra={"k": "KEY2"},
    )
    said = repr(vars(node.nodes["a"]))
    assert "PASS" not in said.replace(repr(node.nodes["a"]), "")
    assert "KEY" not in said


def test_what_a_message_shows_of_a_foreign_object_is_one_short_line() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Odd()) == "<Odd>"
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown(list(range(10_000)))) < 100


@pytest.mark.parametrize(
    ("given", "says"),
    [(("q", 5), "context= is an ExecutionContext, not 5"), (("q", None, 5), "run_id= is text, not 5")],
)
def test_an_executor_refuses_what_is_no_context_and_no_name(given: Any, says: str) -> None:
    run_id = {"run_id": given[2]} if len(given) == 3 else {}
    with pytest.raises(mesh.MeshError, match=says):
        mesh.Executor(graph()).execute(*given[:2], **run_id)
