"""What a call cost, and when nobody knows."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from mesh_nb.core import _linear, prices
from mesh_nb.core.prices import Price, price, price_now

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def call(**changes: Any) -> dict[str, Any]:
    return {"provider": "openai", "model_id": "gpt-4o-mini-2024-07-18", "usage": USAGE, **changes}


def test_a_known_model_is_priced_from_its_tokens() -> None:
    # gpt-4o-mini: 0.15 and 0.60 USD per million tokens.
    assert price_now(call()) == Price(pytest.approx(1000 * 0.15e-6 + 100 * 0.60e-6), "genai-prices")


def test_cached_tokens_cost_less() -> None:
    full, cached = price_now(call()), price_now(call(usage={**USAGE, "cached_tokens": 800}))
    assert full is not None
    assert cached is not None
    assert cached.usd < full.usd


def test_what_the_provider_billed_wins() -> None:
    assert price_now(call(cost_usd=0.5, cost_source="wire")) == Price(0.5, "wire")
    assert price_now(call(cost_usd=0.0)) == Price(0.0, "wire")
    assert price_now(call(cost_usd=0.7, cost_source="custom")) == Price(0.7, "custom")


def test_a_logged_estimate_is_calculated_again_and_kept_when_that_fails() -> None:
    again = price_now(call(cost_usd=99.0, cost_source="genai-prices"))
    assert again is not None
    assert again.usd < 1
    kept = price_now(call(cost_usd=99.0, cost_source="genai-prices", model_id="retired"))
    assert kept == Price(99.0, "genai-prices")


def test_the_requested_name_is_tried_when_the_answered_one_is_unknown() -> None:
    assert price_now(call(model_id="deployment-7", requested_model="gpt-4o-mini")) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "my-local-model"},
        {"provider": "demo"},
        {"provider": "ollama", "model_id": "gpt-4o-mini"},
        {"provider": None},
        {"usage": {}},
        {"usage": None},
        {"usage": {"prompt_tokens": 5}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 50}},
        {"usage": {"prompt_tokens": -5, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": "many", "completion_tokens": 1}},
        {"cost_usd": float("nan"), "model_id": "my-local-model"},
        {"cost_usd": "free", "model_id": "my-local-model"},
        {"cost_usd": 10**400, "model_id": "my-local-model"},
        {"cost_usd": 1e308, "model_id": "my-local-model"},
        {"usage": {"prompt_tokens": 10**400, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 1.0, "completion_tokens": 1}},
    ],
)
def test_what_is_not_known_has_no_price(changes: dict[str, Any]) -> None:
    assert price_now(call(**changes)) is None


def test_google_models_go_by_our_name_for_the_vendor() -> None:
    assert price_now(call(provider="gemini", model_id="gemini-2.5-flash")) is not None


async def test_a_wire_cost_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a thread for nothing")

    monkeypatch.setattr(asyncio, "to_thread", refuse)
    assert await price(call(cost_usd=0.25)) == Price(0.25, "wire")


def test_the_first_price_is_imported_off_the_loop() -> None:
    code = """
import asyncio, sys, threading
from mesh_nb.core.prices import price
assert "genai_prices" not in sys.modules
where = []
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "genai_prices": where.append(threading.current_thread())
sys.meta_path.insert(0, Spy())
usage = {"prompt_tokens": 1, "completion_tokens": 1}
meta = {"provider": "openai", "model_id": "gpt-4o-mini", "usage": usage}
assert asyncio.run(price(meta)).source == "genai-prices"
assert where and where[0] is not threading.main_thread()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_later_prices_are_the_same() -> None:
    assert await price(call()) == price_now(call())
    assert threading.current_thread() is threading.main_thread()


def test_every_known_model_costs_what_genai_prices_calculates() -> None:
    """The sums that are calculated here are those that would be calculated there, to the last digit."""
    made = random.Random(1)
    quick = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            usage = {
                "prompt_tokens": made.choice([0, 5, 1000, 200_000, 300_000, 2_000_000]),
                "completion_tokens": made.choice([0, 7]),
            }
            if made.random() < 0.6:
                usage["cached_tokens"] = made.randint(0, usage["prompt_tokens"] + 1)
            if made.random() < 0.3:
                usage["cache_write_tokens"] = made.randint(0, usage["prompt_tokens"] // 2 + 1)
                if made.random() < 0.5:
                    usage["cache_write_1h_tokens"] = made.randint(0, usage["cache_write_tokens"] + 1)
            if made.random() < 0.2:
                usage["web_searches"] = made.randint(0, 3)
            if made.random() < 0.4:
                usage["reasoning_tokens"] = made.randint(0, usage["completion_tokens"])
            at = made.uniform(1.7e9, 1.8e9)
            counts = {prices.COUNTERS[name]: count for name, count in usage.items()}
            moment = datetime.fromtimestamp(at, UTC)
            try:
                found = calc_price(
                    Usage(**counts), model.id, provider_id=provider.id, genai_request_timestamp=moment
                )
                exact = float(found.total_price)
            except (LookupError, ValueError, TypeError):
                exact = None
            priced = prices.price_now({"provider": provider.id, "model_id": model.id, "usage": usage}, at)
            told = None if priced is None else priced.usd
            assert told == exact, (provider.id, model.id)
            quick += exact is not None and _linear.quick(provider.id, model.id, counts, at) is not None
    assert quick > 1500
