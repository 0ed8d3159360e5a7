"""A real JupyterLab in a real browser, driven from Python, for the browser tests and the screenshots."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
from find_browser import NO_BROWSER, arguments, find
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CHOSEN = ROOT / ".venv" / ".done" / "browser"
SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
    "codemirror-extension/plugin": {"defaultConfig": {"cursorBlinkRate": 0}},
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})
WAIT_MS = 1000 * float(os.environ.get("MESH_TEST_WAIT_S", "90"))


@contextmanager
def chromium() -> Generator[Browser]:
    """The browser that `make` chose, headless; no name but this machine's resolves in it."""
    chosen = CHOSEN.read_text("utf-8").strip() if CHOSEN.is_file() else ""
    path = chosen if Path(chosen).is_file() else find()
    if not path:
        raise RuntimeError(NO_BROWSER)
    only_here = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*arguments(), only_here], headless=True
        )
        yield browser
        browser.close()


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """Return the first true value of `condition`; raise TimeoutError naming `what` when there is none."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not seen within {seconds:.0f} s: {what}")
        time.sleep(0.05)
    return value


class LabServer:
    """`jupyter lab` on a free port, with settings, log and workspace of its own under `home`."""

    MODULE, APP, PAGE = "jupyterlab", "LabApp", "doc/tree"

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.workspace = home / "work"
        self.workspace.mkdir(parents=True)
        self.log = home / "lab.log"
        self.url = ""
        self.python = sys.executable
        self._process: subprocess.Popen[bytes] | None = None
        # Under pytest's variables a kernel takes itself for one of nbval's and shows nothing live.
        outer = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MESH_"))
        }
        self._environment = {**outer, **self._places(), **environment}

    def _places(self) -> dict[str, str]:
        for name, values in SETTINGS.items():
            path = self.home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), "utf-8")
        return {
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.home / "workspaces"),
            "IPYTHONDIR": str(self.home / "ipython"),
            "MESH_HOME": str(self.home / "mesh"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def start(self) -> LabServer:
        """Start the server and return when it answers."""
        port = free_port()
        options = [
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}",
            f"--ServerApp.root_dir={self.workspace}",
            "--IdentityProvider.token=",
            "--ServerApp.shutdown_no_activity_timeout=0",
            f"--{self.APP}.expose_app_in_browser=True",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [self.python, "-m", self.MODULE, *options],
                cwd=self.workspace,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(self._found, "JupyterLab's address")
        return self

    def _found(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text('utf-8')[-2000:]}")
        for record in (self.home / "runtime").glob("jpserver-*.json"):
            try:
                self.url = json.loads(record.read_text("utf-8"))["url"].rstrip("/")
                with urllib.request.urlopen(f"{self.url}/api/status", timeout=10) as answer:
                    return answer.status == 200
            except (OSError, ValueError, urllib.error.URLError):
                return False
        return False

    def stop(self) -> None:
        """End the server and the kernels it started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def write(self, name: str, *cells: str, kernel: str = "python3") -> str:
        """Put a notebook with these code cells into the workspace; return its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {
            "name": kernel,
            "display_name": kernel,
            "language": "python",
        }
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return name

    def read(self, name: str) -> nbformat.NotebookNode:
        """Return a notebook of the workspace as it is on disk."""
        return nbformat.read(self.workspace / name, as_version=4)


class NotebookServer(LabServer):
    """`jupyter notebook`, version 7, of another environment."""

    MODULE, APP, PAGE = "notebook", "JupyterNotebookApp", "notebooks"


class Visit:
    """A reader: the pages he opens, and what they tried: requests that would leave this machine, dialogs."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.blocked: list[str] = []
        self.dialogs: list[str] = []
        self.popups: list[str] = []
        self.page = self._new_page()

    def another(self) -> Visit:
        """Go on in a new page, as a reader who closed the tab and came back."""
        self.page.close()
        self.page = self._new_page()
        return self

    def leave(self) -> None:
        """Shut down the kernels and close the page."""
        if not self.page.is_closed():
            self.page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")
            self.page.close()

    def _new_page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.route(lambda url: not _local(url), self._block)
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.popups.append(popup.url))
        return page

    def _block(self, route: Route) -> None:
        self.blocked.append(route.request.url)
        route.abort()

    def _dialog(self, dialog: Any) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
            return
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def open(self, server: LabServer, name: str, kernel: bool = True) -> Notebook:
        """Open a notebook of the workspace; return when its cells are there and its kernel is idle."""
        self.page.goto(f"{server.url}/{server.PAGE}/{name}")
        notebook = Notebook(self.page, name)
        notebook.wait_ready(kernel)
        return notebook


def _local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"data", "blob", "about"} or (parts.hostname or "") in HERE


PANEL = "const app = window.jupyterapp; const panel = app.shell.currentWidget; const book = panel.content;"


class Notebook:
    """An open notebook: cells are named by their index, counted from 0."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name

    def js(self, body: str, argument: Any = None) -> Any:
        """Run JavaScript that may use `app`, `panel`, `book` and `x` (the argument); return its value."""
        return self.page.evaluate(f"async (x) => {{ {PANEL} {body} }}", argument)

    def wait(self, body: str, argument: Any = None) -> None:
        """Wait until the JavaScript function body (with `app`, `panel`, `book`, `x`) returns true."""
        self.page.wait_for_function(f"(x) => {{ {PANEL} {body} }}", arg=argument, timeout=WAIT_MS)

    def wait_ready(self, kernel: bool = True) -> None:
        """Wait for the cells, and for an idle kernel when there is to be one."""
        self.page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length")
        self.wait("return panel.context.isReady && book.widgets.length > 0")
        if kernel:
            self.wait("return panel.sessionContext.session?.kernel?.status === 'idle'")

    def run(self, index: int) -> None:
        """Start one cell and return at once."""
        self.js(
            "book.activeCellIndex = x; book.deselectAll();"
            "void app.commands.execute('notebook:run-cell'); return null",
            index,
        )
        self.wait(
            "const m = book.widgets[x].model; return m.executionState === 'running' || m.executionCount",
            index,
        )

    def run_all(self) -> None:
        """Start all cells and return at once."""
        self.js("void app.commands.execute('notebook:run-all-cells'); return null")

    def done(self, index: int) -> bool:
        """Tell whether a cell has been executed and is not running."""
        return self.js(
            "const m = book.widgets[x].model; return m.executionState !== 'running' && !!m.executionCount",
            index,
        )

    def wait_done(self, index: int) -> None:
        """Wait until a cell that was started has ended."""
        self.wait(
            "const m = book.widgets[x].model; return m.executionState !== 'running' && !!m.executionCount",
            index,
        )

    def execute(self, *indexes: int) -> None:
        """Run cells one after the other to their end."""
        for index in indexes:
            self.run(index)
            self.wait_done(index)

    def restart(self) -> None:
        """Restart the kernel, and wait until it is idle."""
        self.js("await panel.sessionContext.session.kernel.restart(); return null")
        self.wait_ready()

    def output(self, index: int) -> Any:
        """Return the locator of a cell's output area; CSS below it reaches into open shadow roots."""
        cell = self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")
        return cell.locator(".jp-Cell-outputArea")

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as they would be saved."""
        return self.js("return book.widgets[x].model.outputs?.toJSON() ?? []", index)

    def interrupt(self) -> None:
        """Interrupt the kernel, as the menu's Interrupt Kernel does."""
        self.js("await panel.sessionContext.session.kernel.interrupt(); return null")

    def save(self) -> None:
        """Save the notebook."""
        self.js("await app.commands.execute('docmanager:save'); return null")

    def shutdown_kernel(self) -> None:
        """End the kernel and its session."""
        self.js("await panel.sessionContext.shutdown(); return null")

    def theme(self, name: str) -> None:
        """Switch to the "light" or the "dark" theme and wait until it is in force."""
        self.js("await app.commands.execute('apputils:change-theme', {theme: x}); return null", THEMES[name])
        self.wait("return document.body.dataset.jpThemeName === x", THEMES[name])

    def screenshot(self, path: Path, index: int | None = None) -> Path:
        """Write a PNG of the window, or of one cell's output."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if index is None:
            self.page.screenshot(path=path)
        else:
            self.output(index).screenshot(path=path)
        return path


@contextmanager
def visiting(browser: Browser, **options: Any) -> Generator[BrowserContext]:
    """A browser context for visits; its pages share one cache, so that only the first loads JupyterLab."""
    options.setdefault("viewport", {"width": 1280, "height": 900})
    context = browser.new_context(service_workers="block", **options)
    try:
        yield context
    finally:
        context.close()
