"""`{{...}}` in prompts: names are resolved once, everything else is literal.

A substituted value is never resolved again, so text from a model or a file cannot reach a variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from .context import ExecutionContext, as_text
from .errors import SHOWN, VariableResolutionError, nearest, shown

_REFERENCE = re.compile(r"\{\{\s*(\$?[^\W\d][\w-]*(?:\.[\w-]+)*)\s*\}\}")
_ITERATION = ("index", "total", "first", "last")
NAMES = (
    "$question",
    "$input",
    "$vars",
    "$chat_history",
    "$iteration",
    *(f"$iteration_{name}" for name in _ITERATION),
)
"""The names that every template may use; other names are node ids."""


def references(template: str) -> list[str]:
    """Return the expressions between double braces, in order, without the braces; each once."""
    return list(dict.fromkeys(_REFERENCE.findall(template)))


def substitute(
    template: str, lookup: Callable[[str], Any], place: Callable[[str, str, str], str] | None = None
) -> str:
    """Replace each `{{expression}}` by the text of `lookup(expression)`; the result is not resolved again.

    Parameters: template; lookup, called with the expression ("name.path"), returns any value or raises;
    place, from the text, what is before it and what is after it to the text that takes its place.
    """

    def text(match: re.Match[str]) -> str:
        found = as_text(lookup(match[1]))
        return found if place is None else place(found, template[: match.start()], template[match.end() :])

    return _REFERENCE.sub(text, template)


def resolve(template: str, context: ExecutionContext) -> str:
    """Fill a template from the run it is used in.

    `{{$question}}` and `{{$input}}` are the run's input, `{{$input.field}}` a field of it, `{{node_id}}` and
    `{{node_id.path.0.x}}` outputs of nodes (empty for a node that was skipped), `{{$vars.x}}` variables,
    `{{$chat_history}}` the history as "role: content" lines, `{{$iteration}}`, `{{$iteration.field}}` and
    `{{$iteration_index}}` (`_total`, `_first`, `_last`) values of the loop around the node. Single braces,
    and double braces around anything else, stay as they are.

    Raises VariableResolutionError for a name that does not exist, with the nearest one that does.
    """
    if "{{" not in template:
        return template
    return substitute(template, lambda expression: value_of(expression, context))


def fill(template: str, context: ExecutionContext) -> Any:
    """Return the value that a template stands for when it is one reference and nothing else, else its text.

    Raises VariableResolutionError as `resolve` does.
    """
    match = _REFERENCE.fullmatch(template.strip())
    return resolve(template, context) if match is None else value_of(match[1], context)


def value_of(expression: str, context: ExecutionContext) -> Any:
    """Return the value that one template expression stands for. Raises VariableResolutionError."""
    root, _, rest = expression.partition(".")
    path = rest.split(".") if rest else []
    if root.startswith("$"):
        return _named(root, path, expression, context)
    outputs = context.outputs
    node_id = node_in(expression, outputs)
    if node_id is not None:
        value = outputs[node_id]
        return None if value is None else _walk(value, path[node_id.count(".") :], expression)
    raise _missing(expression, root, [*outputs, *NAMES], "no node of that name has run before this one")


def node_in(expression: str, node_ids: Mapping[str, Any]) -> str | None:
    """Return the node that an expression names, the longest id that fits, or None."""
    steps = expression.split(".")
    ids = (".".join(steps[:cut]) for cut in range(len(steps), 0, -1))
    return next((i for i in ids if i in node_ids), None)


def check(template: str, node_ids: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each reference in a template that no run of this graph could resolve."""
    problems: list[str] = []
    for expression in references(template):
        root = expression.partition(".")[0]
        if root in NAMES or (not root.startswith("$") and node_in(expression, node_ids) is not None):
            continue
        problems.append(
            _sentence(expression, root, [*node_ids, *NAMES], "the graph has no node of that name")
        )
    return problems


def _named(root: str, path: list[str], expression: str, context: ExecutionContext) -> Any:
    if root == "$question":
        return _walk(context.question, path, expression)
    if root == "$input":
        return _walk(context.input, path, expression)
    if root == "$vars":
        return _walk(context.variables, path, expression)
    if root == "$chat_history":
        lines = (f"{m.get('role', '')}: {as_text(m.get('content'))}" for m in context.chat_history)
        return _walk("\n".join(lines), path, expression)
    if root in NAMES:
        values = context.iteration
        name = root.removeprefix("$iteration").removeprefix("_") or (
            "value" if "value" in values else "index"
        )
        if name not in values:
            raise VariableResolutionError(
                f"Template {{{{{expression}}}}}: there is no iteration here; the node is not inside a loop."
            )
        return _walk(values[name], path, expression)
    raise _missing(expression, root, NAMES, "there is no such name")


def _walk(value: Any, path: Sequence[str], expression: str) -> Any:
    for step in path:
        known: list[str] = []
        if isinstance(value, Mapping):
            fields = cast("Mapping[Any, Any]", value)
            if step in fields:
                value = fields[step]
                continue
            known = [str(k) for k in fields]
        elif isinstance(value, (list, tuple)):
            items = cast("Sequence[Any]", value)
            if step.isdecimal() and int(step) < len(items):
                value = items[int(step)]
                continue
            known = [f"0 to {len(items) - 1}"] if items else []
        elif not isinstance(value, str) and not step.startswith("_") and hasattr(value, step):
            value = getattr(value, step)
            continue
        raise _missing(expression, step, known, f"{type(value).__name__} has no such field")
    return value


def _missing(expression: str, name: str, known: Sequence[str], why: str) -> VariableResolutionError:
    return VariableResolutionError(_sentence(expression, name, known, why))


def _sentence(expression: str, name: str, known: Sequence[str], why: str) -> str:
    close = nearest(name, known)
    guess = f" Did you mean {close!r}?" if close else ""
    listing = f" Known: {', '.join(known[:20])}." if known else ""
    whole = expression if len(expression) <= SHOWN else expression[:SHOWN] + "…"
    return f"Template {{{{{whole}}}}} names {shown(name)}, but {why}.{guess}{listing}"
