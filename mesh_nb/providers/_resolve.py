"""From a model's name to the provider that serves it and the name that goes out."""

from __future__ import annotations

import logging
import re
from typing import Any

from ..core import plugins
from ..core.errors import UnknownNameError, nearest
from . import _hosts
from ._call import Provider

DEMO = "demo"

_logger = logging.getLogger("mesh_nb")
_broken: set[str] = set()


def resolve(
    model: str, provider: str | None = None, api: str | None = None, base_url: str | None = None
) -> tuple[Provider, str]:
    """Return the provider plug-in for a model and the model's name on the wire.

    Parameters: model; provider, a vendor ("openai") or a plug-in's own name; api, one of the vendor's APIs
    ("chat", "responses"); base_url, where the server is.
    With provider, base_url or OPENAI_BASE_URL the name goes out verbatim, otherwise it is read as
    `provider/model` or by its beginning. "demo" is never chosen but by its name. Raises UnknownNameError with
    the known names for an unknown provider, api or model.
    """
    if provider is not None:
        return _of_vendor(provider, api, base_url), model
    if base_url is not None:
        return _of_vendor("openai", api, base_url), model
    if _fits(model, DEMO) and DEMO in plugins.names("provider"):
        return _of_vendor(DEMO, api, None), model
    if not _hosts.is_openai(_hosts.openai_base_url(None)):
        return _of_vendor("openai", api, None), model
    head, slash, rest = model.partition("/")
    if slash and rest and head in _vendors():
        return _of_vendor(head, api, None), rest
    for plugin in _plugins():
        if any(_fits(model, prefix) for prefix in plugin.prefixes):
            return _of_vendor(plugin.vendor, api, None), model
    raise _unknown(model)


def vendor_of(client: Any) -> str | None:
    """Return the vendor whose API a client of the user's own speaks, None where it does not say."""
    if hasattr(client, "chat") or hasattr(client, "responses"):
        return "openai"
    return "anthropic" if hasattr(client, "messages") else None


def _plugins() -> list[Any]:
    return [p for p in map(_plugin, plugins.names("provider")) if p is not None]


def _plugin(name: str) -> Any:
    """Return a provider, None for one that cannot be imported: it must not take the others with it."""
    try:
        return plugins.find("provider", name)
    except Exception:
        if name not in _broken:
            _broken.add(name)
            _logger.exception("The provider %r cannot be imported and is left out.", name)
        return None


def _vendors() -> list[str]:
    return sorted({p.vendor for p in _plugins()})


def _fits(model: str, prefix: str) -> bool:
    """Whether a name begins with a prefix that ends there: "o1" means o1 and o1-mini, not o1x."""
    rest = model[len(prefix) :]
    if not model.startswith(prefix):
        return False
    return not prefix[-1].isalnum() or not rest or not rest[0].isalnum()


def _of_vendor(vendor: str, api: str | None, base_url: str | None) -> Any:
    """Choose among a vendor's APIs; chat is the default wherever the server is not OpenAI's own.

    Azure's is not: its Responses API is offered in some regions only, and not under the older API versions.
    https://learn.microsoft.com/azure/foundry/openai/how-to/responses
    """
    offered = {p.api: p for p in _plugins() if p.vendor == vendor}
    if not offered and vendor in plugins.names("provider"):
        named = plugins.find("provider", vendor)
        offered = {named.api: named}
    if not offered:
        raise UnknownNameError("provider", vendor, _vendors(), _hosts.advice(vendor))
    if api is not None:
        if api not in offered:
            raise UnknownNameError(f"api of provider {vendor!r}", api, offered)
        return offered[api]
    address = _hosts.openai_base_url(base_url)
    own = vendor != "openai" or (_hosts.is_openai(address) and not _hosts.is_azure(address))
    order = ("responses", "chat") if own else ("chat", "responses")
    return next((offered[a] for a in order if a in offered), next(iter(offered.values())))


def _unknown(model: str) -> UnknownNameError:
    """Name the known providers, and the nearest of their names' beginnings."""
    vendors = _vendors()
    head, slash, rest = model.partition("/")
    hint = _hosts.advice(head) if slash else ""
    if not hint:
        guess = _nearest(head, rest, vendors) if slash else _beginning(model)
        hint = (
            "Write it as provider/model, or set provider=, or, for a server of your own, base_url= or"
            f" OPENAI_BASE_URL.{guess}"
        )
    error = UnknownNameError("model", model, [], f"Known providers: {', '.join(vendors)}. {hint}")
    error.known = vendors
    return error


def _nearest(vendor: str, model: str, vendors: list[str]) -> str:
    close = nearest(vendor, vendors)
    return f" Did you mean '{close}/{model or 'MODEL'}'?" if close else ""


def _beginning(model: str) -> str:
    beginnings = [p for plugin in _plugins() for p in plugin.prefixes]
    if any(_fits(model.lower(), prefix) for prefix in beginnings):
        return f" Did you mean {model.lower()!r}?"
    start = nearest(re.split(r"[-.\d]", model)[0], [b.rstrip("-") for b in beginnings])
    return f" Did you mean a name that begins with {start!r}?" if start else ""
