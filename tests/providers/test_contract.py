"""What every provider plug-in must offer; a new one is found here by itself."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import pytest

from mesh_nb.core import plugins

NAMES = plugins.names("provider")


@pytest.fixture(params=NAMES)
def provider(request: pytest.FixtureRequest) -> Any:
    return plugins.find("provider", request.param)


def test_there_are_providers() -> None:
    assert "demo" in NAMES


def test_it_says_who_it_is(provider: Any) -> None:
    assert isinstance(provider.vendor, str)
    assert provider.vendor
    assert isinstance(provider.api, str)
    assert provider.api
    assert isinstance(provider.prefixes, tuple)
    assert all(isinstance(p, str) and p for p in provider.prefixes)


def test_no_other_has_the_same_vendor_and_api(provider: Any) -> None:
    every = [plugins.find("provider", name) for name in NAMES]
    assert sum((p.vendor, p.api) == (provider.vendor, provider.api) for p in every) == 1


def test_it_can_be_asked(provider: Any) -> None:
    for name in ("stream", "check"):
        assert list(inspect.signature(getattr(provider, name)).parameters) == ["call"]
    assert not inspect.iscoroutinefunction(provider.stream)
    assert not inspect.iscoroutinefunction(provider.check)


def test_it_preloads_from_any_thread_and_again(provider: Any) -> None:
    failures: list[BaseException] = []

    def load() -> None:
        try:
            provider.preload()
        except BaseException as error:  # noqa: BLE001  what a thread raises is lost
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    provider.preload()
    assert not failures
