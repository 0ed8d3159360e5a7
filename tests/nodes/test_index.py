"""The index of retrieved texts lets go of its memory when nobody holds it any more."""

from __future__ import annotations

import gc
import sqlite3

import pytest

from mesh_nb.nodes._index import Index


def test_an_index_that_nobody_holds_is_closed() -> None:
    index = Index(["rain in Oslo", "sun in Rome"])
    assert [row for row, _ in index.search("the sun", 5)] == [1]
    database = index._db
    del index
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("select 1")
