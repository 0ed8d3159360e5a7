"""Files that a run produced, and saving them: their names come from a model and are not to be trusted."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MAX_NAME_BYTES = 200
_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/svg+xml": ".svg",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
}
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_UNSAFE = re.compile(r'[<>:"|?*]')


@dataclasses.dataclass(slots=True)
class RunFile:
    """A file that a run produced.

    Parameters: name, as the model gave it; mime_type; data, its bytes; node_id, the node it came from.
    """

    name: str
    mime_type: str
    data: bytes = dataclasses.field(repr=False)
    node_id: str = ""

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the file into a directory, made if need be, under a safe name, and return its path.

        A name that is taken gets " (2)", " (3)", ...; nothing is overwritten. Raises OSError.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        stem, suffix = os.path.splitext(safe_name(self.name, self.mime_type))
        number = 1
        while True:
            path = folder / (f"{stem} ({number}){suffix}" if number > 1 else f"{stem}{suffix}")
            try:
                # "x" follows no link and never replaces what is there.
                with open(path, "xb") as file:
                    file.write(self.data)
            except FileExistsError:
                number += 1
                continue
            return path

    def __repr__(self) -> str:
        return f"<RunFile {self.name!r} {self.mime_type}, {self.size:,} bytes>"


def safe_name(name: str, mime_type: str = "") -> str:
    """Return a file name that stays in its directory, on every system, and shows as what it is."""
    base = re.split(r"[/\\]", name)[-1]
    # Control and format characters hide what a name is: one of them makes "gpj.exe" read as "exe.jpg".
    base = "".join(c for c in unicodedata.normalize("NFC", base) if unicodedata.category(c)[0] != "C")
    base = _UNSAFE.sub("_", base).strip().lstrip(".").rstrip(". ")
    if not base:
        base = "file" + _SUFFIXES.get(mime_type, "")
    if _RESERVED.match(base):
        base = "_" + base
    stem, suffix = os.path.splitext(base)
    if not suffix:
        suffix = _SUFFIXES.get(mime_type, "")
    suffix = suffix.encode()[:20].decode("utf-8", "ignore")
    room = MAX_NAME_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + suffix


def file_of(metadata: Mapping[str, Any], node_id: str) -> RunFile | None:
    """Return the file of a file event, None when its content is not there."""
    content = metadata.get("content")
    if isinstance(content, (bytes, bytearray)):
        data = bytes(content)
    elif isinstance(content, str):
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            data = content.encode("utf-8", "replace")
    else:
        return None
    name, mime = metadata.get("name"), metadata.get("mime_type")
    return RunFile(
        name if isinstance(name, str) else "", mime if isinstance(mime, str) else "", data, node_id
    )


def save_all(files: Iterable[RunFile], directory: str | os.PathLike[str]) -> list[Path]:
    """Save every file and return the paths, in order. Raises OSError."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    return [file.save(directory) for file in files]
