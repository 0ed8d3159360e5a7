"""The part of JSONPath that options of nodes are written in."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb.core.errors import GraphValidationError, MeshError
from mesh_nb.nodes._paths import parse, select

DATA = {"a": {"b": [{"c": 1}, {"c": 2}, {"d": 3}]}, "x y": [[1, 2], [3]], "n": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", DATA),
        ("$.a.b[*].c", [1, 2]),
        ("a.b[0].c", 1),
        ("$.a.b[-1]", {"d": 3}),
        ("$['x y'][*][*]", [1, 2, 3]),
        ('["x y"][1]', [3]),
        ("$.a.*", [DATA["a"]["b"]]),
        ("n", None),
        ("$.n[*]", []),
    ],
)
def test_what_is_at_a_path(path: str, found: Any) -> None:
    assert select(parse(path, "x"), DATA) == found


@pytest.mark.parametrize("path", ["$..a", "$.a[1:2]", "$.a[?(@.x)]", "", "$.", "a b", None])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(GraphValidationError, match=r"^here: "):
        parse(path, "here")


@pytest.mark.parametrize(("path", "says"), [("$.aa", "Did you mean 'a'"), ("$.a.b[9]", "It is list")])
def test_what_is_not_there(path: str, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        select(parse(path, "x"), DATA)
