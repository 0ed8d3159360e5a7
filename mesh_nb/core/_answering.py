"""What a Run offers to the people it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ._feed import Feed
from ._fold import Fold
from .errors import InputError
from .interrupts import Answer, Desk, Interrupt, choose, unanswered

if TYPE_CHECKING:
    from .events import ExecutionEvent
    from .run import Run


class Answering:
    """The questions of a run, and the ways to answer them; safe on any thread.

    A run that waits goes on with the answer. One that has ended as interrupted is resumed with it; so `run =
    await run.approve()` is right for both.
    """

    id: str
    graph: Any
    _desk: Desk | None = None
    _store: Any = None
    _feed: Feed
    _fold: Fold
    events: Any
    done: Any
    status: Any

    @property
    def pending(self) -> list[Interrupt]:
        """The questions that have no answer yet, oldest first; none when the run can take no answer."""
        if self._desk is not None and not self.done:
            return self._desk.pending
        if self.status != "interrupted":
            return []
        return [
            Interrupt.of(event) for event in unanswered(cast("list[ExecutionEvent]", self.events)).values()
        ]

    def approve(self, interrupt_id: str | None = None, *, by: str = "person") -> Run:
        """Answer yes: what was asked for goes on with what it was going to do.

        Parameters: interrupt_id, as in `run.pending`, None for the only open question; by, who answers.
        Returns the run that goes on: this one, or, when it had ended as interrupted, the one that resumes it.
        Raises InputError when no such question is open; as `graph.resume` does for a run that has ended.
        """
        return self._answer(interrupt_id, Answer("approved", by=by))

    def reject(self, reason: str = "", interrupt_id: str | None = None, *, by: str = "person") -> Run:
        """Answer no: a tool is not called and the model reads the reason; a node that asked fails with it.

        Parameters, result and errors as for `approve`.
        """
        if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("reject() takes the reason as text; name the question with interrupt_id=.")
        return self._answer(interrupt_id, Answer("rejected", reason=reason, by=by))

    def edit(self, value: Any, interrupt_id: str | None = None, *, by: str = "person") -> Run:
        """Answer yes, with something else: the node goes on with this value in the place of its data.

        Parameters: value, the arguments of a tool call (a dict), the data of an approval, the input (before)
        or output (after) of a node, or what was asked for; the rest as for `approve`.
        """
        return self._answer(interrupt_id, Answer("edited", value, by=by))

    def resume(self) -> Run:
        """Go on with this run where it ended, in a new Run with the same id; see `graph.resume`."""
        return self._resume_with({})

    def _answer(self, interrupt_id: str | None, answer: Answer) -> Run:
        if self._desk is not None and not self.done:
            self._desk.answer(interrupt_id, answer)
            return cast("Run", self)
        question = choose(self.pending, interrupt_id, answer)
        return self._resume_with({question.id: answer})

    def _go_on(self, events: list[ExecutionEvent]) -> None:
        """Take in what the run had obtained before it is resumed."""
        self._feed = Feed(events)
        self._fold = Fold(self._feed.events)
        self._fold.now().go_on()

    def _resume_with(self, answers: dict[str, Answer]) -> Run:
        from .runner import resume

        if self.graph is None:
            raise InputError(
                f"Run {self.id} was read from the log, which holds no code: call graph.resume({self.id!r})"
                " with its graph. answers={id: mesh_nb.Answer('approved')} answers its questions."
            )
        return resume(self.graph.compile(), self.id, answers=answers, backend=self._store)
