"""The vocabulary and its codec."""

from __future__ import annotations

import datetime
import json
import math
from collections import deque
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_nb import EventType, ExecutionEvent
from mesh_nb.core.events import DELTAS, ENDINGS, decode, dumps, encode, loads

SEED = [
    "execution_start", "execution_complete", "node_start", "node_complete", "node_error", "token",
    "message_start", "message_complete", "tool_call_start", "tool_call_complete", "reasoning_start",
    "reasoning_token", "reasoning_end", "response_metadata", "source", "file", "step_start",
    "step_complete", "custom_data",
]  # fmt: skip


@pytest.mark.parametrize("name", SEED)
def test_3_4_44_a_type_equals_its_string_everywhere(name: str) -> None:
    kind = EventType(name)
    assert kind == name
    assert f"{kind}" == str(kind) == name
    assert json.dumps({"type": kind}) == json.dumps({"type": name})


def test_14_the_seven_fields_in_their_order() -> None:
    event = ExecutionEvent(EventType.TOKEN, "n", "text", {"o": 1}, {"m": 1}, 1.5, "bad")
    assert (event.type, event.node_id, event.content, event.output) == ("token", "n", "text", {"o": 1})
    assert (event.metadata, event.timestamp, event.error) == ({"m": 1}, 1.5, "bad")
    assert (event.run_id, event.seq) == ("", -1)


def test_15_metadata_is_a_dict_of_its_own() -> None:
    first, second = ExecutionEvent(EventType.TOKEN), ExecutionEvent(EventType.TOKEN)
    assert first.metadata == {}
    assert first.metadata is not second.metadata
    assert isinstance(first.timestamp, float)


def test_deltas_and_endings() -> None:
    assert {"token", "reasoning_token", "tool_call_delta"} == DELTAS
    assert {"execution_complete", "execution_error"} == ENDINGS


class Broken:
    def to_dict(self) -> Any:
        raise RuntimeError


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        "\ud800 lone", 2**80, {1: "a", None: "b", (1, 2): "c"}, {1, 2}, b"\x00\xff", math.nan, math.inf,
        CYCLE,
        np.arange(3), np.float64(1.5), pd.DataFrame({"a": [1, 2]}), pd.Timestamp("2026-01-01"),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), ValueError("x"), Broken(), object, print,
        {"deep": [{"set": {1}}, Broken()]},
    ],
)  # fmt: skip
def test_43_45_any_payload_becomes_json(value: Any) -> None:
    event = ExecutionEvent(EventType.NODE_COMPLETE, "n", output=value, metadata={"m": value})
    record = event.to_dict()
    json.loads(json.dumps(record))
    assert record["type"] == "node_complete"
    assert b"\n" not in encode(event)


def test_a_frame_is_its_records() -> None:
    assert loads(dumps(pd.DataFrame({"a": [1, 2]}))) == [{"a": 1}, {"a": 2}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.dictionaries(st.text(), JSON, max_size=3), st.text(), st.integers(0, 10**9))
def test_a_line_of_the_log_is_read_back_as_it_was(output: Any, metadata: Any, content: str, seq: int) -> None:
    event = ExecutionEvent(EventType.TOKEN, "n", content, output, metadata, 1.25, run_id="r", seq=seq)
    assert decode(encode(event)) == event


def test_a_newer_logs_types_and_keys_are_kept() -> None:
    event = decode(b'{"type": "node_teleported", "node_id": "n", "metadata": {"new": 1}, "seq": 3}')
    assert (event.type, event.metadata, event.seq) == ("node_teleported", {"new": 1}, 3)
    with pytest.raises(ValueError, match="no type"):
        decode(b"{}")


def test_values_of_data_people_are_written_as_they_read_them() -> None:
    frame = pd.DataFrame({"price": [Decimal("1.10"), None], "day": pd.to_datetime(["2026-01-02", None])})
    rows = [{"price": "1.10", "day": "2026-01-02T00:00:00"}, {"price": None, "day": None}]
    written = {
        "frame": (frame, rows),
        "polars": (pl.DataFrame({"a": [1, 2]}), [{"a": 1}, {"a": 2}]),
        "series": (pl.Series([1]), [1]),
        "price": (Decimal("1.10"), "1.10"),
        "path": (Path("data") / "a.csv", str(Path("data") / "a.csv")),
        "stamp": (pd.Timestamp("2026-01-02 03:04"), "2026-01-02T03:04:00"),
        "span": (datetime.timedelta(seconds=3), "0:00:03"),
        "missing": (pd.NA, None),
        "never": (pd.NaT, None),
        "names": (np.array(["a"]), ["a"]),
        "queue": (deque([1]), [1]),
        "keys": ({"a": 1}.keys(), ["a"]),
        "proxy": (MappingProxyType({"a": 1}), {"a": 1}),
    }
    found = loads(dumps({name: value for name, (value, _) in written.items()}))
    assert found == {name: expected for name, (_, expected) in written.items()}
