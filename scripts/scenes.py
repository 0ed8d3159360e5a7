"""Hand-written runs that bring a cell into each of its states: for the eye, and for axe-core."""

from __future__ import annotations

import base64
import io
import itertools
import json
import time
import types
from collections.abc import Callable
from typing import Any

from mesh_nb.core.events import EventType, ExecutionEvent

ANSWER = """Sea level has risen **21-24 cm** since 1880, and about a third of that in the last 25 years.

## What drives it

1. **Thermal expansion** of the oceans, the larger part until about 2005
2. **Land ice**: glaciers, Greenland and Antarctica
   - Greenland loses some 270 Gt a year
   - Antarctica about 150 Gt a year
3. Smaller terms, such as groundwater

| Period | Rate (mm/yr) | Source of the record |
|:--|--:|:--|
| 1901-1990 | 1.4 | tide gauges |
| 1993-2012 | 3.1 | altimetry |
| 2013-2024 | **4.4** | altimetry |

> The rate has more than doubled since satellites began to measure it.

A fit to the record takes three lines:

```python
import numpy as np

def trend(years: np.ndarray, level_mm: np.ndarray) -> float:
    \"\"\"Least-squares rate in mm per year.\"\"\"
    slope, _ = np.polyfit(years - years.mean(), level_mm, 1)
    return float(slope)  # 3.4 for 1993-2024
```

- [x] tide gauges checked
- [ ] regional differences, see [the atlas](https://example.org/atlas)

The rate is the slope $b$ of the fit, with $n$ years $t_i$ and levels $h_i$:

$$b = \\frac{\\sum_{i=1}^{n} (t_i - \\bar t)(h_i - \\bar h)}{\\sum_{i=1}^{n} (t_i - \\bar t)^2}$$

Set `deg=2` to let the rate change with time.
"""
ROWS = [
    {"year": 1993, "level_mm": 0, "source": "TOPEX"},
    {"year": 2003, "level_mm": 31.5, "source": "Jason-1"},
    {"year": 2013, "level_mm": 63.9, "source": "Jason-2"},
    {"year": 2024, "level_mm": 111.2, "source": "Sentinel-6"},
]
CODE = "def trend(years, level):\n    slope, _ = np.polyfit(years, level, 1)\n    return slope\n"
_START = 1_790_000_000.0


class Scene:
    """The events of one run, stamped as an executor would; what is not ended goes on."""

    def __init__(self, graph: str = "chat", outline: dict[str, Any] | None = None) -> None:
        self.events: list[ExecutionEvent] = []
        self._now = _START
        given = {"graph_id": graph} if outline is None else {"graph_id": graph, "graph": outline}
        self.add("execution_start", "START", metadata=given)

    def add(self, kind: str, node: str = "llm", seconds: float = 0.02, **fields: Any) -> Scene:
        """Add one event, some seconds after the last."""
        self._now += seconds
        event = ExecutionEvent(
            EventType(kind), node, run_id="run_7f3a2c", seq=len(self.events), timestamp=self._now, **fields
        )
        self.events.append(event)
        return self

    def start(self, *nodes: str, model: str = "gpt-5") -> Scene:
        """Start nodes, and a model call in each."""
        for node in nodes or ("llm",):
            self.add("node_start", node)
            self.add("model_call_start", node, metadata={"provider": "openai", "requested_model": model})
        return self

    def say(self, text: str, node: str = "llm", seconds: float = 0.3) -> Scene:
        """Say something."""
        return self.add("token", node, seconds, content=text)

    def think(self, text: str, kind: str = "full", seconds: float = 4.0, done: bool = True) -> Scene:
        """Reason for so many seconds."""
        known = {"block_id": f"r{len(self.events)}", "kind": kind}
        self.add("reasoning_start", metadata=known)
        if text:
            self.add("reasoning_token", content=text, metadata=known)
        return self.add("reasoning_end", seconds=seconds, metadata=known) if done else self

    def tool(
        self, name: str, args: Any, output: Any = None, ms: int | None = 640, node: str = "llm", **more: Any
    ) -> Scene:
        """Call a tool; without `ms` it is still at work, without `args` as a dict they are being written."""
        error = more.pop("error", None)
        known = {"tool_call_id": f"c{len(self.events)}", "tool_name": name, "executed_by": "client", **more}
        self.add("tool_call_start", node, metadata=known)
        raw = args if isinstance(args, str) else json.dumps(args)
        self.add("tool_call_delta", node, content=raw, metadata=known)
        if ms is None:
            return self
        status = more.get("status") or ("error" if error else "ok")
        return self.add(
            "tool_call_complete",
            node,
            ms / 1000,
            output=output,
            error=error,
            metadata={**known, "arguments": args, "status": status, "duration_ms": ms},
        )

    def usage(
        self, asked: int, answered: int, cost: float | None = None, node: str = "llm", **more: Any
    ) -> Scene:
        """End a model call with its counts."""
        extra = {k: more.pop(k) for k in ("cached_tokens", "reasoning_tokens") if k in more}
        counts = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
        known = {
            "model_id": "gpt-5-2025-08-07",
            "provider": "openai",
            "usage": {**counts, **extra},
            "usage_status": "reported",
            "time_to_first_token_ms": 412,
            "duration_ms": 5230,
            "finish_reason": "stop",
            **({} if cost is None else {"cost_usd": cost}),
            **more,
        }
        return self.add("response_metadata", node, metadata=known)

    def file(self, name: str, mime: str, data: bytes | None = None, **more: Any) -> Scene:
        """Hand over a file."""
        content = {} if data is None else {"content": base64.b64encode(data).decode()}
        return self.add("file", metadata={"name": name, "mime_type": mime, **content, **more})

    def data(self, kind: str, payload: Any, node: str = "llm", seconds: float = 0.4, **more: Any) -> Scene:
        """Send custom data."""
        return self.add("custom_data", node, seconds, content=payload, metadata={"data_type": kind, **more})

    def cite(self, *sources: tuple[str, str, str, str]) -> Scene:
        """Cite (url, title, quote, words of the answer it stands after; empty for what was only read)."""
        found: list[dict[str, Any]] = []
        for url, title, quote, after in sources:
            place = {"start": 0, "end": ANSWER.index(after) + len(after)} if after else {"kind": "result"}
            found.append({"url": url, "title": title, "cited_text": quote, **place})
        return self.add("source", metadata={"sources": found})

    def end(self, status: str = "completed", error: str | None = None) -> Scene:
        """End the run; what runs is complete when it is."""
        begun = {e.node_id: e.type for e in self.events if e.type in ("node_start", "node_complete")}
        for node in begun if status == "completed" else ():
            if begun[node] == "node_start":
                self.add("node_complete", node)
        kind = "execution_complete" if status == "completed" else "execution_error"
        took = (self._now - _START) * 1000
        return self.add(kind, "START", error=error, metadata={"status": status, "duration_ms": took})


def outline(*edges: str, **kinds: str) -> dict[str, Any]:
    """Return a graph of edges: `a>b`, `a>b?label` (conditional), `a>b@3` (a loop, at most 3 times)."""
    made: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for edge in edges:
        source, rest = edge.split(">")
        target, _, label = rest.replace("@", "?@").partition("?")
        names |= {source: None, target: None}
        more: dict[str, str] = {}
        if label:
            loop = label.startswith("@")
            more = {
                "kind": "loop" if loop else "conditional",
                "label": f"max: {label[1:]}" if loop else label,
            }
        made.append({"source": source, "target": target, **more})
    nodes = [{"id": n, "kind": kinds.get(n, "llm")} for n in names]
    return {"nodes": nodes, "edges": made}


def picture(width: int = 760, height: int = 300) -> bytes:
    """Return a PNG."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    points = [
        (40 + x, height - 40 - (height - 80) * (x / (width - 60)) ** 1.6) for x in range(0, width - 60, 6)
    ]
    pen.line(points, fill="#1976d2", width=4)
    pen.rectangle((40, 20, width - 20, height - 30), outline="#cccccc")
    out = io.BytesIO()
    image.save(out, "png")
    return out.getvalue()


def silence() -> bytes:
    """Return a second of sound in a WAV file."""
    import wave

    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 8000)
    return out.getvalue()


def _research(scene: Scene) -> Scene:
    scene.start().think(
        "The question is about the **rate** of sea level rise and its causes. I should look for the "
        "altimetry record first, then split the contributions.\n\nTide gauges go back to 1880; satellites "
        "to 1993. Acceleration is the interesting part."
    )
    scene.tool("search", {"query": "global mean sea level altimetry 1993-2024", "limit": 5}, {"hits": 5})
    scene.tool("load_table", {"dataset": "gmsl", "columns": ["year", "level_mm"]}, ROWS, 1830)
    scene.tool("fetch", {"url": "https://example.org/missing"}, ms=120, error="HTTP 404: no such page")
    return scene.usage(1840, 212, 0.0044, reasoning_tokens=96)


def answered() -> Scene:
    """A whole answer: reasoning, tools, Markdown, citations, a file, usage."""
    s = _research(Scene("sea_level")).start().say(ANSWER)
    quote = "Global mean sea level has risen about 8-9 inches (21-24 centimeters) since 1880."
    s.cite(
        ("https://www.climate.gov/sea-level", "Climate Change: Global Sea Level", quote, "25 years."),
        ("https://sealevel.nasa.gov/", "NASA Sea Level Change", "The rate has doubled.", "measure it."),
        ("https://www.climate.gov/sea-level", "", "", "270 Gt a year"),
        ("https://example.org/ar6", "IPCC AR6, Chapter 9: Ocean, Cryosphere and Sea Level", "", "**4.4**"),
        ("https://example.org/gravity", "GRACE-FO mass change", "", ""),
        ("https://example.org/tides", "Permanent Service for Mean Sea Level", "", ""),
    )
    s.file("gmsl.png", "image/png", picture())
    return s.usage(3120, 486, 0.0088, cached_tokens=1536).end()


def streaming() -> Scene:
    """Text that is being written, in the middle of a code block."""
    return _research(Scene("sea_level")).start().say(ANSWER[: ANSWER.index("np.polyfit") + 9])


def thinking() -> Scene:
    """Reasoning that is being written."""
    text = "Let me weigh the two records against each other.\n\n" + "Tide gauges sample the coasts. " * 40
    return Scene().start().think(text, done=False)


def thoughts() -> Scene:
    """Reasoning of every kind."""
    s = Scene().start().think("A full chain of thought, in two sentences. It ends here.", seconds=75)
    s.think("**Weighing the evidence**\n\nThe sample is small.", "summary", 3.2)
    return s.think("", "redacted").say("The answer after three thoughts.").usage(200, 80, 0.001).end()


def working() -> Scene:
    """Calls that are written, run, and run by the provider."""
    s = Scene().start().tool("search", {"query": "sea level", "limit": 5}, {"hits": 5})
    s.tool("fetch_page", {"url": "https://example.org/a/rather/long/address?with=parameters"}, ms=None)
    s.add("tool_call_start", metadata={"tool_call_id": "p", "tool_name": "web_search"} | _PROVIDER)
    s.tool("run_python", '{"code": "import numpy as np\\nfor year in ran', ms=None)
    return s


_PROVIDER = {"executed_by": "provider"}


def tools() -> Scene:
    """Results of every kind, each call on its own."""
    s = Scene().start()
    results: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("load_table", {"dataset": "gmsl", "columns": ["year", "level_mm"]}, ROWS, {}),
        ("read_config", {"path": "run.toml"}, {"model": "gpt-5", "limits": {"usd": 2, "calls": [1, 2]}}, {}),
        ("plot", {"kind": "line"}, {"mime_type": "image/png", "data": _coded(picture(420, 200))}, {}),
        ("read_file", {"path": "trend.py"}, CODE, {}),
        ("fetch", {"url": "https://example.org/missing"}, None, {"error": "HTTP 404: no such page"}),
        ("web_search", {"query": "sea level rise"}, "5 results", _PROVIDER),
        ("send_mail", {"to": "ana@example.org", "body": "Hello."}, None, {"status": "denied"}),
        ("slow", {"n": 10}, None, {"status": "cancelled"}),
        ("lookup", {"key": "a"}, "b", {"cached": True}),
    ]
    for n, (name, args, output, more) in enumerate(results):
        s.tool(name, args, output, 40 + 900 * n, **more).say(f"After call {n + 1}.")
    return s.usage(900, 120, 0.002).end()


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def grouped() -> Scene:
    """Calls in a row, one of which failed."""
    return _research(Scene()).start().say("The table has four rows.").usage(10, 20, 0.001).end()


def files() -> Scene:
    """Files of every kind: shown, played, previewed, offered, too large, kept elsewhere."""
    s = Scene().start().say("Here are the files.")
    s.file("gmsl_1993_2024.png", "image/png", picture())
    table = "year,level_mm,source\n" + "".join(
        f"{y},{(y - 1993) * 3.4:.1f},altimetry\n" for y in range(1993, 2060)
    )
    s.file("gmsl_1993_2024.csv", "text/csv", table.encode())
    s.file("report.pdf", "application/pdf", b"%PDF-1.4 " + b"x" * 48_000)
    s.file("voice.wav", "audio/wav", silence())
    s.file("model.bin", "application/octet-stream", bytes(2_400_000), size=2_400_000)
    s.file("a-name-that-is-far-longer-than-anybody-would-like-" * 3 + ".txt", "text/plain", b"abc")
    s.file("kept.xlsx", "application/vnd.ms-excel", file_id="file_1", provider="openai")
    return s.usage(10, 20, 0.001).end()


def custom() -> Scene:
    """Progress, the steps of a recursive model, unknown data, a request that waits to be asked again."""
    s = Scene("papers").start("llm")
    s.data("data-progress", {"value": 62, "total": 180, "label": "Reading papers", "id": "a"})
    s.data("data-progress", {"label": "Waiting for the index", "id": "b"})
    s.data("data-progress", {"percent": 43, "id": "c"})
    for n, (kind, text) in enumerate(_STEPS, 1):
        s.data(f"data-rlm-{kind}", {"step": n, "text": text, "budget": 20})
    s.data("data-rubric", {"rubric": ["novelty", "rigour"], "weights": [0.4, 0.6]})
    s.data("data-retry", {"reason": "HTTP 429: too many requests", "delay_s": 42.0})
    return s


_STEPS = [
    ("code", "chunks = split(context, 4000)"),
    ("sub-query", "Which of the chunks speak of a control group?"),
    ("error", "NameError: name 'chunk' is not defined"),
    ("sub-query", "Summarise chunk 7 in one sentence"),
]


def costs() -> Scene:
    """Priced, cached and unpriced calls, and a limit."""
    day = {"scope": "project", "per": "day", "usd": 2.5, "spent_usd": 1.93}
    s = Scene().start().usage(1840, 212, 0.0044, reasoning_tokens=96, cached_tokens=1200)
    s.start().usage(3120, 486).start().usage(120, 40, 0.01, cached=True, original_cost_usd=0.01)
    return s.start().say("Four calls.").usage(800, 90, 0.0021, limits=[day]).end()


def unpriced() -> Scene:
    """A model whose price nobody knows."""
    return Scene().start().say("From a model of one's own.").usage(800, 90).end()


_BEGUN = "The planets by mass, heaviest first:\n\n1. Jupiter\n2. Saturn\n3. Nep"


def failed() -> Scene:
    """An attempt that was thrown away, and one that failed too."""
    s = Scene().start().say("A first try that the connection cut ")
    error = "openai/gpt-5 (HTTP 503): the server is overloaded."
    s.add("node_retry", error=error, metadata={"attempt": 1}).start()
    s.think("Again from the top: list the planets by mass.", seconds=2).say(_BEGUN)
    said = (
        "openai/gpt-5 (HTTP 200): The answer stopped before its end: the connection dropped after 96 tokens. "
        "Run the cell again; what had arrived is in run.text. [request req_8c1f]"
    )
    return s.add("node_error", error=said).end("failed", "Node 'llm' failed")


def over_budget() -> Scene:
    """A run that reached its budget."""
    error = "The run has spent $0.0312 of its $0.03; raise budget_usd and resume it."
    return Scene().start().say(_BEGUN).usage(900, 400, 0.0312).end("budget", error)


def timed_out() -> Scene:
    """A run that took too long."""
    return Scene().start().say(_BEGUN).end("timeout", "The run took longer than its 30 s.")


def cancelled() -> Scene:
    """A run that was stopped."""
    return Scene().start().say("Once upon a time there was a very long story, which ").end("cancelled")


def killed() -> Scene:
    """A run whose kernel has gone."""
    return Scene().start().say(_BEGUN)


def asking() -> Scene:
    """A tool that may be called only with leave."""
    s = Scene("agent").start().say("I will write to Ana now.")
    mail = {"to": "ana@example.org", "subject": "Friday", "body": "Dear Ana,\nwe meet at ten.\nYours"}
    return s.add(
        "interrupt",
        metadata={
            "interrupt_id": "i1",
            "kind": "tool",
            "message": "The agent wants to send a mail.",
            "tool_name": "send_mail",
            "arguments": mail,
            "cost_usd": 0.0123,
            "deadline": time.time() + 290,
        },
    )


def questions() -> Scene:
    """A question in words, and those that were answered."""
    s = Scene("agent").start()
    for n, (decision, by, reason) in enumerate(
        [
            ("approved", "person", ""),
            ("edited", "person", ""),
            ("rejected", "person", "not before Friday"),
            ("timeout", "timeout", ""),
            ("approved", "policy", ""),
        ]
    ):
        known = {
            "interrupt_id": f"a{n}",
            "kind": "tool",
            "tool_name": "send_mail",
            "arguments": {"to": "ana"},
        }
        s.add("interrupt", metadata=known)
        s.add("interrupt_resolved", metadata={**known, "decision": decision, "by": by, "reason": reason})
    known = {"interrupt_id": "q", "kind": "input", "message": "Which of the two papers should be read first?"}
    return s.add("interrupt", metadata=known)


def two_nodes() -> Scene:
    """The smallest graph that is drawn, running."""
    s = Scene("pair", outline("draft>review")).start("draft").say("A draft.", "draft", 2)
    return s.add("node_complete", "draft").start("review").say("It reads ", "review")


REVIEW = outline(
    "load>optimist",
    "load>sceptic",
    "optimist>judge",
    "sceptic>judge",
    "judge>revise?poor",
    "judge>publish?good",
    "revise>judge@3",
    load="function",
    judge="condition",
    revise="subgraph",
    publish="tool",
)


def six_nodes() -> Scene:
    """Lanes, a condition, a loop, a subgraph; one failed, one not run."""
    s = Scene("review", REVIEW).add("node_start", "load").add("node_complete", "load", 0.4)
    s.start("optimist", "sceptic").say("Sound and large.", "optimist", 1.2)
    s.data("data-retry", {"reason": "HTTP 429", "delay_s": 2.0}, "sceptic", 0.1)
    s.add("node_retry", "sceptic", 2.0, error="HTTP 503: overloaded", metadata={"attempt": 1})
    s.add("node_complete", "optimist", 0.5).say("The sample is small.", "sceptic", 0.8)
    s.add("node_complete", "sceptic", 1.1)
    for visit in range(2):
        s.add("node_start", "judge", metadata={"visit": visit} if visit else {})
        s.add("token", "judge", 0.6, content="Major revision.", metadata={"visit": visit} if visit else {})
        s.add("node_complete", "judge", 0.3, metadata={"visit": visit} if visit else {})
        at = {"visit": visit} if visit else {}
        s.add("node_start", "revise", metadata=at).add("node_start", "revise/cut", metadata=at)
        s.add("token", "revise/cut", 0.7, content="Shorter now.", metadata=at)
        if not visit:
            s.add("node_complete", "revise/cut", 0.4).add("node_complete", "revise", 0.1)
    error = "openai/gpt-5 (HTTP 400): the prompt is too long by 1,204 tokens."
    s.add("node_error", "revise", 0.3, error=error, metadata={"visit": 1})
    return s.end("failed", "Node 'revise' failed")


def many_nodes() -> Scene:
    """Thirty nodes, some of them done."""
    edges = [f"plan>read_{n}" for n in range(1, 15)] + [f"read_{n}>note_{n}" for n in range(1, 15)]
    edges += [f"note_{n}>write" for n in range(1, 15)]
    s = Scene("thirty", outline(*edges)).start("plan").say("Fourteen papers.", "plan", 1)
    s.add("node_complete", "plan")
    for n in range(1, 15):
        s.start(f"read_{n}")
    for n in range(1, 6):
        s.say(f"Paper {n}.", f"read_{n}", 0.4).add("node_complete", f"read_{n}", 0.3)
        s.start(f"note_{n}")
    return s


WORDS = (
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 4
    + "\n\nhttps://example.org/"
    + "a-very-long-path/" * 12
    + "\n\nهذا نص عربي يصف ارتفاع مستوى سطح البحر منذ عام 1880، وفيه قائمة:\n\n- البند الأول\n- البند الثاني"
    + "\n\n海面水位は1880年以来21〜24センチメートル上昇しました。"
    + "そのうち約三分の一は過去25年間に起こっています。"
    + "\n\n| "
    + " | ".join(f"column {n}" for n in range(14))
    + " |\n|"
    + "--|" * 14
    + "\n| "
    + " | ".join(f"value {n}" for n in range(14))
    + " |\n\n```python\nprint('"
    + "a line of code that is wider than any cell, " * 6
    + "')\n```\n\n# Heading one\n\n## Heading two\n\n### Heading three\n\n#### Heading four\n\nText, "
    "~~gone~~, *slanted*, `code` and a picture: ![a chart](https://example.org/chart.png)\n\n---\n\nThe end."
)


def words() -> Scene:
    """Long words, other scripts, wide tables and code."""
    s = Scene().start().think("這是推理過程。 " * 12, seconds=3)
    s.tool("翻訳する_translate_a_text_with_a_long_name_of_a_tool", {"text": "海面水位 " * 20}, "ok " * 80)
    return s.say(WORDS).usage(200, 900, 0.0123).end()


def again() -> Scene:
    """What was not done anew: reused, replayed, cached."""
    s = Scene("thrice", outline("first>second", "second>third"))
    for node, word in (("first", "reused"), ("second", "replayed"), ("third", "cached")):
        s.add("node_start", node, metadata={word: True}).say(f"The {node} answer.", node)
        if word != "reused":
            s.usage(100, 20, 0.002, node, **{word: True})
        s.add("node_complete", node, metadata={word: True})
    return s.end()


def refused() -> Scene:
    """A model that declined."""
    s = Scene().start()
    s.add("token", content="I cannot help with that.", metadata={"event_subtype": "refusal"})
    return s.usage(20, 8, 0.0001).end()


def computed() -> Scene:
    """A graph of functions: no text, a table as its output."""
    s = Scene("table", outline("read>clean", read="function", clean="function"))
    for node in ("read", "clean"):
        s.add("node_start", node).add("node_complete", node, 0.2)
    return s.add(
        "execution_complete", "START", output=ROWS, metadata={"status": "completed", "duration_ms": 412}
    )


_MADE: list[Callable[[], Scene]] = [
    *(answered, streaming, thinking, thoughts, working, tools, grouped, files, custom, costs, unpriced),
    *(failed, over_budget, timed_out, cancelled, killed, asking, questions, two_nodes, six_nodes, many_nodes),
    *(words, again, refused, computed),
]
SCENES = {made.__name__: made for made in _MADE}


class Stored:
    """A run that is nothing but its events: what a LiveView and a reader ask of one."""

    _ids = itertools.count()

    def __init__(self, scene: Scene) -> None:
        self.id = f"scene-{next(self._ids)}"
        self.events = scene.events
        self.graph = types.SimpleNamespace(**scene.events[0].metadata.get("graph", {}))
        self.done = scene.events[-1].type in ("execution_complete", "execution_error")
        self.status = str(scene.events[-1].metadata.get("status", "running"))
        self.pending: list[Any] = []

    def subscribe(self, callback: Any) -> Callable[[], None]:
        """Say nothing more."""
        return lambda: None

    def add_done_callback(self, callback: Any) -> None:
        """Never end."""

    def cancel(self) -> None:
        """Stay as it is."""


def show(name: str) -> None:
    """Show a scene live in the current cell, and its static output below when it has ended."""
    from IPython.display import display

    from mesh_nb.notebook.freeze import freeze
    from mesh_nb.notebook.live import LiveView

    run = Stored(SCENES[name]())
    _kept.append(LiveView(run))
    display(_kept[-1].widget)
    data, _ = freeze(run.events, run.id, dead=name == "killed")
    display({"text/html": data["text/html"]}, raw=True)


_kept: list[Any] = []
