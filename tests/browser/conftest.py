"""One JupyterLab and one Chromium for all browser tests; a page of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ROOT, LabServer, Visit, chromium, visit
from playwright.sync_api import Browser

SHOTS = ROOT / "build" / "screenshots"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and put them last: Playwright's loop stays in the main thread until the end."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
    items.sort(key=lambda item: here in item.path.parents)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer(tmp_path_factory.mktemp("lab") / "home", OPENAI_API_KEY="sk-test-browser").start()
    yield server
    server.stop()


@pytest.fixture
def guest(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page; it fails the test that opened a dialog or asked for anything beyond this machine."""
    with visit(browser) as guest:
        yield guest
        SHOTS.mkdir(parents=True, exist_ok=True)
        guest.page.screenshot(path=SHOTS / f"{request.node.name}.png")
        assert guest.dialogs == []
        assert guest.blocked == []
