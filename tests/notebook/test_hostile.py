"""Hostile strings in every place of a run: static output that nothing in can run, load or submit."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from event_lists import events
from hostile import ALL, CORPUS, LARGE, told

from mesh_nb.core.events import ExecutionEvent
from mesh_nb.notebook import _code
from mesh_nb.notebook.freeze import freeze

TAGS = {
    *(
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "details",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
    ),
    *("img", "li", "ol", "p", "pre", "s", "small", "span", "strong", "summary", "table", "tbody", "td", "th"),
    *("thead", "tr", "ul"),
}
STYLE = _code.style()
ATTRIBUTES = {"href", "rel", "title", "src", "alt", "start", "align", "class", "style", "tabindex"}
LINK = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]+\Z", re.IGNORECASE)
IMAGE = re.compile(r"data:image/(?:png|jpe?g|gif|webp|avif|bmp);base64,[A-Za-z0-9+/=]*\Z", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Live(HTMLParser):
    """What of a piece of HTML is neither text nor harmless."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        markup = markup.replace(STYLE, "", 1)
        self.found: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            given = value or ""
            harmless = name in ATTRIBUTES and (name != "style" or "url(" not in given)
            if name in ("href", "src"):
                harmless = bool((LINK if name == "href" else IMAGE).match(given))
            if not harmless:
                self.found.append(f"{tag} {name}={given[:80]}")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"<!--{data[:80]}")

    def handle_decl(self, decl: str) -> None:
        self.found.append(f"<!{decl[:80]}")


def run(*texts: str, node: str = "llm", error: str = "") -> list[ExecutionEvent]:
    """A run of one node that says these texts everywhere, and fails with an error if there is one."""
    inside = [(kind, node, fields) for n, text in enumerate(texts) for kind, fields in told(text, n)]
    failed: Any = ("node_error", node, {"error": error})
    ended: Any = ("execution_error", "START", {"error": error, "metadata": {"status": "failed"}})
    done: Any = ("execution_complete", "START", {"output": texts[0], "metadata": {"status": "completed"}})
    start: Any = ("execution_start", "START", {"metadata": {"graph_id": node}})
    other: Any = ("node_start", "other")
    return events(start, ("node_start", node), other, *inside, *([failed, ended] if error else [done]))


def test_the_corpus_is_large_and_says_each_thing_once():
    assert len(ALL) >= 300
    assert len(ALL) == len(set(ALL))
    assert all(len(texts) >= 20 for texts in CORPUS.values())


@pytest.mark.parametrize("family", CORPUS)
def test_what_a_run_says_is_text(family: str):
    for text in CORPUS[family]:
        data, _ = freeze(run(text, node=text, error=text))
        assert Live(data["text/html"]).found == [], text
        assert json.dumps(data, ensure_ascii=False).encode()
        assert not CONTROL.search(data["text/plain"]), text
        assert "![" not in re.sub(
            r"`[^`]*`|^[ >]*```.*?^[ >]*```", "", data["text/markdown"], flags=re.S | re.M
        ), text


def test_all_of_it_together_is_text():
    data, _ = freeze(run(*ALL))
    assert Live(data["text/html"]).found == []
    assert data["text/html"].count("</div>") == data["text/html"].count("<div")


@pytest.mark.parametrize("name", LARGE)
def test_size_alone_breaks_nothing(name: str):
    data, _ = freeze(run(LARGE[name]))
    assert Live(data["text/html"]).found == []
    assert data["text/plain"]
