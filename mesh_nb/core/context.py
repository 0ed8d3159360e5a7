"""What a node may know about the run that it is part of."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

Message = dict[str, Any]


@dataclasses.dataclass(slots=True)
class ExecutionContext:
    """The session a graph runs in, and, for a node, the run it is part of.

    Parameters
    ----------
    graph_id, session_id : names for logs and reports.
    chat_history : messages before this run, `{"role": ..., "content": ...}`; a run that completes appends
        its question and its answer.
    variables : values for `{{$vars.name}}`.
    state : values that nodes share; changed by state_update events.
    outputs, input, iteration, run_id : set by the executor on the copy that it gives to nodes.
        `outputs` maps a node id to its last output, `iteration` holds `$iteration` values inside loops.

    One context may serve several runs at once: each run works on its own copy, and writes its state and
    history back when it completes.
    """

    graph_id: str = ""
    session_id: str = ""
    chat_history: list[Message] = dataclasses.field(default_factory=list[Message])
    variables: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    state: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    trace_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    outputs: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    input: Any = None
    iteration: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    run_id: str = ""

    def for_run(self, run_id: str, input: Any) -> ExecutionContext:
        """Return the private copy that one run works on."""
        return ExecutionContext(
            self.graph_id,
            self.session_id,
            list(self.chat_history),
            dict(self.variables),
            dict(self.state),
            self.trace_id,
            {},
            input,
            {},
            run_id,
        )

    def with_iteration(self, iteration: dict[str, Any]) -> ExecutionContext:
        """Return a view of the same run for one visit inside a loop: everything but `iteration` is shared."""
        return ExecutionContext(
            self.graph_id,
            self.session_id,
            self.chat_history,
            self.variables,
            self.state,
            self.trace_id,
            self.outputs,
            self.input,
            iteration,
            self.run_id,
        )

    @property
    def question(self) -> str:
        """The run's input as text: `{{$question}}`."""
        return as_text(self.input)

    def get_node_output(self, node_id: str, default: Any = None) -> Any:
        """Return the last output of a node, or `default` when it has not run."""
        return self.outputs.get(node_id, default)


def as_text(value: Any) -> str:
    """Return the text of an input or output: strings as they are, `content`, `input` or `output` of a dict.

    A join (`{parent: output}`) becomes one titled section for each parent.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for key in ("content", "input", "question", "output"):
            if key in value and (isinstance(value[key], str) or len(value) == 1):
                return as_text(value[key])
        if value and all(isinstance(v, dict) and "content" in v for v in value.values()):
            return "\n\n".join(f"## {k}\n\n{as_text(v)}" for k, v in value.items())
    from .events import dumps

    return dumps(value).decode()
