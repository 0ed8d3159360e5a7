"""Where a run asks a person: the question, the answer, and the desk where the one waits for the other.

A node asks with three events' worth of code:

    question = context.ask("approval", "Send it?", data=draft)
    yield question.event
    answer = await question.answer()
    yield question.resolution
    answer.require()
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
import uuid
from typing import Any, Literal, cast, get_args

from . import tape
from .errors import InputError, RejectedError, Unanswered, UnknownNameError, nearest, shown
from .events import EventType, ExecutionEvent, canonical, loads

Kind = Literal["approval", "before", "after", "tool", "input"]
Decision = Literal["approved", "rejected", "edited", "denied", "timeout"]
Policy = Literal["wait", "stop", "deny", "allow"]
POLICIES: tuple[str, ...] = get_args(Policy)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question.

    Parameters: decision; value, what an edit puts in the place of what was asked about; reason, in the
    person's words; by, who: "person", "policy", "timeout" or a name. Raises UnknownNameError for another
    decision, InputError for a reason or a name that is not text.
    """

    decision: Decision
    value: Any = None
    reason: str = ""
    by: str = "person"

    def __post_init__(self) -> None:
        if self.decision not in get_args(Decision):
            raise UnknownNameError("decision of an Answer", str(self.decision), get_args(Decision))
        for name, value in (("reason", self.reason), ("by", self.by)):
            if not isinstance(cast("Any", value), str):
                raise InputError(f"{name}= of an answer is text, not {shown(value)}.")

    @property
    def approved(self) -> bool:
        """Whether what was asked for may be done, with its edit if it has one."""
        return self.decision in ("approved", "edited")

    @property
    def refusal(self) -> str:
        """Why it may not be done, in one sentence without its full stop."""
        who = {"denied": "It was denied by on_no_answer=", "timeout": "Nobody answered in time"}
        said = who.get(self.decision, "It was rejected" + ("" if self.by == "person" else f" by {self.by}"))
        return f"{said}: {self.reason}" if self.reason else said

    def require(self) -> None:
        """Raise RejectedError unless it approves; yield the question's resolution first."""
        if not self.approved:
            raise RejectedError(f"{self.refusal.rstrip('.')}.", reason=self.reason)


@dataclasses.dataclass(frozen=True, slots=True)
class Interrupt:
    """A question of a run that has no answer yet: an item of `run.pending`.

    Parameters: id; node_id; kind, "approval", "before" or "after" a node, "tool" or "input"; message;
    tool_name and arguments of a tool call; data, what is asked about, texts cut at 2000 characters; cost_usd
    of the run so far, None when not all of it is known; deadline, seconds since the epoch, None for none.
    """

    id: str
    node_id: str
    kind: str
    message: str
    tool_name: str | None = None
    arguments: Any = None
    data: Any = None
    cost_usd: float | None = None
    deadline: float | None = None

    @classmethod
    def of(cls, event: ExecutionEvent) -> Interrupt:
        """Read an interrupt event."""
        given = event.metadata
        names = ("tool_name", "arguments", "data", "cost_usd", "deadline")
        fields = {name: given[name] for name in names if name in given}
        id, kind = str(given.get("interrupt_id")), str(given.get("kind"))
        asked_by = str(given.get("asked_by") or event.node_id)
        return cls(id, asked_by, kind, str(given.get("message") or ""), **fields)


class Question:
    """One question of a node: yield `event`, await `answer()`, yield `resolution`."""

    __slots__ = ("_answer", "_desk", "_take", "event", "recorded")

    def __init__(
        self,
        desk: Desk,
        event: ExecutionEvent,
        recorded: ExecutionEvent | None = None,
        take: tape.Take | None = None,
    ) -> None:
        self._desk, self.event, self.recorded, self._take = desk, event, recorded, take
        self._answer: Answer | None = None

    async def answer(self) -> Answer:
        """Wait for the answer, at most until the question's deadline; the policy's answer where the run has
        one. Raises Unanswered, which ends the run as interrupted, when the run does not wait for people: let
        it pass."""
        if self._answer is None:
            if self.recorded is not None:
                self._answer = answer_of(self.recorded)
            else:
                given = self.event.metadata
                self._answer = await self._desk.wait(given["interrupt_id"], given.get("deadline"))
                self._keep(self._answer)
        return self._answer

    def _keep(self, answer: Answer) -> None:
        """Record a person's answer where a tape is on and does not have it."""
        on = tape.current()
        if on is not None and self._take is not None and not self._take.beats and answer.by != "policy":
            event = resolved(self.event, answer)
            del event.metadata["interrupt_id"]
            self._take.beats.append((0, event))
            on.add(self._take)

    @property
    def resolution(self) -> ExecutionEvent:
        """The interrupt_resolved event, once there is an answer."""
        if self.recorded is not None:
            return self.recorded
        if self._answer is None:
            raise InputError("A question has no resolution before `await question.answer()` returned.")
        return resolved(self.event, self._answer)


class _Asked:
    """What was asked and answered at a desk, by interrupt id."""

    __slots__ = ("given", "open", "waiting")

    def __init__(self) -> None:
        self.given: dict[str, Answer] = {}
        self.open: dict[str, Interrupt] = {}
        self.waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = {}


_lock = threading.Lock()
"""Of all desks, for most of them are never asked anything; it is held for a few steps at a time."""


class Desk:
    """The open questions of one run. `answer()` and `pending` are safe on any thread.

    Parameters: policy, for a question that has no answer: "wait" for one, "stop" (end the run as interrupted,
    so that it can be resumed with the answer), "deny" or "allow".
    """

    __slots__ = ("_made", "policy")

    def __init__(self, policy: Policy = "stop") -> None:
        self.policy: Policy = policy
        self._made: _Asked | None = None

    @property
    def _asked(self) -> _Asked:
        """What was asked, made when it is first needed; to be read under the lock."""
        if self._made is None:
            self._made = _Asked()
        return self._made

    @property
    def pending(self) -> list[Interrupt]:
        """The questions without an answer, oldest first."""
        with _lock:
            return [] if self._made is None else list(self._made.open.values())

    def register(self, event: ExecutionEvent) -> None:
        """Take in an interrupt event that was recorded, or one of an earlier part of the run."""
        question = Interrupt.of(event)
        with _lock:
            if question.id not in self._asked.given:
                self._asked.open[question.id] = question

    def give(self, interrupt_id: str, answer: Answer) -> None:
        """Answer a question that will be asked."""
        with _lock:
            self._asked.given[interrupt_id] = answer

    def answer(self, interrupt_id: str | None, answer: Answer) -> None:
        """Answer an open question, the only one when interrupt_id is None. Raises InputError."""
        with _lock:
            asked = self._asked
            question = choose(list(asked.open.values()), interrupt_id, answer)
            del asked.open[question.id]
            asked.given[question.id] = answer
            waiting = asked.waiting.get(question.id)
        if waiting is not None:
            loop, future = waiting
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it the run
                loop.call_soon_threadsafe(_release, future)

    async def wait(self, interrupt_id: str, deadline: float | None = None) -> Answer:
        """Return the answer to a question. Raises Unanswered when there is none and the policy is "stop"."""
        with _lock:
            asked = self._asked
            if interrupt_id in asked.given:
                return asked.given[interrupt_id]
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            if self.policy == "wait":
                asked.waiting[interrupt_id] = loop, future
        if self.policy in ("allow", "deny"):
            decision = "approved" if self.policy == "allow" else "denied"
            return self._settle(interrupt_id, Answer(cast("Decision", decision), by="policy"))
        left = None if deadline is None else deadline - time.time()
        if self.policy == "stop" and (left is None or left > 0):
            raise Unanswered(interrupt_id)
        try:
            async with asyncio.timeout(left if left is None else max(left, 0)):
                await future
        except TimeoutError:
            pass
        finally:
            asked.waiting.pop(interrupt_id, None)
        return self._settle(interrupt_id, Answer("timeout", by="timeout"))

    def _settle(self, interrupt_id: str, answer: Answer) -> Answer:
        """Close a question with this answer, unless a person's came first."""
        with _lock:
            self._asked.open.pop(interrupt_id, None)
            return self._asked.given.setdefault(interrupt_id, answer)


def choose(pending: list[Interrupt], interrupt_id: str | None, answer: Answer) -> Interrupt:
    """Return the question that an answer is for. Raises InputError when none, or more than one, can be meant,
    or when the answer cannot be one to it."""
    if not pending:
        raise InputError("Nothing waits for an answer: `run.pending` is empty.")
    known = {question.id: question for question in pending}
    if interrupt_id is None and len(pending) > 1:
        listing = ", ".join(f"{q.id!r} (node {q.node_id!r})" for q in pending)
        raise InputError(f"{len(pending)} questions wait for an answer; name one of {listing}.")
    found = pending[0] if interrupt_id is None else None
    if isinstance(interrupt_id, str):
        found = known.get(interrupt_id)
    if found is None:
        close = nearest(interrupt_id, known)
        guess = f" Did you mean {close!r}?" if close else ""
        raise InputError(f"No open question {shown(interrupt_id)}; it may be answered already.{guess}")
    if found.deadline is not None and time.time() > found.deadline:
        raise InputError(
            f"The time to answer {found.id!r} (node {found.node_id!r}) is over; resume() lets the run go on"
            " without an answer, and rerun() asks anew."
        )
    if answer.decision == "edited" and found.kind == "tool" and not isinstance(answer.value, dict):
        raise InputError(
            f"The arguments of a tool are a dict of names and values, not {shown(answer.value)}."
        )
    return found


def ask(
    desk: Desk | None, journal: Any, kind: Kind, message: str, run_id: str = "", **fields: Any
) -> Question:
    """Return a question, that of the journal when it was asked before the run was resumed; one that has an
    answer where the tape that is on has one.

    Parameters: fields, of the interrupt event's metadata; timeout in seconds becomes its deadline.
    Raises InputError outside a run, and for a timeout that is not above 0.
    """
    if desk is None:
        raise InputError("A node can ask only while a run executes it.")
    known = {name: value for name, value in fields.items() if value is not None}
    timeout = check_timeout(known.pop("timeout", None))
    metadata = {"interrupt_id": "", "kind": kind, "message": message, **known}
    if journal is not None and (found := journal.question(metadata)) is not None:
        desk.register(found[0])
        return Question(desk, *found)
    take = _taped(metadata, run_id)
    metadata["interrupt_id"] = f"ask_{uuid.uuid4().hex[:12]}"
    if take is not None and take.beats:
        desk.give(metadata["interrupt_id"], answer_of(take.beats[0][1]))
    if timeout is not None:
        metadata |= {"timeout_s": timeout, "deadline": time.time() + timeout}
    return Question(desk, ExecutionEvent(EventType.INTERRUPT, metadata=metadata), take=take)


def _taped(metadata: dict[str, Any], run_id: str) -> tape.Take | None:
    """Return what the tape that is on has of a question, a take without an answer where it has nothing."""
    on = tape.current()
    if on is None:
        return None
    asked = canonical({"ask": metadata["kind"], **{k: v for k, v in metadata.items() if k not in _VOLATILE}})
    key = on.key(asked)
    return on.find(key, run_id) or tape.Take(key, loads(asked), [])


_VOLATILE = ("interrupt_id", "kind", "tool_call_id")


LONGEST = 1e9
"""Seconds that a timeout may be long; None is for ever."""


def check_timeout(timeout: Any, what: str = "timeout=") -> float | None:
    """Return a timeout in seconds, None for none. Raises InputError when it is not above 0."""
    if timeout is None:
        return None
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not number or not 0 < timeout <= LONGEST:
        limits = f"above 0 and at most {LONGEST:g}" if number and timeout > LONGEST else "above 0"
        raise InputError(f"{what} is a number of seconds {limits}, not {shown(timeout)}.")
    return float(timeout)


def check_policy(policy: Any) -> Policy:
    """Return on_no_answer. Raises InputError for one that is not known."""
    if policy not in POLICIES:
        close = nearest(policy, POLICIES)
        guess = f" Did you mean {close!r}?" if close else ""
        raise InputError(f"on_no_answer= is one of {', '.join(POLICIES)}, not {shown(policy)}.{guess}")
    return cast("Policy", policy)


def resolved(asked: ExecutionEvent, answer: Answer) -> ExecutionEvent:
    """Return the interrupt_resolved event for an answer."""
    metadata = {name: asked.metadata[name] for name in ("interrupt_id", "kind")}
    metadata |= {"decision": answer.decision, "by": answer.by}
    if answer.reason:
        metadata["reason"] = answer.reason
    event = ExecutionEvent(EventType.INTERRUPT_RESOLVED, metadata=metadata)
    if answer.decision == "edited":
        event.output = answer.value
    return event


def answer_of(event: ExecutionEvent) -> Answer:
    """Read an interrupt_resolved event."""
    given = event.metadata
    decision = cast("Decision", given.get("decision"))
    return Answer(decision, event.output, str(given.get("reason") or ""), str(given.get("by") or "person"))


def unanswered(events: list[ExecutionEvent]) -> dict[str, ExecutionEvent]:
    """Return the interrupt events of a log that have no interrupt_resolved, by id, oldest first."""
    found: dict[str, ExecutionEvent] = {}
    for event in events:
        if event.type == EventType.INTERRUPT:
            found[str(event.metadata.get("interrupt_id"))] = event
        elif event.type == EventType.INTERRUPT_RESOLVED:
            found.pop(str(event.metadata.get("interrupt_id")), None)
    return found


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
