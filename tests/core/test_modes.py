"""Event modes of nodes and modes of streams: what a reader of a run sees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from run_doubles import Speaker, forever, response

import mesh_nb
from mesh_nb import Executor, MemoryBackend, StateGraph, StreamMode
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import InputError, NodeExecutionError, UnknownNameError
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.node import BaseNode


def set_mood(state: dict[str, Any]) -> dict[str, str]:
    state["mood"] = "good"
    return {"content": "set"}


def graph(mode: str | None = None, **speaker: Any) -> StateGraph:
    """A tool that sets state, then a node that speaks."""
    made = StateGraph("g")
    options = {} if mode is None else {"event_mode": mode}
    made.add_node("set", set_mood, **options)
    made.add_node("say", Speaker("say", events=[response()], **speaker), **options)
    return made.set_entry_point("set").add_edge("set", "say")


async def until_failure(items: Any) -> list[Any]:
    """Read until a node fails, which it must."""
    seen: list[Any] = []
    try:
        async for item in items:
            seen.append(item)
    except NodeExecutionError:
        return seen
    raise AssertionError("nothing failed")


async def kinds(mode: str, backend: Any = None) -> list[str]:
    seen = [e async for e in Executor(graph(mode), backend).execute("hi", run_id="r")]
    return [e.metadata["data_type"] if e.type == "custom_data" else str(e.type) for e in seen]


async def test_a_silent_node_shows_nothing() -> None:
    assert await kinds("silent") == ["execution_start", "execution_complete"]


async def test_status_only_shows_that_nodes_began_and_ended() -> None:
    status = ["node_start", "state_update", "node_complete", "node_start", "node_complete"]
    assert await kinds("status_only") == ["execution_start", *status, "execution_complete"]


async def test_full_is_the_default() -> None:
    seen = [str(e.type) async for e in Executor(graph()).execute("hi")]
    assert await kinds("full") == seen
    assert "token" in seen


async def test_transient_events_are_custom_data_named_after_node_type_and_event() -> None:
    seen = [e async for e in Executor(graph("transient_events")).execute("hi")]
    assert {e.type for e in seen[1:-1]} == {EventType.CUSTOM_DATA}
    assert all(e.metadata["transient"] for e in seen[1:-1])
    names = [e.metadata["data_type"] for e in seen[1:-1]]
    assert names[:2] == ["data-tool-node-start", "data-tool-node-tool-call-start"]
    assert "data-node-node-token" in names
    assert names[-1] == "data-node-node-complete"
    assert not any("-data-" in name for name in names)
    assert seen[1].content["type"] == "node_start"
    assert seen[1].content["node_id"] == "set"


@pytest.mark.parametrize("mode", ["silent", "status_only", "transient_events"])
async def test_the_log_and_the_totals_have_everything_whatever_the_mode(mode: str) -> None:
    backend = MemoryBackend()
    seen = [e async for e in Executor(graph(mode), backend).execute("hi", run_id="r")]
    logged = backend.load("r").events
    assert [e.seq for e in logged] == list(range(len(logged)))
    assert {"node_start", "token", "response_metadata", "node_complete"} <= {str(e.type) for e in logged}
    assert seen[-1].metadata["usage"] == {"prompt_tokens": 1000}


async def test_a_run_that_is_iterated_is_seen_through_its_modes_and_a_loaded_one_too() -> None:
    backend = MemoryBackend()
    run = graph("silent").run("hi", backend=backend, display=False)
    assert [e.type async for e in run] == ["execution_start", "execution_complete"]
    assert len(run.events) > 2
    assert run.usage == {"prompt_tokens": 1000}
    loaded = mesh_nb.Run.load(run.id, backend)
    assert [e.type async for e in loaded] == ["execution_start", "execution_complete"]


@pytest.mark.parametrize("mode", ["silent", "status_only", "transient_events"])
async def test_no_mode_hides_a_failure(mode: str) -> None:
    seen = await until_failure(Executor(graph(mode, fails=ValueError("no"))).execute("hi"))
    seen = [str(event.type) for event in seen]
    assert seen.count("node_error") == 1
    assert seen[-1] == "execution_error"


async def test_each_node_has_its_own_mode() -> None:
    made = StateGraph().add_node("a", lambda: 1, event_mode="silent").add_node("b", lambda: 2)
    made.set_entry_point("a").add_edge("a", "b")
    assert {e.node_id async for e in Executor(made).execute("x")} == {"START", "b"}


def test_a_mode_is_an_option_of_every_node_and_of_config() -> None:
    made = StateGraph().add_node("say", Speaker("say"), event_mode="silent")
    made.add_node("tool", lambda: 1, config={"event_mode": "status_only"})
    made.add_node("llm", None, node_type="llm", model="demo", event_mode="transient_events")
    made.set_entry_point("say").add_sequence(["say", "tool", "llm"])
    outline = made.compile().outline
    assert [n["event_mode"] for n in outline["nodes"]] == ["silent", "status_only", "transient_events"]


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [("silnt", UnknownNameError, "Did you mean 'silent'"), (3, InputError, "event_mode=3 must be one of")],
)
def test_an_unknown_event_mode_is_refused(mode: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        StateGraph().add_node("a", lambda: 1, event_mode=mode)


async def test_values_are_the_whole_state_after_the_start_and_each_node() -> None:
    context = ExecutionContext(state={"before": 1})
    seen = [v async for v in Executor(graph()).stream("hi", context, StreamMode.VALUES)]
    assert [v.node_id for v in seen] == ["START", "set", "say"]
    assert [v.state for v in seen] == [
        {"before": 1},
        {"before": 1, "mood": "good"},
        {"before": 1, "mood": "good"},
    ]
    assert [list(v.outputs) for v in seen] == [[], ["set"], ["set", "say"]]
    assert seen[0].outputs == {}
    assert seen[-1].outputs["say"] == {"content": "Hello world"}


async def test_updates_are_what_each_node_returned_and_set() -> None:
    seen = [u async for u in graph().stream("hi", "updates", backend=MemoryBackend())]
    assert [(u.node_id, u.output, u.state) for u in seen] == [
        ("set", {"content": "set"}, {"mood": "good"}),
        ("say", {"content": "Hello world"}, {}),
    ]


async def test_updates_tell_the_visits_of_a_loop_apart() -> None:
    made = StateGraph().add_node("a", lambda: 1).set_entry_point("a")
    made.add_edge("a", "a", is_loop_edge=True, max_iterations=2)
    seen = [u async for u in Executor(made).stream("x", mode="updates")]
    assert [(u.node_id, u.visit) for u in seen] == [("a", 0), ("a", 1), ("a", 2)]


async def test_messages_are_pieces_and_then_the_whole() -> None:
    seen = [m async for m in graph().stream("hi", StreamMode.MESSAGES, backend=MemoryBackend())]
    assert [(str(m), m.complete) for m in seen] == [
        ("Hello", False),
        (" ", False),
        ("world", False),
        ("Hello world", True),
    ]
    assert seen[-1].finish_reason == "stop"
    assert {m.message_id for m in seen} == {"m"}
    assert {m.node_id for m in seen} == {"say"}


async def test_messages_of_branches_that_overlap_stay_apart() -> None:
    met = asyncio.Barrier(2)
    made = StateGraph()
    for name in ("a", "b"):
        made.add_node(name, Speaker(name, words=[name, name], wait=met.wait)).add_edge("START", name)
    seen = [m async for m in Executor(made).stream("hi", mode="messages")]
    assert {(m.node_id, m.content) for m in seen if m.complete} == {("a", "aa"), ("b", "bb")}


async def test_events_are_the_events() -> None:
    seen = [e async for e in Executor(graph()).stream("hi", mode=StreamMode.EVENTS)]
    assert all(isinstance(e, ExecutionEvent) for e in seen)
    assert [e.seq for e in seen] == list(range(len(seen)))


async def test_debug_says_what_runs_and_what_was_used() -> None:
    seen = [d async for d in Executor(graph()).stream("hi", mode="debug")]
    during = next(d for d in seen if d.event.type == "token")
    assert during.active == ("say",)
    assert (seen[0].active, seen[-1].active) == ((), ())
    assert seen[-1].usage == {"prompt_tokens": 1000}
    assert sorted(d.elapsed_ms for d in seen) == [d.elapsed_ms for d in seen]


@pytest.mark.parametrize(
    ("mode", "count"), [("values", 2), ("updates", 1), ("messages", 0), ("events", 4), ("debug", 4)]
)
async def test_streams_are_seen_through_the_event_modes(mode: str, count: int) -> None:
    made = StateGraph().add_node("say", Speaker("say"), event_mode="silent").add_node("end", lambda: 1)
    made.set_entry_point("say").add_edge("say", "end")
    seen = [item async for item in Executor(made).stream("hi", mode=mode)]
    tool = 2 if mode in ("events", "debug") else 0
    assert len(seen) == count + tool
    if mode == "values":
        assert list(seen[-1].outputs) == ["say", "end"]


async def test_a_failure_comes_out_of_a_stream_after_what_had_happened() -> None:
    stream = graph(fails=ValueError("no")).stream("hi", "updates", backend=MemoryBackend())
    seen = await until_failure(stream)
    assert [u.node_id for u in seen] == ["set"]


async def test_leaving_a_stream_cancels_the_run() -> None:
    node = Speaker("say", wait=forever)
    made = StateGraph().add_node("say", node).set_entry_point("say")
    backend = MemoryBackend()
    stream = made.stream("hi", "messages", backend=backend)
    async for _ in stream:
        break
    await stream.aclose()
    assert node.closed
    [run_id] = backend.run_ids()
    assert backend.load(run_id).events[-1].metadata["status"] == "cancelled"


class Never(BaseNode):
    async def execute(self, input: Any, context: Any) -> Any:
        raise AssertionError("it ran")


def test_an_unknown_stream_mode_is_refused_before_anything_starts() -> None:
    made = StateGraph().add_node("n", Never("n")).set_entry_point("n")
    with pytest.raises(UnknownNameError, match="Did you mean 'updates'"):
        made.stream("x", "update")
    with pytest.raises(InputError, match="mode=3"):
        Executor(made).stream("x", mode=3)  # pyright: ignore[reportArgumentType]


async def test_a_mode_is_of_a_node_in_a_graph_and_not_of_the_object() -> None:
    class Plain(BaseNode):
        async def execute(self, input: Any, context: Any) -> Any:
            return {"content": "x"}

    node = Plain("plain")
    hidden = StateGraph().add_node("a", node, event_mode="silent").set_entry_point("a")
    seen = StateGraph().add_node("a", node).set_entry_point("a")
    kinds = [[str(e.type) async for e in Executor(graph).execute("q")] for graph in (hidden, seen)]
    assert kinds[0] == ["execution_start", "execution_complete"]
    assert kinds[1] == ["execution_start", "node_start", "node_complete", "execution_complete"]
