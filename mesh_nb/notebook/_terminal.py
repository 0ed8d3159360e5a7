"""A run as it goes on, as text for a terminal: what is new of it, each time. Pure."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator

from ..core.events import ExecutionEvent
from . import _prose, _words
from ._fold import Folding, fold
from ._markup import to_plain
from ._view import Ask, Block, Data, File, Note, Reasoning, Section, Text, ToolCall

ERASE = "\r\x1b[K"
DIM, BOLD, RED, _OFF = "\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[0m"
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*)?\Z")
"""The end of a text that may become a control sequence."""
_LONGEST = 64
"""Characters of the longest control sequence that is waited for."""


@dataclasses.dataclass(slots=True)
class _Shown:
    """What of a block is written: characters of its text, blanks that wait for a word, citations."""

    block: Block
    done: bool = False
    begun: bool = False
    at: int = 0
    held: str = ""
    cited: set[tuple[int, int]] = dataclasses.field(default_factory=set[tuple[int, int]])


class Transcript:
    """Writes a run down while it goes on: words as they come, everything else as one line when it has ended.

    Nodes that run side by side come one after the other; what runs inside a node comes before the rest of it.

    Parameters: colour, whether lines are dimmed; width, columns of a line about what goes on, which the next
    text replaces, 0 for none. Both write control sequences; what a run says never does.
    """

    def __init__(self, *, colour: bool = False, width: int = 0) -> None:
        self._colour, self._width = colour, width
        self._folding = Folding()
        self._shown: dict[int, _Shown] = {}
        self._open: dict[int, Section] = {}
        self._over: dict[int, Section] = {}
        self._first = 0
        self._at: Section | None = None
        self._cursor: Block | None = None
        self._last, self._newlines = "", 2
        self._going_on = self._on_screen = ""
        self._out: list[str] = []

    def skip(self, events: Iterable[ExecutionEvent]) -> None:
        """Take events in that are not shown: those of an earlier part of the run, deltas joined."""
        self._folding.feed(events)
        for section in self._folding.view.sections:
            for block in section.blocks:
                shown = self._of(block)
                # What is answered now was not told then.
                shown.done = not isinstance(block, Ask) or bool(block.decision)
                shown.at = len(block.text) if isinstance(block, Text) else 0

    def feed(self, events: Iterable[ExecutionEvent]) -> str:
        """Take the next events in, deltas joined, and return what is to be written now."""
        self._folding.feed(events)
        self._going_on = ""
        self._look()
        while (section := self._next()) is not None:
            closed = self._closed(section)
            self._blocks(section, closed)
            if not closed:
                break
            self._finish(section)
        return self._written()

    def pause(self) -> str:
        """Return what leaves the terminal's line free for others, while the run goes on."""
        self._going_on = ""
        self._need(1)
        return self._written()

    def end(self, events: Iterable[ExecutionEvent]) -> str:
        """Return the rest of a run that has ended: what is left of its nodes, sources, how it ended, and one
        line of model, tokens, cost and time.

        Parameters: events, all of the run.
        """
        self._going_on = ""
        for section in self._folding.view.sections:
            if not section.discarded:
                self._blocks(section, closed=True)
        final = fold(events)
        for part in _prose.after(final):
            self._line(part, kind="part")
        usage = " · ".join(filter(None, (_words.usage_line(final), _time(final.duration_ms))))
        if usage:
            self._line(_one_line(usage), DIM, kind="part")
        self._need(1)
        return self._written()

    def _written(self) -> str:
        made, self._out = "".join(self._out), []
        if not made and self._going_on == self._on_screen:
            return ""
        before = ERASE if self._on_screen else ""
        self._on_screen = self._going_on
        return f"{before}{made}{self._styled(self._going_on, DIM)}"

    def _look(self) -> None:
        """Find sections that are new, and leave those that have nothing to say."""
        sections = self._folding.view.sections
        while self._first < len(sections) and id(sections[self._first]) in self._over:
            self._first += 1
        for section in sections[self._first :]:
            if id(section) not in self._over:
                self._open[id(section)] = section
        for section in list(self._open.values()):
            if section.discarded:
                self._replaced(section)
            elif not section.blocks and self._closed(section):
                self._finish(section)

    def _next(self) -> Section | None:
        """Return the section that is written now: the one that was begun, unless one inside it has news."""
        held = self._at
        if held is None or id(held) not in self._open:
            return next((s for s in self._open.values() if self._has_news(s)), None)
        inside = f"{held.node_id}."
        inner = (s for s in self._open.values() if s.node_id.startswith(inside))
        return next((s for s in inner if self._has_news(s)), held)

    def _has_news(self, section: Section) -> bool:
        return any(self._is_news(block, self._of(block)) for block in section.blocks)

    def _is_news(self, block: Block, shown: _Shown) -> bool:
        if shown.done or (isinstance(block, Note) and self._folding.view.status == "running"):
            return False
        if isinstance(block, Text):
            return bool(block.text[shown.at :].strip())
        return not isinstance(block, Reasoning) or bool(block.text.strip()) or bool(self._width)

    def _closed(self, section: Section) -> bool:
        failed = any(isinstance(b, Note) and b.failure for b in section.blocks)
        running = self._folding.view.status == "running"
        return not running or section.ended is not None or section.broken or failed

    def _replaced(self, section: Section) -> None:
        """Leave a section that is void, and say so where some of it was written."""
        if any(self._of(block).begun for block in section.blocks):
            what = "The answer begins again." if section.answer else "Trying again."
            self._enter(section)
            self._line(" ".join(filter(None, (what, _one_line(section.reason)))), DIM)
        self._finish(section)

    def _finish(self, section: Section) -> None:
        self._open.pop(id(section), None)
        self._over[id(section)] = section

    def _blocks(self, section: Section, closed: bool) -> None:
        """Write what is new in a section, up to the first block that has to be waited for."""
        for n, block in enumerate(section.blocks):
            shown = self._of(block)
            if shown.done or (isinstance(block, Note) and self._folding.view.status == "running"):
                continue
            if isinstance(block, Text):
                self._text(section, block, shown, closed)
            elif isinstance(block, ToolCall) and not closed and self._waits(block, section.blocks[n + 1 :]):
                continue
            elif closed or self._settled(block, section.blocks[n + 1 :]):
                shown.done = shown.begun = True
                for line, style in self._final(section, block):
                    self._enter(section)
                    self._line(line, style)
            else:
                if self._width:
                    self._enter(section)
                    self._gap("line")
                    self._going_on = _cut(_now(block), self._width - 1)
                return

    def _waits(self, call: ToolCall, later: list[Block]) -> bool:
        """Say whether a tool call is left for later: its model goes on meanwhile, or is amid a text."""
        goes_on = any(isinstance(b, (Text, Reasoning)) for b in later)
        return goes_on and (call.status == "running" or self._cursor is later[-1])

    def _settled(self, block: Block, later: list[Block]) -> bool:
        """Say whether all is known of a block that is no text, or what follows it cannot wait."""
        if isinstance(block, ToolCall):
            return block.status != "running"
        if isinstance(block, Reasoning):
            return bool(later) or all(one is not block for one in self._folding.open.values())
        if isinstance(block, Ask):
            return bool(block.decision)
        return not isinstance(block, Data) or bool(later)

    def _final(self, section: Section, block: Block) -> Iterator[tuple[str, str]]:
        """Yield the lines of a block that is no text, each with its style."""
        if isinstance(block, Reasoning):
            if block.text.strip() and block.kind != "redacted":
                title = _words.reasoning_title(block.kind, block.text)
                about = _words.shorten(_one_line(block.text[: 8 * _words.LINE]), _words.LINE)
                yield f"{title}: {about}", DIM
        elif isinstance(block, ToolCall):
            yield _called(block), DIM
        elif isinstance(block, File):
            yield f"File: {_words.file_line(block)}", ""
        elif isinstance(block, Ask):
            yield _words.asked(block), ""
        elif isinstance(block, Data):
            for line in _words.data_line(block).split("\n"):
                yield line, DIM
        elif isinstance(block, Note) and not (
            block.failure and self._folding.view.status in ("budget", "timeout")
        ):
            yield f"Node {section.node_id} failed. {block.text}" if block.failure else block.text, RED

    def _text(self, section: Section, block: Text, shown: _Shown, closed: bool) -> None:
        """Write what is new of a text; blanks and half a control sequence wait for what follows."""
        tail = None if closed else _BEGUN.search(block.text, max(shown.at, len(block.text) - _LONGEST))
        to = len(block.text) if tail is None else tail.start()
        base = shown.at - len(shown.held)
        piece, shown.at, shown.done = shown.held + block.text[shown.at : to], to, closed
        said, last = "", 0
        for place, number in sorted(set(block.marks) - shown.cited):
            if base <= place <= base + len(piece):
                said += f"{to_plain(piece[last : place - base])}[{number}]"
                last = place - base
                shown.cited.add((place, number))
        said += to_plain(piece[last:])
        bare = (said if shown.begun else said.lstrip()).rstrip()
        shown.held = said[len(said.rstrip()) :]
        if (closed or block is not section.blocks[-1]) and (bare or self._cursor is block):
            # Their place has gone by, or the server did not say it.
            bare += "".join(dict.fromkeys(f"[{n}]" for _, n in sorted(set(block.marks) - shown.cited)))
            shown.cited.update(block.marks)
        if bare:
            self._enter(section)
            if self._cursor is not block:
                self._gap("text")
            self._put(bare)
            shown.begun, self._last, self._cursor = True, "text", block

    def _of(self, block: Block) -> _Shown:
        found = self._shown.get(id(block))
        if found is None:
            found = self._shown[id(block)] = _Shown(block)
        return found

    def _enter(self, section: Section) -> None:
        """Write the name of a section's node, where the run has several and another was written last."""
        if section is self._at:
            return
        self._at = section
        nodes = (self._folding.view.outline or {}).get("nodes") or []
        if len(nodes) > 1 or any("graph" in node for node in nodes) or "." in section.node_id:
            self._line(f"── {_one_line(_words.title(section))} ──", BOLD, kind="title")

    def _line(self, text: str, style: str = "", kind: str = "line") -> None:
        plain = to_plain(text) if kind == "part" else _one_line(text)
        self._gap(kind)
        self._put(f"{self._styled(plain, style)}\n")
        self._last, self._cursor = kind, None

    def _gap(self, kind: str) -> None:
        self._need(1 if self._last == "title" or self._last == kind == "line" else 2)

    def _need(self, newlines: int) -> None:
        if newlines > self._newlines:
            self._put("\n" * (newlines - self._newlines))

    def _put(self, text: str) -> None:
        bare = len(text.rstrip("\n"))
        self._newlines = len(text) - bare if bare else self._newlines + len(text)
        self._out.append(text)

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{_OFF}" if self._colour and style and text else text


def _called(call: ToolCall) -> str:
    """Return a tool call that has ended as one line, with what came of it."""
    state = _words.tool_state(call)
    line = f"Tool: {_words.signature(call)}{f' {state}' if state else ''}"
    if call.error:
        return f"{line}: {_words.shorten(_one_line(call.error), 2 * _words.LINE)}"
    return line if call.output is None else f"{line} → {_words.brief(_words.unwrapped(call.output))}"


def _now(block: Block) -> str:
    """Return what goes on in a block, as a line."""
    if isinstance(block, Reasoning):
        return "Thinking …"
    if isinstance(block, ToolCall):
        return f"Tool: {_words.signature(block)} …"
    if isinstance(block, Ask):
        return _words.asked(block)
    return _words.data_line(block).split("\n")[-1] if isinstance(block, Data) else ""


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _one_line(text: str) -> str:
    return " ".join(to_plain(text).split())


def _cut(text: str, columns: int) -> str:
    """Return as much of a text as has room on one line, without control characters."""
    used, made = 0, list[str]()
    for sign in _one_line(text[: 4 * columns]):
        used += 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if used > columns:
            break
        made.append(sign)
    return "".join(made)
