"""Agents of Pydantic AI (https://pydantic.dev/docs/ai/).

Words, tool calls and their results come from the events of `run_stream_events`; a model call's usage and
finish reason from the responses that the run has collected by then: the events do not say.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from ..core.context import ExecutionContext
from ..core.errors import Unanswered, UnknownNameError
from ..core.events import EventType, ExecutionEvent, dumps
from ..core.interrupts import Answer
from . import _errors
from ._asking import ask_for_tools
from ._fold import Fold, plain, with_native
from ._protocol import AgentInput, loaded_class
from ._pydantic_events import Reader

_VENDORS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "google": "gemini",
    "google-gla": "gemini",
    "google-cloud": "gemini",
    "google-vertex": "gemini",
}


def _native(event: Any) -> dict[str, Any]:
    """Return an event as plain JSON values; of the last one, the output: the rest is the run's own state."""
    if event.event_kind == "agent_run_result":
        return {"event_kind": event.event_kind, "output": plain(event.result.output)}
    return plain(event)


def _model(agent: Any, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return the provider and the model that the agent will call."""
    model: Any = options.get("model") or agent.model
    if isinstance(model, str):
        vendor, _, name = model.rpartition(":")
    else:
        vendor, name = str(getattr(model, "system", "")), str(getattr(model, "model_name", ""))
    return _VENDORS.get(vendor, vendor) or "agent", name


async def _conversation(
    sdk: Any, agent: Any, input: AgentInput, context: ExecutionContext, options: dict[str, Any], history: bool
) -> str | None:
    """Return the prompt of a run, and put the turns before it into the options as its message history.

    The library leaves an agent's system prompts out where it is given a history: they are put in front.
    """
    turns = list(input["messages"]) if "messages" in input else []
    if not turns:
        turns = [*(context.chat_history if history else []), {"role": "user"}]
        turns[-1]["content"] = input.get("message", "")
    prompt = _text(turns.pop()) if turns[-1].get("role", "user") == "user" else None
    if not turns or "message_history" in options or "conversation" in options:
        return prompt
    parts: list[Any] = await agent.system_prompt_parts(
        deps=options.get("deps"), model=options.get("model"), prompt=prompt
    )
    messages: list[Any] = []
    for turn in turns:
        text = _text(turn)
        if turn.get("role") == "assistant":
            if parts:
                messages.append(sdk.ModelRequest(parts=parts))
                parts = []
            messages.append(sdk.ModelResponse(parts=[sdk.TextPart(text)]))
        else:
            kind = sdk.SystemPromptPart if turn.get("role") == "system" else sdk.UserPromptPart
            parts.append(kind(text))
    options["message_history"] = [*messages, *([sdk.ModelRequest(parts=parts)] if parts else [])]
    return prompt


def _text(turn: Mapping[str, Any]) -> str:
    said = turn.get("content")
    if isinstance(said, list):
        return "".join(str(p.get("text", "")) for p in said if isinstance(p, Mapping))
    return said if isinstance(said, str) else ""


class PydanticAIPlugin:
    """Runs `pydantic_ai.Agent` through `run_stream_events`."""

    accepts = "a pydantic_ai.Agent"

    def matches(self, agent: object) -> bool:
        """Say whether the object is an agent of Pydantic AI, a wrapped one included."""
        known = loaded_class("pydantic_ai.agent", "AbstractAgent")
        return known is not None and isinstance(agent, known)

    async def run(
        self,
        agent: Any,
        input: AgentInput,
        context: ExecutionContext,
        *,
        native: bool = False,
        use_session: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[ExecutionEvent]:
        """Run the agent once.

        Parameters: see AgentPlugin; options are keyword arguments of `run_stream_events` (deps, model,
        output_type, usage_limits, message_history, ...). An output that is not text is `parsed` of the node's
        output. Tool calls that need approval are questions of our run, unless the agent's calls must be made
        elsewhere too, or its conversation is your own: then they are the output. Raises ProviderError for a
        failed model call, and the library's own errors (usage limits, outputs that stay invalid, ...).
        """
        sdk: Any = importlib.import_module("pydantic_ai")
        settings = _settings(agent, options or {})
        provider, model = _model(agent, settings)
        fold = Fold(provider=provider, model=model)
        reader = Reader(fold)
        asks = context.desk is not None and "conversation" not in settings
        failure: Exception | None = None
        prompt = await _conversation(sdk, agent, input, context, settings, use_session)
        try:
            going = True
            while going:
                async with aclosing(_told(sdk, agent, prompt, settings, reader, native)) as events:
                    async for one in events:
                        yield one
                waiting = reader.waiting() if asks else []
                going = bool(waiting)
                if going:
                    answers: dict[str, Answer] = {}
                    async with aclosing(ask_for_tools(context, waiting, answers)) as questions:
                        async for one in questions:
                            yield one
                    prompt, settings = None, {**settings, **reader.resumed(sdk, answers)}
        except Exception as error:  # noqa: BLE001  what it had open is closed first, then it is raised
            failure = _failure(sdk, error, provider, model)
        if failure is None and reader.cut:
            failure = _errors.incomplete(provider=provider, model=model)
        for one in fold.close(failed=failure is not None and not isinstance(failure, Unanswered)):
            yield one
        if failure is not None:
            raise failure
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=_output(reader))


async def _told(
    sdk: Any, agent: Any, prompt: str | None, settings: Mapping[str, Any], reader: Reader, native: bool
) -> AsyncGenerator[ExecutionEvent, None]:
    """Run the agent once and yield what it says; a refusal is an answer, whatever the library makes of it."""
    async with agent.run_stream_events(prompt, **settings) as events:
        try:
            async for event in events:
                ours = reader.feed(event, _responses(sdk, events, event))
                for one in with_native(ours, _native(event)) if native else ours:
                    yield one
        except Exception as error:
            for one in reader.settle(_responses(sdk, events, None), failed=True):
                yield one
            if not reader.refused or type(error).__name__ != "ContentFilterError":
                raise


def _output(reader: Reader) -> dict[str, Any]:
    """Return what the output is beyond its text; an object that came as a tool call is in no text."""
    if reader.output is None or isinstance(reader.output, str):
        return {}
    parsed = plain(reader.output)
    return {"parsed": parsed, **({"content": dumps(parsed).decode()} if reader.by_tool else {})}


def _settings(agent: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of the run. The agent would take its name from our variable's."""
    known = set(inspect.signature(agent.run_stream_events).parameters) - {"user_prompt", "infer_name"}
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of {type(agent).__name__}.run_stream_events", name, known)
    return {**options, "infer_name": False}


def _responses(sdk: Any, events: Any, event: Any) -> list[Any]:
    """Return the model responses that the run has completed; deltas are not worth asking for."""
    if event is not None and event.event_kind in ("part_delta", "part_end"):
        return []
    try:
        run = getattr(event, "result", None) or events
        messages: list[Any] = run.new_messages()
    except sdk.UserError:
        # An agent class of the user's own that drives its runs itself says so only in the end.
        return []
    return [message for message in messages if message.kind == "response"]


def _failure(sdk: Any, error: Exception, provider: str, model: str) -> Exception:
    api: Any = getattr(importlib.import_module("pydantic_ai.exceptions"), "ModelAPIError", ())
    if isinstance(error, api) and getattr(error, "status_code", None) is None:
        return _errors.lost(str(error), provider=provider, model=model)
    return _errors.from_exception(error, provider=provider, model=model)


plugin = PydanticAIPlugin()
