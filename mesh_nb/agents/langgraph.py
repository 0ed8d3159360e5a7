"""Compiled LangGraph graphs (https://docs.langchain.com/oss/python/langgraph/).

Words, tool calls, results and usage come from the messages that the run streams; what its nodes write, and
what they send through a stream writer, is custom_data. An `interrupt()` of a graph with a checkpointer is a
question of our run, and its answer resumes the graph; any other is in the node's output.
"""

from __future__ import annotations

import importlib
import inspect
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from ..core.context import ExecutionContext
from ..core.errors import InputError, Unanswered, UnknownNameError
from ..core.events import EventType, ExecutionEvent, dumps
from . import _errors
from ._fold import Events, Fold, plain, with_native
from ._langgraph_messages import Messages
from ._protocol import AgentInput, loaded_class

_OURS = frozenset(
    {"self", "stream_mode", "print_mode", "output_keys", "subgraphs", "debug", "version", "kwargs"}
)
_MODES = ["messages", "updates", "custom", "values"]

Starts = dict[str, list[tuple[float, str, str]]]


class _Reader:
    """One run's stream parts, read into a fold.

    Parameters: asks, whether its interrupts become questions, which say themselves what they are about.
    """

    def __init__(self, fold: Fold, starts: Starts, *, asks: bool) -> None:
        self.fold, self.asks = fold, asks
        self.messages = Messages(fold, starts)
        self.state: Any = None
        self.interrupts: dict[str, Any] = {}

    def feed(self, path: tuple[str, ...], mode: str, data: Any) -> Events:
        """Return what a part becomes; path says which subgraph it comes from."""
        if mode == "messages":
            return self.messages.feed(*data)
        if mode == "values":
            if not path:
                self.state = data
            return []
        if mode == "custom":
            return self._custom(data)
        out: Events = []
        for node, update in data.items():
            out += self.messages.end(node)
            if node == "__interrupt__":
                out += self._interrupted(update)
                continue
            where = {"path": list(path)} if path else {}
            payload = {"node": node, **where, "update": _plain(update)}
            out += self.fold.custom(payload, data_type="data-graph-update")
        return out

    def _custom(self, data: Any) -> Events:
        kind = data.get("type") if isinstance(data, Mapping) else None
        if isinstance(kind, str) and kind.startswith("data-"):
            payload = cast("Mapping[str, Any]", data)
            return self.fold.custom(_plain(payload.get("data", payload)), data_type=kind)
        return self.fold.custom(_plain(data), data_type="data-graph-custom")

    def _interrupted(self, interrupts: Any) -> Events:
        out: Events = []
        # A stop at interrupt_before or interrupt_after has no value, and no id.
        found = [(one.id, _plain(one.value)) for one in interrupts] or [("breakpoint", None)]
        for id, value in found:
            # A subgraph's interrupt is told again by every graph around it.
            if id not in self.interrupts and not (self.asks and interrupts):
                out += self.fold.custom({"id": id, "value": value}, data_type="data-graph-interrupt")
            self.interrupts[id] = value
        return out

    def output(self) -> dict[str, Any]:
        """Return what the run gave beyond the words of its last message."""
        out: dict[str, Any] = {}
        state = self.state
        if self.interrupts:
            out["interrupts"] = [{"id": id, "value": value} for id, value in self.interrupts.items()]
        if isinstance(state, Mapping):
            state = {k: v for k, v in state.items() if k not in ("messages", "__interrupt__")}
            if state.get("structured_response") is not None:
                out["parsed"] = _plain(state.pop("structured_response"))
        if state is not None and state != {}:
            out["state"] = _plain(state)
        if not self.fold.text_seen:
            out["content"] = _text(out)
        return out


def _text(output: dict[str, Any]) -> str:
    """Return the answer of a graph whose messages have no words: its structured answer, else its state."""
    value: Any = output.get("parsed", output.get("state", ""))
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return value if isinstance(value, str) else dumps(value).decode()


def _plain(value: Any) -> Any:
    """Return JSON values; of a message, what was said and asked for: no ids, no vendor's records."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("list[Any]", value)]
    if hasattr(value, "content") and hasattr(value, "additional_kwargs"):
        record = {"type": value.type, "name": value.name, "content": plain(value.content)}
        asked = plain(getattr(value, "tool_calls", None))
        answered = getattr(value, "tool_call_id", None)
        record |= {"tool_calls": asked, "tool_call_id": answered}
        return {key: item for key, item in record.items() if item not in (None, [])}
    return plain(value)


def _native(path: tuple[str, ...], mode: str, data: Any) -> dict[str, Any]:
    """Return a part as plain JSON values, in the library's own structure."""
    if mode == "messages":
        message, metadata = data
        data = {"message": message.model_dump(mode="json"), "node": metadata.get("langgraph_node")}
        return {"mode": mode, "path": list(path), "data": plain(data)}
    return {"mode": mode, "path": list(path), "data": _plain(data)}


def _turns(input: AgentInput, history: list[Any]) -> list[dict[str, Any]]:
    if "messages" in input:
        turns: list[Any] = list(input["messages"])
    else:
        turns = [*history, {"role": "user", "content": input.get("message", "")}]
    return [{"role": t.get("role", "user"), "content": t.get("content") or ""} for t in turns]


def _question(graph: Any, turns: list[dict[str, Any]], given: Mapping[str, Any]) -> Any:
    """Return the graph's input: its messages, its only key, or the text for a graph that is a function.

    Raises InputError, naming the keys, when the graph takes something else.
    """
    if "input" in given:
        return given["input"]
    text = str(turns[-1]["content"]) if turns else ""
    builder: Any = getattr(graph, "builder", None)
    if builder is None:
        return text
    keys = list(builder.schemas.get(builder.input_schema, {}))
    if "messages" in keys:
        return {"messages": turns}
    if len(keys) == 1:
        return {keys[0]: text}
    raise InputError(
        f"The graph {graph.name!r} takes {', '.join(map(repr, keys))}, and no messages: say what to put in,"
        " with run_options={'input': {...}}."
    )


def _settings(graph: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of astream; its input is in them, as `input`, when the user gave it."""
    known = set(inspect.signature(graph.astream).parameters) - _OURS
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of {type(graph).__name__}.astream", name, known)
    return dict(options)


def _config(graph: Any, given: Any, session: str, starts: Starts, latest: dict[str, str]) -> dict[str, Any]:
    """Return the run's config: the user's own, with a thread for a graph that remembers, and our watch."""
    config: dict[str, Any] = dict(given or {})
    if graph.checkpointer:
        wanted: dict[str, Any] = {"thread_id": session or uuid.uuid4().hex}
        config["configurable"] = wanted | dict(config.get("configurable") or {})
    watch = _watch(starts, latest)
    callbacks: Any = config.get("callbacks")
    if callbacks is None or isinstance(callbacks, (list, tuple)):
        config["callbacks"] = [*(callbacks or ()), watch]
    else:
        config["callbacks"] = callbacks.copy()
        config["callbacks"].add_handler(watch, inherit=True)
    return config


def _watch(starts: Starts, latest: dict[str, str]) -> Any:
    """Return a callback handler that notes when which model was called: no message says that."""
    base: Any = importlib.import_module("langchain_core.callbacks").BaseCallbackHandler

    class Watch(base):
        run_inline = True

        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            metadata: Mapping[str, Any] = kwargs.get("metadata") or {}
            provider = str(metadata.get("ls_provider") or "")
            model = str(metadata.get("ls_model_name") or "")
            latest.update(provider=provider, model=model)
            where = str(metadata.get("langgraph_checkpoint_ns", ""))
            starts.setdefault(where, []).append((time.time(), provider, model))

    return Watch()


async def _told(
    agent: Any, given: Any, settings: Mapping[str, Any], reader: _Reader, native: bool
) -> AsyncGenerator[ExecutionEvent, None]:
    """Run the graph until it ends or asks, and yield what its parts become."""
    async with aclosing(agent.astream(given, **settings, stream_mode=_MODES, subgraphs=True)) as parts:
        async for path, mode, data in parts:
            ours = reader.feed(path, mode, data)
            # The state after each step is asked for by us alone.
            told = native and mode != "values"
            for one in with_native(ours, _native(path, mode, data)) if told else ours:
                yield one


async def _left(agent: Any, config: Any) -> dict[str, Any]:
    """Return what the thread of a session was asking when the run that is resumed here ended."""
    state = await agent.aget_state(config)
    return {one.id: _plain(one.value) for one in state.interrupts}


async def _answered(
    agent: Any, context: ExecutionContext, interrupts: dict[str, Any], answers: dict[str, Any]
) -> AsyncGenerator[ExecutionEvent, None]:
    """Ask what the graph asks, and put the answers beside the interrupts' ids.

    An edit's value is the answer, an approval is True. Raises RejectedError for a no, and what waiting for
    an answer raises.
    """
    for id, value in list(interrupts.items()):
        message = value if isinstance(value, str) else f"The graph {agent.name!r} asks."
        question = context.ask("input", message, data=value)
        yield question.event
        answer = await question.answer()
        yield question.resolution
        answer.require()
        answers[id] = answer.value if answer.decision == "edited" else True
        del interrupts[id]


class LangGraphPlugin:
    """Runs compiled LangGraph graphs through `astream`."""

    accepts = "a compiled LangGraph graph (graph.compile())"

    def matches(self, agent: object) -> bool:
        """Say whether the object is a compiled graph, or a function with @entrypoint."""
        known = loaded_class("langgraph.pregel", "Pregel")
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
        """Run the graph once.

        Parameters: see AgentPlugin; options are keyword arguments of `astream` (config, context, durability,
        interrupt_before, ...), and `input` in place of the message, such as `Command(resume=...)`. A graph
        with a checkpointer has the session as its thread and gets the new message alone; any other gets the
        chat history before it. The output has `state`, what the graph's state holds beside messages,
        `parsed`, the structured response, and `interrupts`, the questions the graph still waits at: those of
        a graph without a checkpointer, which cannot be resumed, and breakpoints. Raises ProviderError for a
        failed model call, InputError for a graph that takes no messages, RejectedError where the answer to a
        question is no, and what the graph's nodes raise.
        """
        settings = _settings(agent, options or {})
        session = (context.session_id or "") if use_session and "messages" not in input else ""
        history = context.chat_history if use_session and not agent.checkpointer else []
        given = _question(agent, _turns(input, history), settings)
        settings.pop("input", None)
        starts: Starts = {}
        latest: dict[str, str] = {}
        settings["config"] = _config(agent, settings.get("config"), session, starts, latest)
        fold = Fold(provider="agent", model=str(agent.name or ""))
        reader = _Reader(fold, starts, asks=bool(agent.checkpointer) and context.desk is not None)
        failure: Exception | None = None
        try:
            if session and reader.asks and context.journal is not None:
                reader.interrupts = await _left(agent, settings["config"])
            going = True
            while going:
                if not reader.interrupts:
                    async with aclosing(_told(agent, given, settings, reader, native)) as events:
                        async for one in events:
                            yield one
                going = reader.asks and bool(reader.interrupts) and "breakpoint" not in reader.interrupts
                if going:
                    answers: dict[str, Any] = {}
                    async with aclosing(_answered(agent, context, reader.interrupts, answers)) as questions:
                        async for one in questions:
                            yield one
                    given = importlib.import_module("langgraph.types").Command(resume=answers)
        except Exception as error:  # noqa: BLE001  what it had open is closed first, then it is raised
            vendor = latest.get("provider") or _errors.vendor(error)
            failure = _errors.from_exception(error, provider=vendor, model=latest.get("model") or "unknown")
        if failure is None and reader.messages.cut:
            failure = _errors.incomplete(provider=fold.provider, model=fold.model)
        broken = failure is not None and not isinstance(failure, Unanswered)
        for one in [*reader.messages.close(), *fold.close(failed=broken)]:
            yield one
        if failure is not None:
            raise failure
        yield ExecutionEvent(EventType.NODE_COMPLETE, output=reader.output())


plugin = LangGraphPlugin()
