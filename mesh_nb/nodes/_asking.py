"""A model inside another node: an llm node by name, for plug-ins do not import each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

from ..core import plugins
from ..core._nodes import signature
from ..core.context import ExecutionContext
from ..core.errors import GraphValidationError, UnknownNameError, shown
from ..core.events import EventType, ExecutionEvent
from ..providers._call import RESTART

_WORDS = frozenset({EventType.MESSAGE_START, EventType.TOKEN, EventType.MESSAGE_COMPLETE})


def model_node(node_id: str, options: dict[str, Any]) -> Any:
    """Return an llm node. Raises what its options raise."""
    return plugins.find("node", "llm")(node_id, **options)


def options_of(node_id: str, own: dict[str, Any], more: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of an llm node: those that the node around it sets, and its model_options=.

    Raises GraphValidationError for model_options that are no dict or set what the node sets itself,
    UnknownNameError for one that an llm node does not have.
    """
    given: Any = {} if more is None else more
    if not isinstance(given, Mapping):
        raise GraphValidationError(
            f"Node {node_id!r}: model_options= is a dict of options of an llm node, not {shown(more)}."
        )
    found = cast("Mapping[str, Any]", given)
    _, known = signature(plugins.find("node", "llm"))
    for name in found:
        if own.get(name) is not None:
            raise GraphValidationError(
                f"Node {node_id!r} sets {name!r} itself, so model_options= cannot have it."
            )
        if name not in (known or found):
            raise UnknownNameError(f"option of the model of node {node_id!r}", name, known or ())
    return {**own, **found}


async def ask(
    llm: Any, input: Any, context: ExecutionContext, *, words: bool = False
) -> AsyncGenerator[ExecutionEvent, None]:
    """Yield the events of an llm node; the last is its node_complete.

    Parameters: words, whether its answer is for people to read: JSON that only the node reads is not shown,
    and is in the log as `answer` of response_metadata, from which a resumed run takes it.
    """
    said: list[str] = []
    async with aclosing(cast("AsyncGenerator[ExecutionEvent, None]", llm.run(input, context))) as events:
        async for event in events:
            kind = event.type
            if words or kind not in _WORDS:
                if kind == EventType.MODEL_CALL_START or event.metadata.get("data_type") == RESTART:
                    said = []
                elif kind == EventType.RESPONSE_METADATA and not words:
                    event.metadata = {**event.metadata, "answer": "".join(said)}
                yield event
            elif kind == EventType.TOKEN:
                said.append(event.content)
