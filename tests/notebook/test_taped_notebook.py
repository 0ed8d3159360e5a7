"""The notebook that runs from its tape: strictly under nbval, twice, where nothing can be asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import GIVE_UP, kernel_env

pytestmark = pytest.mark.kernel

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAME = "07_record_and_replay"


def test_it_passes_nbval_strictly_and_twice_without_key_or_server(tmp_path: Path):
    folder = tmp_path / "notebooks"
    (folder / "tapes").mkdir(parents=True)
    shutil.copy(NOTEBOOKS / f"{NAME}.ipynb", folder)
    tape = Path(shutil.copy(NOTEBOOKS / "tapes" / f"{NAME}.mesh-tape", folder / "tapes"))
    before = tape.read_bytes()
    env = kernel_env(
        OPENAI_BASE_URL="http://127.0.0.1:9/v1", MESH_HOME=str(tmp_path), IPYTHONDIR=str(tmp_path / "ipython")
    )
    env.pop("OPENAI_API_KEY", None)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval", f"{NAME}.ipynb"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=GIVE_UP)
        assert done.returncode == 0, done.stdout + done.stderr
    assert tape.read_bytes() == before
