"""What every agent plug-in needs: the core's contract, and the classes that the user has imported."""

from __future__ import annotations

import sys

from ..core.agent import AgentInput, AgentPlugin

__all__ = ["AgentInput", "AgentPlugin", "loaded_class"]


def loaded_class(module: str, name: str) -> type | None:
    """Return a class of a library that is already imported, else None; imports nothing."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None
