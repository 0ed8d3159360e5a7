"""Write src/core/events.ts from mesh_nb/core/events.py and metadata.py, so that the sides cannot drift apart.

Run `python widgets/generate_events.py`; tests/test_static.py fails when the file is stale.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal, NotRequired, Required, get_args, get_origin, get_type_hints

from mesh_nb.core import events, metadata

TARGET = Path(__file__).parent / "src" / "core" / "events.ts"

_SCALARS = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    Any: "unknown",
}


def typescript(hint: Any) -> str:
    """Return the TypeScript type of a Python annotation; raises TypeError for one it does not know."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(f'"{value}"' for value in args)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(typescript(arg) for arg in args)
    if origin is list:
        return f"{typescript(args[0])}[]"
    if origin is dict:
        return f"Record<string, {typescript(args[1])}>"
    if origin in (NotRequired, Required):
        return typescript(args[0])
    if typing.is_typeddict(hint):
        return hint.__name__
    raise TypeError(f"{TARGET.name} has no TypeScript type for {hint!r}; add it to {Path(__file__).name}")


def interface(shape: Any) -> str:
    """Return a TypedDict as a TypeScript interface with its docstring."""
    lines = [f"/** {' '.join((shape.__doc__ or '').split())} */", f"export interface {shape.__name__} {{"]
    for name, hint in get_type_hints(shape, include_extras=True).items():
        optional = "" if name in shape.__required_keys__ else "?"
        lines.append(f"  {name}{optional}: {typescript(hint)};")
    return "\n".join([*lines, "}"])


def generate() -> str:
    """Return the whole text of events.ts."""
    shapes = [
        value
        for value in vars(metadata).values()
        if typing.is_typeddict(value) and value.__module__ == metadata.__name__
    ]
    names = "\n".join(f'  | "{member.value}"' for member in events.EventType)
    deltas = ", ".join(f'"{name}"' for name in sorted(events.DELTAS))
    endings = ", ".join(f'"{name}"' for name in sorted(events.ENDINGS))
    header = (
        "// Generated from mesh_nb/core/events.py and metadata.py by generate_events.py; do not edit.\n\n"
        f"export const SCHEMA_VERSION = {events.SCHEMA_VERSION};\n\n"
        f"export type EventType =\n{names};\n\n"
        f"/** Events that may be joined with their neighbours. */\n"
        f"export const DELTAS: ReadonlySet<string> = new Set([{deltas}]);\n\n"
        f"export const ENDINGS: ReadonlySet<string> = new Set([{endings}]);\n\n"
        "/** One thing that happened in a run, as ExecutionEvent.to_dict() sends it. */\n"
        "export interface ExecutionEvent<M = Record<string, unknown>> {\n"
        "  seq: number;\n  type: EventType;\n  node_id: string;\n  content?: unknown;\n  output?: unknown;\n"
        "  error?: string;\n  metadata: M;\n  timestamp: number;\n  run_id: string;\n}\n"
    )
    return "\n\n".join([header.rstrip("\n"), *(interface(shape) for shape in shapes)]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(generate(), encoding="utf-8")
