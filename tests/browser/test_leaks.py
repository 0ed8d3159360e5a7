"""What many runs in one page leave behind in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gated_chat import ChatServer, reasoning, text
from lab import LabServer, Notebook, Visit

FEW, MANY = 10, 40
GRAPH = """
import mesh_nb
g = mesh_nb.StateGraph("two")
for name in ("one", "two"):
    g.add_node(name, None, node_type="llm", model="m")
g.add_edge("one", "two").set_entry_point("one")
"""
# The class of a run's store in the page, from one that has no model.
FEED = """
(async () => {
  const [slot] = Object.values(globalThis.mesh_nb);
  const feed = (await slot.hub).open({ get() {}, send() {}, on() {}, off() {} });
  feed.close();
  return Object.getPrototypeOf(feed);
})()
"""


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


class Memory:
    """What is alive in a page once its garbage has been collected."""

    def __init__(self, guest: Visit) -> None:
        self._cdp = guest.page.context.new_cdp_session(guest.page)
        self._cdp.send("Performance.enable")

    def counts(self) -> dict[str, int]:
        """Return how many runs' stores, shadow roots, DOM nodes and listeners there are, and bytes."""
        for _ in range(3):
            self._cdp.send("HeapProfiler.collectGarbage")
        metrics = {m["name"]: int(m["value"]) for m in self._cdp.send("Performance.getMetrics")["metrics"]}
        names = ("Nodes", "JSEventListeners", "JSHeapUsedSize")
        return {
            "roots": self._alive("ShadowRoot.prototype"),
            "feeds": self._alive(FEED) - 1,  # without the one that FEED makes
            **{name: metrics[name] for name in names},
        }

    def _alive(self, expression: str) -> int:
        prototype = self._cdp.send("Runtime.evaluate", {"expression": expression, "awaitPromise": True})
        found = self._cdp.send(
            "Runtime.queryObjects", {"prototypeObjectId": prototype["result"]["objectId"]}
        )["objects"]
        length = self._cdp.send(
            "Runtime.callFunctionOn",
            {
                "objectId": found["objectId"],
                "functionDeclaration": "function() { return this.length; }",
                "returnByValue": True,
            },
        )["result"]["value"]
        self._cdp.send("Runtime.releaseObject", {"objectId": found["objectId"]})
        return length


def run(notebook: Notebook, times: int) -> None:
    for _ in range(times):
        notebook.execute(1)
        notebook.output(1).get_by_text("The answer.").first.wait_for()
        notebook.output(1).get_by_role("button", name="Stop").wait_for(state="detached")


def test_forty_runs_leave_nothing_alive_in_the_page(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    chat.models["m"] = [reasoning("Thinking."), text("The answer.\n\n| a | b |\n|---|---|\n| 1 | $x^2$ |\n")]
    first = f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb"
    notebook = guest.open(lab, lab.write("leaks.ipynb", first + GRAPH, "%%mesh -g g\nGo."))
    notebook.execute(0)
    memory = Memory(guest)
    run(notebook, FEW)
    before = memory.counts()
    run(notebook, MANY - FEW)
    after = memory.counts()
    grown = {name: (after[name] - before[name]) / (MANY - FEW) for name in before}
    assert after["roots"] <= before["roots"] + 1, grown
    assert after["feeds"] <= before["feeds"] + 1, grown
    # JupyterLab keeps a little of each execution itself; one live view is some 200 nodes.
    assert grown["Nodes"] < 20, grown
    assert grown["JSEventListeners"] < 10, grown
    assert grown["JSHeapUsedSize"] < 250_000, grown
