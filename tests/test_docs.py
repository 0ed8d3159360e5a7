"""`make docs`: every notebook is a page that the index leads to, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

import docs

LOADED = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)\s*=\s*["']?(?!data:)([^"'\s>]+)""", re.I
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    built = docs.build(tmp_path_factory.mktemp("docs") / "pages")
    return {path.name: path.read_text("utf-8") for path in built}


def test_the_index_leads_to_every_notebook(pages: dict[str, str]):
    names = {f"{path.stem}.html" for path in docs.NOTEBOOKS.glob("*.ipynb")}
    assert {*pages} == {"index.html", *names}
    assert names <= {*re.findall(r'href="([^"]+)"', pages["index.html"])}


def test_links_between_pages_lead_somewhere(pages: dict[str, str]):
    for name, page in pages.items():
        for target in re.findall(r'<a\b[^>]*href="([^":#]+\.(?:html|ipynb))"', page):
            assert target in pages, f"{name} links to {target}"


def test_pages_load_nothing_and_show_the_saved_outputs(pages: dict[str, str]):
    for name, page in pages.items():
        assert LOADED.findall(page) == [], name
    assert "replayed, would have cost" in pages["07_record_and_replay.html"]


def test_what_a_notebook_would_load_is_left_out(tmp_path: Path):
    cells = [
        nbformat.v4.new_markdown_cell("# A title\n\nA lead with [one](02_two.ipynb).\n\nMore."),
        nbformat.v4.new_code_cell("1"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    assert docs.title_and_lead(notebook) == ("A title", "A lead with [one](02_two.ipynb).")
    page = docs.page(notebook, [("01_one", "A title"), ("02_two", "<b>")], "01_one")
    assert 'href="02_two.html">&lt;b&gt;' in page
    assert "<span>A title</span>" in page
    assert docs.REMOTE.sub("", '<script src="https://x.example/a.js"></script><p>') == "<p>"
