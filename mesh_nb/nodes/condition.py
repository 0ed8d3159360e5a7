"""condition: a node that chooses which of its successors run."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Literal, cast

from ..core._ending import error_text
from ..core.context import ExecutionContext
from ..core.edges import check_call, positional
from ..core.errors import GraphValidationError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode, Routing
from ._asking import ask, model_node, options_of
from ._kinds import LIST, TEXT, Kind, check_kinds

NONE = "none"
"""What a model answers when no scenario fits."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """One way out of a condition node.

    Parameters: name, shown in events; predicate, `(input)` or `(input, context)` to true or false, sync or
    async; target_node, the node that runs when it is true.
    """

    name: str
    predicate: Callable[..., Any]
    target_node: str


_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("default_target", "instructions", "model"), TEXT),
    **dict.fromkeys(("conditions", "scenarios"), LIST),
}


class ConditionNode(BaseNode):
    """Chooses by functions, or lets a model choose; what is not chosen is skipped.

    Parameters
    ----------
    conditions : a list of Condition; the targets of all that hold run.
    scenarios : instead of conditions, a list of `{"name", "description", "target"}`, of which a model chooses
        one for the input.
    default_target : the node that runs when nothing fits; without it nothing after this node runs.
    instructions : what the model is told besides, a template.
    on_error : "raise", or "unfulfilled": a predicate that raises does not hold. A model call that fails
        always fails the node.
    model : the model that chooses; model_options, further options of an llm node (provider, base_url, ...).

    Its output is its input, so that the chosen nodes receive what came in.
    """

    kind = "condition"
    replays = True
    parts = (Condition,)

    def __init__(
        self,
        id: str,
        conditions: Iterable[Condition] | None = None,
        *,
        default_target: str | None = None,
        scenarios: Iterable[Mapping[str, str]] | None = None,
        instructions: str | None = None,
        on_error: Literal["raise", "unfulfilled"] = "raise",
        model: str | None = None,
        model_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_kinds(id, _KINDS, locals())
        super().__init__(id)
        self.conditions = list(conditions or ())
        self.default_target = default_target
        for condition in self.conditions:
            if not isinstance(condition, Condition):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise GraphValidationError(
                    f"Condition node {id!r}: {shown(condition)} is not a Condition(name, predicate,"
                    " target_node)."
                )
            if not callable(condition.predicate) or not isinstance(cast("Any", condition.target_node), str):
                raise GraphValidationError(
                    f"Condition node {id!r}: {shown(condition.name)} needs a function of the input and the id"
                    " of a node."
                )
            label = f"Condition node {id!r}, {shown(condition.name)}"
            check_call(label, "predicate", condition.predicate, ("input",), ("input", "context"))
        self.scenarios = _scenarios(id, scenarios)
        names = [c.name for c in self.conditions] + [s["name"] for s in self.scenarios]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise GraphValidationError(f"Condition node {id!r} has two conditions named {twice!r}.")
        if bool(self.conditions) == bool(self.scenarios):
            raise GraphValidationError(
                f"Condition node {id!r} has {'both' if names else 'no'} conditions"
                f"{' and scenarios' if names else ''}: pass [Condition(name, predicate, target), ...], or"
                " scenarios=[{'name': ..., 'description': ..., 'target': ...}]."
            )
        if on_error not in ("raise", "unfulfilled"):
            raise GraphValidationError(
                f"Condition node {id!r}: on_error is 'raise' or 'unfulfilled', not {shown(on_error)}."
            )
        self.on_error = on_error
        if self.conditions and (instructions or model or model_options):
            raise GraphValidationError(
                f"Condition node {id!r} chooses by functions: instructions=, model= and model_options= are"
                " for scenarios=."
            )
        self._llm = self._chooser(instructions, model, model_options) if self.scenarios else None
        self.templates = (instructions,) if instructions else ()

    def _chooser(self, instructions: str | None, model: str | None, more: Mapping[str, Any] | None) -> Any:
        names = (*(s["name"] for s in self.scenarios), NONE)
        lines = [f"- {s['name']}: {s['description']}" for s in self.scenarios]
        prompt = [
            "Choose the scenario that fits the user's message, by its name.",
            *([instructions] if instructions else []),
            "\n".join([*lines, f"- {NONE}: no other scenario fits"]),
        ]
        choice = dataclasses.make_dataclass("Choice", [("scenario", Literal[names])])
        own = {"model": model, "output_type": choice, "system_prompt": "\n\n".join(prompt)}
        return model_node(self.id, options_of(self.id, own, more))

    def check(self) -> None:
        """Raise what would make the model call fail."""
        if self._llm is not None:
            self._llm.check()

    def routing(self) -> Routing:
        """Return the targets by condition name; the node's node_complete names those that hold."""
        targets = {c.name: c.target_node for c in self.conditions}
        return Routing(None, targets | {s["name"]: s["target"] for s in self.scenarios}, self.default_target)

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Choose. Raises what a predicate or the model call raises."""
        found: list[dict[str, Any]] = []
        if self._llm is not None:
            chosen = NONE
            async with aclosing(ask(self._llm, input, context)) as events:
                async for event in events:
                    if event.type == EventType.NODE_COMPLETE:
                        chosen = event.output["parsed"].scenario
                    else:
                        yield event
            found = [
                {"name": s["name"], "target": s["target"], "fulfilled": s["name"] == chosen}
                for s in self.scenarios
            ]
        for condition in self.conditions:
            found.append(await self._evaluate(condition, input, context))
        route = [c["name"] for c in found if c["fulfilled"]]
        metadata = {"conditions": found, "route": route}
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=input, metadata=metadata)

    async def _evaluate(self, condition: Condition, input: Any, context: ExecutionContext) -> dict[str, Any]:
        record: dict[str, Any] = {"name": condition.name, "target": condition.target_node}
        given = (input, context) if positional(condition.predicate) > 1 else (input,)
        try:
            result = condition.predicate(*given)
            held = bool(await result if inspect.isawaitable(result) else result)
        except Exception as error:
            if self.on_error == "raise":
                raise
            return {**record, "fulfilled": False, "error": error_text(error)}
        return {**record, "fulfilled": held}


def _scenarios(node_id: str, given: Iterable[Mapping[str, str]] | None) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for scenario in given or ():
        known = cast("Any", scenario)
        if not isinstance(known, Mapping) or not all(
            isinstance(known.get(n), str) for n in ("name", "target")
        ):
            raise GraphValidationError(
                f"Condition node {node_id!r}: {shown(scenario)} is not a scenario, a dict of name,"
                " description and target."
            )
        if known["name"] == NONE:
            raise GraphValidationError(
                f"Condition node {node_id!r}: a scenario cannot be named {NONE!r}, which stands for none."
            )
        found.append({"description": "", **{str(k): str(v) for k, v in known.items()}})
    return found


plugin = ConditionNode
