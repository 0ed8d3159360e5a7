"""Where a project keeps its log: `.mesh/` in the project's root."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MARKERS = (".mesh", "pyproject.toml", ".git")

README = """\
What mesh_nb recorded in this project. Safe to delete; not in git (see .gitignore).

runs/<run id>.jsonl   one run: JSON lines in UTF-8, written by one process, only ever appended to.
  first line          header: schema, run_id, graph_id, session_id, host, pid, process_start, pids, created,
                      and begin (or begin_ref), what the run began with
  other lines         events, by seq: {"seq", "type", "node_id", "content", "output", "error", "metadata",
                      "timestamp" (seconds since 1970, UTC), "run_id"}; a field that is null is left out.
                      A line with nothing but seq stands for an event that was shown and not kept.
  <run id>.r1.jsonl   how a run went on when it was resumed, by whichever process: its seq goes on; then r2.
blobs/<sha256>        contents named by content_ref (files above 32 kB) and request_ref (model requests).
runs.sqlite           runs of SQLiteBackend(), all in one file.
cache/                answers of models, by what was asked (`graph.run(..., cache=True)`).
packed/*.parquet      copies of finished runs for fast reports, made by `mesh-nb log compact`; safe to delete.
Read it with mesh_nb.Run.load(run_id), mesh_nb.runs() and mesh_nb.calls_df(); `mesh-nb log` exports it.
"""


def project_root() -> Path:
    """Return MESH_HOME, else the nearest ancestor of the working directory with `.mesh`, `pyproject.toml` or
    `.git`, else the working directory. Raises OSError when the working directory is gone."""
    named = os.environ.get("MESH_HOME")
    if named:
        return Path(named).expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / marker).exists() for marker in MARKERS):
            return folder
    return here


def mesh_folder(home: str | os.PathLike[str] | None) -> Path:
    """Return the `.mesh` folder of a project root, of a `.mesh` folder itself, or of this project."""
    root = project_root() if home is None else Path(home).expanduser().absolute()
    return root if root.name == ".mesh" else root / ".mesh"


def prepare(folder: Path) -> None:
    """Make the folder and its two explaining files. Raises OSError."""
    runs = folder / "runs"
    if runs.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((".gitignore", "*\n"), ("README", README)):
        with contextlib.suppress(FileExistsError), open(folder / name, "x", encoding="utf-8") as file:
            file.write(text)
    runs.mkdir(exist_ok=True)
