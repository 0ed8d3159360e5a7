"""A folded run as HTML that reads well after Jupyter's sanitizer: no script, id or SVG.

It says what the live view said, in the same order and the same words, at the same places, so that nothing
moves when it takes the live view's place. The inline styles are ours alone, and a page that drops them loses
looks only.
"""

from __future__ import annotations

import base64
import binascii
import html
import itertools
import re
from typing import Any

from . import _looks, _picture, _reading, _words
from ._markup import escaped, link, to_html
from ._tables import preview
from ._view import (
    PROGRESS,
    RETRY,
    STEPS,
    Ask,
    Block,
    Citation,
    Data,
    File,
    Folded,
    Note,
    Reasoning,
    Section,
    Text,
    ToolCall,
)

IMAGE_CAP = 1_000_000
"""Bytes of one image that static output embeds."""

RASTER = {"image/png", "image/jpeg", "image/gif", "image/webp"}
ROWS, COLUMNS = 50, 12
_TYPES = ("mime_type", "mimeType", "media_type")
_NUMBER = re.compile(r"[-+]?[0-9][0-9,]*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)? ?%?\Z", re.IGNORECASE)
_ADDRESS = re.compile(r"data:([a-z]+/[a-z]+);base64,")
_MAGIC = {"iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}


def render(view: Folded) -> str:
    """Return a run as HTML. Everything a model, a tool or a file said is escaped or sanitised."""
    parts = [f'<div class="mesh-run"{_looks.of("run")}>', _header(view), _graph(view), *_sections(view)]
    output = _words.leftover_output(view)
    if output:
        parts.append(to_html(output) if _is_prose(view.output) else _value(_words.unwrapped(view.output)))
    if view.sources:
        parts.append(_sources(view.sources))
    title, text = _words.ending(view)
    if title and view.status in ("cancelled", "interrupted"):
        parts.append(f"<p><small>{escaped(f'{title} {_words.kept(view)}'.strip())}</small></p>")
    elif title:
        parts.append(_trouble(title, text, view, "soft" if view.status in ("budget", "timeout") else "bad"))
    how = re.sub("`(.*?)`", r"<code>\1</code>", html.escape(_words.how(view)))
    if how:
        parts.append(f'<p class="mesh-how"{_looks.of("last")}><small>{how}</small></p>')
    return _looks.dressed("\n".join(p for p in [*parts, "</div>"] if p))


def _header(view: Folded) -> str:
    state, usage = _words.state(view), _words.usage_line(view)
    after = f" · {escaped(usage)}" if usage else ""
    return f"<p{_looks.of('header')}><small><strong>{state}</strong>{after}</small></p>"


def _graph(view: Folded) -> str:
    drawn = _picture.image(view)
    if drawn is None:
        return ""
    source, said = drawn
    shown = f'<img src="{source}" alt="{html.escape(said)}"{_looks.of("drawing")}>'
    return f'<div class="mesh-graph"{_looks.of("graph")}>{shown}</div>'


def _sections(view: Folded) -> list[str]:
    hidden = _words.not_named(view)
    parts = [f"<p><small>{hidden}</small></p>"] if hidden else []
    folded: list[tuple[Section, str]] = []
    replaced: dict[tuple[str, int], str] = {}
    opened = _reading.opened(view)
    for section in _words.named(view):
        key = section.node_id, section.visit
        inner = _blocks(section, view)
        if section.discarded:
            # What another attempt replaced holds what was replaced in it.
            inner = (
                inner if section.answer else replaced.pop(key, "") + inner
            ) or "<p>Nothing had arrived.</p>"
            reason = f" {escaped(_words.shorten(section.reason, 200))}" if section.reason else ""
            what = "The answer began again" if section.answer else "Tried again"
            fold = f"<details><summary>{what}{reason}</summary>\n{_inset(inner)}</details>"
            replaced[key] = replaced.get(key, "") + fold
            continue
        title, inner = _words.heading(view, section), replaced.pop(key, "") + inner
        if title and not any(section is one for one in opened):
            folded.append((section, _folded(title, section, inner)))
            continue
        parts += _row(folded)
        folded = []
        if title:
            parts.append(f"<p{_looks.of('node')}><small><strong>{escaped(title)}</strong></small></p>")
        parts.append(inner)
    return [p for p in (*parts, *_row(folded), *replaced.values()) if p]


def _folded(title: str, section: Section, inner: str) -> str:
    """Return a node on the way to the answer as one line."""
    if not inner:
        return f"<p{_looks.of('bare')}><small><strong>{escaped(title)}</strong></small></p>"
    words = escaped(_reading.brief(section))
    line = f"<summary><strong>{escaped(title)}</strong>{f' {words}' if words else ''}</summary>"
    return f'<details class="mesh-node">{line}\n{_inset(inner)}</details>'


def _row(folded: list[tuple[Section, str]]) -> list[str]:
    lines = [line for _, line in folded]
    if len(lines) < _reading.MANY:
        return lines
    title, names = _reading.names_of([section for section, _ in folded])
    inner = _inset("\n".join(lines))
    line = f"<summary><strong>{title}</strong> {escaped(names)}</summary>"
    return [f'<details class="mesh-nodes">{line}\n{inner}</details>']


def _blocks(section: Section, view: Folded) -> str:
    parts: list[str] = []
    for is_call, group in itertools.groupby(section.blocks, lambda b: isinstance(b, ToolCall)):
        if is_call:
            parts.append(_calls([b for b in group if isinstance(b, ToolCall)]))
        else:
            parts += [_block(block, section, view) for block in group]
    return "\n".join(parts)


def _is_prose(output: Any) -> bool:
    return isinstance(output, str) or (isinstance(output, dict) and isinstance(output.get("content"), str))


def _block(block: Block, section: Section, view: Folded) -> str:
    if isinstance(block, Text):
        note = "<p><small>The model declined to answer.</small></p>\n" if block.refusal else ""
        return note + to_html(block.text, view.sources)
    if isinstance(block, Reasoning):
        title = escaped(_words.reasoning_title(block.kind, block.text))
        inner = f"<div{_looks.of('thoughts')}>{to_html(block.text)}</div>"
        return f"<details><summary>{title}</summary>\n{inner}</details>"
    if isinstance(block, File):
        return _file(block)
    if isinstance(block, Data):
        return _data(block)
    if isinstance(block, Ask):
        return _ask(block)
    if isinstance(block, Note) and block.failure:
        # A limit was reached: the run says so, and no node is to blame.
        limit = view.status in ("budget", "timeout")
        return "" if limit else _trouble(f"Node {section.node_id} failed", block.text, view, "bad")
    return f"<p>{_lines(block.text)}</p>" if isinstance(block, Note) else ""


def _calls(calls: list[ToolCall]) -> str:
    tools = "\n".join(map(_tool, calls))
    if len(calls) < 2:
        return tools
    title, names, failed = _words.calls_title(calls)
    return f"<details>{_summary(title, names, failed)}\n{_inset(tools)}</details>"


def _summary(title: str, rest: str, *tags: str) -> str:
    shown = f" <code>{html.escape(rest)}</code>" if rest else ""
    after = "".join(f" {escaped(tag)}" for tag in tags if tag)
    return f"<summary><strong>{escaped(title)}</strong>{shown}{after}</summary>"


def _tool(call: ToolCall) -> str:
    given = call.arguments if call.arguments is not None else call.raw or None
    rest = "" if given is None else _words.brief(given)
    by = "by the provider" if call.executed_by == "provider" else call.again
    body: list[str] = []
    if given is not None:
        shown = _words.cut(call.raw) if call.arguments is None else _words.as_text(call.arguments)
        body.append(_caption("Arguments") + _pre(shown))
    if call.output is not None:
        body.append(_caption("Result") + _value(_words.unwrapped(call.output)))
    if call.error:
        body.append(f"{_caption('Error')}<p{_looks.of('error')}>{_lines(call.error)}</p>")
    state = _words.tool_state(call)
    return f"<details>{_summary(call.name or 'tool', rest, by, state)}\n{_inset(''.join(body))}</details>"


def _ask(ask: Ask) -> str:
    line = escaped(_words.asked(ask))
    if not ask.decision:
        about = "" if ask.about is None else _value(ask.about)
        how = "<p><small>run.approve(), run.edit(value) or run.reject(reason) answers it.</small></p>"
        return f"<div{_looks.of('soft')}><p><strong>{line}</strong></p>{about}{how}</div>"
    shown = ask.output if ask.decision == "edited" and ask.kind != "input" else ask.about
    if shown is None:
        return f"<p><small>{line}</small></p>"
    return f"<details><summary>{line}</summary>\n{_inset(_value(shown))}</details>"


def _data(data: Data) -> str:
    if data.data_type == STEPS:
        steps = data.payloads[-ROWS:]
        items = "".join(f"<li>{_step(*_words.step(*one))}</li>" for one in steps)
        return f'<ol start="{len(data.payloads) - len(steps) + 1}">{items}</ol>'
    last = data.payloads[-1]
    if data.data_type in (PROGRESS, RETRY):
        return f"<p><small>{escaped(_words.data_line(data))}</small></p>"
    shown = last if len(data.payloads) == 1 else data.payloads[-ROWS:]
    title = _summary(data.data_type.removeprefix("data-"), _words.brief(last))
    return f"<details>{title}\n{_inset(_value(shown))}</details>"


def _step(name: str, words: str) -> str:
    said = f" <small>{escaped(words)}</small>" if words else ""
    return f"{escaped(name)}{said}"


def _caption(text: str) -> str:
    return f"<p{_looks.of('caption')}><small>{text}</small></p>"


def _inset(inner: str) -> str:
    return f"<div{_looks.of('inset')}>{inner}</div>"


def _value(value: Any) -> str:
    """Return a result as an image, a table or text."""
    image = _image_of(value)
    if image is not None:
        return f'<p><img src="{image}" alt="Result of the tool"></p>'
    return table(_words.records(value)) or _pre(_words.as_text(value))


def _image_of(value: Any) -> str | None:
    """Return the image in a result as a data address; it comes as base64, as one, or as type and data."""
    mime, content = "", value
    if isinstance(value, dict):
        known: dict[str, Any] = value
        mime = next((v for k in _TYPES if isinstance(v := known.get(k), str)), "")
        content = known.get("data") or known.get("content")
    elif isinstance(value, str) and (found := _ADDRESS.match(value[:40])):
        mime, content = found[1], value[found.end() :]
    elif isinstance(value, str) and len(value) > 64:
        mime = next((m for start, m in _MAGIC.items() if value.startswith(start)), "")
    if not isinstance(content, str) or mime.lower() not in RASTER:
        return None
    data = _image_data(File("", mime, content, None))
    return None if data is None else f"data:{mime.lower()};base64,{data}"


def table(rows: list[dict[str, Any]] | None, total: int | None = None) -> str:
    """Return records as a table with what it leaves out, an empty string for none.

    Parameters: rows; total, how many there are when these are only the first.
    """
    if not rows:
        return ""
    names = list(dict.fromkeys(k for r in rows[:ROWS] for k in r))
    sides = {k: _side([r.get(k) for r in rows[:ROWS]]) for k in names[:COLUMNS]}
    head = "".join(f"<th{side}>{escaped(str(k))}</th>" for k, side in sides.items())
    body = "".join(
        f"<tr>{''.join(f'<td{side}>{_cell(r.get(k))}</td>' for k, side in sides.items())}</tr>"
        for r in rows[:ROWS]
    )
    more = [
        _words.count(n, f"more {thing}")
        for n, thing in (((total or len(rows)) - ROWS, "row"), (len(names) - COLUMNS, "column"))
        if n > 0
    ]
    note = f"<p><small>{', '.join(more)}</small></p>" if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _side(values: list[Any]) -> str:
    """Return where a column's values stand: at the right when all of them read as numbers."""
    known = [v for v in values if v is not None and v != ""]
    numbers = known and all(
        isinstance(v, (int, float)) and not isinstance(v, bool)
        if not isinstance(v, str)
        else _NUMBER.match(v)
        for v in known
    )
    return ' align="right"' if numbers else ""


def _cell(value: Any) -> str:
    return escaped(value if isinstance(value, str) else "" if value is None else _words.json_text(value))


def _file(file: File) -> str:
    line = f"<small>{escaped(_words.file_line(file))}</small>"
    data = _image_data(file)
    if data is None:
        known = preview(file.name, file.mime_type, file.content) if file.content else None
        shown = table(known["rows"], known["total"]) if known else ""
        return f"{shown}<p{_looks.of('file')}>{line}</p>"
    mime = file.mime_type.lower()
    shown = f'<img src="data:{mime};base64,{data}" alt="{html.escape(file.name)}">'
    return f"<p{_looks.of('file')}>{shown}<br>{line}</p>"


def _image_data(file: File) -> str | None:
    if file.mime_type.lower() not in RASTER or not file.content or len(file.content) > IMAGE_CAP * 4 // 3:
        return None
    try:
        return base64.b64encode(base64.b64decode(file.content, validate=True)).decode("ascii")
    except (binascii.Error, ValueError):
        return None


def _sources(sources: list[Citation]) -> str:
    cited = "".join(_source(s) for s in sources if s.number)
    read = [_source(s) for s in sources if not s.number]
    parts = [
        f"<p{_looks.of('caption')}><small><strong>Sources</strong></small></p>\n<ol{_looks.of('sources')}>{cited}</ol>"
    ]
    if not cited:
        parts = []
    if read:
        title = f"<strong>Also read</strong> {_words.count(len(read), 'source')}"
        parts.append(
            f"<details><summary>{title}</summary>\n<ul{_looks.of('sources')}>{''.join(read)}</ul></details>"
        )
    return "\n".join(parts)


def _source(source: Citation) -> str:
    quote = f": “{escaped(_words.shorten(source.cited_text, 300))}”" if source.cited_text else ""
    return f"<li>{link(source.url, _words.shorten(source.title, 200))}{quote}</li>"


def _trouble(title: str, text: str, view: Folded, kind: str) -> str:
    kept = _words.kept(view)
    head = f"<p{_looks.of(f'{kind} title')}><strong>{escaped(title)}</strong></p>"
    said = f"<p{_looks.of('last')}>{_lines(text)}</p>" if text else ""
    had = f"<p{_looks.of('last')}><small>{kept}</small></p>" if kept else ""
    return f"<div{_looks.of(kind)}>{head}{said}{had}</div>"


def _pre(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def _lines(text: str) -> str:
    return escaped(text).replace("\n", "<br>")
