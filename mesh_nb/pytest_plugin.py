"""A plug-in of pytest: the fixture `mesh_tape` and the option `--mesh-tape`.

    def test_summary(mesh_tape):
        run = graph.run_sync("Summarise this.")
        assert "profit" in run.text

The tape lies in `tapes/<module>/<test>.mesh-tape` beside the test's file. Without an option it is only
replayed, so that a test never asks a model by chance; `pytest --mesh-tape=once` records what is missing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .core.tape import Tape

MODES = ("none", "once", "all", "rewrite")
_LONGEST = 100
"""Characters of a test's name in a file name; a longer one ends in its hash."""


_FAILED = pytest.StashKey[bool]()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    """Remember whether a test failed."""
    if call.when == "call" and call.excinfo is not None:
        item.stash[_FAILED] = True


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--mesh-tape`."""
    parser.getgroup("mesh_nb").addoption(
        "--mesh-tape",
        choices=MODES,
        default="none",
        help="tapes of the fixture mesh_tape: replay only (none, the default), record what is missing (once),"
        " record everything anew (all), or also take out what nobody asks for (rewrite)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest the marker."""
    config.addinivalue_line(
        "markers",
        "mesh_tape(speed=0, redact=(), live_tools=(), key=None, sample=None): options of the tape that the"
        " fixture mesh_tape puts on, as of mesh_nb.record",
    )


@pytest.fixture
def mesh_tape(request: pytest.FixtureRequest) -> Generator[Tape]:
    """Put the test's own tape on while it runs: models, tools, agents and people answer from it.

    The value is the Tape. The marker `mesh_tape(...)` gives its options. Fails the test when there is no tape
    to replay, and what the test asks for and the tape does not have fails it with a TapeMissError.
    """
    from .core.errors import InputError
    from .core.tape import start, stop

    mode = str(request.config.getoption("--mesh-tape"))
    path = tape_path(request.path, request.node.nodeid)
    if mode == "none" and not path.exists():
        pytest.fail(
            f"There is no tape {str(path)!r} to replay. Record it with pytest --mesh-tape=once.",
            pytrace=False,
        )
    options: dict[str, Any] = {"speed": 0}
    for marker in reversed(list(request.node.iter_markers("mesh_tape"))):
        options |= marker.kwargs
    try:
        tape = start(path, mode, **options)
    except InputError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield tape
    finally:
        # What a test that failed did not come to stays on its tape.
        stop(tape, whole=not request.node.stash.get(_FAILED, False))


def tape_path(module: Path, node_id: str) -> Path:
    """Return where the tape of a test lies.

    Parameters: module, the test's file; node_id, pytest's name of the test, "test_x.py::TestY::test_z[a]".
    """
    name = re.sub(r"[^\w.=+-]+", "-", node_id.partition("::")[2].replace("::", ".")).strip("-.") or "test"
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.sha256(node_id.encode()).hexdigest()[:8]}"
    return module.parent / "tapes" / module.stem / f"{name}.mesh-tape"
