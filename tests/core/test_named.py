"""An option that does not exist is named, with the nearest one that does, and nothing starts."""

# pyright: reportCallIssue=false
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import mesh_nb
from mesh_nb import Budget, Executor, Run, StateGraph
from mesh_nb.core.errors import InputError, UnknownNameError


def double(input: Any) -> dict[str, Any]:
    return {"content": "x"}


def graph() -> StateGraph:
    return StateGraph("g").add_node("a", double).add_node("b", double).set_entry_point("a").add_edge("a", "b")


def later(**options: Any) -> Any:
    return graph().stream("q", **options)


async def exhausted(events: Any) -> None:
    async for _ in events:
        pass


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: graph().run("q", budget=3), "'budget' of graph.run(). Did you mean 'budget_usd'?"),
    (lambda: graph().run_sync("q", session="s"), "'session' of graph.run_sync(). Did you mean 'session_id'?"),
    (lambda: graph().resume("r", answer={}), "'answer' of graph.resume(). Did you mean 'answers'?"),
    (lambda: graph().fork("r", at=1, patches={}), "'patches' of graph.fork(). Did you mean 'patch'?"),
    (lambda: graph().rerun("r", time_out=1), "'time_out' of graph.rerun(). Did you mean 'timeout'?"),
    (lambda: graph().add_edge("a", "b", max_iteration=1), "graph.add_edge(). Did you mean 'max_iterations'?"),
    (
        lambda: graph().add_edge("a", "b", condition=len),
        "of graph.add_edge(). Did you mean 'loop_condition'?",
    ),
    (
        lambda: graph().add_conditional_edges("a", len, {}, defualt="b"),
        "of graph.add_conditional_edges(). Did you mean 'default'?",
    ),
    (
        lambda: graph().add_fan_in_edge(["a", "b"], "c", agregator=len),
        "of graph.add_fan_in_edge(). Did you mean 'aggregator'?",
    ),
    (
        lambda: graph().set_interrupt_before("a", time_out=3),
        "of graph.set_interrupt_before(). Did you mean 'timeout'?",
    ),
    (lambda: StateGraph(graph="g"), "'graph' of StateGraph(). Did you mean 'graph_id'?"),
    (lambda: graph().to_mermaid(directions="LR"), "of graph.to_mermaid(). Did you mean 'direction'?"),
    (lambda: StateGraph.from_json("{}", function={}), "of graph.from_json(). Did you mean 'functions'?"),
    (lambda: Executor(graph(), backend=None), "'backend' of Executor(). Did you mean 'state_backend'?"),
    (lambda: Executor(graph()).execute("q", budget_usd=1), "of Executor.execute(). Did you mean 'budget'?"),
    (lambda: Executor(graph()).stream("q", time_out=1), "of Executor.start(). Did you mean 'timeout'?"),
    (lambda: Executor(graph()).resume("q", answer=1), "of Executor.resume(). Did you mean 'answers'?"),
    (lambda: Run("r").approve(id="i"), "'id' of run.approve(). Known: by, interrupt_id."),
    (lambda: Budget(max_token=3), "'max_token' of Budget(). Did you mean 'max_tokens'?"),
    (lambda: mesh_nb.Cache(age="7d"), "'age' of Cache(). Did you mean 'max_age'?"),
    (lambda: mesh_nb.tool(time_out=3)(double), "'time_out' of tool(). Did you mean 'timeout'?"),
    (lambda: mesh_nb.tool(double, time_out=3), "'time_out' of tool(). Did you mean 'timeout'?"),
    (lambda: mesh_nb.record("t", speeed=1), "'speeed' of record(). Did you mean 'speed'?"),
    (lambda: mesh_nb.runs(limits=3), "'limits' of runs(). Did you mean 'limit'?"),
    (lambda: mesh_nb.from_react_flow({}, tool={}), "'tool' of from_react_flow(). Did you mean 'tools'?"),
    (lambda: mesh_nb.calls_df(sinse="7d"), "'sinse' of calls_df(). Did you mean 'since'?"),
    (lambda: mesh_nb.cost_report(group="model"), "'group' of cost_report(). Known: by, notebook"),
    (
        lambda: graph().compile(checkpointer=1),
        "graph.compile(). Every run is logged and can be",
    ),
    (lambda: mesh_nb.FileBackend(hoome="x"), "'hoome' of FileBackend(). Did you mean 'home'?"),
    (lambda: mesh_nb.SQLiteBackend(file="x"), "'file' of SQLiteBackend(). Known: path."),
    (lambda: Run.load("x", store=1), "'store' of run.load(). Known: backend, run_id."),
    (lambda: mesh_nb.prices.set("m", 1, outputs=2), "'outputs' of prices.set(). Did you mean 'output'?"),
    (lambda: mesh_nb.limits.set("openai", concurency=3), "of limits.set(). Did you mean 'concurrency'?"),
    (lambda: mesh_nb.compare("q", ["demo"], budget=1), "'budget' of compare(). Did you mean 'budget_usd'?"),
]


@pytest.mark.parametrize(("call", "says"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_an_option_that_does_not_exist_is_named(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        call()
    assert says in str(error.value)
    assert str(error.value).startswith("Unknown option ")


async def test_a_stream_says_so_when_it_is_read() -> None:
    with pytest.raises(UnknownNameError, match=r"of graph.run\(\). Did you mean 'timeout'"):
        await exhausted(graph().stream("q", time_out=1))


def test_signatures_and_documentation_stay() -> None:
    assert list(inspect.signature(StateGraph.add_edge).parameters)[:3] == ["self", "source", "target"]
    assert (StateGraph.run.__doc__ or "").startswith("Start a run")
    assert inspect.signature(Budget).parameters.keys() >= {"usd", "max_tokens"}


def test_a_tool_made_at_once_has_its_options_too() -> None:
    made = mesh_nb.tool(lambda city: city, name="look", timeout=5)
    assert (made.name, made.timeout) == ("look", 5)


PLACED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: graph().run(),
        "graph.run() needs 'input': it takes (input); the rest are options, given by name.",
    ),
    (
        lambda: graph().run("q", "s"),
        "graph.run() takes (input); the rest are options, given by name, and was",
    ),
    (lambda: graph().fork("r"), "graph.fork() needs 'at': it takes (run_id); the rest are options"),
    (lambda: graph().add_edge("a"), "graph.add_edge() needs 'target': it takes (source, target)"),
    (lambda: graph().add_node(), "graph.add_node() needs 'node_id': it takes (node_id, node_or_config, node"),
    (lambda: Run("r").fork(), "run.fork() needs 'at': it takes nothing by position; the rest are options"),
    (lambda: mesh_nb.batch("m"), "batch() needs 'inputs': it takes (model, inputs)"),
    (lambda: Executor(), "Executor() needs 'graph': it takes (graph, state_backend)."),
    (lambda: mesh_nb.runs(1, None, 3), "runs() takes (limit, backend), and was given more."),
]


@pytest.mark.parametrize(("call", "says"), PLACED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_call_with_too_much_or_too_little_is_told(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert says in str(error.value)
    assert error.value.__context__ is None


def test_a_type_error_inside_stays_what_it_is() -> None:
    class Odd:
        def __bool__(self) -> bool:
            raise TypeError("odd")

    with pytest.raises(TypeError, match="odd"):
        Executor(graph(), Odd())  # pyright: ignore[reportArgumentType]
