"""The notebook that runs from its tape, with nobody to ask: under nbval, nbmake and papermill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import environments
import pytest
from kernels import GIVE_UP, kernel_env

pytestmark = pytest.mark.kernel

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAME = "07_record_and_replay"
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider")


LO_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
    fcntl.ioctl(device, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A kernel speaks to its client over this device."""


def without_a_network() -> list[str]:
    """What runs a command with no network but localhost; nothing where the machine does not let us."""
    command = ["unshare", "-rn", sys.executable, "-c", LO_UP]
    try:
        done = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True)
    except OSError:
        return []
    return [] if done.returncode else command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the notebook and its tape."""
    folder = tmp_path / "notebooks"
    (folder / "tapes").mkdir(parents=True)
    shutil.copy(NOTEBOOKS / f"{NAME}.ipynb", folder)
    shutil.copy(NOTEBOOKS / "tapes" / f"{NAME}.mesh-tape", folder / "tapes")
    return folder


def run(folder: Path, python: Path | str, *command: str, **extra: str) -> None:
    """Run a command where no model can be asked, and no other tape is read than the notebook's."""
    home = folder.parent
    env = kernel_env(
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        MESH_HOME=str(home),
        IPYTHONDIR=str(home / "ipython"),
        **extra,
    )
    for name in ("OPENAI_API_KEY", "PYTHONPATH"):
        env.pop(name, None)
    done = subprocess.run(
        [*without_a_network(), str(python), *command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=GIVE_UP,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("newer", [False, True])
def test_it_passes_nbval_strictly_and_twice_without_key_or_server(folder: Path, newer: bool):
    python = Path(sys.executable)
    if newer:
        found = environments.newer_python()
        if found is None:
            pytest.skip("this machine has no Python newer than the one that runs the tests")
        try:
            python = environments.python(environments.fresh(found, "pytest", "nbval"))
        except environments.Unavailable as error:
            pytest.skip(f"nbval cannot be installed for {found.name}: {error}")
    tape = folder / "tapes" / f"{NAME}.mesh-tape"
    before = tape.read_bytes()
    for mode in ("once", "none"):
        run(folder, python, *PYTEST, "--nbval", f"{NAME}.ipynb", MESH_TAPE_MODE=mode)
    assert tape.read_bytes() == before


def test_nbmake_replays_it(folder: Path):
    try:
        python = environments.python(environments.overlay("nbmake", "nbmake==1.5.5"))
    except environments.Unavailable as error:
        pytest.skip(f"nbmake cannot be installed here: {error}")
    run(folder, python, *PYTEST, "-p", "no:nbval", "--nbmake", f"{NAME}.ipynb", MESH_TAPE_MODE="none")


def test_papermill_replays_it(folder: Path):
    run(folder, sys.executable, "-m", "papermill", f"{NAME}.ipynb", "out.ipynb", MESH_TAPE_MODE="none")
    assert "replayed, would have cost" in json.dumps(json.loads((folder / "out.ipynb").read_text("utf-8")))
