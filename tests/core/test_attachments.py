"""`files=`: what goes to each provider for each kind of attachment, and what is refused before that."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import polars as pl
import pytest
from answer_server import APIS, AnswerServer
from matplotlib.figure import Figure
from PIL import Image

import mesh_nb as mesh
from mesh_nb.core.attachments import read_files
from mesh_nb.core.errors import InputError
from mesh_nb.core.events import ExecutionEvent, encode
from mesh_nb.nodes.llm import LLMNode

mpl.use("agg")
PDF = b"%PDF-1.7 the rest of it"
EVERY = pytest.mark.parametrize("api", APIS)


def png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), color).save(buffer, format="PNG")
    return buffer.getvalue()


def figure() -> Any:
    made = Figure()
    made.add_subplot().plot([1, 2])
    return made


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer("seen") as running:
        yield running


def graph(server: AnswerServer, api: str, **options: Any) -> Any:
    return (
        mesh.StateGraph()
        .add_node("llm", node_type="llm", **server.options(api, **options))
        .set_entry_point("llm")
    )


async def ask(
    server: AnswerServer, api: str, files: Any, input: Any = "What is it?", **options: Any
) -> list[Any]:
    """Run with attachments and return the parts of the question as they went out."""
    backend = mesh.MemoryBackend()
    run = await graph(server, api, **options).run(input, files=files, backend=backend, display=False)
    assert run.text == "seen"
    body = server.bodies[-1]
    if api == "gemini":
        return body["contents"][-1]["parts"]
    return body["input" if api == "responses" else "messages"][-1]["content"]


def url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def image_part(api: str, mime: str, data: bytes) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {
        "chat": {"type": "image_url", "image_url": {"url": url(mime, data)}},
        "responses": {"type": "input_image", "image_url": url(mime, data), "detail": "auto"},
        "anthropic": {"type": "image", "source": {"type": "base64", "media_type": mime, "data": encoded}},
        "gemini": {"inlineData": {"mimeType": mime, "data": encoded}},
    }[api]


def text_part(api: str, text: str) -> dict[str, Any]:
    return {
        "chat": {"type": "text", "text": text},
        "responses": {"type": "input_text", "text": text},
        "anthropic": {"type": "text", "text": text},
        "gemini": {"text": text},
    }[api]


def document(api: str, name: str, text: str) -> dict[str, Any]:
    """A text file as it is sent."""
    if api != "anthropic":
        return text_part(api, f"File {name}:\n\n{text}")
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "source": source, "title": name}


# ---- what is sent
@EVERY
async def test_an_image_goes_before_the_question(server: AnswerServer, api: str, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png())
    parts = await ask(server, api, [tmp_path / "photo.png"])
    assert parts == [image_part(api, "image/png", png()), text_part(api, "What is it?")]


@EVERY
async def test_a_pdf_is_a_document(server: AnswerServer, api: str) -> None:
    parts = await ask(server, api, [("report.pdf", PDF)])
    encoded = base64.b64encode(PDF).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded}
    file = {"filename": "report.pdf", "file_data": url("application/pdf", PDF)}
    assert (
        parts[0]
        == {
            "chat": {"type": "file", "file": file},
            "responses": {"type": "input_file", **file},
            "anthropic": {"type": "document", "source": source, "title": "report.pdf"},
            "gemini": {"inlineData": {"mimeType": "application/pdf", "data": encoded}},
        }[api]
    )


@EVERY
async def test_text_files_go_as_text_under_their_names(
    server: AnswerServer, api: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("# ångström", "utf-8")
    (tmp_path / "data.json").write_text('{"a": 1}')
    parts = await ask(server, api, [str(tmp_path / "notes.md"), str(tmp_path / "data.json"), b"plain words"])
    assert parts[:3] == [
        document(api, "notes.md", "# ångström"),
        document(api, "data.json", '{"a": 1}'),
        document(api, "file.txt", "plain words"),
    ]


@EVERY
@pytest.mark.parametrize(
    "table", [pd.DataFrame({"a": [1], "b": ["é"]}), pl.DataFrame({"a": [1], "b": ["é"]})]
)
async def test_a_dataframe_goes_as_csv(server: AnswerServer, api: str, table: Any) -> None:
    [part, _] = await ask(server, api, [table])
    assert part == document(api, "table.csv", "a,b\n1,é\n")


async def test_the_index_of_a_dataframe_goes_along_when_it_says_something(server: AnswerServer) -> None:
    table = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    [part, _] = await ask(server, "chat", [table])
    assert part == document("chat", "table.csv", "key,n\nx,1\ny,2\n")


@EVERY
async def test_a_pil_image_goes_as_png_and_a_photo_stays_a_jpeg(server: AnswerServer, api: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), "blue").save(buffer, format="JPEG")
    photo = Image.open(io.BytesIO(buffer.getvalue()))
    parts = await ask(server, api, [Image.new("RGBA", (2, 2)), Image.new("HSV", (2, 2)), photo])
    sent = json.dumps(parts)
    assert sent.count("image/png") == 2
    assert sent.count("image/jpeg") == 1


@EVERY
async def test_a_matplotlib_figure_goes_as_png(server: AnswerServer, api: str) -> None:
    made = figure()
    parts = await ask(server, api, [made, made.axes[0]])
    for part in parts[:2]:
        [encoded] = [v for v in _strings(part) if len(v) > 500]
        data = base64.b64decode(encoded.rpartition(",")[2])
        assert Image.open(io.BytesIO(data)).format == "PNG"
        assert part == image_part(api, "image/png", data)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)


@EVERY
async def test_what_a_file_is_follows_its_bytes_not_its_name(server: AnswerServer, api: str) -> None:
    parts = await ask(server, api, [("photo.jpg", png())])
    assert parts[0] == image_part(api, "image/png", png())


async def test_names_are_told_apart(server: AnswerServer) -> None:
    parts = await ask(server, "chat", [("a/x.txt", b"1"), ("b/x.txt", b"2"), ("X.TXT", b"3")])
    assert [p["text"].split(":")[0] for p in parts[:3]] == ["File x.txt", "File x (2).txt", "File X (3).TXT"]


async def test_attachments_alone_are_a_question(server: AnswerServer) -> None:
    assert len(await ask(server, "responses", [png()], "")) == 1


async def test_a_dict_as_input_keeps_its_fields(server: AnswerServer) -> None:
    parts = await ask(server, "chat", [png()], {"input": "Which colour?", "more": 1})
    assert parts[1] == text_part("chat", "Which colour?")


async def test_the_executor_takes_them_too(server: AnswerServer) -> None:
    executor = mesh.Executor(graph(server, "chat").compile())
    kinds = [e.type async for e in executor.execute("What?", files=[png()])]
    assert kinds[-1] == "execution_complete"
    assert server.bodies[0]["messages"][0]["content"][0]["type"] == "image_url"


def test_run_sync_takes_them_too(server: AnswerServer) -> None:
    run = graph(server, "anthropic").run_sync(
        "What?", files=[png()], backend=mesh.MemoryBackend(), display=False
    )
    assert run.status == "completed"


async def test_a_function_node_gets_the_bytes(server: AnswerServer) -> None:
    def count(input: dict[str, Any]) -> int:
        return len(input["files"][0]["data"])

    run = (
        await mesh.StateGraph()
        .add_node("n", count)
        .set_entry_point("n")
        .run("x", files=[PDF], backend=mesh.MemoryBackend(), display=False)
    )
    assert run.output["output"] == len(PDF)


async def test_the_log_holds_the_bytes_once(server: AnswerServer) -> None:
    """Only the request has them; every other event says how many there are."""
    backend = mesh.MemoryBackend()
    run = await graph(server, "chat").run("What?", files=[png()], backend=backend, display=False)
    encoded = base64.b64encode(png())

    def holding(events: list[ExecutionEvent]) -> list[str]:
        return [str(e.type) for e in events if encoded in encode(e)]

    assert holding(run.events) == ["model_call_start"]
    assert f"<{len(png())} bytes>" in encode(run.events[0]).decode()
    assert "\\x" not in repr(run.input)


@EVERY
async def test_a_large_attachment_is_sent_whole_and_logged_as_a_digest(
    server: AnswerServer, api: str
) -> None:
    large = png() + bytes(range(256)) * 1000
    run = await graph(server, api).run("What?", files=[large], backend=mesh.MemoryBackend(), display=False)
    assert base64.b64encode(large).decode() in json.dumps(server.bodies[0])
    digest = hashlib.sha256(base64.b64encode(large)).hexdigest()
    assert digest in json.dumps(run.events[2].metadata["request"])
    assert sum(len(encode(e)) for e in run.events) < 20_000


@EVERY
async def test_a_session_remembers_attachments_by_name(server: AnswerServer, api: str) -> None:
    made, backend = graph(server, api), mesh.MemoryBackend()
    session = f"attachments-{api}"
    for question, files in (("", [("a.png", png())]), ("And now?", [("b.png", png())]), ("Sure?", None)):
        await made.run(question, files=files, session_id=session, backend=backend, display=False)
    last = json.dumps(server.bodies[-1])
    assert "(Attached then, not sent again: a.png)" in last
    assert "And now?\\n\\n(Attached then, not sent again: b.png)" in last
    assert base64.b64encode(png()).decode() not in last


async def test_the_fields_of_an_input_go_without_the_files(server: AnswerServer) -> None:
    [_, part] = await ask(server, "chat", [png()], {"city": "Rome", "year": 1960})
    assert part == text_part("chat", '{"city":"Rome","year":1960}')


async def test_the_demo_takes_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_DEMO_SPEED", "0")
    made = mesh.StateGraph().add_node("llm", node_type="llm", model="demo").set_entry_point("llm")
    run = await made.run(
        "What is it?", files=[png(), ("a.txt", b"x")], backend=mesh.MemoryBackend(), display=False
    )
    assert run.status == "completed"
    assert run.text


@EVERY
async def test_large_text_is_logged_as_it_is(server: AnswerServer, api: str) -> None:
    genome = "ACGT" * 30_000
    run = await graph(server, api).run(
        genome, files=[("genome.txt", genome.encode())], backend=mesh.MemoryBackend(), display=False
    )
    assert json.dumps(run.events[2].metadata["request"]).count(genome) == 2


# ---- what is refused, before anything is sent
async def refused(
    server: AnswerServer, files: Any, api: str = "chat", input: Any = "hi", **options: Any
) -> str:
    with pytest.raises(InputError) as caught:
        await graph(server, api, **options).run(
            input, files=files, backend=mesh.MemoryBackend(), display=False
        )
    assert server.requests == []
    return str(caught.value)


async def test_a_path_that_is_not_there(server: AnswerServer, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(PDF)
    said = await refused(server, [tmp_path / "reprot.pdf"])
    assert f"There is no file 'reprot.pdf' in {str(tmp_path)!r}" in said
    assert "Did you mean 'report.pdf'?" in said


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["https://example.org/a.png"], "is an address; download it first"),
        (["."], "is a folder"),
        ([b""], "is empty"),
        ([b"\x00\x01\x02\xff"], "cannot be told; pass (name, bytes)"),
        ([("x.txt", "café".encode("latin-1"))], "'x.txt' is not UTF-8 text"),
        ([("name", "text")], "An attachment as a tuple is (name, bytes), not (str, str)"),
        ([object()], "What is of type object cannot be attached: pass a path, bytes"),
        ("photo.png", "write files=[...], not 'photo.png'"),
        (b"\x89PNG", "files= is a list"),
        ({"a": 1}, "files= is a list"),
        (["a\0b"], "There is no file 'a\\x00b'"),
    ],
)
async def test_what_is_no_attachment(server: AnswerServer, given: Any, says: str) -> None:
    assert says in await refused(server, given)


async def test_more_than_20_mb_in_all(server: AnswerServer, tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(20_000_001)
    assert "with 'large.txt' they have more than 20 MB" in await refused(server, [large])
    half = png() + bytes(11_000_000)
    assert "with 'b.png' they have more than 20 MB" in await refused(
        server, [("a.png", half), ("b.png", half)]
    )


async def test_an_object_that_cannot_be_written(server: AnswerServer) -> None:
    class Table:
        index = None

        def to_csv(self, **options: Any) -> str:
            raise OSError("no disk")

    assert "A Table could not be written as a file: OSError: no disk" in await refused(server, [Table()])


async def test_an_input_with_files_of_its_own(server: AnswerServer) -> None:
    said = await refused(server, [png()], input={"input": "hi", "files": ["a.png"]})
    assert "would replace" in said


@EVERY
@pytest.mark.parametrize(
    ("name", "data"),
    [("book.xlsx", b"PK\x03\x04\x00\xff"), ("song.aiff", b"FORM\x00\xff"), ("clip.mp4", b"\x00\xff")],
)
async def test_a_kind_that_an_api_does_not_take(
    server: AnswerServer, api: str, name: str, data: bytes
) -> None:
    taken = {"responses": ("xlsx",), "gemini": ("aiff", "mp4")}
    if name.endswith(taken.get(api, ())):
        await ask(server, api, [(name, data)])
        return
    assert f"{name!r}" in await refused(server, [(name, data)], api)


OPENAI = "https://api.openai.com/v1"
DEEPSEEK = "https://api.deepseek.com"
TIFF, GIF = ("scan.tiff", b"II*\0\xff"), ("move.gif", b"GIF89a\0\xff")


@pytest.mark.parametrize(
    ("api", "options", "file", "says"),
    [
        (
            "chat",
            {"model": "gpt-3.5-turbo"},
            ("a.png", png()),
            "'gpt-3.5-turbo' cannot read 'a.png' (image/png)",
        ),
        ("responses", {"model": "gpt-4-0613"}, ("a.png", png()), "it takes text only"),
        ("responses", {"model": "o3-mini"}, ("a.pdf", PDF), "'o3-mini' cannot read 'a.pdf'"),
        ("chat", {"model": "deepseek-chat", "base_url": DEEPSEEK}, ("a.png", png()), "it takes text only"),
        ("chat", {"model": "gpt-5"}, TIFF, "OpenAI cannot read 'scan.tiff' (image/tiff): it takes PNG, JPEG"),
        ("responses", {"model": "gpt-5"}, TIFF, "A PIL image is sent as PNG."),
        ("anthropic", {}, TIFF, "Anthropic cannot read 'scan.tiff'"),
        ("gemini", {}, GIF, "Gemini cannot read 'move.gif' (image/gif): it takes text, PNG"),
    ],
)
async def test_a_kind_that_a_model_is_known_not_to_take(
    server: AnswerServer, api: str, options: dict[str, Any], file: Any, says: str
) -> None:
    if api in ("chat", "responses"):
        options = {"base_url": OPENAI, **options}
    assert says in await refused(server, [file], api, **options)


@pytest.mark.parametrize(
    ("model", "file"), [("gpt-4o", GIF), ("gpt-3.5-turbo", ("a.csv", b"a,b")), ("o3", ("a.pdf", PDF))]
)
def test_a_kind_that_a_model_takes_passes_the_check(model: str, file: Any) -> None:
    node = LLMNode("llm", model=model, base_url=OPENAI, api_key="a-key")
    node.check_files(read_files([file]))


async def test_a_server_that_is_not_known_is_sent_what_it_may_take(server: AnswerServer) -> None:
    [part, _] = await ask(server, "chat", [TIFF], model="gpt-3.5-turbo")
    assert part == image_part("chat", "image/tiff", TIFF[1])


async def test_an_agent_gets_no_attachments() -> None:
    class Agent:
        async def run_stream(self, message: str) -> Any:
            yield {"type": "text-delta", "delta": "x"}

    made = mesh.StateGraph().add_node("a", Agent(), node_type="agent").set_entry_point("a")
    with pytest.raises(InputError, match="'a' is an agent, which gets text only"):
        await made.run("hi", files=[png()], backend=mesh.MemoryBackend(), display=False)
