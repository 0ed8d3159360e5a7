"""Agents of the OpenAI Agents SDK (https://openai.github.io/openai-agents-python/).

Words, tool calls and usage come from the raw Responses events that the SDK makes for every model; results of
tools and handoffs from its run items. Its tracing is off: nothing leaves the machine but the model calls.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from ..core.context import ExecutionContext
from ..core.errors import InputError, Unanswered, UnknownNameError
from ..core.events import EventType, ExecutionEvent
from ..core.interrupts import Answer
from . import _errors
from ._asking import ask_for_tools
from ._fold import Events, Fold, plain, with_native
from ._protocol import AgentInput, loaded_class
from ._responses_events import ResponsesEvents


def _record(data: Any) -> dict[str, Any]:
    """Return a raw event as a dict; deltas hold only plain values, so that they need no conversion."""
    if isinstance(data, dict):
        return data
    if str(getattr(data, "type", "")).endswith(".delta"):
        return vars(data)
    return data.model_dump(mode="json", warnings=False)


_TOLD = frozenset(
    {"message_output_created", "handoff_requested", "tool_called", "reasoning_item_created", "mcp_list_tools"}
)


class _Reader:
    """One run's stream events, read into a fold.

    Parameters: fold; model, what says which provider and model an agent calls.
    """

    def __init__(self, fold: Fold, model: Callable[[Any], tuple[str, str]]) -> None:
        self.fold, self.model = fold, model
        self.responses = ResponsesEvents(fold)
        self.denied: set[str] = set()

    def feed(self, event: Any) -> Events:
        """Return what a stream event of the SDK becomes."""
        if event.type == "raw_response_event":
            record = _record(event.data)
            step = self.fold.step_start() if record.get("type") == "response.created" else []
            return [*step, *self.responses.feed(record)]
        if event.type == "run_item_stream_event":
            return self._item(event.name, event.item)
        if event.type == "agent_updated_stream_event":
            self.fold.provider, self.fold.model = self.model(event.new_agent)
        return []

    def _item(self, name: str, item: Any) -> Events:
        raw: Any = getattr(item, "raw_item", None)
        call_id = raw.get("call_id") if isinstance(raw, dict) else getattr(raw, "call_id", None)
        if name == "tool_output" and call_id in self.denied:
            return self.fold.tool_end(str(call_id), error=str(item.output), status="denied")
        if name == "tool_output" and call_id:
            return self.fold.tool_end(str(call_id), output=item.output)
        if name == "handoff_occured":
            names = {
                "from": getattr(item.source_agent, "name", ""),
                "to": getattr(item.target_agent, "name", ""),
            }
            done = self.fold.tool_end(str(call_id), output=plain(raw).get("output")) if call_id else []
            return [*done, *self.fold.custom(names, data_type="data-handoff")]
        if name in _TOLD or name == "tool_output":
            return []
        payload = {"name": name, "item": plain(_dump(raw))}
        return self.fold.custom(payload, data_type="native")

    def stopped(self, error: Exception) -> Events:
        """Return which guardrail stopped the run, if one did: its exception says only that one did."""
        result = getattr(error, "guardrail_result", error)
        guardrail, output = getattr(result, "guardrail", None), getattr(result, "output", None)
        if guardrail is None or output is None:
            return []
        name = guardrail.get_name()
        info = {"kind": type(guardrail).__name__, "name": name, "output_info": plain(output.output_info)}
        return self.fold.custom(info, data_type="data-guardrail")

    def waiting(self, calls: list[tuple[str, str, Any]]) -> tuple[Events, list[dict[str, Any]]]:
        """Return the tool calls that the run waits for a person's approval of, with nobody there to ask."""
        names = ("tool_call_id", "tool_name", "arguments")
        found: list[dict[str, Any]] = [dict(zip(names, call, strict=True)) for call in calls]
        events = [self.fold.custom(one, data_type="data-tool-approval") for one in found]
        return [event for some in events for event in some], found


def _native(event: Any) -> dict[str, Any]:
    """Return a stream event as plain JSON values, in the SDK's own structure."""
    if event.type == "raw_response_event":
        data = event.data
        return {"type": event.type, "data": plain(data if isinstance(data, dict) else _dump(data))}
    if event.type == "run_item_stream_event":
        item = event.item
        record = {
            "type": getattr(item, "type", ""),
            "raw_item": plain(_dump(getattr(item, "raw_item", None))),
        }
        if hasattr(item, "output"):
            record["output"] = plain(item.output)
        return {"type": event.type, "name": event.name, "item": record}
    return {"type": event.type, "new_agent": getattr(getattr(event, "new_agent", None), "name", "")}


def _dump(value: Any) -> Any:
    return value.model_dump(mode="json", warnings=False) if hasattr(value, "model_dump") else value


def _model(sdk: Any, agent: Any, run_config: Any) -> tuple[str, str]:
    """Return the provider and the model that the SDK will call."""
    model: Any = getattr(run_config, "model", None) or agent.model
    if model is None:
        return "openai", str(sdk.models.get_default_model())
    if isinstance(model, str):
        vendor, _, rest = model.removeprefix("litellm/").removeprefix("any-llm/").rpartition("/")
        return vendor.split("/")[0] or "openai", rest
    name = getattr(model, "model", "")
    return ("openai" if type(model).__name__.startswith("OpenAI") else "agent"), str(name)


def _messages(input: AgentInput, context: ExecutionContext, use_session: bool) -> Any:
    """Return what the SDK calls input. Without a Session of its own it keeps no history: ours goes in."""
    if "messages" in input:
        turns = input["messages"]
    elif use_session and context.chat_history:
        turns = [*context.chat_history, {"role": "user", "content": input.get("message", "")}]
    else:
        return input.get("message", "")
    return [{"role": m.get("role", "user"), "content": m.get("content") or ""} for m in turns]


class OpenAIAgentsPlugin:
    """Runs `agents.Agent` through `Runner.run_streamed`."""

    accepts = "an agents.Agent of openai-agents"

    def matches(self, agent: object) -> bool:
        """Say whether the object is an Agent of openai-agents."""
        known = loaded_class("agents", "Agent")
        # A package of the user's own may be called "agents" too.
        return known is not None and known.__module__.startswith("agents.agent") and isinstance(agent, known)

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

        Parameters: see AgentPlugin; options are keyword arguments of `Runner.run_streamed` (max_turns,
        context, hooks, session, ...); a run_config of your own replaces ours, tracing included. A refusal and
        an answer cut short by the model end the run as they end an llm node: with that finish reason. Tool
        calls that need approval are questions of our run; where there is none, they are not executed and are
        `interrupts` of the output.
        Raises ProviderError for HTTP failures, IncompleteStreamError for an answer that stops early (of chat
        servers other than OpenAI's the SDK does not say), and the SDK's own errors: turns, guardrails, ...
        """
        # By string: this folder is called agents as well, and type checkers would look here.
        sdk: Any = importlib.import_module("agents")
        settings = _settings(sdk, agent, dict(options or {}))
        provider, model = _model(sdk, agent, settings["run_config"])
        fold = Fold(provider=provider, model=model)
        reader = _Reader(fold, lambda one: _model(sdk, one, settings["run_config"]))
        given = _messages(input, context, use_session and "session" not in settings)
        failure: Exception | None = None
        waiting: list[tuple[str, str, Any]] = []
        result: Any = None
        finished = False
        try:
            while not finished:
                result = sdk.Runner.run_streamed(agent, given, **settings)
                async with aclosing(_told(result, reader, native)) as events:
                    async for one in events:
                        yield one
                waiting = [_call(item) for item in result.interruptions]
                finished = not waiting or context.desk is None
                if not finished:
                    answers: dict[str, Answer] = {}
                    async with aclosing(ask_for_tools(context, waiting, answers)) as questions:
                        async for one in questions:
                            yield one
                    given = _resumed(result, answers, reader)
        except Exception as error:  # noqa: BLE001  what it had open is closed first, then it is raised
            if not (fold.text_seen and _is_answer(sdk, error, reader.responses.ended)):
                failure = _failure(sdk, error, reader)
                for one in reader.stopped(error):
                    yield one
        asked, approvals = reader.waiting(waiting if failure is None else [])
        broken = failure is not None and not isinstance(failure, Unanswered)
        for one in [*asked, *fold.close(failed=broken)]:
            yield one
        if failure is not None:
            raise failure
        more: dict[str, Any] = {"interrupts": approvals} if approvals else {}
        if finished and not isinstance(result.final_output, (str, type(None))):
            more["parsed"] = plain(result.final_output)
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=more)


async def _told(result: Any, reader: _Reader, native: bool) -> AsyncGenerator[ExecutionEvent, None]:
    events: Any = result.stream_events()
    async with aclosing(events), _Cancelling(result):
        async for event in events:
            ours = reader.feed(event)
            for one in with_native(ours, _native(event)) if native else ours:
                yield one


def _call(item: Any) -> tuple[str, str, Any]:
    raw = item.raw_item
    return str(getattr(raw, "call_id", "")), str(item.tool_name), getattr(raw, "arguments", None)


def _resumed(result: Any, answers: Mapping[str, Answer], reader: _Reader) -> Any:
    """Return the state that the run goes on from. Raises InputError for an edit: the SDK takes none."""
    state = result.to_state()
    for item in result.interruptions:
        call_id, name, _ = _call(item)
        answer = answers[call_id]
        if answer.decision == "edited":
            raise InputError(
                f"The OpenAI Agents SDK runs {name!r} with the model's own arguments or not at all:"
                " approve the call, or reject it with a reason."
            )
        if answer.approved:
            state.approve(item)
        else:
            reader.denied.add(call_id)
            state.reject(item, rejection_message=f"{answer.refusal}.")
    return state


class _Cancelling:
    """Ends the SDK's background run when its reader leaves early, instead of waiting for the answer."""

    def __init__(self, result: Any) -> None:
        self._result = result

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *exc: object) -> None:
        task: Any = self._result.run_loop_task
        if not self._result.is_complete or (task is not None and not task.done()):
            self._result.cancel()
            if task is not None and not task.done():
                await asyncio.wait((task,))


def _settings(sdk: Any, agent: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of run_streamed: no tracing, and usage unless the agent declines it."""
    known = set(inspect.signature(sdk.Runner.run_streamed).parameters) - {"starting_agent", "input"}
    for name in options:
        if name not in known:
            raise UnknownNameError("option of Runner.run_streamed", name, known)
    if options.get("run_config") is None:
        asked = agent.model_settings.include_usage
        usage = sdk.ModelSettings(include_usage=True) if asked is None else None
        options["run_config"] = sdk.RunConfig(tracing_disabled=True, model_settings=usage)
    return options


def _failure(sdk: Any, error: Exception, reader: _Reader) -> Exception:
    fold = reader.fold
    if isinstance(error, sdk.ModelBehaviorError) and fold.calling and not reader.responses.ended:
        return _errors.incomplete(provider=fold.provider, model=fold.model)
    return _errors.from_exception(error, provider=fold.provider, model=fold.model)


def _is_answer(sdk: Any, error: Exception, ended: str) -> bool:
    """Say whether the SDK raised for an answer that is there: its finish reason tells the rest."""
    if isinstance(error, sdk.ModelRefusalError):
        return True
    return ended == "incomplete" and isinstance(error, sdk.ModelBehaviorError)


plugin = OpenAIAgentsPlugin()
