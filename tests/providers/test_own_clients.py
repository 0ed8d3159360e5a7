"""Clients of the user's own: every class of the SDKs for another cloud, against a server in its place."""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic.lib.bedrock import AnthropicBedrock, AsyncAnthropicBedrock, AsyncAnthropicBedrockMantle
from anthropic.lib.vertex import AsyncAnthropicVertex
from http_servers import Exchange, Server
from provider_streams import WRITTEN, framed
from replayed import check_log, run_of, words

import mesh_nb as mesh
from mesh_nb.core.errors import (
    IncompleteStreamError,
    InputError,
    NodeExecutionError,
    ProviderError,
    RateLimitError,
)
from mesh_nb.core.events import encode
from mesh_nb.nodes.llm import LLMNode
from mesh_nb.providers import _aws_frames

KEY = "a-key-of-no-known-form-0123456789"
MODEL = {"openai": "my-deployment", "anthropic": "claude-opus-4-6", "gemini": "gemini-3-pro"}


@dataclasses.dataclass
class FileAt:
    file_id: str
    container_id: str | None = None


# ---- a server that says one answer in the API, and the framing, that its path asks for
def _api(path: str) -> str:
    if "chat/completions" in path:
        return "chat"
    if "responses" in path:
        return "responses"
    return "gemini" if "streamGenerateContent" in path else "messages"


def frame(payload: bytes, **headers: str) -> bytes:
    """One message of AWS's event stream."""
    packed = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in {f":{k.replace('_', '-')}": v for k, v in headers.items()}.items()
    )
    head = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    message = head + struct.pack(">I", zlib.crc32(head)) + packed + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(chunk: Any) -> bytes:
    """A chunk as Bedrock sends it: JSON, in base64, in JSON, in a frame."""
    inner = base64.b64encode(json.dumps(chunk, ensure_ascii=False).encode()).decode()
    body = json.dumps({"bytes": inner, "p": "abcdefgh"}).encode()
    return frame(body, event_type="chunk", content_type="application/json", message_type="event")


def exception(kind: str, said: str) -> bytes:
    return frame(json.dumps({"message": said}).encode(), exception_type=kind, message_type="exception")


ANSWER = {api: written.mixed(()) for api, written in WRITTEN.items()}


async def answer(x: Exchange) -> None:
    chunks = ANSWER[_api(x.path)]
    if "invoke-with-response-stream" in x.path:
        await x.start(b"content-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: aws-1\r\n")
        await x.chunk(b"".join(map(event, chunks)))
    else:
        await x.start(b"content-type: text/event-stream\r\n")
        for chunk in chunks:
            await x.chunk(framed(chunk))
    await x.send(b"0\r\n\r\n")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answer) as running:
        yield running


# ---- the classes, and what each asks for
Made = Callable[[str, Any], Any]
CLIENTS: dict[str, tuple[Made, str, str, str]] = {
    "AsyncOpenAI": (
        lambda url, http: openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, http_client=http),
        "/v1/chat/completions",
        "authorization",
        "chat",
    ),
    "AsyncAzureOpenAI": (
        lambda url, http: openai.AsyncAzureOpenAI(
            azure_endpoint=url, api_key=KEY, api_version="2026-01-01", http_client=http
        ),
        "/openai/deployments/my-deployment/chat/completions?api-version=2026-01-01",
        "api-key",
        "chat",
    ),
    "AsyncAzureOpenAI with a token": (
        lambda url, http: openai.AsyncAzureOpenAI(
            azure_endpoint=url, azure_ad_token=KEY, api_version="2026-01-01", http_client=http
        ),
        "/openai/deployments/my-deployment/chat/completions?api-version=2026-01-01",
        "authorization",
        "chat",
    ),
    "AsyncAzureOpenAI, responses": (
        lambda url, http: openai.AsyncAzureOpenAI(
            azure_endpoint=url, api_key=KEY, api_version="2026-01-01", http_client=http
        ),
        "/openai/responses?api-version=2026-01-01",
        "api-key",
        "responses",
    ),
    "AsyncAnthropic": (
        lambda url, http: anthropic.AsyncAnthropic(base_url=url, api_key=KEY, http_client=http),
        "/v1/messages",
        "authorization",
        "messages",
    ),
    "AsyncAnthropicVertex": (
        lambda url, http: AsyncAnthropicVertex(
            base_url=url, region="europe-west1", project_id="p", access_token=KEY, http_client=http
        ),
        "/projects/p/locations/europe-west1/publishers/anthropic/models/claude-opus-4-6:streamRawPredict",
        "authorization",
        "messages",
    ),
    "AsyncAnthropicBedrock": (
        lambda url, http: AsyncAnthropicBedrock(
            base_url=url, aws_region="eu-central-1", api_key=KEY, http_client=http
        ),
        "/model/claude-opus-4-6/invoke-with-response-stream",
        "authorization",
        "messages",
    ),
    "AsyncAnthropicBedrockMantle": (
        lambda url, http: AsyncAnthropicBedrockMantle(
            base_url=url, aws_region="eu-central-1", api_key=KEY, http_client=http
        ),
        "/v1/messages",
        "authorization",
        "messages",
    ),
    "AsyncAnthropicFoundry": (
        lambda url, http: anthropic.AsyncAnthropicFoundry(base_url=url, api_key=KEY, http_client=http),
        "/v1/messages",
        "api-key",
        "messages",
    ),
    "httpx2.AsyncClient": (
        lambda url, http: http,
        "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
        "x-goog-api-key",
        "gemini",
    ),
}
EACH = pytest.mark.parametrize("name", list(CLIENTS))


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient() as client:
        yield client


def graph_of(name: str, url: str, http: Any, **options: Any) -> Any:
    """Return a graph of one llm node that has a client; what it speaks is not said beside it."""
    make, _, _, api = CLIENTS[name]
    if api == "gemini":
        http.base_url, options["api_key"] = url, KEY
    if api == "responses":
        options["api"] = api
    vendor = "openai" if api in ("chat", "responses") else "anthropic" if api == "messages" else "gemini"
    graph = mesh.StateGraph()
    client = make(url, http)
    graph.add_node("llm", None, node_type="llm", model=MODEL[vendor], client=client, **options)
    return graph.set_entry_point("llm").compile()


@EACH
async def test_each_client_is_asked_in_its_own_way(server: Server, http: Any, name: str) -> None:
    _, path, header, api = CLIENTS[name]
    seen = await run_of(graph_of(name, server.url, http))
    check_log(seen)
    assert seen.error is None
    assert words(seen.log) == WRITTEN[api].text
    [request] = server.requests
    assert request.path == path
    assert KEY in request.headers[header]
    assert not [e for e in seen.log if KEY.encode() in encode(e)]
    [call] = [e for e in seen.log if e.type == "response_metadata"]
    assert call.metadata["usage"]["prompt_tokens"] == 5


@EACH
async def test_a_server_that_tells_the_clients_key(http: Any, name: str) -> None:
    async def refuse(x: Exchange) -> None:
        await x.answer(
            json.dumps({"error": {"message": f"Bad {KEY}", "type": "t"}}).encode(), status=b"401 No"
        )

    with Server(refuse) as server:
        seen = await run_of(graph_of(name, server.url, http, max_retries=0))
    assert isinstance(seen.error, NodeExecutionError)
    assert "HTTP 401" in str(seen.error)
    assert KEY not in f"{seen.error!r} {seen.error} {vars(seen.error.cause)}"


async def test_a_cloud_that_keeps_no_files(server: Server, http: Any) -> None:
    make, *_ = CLIENTS["AsyncAnthropicVertex"]
    node = LLMNode("llm", model="claude-opus-4-6", client=make(server.url, http))
    with pytest.raises(InputError, match="AsyncAnthropicVertex, which has no Files API"):
        await node.fetch_file(FileAt("file_1"))


async def test_a_client_that_blocks_the_loop_is_refused_by_name(server: Server) -> None:
    with AnthropicBedrock(base_url=server.url, aws_region="r", api_key=KEY) as blocking:
        graph = mesh.StateGraph().add_node("llm", node_type="llm", model="m", client=blocking)
        with pytest.raises(InputError, match=r"pass anthropic\.AsyncAnthropicBedrock instead"):
            graph.set_entry_point("llm").run_sync("hi")


# ---- Bedrock's framing
async def read(body: bytes, size: int) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    return b"".join([data async for data in _aws_frames.unframed(pieces())])


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_frames_in_pieces_of_any_size(size: int) -> None:
    chunks = [{"type": "a", "text": "é😀\u2028 "}, {"type": "b", "text": "x" * 9_000}, {"type": "c"}]
    body = b"".join(map(event, chunks))
    got = [
        json.loads(block.removeprefix(b"data: ")) for block in (await read(body, size)).split(b"\n\n")[:-1]
    ]
    assert got == chunks


async def bedrock(http: Any, body: bytes) -> Any:
    async def say(x: Exchange) -> None:
        await x.answer(
            body, b"content-type: application/vnd.amazon.eventstream\r\nx-amzn-requestid: aws-1\r\n"
        )

    with Server(say) as server:
        seen = await run_of(graph_of("AsyncAnthropicBedrock", server.url, http, max_retries=0))
    check_log(seen)
    assert isinstance(seen.error, NodeExecutionError)
    assert isinstance(seen.error.cause, ProviderError)
    assert seen.error.cause.request_id == "aws-1"
    return seen


async def test_an_exception_of_bedrocks_in_the_middle(http: Any) -> None:
    begun = b"".join(map(event, ANSWER["messages"][:4]))
    seen = await bedrock(http, begun + exception("throttlingException", "Too many tokens, wait."))
    assert isinstance(seen.error.cause, RateLimitError)
    assert "Too many tokens, wait." in str(seen.error)
    assert words(seen.log)


@pytest.mark.parametrize("harm", ["cut in a frame", "cut after a frame", "damaged", "no frames at all"])
async def test_frames_that_do_not_arrive_whole(http: Any, harm: str) -> None:
    whole = [event(chunk) for chunk in ANSWER["messages"]]
    begun, last = b"".join(whole[:5]), whole[5]
    rest = {
        "cut in a frame": last[:-9],
        "cut after a frame": b"",
        "damaged": last[:40] + b"\x00" + last[41:],
        "no frames at all": struct.pack(">III", 0, 0, zlib.crc32(bytes(8))) + b"\x00" * 40,
    }[harm]
    seen = await bedrock(http, begun + rest)
    assert isinstance(seen.error.cause, IncompleteStreamError)
    assert words(seen.log)
