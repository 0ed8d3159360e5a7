"""What all tests share: a server that replays provider streams over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replay_server import ReplayThread
from support import Replay, streams


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
