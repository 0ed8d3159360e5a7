from __future__ import annotations

from event_lists import answer, events, token, whole

from mesh_nb.core.events import DELTAS
from mesh_nb.notebook._coalesce import Coalescer, coalesce


def texts(joined: list) -> list[tuple[str, str]]:
    return [(e.node_id, e.content) for e in joined if e.type == "token"]


def test_neighbouring_tokens_become_one():
    joined = coalesce(whole(*answer("a", "b", "c")))
    assert texts(joined) == [("llm", "abc")]
    assert [e.type for e in joined if e.type not in DELTAS] == [
        "execution_start",
        "node_start",
        "message_start",
        "message_complete",
        "node_complete",
        "execution_complete",
    ]


def test_interleaved_branches_give_one_event_a_block():
    run = events(token("a", "x"), token("1", "y"), token("b", "x"), token("2", "y"))
    assert texts(coalesce(run)) == [("x", "ab"), ("y", "12")]


def test_nothing_moves_across_a_boundary():
    run = events(token("a"), ("tool_call_start", "llm", {"metadata": {"tool_call_id": "1"}}), token("b"))
    assert [e.type for e in coalesce(run)] == ["token", "tool_call_start", "token"]


def test_blocks_visits_attempts_and_subtypes_stay_apart():
    run = events(
        token("a", text_block_id="1"),
        token("b", text_block_id="2"),
        token("c", text_block_id="2", visit=1),
        token("d", text_block_id="2", visit=1, attempt=1),
        token("e", text_block_id="2", visit=1, attempt=1, event_subtype="refusal"),
    )
    assert [e.content for e in coalesce(run)] == ["a", "b", "c", "d", "e"]


def test_joining_leaves_the_events_of_the_run_alone():
    run = events(token("a"), token("b"))
    coalesce(run)
    assert [e.content for e in run] == ["a", "b"]


def test_a_batch_knows_its_first_and_last_seq():
    batch = Coalescer()
    run = events(token("a"), token("b"), token("c"))
    batch.add(run[1])
    batch.add(run[2])
    assert (batch.first, batch.last) == (1, 2)
    assert [e.seq for e in batch.drain()] == [1]
    assert len(batch) == 0
