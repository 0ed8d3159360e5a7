"""Which vendor answers at an address, and where its key is kept."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from ..core.errors import ConfigurationError

OPENAI = "https://api.openai.com/v1"

# Host: the vendor as genai-prices names it, the variable that its own documentation uses, the API's path.
_HOSTS = {
    "api.openai.com": ("openai", "OPENAI_API_KEY", "/v1"),
    "api.cerebras.ai": ("cerebras", "CEREBRAS_API_KEY", "/v1"),
    "api.deepseek.com": ("deepseek", "DEEPSEEK_API_KEY", "/v1"),
    "api.fireworks.ai": ("fireworks", "FIREWORKS_API_KEY", "/inference/v1"),
    "api.groq.com": ("groq", "GROQ_API_KEY", "/openai/v1"),
    "api.mistral.ai": ("mistral", "MISTRAL_API_KEY", "/v1"),
    "api.moonshot.ai": ("moonshotai", "MOONSHOT_API_KEY", "/v1"),
    "api.perplexity.ai": ("perplexity", "PERPLEXITY_API_KEY", ""),
    "api.together.xyz": ("together", "TOGETHER_API_KEY", "/v1"),
    "api.x.ai": ("x-ai", "XAI_API_KEY", "/v1"),
    "openrouter.ai": ("openrouter", "OPENROUTER_API_KEY", "/api/v1"),
    "router.huggingface.co": ("huggingface", "HF_TOKEN", "/v1"),
}
# Where servers of one's own listen unless they are told otherwise.
_LOCAL = {
    "llama.cpp": "http://localhost:8080/v1",
    "lmstudio": "http://localhost:1234/v1",
    "ollama": "http://localhost:11434/v1",
    "vllm": "http://localhost:8000/v1",
}

# Those of these ports that nothing else is known for, on this machine: prices and limits go by the name.
_PORTS = {1234: "lmstudio", 11434: "ollama"}
_HERE = ("localhost", "127.0.0.1", "::1", "host.docker.internal")

VENDORS = ("azure", *sorted(_PORTS.values()), *sorted({name for name, _, _ in _HOSTS.values()}))
"""The vendors that are known by their address."""

# Before structured outputs: https://developers.openai.com/api/docs/guides/structured-outputs
_WITHOUT_SCHEMA = re.compile(r"gpt-3|gpt-4(?![o.]|-?1)|gpt-4o-2024-05-13|o1-(?:mini|preview)|chatgpt-4o")
_ONLY_JSON = ("api.deepseek.com", "api.moonshot.ai")


def openai_base_url(base_url: str | None) -> str:
    """Return where an OpenAI client goes: base_url, else OPENAI_BASE_URL, else OpenAI."""
    return base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI


def host(base_url: str) -> str:
    """Return the host name of a base URL, in lower case; empty when it has none, or is no HTTP address."""
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # raises for a port that cannot be
    except ValueError:
        return ""
    return (parts.hostname or "").lower() if parts.scheme.lower() in ("http", "https") else ""


def advice(name: str) -> str:
    """Return how to reach a server of OpenAI's format by the name that people have for it, "" for others."""
    known = {vendor: f"https://{host}{path}" for host, (vendor, _, path) in _HOSTS.items()} | _LOCAL
    address = {_letters(vendor): url for vendor, url in known.items()}.get(_letters(name))
    return f"{name} is reached by its address: base_url={address!r}, or OPENAI_BASE_URL." if address else ""


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalpha())


def without_secrets(base_url: str) -> str:
    """Return an address without user name, password and query."""
    return re.sub(r"//[^/]*@", "//", base_url.partition("?")[0])


def is_openai(base_url: str) -> bool:
    """Whether an address is OpenAI's own, or Azure's copy of it."""
    name = host(base_url)
    return name == "openai.com" or name.endswith((".openai.com", ".openai.azure.com"))


def is_azure(base_url: str) -> bool:
    """Whether an address is a resource of Azure OpenAI, whose deployments have names of the user's own."""
    return host(base_url).endswith(".openai.azure.com")


def vendor(base_url: str) -> tuple[str, str]:
    """Return the vendor at an address and the environment variable that holds its key.

    An address that is not known counts as OpenAI's: its server speaks for OpenAI's format, with its keys.
    """
    name = host(base_url)
    if is_azure(base_url):
        return "azure", "AZURE_OPENAI_API_KEY"
    if name in _HERE and (local := _PORTS.get(urlsplit(base_url).port or 0)):
        return local, "OPENAI_API_KEY"
    if name.endswith(".openai.com"):
        name = "api.openai.com"
    return _HOSTS.get(name, _HOSTS["api.openai.com"])[:2]


def find_key(base_url: str, given: str | None) -> str | None:
    """Return the key for an address: the given one, else the vendor's variable, else OPENAI_API_KEY.

    Raises ConfigurationError for one that no HTTP header can carry.
    """
    variable = vendor(base_url)[1]
    return sendable(given or os.environ.get(variable) or os.environ.get("OPENAI_API_KEY") or None, variable)


def sendable(key: str | None, variable: str) -> str | None:
    """Return a key. Raises ConfigurationError, without telling it, when no HTTP header can carry it."""
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigurationError(
            "The API key holds a line break or another character that no key has; copy it again into"
            f" {variable}, or into what you pass as api_key=."
        )
    return key


def takes_schema(base_url: str, model: str) -> bool:
    """Whether a server of OpenAI's format holds an answer to a JSON schema; unknown servers mostly do."""
    return host(base_url) not in _ONLY_JSON and not _WITHOUT_SCHEMA.search(model)
