"""Runs for the front end's tests, as JSON: what the page gets while a run goes on, later, and for good.

    python tests/recordings.py OUT.json

Runs are the recorded provider streams, where they are present, streams written by hand, and lists of events
for what no single model call shows. Each has `name`, `log` (all events, as the page gets them), `batches`
(the messages of a live view), `snapshots` (what a page gets that asks after so many batches) and `html` and
`plain` (the static output).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

from event_lists import PNG, answer, events, rich, token, whole
from provider_streams import WRITTEN, framed, recorded
from replay_server import split_events
from replayed import graph_of, replaying, run_of

from mesh_nb.core.events import ExecutionEvent, decode, encode
from mesh_nb.notebook._coalesce import Coalescer, coalesce
from mesh_nb.notebook.freeze import freeze
from mesh_nb.notebook.live import wire_event

LINKS = (
    '[a](https://a.test/x?y=1&z=2 "T") [b](javascript:alert(1)) [c](/relative) [d](mailto:a@b.test)'
    " <https://e.test>"
    " <javascript:alert(2)> [f][r] ![g](https://g.test/g.png) ![h](data:image/svg+xml;base64,AA==)"
    " [i](data:text/html,x)"
    " [j](sandbox:/mnt/x.png)\n\n[r]: https://r.test\n"
)
GITHUB = (
    "www.commonmark.org and www.commonmark.org/help.\n\n(www.google.com/search?q=Markup+(business))\n\n"
    "www.google.com/search?q=commonmark&hl;\n\nhttps://a.test/b_c_d, https://a.test."
    "\n\nfoo@bar.baz and a.b-c_d@a.b.\n\n"
    "`https://code.test` **https://bold.test/x** not/www.x.test ~~gone~~\n"
)
CITED = (
    "One `code here` and **bold [link](https://l.test/a) words** https://bare.test/path end.\n\n"
    "- item one\n- item two\n\n```py\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThe last.\n"
)
CSV = "city,people,area_km2\nOslo,709037,454\nBergen,291940,465\n"


def streamed() -> dict[str, list[ExecutionEvent]]:
    """The runs of all streams: recorded bodies by their name, hand-written ones as `own/API`."""
    bodies = {c.name: (c.api, split_events(c.body())) for c in recorded()}
    for api, written in WRITTEN.items():
        bodies[f"own/{api}"] = (api, [framed(chunk) for chunk in written.mixed(range(97))])
    with replaying({name: (api, list(body)) for name, (api, body) in bodies.items()}):
        return {name: asyncio.run(run_of(graph_of(name))).log for name in bodies}


def _call(id: str, name: str, node: str = "llm", **fields: Any) -> list[tuple[Any, ...]]:
    known = {"tool_call_id": id, "tool_name": name, "executed_by": "client"}
    given = {k: fields.pop(k) for k in ("arguments", "status", "duration_ms") if k in fields}
    start = {"metadata": known}
    raw = {"metadata": known, "content": json.dumps(given.get("arguments"))}
    return [
        ("tool_call_start", node, start),
        ("tool_call_delta", node, raw),
        ("tool_call_complete", node, {**fields, "metadata": {**known, "status": "ok", **given}}),
    ]


def _data(kind: str, payload: Any) -> tuple[str, str, dict[str, Any]]:
    return "custom_data", "llm", {"content": payload, "metadata": {"data_type": kind}}


def _file(name: str, mime: str, content: str, size: int | None = None) -> tuple[str, str, dict[str, Any]]:
    given = {"name": name, "mime_type": mime, "content": content}
    return "file", "llm", {"metadata": given | ({} if size is None else {"size": size})}


def _response(**fields: Any) -> tuple[str, str, dict[str, Any]]:
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
    return (
        "response_metadata",
        "llm",
        {"metadata": {"usage": usage, "model_id": "m-1", "provider": "p", **fields}},
    )


def _tools() -> list[ExecutionEvent]:
    return whole(
        *_call("1", "table", arguments={"n": 2}, output=[{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        *_call("2", "tree", arguments={"deep": {"er": [1, {"k": "v" * 90}]}}, output={"rows": [[1, 2], [3]]}),
        *_call("3", "code", arguments={"path": "a.py"}, output="def f():\n    return 1\n"),
        *_call("7", "one row", output=[{"type": "text", "text": "x" * 300}]),
        *_call("8", "wrapped", arguments={}, output={"result": "As **text**."}),
        *_call("9", "picture", arguments={}, output={"mime_type": "image/png", "data": PNG}),
        *_call("10", "address", arguments={}, output=f"data:image/png;base64,{PNG}"),
        *_call("11", "wide", arguments={}, output=[{f"c{n}": n for n in range(14)} for _ in range(60)]),
        *_call("12", "odd rows", arguments={}, output=[{"a": 1}, {"b": True, "c": 2.5}]),
        *_call("13", "json in text", arguments="not an object", output='{"a": 1}'),
        *_call("4", "broken", arguments={}, status="error", error="KeyError: 'city'"),
        *_call("5", "refused", arguments={"rm": "-rf"}, status="denied", error="Not on Mondays."),
        *answer("Done, ", "all of it."),
        ("tool_call_start", "llm", {"metadata": {"tool_call_id": "6", "tool_name": "cut off"}}),
        (
            "tool_call_delta",
            "llm",
            {"content": '{"half', "metadata": {"tool_call_id": "6", "tool_name": "cut off"}},
        ),
    )


def _sources() -> list[ExecutionEvent]:
    def source(*found: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        return "source", "llm", {"metadata": {"sources": list(found)}}

    return whole(
        source({"url": "https://r.test/list", "title": "A result", "kind": "result"}),
        *answer("Größe 👍 and **more** of it.\n\n", "A second paragraph."),
        source({"url": "https://a.test/1", "title": "A", "start": 0, "end": 5, "cited_text": "So big."}),
        source(
            {"url": "https://b.test/2", "start": 0, "end": 0},
            {"url": "https://a.test/1", "start": 8, "end": 11},
        ),
        source({"title": "page 7 of the book", "start": 6, "end": 9, "offset_unit": "utf16"}),
    )


def written() -> dict[str, list[ExecutionEvent]]:
    """Runs of events for what no stream of one model call has."""
    ask = {
        "interrupt_id": "q",
        "kind": "tool",
        "message": "Send it?",
        "tool_name": "send",
        "arguments": {"to": "ana"},
    }
    said = "# Title\n\n- [x] done\n- [ ] open\n\n|a|b|\n|:-|-:|\n|1|`x|y`|\n\n~~gone~~ https://a.test\n\n"
    code = "```python\ndef f(x):\n    return x  # twice\n```\n\n    indented\n\n> quoted\n\n1. one\n2. two\n"
    two = [("node_start", n) for n in ("ask", "answer")]
    return {
        "own/rich": rich(),
        "own/markdown": whole(
            *answer(said, code, "The end <b>of</b> it & more.\n\n---\n\n![i](https://i.test/x.png)")
        ),
        "own/tools": _tools(),
        "own/sources": _sources(),
        "own/files": whole(
            _file("a.png", "image/png", PNG),
            _file("x.csv", "text/csv", _b64(CSV)),
            _file("long.tsv", "text/plain", _b64("a\tb\n" + "1\tx\n" * 80)),
            _file("voice.wav", "audio/wav", _b64("RIFF" * 700)),
            _file("a.pdf", "application/pdf", _b64("%PDF-1.4")),
            token("Files."),
        ),
        "own/data": whole(
            _data("data-progress", {"value": 1, "total": 4, "label": "Rows"}),
            _data("data-progress", {"value": 3, "total": 4, "label": "Rows"}),
            _data("data-rlm-start", {"step": 1, "label": "Look"}),
            _data("data-rlm-query", {"step": 2, "query": "Who?"}),
            _data("data-odd", {"k": [1, 2]}),
        ),
        "own/links": whole(*answer(LINKS)),
        "own/github": whole(*answer(GITHUB)),
        "own/cited": whole(
            *answer(CITED),
            *[
                ("source", "llm", {"metadata": {"sources": [_cited(n, at)]}})
                for n, at in enumerate(m.end() for m in re.finditer(r"\w(?=\s)", CITED))
            ],
        ),
        "own/early sources": whole(
            (
                "source",
                "llm",
                {
                    "metadata": {
                        "sources": [{"url": "https://a.test", "title": "A"}, {"url": "https://b.test/x y"}]
                    }
                },
            ),
            *answer("Cited from the start."),
        ),
        "own/replayed": whole(
            *answer("From a tape."),
            _response(replayed=True, cost_usd=0.0, cost_source="replay", original_cost_usd=0.0123),
            token("And anew."),
            _response(cost_usd=0.5),
        ),
        "own/reused": events(
            ("execution_start", "START", {"metadata": {"graph_id": "g"}}),
            *[("node_start", n, {"metadata": m}) for n, m in (("plan", {"reused": True}), ("write", {}))],
            token("The plan.", node="plan"),
            (
                "response_metadata",
                "plan",
                {"metadata": {"usage": {}, "model_id": "m", "cost_usd": 0.02, "reused": True}},
            ),
            ("node_complete", "plan", {"output": {"content": "x"}, "metadata": {"reused": True}}),
            token("The text.", node="write"),
            ("node_complete", "write", {"output": {"content": "x"}}),
            (
                "execution_complete",
                "START",
                {"output": {"content": "x"}, "metadata": {"status": "completed"}},
            ),
        ),
        "own/functions": _only_output({"rows": [1, 2]}),
        "own/table": _only_output([{"city": "Oslo", "people": 709037}, {"city": "Bergen", "people": 291940}]),
        "own/kept": whole(
            (
                "file",
                "llm",
                {
                    "metadata": {
                        "name": "a.pdf",
                        "mime_type": "application/pdf",
                        "file_id": "f",
                        "provider": "openai",
                    }
                },
            )
        ),
        "own/refusal": whole(token("I would rather not.", event_subtype="refusal"), _response(cost_usd=0.02)),
        "own/again": whole(
            ("model_call_start", "llm", {"metadata": {"call_id": "1"}}),
            token("Half an ans"),
            _data("data-restart", {"reason": "overloaded"}),
            token("A whole answer."),
            ("node_retry", "llm", {"error": "RateLimitError: slow down", "metadata": {"attempt": 1}}),
            token("The third answer."),
        ),
        "own/asked": whole(
            ("interrupt", "llm", {"metadata": ask}),
            (
                "interrupt_resolved",
                "llm",
                {
                    "metadata": {
                        "interrupt_id": "q",
                        "decision": "denied",
                        "by": "person",
                        "reason": "too soon",
                    }
                },
            ),
            token("Then not."),
        ),
        "own/two nodes": events(
            ("execution_start", "START", {"metadata": {"graph_id": "g"}}),
            *two,
            token("What is asked.", node="ask"),
            token("What is answered.", node="answer"),
            token(" More of it.", node="ask"),
            *[("node_complete", n, {"output": {"content": "x"}}) for n in ("ask", "answer")],
            (
                "execution_complete",
                "START",
                {"output": {"content": "x"}, "metadata": {"status": "completed"}},
            ),
        ),
        "own/failed": events(
            ("execution_start", "START"),
            ("node_start", "llm"),
            token("Half a sen"),
            ("node_error", "llm", {"error": "The server hung up.\nTwice."}),
            ("execution_error", "START", {"error": "The server hung up.", "metadata": {"status": "failed"}}),
        ),
        "own/stopped": events(
            ("execution_start", "START"),
            ("node_start", "llm"),
            ("reasoning_start", "llm", {"metadata": {"block_id": "r"}}),
            ("reasoning_token", "llm", {"content": "Let me", "metadata": {"block_id": "r"}}),
            ("reasoning_end", "llm", {"metadata": {"block_id": "r"}}),
            token("One two three"),
            ("execution_error", "START", {"metadata": {"status": "cancelled"}}),
        ),
        "own/budget": events(
            ("execution_start", "START"),
            ("node_start", "llm"),
            token("Half"),
            ("node_error", "llm", {"error": "The run reached budget_usd=0.1."}),
            ("execution_error", "START", {"error": "It reached 0.1.", "metadata": {"status": "budget"}}),
        ),
        "own/nodes": _nodes(),
        "own/resumed": _resumed(),
    }


def _graph(*nodes: str) -> dict[str, Any]:
    """The graph of nodes in a row, as execution_start has it."""
    edges = [{"source": a, "target": b} for a, b in itertools.pairwise(("START", *nodes, "END"))]
    return {"nodes": [{"id": node, "kind": "llm"} for node in nodes], "edges": edges}


def _nodes() -> list[ExecutionEvent]:
    """Nodes in a row, one of them a graph, one without a word, one visited twice."""
    nodes = ("plan", "search", "route", "draft", "parts", "write")
    told = ("plan", "search", "route", "draft")
    visits = [(node, {}) for node in told] + [("draft", {"visit": 1}), ("parts", {}), ("parts/a", {})]

    def says(node: str, meta: dict[str, Any]) -> list[Any]:
        started: list[Any] = [("node_start", node, {"metadata": meta})]
        if node != "route":
            said = f"# About *{node}*\n\nIt says `{'much ' * 20}`."
            started.append(("token", node, {"content": said, "metadata": meta}))
        return started

    return events(
        ("execution_start", "START", {"metadata": {"graph_id": "g", "graph": _graph(*nodes)}}),
        *[
            event
            for node, meta in visits
            for event in (
                *says(node, meta),
                *[("node_complete", node, {"output": 1, "metadata": meta})] * (node != "parts"),
            )
        ],
        ("node_complete", "parts", {"output": 1}),
        ("node_start", "write"),
        token("The answer.", node="write"),
        ("node_complete", "write", {"output": 1}),
        ("execution_complete", "START", {"output": 1, "metadata": {"status": "completed"}}),
    )


def _resumed() -> list[ExecutionEvent]:
    """A run that failed in its second node's second call, was resumed, stopped, and resumed again."""
    graph = {"graph_id": "g", "graph": _graph("plan", "write")}
    call = ("model_call_start", "write", {"metadata": {"call_id": "c"}})
    return events(
        ("execution_start", "START", {"metadata": graph}),
        ("node_start", "plan"),
        token("The plan.", node="plan"),
        ("node_complete", "plan", {"output": 1}),
        ("node_start", "write"),
        call,
        (
            "response_metadata",
            "write",
            {"metadata": {"usage": {}, "model_id": "m", "finish_reason": "tool_calls"}},
        ),
        *_call("1", "look", arguments={"at": 1}, output="seen", node="write"),
        call,
        token("Half a sen", node="write"),
        ("node_error", "write", {"error": "The server hung up."}),
        ("execution_error", "START", {"error": "It hung up.", "metadata": {"status": "failed"}}),
        ("execution_start", "START", {"metadata": {**graph, "resumed": 1}}),
        ("node_start", "write", {"metadata": {"resumed": 1}}),
        call,
        token("Half again", node="write"),
        ("execution_error", "START", {"metadata": {"status": "cancelled"}}),
        ("execution_start", "START", {"metadata": {**graph, "resumed": 2}}),
        ("node_start", "write", {"metadata": {"resumed": 2}}),
        call,
        token("A whole one.", node="write"),
        ("response_metadata", "write", {"metadata": {"usage": {}, "model_id": "m", "finish_reason": "stop"}}),
        ("node_complete", "write", {"output": 1}),
        ("execution_complete", "START", {"output": 1, "metadata": {"status": "completed"}}),
    )


def _only_output(output: Any) -> list[ExecutionEvent]:
    return events(
        ("execution_start", "START"),
        ("node_start", "count"),
        ("node_complete", "count", {"output": output}),
        ("execution_complete", "START", {"output": output, "metadata": {"status": "completed"}}),
    )


def _cited(number: int, at: int) -> dict[str, Any]:
    return {"url": f"https://s.test/{number}", "title": f"S{number}", "start": at - 1, "end": at}


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def batches(log: list[ExecutionEvent], seed: int) -> list[dict[str, Any]]:
    """Return a log as the messages of a live view that was flushed at random moments."""
    chance, pending, sent = random.Random(seed), Coalescer(), -1
    out: list[dict[str, Any]] = []
    for event in log:
        pending.add(event)
        if chance.random() < 0.2 or event is log[-1]:
            last = pending.last
            out.append(
                {
                    "kind": "events",
                    "from": sent + 1,
                    "to": last,
                    "events": [wire_event(e) for e in pending.drain()],
                }
            )
            sent = last
    return out


def snapshot(log: list[ExecutionEvent], to: int) -> dict[str, Any]:
    """Return what a page gets that asks once this seq was sent."""
    return {
        "kind": "snapshot",
        "to": to,
        "events": [wire_event(e) for e in coalesce(e for e in log if e.seq <= to)],
    }


def recording(name: str, log: list[ExecutionEvent]) -> dict[str, Any]:
    """Return all the forms of one run."""
    read = [decode(encode(event)) for event in log]
    sent = batches(log, len(name))
    data, _ = freeze(log)
    places = sorted({len(sent) // 3, 2 * len(sent) // 3, len(sent) - 1})
    return {
        "name": name,
        "log": [wire_event(event) for event in read],
        "batches": sent,
        "snapshots": [{"after": n + 1, "message": snapshot(log, sent[n]["to"])} for n in places],
        "html": data["text/html"],
        "plain": data["text/plain"],
    }


def main(out: Path) -> None:
    """Write all runs."""
    runs = {**streamed(), **written()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([recording(name, log) for name, log in runs.items()]), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
