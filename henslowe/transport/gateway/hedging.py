"""A second try of a slow call at another instance, beside the first one: the first answer counts. Off unless asked for.

A call is tried twice only where that is safe (`evidence.may_repeat`) and nobody could tell the instances apart: it has
no home at one of them, and nothing comes before its answer. The second try begins when the first has taken longer than
95 of 100 like it did of late, goes to the same version, and is one of a share of the service's calls
(`gateway.hedge_percent`), so that a service that became slow as a whole is not given more to do. What the call is
recorded with is the time since its first try began.

Source: Dean and Barroso, "The Tail at Scale", CACM 2013. Not here: calls made again after they failed (`calls`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from henslowe.actors.endpoints import Contract
from henslowe.actors.health.windows import RollingWindow
from henslowe.actors.ids import VersionKey
from henslowe.transport.gateway.budget import RepeatBudget
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.evidence import may_repeat

T = TypeVar("T")

SPAN_S: Final = 60.0
"""Calls of the last minute say how long such a call takes."""
CALLS_LEAST: Final = 40
"""With fewer, their 95th percentile is that of one or two calls."""
FRESH_S: Final = 1.0
"""How long a percentile is used before it is taken anew."""
KINDS_MAX: Final = 2_000
"""Versions times tools whose times are remembered; the one unused longest is forgotten."""


@dataclass(slots=True)
class _Kind:
    """Calls of one tool at one version."""

    window: RollingWindow = field(default_factory=lambda: RollingWindow(SPAN_S))
    patience_s: float | None = None
    until_s: float = 0.0


class Hedging:
    """Says when a call is to be tried a second time. Runs in: the node's loop.

    Args:
        percent: Second tries per hundred calls of a service; 0 is none.
        now_s: Monotonic seconds.
    """

    def __init__(self, percent: float, now_s: Callable[[], float]) -> None:
        self.on = percent > 0
        self._budget = RepeatBudget(percent, now_s, least=1)
        self._now_s = now_s
        self._kinds: OrderedDict[tuple[VersionKey, str], _Kind] = OrderedDict()

    def called(self, service: str) -> None:
        """A call came in."""
        if self.on:
            self._budget.called(service)

    def take(self, service: str) -> bool:
        """Whether one more second try is within the share; then it is counted."""
        return self._budget.take(service)

    def answered(self, version: VersionKey, subject: str, took_s: float) -> None:
        """A call that may be tried twice was answered."""
        now_s = self._now_s()
        self._kind(version, subject).window.add(failed=False, latency_s=took_s, now_s=now_s)

    def patience_s(self, version: VersionKey, subject: str) -> float | None:
        """How long to wait for the first try; None while too little is known of such calls."""
        kind, now_s = self._kind(version, subject), self._now_s()
        if kind.patience_s is None or now_s >= kind.until_s:
            figures = kind.window.figures(now_s)
            known = figures.p95_ms is not None and figures.calls >= CALLS_LEAST
            kind.patience_s = (figures.p95_ms or 0.0) / 1000 if known else None
            kind.until_s = now_s + FRESH_S
        return kind.patience_s

    def _kind(self, version: VersionKey, subject: str) -> _Kind:
        key = (version, subject)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind()
            if len(self._kinds) > KINDS_MAX:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(key)
        return kind


def may_hedge(ask: Ask, contract: Contract) -> bool:
    """Whether two servers may be asked at once: it is safe to, neither can ask back, and no progress is reported."""
    meta = (ask.params or {}).get("_meta")
    return (
        ask.session is None
        and not ask.capabilities
        and not (isinstance(meta, dict) and "progressToken" in meta)
        and may_repeat(ask.method, ask.params, contract)
    )


async def first_of(first: Awaitable[T], patience_s: float, second: Callable[[], Awaitable[T] | None]) -> tuple[T, bool]:
    """The first answer of one or two tries, and whether the second gave it; the other try is cancelled.

    A try that fails leaves it to the other; when both fail, it is the first one's failure that counts.

    Args:
        first: Begins at once.
        patience_s: How long it has before the second begins.
        second: Begins the second; None where there can be none.

    Raises:
        UpstreamLost, LimitReached, TimeoutError: As the first try.
    """
    tries: list[asyncio.Future[T]] = [asyncio.ensure_future(first)]
    try:
        await asyncio.wait(tries, timeout=patience_s)
        if not tries[0].done() and (other := second()) is not None:
            tries.append(asyncio.ensure_future(other))
        winner = await _winner(tries)
        return winner.result(), winner is not tries[0]
    finally:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def _winner(tries: list[asyncio.Future[T]]) -> asyncio.Future[T]:
    """The try that answers first, or the first one when all have failed."""
    running: set[asyncio.Future[T]] = set(tries)
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            if each.exception() is None:
                return each
    return tries[0]
