"""Templates: each name resolved once, everything else literal."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_nb.core.context import ExecutionContext
from mesh_nb.core.errors import VariableResolutionError
from mesh_nb.core.templates import check, references, resolve, substitute


@dataclasses.dataclass
class Point:
    x: int = 3
    _hidden: int = 4


LITERAL = '{single} {{ 1 + 2 }} {{}} {{a b}} {"k": {"v": 1}}'
CONTEXT = ExecutionContext(
    chat_history=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
    variables={"name": "Ada", "deep": {"list": [10, {"x": "found"}]}},
    input={"input": "why?", "topic": "trees", "evil": "{{$vars.name}}"},
    outputs={
        "writer": {"content": "a text", "items": [{"x": 1}]},
        "a.b": {"content": "dotted"},
        "point": {"parsed": Point()},
        "skipped": None,
        "odd-id": {"content": "dashed"},
    },
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{$question}}", "why?"),
        ("{{$input}}", "why?"),
        ("{{ $input.topic }}", "trees"),
        ("{{writer}}", "a text"),
        ("{{writer.content}}", "a text"),
        ("{{writer.items.0.x}}", "1"),
        ("{{a.b}} {{a.b.content}}", "dotted dotted"),
        ("{{odd-id}}", "dashed"),
        ("{{point.parsed.x}}", "3"),
        ("[{{skipped}}{{skipped.content}}]", "[]"),
        ("{{$vars.name}}", "Ada"),
        ("{{$vars.deep.list.1.x}}", "found"),
        ("{{$chat_history}}", "user: hi\nassistant: hello"),
        (LITERAL, LITERAL),
        ("{{{$vars.name}}}", "{Ada}"),
    ],
)
def test_what_a_template_becomes(template: str, text: str) -> None:
    assert resolve(template, CONTEXT) == text


def test_a_substituted_value_is_never_resolved_again() -> None:
    assert resolve("{{$input.evil}}", CONTEXT) == "{{$vars.name}}"


@given(st.text())
def test_text_from_outside_stays_text(text: str) -> None:
    context = ExecutionContext(input="q", outputs={"n": text}, variables={"secret": "s3cret"})
    assert resolve("<{{n}}>", context) == f"<{text}>"


def test_iteration_names() -> None:
    loop = dataclasses.replace(CONTEXT, iteration={"index": 2})
    assert resolve("{{$iteration}} {{$iteration_index}}", loop) == "2 2"
    each = dataclasses.replace(CONTEXT, iteration={"value": {"f": "v"}, "index": 0, "total": 5})
    assert resolve("{{$iteration.f}} {{$iteration_total}}", each) == "v 5"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{writr}}", "'writr', but no node of that name has run before this one. Did you mean 'writer'?"),
        ("{{$qestion}}", "Did you mean '$question'?"),
        ("{{$vars.nmae}}", "Did you mean 'name'?"),
        ("{{writer.contnt}}", "Did you mean 'content'?"),
        ("{{writer.items.7}}", "Known: 0 to 0."),
        ("{{writer.content.upper}}", "str has no such field"),
        ("{{point.parsed._hidden}}", "Point has no such field"),
        ("{{$iteration}}", "not inside a loop"),
    ],
)
def test_a_missing_name_is_an_error_that_names_the_nearest(template: str, says: str) -> None:
    with pytest.raises(VariableResolutionError) as caught:
        resolve(template, CONTEXT)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_references_are_listed_once_in_order() -> None:
    assert references("{{b.x}} {{$question}} {{b.x}} {c} {{ a }}") == ["b.x", "$question", "a"]


def test_check_finds_what_no_run_could_resolve() -> None:
    nodes: dict[str, Any] = {"writer": None, "sub.inner": None}
    assert check("{{writer.content}} {{$vars.any}} {{sub.inner}} {{$iteration_index}}", nodes) == []
    [problem] = check("{{writre}}", nodes)
    assert "Did you mean 'writer'?" in problem


def test_substitute_takes_any_lookup() -> None:
    assert substitute("{{a.b}}-{{c}}", {"a.b": 1, "c": "{{a.b}}"}.__getitem__) == "1-{{a.b}}"
