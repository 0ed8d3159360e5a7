"""Cells that build a graph are run again and again: each run replaces what the cell had added before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernels import Cell, Kernel, kernel_env

from mesh_nb import Executor, GraphValidationError, StateGraph
from mesh_nb.core import graph as graph_module
from mesh_nb.core._cells import Origin

Enter = Callable[[str | None, str], None]


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Pretend that a cell, by its id, is being run for the n-th time."""

    def enter(cell: str | None, execution: str) -> None:
        monkeypatch.setattr(graph_module, "origin", lambda: Origin(cell, execution))

    return enter


async def ran(graph: StateGraph) -> list[str]:
    return [e.node_id async for e in Executor(graph).execute("q") if e.type == "node_complete"]


def says(text: str) -> Callable[[], dict[str, str]]:
    return lambda: {"content": text}


async def test_running_a_cell_again_replaces_all_that_it_had_added(cell: Enter) -> None:
    cell("one", "1")
    graph = StateGraph().add_node("a", says("a")).set_entry_point("a")
    cell("two", "2")
    graph.add_node("b", says("b")).add_node("c", says("c")).add_sequence(["a", "b", "c"])
    graph.add_conditional_edges("c", lambda _: "END", ["END"]).set_output("b")
    assert await ran(graph) == ["a", "b", "c"]
    cell("two", "3")
    graph.add_node("b", says("new")).add_edge("a", "b")
    assert await ran(graph) == ["a", "b"]
    assert [*graph.nodes] == ["a", "b"]
    assert (await final(graph))["content"] == "new"


async def final(graph: StateGraph) -> dict[str, Any]:
    return [e async for e in Executor(graph).execute("q")][-1].output


async def test_an_id_taken_twice_in_one_cell_or_by_another_is_refused(cell: Enter) -> None:
    cell("one", "1")
    graph = StateGraph().add_node("a", says("a"))
    with pytest.raises(GraphValidationError, match="already in this graph"):
        graph.add_node("a", says("again"))
    cell("two", "2")
    with pytest.raises(GraphValidationError, match="already in this graph"):
        graph.add_node("a", says("other"))


async def test_without_cell_ids_a_later_run_replaces_by_name(cell: Enter) -> None:
    cell(None, "1")
    graph = StateGraph().add_node("a", says("old")).add_node("b", says("b")).set_entry_point("a")
    graph.add_conditional_edges("a", choose, ["b"])
    with pytest.raises(GraphValidationError, match="already in this graph"):
        graph.add_node("a", says("again"))
    cell(None, "2")
    graph.add_node("a", says("new")).set_entry_point("a").add_conditional_edges("a", choose, ["b"])
    assert await ran(graph) == ["a", "b"]
    assert len(graph.compile().branches) == 1


def choose(_: Any) -> str:
    return "b"


@pytest.mark.kernel
def test_in_a_real_kernel(tmp_path: Path) -> None:
    env = kernel_env(MESH_HOME=str(tmp_path), MESH_LOG="off")
    with Kernel(tmp_path, env) as kernel:

        def run(code: str, cell_id: str) -> Cell:
            content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
            message = kernel.client.session.msg("execute_request", content, metadata={"cellId": cell_id})
            kernel.client.shell_channel.send(message)
            return kernel.finish(message["header"]["msg_id"])

        run("import mesh_nb as mesh\ngraph = mesh.StateGraph()", "1")
        build = """
@graph.node
def {name}(input):
    return {{"content": "{name}"}}

graph.chain("START", {name})
"""
        assert run(build.format(name="first"), "2").status == "ok"
        assert run(build.format(name="first"), "2").status == "ok"
        assert run(build.format(name="second"), "2").status == "ok"
        shown = run("print(*graph.nodes, graph.run_sync('q', display=False).text)", "3")
        assert shown.stdout.split() == ["second", "second"]
        assert "already in this graph" in run(build.format(name="second"), "4").error["evalue"]
