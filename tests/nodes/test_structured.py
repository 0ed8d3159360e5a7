"""`output_type=`: each provider's schema, the object that comes back, one repair, and the error."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import sys
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from answer_server import APIS, AnswerServer
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import mesh_nb as mesh
from mesh_nb.core.errors import InputError, NodeExecutionError
from mesh_nb.nodes.llm import LLMNode

EVERY = pytest.mark.parametrize("api", APIS)


class City(BaseModel):
    """A city."""

    name: str
    people: int = Field(ge=0, description="inhabitants")


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None


class Row(TypedDict):
    key: str
    value: int


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Nested(BaseModel):
    cities: list[City]
    color: Color
    kind: Literal["a", "b"]
    day: datetime.date
    parent: Nested | None = None


ROME = '{"name": "Rome", "people": 3}'


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer(ROME) as running:
        yield running


async def ask(server: AnswerServer, api: str, output_type: Any, **options: Any) -> mesh.Run:
    node = server.options(api, output_type=output_type, **options)
    graph = mesh.StateGraph().add_node("llm", node_type="llm", **node).set_entry_point("llm")
    return await graph.run("Which?", backend=mesh.MemoryBackend(), display=False)


async def failing(server: AnswerServer, api: str, output_type: Any, **options: Any) -> tuple[str, mesh.Run]:
    with pytest.raises(NodeExecutionError) as caught:
        await ask(server, api, output_type, **options)
    return str(caught.value), caught.value.run


def schema_of(api: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema where the API's own documentation puts it."""
    if api == "chat":
        form = body.get("response_format")
        assert form is None or (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
        return form and form["json_schema"]["schema"]
    if api == "responses":
        form = body.get("text", {}).get("format")
        assert form is None or (form["type"], form["strict"]) == ("json_schema", True)
        return form and form["schema"]
    if api == "anthropic":
        return body.get("output_config", {}).get("format", {}).get("schema")
    config = body.get("generationConfig", {})
    assert ("responseJsonSchema" in config) == (config.get("responseMimeType") == "application/json")
    return config.get("responseJsonSchema")


def system_of(api: str, body: dict[str, Any]) -> str:
    if api == "chat":
        return "".join(m["content"] for m in body["messages"] if m["role"] == "system")
    if api == "responses":
        return body.get("instructions", "")
    if api == "anthropic":
        return body.get("system", "")
    return "".join(p["text"] for p in body.get("systemInstruction", {}).get("parts", []))


# ---- the schema
@EVERY
async def test_the_schema_goes_where_the_provider_enforces_it(server: AnswerServer, api: str) -> None:
    run = await ask(server, api, City)
    assert run.output["parsed"] == City(name="Rome", people=3)
    assert run.output["content"] == ROME
    schema = schema_of(api, server.bodies[0])
    assert schema is not None
    assert schema["required"] == ["name", "people"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["people"] == {
        "type": "integer",
        "title": "People",
        "description": "inhabitants (minimum: 0)",
    }
    assert "JSON" not in system_of(api, server.bodies[0])


@pytest.mark.parametrize(
    ("api", "more"),
    [
        ("chat", {"model": "gpt-3.5-turbo"}),
        ("chat", {"model": "gpt-4"}),
        ("responses", {"model": "gpt-4-turbo"}),
        ("anthropic", {"model": "claude-3-5-haiku-20241022"}),
        ("anthropic", {"model": "claude-sonnet-4-20250514"}),
        ("gemini", {"model": "gemini-2.5-flash", "tools": ["web_search"]}),
    ],
)
@pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")
async def test_a_model_without_such_a_mode_is_told_in_words(
    server: AnswerServer, api: str, more: dict[str, Any]
) -> None:
    run = await ask(server, api, City, system_prompt="Be brief.", **more)
    assert run.output["parsed"] == City(name="Rome", people=3)
    body = server.bodies[0]
    assert schema_of(api, body) is None
    said = system_of(api, body)
    assert said.startswith("Be brief.\n\nAnswer with one JSON value and nothing else")
    told = json.loads(said.partition("JSON schema:\n")[2])
    assert told["properties"]["people"]["minimum"] == 0


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-5", "o3-mini", "llama3.3", "mistral-large"])
async def test_models_that_have_the_mode(server: AnswerServer, model: str) -> None:
    await ask(server, "chat", City, model=model)
    assert schema_of("chat", server.bodies[0]) is not None


@EVERY
async def test_a_schema_that_no_strict_mode_takes_is_told_in_words(server: AnswerServer, api: str) -> None:
    server.answers = ['{"free": 1}']
    run = await ask(server, api, dict[str, int])
    assert run.output["parsed"] == {"free": 1}
    assert schema_of(api, server.bodies[0]) is None
    assert "additionalProperties" in system_of(api, server.bodies[0])


async def test_every_object_of_a_nested_schema_is_closed(server: AnswerServer) -> None:
    day = {"cities": [json.loads(ROME)], "color": "blue", "kind": "a", "day": "2026-01-31", "parent": None}
    server.answers = [json.dumps({**day, "parent": day})]
    run = await ask(server, "responses", Nested)
    parsed = run.output["parsed"]
    assert (parsed.parent.color, parsed.parent.day) == (Color.BLUE, datetime.date(2026, 1, 31))
    schema = schema_of("responses", server.bodies[0])
    assert schema is not None
    for part in [schema["$defs"]["City"], schema["$defs"]["Nested"]]:
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    assert '"default":' not in json.dumps(schema)


# ---- types
@pytest.mark.parametrize(
    ("output_type", "answer", "parsed"),
    [
        (City, ROME, City(name="Rome", people=3)),
        (Point, '{"x": 1.5, "y": null}', Point(1.5)),
        (Row, '{"key": "k", "value": 2}', {"key": "k", "value": 2}),
        (list[City], f'{{"items": [{ROME}]}}', [City(name="Rome", people=3)]),
        (list[Point], '{"items": []}', []),
        (list[City], f"[{ROME}]", [City(name="Rome", people=3)]),
        (int, '{"items": 4}', 4),
        (City | Point, '{"items": {"x": 1, "y": 2}}', Point(1, 2)),
        (Literal["yes", "no"], '{"items": "no"}', "no"),
    ],
)
async def test_types(server: AnswerServer, output_type: Any, answer: str, parsed: Any) -> None:
    server.answers = [answer]
    assert (await ask(server, "chat", output_type)).output["parsed"] == parsed
    schema = schema_of("chat", server.bodies[0])
    assert schema is not None
    assert schema["type"] == "object"


@pytest.mark.parametrize(
    "answer",
    [f"```json\n{ROME}\n```", f"Here it is:\n\n```\n{ROME}\n```\nDone.", f"Sure! {ROME} That is it."],
)
async def test_json_inside_other_words_is_found(server: AnswerServer, answer: str) -> None:
    server.answers = [answer]
    assert (await ask(server, "chat", City)).output["parsed"].name == "Rome"
    assert len(server.bodies) == 1


# ---- repair
@EVERY
async def test_one_repair_round(server: AnswerServer, api: str) -> None:
    server.answers = ['{"name": "Rome", "people": -1}', ROME]
    run = await ask(server, api, City)
    assert run.output == {"content": ROME, "tool_calls": [], "parsed": City(name="Rome", people=3)}
    assert run.text == ROME
    first, second = server.bodies
    sent = second["contents" if api == "gemini" else "input" if api == "responses" else "messages"]
    before = first["contents" if api == "gemini" else "input" if api == "responses" else "messages"]
    assert sent[: len(before)] == before
    told = json.dumps(sent[len(before) :])
    assert '\\"people\\": -1' in told
    assert "people: Input should be greater than or equal to 0" in told
    assert len([e for e in run.events if e.type == "response_metadata"]) == 2


@EVERY
async def test_invalid_twice_is_an_error_and_the_text_is_kept(server: AnswerServer, api: str) -> None:
    server.answers = ["no JSON", "still none"]
    said, run = await failing(server, api, City)
    assert "gave no answer of the type City, not even when told what was wrong: it is not JSON" in said
    assert run.text.endswith("still none")
    assert run.status == "failed"
    assert len(server.bodies) == 2


async def test_max_steps_does_not_count_the_repair(server: AnswerServer) -> None:
    server.answers = ["{}", ROME]
    assert (await ask(server, "chat", City, max_steps=1)).output["parsed"].people == 3


async def test_the_error_names_every_field(server: AnswerServer) -> None:
    server.answers = ['{"people": "many"}']
    said, _ = await failing(server, "chat", list[City])
    assert "the answer: Input should be a valid" in said
    said, _ = await failing(server, "chat", City)
    assert "name: Field required; people: Input should be a valid integer" in said


async def test_an_empty_answer(server: AnswerServer) -> None:
    server.answers = ["  ", "\n"]
    said, _ = await failing(server, "chat", City)
    assert "it is empty, but JSON was asked for" in said


async def test_json_without_end_does_not_hang_or_break(server: AnswerServer) -> None:
    server.answers = ["[" * 100_000, "{" * 100_000 + "}" * 100_000]
    said, _ = await failing(server, "chat", City)
    assert "is not JSON" in said


# ---- with tools, in logs and in frames
async def test_tools_first_then_the_object() -> None:
    def population(city: str) -> int:
        """Count people."""
        return 3

    graph = mesh.StateGraph()
    graph.add_node("llm", node_type="llm", model="demo", tools=[population], output_type=City)
    run = await graph.set_entry_point("llm").run(
        "How many in Rome?", backend=mesh.MemoryBackend(), display=False
    )
    assert [c["name"] for c in run.output["tool_calls"]] == ["population"]
    assert isinstance(run.output["parsed"], City)


async def test_a_list_becomes_a_dataframe(server: AnswerServer) -> None:
    server.answers = [f'{{"items": [{ROME}, {{"name": "Oslo", "people": 1}}]}}']
    run = await ask(server, "chat", list[City])
    frame = run.to_pandas("parsed")
    assert frame.to_dict("records") == [{"name": "Rome", "people": 3}, {"name": "Oslo", "people": 1}]


async def test_one_object_becomes_one_row_and_nested_fields_get_dotted_names(server: AnswerServer) -> None:
    day = {"cities": [json.loads(ROME)], "color": "blue", "kind": "a", "day": "2026-01-31", "parent": None}
    server.answers = [json.dumps({**day, "parent": day})]
    frame = (await ask(server, "chat", Nested)).to_pandas("parsed")
    assert len(frame) == 1
    assert frame["parent.color"][0] == "blue"
    assert frame["day"][0] == "2026-01-31"


async def test_a_run_without_parsed_answers_says_so(server: AnswerServer) -> None:
    graph = mesh.StateGraph().add_node("llm", node_type="llm", **server.options("chat"))
    run = await graph.set_entry_point("llm").run("x", backend=mesh.MemoryBackend(), display=False)
    with pytest.raises(InputError, match="no parsed answer: give an llm node an output_type="):
        run.to_pandas("parsed")


# ---- what is refused when the node is made
@pytest.mark.parametrize(
    ("output_type", "says"),
    [
        (City(name="Rome", people=1), "is not a type; pass a pydantic model"),
        ("City", "'City' is not a type"),
        (LLMNode, "output_type=LLMNode has no JSON schema"),
        (list[LLMNode], "has no JSON schema"),
    ],
)
def test_what_is_no_type(output_type: Any, says: str) -> None:
    with pytest.raises(InputError, match="Node 'llm'") as caught:
        LLMNode("llm", model="demo", output_type=output_type)
    assert says in str(caught.value)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes typing.TypedDict from Python 3.12 on")
def test_a_typed_dict_that_pydantic_cannot_read_says_which_can() -> None:
    with pytest.raises(InputError, match=r"use `typing_extensions\.TypedDict`"):
        LLMNode("llm", model="demo", output_type=typing.TypedDict("Old", {"a": int}))
