"""The agent node: a foreign agent, run as it is, in the same events as every other node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, cast

from ..core import plugins, tape, templates
from ..core.agent import AgentInput, AgentPlugin, described
from ..core.context import ExecutionContext, Message, as_text
from ..core.errors import GraphValidationError, InputError
from ..core.events import EventType, ExecutionEvent, canonical, loads
from ..core.node import BaseNode
from ._budgeted import budget_for, watched
from ._kinds import DICT, SWITCH, TEXT, Kind, check_kinds
from ._taped import on_tape

_PLAIN = (str, int, float, bool, type(None), list, dict)


def find_plugin(node_id: str, agent: object) -> AgentPlugin:
    """Return the agent plug-in that runs an object.

    Raises GraphValidationError, naming the object's type and what is supported, when there is none.
    """
    if agent is None:
        raise GraphValidationError(
            f"Node {node_id!r} has no agent: write add_node({node_id!r}, agent, node_type='agent')."
        )
    known: list[AgentPlugin] = [plugins.find("agent", name) for name in plugins.names("agent")]
    for plugin in known:
        if plugin.matches(agent):
            return plugin
    kind = agent if isinstance(agent, type) else type(agent)
    said = (
        f"the class {kind.__qualname__}; pass an instance" if isinstance(agent, type) else kind.__qualname__
    )
    supported = "; ".join(plugin.accepts for plugin in known)
    raise GraphValidationError(f"Node {node_id!r} cannot run {said}. Supported agents: {supported}.")


_KINDS: dict[str, Kind] = {
    "system_prompt": TEXT,
    "run_options": DICT,
    "use_native_events": SWITCH,
    "use_session": SWITCH,
}
_NEEDED = ("use_native_events", "use_session")


class AgentNode(BaseNode):
    """Runs an agent of another library as a node. The agent object is never changed.

    Parameters
    ----------
    id : the node's name.
    config : the agent: a Vel agent, an agents.Agent, or any object that a plug-in of `mesh_nb/agents` runs.
    system_prompt : a template that is put in front of the message; the agent's own instructions stay.
    use_native_events : deliver every event of the agent's library too, under `metadata["native"]` of what it
        became, else as custom_data with data_type "native".
    use_session : let the agent see the earlier turns of the session.
    input_mode : "message" hands over the node's input as one message; "messages" the whole history and the
        message, or the `messages` of the input when it has some.
    run_options : keyword arguments for the agent library's own run function, such as max_turns.

    Its output is that of an llm node: `{"content": text of the last answer, "tool_calls": [...]}`, and
    `parsed` when the agent has an output type. Raises GraphValidationError for an object that no plug-in
    runs.
    """

    kind = "agent"

    def __init__(
        self,
        id: str,
        config: Any = None,
        *,
        system_prompt: str | None = None,
        use_native_events: bool = False,
        use_session: bool = True,
        input_mode: Literal["message", "messages"] = "message",
        run_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_kinds(id, _KINDS, locals(), _NEEDED)
        super().__init__(id)
        if input_mode not in ("message", "messages"):
            raise GraphValidationError(
                f"Node {id!r}: input_mode is 'message' or 'messages', not {input_mode!r}."
            )
        self.agent = config
        self.plugin = find_plugin(id, config)
        self.system_prompt = system_prompt
        self.templates = (system_prompt,) if system_prompt else ()
        self.use_native_events = use_native_events
        self.use_session = use_session
        self.input_mode = input_mode
        self.run_options = dict(run_options or {})

    def check_files(self, files: Sequence[Any]) -> None:
        """Raise InputError: no agent library takes attachments in one common form."""
        raise InputError(
            f"Node {self.id!r} is an agent, which gets text only, so {files[0]['name']!r} cannot be attached;"
            " put an llm node before it, or hand the file to the agent's own library."
        )

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run the agent once and yield what it says as it says it."""
        words: list[str] = []
        calls: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        stream = self._stream(self._question(input, context), context)
        if (budget := budget_for(context)) is not None:
            stream = watched(cast("Any", stream), budget, context.run_id)
        async with aclosing(cast("Any", stream)) as events:
            async for event in events:
                kind = event.type
                if kind == EventType.NODE_COMPLETE:
                    more = event.output or {}
                    continue
                if kind == EventType.TOKEN:
                    words.append(event.content)
                elif kind == EventType.MESSAGE_START:
                    words = []
                elif kind == EventType.TOOL_CALL_COMPLETE:
                    calls.append(_call(event))
                yield event
        output = {"content": "".join(words), "tool_calls": calls}
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output={**output, **more})

    def _stream(self, asked: AgentInput, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Return the agent's events, from the tape that is on where it has them."""

        def live() -> AsyncGenerator[ExecutionEvent, None]:
            stream = self.plugin.run(
                self.agent,
                asked,
                context,
                native=self.use_native_events,
                use_session=self.use_session,
                options=self.run_options,
            )
            return cast("AsyncGenerator[ExecutionEvent, None]", stream)

        on = tape.current()
        if on is None:
            return live()

        def request() -> dict[str, Any]:
            history = context.chat_history if self.use_session else []
            options = {k: v for k, v in self.run_options.items() if isinstance(v, _PLAIN)}
            known = {"agent": described(self.agent), "input": asked, "history": history, "options": options}
            return loads(canonical({k: v for k, v in known.items() if v}))

        key = on.key(canonical({**request(), "native": self.use_native_events}), request)
        return on_tape(live, key, request, f"the agent of node {self.id!r}", on, context.run_id)

    def _question(self, input: Any, context: ExecutionContext) -> AgentInput:
        system = templates.resolve(self.system_prompt, context) if self.system_prompt else ""
        if self.input_mode == "message":
            text = self._text(input, context)
            return {"message": f"{system}\n\n{text}" if system else text}
        given = cast("dict[str, Any]", input).get("messages") if isinstance(input, dict) else None
        messages: list[Message] = (
            list(cast("list[Message]", given))
            if isinstance(given, list)
            else [*(context.chat_history if self.use_session else []), _user(self._text(input, context))]
        )
        return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}

    def _text(self, input: Any, context: ExecutionContext) -> str:
        text = as_text(input) or context.question
        if not text and not self.system_prompt:
            raise InputError("There is nothing to ask: the input is empty. Pass a question.")
        return text


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _call(event: ExecutionEvent) -> dict[str, Any]:
    """Return a finished tool call as the node's output lists it."""
    given = event.metadata
    record = {
        "id": given.get("tool_call_id"),
        "name": given.get("tool_name"),
        "arguments": given.get("arguments"),
        "status": given.get("status"),
    }
    return record | ({"output": event.output} if event.error is None else {"error": event.error})


plugin = AgentNode
