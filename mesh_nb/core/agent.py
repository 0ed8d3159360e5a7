"""What an agent plug-in offers, and what the agent node hands it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypedDict

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
