"""What a node may know about the run that it is part of."""

from __future__ import annotations

import dataclasses
import inspect
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .budget import Budget
from .errors import MeshError, shown
from .interrupts import Desk, Kind, Question, ask

Message = dict[str, Any]
PREVIEW = 2000
"""Characters of each text that a preview shows."""
DEPTH = 50
"""Levels of lists and dicts that a preview shows; a value may contain itself."""

_NONE: Mapping[str, Any] = {}
_making = threading.Lock()
"""Two threads that read a field at the same time get the same list or dict."""


@dataclasses.dataclass(slots=True, init=False)
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

    # A generated one takes three times as long, and a context is made for each run.
    def __init__(
        self,
        graph_id: str = "",
        session_id: str = "",
        chat_history: list[Message] | None = None,
        variables: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        trace_id: str | None = None,
        outputs: dict[str, Any] | None = None,
        input: Any = None,
        iteration: dict[str, Any] | None = None,
        run_id: str = "",
        desk: Desk | None = None,
        journal: Any = None,
        visit: int = 0,
        repeats: bool = False,
        inner: Mapping[str, Mapping[str, Any]] = _NONE,
        reducers: Mapping[str, Callable[[Any, Any], Any]] = _NONE,
        budget: Budget | None = None,
        fail_fast: bool = True,
        cache: Any = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.graph_id = graph_id
        self.session_id = session_id
        # Most runs read none of these four: see `_made_when_read`.
        self._chat_history = chat_history
        self._variables = variables
        self._state = state
        self._iteration = iteration
        self.trace_id = os.urandom(16).hex() if trace_id is None else trace_id
        self.outputs = {} if outputs is None else outputs
        self.input = input
        self.run_id = run_id
        self.desk = desk
        self.journal = journal
        self.visit = visit
        self.repeats = repeats
        self.inner = inner
        self.reducers = reducers
        self.budget = budget
        self.fail_fast = fail_fast
        self.cache = cache
        self.max_concurrency = max_concurrency

    if TYPE_CHECKING:
        _chat_history: list[Message] | None
        _variables: dict[str, Any] | None
        _state: dict[str, Any] | None
        _iteration: dict[str, Any] | None

    def for_run(self, run_id: str, input: Any) -> ExecutionContext:
        """Return the private copy that one run works on."""
        return ExecutionContext(
            self.graph_id,
            self.session_id,
            list(self.chat_history) or None,
            dict(self.variables) or None,
            dict(self.state) or None,
            self.trace_id,
            {},
            input,
            None,
            run_id,
            self.desk,
            budget=self.budget,
            fail_fast=self.fail_fast,
            cache=self.cache,
            max_concurrency=self.max_concurrency,
        )

    def for_visit(self, visit: int, iteration: dict[str, Any] | None = None) -> ExecutionContext:
        """Return a view of the same run for one visit inside a loop: everything but `iteration` is shared.

        Parameters: visit, which of the node's it is; iteration, None for `{"index": visit}`.
        """
        view = _new_view(_View)
        view._base = self
        view.visit = visit
        if iteration is not None:
            view.iteration = iteration
        return view

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
        if not isinstance(update, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise MeshError(f"An update of the state is a dict of names and values, not {shown(update)}.")
        for name, value in update.items():
            reduce = self.reducers.get(name)
            new[name] = value if reduce is None or name not in self.state else reduce(self.state[name], value)
            if inspect.iscoroutine(new[name]):
                new[name].close()
                raise MeshError(f"The reducer of {name!r} is async; add_reducer() takes a plain function.")
        self.state.update(new)
        for name in removed:
            self.state.pop(name, None)
        return new

    def get_node_output(self, node_id: str, default: Any = None) -> Any:
        """Return the last output of a node, or `default` when it has not run."""
        return self.outputs.get(node_id, default)


def _made_when_read(name: str, make: Callable[[], Any]) -> None:
    """Let a field of ExecutionContext be made when it is first read: until then its slot, now under another
    name, holds None."""
    slot: Any = vars(ExecutionContext)[name]
    get, put = slot.__get__, slot.__set__

    def read(context: ExecutionContext) -> Any:
        if (value := get(context)) is None:
            with _making:
                if (value := get(context)) is None:
                    put(context, value := make())
        return value

    setattr(ExecutionContext, f"_{name}", slot)
    setattr(ExecutionContext, name, property(read, put, slot.__delete__))


_made_when_read("chat_history", list)
_made_when_read("variables", dict)
_made_when_read("state", dict)
_made_when_read("iteration", dict)


class _View(ExecutionContext):
    """A context that takes each field from another when it is first read: most nodes look at a few."""

    __slots__ = ("_base",)
    _base: ExecutionContext

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in _FIELDS:
                raise AttributeError(
                    f"'ExecutionContext' object has no attribute {name!r}", name=name, obj=self
                )
            value = {"index": self.visit} if name == "iteration" else getattr(self._base, name)
            setattr(self, name, value)
            return value

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__qualname__, "ExecutionContext", 1)


_new_view = _View.__new__
_FIELDS = frozenset(field.name for field in dataclasses.fields(ExecutionContext))


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


def preview(value: Any, depth: int = 0) -> Any:
    """Return a value as an event shows it: texts cut, files and frames by type, DEPTH levels at most."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= PREVIEW else value[:PREVIEW] + "…"
    if isinstance(value, dict):
        return {str(k): preview(v, depth + 1) for k, v in value.items()} if depth < DEPTH else "{…}"
    if isinstance(value, (list, tuple)):
        return [preview(v, depth + 1) for v in value] if depth < DEPTH else "[…]"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"
