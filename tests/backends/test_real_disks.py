"""Runs whose log cannot be written, for reasons that come from the operating system itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import mesh_nb

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX")

RUN = """
import asyncio, os, resource, signal, sys
import mesh_nb
from mesh_nb import FileBackend, MemoryBackend, StateGraph

backend = FileBackend(sys.argv[1])
SPOILED = None

async def text(input):
    for n in range(40):
        yield "word " * 40
        await asyncio.sleep(0)

def last(input):
    REPAIR()
    return {"content": "done"}

graph = StateGraph("g").add_node("one", text).add_node("two", text).add_node("last", last)
graph.chain("START", "one", "two", "last")
SPOIL()
run = graph.run_sync("q", backend=backend)
assert run.status == "completed", run.status
print(len(run.events), run.text, sep="|")
print(*run.problems, sep="|")
if not os.path.exists(backend.folder):
    sys.exit()
stored = backend.load(run.id)
assert [e.seq for e in stored.events] == list(range(len(stored.events)))
print(len(stored.events), stored.events[-1].type)
"""

LIMIT = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def SPOIL():
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
def REPAIR():
    if ROOM:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        from mesh_nb.backends import _writer
        _writer.RETRY = 0.0
"""


def run(home: Path, code: str) -> tuple[list[str], str]:
    """Run a graph in a process of its own; return the lines that it printed, and what it wrote to stderr."""
    environ = {**os.environ, "PYTHONPATH": str(Path(mesh_nb.__file__).parents[1]), "HOME": str(home)}
    command = [sys.executable, "-c", RUN.replace("SPOILED = None", code), str(home)]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=home)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines(), ended.stderr


@pytest.mark.parametrize("room", [False, True])
def test_a_file_that_may_not_grow_keeps_its_beginning_and_what_waited(tmp_path: Path, room: bool) -> None:
    lines, told = run(tmp_path, f"ROOM = {room}\n{LIMIT}")
    count, text = lines[0].split("|")
    kept, last = lines[2].split()
    assert text == "done"
    assert told.count("cannot be written") == 1
    if room:
        assert lines[1] == ""
        assert (kept, last) == (count, "execution_complete")
    else:
        assert "too large" in lines[1]
        assert lines[1].count("cannot be written") == 1
        assert 0 < int(kept) < int(count)


STRANGER = """
def SPOIL():
    StateGraph("first").add_node("a", lambda: 1).set_entry_point("a").run_sync("q", backend=MemoryBackend())
    os.setuid(65534)
def REPAIR(): pass
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="it becomes another user")
def test_a_directory_that_is_somebody_elses_does_not_end_the_run() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        lines, told = run(Path(name), STRANGER)
        assert lines[0].endswith("|done")
        assert "cannot be written (Permission denied)" in lines[1]
        assert told.count("cannot be written") == 1
        assert not list(Path(name).iterdir())
