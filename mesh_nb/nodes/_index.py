"""A lexical index in memory: BM25 as SQLite's FTS5 computes it."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


class Index:
    """Ranks texts by how well they fit a query (Okapi BM25, English stems, accents ignored).

    Parameters: texts. Safe on several threads.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        tokenizer = "porter unicode61 remove_diacritics 2"
        self._db.execute(f"create virtual table texts using fts5(text, tokenize = '{tokenizer}')")
        self._db.executemany("insert into texts(rowid, text) values (?, ?)", enumerate(texts))

    def search(self, query: str, top_k: int) -> list[tuple[int, float]]:
        """Return (index, score) of the texts that share a word with the query, best first; at most top_k."""
        words = dict.fromkeys(_WORD.findall(query))
        if not words:
            return []
        # Quoted, a word is never read as FTS5's query language.
        match = " OR ".join(f'"{word}"' for word in words)
        sql = "select rowid, -bm25(texts) from texts where texts match ? order by bm25(texts), rowid limit ?"
        with self._lock:
            return [(int(row), float(score)) for row, score in self._db.execute(sql, (match, top_k))]

    def __del__(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
