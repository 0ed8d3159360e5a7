"""The inline styles of static output: those of the live view (widgets/src/core/theme.css), whose place it
takes. Pure."""

from __future__ import annotations

import html
import re

from . import _code

_INK = "var(--jp-content-font-color1,inherit)"
_SOFT = "var(--jp-content-font-color2,inherit)"
_TINT = "rgba(127,127,127,.1)"
_HAIR = "rgba(127,127,127,.3)"
_BAD = "var(--jp-error-color1,#c62828)"
_WARN = "var(--jp-warn-color1,#b26a00)"
_MONO = "font-family:var(--jp-code-font-family,monospace)"
_INSET = f"margin:4px 0 4px 7px;padding-left:14px;border-left:1.5px solid {_HAIR}"

_PLACES = {
    "run": "max-width:54rem;padding:2px 4px 6px 2px;overflow-wrap:anywhere",
    "header": "margin:0 0 10px;line-height:26px",
    "node": "margin:14px 0 4px",
    "bare": "margin:2px 0 6px;line-height:1.5",
    "graph": "overflow-x:auto;margin:2px 0 12px",
    "drawing": "max-width:none",
    "last": "margin:0",
    "error": f"margin:0;color:{_BAD}",
    "caption": "margin:4px 0 2px",
    "columns": "overflow-x:auto",
    "column": (
        "text-align:left;vertical-align:top;padding:4px 20px 4px 0;"
        "background:var(--jp-layout-color0,transparent);line-height:var(--jp-content-line-height,1.6);"
        "font-size:var(--jp-content-font-size1,inherit)"
    ),
    "said": (
        "margin:14px 0 8px;padding:7px 13px;box-sizing:border-box;max-width:54rem;border:0;border-radius:8px;"
        f"background:{_TINT};color:{_INK}"
    ),
    "sources": "margin:0 0 8px;font-size:.875em",
    "file": "margin:0 0 8px",
    "thoughts": f"{_INSET};font-size:.875em;color:{_SOFT}",
    "inset": _INSET,
    "bad": f"margin:12px 0;padding:2px 0 2px 13px;border-left:2.5px solid {_BAD}",
    "soft": f"margin:12px 0;padding:2px 0 2px 13px;border-left:2.5px solid {_WARN}",
    "bad title": f"margin:0;color:{_BAD}",
    "soft title": "margin:0",
    "code": f"margin:0 0 1em;background:{_TINT};border-radius:6px",
    "language": f"padding:3px 12px 0;font-size:.8em;line-height:23px;color:{_SOFT}",
    "source": "margin:0;padding:3px 12px 10px;overflow:auto;max-height:46em;background:none;font-size:.875em;"
    "line-height:1.5;white-space:pre",
}

_HEADING = "font-weight:600;line-height:1.3;margin:0 0 .75em;font-size:"
_TAGS = {
    "td": "text-align:left",
    "th": "text-align:left;white-space:nowrap",
    "table": "margin:0 0 1em;overflow-wrap:break-word",
    "hr": f"margin:1em 0;border:0;border-top:1px solid {_HAIR};background:none",
    "pre": (
        f"margin:0 0 .5em;padding:7px 10px;overflow:auto;max-height:20em;background:{_TINT};"
        "border-radius:5px;white-space:pre-wrap;font-size:.84em;line-height:1.5"
    ),
    "code": f"{_MONO};font-size:.9em;background:{_TINT};border-radius:3px;padding:.1em .32em",
    "summary": f"cursor:pointer;font-size:.875em;line-height:1.83;color:{_SOFT}",
    "small": f"font-size:.875em;color:{_SOFT}",
    "img": "max-width:100%;max-height:26em;border-radius:5px",
    "blockquote": f"margin:0 0 1em;padding-left:.9em;border-left:2.5px solid {_HAIR};color:{_SOFT}",
    "h1": f"{_HEADING}1.4em",
    "h2": f"{_HEADING}1.22em",
    "h3": f"{_HEADING}1.08em",
    "h4": f"{_HEADING}1em",
}
_PLAIN = re.compile(rf"<({'|'.join(_TAGS)})(?=[ >])(?! align=)(?! src=.data:image/svg)")
_CELL = re.compile(r'<(t[dh]) align="(left|right|center)"')
_FOLD = re.compile(r"<details(?=[ >])|</details>")
_PROSE = re.compile(r"\s*<(?:p|h\d|ul|ol|blockquote|table|div|pre)[ >]")
_TASK = re.compile(r"<li>(?=[\u2610\u2611] )")
_TABLE = re.compile(r"<table .*?</table>", re.DOTALL)
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_BLOCKS = re.compile(r"<(p|h\d|ul|ol|blockquote|table)(?=[ >])")
_SUMMARY = re.compile(r"(<summary[^>]*>)<strong>")
_BLOCK = re.compile(r'<pre><code(?: class="language-([^"\s]*)[^"]*")?>(.*?)</code></pre>', re.DOTALL)
_KEPT = f"{_MONO};font-size:inherit;background:none;padding:0;white-space:inherit"
_FOCUS = ' tabindex="0"'
"""Of what scrolls: keys can scroll it too."""


def of(place: str) -> str:
    """Return the attributes of a place in the output, with a space before them."""
    looks = _PLACES[place]
    return f'{_FOCUS * (":auto" in looks)} style="{looks}"'


def columns(number: int) -> str:
    """Return the style attribute of a table of that many answers, with a space before it."""
    return f' style="margin:0 0 1em;table-layout:fixed;width:100%;min-width:{16 * number}rem"'


def dressed(markup: str) -> str:
    """Return our own HTML with the looks of its tags; code blocks say their language."""
    pieces: list[str] = []
    at, room = 0, _code.LONG
    for block in _BLOCK.finditer(markup):
        language, source = block[1] or "text", block[2]
        # What has tags is more than code: the numbers of citations.
        shown = None if "<" in source or not source else _code.coloured(html.unescape(source), language, room)
        first = shown is not None and room == _code.LONG
        room -= 0 if shown is None else len(source)
        style = _code.style() if first else ""
        pieces += [_plain(markup[at : block.start()]), style, _block(language, source, shown)]
        at = block.end()
    return _folds("".join([*pieces, _plain(markup[at:])]))


def _plain(markup: str) -> str:
    markup = _PLAIN.sub(lambda tag: f'<{tag[1]}{_FOCUS * (tag[1] == "pre")} style="{_TAGS[tag[1]]}"', markup)
    markup = _CELL.sub(_cell, markup)
    markup = _TASK.sub('<li style="list-style:none;margin-left:-1.35em">', markup)
    markup = _TABLE.sub(_scroller, markup)
    if _RIGHT_TO_LEFT.search(markup):
        markup = _BLOCKS.sub(r'<\1 dir="auto"', markup)
    return _SUMMARY.sub(rf'\1<strong style="font-weight:500;color:{_INK}">', markup)


def _scroller(table: re.Match[str]) -> str:
    # One that Markdown wrote has its lines, and is part of the answer: only records scroll.
    tall = ";max-height:20em" if "><thead>" in table[0][:100] else ""
    return f'<div{_FOCUS} style="overflow:auto{tall}">{table[0]}</div>'


def _cell(tag: re.Match[str]) -> str:
    kept = ";white-space:nowrap" if tag[1] == "th" else ""
    return f'<{tag[1]} align="{tag[2]}" style="text-align:{tag[2]}{kept}"'


def _folds(markup: str) -> str:
    """Return HTML whose folds keep their distance: more from prose that follows than from one another."""
    pieces: list[str] = []
    opened: list[int] = []
    at = 0
    for tag in _FOLD.finditer(markup):
        pieces.append(markup[at : tag.end()])
        at = tag.end()
        if tag[0] != "</details>":
            opened.append(len(pieces))
            pieces.append("")
        elif opened:
            below = 14 if _PROSE.match(markup, at) else 8
            pieces[opened.pop()] = f' style="margin:0 0 {below}px"'
    return "".join([*pieces, markup[at:]])


def _block(language: str, source: str, coloured: str | None) -> str:
    shown = f'<pre{of("source")}><code style="{_KEPT}">{coloured or source}</code></pre>'
    name = ' class="mesh-code"' if coloured else ""
    return f"<div{name}{of('code')}><div{of('language')}>{language}</div>{shown}</div>"
