"""Find a Chromium that really starts, or install one.

    python scripts/find_browser.py [--install]

Prints the path of the executable. In this order: MESH_BROWSER, an installed Chromium or Chrome, Playwright's
own, and with --install: a download of Playwright's own, then, as root on Debian, apt's chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APPS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
NO_BROWSER = (
    "no browser for the tests: install Chromium or Chrome, or name one in MESH_BROWSER, or run "
    "`.venv/bin/playwright install --with-deps chromium`"
)


def arguments() -> list[str]:
    """Return Chromium's flags: nothing phones home, and root needs --no-sandbox."""
    return [*ARGUMENTS, *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]


def installed() -> list[str]:
    """Return the paths of the browsers on this machine, the preferred first."""
    if named := os.environ.get("MESH_BROWSER"):
        return [named]
    found = [path for name in NAMES if (path := shutil.which(name))]
    found += [path for path in APPS if Path(path).exists()]
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return found + ([own] if Path(own).exists() else [])


def starts(path: str) -> bool:
    """Tell whether this browser opens a page; says on stderr why not."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=arguments(), headless=True)
            browser.new_page().goto("about:blank")
            browser.close()
        except Error as error:
            print(f"{path} does not start: {str(error).splitlines()[0]}", file=sys.stderr)
            return False
    return True


def find() -> str | None:
    """Return the first browser that starts, or None."""
    return next((path for path in installed() if starts(path)), None)


def download() -> None:
    """Fetch Playwright's own Chromium (about 170 MB) into its cache."""
    say("downloading Playwright's Chromium")
    run([sys.executable, "-m", "playwright", "install", "chromium"], seconds=600)


def apt() -> None:
    """Install Debian's chromium and a font, when this is Debian and we are root."""
    if not (shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0):
        return
    say("installing Debian's chromium")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if run(["apt-get", "-qq", "update"], seconds=600, env=environment):
        packages = ["chromium", "fonts-liberation"]
        run(
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages],
            seconds=1200,
            env=environment,
        )


def run(command: list[str], seconds: float, env: dict[str, str] | None = None) -> bool:
    """Run a command quietly; print the end of what it said when it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, env=env
        )
    except subprocess.TimeoutExpired:
        say(f"{' '.join(command)}: not done after {seconds:.0f} s")
        return False
    if done.returncode:
        say("\n".join((done.stdout + done.stderr).strip().splitlines()[-5:]))
    return done.returncode == 0


def say(text: str) -> None:
    """Report progress on stderr; stdout carries the path alone."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Print the path of a browser that starts, or leave with one sentence."""
    path = find()
    for attempt in (
        (download, apt) if "--install" in sys.argv[1:] and "MESH_BROWSER" not in os.environ else ()
    ):
        if path:
            break
        attempt()
        path = find()
    if not path:
        sys.exit(NO_BROWSER)
    print(path)


if __name__ == "__main__":
    main()
