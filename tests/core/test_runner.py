"""Where a run lives, how a thread waits for it, and where it is logged and shown."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from run_doubles import Speaker, forever, graph_of, until

from mesh_nb.core import plugins, runner
from mesh_nb.core.errors import ConfigurationError, InputError, MeshInterrupted, NodeExecutionError
from mesh_nb.core.node import BaseNode
from mesh_nb.core.run import Run
from mesh_nb.core.runs import runs

who = contextvars.ContextVar("who", default="nobody")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    return tmp_path


class Look(BaseNode):
    """Tells where it runs."""

    async def execute(self, input: Any, context: Any) -> Any:
        history = [m["content"] for m in context.chat_history]
        return {
            "content": "seen",
            "loop": id(asyncio.get_running_loop()),
            "thread": threading.current_thread().name,
            "who": who.get(),
            "history": history,
            "variables": dict(context.variables),
        }


def look() -> Any:
    return graph_of(Look("look"))


async def test_a_run_lives_on_the_loop_of_its_caller() -> None:
    who.set("caller")
    run = await look().run("hi")
    assert run.output["loop"] == id(asyncio.get_running_loop())
    assert run.output["who"] == "caller"


async def test_background_runs_live_elsewhere_and_carry_the_context() -> None:
    who.set("cell")
    run = await look().run("hi", background=True)
    assert run.output["loop"] != id(asyncio.get_running_loop())
    assert run.output["who"] == "cell"


def test_without_a_loop_runs_share_one_private_thread() -> None:
    first, second = look().run_sync("hi"), look().run("hi")
    assert second.wait()
    assert first.output["thread"] == second.output["thread"] == "mesh_nb runs"
    assert sum(t.name == "mesh_nb runs" for t in threading.enumerate()) == 1


def test_run_sync_returns_the_finished_run() -> None:
    run = graph_of(Speaker()).run_sync("hi")
    assert run.status == "completed"
    assert run.text == "Hello world"


async def test_run_sync_works_inside_a_running_loop() -> None:
    run = look().run_sync("hi")
    assert run.output["loop"] != id(asyncio.get_running_loop())


def test_run_sync_raises_what_failed() -> None:
    with pytest.raises(NodeExecutionError, match="speaker") as caught:
        graph_of(Speaker(fails=ValueError("no"))).run_sync("hi")
    assert caught.value.run.text == "Hello world"


def test_run_sync_inside_a_run_is_refused_rather_than_waiting_for_itself() -> None:
    class Inner(BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            return look().run_sync("inner")

    with pytest.raises(NodeExecutionError) as caught:
        graph_of(Inner("inner")).run_sync("hi")
    assert isinstance(caught.value.cause, InputError)


def test_a_cancelled_run_sync_is_an_interrupt_that_keeps_what_was_there() -> None:
    node = Speaker(wait=forever)
    graph = graph_of(node)

    def stop() -> None:
        while not (found := [r for r in runs() if r.status == "running" and r.text]):
            continue
        Run.load(found[0].id).cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(MeshInterrupted) as caught:
        graph.run_sync("hi")
    thread.join()
    assert caught.value.run.text == "Hello world"
    assert node.closed


INTERRUPTED = """
import asyncio, threading, time
from mesh_nb.core.errors import MeshInterrupted
from run_doubles import Speaker, forever, graph_of
class Quiet(Speaker):
    async def run(self, input, context):
        try:
            async for event in super().run(input, context):
                yield event
        finally:
            print("closed", flush=True)
async def quiet():
    print("waiting", flush=True)
    await forever()
node = Quiet(wait=quiet)
try:
    graph_of(node).run_sync("hi")
except MeshInterrupted as stop:
    print(stop.run.status, stop.run.text, flush=True)
except BaseException as other:
    print("wrong", repr(other), flush=True)
"""


def test_ctrl_c_cancels_a_quiet_run_and_keeps_what_was_there(project: Path) -> None:
    doubles = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True, env=doubles
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate()[0].splitlines() == ["closed", "cancelled Hello world"]
    assert child.returncode == 0
    assert runs()[0].status == "cancelled"


LEFT = """
from run_doubles import Speaker, forever, graph_of
async def quiet():
    print("waiting", flush=True)
    await forever()
run = graph_of(Speaker(wait=quiet)).run("hi")
for _ in iter(input, "go"):
    pass
"""


def test_a_process_that_ends_closes_its_runs(project: Path) -> None:
    doubles = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", LEFT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=doubles
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.communicate("go\n")
    assert child.returncode == 0
    assert runs()[0].status == "cancelled"


FORGOTTEN = """
import asyncio, mesh_nb
async def wait():
    await asyncio.Event().wait()
run = mesh_nb.StateGraph().add_node("wait", wait).set_entry_point("wait").run("hi")
while len(run.events) < 2:
    run.wait(0.005)
print(run.id)
"""


def test_a_script_that_ends_before_its_run_is_told(project: Path) -> None:
    child = subprocess.run([sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, check=True)
    run = Run.load(child.stdout.strip())
    assert run.status == "cancelled"
    assert f"so they are cancelled: {run.id}. In a script, graph.run_sync(...)" in child.stderr


NESTED = """
import asyncio
from run_doubles import Speaker, graph_of
async def main():
    here = asyncio.get_running_loop()
    lock = asyncio.Lock()
    async def use():
        assert asyncio.get_running_loop() is here
        async with lock:
            await asyncio.sleep(0)
    run = graph_of(Speaker(wait=use)).run_sync("hi", nested=True)
    print(run.status, run.text)
import sys
assert "nest_asyncio" not in sys.modules
asyncio.run(main())
assert "nest_asyncio" in sys.modules
"""


def test_nested_runs_on_the_very_loop_that_is_running(project: Path) -> None:
    doubles = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    child = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, env=doubles)
    assert child.stdout == "completed Hello world\n", child.stderr


def test_nested_without_a_loop_needs_no_patch() -> None:
    assert graph_of(Speaker()).run_sync("hi", nested=True).text == "Hello world"


async def test_a_check_that_fails_starts_nothing(project: Path) -> None:
    class Keyless(Speaker):
        def check(self) -> None:
            raise ConfigurationError("Set SOME_KEY.")

    with pytest.raises(ConfigurationError, match="SOME_KEY"):
        graph_of(Keyless()).run("hi")
    assert runs() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_two_runs_of_a_session_at_once_both_add_to_its_history() -> None:
    both = [look().run(text, session_id="both") for text in ("one", "two")]
    assert [(await run).output["history"] for run in both] == [[], []]
    after = (await look().run("three", session_id="both")).output["history"]
    assert sorted(after) == ["one", "seen", "seen", "two"]
    assert after[1::2] == ["seen", "seen"]


async def test_a_session_goes_on_and_runs_without_one_know_nothing() -> None:
    assert (await look().run("one", session_id="s")).output["history"] == []
    assert (await look().run("two", session_id="s")).output["history"] == ["one", "seen"]
    assert (await look().run("three")).output["history"] == []
    assert (await look().run("four", session_id="other")).output["history"] == []
    assert (await look().run("five")).session_id == ""


async def test_variables_reach_the_run() -> None:
    run = await look().run("hi", variables={"a": 1})
    assert run.output["variables"] == {"a": 1}


def test_the_log_can_be_turned_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_LOG", "off")
    run = look().run_sync("hi")
    assert run.status == "completed"
    assert list(project.iterdir()) == []


async def test_a_full_disk_shows_in_the_run_and_does_not_end_it(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / ".mesh").write_text("in the way")
    run = await look().run("hi")
    assert run.status == "completed"
    assert any(".mesh" in p for p in run.problems)


async def test_a_run_is_shown_before_its_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int]] = []

    class Host:
        def show(self, run: Run) -> None:
            shown.append((run.id, len(run.events)))

    monkeypatch.setitem(plugins._registered, ("host", "plain"), Host())
    run = await look().run("hi")
    assert shown == [(run.id, 0)]


async def test_a_host_that_fails_does_not_cost_the_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Host:
        def show(self, run: Run) -> None:
            raise RuntimeError("no comm")

    monkeypatch.setitem(plugins._registered, ("host", "plain"), Host())
    assert (await look().run("hi")).status == "completed"
    assert "no comm" in caplog.text


def test_scripts_use_the_plain_host() -> None:
    assert runner.host_name(None) == "plain"
    assert runner.host_name(True) == "plain"


async def test_many_runs_at_once_do_not_mix() -> None:
    made = [graph_of(Speaker(words=[str(i), "!"])).run(str(i)) for i in range(50)]
    done = await asyncio.gather(*made)
    assert [r.text for r in done] == [f"{i}!" for i in range(50)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_background_run_is_followed_from_here() -> None:
    run = graph_of(Speaker()).run("hi", background=True)
    await until(run, lambda: run.text == "Hello world")
    assert (await run).status == "completed"
