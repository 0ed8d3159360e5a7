"""Runs kept in the process."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_nb.backends.memory import MemoryBackend
from mesh_nb.core.errors import InputError, RunNotFoundError
from mesh_nb.core.events import EventType, ExecutionEvent


def test_a_run_comes_back() -> None:
    backend = MemoryBackend()
    log = backend.open("a", {"graph_id": "g"})
    shown = ExecutionEvent(EventType.CUSTOM_DATA, metadata={"transient": True}, seq=0)
    kept = ExecutionEvent(EventType.TOKEN, content="x", seq=1)
    log.append(shown)
    log.append(kept)
    assert backend.load("a").live is True
    log.close()
    log.close()
    stored = backend.load("a")
    assert stored.events == [kept]
    assert stored.live is False
    assert stored.header["graph_id"] == "g"
    assert log.problem is None


def test_ids_and_errors() -> None:
    backend = MemoryBackend()
    for run in ("first", "second"):
        backend.open(run, {})
    assert list(backend.run_ids()) == ["second", "first"]
    with pytest.raises(InputError, match="already"):
        backend.open("first", {})
    with pytest.raises(RunNotFoundError, match="second"):
        backend.load("secnd")


def test_what_a_run_began_with_is_not_the_callers_own() -> None:
    begin = {"input": {"items": [1]}, "chat_history": [{"role": "user", "content": "a"}]}
    backend = MemoryBackend()
    backend.open("a", {"begin": begin})
    begin["input"]["items"].append(2)  # type: ignore[call-overload]
    begin["chat_history"].clear()  # type: ignore[attr-defined]
    assert backend.load("a").header["begin"] == {
        "input": {"items": [1]},
        "chat_history": [{"role": "user", "content": "a"}],
    }


@pytest.mark.parametrize(
    "header",
    [{}, {"begin": {}}, {"graph_id": "g", "begin": {"input": None}}, {"begin": {"input": [1]}, "cell": "c"}],
)
def test_a_header_comes_back_as_it_was_given_to_each_reader_his_own(header: dict[str, Any]) -> None:
    backend = MemoryBackend()
    backend.open("a", header)
    backend.open("b", {"graph_id": "other", "begin": {"input": "other"}})
    first = backend.load("a").header
    assert first == {**header, "run_id": "a"}
    first.setdefault("begin", {})["input"] = "changed"
    assert backend.load("a").header == {**header, "run_id": "a"}
