"""The llm node: a model, a system prompt, and tools that it may call."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from math import inf
from typing import Any

from ..core import tape, templates
from ..core._history import trimmed
from ..core.attachments import FilePart, files_of, without_files
from ..core.cache import Cache, cache_of
from ..core.context import ExecutionContext, Message, as_text
from ..core.errors import ConfigurationError, InputError, MeshError, UnknownNameError, shown
from ..core.events import EventType, ExecutionEvent
from ..core.node import BaseNode
from ..core.tools import Tool, as_tool
from ..providers._call import ModelCall, Provider
from ..providers._resolve import resolve, vendor_of
from ._kinds import DICT, NUMBER, SWITCH, TEXT, TOOLS, WHOLE, Kind, check_kinds
from ._model_call import converse
from ._structured import Reader
from ._structured import output_type as read_type
from ._taped import keyless

_CHOICES = ("auto", "none", "required")
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("model", "provider", "api", "base_url", "api_key", "system_prompt"), TEXT),
    **dict.fromkeys(("temperature", "timeout", "idle_timeout"), NUMBER),
    **dict.fromkeys(("max_tokens", "max_steps", "max_retries", "history_tokens"), WHOLE),
    **dict.fromkeys(("think_tags", "use_native_events"), SWITCH),
    **dict.fromkeys(("extra", "extra_headers"), DICT),
    "tools": TOOLS,
    "reasoning": ("text or a dict", (str, dict)),
}
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NEEDED = ("idle_timeout", "max_steps", "max_retries", "think_tags", "use_native_events")
_preloading: set[type] = set()


class LLMNode(BaseNode):
    """Asks a model and streams its answer; with tools, runs them and asks again until it answers.

    Parameters
    ----------
    id : the node's name.
    model : "gpt-5", "openai/gpt-5", or whatever the server behind base_url calls it; None takes MESH_MODEL.
    provider, api : "openai", and "chat"; None finds them by the model's name.
    base_url, api_key : None takes OPENAI_BASE_URL and OPENAI_API_KEY, or what the provider uses.
    client : an SDK client of your own, used as it is: openai's AsyncOpenAI and AsyncAzureOpenAI, anthropic's
        AsyncAnthropic, AsyncAnthropicBedrock, AsyncAnthropicVertex and others, an httpx2.AsyncClient for
        Gemini. provider and api follow from it.
    system_prompt : a template, such as "Answer in French. The question was {{$question}}".
    history_tokens : how much of the session's history is sent, its latest turns, by an estimate of 4
        characters a token; None sends it all.
    temperature, max_tokens, reasoning : None leaves the model's default; reasoning is an effort ("low",
        "high") or the provider's own object.
    tools : functions, Tools, or names of tools that the provider runs.
        A call that does not fit goes back to the model as an error; after three such rounds the node fails.
    tool_choice : "auto", "none", "required" or a tool's name; it holds for the first round.
    output_type : a pydantic model, dataclass, TypedDict or list[...] of one: the answer is JSON of its
        schema, validated, and sent back once when it does not fit. The object is under "parsed".
    max_steps : how many model calls one run of the node may make, not counting that one.
    timeout : seconds for one model call; idle_timeout : seconds of silence that count as a failure.
    max_retries : how often a request is sent again before its first event (429, 5xx, no connection).
    think_tags : read a leading `<think>...</think>` in the answer as reasoning.
    use_native_events : deliver the provider's own chunks too, under `metadata["native"]`.
    prompt_cache : "auto" has the provider keep what does not change from call to call: marks for Anthropic,
        a key for OpenAI; the others decide themselves.
    extra, extra_headers : further fields for the request's body, further headers; headers are not logged.
    cache : True takes the answers of the same calls from `.mesh/cache`, "7d" those that are no older; a
        `mesh_nb.Cache` says more. None does what the run's cache= says, False never.

    The node sends the session's chat history and its input, with the attachments that the input has under
    `files`; later questions of the session know these by name only. Its output is `{"content": text,
    "tool_calls": [...]}`, and "parsed" with an output_type. Raises InputError, UnknownNameError or ToolError
    for options that cannot be meant.
    """

    kind = "llm"
    replays = True

    def __init__(
        self,
        id: str,
        *,
        model: str | None = None,
        provider: str | None = None,
        api: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        client: Any = None,
        system_prompt: str | None = None,
        history_tokens: int | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        reasoning: str | dict[str, Any] | None = None,
        tools: Sequence[Callable[..., Any] | Tool | str] = (),
        tool_choice: str | dict[str, Any] | None = None,
        output_type: Any = None,
        max_steps: int = 10,
        timeout: float | None = None,
        idle_timeout: float = 90.0,
        max_retries: int = 2,
        think_tags: bool = True,
        use_native_events: bool = False,
        prompt_cache: str | None = None,
        extra: dict[str, Any] | None = None,
        extra_headers: dict[str, str] | None = None,
        cache: bool | str | Cache | None = None,
    ) -> None:
        check_kinds(id, _KINDS, locals(), _NEEDED)
        super().__init__(id)
        self.model, self.provider, self.api, self.system_prompt = model, provider, api, system_prompt
        self.max_steps, self.history_tokens, self.cache = max_steps, history_tokens, cache_of(cache)
        self.templates = (system_prompt,) if system_prompt else ()
        self.output_type = None if output_type is None else read_type(id, output_type)
        own, named = _tools(id, tools)
        self._settings = ModelCall(
            model=model or "",
            messages=[],
            tools=own,
            builtin_tools=named,
            temperature=temperature,
            max_tokens=max_tokens,
            reasoning=reasoning,
            tool_choice=tool_choice,
            base_url=base_url,
            api_key=api_key,
            client=client,
            timeout=timeout,
            idle_timeout=idle_timeout,
            max_retries=max_retries,
            extra=dict(extra or {}),
            headers=_headers(id, extra_headers or {}),
            prompt_cache=prompt_cache,
            native=use_native_events,
            think_tags=think_tags,
        )
        self._validate()
        self._resolved: tuple[Any, tuple[Provider, str]] | None = None
        self._preload()

    def check(self) -> None:
        """Raise what would make a run fail: an unknown model, a missing key, options that do not fit."""
        provider, name = self._resolve()
        call = keyless(dataclasses.replace(self._settings, model=name), tape.current())
        provider.check(self._shaped(provider, call))

    @property
    def tools(self) -> list[Tool]:
        """The functions that its model may call."""
        return self._settings.tools

    def check_files(self, files: list[FilePart]) -> None:
        """Raise InputError, before a run starts, for attachments that the provider does not take."""
        provider, name = self._resolve()
        asked: Message = {"role": "user", "content": list(files)}
        provider.check(dataclasses.replace(self._settings, model=name, messages=[asked]))

    async def fetch_file(self, at: Any, **other: Any) -> Any:
        """Return a file that the provider kept, asked for with the key and address of this node.

        Parameters: at, where it is; other, api_key and base_url to be used instead. Raises InputError for a
        provider that keeps no files, and what its plug-in raises.
        """
        provider = self._resolve()[0]
        fetch: Any = getattr(provider, "fetch_file", None)
        if fetch is None:
            raise InputError(f"Provider {provider.vendor!r} has no files to be fetched ({provider.api}).")
        given = {name: value for name, value in other.items() if value is not None}
        return await fetch(at, call=dataclasses.replace(self._settings, model=at.file_id, **given))

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Ask the model; the last event is node_complete with the output."""
        provider, call = self.prepared(input, context)
        if self.cache is not None:
            context = dataclasses.replace(context, cache=self.cache or None)
        reader = None if self.output_type is None else Reader(self.output_type)
        async with aclosing(converse(provider, call, self.max_steps, reader, context)) as events:
            async for event in events:
                if reader is not None and event.type == EventType.NODE_COMPLETE:
                    event.output["parsed"] = reader.value
                yield event

    def prepared(self, input: Any, context: ExecutionContext) -> tuple[Provider, ModelCall]:
        """Return the provider and the first call of a run; nothing is sent. Raises as `run` does."""
        provider, name = self._resolve()
        system = templates.resolve(self.system_prompt, context) if self.system_prompt else None
        call = dataclasses.replace(
            self._settings, model=name, system=system, messages=self._messages(input, context, system)
        )
        return provider, self._shaped(provider, call)

    def _shaped(self, provider: Provider, call: ModelCall) -> ModelCall:
        """Return the call with the wanted schema: natively where provider and model can, else in words."""
        wanted = self.output_type
        if wanted is None:
            return call
        takes = getattr(provider, "takes_schema", None)
        if wanted.strict is not None and takes is not None and takes(call):
            return dataclasses.replace(call, output_schema=wanted.strict)
        system = f"{call.system}\n\n{wanted.instructions}" if call.system else wanted.instructions
        return dataclasses.replace(call, system=system)

    def _messages(self, input: Any, context: ExecutionContext, system: str | None) -> list[Message]:
        own = as_text(without_files(input))
        text, files = own or context.question, files_of(input if own else context.input)
        history = trimmed(context.chat_history, self.history_tokens)
        if not text and not files and not system and not history:
            raise InputError("There is nothing to ask: the input is empty. Pass a question.")
        content = [*files, *([{"type": "text", "text": text}] if text else [])] if files else text
        return [*history, *([{"role": "user", "content": content}] if content else [])]

    def _resolve(self) -> tuple[Provider, str]:
        model = self.model or os.environ.get("MESH_MODEL")
        if not model:
            raise ConfigurationError(
                f'Node {self.id!r} has no model. Pass model= or set MESH_MODEL; model="demo" needs no key.'
            )
        client, base_url = self._settings.client, self._settings.base_url
        speaks = None if client is None else vendor_of(client)
        if speaks is not None:
            base_url = str(getattr(client, "base_url", "")) or base_url
        key = (model, os.environ.get("OPENAI_BASE_URL"))
        if self._resolved is None or self._resolved[0] != key:
            self._resolved = key, resolve(model, self.provider or speaks, self.api, base_url)
        return self._resolved[1]

    def _preload(self) -> None:
        """Import the provider's SDK while the user still builds the graph: it takes seconds."""
        try:
            provider = self._resolve()[0]
        except MeshError:
            return  # check() says so when the graph is to run
        if type(provider) not in _preloading:
            _preloading.add(type(provider))
            threading.Thread(target=provider.preload, name="mesh_nb-preload", daemon=True).start()

    def _validate(self) -> None:
        s = self._settings
        limits = [
            ("temperature", s.temperature, s.temperature is None or 0 <= s.temperature < inf, "0 or more"),
            ("max_tokens", s.max_tokens, s.max_tokens is None or s.max_tokens > 0, "above 0"),
            ("history_tokens", self.history_tokens, (self.history_tokens or 0) >= 0, "0 or more"),
            ("max_steps", self.max_steps, self.max_steps > 0, "above 0"),
            ("timeout", s.timeout, s.timeout is None or s.timeout > 0, "above 0 (seconds)"),
            ("idle_timeout", s.idle_timeout, s.idle_timeout > 0, "above 0 (seconds)"),
            ("max_retries", s.max_retries, s.max_retries >= 0, "0 or more"),
        ]
        for name, value, fits, meant in limits:
            if not fits:
                raise InputError(f"Node {self.id!r}: {name}={value!r} must be {meant}.")
        if s.prompt_cache not in (None, "auto"):
            raise UnknownNameError(f"prompt_cache of node {self.id!r}", str(s.prompt_cache), ["auto"])
        names = [*(t.name for t in s.tools), *s.builtin_tools]
        if isinstance(s.tool_choice, str) and s.tool_choice not in (*_CHOICES, *names):
            raise UnknownNameError(f"tool_choice of node {self.id!r}", s.tool_choice, [*_CHOICES, *names])
        if s.tool_choice is not None and not names:
            raise InputError(f"Node {self.id!r} has a tool_choice but no tools: pass tools=.")


def _headers(node_id: str, given: dict[Any, Any]) -> dict[str, str]:
    """Check headers without showing their values, which may be keys."""
    for name, value in given.items():
        named = isinstance(name, str) and _TOKEN.fullmatch(name)
        if not named or not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            what = f"the value of {name!r}" if named else f"the name {shown(name)}"
            raise InputError(f"Node {node_id!r}: extra_headers= has what no header can be: {what}.")
    return dict(given)


def _tools(node_id: str, given: Sequence[Callable[..., Any] | Tool | str]) -> tuple[list[Tool], list[str]]:
    if isinstance(given, str) or callable(given):
        raise InputError(f"Node {node_id!r}: tools= is a list; write tools=[{_label(given)}].")
    own = [as_tool(t) for t in given or () if not isinstance(t, str)]
    named = [t for t in given or () if isinstance(t, str)]
    names = [t.name for t in own] + named
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"Node {node_id!r} has two tools named {twice[0]!r}; give one of them another name.")
    return own, named


def _label(thing: Any) -> str:
    return repr(thing) if isinstance(thing, str) else getattr(thing, "__name__", type(thing).__name__)


plugin = LLMNode
