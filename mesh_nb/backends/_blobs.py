"""Contents too large for a log line, kept once under their sha256."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

_REF = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """A folder of contents named by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Keep the bytes and return their name. Raises OSError when they cannot be written."""
        ref = hashlib.sha256(data).hexdigest()
        path = self.folder / ref
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / f".{ref[:16]}-{secrets.token_hex(6)}.part"
            try:
                part.write_bytes(data)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        return ref

    def get(self, ref: object) -> bytes | None:
        """Return the bytes of that name, None when there are none or they are not what the name says."""
        if not isinstance(ref, str) or not _REF.fullmatch(ref):
            return None
        try:
            data = (self.folder / ref).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == ref else None
