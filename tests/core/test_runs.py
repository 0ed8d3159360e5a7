"""The runs of the process and of the log, as lists of lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_doubles import Speaker, graph_of, response

from mesh_nb.backends.memory import MemoryBackend
from mesh_nb.core.errors import NodeExecutionError
from mesh_nb.core.run import Run
from mesh_nb.core.runs import new_run_id, runs


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)


def test_ids_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(2000)]
    stamps = [i.split("-")[0] for i in ids]
    assert stamps == sorted(stamps)
    assert len(set(ids)) == len(ids)


async def test_runs_are_listed_newest_first() -> None:
    made = [await graph_of(Speaker(words=[f"answer {i}"])).run("hi") for i in range(3)]
    failed = graph_of(Speaker(fails=ValueError("boom"))).run("hi")
    with pytest.raises(NodeExecutionError):
        await failed
    found = runs()
    assert [s.id for s in found] == [failed.id, *(r.id for r in reversed(made))]
    assert [s.status for s in found] == ["failed", "completed", "completed", "completed"]
    assert found[1].text == "answer 2"
    assert found[1].graph_id == "test"
    assert "boom" in (found[0].error or "")
    assert len(repr(found).splitlines()) == 4
    assert [s.id for s in runs(2)] == [s.id for s in found[:2]]
    assert found[1].load().output == made[2].output


def test_no_runs_yet() -> None:
    assert runs() == []
    assert repr(runs()) == "No runs yet."


async def test_a_backend_of_your_own() -> None:
    backend = MemoryBackend()
    run = await graph_of(Speaker()).run("hi", backend=backend)
    assert runs() == []
    assert [s.id for s in runs(backend=backend)] == [run.id]
    assert Run.load(run.id, backend).text == "Hello world"


async def test_what_no_log_keeps_is_listed_while_the_process_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = await graph_of(Speaker(words=["kept"])).run("hi")
    monkeypatch.setenv("MESH_LOG", "off")
    run = await graph_of(Speaker(words=["not kept"])).run("hi")
    assert [(s.id, s.text) for s in runs()] == [(run.id, "not kept"), (kept.id, "kept")]


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(0.0, "$0"), (0.00001, "<$0.0001"), (0.0123, "$0.0123"), (1234.5, "$1,234.50")],
)
async def test_what_a_run_cost_is_never_a_row_of_zeros(usd: float, shown: str) -> None:
    run = graph_of(Speaker(events=[response(cost_usd=usd)])).run("hi", display=False)
    await run
    assert f"· {shown} ·" in repr(run)
    assert f"· {shown} ·" in repr(runs(1))
