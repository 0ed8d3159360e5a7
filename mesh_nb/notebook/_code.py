"""Code in static output, coloured as in the live view (widgets/src/core/highlight.ts, theme.css). Pure."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

LONG = 20_000
"""Characters of code, in one output, that are coloured: colours are not worth a page that waits for them."""
WIDE = 2_000

_MANY = re.compile(r"\s{100}")
"""Some lexers look at all of it for every blank in it."""
_LEXERS = {
    **dict.fromkeys(("python", "py", "ipython", "pycon", "python3"), "python"),
    **dict.fromkeys(("json", "jsonl", "json5"), "json"),
    **dict.fromkeys(("bash", "shell", "console", "sh", "zsh"), "bash"),
    **dict.fromkeys(("cpp", "c++", "cc", "hpp"), "cpp"),
    **dict.fromkeys(("javascript", "js", "jsx", "mjs"), "javascript"),
    **dict.fromkeys(("typescript", "ts", "tsx"), "typescript"),
    **dict.fromkeys(("xml", "html", "svg"), "html"),
    **dict.fromkeys(("yaml", "yml"), "yaml"),
    **dict.fromkeys(("diff", "patch"), "diff"),
    **dict.fromkeys(("go", "golang"), "go"),
    **dict.fromkeys(("julia", "jl"), "julia"),
    **dict.fromkeys(("latex", "tex"), "latex"),
    **dict.fromkeys(("markdown", "md"), "markdown"),
    **dict.fromkeys(("rust", "rs"), "rust"),
    **{name: name for name in ("c", "css", "ini", "toml", "java", "r", "sql")},
}
_LIMITS = {"python": LONG, "json": LONG, "java": 2_000}
_OTHERS = 5_000
"""Characters of a block of any other language: the time of their lexers grows faster than the code."""

_CLASSES = {
    "c": ("comment", "#6a7a80", "#8b9aa1"),
    "k": ("keyword", "#8250df", "#c297ff"),
    "s": ("string", "#0a7a3f", "#7fd6a0"),
    "n": ("number", "#0b6aa8", "#79c0ff"),
    "b": ("builtin", "#0a7a3f", "#7fd6a0"),
    "f": ("def", "#1a5fb4", "#8cb8ff"),
    "p": ("property", "#1a5fb4", "#8cb8ff"),
    "o": ("operator", "#8250df", "#c297ff"),
}
_KINDS = {
    "Comment.Preproc": "o",
    "Comment.PreprocFile": "s",
    "Comment.Hashbang": "o",
    "Comment": "c",
    "Keyword.Constant": "n",
    "Keyword.Type": "b",
    "Keyword": "k",
    "Operator.Word": "k",
    "Literal.String": "s",
    "Literal.Number": "n",
    "Name.Builtin.Pseudo": "",
    "Name.Builtin": "b",
    "Name.Class": "b",
    "Name.Function.Magic": "f",
    "Name.Function": "f",
    "Name.Decorator": "o",
    "Name.Attribute": "p",
    "Name.Property": "p",
    "Name.Tag": "p",
    "Generic.Inserted": "s",
    "Generic.Heading": "f",
    "Generic.Subheading": "o",
    "Generic.Deleted": "d",
}


def style() -> str:
    """Return the stylesheet of coloured code: JupyterLab's colours, else our own for light and for dark."""
    light = ";".join(f"--m{k}:{colour}" for k, (_, colour, _) in _CLASSES.items())
    dark = ";".join(f"--m{k}:{colour}" for k, (_, _, colour) in _CLASSES.items())
    rules = "".join(
        f".mesh-code .{k}{{color:var(--jp-mirror-editor-{name}-color,var(--m{k}))}}"
        for k, (name, _, _) in _CLASSES.items()
    )
    return (
        f"<style>.mesh-code{{{light}}}:is(.vscode-dark,.dark) .mesh-code{{{dark}}}{rules}"
        ".mesh-code .c{font-style:italic}.mesh-code .d{color:var(--jp-error-color1,#c62828)}</style>\n"
    )


def coloured(source: str, language: str, room: int = LONG) -> str | None:
    """Return code as escaped HTML with classes; None when it stays plain.

    Parameters: source; language, as its author names it; room, how many characters may be coloured. Code of
    unknown languages, long code and code with very long lines stay plain, whatever the machine.
    """
    name = _LEXERS.get(language.lower())
    if name is None or len(source) > min(room, _LIMITS.get(name, _OTHERS)):
        return None
    if _MANY.search(source) or any(len(line) > WIDE for line in source.split("\n")):
        return None
    pieces = list(_joined(_lexer(name).get_tokens_unprocessed(source)))
    if "".join(text for _, text in pieces) != source:
        return None
    return "".join(
        f'<span class="{kind}">{html.escape(text, quote=False)}</span>'
        if kind
        else html.escape(text, quote=False)
        for kind, text in pieces
    )


def _joined(tokens: Iterable[tuple[int, Any, str]]) -> Iterator[tuple[str, str]]:
    """Yield the pieces of code that have one class each; blanks between two of the same belong to them."""
    kind, text = "", ""
    for _, token, piece in tokens:
        found = kind if piece.isspace() and "\n" not in piece else _kind(token)
        if found == kind:
            text += piece
            continue
        if text:
            yield kind, text
        kind, text = found, piece
    if text:
        yield kind, text


@functools.cache
def _kind(token: Any) -> str:
    """Return the class of a token: that of the nearest of its kinds that has one."""
    parts = str(token).split(".")[1:]
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((_KINDS[name] for name in names if name in _KINDS), "")


@functools.cache
def _lexer(name: str) -> Any:
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(name, stripnl=False, ensurenl=False)
