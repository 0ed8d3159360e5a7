"""Interrupts as a graph under construction takes them down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

from ._gate import Pause
from ._named import named_options
from ._rows import NodeRef
from .edges import check_call
from .errors import GraphValidationError, shown
from .interrupts import check_timeout


class Pausing:
    """The builder methods for interrupts. `_pauses` maps (node, when, edge source or "") to a Pause."""

    _pauses: dict[tuple[str, str, str], Pause]

    @named_options
    def set_interrupt_before(
        self,
        node_id: NodeRef,
        condition: Callable[..., Any] | None = None,
        metadata_extractor: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Ask a person before a node runs: `run.approve()`, `run.edit(input)` or `run.reject(reason)`.

        Parameters
        ----------
        condition : `(state, input)` or `(input)`, sync or async; asked only when it is true. None always
            asks.
        metadata_extractor : `(state, input)` or `(input)` to the dict that is shown; None shows the input,
            texts cut at 2000 characters.
        timeout : seconds, after which the answer is no; None waits for ever.

        A no fails the node with the reason. Raises GraphValidationError or InputError for what cannot be
        meant.
        """
        return self._pause(node_id, "before", "", condition, metadata_extractor, timeout)

    @named_options
    def set_interrupt_after(
        self,
        node_id: NodeRef,
        condition: Callable[..., Any] | None = None,
        metadata_extractor: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Ask a person when a node has run, before its output goes on; an edit replaces the output.

        Parameters, with the output in the place of the input, and errors are as for `set_interrupt_before`.
        The node is not run again when the run is resumed with the answer.
        """
        return self._pause(node_id, "after", "", condition, metadata_extractor, timeout)

    def _pause(
        self,
        node_id: NodeRef,
        when: Literal["before", "after"],
        source: str,
        condition: Callable[..., Any] | None = None,
        extract: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Self:
        node_id = self._named("Interrupt", node_id)
        label = f"Interrupt {when} {shown(node_id)}"
        for name, function in (("condition", condition), ("metadata_extractor", extract)):
            if function is not None and not callable(function):
                raise GraphValidationError(f"{label}: {name} is {shown(function)}, not a function.")
            if function is not None:
                given = "input" if when == "before" else "output"
                check_call(label, name, function, (given,), ("state", given))
        if node_id in ("START", "END"):
            raise GraphValidationError(f"{label}: START and END are no nodes; name the one beside it.")
        pause = Pause(when, condition, extract, check_timeout(timeout, f"{label}: timeout"))
        self._keep_pause((node_id, when, source), pause)
        return self

    def _named(self, label: str, node: Any) -> str:
        raise NotImplementedError

    def _keep_pause(self, key: tuple[str, str, str], pause: Pause) -> None:
        raise NotImplementedError

    def _pauses_of(self, known: Any) -> dict[str, tuple[Pause, ...]]:
        """Return the interrupts of each node. Raises GraphValidationError for a node that there is not."""
        found: dict[str, tuple[Pause, ...]] = {}
        for (node_id, when, _), pause in self._pauses.items():
            if node_id not in known:
                raise GraphValidationError(f"Interrupt {when} {shown(node_id)}: there is no such node.")
            found[node_id] = (*found.get(node_id, ()), pause)
        return found
