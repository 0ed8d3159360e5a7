"""data: rows of a database or a DataFrame, by SQL with bound parameters."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import math
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, cast

from ..core import tape, templates
from ..core.context import ExecutionContext
from ..core.errors import GraphValidationError, MeshError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode
from ._kinds import WHOLE, check_kinds
from ._taped import value_of

TABLE_ROWS = 50
"""Rows of the table in `content`; a sentence says how many there are."""

_Rows = tuple[list[str], list[tuple[Any, ...]]]


class DataNode(BaseNode):
    """Runs one SQL query.

    Parameters
    ----------
    source : a DataFrame, which is the table `data`; a dict of table names and DataFrames; a function that
        opens a DBAPI connection, which is closed again; a DBAPI connection; an engine or a connection of
        SQLAlchemy.
    query : SQL with placeholders, those of the driver: `:name` for DataFrames and SQLite.
        Templates are refused here: values are bound, never written into SQL.
    params : values for the placeholders by name, or in order; texts are templates ("{{$input.city}}").
    max_rows : how many rows are read; `truncated` says when there are more.
    timeout : seconds.
    live : True asks the database even where a tape has the rows, see `mesh_nb.record`; DataFrames are
        always queried.

    Queries run in a thread; with a connection object on the loop's own thread, for most drivers bind a
    connection to the thread that opened it. The output is `{"rows": [dict, ...], "columns", "count",
    "truncated", "query", "params", "content": the rows as a Markdown table}`.
    """

    kind = "data"

    def __init__(
        self,
        id: str,
        source: Any = None,
        *,
        query: str | None = None,
        params: Any = None,
        max_rows: int = 1000,
        timeout: float = 60.0,
        live: bool = False,
    ) -> None:
        check_kinds(id, {"max_rows": WHOLE}, locals(), ("max_rows",))
        super().__init__(id)
        if not isinstance(query, str) or not query.strip():
            raise GraphValidationError(f"Data node {id!r} needs query=, a text of SQL, not {shown(query)}.")
        if templates.references(query):
            raise GraphValidationError(
                f"Data node {id!r}: query= takes no templates, for their values could change the SQL. Write"
                ' `where city = :city` and params={"city": "{{$input.city}}"}.'
            )
        if params is not None and not isinstance(params, (Mapping, list, tuple)):
            raise GraphValidationError(f"Data node {id!r}: params= is a dict or a list, not {shown(params)}.")
        for name, value in (("max_rows", max_rows), ("timeout", timeout)):
            if isinstance(value, bool) or not isinstance(cast("Any", value), (int, float)) or not value > 0:
                raise GraphValidationError(f"Data node {id!r}: {name}={shown(value)} is not above 0.")
        self.query, self.params = query, params
        self.max_rows, self.timeout = int(max_rows), timeout
        self._source = _source(id, source)
        self._live = live or self._source.local
        values = params.values() if isinstance(params, Mapping) else params or ()
        self.templates = tuple(v for v in values if isinstance(v, str) and "{{" in v)

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Run the query. Raises MeshError when it takes too long, else what the driver raises."""
        given = self._bound(context)
        marks: dict[str, Any] = {}
        columns, rows = await self._rows(given, context.run_id, marks)
        truncated, rows = len(rows) > self.max_rows, rows[: self.max_rows]
        output = {
            "rows": [dict(zip(columns, row, strict=True)) for row in rows],
            "columns": columns,
            "count": len(rows),
            "truncated": truncated,
            "query": self.query,
            "params": given,
            "content": _table(columns, rows, truncated),
        }
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output, metadata=marks)

    async def _rows(self, given: Any, run_id: str, marks: dict[str, Any]) -> _Rows:
        """Return the columns and the rows, of a database from the tape that is on where it has them, and tell
        marks so."""

        async def fetched() -> _Rows:
            try:
                async with asyncio.timeout(self.timeout):
                    return await self._source.fetch(self.query, given, self.max_rows + 1)
            except TimeoutError:
                raise MeshError(f"The query took longer than its timeout of {self.timeout:g} s.") from None

        async def packed() -> Any:
            columns, rows = await fetched()
            return [columns, [[_packed(cell) for cell in row] for row in rows]]

        on = None if self._live else tape.current()
        if on is None:
            return await fetched()
        asked = {"query": self.query, "params": given, "max_rows": self.max_rows, "node": self.id}
        where = f"the query of node {self.id!r}"
        columns, rows = await value_of(on, asked, where, packed, run_id, metadata=marks)
        return columns, [tuple(_unpacked(cell) for cell in row) for row in rows]

    def _bound(self, context: ExecutionContext) -> Any:
        def value(given: Any) -> Any:
            return templates.fill(given, context) if isinstance(given, str) else given

        if isinstance(self.params, Mapping):
            return {str(k): value(v) for k, v in cast("Mapping[Any, Any]", self.params).items()}
        return [value(v) for v in cast("Iterable[Any]", self.params or ())]


class _Source:
    """Where rows come from: `open` returns a connection, `own` closes it after each query; `local`, whether
    the rows are the notebook's own."""

    def __init__(self, open: Callable[[], Any], *, own: bool, thread: bool, local: bool = False) -> None:
        self._open, self._own, self._thread, self.local = open, own, thread, local

    async def fetch(self, query: str, params: Any, limit: int) -> _Rows:
        """Return the columns and at most so many rows. A query that is left is interrupted, where the driver
        can."""
        if not self._thread:
            return self._fetch(self._open(), query, params, limit)
        opened: list[Any] = []
        work = asyncio.ensure_future(asyncio.to_thread(self._work, opened, query, params, limit))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            for connection in opened:
                if hasattr(connection, "interrupt"):
                    connection.interrupt()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def _work(self, opened: list[Any], query: str, params: Any, limit: int) -> _Rows:
        connection = self._open()
        opened.append(connection)
        try:
            return self._fetch(connection, query, params, limit)
        finally:
            opened.clear()
            if self._own:
                connection.close()

    def _fetch(self, connection: Any, query: str, params: Any, limit: int) -> _Rows:
        cursor = connection.cursor()
        try:
            cursor.execute(query, params)
            columns = [str(c[0]) for c in cursor.description or ()]
            return columns, [tuple(row) for row in cursor.fetchmany(limit)] if columns else []
        finally:
            cursor.close()


class _Frames(_Source):
    """DataFrames, as tables of a database in memory that is made for each query."""

    def __init__(self, tables: dict[Any, Any]) -> None:
        super().__init__(lambda: _loaded(tables), own=True, thread=True, local=True)
        self._names = ", ".join(map(str, tables))

    def _fetch(self, connection: Any, query: str, params: Any, limit: int) -> _Rows:
        try:
            return super()._fetch(connection, query, params, limit)
        except sqlite3.Error as error:
            problem = str(error).rstrip(".")
            hint = f" The tables are: {self._names}." if "no such table" in problem else ""
            if "authoriz" in problem:
                hint = " A query of DataFrames reads them, and does nothing else."
            elif "binding" in problem:
                hint = " Values for placeholders such as :name are given by params={'name': ...}."
            raise MeshError(f"The query cannot be run: {problem}.{hint}") from error


def _source(node_id: str, source: Any) -> _Source:
    tables = cast("dict[Any, Any]", source) if isinstance(source, dict) else {"data": source}
    if tables and all(_is_frame(frame) for frame in tables.values()):
        return _Frames(tables)
    if hasattr(source, "cursor"):
        return _Source(lambda: source, own=False, thread=False)
    opens = getattr(source, "raw_connection", None)  # a SQLAlchemy engine's
    if opens is not None:
        return _Source(opens, own=True, thread=True)
    if hasattr(type(source), "connection"):  # a SQLAlchemy connection: the driver's own is in it
        held: Any = source
        return _Source(lambda: held.connection, own=False, thread=False)
    if callable(source):
        return _Source(source, own=True, thread=True)
    raise GraphValidationError(
        f"Data node {node_id!r}: {shown(source)} is no source of rows; pass a DataFrame, a dict of them,"
        " a connection, or a function that opens one."
    )


_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_KINDS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "datetime": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "uuid": (uuid.UUID, str, uuid.UUID),
    "float": (float, repr, float),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
}
"""Types of cells that JSON has not, and how they are written on a tape."""


def _packed(cell: Any) -> Any:
    if isinstance(cell, float) and math.isfinite(cell):
        return cell
    name = next((name for name, (kind, _, _) in _KINDS.items() if type(cell) is kind), None)
    return cell if name is None else {f"${name}": _KINDS[name][1](cell)}


def _unpacked(cell: Any) -> Any:
    if isinstance(cell, dict):
        ((name, text), *more) = cast("dict[str, Any]", cell).items() or [("", None)]
        if not more and name[:1] == "$" and name[1:] in _KINDS and isinstance(text, str):
            return _KINDS[name[1:]][2](text)
    return cast("Any", cell)


def _is_frame(thing: Any) -> bool:
    return hasattr(thing, "columns") and (hasattr(thing, "itertuples") or hasattr(thing, "iter_rows"))


def _loaded(tables: dict[Any, Any]) -> sqlite3.Connection:
    """Return a database in memory with these tables."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    for name, frame in tables.items():
        columns = [_quoted(c) for c in frame.columns]
        rows = frame.iter_rows() if hasattr(frame, "iter_rows") else frame.itertuples(index=False, name=None)
        connection.execute(f"create table {_quoted(name)} ({', '.join(columns)})")
        marks = ", ".join("?" * len(columns))
        insert = f"insert into {_quoted(name)} values ({marks})"
        connection.executemany(insert, (tuple(map(_plain, row)) for row in rows))
    connection.commit()
    connection.set_authorizer(_may_read)
    return connection


def _may_read(action: int, *_: Any) -> int:
    """Let queries read: another statement could attach, and so write, a file."""
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _quoted(name: Any) -> str:
    return '"' + str(name).replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    """Return a value as SQLite takes it: a missing one as NULL, dates and the rest as text."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, (str, bytes, int)):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def _table(columns: list[str], rows: list[tuple[Any, ...]], truncated: bool) -> str:
    if not columns:
        return ""

    def line(cells: Iterable[Any]) -> str:
        texts = ("" if c is None else " ".join(str(c).split()).replace("|", "\\|") for c in cells)
        return f"| {' | '.join(texts)} |"

    shown_rows = rows[:TABLE_ROWS]
    lines = [line(columns), line("---" for _ in columns), *map(line, shown_rows)]
    if truncated or len(rows) > len(shown_rows):
        lines.append(f"\n({len(shown_rows)} of {'more than ' if truncated else ''}{len(rows)} rows)")
    return "\n".join(lines)


plugin = DataNode
