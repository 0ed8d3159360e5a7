"""A neutral model call as the body of a Messages request.

The format: https://platform.claude.com/docs/en/api/messages/create, API version 2026-10-21.
"""

from __future__ import annotations

import base64
import re
from typing import Any, cast

from ..core.context import Message, as_text
from ..core.errors import InputError, UnknownNameError
from ..core.events import loads
from ._anthropic_thinking import max_tokens, thinking
from ._cache import with_cache_marks
from ._call import ModelCall
from ._kinds import is_text, refused
from ._text import clean

STATE = "messages"
"""`api` of a provider_state whose `content` are content blocks of this API."""

# The 2026 versions of the web tools search through code unless told that the model calls them itself, which
# not every model can do; code_execution is the version that every current model has.
_WEB = {"allowed_callers": ["direct"]}
BUILTIN: dict[str, dict[str, Any]] = {
    "web_search": {"type": "web_search_20260318", "name": "web_search", **_WEB},
    "web_fetch": {"type": "web_fetch_20260318", "name": "web_fetch", **_WEB},
    "code_execution": {"type": "code_execution_20250825", "name": "code_execution"},
    "tool_search_regex": {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
    "tool_search_bm25": {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
}
"""Tools that Anthropic runs, by the name to give in tools=, as they go out."""

_DATED = re.compile(
    r"(web_search|web_fetch|code_execution|tool_search_tool_regex|tool_search_tool_bm25)_\d{8}"
)
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_ROLES = ("system", "developer", "user", "assistant", "tool")
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_ODD_ID = re.compile(r"[^a-zA-Z0-9_-]")


def messages_body(call: ModelCall) -> dict[str, Any]:
    """Return the request body of a call.

    Settings that are None are left out; max_tokens, which this API demands, is then 32,000. `extra` comes
    last and may remove a field by None. Raises InputError for messages or settings that the API cannot take,
    UnknownNameError for an unknown tool, tool_choice or effort.
    """
    if call.temperature is not None:
        raise InputError(
            "The Messages API takes no temperature (it answers HTTP 400 to any), so leave temperature= out;"
            ' reasoning="low" to "max" sets how much effort goes into an answer.'
        )
    system, messages = _messages(call)
    think, output = thinking(call)
    body: dict[str, Any] = {
        "model": call.model,
        "max_tokens": max_tokens(call, think),
        "messages": messages,
        "stream": True,
    }
    if system:
        body["system"] = system
    tools = [*({"name": t.name, "description": t.description, "input_schema": t.schema} for t in call.tools)]
    tools += [_builtin(name) for name in call.builtin_tools]
    if tools:
        body["tools"] = tools
        if call.tool_choice is not None:
            body["tool_choice"] = _tool_choice(call.tool_choice, [str(t["name"]) for t in tools])
    if think is not None:
        body["thinking"] = think
    if call.output_schema is not None:
        output["format"] = {"type": "json_schema", "schema": call.output_schema}
    if output:
        body["output_config"] = output
    container = _container(call.messages)
    if container is not None:
        body["container"] = container
    if call.prompt_cache:
        with_cache_marks(body)
    body.update(call.extra)
    return {name: value for name, value in body.items() if value is not None}


def _builtin(name: str) -> dict[str, Any]:
    """Return a tool that Anthropic runs: the current version of a name, or the one that is named."""
    if name in BUILTIN:
        return BUILTIN[name]
    dated = _DATED.fullmatch(name)
    if dated is None:
        hint = "A version may be asked for by its date, such as 'web_search_20250305'."
        raise UnknownNameError("tool of provider 'anthropic'", name, BUILTIN, hint)
    return {"type": name, "name": dated[1]}


def _tool_choice(choice: Any, names: list[str]) -> Any:
    if not isinstance(choice, str):
        return choice
    if choice not in names and (choice in BUILTIN or _DATED.fullmatch(choice)):
        choice = _builtin(choice)["name"]
    if choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    if choice not in names:
        raise UnknownNameError("tool_choice", choice, [*_CHOICES, *names])
    return {"type": "tool", "name": choice}


def _container(messages: list[Message]) -> str | None:
    """Return the container that the turn in progress runs code in: a paused turn must go on in it."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return None
        state: Any = message.get("provider_state")
        if isinstance(state, dict) and state.get("api") == STATE and isinstance(state.get("container"), str):
            return cast("str", state["container"])
    return None


def _messages(call: ModelCall) -> tuple[str, list[Message]]:
    """Return the system prompt and the messages, with neighbours of one role joined.

    The results of parallel tools have to be in one message; messages without content are left out, because
    the API refuses them.
    """
    system = [clean(call.system)] if call.system else []
    out: list[Message] = []
    kept: set[str] = set()
    for message in call.messages:
        role = message.get("role")
        if role not in _ROLES:
            raise InputError(f"A message has the role {role!r}; use one of {', '.join(_ROLES)}.")
        if role in ("system", "developer"):
            system.append(clean(as_text(message.get("content"))))
            continue
        blocks = _assistant(message, kept) if role == "assistant" else _user(message, kept)
        role = "assistant" if role == "assistant" else "user"
        if out and blocks and out[-1]["role"] == role:
            out[-1]["content"] += blocks
        elif blocks:
            out.append({"role": role, "content": blocks})
    return "\n\n".join(s for s in system if s), out


def _assistant(message: Message, kept: set[str]) -> list[Any]:
    """Write an answer of the model back: its own blocks as they came, or text and tool calls.

    Parameters: message; kept, which gets the ids of blocks that go back as they came.
    """
    state: Any = message.get("provider_state")
    if isinstance(state, dict) and state.get("api") == STATE and isinstance(state.get("content"), list):
        content = cast("list[dict[str, Any]]", state["content"])
        kept |= {str(block["id"]) for block in content if "id" in block}
        return list(content)
    blocks = _text(as_text(message.get("content")))
    for call in cast("list[dict[str, Any]]", message.get("tool_calls") or []):
        use = {"type": "tool_use", "id": _id(call["id"]), "name": str(call["name"])}
        blocks.append({**use, "input": _arguments(call)})
    return blocks


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    value = call.get("arguments")
    raw = call.get("arguments_raw")
    if not isinstance(value, dict) and isinstance(raw, str) and raw.strip():
        try:
            value = loads(raw)
        except ValueError:
            value = {"INVALID_JSON": clean(raw)}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _user(message: Message, kept: set[str]) -> list[Any]:
    content = message.get("content")
    if message.get("role") == "tool":
        id = str(message.get("tool_call_id", ""))
        result = {"type": "tool_result", "tool_use_id": id if id in kept else _id(id)}
        return [{**result, "content": clean(as_text(content))}]
    if isinstance(content, list):
        return [block for part in cast("list[Any]", content) for block in _part(part)]
    return _text(as_text(content))


def _part(part: Any) -> list[Any]:
    """Write one part of a user message; parts in the wire's form go out as they are, without citations."""
    if isinstance(part, str):
        return _text(part)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        kept = {k: v for k, v in part.items() if k != "citations"}
        return [{**kept, **block} for block in _text(as_text(part.get("text")))]
    if kind != "file" or "data" not in part:
        return [part]
    data: bytes = part["data"]
    mime, name = str(part.get("mime_type") or "application/octet-stream"), str(part.get("name") or "file")
    if mime in _IMAGES:
        return [{"type": "image", "source": _base64(mime, data)}]
    if mime == "application/pdf":
        return [{"type": "document", "source": _base64(mime, data), "title": clean(name)}]
    if is_text(mime):
        source = {"type": "text", "media_type": "text/plain", "data": data.decode("utf-8", "replace")}
        return [{"type": "document", "source": source, "title": clean(name)}]
    raise refused(name, mime, "Anthropic", "PNG, JPEG, GIF and WebP images, PDF and text")


def _base64(mime: str, data: bytes) -> dict[str, Any]:
    return {"type": "base64", "media_type": mime, "data": base64.b64encode(data).decode()}


def _text(text: str) -> list[Any]:
    return [{"type": "text", "text": clean(text)}] if text.strip() else []


def _id(id: Any) -> str:
    """Return a tool call's id in the form that the API demands; another provider's may hold more."""
    return _ODD_ID.sub("_", str(id)) or "_"
