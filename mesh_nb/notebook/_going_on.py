"""What becomes of the blocks of a node that was cut off, when its run goes on. Pure."""

from __future__ import annotations

from ._view import Ask, Block, Note, Section, ToolCall

_AFTER = {
    "cancelled": "after it was stopped",
    "budget": "after the budget was reached",
    "timeout": "after its time was over",
    "running": "after its process had ended",
}


def after(status: str) -> str:
    """Return in words how the earlier part of a run had ended."""
    return _AFTER.get(status, "")


def cut_off(section: Section) -> list[Block]:
    """Take out of a section what its node does again, and return it.

    A model call that came to its end is not made again, nor a tool call whose result its model was told: they
    stay, and so do questions.
    """
    calls = section.answered or section.call > 0
    at = len(section.blocks) if section.answered else section.call

    def void(n: int, block: Block) -> bool:
        if isinstance(block, Note):
            return block.failure
        if isinstance(block, Ask):
            return False
        lost = isinstance(block, ToolCall) and block.status not in _TOLD
        return n >= at or (lost if calls else True)

    found = [block for n, block in enumerate(section.blocks) if void(n, block)]
    section.blocks = [block for block in section.blocks if not any(block is gone for gone in found)]
    section.call = min(section.call, len(section.blocks))
    return found


_TOLD = ("ok", "error", "denied")
