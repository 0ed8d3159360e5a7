"""Chat Completions: OpenAI, and every server that speaks its format, through `base_url`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ..core.errors import InputError
from ..core.events import ExecutionEvent
from . import _hosts, _openai
from ._call import ModelCall
from ._chat_request import chat_body
from ._chat_translate import Translator


class OpenAIChat:
    """The Chat Completions API as a provider.

    The official SDK sends the request; its bytes are read here. `client=` takes an AsyncOpenAI of one's own
    (Azure, another transport), which is used as it is.
    """

    vendor = _openai.VENDOR
    api = "chat"
    prefixes = _openai.PREFIXES

    def preload(self) -> None:
        """Import the SDK and the price data, which takes seconds. Safe to call from any thread, and again."""
        _openai.preload()

    def check(self, call: ModelCall) -> None:
        """Raise ConfigurationError for a missing key, InputError for what cannot be sent."""
        _openai.check(call, "chat")
        if call.builtin_tools:
            names = ", ".join(repr(n) for n in call.builtin_tools)
            raise InputError(
                f"The chat API runs no tools of its own, so {names} cannot be used: pass a function as the"
                " tool, or the server's own field in extra=."
            )
        self.request(call)

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether the server is known to hold an answer to a schema."""
        return _openai.takes_schema(call)

    def request(self, call: ModelCall) -> dict[str, Any]:
        """Return the body that `stream` sends."""
        return chat_body(call, own=_hosts.is_openai(_openai.base_url(call)))

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its events. Raises ProviderError after everything that had arrived."""

        def translate(call_id: str) -> Translator:
            return Translator(
                call_id=call_id, model=call.model, think_tags=call.think_tags, native=call.native
            )

        def create(client: Any) -> Any:
            return client.chat.completions.with_streaming_response.create

        return _openai.send(call, self.request(call), create, translate, messages=[])


plugin = OpenAIChat()
