"""A folded run as HTML that reads well after Jupyter's sanitizer: no script, id or SVG.

The inline styles are ours alone, and a page that drops them loses looks only.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from typing import Any

from . import _words
from ._fold import Block, Citation, File, Folded, Reasoning, Text, ToolCall
from ._markup import link, to_html

IMAGE_CAP = 1_000_000
"""Bytes of one image that static output embeds."""

RASTER = {"image/png", "image/jpeg", "image/gif", "image/webp"}
ROWS = 50

_SHADE = "background:var(--jp-layout-color2,rgba(127,127,127,.12));border-radius:4px"
_FAINT = "color:var(--jp-ui-font-color2,inherit)"
_STYLES = {
    "td": "text-align:left",
    "th": "text-align:left",
    "pre": f"padding:.6em .8em;overflow:auto;{_SHADE}",
    "details": "margin:.3em 0",
    "summary": f"cursor:pointer;{_FAINT}",
    "small": _FAINT,
    "img": "max-width:100%;max-height:28em",
}
_STYLED = re.compile(rf"<({'|'.join(_STYLES)})(?=[ >])")


def render(view: Folded) -> str:
    """Return a run as HTML. Everything a model, a tool or a file said is escaped or sanitised."""
    parts = ['<div class="mesh-run">']
    for section in view.sections:
        title = _words.heading(view, section)
        inner = "\n".join(_block(block, view) for block in section.blocks)
        if section.discarded:
            inner = (
                f"<details><summary>{html.escape(title or 'Replaced by a retry')}</summary>{inner}</details>"
            )
        elif title:
            inner = f"<p><strong>{html.escape(title)}</strong></p>\n{inner}"
        parts.append(inner)
    output = _words.leftover_output(view)
    if output:
        parts.append(to_html(output) if view.output and _is_prose(view.output) else _pre(output))
    if view.sources:
        parts.append(_sources(view.sources))
    ending = _words.ending(view)
    if ending:
        word = "" if view.status in ("cancelled", "interrupted") else "<strong>Error.</strong> "
        parts.append(f"<p>{word}{_lines(ending)}</p>")
    usage = _words.usage_line(view)
    if usage:
        parts.append(f"<p><small>{html.escape(usage)}</small></p>")
    return _STYLED.sub(_styled, "\n".join([*parts, "</div>"]))


def _styled(tag: re.Match[str]) -> str:
    return f'<{tag[1]} style="{_STYLES[tag[1]]}"'


def _is_prose(output: Any) -> bool:
    return isinstance(output, str) or (isinstance(output, dict) and isinstance(output.get("content"), str))


def _block(block: Block, view: Folded) -> str:
    if isinstance(block, Text):
        return to_html(block.text, view.sources)
    if isinstance(block, Reasoning):
        title = html.escape(_words.reasoning_title(block.kind, block.text))
        return f"<details><summary>{title}</summary>\n{to_html(block.text)}</details>"
    if isinstance(block, ToolCall):
        return _tool(block)
    if isinstance(block, File):
        return _file(block)
    word = "<strong>Error.</strong> " if block.failure else ""
    return f"<p>{word}{_lines(block.text)}</p>"


def _tool(call: ToolCall) -> str:
    state = _words.tool_state(call)
    title = f"<code>{html.escape(_words.signature(call))}</code>{f': {html.escape(state)}' if state else ''}"
    body: list[str] = []
    if call.arguments is not None or call.raw:
        shown = _words.json_text(call.arguments) if call.arguments is not None else _words.cut(call.raw)
        body.append(f"<p>Arguments</p>{_pre(shown)}")
    if call.error:
        body.append(f"<p><strong>Error.</strong> {_lines(call.error)}</p>")
    elif call.output is not None:
        body.append(f"<p>Result</p>{_table(call.output) or _pre(_words.value_text(call.output))}")
    return f"<details><summary>{title}</summary>\n{''.join(body)}</details>"


def _table(value: Any) -> str:
    """Return records of equal keys and plain values as a table, else an empty string."""
    if not isinstance(value, list) or not 1 <= len(value) <= ROWS:
        return ""
    rows: list[Any] = value
    if not all(isinstance(r, dict) and r and r.keys() == rows[0].keys() for r in rows):
        return ""
    cells = [v for r in rows for v in r.values()]
    if any(isinstance(v, (dict, list)) or len(str(v)) > 200 for v in cells):
        return ""
    head = "".join(f"<th>{html.escape(str(k))}</th>" for k in rows[0])
    body = "".join(f"<tr>{''.join(_cell(v) for v in r.values())}</tr>" for r in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"


def _file(file: File) -> str:
    line = html.escape(_words.file_line(file))
    data = _image_data(file)
    if data is None:
        return f"<p>File: {line}</p>"
    mime = file.mime_type.lower()
    return f'<p><img src="data:{mime};base64,{data}" alt="{html.escape(file.name)}"><br>{line}</p>'


def _image_data(file: File) -> str | None:
    if file.mime_type.lower() not in RASTER or not file.content or len(file.content) > IMAGE_CAP * 4 // 3:
        return None
    try:
        return base64.b64encode(base64.b64decode(file.content, validate=True)).decode("ascii")
    except (binascii.Error, ValueError):
        return None


def _sources(sources: list[Citation]) -> str:
    cited = "".join(_source(s) for s in sources if s.number)
    read = "".join(_source(s) for s in sources if not s.number)
    parts = [f"<p>Sources</p>\n<ol>{cited}</ol>"] if cited else []
    return "\n".join([*parts, f"<p>Also read</p>\n<ul>{read}</ul>"] if read else parts)


def _source(source: Citation) -> str:
    quote = f": “{html.escape(_words.shorten(source.cited_text, 300))}”" if source.cited_text else ""
    return f"<li>{link(source.url, _words.shorten(source.title, 200))}{quote}</li>"


def _pre(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def _lines(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
