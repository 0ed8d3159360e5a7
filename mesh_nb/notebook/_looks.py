"""The inline styles of static output: those of the live view (widgets/src/core/theme.css), whose place it
takes. Pure."""

from __future__ import annotations

import re

_INK = "var(--jp-content-font-color1,inherit)"
_SOFT = "var(--jp-content-font-color2,inherit)"
_TINT = "rgba(127,127,127,.1)"
_HAIR = "rgba(127,127,127,.3)"
_BAD = "var(--jp-error-color1,#c62828)"
_WARN = "var(--jp-warn-color1,#b26a00)"
_MONO = "font-family:var(--jp-code-font-family,monospace)"

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
    "column": "text-align:left;vertical-align:top;background:none",
    "inset": f"margin:4px 0 4px 7px;padding-left:14px;border-left:1.5px solid {_HAIR}",
    "bad": f"margin:12px 0;padding:2px 0 2px 13px;border-left:2.5px solid {_BAD}",
    "soft": f"margin:12px 0;padding:2px 0 2px 13px;border-left:2.5px solid {_WARN}",
    "bad title": f"margin:0;color:{_BAD}",
    "soft title": f"margin:0;color:{_WARN}",
    "code": f"margin:0 0 1em;background:{_TINT};border-radius:6px",
    "language": f"padding:3px 12px 0;font-size:.8em;line-height:23px;color:{_SOFT}",
    "source": "margin:0;padding:3px 12px 10px;overflow:auto;max-height:40em;background:none;line-height:1.5",
}

_HEADING = "font-weight:600;line-height:1.3;margin:0 0 .75em;font-size:"
_TAGS = {
    "td": "text-align:left",
    "th": "text-align:left",
    "pre": (
        f"margin:0 0 .5em;padding:7px 10px;overflow:auto;max-height:20em;background:{_TINT};"
        "border-radius:5px;white-space:pre-wrap;font-size:.84em;line-height:1.5"
    ),
    "code": f"{_MONO};font-size:.9em;background:{_TINT};border-radius:3px;padding:.1em .32em",
    "details": "margin:2px 0 6px",
    "summary": f"cursor:pointer;font-size:.875em;line-height:1.7;color:{_SOFT}",
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
_SUMMARY = re.compile(r"(<summary[^>]*>)<strong>")
_BLOCK = re.compile(r'<pre><code(?: class="language-([^"\s]*)[^"]*")?>(.*?)</code></pre>', re.DOTALL)
_KEPT = f"{_MONO};font-size:.875em;background:none;padding:0"


def of(place: str) -> str:
    """Return the style attribute of a place in the output, with a space before it."""
    return f' style="{_PLACES[place]}"'


def dressed(markup: str) -> str:
    """Return our own HTML with the looks of its tags; code blocks say their language."""
    pieces: list[str] = []
    at = 0
    for block in _BLOCK.finditer(markup):
        pieces += [_plain(markup[at : block.start()]), _code(block[1] or "text", block[2])]
        at = block.end()
    return "".join([*pieces, _plain(markup[at:])])


def _plain(markup: str) -> str:
    markup = _PLAIN.sub(lambda tag: f'<{tag[1]} style="{_TAGS[tag[1]]}"', markup)
    markup = _CELL.sub(r'<\1 align="\2" style="text-align:\2"', markup)
    return _SUMMARY.sub(rf'\1<strong style="font-weight:500;color:{_INK}">', markup)


def _code(language: str, source: str) -> str:
    shown = f'<pre{of("source")}><code style="{_KEPT}">{source}</code></pre>'
    return f"<div{of('code')}><div{of('language')}>{language}</div>{shown}</div>"
