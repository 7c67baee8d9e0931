"""One stream of evidence: an e-value from the randomisation of arms, valid whatever happens inside a unit.

A *unit* of traffic (a session; a stateless client during one sticky epoch) is sent to the new version with a known
probability p, by a salted hash of its name. Suppose the new version changes nothing. Then what a unit does, call by
call, does not depend on its arm, and for any ratio r >= 0 that is computed from the unit's outcomes alone

    factor = (r if the unit is on the new version else 1) / (1 - p + p * r)

has expectation exactly 1, because the arm is an independent coin. The product over units is a martingale: looking after
each call is safe, and by Ville's inequality it ever reaches 1/x with probability at most x. Nothing is assumed of
sessions: calls inside one may depend on each other, rates may drift, an outage may hit everybody. Evidence comes from
one thing only, that failures gather where the coin put the new version.

**When a unit counts.** A coin is spent once. If a unit's factor grew with each of its calls, looking in between would
be cheating, since its arm is known by then. So a unit counts at a moment that depends on its own outcomes only: when it
has made a quota of calls or met a quota of failures. With one quota, either short sessions never count or long ones
count too early. So there are several products side by side, one per `Level`, from "the first call of each unit" to
"240 calls", each with its share of alpha (a union bound: the products see different moments of the same coins, so they
may not be averaged). The shares are chosen before the rollout, by how many calls a unit made in the time before.
Forty sessions that stay for hours, four of them on a canary that fails one call in ten, are decided after some tens of
calls each: a canary session's factor approaches 1/p = 10, a stable one's 1/(1-p) = 1.11, and there are thirty-six.

**The ratio.** r compares "this unit fails as often as the new version would" with "as everybody does": the likelihood
ratio of its calls for odds `ODDS` times the baseline's, clipped to 1/`RATIO_MAX`..`RATIO_MAX`, so that one session that
fails all day counts as one unit that fails. The baseline is learned from the time before the rollout and from *all*
units meanwhile, whatever their arm: learned from the stable arm alone it would depend on the coins.

**When the weight grows.** A rollout in steps raises p from p1 to p2 under the same salt: a unit of the stable version
moves to the new one with probability (p2 - p1) / (1 - p1), one of the new version stays. A unit's outcomes then fall
into segments, one per weight that it met, and from which segment on it was on the new version is what the coin says.
The factor is again the likelihood of what was seen over its mean, now over all the ways the coin might have fallen:

    r(from the segment in which it moved, or 1 if it never did)
    / ((1 - p_last) + sum over segments k of (p_k - p_k-1) * r(from k on))

A unit that was counted at all levels while it was stable has the rest of its coin left, and begins anew with the
conditional probability; one of the new version has spent it. Given when the weights grow, this is exact. When that is
may depend on how many calls the new version has answered, and so a little on coins that are not counted yet; what that
makes of the promise is simulated.

Not here: what a single unit says (`henslowe.actors.router.units`), and what the evidence of several streams means
together (`henslowe.actors.router.verdict`).
Source: Ville (1939); Grünwald, de Heide, Koolen, "Safe Testing" (2024); Fisher's randomisation test. Runs in: the loop.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

from henslowe.actors.router.units import ODDS, Unit, one_segment

LOG_WEIGHTS: Final = tuple(math.log(weight) for weight in (0.20, 0.20, 0.36, 0.24))
"""Of the alternatives in that average; any that add up to 1 are valid. The third is about that of 1 % -> 10 %."""
UNITS_MAX: Final = 2_048
"""Units followed at a time; beyond it the one unseen longest is counted as it is."""
SPENT_MAX: Final = 6_144
"""Of the units that were counted at all levels so many are remembered, the last ones, as hashes, and at most so many
more: so that none of their coins is counted twice."""
HASHES_MAX: Final = 4_096
"""Of names, remembered: each call asks for one in several streams, and a unit's again when it is spent."""
RATE_MIN: Final = 0.002
"""The baseline is never taken to be lower: with less, a single failure would decide."""
RATE_MAX: Final = 0.9


class Level(NamedTuple):
    """A unit counts once it has made so many calls, or so many of them failed."""

    calls: int
    failures: int


LEVELS: Final = (Level(1, 1), Level(10, 2), Level(40, 4), Level(90, 8), Level(240, 16))
SHARES_SHORT: Final = (0.75, 0.10, 0.08, 0.05, 0.02)
"""Each level's share of alpha where units make a call or a few: about what the first call tells."""
SHARES_LONG: Final = (0.05, 0.15, 0.35, 0.30, 0.15)
"""The same where units stay. Found by simulation (`bench/canary_sim.py`); any shares that add up to 1 are valid."""
LONG_CALLS: Final = 8.0
"""Calls per unit, on average, from which units count as staying."""


@dataclass(slots=True)
class Baseline:
    """How often calls fail, learned as they come: starts at one failure in a hundred calls."""

    failures: float = 1.0
    calls: float = 100.0

    @property
    def rate(self) -> float:
        """Probability of failing, within RATE_MIN..RATE_MAX."""
        return min(RATE_MAX, max(RATE_MIN, self.failures / self.calls))

    def seed(self, failures: int, calls: int, *, calls_max: float = 300.0) -> None:
        """Takes the time before the rollout into account, for at most `calls_max` calls' worth."""
        if calls > 0:
            weight = min(1.0, calls_max / calls)
            self.failures += failures * weight
            self.calls += calls * weight

    def add(self, failed: bool) -> None:
        """One more call, of either arm."""
        self.calls += 1
        self.failures += failed


class RandomisedStream:
    """The products of one kind of failure during one rollout.

    Args:
        share_new: Probability p that a unit is on the new version, as routed at first; between 0 and 1.
        long_units: Whether units are expected to stay.
        baseline: What is known of the stable version.
    """

    __slots__ = (
        "_dumps",
        "_first",
        "_known",
        "_log_shares",
        "_rate",
        "_share",
        "_spent",
        "_spent_before",
        "_steps",
        "baseline",
        "log_e",
        "units",
    )

    def __init__(self, share_new: float, *, long_units: bool = False, baseline: Baseline | None = None) -> None:
        self._share = share_new
        self.baseline = baseline or Baseline()
        self._log_shares = [math.log(share) for share in (SHARES_LONG if long_units else SHARES_SHORT)]
        self._rate = self.baseline.rate
        self._steps = _steps(self._rate)
        self._first: dict[tuple[bool, bool, float], tuple[float, ...]] = {}
        """What a unit says with its first call: by whether it failed, which version it met, and the share."""
        self.units: OrderedDict[str, Unit] = OrderedDict()
        self._dumps = 0
        self._spent: dict[int, float] = {}
        """Units that were counted at all levels, with the share up to which their coin is known."""
        self._spent_before: dict[int, float] = {}
        """The `SPENT_MAX` of them before those; never changed."""
        self.log_e: list[list[float]] = [[0.0] * len(ODDS) for _ in LEVELS]
        self._known: list[float] | None = None
        """`log_levels` as they were computed last; None once a unit was counted since."""

    def add(self, name: str, *, new: bool, failed: bool, time_s: float, share: float | None = None) -> None:
        """One finished call of a unit. As long as the share is the same, its arm is the one of its first call.

        Args:
            name: The unit.
            new: Whether the call met the new version.
            failed: Whether it failed.
            time_s: When it ended, in Unix seconds.
            share: Probability of the new version when the call was routed; never less than before, None for the first.
        """
        if share is None:
            share = self._share
        step = self._steps[failed]
        unit = self.units.get(name)
        if unit is None:
            floor = self._floor_of(name)
            if floor >= share:
                self._learn(failed)
                return
            said = None if floor else self._first_said(step, share, new=new, failed=failed)
            new_at = 0 if new else -1
            unit = self.units[name] = Unit(name, time_s, share, floor, new_at, list(step), said=said, dumps=self._dumps)
            if len(self.units) > UNITS_MAX:
                self._spend(next(iter(self.units)))
        else:
            if unit.dumps != self._dumps:
                unit = self.units[name] = unit.copy(self._dumps)
            self.units.move_to_end(name)
            log_r = unit.log_r if share == unit.share else unit.meets(share, new=new)
            for k, more in enumerate(step):
                log_r[k] += more
            unit.said = None
        unit.calls += 1
        unit.failures += failed
        while unit.level < len(LEVELS):
            calls, failures = LEVELS[unit.level]
            if unit.calls < calls and unit.failures < failures:
                break
            self._count(unit)
        if unit.level == len(LEVELS):
            self._spend(name)
        self._learn(failed)

    def close(self, *, before_s: float) -> None:
        """Counts, as they are, stateless units whose sticky epoch began before `before_s`: they never come back."""
        for name in [name for name, unit in self.units.items() if unit.first_s < before_s]:
            self._spend(name)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence against the new version, comparable with log(1/alpha) at any time."""
        return max(self.log_levels)

    @property
    def log_levels(self) -> list[float]:
        """The same for each level by itself. Levels see other moments of the same coins: they may not be averaged."""
        if self._known is None:
            self._known = [
                log_share + _log_average(products)
                for log_share, products in zip(self._log_shares, self.log_e, strict=True)
            ]
        return self._known

    def _first_said(self, step: Sequence[float], share: float, *, new: bool, failed: bool) -> tuple[float, ...]:
        key = failed, new, share
        said = self._first.get(key)
        if said is None:
            said = self._first[key] = one_segment(step, share, new=new)
        return said

    def _count(self, unit: Unit) -> None:
        factors = zip(self.log_e[unit.level], unit.log_factors(), strict=True)
        self.log_e[unit.level] = [log_e + more for log_e, more in factors]
        unit.level += 1
        self._known = None

    def _spend(self, name: str) -> None:
        unit = self.units.pop(name)
        if unit.level < len(LEVELS) and unit.dumps != self._dumps:
            unit = unit.copy(self._dumps)
        while unit.level < len(LEVELS):
            self._count(unit)
        self._remember(_hash(name), unit.share if unit.new_at < 0 else 1.0)

    def _remember(self, hashed: int, floor: float) -> None:
        self._spent[hashed] = floor
        if len(self._spent) >= SPENT_MAX:
            self._spent_before, self._spent = self._spent, {}

    def _floor_of(self, name: str) -> float:
        if not self._spent and not self._spent_before:
            return 0.0
        hashed = _hash(name)
        return self._spent.get(hashed) or self._spent_before.get(hashed, 0.0)

    def _learn(self, failed: bool) -> None:
        baseline = self.baseline
        baseline.add(failed)
        rate = baseline.rate
        # A finer baseline would cost a third of the time and change nothing.
        if abs(rate - self._rate) > 0.02 * self._rate:
            self._set_rate(rate)

    def _set_rate(self, rate: float) -> None:
        self._rate = rate
        self._steps = _steps(rate)
        self._first.clear()

    def dump(self) -> dict[str, Any]:
        """What was learned so far, as plain data for `load`.

        `units` and `spent` are many: they are to be gone through once, and at any time, since they stay what they are
        now. For that, a unit that has another call is a copy from here on.
        """
        self._dumps += 1
        return {
            "baseline": [self.baseline.failures, self.baseline.calls],
            "rate": self._rate,
            "log_e": list(self.log_e),
            "units": _fields(deque(self.units.values())),
            "spent": chain(self._spent_before.items(), dict(self._spent).items()),
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Goes on from where `dump` was called, on a stream that was made with the same arguments."""
        self.baseline = Baseline(*dumped["baseline"])
        self._set_rate(dumped["rate"])
        self.log_e = [list(products) for products in dumped["log_e"]]
        self._known = None
        for name, first_s, share, floor, new_at, log_r, before, calls, failures, level in dumped["units"]:
            segments = tuple((was, list(values)) for was, values in before)
            self.units[name] = Unit(name, first_s, share, floor, new_at, list(log_r), segments, calls, failures, level)
        for hashed, floor in dumped["spent"]:
            self._remember(hashed, floor)


def _fields(units: deque[Unit]) -> Iterator[list[Any]]:
    """Lets each of them go at once: thousands that are freed in one go take as long as a hundred calls."""
    while units:
        yield units.popleft().fields()


def alternatives(rate: float) -> Iterator[float]:
    """The failure rates that are tested against `rate`."""
    odds = rate / (1.0 - rate)
    return (odds * times / (1.0 + odds * times) for times in ODDS)


def _steps(rate: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    worse = tuple(alternatives(rate))
    return (
        tuple(math.log1p(-b) - math.log1p(-rate) for b in worse),
        tuple(math.log(b / rate) for b in worse),
    )


@functools.lru_cache(maxsize=HASHES_MAX)
def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _log_average(products: list[float]) -> float:
    values = [log_e + weight for log_e, weight in zip(products, LOG_WEIGHTS, strict=True)]
    top = max(values)
    return top + math.log(sum([math.exp(value - top) for value in values]))
