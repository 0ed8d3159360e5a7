"""Which kinds of file a model takes: a file that it cannot take is refused before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, cast

from ..core.errors import InputError
from . import _hosts
from ._call import ModelCall

_TEXT_TYPES = ("application/json", "application/xml", "application/x-ndjson", "application/yaml")
# https://developers.openai.com/api/docs/guides/images-vision#image-input-requirements
_OPENAI_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")
# Models of OpenAI's whose own pages name text as their only input.
_TEXT_ONLY = re.compile(
    r"(?:ft:)?(?:gpt-3\.5|gpt-4(?:-32k)?(?:-\d{4})?(?:-preview)?(?:$|:)|gpt-4-turbo-preview"
    r"|o1-(?:mini|preview)|o3-mini)"
)
# "unknown variant `image_url`, expected `text`", it answers.
_TEXT_ONLY_HOSTS = ("api.deepseek.com",)


def is_text(mime: str) -> bool:
    """Whether files of this type go out as text."""
    return mime.startswith("text/") or mime in _TEXT_TYPES or mime.endswith(("+xml", "+json"))


def refused(name: str, mime: str, who: str, takes: str) -> InputError:
    """Return the error for a file that an API does not take."""
    convert = " A PIL image is sent as PNG." if mime.startswith("image/") and "mage" in takes else ""
    return InputError(f"{who} cannot read {name!r} ({mime}): it takes {takes}.{convert}")


def check_files(call: ModelCall, base_url: str) -> None:
    """Raise InputError for a file that a model behind one of OpenAI's APIs is known not to take.

    Parameters: call; base_url, where it goes: of a server that is not known, every kind is taken to be taken.
    """
    blind = _hosts.host(base_url) in _TEXT_ONLY_HOSTS
    own = _hosts.is_openai(base_url)
    blind = blind or (own and not _hosts.is_azure(base_url) and bool(_TEXT_ONLY.match(call.model)))
    for name, mime in _files(call):
        if blind and not is_text(mime):
            raise refused(name, mime, f"{call.model!r}", "text only")
        if own and mime.startswith("image/") and not is_text(mime):
            check_image(name, mime, _OPENAI_IMAGES, "OpenAI", "PNG, JPEG, WebP and GIF images, PDF and text")


def check_image(name: str, mime: str, known: Collection[str], who: str, takes: str) -> None:
    """Raise InputError for an image of a format that is not known to be taken."""
    if mime not in known:
        raise refused(name, mime, who, takes)


def _files(call: ModelCall) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for message in call.messages:
        content: Any = message.get("content")
        for part in cast("list[Any]", content) if isinstance(content, list) else ():
            if isinstance(part, dict) and "data" in part and cast("Any", part).get("type") == "file":
                given = cast("dict[str, Any]", part)
                mime = str(given.get("mime_type") or "application/octet-stream")
                found.append((str(given.get("name") or "file"), mime))
    return found
