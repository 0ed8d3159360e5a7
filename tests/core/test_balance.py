"""Starts and ends balance, whatever was left open."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh_nb.core.balance import Balance
from mesh_nb.core.events import EventType, ExecutionEvent

PAIRS = [
    (EventType.STEP_START, EventType.STEP_COMPLETE, {"step_index": 0}),
    (EventType.MODEL_CALL_START, EventType.RESPONSE_METADATA, {"call_id": "c", "requested_model": "m-1"}),
    (EventType.REASONING_START, EventType.REASONING_END, {"block_id": "r", "kind": "summary"}),
    (EventType.MESSAGE_START, EventType.MESSAGE_COMPLETE, {"message_id": "m"}),
    (
        EventType.TOOL_CALL_START,
        EventType.TOOL_CALL_COMPLETE,
        {"tool_call_id": "t", "tool_name": "search", "executed_by": "client"},
    ),
]


def event(kind: EventType, node_id: str = "llm", /, **metadata: Any) -> ExecutionEvent:
    return ExecutionEvent(kind, node_id, metadata=metadata)


def opened() -> Balance:
    balance = Balance()
    for start, _, metadata in PAIRS:
        balance.feed(event(start, **metadata, visit=2))
    return balance


def test_everything_open_is_closed_innermost_first() -> None:
    closing = opened().closing("cancelled")
    assert [e.type for e in closing] == [end for _, end, _ in reversed(PAIRS)]
    assert {e.node_id for e in closing} == {"llm"}
    assert all(e.metadata["visit"] == 2 for e in closing)


def test_the_closing_events_say_what_they_close() -> None:
    tool, message, reasoning, response, step = (e.metadata for e in opened().closing("error"))
    assert (tool["tool_name"], tool["tool_call_id"], tool["status"]) == ("search", "t", "cancelled")
    assert (message["message_id"], message["finish_reason"]) == ("m", "error")
    assert (reasoning["block_id"], reasoning["kind"]) == ("r", "summary")
    assert (step["step_index"], step["usage"], step["finish_reason"]) == (0, {}, "error")
    assert response["usage"] == {}
    assert (response["usage_status"], response["model_id"], response["call_id"]) == ("unknown", "m-1", "c")


def test_what_a_completed_node_left_open_is_not_called_an_error() -> None:
    tool, message, *_ = (e.metadata for e in opened().closing("unfinished"))
    assert tool["status"] == "not_executed"
    assert message["finish_reason"] is None


def test_a_closed_balance_has_nothing_more_to_close() -> None:
    balance = opened()
    balance.closing("error")
    assert balance.closing("error") == []


def test_one_node_and_visit_is_closed_apart_from_the_others() -> None:
    balance = opened()
    balance.feed(event(EventType.MESSAGE_START, "other", message_id="m"))
    assert [e.node_id for e in balance.closing("error", ("other", 0))] == ["other"]
    assert len(balance.closing("error")) == len(PAIRS)


def test_an_end_without_an_id_closes_the_innermost_of_its_kind() -> None:
    balance = Balance()
    balance.feed(event(EventType.MESSAGE_START, message_id="1"))
    balance.feed(event(EventType.MESSAGE_START, message_id="2"))
    balance.feed(event(EventType.MESSAGE_COMPLETE))
    assert [e.metadata["message_id"] for e in balance.closing("error")] == ["1"]


@given(st.lists(st.tuples(st.sampled_from(range(len(PAIRS))), st.sampled_from("ab"), st.sampled_from("xy"))))
def test_any_order_of_starts_and_ends_balances(moves: list[tuple[int, str, str]]) -> None:
    balance, open_now = Balance(), dict[tuple[int, str, str], bool]()
    for pair, node_id, key in moves:
        start, end, metadata = PAIRS[pair]
        field = next(iter(metadata))
        is_open = open_now.get((pair, node_id, key), False)
        balance.feed(event(end if is_open else start, node_id, **{field: key}))
        open_now[pair, node_id, key] = not is_open
    expected = sorted((PAIRS[p][1].value, n, k) for (p, n, k), is_open in open_now.items() if is_open)
    fields = {end: next(iter(metadata)) for _, end, metadata in PAIRS}
    closing = balance.closing("cancelled")
    assert sorted((e.type.value, e.node_id, e.metadata[fields[e.type]]) for e in closing) == expected
