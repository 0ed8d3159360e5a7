"""Retries of a node: waits that are spread, failures that are not retried, options that cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb import Executor, NodeExecutionError, StateGraph
from mesh_nb.core.errors import BudgetExceededError, GraphValidationError, UnknownNameError

DELAY = 0.002


async def waits(retry: dict[str, Any], error: Exception | None = None) -> list[float]:
    """Run a node that always fails; return how long it waited before each further attempt."""

    def fails() -> None:
        raise error or ValueError("no")

    graph = StateGraph().add_node("a", fails, config={"retry": retry}).set_entry_point("a")
    found: list[float] = []
    try:
        async for event in Executor(graph).execute("x"):
            if event.type == "node_retry":
                found.append(event.metadata["delay_s"])
    except NodeExecutionError:
        return found
    raise AssertionError("it did not fail")


async def test_waits_grow_by_the_backoff() -> None:
    assert await waits({"max_retries": 3, "delay": DELAY, "backoff": 2}) == [DELAY, 2 * DELAY, 4 * DELAY]


async def test_jitter_spreads_each_wait_around_that() -> None:
    retry = {"max_retries": 4, "delay": DELAY, "backoff": 1.5, "jitter": True}
    spread = [await waits(retry) for _ in range(3)]
    for found in spread:
        for attempt, wait in enumerate(found):
            assert 0.5 <= wait / (DELAY * 1.5**attempt) <= 1.5
    assert len({round(found[0], 9) for found in spread}) == 3


async def test_a_run_that_has_spent_its_budget_is_not_tried_again() -> None:
    spent = BudgetExceededError("no more", spent=1, limit=1)
    assert await waits({"max_retries": 3, "delay": 0}, spent) == []


@pytest.mark.parametrize(
    ("retry", "error", "says"),
    [
        ({"max_retries": 1, "jitter": "yes"}, GraphValidationError, "jitter, True or False"),
        ({"max_retries": 1, "jiter": True}, UnknownNameError, "Did you mean 'jitter'"),
        ({"max_retries": -1}, GraphValidationError, "max_retries >= 0"),
        ({"max_retries": 1, "backoff": 0.5}, GraphValidationError, "backoff >= 1"),
        ({"max_retries": True}, GraphValidationError, "max_retries >= 0"),
        ({"max_retries": 1, "delay": True}, GraphValidationError, "delay >= 0"),
        ({"max_retries": 1, "delay": float("inf")}, GraphValidationError, "delay >= 0"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(retry: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        StateGraph().add_node("a", lambda: 1, config={"retry": retry})


@pytest.mark.parametrize("options", [{"retry": {"max_retries": 1}}, {"config": {"retries": 2}}])
def test_a_retry_in_the_wrong_place_says_where_it_belongs(options: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match="Retries are set by config="):
        StateGraph().add_node("a", lambda: 1, **options)


async def test_a_wait_has_an_end_however_often_it_has_grown() -> None:
    assert await waits({"max_retries": 1100, "delay": 0.0}) == [0.0] * 1100
