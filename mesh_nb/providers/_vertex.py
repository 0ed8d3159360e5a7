"""Gemini on Vertex AI: where it is, and whose credentials go along.

The variables are google-genai's own: GOOGLE_GENAI_USE_VERTEXAI, GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION.
https://cloud.google.com/vertex-ai/generative-ai/docs/start/gcp-auth
"""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import quote, urlsplit

from ..core.errors import AuthenticationError, ConfigurationError
from . import _clients, _hosts
from ._call import ModelCall

_HOST = "aiplatform.googleapis.com"
_HELP = "Log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."


def are_credentials(client: Any) -> bool:
    """Whether what a user passed as client= are credentials of google-auth."""
    return hasattr(client, "refresh") and hasattr(client, "before_request")


def wanted(call: ModelCall, base_url: str | None) -> bool:
    """Whether a call goes to a project on Vertex AI: by its credentials, its address, or the environment.

    An address of Vertex AI's without a project (its express mode) takes keys alone, like the Gemini API.
    """
    if are_credentials(call.client):
        return True
    if call.client is not None:
        return False
    host, path = _hosts.host(base_url or ""), urlsplit(base_url or "").path
    if host == _HOST or host.endswith("-" + _HOST):
        return "/projects/" in path or "/publishers/" not in path
    return os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower() in ("1", "true")


def address(base_url: str | None) -> str:
    """Return the address of the publisher's models: the given one, else that of the project.

    Raises ConfigurationError when no project is named.
    """
    path = urlsplit(base_url or "").path
    if base_url and "/publishers/" in path:
        return base_url.rstrip("/")
    if base_url and "/projects/" in path and "/locations/" in path:
        return f"{base_url.rstrip('/')}/publishers/google"
    project = os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise ConfigurationError(
            "GOOGLE_CLOUD_PROJECT is not set, so it is not known whose Vertex AI to ask. Set it, or pass"
            f" base_url='https://{_HOST}/v1/projects/PROJECT/locations/global/publishers/google'."
        )
    location = os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    host = f"https://{_HOST}" if location == "global" else f"https://{location}-{_HOST}"
    places = f"projects/{quote(project, safe=':')}/locations/{quote(location, safe='')}"
    return f"{(base_url or host).rstrip('/')}/v1/{places}/publishers/google"


def check(call: ModelCall) -> None:
    """Raise ConfigurationError when the credentials need a package that is not installed."""
    if not call.api_key and not are_credentials(call.client):
        _clients.google_auth()


async def token(call: ModelCall) -> str:
    """Return an access token: of the credentials passed as client=, else of those of the environment.

    Raises AuthenticationError when there are none, or they are refused.
    """
    own = call.client if are_credentials(call.client) else None
    try:
        return await asyncio.to_thread(_clients.google_token, own)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001  google-auth raises its own, requests' and the system's
        # The library's own text may quote the answer of the token server.
        raise AuthenticationError(
            f"Google's credentials give no access token ({type(error).__name__})",
            provider="gemini",
            model=call.model,
            hint=_HELP,
        ) from None
