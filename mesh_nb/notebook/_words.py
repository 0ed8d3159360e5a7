"""The words that every static form of a run shares. Pure."""

from __future__ import annotations

import json
from typing import Any

from ..core.events import dumps
from ._again import EARLY
from ._view import AGAIN, OPEN_MARK, PROGRESS, RETRY, STEPS, Ask, Data, File, Folded, Section, ToolCall

CUT = 8_000
"""Characters of one tool result that static output shows."""

NAMED = 30
"""Nodes of a run that are named even when they have nothing to show."""

LAST = 300
"""Visits of nodes, the last ones, that are shown; a page of thousands stands still."""

LINE = 80
CELL = 200
"""Characters of a value that still reads well in a table."""
WRAPPERS = ("content", "output", "result", "text")

TOOL_STATUS = {
    "ok": "",
    "error": "failed",
    "denied": "denied",
    "cancelled": "stopped",
    "not_executed": "not run",
    "running": "unfinished",
}


def signature(call: ToolCall) -> str:
    """Return a call as one line of Python: `get_weather(city="Paris")`, shortened."""
    if isinstance(call.arguments, dict):
        shown = ", ".join(f"{k}={dumps(v).decode()}" for k, v in call.arguments.items())
    elif call.arguments is not None:
        shown = dumps(call.arguments).decode()
    else:
        shown = call.raw
    return f"{call.name or 'tool'}({shorten(' '.join(shown.split()), LINE)})"


def tool_state(call: ToolCall) -> str:
    """Return how a call ended, in a word; empty when it went well."""
    return TOOL_STATUS.get(call.status, call.status)


def value_text(value: Any) -> str:
    """Return a result as text: a string, or the one string in a wrapper, as it is; anything else as JSON."""
    return as_text(unwrapped(value))


def as_text(value: Any) -> str:
    """Return a string as it is and anything else as JSON, cut where it is long."""
    return cut(value) if isinstance(value, str) else json_text(value)


def unwrapped(value: Any) -> Any:
    """Return the one string in a wrapper, and any other value as it is."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    key, inner = next(iter(value.items()))
    return inner if key in WRAPPERS and isinstance(inner, str) else value


def records(value: Any) -> list[dict[str, Any]] | None:
    """Return a value that reads best as a table: records of plain values, none long; else None."""
    if not isinstance(value, list) or not value:
        return None
    rows: list[Any] = value
    if not all(isinstance(r, dict) and r for r in rows):
        return None
    cells = [v for r in rows for v in r.values()]
    return None if any(isinstance(v, (dict, list)) or len(str(v)) > CELL for v in cells) else rows


def json_text(value: Any) -> str:
    """Return a value as JSON, what fits a line on one line."""
    plain = json.loads(dumps(value))
    line = json.dumps(plain, ensure_ascii=False)
    if len(line) > 100_000:
        return cut(json.dumps(plain, indent=2, ensure_ascii=False))
    return cut(_laid_out(plain, ""))


def _laid_out(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(line) <= LINE:
        return line
    deeper = f"{indent}  "
    if isinstance(value, list):
        items = [_laid_out(v, deeper) for v in value]
        start, end = "[]"
    else:
        items = [f"{json.dumps(k, ensure_ascii=False)}: {_laid_out(v, deeper)}" for k, v in value.items()]
        start, end = "{}"
    return f"{start}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{end}"


def cut(text: str) -> str:
    """Return at most CUT characters and say how many more there are."""
    if len(text) <= CUT:
        return text
    return f"{text[:CUT]}\n... {len(text) - CUT:,} more characters; run.events has all of it."


def shorten(text: str, length: int) -> str:
    """Return text of at most this many characters, with an ellipsis where it was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def size_text(size: int | None) -> str:
    """Return a number of bytes for people."""
    if size is None:
        return "size unknown"
    if size < 1000:
        return f"{size} bytes"
    value, unit = (size / 1000, "kB") if size < 1_000_000 else (size / 1_000_000, "MB")
    if value >= 1000:
        value, unit = value / 1000, "GB"
    return f"{value:.{1 if value < 10 else 0}f} {unit}"


def file_line(file: File) -> str:
    """Return a file as name, type and size."""
    kept = f"kept by {file.holder}" if file.holder and file.size is None else size_text(file.size)
    return f"{file.name} ({file.mime_type}, {kept})"


def count(number: int, thing: str) -> str:
    """Return a number with its thing: `1 word`, `2,000 words`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def heading(view: Folded, section: Section) -> str:
    """Return the name of a section's node, empty when the run has only one."""
    return "" if sum(not s.discarded for s in view.sections) < 2 else title(section)


def title(section: Section) -> str:
    """Return the name of a section's node, with its visit."""
    visit = f", visit {section.visit + 1}" if section.visit else ""
    return f"{section.node_id}{visit}{f' · {section.again}' if section.again else ''}"


def named(view: Folded) -> list[Section]:
    """Return the sections that are shown: the last ones, in a large graph none that has nothing to show."""
    shown = [s for s in view.sections if s.blocks or s.discarded or len(view.sections) <= NAMED]
    return shown[-LAST:]


def not_named(view: Folded) -> str:
    """Return what `named` leaves out, in words; empty when that is nothing."""
    hidden = sum(not s.discarded for s in view.sections) - sum(not s.discarded for s in named(view))
    return f"{count(hidden, 'node')} with nothing to show or further back" if hidden > 0 else ""


def reasoning_title(kind: str, text: str) -> str:
    """Return the line above folded reasoning."""
    about = "" if kind == "full" else f", {kind}"
    return "Thought" if kind == "redacted" else f"Thought ({count(len(text.split()), 'word')}{about})"


def brief(value: Any, length: int = 90) -> str:
    """Return a value on one line, for a summary: `city: Paris, unit: C`."""
    if isinstance(value, dict):
        text = ", ".join(f"{k}: {_one(v)[:length]}" for k, v in list(value.items())[:6])
    else:
        text = _one(value)
    return shorten(" ".join(text[: 4 * length].split()), length)


def _one(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def progress(payload: Any) -> str:
    """Return a progress payload in words: its label and how far it is."""
    known: dict[str, Any] = payload if isinstance(payload, dict) else {"value": payload}

    def number(*names: str) -> float | None:
        found = (known.get(n) for n in names)
        return next((v for v in found if isinstance(v, (int, float)) and not isinstance(v, bool)), None)

    percent = number("percent", "percentage")
    done = number("value", "current", "completed", "done", "progress") if percent is None else percent
    top = 100 if percent is not None else number("max", "total")
    if top is None or top <= 0:
        top = 100 if (done or 0) > 1 else 1
    label = next((v for n in _LABELS if isinstance(v := known.get(n), str)), "") or "Progress"
    if done is None:
        return label
    return f"{label} {f'{done / top:.0%}' if top in (1, 100) else f'{done:g} of {top:g}'}"


def asked_again(data: Data) -> str:
    """Return that a request was sent again, and why; how long it waited differs from run to run."""
    last = data.payloads[-1]
    reason = last.get("reason") if isinstance(last, dict) else None
    times = f", {len(data.payloads)} times" if len(data.payloads) > 1 else ""
    return f"Asked again{f' after {reason}' if reason else ''}{times}"


def step(kind: str, payload: Any) -> tuple[str, str]:
    """Return the name of a recursive model's step and its words: what it calls itself, else all of it."""
    name = kind.replace("-", " ") or "step"
    if not isinstance(payload, dict):
        return name, brief(payload) if payload is not None else ""
    rest = {k: v for k, v in payload.items() if k not in ("step", "budget")}
    said = next((v for k in _STEP_WORDS if isinstance(v := rest.get(k), str) and v), None)
    number = f" {brief(payload['step'], 12)}" if "step" in payload else ""
    return name + number, brief(said if said is not None else rest) if rest else ""


def asked(ask: Ask) -> str:
    """Return a question and what came of it, as a line."""
    about = ask.tool or shorten(" ".join(ask.message.split()), 200)
    if not ask.decision:
        return f"Waiting for an answer: {ask.message or about}"
    if ask.kind == "input" and ask.decision == "edited":
        line = f"{ask.message} Answered: {brief(ask.output)}"
    else:
        line = f"{_DECISIONS.get(ask.decision, ask.decision)}{f': {about}' if about else ''}"
    by = _BY.get(ask.by, f"by {ask.by}")
    return f"{line}{f' ({by})' if by else ''}{f'. {ask.reason}' if ask.reason else ''}".strip()


def data_line(data: Data) -> str:
    """Return custom data as one line; the steps of a recursive model as one each."""
    if data.data_type == STEPS:
        return "\n".join(
            f"{n}. {': '.join(p for p in step(*s) if p)}" for n, s in enumerate(data.payloads, 1)
        )
    if data.data_type == RETRY:
        return asked_again(data)
    if data.data_type == PROGRESS:
        return progress(data.payloads[-1])
    return f"{data.data_type.removeprefix('data-')}: {brief(data.payloads[-1])}"


_STEP_WORDS = ("label", "text", "query", "reason", "error", "answer")
_DECISIONS = {
    "approved": "Approved",
    "edited": "Approved with changes",
    "rejected": "Denied",
    "denied": "Denied",
    "timeout": "Nobody answered in time",
}
_BY = {"": "", "person": "", "policy": "by the run's rule", "timeout": ""}
_LABELS = ("label", "message", "description", "title")


def calls_title(calls: list[ToolCall]) -> tuple[str, str, str]:
    """Return the line above calls in a row: how many, of what, and how many failed."""
    names = ", ".join(list(dict.fromkeys(c.name for c in calls))[:5])
    failed = sum(c.status == "error" for c in calls)
    return count(len(calls), "tool call"), names, f"{failed} failed" if failed else ""


def again(view: Folded) -> str:
    """Return which model calls were not made anew, and what that saved: `2 of 3 calls replayed`."""
    shown = [s for s in view.sections if not s.discarded]
    if not view.again and shown and all(s.again for s in shown):
        return shown[0].again
    parts = [
        word if (n := view.again[word]) == view.model_calls else f"{n} of {view.model_calls} calls {word}"
        for word in AGAIN
        if word in view.again
    ]
    if view.saved_usd:
        parts.append(f"would have cost {dollars(view.saved_usd)}")
    return ", ".join(parts)


def dollars(usd: float) -> str:
    """Return an amount for people, as the live view writes it."""
    if 0 < usd < 0.0001:
        return "<$0.0001"
    return f"${usd:.{2 if usd == 0 or usd >= 1 else 4 if usd < 0.01 else 3}f}"


def usage_line(view: Folded) -> str:
    """Return models, calls, tokens and cost; times differ from run to run and are metadata instead."""
    spared = again(view)
    if not view.model_calls and not view.tool_calls:
        return spared
    parts = [", ".join(view.models)] if view.models else []
    if view.model_calls > 1:
        parts.append(f"{view.model_calls} model calls")
    if view.tool_calls:
        parts.append(count(view.tool_calls, "tool call"))
    asked, answered = view.usage.get("prompt_tokens"), view.usage.get("completion_tokens")
    if asked is not None:
        parts.append(f"{asked:,} tokens in")
    if answered is not None:
        parts.append(f"{answered:,} tokens out")
    return " · ".join(filter(None, [*parts, _cost(view), spared]))


def _cost(view: Folded) -> str:
    """Return what a run cost, empty when that is nothing; never a sum that hides what it leaves out."""
    if view.cost_usd is None:
        return "unpriced" if view.unpriced else ""
    rest = f" + {count(view.unpriced, 'unpriced call')}" if view.unpriced else ""
    return dollars(view.cost_usd) + rest if view.cost_usd or rest else ""


def state(view: Folded) -> str:
    """Return how a run stands, in a word or two."""
    return "Interrupted" if view.status == "interrupted" and view.error else _STATES.get(view.status, "Ended")


def kept(view: Folded) -> str:
    """Return what a run that did not complete had obtained, as a sentence; empty when it was nothing."""
    words = len(view.text.replace(OPEN_MARK, " ").split())
    blocks = [b for s in view.sections if not s.discarded for b in s.blocks]
    results = sum(isinstance(b, ToolCall) and b.status == "ok" for b in blocks)
    had = [count(words, "word")] * bool(words) + [count(results, "tool result")] * bool(results)
    return f"Kept: {' and '.join(had)}." if had else ""


def ending(view: Folded) -> tuple[str, str]:
    """Return a title and a text about an ending that is not a completion; both empty when it was one, or when
    a section has said it."""
    if view.status in ("completed", "running") or (view.status == "failed" and view.says_failure):
        return "", ""
    if view.status == "cancelled":
        return "Stopped before the end.", ""
    if view.status == "interrupted":
        return view.error or "Waiting for an answer.", ""
    return _ENDINGS.get(view.status, f"The run ended with status {view.status}."), view.error or ""


def how(view: Folded) -> str:
    """Return which Python goes on with a run that ended early; empty when it did not."""
    if view.status == "interrupted" and view.error:
        return "`graph.resume(id)` goes on from here; `%mesh runs` has the id."
    if view.status not in EARLY:
        return ""
    return (
        "`run.resume()` goes on from here; in a new kernel `graph.resume(id)`, with the id of `%mesh runs`."
    )


_STATES = {
    "completed": "Done",
    "running": "Unfinished",
    "interrupted": "Waiting",
    "failed": "Failed",
    "cancelled": "Stopped",
    "budget": "Over budget",
    "timeout": "Timed out",
}
_ENDINGS = {
    "failed": "The run failed.",
    "budget": "The run reached its budget.",
    "timeout": "The run took longer than it was allowed.",
}


def leftover_output(view: Folded) -> str:
    """Return the run's output as text when no section says it: a graph of tools only."""
    if view.text or view.output is None or view.tool_calls:
        return ""
    content = view.output.get("content") if isinstance(view.output, dict) else None
    return content if isinstance(content, str) else value_text(view.output)
