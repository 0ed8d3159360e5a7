"""Links of a parsed Markdown text: bare addresses, those that no link may have, and citation marks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from markdown_it.token import Token

from ._view import CLOSE_MARK, OPEN_MARK

_MARKS = re.compile(f"{OPEN_MARK}\\d+{CLOSE_MARK}")
_SAFE = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]+\Z", re.IGNORECASE)
# As marked reads GitHub's rules (widgets/src/core/blocks.ts).
_BARE = re.compile(
    rf"(?<![\w@.+/:-])(?:(?:https?://|www\.)(?:[a-zA-Z0-9-]+\.?)+[^\s<{OPEN_MARK}]*"
    r"|[A-Za-z0-9._+-]+@[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]*[a-zA-Z0-9])+(?![-_\w]))",
    re.IGNORECASE,
)
_TAIL = re.compile(r"(?:[?!.,:;*_'\"~]+|&[a-zA-Z0-9]+;|\)+)\Z")


def safe(url: str) -> str | None:
    """Return an address if a link may have it (http, https, mailto), its spaces encoded; else None."""
    plain = _MARKS.sub("", url).strip().replace(" ", "%20")
    return plain if _SAFE.match(plain) else None


def linked(tokens: Iterable[Token]) -> list[Token]:
    """Return inline tokens with bare addresses as links, forbidden ones as code, and every citation mark
    where it can stand: behind the link or the code that it is in."""
    out: list[Token] = []
    held, inside, refused, end = "", 0, "", ""
    for token in tokens:
        if token.type == "link_open":
            inside += 1
            href = str(token.attrs.get("href") or "")
            end = "".join(_MARKS.findall(href))
            known = safe(href)
            refused = "" if known else _MARKS.sub("", href)
            if refused and token.markup == "autolink":
                out.append(_text("<"))
            if known:
                token.attrs["href"] = known
                out.append(token)
            continue
        if token.type == "link_close":
            inside -= 1
            if refused and token.markup == "autolink":
                out.append(_text(">"))
            else:
                out += [_text(" "), _code(refused)] if refused else [token]
            out += [_text(held + end)] * bool(held + end)
            held, refused = "", ""
            continue
        if token.type == "text" and not inside:
            out += _bare(token)
            continue
        if token.type in ("text", "code_inline", "image"):
            found = "".join(_MARKS.findall(token.content + str(token.attrs.get("src") or "")))
            token.content = _MARKS.sub("", token.content)
            if "src" in token.attrs:
                token.attrs["src"] = _MARKS.sub("", str(token.attrs["src"]))
            out.append(token)
            if found and inside:
                held += found
            elif found:
                out.append(_text(found))
            continue
        out.append(token)
    return out


def _bare(token: Token) -> list[Token]:
    out: list[Token] = []
    at = 0
    for found in _BARE.finditer(token.content):
        shown = _trimmed(found[0])
        scheme = "" if "://" in shown[:8] else "http://" if shown[:4].lower() == "www." else "mailto:"
        url = safe(scheme + shown)
        if url is None:
            continue
        out += [_text(token.content[at : found.start()]), _token("link_open", "a", 1, href=url)]
        out += [_text(shown), _token("link_close", "a", -1)]
        at = found.start() + len(shown)
    return [t for t in (*out, _text(token.content[at:])) if t.type != "text" or t.content]


def _trimmed(url: str) -> str:
    """Return an address without the punctuation, entity and brackets that end the sentence around it."""
    while tail := _TAIL.search(url):
        cut = tail[0]
        if cut[0] == ")":
            extra = url.count(")") - url.count("(")
            if extra <= 0:
                break
            cut = cut[-min(extra, len(cut)) :]
        url = url[: -len(cut)]
    return url


def _token(kind: str, tag: str, nesting: Any, **attrs: str) -> Token:
    return Token(kind, tag, nesting, attrs=dict(attrs))


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _code(content: str) -> Token:
    return Token("code_inline", "code", 0, content=content)


def blocks(tokens: Iterable[Token]) -> list[Token]:
    """Return block tokens; a mark inside a block of code stands in a paragraph behind it."""
    out: list[Token] = []
    for token in tokens:
        out.append(token)
        if token.type in ("fence", "code_block"):
            found = "".join(_MARKS.findall(f"{token.info}{token.content}"))
            token.info, token.content = _MARKS.sub("", token.info), _MARKS.sub("", token.content)
            if found:
                marks = Token("inline", "", 0, content=found, children=[_text(found)])
                out += [_token("paragraph_open", "p", 1), marks, _token("paragraph_close", "p", -1)]
        elif token.type == "inline" and token.children:
            token.children = linked(token.children)
    return out
