"""What keeps further runs of a batch from beginning: an error that each would meet, and too little money."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from ..core.errors import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    ProviderError,
    RateLimitError,
)

_NONE_CAN = (AuthenticationError, ConfigurationError, BudgetExceededError)
_HOPELESS = (402, 404)
"""HTTP statuses: no credit, no such model."""
_ROUNDING = 1e-9
"""US dollars."""


def ends_all(error: BaseException) -> bool:
    """Say whether every other run would meet the same: no key, no credit, no such model, no budget."""
    if isinstance(error, RateLimitError):
        return not error.retryable
    status = error.status if isinstance(error, ProviderError) else None
    return isinstance(error, _NONE_CAN) or status in _HOPELESS


class Room:
    """Lets as many runs go on at once as a budget is likely to pay for: one until it is known what one costs.

    Parameters: usd, of all runs together, None for no limit. What calls under way will cost is not known to
    the budget itself, which would let all of them begin.
    """

    def __init__(self, usd: float | None) -> None:
        self._usd = usd
        self._going = self._known = 0
        self._spent = 0.0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def of(self, row: Any) -> AsyncGenerator[None]:
        """Wait until there is room for the run of a row, and take it up while the run goes on."""
        if self._usd is None:
            yield
            return
        async with self._changed:
            await self._changed.wait_for(self._fits)
            self._going += 1
        try:
            yield
        finally:
            self._going -= 1
            if not row.cached and (row.cost_usd is not None or row.status == "completed"):
                self._known += 1
                self._spent += row.cost_usd or 0.0
            async with self._changed:
                self._changed.notify_all()

    def _fits(self) -> bool:
        if not self._going or self._usd is None:
            return True
        if not self._known:
            return False
        each = self._spent / self._known
        return self._spent + each * (self._going + 1) <= self._usd + _ROUNDING
