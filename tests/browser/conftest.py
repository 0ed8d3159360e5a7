"""One JupyterLab and one Chromium for all browser tests; a page of its own for each."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import ROOT, LabServer, Visit, chromium, visiting
from playwright.sync_api import Browser, BrowserContext

SHOTS = ROOT / "build" / "screenshots"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and put them last: Playwright's loop stays in the main thread until the end."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
    items.sort(key=lambda item: here in item.path.parents)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Keep a picture of the page as the test left it, before its servers end."""
    report = yield
    guest = getattr(item, "funcargs", {}).get("guest")
    if report.when == "call" and guest is not None and not guest.page.is_closed():
        SHOTS.mkdir(parents=True, exist_ok=True)
        guest.page.screenshot(path=SHOTS / f"{item.name}{'' if report.passed else '-FAILED'}.png")
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer(tmp_path_factory.mktemp("lab") / "home", OPENAI_API_KEY="sk-test-browser").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    with visiting(browser) as context:
        yield context


@pytest.fixture
def guest(context: BrowserContext) -> Iterator[Visit]:
    """A page; it fails the test that opened a dialog or asked for anything beyond this machine."""
    guest = Visit(context)
    yield guest
    guest.leave()
    assert guest.dialogs == []
    assert guest.blocked == []
