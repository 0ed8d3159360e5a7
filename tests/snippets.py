"""The documents' snippets: their text as it stands there, and what runs it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent / "reference"


def load(document: str) -> dict[str, str]:
    """The snippets of a document by name, verbatim; indentation is restored where the document lost it."""
    parts = re.split(r"^=== (.*)\n", (_HERE / f"{document}.snippets").read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


GUIDE = load("streaming-guide")
EVENTS = load("events")


def ours(text: str) -> str:
    """The snippet with `mesh` replaced by `mesh_nb`."""
    return re.sub(r"^from mesh\b", "from mesh_nb", text, flags=re.MULTILINE)


def aliased(text: str) -> str:
    """The snippet written with `import mesh_nb as mesh`."""

    def spell(match: re.Match[str]) -> str:
        names = match[2]
        return (
            f"import mesh_nb as mesh\n{names} = {', '.join(f'mesh{match[1]}.{n}' for n in names.split(', '))}"
        )

    return re.sub(r"^from mesh((?:\.\w+)*) import (.*)$", spell, text, flags=re.MULTILINE)


SPELLINGS = {"mesh_nb": ours, "import mesh_nb as mesh": aliased}


async def run(text: str, **names: Any) -> dict[str, Any]:
    """Run a snippet as a notebook cell would, with the names it leaves undefined; return its names."""
    code = compile(ours(text), "<snippet>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    space = dict(names)
    result = eval(code, space)
    if inspect.iscoroutine(result):
        await result
    return space
