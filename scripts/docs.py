"""Build build/docs: the notebooks as pages, with the outputs that they were saved with, and an index.

    python scripts/docs.py [FOLDER]

Nothing is executed, and the pages load nothing from elsewhere.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from markdown_it import MarkdownIt
from nbconvert import HTMLExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
REMOTE = re.compile(r"""<(?:script|link)\b[^>]*?(?:src|href)=["']https?:[^>]*>(?:\s*</script>)?""", re.I)
"""What a page would load from elsewhere: links that a reader follows are none of it."""

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; margin: 0 auto; max-width: 44rem;
  padding: 2.5rem 1.25rem 4rem; color: light-dark(#1f2328, #e6e6e6); background: light-dark(#fff, #161616); }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
a { color: light-dark(#0757ba, #7cb3ff); }
article { border-top: 1px solid light-dark(#d8dbe0, #3a3a3a); padding: 1.1rem 0 .4rem; }
article p { margin: .2rem 0 .8rem; }
code { font-size: .92em; background: light-dark(#f1f2f4, #262626); border-radius: 4px; padding: .1em .3em; }
"""
PAGE_STYLE = """
<style>
body.jp-Notebook { max-width: 60rem; margin: 0 auto !important; }
nav.docs { font: 14px/1.5 system-ui, sans-serif; display: flex; gap: 2px 1.25rem; flex-wrap: wrap; }
nav.docs { padding: 12px 4px; }
nav.docs span { font-weight: 600; }
</style>
"""


def title_and_lead(notebook: Any) -> tuple[str, str]:
    """Return a notebook's heading and its first paragraph, as Markdown."""
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading, _, rest = first.partition("\n")
    paragraphs = [p.strip() for p in rest.split("\n\n") if p.strip()]
    return heading.lstrip("# ").strip(), paragraphs[0] if paragraphs else ""


def page(notebook: Any, links: list[tuple[str, str]], here: str) -> str:
    """Return one notebook as a page.

    Parameters: links, (name, title) of all notebooks; here, the name of this one.
    """
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((?:notebooks/)?(\w+)\.ipynb\)", r"](\1.html)", cell.source)
    title = title_and_lead(notebook)[0]
    config = Config()
    config.HTMLExporter.mathjax_url = ""
    config.HTMLExporter.require_js_url = ""
    exporter: Any = HTMLExporter(config=config, theme="light", embed_images=True)
    body: str = exporter.from_notebook_node(notebook, resources={"metadata": {"name": f"{title} - mesh_nb"}})[
        0
    ]
    others = "".join(
        f"<span>{html.escape(t)}</span>" if n == here else f'<a href="{n}.html">{html.escape(t)}</a>'
        for n, t in links
    )
    bar = f'<nav class="docs"><a href="index.html">mesh_nb</a>{others}</nav>'
    body = REMOTE.sub("", body).replace("</head>", f"{PAGE_STYLE}</head>", 1)
    return re.sub(r"(<body\b[^>]*>)", lambda found: found[1] + bar, body, count=1)


def index(found: dict[str, Any]) -> str:
    """Return the first page: each notebook with what it is about."""
    markdown = MarkdownIt()
    parts: list[str] = []
    for name, notebook in found.items():
        title, lead = title_and_lead(notebook)
        said = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.html)", lead)
        heading = f'<h2><a href="{name}.html">{html.escape(title)}</a></h2>'
        parts.append(f"<article>{heading}{markdown.render(said)}</article>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mesh_nb</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>mesh_nb</h1>"
        "<p>LLM graphs in a notebook. These pages are its notebooks with the outputs they were saved with;"
        f" each runs without a key and without a network.</p>{''.join(parts)}</body></html>\n"
    )


def build(folder: Path) -> list[Path]:
    """Write the pages into a folder, which is emptied first, and return them."""
    found = {p.stem: nbformat.read(p, as_version=4) for p in sorted(NOTEBOOKS.glob("*.ipynb"))}
    links = [(name, title_and_lead(notebook)[0]) for name, notebook in found.items()]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pages = {"index": index(found)} | {n: page(notebook, links, n) for n, notebook in found.items()}
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return [folder / f"{name}.html" for name in pages]


def main() -> None:
    """Build into the folder named on the command line, else build/docs."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    pages = build(folder)
    print(f"{len(pages)} pages: {pages[0]}")


if __name__ == "__main__":
    main()
