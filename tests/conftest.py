"""What all tests share: a server that replays provider streams over real HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
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


@pytest.fixture(scope="session")
def _replay_server() -> Iterator[Replay]:
    thread = ReplayThread(streams())
    with thread as url:
        yield Replay(thread, url)


@pytest.fixture
def replay(_replay_server: Replay) -> Replay:
    """The replay server, with its counters reset."""
    _replay_server.server.reset()
    return _replay_server
