"""A folded run as Markdown and as text for a terminal. Pure."""

from __future__ import annotations

import re

from . import _picture, _words
from ._markup import to_markdown, to_plain
from ._view import STEPS, Ask, Block, Citation, Data, File, Folded, Note, Reasoning, Section, Text, ToolCall

_HTTP = re.compile(r"https?://[^\s()<>]+\Z", re.IGNORECASE)


def markdown(view: Folded) -> str:
    """Return a run as Markdown with no live HTML and no remote images; its graph, below it, as Mermaid."""
    graph = _picture.text(view)
    said = _compose(view, _MARKDOWN)
    return f"{said}\n\n```mermaid\n{graph}\n```" if graph else said


def plain(view: Folded) -> str:
    """Return a run as text that reads well in a terminal; control sequences are removed."""
    return _compose(view, _PLAIN)


class _Plain:
    def title(self, text: str) -> str:
        return f"── {to_plain(text)} ──"

    def text(self, text: str) -> str:
        return to_plain(text).strip()

    def code(self, text: str) -> str:
        return "\n".join(f"    {line}" for line in to_plain(text).splitlines())

    def folded(self, title: str, text: str) -> str:
        return f"{to_plain(title)}\n{self.code(text)}"

    def line(self, text: str) -> str:
        return to_plain(text)

    def sources(self, sources: list[Citation]) -> str:
        return "\n".join(["Sources", *map(self.source, sources)])

    def source(self, source: Citation) -> str:
        address = "" if source.url in ("", source.title) else f"  {source.url}"
        return to_plain(
            f"{f'[{source.number}]' if source.number else ' - '} {_words.shorten(source.title, 200)}{address}"
        )


class _Markdown(_Plain):
    def title(self, text: str) -> str:
        return f"**{_escape(text)}**"

    def text(self, text: str) -> str:
        return to_markdown(text).strip()

    def code(self, text: str) -> str:
        fence = "`" * max(3, 1 + max((len(m) for m in re.findall(r"`+", text)), default=0))
        return f"{fence}text\n{to_plain(text)}\n{fence}"

    def folded(self, title: str, text: str) -> str:
        quoted = "\n".join(f"> {line}".rstrip() for line in to_markdown(text).strip().splitlines())
        return f"> **{_escape(title)}**\n>\n{quoted}"

    def line(self, text: str) -> str:
        return _escape(text)

    def sources(self, sources: list[Citation]) -> str:
        return "\n".join(["Sources", "", *map(self.source, sources)])

    def source(self, source: Citation) -> str:
        title = _escape(_words.shorten(source.title, 200))
        number = f"{source.number}." if source.number else "-"
        known = _HTTP.match(source.url)
        return f"{number} [{title}]({source.url})" if known else f"{number} {title}"


_PLAIN, _MARKDOWN = _Plain(), _Markdown()


_ESCAPES = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]!|"})


def _escape(text: str) -> str:
    text = to_plain(text).replace("&", "&amp;").replace("<", "&lt;")
    return " ".join(text.split()).translate(_ESCAPES)


def after(view: Folded) -> list[str]:
    """Return what follows the sections of a run that has ended, as text for a terminal: an output that no
    section says, sources, how it ended. `_words.usage_line` comes last."""
    return _after(view, _PLAIN)


def _compose(view: Folded, style: _Plain) -> str:
    parts: list[str] = []
    for section in view.sections:
        if section.discarded or not section.blocks:
            continue
        title = _words.heading(view, section)
        if title:
            parts.append(style.title(title))
        limit = view.status in ("budget", "timeout")
        blocks = [b for b in section.blocks if not (limit and isinstance(b, Note) and b.failure)]
        parts += [_block(block, style, section) for block in blocks]
    parts += _after(view, style)
    usage = _words.usage_line(view)
    if usage:
        parts.append(style.line(usage))
    return "\n\n".join(p for p in parts if p)


def _after(view: Folded, style: _Plain) -> list[str]:
    parts: list[str] = []
    output = _words.leftover_output(view)
    if output:
        parts.append(style.code(output))
    if view.sources:
        parts.append(style.sources(view.sources))
    title, text = _words.ending(view)
    if title:
        parts.append(style.line(" ".join(p for p in (title, text) if p)))
    if view.status not in ("completed", "running"):
        parts += [_words.kept(view), _words.how(view)]
    return [p for p in parts if p]


def _block(block: Block, style: _Plain, section: Section) -> str:
    if isinstance(block, Text):
        return style.text(block.text)
    if isinstance(block, Reasoning):
        return style.folded(_words.reasoning_title(block.kind, block.text), block.text)
    if isinstance(block, ToolCall):
        state = _words.tool_state(block)
        line = style.line(f"Tool: {_words.signature(block)}{f' {state}' if state else ''}")
        if block.error:
            return f"{line}\n\n{style.line(block.error)}"
        return line if block.output is None else f"{line}\n\n{style.code(_words.value_text(block.output))}"
    if isinstance(block, File):
        return style.line(f"File: {_words.file_line(block)}")
    if isinstance(block, Ask):
        return style.line(_words.asked(block))
    if isinstance(block, Data) and block.data_type == STEPS:
        return "\n".join(style.line(line) for line in _words.data_line(block).split("\n"))
    if isinstance(block, Data):
        return style.line(_words.data_line(block))
    return style.line(_failure(block, section))


def _failure(note: Note, section: Section) -> str:
    return f"Node {section.node_id} failed. {note.text}" if note.failure else note.text
