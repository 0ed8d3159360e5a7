"""What an agent plug-in offers, and what the agent node hands it."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypedDict, cast

from .context import ExecutionContext, Message
from .events import ExecutionEvent


class AgentInput(TypedDict, total=False):
    """What the agent is asked: the message alone, or a whole conversation that ends with it."""

    message: str
    messages: list[Message]


class AgentPlugin(Protocol):
    """An agent plug-in: the module-level `plugin` of `agents/x.py`.

    `accepts` says in a few words which objects it runs; it ends up in an error message.
    """

    accepts: str

    def matches(self, agent: object) -> bool:
        """Say whether this plug-in runs the object. Cheap, and imports nothing foreign."""
        ...

    def run(
        self,
        agent: Any,
        input: AgentInput,
        context: ExecutionContext,
        *,
        native: bool = False,
        use_session: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[ExecutionEvent]:
        """Run the agent once and yield events as they happen, steps and model calls in our grammar.

        Parameters: native delivers the agent's own events too; use_session lets the agent see earlier turns
        of `context.session_id`; options are keyword arguments of the agent library's own run function. A
        last node_complete may carry output beyond the text. Never changes the agent. Raises what the agent
        raises, after the blocks it left open were closed.
        """
        ...


_READ = (
    *("name", "model", "model_name", "model_cfg", "system", "instructions", "system_prompt", "prompt"),
    *("tools", "_function_toolset", "_instructions", "_system_prompts", "handoffs", "nodes"),
    *("output_type", "description", "params_json_schema", "function_schema", "json_schema", "instruction"),
    *("model_settings", "temperature", "top_p", "max_tokens", "tool_choice", "reasoning", "seed"),
)
_HELD = re.compile(r"key|token$|secret|passw|credential|^auth([_-]|$)|authorization|cookie|headers", re.I)
"""Names of what may hold a key."""
_DEPTH = 6


def described(agent: object) -> Any:
    """Return what can be read of an agent that tells it from others, as JSON values: its class, and its name,
    model, its settings, instructions and tools as far as it has them by these names. Never an address or a
    key."""
    return _read(agent, _DEPTH)


def _read(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return value.__qualname__
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(k): _read(v, depth - 1) for k, v in items if not _HELD.search(str(k))}
    if isinstance(value, (list, tuple)):
        return [_read(v, depth - 1) for v in cast("list[Any]", value)]
    found: dict[str, Any] = {"class": type(value).__qualname__}
    if depth > 0:
        for name in _READ:
            try:
                given: Any = getattr(value, name, None)
            except Exception:  # noqa: BLE001  a property of a foreign object may raise anything
                continue
            if given is not None and not inspect.ismethod(given):
                found[name] = _read(given, depth - 1)
    return found
