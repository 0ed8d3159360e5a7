"""What a graph looks like: as a picture, as Mermaid text, in a cell and in a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._named import named_options
from .errors import InputError, MeshError, nearest, shown

if TYPE_CHECKING:
    from .compiled import CompiledGraph


class Views:
    """The views of a graph; all are made here, offline, by the program itself."""

    graph_id: str

    def compile(self) -> CompiledGraph:
        """Return the graph checked and ready to run. Raises GraphValidationError with every problem found."""
        raise NotImplementedError

    @named_options
    def to_mermaid(self, title: str | None = None, direction: str = "TD") -> str:
        """Return the compiled graph as Mermaid text; ids and labels are escaped.

        Parameters: title, above the chart; direction, "TD" or "LR".
        Raises GraphValidationError, and UnknownNameError for another direction.
        """
        from ._mermaid import mermaid

        return mermaid(self.compile().outline, _title(title), direction)

    @named_options
    def to_svg(self, title: str | None = None, direction: str = "auto") -> str:
        """Return a picture of the compiled graph as SVG, which reads on light and dark pages.

        Parameters: title, for screen readers; direction, "TD", "LR", or "auto" for what fits a cell.
        Raises GraphValidationError, UnknownNameError for another direction, and InputError for a graph of
        more than 300 nodes.
        """
        from ._svg import svg

        return svg(self.compile().outline, direction, _title(title) or self.graph_id)

    @named_options
    def save_visualization(
        self,
        path: str | os.PathLike[str] | None = None,
        title: str | None = None,
        direction: str | None = None,
    ) -> Path:
        """Write the graph to a file and return its path; nothing is sent anywhere.

        Parameters: path, ending in .svg for a picture, .mmd for Mermaid text; None for
        "<graph id>.svg" in the working directory; title and direction as for `to_svg` and `to_mermaid`.
        Raises InputError for another ending, GraphValidationError, OSError.
        """
        name = re.sub(r"[^\w.-]+", "_", self.graph_id).strip("._") or "graph"
        if path is not None and (not isinstance(path, (str, os.PathLike)) or not os.fspath(path)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"path= is the path of a file, not {shown(path)}.")
        found = Path(f"{name}.svg" if path is None else path)
        makers: dict[str, Callable[[], str]] = {
            ".svg": lambda: self.to_svg(title, direction or "auto"),
            ".mmd": lambda: self.to_mermaid(title, direction or "TD") + "\n",
        }
        make = makers.get(found.suffix.lower())
        if make is None:
            close = nearest(found.suffix.lower(), makers) or ".svg"
            raise InputError(
                f"{found.name!r}: a graph is saved as .svg or .mmd (Mermaid). Try"
                f" {found.with_suffix(close).name!r}."
            )
        found.write_text(make(), "utf-8")
        return found

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        try:
            return {"text/plain": repr(self), "image/svg+xml": self.to_svg()}
        except MeshError as error:
            problems = getattr(error, "errors", None) or [str(error)]
            return {"text/plain": f"{self!r}\n" + "\n".join(f"- {problem}" for problem in problems)}


def _title(title: Any) -> str | None:
    if title is not None and not isinstance(title, str):
        raise InputError(f"title= is text, not {shown(title)}.")
    return title
