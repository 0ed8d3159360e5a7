"""A file that a provider kept, through its Files API: told apart by who keeps it, the same for the rest."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..core.errors import ProviderError
from ._failures import Target, explain

TIMEOUT = 60.0
"""Seconds of silence after which a file counts as lost."""


class Stored(Protocol):
    """Where a file is: its id, and the container that it is in, if it is in one."""

    @property
    def file_id(self) -> str:
        """The provider's id of the file."""
        ...

    @property
    def container_id(self) -> str | None:
        """The provider's id of the container."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched file: data, and name and mime_type where the provider tells them."""

    data: bytes
    name: str | None = None
    mime_type: str | None = None


async def fetch(target: Target, at: Stored, get: Callable[[], Awaitable[Fetched]]) -> Fetched:
    """Return a file. Raises ProviderError, in one sentence, for whatever `get` raises.

    Parameters: target, for messages, with the file in the place of the model; at; get, which asks.
    """
    try:
        return await get()
    except asyncio.CancelledError:
        raise
    except Exception as error:
        failure = explain(error, target)
        if getattr(failure, "status", None) != 404:
            raise failure from error
        kept = " A container is deleted when it was not used for 20 minutes." if at.container_id else ""
        raise ProviderError(
            f"There is no file {at.file_id!r} any more.{kept}",
            provider=target.provider,
            model=target.model,
            status=404,
            request_id=getattr(failure, "request_id", None),
        ) from error
