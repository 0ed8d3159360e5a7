"""Reading a log that anything may have happened to: torn, half-written, edited, foreign."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ..core.events import SCHEMA_VERSION, ExecutionEvent, decode, loads
from ._blobs import Blobs

MAX_PROBLEMS = 20


def header_of(line: bytes) -> dict[str, Any] | None:
    """Return the header when this line is one."""
    record = _object(line)
    return record if record is not None and "schema" in record and "type" not in record else None


def read(
    parts: Sequence[Path], blobs: Blobs, *, live: bool
) -> tuple[dict[str, Any], list[ExecutionEvent], list[str]]:
    """Return header, events by seq, and what could not be read. Raises OSError.

    Parameters: parts, the files of the run, oldest first, of which the first one's header counts; live,
    whether the writer is at work, so that an unfinished last line is no damage.
    """
    problems: list[str] = []
    events: dict[int, ExecutionEvent] = {}
    seen: set[int] = set()
    headers = [_read_part(p, events, seen, problems, live=live and p == parts[-1]) for p in parts]
    missing = (max(seen) + 1 - len(seen)) if seen else 0
    if missing:
        problems.append(f"{missing} of {max(seen) + 1} events are missing from the log.")
    ordered = [events[seq] for seq in sorted(events)]
    for event in ordered:
        _restore(event, blobs, problems)
    if len(problems) > MAX_PROBLEMS:
        problems[MAX_PROBLEMS:] = [f"And {len(problems) - MAX_PROBLEMS} more of the kind."]
    return headers[0], ordered, problems


def _read_part(
    path: Path, events: dict[int, ExecutionEvent], seen: set[int], problems: list[str], *, live: bool
) -> dict[str, Any]:
    first, *lines = path.read_bytes().split(b"\n")
    header = header_of(first)
    if header is None:
        problems.append("The log has no header; its process and time are not known.")
        lines, header = [first, *lines], {}
    elif isinstance(header["schema"], int) and header["schema"] > SCHEMA_VERSION:
        problems.append(
            f"The log has schema {header['schema']}, newer than {SCHEMA_VERSION}, which is known here."
        )
    tail = lines.pop() if lines else b""
    for number, line in enumerate(lines, 2 if header else 1):
        _take(line, f"Line {number}", events, seen, problems)
    if tail and _object(tail) is not None:
        _take(tail, "The last line", events, seen, problems)
    elif tail and not live:
        problems.append(
            f"The last line is torn ({len(tail)} bytes of it are there); the event in it is lost."
        )
    return header


def matching(path: Path, needles: tuple[bytes, ...], size: int = 1 << 20) -> Iterator[bytes]:
    """Yield the lines that hold one of the needles, without looking into the others. Raises OSError.

    Parameters: size, bytes to read at a time.
    """
    with open(path, "rb") as file:
        rest = b""
        while chunk := file.read(size):
            block = rest + chunk
            end = block.rfind(b"\n") + 1
            yield from _hits(block, end, needles)
            rest = block[end:]
        yield from _hits(rest, len(rest), needles)


def _hits(block: bytes, end: int, needles: tuple[bytes, ...]) -> Iterator[bytes]:
    """Yield the lines of a block that hold a needle, all without needles."""
    if not needles:
        yield from filter(None, block[:end].split(b"\n"))
        return
    # One search for each needle is several times faster than one regular expression for all.
    found = {needle: block.find(needle, 0, end) for needle in needles}
    found = {needle: hit for needle, hit in found.items() if hit >= 0}
    at = 0
    while found:
        hit = min(found.values())
        first = block.rfind(b"\n", at, hit) + 1 or at
        at = block.find(b"\n", hit, end) + 1 or end
        yield block[first:at]
        for needle in [n for n, place in found.items() if place < at]:
            found[needle] = block.find(needle, at, end)
            if found[needle] < 0:
                del found[needle]


def ends(path: Path, size: int = 65536) -> tuple[list[bytes], list[bytes]]:
    """Return the lines at the beginning and at the end of a log. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(size)
        length = file.seek(0, 2)
        if length <= size:
            return head.split(b"\n"), []
        file.seek(max(length - size, size))
        return head.split(b"\n")[:-1], file.read().split(b"\n")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", record) if isinstance(record, dict) else None


def _take(
    line: bytes, where: str, events: dict[int, ExecutionEvent], seen: set[int], problems: list[str]
) -> None:
    record = _object(line)
    seq = record.get("seq") if record is not None else None
    if record is None or not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
        if line.strip():
            problems.append(f"{where} is not an event and was left out.")
        return
    if seq in seen:
        problems.append(f"{where} repeats seq {seq}; the first one counts.")
        return
    if "type" not in record:
        seen.add(seq)
        return
    if not isinstance(record.get("metadata", {}), dict) or not isinstance(
        record.get("timestamp"), (int, float)
    ):
        problems.append(f"{where} is not an event and was left out.")
        return
    try:
        events[seq] = decode(record)
        seen.add(seq)
    except ValueError:
        problems.append(f"{where} is not an event and was left out.")


def _restore(event: ExecutionEvent, blobs: Blobs, problems: list[str]) -> None:
    """Put a file's content back where readers of a live run find it."""
    ref = event.metadata.get("content_ref")
    if ref is None or "content" in event.metadata:
        return
    data = blobs.get(ref)
    if data is None:
        problems.append(
            f"The content of file {str(event.metadata.get('name'))[:80]!r} is missing from the log."
        )
    else:
        event.metadata["content"] = base64.b64encode(data).decode("ascii")
