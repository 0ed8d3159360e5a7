"""What a node may know about the run that it is part of."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .budget import Budget
from .interrupts import Desk, Kind, Question, ask

Message = dict[str, Any]
PREVIEW = 2000
"""Characters of each text that a preview shows."""


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
    outputs, input, iteration, run_id, desk, journal : set by the executor on the copy that it gives to
        nodes. `outputs` maps a node id to its last output, `iteration` holds `$iteration` values inside
        loops, `desk` has the run's questions, `journal` what an unfinished node of a resumed run did before.
    visit, repeats, inner, reducers : which visit of the node this is, whether there can be others, the
        compiled graphs that nodes run themselves, by node id and name, and the graph's reducers.
    budget : what the run may spend, None without limits.
    fail_fast : whether a node that fails cancels those that run beside it.
    max_concurrency : how many nodes of a graph run at once, None for all that can.
    cache : where answers of models are kept, None for nowhere.

    One context may serve several runs at once: each run works on its own copy, and writes its state and
    history back when it completes.
    """

    graph_id: str = ""
    session_id: str = ""
    chat_history: list[Message] = dataclasses.field(default_factory=list[Message])
    variables: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    state: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    trace_id: str = dataclasses.field(default_factory=lambda: os.urandom(16).hex())
    outputs: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    input: Any = None
    iteration: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    run_id: str = ""
    desk: Desk | None = dataclasses.field(default=None, repr=False)
    journal: Any = dataclasses.field(default=None, repr=False)
    visit: int = 0
    repeats: bool = False
    inner: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict[str, Any], repr=False)
    reducers: Mapping[str, Callable[[Any, Any], Any]] = dataclasses.field(
        default_factory=dict[str, Any], repr=False
    )
    budget: Budget | None = dataclasses.field(default=None, repr=False)
    fail_fast: bool = True
    cache: Any = dataclasses.field(default=None, repr=False)
    max_concurrency: int | None = None

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
            self.desk,
            budget=self.budget,
            fail_fast=self.fail_fast,
            cache=self.cache,
            max_concurrency=self.max_concurrency,
        )

    def with_iteration(self, iteration: dict[str, Any], visit: int | None = None) -> ExecutionContext:
        """Return a view of the same run for one visit inside a loop: everything but `iteration` is shared.

        Parameters: visit, which of the node's it is; None takes the iteration's index.
        """
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
            self.desk,
            self.journal,
            iteration.get("index", 0) if visit is None else visit,
            self.repeats,
            self.inner,
            self.reducers,
            self.budget,
            self.fail_fast,
            self.cache,
            self.max_concurrency,
        )

    @property
    def question(self) -> str:
        """The run's input as text: `{{$question}}`."""
        return as_text(self.input)

    def ask(
        self,
        kind: Kind,
        message: str,
        *,
        data: Any = None,
        tool_name: str | None = None,
        tool_call_id: str | None = None,
        arguments: Any = None,
        timeout: float | None = None,
    ) -> Question:
        """Return a question to a person: yield its `event`, await its `answer()`, yield its `resolution`.

        Parameters: kind, "approval", "tool" or "input"; message, what is asked; data, what it is about, as
        JSON (never the whole state); tool_name, tool_call_id, arguments of a tool call; timeout in seconds,
        after which the answer is "timeout".
        Raises InputError outside a run. What `answer()` raises must leave the node.
        """
        return ask(
            self.desk,
            self.journal,
            kind,
            message,
            self.run_id,
            data=data,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
            arguments=arguments,
            timeout=timeout,
        )

    def update_state(self, update: Mapping[str, Any], removed: Iterable[str] = ()) -> dict[str, Any]:
        """Put an update into the state, through the reducers of the graph, and return the new values.

        Only the executor calls this: a node returns a NodeResult, or yields a state_update event.
        """
        new: dict[str, Any] = {}
        for name, value in update.items():
            reduce = self.reducers.get(name)
            new[name] = value if reduce is None or name not in self.state else reduce(self.state[name], value)
        self.state.update(new)
        for name in removed:
            self.state.pop(name, None)
        return new

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


def preview(value: Any) -> Any:
    """Return a value as an event shows it: texts cut, files and frames by type."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= PREVIEW else value[:PREVIEW] + "…"
    if isinstance(value, dict):
        return {str(k): preview(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [preview(v) for v in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"
