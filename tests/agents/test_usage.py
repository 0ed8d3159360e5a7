"""Token counts in every spelling, as one."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb.agents._usage import add, normalise


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, {}),
        ("many", {}),
        ({}, {}),
        ({"prompt_tokens": 1}, {"prompt_tokens": 1}),
        (
            {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 3}},
            {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "cached_tokens": 3},
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": None, "total_tokens": None},
            {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        ),
        (
            {"promptTokens": 5, "completionTokens": 2, "totalTokens": 7, "cacheReadTokens": 10},
            {"prompt_tokens": 15, "completion_tokens": 2, "total_tokens": 17, "cached_tokens": 10},
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "cache_creation_input_tokens": 4},
            {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "cache_write_tokens": 4},
        ),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 10,
            },
            {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10, "reasoning_tokens": 3},
        ),
        ({"prompt_tokens": True, "completion_tokens": "4"}, {}),
    ],
)
def test_spellings(given: Any, wanted: dict[str, int]) -> None:
    assert normalise(given) == wanted


def test_sums_keep_unknown_counters_absent() -> None:
    assert add({"prompt_tokens": 1}, {"prompt_tokens": 2, "cached_tokens": 1}) == {
        "prompt_tokens": 3,
        "cached_tokens": 1,
    }
    assert add({}, {}) == {}
