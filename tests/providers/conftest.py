"""Certificates, schemes and a fast tick for the tests of the transport."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from http_servers import certificate

from mesh_nb.providers import _sockets


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest, tls: Any) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's context and the client's."""
    if request.param == "http":
        return None, None
    return tls[0], ssl.create_default_context(cafile=tls[1])


@pytest.fixture
def fast_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sockets, "TICK", 0.02)
