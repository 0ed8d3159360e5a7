"""How fast a provider is asked: one gate for each provider, address and key, for all runs of the process.

    mesh_nb.limits.set("openai", concurrency=8, requests_per_minute=60)

Without a limit calls start at once, until a provider answers "too many" and says for how long: then all that
go there with the same key wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..core import plugins
from ..core._named import named_options
from ..core.errors import InputError, UnknownNameError, shown
from . import _hosts
from ._failures import Target, explain
from ._stream import MAX_WAIT

MINUTE = 60.0
_WIDE = 64
_pepper = secrets.token_bytes(16)


class Limits:
    """The limits of this process, by provider; they hold for each of its keys and addresses apart."""

    def __init__(self) -> None:
        self._settings: dict[str, tuple[int | None, int | None]] = {}
        self._gates: dict[tuple[str, bytes], Gate] = {}
        self._lock = threading.Lock()

    @named_options
    def set(
        self, provider: str, *, concurrency: int | None = None, requests_per_minute: int | None = None
    ) -> None:
        """Limit how a provider is asked, from now on; None lifts a limit.

        Parameters: provider, "openai", "anthropic", "gemini", or that of a server known by its address, such
        as "groq"; concurrency, how many answers may be under way at once; requests_per_minute, how many
        requests may start within any minute. A call waits for its turn, first come first served; the wait
        counts for its timeout. Raises UnknownNameError for an unknown provider, InputError for what is no
        limit.
        """
        known = _providers()
        if provider not in known:
            raise UnknownNameError("provider", str(provider), known)
        for name, value in (("concurrency", concurrency), ("requests_per_minute", requests_per_minute)):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and (not whole or value < 1):
                raise InputError(f"{name}={shown(value)} must be a whole number above 0, or None.")
        with self._lock:
            self._settings[provider] = (concurrency, requests_per_minute)
            gates = [gate for (name, _), gate in self._gates.items() if name == provider]
        for gate in gates:
            gate.limit(concurrency, requests_per_minute)

    def clear(self) -> None:
        """Lift all limits, and forget what providers asked to wait for."""
        with self._lock:
            self._settings.clear()
            gates = list(self._gates.values())
            self._gates.clear()
        for gate in gates:
            gate.open()

    def gate(self, target: Target) -> Gate:
        """Return the gate of all calls that go where this one goes, as the same user."""
        who = "\0".join((_hosts.host(target.endpoint), *target.secrets)).encode("utf-8", "surrogatepass")
        key = (target.provider, hashlib.blake2b(who, key=_pepper, digest_size=16).digest())
        with self._lock:
            found = self._gates.get(key)
            if found is None:
                found = self._gates[key] = Gate(*self._settings.get(target.provider, (None, None)))
            return found

    def __repr__(self) -> str:
        said = [
            f"{name}: concurrency={c}, requests_per_minute={r}" for name, (c, r) in self._settings.items()
        ]
        return f"<Limits {'; '.join(said) or 'none'}>"


def _providers() -> list[str]:
    vendors = {p.vendor for p in map(_vendor, plugins.names("provider")) if p is not None}
    return sorted({*vendors, *_hosts.VENDORS})


def _vendor(name: str) -> Any:
    try:
        return plugins.find("provider", name)
    except ImportError:
        return None


@dataclasses.dataclass(eq=False, slots=True)
class _Waiter:
    """A call in the queue; `turn` is set when it may be its turn."""

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]


class Gate:
    """Lets calls through, from any thread and loop; those that wait are served in order.

    After a refusal they go on carefully: one request, and after each that is taken twice as many at a time.
    """

    def __init__(self, concurrency: int | None, per_minute: int | None) -> None:
        self._concurrency, self._per_minute = concurrency, per_minute
        self._active = self._opening = 0
        self._window: int | None = None
        self._paused_until = 0.0
        self._starts: deque[float] = deque()
        self._waiting: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    def limit(self, concurrency: int | None, per_minute: int | None) -> None:
        """Set the limits anew."""
        with self._lock:
            self._concurrency, self._per_minute = concurrency, per_minute
        self._wake()

    def open(self) -> None:
        """Lift the limits and the pause."""
        with self._lock:
            self._paused_until, self._window = 0.0, None
        self.limit(None, None)

    async def acquire(self) -> None:
        """Wait for one's turn; `answered` and `release` end what begins here."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._waiting and self._delay() == 0:
                self._start()
                return
            waiter = _Waiter(loop, loop.create_future())
            self._waiting.append(waiter)
        try:
            while True:
                with self._lock:
                    first = self._waiting[0] is waiter
                    delay = self._delay() if first else None
                    if delay == 0:
                        self._start()
                        return
                    waiter.turn = loop.create_future()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await waiter.turn
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
            self._wake()

    def answered(self, failure: Exception | None, *, taken: bool) -> None:
        """Take in how a request was answered: by a stream, or by an error that may ask everybody to wait."""
        asked: float | None = getattr(failure, "retry_after", None)
        busy = getattr(failure, "status", None) == 429 or asked is not None
        with self._lock:
            self._opening -= 1
            if busy:
                self._window = 1
                if asked is not None and asked <= MAX_WAIT:
                    self._paused_until = max(self._paused_until, time.monotonic() + asked)
            elif taken and self._window is not None:
                self._window = self._window * 2 if self._window < _WIDE else None
        self._wake()

    def release(self) -> None:
        """Say that the answer is over."""
        with self._lock:
            self._active -= 1
        self._wake()

    def _start(self) -> None:
        self._active += 1
        self._opening += 1
        if self._per_minute is not None:
            self._starts.append(time.monotonic())

    def _delay(self) -> float | None:
        """Return the seconds until a call may start, None when another has to end first."""
        if self._concurrency is not None and self._active >= self._concurrency:
            return None
        now = time.monotonic()
        if now < self._paused_until:
            return self._paused_until - now
        if self._window is not None and self._opening >= self._window:
            return None
        if self._per_minute is None:
            return 0
        while self._starts and self._starts[0] <= now - MINUTE:
            self._starts.popleft()
        return 0 if len(self._starts) < self._per_minute else self._starts[0] + MINUTE - now

    def _wake(self) -> None:
        """Let the first of the queue look again; the others follow it."""
        with self._lock:
            while self._waiting:
                first = self._waiting[0]
                try:
                    first.loop.call_soon_threadsafe(_set, first.turn)
                except RuntimeError:  # its loop was closed over it
                    self._waiting.popleft()
                else:
                    return


def _set(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


limits = Limits()
"""The limits of this process."""


@contextlib.asynccontextmanager
async def limited(
    target: Target, request: Callable[[], contextlib.AbstractAsyncContextManager[Any]]
) -> AsyncGenerator[Any, None]:
    """Make and send a request when its turn has come, and yield its response; raises what that raises."""
    gate = limits.gate(target)
    await gate.acquire()
    try:
        async with contextlib.AsyncExitStack() as stack:
            failure: Exception | None = None
            taken = False
            try:
                response = await stack.enter_async_context(request())
                taken = True
            except Exception as error:
                failure = explain(error, target)
                raise
            finally:
                gate.answered(failure, taken=taken)
            yield response
    finally:
        gate.release()
