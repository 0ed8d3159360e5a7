"""Functions as tools: schema, validation, running."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from mesh_nb import Tool, tool
from mesh_nb.core.errors import ToolError
from mesh_nb.core.tools import as_tool, run_function


class City(BaseModel):
    name: str
    people: int = 0


@dataclasses.dataclass
class Range:
    low: int
    high: int


def weather(city: str, unit: Literal["c", "f"] = "c", days: int | None = None) -> str:
    """Weather of a city."""
    return f"{city} {unit} {days}"


def test_the_schema_comes_from_hints_and_docstring() -> None:
    made = Tool.from_function(weather)
    assert (made.name, made.description) == ("weather", "Weather of a city.")
    assert made.schema["required"] == ["city"]
    assert made.schema["properties"]["unit"]["enum"] == ["c", "f"]
    assert made.schema["properties"]["city"] == {"type": "string"}
    assert made.schema["type"] == "object"


async def test_arguments_are_validated_and_converted() -> None:
    assert await Tool.from_function(weather).call({"city": "Rome", "days": "3"}) == "Rome c 3"

    def take(city: City, span: Range) -> Any:
        return city, span

    made = Tool.from_function(take)
    assert await made.call({"city": {"name": "Rome"}, "span": {"low": 1, "high": 2}}) == (
        City(name="Rome"),
        Range(1, 2),
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({}, "city: Field required"), ({"city": "x", "unit": "k"}, "unit"), ({"city": "x", "town": 1}, "town")],
)
async def test_bad_arguments_are_an_error_that_a_model_can_act_on(arguments: Any, says: str) -> None:
    with pytest.raises(ToolError, match=says) as caught:
        await Tool.from_function(weather).call(arguments)
    assert caught.value.tool == "weather"
    assert "\n" not in str(caught.value)


async def test_extra_arguments_go_to_keywords() -> None:
    made = Tool.from_function(lambda **rest: rest, name="any")
    assert await made.call({"a": 1}) == {"a": 1}


async def test_parameters_may_have_names_that_fields_of_a_model_cannot() -> None:
    def take(json: str, _limit: int = 5, model_config: str = "", copy: bool = False) -> Any:
        return json, _limit, model_config, copy

    made = Tool.from_function(take)  # a warning would fail this test
    assert list(made.schema["properties"]) == ["json", "_limit", "model_config", "copy"]
    assert made.schema["required"] == ["json"]
    assert await made.call({"json": "{}", "_limit": "7"}) == ("{}", 7, "", False)
    with pytest.raises(ToolError, match="_limit: Input should be a valid integer"):
        await made.call({"json": "", "_limit": "seven"})


async def test_a_default_that_is_no_json_is_the_functions_own() -> None:
    missing = object()

    def take(value: Any = missing) -> bool:
        return value is missing

    made = Tool.from_function(take)
    assert made.schema["properties"] == {"value": {}}
    assert await made.call({}) is True


@pytest.mark.parametrize("name", ["<lambda>", "größe", "files.read", "x" * 65])
def test_a_name_that_no_api_takes_is_refused(name: str) -> None:
    def take() -> None: ...

    take.__name__ = name
    with pytest.raises(ToolError, match=r"cannot call a tool named .*mesh_nb\.tool\(name="):
        Tool.from_function(take)
    assert Tool.from_function(take, name="take-2").name == "take-2"


async def test_sync_tools_run_in_a_thread_with_context_and_may_opt_out() -> None:
    cell = contextvars.ContextVar("cell", default="none")
    cell.set("mine")

    def where() -> tuple[int, str]:
        return threading.get_ident(), cell.get()

    thread, value = await Tool.from_function(where).call({})
    assert thread != threading.get_ident()
    assert value == "mine"
    assert await Tool.from_function(where, thread=False).call({}) == (threading.get_ident(), "mine")


async def test_async_functions_and_objects_run_on_the_loop() -> None:
    class Call:
        async def __call__(self) -> int:
            return threading.get_ident()

    assert await run_function(Call(), {}) == threading.get_ident()


async def test_a_timeout_is_named_and_a_tools_own_timeout_error_is_its_own() -> None:
    @tool(timeout=0.01)
    async def slow() -> None:
        """Never ends."""
        await asyncio.Event().wait()

    with pytest.raises(ToolError, match=r"'slow' took longer than its timeout of 0.01 s"):
        await slow.call({})

    @tool
    def own() -> None:
        """Fail."""
        raise TimeoutError("theirs")

    with pytest.raises(TimeoutError, match="theirs"):
        await own.call({})


def test_what_cannot_be_a_tool() -> None:
    with pytest.raises(ToolError, match="by position only"):
        Tool.from_function(lambda a, /: a)
    with pytest.raises(ToolError, match="is not a tool"):
        as_tool(3)

    def odd(lock: threading.Lock) -> None: ...

    def back(then: Callable[[int], int]) -> None: ...

    with pytest.raises(ToolError, match="'back' has a parameter whose type has no JSON schema"):
        Tool.from_function(back)
    with pytest.raises(ToolError, match="no JSON schema"):
        Tool.from_function(odd)


def test_as_tool_keeps_a_tool() -> None:
    made = Tool.from_function(weather)
    assert as_tool(made) is made
    assert as_tool(weather).name == "weather"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": "5"}, "timeout= is a number of seconds above 0, not '5'"),
        ({"timeout": 0}, "timeout= is a number of seconds above 0, not 0"),
        ({"thread": "no"}, "thread= is True or False, not 'no'"),
        ({"idempotent": 0}, "idempotent= is True or False, not 0"),
        ({"secret": 1}, "secret= is True or False, not 1"),
        ({"live": "x"}, "live= is True or False, not 'x'"),
        ({"description": 5}, "description= is text, not 5"),
        ({"requires_approval": "yes"}, "requires_approval= is True, False or a function, not 'yes'"),
        (
            {"requires_approval": lambda: True},
            "requires_approval is called with (arguments), which",
        ),
        ({"requires_approval": lambda a, b: True}, "requires_approval is called with (arguments)"),
    ],
)
def test_options_of_a_tool_that_cannot_be_meant_are_refused(options: dict[str, Any], says: str) -> None:
    def pay(amount: int) -> str:
        return str(amount)

    with pytest.raises(ToolError) as error:
        tool(**options)(pay)
    assert str(error.value).startswith("Tool 'pay': ")
    assert says in str(error.value)
    assert error.value.tool == "pay"
