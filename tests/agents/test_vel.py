"""Vel's stream protocol, from the real library and from objects that speak it."""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import Any

import pytest
from agent_doubles import (
    EVERYTHING,
    PNG,
    Scripted,
    assert_grammar,
    events_and_error,
    events_of,
    import_vel,
    of_type,
    text_of,
    types,
    usage,
    vel_agent,
)
from support import until

from mesh_nb.core import plugins
from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import AuthenticationError, MeshError, RateLimitError, UnknownNameError
from mesh_nb.nodes.agent import AgentNode


def text(*deltas: str, block: str = "0") -> list[dict[str, Any]]:
    return [
        {"type": "text-start", "id": block},
        *({"type": "text-delta", "id": block, "delta": d} for d in deltas),
        {"type": "text-end", "id": block},
    ]


# ---- the real library
async def test_real_agent_streams_text_reasoning_and_usage(replay: Any) -> None:
    events = await events_of(vel_agent(replay.base_url, "synthetic-3-r2"))
    assert_grammar(events)
    assert types(events) == [
        "step_start",
        "model_call_start",
        "reasoning_start",
        "reasoning_token",
        "reasoning_end",
        "message_start",
        "token",
        "message_complete",
        "response_metadata",
        "step_complete",
        "node_complete",
    ]
    assert text_of(events) == "tok0 tok1 tok2 "
    assert events[-1].output == {"content": "tok0 tok1 tok2 ", "tool_calls": []}
    meta = of_type(events, "response_metadata")[0].metadata
    assert meta["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "cached_tokens": 0,
        "reasoning_tokens": 2,
    }
    assert (meta["model_id"], meta["provider"], meta["usage_status"]) == (
        "synthetic-3-r2",
        "openai",
        "reported",
    )


async def test_real_agent_runs_its_tools_in_steps(replay: Any) -> None:
    events = await events_of(vel_agent(replay.base_url, "synthetic-2-t2+synthetic-3"))
    assert_grammar(events)
    steps = of_type(events, "step_complete")
    assert [s.metadata["step_index"] for s in steps] == [0, 1]
    assert [s.metadata["finish_reason"] for s in steps] == ["tool_calls", "stop"]
    assert [s.metadata["usage"]["total_tokens"] for s in steps] == [12, 13]
    done = of_type(events, "tool_call_complete")
    assert [d.output for d in done] == [{"index": i, "got": f"item {i}"} for i in (0, 1)]
    assert [d.metadata["arguments"] for d in done] == [{"index": i, "name": f"item {i}"} for i in (0, 1)]
    assert events[-1].output["content"] == "tok0 tok1 tok2 "
    assert [c["name"] for c in events[-1].output["tool_calls"]] == ["get_item", "get_item"]


async def test_real_agent_on_the_responses_api(replay: Any) -> None:
    events = await events_of(vel_agent(replay.base_url, "synthetic-3-r2", provider="openai-responses"))
    assert_grammar(events)
    (meta,) = (e.metadata for e in of_type(events, "response_metadata"))
    assert meta["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert meta["provider"] == "openai"
    assert of_type(events, "message_complete")[0].metadata["message_id"] == "resp_synthetic"


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (429, RateLimitError)])
async def test_real_agent_reports_an_http_failure(replay: Any, status: int, kind: type) -> None:
    agent = vel_agent(replay.base_url, f"synthetic-3@fail=-1,status={status}")
    events, error = await events_and_error(agent)
    assert isinstance(error, kind)
    assert str(status) in str(error)
    assert "sk-test" not in str(error)
    assert_grammar(events)
    assert of_type(events, "step_complete")[-1].metadata["finish_reason"] == "error"


async def test_leaving_closes_the_real_agents_connection(replay: Any) -> None:
    agent = vel_agent(replay.base_url, "synthetic-500@delay=0.02")
    async with aclosing(AgentNode("a", agent).run({"input": "hi"}, ExecutionContext())) as stream:
        async for event in stream:
            if event.type == "token":
                break
    await until(lambda: replay.stats["client_disconnects"] == 1)


async def test_real_agent_with_tools_that_fail(replay: Any) -> None:
    vel = import_vel()

    async def get_item(index: int, name: str) -> str:
        """Get an item."""
        raise ZeroDivisionError("no items")

    for tools, said in (([vel.ToolSpec.from_function(get_item)], "no items"), ([], "not found")):
        replay.server.reset()
        agent = vel_agent(replay.base_url, "synthetic-2-t2+synthetic-3", tools=tools)
        events = await events_of(agent)
        assert_grammar(events)
        done = of_type(events, "tool_call_complete")
        assert [d.metadata["status"] for d in done] == ["error", "error"]
        assert all(said in (d.error or "") for d in done)
        assert events[-1].output["content"] == "tok0 tok1 tok2 "


async def test_real_agent_that_thinks(replay: Any) -> None:
    import_vel()
    from vel.thinking import ThinkingConfig

    options = {"thinking": ThinkingConfig(mode="reflection")}
    events = await events_of(vel_agent(replay.base_url, "synthetic-3"), run_options=options)
    assert_grammar(events)
    assert events[-1].output["content"] == text_of(events) == "tok0 tok1 tok2 "
    assert len(of_type(events, "response_metadata")) == replay.stats["requests"] > 3
    stages = [e for e in of_type(events, "custom_data") if e.metadata["data_type"] == "data-thinking-stage"]
    assert [e.content["stage"] for e in stages[:2]] == ["analyzing", "critiquing"]
    assert all(e.metadata["transient"] for e in stages)
    (end,) = [e for e in of_type(events, "custom_data") if "complete" in e.metadata["data_type"]]
    assert end.metadata["transient"] is False
    spent = sum(m.metadata["usage"]["total_tokens"] for m in of_type(events, "response_metadata"))
    assert sum(s.metadata["usage"]["total_tokens"] for s in of_type(events, "step_complete")) == spent


@pytest.mark.parametrize("where", ["input_guardrails", "output_guardrails"])
async def test_real_agent_with_a_guardrail(replay: Any, where: str) -> None:
    import_vel()
    from vel.core.guardrails import GuardrailResult

    def manners(content: Any, context: Any) -> Any:
        return GuardrailResult(passed=False, message="not allowed")

    agent = vel_agent(replay.base_url, "synthetic-2", **{where: [manners]})
    events, error = await events_and_error(agent)
    assert isinstance(error, MeshError)
    assert "manners: not allowed" in str(error)
    assert_grammar(events)
    # Vel looks at an answer once it has said it.
    assert text_of(events) == ("" if where.startswith("input") else "tok0 tok1 ")


async def test_real_agent_whose_answer_does_not_fit(replay: Any) -> None:
    from pydantic import BaseModel

    class Item(BaseModel):
        name: str

    events, error = await events_and_error(vel_agent(replay.base_url, "synthetic-2", output_type=Item))
    assert isinstance(error, MeshError)
    assert "validation failed" in str(error)
    assert_grammar(events)
    assert len(of_type(events, "response_metadata")) == replay.stats["requests"] == 2


async def test_real_agent_keeps_its_session(replay: Any) -> None:
    agent = vel_agent(replay.base_url, "synthetic-1", tools=[])
    context = ExecutionContext(session_id="s-1")
    await events_of(agent, context=context)
    await events_of(agent, context=context)
    await events_of(agent, context=context, use_session=False)
    said = [[m["content"] for m in r["body"]["messages"]] for r in replay.requests]
    assert said == [["hi"], ["hi", "tok0 ", "hi"], ["hi"]]


async def test_rlm_yields_events_and_an_answer(replay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # RLM asks its own models through Vel's registry, which reads Vel's own variable.
    monkeypatch.setenv("OPENAI_API_BASE", replay.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0000")
    rlm = {"enabled": True, "control_model": {"provider": "openai", "model": "synthetic-4"}}
    agent = vel_agent(replay.base_url, "synthetic-4", rlm=rlm)
    events = await events_of(agent, run_options={"context_refs": "A long text. " * 50})
    assert_grammar(events)
    kinds = [e.metadata["data_type"] for e in of_type(events, "custom_data")]
    assert kinds[0] == "data-rlm-start"
    assert kinds[-1] == "data-rlm-complete"
    assert of_type(events, "custom_data")[-1].content["total_steps"] >= 1
    assert events[-1].output["content"]
    assert events[-1].output["content"] == text_of(events)


# ---- the protocol
async def test_everything_is_translated_in_order() -> None:
    events = await events_of(Scripted(EVERYTHING))
    assert_grammar(events)
    assert types(events) == [
        "step_start",
        "custom_data",
        "model_call_start",
        "reasoning_start",
        "reasoning_token",
        "reasoning_end",
        "message_start",
        "token",
        "tool_call_start",
        "tool_call_delta",
        "message_complete",
        "response_metadata",
        "tool_call_complete",
        "step_complete",
        "step_start",
        "model_call_start",
        "message_start",
        "token",
        "source",
        "file",
        "message_complete",
        "response_metadata",
        "step_complete",
        "custom_data",
        "custom_data",
        "node_complete",
    ]
    assert of_type(events, "message_start")[0].metadata["message_id"] == "m-1"
    first, second = of_type(events, "message_complete")
    assert first.metadata["message_id"] != second.metadata["message_id"]
    blocks = [t.metadata["text_block_id"] for t in of_type(events, "token")]
    assert blocks[0] == blocks[1] != blocks[2] == blocks[3]
    assert of_type(events, "source")[0].metadata["sources"] == EVERYTHING[21]["sources"]
    progress, _, complete = of_type(events, "custom_data")
    assert progress.metadata == {"data_type": "data-progress", "transient": True}
    assert progress.content == {"percent": 40}
    assert complete.content["total_steps"] == 3
    assert [s.metadata["usage"]["total_tokens"] for s in of_type(events, "step_complete")] == [15, 27]


async def test_an_agent_that_names_no_steps_gets_one() -> None:
    for items in ([], text("a", "b"), ["a", "b"]):
        events = await events_of(Scripted(items))
        assert_grammar(events)
        assert [e.metadata["step_index"] for e in of_type(events, "step_start")] == [0]
        assert text_of(events) == ("ab" if items else "")


async def test_strings_and_objects_are_words() -> None:
    class Delta:
        delta = "two "

    class Content:
        content = "three"

    class Event:
        type = "text-delta"

        def to_dict(self) -> dict[str, Any]:
            return {"type": "text-delta", "id": "0", "delta": "!"}

    events = await events_of(Scripted(["one ", Delta(), Content(), None, {"content": "..."}, Event()]))
    assert_grammar(events)
    assert events[-1].output["content"] == "one two three...!"


async def test_text_ids_that_restart_make_blocks_of_their_own() -> None:
    events = await events_of(Scripted([*text("a"), *text("b"), *text("c")]))
    assert len({t.metadata["text_block_id"] for t in of_type(events, "token")}) == 3
    assert len(of_type(events, "message_start")) == 1


async def test_unbalanced_blocks_are_balanced() -> None:
    items = [
        {"type": "reasoning-start", "id": "0"},
        {"type": "reasoning-delta", "id": "0", "delta": "hm"},
        {"type": "text-delta", "id": "7", "delta": "a"},
        {"type": "reasoning-end", "id": "0"},
        {"type": "reasoning-end", "id": "0"},
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"},
    ]
    events = await events_of(Scripted(items))
    assert_grammar(events)
    (done,) = of_type(events, "tool_call_complete")
    assert done.metadata["status"] == "not_executed"


async def test_a_tool_that_was_never_announced() -> None:
    items = [
        {"type": "start-step"},
        {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": {"x": 1}},
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "boom"},
        {"type": "tool-output-available", "toolCallId": "d", "output": {1, 2} and [1]},
        {"type": "finish-step"},
    ]
    events = await events_of(Scripted(items))
    assert_grammar(events)
    failed, other = of_type(events, "tool_call_complete")
    assert (failed.error, failed.metadata["status"], failed.metadata["arguments"]) == (
        "boom",
        "error",
        {"x": 1},
    )
    assert other.output == [1]
    assert len(of_type(events, "response_metadata")) == 1


async def test_arguments_that_are_not_json_are_kept_as_text() -> None:
    items = [
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"x": '},
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "bad"},
    ]
    (done,) = of_type(await events_of(Scripted(items)), "tool_call_complete")
    assert done.metadata["arguments_raw"] == '{"x": '
    assert "arguments" not in done.metadata


async def test_usage_that_comes_late_or_twice_is_one_call() -> None:
    late = [
        {"type": "start-step"},
        *text("a"),
        {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": {}},
        {"type": "tool-output-available", "toolCallId": "c", "output": 1},
        {"type": "response-metadata", "modelId": "m", "usage": usage(1, 2)},
        {"type": "finish-step"},
    ]
    twice = [
        {"type": "response-metadata", "id": "r", "modelId": "m"},
        *text("a"),
        {"type": "response-metadata", "id": "r", "modelId": "m", "usage": usage(1, 1)},
        {"type": "response-metadata", "id": "r", "modelId": "m", "usage": usage(1, 2)},
    ]
    for items in (late, twice):
        events = await events_of(Scripted(items))
        assert_grammar(events)
        (meta,) = (e.metadata for e in of_type(events, "response_metadata"))
        assert meta["usage"]["total_tokens"] == 3
        assert meta["model_id"] == "m"


async def test_each_model_call_has_its_own_metadata() -> None:
    items = []
    for n in (1, 2, 3):
        items += [*text("x"), {"type": "response-metadata", "id": f"r{n}", "usage": usage(n, n)}]
    events = await events_of(Scripted(items))
    assert_grammar(events)
    totals = [e.metadata["usage"]["total_tokens"] for e in of_type(events, "response_metadata")]
    assert totals == [2, 4, 6]
    assert of_type(events, "step_complete")[0].metadata["usage"]["total_tokens"] == 12


async def test_words_after_usage_or_a_tools_result_are_another_call() -> None:
    counted = {"type": "response-metadata", "usage": usage(1, 1)}
    tool = [
        {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": {}},
        {"type": "tool-output-available", "toolCallId": "c", "output": 1},
    ]
    for between in ([counted], tool):
        events = await events_of(Scripted([*text("a"), *between, *text("b"), counted]))
        assert_grammar(events)
        assert len(of_type(events, "message_start")) == len(of_type(events, "response_metadata")) == 2
        assert events[-1].output["content"] == "b"


async def test_tools_of_one_announced_step_belong_to_its_one_call() -> None:
    items: list[dict[str, Any]] = [{"type": "start-step"}, *text("a")]
    items.append({"type": "response-metadata", "id": "r", "usage": usage(1, 1)})
    for call_id in ("c", "d"):
        items.append({"type": "tool-input-available", "toolCallId": call_id, "toolName": "t", "input": {}})
        items.append({"type": "tool-output-available", "toolCallId": call_id, "output": call_id})
    events = await events_of(Scripted([*items, {"type": "finish-step"}]))
    assert_grammar(events)
    assert len(of_type(events, "response_metadata")) == 1
    assert [e.output for e in of_type(events, "tool_call_complete")] == ["c", "d"]


async def test_step_fields_of_older_versions_win() -> None:
    items = [
        {"type": "start-step", "stepIndex": 0},
        *text("a"),
        {"type": "finish-step", "finishReason": "length", "usage": usage(3, 4)},
    ]
    events = await events_of(Scripted(items))
    meta = of_type(events, "step_complete")[0].metadata
    assert meta["finish_reason"] == "length"
    assert meta["usage"]["total_tokens"] == 7
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "length"


async def test_finish_message_names_the_reason() -> None:
    items = [*text("a"), {"type": "finish-message", "finishReason": "content-filter"}]
    (meta,) = (e.metadata for e in of_type(await events_of(Scripted(items)), "response_metadata"))
    assert (meta["finish_reason"], meta["finish_reason_raw"]) == ("content_filter", "content-filter")


@pytest.mark.parametrize(
    ("event", "name", "mime"),
    [
        ({"content": PNG, "name": "", "mimeType": "image/png"}, "file.png", "image/png"),
        ({"content": base64.b64encode(PNG).decode()}, "file.png", "image/png"),
        (
            {"url": "data:image/png;base64," + base64.b64encode(PNG).decode(), "name": "x"},
            "x",
            "image/png",
        ),
        ({"content": PNG, "name": "../../etc/cron.png"}, "cron.png", "image/png"),
        (
            {"data": base64.b64encode(PNG).decode(), "mime": "image/png", "filename": "plot.png"},
            "plot.png",
            "image/png",
        ),
    ],
)
async def test_files_become_name_type_and_base64(event: dict[str, Any], name: str, mime: str) -> None:
    events = await events_of(Scripted([{"type": "file", **event}, *text("a")]))
    (meta,) = (e.metadata for e in of_type(events, "file"))
    assert (meta["name"], meta["mime_type"], meta["size"]) == (name, mime, len(PNG))
    assert base64.b64decode(meta["content"]) == PNG


async def test_unnamed_files_do_not_overwrite_each_other() -> None:
    events = await events_of(Scripted([{"type": "file", "content": PNG}] * 3))
    assert [e.metadata["name"] for e in of_type(events, "file")] == ["file.png", "file-2.png", "file-3.png"]


async def test_unknown_events_stay_visible() -> None:
    events = await events_of(Scripted([{"type": "hologram", "depth": 3}, object(), *text("a")]))
    assert_grammar(events)
    first, second = of_type(events, "custom_data")
    assert first.content == {"type": "hologram", "depth": 3}
    assert first.metadata["data_type"] == second.metadata["data_type"] == "native"


async def test_structured_output_is_parsed_output() -> None:
    items = [{"type": "data-object-complete", "data": {"object": {"x": 1}, "mode": "object"}}]
    events = await events_of(Scripted(items))
    assert events[-1].output == {"content": '{"x":1}', "tool_calls": [], "parsed": {"x": 1}}


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"type": "error", "errorText": "No response from LLM"}, "No response from LLM"),
        ({"type": "abort", "reason": "the user left"}, "aborted (the user left)"),
    ],
)
async def test_a_reported_error_fails_after_what_had_come(last: dict[str, Any], words: str) -> None:
    agent = Scripted([*text("partial"), {"type": "finish-step"}, last, {"type": "finish"}])
    events, error = await events_and_error(agent)
    assert isinstance(error, MeshError)
    assert words in str(error)
    assert_grammar(events)
    assert text_of(events) == "partial"


async def test_an_exception_closes_what_was_open() -> None:
    items = [
        {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"},
        {"type": "text-delta", "id": "0", "delta": "partial"},
        RuntimeError("the agent broke"),
    ]
    events, error = await events_and_error(Scripted(items))
    assert isinstance(error, RuntimeError)
    assert_grammar(events)
    assert of_type(events, "message_complete")[0].metadata["finish_reason"] == "error"
    assert of_type(events, "tool_call_complete")[0].metadata["status"] == "cancelled"


async def test_leaving_closes_the_agents_generator() -> None:
    agent = Scripted(text("a", "b", "c"))
    async with aclosing(AgentNode("a", agent).run({"input": "hi"}, ExecutionContext())) as stream:
        async for event in stream:
            if event.type == "token":
                break
    assert agent.closed == 1


async def test_signatures_of_all_sorts() -> None:
    class Bare:
        async def run_stream(self, question):  # type: ignore[no-untyped-def]
            yield question["message"]

    class Positional:
        async def run_stream(self, input, /, session_id="none"):  # type: ignore[no-untyped-def]
            yield f"{input['message']} {session_id}"

    class Open:
        async def run_stream(self, **given):  # type: ignore[no-untyped-def]
            yield f"{given['input']['message']} {given['session_id']} {given['mood']}"

    context = ExecutionContext(session_id="s-1")
    assert text_of(await events_of(Bare(), context=context)) == "hi"
    assert text_of(await events_of(Positional(), context=context)) == "hi s-1"
    options = {"mood": "calm"}
    assert text_of(await events_of(Open(), context=context, run_options=options)) == "hi s-1 calm"
    with pytest.raises(UnknownNameError, match="Did you mean 'session_id'"):
        await events_of(Positional(), run_options={"sesion_id": 1})


async def test_native_events_are_all_delivered() -> None:
    events = await events_of(Scripted(EVERYTHING), use_native_events=True)
    assert_grammar(events)
    natives = [
        e.metadata.get("native") or e.content
        for e in events
        if "native" in e.metadata or e.metadata.get("data_type") == "native"
    ]
    assert natives == EVERYTHING
    token = of_type(events, "token")[0]
    assert token.metadata["native"] == EVERYTHING[8]


def test_matches_needs_an_async_generator() -> None:
    vel = plugins.find("agent", "vel")

    class ContextManager:
        def run_stream(self, prompt: str) -> Any:
            raise AssertionError("never called")

    assert vel.matches(Scripted([]))
    assert not vel.matches(ContextManager())
    assert not vel.matches(Scripted)
    assert not vel.matches("agent")
    assert not vel.matches(None)
