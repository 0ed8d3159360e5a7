"""Files that a run produced, and saving them: their names come from a model and are not to be trusted."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import os
import re
import unicodedata
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from . import plugins
from .errors import InputError

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
class StoredAt:
    """Where a file without bytes lies: provider, file_id, and container_id where it is in one."""

    provider: str
    file_id: str
    container_id: str | None = None


@dataclasses.dataclass(slots=True)
class RunFile:
    """A file that a run produced.

    Parameters: name, as the model gave it; mime_type; data, its bytes; node_id, the node it came from;
    stored_at, where `fetch` gets the bytes of one that the provider kept, None otherwise.
    """

    name: str
    mime_type: str
    data: bytes = dataclasses.field(default=b"", repr=False)
    node_id: str = ""
    stored_at: StoredAt | None = None
    _graph: Any = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def missing(self) -> bool:
        """Whether its bytes are still with the provider: `fetch` gets them."""
        return self.stored_at is not None

    async def fetch(self, *, api_key: str | None = None, base_url: str | None = None) -> RunFile:
        """Get the bytes from the provider's Files API, once, and return the file; nothing is logged.

        Parameters: api_key and base_url, for a run of another process: one of this process is asked for as
        whoever ran it; None takes the provider's environment variables.
        Raises ProviderError when it is there no more, ConfigurationError without a key.
        """
        at = self.stored_at
        if at is None:
            return self
        found = await _fetcher(self._graph, self.node_id, at)(at, api_key=api_key, base_url=base_url)
        self.data, self.stored_at = found.data, None
        self.name, self.mime_type = found.name or self.name, found.mime_type or self.mime_type
        return self

    def of(self, graph: Any) -> RunFile:
        """Return the file, with the graph whose node made it: fetching asks as that node."""
        self._graph = graph
        return self

    def fetch_sync(self, *, api_key: str | None = None, base_url: str | None = None) -> RunFile:
        """Get the bytes as `fetch` does, where there is no `await`; parameters and errors as there."""
        from .runner import private_loop

        if asyncio._get_running_loop() is private_loop():
            raise InputError("fetch_sync() would wait for its own loop here: write `await file.fetch()`.")
        job = self.fetch(api_key=api_key, base_url=base_url)
        return asyncio.run_coroutine_threadsafe(job, private_loop()).result()

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the file into a directory, made if need be, under a safe name, and return its path.

        A name that is taken gets " (2)", " (3)", ...; nothing is overwritten. Raises OSError, and InputError
        for a file that was not fetched.
        """
        if self.stored_at is not None:
            raise InputError(f"{self._lies()}: fetch it first, with `await file.fetch()`.")
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

    def _lies(self) -> str:
        where = "" if self.stored_at is None else self.stored_at.provider
        return f"The bytes of {self.name!r} are with {where}"

    def __repr__(self) -> str:
        if self.stored_at is not None:
            return f"<RunFile {self.name!r}, not fetched from {self.stored_at.provider}>"
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
    """Return the file of a file event, None when its content is not there and no provider has it."""
    content, id = metadata.get("content"), metadata.get("file_id")
    name, mime = metadata.get("name"), metadata.get("mime_type")
    name, mime = name if isinstance(name, str) else "", mime if isinstance(mime, str) else ""
    if content is None and isinstance(id, str) and id:
        inside = metadata.get("container_id")
        provider = str(metadata.get("provider") or "")
        at = StoredAt(provider, id, inside if isinstance(inside, str) else None)
        return RunFile(name or id, mime, b"", node_id, at)
    if isinstance(content, (bytes, bytearray)):
        data = bytes(content)
    elif isinstance(content, str):
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            data = content.encode("utf-8", "replace")
    else:
        return None
    return RunFile(name, mime, data, node_id)


def save_all(files: Iterable[RunFile], directory: str | os.PathLike[str]) -> list[Path]:
    """Save every file and return the paths, in order; warns of what was not fetched. Raises OSError."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    every = list(files)
    for number, file in enumerate(every):
        if file.missing:
            how = f"`await run.files[{number}].fetch()` gets them."
            warnings.warn(f"{file._lies()}, so it is not saved; {how}", stacklevel=3)
    return [file.save(directory) for file in every if not file.missing]


def _fetcher(graph: Any, node_id: str, at: StoredAt) -> Callable[..., Awaitable[Any]]:
    """Return what gets a file: the node that made it, with its own key and address, else its provider."""
    node = getattr(graph, "nodes", {}).get(node_id)
    own = getattr(node, "fetch_file", None)
    if own is not None:
        return own
    for name in plugins.names("provider"):
        plugin = plugins.find("provider", name)
        if plugin.vendor == at.provider and hasattr(plugin, "fetch_file"):
            return plugin.fetch_file
    raise InputError(
        f"The file {at.file_id!r} lies with {at.provider or 'a provider that the log does not name'}, from"
        " which files cannot be fetched."
    )
