"""dynamic_tool_selector: of many tools, a model gets those that fit the question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from ..core.context import ExecutionContext, as_text
from ..core.errors import GraphValidationError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode
from ..core.tools import Tool, as_tool
from ._asking import ask, model_node, options_of
from ._index import Index
from ._kinds import LIST, NAMES, TEXT, Kind, check_kinds, names

_KINDS: dict[str, Kind] = {"tools": LIST, "always": NAMES, "system_prompt": TEXT, "model": TEXT}
_NEEDED = ("always",)


class DynamicToolSelectorNode(BaseNode):
    """An llm node whose tools are chosen for each question, by their names and descriptions (BM25).

    Parameters
    ----------
    tools : all there are, functions or Tools.
    max_tools : how many the model gets at most. Where no more fit, it gets those; where none fits, the first.
    always : names of tools that it always gets.
    model, system_prompt : as for an llm node; model_options, its further options.

    Which were chosen is a custom_data event, "data-tools-selected". The output is that of an llm node, and
    `selected_tools`.
    """

    kind = "dynamic_tool_selector"
    replays = True

    def __init__(
        self,
        id: str,
        tools: Iterable[Callable[..., Any] | Tool] | None = None,
        *,
        max_tools: int = 5,
        always: Iterable[str] = (),
        model: str | None = None,
        system_prompt: str | None = None,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_kinds(id, _KINDS, locals(), _NEEDED)
        super().__init__(id)
        self.tools = [as_tool(t) for t in tools or ()]
        if not self.tools:
            raise GraphValidationError(f"Node {id!r} has no tools to choose from: pass a list of functions.")
        number: Any = max_tools
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise GraphValidationError(f"Node {id!r}: max_tools={shown(max_tools)} is not 1 or more.")
        known = [t.name for t in self.tools]
        self.always = names(id, "always", always)
        for name in self.always:
            if name not in known:
                raise GraphValidationError(f"Node {id!r}: always= names {shown(name)}, which is no tool.")
        self.max_tools = max_tools
        self.templates = (system_prompt,) if system_prompt else ()
        own = {"model": model, "system_prompt": system_prompt, "tools": self.tools}
        self._options = options_of(id, own, model_options)
        self._all = model_node(id, self._options)
        self._index = Index([f"{' '.join(t.name.split('_'))}\n{t.description}" for t in self.tools])

    def check(self) -> None:
        """Raise what would make the model call fail."""
        self._all.check()

    def select(self, question: str) -> list[Tool]:
        """Return the tools for a question, best first."""
        ranked = [self.tools[n] for n, _ in self._index.search(question, len(self.tools))] or self.tools
        first = [t for t in self.tools if t.name in self.always]
        return [*first, *(t for t in ranked if t not in first)][: max(self.max_tools, len(first))]

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Choose tools and ask the model."""
        chosen = self.select(as_text(input) or context.question)
        labels = [t.name for t in chosen]
        if context.journal is None:  # In a run that is resumed the log has it.
            yield ExecutionEvent(
                EventType.CUSTOM_DATA,
                content={"tools": labels, "of": len(self.tools)},
                metadata={"data_type": "data-tools-selected", "transient": False},
            )
        llm = model_node(self.id, {**self._options, "tools": chosen})
        async with aclosing(ask(llm, input, context, words=True)) as events:
            async for event in events:
                if event.type == EventType.NODE_COMPLETE:
                    event.output["selected_tools"] = labels
                yield event


plugin = DynamicToolSelectorNode
