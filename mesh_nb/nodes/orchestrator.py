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
from ..core.errors import GraphValidationError, Unanswered, shown
from ..core.events import EventType, ExecutionEvent
from ..core.nested import run
from ..core.node import BaseNode
from ..core.tools import Tool
from ._asking import ask, model_node

_PROMPT = (
    "You coordinate a team. Each tool is a member of it: call a member with one clear and complete task. Call"
    " several at once where their tasks do not depend on each other. Then answer the user from their results."
)


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
    run under its own id. One that fails is told to the model. The output is that of an llm node, and
    `results`, a list of `{"agent", "task", "output"}` in the order of the calls.
    """

    kind = "orchestrator"

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
        if result_mode not in ("synthesize", "raw"):
            raise GraphValidationError(
                f"Orchestrator {id!r}: result_mode is 'synthesize' or 'raw', not {shown(result_mode)}."
            )
        self.agents = None if agents is None else list(agents)
        self.descriptions = dict(agents) if isinstance(agents, Mapping) else {}
        self.result_mode = result_mode
        prompt = f"{_PROMPT}\n\n{system_prompt}" if system_prompt else _PROMPT
        self.templates = (system_prompt,) if system_prompt else ()
        self._options: dict[str, Any] = {
            "model": model,
            "max_steps": max_steps,
            "system_prompt": prompt,
            **(model_options or {}),
        }
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
        return found

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Coordinate. Raises what the model call raises."""
        team = _Team(context, self.descriptions)
        tools = [team.tool(name, graph) for name, graph in context.inner[self.id].items()]
        llm = model_node(self.id, {**self._options, "tools": [*tools, *self._options.get("tools", ())]})
        async with aclosing(team.events(llm, input)) as events:
            async for event in events:
                if event.__class__ is ExecutionEvent and event.type == EventType.NODE_COMPLETE:
                    event.output["results"] = team.results
                    if self.result_mode == "raw":
                        texts = (as_text(r["output"]) for r in team.results)
                        event.output["content"] = "\n\n".join(filter(None, texts))
                yield event


class _Team:
    """The agents of one visit: `results` of their calls, events of all of them and of the model."""

    def __init__(self, context: ExecutionContext, descriptions: Mapping[str, str]) -> None:
        self.results: list[dict[str, Any]] = []
        self._context, self._descriptions = context, descriptions
        self._channel: Channel[int]
        self._calls: dict[str, int] = {}
        self._began = 0
        self._asked: Unanswered | None = None

    def tool(self, name: str, graph: CompiledGraph) -> Tool:
        """Return the tool that hands a task to an agent."""
        (node,) = graph.nodes.values()
        about = self._descriptions.get(name) or getattr(node, "description", None) or f"The agent {name}."

        async def hand_over(task: str) -> Any:
            return await self._call(name, graph, task)

        label = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]
        return Tool.from_function(hand_over, name=label, description=str(about))

    async def events(self, llm: Any, input: Any) -> AsyncGenerator[ExecutionEvent, None]:
        """Yield what the model and the agents send, as it comes; last the model's node_complete."""
        self._channel = Channel[int]()
        done: ExecutionEvent | None = None
        try:
            self._channel.add(0, lambda given: ask(llm, given, self._context, words=True), input)
            while self._channel.active:
                await self._channel.wait()
                while (pair := self._channel.poll()) is not None:
                    key, item = pair
                    if isinstance(item, Ended):
                        if item.error is not None and key == 0:
                            raise self._asked or item.error
                    elif item.__class__ is ExecutionEvent and item.type == EventType.NODE_COMPLETE:
                        done = item
                    else:
                        yield item
                if self._asked is not None:
                    raise self._asked
        finally:
            await self._channel.aclose()
        if done is not None:
            yield done

    async def _call(self, name: str, graph: CompiledGraph, task: str) -> Any:
        """Run an agent, its events in the channel. Raises what it raises."""
        self._began += 1
        number = self._calls[name] = self._calls.get(name, -1) + 1
        record: dict[str, Any] = {"agent": name, "task": task, "output": None}
        self.results.append(record)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel.add(self._began, lambda _: self._passed(graph, task, number, record, ended), None)
        await ended
        return record["output"]

    async def _passed(
        self,
        graph: CompiledGraph,
        task: str,
        number: int,
        record: dict[str, Any],
        ended: asyncio.Future[None],
    ) -> AsyncGenerator[ExecutionEvent, None]:
        inner = run(graph, task, self._context, item=(number, _MOST))
        try:
            async with aclosing(inner) as events:
                async for event in events:
                    if event.__class__ is ExecutionEvent:
                        record["output"] = event.output
                    else:
                        yield event
        except Unanswered as error:
            self._asked = error
            raise
        except Exception as error:  # noqa: BLE001  the model is told, and decides
            record["error"] = str(error)
            if not ended.done():
                ended.set_exception(error)
        finally:
            if not ended.done() and self._asked is None:
                ended.set_result(None)


_MOST = 1000
"""More calls of one agent than a visit can have; tells the visits of nodes inside an agent apart."""

plugin = OrchestratorNode
