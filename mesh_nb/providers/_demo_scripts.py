"""What the offline demo says. Every newcomer reads this first."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from ..core.context import Message
from ..core.tools import Tool

Step = tuple[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """One answer: steps `(kind, payload)` in order.

    think: text. search: (query, results). say: Markdown. cite: (words of the answer, source).
    chart: (file name, values), None for this answer's own token counts. call: (tool name, arguments).
    fail: what went wrong.
    """

    steps: tuple[Step, ...]


_PANDAS = {"url": "https://pandas.pydata.org/docs/reference/frame.html", "title": "DataFrame — pandas"}
_ANYWIDGET = {"url": "https://anywidget.dev/", "title": "anywidget: reusable widgets made easy"}
_LAB = {"url": "https://jupyterlab.readthedocs.io/", "title": "JupyterLab documentation"}

TOUR = Script(
    (
        (
            "think",
            "The reader has just run a first cell. The best answer shows what a cell can hold: reasoning,"
            " a tool call, citations, a file and the cost.\n\nTwo sources are enough: pandas for the report"
            " and anywidget for the view. A small chart makes a good file.",
        ),
        ("search", ("jupyter widget streaming dataframe", [_PANDAS, _ANYWIDGET, _LAB])),
        (
            "say",
            "### Hello from the offline demo 👋\n\n"
            "No model was asked: this answer is a script, played at the pace of a real one."
            " Everything around it is real.\n\n"
            "| in this cell | what it is |\n|---|---|\n"
            "| the line above that folds | the model's reasoning |\n"
            "| `web_search` | a tool call, with its arguments and its result |\n"
            "| the small numbers | citations: open one |\n"
            "| the chart below | a file: the tokens of this answer |\n\n"
            "A run is **a stream of events**. The cell draws it, a log keeps it,"
            " and pandas turns it into a table:\n\n"
            '```python\nrun.to_pandas("calls")[["model", "total_tokens", "cost_usd"]]\n```\n\n'
            "The live view is a widget. When the answer is complete it becomes plain HTML,"
            " so the saved notebook shows it without a kernel.",
        ),
        (
            "cite",
            ("pandas turns it into a table", {**_PANDAS, "cited_text": "Two-dimensional tabular data."}),
        ),
        (
            "cite",
            (
                "The live view is a widget.",
                {**_ANYWIDGET, "cited_text": "Custom Jupyter Widgets made easy: one file, no build."},
            ),
        ),
        ("chart", ("tokens.png", None)),
    )
)

HELLO = Script((("say", "Hello! I am the offline demo: a script, no model, no key, no cost."),))

CODE = Script(
    (
        ("think", "A graph of two nodes is the shortest useful example: one writes, one shortens."),
        (
            "say",
            "Two nodes, one after the other. The second reads the first one's text:\n\n"
            "```python\nimport mesh_nb as mesh\n\n"
            "graph = mesh.StateGraph()\n"
            'graph.add_node("draft", None, node_type="llm", model="demo")\n'
            'graph.add_node("title", None, node_type="llm", model="demo",\n'
            '               system_prompt="Write a title for: {{draft.content}}")\n'
            'graph.add_sequence(["draft", "title"])\n'
            'graph.set_entry_point("draft")\n'
            'run = await graph.run("Why do leaves fall?")\n```\n\n'
            "`run.text` is the title, `run.events` everything that happened."
            " *(Written by the offline demo.)*",
        ),
    )
)

TABLE = Script(
    (
        (
            "say",
            "Where the numbers of a run are found:\n\n"
            "| question | answer |\n|---|---|\n"
            "| What did it say? | `run.text` |\n"
            "| What did it read? | `run.sources` |\n"
            "| What did it make? | `run.files` |\n"
            "| How many tokens? | `run.usage` |\n"
            "| What did it cost? | `run.cost_usd` |\n\n"
            "With $n$ calls the cost is the sum over the calls whose price is known; a call without one is"
            " *unpriced*, never free. *(Written by the offline demo, which is free.)*",
        ),
    )
)

CHART = Script(
    (
        ("say", "Here is a bar chart. `run.save_files('out')` writes it to a folder. *(Offline demo.)*"),
        ("chart", ("chart.png", {"north": 128, "east": 96, "south": 57, "west": 143})),
    )
)

SOURCES = Script(
    (
        ("search", ("dataframe widget documentation", [_PANDAS, _ANYWIDGET, _LAB])),
        (
            "say",
            "DataFrames are the report format of this library. Widgets are its live view."
            " Both have good documentation. *(Written by the offline demo.)*",
        ),
        ("cite", ("DataFrames are the report format of this library.", _PANDAS)),
        ("cite", ("Widgets are its live view.", _ANYWIDGET)),
    )
)

FAILURE = Script(
    (
        ("say", "This answer stops in the middle, so that you can see what a failure looks"),
        ("fail", "This failure is part of the offline demo."),
    )
)

SCRIPTS = {
    "tour": TOUR,
    "hello": HELLO,
    "short": HELLO,
    "code": CODE,
    "table": TABLE,
    "chart": CHART,
    "sources": SOURCES,
    "error": FAILURE,
}

_WORDS = (
    ("error", r"\b(error|fail(ure)?)\b"),
    ("hello", r"^\s*(hello|hi|hey|short)\b"),
    ("chart", r"\b(chart|image|picture|plot)\b"),
    ("table", r"\b(table|cost|tokens?)\b"),
    ("code", r"\b(code|python|example|graph)\b"),
    ("sources", r"\b(sources?|citations?|cite)\b"),
)


_DEPTH = 5
_EXAMPLES = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "demo@example.org",
    "hostname": "example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def choose(
    name: str, messages: list[Message], tools: list[Tool], schema: dict[str, Any] | None = None
) -> Script:
    """Return the script that fits: the one named by `demo/NAME`, a tool call when there are tools and none
    has answered yet, JSON of the schema when one is asked for, else by words of the last question; the tour
    when nothing fits."""
    if name in SCRIPTS:
        return SCRIPTS[name]
    last = messages[-1] if messages else {}
    asked = next((m for m in reversed(messages) if m.get("role") == "user"), {})
    if schema is not None and (not tools or last.get("role") == "tool"):
        answer = fitting(schema, text_of(asked.get("content")))
        return Script((("say", json.dumps(answer, ensure_ascii=False, indent=1)),))
    if last.get("role") == "tool":
        return _after_tools(messages)
    question = text_of(last.get("content"))
    if tools:
        return Script(
            (
                ("think", f"The tool {tools[0].name!r} can answer this, so it is asked first."),
                ("call", (tools[0].name, arguments(tools[0], question))),
            )
        )
    found = next((script for script, pattern in _WORDS if re.search(pattern, question, re.I)), "tour")
    return SCRIPTS[found]


def _after_tools(messages: list[Message]) -> Script:
    answers: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        text = text_of(message.get("content")).replace("```", "'''")
        answers.append(f"The tool `{message.get('name', 'tool')}` answered:\n\n```\n{text[:2000]}\n```")
    body = "\n\n".join(reversed(answers))
    return Script((("say", f"{body}\n\n*(Put into words by the offline demo.)*"),))


def arguments(tool: Tool, question: str) -> dict[str, Any]:
    """Make arguments that fit a tool's required properties, with names and numbers from the question."""
    return fitting({**tool.schema, "type": "object"}, question)


def fitting(schema: dict[str, Any], question: str) -> Any:
    """Make a value that fits a JSON schema: its required properties, filled from words of the question."""
    words = re.findall(r"(?<!^)\b[A-Z][\w-]+", question) or re.findall(r"\w+", question)[-1:] or ["demo"]
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", question)] or [1.0]
    return _value(schema, words, numbers, schema.get("$defs", {}))


def _value(
    schema: dict[str, Any], words: list[str], numbers: list[float], defs: dict[str, Any], depth: int = 0
) -> Any:
    def inside(part: Any) -> Any:
        return _value(part, words, numbers, defs, depth + 1)

    if "$ref" in schema:
        schema = defs.get(str(schema["$ref"]).rpartition("/")[2], {})
    for name in ("default", "const"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    choices: list[dict[str, Any]] = schema.get("anyOf") or schema.get("oneOf") or []
    if choices:
        empty = next((c for c in choices if c.get("type") == "null"), None)
        return inside(empty if empty is not None and depth > _DEPTH else choices[0])
    kind = schema.get("type")
    if kind == "null":
        return None
    if kind == "integer":
        return int(numbers.pop(0)) if len(numbers) > 1 else int(numbers[0])
    if kind == "number":
        return numbers.pop(0) if len(numbers) > 1 else numbers[0]
    if kind == "boolean":
        return True
    if kind == "array":
        return [] if depth > _DEPTH else [inside(schema.get("items", {}))]
    if kind == "object":
        inner: dict[str, Any] = schema.get("properties", {})
        return {name: inside(inner.get(name, {})) for name in schema.get("required", [])}
    if schema.get("format") in _EXAMPLES:
        return _EXAMPLES[schema["format"]]
    return words.pop(0) if len(words) > 1 else words[0]


def text_of(content: Any) -> str:
    """Return the words of a message; its files have none."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(p.get("text", "") for p in content if isinstance(p, dict))
    return "" if content is None else json.dumps(content)
