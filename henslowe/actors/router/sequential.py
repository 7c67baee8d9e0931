"""Two sequential tests of Bernoulli calls: one that accepts a new version, one that rejects it without a control group.

Both ask "bad by the margin?" of one version's own calls: its failure rate is `bad_rate(a)` or more, where `a` is what
the stable version shows. Neither can tell an outage that hits both versions from a bad version, so acceptance only ever
promotes (and probation watches on), and rejection is used where there are too few units for a control group.

Not here: the comparison between arms (`henslowe.actors.router.randomised`).
Source: Wald, "Sequential Tests of Statistical Hypotheses" (1945). Runs in: the loop.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Final

from henslowe.actors.router.randomised import Baseline

CALLS_PER_UNIT_MAX: Final = 50
"""Calls by which one unit may speak for a new version: the rest repeats what it said."""
CALLS_OVER: Final = 9
"""Where units are few, each may speak for longer: all together for so many times the calls that it takes at least."""
UNITS_MAX: Final = 4_096
REJECT_RATES: Final = (0.25, 0.5, 0.9)
"""Where between the bad rate (0) and 1 the alternatives of the absolute test lie."""
WORSE: Final = 1.6
"""A version of a service that fails often is bad when it fails so many times as often. With 2, one that went from 15 %
to 24 % was promoted in every fifth rollout (`bench/canary_sim.py`); with less, a good one needs too many calls."""


def bad_rate(baseline_rate: float, margin: float) -> float:
    """From which failure rate on a version is bad: the margin above the stable one's, or `WORSE` times it if more."""
    return min(0.99, max(baseline_rate + margin, WORSE * baseline_rate))


class Acceptance:
    """Wald's test, one-sided: accepts when calls as good as these have probability beta or less for a bad version.

    Args:
        margin: How many points (0.05 for five) above the stable version are too many.
        beta: Probability of accepting a bad version.
        units_needed: Fewest units that have to be heard.
        baseline: Of the stable version alone.
    """

    __slots__ = ("_calls_per_unit_max", "_log_beta", "_margin", "_units", "baseline", "llr", "units_needed")

    def __init__(self, margin: float, beta: float, units_needed: int, baseline: Baseline | None = None) -> None:
        self._margin = margin
        self._log_beta = math.log(beta)
        self.units_needed = units_needed
        self._units: OrderedDict[str, int] = OrderedDict()
        self.baseline = baseline or Baseline()
        self.llr = 0.0
        """Log-likelihood ratio of "bad" to "as the stable one"; promising when negative."""
        self._calls_per_unit_max = max(
            CALLS_PER_UNIT_MAX, math.ceil(CALLS_OVER * self.calls_expected / max(1, units_needed))
        )

    @property
    def bad_rate(self) -> float:
        """The failure rate that would not be accepted."""
        return bad_rate(self.baseline.rate, self._margin)

    @property
    def units(self) -> int:
        """Units of the new version that were heard."""
        return len(self._units)

    def add(self, unit: str, failed: bool) -> None:
        """One call of the new version."""
        calls = self._units.get(unit, 0)
        if calls >= self._calls_per_unit_max:
            return
        self._units[unit] = calls + 1
        if len(self._units) > UNITS_MAX:
            self._units.popitem(last=False)
        a, b = self.baseline.rate, self.bad_rate
        self.llr += math.log(b / a) if failed else math.log1p(-b) - math.log1p(-a)

    @property
    def accepts(self) -> bool:
        """Whether enough units did well enough."""
        return self.units >= self.units_needed and self.llr <= self._log_beta

    @property
    def calls_expected(self) -> int:
        """How many calls it takes without a failure; about the median for a version as good as the stable one."""
        return math.ceil(self._log_beta / (math.log1p(-self.bad_rate) - math.log1p(-self.baseline.rate)))

    def dump(self) -> dict[str, Any]:
        """Plain data for `load`."""
        return {
            "llr": self.llr,
            "baseline": [self.baseline.failures, self.baseline.calls],
            "units": list(self._units.items()),
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Goes on from where `dump` was called."""
        self.llr = dumped["llr"]
        self.baseline = Baseline(*dumped["baseline"])
        self._units.update((name, calls) for name, calls in dumped["units"])


class AbsoluteTest:
    """An e-value against "fails at most at the bad rate": above 1/alpha the version fails more often than may be.

    For failures that are never the caller's doing (transport, time-outs, internal errors). Calls of the other version,
    where there are some, raise the limit: when that fails too, it is not the new version's doing.
    """

    __slots__ = ("_log_e", "_margin", "baseline")

    def __init__(self, margin: float, baseline: Baseline | None = None) -> None:
        self._margin = margin
        self._log_e = [0.0] * len(REJECT_RATES)
        self.baseline = baseline or Baseline()

    def add(self, failed: bool) -> None:
        """One call of the new version."""
        limit = bad_rate(self.baseline.rate, self._margin)
        for k, part in enumerate(REJECT_RATES):
            worse = limit + (1.0 - limit) * part
            self._log_e[k] += math.log(worse / limit) if failed else math.log1p(-worse) - math.log1p(-limit)

    def add_other(self, failed: bool) -> None:
        """One call of the version that was there before."""
        self.baseline.add(failed)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence against the version."""
        top = max(self._log_e)
        return top + math.log(sum(math.exp(value - top) for value in self._log_e) / len(self._log_e))

    def dump(self) -> dict[str, Any]:
        """Plain data for `load`."""
        return {"log_e": self._log_e, "baseline": [self.baseline.failures, self.baseline.calls]}

    def load(self, dumped: dict[str, Any]) -> None:
        """Goes on from where `dump` was called."""
        self._log_e = list(dumped["log_e"])
        self.baseline = Baseline(*dumped["baseline"])
