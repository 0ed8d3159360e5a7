"""Random runs whose process is killed, and that another process resumes.

The program of a run follows from its seed, the answers of its server from the requests; so a run that was
killed must come out as one that was not. This file is also the program of the processes: it forks one for
each run that it reads of, so that only the first pays for the imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from random_programs import named, produced
from run_logs import check_log, of
from tool_chat import ToolChat

import mesh_nb
from mesh_nb import FileBackend, StateGraph
from mesh_nb.core.executor import Executor
from mesh_nb.nodes.llm import LLMNode

MOST_LEAVES = 7


class DigestChat(ToolChat):
    """A server whose answer is a digest of the question, sent slowly enough to be killed in."""

    def __init__(self) -> None:
        super().__init__()
        cast("Any", self._server).handle_error = lambda *_: None  # What is killed resets its connections.

    def deltas(self, body: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
        asked = json.dumps(body["messages"][-1]["content"])
        digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
        if body.get("tools") and body["messages"][-1]["role"] != "tool":
            function = {"name": "look", "arguments": json.dumps({"city": digest})}
            yield {"tool_calls": [{"index": 0, "id": digest, "type": "function", "function": function}]}, None
            yield {}, "tool_calls"
            return
        yield {"role": "assistant", "content": ""}, None
        for n in range(0, 12, 4):
            time.sleep(0.001)
            yield {"content": digest[n : n + 4]}, None
        yield {}, "stop"


def drawn(chance: random.Random, leaves: int) -> tuple[Any, ...]:
    """Draw a program, as `test_random_graphs.blocks()` does."""
    if leaves == 1:
        return ("leaf",)
    kind = chance.choice(["row", "fork", "fork", "loop", "inner"])
    if kind in ("loop", "inner"):
        inside = drawn(chance, leaves - 1)
        return (kind, inside, 1) if kind == "loop" else (kind, inside)
    first = chance.randint(1, leaves - 1)
    parts = [drawn(chance, first), drawn(chance, leaves - first)]
    return (kind, parts, chance.random() < 0.3) if kind == "fork" else (kind, parts)


def graph_of(seed: int, base_url: str) -> StateGraph:
    """Return the graph of a seed: models with and without tools, and plain nodes."""
    chance = random.Random(seed)
    program = named(drawn(chance, chance.randint(2, MOST_LEAVES)))

    def look(city: str) -> str:
        """Look at a city."""
        return city[::-1]

    def make(name: str) -> type[Any]:
        kind = sum(name.encode()) % 4

        class Plain(mesh_nb.BaseNode):
            async def execute(self, input: Any, context: Any) -> Any:
                await asyncio.sleep(0.001)
                return produced(name, input)

        class Model(LLMNode):
            def __init__(self, id: str) -> None:
                tools = [look] if kind == 1 else []
                super().__init__(id, model="m", base_url=base_url, api_key="k", tools=tools, max_retries=0)

        return Plain if kind == 0 else Model

    graph = StateGraph(f"crash{seed}").set_entry_point(program.entry)
    program.build(graph, make)
    return graph


async def execute(home: str, seed: int, base_url: str, run_id: str) -> None:
    """Run the graph of a seed, or go on with the run when the log has it."""
    executor = Executor(graph_of(seed, base_url), FileBackend(home))
    known = (FileBackend(home).folder / "runs" / f"{run_id}.jsonl").exists()
    events = executor.resume(run_id) if known else executor.start({"content": "question"}, run_id=run_id)
    async for _ in events:
        pass


class Processes:
    """Starts processes: a server of forks."""

    def __enter__(self) -> Processes:
        environ = {**os.environ, "PYTHONPATH": str(Path(mesh_nb.__file__).parents[1])}
        command = [sys.executable, __file__]
        self._process: Any = subprocess.Popen(command, stdin=-1, stdout=-1, bufsize=0, env=environ)
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, *arguments: Any) -> int:
        """Start a process that executes, and return its id."""
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        return int(self._process.stdout.readline())

    def has_ended(self, seconds: float) -> bool:
        """Say whether the process ends within so many seconds."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def ended(self) -> int:
        """Wait for the end of the process, and return its status: minus the signal that killed it."""
        return int(self._process.stdout.readline())


def serve() -> None:
    """Fork a process for each line that is read; print its id, then its status."""
    with DigestChat() as server, tempfile.TemporaryDirectory() as home:
        asyncio.run(execute(home, 0, server.base_url, "first"))  # This imports what all will need.
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(execute(*json.loads(line)))
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


@dataclasses.dataclass
class Tally:
    """What a number of crashes came to."""

    runs: int = 0
    kills: int = 0
    calls: int = 0
    paid_twice: int = 0
    in_flight: int = 0


def crash(seed: int, home: Path, server: ToolChat, processes: Processes, tally: Tally) -> None:
    """Run a seed once to its end, then once with its process killed, and compare."""
    asyncio.run(execute(str(home / "whole"), seed, server.base_url, f"run-{seed}"))
    whole = FileBackend(home / "whole").load(f"run-{seed}")
    calls, chance = len(of(whole.events, "response_metadata")), random.Random(seed + 1)
    backend, run_id, before = FileBackend(home / "killed"), f"run-{seed}", server.calls
    folder, allowed = backend.folder / "runs", 0
    size = _written(FileBackend(home / "whole").folder / "runs", run_id)
    for _ in range(chance.choice([1, 1, 2])):
        pid = processes.start(str(home / "killed"), seed, server.base_url, run_id)
        target, pause = chance.randrange(size), chance.uniform(0, 0.01)
        while _written(folder, run_id) < target and not processes.has_ended(0.002):
            pass
        time.sleep(pause)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = processes.ended()
        assert status in (0, -signal.SIGKILL), status
        if not (events := _events(backend, run_id)):
            continue  # It was killed before it began.
        if events[-1].type == "execution_complete":
            break
        tally.kills += 1
        allowed += _active(events)
    events = _events(backend, run_id)
    if not events or events[-1].type != "execution_complete":
        processes.start(str(home / "killed"), seed, server.base_url, run_id)
        assert processes.ended() == 0
    _compare(seed, whole.events, backend.load(run_id).events)
    made = server.calls - before
    assert calls <= made <= calls + allowed, (
        f"seed {seed}: {made} calls, {calls} of them needed, {allowed} open"
    )
    tally.runs += 1
    tally.calls += calls
    tally.paid_twice += made - calls
    tally.in_flight += allowed


def _compare(seed: int, whole: list[Any], killed: list[Any]) -> None:
    assert killed[-1].type == "execution_complete", seed
    assert killed[-1].output == whole[-1].output, seed
    check_log(killed)
    outputs = [
        {(e.node_id, e.metadata.get("visit", 0)): e.output for e in of(events, "node_complete")}
        for events in (whole, killed)
    ]
    assert outputs[0] == outputs[1], seed


def _events(backend: FileBackend, run_id: str) -> list[Any]:
    return backend.load(run_id).events if run_id in backend.run_ids() else []


def _written(folder: Path, run_id: str) -> int:
    """Return how many bytes of a run are on the disk."""
    return sum(path.stat().st_size for path in folder.glob(f"{run_id}.*jsonl"))


def _active(events: list[Any]) -> int:
    """Return how many visits of nodes were under way where a log ends: each may have had a call in flight."""
    active: set[tuple[str, int]] = set()
    for event in events:
        visit = event.node_id, event.metadata.get("visit", 0)
        if event.type == "node_start":
            active.add(visit)
        elif event.type == "node_complete":
            active.discard(visit)
    hosts = {node_id.rpartition(".")[0] for node_id, _ in active}
    return sum(node_id not in hosts for node_id, _ in active)


def crashes(seeds: Any, home: Path) -> Tally:
    """Crash the runs of many seeds, two at a time."""
    tally, left, lock, failed = Tally(), list(seeds), threading.Lock(), list[BaseException]()

    def work() -> None:
        try:
            with DigestChat() as server, Processes() as processes:
                while left and not failed:
                    with lock:
                        seed = left.pop(0) if left else None
                    if seed is not None:
                        crash(seed, home / str(seed), server, processes, tally)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return tally


if __name__ == "__main__":
    serve()
