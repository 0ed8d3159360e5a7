"""Building and compiling graphs: what is refused, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import mesh_nb
from mesh_nb import (
    Condition,
    CycleDetectedError,
    Executor,
    GraphValidationError,
    InvalidNodeTypeError,
    StateGraph,
)
from mesh_nb.core import plugins, templates
from mesh_nb.core.errors import UnknownNameError


class Nothing(mesh_nb.BaseNode):
    def __init__(self, id: str, size: int = 1, *, colour: str = "red") -> None:
        super().__init__(id)
        self.size, self.colour = size, colour

    async def execute(self, input: Any, context: Any) -> Any:
        return input


class Prompted(Nothing):
    templates = ("{{writer.content}} {{$question}}",)


def nodes(*ids: str) -> StateGraph:
    graph = StateGraph()
    for node_id in ids:
        graph.add_node(node_id, Nothing)
    return graph


def errors_of(graph: StateGraph) -> list[str]:
    with pytest.raises(GraphValidationError) as caught:
        graph.compile()
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


async def ran(graph: StateGraph) -> list[str]:
    return [e.node_id async for e in Executor(graph).execute("q") if e.type == "node_complete"]


async def test_start_edge_and_entry_point_run_a_node_once() -> None:
    graph = nodes("a").add_edge("START", "a").set_entry_point("a").add_edge("a", "END").add_edge("a", "END")
    assert await ran(graph) == ["a"]


async def test_builders_return_the_graph_and_build_what_they_say() -> None:
    graph = nodes("a", "b", "c", "d", "e").set_entry_point("a").add_sequence(["a", "b"])
    graph.add_parallel_edges("b", ["c", "d"]).add_fan_in_edge(["c", "d"], "e").add_edge("e", "END")
    assert await ran(graph) == ["a", "b", "c", "d", "e"]


async def test_the_cell_that_builds_a_graph_runs_again() -> None:
    for _ in range(2):
        graph = nodes("a").set_entry_point("a")
        assert await ran(graph) == ["a"]
    with pytest.raises(GraphValidationError, match=r"'a' is already in this graph.*StateGraph\(\)"):
        graph.add_node("a", Nothing)


async def test_a_graph_may_grow_after_it_was_compiled() -> None:
    graph = nodes("a").set_entry_point("a")
    first = graph.compile()
    assert graph.compile() is first
    graph.add_node("b", Nothing).add_edge("a", "b")
    assert await ran(graph) == ["a", "b"]
    assert [*first.nodes] == ["a"]


@pytest.mark.parametrize("node_id", ["", "START", "END", None, 3])
def test_ids_that_cannot_be(node_id: Any) -> None:
    with pytest.raises(GraphValidationError, match="not a node id"):
        StateGraph().add_node(node_id, Nothing)


def test_56_unknown_node_types_and_options_suggest_the_nearest() -> None:
    with pytest.raises(InvalidNodeTypeError, match="Did you mean 'tool'"):
        StateGraph().add_node("n", print, node_type="tol")
    with pytest.raises(UnknownNameError, match="Did you mean 'colour'"):
        StateGraph().add_node("n", Nothing, color="blue")
    with pytest.raises(UnknownNameError, match="Did you mean 'bindings'"):
        StateGraph().add_node("n", lambda: 1, binding={})
    with pytest.raises(UnknownNameError, match="Did you mean 'max_retries'"):
        StateGraph().add_node("n", lambda: 1, config={"retry": {"max_retry": 1}})
    with pytest.raises(GraphValidationError, match="max_retries >= 0"):
        StateGraph().add_node("n", lambda: 1, config={"retry": {"max_retries": -1}})
    with pytest.raises(GraphValidationError, match="config= is a dict"):
        StateGraph().add_node("n", lambda: 1, config=3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"colr": 1}, "Known: bindings, fn. Every node takes config, event_mode, node_timeout too."),
        (
            {"config": {"config": {}}},
            "Unknown option 'config' of node type 'tool'. Known: bindings, fn. Every",
        ),
        ({"event_mod": "full"}, "Did you mean 'event_mode'? Known: bindings, fn. Every"),
    ],
)
def test_an_unknown_option_lists_those_of_the_node_and_those_of_every_node_apart(
    options: Any, says: str
) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(says)):
        StateGraph().add_node("n", lambda: 1, **options)


@pytest.mark.parametrize(
    ("thing", "options", "says"),
    [
        (None, {}, "is empty: pass a function or a node"),
        (3, {}, "int is neither a function nor a node"),
        (Nothing("n"), {"size": 2}, "an instance, which takes no options"),
    ],
)
def test_things_that_are_no_node(thing: Any, options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph().add_node("n", thing, **options)


def test_options_reach_the_node_also_through_config() -> None:
    graph = StateGraph().add_node("n", Nothing, config={"size": 5, "colour": "x"}, colour="blue")
    node: Any = graph.nodes["n"]
    assert (node.id, node.size, node.colour) == ("n", 5, "blue")


async def test_registered_node_types_classes_and_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registered", {})
    mesh_nb.register("node", "painter")(Nothing)
    mesh_nb.register("node", "adder")(lambda x: {"x": x + 1})
    graph = (
        StateGraph().add_node("p", 7, node_type="painter", colour="green").add_node("q", node_type="adder")
    )
    graph.set_entry_point("p").add_edge("p", "q")
    node: Any = graph.nodes["p"]
    assert (node.size, node.colour) == (7, "green")
    events = [e async for e in Executor(graph).execute({"x": 1})]
    assert events[-1].output["x"] == 2


def test_edges_that_cannot_be() -> None:
    graph = nodes("a")
    for bad in (("END", "a"), ("a", "START")):
        with pytest.raises(GraphValidationError, match="nothing leaves END or enters START"):
            graph.add_edge(*bad)
    with pytest.raises(GraphValidationError, match="need is_loop_edge=True"):
        graph.add_edge("a", "a", max_iterations=3)
    for limit in (0, -1, "3"):
        with pytest.raises(GraphValidationError, match="not 1 or more"):
            graph.add_edge("a", "a", is_loop_edge=True, max_iterations=limit)  # type: ignore[arg-type]
    with pytest.raises(GraphValidationError, match="at least two sources"):
        graph.add_fan_in_edge(["a"], "a")
    with pytest.raises(GraphValidationError, match="is not a function"):
        graph.add_conditional_edges("a", "key", {})  # type: ignore[arg-type]
    with pytest.raises(GraphValidationError, match="lead nowhere"):
        graph.add_conditional_edges("a", lambda o: o, {})


def test_all_errors_come_at_once_each_naming_nodes() -> None:
    graph = nodes("writer", "lonely", "other").set_entry_point("writer")
    graph.add_node("p", type("P", (Nothing,), {"templates": ("{{writr}} {{$qestion}}",)}))
    graph.add_edge("writer", "p").add_edge("p", "writer", is_loop_edge=True)
    found = errors_of(graph)
    assert len(found) == 4
    assert "Loop edge 'p' -> 'writer' has no bound" in found[0]
    assert "Nodes 'lonely', 'other' cannot be reached from START" in found[1]
    assert "Did you mean 'writer'" in found[2]
    assert "Did you mean '$question'" in found[3]


def test_missing_endpoints_and_entry_suggest_the_nearest() -> None:
    found = errors_of(nodes("writer").add_edge("writr", "writer").add_edge("writer", "reader"))
    assert "Did you mean 'writer'" in found[0]
    assert "target 'reader' is not a node" in found[1]
    assert "set_entry_point('writer')" in found[2]
    graph = nodes("a").set_entry_point("a").add_conditional_edges("a", lambda o: o, {"x": "bb"}, default="cc")
    assert len(errors_of(graph)) == 2
    assert errors_of(StateGraph()) == ["The graph has no nodes: add one with add_node(...)."]


def test_known_template_names_pass() -> None:
    graph = nodes("writer").add_node("p", Prompted).set_entry_point("writer").add_edge("writer", "p")
    graph.compile()


def test_cycles_are_named_and_say_how_to_bound_them() -> None:
    graph = (
        nodes("a", "b", "c", "d").set_entry_point("a").add_sequence(["a", "b", "c", "a"]).add_edge("c", "d")
    )
    with pytest.raises(CycleDetectedError) as caught:
        graph.compile()
    [error] = caught.value.errors
    assert "Cycle a -> b -> c -> a" in error
    assert "add_edge('c', 'a', is_loop_edge=True" in error


def test_two_cycles_are_two_errors() -> None:
    graph = nodes("a", "b", "c", "d").set_entry_point("a").add_sequence(["a", "b", "c", "d"])
    graph.add_edge("b", "a").add_edge("d", "c")
    with pytest.raises(CycleDetectedError) as caught:
        graph.compile()
    assert len(caught.value.errors) == 2


def test_a_conditional_edge_that_goes_back_says_how_to_bound_it() -> None:
    graph = nodes("a", "b").set_entry_point("a").add_edge("a", "b")
    graph.add_conditional_edges("b", lambda o: "again", {"again": "a", "done": "END"})
    with pytest.raises(CycleDetectedError, match="conditional edges from 'b' go back to 'a'"):
        graph.compile()


def test_a_loop_edge_that_goes_forward_is_refused() -> None:
    graph = nodes("a", "b").set_entry_point("a").add_edge("a", "b")
    graph.add_edge("a", "b", is_loop_edge=True, max_iterations=2)
    assert "does not go back" in errors_of(graph)[0]


def test_59_large_graphs_compile_without_recursion() -> None:
    ids = [f"n{k}" for k in range(100_000)]
    graph = nodes(*ids).set_entry_point("n0").add_sequence(ids)
    assert len(graph.compile().nodes) == 100_000
    ring = nodes(*ids[:20_000]).set_entry_point("n0").add_sequence([*ids[:20_000], "n0"])
    with pytest.raises(CycleDetectedError):
        ring.compile()


def test_mermaid_text_is_escaped() -> None:
    graph = nodes("end", 'a"]; click', "<b>").add_sequence(["START", "end", 'a"]; click', "<b>", "END"])
    graph.add_edge("<b>", "end", is_loop_edge=True, max_iterations=3)
    text = graph.to_mermaid()
    assert text.startswith("flowchart TD")
    assert '"]; click' not in text
    assert "<b>" not in text
    assert '-.->|"max: 3"|' in text
    assert "n0" in text


def test_an_unfinished_graph_shows_its_problems() -> None:
    bundle = nodes("a")._repr_mimebundle_()
    assert "entry point" in bundle["text/plain"]


async def test_nodes_by_decorator_and_rows_of_edges() -> None:
    graph = StateGraph()

    @graph.node
    def load(input: Any) -> dict[str, Any]:
        return {"content": "loaded"}

    @graph.node("critic", config={"retry": {"max_retries": 1}})
    def criticise(content: str) -> dict[str, Any]:
        return {"content": f"critic of {content}"}

    @graph.node
    async def praise(content: str) -> dict[str, Any]:
        return {"content": f"praise of {content}"}

    @graph.node
    class Report(mesh_nb.BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            return {"content": " and ".join(input[name]["content"] for name in sorted(input))}

    assert load("x") == {"content": "loaded"}
    graph.chain("START", load, [criticise, "praise"], "Report", "END")
    assert [*graph.nodes] == ["load", "critic", "praise", "Report"]
    events = [e async for e in Executor(graph).execute("q")]
    assert events[-1].output["content"] == "critic of loaded and praise of loaded"


def test_rows_and_functions_that_cannot_be() -> None:
    graph = nodes("a", "b")
    for row in (["a"], [], ["a", []]):
        with pytest.raises(GraphValidationError, match="two nodes or more"):
            graph.chain(*row)
    with pytest.raises(GraphValidationError, match=r"function errors_of is not a node.*@graph.node"):
        graph.chain("a", errors_of)
    with pytest.raises(GraphValidationError, match="3 is not a node id"):
        graph.chain("a", 3)  # type: ignore[arg-type]


async def test_the_output_of_a_fan_out_is_every_leaf_unless_nodes_are_named() -> None:
    def build() -> StateGraph:
        graph = StateGraph()
        for name in ("a", "b", "c"):
            graph.add_node(name, lambda input, name=name: {"content": name})
        return graph.chain("START", "a", ["b", "c"])

    async def output(graph: StateGraph) -> Any:
        return [e async for e in Executor(graph).execute("q")][-1].output

    leaves = await output(build())
    assert leaves == {"b": {"content": "b"}, "c": {"content": "c"}, "content": "b\n\nc"}
    assert await output(build().set_output("a")) == {"content": "a"}
    assert (await output(build().set_output("a", "c")))["content"] == "a\n\nc"
    assert errors_of(build().set_output("cc")) == ["set_output('cc'): 'cc' is not a node. Did you mean 'c'?"]


async def test_two_conditional_edges_from_one_node_both_apply() -> None:
    graph = nodes("a", "b", "c", "d").set_entry_point("a")
    graph.add_conditional_edges("a", lambda o: "x", {"x": "b", "y": "c"})
    graph.add_conditional_edges("a", lambda o: "y", {"x": "c", "y": "d"})
    assert await ran(graph) == ["a", "b", "d"]


def templated(text: str) -> type[Any]:
    return type("Templated", (Nothing,), {"templates": (text,)})


def test_templates_name_nodes_that_can_have_run_before() -> None:
    graph = nodes("a", "b", "after").add_node("p", templated("{{a}} {{b.x}} {{after.0}} {{p}}"))
    found = errors_of(graph.chain("START", "a", ["b", "p"], "after"))
    assert len(found) == 3
    assert "names 'b', which cannot have run before it: no edge leads from 'b' to 'p'" in found[0]
    assert "names 'after'" in found[1]
    assert "names 'p'" in found[2]


async def test_what_a_loop_brings_is_empty_in_its_first_round() -> None:
    seen: list[str] = []

    class Writer(mesh_nb.BaseNode):
        templates = ("{{critic.content}}",)

        async def execute(self, input: Any, context: Any) -> Any:
            seen.append(templates.resolve(self.templates[0], context))
            return {"content": "draft"}

    graph = StateGraph().add_node("writer", Writer).add_node("critic", lambda: {"content": "too long"})
    graph.chain("START", "writer", "critic").add_edge("critic", "writer", is_loop_edge=True, max_iterations=1)
    await ran(graph)
    assert seen == ["", "too long"]


def test_problems_of_every_kind_come_together() -> None:
    graph = nodes("a", "b").add_node("p", templated("{{nobody}}")).chain("START", "a", "b", "a")
    graph.add_edge("p", "ghost").set_output("z")
    found = errors_of(graph)
    assert [k in e for k, e in zip(("'ghost'", "set_output('z')", "Cycle a", "'nobody'"), found, strict=True)]
    assert len(found) == 4


async def test_every_builder_method_takes_functions_that_are_nodes() -> None:
    graph = StateGraph()

    @graph.node
    def first(input: Any) -> dict[str, Any]:
        return {"n": 1}

    @graph.node
    def left(input: Any) -> dict[str, Any]:
        return {"l": input["n"]}

    @graph.node
    def right(input: Any) -> dict[str, Any]:
        return {"r": input["n"]}

    @graph.node
    def join(input: Any) -> dict[str, Any]:
        return input

    @graph.node
    def last(input: Any) -> dict[str, Any]:
        return {"content": str(input)}

    graph.set_entry_point(first).add_parallel_edges(first, [left, right])
    graph.add_fan_in_edge([left, right], join, lambda parts: {**parts["left"], **parts["right"]})
    graph.add_conditional_edges(join, lambda output: "last", ["last"]).set_output(last)
    graph.set_interrupt_before(last).set_interrupt_after(last)
    run = await graph.run("q", on_no_answer="allow", display=False)
    assert run.text == "{'l': 1, 'r': 1}"
    assert [e.metadata["kind"] for e in run.events if e.type == "interrupt"] == ["before", "after"]
    other = StateGraph().add_node("a", first).add_node("b", left).add_sequence(["START", first, left])
    assert other.run_sync("q", display=False).output["l"] == 1


async def test_a_node_class_may_yield_and_return_without_async() -> None:
    class Steps(mesh_nb.BaseNode):
        def execute(self, input: Any, context: Any) -> Any:
            yield "one "
            yield "two"
            if input["input"] == "more":
                return mesh_nb.NodeResult({"n": 2}, state={"seen": True})
            return None

    graph = StateGraph("g").add_node("n", Steps).set_entry_point("n")
    run = await graph.run("q", backend=mesh_nb.MemoryBackend())
    assert [e.content for e in run.events if e.type == "token"] == ["one ", "two"]
    assert run.output == {"content": "one two"}
    run = await graph.run("more", backend=mesh_nb.MemoryBackend())
    assert next(e.output for e in run.events if e.type == "node_complete") == {"n": 2}
    assert [e.output for e in run.events if e.type == "state_update"] == [{"seen": True}]


def test_a_node_class_that_cannot_be_called_is_refused_when_it_is_added() -> None:
    class Short(mesh_nb.BaseNode):
        async def execute(self, input: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return 1

    class Nameless(mesh_nb.BaseNode):
        def __init__(self, id: str) -> None:  # pyright: ignore[reportMissingSuperCall]
            pass

    for made in (Short, Short("n")):
        with pytest.raises(GraphValidationError, match=r"Short.execute\(.*is called with \(input, con"):
            StateGraph("g").add_node("n", made)
    for made in (Nameless, Nameless("n")):
        with pytest.raises(GraphValidationError, match="Nameless has no id: its __init__ must call super"):
            StateGraph("g").add_node("n", made)


def test_a_graph_inside_itself_is_refused_in_a_sentence() -> None:
    graph, other = nodes("a").set_entry_point("a"), StateGraph("other")
    graph.graph_id = "own"
    other.add_node("deeper", graph).set_entry_point("deeper")
    graph.add_node("inner", other).add_edge("a", "inner")
    says = "Inside node 'inner': Inside node 'deeper': Graph 'own' is inside itself. Repeat it by a loop edge"
    assert errors_of(graph)[0].startswith(says)
    with pytest.raises(GraphValidationError, match="Graph 'own' is inside itself"):
        graph.to_json()
    assert "is inside itself" in graph._repr_mimebundle_()["text/plain"]


async def test_a_graph_may_be_inside_another_twice() -> None:
    inner = nodes("a").set_entry_point("a")
    graph = StateGraph().add_node("one", inner).add_node("two", inner).set_entry_point("one")
    assert await ran(graph.add_edge("one", "two")) == ["one.a", "one", "two.a", "two"]
    assert graph.to_json().count("$graph") == 2


async def test_a_function_may_run_the_graph_that_it_is_in() -> None:
    async def countdown(n: int) -> dict[str, Any]:
        return {"n": n} if n == 0 else (await graph.run({"n": n - 1}, backend=mesh_nb.MemoryBackend())).output

    graph = StateGraph("own").add_node("down", countdown).set_entry_point("down")
    run = await graph.run({"n": 3}, backend=mesh_nb.MemoryBackend())
    assert run.output["n"] == 0


def two(a: Any, b: Any) -> Any:
    return a


def none() -> Any:
    return True


ANY: Any = "x"
UNFIT = Condition("n", none, "a")
CALLS: list[tuple[Callable[[StateGraph], Any], str]] = [
    (
        lambda g: g.add_conditional_edges("a", two, ["b"]),
        "edges from 'a': fn is called with (output)",
    ),
    (lambda g: g.add_conditional_edges("a", none, ["b"]), "which none() -> 'Any' does not take"),
    (
        lambda g: g.add_edge("a", "b", is_loop_edge=True, loop_condition=none),
        "(output) or (state, output)",
    ),
    (
        lambda g: g.add_edge("a", "b", is_loop_edge=True, loop_condition=ANY),
        "'x', not a function",
    ),
    (lambda g: g.add_reducer("n", none), "reducer is called with (value, update)"),
    (lambda g: g.add_fan_in_edge(["a", "b"], "c", two), "aggregator is called with (outputs)"),
    (lambda g: g.set_interrupt_before("a", none), "condition is called with (input) or (state, input)"),
    (
        lambda g: g.set_interrupt_after("a", None, none),
        "metadata_extractor is called with (output)",
    ),
    (
        lambda g: g.add_node("d", [Condition("n", none, "a")], node_type="condition"),
        "(input) or (input, context)",
    ),
    (
        lambda g: g.add_node("d", node_type="loop", loop_back_to="a", loop_condition=none),
        "loop_condition is called",
    ),
]


@pytest.mark.parametrize(("build", "says"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_function_that_cannot_be_called_so_is_refused_when_it_is_given(
    build: Callable[[StateGraph], Any], says: str
) -> None:
    with pytest.raises(GraphValidationError) as error:
        build(nodes("a", "b", "c"))
    assert says in str(error.value)


def test_functions_without_a_signature_and_with_defaults_are_taken() -> None:
    graph = nodes("a", "b", "c").add_reducer("n", max).add_conditional_edges("a", str, ["b"])
    graph.add_edge("b", "a", is_loop_edge=True, loop_condition=lambda output, limit=3: False)
    graph.add_fan_in_edge(["a", "b"], "c", lambda *outputs: outputs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((two,), "is not a node id.* Write add_node.'two', two., or @graph.node above it"),
        (("a", "lmm"), "did you mean node_type='llm'"),
        (("a", "nothing like it"), "give its type by node_type="),
        (
            ("a", {"model": "m"}),
            "dict is neither a function nor a node; give its type by node_type=",
        ),
        (("a", object()), "for an agent pass node_type='agent'"),
    ],
)
def test_what_is_no_node_is_told_with_what_to_write(arguments: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        StateGraph("g").add_node(*arguments)


def test_an_id_that_a_node_inside_another_has_in_events_is_refused() -> None:
    inner = StateGraph("in").add_node("deep", nodes("x").set_entry_point("x")).set_entry_point("deep")
    graph = StateGraph().add_node("s", inner).add_node("s.deep.x", Nothing).set_entry_point("s")
    says = "Node 's.deep.x' has the id that a node inside 's' has in events: give it another."
    assert errors_of(graph.add_edge("s", "s.deep.x")) == [says]
    graph = StateGraph().add_node("s", inner).add_node("s.other", Nothing).set_entry_point("s")
    graph.add_edge("s", "s.other").compile()


def test_an_id_that_a_node_inside_an_adopted_one_has_in_events_is_refused() -> None:
    inner = nodes("x").set_entry_point("x")
    graph = StateGraph().add_node("each", node_type="foreach").add_node("s", inner).add_node("s.x", Nothing)
    graph.set_entry_point("each").chain("each", "s", "s.x")
    assert errors_of(graph) == [
        "Node 's.x' has the id that a node inside 'each' has in events: give it another."
    ]
