"""A neutral model call as the body of a request to the Responses API.

The format: https://platform.openai.com/docs/api-reference/responses/create.
"""

from __future__ import annotations

import re
from typing import Any, cast

from ..core.errors import InputError, UnknownNameError
from ._call import ModelCall
from ._responses_input import input_items
from ._text import clean

BUILTIN: dict[str, dict[str, Any]] = {
    "web_search": {"type": "web_search"},
    "code_interpreter": {"type": "code_interpreter", "container": {"type": "auto"}},
    "file_search": {"type": "file_search"},
    "image_generation": {"type": "image_generation"},
}
"""The tools that OpenAI runs, by the name that `tools=` takes; settings of their own go through `extra`."""

# What a tool found is sent only when it is asked for.
_INCLUDE = {
    "web_search": "web_search_call.action.sources",
    "file_search": "file_search_call.results",
    "code_interpreter": "code_interpreter_call.outputs",
}
_ENCRYPTED = "reasoning.encrypted_content"
_CHOICES = ("auto", "none", "required")
# The others answer 400 to a request for encrypted reasoning.
_REASONS = re.compile(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|1\d)|gpt-oss|codex-)(?!.*-chat)")
_INSTEAD_OF_INPUT = ("previous_response_id", "conversation", "prompt", "input")


def responses_body(call: ModelCall) -> dict[str, Any]:
    """Return the request body of a call.

    Settings that are None are left out, and nothing is stored at the provider: what the next round needs
    comes back encrypted. `extra` comes last and may remove a field by None, but its `tools` and `include`
    are added to ours. Raises InputError for messages, files or tools that cannot be sent, UnknownNameError
    for a tool that OpenAI does not run and a tool_choice that names no tool.
    """
    body: dict[str, Any] = {"model": call.model, "stream": True, "store": False}
    extra = dict(call.extra)
    more_tools, more_include = _list(extra, "tools"), _list(extra, "include")
    stored = bool(extra.get("store", False))
    body["input"] = input_items(call.messages, stored=stored)
    if call.system:
        if body["input"] or any(name in extra for name in _INSTEAD_OF_INPUT):
            body["instructions"] = clean(call.system)
        else:
            # A request without input is refused, whatever its instructions.
            body["input"] = [{"role": "developer", "content": clean(call.system)}]
    tools = _tools(call, more_tools)
    if tools:
        body["tools"] = tools
        if call.tool_choice is not None:
            body["tool_choice"] = _tool_choice(call, tools)
    if call.temperature is not None:
        body["temperature"] = call.temperature
    if call.max_tokens is not None:
        body["max_output_tokens"] = call.max_tokens
    if isinstance(call.reasoning, str):
        body["reasoning"] = {"effort": call.reasoning, "summary": "auto"}
    elif call.reasoning is not None:
        body["reasoning"] = call.reasoning
    if call.output_schema is not None:
        form = {"type": "json_schema", "name": "answer", "schema": call.output_schema, "strict": True}
        body["text"] = {"format": form}
    include = _include(call, tools, more_include)
    if include:
        body["include"] = include
    body.update(extra)
    return {name: value for name, value in body.items() if value is not None}


def _include(call: ModelCall, tools: list[Any], more: list[Any]) -> list[Any]:
    kinds = [t.get("type") for t in tools if isinstance(t, dict)]
    wanted: list[Any] = [_INCLUDE[k] for k in kinds if k in _INCLUDE]
    if call.reasoning is not None or _REASONS.match(call.model):
        wanted.insert(0, _ENCRYPTED)
    return list(dict.fromkeys([*wanted, *more]))


def _tools(call: ModelCall, more: list[Any]) -> list[Any]:
    """Return the tools: functions, the provider's own by name, and those that `extra` describes in full."""
    # strict is the API's default, and it refuses parameters that may be left out.
    out: list[Any] = [
        {
            "type": "function",
            "name": t.name,
            "description": t.description,
            "parameters": t.schema,
            "strict": False,
        }
        for t in call.tools
    ]
    described = {t.get("type") for t in more if isinstance(t, dict)}
    for name in call.builtin_tools:
        if name in described:
            continue
        if name not in BUILTIN:
            hint = 'Pass a function, or describe it in full: extra={"tools": [{"type": ...}]}.'
            raise UnknownNameError("tool of OpenAI's own", name, BUILTIN, hint)
        if name == "file_search":
            raise InputError(
                "file_search needs to know where to search: pass"
                ' extra={"tools": [{"type": "file_search", "vector_store_ids": ["vs_..."]}]}.'
            )
        out.append(dict(BUILTIN[name]))
    return [*out, *more]


def _tool_choice(call: ModelCall, tools: list[Any]) -> Any:
    choice = call.tool_choice
    if not isinstance(choice, str) or choice in _CHOICES:
        return choice
    if choice in [t.name for t in call.tools]:
        return {"type": "function", "name": choice}
    kinds = {str(t.get("type")) for t in tools if isinstance(t, dict)} - {"function"}
    if choice not in kinds:
        raise UnknownNameError("tool_choice", choice, [*_CHOICES, *(t.name for t in call.tools), *kinds])
    return {"type": choice}


def _list(extra: dict[str, Any], name: str) -> list[Any]:
    """Take a list out of `extra`; None stays there, to remove the field."""
    value = extra.get(name)
    if not isinstance(value, list):
        return []
    del extra[name]
    return cast("list[Any]", value)
