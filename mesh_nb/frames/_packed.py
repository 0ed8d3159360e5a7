"""Finished runs side by side in Parquet: what reports need is read without opening thousands of logs.

`.mesh/packed/*.parquet` holds every line of some logs, in two row groups a file: the lines that calls, costs
and runs are made from, then the others. The footer names the runs with the size of their log, all its parts
together: a log that has grown, or is gone, is not read from here. The logs themselves stay, and stay what is
true.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..core.errors import RunNotFoundError
from ..core.events import ENDINGS, dumps, loads
from ._calls import RETRY, TYPES

VERSION = 1
PACK_BYTES = 64 * 1024 * 1024
"""Bytes of logs that go into one file."""

FIRST = frozenset({*TYPES, *ENDINGS})
"""Types of the first row group; of custom_data it has what tells of a request that was sent again."""

_SCHEMA = pa.schema(
    {
        "run": pa.int32(),
        "line_number": pa.int32(),
        "type": pa.dictionary(pa.int32(), pa.string()),
        "line": pa.binary(),
    }
)
_TYPE = re.compile(rb'\{"seq":\d+,"type":"([a-z_]+)"')
_RETRY = RETRY.encode()
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, LookupError)
_PART = re.compile(r"\.r[0-9]+$")


class Pack:
    """One file of packed runs.

    Parameters: path. `sizes` maps a run id to the bytes of its log. Raises ValueError for a file that is not
    one of ours, or of a newer version; OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            footer = loads((pq.read_metadata(path).metadata or {})[b"mesh_nb"])
            version, runs = footer["version"], {str(run): int(size) for run, size in footer["runs"]}
        except OSError:
            raise
        except _DAMAGE as error:
            raise ValueError("it is no file of packed runs, or damaged") from error
        if version != VERSION:
            raise ValueError("it was made by another version")
        self.runs, self.sizes = list(runs), runs
        self._places = {run: number for number, run in enumerate(self.runs)}
        self._kept: tuple[frozenset[str], list[bytes], list[int]] | None = None

    def lines(self, run_id: str, types: Iterable[str]) -> list[bytes]:
        """Return the lines of a run that have one of the types, or none at all; all lines without types.

        Raises OSError when the file is damaged.
        """
        wanted = frozenset(types)
        if self._kept is None or self._kept[0] != wanted:
            try:
                self._kept = (wanted, *self._read(wanted))
            except _DAMAGE as error:
                raise OSError(f"it is damaged ({' '.join(str(error).split())[:100]})") from error
        _, lines, borders = self._kept
        place = self._places[run_id]
        found = lines[borders[place] : borders[place + 1]]
        if place + 1 == len(self.runs):
            self._kept = None  # runs are read in order: nobody comes for the others
        return found

    def _read(self, wanted: frozenset[str]) -> tuple[list[bytes], list[int]]:
        """Return the lines by run, and where those of each run begin."""
        compute = cast("Any", pc)  # its functions are made when it is imported
        file = pq.ParquetFile(self.path, page_checksum_verification=True)
        groups = [0] if wanted and wanted <= FIRST else list(range(file.num_row_groups))
        table = file.read_row_groups(groups)
        if wanted:
            kinds = compute.is_in(pc.cast(table["type"], pa.string()), pa.array(["", *sorted(wanted)]))
            filled = compute.greater(compute.binary_length(table["line"]), 0)
            table = table.filter(compute.and_(kinds, filled))
        if len(groups) > 1:
            table = table.sort_by([("run", "ascending"), ("line_number", "ascending")])
        runs = table["run"].to_numpy()
        borders: list[int] = np.searchsorted(runs, np.arange(len(self.runs) + 1)).tolist()
        return table["line"].to_pylist(), borders


def packs(folder: Path, problems: list[str]) -> dict[str, Pack]:
    """Return where packed runs are, by run id; those whose log has changed, or is gone, are left out.

    Parameters: folder, a `.mesh` folder; problems, where files that cannot be read are told.
    """
    names = sorted((folder / "packed").glob("*.parquet")) if (folder / "packed").is_dir() else []
    if not names:
        return {}
    sizes = _sizes(folder / "runs")
    found: dict[str, Pack] = {}
    for path in names:
        try:
            pack = Pack(path)
        except (ValueError, OSError) as error:
            problems.append(unused(path, error))
            continue
        for run, size in pack.sizes.items():
            if sizes.get(run) == size:
                found[run] = pack
    return found


def unused(path: Path, error: Exception) -> str:
    """Return the sentence for a packed file that is not read."""
    told = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return f"packed/{path.name} is not used: {told}."


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each log, all its parts together, by run id."""
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".jsonl"):
                run = entry.name[:-6]
                run = _PART.sub("", run) if ".r" in run else run
                try:
                    sizes[run] = sizes.get(run, 0) + entry.stat().st_size
                except OSError:  # somebody is deleting it, or nobody may look at it
                    continue
    return sizes


def whole_log(paths: Iterable[Path]) -> tuple[bytes, int]:
    """Return the parts of a log as one text, and how many bytes they have. Raises OSError."""
    parts = [path.read_bytes() for path in paths]
    return b"\n".join(parts), sum(map(len, parts))


def compact(backend: Any, watch: Callable[[Sequence[str]], Iterable[str]] = iter) -> tuple[int, int]:
    """Pack every finished run that is not packed yet, and check each file before it counts.

    Parameters: backend, a FileBackend; watch, wraps the list of runs to show progress.
    Returns how many runs were packed and how many bytes their logs have. Raises OSError.
    """
    folder: Path = backend.folder
    done = packs(folder, [])
    waiting = [run for run in reversed(list(backend.run_ids())) if run not in done]
    batch: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    count = total = 0
    for run in watch(waiting):
        try:
            events = backend.summary(run).events
            if not events or events[-1].type not in ENDINGS:
                continue
            batch[run], sizes[run] = whole_log(backend.parts(run))
        except (RunNotFoundError, FileNotFoundError):  # somebody has deleted it
            continue
        count, total = count + 1, total + sizes[run]
        if sum(sizes.values()) >= PACK_BYTES:
            _write(folder, batch, sizes)
            batch, sizes = {}, {}
    if batch:
        _write(folder, batch, sizes)
    return count, total


def drop(folder: Path, left: set[str]) -> None:
    """Remove all runs but those that are left from the packed files, so that what was deleted is nowhere.

    Raises OSError.
    """
    for path in sorted((folder / "packed").glob("*.parquet")):
        try:
            pack = Pack(path)
        except ValueError:
            continue
        if pack.sizes.keys() <= left:
            continue
        try:
            kept = {run: b"\n".join(pack.lines(run, ())) for run in pack.runs if run in left}
        except OSError:  # it is damaged: the logs that stay can be packed again
            kept = {}
        if kept:
            _write(folder, kept, {run: pack.sizes[run] for run in kept})
        path.unlink()


def _write(folder: Path, logs: dict[str, bytes], sizes: dict[str, int]) -> None:
    first: list[tuple[int, int, str, bytes]] = []
    rest: list[tuple[int, int, str, bytes]] = []
    for number, data in enumerate(logs.values()):
        for place, line in enumerate(data.split(b"\n")):
            kind = _type_of(line)
            row = (number, place, kind, line)
            early = kind in FIRST and (kind != "custom_data" or _RETRY in line)
            (first if early or not kind else rest).append(row)
    runs = [[run, sizes[run]] for run in logs]
    footer = {b"mesh_nb": dumps({"version": VERSION, "runs": runs})}
    target = folder / "packed"
    target.mkdir(exist_ok=True)
    part = target / f".{secrets.token_hex(6)}.part"
    try:
        schema = _SCHEMA.with_metadata(footer)
        with pq.ParquetWriter(part, schema, compression="zstd", write_page_checksum=True) as writer:
            for rows in (first, rest):
                writer.write_table(_table(rows), row_group_size=max(len(rows), 1))
        check = Pack(part)
        for run, data in logs.items():
            if b"\n".join(check.lines(run, ())) != data:
                raise OSError(f"run {run} does not read back as it was written; nothing was packed")
        os.replace(part, target / f"{next(iter(logs))}-{secrets.token_hex(4)}.parquet")
    finally:
        part.unlink(missing_ok=True)


def _table(rows: list[tuple[int, int, str, bytes]]) -> pa.Table:
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    arrays = [
        pa.array(columns[0], pa.int32()),
        pa.array(columns[1], pa.int32()),
        pa.array(columns[2], pa.string()).dictionary_encode(),
        pa.array(columns[3], pa.binary()),
    ]
    return pa.table(
        [array.cast(field.type) for array, field in zip(arrays, _SCHEMA, strict=True)], schema=_SCHEMA
    )


def _type_of(line: bytes) -> str:
    """Return the type of an event's line, "" for another line: those are read whatever the types."""
    found = _TYPE.match(line)
    if found is not None:
        return found[1].decode()
    try:
        kind = loads(line).get("type")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return kind if isinstance(kind, str) else ""
