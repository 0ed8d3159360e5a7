"""How far long work is: one line that is written over, in any terminal."""

from __future__ import annotations

import io
import sys

import pytest

from mesh_nb.frames import _progress


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, encoding: str) -> list[str]:
    raw = io.BytesIO()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(_progress, "STEP", 0.0)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding, errors="backslashreplace"))
    assert list(_progress.watched(range(1000), "Reading logs", always=True)) == list(range(1000))
    sys.stderr.flush()
    return raw.getvalue().decode(encoding).rstrip("\n").split("\r")[1:]


@pytest.mark.parametrize("columns", [200, 60, 30, 12])
def test_a_line_is_never_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    lines = drawn(monkeypatch, columns, "utf-8")
    assert len(lines) == 1001
    assert max(map(len, lines)) < columns
    assert ("█" in lines[-1]) is (columns > 59)


def test_a_terminal_without_blocks_gets_other_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80, "ascii")
    assert lines[0] == f"Reading logs {'.' * 24} 0 of 1,000"
    assert lines[-1] == f"Reading logs {'#' * 24} 1,000 of 1,000"
