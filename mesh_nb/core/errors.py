"""Errors are part of the interface: one sentence, the thing by name, what to do next.

MeshError
├── GraphValidationError          .errors: every problem found, each naming nodes   (also a ValueError)
│   ├── CycleDetectedError        a cycle without a loop edge
│   └── InvalidNodeTypeError      an unknown node_type
├── UnknownNameError              .kind .name .known: "did you mean" for models, options, plug-ins, variables
├── ConfigurationError            a key, model or setting is missing; says which to set
│   └── UnpricedError             a call without a price under a limit in dollars
├── InputError                    what the caller passed cannot be used
├── VariableResolutionError       a {{template}} names something that does not exist
├── RunError                      .run: ended a run; out of the iterator and `await run`
│   ├── NodeExecutionError        .node_id .cause: a node failed
│   └── RunTimeoutError           .seconds: the run took longer than its timeout   (also a TimeoutError)
├── InnerFailure                  .node_id .cause: the same, inside a node that runs others
├── ProviderError                 .provider .model .status .request_id .retry_after .retryable
│   ├── AuthenticationError       401, 403
│   ├── RateLimitError            429
│   ├── IncompleteStreamError     the body ended without its terminal marker, or the connection dropped
│   └── StreamTimeoutError        silent for longer than idle_timeout
├── ToolError                     .tool: a tool failed or was called wrongly
├── BudgetExceededError           .spent .limit
├── NodeTimeoutError              .seconds: a node took longer than its node_timeout   (also a TimeoutError)
├── RejectedError                 .reason: a person, a policy or a timeout said no
├── Unanswered                    .interrupt_id: nobody answers here; ends the run as interrupted
└── RunNotFoundError              .run_id
MeshInterrupted (KeyboardInterrupt)   Stop or a kernel interrupt; .run keeps what was obtained
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import difflib
import os
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, cast

SHOWN = 80
"""Characters of a name that a message repeats."""
GROUP = 5
"""Exceptions of a group that a message repeats."""
NO_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)
"""What parsing a text as Python raises: for one that is none, for one that is nested too deeply (two of
these), and in CPython 3.11, whose parser counts its depth for all threads together, for any text while
another thread parses: "AST constructor recursion depth mismatch"."""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name closest to a misspelt one, or None when nothing is close."""
    if not isinstance(name, str):
        return None
    pool = {k.lower(): k for k in known}
    begun = [k for k in pool if k.startswith(f"{name.lower()}_")]
    if len(begun) == 1:  # Of budget_usd and on_budget, "budget" means the first.
        return pool[begun[0]]
    match = difflib.get_close_matches(name.lower(), pool, n=1, cutoff=0.6)
    return pool[match[0]] if match else None


def shown(name: object) -> str:
    """Return what a user passed as a message shows it: quoted, on one line, and cut where it is long."""
    if isinstance(name, str) and len(name) > SHOWN:
        return f"{name[:SHOWN]!r}… ({len(name)} characters)"
    try:
        text = repr(name)
    except Exception:  # noqa: BLE001  a foreign object's own failure must not hide the message about it
        text = f"<{type(name).__name__}>"
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def told(error: BaseException) -> str:
    """Return an exception as "Type: text", whatever its own __str__ does."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001  a foreign object's own failure must not hide the message
        text = f"its text cannot be shown, {type(failure).__name__}"
    if isinstance(error, BaseExceptionGroup):  # Its own text only counts what is in it.
        inside = cast("BaseExceptionGroup[Any]", error).exceptions
        text += (
            ": " + "; ".join(told(each) for each in inside[:GROUP]) + ("; …" if len(inside) > GROUP else "")
        )
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_interrupt(error: BaseException) -> bool:
    """Say whether this is a user's interrupt: it arrives on the main thread; elsewhere code raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def is_cancel(error: BaseException) -> bool:
    """Say whether this cancels the task that runs; what a node awaited may have been cancelled instead."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class MeshError(Exception):
    """The base of every error that this library raises; a notebook shows it as one line."""

    def __reduce__(self) -> Any:
        # The usual way back calls __init__ with the message alone, which ends a pool of processes.
        return _rebuilt, (type(self), self.args, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def _rebuilt(kind: type[MeshError], args: tuple[Any, ...], state: dict[str, Any]) -> MeshError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class GraphValidationError(MeshError, ValueError):
    """The graph cannot run.

    Parameters: errors, one sentence for each problem found.
    """

    def __init__(self, errors: str | Sequence[str]) -> None:
        self.errors: list[str] = [errors] if isinstance(errors, str) else list(errors)
        super().__init__("\n".join(self.errors))


class CycleDetectedError(GraphValidationError):
    """The graph has a cycle that no loop edge bounds."""


class InvalidNodeTypeError(GraphValidationError):
    """`add_node` was given a node_type that does not exist."""


class UnknownNameError(MeshError, LookupError):
    """A name is not among the known ones.

    Parameters: kind, what is named ("option of node 'llm'"); name; known, the names that exist;
    hint, what to do next, appended as its own sentence; also, names that may be meant and are not listed.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], hint: str = "", also: Iterable[str] = ()
    ) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = nearest(name, [*self.known, *also])
        guess = f" Did you mean {close!r}?" if close and close != name else ""
        listing = f" Known: {', '.join(self.known)}." if self.known else ""
        noun, of, whose = kind.partition(" of ")
        super().__init__(
            f"Unknown {noun} {shown(name)}{of}{whose}.{guess}{listing}{' ' + hint if hint else ''}"
        )


class ConfigurationError(MeshError):
    """A key, a model or a setting is missing; the message names the variable to set."""


class UnpricedError(ConfigurationError):
    """A call has no price, and there is a limit in dollars."""


class InputError(MeshError, ValueError):
    """What the caller passed cannot be used; nothing was started."""


class VariableResolutionError(MeshError, LookupError):
    """A template names something that does not exist."""


class RunError(MeshError):
    """A run ended by this. `run` is the Run with everything it had obtained, where it came out of one."""

    run: Any = None


class NodeExecutionError(RunError):
    """A node failed.

    Parameters: node_id; cause, the exception the node raised (also `__cause__`).
    """

    def __init__(self, node_id: str, cause: BaseException) -> None:
        if isinstance(cause, InnerFailure):
            node_id, cause = cause.node_id, cause.cause
        self.node_id, self.cause = node_id, cause
        self.original_error = cause
        text = str(cause) if isinstance(cause, MeshError) else told(cause)
        super().__init__(f"Node {shown(node_id)} failed: {text}")

    def _render_traceback_(self) -> list[str]:
        # A failure inside the user's own code keeps its traceback; ours is one line.
        if isinstance(self.cause, MeshError):
            return super()._render_traceback_()
        import traceback

        cause = self.cause
        try:
            lines = traceback.format_exception(type(cause), cause, _users(cause.__traceback__))
        except NO_PYTHON:  # It parses the lines that it shows.
            lines = [told(self.cause)]
        return [*lines, f"{type(self).__name__}: {self}"]


def _users(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame of somebody's own code on; all of it where there is none."""
    at = trace
    while at is not None and at.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        at = at.tb_next
    return at or trace


_MACHINERY = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(os.path.dirname(__file__)),
        os.path.dirname(asyncio.__file__),
        os.path.dirname(concurrent.futures.__file__),
    )
)
"""Where the code is that calls users' functions: this package and the threads of Python."""


class InnerFailure(MeshError):
    """A node that another node runs failed: raised inside that node, and out of the run as the
    NodeExecutionError of the one that failed.

    Parameters: node_id, of the node inside, with the names of those around it in front; cause.
    """

    def __init__(self, node_id: str, cause: BaseException) -> None:
        self.node_id, self.cause = node_id, cause
        text = str(cause) if isinstance(cause, MeshError) else told(cause)
        super().__init__(f"Node {shown(node_id)} failed: {text}")


class ProviderError(MeshError):
    """A model call failed.

    Parameters: message, one sentence; provider and model by name; status, the HTTP status, None when there
    was none; request_id, the vendor's; hint, the next step; retry_after, seconds the server asked to wait;
    retryable, whether the same request may succeed later; details, what else the server said.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        status: int | None = None,
        request_id: str | None = None,
        hint: str = "",
        retry_after: float | None = None,
        retryable: bool = False,
        details: Any = None,
    ) -> None:
        self.message, self.provider, self.model, self.status = message, provider, model, status
        self.request_id, self.hint = request_id, hint
        self.retry_after, self.retryable = retry_after, retryable
        self.details = details
        name = model if model.split("/")[0] == provider else f"{provider}/{model}"
        where = name + (f" (HTTP {status})" if status else "")
        tail = (f" {hint}" if hint else "") + (f" [request {request_id}]" if request_id else "")
        super().__init__(f"{where}: {message.rstrip('.')}.{tail}")


class AuthenticationError(ProviderError):
    """The provider refused the API key (HTTP 401 or 403)."""


class RateLimitError(ProviderError):
    """The provider asked to slow down (HTTP 429)."""


class IncompleteStreamError(ProviderError):
    """The answer stopped before its protocol's terminal marker; what had arrived is kept."""


class StreamTimeoutError(ProviderError):
    """Nothing arrived for longer than the idle timeout; what had arrived is kept."""


class ToolError(MeshError):
    """A tool failed or was called wrongly.

    Parameters: message; tool, its name.
    """

    def __init__(self, message: str, *, tool: str = "") -> None:
        self.tool = tool
        super().__init__(message)


class BudgetExceededError(MeshError):
    """A run would cost more than its budget.

    Parameters: message; spent and limit in USD.
    """

    def __init__(self, message: str, *, spent: float, limit: float) -> None:
        self.spent, self.limit = spent, limit
        super().__init__(message)


class NodeTimeoutError(MeshError, TimeoutError):
    """A node took longer than its `node_timeout`; it fails by this.

    Parameters: seconds, that it had.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"it took longer than its node_timeout of {seconds:g} s.")


class RunTimeoutError(RunError, TimeoutError):
    """A run took longer than its `timeout`; `run.resume()` goes on.

    Parameters: seconds, that it had.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"The run took longer than its timeout of {seconds:g} s.")


class RejectedError(MeshError):
    """What a node asked for was refused: by a person, by on_no_answer="deny", or by a timeout.

    Parameters: message; reason, in the person's words.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(message)


class Unanswered(MeshError):
    """A question has no answer and the run does not wait for one: raised inside a node, never out of a run,
    which ends with the status "interrupted".

    Parameters: interrupt_id, the question.
    """

    def __init__(self, interrupt_id: str) -> None:
        self.interrupt_id = interrupt_id
        super().__init__(f"Question {interrupt_id!r} waits for an answer: resume the run with one.")


class RunNotFoundError(MeshError, LookupError):
    """No run with this id is in the log, or its log cannot be read.

    Parameters: run_id; known, ids that are; reason, why a log that is there cannot be read.
    """

    def __init__(self, run_id: str, known: Iterable[str] = (), reason: str = "") -> None:
        self.run_id, self.reason = run_id, reason
        if reason:
            super().__init__(f"The log of run {shown(run_id)} cannot be read: {reason}.")
            return
        close = nearest(run_id, known)
        super().__init__(
            f"No run {shown(run_id)} in the log.{f' Did you mean {close!r}?' if close else ''}"
            " `mesh_nb.runs()` lists the runs of this project."
        )


class MeshInterrupted(KeyboardInterrupt):
    """A run was stopped by its Stop button or a kernel interrupt; `run` keeps what was obtained."""

    def __init__(self, message: str = "Stopped.", run: Any = None) -> None:
        self.run = run
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        return [f"MeshInterrupted: {self}"]
