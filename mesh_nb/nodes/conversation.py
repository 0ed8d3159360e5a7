"""conversation: a model asks a person, turn by turn, until it knows what is wanted."""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from ..core.context import ExecutionContext, Message, as_text
from ..core.errors import GraphValidationError, MeshError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.interrupts import check_timeout
from ..core.node import BaseNode, spoken
from ._asking import ask, model_node, options_of
from ._kinds import TEXT, Kind, check_kinds

_PROMPT = (
    "You find out the following from the user, in a conversation. Fill every field that the user has made"
    " known, and leave the others null; never guess. While a field is null, ask for what is missing in"
    " `message`: one short, friendly question. When every field is filled, `message` confirms it in one"
    " sentence."
)

_KINDS: dict[str, Kind] = {"system_prompt": TEXT, "model": TEXT}


class ConversationNode(BaseNode):
    """Asks until every field is known.

    Parameters
    ----------
    extraction_fields : a dict from the names of what is to be found out to what each means.
    system_prompt : a template, added to the instructions to ask.
    max_turns : how many questions it may ask; then the node fails.
    timeout : seconds for each answer; None waits for ever.
    model : as for an llm node; model_options, its further options.

    A question is an interrupt of kind "input", answered by `run.edit(text)`. The output is `{"content": the
    last message, "fields": {name: text}, "turns": n, "messages": the conversation}`.
    """

    kind = "conversation"
    replays = True

    def __init__(
        self,
        id: str,
        *,
        extraction_fields: Mapping[str, str] | None = None,
        system_prompt: str | None = None,
        max_turns: int = 10,
        timeout: float | None = None,
        model: str | None = None,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_kinds(id, _KINDS, locals())
        super().__init__(id)
        given: Any = extraction_fields
        fields: dict[str, str] = dict(given) if isinstance(given, Mapping) else {}
        if not fields or not all(
            isinstance(n, str) and n.isidentifier() and not keyword.iskeyword(n) and n[0] != "_"
            for n in cast("dict[Any, Any]", fields)
        ):
            raise GraphValidationError(
                f"Conversation node {id!r} needs extraction_fields=, a dict such as {{'city': 'where to'}},"
                f" not {shown(extraction_fields)}."
            )
        number: Any = max_turns
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise GraphValidationError(
                f"Conversation node {id!r}: max_turns={shown(max_turns)} is not 1 or more."
            )
        self.fields, self.max_turns = fields, max_turns
        self.timeout = check_timeout(timeout, f"Conversation node {id!r}: timeout=")
        known = dataclasses.make_dataclass("Known", [(name, str | None) for name in fields])
        turn = dataclasses.make_dataclass("Turn", [("message", str), ("fields", known)])
        about = "\n".join(f"- {name}: {meaning}" for name, meaning in fields.items())
        prompt = "\n\n".join([_PROMPT, about, *([system_prompt] if system_prompt else [])])
        self.templates = (system_prompt,) if system_prompt else ()
        own = {"model": model, "system_prompt": prompt, "output_type": turn}
        self._llm = model_node(id, options_of(id, own, model_options))

    def check(self) -> None:
        """Raise what would make the model call fail."""
        self._llm.check()

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Converse. Raises MeshError when max_turns questions were not enough, RejectedError when the person
        does not go on."""
        said = as_text(input) or context.question
        messages: list[Message] = []
        for turns in range(self.max_turns + 1):
            if context.journal is not None and context.journal.asked("input"):
                # What was asked before the run was resumed; its answer may be there too.
                question = context.ask("input", "")
                message = str(question.event.metadata.get("message"))
                messages += _said(said, message)
                context.journal.spoke(message)
            else:
                spoke: Any = None
                async with aclosing(self._turn(said, messages, context)) as events:
                    async for event in events:
                        if event.type == EventType.NODE_COMPLETE:
                            spoke = event.output
                        else:
                            yield event
                messages += _said(said, spoke.message)
                found = {name: getattr(spoke.fields, name) for name in self.fields}
                missing = [name for name, value in found.items() if value is None or not value.strip()]
                if not missing:
                    output = {"content": spoke.message, "fields": found, "turns": turns, "messages": messages}
                    yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output)
                    return
                if turns == self.max_turns:
                    raise MeshError(
                        f"{self.max_turns} questions were not enough to find out {', '.join(missing)}; raise"
                        " max_turns=."
                    )
                question = context.ask(
                    "input", spoke.message, data={"missing": missing}, timeout=self.timeout
                )
            yield question.event
            answer = await question.answer()
            yield question.resolution
            answer.require()
            said = as_text(answer.value)
            if not said:
                raise MeshError("The answer is empty: answer with run.edit('...'), which carries the text.")

    async def _turn(
        self, said: str, messages: list[Message], context: ExecutionContext
    ) -> AsyncGenerator[ExecutionEvent, None]:
        """Ask the model for its next turn, and say its words; last a node_complete with what it returned."""
        seen = dataclasses.replace(context, chat_history=[*context.chat_history, *messages])
        done: ExecutionEvent | None = None
        async with aclosing(ask(self._llm, {"input": said}, seen)) as events:
            async for event in events:
                if event.type == EventType.NODE_COMPLETE:
                    done = event
                else:
                    yield event
        if done is None:
            return
        done.output = done.output["parsed"]
        if context.journal is None or not context.journal.spoke(done.output.message):
            async with aclosing(spoken(_once(done.output.message), self.id)) as words:
                async for event in words:
                    if event.type != EventType.NODE_COMPLETE:
                        yield event
        yield done


def _said(person: str, model: str) -> list[Message]:
    return [{"role": "user", "content": person}, {"role": "assistant", "content": model}]


async def _once(text: str) -> AsyncGenerator[str, None]:
    yield text


plugin = ConversationNode
