"""Files that a provider kept: told by id in the run, fetched through the Files API when they are wanted."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_server import AnswerServer, options, sse

import mesh_nb as mesh
from mesh_nb.core.errors import AuthenticationError, ConfigurationError, InputError, ProviderError
from mesh_nb.core.events import encode

KEY = "a-key-that-nobody-has"
PLOT = "/v1/containers/cntr_1/files/cfile_1/content"


def response(*annotations: dict[str, Any]) -> bytes:
    """An answer that cites files of the code interpreter's."""
    base = {"id": "resp_1", "object": "response", "model": "m", "status": "in_progress", "output": []}
    part = {"type": "output_text", "text": "Done.", "annotations": list(annotations)}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    told = [
        {"type": "response.output_text.annotation.added", **at, "annotation_index": n, "annotation": a}
        for n, a in enumerate(annotations)
    ]
    return sse(
        {"type": "response.created", "response": base},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.output_text.delta", **at, "delta": "Done."},
        *told,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**base, "status": "completed", "output": [item]}},
    )


def cites(file_id: str, container_id: str | None, name: str | None = None) -> dict[str, Any]:
    kind = {"type": "container_file_citation", "container_id": container_id, "start_index": 0, "end_index": 4}
    made = kind if container_id else {"type": "file_path", "index": 0}
    return {**made, "file_id": file_id, **({"filename": name} if name else {})}


def message(file_id: str) -> bytes:
    """An answer of Claude's whose code wrote a file."""
    output = {"type": "bash_code_execution_output", "file_id": file_id}
    result = {"type": "bash_code_execution_result", "stdout": "", "stderr": "", "return_code": 0}
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "bash_code_execution", "input": {}}
    block = {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1"}
    block["content"] = {**result, "content": [output]}  # type: ignore[assignment]
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    return sse(
        {"type": "message_start", "message": {**start, "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": use},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer(response(cites("cfile_1", "cntr_1", "plot.png"))) as running:
        running.files[PLOT] = (200, "image/png", b"\x89PNG the plot")
        yield running


async def ask(server: AnswerServer, api: str, backend: Any = None) -> mesh.Run:
    node = {**options(api, server.url), "api_key": KEY}
    graph = mesh.StateGraph().add_node("llm", node_type="llm", **node).set_entry_point("llm")
    return await graph.run("Plot it.", backend=backend or mesh.MemoryBackend(), display=False)


def fetched(server: AnswerServer) -> list[tuple[str, dict[str, str]]]:
    return [
        (path.partition("?")[0], headers) for method, path, headers, _ in server.requests if method == "GET"
    ]


async def test_a_file_of_the_code_interpreter(server: AnswerServer) -> None:
    run = await ask(server, "responses")
    [file] = run.files
    assert (file.name, file.mime_type, file.missing, file.data) == ("plot.png", "image/png", True, b"")
    assert "not fetched from openai" in repr(file)
    assert fetched(server) == []
    assert await file.fetch() is file
    assert (file.data, file.missing, file.size) == (b"\x89PNG the plot", False, 13)
    [(path, headers)] = fetched(server)
    assert path == PLOT
    assert headers["authorization"] == f"Bearer {KEY}"
    assert run.files[0].data == b"\x89PNG the plot"
    await file.fetch()
    assert len(fetched(server)) == 1


async def test_a_file_outside_a_container(server: AnswerServer) -> None:
    server.answers = [response(cites("file-7", None))]
    server.files["/v1/files/file-7"] = (
        200,
        "application/json",
        json.dumps({"id": "file-7", "object": "file", "filename": "table.csv"}).encode(),
    )
    server.files["/v1/files/file-7/content"] = (200, "application/octet-stream", b"a,b")
    [file] = (await ask(server, "responses")).files
    await file.fetch()
    assert (file.name, file.data) == ("table.csv", b"a,b")


async def test_a_file_of_claudes_code_execution(server: AnswerServer, tmp_path: Path) -> None:
    server.answers = [message("file_011")]
    about = {
        "id": "file_011",
        "type": "file",
        "filename": "out.csv",
        "mime_type": "text/csv",
        "size_bytes": 3,
    }
    server.files["/v1/files/file_011"] = (200, "application/json", json.dumps(about).encode())
    server.files["/v1/files/file_011/content"] = (200, "text/csv", b"a,b")
    run = await ask(server, "anthropic")
    [file] = run.files
    await file.fetch()
    assert (file.name, file.mime_type, file.data) == ("out.csv", "text/csv", b"a,b")
    assert all(headers["authorization"] == f"Bearer {KEY}" for _, headers in fetched(server))
    assert [path.name for path in run.save_files(tmp_path)] == ["out.csv"]


async def test_the_same_file_cited_twice_is_one(server: AnswerServer) -> None:
    server.answers = [response(*[cites("cfile_1", "cntr_1", "plot.png")] * 2, cites("cfile_2", "cntr_1"))]
    assert [f.name for f in (await ask(server, "responses")).files] == ["plot.png", "cfile_2"]


async def test_no_key_is_in_the_log(server: AnswerServer) -> None:
    run = await ask(server, "responses")
    await run.files[0].fetch()
    assert not [e for e in run.events if KEY.encode() in encode(e) or server.url.encode() in encode(e)]


async def test_without_await(server: AnswerServer) -> None:
    run = await ask(server, "responses")
    file = await asyncio.to_thread(run.files[0].fetch_sync)
    assert file.data == b"\x89PNG the plot"


async def test_a_loaded_run_asks_as_the_environment_says(
    server: AnswerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = mesh.FileBackend(tmp_path)
    id = (await ask(server, "responses", backend)).id
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = mesh.Run.load(id, backend).files[0]
    assert file.missing
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is not set"):
        await file.fetch()
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    assert (await file.fetch()).data == b"\x89PNG the plot"
    assert fetched(server)[-1][1]["authorization"] == "Bearer another-key"
    other = mesh.Run.load(id, backend).files[0]
    await other.fetch(api_key="a-third", base_url=f"{server.url}/v1")
    assert fetched(server)[-1][1]["authorization"] == "Bearer a-third"


async def test_files_that_were_not_fetched_are_not_saved_and_that_is_said(
    server: AnswerServer, tmp_path: Path
) -> None:
    run = await ask(server, "responses")
    with pytest.warns(UserWarning, match=r"'plot\.png' are with openai.*`await run\.files\[0\]\.fetch\(\)`"):
        assert run.save_files(tmp_path) == []
    with pytest.raises(InputError, match="fetch it first"):
        run.files[0].save(tmp_path)
    assert os.listdir(tmp_path) == []


async def test_a_container_that_is_gone(server: AnswerServer) -> None:
    server.files.clear()
    [file] = (await ask(server, "responses")).files
    with pytest.raises(ProviderError, match=r"no file 'cfile_1' any more.*20 minutes") as caught:
        await file.fetch()
    assert caught.value.status == 404
    assert file.missing
    assert KEY not in str(caught.value)


async def test_a_key_that_is_refused(server: AnswerServer) -> None:
    said = json.dumps({"error": {"message": f"Incorrect API key: {KEY}", "type": "invalid_request_error"}})
    server.files[PLOT] = (401, "application/json", said.encode())
    [file] = (await ask(server, "responses")).files
    with pytest.raises(AuthenticationError) as caught:
        await file.fetch()
    assert KEY not in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)


async def test_a_provider_that_keeps_no_files(server: AnswerServer) -> None:
    run = await ask(server, "responses")
    run.files[0].stored_at.provider = "nobody"  # type: ignore[union-attr]
    run.graph = None
    with pytest.raises(InputError, match="lies with nobody, from which files cannot be fetched"):
        await run.files[0].fetch()
