"""What the log of every run must keep to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mesh_nb import FileBackend
from mesh_nb.core.events import ExecutionEvent


def of(events: Any, kind: str) -> list[Any]:
    return [e for e in getattr(events, "events", events) if e.type == kind]


def check_log(events: list[ExecutionEvent]) -> None:
    """Seq is gapless; no model call or tool call is told as finished twice; all that began has ended."""
    assert [e.seq for e in events] == list(range(len(events)))
    calls = [e.metadata["call_id"] for e in of(events, "response_metadata")]
    assert len(calls) == len(set(calls))
    began = [e.metadata["call_id"] for e in of(events, "model_call_start")]
    assert sorted(began) == sorted(calls)
    tools = [
        (e.node_id, e.metadata.get("visit", 0), e.metadata["tool_call_id"])
        for e in of(events, "tool_call_complete")
        if e.metadata["status"] == "ok"
    ]
    assert len(tools) == len(set(tools))
    assert len(of(events, "message_start")) == len(of(events, "message_complete"))
    completed = [(e.node_id, e.metadata.get("visit", 0)) for e in of(events, "node_complete")]
    assert len(completed) == len(set(completed))


def cut_logs(home: Path, run_id: str) -> Iterator[tuple[int, FileBackend]]:
    """Yield, for each event of a run's log but the last, how many events come before it and a log that ends
    there, as a process that is killed leaves it."""
    folder = home / ".mesh"
    lines = (folder / "runs" / f"{run_id}.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(2, len(lines)):
        other = home / f"cut{cut}"
        (other / ".mesh" / "runs").mkdir(parents=True)
        shutil.copytree(folder / "blobs", other / ".mesh" / "blobs")
        (other / ".mesh" / "runs" / f"{run_id}.jsonl").write_bytes(b"".join(lines[:cut]))
        yield cut - 1, FileBackend(other)
