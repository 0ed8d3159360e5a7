"""Answers of a given type: the JSON schema that a model is asked for, and the reading of what it wrote."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, cast

from ..core.errors import InputError, MeshError, shown
from ..core.events import dumps, loads

WRAPPED = "items"
"""The field that holds an answer that is no object; a schema's root must be one."""

SHOWN_PROBLEMS = 10
_KEPT = frozenset({"type", "enum", "const", "description", "title", "required", "additionalProperties"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_SAID = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern"}) | {
    *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "default", "examples", "format")
}
_IGNORED = frozenset({"discriminator", "contentMediaType", "contentEncoding", "deprecated", "readOnly"})
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n[ \t]*```", re.S)


class _Inexpressible(Exception):
    """A schema that no vendor's strict mode takes."""


@dataclasses.dataclass(slots=True)
class OutputType:
    """A type that an answer must have.

    Parameters: name, for messages; schema, its JSON schema, an object; strict, the schema in the form that
    the vendors' JSON modes take, None when they cannot take it; wrapped, whether the answer itself is in the
    field `items`; validate, from JSON bytes to the Python object.
    """

    name: str
    schema: dict[str, Any]
    strict: dict[str, Any] | None
    wrapped: bool
    validate: Callable[[bytes], Any]

    @property
    def instructions(self) -> str:
        """What a model without such a mode is told in its system prompt."""
        return (
            "Answer with one JSON value and nothing else: no explanation, no code fence. It must fit this"
            f" JSON schema:\n{dumps(self.schema).decode()}"
        )

    def read(self, text: str) -> Any:
        """Return the object that an answer holds. Raises ValueError that says what is wrong with it."""
        from pydantic import ValidationError

        value = _json(text)
        if self.wrapped and isinstance(value, dict) and list(cast("dict[str, Any]", value)) == [WRAPPED]:
            value = cast("dict[str, Any]", value)[WRAPPED]
        try:
            return self.validate(dumps(value))
        except ValidationError as error:
            found = [
                f"{'.'.join(map(str, e['loc'])) or 'the answer'}: {e['msg']}"
                for e in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            more = f"; and {len(found) - SHOWN_PROBLEMS} more" if len(found) > SHOWN_PROBLEMS else ""
            raise ValueError("; ".join(found[:SHOWN_PROBLEMS]) + more) from None


def output_type(node_id: str, given: Any) -> OutputType:
    """Return the OutputType of what a user passed as `output_type=`.

    Parameters: node_id, for messages; given, a pydantic model, dataclass, TypedDict, a list of one, or any
    type that pydantic has a JSON schema for. Raises InputError for anything else.
    """
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticUndefinedAnnotation

    name = getattr(given, "__name__", None) if isinstance(given, type) else None
    if not isinstance(given, type) and not hasattr(given, "__origin__") and not _is_union(given):
        raise InputError(
            f"Node {node_id!r}: output_type={shown(given)} is not a type; pass a pydantic model, a dataclass,"
            " a TypedDict or list[...] of one."
        )
    label = name if name and not hasattr(given, "__origin__") else shown(given)
    try:
        adapter: Any = TypeAdapter(given)
        schema: dict[str, Any] = adapter.json_schema()
    except (PydanticUserError, PydanticUndefinedAnnotation, NameError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"Node {node_id!r}: output_type={label} has no JSON schema; use fields of str, int, float, bool,"
            f" list, dict, dates, dataclasses and pydantic models. ({reason})"
        ) from error
    wrapped = schema.get("type") != "object"
    if wrapped:
        definitions = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
        schema = {"type": "object", "properties": {WRAPPED: schema}, "required": [WRAPPED], **definitions}
    try:
        strict = _strict(schema)
    except _Inexpressible:
        strict = None
    return OutputType(label, schema, strict, wrapped, adapter.validate_json)


def _is_union(given: Any) -> bool:
    return type(given).__name__ in ("UnionType", "TypeAliasType")


class Reader:
    """Reads the answers of one run of a node: the object once it fits, and one request to repair it.

    value : the Python object, None before an answer fitted.
    """

    def __init__(self, wanted: OutputType) -> None:
        self.value: Any = None
        self._wanted = wanted
        self._repaired = False

    def __call__(self, text: str, finish: str | None) -> str | None:
        """Take in an answer: None when it fits, else what to tell the model, once.

        Parameters: text; finish, its common finish_reason. Raises MeshError when the model refused, was cut
        off, or did not repair its answer.
        """
        what = f"an answer of the type {self._wanted.name}"
        if finish in ("refusal", "content_filter"):
            raise MeshError(f"The model refused to give {what} (finish reason {finish!r}): {shown(text)}.")
        try:
            self.value = self._wanted.read(text)
        except ValueError as error:
            if finish == "length":
                raise MeshError(
                    f"{what[0].upper()}{what[1:]} did not fit: the model reached its token limit. Raise"
                    " max_tokens=, or ask for less."
                ) from None
            if self._repaired:
                raise MeshError(
                    f"The model gave no answer of the type {self._wanted.name}, not even when told what was"
                    f" wrong: {error}. Its text is kept in run.text."
                ) from None
            self._repaired = True
            return (
                f"Your answer does not fit: {error}.\nAnswer again with the corrected JSON and nothing else."
            )
        return None


def _json(text: str) -> Any:
    """Return the JSON value of an answer: all of it, else its code fence, else its outermost braces."""
    text = text.strip()
    if not text:
        raise ValueError("it is empty, but JSON was asked for")
    candidates = [text, *_FENCE.findall(text)]
    for opening, closing in ("{}", "[]"):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            candidates.append(text[start : end + 1])
    for candidate in candidates:
        try:
            return loads(candidate)
        except (ValueError, RecursionError):
            continue
    raise ValueError("it is not JSON")


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as OpenAI's, Anthropic's and Google's JSON modes all take it.

    Every object is closed and every field required; what they do not enforce goes into the description.
    https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas
    """
    if "$ref" in schema:
        return {"$ref": schema["$ref"], **_definitions(schema)}
    out = {k: v for k, v in schema.items() if k in _KEPT}
    said = {k: v for k, v in schema.items() if k in _SAID}
    if said.get("format") in _FORMATS:
        out["format"] = said.pop("format")
    for name in ("anyOf", "oneOf"):
        if name in schema:
            out["anyOf"] = [_strict(s) for s in schema[name]]
    if "allOf" in schema:
        if len(schema["allOf"]) != 1:
            raise _Inexpressible
        out = {**_strict(schema["allOf"][0]), **out}
    if "items" in schema:
        out["items"] = _strict(schema["items"])
    kind = out.get("type")
    if kind == "object":
        properties = schema.get("properties")
        if not properties or schema.get("additionalProperties"):
            raise _Inexpressible
        out["properties"] = {k: _strict(v) for k, v in properties.items()}
        out["required"], out["additionalProperties"] = list(properties), False
    unknown = set(schema) - _KEPT - _SAID - _IGNORED
    if unknown - {"$defs", "$ref", "anyOf", "oneOf", "allOf", "items", "properties"}:
        raise _Inexpressible
    if not set(out) & {"type", "anyOf", "enum", "const", "$ref"} or (kind == "array" and "items" not in out):
        raise _Inexpressible
    if said:
        rules = ", ".join(f"{k}: {dumps(v).decode()}" for k, v in said.items())
        out["description"] = f"{out['description']} ({rules})" if out.get("description") else f"({rules})"
    return {**out, **_definitions(schema)}


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("$defs")
    return {"$defs": {name: _strict(s) for name, s in found.items()}} if found else {}
