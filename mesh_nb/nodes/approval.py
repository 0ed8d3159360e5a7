"""approval: a person lets the node's input pass, changes it, or refuses it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from ..core import templates
from ..core.context import ExecutionContext, preview
from ..core.errors import GraphValidationError, InputError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.interrupts import check_timeout
from ..core.node import BaseNode


class ApprovalNode(BaseNode):
    """Waits for `run.approve()`, `run.edit(value)` or `run.reject(reason)`.

    Parameters
    ----------
    id : the node's name.
    message : what is asked, a template, such as "Send this to {{$vars.customer}}?".
    timeout : seconds, after which the answer is no; None waits for ever.
    data_extractor : a function of the input, sync or async, that returns what to show of it; None shows the
        input, texts cut at 2000 characters.
    on_reject : "stop" fails the node with the reason; "continue" goes on with `{"approved": False, "reason":
        text, "input": input}`, for edges that choose by it.

    Its output is its input as it was, or the value of the edit. Raises InputError for options that cannot be
    meant.
    """

    kind = "approval"

    def __init__(
        self,
        id: str,
        *,
        message: str = "Go on?",
        timeout: float | None = None,
        data_extractor: Callable[[Any], Any] | None = None,
        on_reject: Literal["stop", "continue"] = "stop",
    ) -> None:
        super().__init__(id)
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"Node {id!r}: message is text, not {shown(message)}.")
        if data_extractor is not None and not callable(data_extractor):
            raise InputError(f"Node {id!r}: data_extractor is {shown(data_extractor)}, not a function.")
        if on_reject not in ("stop", "continue"):
            raise GraphValidationError(
                f"Node {id!r}: on_reject is 'stop' or 'continue', not {shown(on_reject)}."
            )
        self.message, self.templates = message, (message,)
        self.timeout = check_timeout(timeout, f"Node {id!r}: timeout")
        self.data_extractor = data_extractor
        self.on_reject = on_reject

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Ask, and pass on what the answer lets pass. Raises RejectedError for a no."""
        data = preview(input)
        if self.data_extractor is not None:
            made = self.data_extractor(input)
            data = await made if inspect.isawaitable(made) else made
        message = templates.resolve(self.message, context)
        question = context.ask("approval", message, data=data, timeout=self.timeout)
        yield question.event
        answer = await question.answer()
        yield question.resolution
        if self.on_reject == "stop":
            answer.require()
        output = answer.value if answer.decision == "edited" else input
        if not answer.approved:
            output = {"approved": False, "reason": answer.refusal, "input": input}
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output)


plugin = ApprovalNode
