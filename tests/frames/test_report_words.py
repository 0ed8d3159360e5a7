"""What a report says where something is missing, unknown, odd or far away."""

from __future__ import annotations

import gc
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from event_lists import whole
from run_doubles import Speaker, graph_of, response

import mesh_nb
from mesh_nb.backends.file import FileBackend
from mesh_nb.core.errors import InputError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_LOG", raising=False)
    return tmp_path


def called(name: str, model: str, **more: Any) -> tuple[Any, ...]:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    metadata = {"call_id": name, "provider": "openai", "model_id": model, "usage": usage, **more}
    return ("response_metadata", "llm", {"metadata": metadata})


def logged(run_id: str, *calls: tuple[Any, ...], **header: Any) -> None:
    log = FileBackend().open(run_id, header)
    for event in whole(*calls, run_id=run_id):
        log.append(event)
    log.close()


def test_the_total_says_how_many_calls_it_does_not_have() -> None:
    logged("r1", called("1", "gpt-4o-mini"), called("2", "mine"), called("3", "mine"))
    headline = mesh_nb.cost_report().headline
    assert headline == "Cost by model: $0.1500 · 3 model calls, 2 unpriced, in 1 run · 3,000,000 tokens"


def test_a_group_is_not_free_for_the_answers_that_a_tape_gave() -> None:
    logged("r1", called("1", "mine", replayed=True, cost_usd=0.0), called("2", "mine"))
    report = mesh_nb.cost_report()
    for text in (repr(report), report._repr_html_(), report.to_markdown(), report.to_styler().to_html()):
        assert "$0" not in text
        assert "unpriced" in text


def test_a_call_that_failed_is_told_apart_from_one_without_counts() -> None:
    failed = called("1", "gpt-4o", usage={}, finish_reason=None)
    logged("r1", failed, called("2", "gpt-4o-mini", usage={}, finish_reason="stop"))
    begun = ("model_call_start", "llm", {"metadata": {"call_id": "3", "requested_model": "gpt-5"}})
    logged("r2", begun)
    text = repr(mesh_nb.cost_report())
    assert "Unpriced: 1 call of openai/gpt-4o, it failed or was cut off." in text
    assert "Unpriced: 1 call of openai/gpt-4o-mini, no token counts." in text
    assert "Unpriced: 1 call of gpt-5, it failed or was cut off." in text


def test_what_has_no_name_is_named() -> None:
    logged("r1", called("1", "gpt-4o-mini"))
    report = mesh_nb.cost_report(by=["notebook", "cell", "session_id"])
    for text in (repr(report), report._repr_html_(), report.to_markdown()):
        assert "outside a notebook" in text
        assert "outside a cell" in text
        assert "<NA>" not in text
    assert report.df.notebook.isna().all()


def test_cells_are_named_by_their_execution_and_keep_their_ids_in_the_frame() -> None:
    logged("r1", called("1", "gpt-4o-mini"), notebook="a.ipynb", cell="0123456789", execution="In [7]")
    report = mesh_nb.cost_report(by=["notebook", "cell"])
    assert "In [7] (01234567)" in repr(report)
    assert list(report.df.cell) == ["0123456789"]


def test_columns_stand_below_each_other_where_signs_are_wide() -> None:
    logged("r1", called("1", "日本語のモデル"), called("2", "gpt-4o-mini"), called("3", "e\u0301té"))
    lines = repr(mesh_nb.cost_report()).splitlines()
    rows = lines[lines.index(next(line for line in lines if line.startswith("--"))) :][:4]

    def end(line: str) -> int:
        text = line[: line.index("1,000,000")] if "1,000,000" in line else ""
        wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
        return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)

    assert len({end(row) for row in rows[1:]}) == 1


def test_a_notebook_without_runs_names_the_nearest() -> None:
    logged("r1", called("1", "gpt-4o-mini"), notebook="analysis.ipynb")
    report = mesh_nb.cost_report(notebook="analyis.ipynb")
    assert "No model was called from a notebook 'analyis.ipynb'. Did you mean 'analysis.ipynb'?" in repr(
        report
    )
    assert "Did you mean" not in repr(mesh_nb.cost_report(notebook="analysis.ipynb"))


def test_a_name_that_comes_twice_groups_once() -> None:
    logged("r1", called("1", "gpt-4o-mini"))
    assert list(mesh_nb.cost_report(by=["model", "model"]).df.columns)[:2] == ["model", "calls"]


@pytest.mark.parametrize("by", [None, 5])
def test_what_names_no_group_is_refused(by: Any) -> None:
    with pytest.raises(InputError, match="write by="):
        mesh_nb.cost_report(by=by)


async def test_a_run_that_no_log_could_take_still_counts_when_nobody_holds_it(project: Path) -> None:
    (project / ".mesh").write_text("a file where the folder belongs")
    before = len(mesh_nb.usage().costs)
    for number in range(3):
        await graph_of(Speaker("a", events=[response(call_id=str(number))])).run("hi", display=False)
        gc.collect()
    assert len(mesh_nb.usage().costs) == before + 3


def test_a_project_without_a_log_says_where_it_looked(project: Path) -> None:
    other = project / "other"
    other.mkdir()
    assert f"Nothing was logged yet in {project / '.mesh'}." in repr(mesh_nb.cost_report())
    assert f"Nothing was logged yet in {other / '.mesh'}." in repr(mesh_nb.cost_report(other))
    logged("r1")
    assert "Nothing was logged" not in repr(mesh_nb.cost_report())
    assert "Nothing was logged" not in repr(mesh_nb.cost_report([]))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("runs.sqlite", "SQLiteBackend"),
        ("calls.parquet", "read_parquet"),
        ("calls.csv", "read_csv"),
        ("a.ipynb", "notebook="),
    ],
)
def test_a_file_that_is_no_log_is_refused_with_what_reads_it(project: Path, name: str, hint: str) -> None:
    (project / name).write_bytes(b"PAR1")
    for make in (mesh_nb.cost_report, mesh_nb.calls_df, mesh_nb.events_df):
        with pytest.raises(InputError, match=hint):
            make(project / name)


def test_usage_says_when_the_log_cannot_be_read(project: Path) -> None:
    logged("r1")
    (project / ".mesh" / "runs").rename(project / ".mesh" / "kept")
    (project / ".mesh" / "runs").symlink_to("runs")
    assert f"Not read: {project / '.mesh' / 'runs'}, " in repr(mesh_nb.usage())
