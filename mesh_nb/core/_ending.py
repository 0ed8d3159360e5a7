"""What a run ends with: its output, its totals, its failure, and what goes back to the caller's context."""

from __future__ import annotations

from typing import Any, cast

from .attachments import asked
from .context import ExecutionContext, as_text
from .errors import BudgetExceededError, InnerFailure, MeshError, ProviderError, told
from .events import EventType, ExecutionEvent


class Totals:
    """Usage and cost over the model calls of a run; the cost is known when that of every call is."""

    __slots__ = ("calls", "cost", "usage")

    def __init__(self) -> None:
        self.calls = 0
        self.usage: dict[str, int] = {}
        self.cost: float | None = 0.0

    def add(self, metadata: dict[str, Any]) -> None:
        """Add the metadata of one response_metadata."""
        self.calls += 1
        usage: Any = metadata.get("usage")
        for name, count in (cast("dict[str, Any]", usage) if isinstance(usage, dict) else {}).items():
            if isinstance(count, int):
                self.usage[name] = self.usage.get(name, 0) + count
        cost = metadata.get("cost_usd")
        cost = cost if isinstance(cost, (int, float)) else None
        self.cost = None if cost is None or self.cost is None else self.cost + cost

    def metadata(self) -> dict[str, Any]:
        """Return usage, and cost_usd when every call's is known."""
        known = self.calls and self.cost is not None
        usage = dict(self.usage)  # It goes into events, and the sums go on.
        return {"usage": usage, "cost_usd": self.cost} if known else {"usage": usage}


def final_output(leaves: dict[str, Any]) -> dict[str, Any]:
    """Return the output of a run from those of its leaves, always a dict with the text under "content"."""
    if len(leaves) > 1:
        return {**leaves, "content": "\n\n".join(filter(None, map(as_text, leaves.values())))}
    output = next(iter(leaves.values()), None)
    if isinstance(output, dict):
        return output if "content" in output else {**output, "content": as_text(output)}
    return {"content": output} if isinstance(output, str) else {"output": output, "content": as_text(output)}


def write_back(
    caller: ExecutionContext, run: ExecutionContext, before: dict[str, Any], output: dict[str, Any]
) -> None:
    """Write the state that a run changed, and its question and answer, to the context it was given.

    Only changed names are written, so that runs that share a context keep each other's.
    """
    for name, value in run.state.items():
        if name not in before or before[name] is not value:
            caller.state[name] = value
    for name in before.keys() - run.state.keys():
        caller.state.pop(name, None)
    caller.chat_history += [
        {"role": "user", "content": asked(run.input)},
        {"role": "assistant", "content": as_text(output["content"])},
    ]


def error_text(error: BaseException) -> str:
    """Return an error as one line: ours as they are, others with their type."""
    return str(error) if isinstance(error, MeshError) else told(error)


def node_failure(error: BaseException, output: Any) -> ExecutionEvent:
    """Return the node_error for what a node raised; output is None when it had none yet."""
    metadata: dict[str, Any] = {"error_type": type(error).__name__}
    if isinstance(error, ProviderError):
        for field in ("provider", "model", "status", "request_id", "retryable"):
            if getattr(error, field) is not None:
                metadata[field] = getattr(error, field)
    return ExecutionEvent(EventType.NODE_ERROR, output=output, error=error_text(error), metadata=metadata)


def status_of(error: BaseException) -> str:
    """Return the status of a run that this error ended."""
    cause = error.cause if isinstance(error, InnerFailure) else error
    return "budget" if isinstance(cause, BudgetExceededError) else "failed"
