"""What tests need beside pytest's fixtures: where the recorded streams are, waiting, the replay server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replay_server import ReplayThread


def streams() -> Path | None:
    """The recorded provider streams: MESH_STREAMS, else beside the checkout; None when they are not there."""
    named = os.environ.get("MESH_STREAMS")
    path = Path(named) if named else Path(__file__).parents[2] / "shared" / "provider-streams"
    return path if path.is_dir() else None


class Replay:
    """The running server: its address, and what it has seen since the test began."""

    def __init__(self, thread: ReplayThread, url: str) -> None:
        self.server, self.url, self.base_url = thread.replay, url, f"{url}/v1"

    @property
    def stats(self) -> dict[str, Any]:
        return self.server.stats

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self.server.recent


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread brings about."""
    while not condition():  # noqa: ASYNC110  the server's thread has no event of this loop to set
        await asyncio.sleep(0.005)
