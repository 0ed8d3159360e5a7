"""How much Claude thinks: `reasoning=` as thinking and effort, which differ by model.

Newer models choose themselves how long they think ("adaptive") and take an effort; models up to 4.5 take a
number of tokens. https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
"""

from __future__ import annotations

import re
from typing import Any, cast

from ..core.errors import InputError, UnknownNameError
from ._call import ModelCall

MAX_TOKENS = 32_000
"""Tokens of answer and thinking when max_tokens is not given: what every model since Claude 4 can write."""

ANSWER = 16_000
"""Tokens for the answer beside a budget for thinking, when max_tokens is not given."""

MIN_BUDGET = 1_024

_BUDGETS = {"low": 2_048, "medium": 8_192, "high": 16_000, "xhigh": 24_576, "max": 30_000}
_BUDGET_MODELS = re.compile(
    r"claude-(?:instant|2|3)|(?:opus|sonnet|haiku)-4(?:[-@](?:[015](?!\d)|20\d{6})|$)|claude-4-(?:opus|sonnet)"
)


def thinking(call: ModelCall) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the request's thinking, or None, and its output_config so far.

    Parameters: call, whose reasoning is an effort ("none", "low", "medium", "high", "xhigh", "max"), a budget
    in tokens, or an object: the API's own `{"type": ...}`, `{"budget_tokens": n}` or `{"effort": ...}`.
    Thinking that is asked for by effort or budget is asked to be shown. Raises UnknownNameError for another
    effort, InputError for anything else.
    """
    asked = call.reasoning
    if asked is None:
        return None, {}
    if isinstance(asked, str):
        return _by_effort(call.model, asked)
    if isinstance(asked, int) and not isinstance(asked, bool):
        return _by_budget(asked), {}
    if not isinstance(asked, dict):
        raise InputError(
            f"reasoning={asked!r} means nothing to Claude: use an effort such as 'low' or 'high', or a"
            " number of tokens."
        )
    given = dict(cast("dict[str, Any]", asked))
    effort = given.pop("effort", None)
    if "type" in given:
        return given, {"effort": effort} if effort else {}
    if "budget_tokens" in given:
        return {**_by_budget(given["budget_tokens"]), **given}, {"effort": effort} if effort else {}
    if given or not isinstance(effort, str):
        raise InputError(f"reasoning={asked!r} needs 'type', 'budget_tokens' or 'effort'.")
    return _by_effort(call.model, effort)


def _by_effort(model: str, effort: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if effort == "none":
        return {"type": "disabled"}, {}
    if effort not in _BUDGETS:
        raise UnknownNameError("reasoning effort", effort, ["none", *_BUDGETS])
    if _BUDGET_MODELS.search(model):
        return _by_budget(_BUDGETS[effort]), {}
    return {"type": "adaptive", "display": "summarized"}, {"effort": effort}


def _by_budget(tokens: Any) -> dict[str, Any]:
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < MIN_BUDGET:
        raise InputError(
            f"A thinking budget of {tokens!r} is too small: Claude takes {MIN_BUDGET} tokens or more."
        )
    return {"type": "enabled", "budget_tokens": tokens, "display": "summarized"}


def max_tokens(call: ModelCall, think: dict[str, Any] | None) -> int:
    """Return the limit that goes out: the given one, else MAX_TOKENS, or more beside a large budget.

    Thinking counts toward the limit. Raises InputError when the given limit leaves no token for the answer.
    """
    budget = (think or {}).get("budget_tokens")
    budget = budget if isinstance(budget, int) else 0
    if call.max_tokens is None:
        return max(MAX_TOKENS, budget + ANSWER)
    if call.max_tokens <= budget:
        raise InputError(
            f"max_tokens={call.max_tokens} leaves no room for an answer after {budget} tokens of thinking:"
            " raise max_tokens=, or lower reasoning=."
        )
    return call.max_tokens
