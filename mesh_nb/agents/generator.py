"""Async generator functions: the plainest agent there is.

    async def agent(message):
        yield "Hello "
        yield "you."

What is yielded is text, a dict of the AI SDK's UI message stream, one of our events, or an object with text
as its `content` or `delta`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from ..core.context import ExecutionContext
from ..core.errors import InputError, UnknownNameError
from ..core.events import EventType, ExecutionEvent, dumps
from . import _errors
from ._fold import Fold, with_native
from ._protocol import AgentInput
from ._ui_events import Reader, native_of, said

_NAMED = ("context", "session_id")


def _name(agent: Any) -> str:
    while hasattr(agent, "func"):
        agent = agent.func
    return str(getattr(agent, "__name__", "") or type(agent).__name__)


def _bound(
    agent: Any, input: AgentInput, context: ExecutionContext, session: str | None, options: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Return the arguments of a call: the message first, the context by name, then the options by name.

    Raises UnknownNameError for an option that the function does not have, InputError for a parameter that
    nothing fills.
    """
    signature = inspect.signature(agent)
    parameters = signature.parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in parameters and not open_ended:
            raise UnknownNameError(f"option of {_name(agent)}", name, parameters)
    keywords: dict[str, Any] = dict(options)
    for name, value in zip(_NAMED, (context, session), strict=True):
        if name in parameters:
            keywords.setdefault(name, value)
    said = input["messages"] if "messages" in input else input.get("message", "")
    places = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    free = [p for p in places if p.name not in keywords] or [
        p for p in parameters.values() if p.kind is p.VAR_POSITIONAL
    ]
    try:
        return signature.bind(*([said] if free else []), **keywords)
    except TypeError as error:
        raise InputError(
            f"{_name(agent)}{signature} gets the message alone, and {error}: pass it with"
            " run_options={'name': value}, or give it a default."
        ) from None


class GeneratorPlugin:
    """Runs async generator functions, and objects whose `__call__` is one."""

    accepts = "an async generator function, such as async def agent(message): yield 'text'"

    def matches(self, agent: object) -> bool:
        """Say whether calling the object gives an async generator."""
        if isinstance(agent, type) or hasattr(agent, "run_stream"):
            return False
        return inspect.isasyncgenfunction(agent) or inspect.isasyncgenfunction(
            getattr(type(agent), "__call__", None)  # noqa: B004  whether it can be called is not the question
        )

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
        """Run the function once.

        Parameters: see AgentPlugin; its first parameter gets the message, or the list of messages where the
        node's input_mode is "messages"; parameters called `context` and `session_id` get those; options are
        keyword arguments for the others. Raises MeshError for an error that it reports in an event, and what
        it raises itself.
        """
        fold = Fold(provider="agent", model=_name(agent))
        reader = Reader(fold)
        session = context.session_id if use_session else None
        call = _bound(agent, input, context, session or None, options or {})
        failure: Exception | None = None
        try:
            async with aclosing(agent(*call.args, **call.kwargs)) as stream, aclosing(said(stream)) as items:
                async for event, failed in items:
                    ours = reader.feed({**event, "finishReason": "error"} if failed else event)
                    for one in with_native(ours, native_of(event)) if native else ours:
                        yield one
        except Exception as error:  # noqa: BLE001  what it had open is closed first, then it is raised
            failure = _errors.from_exception(error, provider=_errors.vendor(error), model=fold.model)
        if failure is None and reader.error is not None:
            failure = _errors.from_text(reader.error, agent=agent, provider=fold.provider, model=fold.model)
        for one in fold.close(failed=failure is not None):
            yield one
        if failure is not None:
            raise failure
        if "parsed" in reader.output and not fold.text_seen:
            reader.output.setdefault("content", dumps(reader.output["parsed"]).decode())
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=reader.output)


plugin = GeneratorPlugin()
