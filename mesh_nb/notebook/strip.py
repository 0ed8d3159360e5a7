"""`%mesh strip`: a saved notebook without what is in the log already and changes from run to run."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from ..core.errors import InputError
from .freeze import MIME

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_KEPT = ("status", "models", "usage", "cost_usd")


@dataclasses.dataclass(slots=True)
class Stripped:
    """What `strip` did: how many outputs changed, and the file's size in bytes before and after."""

    outputs: int
    before: int
    after: int


def strip(path: Path) -> Stripped:
    """Take out of a notebook's outputs of runs everything but the answer as people read it and its cost.

    The events, run ids, times, dead views and the saved state of widgets go; the text, HTML and Markdown of
    every output, the model, the tokens and the cost stay. The file is replaced in one step, and only when
    something changes.

    Raises InputError for what is no notebook, OSError for a file that cannot be read or written.
    """
    raw = path.read_bytes()
    try:
        notebook: Any = json.loads(raw)
    except ValueError as error:
        raise InputError(f"{path} is not a notebook: {error}.") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise InputError(f"{path} is not a notebook of format 4: it has no list of cells.")
    changed = 0
    for cell in notebook["cells"]:
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in cast("list[Any]", outputs or []):
            changed += isinstance(output, dict) and _strip_output(cast("dict[str, Any]", output))
    if _strip_state(notebook) or changed:
        raw_after = (json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
        _replace(path, raw_after)
        return Stripped(changed, len(raw), len(raw_after))
    return Stripped(0, len(raw), len(raw))


def _strip_output(output: dict[str, Any]) -> bool:
    data, metadata = output.get("data"), output.get("metadata")
    if not isinstance(data, dict):
        return False
    changed = data.pop(MIME, None) is not None
    if WIDGET_VIEW in data and "".join(data.get("text/plain", "")).startswith("mesh_nb "):
        del data[WIDGET_VIEW]
        changed = True
    known: Any = metadata.get("mesh_nb") if isinstance(metadata, dict) else None
    if isinstance(known, dict) and any(key not in _KEPT for key in known):
        output["metadata"]["mesh_nb"] = {key: known[key] for key in _KEPT if key in known}
        changed = True
    return changed


def _strip_state(notebook: dict[str, Any]) -> bool:
    """Drop the saved state of our widgets, and what holds it when nothing else is left in it."""
    holder: Any = notebook.get("metadata", {}).get("widgets")
    kept: Any = holder.get(WIDGET_STATE) if isinstance(holder, dict) else None
    state: Any = kept.get("state") if isinstance(kept, dict) else None
    if not isinstance(state, dict):
        return False
    ours = [key for key, model in state.items() if _is_ours(model)]
    for key in ours:
        del state[key]
    if ours and not state:
        del notebook["metadata"]["widgets"]
    return bool(ours)


def _is_ours(model: Any) -> bool:
    traits: Any = model.get("state") if isinstance(model, dict) else None
    return isinstance(traits, dict) and str(traits.get("_anywidget_id", "")).startswith("mesh_nb.")


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
