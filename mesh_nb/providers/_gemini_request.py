"""A neutral model call as the body of a Gemini request.

The format: https://ai.google.dev/api/generate-content#request-body.
"""

from __future__ import annotations

import base64
import re
from typing import Any, cast

from ..core.context import Message, as_text
from ..core.errors import InputError, UnknownNameError
from ._call import ModelCall
from ._gemini_translate import STATE
from ._kinds import is_text, refused
from ._text import clean

BUILTIN_TOOLS = {
    "google_search": "googleSearch",
    "web_search": "googleSearch",
    "code_execution": "codeExecution",
    "url_context": "urlContext",
    "google_maps": "googleMaps",
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
_BINARY = ("audio/", "video/", "application/pdf")
# Gemini 2.5 counts thought in tokens, later models name a level: https://ai.google.dev/gemini-api/docs/thinking
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24_576}
_LEVELS = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high"}
_COUNTS_TOKENS = re.compile(r"gemini-(?:robotics-er-)?[12]\.")
# Objects of the body of which extra= may set single fields.
_MERGED = ("generationConfig", "toolConfig")


def gemini_body(call: ModelCall) -> dict[str, Any]:
    """Return the request body of a call.

    Settings that are None are left out; `extra` comes last, reaches into generationConfig and toolConfig, and
    may remove a field by None. Raises InputError for a message without a usable role, a file of a kind that
    Gemini does not read, or a tool_choice without functions; UnknownNameError for an unknown tool,
    tool_choice or reasoning effort.
    """
    system, contents = _contents(call.messages)
    if call.system:
        system.insert(0, clean(call.system))
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    tools = _tools(call)
    if tools:
        body["tools"] = tools
    config = _tool_config(call)
    if config:
        body["toolConfig"] = config
    generation = _generation(call)
    if generation:
        body["generationConfig"] = generation
    for name, value in call.extra.items():
        ours = body.get(name)
        if name in _MERGED and isinstance(value, dict) and isinstance(ours, dict):
            value = _without_none(ours | cast("dict[str, Any]", value))
        body[name] = value
    return _without_none(body)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _tools(call: ModelCall) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    if call.tools:
        declared = [
            {"name": t.name, "parametersJsonSchema": t.schema}
            | ({"description": t.description} if t.description else {})
            for t in call.tools
        ]
        tools.append({"functionDeclarations": declared})
    for name in call.builtin_tools:
        if name not in BUILTIN_TOOLS:
            hint = "Pass a function as a tool of your own, or the API's own object in extra=."
            raise UnknownNameError("tool that Gemini runs itself", name, BUILTIN_TOOLS, hint)
        tools.append({BUILTIN_TOOLS[name]: {}})
    return tools


def _tool_config(call: ModelCall) -> dict[str, Any]:
    # Both kinds together need this; Google then shows its own tools' calls among the parts.
    config: dict[str, Any] = (
        {"includeServerSideToolInvocations": True} if call.tools and call.builtin_tools else {}
    )
    choice, names = call.tool_choice, [t.name for t in call.tools]
    if choice is None:
        return config
    if isinstance(choice, dict):
        return config | cast("dict[str, Any]", choice)
    if not names or choice in call.builtin_tools:
        if choice == "auto":
            return config
        raise InputError(
            f"tool_choice={choice!r} needs functions to choose among: about its own tools Gemini decides."
        )
    if choice not in _MODES and choice not in names:
        raise UnknownNameError("tool_choice", str(choice), [*_MODES, *names])
    calling = {"mode": _MODES.get(choice, "ANY")}
    allowed = {} if choice in _MODES else {"allowedFunctionNames": [choice]}
    return config | {"functionCallingConfig": calling | allowed}


def _generation(call: ModelCall) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if call.temperature is not None:
        config["temperature"] = call.temperature
    if call.max_tokens is not None:
        config["maxOutputTokens"] = call.max_tokens
    if call.reasoning is not None:
        config["thinkingConfig"] = _thinking(call.model, call.reasoning)
    if call.output_schema is not None:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": call.output_schema}
    return config


def _thinking(model: str, reasoning: Any) -> dict[str, Any]:
    """Return thinkingConfig for an effort by name, a number of tokens, or True for thoughts to be shown."""
    if isinstance(reasoning, dict):
        return cast("dict[str, Any]", reasoning)
    if isinstance(reasoning, bool):
        return {"includeThoughts": True} if reasoning else _thinking(model, "none")
    if isinstance(reasoning, int):
        return {"thinkingBudget": reasoning, "includeThoughts": reasoning != 0}
    known = _BUDGETS if _COUNTS_TOKENS.search(model) else _LEVELS
    if reasoning not in known:
        raise UnknownNameError("reasoning effort", str(reasoning), known)
    field = "thinkingBudget" if known is _BUDGETS else "thinkingLevel"
    return {field: known[reasoning], "includeThoughts": reasoning != "none"}


def _contents(messages: list[Message]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the system prompts among the messages, and the rest as contents."""
    system: list[str] = []
    contents: list[dict[str, Any]] = []
    ids: set[str] = set()
    names: dict[str, str] = {}
    answering = False
    for message in messages:
        role = message.get("role")
        if role not in _ROLES:
            raise InputError(f"A message has the role {role!r}; use one of {', '.join(_ROLES)}.")
        if role in ("system", "developer"):
            system.append(clean(as_text(message.get("content"))))
        elif role == "assistant":
            parts = _answer(message)
            ids |= {str(p["functionCall"]["id"]) for p in parts if p.get("functionCall", {}).get("id")}
            names |= {str(c["id"]): str(c["name"]) for c in message.get("tool_calls") or []}
            if parts:
                contents.append({"role": "model", "parts": parts})
        elif role == "user":
            contents.append({"role": "user", "parts": _user(message.get("content"))})
        else:
            part = _result(message, ids, names)
            # The results of calls made together go back together.
            if answering:
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
        answering = role in ("tool", "function")
    return system, contents


def _answer(message: Message) -> list[dict[str, Any]]:
    """Write an answer of the model back: its own parts where they were kept, for their signatures."""
    state: Any = message.get("provider_state")
    kept = state.get(STATE) if isinstance(state, dict) else None
    if isinstance(kept, list) and kept:
        return cast("list[dict[str, Any]]", list(cast("list[Any]", kept)))
    text = clean(as_text(message.get("content")))
    parts: list[dict[str, Any]] = [{"text": text}] if text else []
    calls = cast("list[dict[str, Any]]", message.get("tool_calls") or [])
    parts += [{"functionCall": {"name": str(c["name"]), "args": c.get("arguments") or {}}} for c in calls]
    return parts


def _result(message: Message, ids: set[str], names: dict[str, str]) -> dict[str, Any]:
    """Write a tool's result; its id goes out only where Gemini gave one, else the order tells."""
    id = str(message.get("tool_call_id") or "")
    name = message.get("name") or names.get(id)
    if not name:
        raise InputError(f"The result of tool call {id!r} has no name, and no call before it has that id.")
    response: dict[str, Any] = {
        "name": str(name),
        "response": {"output": clean(as_text(message.get("content")))},
    }
    return {"functionResponse": response | ({"id": id} if id in ids else {})}


def _user(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return [_part(p) for p in cast("list[Any]", content)]
    return [{"text": clean(as_text(content))}]


def _part(part: Any) -> dict[str, Any]:
    """Write one part of a user message; parts that are already in the wire's form go out as they are."""
    if isinstance(part, str):
        return {"text": clean(part)}
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"text": clean(as_text(part.get("text")))}
    if kind != "file" or "data" not in part:
        return part
    data: bytes = part["data"]
    mime, name = str(part.get("mime_type") or "application/octet-stream"), str(part.get("name") or "file")
    if is_text(mime):
        return {"text": f"File {name}:\n\n{data.decode('utf-8', 'replace')}"}
    if mime not in _IMAGES and not mime.startswith(_BINARY):
        takes = "text, PNG, JPEG, WebP, HEIC and HEIF images, sound, video and PDF"
        raise refused(name, mime, "Gemini", takes)
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}
