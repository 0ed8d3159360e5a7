"""A neutral model call as the body of a chat completion request.

The format: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

import base64
from typing import Any, cast

from ..core.context import Message, as_text
from ..core.errors import InputError, UnknownNameError
from ..core.events import dumps
from ._call import ModelCall
from ._kinds import is_text, refused
from ._text import clean

_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_CHOICES = ("auto", "none", "required")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def chat_body(call: ModelCall, *, own: bool) -> dict[str, Any]:
    """Return the request body of a call.

    Parameters: call; own, whether it goes to OpenAI itself, where the token limit has another name. Settings
    that are None are left out; `extra` comes last and may remove a field by None. Raises InputError for a
    message without a usable role and a file of a kind that the API does not read, UnknownNameError for a
    tool_choice that names no tool.
    """
    body: dict[str, Any] = {
        "model": call.model,
        "messages": _messages(call),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if call.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": t.schema},
            }
            for t in call.tools
        ]
        if call.tool_choice is not None:
            body["tool_choice"] = _tool_choice(call)
    if call.temperature is not None:
        body["temperature"] = call.temperature
    if call.max_tokens is not None:
        body["max_completion_tokens" if own else "max_tokens"] = call.max_tokens
    if isinstance(call.reasoning, str):
        body["reasoning_effort"] = call.reasoning
    elif call.reasoning is not None:
        body["reasoning"] = call.reasoning
    if call.output_schema is not None:
        schema = {"name": "answer", "schema": call.output_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    body.update(call.extra)
    return {name: value for name, value in body.items() if value is not None}


def _tool_choice(call: ModelCall) -> Any:
    choice, names = call.tool_choice, [t.name for t in call.tools]
    if not isinstance(choice, str) or choice in _CHOICES:
        return choice
    if choice not in names:
        raise UnknownNameError("tool_choice", choice, [*_CHOICES, *names])
    return {"type": "function", "function": {"name": choice}}


def _messages(call: ModelCall) -> list[Message]:
    out: list[Message] = []
    if call.system:
        out.append({"role": "system", "content": clean(call.system)})
    last_user = max((i for i, m in enumerate(call.messages) if m.get("role") == "user"), default=-1)
    for i, message in enumerate(call.messages):
        out.append(_message(message, in_progress=i > last_user))
    return out


def _message(message: Message, *, in_progress: bool) -> Message:
    role = message.get("role")
    if role not in _ROLES:
        raise InputError(f"A message has the role {role!r}; use one of {', '.join(_ROLES)}.")
    if role == "assistant":
        return _assistant(message, in_progress=in_progress)
    if role == "tool":
        content = clean(as_text(message.get("content")))
        return {"role": "tool", "tool_call_id": str(message.get("tool_call_id", "")), "content": content}
    content = message.get("content")
    if isinstance(content, list):
        return {"role": role, "content": [_part(p) for p in cast("list[Any]", content)]}
    return {"role": role, "content": clean(as_text(content))}


def _assistant(message: Message, *, in_progress: bool) -> Message:
    """Write an answer of the model back, with what its server wants returned.

    `reasoning_details` go with every message; a plain reasoning field only inside the tool loop that it
    belongs to: DeepSeek demands it there and refuses it elsewhere.
    """
    text = clean(as_text(message.get("content")))
    calls = cast("list[dict[str, Any]]", message.get("tool_calls") or [])
    out: Message = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        out["tool_calls"] = [
            {
                "id": str(c["id"]),
                "type": "function",
                "function": {"name": str(c["name"]), "arguments": _arguments(c)},
            }
            for c in calls
        ]
    state: Any = message.get("provider_state")
    if isinstance(state, dict):
        names = (
            ("reasoning_details", "reasoning_content", "reasoning") if in_progress else ("reasoning_details",)
        )
        out |= {name: state[name] for name in names if name in state}
    return out


def _arguments(call: dict[str, Any]) -> str:
    raw = call.get("arguments_raw")
    if isinstance(raw, str) and raw:
        return raw
    return dumps(call.get("arguments") or {}).decode()


def _part(part: Any) -> Any:
    """Write one part of a user message; parts that are already in the wire's form go out as they are."""
    if isinstance(part, str):
        return {"type": "text", "text": clean(part)}
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": clean(as_text(part.get("text")))}
    if kind != "file" or "data" not in part:
        return part
    data: bytes = part["data"]
    mime, name = str(part.get("mime_type") or "application/octet-stream"), str(part.get("name") or "file")
    if is_text(mime):
        return {"type": "text", "text": f"File {name}:\n\n{data.decode('utf-8', 'replace')}"}
    encoded = base64.b64encode(data).decode()
    if mime in _AUDIO:
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": _AUDIO[mime]}}
    url = f"data:{mime};base64,{encoded}"
    if mime.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if mime != "application/pdf":
        raise refused(name, mime, "The chat API", "text, images, PDF, WAV and MP3")
    return {"type": "file", "file": {"filename": name, "file_data": url}}
