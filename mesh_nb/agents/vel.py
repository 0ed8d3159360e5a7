"""Vel agents, and every object that speaks their protocol: an async generator `run_stream(input, session_id)`
of dicts in the AI SDK's UI message stream vocabulary (https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from ..core.context import ExecutionContext
from ..core.errors import UnknownNameError
from ..core.events import EventType, ExecutionEvent, dumps
from . import _errors
from ._fold import Fold, with_native
from ._protocol import AgentInput, loaded_class
from ._ui_events import Reader, native_of, said

_VENDORS = {"openai-responses": "openai", "google": "gemini"}


def _arguments(agent: Any, input: AgentInput, session_id: str | None, options: Mapping[str, Any]) -> Any:
    """Return the positional and keyword arguments that this object's run_stream takes."""
    parameters = inspect.signature(agent.run_stream).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in parameters and not open_ended:
            raise UnknownNameError(f"option of {type(agent).__name__}.run_stream", name, parameters)
    keywords = dict(options)
    if "session_id" in parameters or open_ended:
        keywords["session_id"] = session_id
    named = parameters.get("input")
    if (named is None and not open_ended) or (named is not None and named.kind is named.POSITIONAL_ONLY):
        return (dict(input),), keywords
    return (), {"input": dict(input), **keywords}


def _model(agent: Any) -> tuple[str, str]:
    """Return the provider and the model that an agent says it uses."""
    said: Any = getattr(agent, "model_cfg", None) or getattr(agent, "model", None)
    if isinstance(said, Mapping):
        provider = str(said.get("provider") or "agent")
        return _VENDORS.get(provider, provider), str(said.get("model") or said.get("name") or "")
    return "agent", said if isinstance(said, str) else ""


class VelPlugin:
    """Runs Vel agents and objects with the same `run_stream`."""

    accepts = "an object with an async generator run_stream(input, session_id=...), such as a Vel agent"

    def matches(self, agent: object) -> bool:
        """Say whether the object is a Vel agent or has an async-generator `run_stream`."""
        known = loaded_class("vel", "Agent")
        if known is not None and isinstance(agent, known):
            return True
        # pydantic-ai's run_stream is a context manager: the name alone says nothing.
        return not isinstance(agent, type) and inspect.isasyncgenfunction(getattr(agent, "run_stream", None))

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

        Parameters: see AgentPlugin; options are keyword arguments of `run_stream` (context_refs, rlm,
        thinking, ...). Raises ProviderError for a provider's HTTP failure that the agent reports, MeshError
        for any other error or abort that it reports, and whatever `run_stream` raises.
        """
        provider, model = _model(agent)
        fold = Fold(provider=provider, model=model)
        reader = Reader(fold)
        with_history = "messages" in input
        session = context.session_id if use_session and context.session_id and not with_history else None
        arguments, keywords = _arguments(agent, input, session, options or {})
        failure: Exception | None = None
        try:
            async with (
                aclosing(agent.run_stream(*arguments, **keywords)) as stream,
                aclosing(said(stream)) as items,
            ):
                async for event, failed in items:
                    ours = reader.feed({**event, "finishReason": "error"} if failed else event)
                    for one in with_native(ours, native_of(event)) if native else ours:
                        yield one
        except Exception as error:  # noqa: BLE001  what it had open is closed first, then it is raised
            failure = _errors.from_exception(error, provider=provider, model=model)
        if failure is None and reader.error is not None:
            failure = _errors.from_text(reader.error, agent=agent, provider=provider, model=model)
        for one in fold.close(failed=failure is not None):
            yield one
        if failure is not None:
            raise failure
        if "parsed" in reader.output and not fold.text_seen:
            reader.output["content"] = dumps(reader.output["parsed"]).decode()
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=reader.output)


plugin = VelPlugin()
