"""SDKs are imported once, when needed, in a thread: the loop goes on, and a demo run needs none.

Each test is a fresh interpreter, because this one has imported them long ago.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = ["openai", "anthropic", "google.genai", "httpx2", "httptools", "pydantic", "pandas", "genai_prices"]


def fresh(program: str, **values: Any) -> dict[str, Any]:
    """Run a program in an interpreter of its own; it reads `given` and prints one JSON object at the end."""
    head = f"import json, sys\ngiven = json.loads({json.dumps(values)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", head + program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


TICKING = """
import asyncio, threading
import mesh_nb as mesh

began, on_main = [], []

class Noting:
    def find_spec(self, name, path=None, target=None):
        if name == given["sdk"]:
            began.append(name)
            on_main.append(threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Noting())

async def main():
    before = [name for name in given["heavy"] if name in sys.modules]
    graph = mesh.StateGraph()
    for i in range(3):
        graph.add_node(f"llm{i}", None, node_type="llm", model="m", provider=given["provider"],
                       base_url="http://127.0.0.1:9", api_key="x", max_retries=0)
    graph.add_node("fork", lambda input: input).set_entry_point("fork")
    graph.add_parallel_edges("fork", ["llm0", "llm1", "llm2"])

    async def run():
        try:
            async for event in mesh.Executor(graph).execute("hi"):
                pass
        except mesh.NodeExecutionError as error:
            return type(error.cause).__name__

    turns = {"before": 0, "during": 0}
    task = asyncio.create_task(run())
    while not task.done():
        turns["during" if began and given["last"] not in sys.modules else "before"] += 1
        await asyncio.sleep(0)
    print(json.dumps({"before": before, "imports": began, "on the loop's thread": on_main,
                      "turns": turns["during"], "error": task.result()}))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("provider", "sdk", "last"),
    [
        ("openai", "openai", "openai.resources.responses"),
        ("anthropic", "anthropic", "anthropic.resources.messages"),
    ],
)
def test_an_sdk_is_imported_once_in_a_thread_while_the_loop_ticks(provider: str, sdk: str, last: str) -> None:
    seen = fresh(TICKING, provider=provider, sdk=sdk, last=last, heavy=HEAVY)
    assert seen["before"] == [], "importing mesh_nb imports none of them"
    assert seen["imports"] == [sdk], "three nodes that start at once import it once"
    assert seen["on the loop's thread"] == [False]
    assert seen["turns"] > 10
    assert seen["error"] == "ProviderError"


DEMO = """
import asyncio, time
import mesh_nb as mesh

async def main():
    graph = mesh.StateGraph().add_node("llm", None, node_type="llm", model="demo").set_entry_point("llm")
    at_first, words = None, 0
    async for event in mesh.Executor(graph).execute("hi"):
        if event.type == "token":
            words += 1
            if at_first is None:
                at_first = [name for name in given["heavy"] if name in sys.modules]
    print(json.dumps({"at the first token": at_first, "words": words > 0,
                      "at the end": [name for name in given["sdks"] if name in sys.modules]}))

asyncio.run(main())
"""


def test_a_demo_run_imports_no_sdk() -> None:
    sdks = ["openai", "anthropic", "google.genai", "httpx2"]
    seen = fresh(DEMO, heavy=HEAVY, sdks=sdks)
    assert seen == {"at the first token": [], "words": True, "at the end": []}


NAMED = """
import mesh_nb as mesh
from mesh_nb.core import plugins

for name in plugins.names("provider"):
    plugins.find("provider", name)
mesh.StateGraph().add_node("llm", None, node_type="llm", model="no-such-model-anywhere")
print(json.dumps([name for name in given["heavy"] if name in sys.modules]))
"""


def test_finding_a_provider_imports_no_sdk() -> None:
    assert fresh(NAMED, heavy=HEAVY) == []
