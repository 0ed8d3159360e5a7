"""Events to the wire: Server-Sent Events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sse import SSEAdapter

__all__ = ["SSEAdapter"]


def __getattr__(name: str) -> Any:
    if name == "SSEAdapter":
        from .sse import SSEAdapter

        return SSEAdapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
