"""mesh_nb beside its peers: what the shared benchmark scripts measure, named by MESH_NB_ADAPTER.

Each function is optional, imports the package inside, and returns what the scripts call; a case is added by
adding its function here: stream(url, model, api), sleep3(seconds), durable(n, path), frame(path).
"""

VENV = "mesh_nb"
PACKAGES = ["mesh_nb"]
IMPORTS = {"mesh_nb": "import mesh_nb", "mesh_nb StateGraph": "from mesh_nb import StateGraph, Executor"}
APIS = ("chat", "responses", "anthropic")


def stream(url, model, api="chat"):
    """One llm node, every event logged to a file; yields the text of token events, None for others."""
    import tempfile

    import mesh_nb

    where = {"provider": "anthropic"} if api == "anthropic" else {"provider": "openai", "api": api}
    graph = mesh_nb.StateGraph()
    graph.add_node(
        "llm", None, node_type="llm", model=model, base_url=url + "/v1", api_key="sk-mock", **where
    )
    compiled = graph.set_entry_point("llm").compile()
    backend = mesh_nb.FileBackend(tempfile.mkdtemp(prefix="mesh-bench-"))

    async def run():
        async for event in mesh_nb.Executor(compiled, backend).execute("hi"):
            yield event.content if event.type == "token" else None

    return run


def _noop():
    import mesh_nb

    class Noop(mesh_nb.BaseNode):
        async def execute(self, input, context):
            return input

    return Noop


def _counting(graph, extra=0):
    """Return `run()`, which executes the graph, every event logged in memory, and counts completed nodes."""
    import mesh_nb

    compiled = graph.compile()

    async def run():
        done = -extra
        async for event in mesh_nb.Executor(compiled).execute("x"):
            done += event.type == "node_complete"
        return done

    return run


def chain(n):
    import mesh_nb

    node, graph = _noop(), mesh_nb.StateGraph()
    ids = [f"n{k}" for k in range(n)]
    for node_id in ids:
        graph.add_node(node_id, node)
    return _counting(graph.set_entry_point("n0").add_sequence(ids))


def fanout(n):
    import mesh_nb

    node, graph = _noop(), mesh_nb.StateGraph()
    ids = [f"n{k}" for k in range(n)]
    for node_id in ["root", *ids, "join"]:
        graph.add_node(node_id, node)
    graph.set_entry_point("root").add_parallel_edges("root", ids).add_fan_in_edge(ids, "join")
    return _counting(graph, extra=2)


def cycle(n):
    import mesh_nb

    node, graph = _noop(), mesh_nb.StateGraph()
    graph.add_node("a", node).add_node("b", node).set_entry_point("a").add_edge("a", "b")
    graph.add_edge("b", "a", is_loop_edge=True, loop_condition=lambda s, o: True, max_iterations=n // 2 - 1)
    return _counting(graph)


def sleep3(delay):
    import asyncio

    import mesh_nb

    class Sleep(mesh_nb.BaseNode):
        async def execute(self, input, context):
            await asyncio.sleep(delay)
            return input

    graph = mesh_nb.StateGraph()
    for node_id in "abc":
        graph.add_node(node_id, Sleep)
    return _counting(graph.set_entry_point("a").add_sequence(["a", "b", "c"]))


async def durable(n, path):
    """Return two cases: n token events and one boundary, which leaves all of them with the operating system;
    and n boundaries."""
    import itertools
    import os

    from mesh_nb.backends.file import FileBackend
    from mesh_nb.core.events import EventType, ExecutionEvent

    backend, numbers = FileBackend(os.path.dirname(path)), itertools.count()
    shared = {"node_type": "llm", "model": "gpt-x", "provider": "openai"}

    def case(kind, last):
        async def run():
            run_id = f"run-{next(numbers)}"
            log = backend.open(run_id, {})
            for seq in range(n - 1):
                log.append(ExecutionEvent(kind, "llm", " token", metadata=shared, run_id=run_id, seq=seq))
            log.append(ExecutionEvent(last, "llm", metadata=shared, run_id=run_id, seq=n - 1))
            log.close()
            return n

        return run

    async def close():
        return None

    return {
        "tokens": case(EventType.TOKEN, EventType.NODE_COMPLETE),
        "boundaries": case(EventType.STEP_START, EventType.NODE_COMPLETE),
    }, close


def frame(path):
    """Return calls_df of the benchmark's log, which names the model "model" where ours says "model_id"."""
    import dataclasses
    from pathlib import Path

    from mesh_nb.frames import _calls, calls
    from mesh_nb.frames._columns import Table
    from mesh_nb.frames._load import fill

    columns = [dataclasses.replace(c, path="model") if c.name == "model" else c for c in calls.COLUMNS]
    table = Table(columns)
    fill(table, Path(path), _calls.TYPES, lambda run_id: calls._Fold(run_id, "logged"))
    return table.frame()


def cost_report(df):
    groups = df.groupby(["model", "node_id"]).agg(
        cost=("cost_usd", "sum"), tokens=("total_tokens", "sum"), calls=("order", "count")
    )
    return len(groups), float(groups.cost.sum()), int(groups.tokens.sum())
