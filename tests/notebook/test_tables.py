"""The beginning of a table in a file: CSV, TSV and Parquet, for the live view and in static output."""

from __future__ import annotations

import base64
import io
from typing import Any

import pandas as pd
import pytest
from event_lists import events, whole

from mesh_nb.notebook._tables import preview
from mesh_nb.notebook.freeze import freeze
from mesh_nb.notebook.live import FILE_CAP, wire_event


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def test_a_csv_shows_its_first_rows_and_counts_them_all():
    found = preview("x.csv", "text/csv", b64("a,b\n" + "1,two\n" * 120))
    assert found is not None
    assert found["total"] == 120
    assert len(found["rows"]) == 50
    assert found["rows"][0] == {"a": "1", "b": "two"}


@pytest.mark.parametrize(
    ("name", "mime", "text"),
    [
        ("x", "text/tab-separated-values", "a\tb\n1\t2\n"),
        ("x.TSV", "text/plain", "a\tb\n1\t2\n"),
        ("x.csv", "application/octet-stream", "\ufeffa;b\r\n1;2\r\n"),
        ("x", "text/csv; charset=utf-8", 'a,b\n"1","2"\n\n'),
    ],
)
def test_what_is_a_table_of_text(name: str, mime: str, text: str):
    assert preview(name, mime, b64(text)) == {"rows": [{"a": "1", "b": "2"}], "total": 1}


def test_a_parquet_file_is_read_with_its_types():
    out = io.BytesIO()
    pd.DataFrame(
        {"n": [1, 2], "at": pd.to_datetime(["2026-01-01", "2026-01-02"]), "l": [[1], [2]]}
    ).to_parquet(out)
    found = preview("x.parquet", "application/vnd.apache.parquet", b64(out.getvalue()))
    assert found is not None
    assert found["total"] == 2
    assert found["rows"][1]["n"] == 2
    assert "2026-01-02" in str(found["rows"][1]["at"])
    assert found["rows"][1]["l"] == "[2]"


def test_columns_of_one_name_and_of_none_are_kept():
    found = preview("x.csv", "text/csv", b64("a,a,\n1,2,3\n"))
    assert found is not None
    assert list(found["rows"][0].values()) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "mime", "data"),
    [
        ("x.parquet", "application/parquet", b"PAR1 but not"),
        ("x.csv", "text/csv", b"\x00\x01,\x02\n\x00,\x00\n"),
        ("x.csv", "text/csv", b"one column\n1\n"),
        ("x.csv", "text/csv", b"a,b\n"),
        ("x.csv", "text/csv", b""),
        ("x.csv", "text/html", b"a,b\n1,2\n"),
    ],
)
def test_what_cannot_be_read_has_no_preview(name: str, mime: str, data: bytes):
    assert preview(name, mime, b64(data)) is None


def test_broken_base64_has_no_preview():
    assert preview("x.csv", "text/csv", "not base64!") is None


def test_the_page_gets_the_rows_even_where_the_file_stays_behind():
    text = "a,b\n" + "1,2\n" * (FILE_CAP // 4)
    given: dict[str, Any] = {"name": "x.csv", "mime_type": "text/csv", "content": b64(text)}
    (event,) = events(("file", "llm", {"metadata": given}))
    sent = wire_event(event)["metadata"]
    assert sent["content_omitted"]
    assert "content" not in sent
    assert sent["preview"]["total"] == FILE_CAP // 4
    assert "preview" not in event.metadata


def test_a_frozen_table_is_text_whatever_is_in_it():
    given = {
        "name": "x.csv",
        "mime_type": "text/csv",
        "content": b64("<b>h</b>,y\n<img src=x onerror=alert(1)>,2\n"),
    }
    markup = freeze(whole(("file", "llm", {"metadata": given})))[0]["text/html"]
    assert "&lt;img src=x onerror=alert(1)&gt;</td>" in markup
    assert "&lt;b&gt;h&lt;/b&gt;</th>" in markup
    assert "<img" not in markup
