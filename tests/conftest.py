"""What all tests share: a server that replays provider streams over real HTTP."""

from __future__ import annotations

import signal
import sys
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from replay_server import ReplayThread
from support import Replay, streams

from mesh_nb.core import plugins, runner, runs

# A busy machine must not fail a test: no deadlines, and the same examples every time.
settings.register_profile(
    "mesh", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mesh")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the plug-ins that another registered, its sessions, its runs, or how long its server asked
    to wait: a port of this machine comes again."""
    monkeypatch.setattr(plugins, "_registered", dict(plugins._registered))
    monkeypatch.setattr(runner, "_sessions", {})
    monkeypatch.setattr(runs, "_here", weakref.WeakValueDictionary())
    monkeypatch.setattr(runs, "_last", None)
    if (limits := sys.modules.get("mesh_nb.providers._limits")) is not None:
        limits.limits.clear()


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
