"""A Python function as a tool: its JSON schema, and the validation of the arguments a model sends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Annotated, Any, cast, overload

from ._named import named_options
from .edges import check_call
from .errors import GraphValidationError, ToolError, is_interrupt, shown, told
from .secret import mark_result

# What OpenAI's APIs take; the others take these too.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RENAMED = "renamed__"


@dataclasses.dataclass(slots=True)
class Tool:
    """A function that a model may call. Raises ToolError for options that cannot be meant.

    Parameters
    ----------
    fn : sync (runs in a thread with the cell's context) or async (runs on the loop).
    name, description : what the model reads; by default the function's name and docstring.
    schema : JSON schema of the arguments, an object.
    timeout : seconds, None for no limit.
    thread : False runs a sync function on the loop's own thread, for objects bound to it.
    requires_approval : True asks a person before each call; or a function of the arguments, a dict, that
        says whether.
    idempotent : False for a function that must not be run twice with one meaning, such as a payment: a call
        that was under way when its process died is run again only if a person says so.
    live : True calls the function even where a tape has the result, see `mesh_nb.record`.
    secret : True marks what the function returns, as `mesh_nb.secret` does: models get it, and no tape, log
        or output has it; of a dict they have the keys.
    """

    fn: Callable[..., Any]
    name: str
    description: str
    schema: dict[str, Any]
    timeout: float | None = None
    thread: bool = True
    model: Any = dataclasses.field(default=None, repr=False)
    requires_approval: bool | Callable[[dict[str, Any]], Any] = False
    idempotent: bool = True
    live: bool = False
    secret: bool = False

    def __post_init__(self) -> None:
        """Raise ToolError for options that cannot be meant."""
        label, asks, seconds = f"Tool {shown(self.name)}", cast("Any", self.requires_approval), self.timeout
        for name in ("thread", "idempotent", "live", "secret"):
            if not isinstance(getattr(self, name), bool):
                raise self._refused(f"{name}= is True or False, not {shown(getattr(self, name))}")
        if not isinstance(cast("Any", self.description), str):
            raise self._refused(f"description= is text, not {shown(self.description)}")
        number = isinstance(cast("Any", seconds), (int, float)) and not isinstance(seconds, bool)
        if seconds is not None and not (number and 0 < seconds < math.inf):
            raise self._refused(f"timeout= is a number of seconds above 0, not {shown(seconds)}")
        if callable(asks):
            try:
                check_call(label, "requires_approval", asks, ("arguments",))
            except GraphValidationError as error:
                raise ToolError(str(error), tool=self.name) from None
        elif not isinstance(asks, bool):
            raise self._refused(f"requires_approval= is True, False or a function, not {shown(asks)}")

    def _refused(self, problem: str) -> ToolError:
        return ToolError(f"Tool {shown(self.name)}: {problem}.", tool=self.name)

    @classmethod
    @named_options
    def from_function(
        cls,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        thread: bool = True,
        requires_approval: bool | Callable[[dict[str, Any]], Any] = False,
        idempotent: bool = True,
        live: bool = False,
        secret: bool = False,
    ) -> Tool:
        """Make a tool from type hints and docstring. Raises ToolError when the signature has no schema."""
        label = name or getattr(fn, "__name__", type(fn).__name__)
        model = _arguments_model(fn, label)
        if not _NAME.fullmatch(label):
            raise ToolError(
                f"A model cannot call a tool named {shown(label)}: use up to 64 letters, digits, _ and -, as"
                " in mesh_nb.tool(name='look_up')(function).",
                tool=label,
            )
        schema = _schema(model, label)
        schema.pop("title", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        schema.setdefault("properties", {})
        doc = description if description is not None else inspect.getdoc(fn) or ""
        flags = {"idempotent": idempotent, "live": live, "secret": secret}
        return cls(fn, label, doc, schema, timeout, thread, model, requires_approval, **flags)

    async def needs_approval(self, arguments: dict[str, Any]) -> bool:
        """Say whether a person is asked before such a call. Raises what the function raises."""
        if isinstance(self.requires_approval, bool):
            return self.requires_approval
        result = self.requires_approval(arguments)
        return bool(await result if inspect.isawaitable(result) else result)

    def validate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function wants them. Raises ToolError that a model can act on."""
        if self.model is None:
            return arguments
        from pydantic import ValidationError

        try:
            parsed = self.model.model_validate(arguments)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(x) for x in e['loc']) or 'arguments'}: {e['msg']}" for e in error.errors()
            )
            raise ToolError(f"Bad arguments for tool {self.name!r}: {problems}.", tool=self.name) from None
        fields = type(parsed).model_fields.items()
        values = {
            (field.alias or name if name.startswith(_RENAMED) else name): getattr(parsed, name)
            for name, field in fields
        }
        return {**values, **(parsed.model_extra or {})}

    async def call(self, arguments: dict[str, Any]) -> Any:
        """Validate, run and return the result. Raises ToolError for bad arguments or a timeout, else what the
        function raises."""
        return await self.run(self.validate(arguments))

    async def run(self, values: dict[str, Any]) -> Any:
        """Run with values from `validate`. Raises ToolError for a timeout, else what the function raises."""
        try:
            async with asyncio.timeout(self.timeout):
                result = await run_function(self.fn, values, thread=self.thread)
        except TimeoutError:
            if self.timeout is None:
                raise
            raise ToolError(
                f"Tool {self.name!r} took longer than its timeout of {self.timeout:g} s.", tool=self.name
            ) from None
        if self.secret:
            mark_result(result)
        return result


async def run_function(fn: Callable[..., Any], values: dict[str, Any], *, thread: bool = True) -> Any:
    """Run a sync function in a thread that carries the caller's context, an async one on the loop.

    Raises what it raises; ToolError where that would end the thread's loop or never arrive (sys.exit()).
    """
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        return await _finished(fn(**values))
    call = functools.partial(guarded, fn, **values)
    result = await asyncio.to_thread(call) if thread else call()
    return await _finished(result) if inspect.isawaitable(result) else result


def guarded(fn: Callable[..., Any], /, *args: Any, **values: Any) -> Any:
    """Call a user's function, with ToolError for what a future cannot carry (StopIteration) or what would end
    the loop that waits for it (SystemExit, KeyboardInterrupt)."""
    try:
        return fn(*args, **values)
    except StopIteration as error:
        raise _raised(fn, error) from error
    except Exception:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise _raised(fn, error) from error


async def in_steps(items: Generator[Any, Any, Any], returned: list[Any]) -> AsyncGenerator[Any, None]:
    """Yield from a user's generator, each step in a thread that carries the caller's context; closes it.

    Parameters: returned, where what it returns is put. Raises as `guarded` does.
    """

    def step() -> Any:
        try:
            return next(items)
        except StopIteration as stop:
            returned.append(stop.value)
            return returned

    step.__name__ = getattr(items, "__name__", type(items).__name__)
    try:
        while (item := await asyncio.to_thread(guarded, step)) is not returned:
            yield item
    finally:
        # After a cancel its thread may still be inside a step, which cannot be stopped.
        with contextlib.suppress(ValueError):
            items.close()


async def _finished(result: Awaitable[Any]) -> Any:
    try:
        return await result
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise _raised(result, error) from error


def _raised(thing: Any, error: BaseException) -> ToolError:
    name = getattr(thing, "__name__", type(thing).__name__)
    return ToolError(f"{name} raised {told(error)}; a tool ends by returning.", tool=name)


def _arguments_model(fn: Callable[..., Any], label: str) -> Any:
    from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, create_model

    try:
        signature = inspect.signature(fn, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise ToolError(f"Tool {label!r} has no readable signature: {error}.", tool=label) from error
    fields: dict[str, Any] = {}
    extra = "forbid"
    for p in signature.parameters.values():
        if p.kind is p.VAR_KEYWORD:
            extra = "allow"
        elif p.kind is p.POSITIONAL_ONLY or p.kind is p.VAR_POSITIONAL:
            raise ToolError(
                f"Tool {label!r} takes {p.name!r} by position only; a model passes arguments by name.",
                tool=label,
            )
        else:
            hint = Any if p.annotation is p.empty else p.annotation
            name = p.name
            if name.startswith("_") or hasattr(BaseModel, name):  # what no field can be named: _x, json
                name, hint = f"{_RENAMED}{len(fields)}", Annotated[hint, Field(alias=name)]
            fields[name] = (hint, ... if p.default is p.empty else p.default)
    config: Any = ConfigDict(extra=extra, arbitrary_types_allowed=False)
    try:
        return create_model(label, __config__=config, **fields)
    except PydanticSchemaGenerationError as error:
        raise _without_schema(label, error.message) from None


def _schema(model: Any, label: str) -> dict[str, Any]:
    from pydantic.errors import PydanticInvalidForJsonSchema
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        # A default that is no JSON is left out of the schema; the function has it.
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    try:
        return model.model_json_schema(schema_generator=Quiet)
    except PydanticInvalidForJsonSchema as error:
        raise _without_schema(label, error.message) from None


def _without_schema(label: str, why: str) -> ToolError:
    return ToolError(
        f"Tool {label!r} has a parameter whose type has no JSON schema; use str, int, float, bool, list,"
        f" dict, a dataclass or a pydantic model. ({why.splitlines()[0]})",
        tool=label,
    )


@overload
def tool(fn: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = ...,
    description: str | None = ...,
    timeout: float | None = ...,
    thread: bool = ...,
    requires_approval: bool | Callable[[dict[str, Any]], Any] = ...,
    idempotent: bool = ...,
    live: bool = ...,
    secret: bool = ...,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a Tool of a function: `@mesh_nb.tool` or `@mesh_nb.tool(timeout=5)`; see Tool for the options."""
    if fn is None:
        return lambda f: Tool.from_function(f, **options)
    return Tool.from_function(fn, **options)


def as_tool(thing: Any) -> Tool:
    """Return a Tool for a Tool or a function. Raises ToolError for anything else."""
    if isinstance(thing, Tool):
        return thing
    if callable(thing):
        return Tool.from_function(thing)
    raise ToolError(
        f"{thing!r} is not a tool: pass a function, a Tool, or the name of a provider's own tool."
    )
