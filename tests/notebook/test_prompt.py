from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure

import mesh_nb as mesh
from mesh_nb.core.errors import InputError, VariableResolutionError
from mesh_nb.notebook._prompt import ROWS, fill


def test_names_attributes_keys_and_positions_are_filled_in():
    names = {"x": 3, "who": SimpleNamespace(name="Ada"), "d": {"k": {"deep": "v"}}, "items": ["a", "b"]}
    prompt = "{{x}} {{ who.name }} {{d.k.deep}} {{items.1}}"
    assert fill(prompt, names) == "3 Ada v b"


@pytest.mark.parametrize(
    "prompt",
    [
        "{x}",
        '{"a": {"b": 1}}',
        "{{$question}}",
        "{{ 1 + 1 }}",
        "{{user-name}}",
        "f'{x:>{w}}'",
        "{{}}",
        "{{{{",
    ],
)
def test_other_braces_are_literal(prompt: str):
    assert fill(prompt, {"x": "VALUE"}) == prompt


@pytest.mark.parametrize("code", ["df.head(2)", "len(df)", " df['n'] ", "x * 2", "x:.2f", "x!r"])
def test_code_of_the_notebooks_variables_is_refused(code: str):
    names = {"df": pd.DataFrame({"n": [1]}), "x": 3}
    with pytest.raises(VariableResolutionError, match=r"is code, and only names and attributes.*--raw"):
        fill(f"Sum up {{{{{code}}}}}", names)
    assert fill(f"Sum up {{{{{code}}}}}", {}) == f"Sum up {{{{{code}}}}}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"question": "Q", "answer": "A"}, '{"question":"Q","answer":"A"}'),
        ([1, None], "[1,null]"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 11, 21), "2026-11-21"),
        (pd.Timestamp("2026-11-21 09:30"), "2026-11-21 09:30:00"),
        (Path("a") / "b", str(Path("a") / "b")),
        (None, "None"),
        (0.1, "0.1"),
    ],
)
def test_a_value_is_the_text_that_people_expect(value: Any, text: str):
    assert fill("{{v}}", {"v": value}) == text


def test_a_run_is_its_answer():
    graph = (
        mesh.StateGraph().add_node("llm", None, node_type="llm", model="demo/short").set_entry_point("llm")
    )
    run = graph.run_sync("Hello", backend=mesh.MemoryBackend())
    assert fill("Shorten: {{run}}", {"run": run}) == f"Shorten: {run.text}"


@pytest.mark.parametrize("value", [b"abc", object(), Figure()])
def test_what_has_no_text_is_refused(value: Any):
    with pytest.raises(InputError, match=r"\{\{v\}\}.*has no text.*--attach"):
        fill("{{v}}", {"v": value})


def test_values_are_not_resolved_again():
    assert fill("{{a}} {{b}}", {"a": "{{b}}", "b": "{{a}}", "secret": "s"}) == "{{b}} {{a}}"


def test_a_missing_name_is_named_with_the_nearest_one():
    with pytest.raises(VariableResolutionError, match=r"\{\{tabel\}\}.*no variable 'tabel'.*'table'"):
        fill("{{tabel}}", {"table": 1})
    with pytest.raises(VariableResolutionError, match=r"dict has no 'colour'.*'color'"):
        fill("{{d.colour}}", {"d": {"color": 1}})


def test_a_private_attribute_cannot_be_reached():
    with pytest.raises(VariableResolutionError, match="__class__"):
        fill("{{x.__class__}}", {"x": 1})


def test_a_function_is_refused():
    with pytest.raises(InputError, match="call it"):
        fill("{{f}}", {"f": len})


@pytest.mark.parametrize("code", ["-" * 100_000 + "x", "x" + ".a" * 100_000 + "()", "a\0b"])
def test_code_that_python_cannot_read_is_literal(code: str):
    assert fill(f"{{{{{code}}}}}", {"y": 1}) == f"{{{{{code}}}}}"


def test_code_is_read_while_another_thread_reads_code(monkeypatch: pytest.MonkeyPatch):
    def raced(*_: Any, **__: Any) -> Any:
        raise SystemError("AST constructor recursion depth mismatch (before=15, after=-36)")

    monkeypatch.setattr("mesh_nb.notebook._prompt.ast.parse", raced)
    assert fill("{{ 1 + y }}", {"y": 1}) == "{{ 1 + y }}"


@pytest.mark.parametrize("library", [pd, pl])
def test_a_frame_becomes_a_markdown_table(library):
    text = fill("Look:\n{{df}}", {"df": library.DataFrame({"city": ["Paris", "a|b"], "high": [21, 19]})})
    lines = [line.replace(" ", "") for line in text.splitlines()]
    assert lines[0] == "Look:"
    assert "|Paris|21|" in lines
    assert "|a\\|b|19|" in lines


def test_a_long_frame_is_capped_and_says_so():
    text = fill("{{df}}", {"df": pd.DataFrame({"n": range(1000)})})
    assert len(text.splitlines()) < ROWS + 6
    assert "1,000" in text or "1000" in text


def test_a_table_stands_on_lines_of_its_own():
    df = {"df": pd.DataFrame({"n": [1]})}
    table = "| n |\n| --- |\n| 1 |"
    assert fill("{{df}}", df) == table
    assert fill("Sum {{df}} up", df) == f"Sum \n\n{table}\n\n up"
    assert fill("Look:\n{{df}}\nWell?", df) == f"Look:\n{table}\n\nWell?"
    assert fill("Look:\n\n{{df}}\n\nWell?", df) == f"Look:\n\n{table}\n\nWell?"


def test_an_index_with_names_in_it_is_a_column():
    counts = pd.Series(["a", "b", "a"], name="letter").value_counts()
    assert fill("{{counts}}", {"counts": counts}) == "| letter | count |\n| --- | --- |\n| a | 2 |\n| b | 1 |"
    described = fill("{{d}}", {"d": pd.DataFrame({"n": [1, 3]}).describe()})
    assert "| mean | 2.0 |" in described
    frame = pd.DataFrame({"n": [1, 2, 3]})
    assert fill("{{f}}", {"f": frame[frame.n > 1]}) == "| n |\n| --- |\n| 2 |\n| 3 |"
    pairs = pd.DataFrame({"x": [1], "y": [2], "n": [3]}).groupby(["x", "y"]).agg({"n": ["sum"]})
    assert fill("{{p}}", {"p": pairs}) == "| x | y | n sum |\n| --- | --- | --- |\n| 1 | 2 | 3 |"


def test_a_column_of_a_frame_is_a_table_of_that_column():
    text = fill("{{df.high}}", {"df": pd.DataFrame({"city": ["Paris"], "high": [21]})})
    assert "21" in text
    assert "Paris" not in text
