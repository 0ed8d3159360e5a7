"""What the items of a response hold besides words and calls: citations, files, and what history needs."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from typing import Any, cast

from ._text import clean

_FILE_CITATIONS = ("file_citation", "container_file_citation", "file_path")
_MADE_FILES = ("container_file_citation", "file_path")
_MIME = {"svg": "image/svg+xml", "jpg": "image/jpeg"}
_PLAIN_CALL = ("type", "id", "status", "name", "arguments", "call_id")


def annotation_source(annotation: dict[str, Any], base: int) -> dict[str, Any] | None:
    """Return a citation as a source, None when it is not one.

    Parameters: annotation; base, the code points of its text block before the part that its offsets count
    from. A citation of a file has no url: file_id and container_id say where it is.
    """
    kind, url = annotation.get("type"), annotation.get("url")
    source: dict[str, Any] = {"kind": "cited"}
    if kind == "url_citation" and isinstance(url, str):
        source["url"] = clean(url)
    elif kind in _FILE_CITATIONS:
        source |= _strings(annotation, ("file_id", "container_id"))
    else:
        return None
    title = annotation.get("title") or annotation.get("filename") or annotation.get("file_id")
    if title and isinstance(title, str):
        source["title"] = clean(title)
    start: Any = annotation.get("start_index", annotation.get("index"))
    end: Any = annotation.get("end_index", start)
    # A citation of a file may name one point; start = end = 0 of another kind means that no place is known.
    if isinstance(start, int) and isinstance(end, int) and (end > start or "index" in annotation):
        source |= {"start": base + start, "end": base + end, "offset_unit": "code_point"}
    return source


def stored_file(annotation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the metadata of the file that an annotation tells of: the model made it, OpenAI keeps it."""
    id = annotation.get("file_id")
    if annotation.get("type") not in _MADE_FILES or not isinstance(id, str) or not id:
        return None
    name, inside = annotation.get("filename"), annotation.get("container_id")
    name = clean(name) if isinstance(name, str) and name else id
    return {
        "name": name,
        "mime_type": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "provider": "openai",
        "file_id": id,
        "container_id": inside if isinstance(inside, str) else None,
    }


def found_sources(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a search that the provider ran has found."""
    action, found = item.get("action"), list[dict[str, Any]]()
    listed = action.get("sources") if isinstance(action, dict) else None
    for result in [*_dicts(listed), *_dicts(item.get("results"))]:
        source: dict[str, Any] = {"kind": "result", **_strings(result, ("url", "title", "file_id"))}
        if isinstance(result.get("filename"), str):
            source.setdefault("title", clean(result["filename"]))
        if result.get("text") and isinstance(result["text"], str):
            source["cited_text"] = clean(result["text"])
        if "url" in source or "title" in source:
            found.append(source)
    return found


def images(item: dict[str, Any]) -> list[str]:
    """Return the files that an item holds, as data URLs."""
    if item.get("type") == "image_generation_call" and isinstance(item.get("result"), str):
        form = str(item.get("output_format") or "png")
        return [f"data:{_MIME.get(form, f'image/{form}')};base64,{item['result']}"] if item["result"] else []
    if item.get("type") != "code_interpreter_call":
        return []
    urls = [o.get("url") for o in _dicts(item.get("outputs"))]
    return [u for u in urls if isinstance(u, str) and u.startswith("data:")]


def mended(data_url: str) -> str:
    """Return a data URL without what is no base64: line ends, and marks where a proxy cut an image short."""
    head, _, content = data_url.partition(",")
    try:
        return f"{head},{base64.b64encode(base64.b64decode(content)).decode()}"
    except (binascii.Error, ValueError):
        return data_url


def kept_items(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items that the next request should send back, without bytes of images.

    Nothing is kept where a neutral message says the same: plain text and function calls alone.
    """
    kept = [_kept(item) for item in items if item.get("type") != "image_generation_call"]
    needed = (i for i in kept if i.get("type") != "message" or "phase" in i)
    return (
        kept
        if any(i.get("type") != "function_call" or not i.keys() <= set(_PLAIN_CALL) for i in needed)
        else []
    )


def _kept(item: dict[str, Any]) -> dict[str, Any]:
    item = {name: value for name, value in item.items() if value is not None}
    if item.get("type") == "message":
        item["content"] = [_kept_part(p) for p in _dicts(item.get("content"))]
    elif item.get("type") == "code_interpreter_call":
        item["outputs"] = [o for o in _dicts(item.get("outputs")) if o.get("type") == "logs"]
    return item


def _kept_part(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name in ("type", "text", "refusal")}


def _strings(holder: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {n: clean(holder[n]) for n in names if holder.get(n) and isinstance(holder[n], str)}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in cast("list[Any]", value) if isinstance(v, dict)] if isinstance(value, list) else []
