"""The file of a tape: several processes at once, a kill in the middle, damage, secrets, a stable order."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, gate, text

import mesh_nb as mesh
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.tape import Take, Tape
from mesh_nb.testing import ScriptedModel


def take(key: str, *words: str) -> Take:
    events = [ExecutionEvent(EventType.TOKEN, content=word) for word in words]
    return Take(key, {"asked": key}, [(3.0, event) for event in events])


def words(tape: Tape, key: str) -> list[Any] | None:
    found = tape.find(key, "run")
    return None if found is None else [event.content for _, event in found.beats]


def recorded(path: Path, *takes: Take) -> bytes:
    tape = Tape(path)
    for one in takes:
        tape.add(one)
    return path.read_bytes()


WRITER = """
import sys
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.tape import Take, Tape

path, name, mode = sys.argv[1:4]
tape = Tape(path, mode)
print("ready", flush=True)
sys.stdin.readline()
for n in range(40):
    events = [(1.0, ExecutionEvent(EventType.TOKEN, content=f"{name} {n} " + "x" * 3000))]
    tape.add(Take(f"{name}-{n}", {"asked": n}, events))
tape.close()
"""


@pytest.mark.parametrize("mode", ["once", "rewrite", "all"])
def test_two_processes_record_into_one_tape_at_once(tmp_path: Path, mode: str):
    path = tmp_path / "t"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n")
        assert writer.returncode == 0
    tape = Tape(path, "none")
    assert tape.problems == []
    assert sorted(t.key for t in tape._takes()) == sorted(f"{name}-{n}" for name in "ab" for n in range(40))


def test_what_another_process_records_meanwhile_is_found(tmp_path: Path):
    mine, other = Tape(tmp_path / "t"), Tape(tmp_path / "t")
    other.add(take("k", "from the other"))
    assert words(mine, "k") == ["from the other"]
    mine.add(take("l", "mine"))
    other.add(take("m", "its"))
    assert words(mine, "m") == ["its"]
    assert words(other, "l") == ["mine"]


@pytest.mark.parametrize("cut", [1, 2, 7, 30])
def test_a_call_that_was_not_written_to_its_end_is_told_and_the_others_are_there(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "t"
    whole = recorded(path, take("a", "one"))
    data = recorded(path, take("b", "two", "three"))
    path.write_bytes(data[:-cut])
    tape = Tape(path)
    line = whole.count(b"\n") + 2
    assert tape.problems == [
        f"{str(path)!r} breaks off in the call of line {line}, which was not recorded to its end."
    ]
    assert words(tape, "a") == ["one"]
    assert words(tape, "b") is None
    with mesh.record(path) as again:
        assert repr(again) == f"<Tape {str(path)!r}, once: 1 on it, 0 of them new>"
    assert f"line {line}, which was not recorded to its end. The others are there." in caplog.text
    assert f"line {line}" in str(tape.miss({"asked": "b"}, "x"))
    tape.add(take("b", "again"))
    assert Tape(path).problems == []
    assert words(Tape(path), "b") == ["again"]


@pytest.mark.parametrize("kept", [0, 1, 9])
def test_a_tape_that_broke_off_in_its_first_line_is_an_empty_one(tmp_path: Path, kept: int):
    path = tmp_path / "t"
    path.write_bytes(recorded(tmp_path / "whole", take("a", "one"))[:kept])
    tape = Tape(path)
    assert len(tape) == 0
    tape.add(take("a", "two"))
    assert words(Tape(path, "none"), "a") == ["two"]


def test_a_kill_in_the_middle_of_recording_loses_no_call_that_had_ended(tmp_path: Path):
    program = """
import sys
import mesh_nb as mesh
graph = mesh.StateGraph()
for model in ("whole", "cut"):
    graph.add_node(model, None, node_type="llm", model=model, base_url=sys.argv[1], api_key="k")
graph.add_sequence(["whole", "cut"]).set_entry_point("whole")
with mesh.record(sys.argv[2]):
    graph.run_sync("Why?", backend=mesh.MemoryBackend(), display=False)
"""
    with ChatServer() as server:
        server.models["whole"] = [text("All of it.")]
        server.models["cut"] = [text("Some"), gate("never")]
        child = subprocess.Popen([sys.executable, "-c", program, server.base_url, str(tmp_path / "t")])
        asyncio.run(_until(lambda: len(server.requests) == 2))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    tape = Tape(tmp_path / "t", "none")
    assert tape.problems == []
    assert ["".join(e.content for _, e in t.beats if e.type == "token") for t in tape._takes()] == [
        "All of it."
    ]


async def _until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  what another process does has no event here
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("line", "by", "said"),
    [
        (3, b"{ broken", "damaged in line 3: it is not JSON. Take it back from version control"),
        (3, b"<<<<<<< HEAD", "damaged in line 3: a merge left its marks. Delete them"),
        (4, b'{"some": "thing"}', "damaged in line 4: no call and no event"),
        (4, b"", "damaged after line 3: the call there has 1 lines, not 2"),
        (4, b'["soon", "token", "x"]', "damaged in line 4: it is no event"),
        (1, b'{"mesh_tape": 99}', "version 99"),
    ],
)
def test_a_damaged_tape_is_named_with_its_line_and_left_as_it_is(
    tmp_path: Path, line: int, by: bytes, said: str
):
    path = tmp_path / "t"
    lines = recorded(path, take("a", "one", "two"), take("b", "three")).split(b"\n")
    lines[line - 1] = by
    path.write_bytes(b"\n".join(lines))
    for mode in ("once", "none", "rewrite", "all"):
        with pytest.raises(mesh.MeshError, match=said):
            Tape(path, mode)
    assert path.read_bytes() == b"\n".join(lines)


def test_a_file_that_is_gone_is_named_when_it_is_asked_for(tmp_path: Path):
    path = tmp_path / "t"
    metadata = {"name": "a.bin", "content": base64.b64encode(bytes(9000)).decode()}
    file = Take("f", {}, [(0.0, ExecutionEvent(EventType.FILE, metadata=metadata))])
    recorded(path, file, take("a", "one"))
    (gone,) = (tmp_path / "t-files").iterdir()
    gone.unlink()
    tape = Tape(path, "none")
    assert words(tape, "a") == ["one"]
    with pytest.raises(mesh.MeshError, match=rf"missing: '{gone}'. Take it back from version control"):
        tape.find("f", "run")
    recorded(path, file)
    assert Tape(path, "none").find("f", "run") is not None


def test_a_secret_that_comes_in_pieces_is_in_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_PASSWORD", "correct horse")
    path = tmp_path / "t"
    tape = Tape(path, redact=["Jane Roe"])
    tape.add(take("k", "The ", "cor", "rect ho", "rse of Ja", "ne Roe", " has sk-", "abc-0123456", "789 it"))
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
    assert [line[2] for line in lines[2:]] == ["The ", "***", "", " of ***", "", " has ***", "", " it"]
    # What a replay says next is the same request, though its words are hidden.
    asked = '{{"said":"The {} of {} has {} it"}}'
    keys = {
        tape.key(asked.format(*found).encode())
        for found in (("correct horse", "Jane Roe", "sk-abc-0123456789"), ("***", "***", "***"))
    }
    assert len(keys) == 1


def test_plain_words_are_no_secrets(tmp_path: Path):
    said = "Risk-adjusted-returns of the task-management-tool: a bearer of interesting news."
    recorded(tmp_path / "t", take("k", said))
    assert words(Tape(tmp_path / "t"), "k") == [said]


def test_branches_side_by_side_are_written_in_the_order_in_which_they_ask(tmp_path: Path):
    with ChatServer() as server:
        server.models["slow"] = [gate("quick is done"), text("slow")]
        server.models["quick"] = [text("quick")]
        graph = mesh.StateGraph()
        for model in ("slow", "quick"):
            graph.add_node(model, None, node_type="llm", model=model, base_url=server.base_url, api_key="k")
            graph.add_edge("START", model)
        with mesh.record(tmp_path / "t") as tape:
            run = graph.compile()

            async def both() -> mesh.Run:
                started = run.run("Why?", backend=mesh.MemoryBackend(), display=False)
                async for event in started:
                    if event.type == "node_complete" and event.node_id == "quick":
                        server.open("quick is done")
                return await started

            first = asyncio.run(both())
            assert [t.request["model"] for t in tape._takes()] == ["quick", "slow"]
    assert [t.request["model"] for t in Tape(tmp_path / "t")._takes()] == ["slow", "quick"]
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run.run_sync("Why?", backend=mesh.MemoryBackend(), display=False)
    assert again.output == first.output


def test_what_counts_can_be_chosen_and_samples_differ(tmp_path: Path):
    def asked(question: str, **options: Any) -> str:
        with mesh.record(tmp_path / "t", speed=0, **options):
            return graph.run_sync(question, backend=mesh.MemoryBackend(), display=False).text

    model = ScriptedModel("one", "two", "three", "four")
    graph = mesh.StateGraph().add_node("llm", None, node_type="llm", **model.options).set_entry_point("llm")
    assert [asked("Why?"), asked("Why?"), asked("Why?", sample=1), asked("Why?", sample=1)] == [
        *("one", "one", "two", "two")
    ]

    def model_only(request: dict[str, Any]) -> Any:
        return request["model"]

    assert [asked("Why?", key=model_only), asked("Why not?", key=model_only)] == ["three", "three"]
    assert asked("Why not?", key=model_only, sample="b") == "four"


def test_a_long_call_that_broke_off_is_taken_out_before_the_next_one(tmp_path: Path):
    path = tmp_path / "t"
    whole = recorded(path, take("a", "x" * 200_000), take("b", "y"))
    data = recorded(path, take("c", *["z" * 1000] * 300))
    path.write_bytes(data[:-5])
    Tape(path).add(take("d", "after"))
    assert path.read_bytes().startswith(whole)
    tape = Tape(path, "none")
    assert tape.problems == []
    assert [t.key for t in tape._takes()] == ["a", "b", "d"]
