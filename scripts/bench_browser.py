"""Measure the live view in a real JupyterLab in Chromium, and print the figures beside their targets.

    python scripts/bench_browser.py [--quick]

A local server of chat completions sends Markdown at 2,000 tokens a second. --quick leaves out the answer of
100,000 tokens. All figures: build/bench-browser.jsonl.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab import ROOT, LabServer, Notebook, Visit, chromium, until, visiting
from playwright.sync_api import BrowserContext

RATE = 2000
TICK = 0.01
RUNS = 50
STOPS = 5
SHORT = "%%mesh -m tokens-40\nGo."
LAST = "wLAST"
STATIC = ROOT / "mesh_nb" / "static"
VISITS = 2000
CRAWL = f"""
import asyncio, mesh_nb
async def fetch(input):
    await asyncio.sleep(0.004)
    return input
inside = mesh_nb.StateGraph("inside").add_node("fetch", fetch).add_node("read", lambda input: input)
inside.add_edge("fetch", "read").set_entry_point("fetch")
g = mesh_nb.StateGraph("crawl").add_node("each", inside.compile(), node_type="foreach")
g.add_node("sum", lambda input: "done").add_edge("each", "sum").set_entry_point("each")
run = g.run(list(range({VISITS // 2})))
await run
"""

# Sums what the page received, notes long tasks, and the first frame that shows the last word.
PROBE = """
(() => {
  const bench = (globalThis.bench = {});
  bench.reset = () => Object.assign(bench, {bytes: 0, frames: 0, large: 0, tasks: [], painted: 0});
  bench.reset();
  const Socket = globalThis.WebSocket;
  globalThis.WebSocket = class extends Socket {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({data}) => {
        const size = data.byteLength ?? data.size ?? data.length;
        bench.bytes += size;
        bench.frames += 1;
        if (size > 150000) bench.large += 1;
      });
    }
  };
  new PerformanceObserver((list) => {
    for (const {duration, startTime} of list.getEntries()) bench.tasks.push([startTime, duration]);
  }).observe({type: "longtask"});
  const seen = (node) => (node.data ?? node.textContent ?? "").includes("wLAST");
  const look = (records) => {
    if (bench.painted) return;
    const last = (r) => (r.type === "characterData" ? seen(r.target) : [...r.addedNodes].some(seen));
    if (!records.some(last)) return;
    bench.painted = -1;
    requestAnimationFrame(() => setTimeout(() => (bench.painted = Date.now()), 0));
  };
  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (options) {
    const root = attach.call(this, options);
    new MutationObserver(look).observe(root, {childList: true, subtree: true, characterData: true});
    return root;
  };
})();
"""
WORDS = """
const text = [...book.widgets[2].node.querySelectorAll("*")].map((e) => e.shadowRoot)
  .filter(Boolean).map((root) => root.querySelector(".transcript")?.textContent ?? "").join(" ");
return [...new Set(text.match(/w[0-9]+/g) ?? [])].length"""
STOP = """
const button = [...book.widgets[2].node.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)
  .flatMap((root) => [...root.querySelectorAll("button")]).find((b) => b.textContent.trim() === "Stop");
const from = performance.now();
const model = book.widgets[2].model;
button.click();
while (model.executionState === "running") {
  if (performance.now() - from > 20000) return -1;
  await new Promise((resolve) => setTimeout(resolve, 1));
}
return performance.now() - from"""


def words(count: int) -> Iterator[str]:
    """Yield tokens of about 7 characters that make Markdown: paragraphs, lists, code, tables."""
    for n in range(count - 1):
        place, lead = n % 400, ""
        if place == 0:
            lead = "\n\n## Part "
        elif place in (40, 60, 80):
            lead = "\n\n- " if place == 40 else "\n- "
        elif place == 120:
            lead = "\n\n```python\n"
        elif 120 < place < 180 and place % 6 == 0:
            lead = "\n"
        elif place == 180:
            lead = "\n```\n\n"
        elif place == 240:
            lead = "\n\n| a | b |\n|---|---|\n| x | "
        elif 240 < place < 264 and place % 2 == 0:
            lead = " |\n| y | "
        elif place == 264:
            lead = " |\n\n"
        elif place in (320, 360):
            lead = "\n\n"
        elif place % 25 == 0:
            lead = "**bold** "
        yield f"{lead}w{n:05d} "
    yield LAST


class Paced:
    """A server of chat completions: model "tokens-N" sends N tokens at RATE, then waits to be let go."""

    def __init__(self) -> None:
        self.last_at = 0.0
        self.end = threading.Event()
        paced = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                """Stream one answer."""
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.writelines(paced.answer(body["model"]))
                self.close_connection = True

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, model: str) -> Iterator[bytes]:
        """Yield the bytes of one answer, at RATE tokens a second."""
        count, begun, sent = int(model.rpartition("-")[2]), time.time(), b""
        for n, word in enumerate(words(count)):
            sent += chunk(model, {"choices": [{"index": 0, "delta": {"content": word}}]})
            wait = begun + n / RATE - time.time()
            if wait > TICK:
                yield sent
                sent = b""
                time.sleep(wait)
        yield sent
        self.last_at = time.time()
        if count > 1000:
            self.end.wait()
        yield chunk(model, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": count + 10}
        yield chunk(model, {"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"


def chunk(model: str, body: dict[str, Any]) -> bytes:
    """Return one event of a stream of chat completions."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    return f"data: {json.dumps({**common, **body})}\n\n".encode()


class Bench:
    """The parts that every measurement needs; `figure` keeps and prints what was found."""

    def __init__(self, server: LabServer, context: BrowserContext, paced: Paced, log: Any) -> None:
        self.server, self.context, self.paced, self.log = server, context, paced, log
        self.table: list[tuple[str, str, str, bool]] = []

    def figure(self, name: str, value: float, unit: str, limit: float) -> None:
        """Keep one figure and its target, an upper limit."""
        self.log.write(json.dumps({"figure": name, "value": value, "unit": unit, "target": limit}) + "\n")
        self.table.append((name, f"{value:g} {unit}", f"<= {limit:g} {unit}", value <= limit))
        print(f"  {name}: {value:g} {unit}", flush=True)

    def book(self, name: str, *cells: str) -> tuple[Visit, Notebook]:
        """Open a notebook whose first cell is done."""
        guest = Visit(self.context)
        first = f"%env OPENAI_BASE_URL={self.paced.base_url}\n%load_ext mesh_nb"
        notebook = guest.open(self.server, self.server.write(name, first, *cells))
        notebook.execute(0)
        return guest, notebook

    def stream(self, count: int) -> dict[str, float]:
        """One long answer: how far the page is behind, what it blocks, loses and costs the wire."""
        self.paced.end.clear()
        guest, notebook = self.book(f"tokens-{count}.ipynb", SHORT, f"%%mesh -m tokens-{count}\nGo.")
        notebook.execute(1)  # the bundle comes with the first run of a page
        warm(notebook)
        notebook.js("bench.reset(); return null")
        before = self.paced.last_at
        notebook.run(2)
        until(lambda: self.paced.last_at != before, "the last token at the server", 60 + 3 * count / RATE)
        until(lambda: notebook.js("return bench.painted > 0"), "the last word in the page")
        seen = notebook.js("return {...bench}")
        behind = seen["painted"] / 1000 - self.paced.last_at
        lost = count - 1 - notebook.js(WORDS)
        self.paced.end.set()
        notebook.wait_done(2)
        notebook.output(2).get_by_role("button", name="Stop").wait_for(state="detached")
        notebook.js("await new Promise((r) => setTimeout(r, 500)); return null")
        all_tasks = [duration for _, duration in notebook.js("return bench.tasks")]
        tasks = [duration for _, duration in seen["tasks"]]
        guest.leave()
        return {
            "last token to paint": round(behind, 3),
            "long tasks, sum": round(sum(tasks) / 1000, 2),
            "longest task": round(max(tasks, default=0)),
            "longest task, freezing included": round(max(all_tasks, default=0)),
            "tokens lost": lost,
            "on the socket per 10k": round(seen["bytes"] / count / 100, 3),
        }

    def streams(self, count: int, paint_s: float, times: int) -> None:
        """Several long answers of one length: the medians, and every token that was lost."""
        found = [self.stream(count) for _ in range(times)]
        for name, unit, limit in (
            ("last token to paint", "s", paint_s),
            ("long tasks, sum", "s", 1.0),
            ("longest task", "ms", 200),
            ("longest task, freezing included", "ms", 200),
            ("tokens lost", "tokens", 0),
            ("on the socket per 10k", "MB", 0.3),
        ):
            values = [one[name] for one in found]
            value = sum(values) if name == "tokens lost" else round(statistics.median(values), 3)
            self.figure(f"{count // 1000}k tokens: {name}", value, unit, limit)

    def many(self) -> None:
        """Many runs in one notebook: the bundle travels once, and little is saved besides the answers."""
        cells = [SHORT] * RUNS
        guest, notebook = self.book("many.ipynb", *cells)
        notebook.run_all()
        until(lambda: notebook.done(RUNS), f"the end of {RUNS} runs", 300)
        notebook.js("await new Promise((r) => setTimeout(r, 500)); return null")
        bundles = notebook.js("return bench.large")
        notebook.save()
        path = self.server.workspace / notebook.name
        outputs = [output for cell in self.server.read(notebook.name).cells for output in cell.outputs]
        if odd := [output for output in outputs if output.output_type not in ("display_data", "stream")]:
            raise RuntimeError(f"the notebook of {RUNS} runs has another output: {odd[0]}")
        shown = [output["data"] for output in outputs if "data" in output]
        frozen = sum(len(json.dumps(data, indent=1)) for data in shown if "text/html" in data)
        self.figure(f"{RUNS} runs: bundles loaded", bundles, "", 1)
        self.figure(
            f"{RUNS} runs: saved per run besides its answer",
            round((path.stat().st_size - frozen) / RUNS / 1000, 2),
            "KB",
            2.0,
        )
        guest.leave()

    def visits(self) -> None:
        """Many visits of nodes, with the graph and the timeline open."""
        guest, notebook = self.book("visits.ipynb", SHORT, CRAWL)
        notebook.execute(1)
        warm(notebook)
        notebook.run(2)
        notebook.output(2).locator("details.timeline > summary").click()
        notebook.output(2).locator(".rows button.row").nth(5).wait_for()
        notebook.js("bench.reset(); return null")
        notebook.wait_done(2)
        tasks = notebook.js("return bench.tasks.map(([, duration]) => duration)")
        self.figure(
            f"{VISITS} visits with the timeline open: longest task", round(max(tasks, default=0)), "ms", 200
        )
        guest.leave()

    def stop(self) -> None:
        """From the click on Stop to an idle kernel."""
        self.paced.end.clear()
        guest, notebook = self.book("stop.ipynb", SHORT, "%%mesh -m tokens-90000\nGo.")
        took: list[float] = []
        for _ in range(STOPS):
            notebook.run(2)
            notebook.output(2).get_by_text(re.compile("w00400")).first.wait_for()
            took.append(notebook.js(STOP))
            notebook.output(2).get_by_role("button", name="Stop").wait_for(state="detached")
        self.figure("Stop to idle, median", round(statistics.median(took) / 1000, 3), "s", 0.15)
        guest.leave()


def warm(notebook: Notebook) -> None:
    """Let the page settle: JupyterLab goes on working for a while after it is ready."""
    quiet = "bench.tasks = []; await new Promise((r) => setTimeout(r, 1000)); return bench.tasks.length === 0"
    for _ in range(30):
        if notebook.js(quiet):
            return


def main() -> int:
    """Run all measurements and print one table."""
    quick = "--quick" in sys.argv[1:] or bool(os.environ.get("QUICK"))
    results = ROOT / "build" / "bench-browser.jsonl"
    results.parent.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="mesh-bench-") as home,
        results.open("w", encoding="utf-8") as log,
    ):
        server = LabServer(Path(home) / "home", OPENAI_API_KEY="sk-bench").start()
        try:
            with chromium() as browser, visiting(browser) as context:
                context.add_init_script(PROBE)
                bench = Bench(server, context, Paced(), log)
                core = sum(len(gzip.compress((STATIC / f"{n}.js").read_bytes())) for n in ("hub", "stub"))
                bench.figure("core bundle, gzip", round(core / 1000, 1), "KB", 80)
                bench.streams(10_000, 0.05, 3)
                bench.stop()
                bench.many()
                bench.visits()
                if not quick:
                    bench.streams(100_000, 0.1, 1)
        finally:
            server.stop()
    widths = [max(len(row[:3][i]) for row in bench.table) for i in range(3)]
    print()
    for row in bench.table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        print(f"{line}  {'ok' if row[3] else 'MISSED'}")
    busy = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(
        f"\nload average {busy}: the times are those of a busy machine when it is above the number of cores"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
