from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import polars as pl
import pytest

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


def test_a_column_of_a_frame_is_a_table_of_that_column():
    text = fill("{{df.high}}", {"df": pd.DataFrame({"city": ["Paris"], "high": [21]})})
    assert "21" in text
    assert "Paris" not in text
