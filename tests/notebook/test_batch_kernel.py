"""A batch in a real kernel and in a terminal's IPython: what an interrupt leaves, and what a cell says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, gate, text
from kernels import GIVE_UP, WIDGET_VIEW, Kernel, kernel_env

pytestmark = pytest.mark.kernel

ASK = "rows = mesh.batch('m', ['a', 'b', 'c'], concurrency=2{})\n{}"
STATE = """
import asyncio, gc
gc.collect()
print([task.get_name() for task in asyncio.all_tasks() if "mesh" in task.get_name()], rows.done, rows.counts,
      [run.status for run in mesh.runs(2)])
"""
STOPPED = "[] True {'cancelled': 2, 'not started': 1} ['cancelled', 'cancelled']"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("Half"), gate("never"), text(" more")]
        yield server


@pytest.fixture
def env(server: ChatServer, tmp_path: Path) -> dict[str, str]:
    home = str(tmp_path)
    own = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-x", "MESH_HOME": home}
    return kernel_env(**own, IPYTHONDIR=home, TERM="xterm")


def asked(server: ChatServer, number: int) -> None:
    deadline = time.monotonic() + GIVE_UP
    while len(server.requests) < number:
        assert time.monotonic() < deadline, f"{len(server.requests)} of {number} requests came"
        time.sleep(0.02)
    assert len(server.requests) == number


@pytest.mark.parametrize("live", [True, False])
def test_an_interrupt_stops_every_run_and_the_rows_stay(
    env: dict[str, str], server: ChatServer, tmp_path: Path, live: bool
) -> None:
    ways = [("", "await rows"), (", background=True", "await rows"), (", background=True", "rows.wait()")]
    with Kernel(tmp_path, env) as kernel:
        kernel.run("import mesh_nb as mesh")
        for n, way in enumerate(ways, 1):
            sent = kernel.send(ASK.format(*way), stdin=live)
            asked(server, 2 * n)
            kernel.interrupt()
            cell = kernel.finish(sent)
            assert cell.error["ename"] == "MeshInterrupted"
            assert cell.error["evalue"] == "Stopped: 0 of 3 rows are complete."
            (output,) = cell.outputs
            assert WIDGET_VIEW not in output["data"]
            assert "2 cancelled · 1 not started" in output["data"]["text/plain"]
            assert kernel.run(STATE).stdout.strip() == STOPPED


def test_a_cell_that_does_not_wait_says_so_and_nothing_is_paid_twice(
    env: dict[str, str], server: ChatServer, tmp_path: Path
) -> None:
    with Kernel(tmp_path, env) as kernel:
        kernel.run("import mesh_nb as mesh")
        cell = kernel.run(ASK.format("", "rows.wait()"), stdin=False)
        assert cell.error["ename"] == "InputError"
        cell = kernel.run("print(rows.counts['running'])", stdin=False)
        assert cell.stdout.strip() == "2"
        server.open("never")
        kernel.run("await rows")
        assert kernel.run("print(rows.texts)").stdout.strip() == "['Half more', 'Half more', 'Half more']"
        asked(server, 3)
        cell = kernel.run(ASK.format("", "await rows"), stdin=False)
        (output,) = cell.outputs
        assert "3 of 3 rows complete" in output["data"]["text/plain"]
        assert len(server.requests) == 3


def test_static_output_of_a_cell_that_does_not_wait_comes_in_its_place(
    env: dict[str, str], server: ChatServer, tmp_path: Path
) -> None:
    with Kernel(tmp_path, env) as kernel:
        kernel.run("import mesh_nb as mesh")
        sent = kernel.send(ASK.format("", ""), stdin=False)
        (output,) = kernel.finish(sent).outputs
        assert "its batch goes on" in output["data"]["text/plain"]
        server.open("never")
        kernel.run("await rows")
        late = kernel.until(lambda m: m["msg_type"] == "update_display_data")[-1]
        assert late["content"]["transient"] == output["transient"]
        assert "3 of 3 rows complete" in late["content"]["data"]["text/plain"]


def test_a_failing_row_does_not_stop_run_all(env: dict[str, str], tmp_path: Path) -> None:
    graph = "mesh.StateGraph('t').add_node('f', lambda input: 1 / input['input']).set_entry_point('f')"
    with Kernel(tmp_path, env) as kernel:
        cell = kernel.run(
            f"import mesh_nb as mesh\nrows = await mesh.batch({graph}, [1, 0])\nrows", stdin=False
        )
        assert cell.status == "ok"
        (output,) = cell.outputs
        assert "1 failed" in output["data"]["text/plain"]


@pytest.mark.parametrize("way", ["", ", background=True"])
def test_ctrl_c_in_a_terminals_ipython_stops_the_batch(
    env: dict[str, str], server: ChatServer, way: str
) -> None:
    pexpect = pytest.importorskip("pexpect", reason="There are no pseudo-terminals here.")
    words = ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"]
    shell: Any = pexpect.spawn(sys.executable, words, env=env, timeout=GIVE_UP, encoding="utf-8", echo=False)
    try:
        shell.expect_exact("In [1]: ")
        shell.sendline("import mesh_nb as mesh")
        shell.expect_exact("In [2]: ")
        shell.sendline(f"rows = mesh.batch('m', ['a', 'b', 'c'], concurrency=2{way}); await rows")
        shell.expect_exact("2 running")
        asked(server, 2)
        shell.sendintr()
        shell.expect_exact("In [3]: ")
        assert "MeshInterrupted: Stopped: 0 of 3 rows are complete." in shell.before
        shell.sendline("print(rows.done, rows.counts)")
        shell.expect_exact("True {'cancelled': 2, 'not started': 1}")
    finally:
        shell.close(force=True)


SCRIPT = """
import asyncio
import mesh_nb as mesh
rows = None
async def main():
    global rows
    rows = mesh.batch("m", ["a", "b", "c"], concurrency=2)
    {waits}
try:
    {runs}
except KeyboardInterrupt:
    print(rows.done, rows.counts, [run.status for run in mesh.runs()])
"""
IN_SCRIPTS = {
    "wait": ("", "rows = mesh.batch('m', ['a', 'b', 'c'], concurrency=2); rows.wait()"),
    "await": ("await rows", "asyncio.run(main())"),
    "beside": ("await asyncio.Event().wait()", "asyncio.run(main())"),
}


@pytest.mark.parametrize(("waits", "runs"), IN_SCRIPTS.values(), ids=IN_SCRIPTS)
def test_ctrl_c_in_a_script_leaves_an_ending_for_every_run(
    env: dict[str, str], server: ChatServer, waits: str, runs: str
) -> None:
    script = SCRIPT.format(waits=waits or "pass", runs=runs)
    child = subprocess.Popen(
        [sys.executable, "-W", "always", "-c", script],
        env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    asked(server, 2)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=GIVE_UP)
    assert out.strip() == "True {'cancelled': 2, 'not started': 1} ['cancelled', 'cancelled']"
    assert "Task" not in err


def test_a_batch_that_was_stopped_goes_on_when_its_cell_is_run_again(
    env: dict[str, str], server: ChatServer, tmp_path: Path
) -> None:
    ask = "rows = await mesh.batch('m', {}, concurrency=1)"
    with Kernel(tmp_path, env) as kernel:
        kernel.run("import mesh_nb as mesh")
        server.models["m"] = [text("Whole")]
        kernel.run(ask.format(["a"]))
        server.models["m"] = [text("Half"), gate("never"), text(" more")]
        sent = kernel.send(ask.format(["a", "b", "c"]))
        asked(server, 2)
        kernel.interrupt()
        told = "Stopped: 1 of 3 rows are complete. Run again, it asks only for the others."
        assert kernel.finish(sent).error["evalue"] == told
        server.open("never")
        kernel.run(ask.format(["a", "b", "c"]))
        assert kernel.run("print(rows.texts)").stdout.strip() == "['Whole', 'Half more', 'Half more']"
        asked(server, 4)
        ends = "print(sorted(run.status for run in mesh.runs()))"
        assert kernel.run(ends).stdout.strip() == str(["cancelled", *["completed"] * 5])
