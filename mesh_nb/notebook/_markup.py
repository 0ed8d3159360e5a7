"""Hostile Markdown to safe HTML, safe Markdown and terminal text. Pure."""

from __future__ import annotations

import bisect
import functools
import html
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline

from ._links import blocks, safe
from ._view import CLOSE_MARK, OPEN_MARK, Citation

LARGE = 200_000
"""Characters above which text is shown as it is rather than parsed as Markdown."""

PIECE = 16_000
"""Characters of such a text that a browser lays out, or skips while they are out of sight, together."""

TAGS = {
    *("a", "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "span", "img"),
}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    "code": {"class"},
    "th": {"align"},
    "td": {"align"},
    "span": {"class"},
    "img": {"src", "alt"},
}
SCHEMES = {"http", "https", "mailto", "data"}
RASTER_DATA = re.compile(
    r"data:image/(?:png|jpe?g|gif|webp|avif|bmp);base64,[a-zA-Z0-9+/=]*\Z", re.IGNORECASE
)

_MARK = re.compile(f"{OPEN_MARK}(\\d+){CLOSE_MARK}")
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TASK = re.compile(r"\[([ xX])\]\s+")
_BOXES = {" ": "\u2610", "x": "\u2611"}
_DOLLAR = '<span class="mathjax_ignore tex2jax_ignore">$</span>'
# As widgets/src/core/math.ts.
_FORMULAS = (
    re.compile(r"\$\$(?:\\[\s\S]|[^$\\])+?\$\$"),
    re.compile(r"\$(?![\s$])(?:\\.|[^$\\\n`])*?(?:\\.|[^$\\\s`])\$(?![\w$])"),
    re.compile(r"\\\([^\n]+?\\\)"),
    re.compile(r"\\\[[\s\S]+?\\\]"),
)
_TICKS = re.compile(r"`+")


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Take every address for one: `_links` says which become links, and shows the others."""
        return True

    def normalizeLink(self, url: str) -> str:
        """Leave an address as it is: a citation mark in it would be encoded beyond recognition."""
        return url


@functools.cache
def _parser() -> MarkdownIt:
    parser = _Markdown("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.core.ruler.push("tasks and columns", _tasks_and_columns)
    parser.core.ruler.push("links", _links)
    parser.add_render_rule("image", _image_as_link)
    parser.add_render_rule("text", _text)
    parser.add_render_rule("formula", _as_it_is)
    return parser


def _formula(state: StateInline, silent: bool) -> bool:
    """Take a formula as it is: the page that shows the output typesets it."""
    if state.src[state.pos] not in "$\\":
        return False
    for rule in _FORMULAS:
        found = rule.match(state.src, state.pos)
        if found:
            if not silent:
                state.push("formula", "", 0).content = found[0]
            state.pos = found.end()
            return True
    return False


def _tasks_and_columns(state: StateCore) -> None:
    """Give tasks a box, and cells their alignment as an attribute, which survives where styles do not."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open"):
            side = str(token.attrs.pop("style", "")).removeprefix("text-align:")
            if side:
                token.attrs["align"] = side
    for item, opened, token in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if (item.type, opened.type, token.type) != ("list_item_open", "paragraph_open", "inline"):
            continue
        first = token.children[0] if token.children else None
        task = _TASK.match(first.content) if first is not None and first.type == "text" else None
        if first is not None and task:
            first.content = f"{_BOXES[task[1].lower()]} {first.content[task.end() :]}"


def _links(state: StateCore) -> None:
    state.tokens = blocks(state.tokens)


def _text(self: Any, tokens: Sequence[Any], idx: int, options: Any, env: Any) -> str:
    # A paragraph has several of these, and each may have one of two dollars.
    return html.escape(tokens[idx].content).replace("$", _DOLLAR)


def _as_it_is(self: Any, tokens: Sequence[Any], idx: int, options: Any, env: Any) -> str:
    return html.escape(tokens[idx].content)


def _image_as_link(self: Any, tokens: Sequence[Any], idx: int, options: Any, env: Any) -> str:
    # A remote image tells its host who reads the notebook.
    token = tokens[idx]
    url = str(token.attrs.get("src") or "")
    if RASTER_DATA.match(url):
        return f'<img src="{html.escape(url)}" alt="{html.escape(token.content)}">'
    if not (safe(url) or "").lower().startswith("http"):
        return html.escape(token.content or url[:200])
    return link(url, f"image: {token.content or url}")


def escaped(text: str) -> str:
    """Return a whole text for HTML.

    Jupyter takes what stands between two dollars for a formula, and would set prices as one: here they are
    none.
    """
    return html.escape(text).replace("$", _DOLLAR if text.count("$") > 1 else "$")


def link(url: str, label: str) -> str:
    """Return a link to an address that a link may have, else the label and a short address as text."""
    known_url = safe(url)
    if known_url:
        return f'<a href="{html.escape(known_url)}" rel="noopener noreferrer">{escaped(label)}</a>'
    known = label == url or not url or len(url) > 200
    return escaped(label if known else f"{label} ({url})")


def to_html(text: str, sources: Sequence[Citation] = ()) -> str:
    """Return Markdown as HTML of the allowed tags; raw HTML in it is shown as text."""
    if len(text) > LARGE:
        return f"<pre>{''.join(_pieces(html.escape(_numbers(text))))}</pre>"
    rendered = clean(_parser().render(text))
    return _MARK.sub(_reference({c.number: c for c in sources}), rendered)


def _pieces(text: str) -> Iterator[str]:
    """Yield whole lines of escaped text in pieces that cost nothing until they are scrolled to."""
    at = 0
    while at < len(text):
        end = text.find("\n", at + PIECE) + 1 or len(text)
        lines = max(text.count("\n", at, end), (end - at) // 120)
        size = f"content-visibility:auto;contain-intrinsic-size:auto {1.5 * lines:g}em"
        yield f'<span style="display:block;{size}">{text[at:end]}</span>'
        at = end


def clean(markup: str) -> str:
    """Return HTML reduced to the allowed tags, attributes and link schemes."""
    return nh3.clean(
        markup,
        tags=TAGS,
        clean_content_tags={"script", "style"},
        attributes=ATTRIBUTES,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer",
        generic_attribute_prefixes=set(),
        attribute_filter=_allowed,
    )


def _allowed(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "src":
        return value if RASTER_DATA.match(value) else None
    return value if attribute != "href" or safe(value) else None


def _reference(sources: dict[int, Citation]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        source = sources.get(int(match[1]))
        label = f"[{match[1]}]"
        url = source and safe(source.url)
        if not url:
            return label
        return f'<a href="{html.escape(url)}" rel="noopener noreferrer">{label}</a>'

    return replace


def _numbers(text: str) -> str:
    return _MARK.sub(r"[\1]", text)


def to_markdown(text: str) -> str:
    """Return Markdown whose raw HTML and images are inert for viewers that would load them.

    Fenced and indented code and code spans are kept as they are.
    """
    text = _numbers(text)
    if len(text) > LARGE:
        return "\n".join(f"    {line}" for line in text.splitlines())
    lines = text.splitlines(keepends=True)
    code: set[int] = set()
    for token in _parser().parse(text):
        if token.type in ("fence", "code_block") and token.map:
            code.update(range(*token.map))
    out: list[str] = []
    prose: list[str] = []
    for number, line in enumerate(lines):
        if number in code:
            out.append(_inert("".join(prose)))
            out.append(line)
            prose = []
        else:
            prose.append(line)
    return "".join([*out, _inert("".join(prose))])


def _inert(prose: str) -> str:
    runs = [(m.start(), m.end()) for m in _TICKS.finditer(prose)]
    closers: dict[int, list[int]] = {}
    for index, (start, end) in enumerate(runs):
        closers.setdefault(end - start, []).append(index)
    pieces: list[str] = []
    at = 0
    index = 0
    while index < len(runs):
        start, end = runs[index]
        same = closers[end - start]
        close = bisect.bisect_right(same, index)
        if close == len(same):
            index += 1
            continue
        index = same[close]
        pieces += [_escape_prose(prose[at:start]), prose[start : runs[index][1]]]
        at = runs[index][1]
        index += 1
    return "".join([*pieces, _escape_prose(prose[at:])])


def _escape_prose(text: str) -> str:
    return text.replace("<", "&lt;").replace("![", "[")


def to_plain(text: str) -> str:
    """Return text for a terminal: marks as [n], control sequences removed, tabs and newlines kept."""
    return _CONTROL.sub("", _numbers(text).replace("\r\n", "\n"))
