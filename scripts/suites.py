"""Run test suites one after the other, show what they print, close with one line for each.

    python scripts/suites.py NAME ...

Every suite runs even when an earlier one failed; the exit status is 1 when one did. No suite sees an API key.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest", "--color", "yes" if sys.stdout.isatty() else "no"]
PARALLEL = ["-n", "2", "--dist", "loadfile"]
NOT_UNIT = ["--ignore=tests/soak", "--ignore=tests/browser", "-p", "no:nbval", "-p", "no:langsmith_plugin"]
# Foreign libraries, other processes, and every fault of every provider: `make test` runs these too.
LONG = [
    *(
        f"--ignore=tests/{name}"
        for name in ("agents", "cli", "reference", "test_docs.py", "test_packaging.py")
    ),
    *(f"--ignore=tests/core/test_{name}.py" for name in ("crash", "resume_inside", "reuse", "tape_file")),
    *(f"--ignore=tests/providers/test_{name}.py" for name in ("bursts", "faults", "grammar", "imports")),
    *(f"--ignore=tests/providers/test_{name}.py" for name in ("own_clients", "sockets", "tls", "tool_loop")),
    *("--ignore=tests/frames/test_totals.py", "--ignore=tests/notebook/test_hostile.py"),
    *("--ignore=tests/nodes/test_taped_vendors.py", "--ignore=tests/test_pytest_plugin.py"),
    *("-k", "not recorded and not slow_first_byte and not wherever_its_log_ends and not long_lines"),
]
NPM = [str(BIN / "npm"), "--prefix", "widgets", "--silent"]

SUITES: dict[str, list[list[str]]] = {
    "lint": [
        [str(BIN / "ruff"), "check", "--quiet", "--output-format", "concise"],
        [str(BIN / "ruff"), "format", "--check"],
    ],
    "types": [[str(BIN / "pyright")]],
    "widgets": [[*NPM, "run", "check"], [*NPM, "test"]],
    "unit": [[*PYTEST, "-n", "3", "--dist", "loadfile", *NOT_UNIT, *LONG, "-m", "not kernel and not slow"]],
    "python": [[*PYTEST, *PARALLEL, *NOT_UNIT, "-m", "not kernel"]],
    "kernel": [[*PYTEST, *NOT_UNIT, "-m", "kernel"]],
    "notebooks": [[*PYTEST, "--nbval", "notebooks"]],
    "browser": [[*PYTEST, "tests/browser"]],
    "soak": [[*PYTEST, "tests/soak", "-s", "-o", "faulthandler_timeout=0"]],
}
LIMIT_S = {"soak": 6 * 3600.0}
DEFAULT_LIMIT_S = 1200.0
PRIVATE = re.compile(
    r"_API_KEY$|_AUTH_TOKEN$|^OPENAI_|^ANTHROPIC_|^GEMINI_|^GOOGLE_API|^MESH_(?!STREAMS$|BROWSER$|TEST_)"
)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)\b")


@dataclass
class Outcome:
    """What one suite left: its exit status and the line that sums it up."""

    name: str
    status: int
    closing: str
    seconds: float


def environment(suite: str, home: str) -> dict[str, str]:
    """Return the environment without keys and settings; notebooks log to `home`."""
    kept = {key: value for key, value in os.environ.items() if not PRIVATE.search(key)}
    own_log = {"MESH_HOME": home} if suite in ("notebooks", "soak") else {}
    # The locked node, never the machine's.
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    plain = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}
    return {**kept, **own_log, **plain, "PATH": path, "PYTHONUNBUFFERED": "1"}


def run(command: list[str], env: dict[str, str], limit: float) -> tuple[int, str]:
    """Run one command, copying its output as it comes; return its status and the line that sums it up."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    tail, deadline = b"", time.monotonic() + limit
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        while chunk := os.read(process.stdout.fileno(), 1 << 16):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            tail = (tail + chunk)[-8192:]
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if time.monotonic() >= deadline:
        return status or 1, f"stopped: not done after {limit:.0f} s"
    lines = [
        line.strip() for line in ANSI.sub("", tail.decode("utf-8", "replace")).splitlines() if line.strip()
    ]
    counted = [line for line in lines if COUNT.search(line)]
    return status, (counted or lines or ["ok"])[-1].strip("= ")


def suite(name: str) -> Outcome:
    """Run the commands of one suite until one fails."""
    print(f"\n--- {name} ---", flush=True)
    began, status, closing = time.monotonic(), 0, "ok"
    with tempfile.TemporaryDirectory(prefix="mesh-home-") as home:
        for command in SUITES[name]:
            status, closing = run(command, environment(name, home), LIMIT_S.get(name, DEFAULT_LIMIT_S))
            if status:
                break
    return Outcome(name, status, closing, time.monotonic() - began)


def total(outcomes: list[Outcome]) -> str:
    """Add up the closing lines of pytest, in pytest's own words."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        if " in " in outcome.closing:
            for number, word in COUNT.findall(outcome.closing):
                word = word.replace("errors", "error")
                counts[word] = counts.get(word, 0) + int(number)
    counts.pop("deselected", None)
    order = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")
    words = [f"{counts[word]} {word}" for word in order if word in counts]
    return f"{', '.join(words)} in {sum(o.seconds for o in outcomes):.2f}s" if words else ""


def main(names: list[str]) -> int:
    """Run the suites and print the report."""
    if unknown := [name for name in names if name not in SUITES]:
        print(f"no suite named {unknown[0]!r}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    outcomes = [suite(name) for name in names]
    print("\n--- all suites ---")
    for outcome in outcomes:
        word = "FAILED" if outcome.status else "ok"
        print(f"{outcome.name:<10} {word:<6} {outcome.seconds:6.1f} s   {outcome.closing}")
    if closing := total(outcomes):
        print(closing)
    return int(any(outcome.status for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
