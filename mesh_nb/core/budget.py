"""What a run may spend: dollars, tokens and model calls, checked before each call.

A call is admitted with what it can cost at most: an estimate of its input, and its max_tokens. That much is
held while it runs and replaced by what it did cost. Without max_tokens only the input can be held, so that
one call may cross the limit; the next one is then refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

from . import prices, spending
from ._named import named_options
from .errors import BudgetExceededError, InputError, UnknownNameError, UnpricedError, shown
from .events import EventType, ExecutionEvent

Unpriced = Literal["refuse", "allow", "ask"]
OnBudget = Literal["stop", "ask"]


@dataclasses.dataclass(slots=True, eq=False)
class Hold:
    """What one running call may cost.

    Parameters: usd, None when it has no price; tokens, the estimate of its input and its max_tokens; run_id;
    limited, whether limits of the notebook or the project hold for it.
    """

    usd: float | None
    tokens: int
    run_id: str = ""
    limited: bool = False


class Budget:
    """The limits of one run and what it has spent; every node and graph inside the run shares it.

    Parameters
    ----------
    usd, max_tokens, max_model_calls : the limits, None for none; tokens are those of input and output.
    unpriced : what becomes of a call whose price is not known while there is a limit in dollars: "refuse"
        it, "allow" it, uncounted in dollars, or "ask" a person, whose yes allows those that follow too.
    on_budget : "stop" ends the run with the status "budget"; "ask" asks a person, whose yes allows as much
        again.

    spent_usd, tokens, calls : what was spent. unpriced_calls : how many calls spent_usd does not have.
    Raises InputError for a limit that is no number above 0, UnknownNameError for another word.
    """

    @named_options
    def __init__(
        self,
        usd: float | None = None,
        max_tokens: int | None = None,
        max_model_calls: int | None = None,
        unpriced: str = "refuse",
        on_budget: str = "stop",
    ) -> None:
        _check("budget_usd", usd, (int, float))
        _check("max_tokens", max_tokens, (int,))
        _check("max_model_calls", max_model_calls, (int,))
        for name, given, words in (
            ("unpriced", unpriced, get_args(Unpriced)),
            ("on_budget", on_budget, get_args(OnBudget)),
        ):
            if given not in words:
                raise UnknownNameError(f"{name}=", str(given), list(words))
        self.limits: dict[str, float] = {
            name: limit
            for name, limit in (
                ("budget_usd", usd),
                ("max_tokens", max_tokens),
                ("max_model_calls", max_model_calls),
            )
            if limit is not None
        }
        self.unpriced, self.on_budget = unpriced, on_budget
        self._priceless = unpriced == "allow"
        self._steps = dict(self.limits)
        self.spent_usd, self.tokens, self.calls, self.unpriced_calls = 0.0, 0, 0, 0
        self._held: set[Hold] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._crossed: spending.SpendingLimitError | None = None

    def __repr__(self) -> str:
        known = {
            "budget_usd": (prices.dollars(self.spent_usd), "${:.2f}"),
            "max_tokens": (f"{self.tokens:,} tokens", "{:,}"),
            "max_model_calls": (f"{self.calls:,} model calls", "{:,}"),
        }
        parts = [f"{known[name][0]} of {known[name][1].format(limit)}" for name, limit in self.limits.items()]
        return f"<Budget {', '.join(parts) or 'without limits'}>"

    @classmethod
    def of(
        cls,
        budget_usd: float | None,
        max_tokens: int | None,
        max_model_calls: int | None,
        unpriced: str,
        on_budget: str,
    ) -> Budget | None:
        """Return the budget that the options of `run` mean, None for the usual. Raises as `Budget`."""
        made = cls(budget_usd, max_tokens, max_model_calls, unpriced, on_budget)
        unusual = made.unpriced != "refuse" or made.on_budget != "stop"
        return made if made.limits or unusual else None  # They hold for limits over many runs too.

    @classmethod
    def like(cls, events: Iterable[ExecutionEvent], **given: Any) -> Budget | None:
        """Return the budget that the last part of a run had, with the options of `run` that are given and not
        None in the places of its own; None without a limit. Raises as `Budget`."""
        had: dict[str, Any] = {}
        for event in events:
            if event.type == EventType.EXECUTION_START:
                had = event.metadata.get("budget") or {}
        options = {name: had[name] for name in _OPTIONS if had.get(name) is not None}
        options |= {name: value for name, value in given.items() if value is not None}
        return cls.of(**{**_OPTIONS, **options})

    def settings(self) -> dict[str, Any]:
        """Return the options of `run` that make this budget, for the log."""
        return {**self._steps, "unpriced": self.unpriced, "on_budget": self.on_budget}

    def recall(self, events: Iterable[ExecutionEvent]) -> None:
        """Count what an earlier part of the run has spent, and what people have allowed it under these
        limits, from its events."""
        asked: dict[Any, bool] = {}
        allowed, had = 0, {}
        for event in events:
            given = event.metadata
            if event.type == EventType.RESPONSE_METADATA:
                if not given.get("replayed") and not given.get("cached"):
                    self._count(given, prices.price_now(given, event.timestamp), None)
            elif event.type == EventType.EXECUTION_START:
                allowed, had = allowed if given.get("budget") == had else 0, given.get("budget")
            elif event.type == EventType.INTERRUPT and _is_about_a_budget(given):
                asked[given.get("interrupt_id")] = "unpriced_call" in given["data"]
            elif event.type == EventType.INTERRUPT_RESOLVED and given.get("interrupt_id") in asked:
                yes = given.get("decision") in ("approved", "edited")
                if asked[given.get("interrupt_id")]:
                    self._priceless = self._priceless or yes
                else:
                    allowed += yes
        for _ in range(allowed if had == self.settings() else 0):
            self.extend()

    async def hold(
        self,
        call: Mapping[str, Any],
        prompt_tokens: int,
        max_tokens: int | None,
        *,
        free: bool = False,
        run_id: str = "",
    ) -> Hold:
        """Admit a model call, and return what is held for it until `settle`.

        Parameters: call, with provider and requested_model as events have them; prompt_tokens, an estimate of
        its input; max_tokens, the most it may answer, None when that is open; free, when it costs nothing;
        run_id, whose call it is.
        Waits while only calls that are still running stand in the way. Raises BudgetExceededError when the
        call would cross a limit, of the run, the notebook or the project, UnpricedError when it has no price
        and nobody has allowed that.
        """
        shared = [] if free else spending.limits()
        held = Hold(0.0 if free else None, prompt_tokens + (max_tokens or 0), run_id, bool(shared))
        if not free and (shared or "budget_usd" in self.limits):
            usage = {"prompt_tokens": prompt_tokens, "completion_tokens": max_tokens or 0}
            found = await prices.price({**call, "usage": usage})
            held.usd = None if found is None else found.usd
            if found is None and not self._priceless:
                raise _no_price(call)
        future: asyncio.Future[None] | None = None
        while True:
            if shared:
                shared = await spending.ready(held.usd or 0.0)
            alone = self._refusal(held, ())
            if alone is not None:
                raise alone
            if future is None or future.done():
                future = asyncio.get_running_loop().create_future()
                self._waiting.append(future)
                if shared:
                    spending.wait(future)
            if self._refusal(held, self._held) is None and self._admitted(held, shared):
                self._held.add(held)
                return held
            # Nobody tells when a call of another process has ended.
            await asyncio.wait([future], timeout=spending.POLL if shared else None)
            shared = spending.limits() if held.limited else []

    def _admitted(self, held: Hold, shared: list[spending.Limit]) -> bool:
        """Say whether the limits over many runs admit a call now. Raises SpendingLimitError for never."""
        answer = spending.hold(shared, held, held.usd or 0.0) if shared else True
        if isinstance(answer, spending.SpendingLimitError):
            self._crossed = answer
            raise answer
        return answer

    async def settle(self, held: Hold, metadata: Mapping[str, Any] | None, begun: bool = True) -> None:
        """Put what a call did cost in the place of what was held for it.

        Parameters: metadata of its response_metadata, None when there was none; begun, whether the provider
        had begun to answer. A call that ended without a count is counted as what was held, if it had begun.
        """
        if metadata is None:
            self.release(held, begun)
            return
        found = await prices.price(metadata)
        if held in self._held:
            self._held.remove(held)
            usd = self._count(metadata, found, held if begun else Hold(0.0, 0))
            self._let_go(held, usd)

    def release(self, held: Hold, begun: bool) -> None:
        """End what is held for a call that has no count; the call counts as that much if it had begun."""
        if held in self._held:
            self._held.remove(held)
            self._let_go(held, self._count({}, None, held) if begun else 0.0)

    def _let_go(self, held: Hold, usd: float) -> None:
        if held.limited:
            spending.release(held, held.run_id, usd)
        self._wake()

    async def count(self, metadata: Mapping[str, Any], run_id: str = "") -> None:
        """Count a call that was not admitted here, such as one of a foreign agent.

        Raises UnpricedError when it has no price, there is a limit in dollars and nobody has allowed that.
        """
        found = await prices.price(metadata)
        usd = self._count(metadata, found, None)
        shared = bool(spending.limits())
        if shared:
            spending.count(run_id, usd)
        if found is None and (shared or "budget_usd" in self.limits) and not self._priceless:
            raise _no_price(metadata)

    def check(self) -> None:
        """Raise BudgetExceededError when nothing is left for another call."""
        refusal = self._refusal(Hold(0.0, 0), ())
        if refusal is not None:
            raise refusal
        spending.check()

    def allow_unpriced(self) -> None:
        """Allow calls without a price."""
        self._priceless = True

    def extend(self) -> None:
        """Allow as much again as the run began with."""
        if self._crossed is not None:
            spending.extend(self._crossed)
            self._crossed = None
        for name, step in self._steps.items():
            self.limits[name] += step
        self._wake()

    def _refusal(self, held: Hold, others: Iterable[Hold]) -> BudgetExceededError | None:
        others = list(others)
        usd = self.spent_usd + sum(other.usd or 0.0 for other in others)
        tokens = self.tokens + sum(other.tokens for other in others)
        calls = self.calls + len(others)
        limit = self.limits.get("max_model_calls")
        if limit is not None and calls + 1 > limit:
            made = f"{self.calls} model {'call was' if self.calls == 1 else 'calls were'} made"
            name = f"max_model_calls={limit:.0f}"
            return _exceeded(name, f"{made}, and one more was to come", calls, limit)
        limit = self.limits.get("max_tokens")
        if limit is not None and (tokens >= limit or tokens + held.tokens > limit):
            more = f", and the next call may take about {held.tokens:,} (an estimate)" if held.tokens else ""
            name = f"max_tokens={limit:.0f}"
            return _exceeded(name, f"{self.tokens:,} tokens were used{more}", tokens, limit)
        limit = self.limits.get("budget_usd")
        if limit is not None and (usd >= limit or usd + (held.usd or 0.0) > limit):
            more = (
                f", and the next call may cost about {prices.dollars(held.usd)} (an estimate)"
                if held.usd
                else ""
            )
            return _exceeded(
                f"budget_usd={limit:g}", f"{prices.dollars(self.spent_usd)} were spent{more}", usd, limit
            )
        return None

    def _count(self, metadata: Mapping[str, Any], found: prices.Price | None, held: Hold | None) -> float:
        """Count a call and return its US dollars."""
        self.calls += 1
        usage: Any = metadata.get("usage")
        counts = cast("dict[str, Any]", usage) if isinstance(usage, Mapping) else {}
        parts = [counts.get("prompt_tokens"), counts.get("completion_tokens")]
        known = [n for n in parts if isinstance(n, int)] or [counts.get("total_tokens")]
        told = sum(n for n in known if isinstance(n, int))
        self.tokens += told if told or held is None else held.tokens
        usd = found.usd if found is not None else held.usd if held is not None else None
        if usd is None:
            self.unpriced_calls += 1
        self.spent_usd += usd or 0.0
        return usd or 0.0

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


_OPTIONS: dict[str, Any] = {
    "budget_usd": None,
    "max_tokens": None,
    "max_model_calls": None,
    "unpriced": "refuse",
    "on_budget": "stop",
}


def _is_about_a_budget(asked: Mapping[str, Any]) -> bool:
    data = asked.get("data")
    return isinstance(data, Mapping) and "on_budget" in data and ("spent" in data or "unpriced_call" in data)


def _check(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < float("inf"):
        noun = "a whole number" if kinds == (int,) else "US dollars"
        raise InputError(f"{name}={shown(value)} must be {noun} above 0.")


def _exceeded(limit_text: str, state: str, spent: float, limit: float) -> BudgetExceededError:
    return BudgetExceededError(
        f"The run reached {limit_text}: {state}. Raise the limit to go on.", spent=spent, limit=limit
    )


def _no_price(call: Mapping[str, Any]) -> UnpricedError:
    model = call.get("model_id") or call.get("requested_model") or "the model"
    name = f"{call['provider']}/{model}" if call.get("provider") else str(model)
    return UnpricedError(
        f"A budget in dollars cannot be kept: the price of {name} is not known. Say it with"
        f" mesh_nb.prices.set({name!r}, input, output), in US dollars for a million tokens, or pass"
        " unpriced='allow' and limit max_tokens= instead."
    )
