"""Recorded model calls: what a tape keeps, plays back, refuses and hides. The model is a real HTTP server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, gate, image, reasoning, text

import mesh_nb as mesh
from mesh_nb.core.events import ExecutionEvent
from mesh_nb.core.tape import Tape, start, stop

KEY = "sk-test-tape-0123456789abcdef"
VOLATILE = {"run_id", "timestamp", "session_id", "trace_id", "duration_ms", "time_to_first_token_ms"}
FREE = {"cost_usd", "cost_source", "original_cost_usd", "replayed"}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [reasoning("Hm."), text("Four"), text(" words, "), text("told slowly.")]
        yield server


@pytest.fixture(autouse=True)
def no_tape_is_left() -> Iterator[None]:
    yield
    assert stop() is None


def graph_of(server: ChatServer, **options: Any) -> mesh.StateGraph:
    known = {"model": "m", "base_url": server.base_url, "api_key": KEY, **options}
    return mesh.StateGraph().add_node("llm", None, node_type="llm", **known).set_entry_point("llm")


def ask(graph: mesh.StateGraph, question: Any = "Why?", **options: Any) -> mesh.Run:
    return graph.run_sync(question, backend=mesh.MemoryBackend(), display=False, **options)


def plain(events: list[ExecutionEvent]) -> list[Any]:
    """What a replay has in common with the recording."""
    found: list[Any] = []
    for event in events:
        known = {k: v for k, v in event.metadata.items() if k not in VOLATILE | FREE | {"call_id", "cell"}}
        found.append((event.type, event.node_id, event.content, event.output, event.error, known))
    return found


def test_a_block_is_recorded_once_and_replayed_without_server_or_key(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "folder" / "answers.mesh-tape"
    with mesh.record(path):
        first = ask(graph_of(server))
    assert len(server.requests) == 1
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with mesh.record(path, mode="none", speed=0):
        again = ask(graph_of(server, api_key=None, base_url="http://127.0.0.1:9/v1"))
    assert len(server.requests) == 1
    assert again.text == first.text == "Four words, told slowly."
    assert plain(again.events) == plain(first.events)


def test_a_replay_costs_nothing_and_says_what_the_recording_did(server: ChatServer, tmp_path: Path):
    mesh.prices.set("m", input=1.0, output=1.0)
    try:
        with mesh.record(tmp_path / "t", speed=0):
            first = ask(graph_of(server))
            again = ask(graph_of(server))
    finally:
        mesh.prices.unset("m")
    assert len(server.requests) == 1
    assert first.cost_usd
    assert again.cost_usd == 0
    (end,) = [e.metadata for e in again.events if e.type == "response_metadata"]
    assert end["cost_source"] == "replay"
    assert end["original_cost_usd"] == pytest.approx(first.cost_usd)
    assert end["usage"] == {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}


@pytest.mark.parametrize(
    ("options", "question", "told"),
    [
        ({}, "Why not?", "Why not?"),
        ({"model": "n"}, "Why?", "model: 'm' there, 'n' here"),
        ({"temperature": 0.5}, "Why?", "temperature: nothing there, 0.5 here"),
        ({"system_prompt": "Be brief."}, "Why?", "Be brief."),
        ({"tools": [len]}, "Why?", "tools"),
    ],
)
def test_a_changed_request_misses_and_says_what_differs(
    server: ChatServer, tmp_path: Path, options: dict[str, Any], question: str, told: str
):
    with mesh.record(tmp_path / "t"):
        ask(graph_of(server))
    options = {**options, "tools": [lookup]} if "tools" in options else options
    with mesh.record(tmp_path / "t", mode="none"), pytest.raises(mesh.NodeExecutionError) as caught:
        ask(graph_of(server, **options), question)
    assert isinstance(caught.value.cause, mesh.TapeMissError)
    assert told in str(caught.value)
    assert "mode='once'" in str(caught.value)
    assert caught.value.cause.differences
    assert len(server.requests) == 1


def lookup(word: str) -> str:
    """Look a word up."""
    return word


def test_long_texts_are_shown_where_they_begin_to_differ(server: ChatServer, tmp_path: Path):
    long = "word " * 100
    with mesh.record(tmp_path / "t"):
        ask(graph_of(server), f"{long}one thing {long}")
    with mesh.record(tmp_path / "t", mode="none"), pytest.raises(mesh.NodeExecutionError) as caught:
        ask(graph_of(server), f"{long}another thing {long}")
    assert "…'word word word word one thing word" in str(caught.value)
    assert "…'word word word word another thing" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_changed_attachment_misses(server: ChatServer, tmp_path: Path):
    with mesh.record(tmp_path / "t"):
        ask(graph_of(server), files=[("a.txt", b"one")])
        with mesh.record(tmp_path / "t", mode="none", speed=0):
            ask(graph_of(server), files=[("a.txt", b"one")])
            with pytest.raises(mesh.NodeExecutionError, match="no such call"):
                ask(graph_of(server), files=[("a.txt", b"two")])


@pytest.mark.parametrize(
    "options", [{"api_key": "sk-another-0123456789"}, {"max_retries": 7, "timeout": 5.0, "idle_timeout": 9.0}]
)
def test_where_and_how_patiently_does_not_count(server: ChatServer, tmp_path: Path, options: dict[str, Any]):
    with mesh.record(tmp_path / "t", speed=0):
        ask(graph_of(server))
        ask(graph_of(server, **options))
    assert len(server.requests) == 1


def test_the_same_call_twice_in_a_run_is_two_takes(server: ChatServer, tmp_path: Path):
    graph = graph_of(server).add_node(
        "again", None, node_type="llm", model="m", base_url=server.base_url, api_key=KEY
    )
    graph.set_entry_point("again")
    with mesh.record(tmp_path / "t", speed=0) as tape:
        first = ask(graph)
        assert len(tape) == 2
        again = ask(graph)
        assert len(tape) == 2
    assert len(server.requests) == 2
    assert again.output == first.output


def test_a_failure_is_replayed_as_one(server: ChatServer, tmp_path: Path):
    messages: list[str] = []
    for mode in ("once", "none"):
        with (
            mesh.record(tmp_path / "t", mode=mode, speed=0),
            pytest.raises(mesh.NodeExecutionError) as caught,
        ):
            ask(graph_of(server, model="the server knows no such model", max_retries=0))
        assert isinstance(caught.value.cause, mesh.ProviderError)
        messages.append(str(caught.value))
    assert len(server.requests) == 1
    assert messages[0] == messages[1]


def test_a_stopped_call_is_no_recording(server: ChatServer, tmp_path: Path):
    server.models["m"] = [text("Some"), gate("never")]

    async def leave() -> None:
        run = graph_of(server).run("Why?", backend=mesh.MemoryBackend(), display=False)
        async for event in run:
            if event.type == "token":
                run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with mesh.record(tmp_path / "t") as tape:
        asyncio.run(leave())
        assert len(tape) == 0
    assert not (tmp_path / "t").exists()


def test_keys_and_named_values_are_not_on_the_tape(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MY_API_KEY", "plain-looking-value")
    server.models["m"] = [text(f"The key is {KEY}, the other plain-looking-value, "), text("he is Jane Roe.")]
    with mesh.record(tmp_path / "t", redact=["Jane Roe"]):
        ask(graph_of(server), f"Mail Jane Roe, Bearer abcdefgh12345678, {KEY}")
    written = (tmp_path / "t").read_text("utf-8")
    for secret in (KEY, "plain-looking-value", "Jane Roe", "abcdefgh12345678"):
        assert secret not in written
    with mesh.record(tmp_path / "t", mode="none", speed=0, redact=["Jane Roe"]):
        again = ask(graph_of(server), f"Mail Jane Roe, Bearer abcdefgh12345678, {KEY}")
    assert "***" in again.text


def test_a_large_file_lies_beside_the_tape(server: ChatServer, tmp_path: Path):
    data = bytes(range(256)) * 64
    server.models["m"] = [text("Here."), image(data)]
    with mesh.record(tmp_path / "t"):
        ask(graph_of(server))
    assert base64.b64encode(data)[:400].decode() not in (tmp_path / "t").read_text("utf-8")
    assert [path.read_bytes() for path in (tmp_path / "t-files").iterdir()] == [data]
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = ask(graph_of(server))
    assert again.files[0].data == data


def test_the_tape_is_text_that_reads_well_in_a_diff(server: ChatServer, tmp_path: Path):
    with mesh.record(tmp_path / "t"):
        ask(graph_of(server))
    lines = (tmp_path / "t").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["mesh_tape"] == 1
    assert json.loads(lines[2])["request"]["messages"][-1]["content"] == "Why?"
    assert [json.loads(line)[1:] for line in lines if '" words, "' in line] == [["token", " words, "]]
    with mesh.record(tmp_path / "t", speed=0):
        ask(graph_of(server), "And why?")
    assert (tmp_path / "t").read_text("utf-8").splitlines()[: len(lines)] == lines


def test_rewrite_takes_out_what_nobody_asks_for(server: ChatServer, tmp_path: Path):
    with mesh.record(tmp_path / "t"):
        ask(graph_of(server), "One?")
        ask(graph_of(server), "Two?")
    with mesh.record(tmp_path / "t", mode="rewrite", speed=0):
        ask(graph_of(server), "Two?")
        ask(graph_of(server), "Three?")
    assert len(server.requests) == 3
    assert len(Tape(tmp_path / "t")) == 2
    with mesh.record(tmp_path / "t", mode="all"):
        ask(graph_of(server), "Two?")
    assert len(server.requests) == 4
    assert len(Tape(tmp_path / "t")) == 1


def test_the_environment_puts_a_tape_on(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MESH_TAPE", f"{tmp_path / 't'}:once")
    monkeypatch.setenv("MESH_TAPE_SPEED", "0")
    assert [ask(graph_of(server)).text for _ in range(2)] == ["Four words, told slowly."] * 2
    assert len(server.requests) == 1
    monkeypatch.setenv("MESH_TAPE", f"{tmp_path / 'other'}:none")
    with pytest.raises(mesh.MeshError, match="no tape"):
        ask(graph_of(server))


def test_a_replay_waits_as_the_recording_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = [
        {"mesh_tape": 1},
        {"call": "KEY", "request": {}},
        [
            0,
            "model_call_start",
            {"metadata": {"call_id": "c", "provider": "demo", "requested_model": "demo"}},
        ],
        [350, "message_start", ""],
        [20, "token", "Yes"],
        [40, "token", "."],
        [10, "message_complete", {"metadata": {"finish_reason": "stop"}}],
        [5, "response_metadata", {"metadata": {"call_id": "c", "usage": {}, "model_id": "demo"}}],
    ]
    graph = mesh.StateGraph().add_node("llm", None, node_type="llm", model="demo").set_entry_point("llm")
    monkeypatch.setenv("MESH_DEMO_SPEED", "0")
    key = next(e for e in ask(graph).events if e.type == "model_call_start").metadata["call_key"]
    lines[1] = {"call": key, "request": {}}
    (tmp_path / "t").write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay: float, result: Any = None) -> Any:
        if delay > 0:
            waits.append(delay)
        return await sleep(0, result)

    monkeypatch.setattr(asyncio, "sleep", noted)
    for speed, factor in ((1.0, 1.0), (10, 0.1)):
        waits.clear()
        with mesh.record(tmp_path / "t", mode="none", speed=speed):
            assert ask(graph).text == "Yes."
        assert waits == pytest.approx([w * factor for w in (0.35, 0.02, 0.04, 0.01, 0.005)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "not a tape"),
        ("nonsense", "line 1"),
        ('{"mesh_tape": 99}', "version 99"),
        ('{"mesh_tape": 1}\n[1, "token", "x"]', "line 2"),
        ('{"mesh_tape": 1}\n{"call": "k"}\n{', "line 3"),
    ],
)
def test_what_is_no_tape(tmp_path: Path, content: str, said: str):
    (tmp_path / "t").write_text(content, "utf-8")
    with pytest.raises(mesh.MeshError, match=said):
        Tape(tmp_path / "t")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "onec"}, "'once'"),
        ({"speed": -1}, "speed"),
        ({"redact": "x"}, "list"),
        ({"mode": "none"}, "no tape"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, options: dict[str, Any], said: str):
    with pytest.raises(mesh.MeshError, match=said):
        start(tmp_path / "t", **options)


def test_without_a_key_nothing_is_sent_and_the_key_is_named(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    graph = mesh.StateGraph().add_node("llm", None, node_type="llm", model="gpt-5").set_entry_point("llm")
    with mesh.record(tmp_path / "t") as tape:
        with pytest.raises(mesh.NodeExecutionError, match="OPENAI_API_KEY is not set"):
            ask(graph)
        assert len(tape) == 0


def test_a_server_that_is_not_reached_is_asked_again(server: ChatServer, tmp_path: Path):
    gone = graph_of(server, base_url="http://127.0.0.1:9/v1", max_retries=0)
    with mesh.record(tmp_path / "t", speed=0) as tape:
        with pytest.raises(mesh.NodeExecutionError, match="could not be reached"):
            ask(gone)
        assert len(tape) == 0
        assert ask(graph_of(server)).text == "Four words, told slowly."
    assert len(server.requests) == 1


def test_a_replayed_failure_says_where_it_comes_from(server: ChatServer, tmp_path: Path):
    for mode in ("once", "none"):
        with (
            mesh.record(tmp_path / "t", mode=mode, speed=0),
            pytest.raises(mesh.NodeExecutionError) as caught,
        ):
            ask(graph_of(server, model="unknown", max_retries=0))
    assert caught.value.cause.__notes__ == [
        f"So it was recorded on {str(tmp_path / 't')!r}; mode='all' asks again."
    ]


@pytest.mark.parametrize("mode", ["rewrite", "all"])
def test_a_block_that_raises_takes_nothing_out(server: ChatServer, tmp_path: Path, mode: str):
    with mesh.record(tmp_path / "t"):
        for question in ("Why?", "How?", "When?"):
            ask(graph_of(server), question)

    def block() -> None:
        with mesh.record(tmp_path / "t", mode=mode, speed=0):
            ask(graph_of(server), "Why?")
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        block()
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        for question in ("Why?", "How?", "When?"):
            assert ask(graph_of(server), question).text


def test_the_environment_says_what_a_block_does_not(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MESH_TAPE_MODE", "none")
    monkeypatch.setenv("MESH_TAPE_SPEED", "0")
    with pytest.raises(mesh.MeshError, match="There is no tape"), mesh.record(tmp_path / "t"):
        pass
    with mesh.record(tmp_path / "t", mode="once", speed=2) as tape:
        assert (tape.mode, tape.speed) == ("once", 2)
        ask(graph_of(server))
    with mesh.record(tmp_path / "t") as tape:
        assert (tape.mode, tape.speed) == ("none", 0)
    monkeypatch.setenv("MESH_TAPE_MODE", "nnoe")
    with pytest.raises(mesh.MeshError, match="Did you mean 'none'"):
        start(tmp_path / "t")


async def test_a_run_belongs_to_the_tape_that_was_on_when_it_began(server: ChatServer, tmp_path: Path):
    def begun(path: Path) -> mesh.Run:
        return graph_of(server).run("Why?", backend=mesh.MemoryBackend(), display=False, background=True)

    server.models["m"] = [gate("open"), text("Late.")]
    with mesh.record(tmp_path / "t") as tape:
        late = begun(tmp_path)
    outside = begun(tmp_path)
    with mesh.record(tmp_path / "other") as other:
        server.open("open")
        await asyncio.to_thread(late.wait)
        await asyncio.to_thread(outside.wait)
    assert (len(tape), len(other)) == (1, 0)
    assert len(Tape(tmp_path / "t", "none")) == 1


def test_where_no_tape_can_be_is_said_before_anything_is_asked(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    with pytest.raises(mesh.MeshError, match="is a folder; name a file"):
        start(tmp_path)
    with pytest.raises(mesh.MeshError, match="file' is no folder"):
        start(tmp_path / "file" / "t")
    with mesh.record(tmp_path / "there"):
        ask(graph_of(server))
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with mesh.record(tmp_path / "there", speed=0):
        ask(graph_of(server))
    assert len(server.requests) == 1
    with pytest.raises(mesh.MeshError, match="is read-only"):
        start(tmp_path / "folder" / "t")
    assert stop() is None


def test_a_tape_that_cannot_be_put_on_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    graph = mesh.StateGraph().add_node("f", lambda input: asked.append(input)).set_entry_point("f")
    monkeypatch.setenv("MESH_TAPE", f"{tmp_path / 'none'}:none")
    with pytest.raises(mesh.MeshError, match="There is no tape"):
        ask(graph)
    assert asked == []


async def test_blocks_side_by_side_have_a_tape_each(server: ChatServer, tmp_path: Path):
    both = asyncio.Barrier(2)

    async def recorded(name: str) -> int:
        with mesh.record(tmp_path / name) as tape:
            await both.wait()
            for n in range(2):
                await graph_of(server).run(f"{name} {n}", backend=mesh.MemoryBackend(), display=False)
            await both.wait()
        return len(tape)

    assert await asyncio.gather(recorded("a"), recorded("b")) == [2, 2]
    for name in "ab":
        assert [t.request["messages"][0]["content"][0] for t in Tape(tmp_path / name)._takes()] == [name] * 2
