"""Code in static output has the colours of the live view, says nothing else, and costs little."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from event_lists import answer, whole
from hostile import ALL

from mesh_nb.notebook import _code
from mesh_nb.notebook.freeze import freeze

PYTHON = "@once\ndef f(x: int):\n    # why\n    if x is None:\n        return f'{x!r} a', 1.5\n    print(x)\n"
THEME = Path(__file__).parents[2] / "widgets" / "src" / "core" / "theme.css"


def shown(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def frozen(*texts: str) -> str:
    return freeze(whole(*answer(*texts)))[0]["text/html"]


def test_python_has_its_colours() -> None:
    markup = _code.coloured(PYTHON, "Python")
    assert markup is not None
    found = dict(re.findall(r'<span class="(.)">\s*([^<]*?)\s*</span>', markup)[::-1])
    assert found == {
        "o": "@once",
        "k": "def",
        "f": "f",
        "b": "int",
        "c": "# why",
        "n": "None",
        "s": "f'{",
    }


def test_the_classes_have_the_colours_of_the_live_view() -> None:
    live = set(re.findall(r"var\(--jp-mirror-editor-(\w+)-color, (#\w+)\)", THEME.read_text()))
    style = _code.style()
    names = re.findall(
        r"\.mesh-code \.(\w)\{color:var\(--jp-mirror-editor-(\w+)-color,var\(--m\1\)\)\}", style
    )
    light = style[: style.index(":is(")]
    assert {(name, re.search(f"--m{kind}:(#\\w+)", light)[1]) for kind, name in names} == live  # type: ignore[index]


def test_output_without_code_is_as_long_as_before_and_with_it_has_one_stylesheet() -> None:
    assert "mesh-code" not in frozen("No code, only `a span`.\n\n```text\nplain\n```\n\n```\nnone\n```\n")
    markup = frozen(f"```python\n{PYTHON}```\n\n```json\n[1, true]\n```\n")
    assert markup.count("<style>") == 1
    assert markup.count('class="mesh-code"') == 2
    assert len(_code.style()) < 1_000
    assert markup.startswith('<div class="mesh-run"')


def test_a_block_with_the_number_of_a_citation_keeps_it() -> None:
    text = "```python\nx = 1\n```\n"
    source = {"url": "https://a.test", "start": 0, "end": 14, "kind": "cited"}
    run = whole(*answer(text), ("source", "llm", {"metadata": {"sources": [source]}}))
    assert ">[1]</a>" in freeze(run)[0]["text/html"]


@pytest.mark.parametrize("language", sorted({*_code._LEXERS.values()}))
def test_code_stays_the_code_whatever_it_is(language: str) -> None:
    for text in (*ALL, PYTHON, "\ufeffa\r\nb\rc\x00\u2028d\n\n", "<!--\n", "'", '"""', "\t x\n"):
        markup = _code.coloured(text[:4_000], language)
        if markup is not None:
            assert shown(markup) == text[:4_000]
            assert set(re.findall(r"<[^>]*>", markup)) <= {f'<span class="{k}">' for k in "cksnbfpod"} | {
                "</span>"
            }


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (PYTHON, "text"),
        (PYTHON, "nonsense"),
        ("x" * 20_001, "python"),
        ("x = 1\n" * 1_000, "sql"),
        ("x" * 2_001, "python"),
        ("\n" * 100 + "x", "cpp"),
    ],
)
def test_what_is_unknown_or_takes_long_stays_plain(text: str, language: str) -> None:
    assert _code.coloured(text, language) is None


def test_one_output_colours_so_much_code_and_no_more() -> None:
    block = f"```python\n{'x = 1' * 300}\n```\n\n"
    markup = frozen(block * 30)
    assert markup.count('class="mesh-code"') == 13
    assert markup.count("<style>") == 1
    assert markup.count("x = 1" * 300) == 17
