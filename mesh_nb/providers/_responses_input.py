"""Neutral messages as input items of the Responses API.

The format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input.
"""

from __future__ import annotations

import base64
from typing import Any, cast

from ..core.context import Message, as_text
from ..core.errors import InputError
from ..core.events import dumps
from ._kinds import is_text
from ._text import clean

Item = dict[str, Any]

_ROLES = ("system", "developer", "user", "assistant", "tool")
# Items that the server looks up by their id where nothing was stored, and does not find.
_LOOKED_UP = frozenset({"message", "reasoning", "function_call", "custom_tool_call", "web_search_call"})


def input_items(messages: list[Message], *, stored: bool) -> list[Item]:
    """Return the input of a request.

    Parameters: messages, neutral and oldest first; stored, whether the provider keeps the responses, so that
    items can be named by their ids. Raises InputError for a message without a usable role and for files
    that the API does not take.
    """
    out: list[Item] = []
    kinds: dict[str, str] = {}
    for message in messages:
        role = message.get("role")
        if role not in _ROLES:
            raise InputError(f"A message has the role {role!r}; use one of {', '.join(_ROLES)}.")
        if role == "assistant":
            items = _assistant(message, stored=stored)
            kinds |= {_id(i): i["type"] for i in items if i.get("type")}
            out += items
        elif role == "tool":
            out.append(_result(message, kinds))
        else:
            out.append({"role": role, "content": _content(message.get("content"))})
    return out


def _assistant(message: Message, *, stored: bool) -> list[Item]:
    """Write an answer back: as the items that it was made of, else as its text and calls."""
    text = clean(as_text(message.get("content")))
    calls = cast("list[Item]", message.get("tool_calls") or [])
    state: Any = message.get("provider_state")
    kept = state.get("output_items") if isinstance(state, dict) else None
    if isinstance(kept, list):
        items = [i for i in (_again(k, stored=stored) for k in _dicts(kept)) if i is not None]
        # Every call that is sent must be one whose result follows.
        if {str(c["id"]) for c in calls} == {_id(i) for i in items if _awaits_result(i)}:
            return items
    out: list[Item] = [{"role": "assistant", "content": text}] if text or not calls else []
    for call in calls:
        raw = call.get("arguments_raw")
        arguments = raw if isinstance(raw, str) and raw else dumps(call.get("arguments") or {}).decode()
        out.append(
            {
                "type": "function_call",
                "call_id": str(call["id"]),
                "name": str(call["name"]),
                "arguments": arguments,
            }
        )
    return out


def _again(item: Item, *, stored: bool) -> Item | None:
    """Return an item in the form in which it goes back, None for one that only its id would tell."""
    if stored:
        return item
    kind = item.get("type")
    if kind == "reasoning" and not item.get("encrypted_content") and not item.get("content"):
        return None
    dropped = ("id", "status") if kind in _LOOKED_UP else ()
    item = {name: value for name, value in item.items() if name not in dropped}
    if kind == "web_search_call":
        item["status"] = "completed"
    elif kind == "reasoning":
        item.setdefault("summary", [])
    return item


def _awaits_result(item: Item) -> bool:
    kind = str(item.get("type"))
    if kind == "tool_search_call":
        return item.get("execution") == "client"
    if kind == "shell_call":
        environment = item.get("environment")
        return not isinstance(environment, dict) or environment.get("type") in (None, "local")
    return kind in (
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "apply_patch_call",
        "computer_call",
        "mcp_approval_request",
    )


def _id(item: Item) -> str:
    return str(item.get("call_id") or item.get("id") or "")


def _result(message: Message, kinds: dict[str, str]) -> Item:
    """Write what a tool returned, in the form that its kind of call wants."""
    id, text = str(message.get("tool_call_id", "")), clean(as_text(message.get("content")))
    kind = kinds.get(id, "function_call")
    if kind == "mcp_approval_request":
        # Nobody was asked, so nothing is approved.
        return {
            "type": "mcp_approval_response",
            "approval_request_id": id,
            "approve": False,
            "reason": text,
        }
    if kind == "apply_patch_call":
        status = "failed" if text.startswith("Error:") else "completed"
        return {"type": "apply_patch_call_output", "call_id": id, "status": status, "output": text}
    if kind == "shell_call":
        outcome = {"type": "exit", "exit_code": 1 if text.startswith("Error:") else 0}
        said = {"stdout": text, "stderr": "", "outcome": outcome}
        return {"type": "shell_call_output", "call_id": id, "output": [said]}
    made = kind if kind in ("custom_tool_call", "local_shell_call") else "function_call"
    return {"type": f"{made}_output", "call_id": id, "output": text}


def _content(content: Any) -> Any:
    if isinstance(content, list):
        return [_part(p) for p in cast("list[Any]", content)]
    return clean(as_text(content))


def _part(part: Any) -> Any:
    """Write one part of a user message; parts that are already in the wire's form go out as they are."""
    if isinstance(part, str):
        return {"type": "input_text", "text": clean(part)}
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "input_text", "text": clean(as_text(part.get("text")))}
    if kind == "image_url":
        image = part.get("image_url")
        detail = image.get("detail") if isinstance(image, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
    if kind == "file" and isinstance(part.get("file"), dict):
        return {"type": "input_file", **part["file"]}
    if kind != "file" or "data" not in part:
        return part
    return _file(
        part["data"],
        str(part.get("mime_type") or "application/octet-stream"),
        str(part.get("name") or "file"),
    )


def _file(data: bytes, mime: str, name: str) -> Item:
    if is_text(mime):
        return {"type": "input_text", "text": f"File {name}:\n\n{data.decode('utf-8', 'replace')}"}
    if mime.startswith(("audio/", "video/")):
        raise InputError(
            f"The responses API takes no {mime.partition('/')[0]}, so {name!r} cannot be sent;"
            ' use api="chat" with a model that listens, or send a transcript.'
        )
    url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    if mime.startswith("image/"):
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    return {"type": "input_file", "filename": name, "file_data": url}


def _dicts(value: Any) -> list[Item]:
    return [v for v in cast("list[Any]", value) if isinstance(v, dict)] if isinstance(value, list) else []
