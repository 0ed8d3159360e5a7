"""Python environments beside .venv, for the hosts and kernels that the tests need in other versions.

`overlay(name, requirements)` is .venv with a few packages laid over it: small, built when first asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "environments"

KERNELS = ("6.29.5", "7.3.0", "7.4.0")
"""Versions of ipykernel that the tests know."""

HOSTS = (
    *("notebook==7.6.5", "voila==0.5.13", "marimo==0.25.2"),
    *("docutils==0.23", "itsdangerous==2.2.0", "loro==1.17.1", "markdown==3.11.3", "msgspec==0.22.0"),
    *("narwhals==2.29.0", "pymdown-extensions==11.0.2", "tomlkit==0.15.2"),
)
"""Notebook 7, Voila, marimo, and what they need beyond .venv."""


class Unavailable(RuntimeError):
    """An environment that cannot be made here, mostly for want of a package index."""


def overlay(name: str, *requirements: str) -> Path:
    """Return the folder of an environment that has .venv's packages and, before them, `requirements`.

    Raises Unavailable when the packages cannot be had.
    """
    folder, wanted = PLACE / name, "\n".join(requirements)
    stamp = folder / "requirements.txt"
    if stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return folder
    uv = str(Path(sys.executable).parent / "uv")
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _run(uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python(folder)), *requirements)
    below = json.dumps(sysconfig.get_paths()["purelib"])
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "below.pth").write_text(f"import site; site.addsitedir({below})\n", "utf-8")
    for data in ("etc", "share"):
        _merge(Path(sys.prefix) / data, folder / data)
    stamp.write_text(wanted, "utf-8")
    return folder


def newer_python() -> Path | None:
    """Return the newest interpreter of this machine, 3.12 or above, that is newer than the running one."""
    names = [f"python3.{minor}" for minor in range(40, max(11, sys.version_info.minor), -1)]
    for name in names:
        held = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
        for found in (*sorted(held.glob(f"*/bin/{name}"), reverse=True), shutil.which(name)):
            # pyenv leaves commands that only say what else to install.
            if found is not None and not subprocess.run([found, "--version"], capture_output=True).returncode:
                return Path(found)
    return None


def fresh(interpreter: Path, *requirements: str) -> Path:
    """Return the folder of an environment with what mesh_nb depends on, and `requirements`; mesh_nb itself is
    that of this tree.

    Raises Unavailable when the packages cannot be had.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [*project["dependencies"], *requirements]
    folder, wanted = PLACE / f"fresh-{interpreter.name}", "\n".join(needed)
    stamp = folder / "requirements.txt"
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        uv = str(Path(sys.executable).parent / "uv")
        _run(uv, "venv", "--quiet", "--clear", "--python", str(interpreter), str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", str(python(folder)), *needed)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "mesh_nb.pth").write_text(f"{ROOT}\n", "utf-8")
        stamp.write_text(wanted, "utf-8")
    return folder


def python(folder: Path) -> Path:
    """Return an environment's interpreter."""
    return folder / "bin" / "python"


def kernel(version: str) -> tuple[str, Path]:
    """Return the name of a kernel with this ipykernel, and the Jupyter data folder that has its kernelspec.

    Raises Unavailable when that version cannot be had.
    """
    folder = overlay(f"ipykernel-{version}", f"ipykernel=={version}")
    name, data = f"ipykernel-{version}", folder / "jupyter"  # nothing but the kernel, as it comes first
    spec = {
        "argv": [str(python(folder)), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"ipykernel {version}",
        "language": "python",
        "metadata": {"debugger": True},
    }
    place = data / "kernels" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "kernel.json").write_text(json.dumps(spec), "utf-8")
    return name, data


def _merge(below: Path, above: Path) -> None:
    """Copy what `below` has and `above` has not: schemas, themes and extensions of JupyterLab.

    A link would not do: Voila serves no file that a link brings in.
    """
    for child in below.iterdir() if below.is_dir() else ():
        own = above / child.name
        if child.is_dir():
            _merge(child, own)
        elif not own.exists():
            above.mkdir(parents=True, exist_ok=True)
            shutil.copy2(child, own)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}")
