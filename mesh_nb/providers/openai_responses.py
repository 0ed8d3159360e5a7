"""The Responses API: OpenAI's own models, with reasoning, citations and the tools that OpenAI runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ..core.events import ExecutionEvent
from . import _openai
from ._call import ModelCall
from ._fetch import Fetched, Stored
from ._responses_request import responses_body
from ._responses_translate import Translator


class OpenAIResponses:
    """The Responses API as a provider.

    The official SDK sends the request; its bytes are read here. `client=` takes an AsyncOpenAI of one's own
    (Azure, another transport), which is used as it is. Nothing is stored at the provider unless
    `extra={"store": True}` says so.
    """

    vendor = _openai.VENDOR
    api = "responses"
    prefixes = _openai.PREFIXES

    def preload(self) -> None:
        """Import the SDK and the price data, which takes seconds. Safe to call from any thread, and again."""
        _openai.preload()

    def check(self, call: ModelCall) -> None:
        """Raise ConfigurationError for a missing key, InputError for what cannot be sent."""
        _openai.check(call, "responses")
        self.request(call)

    def takes_schema(self, call: ModelCall) -> bool:
        """Whether the model has structured outputs: every one since gpt-4o of August 2024."""
        return _openai.takes_schema(call)

    def request(self, call: ModelCall) -> dict[str, Any]:
        """Return the body that `stream` sends."""
        return responses_body(call)

    def stream(self, call: ModelCall) -> AsyncIterator[ExecutionEvent]:
        """Make the call and yield its events. Raises ProviderError after everything that had arrived."""

        def translate(call_id: str) -> Translator:
            return Translator(
                call_id=call_id, model=call.model, think_tags=call.think_tags, native=call.native
            )

        def create(client: Any) -> Any:
            return client.responses.with_streaming_response.create

        return _openai.send(call, self.request(call), create, translate, input="")

    async def fetch_file(
        self,
        at: Stored,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        call: ModelCall | None = None,
    ) -> Fetched:
        """Return a file that OpenAI kept. Raises ProviderError, and ConfigurationError without a key.

        Parameters: at, where it is; api_key, base_url, None takes the environment; call, the settings of the
        node that made it, which go before.
        """
        asked = call or ModelCall(at.file_id, [], api_key=api_key, base_url=base_url)
        _openai.check(asked, "responses")
        return await _openai.fetch_file(asked, at)


plugin = OpenAIResponses()
