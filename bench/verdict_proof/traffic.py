"""Simulated traffic: each is an endless run of calls, with how each would end on the old and on the new version.

Which version a call meets is not decided here (`bench.verdict_proof.rollouts`): the same call, on the other side of the
coin, would have ended as is written here, so a good version is one that changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Incident = tuple[int, int, float]
"""From which call to which, and then: the rate at which both versions fail, or how many times as long both take."""


@dataclass(slots=True)
class Call:
    """One call to come: who makes it, which tool, and how it would end on the old and on the new version."""

    unit: str
    tool: str
    fails_old: bool
    fails_new: bool
    session: bool = False
    old_s: float = 0.01
    new_s: float = 0.01
    """Latencies."""


Traffic = Callable[[random.Random], Iterator[Call]]


def single_calls(old: float, new: float, *, incident: Incident | None = None) -> Traffic:
    """Each call is a unit of its own; during an incident both versions fail alike."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        at = 0
        while True:
            at += 1
            a, b = old, new
            if incident is not None and incident[0] <= at < incident[1]:
                a, b = incident[2], incident[2]
            luck = rng.random()
            yield Call(f"c{at}", "echo", luck < a, luck < b)

    return traffic


def short_sessions(
    old: float, new: float, *, calls: int = 10, icc: float = 0.0, incident: Incident | None = None
) -> Traffic:
    """Ten sessions at a time, each of so many calls; `icc` is how alike the calls of one session are."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        number = at = 0
        while True:
            sessions = [(f"s{number + i}", *_rates(rng, old, new, icc)) for i in range(10)]
            number += 10
            for _ in range(calls):
                for name, own_a, own_b in sessions:
                    at += 1
                    a, b = own_a, own_b
                    if incident is not None and incident[0] <= at < incident[1]:
                        a, b = max(a, incident[2]), max(b, incident[2])
                    luck = rng.random()
                    yield Call(name, "echo", luck < a, luck < b, session=True)

    return traffic


def long_sessions(old: float, new: float, *, sessions: int = 40, icc: float = 0.0) -> Traffic:
    """So many sessions that stay, calling at random."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        rates = [_rates(rng, old, new, icc) for _ in range(sessions)]
        while True:
            at = rng.randrange(sessions)
            luck = rng.random()
            yield Call(f"s{at}", "echo", luck < rates[at][0], luck < rates[at][1], session=True)

    return traffic


def slower(times: float, *, spread: float = 0.6, incident: Incident | None = None) -> Traffic:
    """Single calls whose latency is log-normal around 100 ms; the new version takes so many times as long."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        at = 0
        while True:
            at += 1
            shared = incident[2] if incident is not None and incident[0] <= at < incident[1] else 1.0
            took_s = 0.1 * shared * rng.lognormvariate(0, spread)
            yield Call(f"c{at}", "echo", False, False, False, took_s, took_s * times)

    return traffic


def many_tools(tools: int, old: float, broken: float) -> Traffic:
    """Single calls over many tools, of which the new version breaks one; none where that fails as it did."""

    def traffic(rng: random.Random) -> Iterator[Call]:
        at = 0
        while True:
            at += 1
            tool, luck = rng.randrange(tools), rng.random()
            yield Call(f"c{at}", f"t{tool}", luck < old, luck < (broken if tool == 0 else old))

    return traffic


def _rates(rng: random.Random, old: float, new: float, icc: float) -> tuple[float, float]:
    """Rates of one session for both versions: the same session is equally difficult for both."""
    if icc <= 0:
        return old, new
    k = 1 / icc - 1
    place = rng.random()
    return _beta(place, old, k), _beta(place, new, k)


def _beta(place: float, mean: float, k: float) -> float:
    """A beta variate of this mean, the same for the same place: drawn from a generator seeded by it."""
    return random.Random(place).betavariate(mean * k, (1 - mean) * k) if 0 < mean < 1 else mean
