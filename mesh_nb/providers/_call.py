"""One model call, in neutral terms. A provider turns it into its own request."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

from ..core.context import Message
from ..core.events import ExecutionEvent
from ..core.tools import Tool

_SECRET = re.compile("auth|key|token|secret|cookie|password", re.I)
# Where the SDKs' clients, those for other clouds too, have their keys.
_KEYS = ("api_key", "auth_token", "access_token", "aws_secret_key", "aws_session_token", "_azure_ad_token")

RESTART = "data-restart"
"""data_type of the custom_data that says: the answer begins again, what came before in its call is void."""


@dataclasses.dataclass(slots=True)
class ModelCall:
    """What to ask of which model, and how.

    Parameters
    ----------
    model : the name as it goes out on the wire.
    messages : neutral messages, oldest first. user: content is text, or parts `{"type": "text", "text"}` and
        `{"type": "file", "name", "mime_type", "data": bytes}`. assistant: content, tool_calls
        `[{"id", "name", "arguments", "arguments_raw"}]`, provider_state. tool: tool_call_id, name, content.
    system : system prompt, already resolved.
    tools : functions the model may call; builtin_tools : tools the provider runs, by the provider's name.
    temperature, max_tokens, reasoning, tool_choice : None leaves the provider's default.
    output_schema : JSON schema of the answer, for native structured output.
    base_url, api_key, client : where and as whom; None takes the environment. client is the user's own SDK
        client.
    timeout : seconds for the whole call; idle_timeout : seconds of silence that count as a failure.
    max_retries : how often the request is sent again before its first event.
    extra : further fields of the request body, passed through; headers : further headers of the request.
    prompt_cache : "auto" marks what does not change from call to call, where a provider wants that.
    native : deliver the wire's chunks too (`use_native_events`).
    think_tags : read a leading `<think>...</think>` in answer text as reasoning.
    """

    model: str
    messages: list[Message]
    system: str | None = None
    tools: list[Tool] = dataclasses.field(default_factory=list[Tool])
    builtin_tools: list[str] = dataclasses.field(default_factory=list[str])
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning: Any = None
    tool_choice: Any = None
    output_schema: dict[str, Any] | None = None
    base_url: str | None = dataclasses.field(default=None, repr=False)
    api_key: str | None = dataclasses.field(default=None, repr=False)
    client: Any = dataclasses.field(default=None, repr=False)
    timeout: float | None = None
    idle_timeout: float = 90.0
    max_retries: int = 2
    extra: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any], repr=False)
    headers: dict[str, str] = dataclasses.field(default_factory=dict[str, str], repr=False)
    prompt_cache: str | None = None
    native: bool = False
    think_tags: bool = True


def secrets(call: ModelCall, key: str | None) -> tuple[str, ...]:
    """Return what no message may show: the key, those of a client of the user's own, headers with one."""
    own = (getattr(call.client, name, None) for name in _KEYS)
    held = (value for name, value in call.headers.items() if _SECRET.search(name))
    return tuple(s for s in (key, *own, *held) if isinstance(s, str))


def open_headers(call: ModelCall) -> dict[str, str]:
    """Return those of a call's own headers that hold no key, by their names."""
    return {name: value for name, value in call.headers.items() if not _SECRET.search(name)}


def with_headers(client: Any, call: ModelCall) -> tuple[Any, dict[str, str] | None]:
    """Return an SDK client that sends those of a call's headers that hold a key, and the other headers.

    Anthropic's SDK logs the headers of a request, at DEBUG, but not those of its client.
    """
    rest = open_headers(call)
    held = {name: value for name, value in call.headers.items() if name not in rest}
    return (client.with_options(default_headers=held) if held else client), rest or None


class Provider(Protocol):
    """A provider plug-in: the module-level `plugin` of `providers/x.py`.

    vendor is what events, prices and `provider=` call it ("openai"); api tells several APIs of one vendor
    apart ("chat", "responses"); prefixes are the beginnings of model names that mean this vendor. One that
    can hold an answer to ModelCall.output_schema also has `takes_schema(call) -> bool`; without it, it is
    never given one. One that keeps files has `fetch_file(at, *, api_key, base_url, call)`.
    """

    vendor: str
    api: str
    prefixes: tuple[str, ...]

    def preload(self) -> None:
        """Import what the first call needs. Safe to call from any thread, more than once."""
        ...

    def check(self, call: ModelCall) -> None:
        """Raise ConfigurationError or InputError, without any I/O, when this call cannot be made."""
        ...

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its grammar: model_call_start first, response_metadata last.

        Raises ProviderError after what had arrived was yielded and every open block closed.
        """
        ...
