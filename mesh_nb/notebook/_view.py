"""A run as its reader sees it: sections of blocks. Pure data."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..core.events import Usage

OPEN_MARK, CLOSE_MARK = "\ue000", "\ue001"
"""Around a citation's number inside text; stripped from what models say, so they cannot be forged."""


AGAIN = ("reused", "replayed", "cached")
"""Marks of what was not done anew: reused from another run, replayed from a tape, taken from a cache."""

PROGRESS, RETRY, RESTART = "data-progress", "data-retry", "data-restart"
STEPS = "data-rlm"
"""The steps of a recursive model: one list, whatever their types, which begin with this and a dash."""


@dataclasses.dataclass(slots=True)
class Text:
    """Answer text of one block, as Markdown; citations are marked by OPEN_MARK number CLOSE_MARK."""

    text: str = ""
    refusal: bool = False
    marks: list[tuple[int, int]] = dataclasses.field(default_factory=list[tuple[int, int]])


@dataclasses.dataclass(slots=True)
class Reasoning:
    """Reasoning of one block; kind is full, summary or redacted."""

    text: str = ""
    kind: str = "full"


@dataclasses.dataclass(slots=True)
class ToolCall:
    """One tool call; status is running until its result or its end arrived."""

    call_id: str
    name: str = ""
    arguments: Any = None
    raw: str = ""
    output: Any = None
    error: str | None = None
    status: str = "running"
    executed_by: str = "client"
    again: str = ""


@dataclasses.dataclass(slots=True)
class File:
    """One attachment; content is base64, None when it is not here; holder is the provider that keeps it."""

    name: str
    mime_type: str
    content: str | None
    size: int | None
    holder: str = ""


@dataclasses.dataclass(slots=True)
class Data:
    """Custom data of one type that came in a row; progress is its latest value only."""

    data_type: str
    payloads: list[Any]


@dataclasses.dataclass(slots=True)
class Ask:
    """A question to a person: what about, and the answer; the decision is empty while there is none."""

    message: str
    kind: str = "approval"
    tool: str = ""
    about: Any = None
    decision: str = ""
    by: str = ""
    reason: str = ""
    output: Any = None


@dataclasses.dataclass(slots=True)
class Note:
    """A sentence about the run itself: a failure."""

    text: str
    failure: bool = False


Block = Text | Reasoning | ToolCall | File | Data | Ask | Note


@dataclasses.dataclass(slots=True)
class Section:
    """What one visit of one node showed; discarded when a retry replaced it, for this reason."""

    node_id: str
    visit: int
    blocks: list[Block] = dataclasses.field(default_factory=list[Block])
    discarded: bool = False
    reason: str = ""
    answer: bool = False
    """Whether only the answer of one model call was discarded."""
    call: int = 0
    """Where the blocks of its last model call begin."""
    answered: bool = False
    """Whether that call came to its end."""
    ended: int | None = None
    """The step at which its node completed, None before that."""
    broken: bool = False
    """Whether it was cut off by the end of an earlier part of the run."""
    marks: list[tuple[int, int]] = dataclasses.field(default_factory=list[tuple[int, int]])
    """Citations that came before any text."""
    again: str = ""
    """What its node was spared: "reused" when it did not run anew."""


@dataclasses.dataclass(slots=True)
class Citation:
    """One source; number counts cited ones by first use from 1 and is 0 for a result that nobody cited."""

    number: int
    url: str
    title: str
    cited_text: str = ""


@dataclasses.dataclass(slots=True)
class Folded:
    """A run as its reader sees it."""

    sections: list[Section] = dataclasses.field(default_factory=list[Section])
    steps: int = 0
    """How often a node began or completed."""
    entered: int = 0
    """The step at which the last node began."""
    outline: dict[str, Any] | None = None
    """The graph, as execution_start tells it."""
    sources: list[Citation] = dataclasses.field(default_factory=list[Citation])
    status: str = "running"
    error: str | None = None
    output: Any = None
    usage: Usage = dataclasses.field(default_factory=Usage)
    models: list[str] = dataclasses.field(default_factory=list[str])
    model_calls: int = 0
    tool_calls: int = 0
    cost_usd: float | None = None
    unpriced: int = 0
    """Model calls whose price nobody knows."""
    again: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    """Model calls that were not made anew, by why: replayed, reused or cached."""
    saved_usd: float | None = None
    """What those had cost, or would have."""
    duration_ms: float | None = None
    started: float | None = None
    time_to_first_token_ms: float | None = None

    @property
    def text(self) -> str:
        """The answer: the text of the last section that has any."""
        for section in reversed(self.sections):
            texts = [b.text for b in section.blocks if isinstance(b, Text) and b.text]
            if texts and not section.discarded:
                return "\n\n".join(texts)
        return ""

    @property
    def says_failure(self) -> bool:
        """Whether a section already says what failed."""
        return any(
            isinstance(b, Note) and b.failure for s in self.sections if not s.discarded for b in s.blocks
        )
