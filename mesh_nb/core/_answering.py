"""What a Run offers to the people it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, cast

from ._feed import Feed
from ._fold import Fold
from ._inside import node_at
from ._named import named_options
from .errors import InputError, ToolError
from .interrupts import Answer, Desk, Interrupt, choose, unanswered

if TYPE_CHECKING:
    from ._again import Options
    from .events import ExecutionEvent
    from .run import Run


class Answering:
    """The questions of a run, and the ways to answer them; safe on any thread.

    A run that waits goes on with the answer. One that has ended as interrupted is resumed with it; so `run =
    await run.approve()` is right for both. What comes of a run is shown, limited in time and concurrency, and
    cached as the run itself was.
    """

    id: str
    graph: Any
    _desk: Desk | None = None
    _store: Any = None
    _options: dict[str, Any]
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

    @named_options
    def approve(self, interrupt_id: str | None = None, *, by: str = "person") -> Run:
        """Answer yes: what was asked for goes on with what it was going to do.

        Parameters: interrupt_id, as in `run.pending`, None for the only open question; by, who answers.
        Returns the run that goes on: this one, or, when it had ended as interrupted, the one that resumes it.
        Raises InputError when no such question is open; as `graph.resume` does for a run that has ended.
        """
        return self._answer(interrupt_id, Answer("approved", by=by))

    @named_options
    def reject(self, reason: str = "", interrupt_id: str | None = None, *, by: str = "person") -> Run:
        """Answer no: a tool is not called and the model reads the reason; a node that asked fails with it.

        Parameters, result and errors as for `approve`.
        """
        if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError("reject() takes the reason as text; name the question with interrupt_id=.")
        return self._answer(interrupt_id, Answer("rejected", reason=reason, by=by))

    @named_options
    def edit(self, value: Any, interrupt_id: str | None = None, *, by: str = "person") -> Run:
        """Answer yes, with something else: the node goes on with this value in the place of its data.

        Parameters: value, the arguments of a tool call (a dict), the data of an approval, the input (before)
        or output (after) of a node, or what was asked for; the rest as for `approve`. Raises InputError for
        arguments that the tool does not take: the question stays open.
        """
        answer = Answer("edited", value, by=by)
        self._check_arguments(interrupt_id, answer)
        return self._answer(interrupt_id, answer)

    @named_options
    def resume(self, *, answers: dict[str, Any] | None = None, **options: Unpack[Options]) -> Run:
        """Go on with this run where it ended, in a new Run with the same id.

        Parameters: those of `graph.resume`, display=, timeout=, budget_usd= and others; display, background,
        on_no_answer, max_concurrency, timeout, fail_fast and cache are by default what this run was started
        with. Errors as for `graph.resume`.
        """
        return self._resume_with(answers or {}, **options)

    @named_options
    def fork(self, *, at: str | int, patch: dict[str, Any] | None = None, **options: Unpack[Options]) -> Run:
        """Start a new run that goes its own way from a place in this one.

        Parameters: those of `graph.fork`, with the defaults of `resume`. Errors as for `graph.fork`.
        """
        return self._graph_of("fork").fork(self.id, at=at, patch=patch, **self._and(options))

    @named_options
    def rerun(self, **options: Unpack[Options]) -> Run:
        """Execute again what this run executed, in a new run.

        Parameters: those of `graph.rerun`, with the defaults of `resume`. Errors as for `graph.rerun`.
        """
        return self._graph_of("rerun").rerun(self.id, **self._and(options))

    @property
    def reused(self) -> list[str]:
        """The nodes whose results were taken from an earlier run, in order.

        With `reuse=` a node is taken when its options, its model, its templates' values and its input are
        what they were. A function counts by its code, what it closes over, and the functions and plain values
        of its own module that it names; one that may read the state, or every output, by those too. Objects
        of other libraries, such as agents, are never what they were, and people are asked anew.
        """
        events = cast("list[ExecutionEvent]", self.events)
        return list(dict.fromkeys(e.node_id for e in events if "reused" in e.metadata))

    def _check_arguments(self, interrupt_id: str | None, answer: Answer) -> None:
        """Raise InputError for arguments that the tool in question does not take, where it is known here."""
        if self.graph is None or not (pending := self.pending):
            return
        question = choose(pending, interrupt_id, answer)
        if question.kind == "tool":
            node = node_at(self.graph.compile(), question.node_id)
            for tool in getattr(node, "tools", ()):
                if tool.name == question.tool_name:
                    try:
                        tool.validate(answer.value)
                    except ToolError as error:
                        raise InputError(str(error)) from None

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

    def _resume_with(self, answers: dict[str, Any], **options: Unpack[Options]) -> Run:
        hint = " answers={id: mesh_nb.Answer('approved')} answers its questions."
        return self._graph_of("resume", hint).resume(self.id, answers=answers, **self._and(options))

    def _and(self, options: Options) -> dict[str, Any]:
        return {"backend": self._store, **self._options, **options}

    def _graph_of(self, verb: str, hint: str = "") -> Any:
        if self.graph is None:
            raise InputError(
                f"Run {self.id} was read from the log, which holds no code: call"
                f" graph.{verb}({self.id!r}, ...) with its graph.{hint}"
            )
        return self.graph
