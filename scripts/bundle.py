"""Build the front end into mesh_nb/static when its sources are not those of the last build.

    python scripts/bundle.py [--check]

--check only answers: exit status 1 and one line when the built files are stale.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDGETS = ROOT / "widgets"
STATIC = ROOT / "mesh_nb" / "static"
MODULES = WIDGETS / "node_modules"
LOCK = [WIDGETS / "package.json", WIDGETS / "package-lock.json"]
BUILT = [STATIC / name for name in ("hub.js", "stub.js", "graph.js", "composer.js", "more.js")]


def sources() -> list[Path]:
    """Return every file that decides what the bundle holds."""
    code = [path for path in (WIDGETS / "src").rglob("*") if path.is_file()]
    return sorted([*LOCK, *WIDGETS.glob("*.mjs"), WIDGETS / "tsconfig.json", *code])


def digest(paths: Iterable[Path]) -> str:
    """Return the sha256 of the names and contents of `paths`."""
    total = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        total.update(f"{path.relative_to(WIDGETS).as_posix()}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


def stale(stamp: Path, wanted: str) -> bool:
    """Tell whether `stamp` is missing or was left by other sources."""
    return not stamp.is_file() or stamp.read_text("utf-8").strip() != wanted


def npm(*arguments: str) -> None:
    """Run the locked npm in widgets/; print what it said only when it fails."""
    own = Path(sys.executable).parent
    command = [str(own / "npm"), *arguments]
    environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        command, cwd=WIDGETS, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"npm {' '.join(arguments)} failed in widgets/ (status {done.returncode})")


def main() -> None:
    """Install and build what is not up to date."""
    installed, built = MODULES / ".mesh-lock", STATIC / ".sources"
    lock, wanted = digest(LOCK), digest(sources())
    rebuild = stale(built, wanted) or not all(path.is_file() and path.stat().st_size for path in BUILT)
    if "--check" in sys.argv[1:]:
        sys.exit("mesh_nb/static is older than widgets/: run make bundle" if rebuild else 0)
    if stale(installed, lock):
        print("installing the node modules", flush=True)
        npm("ci", "--no-audit", "--no-fund", "--loglevel=error")
        installed.write_text(lock, "utf-8")
    if rebuild:
        print("building the front end", flush=True)
        npm("run", "--silent", "build")
        missing = [path.name for path in BUILT if not (path.is_file() and path.stat().st_size)]
        if missing:
            sys.exit(f"npm run build left no {' or '.join(missing)} in mesh_nb/static/")
        built.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
