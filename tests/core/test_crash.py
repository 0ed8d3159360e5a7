"""Processes that are killed in the middle of a run: another does what is left of it."""

from __future__ import annotations

from pathlib import Path

from crashes import crashes


def test_runs_whose_process_is_killed_end_as_if_it_had_not_been(tmp_path: Path) -> None:
    tally = crashes(range(10), tmp_path)
    assert tally.runs == 10
    assert tally.kills >= 5
