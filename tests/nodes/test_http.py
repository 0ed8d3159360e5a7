"""The http node against a real server: what is sent, what is refused, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from http_servers import Exchange, Server

from mesh_nb import ExecutionContext, Executor, GraphValidationError, NodeExecutionError, StateGraph


async def handler(exchange: Exchange) -> None:
    path = exchange.path.partition("?")[0]
    if path == "/json":
        await exchange.answer(b'{"items": [1, 2]}', b"content-type: application/json\r\nset-cookie: a=b\r\n")
    elif path == "/echo":
        sent = {"path": exchange.path, "method": exchange.method, "body": exchange.body.decode()}
        sent["key"] = exchange.headers.get("x-key", "")
        await exchange.answer(json.dumps(sent).encode(), b"content-type: application/json\r\n")
    elif path == "/image":
        await exchange.answer(b"\x89PNG", b"content-type: image/png\r\n")
    elif path == "/long":
        await exchange.start(b"content-type: text/plain\r\n")
        for _ in range(100):
            await exchange.chunk(b"x" * 1000)
        await exchange.chunk(b"")
    elif path == "/moved":
        await exchange.answer(b"", b"location: /json\r\n", b"302 Found")
    elif path == "/round":
        await exchange.answer(b"", b"location: /round\r\n", b"302 Found")
    elif path == "/away":
        await exchange.answer(b"", b"location: http://elsewhere.invalid/\r\n", b"302 Found")
    elif path == "/silent":
        await exchange.client_gone()
    else:
        await exchange.answer(b"no such page", b"content-type: text/plain\r\n", b"404 Not Found")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Server(handler) as url:
        yield url if isinstance(url, str) else url.url


def graph(**options: Any) -> StateGraph:
    return StateGraph().add_node("get", node_type="http", **options).set_entry_point("get")


async def events_of(graph: StateGraph, input: Any = "q") -> list[Any]:
    return [e async for e in Executor(graph).execute(input)]


async def test_json_is_parsed_and_cookies_are_dropped(server: str) -> None:
    output = (await events_of(graph(url=f"{server}/json")))[-1].output
    assert output["data"] == {"items": [1, 2]}
    assert (output["status_code"], output["content_type"]) == (200, "application/json")
    assert "set-cookie" not in output["headers"]


async def test_templates_fill_every_part_and_cannot_break_out_of_a_path(server: str) -> None:
    asked = graph(
        url=f"{server}/echo?who={{{{$input.name}}}}",
        method="post",
        headers={"x-key": "{{$vars.key}}"},
        params={"page": "{{$input.page}}"},
        json={"question": "{{$question}}", "list": ["{{$input.page}}"], "n": 1},
    )
    context = ExecutionContext(variables={"key": "secret-key-1"})
    given = {"name": "a/../b?c=d&e #", "page": 2, "question": "why?"}
    events = [e async for e in Executor(asked).execute(given, context)]
    sent = events[-1].output["data"]
    assert sent["path"].startswith("/echo?")
    assert parse_qs(urlsplit(sent["path"]).query) == {"who": [given["name"]], "page": ["2"]}
    assert sent["method"] == "POST"
    assert json.loads(sent["body"]) == {"question": "why?", "list": [2], "n": 1}
    assert sent["key"] == "secret-key-1"
    assert not any("secret-key-1" in repr(e.metadata) for e in events)


async def test_a_value_stays_inside_its_part_of_the_path(server: str) -> None:
    asked = graph(url=f"{server}/echo/{{{{$input}}}}", raise_for_status=False)
    output = (await events_of(asked, "../json?x#y"))[-1].output
    assert output["url"] == f"{server}/echo/..%2Fjson%3Fx%23y"


async def test_what_is_not_text_is_a_file(server: str) -> None:
    events = await events_of(graph(url=f"{server}/image"))
    [file] = [e.metadata for e in events if e.type == "file"]
    assert file == {"name": "image", "mime_type": "image/png", "size": 4, "content": "iVBORw=="}


async def test_redirects_are_followed_so_many_times(server: str) -> None:
    assert (await events_of(graph(url=f"{server}/moved")))[-1].output["data"] == {"items": [1, 2]}
    with pytest.raises(NodeExecutionError, match="redirects more than 5 times"):
        await events_of(graph(url=f"{server}/round"))


async def test_only_allowed_hosts_are_asked_redirects_included(server: str) -> None:
    with pytest.raises(NodeExecutionError, match=r"'elsewhere\.invalid' is not one of allowed_hosts="):
        await events_of(graph(url=f"{server}/away", allowed_hosts=["127.0.0.1"]))
    with pytest.raises(NodeExecutionError, match="not one of allowed_hosts="):
        await events_of(graph(url="{{$input}}", allowed_hosts=["example.org"]), f"{server}/json")


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("/nothing", {}, "answered HTTP 404: 'no such page'"),
        ("/long", {"max_bytes": 5000}, "longer than max_bytes=5000"),
        ("/silent", {"timeout": 0.2}, r"No answer from .* within 0\.2 s"),
    ],
)
async def test_answers_that_fail(server: str, path: str, options: Any, says: str) -> None:
    with pytest.raises(NodeExecutionError, match=says):
        await events_of(graph(url=f"{server}{path}", **options))


async def test_a_failure_status_may_be_an_answer(server: str) -> None:
    output = (await events_of(graph(url=f"{server}/x", raise_for_status=False)))[-1].output
    assert (output["status_code"], output["content"]) == (404, "no such page")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://", "names no host"),
        ("http:///path", "names no host"),
        ("http://[::1", "cannot be read: Invalid IPv6 URL"),
        ("http://h:99999/", "cannot be read: Port out of range"),
        ("http://u:PASS@[/", "cannot be read"),
    ],
)
async def test_addresses_of_nothing_are_refused_before_a_run(url: str, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says) as refused:
        graph(url=url)
    with pytest.raises(NodeExecutionError, match=says) as failed:
        await events_of(graph(url="{{$input}}"), url)
    assert "PASS" not in f"{refused.value}{failed.value}"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "javascript:alert(1)", "no address"])
async def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(GraphValidationError, match="no http or https address"):
        graph(url=url)
    with pytest.raises(NodeExecutionError, match="no http or https address"):
        await events_of(graph(url="{{$input}}"), url)


async def test_a_header_has_one_line(server: str) -> None:
    with pytest.raises(NodeExecutionError, match="more than one line"):
        await events_of(graph(url=f"{server}/echo", headers={"x-key": "{{$input}}"}), "a\r\nx-other: b")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "BREW"}, "method='BREW' is not one of"),
        ({"json": {}, "data": ""}, "two bodies"),
        ({"timeout": 0}, "timeout=0 is not above 0"),
    ],
)
def test_options_that_cannot_be(options: Any, says: str) -> None:
    with pytest.raises(GraphValidationError, match=says):
        graph(url="http://x", **options)
