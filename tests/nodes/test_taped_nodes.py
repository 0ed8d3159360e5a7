"""What a tape has of nodes that ask no model: answers of web servers, what a retriever found, rows."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_servers import Exchange, Server

import mesh_nb as mesh
from mesh_nb.core.secret import marked
from mesh_nb.core.tape import stop
from mesh_nb.notebook.freeze import freeze
from mesh_nb.testing import check_events

GONE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_tape_is_left() -> Iterator[None]:
    yield
    assert stop() is None
    marked.__init__()


class Web:
    """A server that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append(exchange.path)
        if exchange.path.startswith("/image"):
            await exchange.answer(b"\x89PNG" + bytes(9000), b"content-type: image/png\r\n")
        elif exchange.path.startswith("/login"):
            sent = exchange.headers.get("authorization", "")
            body = json.dumps(
                {"access_token": "granted-hunter2-token", "page_token": "p2", "you": sent}
            ).encode()
            await exchange.answer(body, b"content-type: application/json\r\n")
        elif exchange.path.startswith("/missing"):
            await exchange.answer(b"no such page", b"content-type: text/plain\r\n", b"404 Not Found")
        else:
            body = json.dumps({"n": len(self.asked)}).encode()
            await exchange.answer(body, b"content-type: application/json\r\n")


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def url(web: Web) -> Iterator[str]:
    with Server(web) as server:
        yield server.url


def get(url: str, **options: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("get", node_type="http", url=url, **options).set_entry_point("get")


def run(graph: mesh.StateGraph, question: Any = "Oslo", **options: Any) -> mesh.Run:
    return graph.run_sync(question, backend=mesh.MemoryBackend(), display=False, **options)


def failed(graph: mesh.StateGraph) -> mesh.NodeExecutionError:
    with pytest.raises(mesh.NodeExecutionError) as caught:
        run(graph)
    return caught.value


def replayed(run: mesh.Run) -> bool:
    """Whether the first node's answer came from the tape."""
    done = next(e for e in run.events if e.type == "node_complete")
    return done.metadata.get("replayed", False)


def test_an_answer_of_a_web_server_is_recorded_and_replayed(web: Web, url: str, tmp_path: Path):
    graph = get(f"{url}/weather?city={{{{$question}}}}")
    with mesh.record(tmp_path / "t") as tape:
        first = run(graph)
        assert len(tape) == 1
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(graph)
    assert len(web.asked) == 1
    assert again.output == first.output
    assert again.output["data"] == {"n": 1}
    assert (tmp_path / "t").read_text("utf-8").count('\\"n\\"') == 1
    assert [replayed(r) for r in (first, again)] == [False, True]
    assert ["replayed" in freeze(r.events)[0]["text/plain"] for r in (first, again)] == [False, True]
    check_events(again.events)


def test_a_file_of_a_web_server_lies_beside_the_tape(web: Web, url: str, tmp_path: Path):
    with mesh.record(tmp_path / "t"):
        first = run(get(f"{url}/image.png"))
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(get(f"{url}/image.png"))
    assert len(list((tmp_path / "t-files").iterdir())) == 1
    assert again.files[0].data == first.files[0].data
    assert [str(e.type) for e in again.events] == [str(e.type) for e in first.events]


def test_an_answer_that_says_no_is_replayed_and_raises_as_it_did(web: Web, url: str, tmp_path: Path):
    said: list[str] = []
    for mode in ("once", "none"):
        with mesh.record(tmp_path / "t", mode=mode, speed=0):
            said.append(str(failed(get(f"{url}/missing"))))
    assert said[0] == said[1]
    assert "404" in said[0]
    assert web.asked == ["/missing"]


def test_a_server_that_is_not_there_is_no_recording(tmp_path: Path):
    with mesh.record(tmp_path / "t") as tape:
        assert "failed" in str(failed(get(GONE)))
        assert len(tape) == 0


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"method": "POST"}, "method: 'GET' there, 'POST' here"),
        ({"headers": {"Accept": "text/plain"}}, "headers.accept"),
        ({"params": {"page_token": "p2"}}, "params"),
        ({"json": {"q": 1}}, "json.q"),
        ({"data": "q"}, "data"),
    ],
)
def test_a_changed_request_misses_and_says_what_differs(
    web: Web, url: str, tmp_path: Path, changed: dict[str, Any], differs: str
):
    with mesh.record(tmp_path / "t"):
        run(get(f"{url}/x", params={"page_token": "p1"}))
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        error = failed(get(f"{url}/x", **{"params": {"page_token": "p1"}, **changed}))
    assert isinstance(error.cause, mesh.TapeMissError)
    assert "GET" in str(error) or "POST" in str(error)
    if "page" not in str(changed):
        assert differs in str(error)
    assert len(web.asked) == 1


def test_keys_are_not_written_and_do_not_count(web: Web, url: str, tmp_path: Path):
    def graph(key: str) -> mesh.StateGraph:
        return get(
            f"{url}/x?api_key={key}",
            method="POST",
            headers={"Authorization": f"Basic {key}", "Cookie": key, "X-Api-Key": key},
            params={"access_token": key},
            json={"password": key, "q": "rivers"},
        )

    backend = mesh.SQLiteBackend(tmp_path / "log.sqlite")
    with mesh.record(tmp_path / "t"):
        graph("first-hunter2").run_sync("q", backend=backend, display=False)
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        graph("other-hunter2").run_sync("q", backend=backend, display=False)
    assert "hunter2" in web.asked[0]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_keys_that_come_back_are_the_programs_alone(web: Web, url: str, tmp_path: Path):
    graph = get(f"{url}/login", headers={"Authorization": "Bearer asked-hunter2-key"})
    graph.add_node("use", lambda data: {"token": data["access_token"], "page": data["page_token"]})
    graph.add_edge("get", "use")
    backend = mesh.SQLiteBackend(tmp_path / "log.sqlite")
    outputs: list[Any] = []
    for mode in ("once", "none"):
        with mesh.record(tmp_path / "t", mode=mode, speed=0):
            outputs.append(graph.run_sync("q", backend=backend, display=False).output)
    assert [output["token"] for output in outputs] == ["granted-hunter2-token", "***"]
    assert outputs[1]["page"] == "p2"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_a_live_node_asks_each_time_and_a_host_that_is_not_allowed_is_never_asked(
    web: Web, url: str, tmp_path: Path
):
    with mesh.record(tmp_path / "t", speed=0) as tape:
        run(get(f"{url}/x", live=True))
        run(get(f"{url}/x", live=True))
        assert len(tape) == 0
        run(get(f"{url}/x"))
        assert "allowed_hosts" in str(failed(get(f"{url}/x", allowed_hosts=["elsewhere"])))
    assert len(web.asked) == 3


class Store:
    """A vector store that counts its searches."""

    def __init__(self, *found: Any) -> None:
        self.asked: list[str] = []
        self.found = found or ({"text": "The Glomma is long.", "title": "Rivers", "score": 0.9},)

    def search(self, query: str, top_k: int) -> list[Any]:
        self.asked.append(query)
        if query == "down":
            raise ConnectionError("no store")
        return list(self.found)[:top_k]


def finder(*given: Any, **options: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("find", *given, node_type="rag", **options).set_entry_point("find")


def test_what_a_retriever_found_is_replayed(tmp_path: Path):
    store = Store()
    with mesh.record(tmp_path / "t"):
        first = run(finder(retriever=store))
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(finder(retriever=store))
        assert isinstance(failed(finder(retriever=store, top_k=2)).cause, mesh.TapeMissError)
        run(finder(retriever=store, live=True))
    assert store.asked == ["Oslo", "Oslo"]
    assert again.output == first.output
    assert again.sources == first.sources
    assert [replayed(r) for r in (first, again)] == [False, True]


def rows(source: Any, query: str = "select * from t", **options: Any) -> mesh.StateGraph:
    graph = mesh.StateGraph().add_node("rows", source, node_type="data", query=query, **options)
    return graph.set_entry_point("rows")


class Cursor:
    """Rows of a database with types that JSON has not; it counts its queries."""

    description = (("a",), ("b",))
    asked = 0

    def execute(self, query: str, params: Any) -> None:
        Cursor.asked += 1
        if "gone" in query:
            raise ConnectionError("no database")

    def fetchmany(self, limit: int) -> list[tuple[Any, ...]]:
        moment = datetime.datetime(2026, 11, 21, 20, 0, tzinfo=datetime.UTC)
        cells = [moment, moment.date(), moment.time(), decimal.Decimal("1.10"), uuid.UUID(int=7), b"\0\xff"]
        plain = [None, True, 1, 1.5, "x", float("inf"), {"k": [1]}, {}]
        return [(cell, n) for n, cell in enumerate([*cells, *plain])]

    def close(self) -> None:
        """Nothing to do."""


class Database:
    """A DBAPI connection."""

    def cursor(self) -> Cursor:
        return Cursor()


def test_rows_of_a_database_are_replayed_as_they_were(tmp_path: Path):
    Cursor.asked = 0
    with mesh.record(tmp_path / "t") as tape:
        first = run(rows(Database()))
        with pytest.raises(mesh.NodeExecutionError, match="no database"):
            run(rows(Database(), "select gone"))
        assert len(tape) == 1
    with mesh.record(tmp_path / "t", mode="none", speed=0):
        again = run(rows(Database()))
        assert "query: 'select * from t' there, 'select 1' here" in str(failed(rows(Database(), "select 1")))
        assert isinstance(failed(rows(Database(), max_rows=3)).cause, mesh.TapeMissError)
        run(rows(Database(), live=True))
    assert Cursor.asked == 3
    assert [replayed(r) for r in (first, again)] == [False, True]
    assert again.output == first.output
    assert [type(r["a"]) for r in again.output["rows"]] == [type(r["a"]) for r in first.output["rows"]]


def test_frames_of_the_notebook_are_queried_each_time(tmp_path: Path):
    import pandas as pd

    with mesh.record(tmp_path / "t") as tape:
        for n in (1, 2):
            frame = pd.DataFrame({"n": [n]})
            assert run(rows(frame, "select n from data")).output["rows"] == [{"n": n}]
        assert len(tape) == 0


def test_documents_of_the_notebook_are_searched_and_a_store_that_is_down_is_no_recording(tmp_path: Path):
    with mesh.record(tmp_path / "t") as tape:
        assert run(finder(["Oslo is a city.", "Rome too."])).output["count"] == 1
        with pytest.raises(mesh.NodeExecutionError, match="no store"):
            run(finder(retriever=Store()), "down")
        assert len(tape) == 0
    with mesh.record(tmp_path / "t", mode="all", speed=0):
        assert run(finder(["Oslo is a city."])).output["count"] == 1
