"""200 random runs whose process is killed at a random moment."""

from __future__ import annotations

from pathlib import Path

from crashes import crashes


def test_200_runs_whose_process_is_killed(tmp_path: Path) -> None:
    tally = crashes(range(1000, 1200), tmp_path)
    print(f"\n{tally}")
    assert tally.runs == 200
    assert tally.kills >= 120
