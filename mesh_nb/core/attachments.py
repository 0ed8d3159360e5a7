"""Files that go with a question: each is read once, before anything starts, into a neutral part."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from .context import as_text
from .errors import InputError, nearest, shown, told

MAX_BYTES = 20_000_000
"""Bytes that the files of one run may have together. The vendors limit a request to 20 to 50 MB, and base64
adds a third."""

_PDF = "application/pdf"
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", _PDF),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_TEXT_TYPES = ("application/json", "application/xml", "application/x-ndjson", "application/yaml")
_KINDS = "a path, bytes, (name, bytes), a PIL image, a matplotlib figure or a DataFrame"


class FileData(bytes):
    """The bytes of an attachment; JSON tells their number, so that no event repeats a whole file."""

    _digest: str = ""

    @property
    def sha256(self) -> str:
        """The hash of the bytes, computed once."""
        if not self._digest:
            self._digest = hashlib.sha256(self).hexdigest()
        return self._digest

    @property
    def brief(self) -> str:
        """What JSON says in their place."""
        return f"<{len(self)} bytes>"


class FilePart(TypedDict):
    """A file in a neutral message: a model's input, or one of a node's `files`."""

    type: str
    name: str
    mime_type: str
    data: bytes


def read_files(files: Any) -> list[FilePart]:
    """Read attachments into neutral parts; names are made different from each other.

    Parameters: files, a list of paths, bytes, (name, bytes), PIL images, matplotlib figures, DataFrames (sent
    as CSV) and parts that are neutral already. Nothing is downloaded and no library imported for it.
    Raises InputError for a path that is not a file, an empty file, one whose kind cannot be told, other
    objects, and more than 20 MB in all.
    """
    if files is None:
        return []
    if not isinstance(files, (list, Iterator)):
        raise InputError(f"files= is a list of attachments; write files=[...], not {shown(files)}.")
    parts: list[FilePart] = []
    taken: set[str] = set()
    left = MAX_BYTES
    for item in cast("list[Any]", files):
        part = _part(item, left)
        if not part["data"]:
            raise InputError(f"Attachment {shown(part['name'])} is empty.")
        left -= len(part["data"])
        if left < 0:
            raise _too_large(part["name"])
        part["name"] = _unique(part["name"], taken)
        parts.append(part)
    return parts


def with_files(input: Any, files: Any) -> Any:
    """Return a run's input with attachments under `files`: `{"input": text, "files": [...]}`, or the dict
    with them added to its own. Raises InputError as `read_files` does."""
    parts = read_files(files)
    if not parts:
        return input
    if not isinstance(input, dict):
        return {"input": "" if input is None else input, "files": parts}
    given = cast("dict[str, Any]", input)
    own = files_of(given)
    if "files" in given and not (isinstance(given["files"], list) and len(given["files"]) == len(own)):
        raise InputError(
            "The input has a field `files` that is none of attachments, which files= would replace: give the"
            " field another name."
        )
    return given | {"files": [*own, *parts]}


def files_of(value: Any) -> list[FilePart]:
    """Return the neutral file parts that a node's input carries under `files`."""
    found = cast("Mapping[str, Any]", value).get("files") if isinstance(value, Mapping) else None
    if not isinstance(found, list):
        return []
    return [cast("FilePart", part) for part in cast("list[Any]", found) if _is_part(part)]


def without_files(value: Any) -> Any:
    """Return a node's input without its attachments."""
    if not files_of(value):
        return value
    return {name: inner for name, inner in cast("dict[str, Any]", value).items() if name != "files"}


def asked(input: Any) -> str:
    """Return a run's question as its session remembers it: attachments by name, for they go out only once."""
    names = ", ".join(part["name"] for part in files_of(input))
    text = as_text(without_files(input))
    said = f"(Attached then, not sent again: {names})" if names else ""
    return f"{text}\n\n{said}" if text and said else text or said


def _is_part(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    part = cast("dict[str, Any]", value)
    return part.get("type") == "file" and isinstance(part.get("data"), bytes)


def _part(item: Any, limit: int) -> FilePart:
    if isinstance(item, (str, os.PathLike)):
        return _read(cast("str | os.PathLike[str]", item), limit)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _made("", bytes(item))
    if isinstance(item, tuple):
        return _pair(cast("tuple[Any, ...]", item))
    if _is_part(item):
        return _made(str(item.get("name") or ""), bytes(item["data"]), str(item.get("mime_type") or ""))
    try:
        made = _table(item) or _image(item) or _figure(item)
    except Exception as error:
        raise InputError(f"A {type(item).__name__} could not be written as a file: {told(error)}.") from error
    if made is not None:
        return made
    raise InputError(f"What is of type {type(item).__name__} cannot be attached: pass {_KINDS}.")


def _pair(item: tuple[Any, ...]) -> FilePart:
    if len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], (bytes, bytearray, memoryview)):
        return _made(item[0], bytes(cast("bytes", item[1])))
    kinds = ", ".join(type(x).__name__ for x in item)
    raise InputError(f"An attachment as a tuple is (name, bytes), not ({kinds}).")


def _read(given: str | os.PathLike[str], limit: int) -> FilePart:
    if isinstance(given, str) and "://" in given:
        raise InputError(f"{shown(given)} is an address; download it first and attach the bytes.")
    path = Path(given).expanduser()
    try:
        if path.is_dir():
            raise InputError(f"{shown(str(given))} is a folder; attach its files, one by one.")
        if not path.exists():
            close = nearest(path.name, _names(path.parent))
            guess = f" Did you mean {close!r}?" if close else ""
            folder = str(path.absolute().parent)
            raise InputError(f"There is no file {shown(path.name)} in {folder!r}.{guess}")
        if not path.is_file():
            raise InputError(f"{shown(str(given))} is not a plain file.")
        if path.stat().st_size > limit:
            raise _too_large(path.name)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{shown(str(given))} cannot be read: {reason}.") from error
    return _made(path.name, data)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _made(name: str, data: bytes, mime: str = "") -> FilePart:
    base = os.path.basename(name.replace("\\", "/"))
    if data and not mime:
        mime = _kind(base, data)
    if not base:
        base = f"file{mimetypes.guess_extension(mime) or ''}"
    return {"type": "file", "name": base, "mime_type": mime, "data": FileData(data)}


def _kind(name: str, data: bytes) -> str:
    """Tell what a file is: by its first bytes, as text when it is text, else by its name."""
    for magic, mime in _MAGIC:
        if data.startswith(magic):
            return mime
    if data[:4] == b"RIFF" and data[8:12] in _RIFF:
        return _RIFF[data[8:12]]
    guessed = mimetypes.guess_type(name)[0] or ""
    textual = guessed.startswith("text/") or guessed in _TEXT_TYPES or guessed.endswith(("+xml", "+json"))
    if b"\0" not in data and _is_utf8(data):
        return guessed if textual else "text/plain"
    if textual:
        raise InputError(f"{shown(name)} is not UTF-8 text; attach (name, text.encode()) instead.")
    if not guessed:
        raise InputError(
            f"What kind of file {shown(name or 'these bytes')} is cannot be told; pass (name, bytes) with a"
            " name that says it, such as 'photo.png'."
        )
    return guessed


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _table(item: Any) -> FilePart | None:
    """Write a DataFrame, or a Series, of pandas or polars as CSV; a nameless default index is left out."""
    if callable(getattr(item, "to_csv", None)):
        plain = type(getattr(item, "index", None)).__name__ == "RangeIndex"
        return _made("table.csv", str(item.to_csv(index=not plain)).encode("utf-8", "replace"), "text/csv")
    if callable(getattr(item, "write_csv", None)) and hasattr(item, "columns"):
        return _made("table.csv", str(item.write_csv()).encode("utf-8", "replace"), "text/csv")
    return None


def _image(item: Any) -> FilePart | None:
    """Write a PIL image: a JPEG stays one, anything else becomes PNG."""
    if not (callable(getattr(item, "save", None)) and hasattr(item, "mode") and hasattr(item, "getbands")):
        return None
    buffer = io.BytesIO()
    photo = getattr(item, "format", None) == "JPEG"
    fits = ("L", "RGB", "CMYK") if photo else ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
    image = item if item.mode in fits else item.convert("RGB")
    image.save(buffer, format="JPEG" if photo else "PNG")
    stem = Path(str(getattr(item, "filename", "") or "image")).stem
    return _made(f"{stem}.jpg" if photo else f"{stem}.png", buffer.getvalue())


def _figure(item: Any) -> FilePart | None:
    """Draw a matplotlib figure, or the figure of given axes, as PNG."""
    figure = item if callable(getattr(item, "savefig", None)) else getattr(item, "figure", None)
    if not callable(getattr(figure, "savefig", None)):
        return None
    buffer = io.BytesIO()
    cast("Any", figure).savefig(buffer, format="png", bbox_inches="tight")
    return _made("figure.png", buffer.getvalue())


def _unique(name: str, taken: set[str]) -> str:
    stem, dot = os.path.splitext(name)
    found, count = name, 1
    while found.lower() in taken:
        count += 1
        found = f"{stem} ({count}){dot}"
    taken.add(found.lower())
    return found


def _too_large(name: str) -> InputError:
    limit = MAX_BYTES // 1_000_000
    return InputError(
        f"The attachments are too large: with {shown(name)} they have more than {limit} MB; send less of it."
    )
