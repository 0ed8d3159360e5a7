"""orchestrator: a model that hands work to other nodes of the graph and puts their results together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from ..core.channel import Channel, Ended
from ..core.compiled import CompiledGraph
from ..core.context import ExecutionContext, as_text
from ..core.errors import BudgetExceededError, GraphValidationError, InnerFailure, Unanswered, shown
from ..core.events import EventType, ExecutionEvent
from ..core.nested import run
from ..core.node import BaseNode
from ..core.tools import Tool
from ._asking import ask, model_node, options_of
from ._kinds import LIST, TEXT, Kind, check_kinds, names

_PROMPT = (
    "You coordinate a team. Each tool is a member of it: call a member with one clear and complete task. Call"
    " several at once where their tasks do not depend on each other. Then answer the user from their results."
)

_KINDS: dict[str, Kind] = {"agents": LIST, "system_prompt": TEXT, "model": TEXT}


class OrchestratorNode(BaseNode):
    """Asks a model that has other nodes of the graph as tools.

    Parameters
    ----------
    agents : the ids of the nodes that it may hand work to, or a dict from ids to what each is good at. None
        takes every node that its edges lead to; the edges of those then leave from this one.
    system_prompt : a template, added to the instructions to coordinate.
    result_mode : "synthesize" answers with the model's words; "raw" with what the agents returned, by id.
    model, max_steps : as for an llm node; model_options, its further options.

    An agent receives `{"input": task}`, may be called several times, also at once, and its events are in the
    run under its own id. That one fails, or is rejected, is told to the model; a budget that is spent ends
    the run. The output is that of an llm node, and `results`, a list of `{"agent", "task", "output"}`, with
    "error" where it failed, in the order of the calls.
    """

    kind = "orchestrator"
    replays = True

    def __init__(
        self,
        id: str,
        *,
        agents: Iterable[str] | Mapping[str, str] | None = None,
        system_prompt: str | None = None,
        result_mode: Literal["synthesize", "raw"] = "synthesize",
        model: str | None = None,
        max_steps: int = 10,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(id)
        if isinstance(agents, str):
            raise GraphValidationError(f"Orchestrator {id!r}: agents= is a list; write agents=[{agents!r}].")
        check_kinds(id, _KINDS, locals())
        if result_mode not in ("synthesize", "raw"):
            raise GraphValidationError(
                f"Orchestrator {id!r}: result_mode is 'synthesize' or 'raw', not {shown(result_mode)}."
            )
        self.agents = None if agents is None else names(id, "agents", agents)
        self.descriptions = dict(agents) if isinstance(agents, Mapping) else {}
        self.result_mode = result_mode
        prompt = f"{_PROMPT}\n\n{system_prompt}" if system_prompt else _PROMPT
        self.templates = (system_prompt,) if system_prompt else ()
        own = {"model": model, "max_steps": max_steps, "system_prompt": prompt}
        self._options = options_of(id, own, model_options)
        self._llm = model_node(id, self._options)

    def check(self) -> None:
        """Raise what would make the model call fail."""
        self._llm.check()

    def adopts(self, after: Sequence[str]) -> Sequence[str]:
        """Return the agents. Raises GraphValidationError when there are none."""
        found = list(after) if self.agents is None else self.agents
        if not found:
            raise GraphValidationError(
                f"Orchestrator {self.id!r} has nobody to hand work to: add an edge to each agent, or pass"
                " agents=[...]."
            )
        labels: dict[str, str] = {}
        for name in found:
            other = labels.setdefault(_label(name), name)
            if other != name:
                raise GraphValidationError(
                    f"Orchestrator {self.id!r}: to the model, the agents {other!r} and {name!r} would both be"
                    f" the tool {_label(name)!r}; rename one of them."
                )
        return found

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Coordinate. Raises what the model call raises."""
        team = _Team(context, self.descriptions)
        tools = [team.tool(name, graph) for name, graph in context.inner[self.id].items()]
        llm = model_node(self.id, {**self._options, "tools": [*tools, *(self._options.get("tools") or ())]})
        async with aclosing(team.events(llm, input)) as events:
            async for event in events:
                if event.__class__ is ExecutionEvent and event.type == EventType.NODE_COMPLETE:
                    results = event.output["results"] = team.results(event.output["tool_calls"])
                    if self.result_mode == "raw":
                        texts = (as_text(r["output"]) for r in results)
                        event.output["content"] = "\n\n".join(filter(None, texts))
                yield event


class _Team:
    """The agents of one visit: the events of all of them and of the model."""

    def __init__(self, context: ExecutionContext, descriptions: Mapping[str, str]) -> None:
        self._context, self._descriptions = context, descriptions
        self._channel: Channel[int]
        self._agents: dict[str, str] = {}
        self._calls: dict[str, list[str]] = {}
        self._begun: set[tuple[str, int]] = set()
        self._fatal: Exception | None = None
        self._room = asyncio.Semaphore(context.max_concurrency or _MOST)

    def tool(self, name: str, graph: CompiledGraph) -> Tool:
        """Return the tool that hands a task to an agent."""
        (node,) = graph.nodes.values()
        about = self._descriptions.get(name) or getattr(node, "description", None) or f"The agent {name}."

        async def hand_over(task: str) -> Any:
            return await self._call(name, graph, task)

        self._agents[_label(name)] = name
        return Tool.from_function(hand_over, name=_label(name), description=str(about))

    def results(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what became of the tasks, from the tool calls of the model's output."""
        found: list[dict[str, Any]] = []
        for call in calls:
            if (agent := self._agents.get(call["name"])) is None:
                continue
            task = (call.get("arguments") or {}).get("task")
            record = {"agent": agent, "task": task, "output": call.get("output")}
            found.append({**record, "error": call["error"]} if call.get("error") else record)
        return found

    async def events(self, llm: Any, input: Any) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield what the model and the agents send, as it comes; last the model's node_complete."""
        self._channel = Channel[int]()
        done: ExecutionEvent | None = None
        try:
            self._channel.add(0, lambda given: self._model(llm, given), input)
            while self._channel.active:
                await self._channel.wait()
                while (pair := self._channel.poll()) is not None:
                    key, item = pair
                    if isinstance(item, Ended):
                        if item.error is not None and key == 0:
                            raise self._fatal or item.error
                    elif key == 0 and item.type == EventType.NODE_COMPLETE:
                        done = item
                    else:
                        yield item
                if self._fatal is not None:
                    await self._channel.aclose()
                    for _, item in self._channel.drain():
                        if not isinstance(item, Ended):
                            yield item
                    raise self._fatal
        finally:
            await self._channel.aclose()
        if done is not None:
            yield done

    async def _model(self, llm: Any, input: Any) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield the model's events, and take note of its calls before they are made."""
        async with aclosing(ask(llm, input, self._context, words=True)) as events:
            async for event in events:
                if event.type == EventType.TOOL_CALL_START:
                    name = self._agents.get(str(event.metadata.get("tool_name")))
                    if name is not None:
                        self._calls.setdefault(name, []).append(str(event.metadata["tool_call_id"]))
                yield event

    def _next(self, name: str) -> int:
        """Return which call of an agent this one is: also in a resumed run, where calls that the log has the
        results of are not made again."""
        journal = self._context.journal
        for number, call_id in enumerate(self._calls.get(name, ())):
            if (name, number) not in self._begun and not (journal and journal.finished(call_id)):
                break
        else:
            number = len(self._calls.get(name, ()))
        self._begun.add((name, number))
        return number

    async def _call(self, name: str, graph: CompiledGraph, task: str) -> Any:
        """Run an agent, its events in the channel, and return its output. Raises what it raises."""
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = self._next(name)
        self._channel.add(len(self._begun), lambda _: self._passed(graph, task, number, ended), None)
        return await ended

    async def _passed(
        self, graph: CompiledGraph, task: str, number: int, ended: asyncio.Future[Any]
    ) -> AsyncGenerator[ExecutionEvent, None]:
        inner = run(graph, task, self._context, item=(number, _MOST))
        output: Any = None
        try:
            async with self._room, aclosing(inner) as events:
                async for event in events:
                    if event.__class__ is ExecutionEvent:
                        output = event.output
                    else:
                        yield event
        except Exception as error:
            cause = error.cause if isinstance(error, InnerFailure) else error
            if isinstance(cause, BudgetExceededError):
                self._fatal = self._fatal or error
                raise
            if not ended.done():
                ended.set_exception(cause if isinstance(cause, Unanswered) else error)
        else:
            if not ended.done():
                ended.set_result(output)


def _label(name: str) -> str:
    """Return the name of the tool that an agent is to a model."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


_MOST = 1000
"""More calls of one agent than a visit can have; tells the visits of nodes inside an agent apart."""

plugin = OrchestratorNode
