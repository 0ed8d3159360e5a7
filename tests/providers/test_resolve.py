"""From a model's name to a provider: by prefix, by provider/model, verbatim with a server of one's own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mesh_nb.core import plugins
from mesh_nb.core.errors import UnknownNameError
from mesh_nb.providers import _hosts
from mesh_nb.providers._resolve import resolve


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.mark.parametrize("name", ["gpt-5", "gpt-4o-mini", "o1", "o3-mini", "o4-mini", "chatgpt-4o-latest"])
def test_known_prefix(name: str) -> None:
    provider, wire = resolve(name)
    assert (provider.vendor, wire) == ("openai", name)


def test_provider_slash_model() -> None:
    provider, wire = resolve("openai/some-new-thing")
    assert (provider.vendor, wire) == ("openai", "some-new-thing")


@pytest.mark.parametrize("name", ["openai/gpt-5", "anthropic/claude-x", "qwen3:8b", "gpt-5"])
def test_name_goes_out_verbatim_where_the_server_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(name, base_url="http://localhost:1/v1")[1] == name
    assert resolve(name, provider="openai")[1] == name
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    provider, wire = resolve(name)
    assert (provider.vendor, provider.api, wire) == ("openai", "chat", name)


def test_openai_base_url_of_openai_itself_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    with pytest.raises(UnknownNameError):
        resolve("qwen3:8b")


def test_api_is_chosen_or_refused() -> None:
    assert resolve("gpt-5", api="chat")[0].api == "chat"
    with pytest.raises(UnknownNameError, match=r"'chta'.*Did you mean 'chat'"):
        resolve("gpt-5", api="chta")


def test_plug_in_by_its_own_name() -> None:
    assert resolve("x", provider="openai_chat")[0] is plugins.find("provider", "openai_chat")


@pytest.mark.parametrize(
    ("name", "guess"),
    [("opnai/gpt-5", "'openai/gpt-5'"), ("gtp-4o", "begins with 'gpt'"), ("o1x", "Known providers: ")],
)
def test_unknown_model_names_the_known_providers_and_the_nearest(name: str, guess: str) -> None:
    with pytest.raises(UnknownNameError) as info:
        resolve(name)
    assert name in str(info.value)
    assert "openai" in str(info.value)
    assert guess in str(info.value)
    assert "base_url=" in str(info.value)


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("GPT-5", "Did you mean 'gpt-5'?"),
        ("Claude-Opus-4-6", "Did you mean 'claude-opus-4-6'?"),
        ("anthropic/", "Did you mean 'anthropic/MODEL'?"),
        ("ollama/qwen3:8b", "ollama is reached by its address: base_url='http://localhost:11434/v1'"),
        ("xAI/grok-4", "xAI is reached by its address: base_url='https://api.x.ai/v1'"),
        ("openrouter/openai/gpt-5", "base_url='https://openrouter.ai/api/v1', or OPENAI_BASE_URL."),
    ],
)
def test_unknown_model_says_what_to_write(name: str, guess: str) -> None:
    with pytest.raises(UnknownNameError) as info:
        resolve(name)
    assert guess in str(info.value)


def test_a_server_that_is_named_as_a_provider_is_reached_by_its_address() -> None:
    with pytest.raises(UnknownNameError, match=r"'groq'.*base_url='https://api.groq.com/openai/v1'"):
        resolve("llama-4", provider="groq")


@pytest.mark.parametrize(
    ("address", "vendor"),
    [
        ("http://localhost:11434/v1", "ollama"),
        ("http://127.0.0.1:1234/v1", "lmstudio"),
        ("http://localhost:8000/v1", "openai"),
        ("http://gpu.example:11434/v1", "openai"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("no address", "openai"),
    ],
)
def test_prices_and_limits_know_a_server_by_its_address(address: str, vendor: str) -> None:
    assert _hosts.vendor(address)[0] == vendor
    assert vendor in _hosts.VENDORS


def test_unknown_provider() -> None:
    with pytest.raises(UnknownNameError, match=r"'opnai'.*Did you mean 'openai'"):
        resolve("gpt-5", provider="opnai")


def test_demo_only_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("demo")[0].vendor == "demo"
    assert resolve("x", provider="demo")[0].vendor == "demo"
    with pytest.raises(UnknownNameError):
        resolve("democracy-7b")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert resolve("demo")[0].vendor == "demo"
    assert resolve("demo", base_url="http://localhost:1/v1")[0].vendor == "openai"


def test_a_provider_that_cannot_be_imported_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = plugins.find

    def find(kind: str, name: str) -> Any:
        if name == "gemini":
            raise SyntaxError("half written")
        return found(kind, name)

    monkeypatch.setattr(plugins, "find", find)
    monkeypatch.setattr("mesh_nb.providers._resolve._broken", set())
    assert resolve("gpt-5")[0].vendor == "openai"
    assert resolve("demo")[0].vendor == "demo"
    with pytest.raises(UnknownNameError):
        resolve("gemini-2.5-pro")
    assert [r.args for r in caplog.records] == [("gemini",)]


def test_resolving_imports_no_sdk() -> None:
    code = (
        "import sys; from mesh_nb.providers._resolve import resolve; resolve('gpt-5');"
        "print([m for m in ('openai', 'anthropic', 'httpx2', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("address", ["https://mine.openai.azure.com/openai/v1/", "https://x.example/v1"])
def test_azure_and_foreign_servers_are_asked_through_chat(address: str) -> None:
    assert resolve("gpt-5", base_url=address)[0].api == "chat"
    assert resolve("gpt-5", api="responses", base_url=address)[0].api == "responses"
    assert resolve("gpt-5", base_url="https://eu.api.openai.com/v1")[0].api == "responses"
