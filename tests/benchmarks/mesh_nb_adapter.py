"""mesh_nb beside its peers: what the shared benchmark scripts measure, named by MESH_NB_ADAPTER.

Each function is optional, imports the package inside, and returns what the scripts call; a case is added by
adding its function here: stream(url, model, api), sleep3(seconds), durable(n, path), frame(path).
"""

VENV = "mesh_nb"
PACKAGES = ["mesh_nb"]
IMPORTS = {"mesh_nb": "import mesh_nb", "mesh_nb StateGraph": "from mesh_nb import StateGraph, Executor"}


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
