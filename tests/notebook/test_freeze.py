from __future__ import annotations

import base64
import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import nh3
import pytest
from event_lists import answer, events, rich, token, whole

from mesh_nb.core.events import ExecutionEvent
from mesh_nb.notebook import _code
from mesh_nb.notebook.freeze import MIME, freeze

# What JupyterLab's sanitizer keeps of an untrusted notebook's HTML (jupyter-facts: no style, script, id, svg,
# style=, href="data:"; details, class and img src="data:" stay).
KEPT = {
    *("a", "abbr", "b", "blockquote", "br", "button", "code", "details", "div", "em", "h1", "h2", "h3", "h4"),
    *("hr", "i", "img", "li", "ol", "p", "pre", "s", "small", "span", "strong", "summary", "table", "tbody"),
    *("td", "th", "thead", "tr", "ul"),
}
ATTRIBUTES = {"*": {"class", "title"}, "a": {"href"}, "img": {"src", "alt"}, "ol": {"start"}}


def jupyter_sanitized(text: str) -> str:
    return nh3.clean(
        text, tags=KEPT, attributes=ATTRIBUTES, url_schemes={"http", "https", "mailto", "data"}, link_rel=None
    )


class Tags(HTMLParser):
    """The tags of a piece of HTML with their attributes, as a browser would see them."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def broken() -> list[ExecutionEvent]:
    """A failed run whose answer, reasoning, tool and source have every kind of Markdown."""
    said = "# a\n## b\n### c\n#### d\n\n> e\n\n|f|\n|-|\n|g|\n\n```py\nh\n```\n\n    i\n\n`j`"
    tool = {"tool_name": "t", "tool_call_id": "1", "arguments": {"k": "l"}}
    return whole(
        ("reasoning_token", "llm", {"content": said}),
        ("tool_call_complete", "llm", {"output": "m", "metadata": tool}),
        token(said),
        ("source", "llm", {"metadata": {"sources": [{"url": "n", "title": "n", "kind": "result"}]}}),
        ("node_error", "llm", {"error": "o"}),
    )


def frozen(run: list) -> dict[str, str]:
    return freeze(run)[0]


def words(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def test_a_run_is_frozen_to_four_forms():
    data, metadata = freeze(rich())
    assert set(data) == {"text/html", "text/markdown", "text/plain", MIME}
    assert data[MIME]["version"] == 1
    assert metadata["mesh_nb"]["run_id"] == "run-1"
    json.dumps([data, metadata])


def test_html_loses_nothing_in_jupyters_sanitizer():
    markup = frozen(rich())["text/html"]
    clean = jupyter_sanitized(markup)
    assert words(clean) == words(markup)
    for tag in ("details", "summary", "table", "ol", "img", "a", "strong"):
        assert clean.count(f"<{tag}") == markup.count(f"<{tag}"), tag
    assert 'src="data:image/png;base64,' in clean


def test_html_reads_as_the_run_went():
    text = words(frozen(rich())["text/html"])
    order = [
        "Done · demo/demo-1 · 1 tool call · 1,200 tokens in · 34 tokens out · $0.010",
        "Thought (5 words)",
        "weather city: Paris",
        "Mon",
        "Paris [1] is mild .",
        "chart.png",
        "Sources",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)


def test_plain_text_reads_in_a_terminal():
    assert frozen(rich())["text/plain"].split("\n\n") == [
        "Thought (5 words)\n    I should look it up.",
        'Tool: weather(city="Paris")',
        '    [{"day": "Mon", "high": 21}, {"day": "Tue", "high": 19}]',
        "Paris[1] is **mild**.",
        "File: chart.png (image/png, 33 bytes)",
        "Sources\n[1] Paris  https://example.org/paris",
        "demo/demo-1 · 1 tool call · 1,200 tokens in · 34 tokens out · $0.010",
    ]


def test_equal_runs_give_equal_data_whatever_their_ids_and_times():
    one = freeze(rich())
    other = freeze(rich("call_b", "run-2", offset=1000.5))
    assert one[0] == other[0]
    assert one[1] != other[1]


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([0.0], ""),
        ([0.004, 0.5], " · $0.504"),
        ([None], " · unpriced"),
        ([0.02, None], " · $0.020 + 1 unpriced call"),
    ],
)
def test_what_a_run_cost_stands_beside_its_tokens(costs: list[float | None], said: str):
    calls = [{"provider": "p", "model_id": "m", "usage": {"prompt_tokens": 1}, "cost_usd": c} for c in costs]
    run = whole(token("a"), *(("response_metadata", "llm", {"metadata": call}) for call in calls))
    for mime in ("text/html", "text/markdown", "text/plain"):
        assert f"{len(calls)} tokens in{said}" in words(frozen(run)[mime])


def test_tool_call_ids_inside_outputs_are_numbered_too():
    def run(call: str) -> list:
        meta = {"tool_name": "t", "tool_call_id": call}
        output = {"content": "x", "tool_calls": [{"id": call, "name": "t"}]}
        return events(
            ("tool_call_start", "llm", {"metadata": meta}),
            ("tool_call_complete", "llm", {"output": 1, "metadata": meta}),
            ("node_complete", "llm", {"output": output}),
        )

    assert frozen(run("call_1f")) == frozen(run("call_2e"))


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    '![x](https://evil.example/p.png "t" onerror=alert(1))',
    "<svg><script>alert(1)</script></svg>",
    "<style>body{display:none}</style>",
    "</div></details><iframe src=https://evil.example></iframe>",
    "<https://evil.example/\"onmouseover='alert(1)>",
    "[a][r]\n\n[r]: javascript:alert(1)",
    "```html\n<script>alert(1)</script>\n```",
    '<div id="site" style="position:fixed" class="x">',
    "\ue0001\ue001<b>",
]


OURS = {
    "",
    *re.findall(r'style="([^"]*)"', freeze(rich())[0]["text/html"] + freeze(broken())[0]["text/html"]),
}
"""The styles of output in which nobody was hostile."""


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_model_says_never_becomes_live_html(text: str):
    tool = {"tool_name": text, "tool_call_id": "1"}
    run = whole(
        ("reasoning_token", "llm", {"content": text}),
        ("tool_call_start", "llm", {"metadata": tool}),
        (
            "tool_call_complete",
            "llm",
            {"output": [{text: text}], "metadata": {**tool, "arguments": {text: text}}},
        ),
        token(text),
        ("source", "llm", {"metadata": {"sources": [{"url": text, "title": text, "cited_text": text}]}}),
        ("file", "llm", {"metadata": {"name": text, "mime_type": text, "content": text}}),
        ("node_error", "llm", {"error": text}),
    )
    data = frozen(run)
    markup = data["text/html"]
    tags = Tags(markup.replace(_code.style(), "", 1)).found
    assert {tag for tag, _ in tags} <= KEPT - {"img"}
    assert {name for _, attributes in tags for name in attributes} <= {
        "class",
        "href",
        "rel",
        "title",
        "start",
        "style",
        "tabindex",
    }
    for _, attributes in tags:
        assert attributes.get("style", "") in OURS
        assert re.match(r"https?://|mailto:", attributes.get("href") or "https://")
    assert "![" not in re.sub(r"`[^`]*`", "", data["text/markdown"].split("```")[0])


def test_markdown_keeps_code_and_disarms_the_rest():
    text = "a ![i](https://e.vil/x.png) <img src=y> `vec![1]` and\n\n```rust\nvec![1]; x < y\n```\n"
    markdown = frozen(whole(token(text)))["text/markdown"]
    assert (
        markdown == "a [i](https://e.vil/x.png) &lt;img src=y> `vec![1]` and\n\n```rust\nvec![1]; x < y\n```"
    )


def test_remote_images_become_links():
    markup = frozen(whole(token("![a cat](https://evil.example/c.png)")))["text/html"]
    assert '<a href="https://evil.example/c.png" rel="noopener noreferrer">image: a cat</a>' in markup


def test_plain_text_cannot_drive_a_terminal():
    plain = frozen(whole(token("a\x1b[2Jb\x1b]0;title\x07c\x9bd\r\ne\tf")))["text/plain"]
    assert "\x1b" not in plain
    assert "\x9b" not in plain
    assert plain.endswith("e\tf")


@pytest.mark.parametrize("line", ["x" * 300_000, "[" * 100_000 + "x", "*a **b " * 20_000 + "x"])
def test_long_lines_are_shown_as_they_are(line: str):
    data = frozen(whole(token(line)))
    assert line in html.unescape(data["text/html"])
    assert data["text/plain"] == line


def test_separators_that_break_lines_elsewhere_are_text():
    data = frozen(whole(token("a\u2028b\u0085c")))
    assert "a\u2028b" in data["text/html"]


def test_files_show_name_type_and_size_and_only_raster_images_are_embedded():
    big = base64.b64encode(b"\0" * 1_200_000).decode()
    run = whole(
        ("file", "llm", {"metadata": {"name": "x.svg", "mime_type": "image/svg+xml", "content": "PHN2Zz4="}}),
        ("file", "llm", {"metadata": {"name": "x.html", "mime_type": "text/html", "content": "PHA+"}}),
        ("file", "llm", {"metadata": {"name": "big.png", "mime_type": "image/png", "content": big}}),
        ("file", "llm", {"metadata": {"name": "bad.png", "mime_type": "image/png", "content": '"><b>'}}),
    )
    data = frozen(run)
    assert "<img" not in data["text/html"]
    for line in (
        "x.svg (image/svg+xml, 5 bytes)",
        "x.html (text/html, 3 bytes)",
        "big.png (image/png, 1.2 MB)",
    ):
        assert line in data["text/html"]
        assert line in data["text/plain"]
    assert len(json.dumps(data[MIME])) < 10_000


def test_failed_run_says_so_once_in_plain_words_and_keeps_the_text():
    run = events(
        ("execution_start", "START"),
        *answer("Half an answ"),
        ("node_error", "llm", {"error": "openai/gpt-5: The connection dropped."}),
        (
            "execution_error",
            "START",
            {
                "error": "Node 'llm' failed: openai/gpt-5: The connection dropped.",
                "metadata": {"status": "failed"},
            },
        ),
    )
    for form in ("text/html", "text/markdown", "text/plain"):
        text = words(frozen(run)[form]).replace("\\", "")
        assert "Half an answ" in text
        assert text.count("The connection dropped.") == 1


def test_stopped_run_says_so():
    run = events(
        ("execution_start", "START"),
        *answer("Half"),
        ("execution_error", "START", {"metadata": {"status": "cancelled"}}),
    )
    text = words(frozen(run)["text/html"])
    assert text.startswith("Stopped Half Stopped before the end. Kept: 1 word. run.resume() goes on")


def test_each_node_of_a_larger_graph_has_its_name():
    run = events(token("plan", "planner"), token("text", "writer"), token("more", "writer", visit=1))
    assert words(frozen(run)["text/html"]) == "Unfinished planner plan writer text writer, visit 2 more"
    assert frozen(run)["text/markdown"].startswith("**planner**\n\nplan\n\n**writer**")


def test_what_a_retry_replaced_is_folded_away():
    run = whole(*answer("half"), ("node_retry", "llm", {"error": "dropped"}), *answer("full"))
    data = frozen(run)
    assert re.search(
        r"<details[^>]*><summary[^>]*>Tried again dropped</summary>.*half.*</details>.*full",
        data["text/html"],
        re.S,
    )
    assert "half" not in data["text/plain"]


def test_a_graph_of_tools_shows_its_output():
    run = events(
        ("execution_start", "START"),
        ("execution_complete", "START", {"output": {"total": 3}, "metadata": {"status": "completed"}}),
    )
    assert '{"total": 3}' in html.unescape(frozen(run)["text/html"])


def test_long_results_are_cut_and_say_so():
    tool = {"tool_name": "t", "tool_call_id": "1"}
    run = whole(("tool_call_complete", "llm", {"output": "y" * 50_000, "metadata": tool}))
    data = frozen(run)
    assert "42,000 more characters" in data["text/html"]
    assert len(json.dumps(data)) < 40_000


def test_a_run_whose_process_died_says_so():
    data, metadata = freeze(events(("execution_start", "START"), token("Half")), dead=True)
    assert words(data["text/html"]) == (
        "Interrupted Half The process of this run ended before the run did. Kept: 1 word."
        " graph.resume(id) goes on from here; %mesh runs has the id."
    )
    assert metadata["mesh_nb"]["status"] == data[MIME]["status"] == "interrupted"


def question(**more: Any) -> tuple[str, str, dict[str, Any]]:
    asked = {"interrupt_id": "q", "kind": "tool", "message": "May I?", "tool_name": "send"}
    return "interrupt", "llm", {"metadata": {**asked, "arguments": {"to": "ana"}, **more}}


def answered(decision: str, output: Any = None, **more: Any) -> tuple[str, str, dict[str, Any]]:
    meta = {"interrupt_id": "q", "kind": "tool", "decision": decision, "by": "person", **more}
    return "interrupt_resolved", "llm", {"output": output, "metadata": meta}


@pytest.mark.parametrize(
    ("resolution", "line", "shown"),
    [
        (answered("approved"), "Approved: send", "ana"),
        (answered("edited", {"to": "bo"}), "Approved with changes: send", "bo"),
        (answered("rejected", reason="not today"), "Denied: send. not today", "ana"),
        (answered("denied", by="policy"), "Denied: send (by the run's rule)", "ana"),
        (answered("timeout", by="timeout"), "Nobody answered in time: send", "ana"),
    ],
)
def test_an_answer_stays_in_the_output(resolution: Any, line: str, shown: str):
    data = frozen(whole(question(), resolution))
    assert line in words(data["text/html"])
    assert shown in words(data["text/html"])
    assert line in data["text/plain"]


def test_an_open_question_says_how_to_answer_it():
    data = frozen(events(("execution_start", "START"), question()))
    assert "Waiting for an answer: May I?" in words(data["text/html"])
    assert "run.approve()" in words(data["text/html"])
    assert "Waiting for an answer: May I?" in data["text/plain"]


def test_words_that_were_asked_for_are_in_the_output():
    asked = question(kind="input", tool_name=None, arguments=None, message="Which city?")
    assert "Which city? Answered: Paris" in frozen(whole(asked, answered("edited", "Paris")))["text/plain"]


def test_an_answer_that_begins_again_voids_what_its_call_had_said():
    restart = ("custom_data", "llm", {"content": {}, "metadata": {"data_type": "data-restart"}})
    call = ("model_call_start", "llm")
    data = frozen(whole(*answer("kept"), call, token("void"), restart, token("real"), token(" words")))
    assert data["text/plain"].split("\n\n")[:2] == ["kept", "real words"]
    again = r"The answer began again</summary>.*void.*</details>.*real words"
    assert re.search(again, data["text/html"], re.S)


def test_steps_of_a_recursive_model_are_one_list():
    def step(kind: str, content: Any) -> tuple[str, str, dict[str, Any]]:
        return "custom_data", "llm", {"content": content, "metadata": {"data_type": f"data-rlm-{kind}"}}

    data = frozen(whole(step("step-start", {"step": 1, "budget": {}}), step("note", {"text": "<b>aha</b>"})))
    assert "<li>step start 1</li>" in data["text/html"]
    assert "note &lt;b&gt;aha" in re.sub(r"<small[^>]*>", "", data["text/html"])
    assert "1. step start 1\n2. note: <b>aha</b>" in data["text/plain"]


def test_unpriced_is_never_zero_dollars():
    data = frozen(whole(("response_metadata", "llm", {"metadata": {"model_id": "m", "usage": {}}})))
    assert "$" not in data["text/html"] + data["text/plain"]


def test_tasks_columns_formulas_and_prices_read_as_they_should():
    tasks = "- [x] done\n- [ ] to do\n\n|a|b|\n|-|-:|\n|c|1|\n\n"
    said = tasks + "$x_1 * y_1$ and \\(a_b\\) cost $5 or $6\n\n`[x] $z$`"
    page = frozen(whole(token(said)))["text/html"]
    assert "☑ done" in page
    assert "☐ to do" in page
    assert re.search(r'<td align="right"[^>]*>1</td>', page)
    assert "$x_1 * y_1$ and \\(a_b\\) cost" in page
    assert len(re.findall(r"mathjax_ignore[^>]*>\$</span>[56]", page)) == 2
    assert "[x] $z$</code>" in page


def test_what_was_not_done_anew_says_so_and_what_it_had_cost():
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    known = {"usage": usage, "model_id": "m", "provider": "p"}
    replayed = {**known, "replayed": True, "cost_usd": 0.0, "original_cost_usd": 0.0123}
    data, metadata = freeze(whole(*answer("A."), ("response_metadata", "llm", {"metadata": replayed})))
    for mime in ("text/html", "text/plain", "text/markdown"):
        assert "replayed, would have cost $0.012" in data[mime]
    assert metadata["mesh_nb"]["cost_usd"] == 0.0
    reused = ("node_start", "plan", {"metadata": {"reused": True}})
    two = freeze(whole(*answer("A."), reused, *answer("B.", node="plan")))[0]
    assert "plan · reused" in two["text/html"]
    assert "plan · reused" in two["text/plain"]


def test_a_very_long_answer_is_whole_and_in_pieces_that_a_browser_can_skip():
    text = "".join(f"line {n} of <many> & more\n" for n in range(20_000))
    data, _ = freeze(whole(*answer(text)))
    (shown,) = re.findall(r"<pre[^>]*>(.*?)</pre>", data["text/html"], re.DOTALL)
    pieces = re.findall(
        r'<span style="display:block;content-visibility:auto;[^"]*">(.*?)</span>', shown, re.DOTALL
    )
    assert "".join(pieces) == html.escape(text)
    assert all(piece.endswith("\n") and len(piece) < 20_000 for piece in pieces)


def test_of_thousands_of_visits_the_last_are_shown_and_the_others_counted():
    def visit(n: int) -> list[Any]:
        metadata = {"visit": n} if n else {}
        said = {"content": f"Page {n}.", "metadata": metadata}
        return [
            ("node_start", "n", {"metadata": metadata}),
            ("token", "n", said),
            ("node_complete", "n", {"metadata": metadata}),
        ]

    rows = [row for n in range(2000) for row in visit(n)]
    log = events(
        ("execution_start", "START"),
        *rows,
        ("execution_complete", "START", {"metadata": {"status": "completed"}}),
    )
    data, _ = freeze(log)
    assert "1,700 nodes with nothing to show or further back" in data["text/html"]
    assert len(re.findall("visit [0-9]", data["text/html"])) == 300
    assert "Page 1999." in data["text/html"]
    assert len(data["text/html"]) < 300_000
    assert all(f"Page {n}." in data["text/markdown"] for n in range(2000))
