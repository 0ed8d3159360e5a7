"""Each of the 60 behaviours users rely on, and of the 35 defects that must not come back, has one test."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(("named", "count"), [("", 60), ("defect_", 35)])
def test_each_number_has_one_test(named: str, count: int) -> None:
    texts = [path.read_text("utf-8") for path in HERE.glob("test_*.py")]
    found = [re.findall(rf"^(?:async )?def test_{named}(\d+)_[a-z]", text, re.MULTILINE) for text in texts]
    assert Counter(int(n) for numbers in found for n in numbers) == dict.fromkeys(range(1, count + 1), 1)
